/* Tests what the octave loop does on a device that works like a GPU (queued.h): it records a step and replays it,
 * mends gradients that overflow, and asks for memory beforehand. Whatever happens on the way, the picture must be
 * that of the plain device, bit for bit. */
#include "tests/check.h"
#include "tests/common/dreaming.h"
#include "tests/dream/queued.h"

#include "host/error.h"

#include <math.h>
#include <string.h>

enum { HEIGHT = 61, WIDTH = 75, VALUES = HEIGHT * WIDTH * 3 };

static struct device *device;
static struct net *net;
static struct queued *queued;

static struct image picture_new(void)
{
    struct image picture = {.height = HEIGHT, .width = WIDTH, .bits = 8};

    picture.pixels = malloc(VALUES * sizeof *picture.pixels);
    for (int i = 0; i < VALUES; i++)
        picture.pixels[i] = sinf((float)i * 0.37f) * 0.8f;
    return picture;
}

/* What a dream has come to. */
struct dreamed {
    struct image picture;
    struct dream_log log;
};

static struct dreamed dreamed(const struct dream_options *options)
{
    struct dreamed d = {.picture = picture_new()};

    CHECK(dream_now(net, &d.picture, options, NULL, &d.log) == 0, "%s", error_message());
    return d;
}

static void dreamed_free(struct dreamed *d)
{
    image_free(&d->picture);
    dream_log_free(&d->log);
}

/* Dreams again and expects the same records and the same picture. */
static void expect_same(const struct dreamed *plain, const struct dream_options *options, const char *what)
{
    struct dreamed again = dreamed(options);

    CHECK(memcmp(plain->picture.pixels, again.picture.pixels, VALUES * sizeof(float)) == 0, "%s: other pixels",
          what);
    for (int i = 0; i < options->octaves; i++) {
        const struct octave_log *a = &plain->log.octave[i], *b = &again.log.octave[i];

        CHECK(a->steps == b->steps && a->stopped == b->stopped, "%s, octave %d: %lld steps, not %lld", what, i,
              (long long)b->steps, (long long)a->steps);
        CHECK(memcmp(a->records, b->records, (size_t)a->steps * sizeof *a->records) == 0,
              "%s, octave %d: other records", what, i);
    }
    dreamed_free(&again);
}

/* Each octave's first step is queued as it is, the second recorded, and the others are replayed. */
static void test_recording(const struct dreamed *plain, const struct dream_options *options)
{
    queued_reset();
    expect_same(plain, options, "recorded");
    CHECK(queued->recordings == 2 && queued->replays == 2 * (options->iterations - 1),
          "%lld recordings, %lld replays", (long long)queued->recordings, (long long)queued->replays);
    CHECK(queued->largest_scale >= 256, "half-precision gradients are scaled by %g", queued->largest_scale);
    CHECK(log2(queued->largest_scale) == floor(log2(queued->largest_scale)), "by %g", queued->largest_scale);
}

/* Gradients whose scale is too large by 2^1 and 2^5 (at the second octave; less at the first), from an evaluation
 * on that is the first, among replayed ones, or at the second octave. */
static void test_overflow(const struct dreamed *plain, const struct dream_options *options)
{
    static const int64_t from[] = {0, 5, 9};
    double largest = queued->largest_scale;

    for (int excess = 1; excess <= 5; excess += 4)
        for (int i = 0; i < 3; i++) {
            char what[64];

            queued_reset();
            queued->overflow_above = ldexp(largest, -excess);
            queued->overflow_from = from[i];
            snprintf(what, sizeof what, "overflow by 2^%d from evaluation %d", excess, (int)from[i]);
            expect_same(plain, options, what);
            CHECK(queued->overflows >= (excess > 4 ? 2 : 1), "%s: %lld overflows", what,
                  (long long)queued->overflows);
        }
}

/* Where no scale helps, it ends. */
static void test_hopeless(const struct dream_options *options)
{
    struct image picture = picture_new();
    struct dream_log log = {0};

    queued_reset();
    queued->overflow_above = 0;
    CHECK(dream_now(net, &picture, options, NULL, &log) == -1, "a gradient that always overflows");
    CHECK(strcmp(error_message(), "at octave 1 the gradient left the range of numbers; take a smaller step") == 0,
          "%s", error_message());
    CHECK(log.octave[0].steps == 0, "%lld steps", (long long)log.octave[0].steps);
    dream_log_free(&log);
    image_free(&picture);
}

