/* Tests what --layer may say (host/targets.c), and that the loss of chosen channels is the mean of each one's. */
#include "tests/check.h"

#include "host/error.h"
#include "host/probe.h"
#include "host/targets.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct network network;

static void test_parsed(void)
{
    struct targets t;
    int mixed0 = network_find(&network, "mixed0"), mixed3 = network_find(&network, "mixed3");

    CHECK(!targets_parse(&network, "mixed0[12,37,64-95]:2,mixed3:-0.5,activation_8", &t), "%s", error_message());
    CHECK(t.count == 5 && targets_layers(&t) == 3, "%d targets of %d layers", t.count, targets_layers(&t));
    for (int i = 0; i < 3; i++)
        CHECK(t.target[i].node == mixed0, "target %d: node %d", i, t.target[i].node);
    CHECK(t.target[0].first == 12 && t.target[0].count == 1 && t.target[1].first == 37 && t.target[1].count == 1 &&
              t.target[2].first == 64 && t.target[2].count == 32,
          "channels from %d, %d, %d on", t.target[0].first, t.target[1].first, t.target[2].first);
    CHECK(t.target[0].weight == 2.0 / 34 && t.target[2].weight == 2.0 * 32 / 34, "shares %g and %g",
          t.target[0].weight, t.target[2].weight);
    CHECK(t.target[3].node == mixed3 && t.target[3].count == 0 && t.target[3].weight == -0.5, "a negative weight");
    CHECK(!targets_parse(&network, "mixed0[1],mixed0[2-3]:3", &t) && t.count == 2, "channels of a layer twice: %s",
          error_message());
}

static void test_refused(void)
{
    static const char *const wrong[][2] = {
        {"mixed0[", "stand in brackets"},
        {"mixed0]", "stand in brackets"},
        {"mixed0]3[", "stand in brackets"},
        {"mixed0[3]x", "stand in brackets"},
        {"mixed0[3", "stand in brackets"},
        {"mixed0[]", "channels are numbers"},
        {"mixed0[a]", "channels are numbers"},
        {"mixed0[-1]", "channels are numbers"},
        {"mixed0[ 1]", "channels are numbers"},
        {"mixed0[5-3]", "channels are numbers"},
        {"mixed0[5-]", "channels are numbers"},
        {"mixed0[5 6]", "channels are numbers"},
        {"mixed0[99999999999999999999]", "channels are numbers"},
        {"mixed0[3,1-4]", "channel 3 is named twice"},
        {"mixed0[1-4,3]", "channel 3 is named twice"},
        {"mixed0[1],mixed0", "is named twice"},
        {"mixed0,mixed0[1]", "is named twice"},
        {"mixed0[1]:many", "must be a finite number"},
        {"[1]", "is missing"},
        {"mixed99[1]", "there is no layer"},
        {"", "is missing"},
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct targets t;

        CHECK(targets_parse(&network, wrong[i][0], &t) == -1, "\"%s\" is taken", wrong[i][0]);
        CHECK(strstr(error_message(), wrong[i][1]), "\"%s\": %s", wrong[i][0], error_message());
    }

    char long_item[3000], list[2100] = "mixed0[0";
    struct targets t;
    snprintf(long_item, sizeof long_item, "mixed0%02500d", 0);
    CHECK(targets_parse(&network, long_item, &t) == -1 &&
              strstr(error_message(), "an item of --layer is longer than 2047 characters"),
          "%s", error_message());
    for (int i = 1; i < 40; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), ",%040d", i);
    snprintf(list + strlen(list), sizeof list - strlen(list), "]");
    CHECK(!targets_parse(&network, list, &t) && t.count == 40, "%s", error_message());
}

enum { HEIGHT = 75, WIDTH = 90 };

/* The loss of a drawn picture on the reference device. */
static double loss_of(struct device *device, struct weights *weights, const char *layer)
{
    static float pixels[HEIGHT * WIDTH * 3];
    static double gradient[HEIGHT * WIDTH * 3];
    struct targets t;
    struct probe probe;
    double loss = NAN;

    for (int i = 0; i < HEIGHT * WIDTH * 3; i++)
        pixels[i] = sinf((float)i * 0.37f) * 0.8f;
    CHECK(!targets_parse(&network, layer, &t), "%s", error_message());
    struct net *net = net_open(device, &network, weights, t.target, t.count, true);
    if (net && !probe_open(&probe, device, net, HEIGHT, WIDTH)) {
        CHECK(!probe_forward(&probe, pixels, NULL, NULL) && !probe_backward(&probe, gradient, &loss), "%s",
              error_message());
        probe_close(&probe);
    }
    net_close(net);
    return loss;
}

/* Channels of all branches of a block, ranges that run from one into the next, and a weight. */
static void test_mean(struct device *device, struct weights *weights)
{
    static const int channels[] = {0, 5, 30, 31, 32, 33, 127};
    enum { COUNT = sizeof channels / sizeof *channels };
    double sum = 0, loss = loss_of(device, weights, "mixed0[0,5,30-33,127]:3");

    for (int i = 0; i < COUNT; i++) {
        char layer[32];

        snprintf(layer, sizeof layer, "mixed0[%d]", channels[i]);
        sum += loss_of(device, weights, layer);
    }
    CHECK(loss > 0 && fabs(loss - 3 * sum / COUNT) < 1e-14 * loss, "loss %.17g, mean of the channels' %.17g", loss,
          sum / COUNT);
    CHECK(isnan(loss_of(device, weights, "mixed0[128]")) && strstr(error_message(), "has channels 0 to 127"), "%s",
          error_message());
}

int main(void)
{
    struct device *device = device_open("reference", &(struct device_options){0});
    struct weights *weights = weights_open("embedded");

    if (!device || !weights || network_init(&network, weights)) {
        printf("FAILED: %s\n", error_message());
        return EXIT_FAILURE;
    }
    test_parsed();
    test_refused();
    test_mean(device, weights);
    weights_close(weights);
    device_close(device);
    return check_result();
}
