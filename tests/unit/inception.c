/* The table against the published network: sizes for a 299-pixel picture, fields and jumps as inception_v3.md and
 * the paper have them, the number of weights, and names. */
#include "tests/check.h"

#include "host/error.h"
#include "host/inception.h"

#include <string.h>

static const struct {
    const char *name;
    int rows, channels, jump, field;
} published[] = {
    {"activation_1", 149, 32, 2, 3},     {"activation_2", 147, 32, 2, 7},     {"activation_3", 147, 64, 2, 11},
    {"max_pooling2d_1", 73, 64, 4, 15},  {"activation_4", 73, 80, 4, 15},     {"activation_5", 71, 192, 4, 23},
    {"max_pooling2d_2", 35, 192, 8, 31}, {"activation_8", 35, 64, 8, 63},     {"activation_12", 35, 32, 8, 47},
    {"mixed0", 35, 256, 8, 63},          {"mixed1", 35, 288, 8, 95},          {"mixed2", 35, 288, 8, 127},
    {"activation_27", 17, 384, 16, 143}, {"activation_30", 17, 96, 16, 159},  {"mixed3", 17, 768, 16, 159},
    {"activation_39", 17, 192, 16, 351}, {"activation_40", 17, 192, 16, 191}, {"mixed4", 17, 768, 16, 351},
    {"activation_41", 17, 192, 16, 351}, {"mixed5", 17, 768, 16, 543},        {"mixed6", 17, 768, 16, 735},
    {"mixed7", 17, 768, 16, 927},        {"activation_72", 8, 320, 32, 959},  {"mixed8", 8, 1280, 32, 1055},
    {"activation_79", 8, 384, 32, 1119}, {"activation_82", 8, 384, 32, 1119}, {"mixed9", 8, 2048, 32, 1183},
    {"activation_93", 8, 384, 32, 1311}, {"mixed10", 8, 2048, 32, 1311},
};

static void test_published(const struct network *network)
{
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        int node = network_find(network, published[i].name);
        int64_t shape[3];

        CHECK(node >= 0, "%s: %s", published[i].name, error_message());
        if (node < 0)
            continue;
        network_shape(network, node, 299, 299, shape);
        struct reach rows = network_reach(network, node, false), columns = network_reach(network, node, true);
        int64_t height = rows.before + 1 + rows.after, width = columns.before + 1 + columns.after;
        int64_t field = height > width ? height : width, jump = rows.jump;

        CHECK(shape[0] == published[i].rows && shape[1] == published[i].rows && shape[2] == published[i].channels,
              "%s: %lldx%lldx%lld", published[i].name, (long long)shape[0], (long long)shape[1],
              (long long)shape[2]);
        CHECK(field == published[i].field && jump == published[i].jump, "%s: field %lld, jump %lld",
              published[i].name, (long long)field, (long long)jump);
    }
}

/* Weights of all convolutions up to activation_41 as inception_v3.md counts them, and Keras's count of all
 * parameters (the published 23,851,784 less the 34,432 moving means and variances that are folded twice over:
 * beta, mean and variance of 17,216 channels become one bias each). */
static void test_weights(const struct network *network)
{
    long long to_41 = 0, kernels = 0, biases = 0;
    bool needed[NETWORK_NODES] = {[0] = false};

    needed[network_find(network, "activation_41")] = true;
    for (int i = network->count - 1; i >= 0; i--)
        for (int k = 0; needed[i] && k < network->nodes[i].inputs; k++)
            needed[network->nodes[i].from[k]] = true;
    for (int i = 0; i < network->count; i++) {
        const struct node *node = &network->nodes[i];
        long long count;

        if (node->kind != NODE_CONV && node->kind != NODE_DENSE)
            continue;
        count = (long long)node->kh * node->kw * network->nodes[node->from[0]].channels * node->channels;
        kernels += count;
        biases += node->channels;
        if (needed[i])
            to_41 += count;
    }
    CHECK(to_41 == 3581280, "%lld", to_41);
    CHECK(kernels + 3 * (biases - 1000) + 1000 == 23851784, "%lld kernels, %lld biases", kernels, biases);
}

static void test_smallest(const struct network *network)
{
    int node = network_find(network, "activation_41");
    int64_t shape[3], n = network_smallest(network, node, 5);

    network_shape(network, node, n, n, shape);
    CHECK(shape[0] == 5, "%lld rows at %lld", (long long)shape[0], (long long)n);
    network_shape(network, node, n - 1, n - 1, shape);
    CHECK(shape[0] == 4, "%lld rows at %lld", (long long)shape[0], (long long)n - 1);
    CHECK(network_smallest(network, network_find(network, "mixed10"), 1) == 75, "Keras says 75");
    network_shape(network, node, 1, 1000, shape);
    CHECK(shape[0] == 0 && shape[1] == 0 && shape[2] == 0, "a row of pixels reaches nothing");
}

static void test_names(const struct network *network)
{
    CHECK(network_find(network, "activation_95") == -1, "there are 94");
    CHECK(strstr(error_message(), "activation_95") && strstr(error_message(), "activation_9"), "%s",
          error_message());
}

int main(void)
{
    struct network network;

    CHECK(network_init(&network, NULL) == 0, "%s", error_message());
    test_published(&network);
    test_weights(&network);
    test_smallest(&network);
    test_names(&network);
    return check_result();
}
