/* Lets every call of the CUDA device into its libraries fail in turn, on the emulated GPU: each dream must either
 * end in one sentence or not need the call (cuDNN's other proposals), and leave nothing alive. usage: faults
 * PRECISION LAYER [EVERY]: with EVERY only each EVERYth call fails. */
#include "tests/check.h"
#include "tests/common/dreaming.h"

#include "tests/softgpu/softgpu.h"

#include "host/error.h"

#include <string.h>

enum { SIDE = 75 };

static struct weights *weights;
static struct network network;
static struct target target = {.weight = 1};

/* A whole dream, from opening the device to closing it: 0, or -1 with an error. */
static int dream_once(const char *precision, float *pixels)
{
    struct device_options device_options = {.precision = precision};
    struct dream_options options = {
        .octaves = 2, .octave_scale = 1.4, .iterations = 3, .step = 0.01, .max_loss = 1e9};
    struct image picture = {.height = SIDE, .width = SIDE, .bits = 8};
    struct device *device = device_open("cuda", &device_options);
    struct net *net = NULL;
    struct dream_log log = {0};
    int result = -1;

    picture.pixels = malloc(SIDE * SIDE * 3 * sizeof *picture.pixels);
    for (int i = 0; picture.pixels && i < SIDE * SIDE * 3; i++)
        picture.pixels[i] = (float)((i * 37 + i / (3 * SIDE) * 11) % 101) / 50.5f - 1;
    if (device && picture.pixels)
        net = net_open(device, &network, weights, &target, 1, true);
    if (net)
        result = dream_now(net, &picture, &options, NULL, &log);
    if (result == 0)
        memcpy(pixels, picture.pixels, SIDE * SIDE * 3 * sizeof *pixels);
    dream_log_free(&log);
    net_close(net);
    device_close(device);
    image_free(&picture);
    return result;
}

int main(int argc, char **argv)
{
    static float whole[SIDE * SIDE * 3], other[SIDE * SIDE * 3];
    long calls, failed = 0, unneeded = 0, every = argc > 3 ? atol(argv[3]) : 1;

    if (argc < 3 || every < 1) {
        printf("usage: faults PRECISION LAYER [EVERY]\n");
        return 2;
    }
    weights = weights_open("untrained");
    if (!weights || network_init(&network, weights) != 0 || (target.node = network_find(&network, argv[2])) < 0) {
        printf("%s\n", error_message());
        return EXIT_FAILURE;
    }
    softgpu_reset();
    CHECK(dream_once(argv[1], whole) == 0, "%s", error_message());
    calls = softgpu_calls();
    CHECK(softgpu_leaks() == 0, "%d objects alive after a dream", softgpu_leaks());
    for (long n = 1; n <= calls; n += every) {
        int result;

        softgpu_reset();
        softgpu_fail_at(n);
        error_set("%s", "");
        result = dream_once(argv[1], other);
        CHECK(result == 0 || *error_message(), "call %ld fails without a sentence", n);
        CHECK(result != 0 || memcmp(whole, other, sizeof whole) == 0, "call %ld changes the picture", n);
        CHECK(softgpu_leaks() == 0, "call %ld: %d objects alive, after: %s", n, softgpu_leaks(), error_message());
        failed += result != 0;
        unneeded += result == 0;
        if (result != 0 && getenv("VERBOSE"))
            printf("%ld: %s\n", n, error_message());
    }
    softgpu_reset();
    CHECK(dream_once(argv[1], other) == 0 && memcmp(whole, other, sizeof whole) == 0,
          "the dream after all failures is another one");
    /* Most calls are needed; else the failures above have not reached the device. */
    CHECK(failed > unneeded, "%ld failed, %ld were not needed", failed, unneeded);
    printf("emulated, %s %s: of %ld calls %ld were let fail: %ld dreams ended, %ld did without\n", argv[1], argv[2],
           calls, (calls + every - 1) / every, failed, unneeded);
    weights_close(weights);
    return check_result();
}