static bool unwanted(void *context)
{
    (void)context;
    return false;
}

/* Whether a dream begins in so much memory; it goes no further. */
static bool begins(const struct dream_options *options, const struct schedule_limits *limits, size_t available)
{
    struct image picture = picture_new();
    struct dream_observer observer = {.wanted = unwanted};
    struct dream_log log = {0};

    queued_reset();
    queued->available = available;
    int result = dream_limited(net, &picture, options, limits, &observer, &log);
    dream_log_free(&log);
    image_free(&picture);
    return result == 1;
}

/* The memory of the whole dream is asked for before anything happens, and what is asked for is what is taken. */
static void test_memory(const struct dream_options *options)
{
    struct schedule_limits whole = {.tile = WIDTH > HEIGHT ? WIDTH : HEIGHT};
    struct image picture = picture_new();
    struct dream_log log = {0};
    size_t low = 0, high = (size_t)1 << 30;
    char expected[128];

    while (high - low > 1) { /* the least that will do */
        size_t middle = low + (high - low) / 2;

        if (begins(options, &whole, middle))
            high = middle;
        else
            low = middle;
    }
    queued_reset();
    queued->available = high;
    CHECK(dream_limited(net, &picture, options, &whole, NULL, &log) == 0, "%s", error_message());
    CHECK(queued->most == high && queued->taken == 0, "%zu bytes are enough, at most %zu were taken, %zu left",
          high, queued->most, queued->taken);
    dream_log_free(&log);

    queued_reset();
    queued->available = low;
    CHECK(dream_limited(net, &picture, options, &whole, NULL, &log) == -1, "a dream in too little memory");
    CHECK(queued->most == 0, "%zu bytes were taken", queued->most);
    snprintf(expected, sizeof expected, "%dx%d pixels take ", WIDTH, HEIGHT);
    CHECK(strncmp(error_message(), expected, strlen(expected)) == 0, "%s", error_message());
    CHECK(strstr(error_message(), " MB for pictures; cpu has ") &&
              strstr(error_message(), " free; take a smaller picture or another device"),
          "%s", error_message());
    dream_log_free(&log);
    image_free(&picture);
}

/* In less memory than the whole picture takes a dream is computed in tiles, and takes no more than there is; in too
 * little for these it does not begin. */
static void test_little_memory(const struct dream_options *options)
{
    int tiled = 0, refused = 0;

    for (size_t available = 16 << 10; available < 4 << 20; available += available / 16) {
        struct image picture = picture_new();
        struct dream_log log = {0};

        queued_reset();
        queued->available = available;
        int result = dream_now(net, &picture, options, NULL, &log);
        CHECK(queued->most <= available && queued->taken == 0, "%zu of %zu bytes were taken, %zu left",
              queued->most, available, queued->taken);
        CHECK(result == 0 || strstr(error_message(), "in tiles"), "%s", error_message());
        CHECK(result == 0 || tiled == 0, "%zu bytes are too little, less was enough", available);
        tiled += !result;
        refused += result < 0;
        dream_log_free(&log);
        image_free(&picture);
    }
    CHECK(tiled > 10 && refused > 10, "%d dreams in tiles or whole, %d refused", tiled, refused);
}

int main(void)
{
    struct device_options bf16 = {.precision = "bf16"};
    struct dream_options options = {2, 1.5, 7, 0.01, INFINITY, true};
    struct dream_options stopping = options;
    struct weights *weights = weights_open("untrained");
    struct network network;
    struct target target = {.weight = 1};

    device = device_open("cpu", &bf16);
    if (device && weights && network_init(&network, weights) == 0) {
        target.node = network_find(&network, "activation_3");
        net = net_open(device, &network, weights, &target, 1, true);
    }
    if (!net) {
        printf("FAILED: %s\n", error_message());
        return EXIT_FAILURE;
    }
    struct dreamed plain = dreamed(&options);
    stopping.max_loss = plain.log.octave[1].records[3].loss;
    struct dreamed stopped = dreamed(&stopping);

    queued = queued_begin(device);
    test_recording(&plain, &options);
    test_overflow(&plain, &options);
    queued_reset();
    expect_same(&stopped, &stopping, "stopped by the loss");
    test_hopeless(&options);
    test_memory(&options);
    test_little_memory(&options);
    dreamed_free(&plain);
    dreamed_free(&stopped);
    net_close(net);
    weights_close(weights);
    device_close(device);
    return check_result();
}
