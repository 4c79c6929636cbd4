/* Tests the octave loop (host/dream.c) with the untrained network: sizes, silence, stops, and that the step loop
 * neither allocates nor waits but to read its records. Usage: loop [DEVICE]. */
#include "tests/check.h"
#include "tests/common/dreaming.h"
#include "tests/common/open.h"

#include "host/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct device *device;
static struct network network;
static struct net *net;

/* A small picture with something in it. */
static struct image picture_new(int64_t h, int64_t w)
{
    struct image picture = {.height = h, .width = w, .bits = 8};

    picture.pixels = malloc((size_t)(h * w * 3) * sizeof *picture.pixels);
    for (int64_t i = 0; i < h * w * 3; i++)
        picture.pixels[i] = sinf((float)i * 0.37f) * 0.8f;
    return picture;
}

/* What an observer has seen. */
struct seen {
    int begun, ended, pictures;
    int64_t news;               /* calls of steps */
    int64_t asked;              /* calls of wanted */
    int64_t steps_wanted;       /* wanted answers no afterwards */
    bool in_steps;              /* between the first question and the end of the octave's steps */
    int64_t allocations, waits; /* of the device when the octave's first step was about to be queued */
};

static bool on_wanted(void *context)
{
    struct seen *seen = context;

    if (!seen->in_steps) {
        seen->in_steps = true;
        seen->allocations = device->allocations;
        seen->waits = device->waits;
        seen->news = 0;
    }
    CHECK(device->allocations == seen->allocations, "the step loop has allocated %lld times",
          (long long)(device->allocations - seen->allocations));
    CHECK(device->waits - seen->waits == seen->news, "%lld waits for %lld reads of the records",
          (long long)(device->waits - seen->waits), (long long)seen->news);
    return seen->asked++ < seen->steps_wanted;
}

static void on_octave_begin(void *context, const struct dream_log *log, int octave)
{
    struct seen *seen = context;

    CHECK(octave == seen->begun && octave < log->octaves, "octave %d begins after %d", octave, seen->begun);
    seen->begun++;
    seen->in_steps = false;
}

static void on_steps(void *context, const struct dream_log *log, int octave)
{
    ((struct seen *)context)->news++;
    CHECK(log->octave[octave].steps > 0, "news without a record");
}

static void on_octave_end(void *context, const struct dream_log *log, int octave)
{
    (void)log;
    CHECK(octave == ((struct seen *)context)->ended++, "octave %d ends", octave);
}

static int on_picture(void *context, const struct dream_log *log, int octave, const struct image *picture)
{
    CHECK(picture->height == log->octave[octave].height && picture->width == log->octave[octave].width,
          "octave %d: %lldx%lld", octave, (long long)picture->width, (long long)picture->height);
    ((struct seen *)context)->pictures++;
    return 0;
}

static struct dream_observer observer_of(struct seen *seen)
{
    return (struct dream_observer){.context = seen,
                                   .wanted = on_wanted,
                                   .octave_begin = on_octave_begin,
                                   .steps = on_steps,
                                   .octave_end = on_octave_end,
                                   .picture = on_picture};
}

/* int(n / scale^i), as Python gives it. */
static void test_sizes(void)
{
    static const int64_t heights[] = {98, 137, 192, 269};
    static const int64_t widths[] = {174, 244, 342, 480};
    struct dream_options options = dream_defaults();

    for (int i = 0; i < 4; i++) {
        CHECK(octave_size(269, i, &options) == heights[i], "%lld", (long long)octave_size(269, i, &options));
        CHECK(octave_size(480, i, &options) == widths[i], "%lld", (long long)octave_size(480, i, &options));
    }
}

/* A dream of two octaves, watched: both the same bytes whether it is watched or not. */
static void test_loop(void)
{
    struct dream_options options = {2, 1.5, 5, 0.01, INFINITY, false};
    struct seen seen = {.steps_wanted = INT64_MAX};
    struct dream_observer observer = observer_of(&seen);
    struct image watched = picture_new(60, 75), alone = picture_new(60, 75);
    struct dream_log log = {0}, log_alone = {0};
    size_t bytes = 60 * 75 * 3 * sizeof *watched.pixels;

    CHECK(!dream_now(net, &watched, &options, &observer, &log), "%s", error_message());
    CHECK(!dream_now(net, &alone, &options, NULL, &log_alone), "%s", error_message());
    CHECK(!memcmp(watched.pixels, alone.pixels, bytes), "being watched changes the picture");
    CHECK(seen.begun == 2 && seen.ended == 2 && seen.pictures == 2 && seen.asked == 10, "%d %d %d %lld", seen.begun,
          seen.ended, seen.pictures, (long long)seen.asked);
    for (int i = 0; i < 2; i++) {
        const struct octave_log *octave = &log.octave[i];
        CHECK(octave->steps == 5 && !octave->silent && !octave->stopped && octave->device_bytes > 0,
              "octave %d: %lld steps", i, (long long)octave->steps);
        CHECK(octave->records[4].loss > octave->records[0].loss, "octave %d: the loss falls", i);
        CHECK(!memcmp(octave->records, log_alone.octave[i].records, 5 * sizeof *octave->records), "octave %d", i);
    }
    dream_log_free(&log);
    dream_log_free(&log_alone);
    image_free(&watched);
    image_free(&alone);
}

