/* Dreams whose pictures lie in the host's memory while the network is on another device (a GPU that is short of
 * memory): in one piece and in tiles, stopped by the loss, and resumed in the middle. Usage: apart DEVICE
 * PRECISION. */
#include "tests/check.h"
#include "tests/common/open.h"

#include "host/checkpoint.h"
#include "host/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEIGHT = 110, WIDTH = 150, VALUES = HEIGHT * WIDTH * 3 };

static struct device *device, *host;
static struct net *net;

static struct image picture_new(void)
{
    struct image picture = {.height = HEIGHT, .width = WIDTH, .bits = 8};

    picture.pixels = malloc(VALUES * sizeof *picture.pixels);
    for (int i = 0; i < VALUES; i++)
        picture.pixels[i] = sinf((float)i * 0.37f) * 0.6f + cosf((float)i * 0.0021f) * 0.3f;
    return picture;
}

/* What an observer keeps: the state at a step of an octave, where it ends the dream. */
struct kept {
    int octave;
    int64_t step; /* 0: nowhere */
    bool reached;
    struct checkpoint checkpoint; /* owns its pixels and records */
};

static bool on_wanted(void *context)
{
    return !((struct kept *)context)->reached;
}

static void on_steps(void *context, const struct dream_log *log, int octave)
{
    struct kept *kept = context;

    kept->reached = octave == kept->octave && log->octave[octave].steps == kept->step;
}

static bool on_due(void *context)
{
    (void)context;
    return true; /* every step is read, so that none is missed */
}

static int on_checkpoint(void *context, const struct checkpoint *checkpoint)
{
    struct kept *kept = context;
    size_t bytes = dtype_bytes(checkpoint->type, checkpoint->height * checkpoint->width * 3);
    struct dream_log *log = &kept->checkpoint.log;

    if (!kept->reached || kept->checkpoint.pixels)
        return 0;
    kept->checkpoint = *checkpoint;
    kept->checkpoint.pixels = memcpy(malloc(bytes), checkpoint->pixels, bytes);
    log->octave = malloc((size_t)log->octaves * sizeof *log->octave);
    for (int i = 0; i < log->octaves; i++) {
        size_t records = (size_t)checkpoint->log.octave[i].steps * sizeof(struct step_record);

        log->octave[i] = checkpoint->log.octave[i];
        log->octave[i].records =
            records ? memcpy(malloc(records), checkpoint->log.octave[i].records, records) : NULL;
    }
    return 0;
}

/* A dream, and where its pictures were. */
struct dreamed {
    struct image picture;
    struct dream_log log;
    int result;
    bool apart;
    int64_t tile;
};

static struct dreamed dreamed(const struct dream_options *options, enum picture_place pictures, int tile,
                              struct kept *kept, struct checkpoint *from)
{
    struct schedule_limits limits = {.pictures = pictures, .tile = tile};
    struct schedule *schedule = schedule_new(net, host, HEIGHT, WIDTH, options, &limits);
    struct dream_observer observer = {.context = kept,
                                      .wanted = on_wanted,
                                      .steps = on_steps,
                                      .checkpoint_due = on_due,
                                      .checkpoint = on_checkpoint};
    struct dreamed d = {.picture = picture_new(), .result = -1};

    CHECK(schedule, "%s", error_message());
    if (!schedule)
        return d;
    d.apart = schedule->pictures == host;
    d.tile = schedule->tile;
    d.result = dream(schedule, &d.picture, from, kept ? &observer : NULL, &d.log);
    CHECK(d.result >= 0, "%s", error_message());
    schedule_free(schedule);
    return d;
}

static void dreamed_free(struct dreamed *d)
{
    image_free(&d->picture);
    dream_log_free(&d->log);
}

/* The same first loss to rounding, and the same path to a few percent: later steps are chaotic. */
static void expect_like(const struct dreamed *a, const struct dreamed *b, const char *what)
{
    for (int o = 0; o < a->log.octaves; o++) {
        const struct octave_log *x = &a->log.octave[o], *y = &b->log.octave[o];

        CHECK(x->steps == y->steps, "%s: octave %d: %lld and %lld steps", what, o, (long long)x->steps,
              (long long)y->steps);
        for (int64_t i = 0; i < x->steps && i < y->steps; i++) {
            double allowed = o == 0 && i == 0 ? 1e-5 : 0.05;

            CHECK(fabs(x->records[i].loss - y->records[i].loss) <= allowed * y->records[i].loss,
                  "%s: octave %d, step %lld: loss %.9g and %.9g", what, o, (long long)i, x->records[i].loss,
                  y->records[i].loss);
        }
    }
}