/* Without steps, and with a loss that no step may have, the picture comes back as it was. */
static void test_unchanged(void)
{
    struct dream_options none = {3, 1.4, 0, 0.01, INFINITY, false};
    struct dream_options stopped = {3, 1.4, 4, 0.01, -1, false};
    const struct dream_options *options[] = {&none, &stopped};

    for (int k = 0; k < 2; k++) {
        struct image picture = picture_new(50, 64), original = picture_new(50, 64);
        struct dream_log log = {0};
        double worst = 0;
        CHECK(!dream_now(net, &picture, options[k], NULL, &log), "%s", error_message());
        for (int i = 0; i < 50 * 64 * 3; i++)
            worst = fmax(worst, fabs((double)(picture.pixels[i] - original.pixels[i])));
        CHECK(worst < 1e-6, "case %d: detail comes back but for %g", k, worst);
        for (int i = 0; i < 3; i++)
            CHECK(log.octave[i].steps == k && log.octave[i].stopped == (k == 1), "case %d, octave %d: %lld steps",
                  k, i, (long long)log.octave[i].steps);
        dream_log_free(&log);
        image_free(&picture);
        image_free(&original);
    }
}

/* An octave in which nothing is stimulated has records of zeros and never asks for a step. */
static void test_silent(void)
{
    struct dream_options options = {1, 1.4, 6, 0.01, 20, false};
    struct seen seen = {.steps_wanted = INT64_MAX};
    struct dream_observer observer = observer_of(&seen);
    struct image picture = picture_new(4, 4), original = picture_new(4, 4);
    struct dream_log log = {0};

    CHECK(!dream_now(net, &picture, &options, &observer, &log), "%s", error_message());
    CHECK(log.octave[0].silent && log.octave[0].steps == 6 && log.octave[0].records[5].loss == 0, "%lld records",
          (long long)log.octave[0].steps);
    CHECK(seen.asked == 0 && seen.news == 0 && seen.ended == 1, "%lld", (long long)seen.asked);
    CHECK(!memcmp(picture.pixels, original.pixels, 4 * 4 * 3 * sizeof(float)), "the picture has changed");
    dream_log_free(&log);
    image_free(&picture);
    image_free(&original);
}

static void test_ended(void)
{
    struct dream_options options = {2, 1.4, 1000, 0.01, INFINITY, false};
    struct dream_options tiny = {20, 1.4, 1, 0.01, INFINITY, false};
    struct dream_options huge = {1, 1.4, 3, 1e38, INFINITY, false};
    struct seen seen = {.steps_wanted = 3};
    struct dream_observer observer = observer_of(&seen);
    struct image picture = picture_new(50, 64);
    struct dream_log log = {0};

    CHECK(dream_now(net, &picture, &options, &observer, &log) == 1, "the observer ends it");
    CHECK(seen.begun == 1 && seen.ended == 0 && seen.asked == 4, "after %lld questions", (long long)seen.asked);
    dream_log_free(&log);

    CHECK(dream_now(net, &picture, &tiny, NULL, &log) == -1, "an octave of no pixels");
    CHECK(strstr(error_message(), "fewer octaves"), "%s", error_message());
    dream_log_free(&log);
    image_free(&picture);

    picture = picture_new(50, 64);
    CHECK(dream_now(net, &picture, &huge, NULL, &log) == -1, "a picture of infinities");
    CHECK(strstr(error_message(), "smaller step"), "%s", error_message());
    dream_log_free(&log);
    image_free(&picture);
}

int main(int argc, char **argv)
{
    struct device_options options = {0};
    struct weights *weights = weights_open("untrained");
    struct target target = {.weight = 1};

    device = open_or_skip(argc > 1 ? argv[1] : device_names()[0], options);
    if (!weights || network_init(&network, weights)) {
        printf("%s\n", error_message());
        return EXIT_FAILURE;
    }
    target.node = network_find(&network, "activation_3");
    net = net_open(device, &network, weights, &target, 1, true);
    if (!net) {
        printf("%s\n", error_message());
        return EXIT_FAILURE;
    }
    test_sizes();
    test_loop();
    test_unchanged();
    test_silent();
    test_ended();
    net_close(net);
    weights_close(weights);
    device_close(device);
    return check_result();
}