static void test_like_on_device(const struct dream_options *options, int tile)
{
    struct dreamed there = dreamed(options, PICTURES_ON_DEVICE, tile, NULL, NULL);
    struct dreamed apart = dreamed(options, PICTURES_ON_HOST, tile, NULL, NULL);
    struct dreamed again = dreamed(options, PICTURES_ON_HOST, tile, NULL, NULL);

    CHECK(!there.apart && apart.apart && apart.tile == tile, "apart: %d, %d; tiles of %lld", there.apart,
          apart.apart, (long long)apart.tile);
    expect_like(&apart, &there, tile ? "in tiles" : "in one piece");
    CHECK(!memcmp(apart.picture.pixels, again.picture.pixels, VALUES * sizeof(float)),
          "other bytes the second time");
    dreamed_free(&there);
    dreamed_free(&apart);
    dreamed_free(&again);
}

/* A dream that leaves an octave by the loss, there and here at the same step. */
static void test_stopped(const struct dream_options *options)
{
    struct dreamed whole = dreamed(options, PICTURES_ON_HOST, 0, NULL, NULL);
    struct dream_options stopping = *options;

    stopping.max_loss = whole.log.octave[1].records[2].loss * (1 - 1e-9);
    struct dreamed stopped = dreamed(&stopping, PICTURES_ON_HOST, 0, NULL, NULL);
    CHECK(stopped.log.octave[1].stopped && stopped.log.octave[1].steps <= 3, "%lld steps",
          (long long)stopped.log.octave[1].steps);
    dreamed_free(&whole);
    dreamed_free(&stopped);
}

/* Ended at a step and gone on with, as a new process would: the same bytes and the same records. */
static void test_resumed(const struct dream_options *options, int tile, int octave, int64_t step)
{
    struct kept kept = {.octave = octave, .step = step}, nowhere = {.octave = -1};
    struct dreamed whole = dreamed(options, PICTURES_ON_HOST, tile, &nowhere, NULL);
    struct dreamed ended = dreamed(options, PICTURES_ON_HOST, tile, &kept, NULL);

    CHECK(ended.result == 1 && kept.checkpoint.pixels && kept.checkpoint.apart, "no state at octave %d, step %lld",
          octave, (long long)step);
    struct dreamed resumed = dreamed(options, PICTURES_ON_HOST, tile, &nowhere, &kept.checkpoint);
    CHECK(!kept.checkpoint.pixels, "the state's pixels are still there");
    CHECK(!memcmp(whole.picture.pixels, resumed.picture.pixels, VALUES * sizeof(float)),
          "other bytes after a break");
    for (int o = 0; o < options->octaves; o++)
        CHECK(resumed.log.octave[o].steps == whole.log.octave[o].steps &&
                  !memcmp(resumed.log.octave[o].records, whole.log.octave[o].records,
                          (size_t)whole.log.octave[o].steps * sizeof(struct step_record)),
              "octave %d: other records after a break", o);
    checkpoint_free(&kept.checkpoint);
    dreamed_free(&whole);
    dreamed_free(&ended);
    dreamed_free(&resumed);
}

int main(int argc, char **argv)
{
    struct dream_options options = {
        .octaves = 2, .octave_scale = 1.4, .iterations = 4, .step = 0.01, .max_loss = INFINITY};
    struct weights *weights = weights_open("embedded");
    struct network network;
    struct target target = {.weight = 1};

    device =
        open_or_skip(argc > 1 ? argv[1] : "cuda", (struct device_options){.precision = argc > 2 ? argv[2] : NULL});
    host = device_open("cpu", &(struct device_options){0});
    if (host && weights && !network_init(&network, weights)) {
        target.node = network_find(&network, "mixed0");
        net = net_open(device, &network, weights, &target, 1, true);
    }
    if (!net) {
        printf("FAILED: %s\n", error_message());
        return EXIT_FAILURE;
    }
    test_like_on_device(&options, 0);
    test_like_on_device(&options, 40);
    test_stopped(&options);
    test_resumed(&options, 0, 1, 2);
    test_resumed(&options, 40, 0, 3);
    net_close(net);
    weights_close(weights);
    device_close(host);
    device_close(device);
    return check_result();
}
