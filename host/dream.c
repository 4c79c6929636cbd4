/* Runs the octaves on a device: what is computed, in which order, and which pictures are in memory meanwhile.
 * Steps are only queued; how one is computed is net.c's and the device's, what the user sees is the observer's. */
#include "dream.h"

#include "clock.h"
#include "error.h"
#include "transfer.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The state of the ascent is read, which waits for the device, when this much time has passed or this many steps
 * are queued: often enough for progress and for an ascent that has stopped, seldom enough that a fast device does
 * not notice. The picture does not depend on it, as the device itself takes no step beyond the stop. */
#define POLL_SECONDS 0.1
enum { POLL_STEPS = 64 };

/* A dream under way. Pictures without data are not there yet, or not any more. */
struct dreamer {
    struct net *net;
    struct device *device;
    const struct dream_options *options;
    const struct dream_observer *observer;
    struct dream_log *log;
    struct tensor original;    /* at full size */
    struct tensor shrunk;      /* the original at the size of the octave before */
    struct tensor x;           /* the dream at the size of this octave */
    struct ascent *state;      /* on the device */
    struct ascent *state_copy; /* on the host */
};

struct dream_options dream_defaults(void)
{
    return (struct dream_options){
        .octaves = 4, .octave_scale = 1.4, .iterations = 20, .step = 0.01, .max_loss = 20};
}

int64_t octave_size(int64_t n, int octave, const struct dream_options *options)
{
    return (int64_t)((double)n / pow(options->octave_scale, options->octaves - 1 - octave));
}

/* The log --------------------------------------------------------------------------------------------------- */

void dream_log_free(struct dream_log *log)
{
    if (!log)
        return;
    for (int i = 0; i < log->octaves && log->octave; i++)
        free(log->octave[i].records);
    free(log->octave);
    *log = (struct dream_log){0};
}

/* Lays out the octaves of a picture of h x w pixels. */
static int log_begin(struct dreamer *d, int64_t h, int64_t w)
{
    const struct dream_options *options = d->options;

    *d->log = (struct dream_log){.octaves = options->octaves, .iterations = options->iterations};
    d->log->octave = calloc((size_t)options->octaves, sizeof *d->log->octave);
    if (!d->log->octave)
        return error_set("no memory for the log of %d octaves", options->octaves);
    for (int i = 0; i < options->octaves; i++) {
        struct octave_log *octave = &d->log->octave[i];
        octave->height = octave_size(h, i, options);
        octave->width = octave_size(w, i, options);
        if (octave->height < 1 || octave->width < 1)
            return error_set("the smallest of %d octaves, each %g times the next, would be %" PRId64 "x%" PRId64
                             " pixels; take fewer octaves or a smaller scale",
                             options->octaves, 1 / options->octave_scale, octave->width, octave->height);
        octave->silent = !net_stimulates(d->net, octave->height, octave->width);
    }
    return 0;
}

/* Pictures on the device ------------------------------------------------------------------------------------ */

static int picture_new(struct device *device, int64_t h, int64_t w, struct tensor *out)
{
    *out = (struct tensor){.h = h, .w = w, .c = 3, .pitch = 3, .type = device->picture};
    out->data = device_alloc(device, tensor_bytes(out));
    return out->data ? 0 : -1;
}

static void picture_free(struct device *device, struct tensor *picture)
{
    device_free(device, picture->data);
    picture->data = NULL;
}

/* Replaces *picture, which may be *from, by *from at the octave's size. All work that was queued before is done
 * when it returns, so that what the old picture was needed for is, too. */
static int picture_resize(struct dreamer *d, const struct tensor *from, const struct octave_log *octave,
                          struct tensor *picture)
{
    struct tensor resized;

    if (picture_new(d->device, octave->height, octave->width, &resized))
        return -1;
    device_resize(d->device, from, &resized);
    if (device_sync(d->device)) {
        picture_free(d->device, &resized);
        return -1;
    }
    picture_free(d->device, picture);
    *picture = resized;
    return 0;
}

/* Moves the picture's pixels to the device. They are not needed again before the result takes their place; fresh
 * memory for that takes no room before it is written to. */
static int original_upload(struct dreamer *d, struct image *picture)
{
    size_t bytes = (size_t)(picture->height * picture->width) * 3 * sizeof *picture->pixels;

    if (picture_new(d->device, picture->height, picture->width, &d->original) ||
        tensor_upload(d->device, &d->original, picture->pixels))
        return -1;
    free(picture->pixels);
    picture->pixels = malloc(bytes);
    if (!picture->pixels)
        return error_set("no memory for the result (%zu bytes)", bytes);
    return 0;
}

/* Brings the dream as it is now to picture's pixels, which have room for the largest octave, checks it, and shows
 * it to the observer. */
static int octave_download(struct dreamer *d, int octave, struct image *picture)
{
    struct image view = *picture; /* borrows all but the size */

    view.height = d->x.h;
    view.width = d->x.w;
    view.alpha = d->x.h == picture->height && d->x.w == picture->width ? picture->alpha : NULL;
    if (tensor_download(d->device, &d->x, DTYPE_F32, picture->pixels))
        return -1;
    /* The losses do not tell: ReLUs turn NaN into 0. */
    for (int64_t i = 0; i < view.height * view.width * 3; i++)
        if (!isfinite(view.pixels[i]))
            return error_set("at octave %d the picture left the range of numbers; take a smaller step", octave + 1);
    return d->observer->picture ? d->observer->picture(d->observer->context, d->log, octave, &view) : 0;
}

/* Ascent ---------------------------------------------------------------------------------------------------- */

/* Reads what the steps queued so far have recorded, and passes the news on. */
static int records_read(struct dreamer *d, int octave, int64_t queued)
{
    struct octave_log *log = &d->log->octave[octave];
    const struct ascent *state = d->state_copy;

    if (device_ascent_read(d->device, d->state, queued, d->state_copy))
        return -1;
    assert(state->steps >= log->steps && state->steps <= queued);
    for (; log->steps < state->steps; log->steps++)
        log->records[log->steps] = state->records[log->steps];
    log->stopped = state->stopped;
    if (d->observer->steps)
        d->observer->steps(d->observer->context, d->log, octave);
    return 0;
}

/* Queues the octave's steps and reads their records. Returns 0, -1 with an error, or 1 where the observer ended
 * it. */
static int steps_run(struct dreamer *d, int octave, struct plan *plan, const struct tensor *g)
{
    const struct dream_options *options = d->options;
    double scale = 1 / plan_gradient_scale(plan);
    double read_at = clock_seconds();
    int64_t steps_read = 0;

    device_clear(d->device, d->state, ascent_bytes(options->iterations));
    for (int64_t queued = 0; queued < options->iterations && !d->log->octave[octave].stopped;) {
        if (d->observer->wanted && !d->observer->wanted(d->observer->context)) {
            device_sync(d->device); /* the caller frees what queued steps use; their fate does not matter */
            return 1;
        }
        plan_forward(plan, &d->x, d->state);
        plan_backward(plan, g);
        device_mean_abs(d->device, g, scale, d->state);
        device_ascend(d->device, &d->x, g, options->step, scale, options->max_loss, d->state);
        queued++;
        if (queued < options->iterations && queued - steps_read < POLL_STEPS &&
            clock_seconds() - read_at < POLL_SECONDS)
            continue;
        if (records_read(d, octave, queued))
            return -1;
        steps_read = queued;
        read_at = clock_seconds();
    }
    return 0;
}

/* Ascends from d->x in place, with the memory that only this takes. Returns as steps_run does. */
static int octave_ascend(struct dreamer *d, int octave)
{
    struct octave_log *log = &d->log->octave[octave];
    struct tensor g = {0};
    int result = -1;

    struct plan *plan = plan_new(d->net, log->height, log->width);
    if (!plan)
        return -1;
    log->device_bytes = plan_bytes(plan);
    if (picture_new(d->device, log->height, log->width, &g))
        goto fail;
    result = steps_run(d, octave, plan, &g);

fail:
    picture_free(d->device, &g);
    plan_free(plan);
    return result;
}

/* One octave: enlarge, ascend, put back the detail. The last one's result is always brought to picture. Returns
 * as steps_run does. */
static int octave_dream(struct dreamer *d, int octave, struct image *picture)
{
    struct octave_log *log = &d->log->octave[octave];
    bool last = octave + 1 == d->log->octaves;
    double begin = clock_seconds();

    log->records = calloc((size_t)d->log->iterations + 1, sizeof *log->records); /* + 1: never of 0 bytes */
    if (!log->records)
        return error_set("no memory for the records of %d steps", d->log->iterations);
    if (d->observer->octave_begin)
        d->observer->octave_begin(d->observer->context, d->log, octave);
    if (picture_resize(d, octave == 0 ? &d->original : &d->x, log, &d->x))
        return -1;
    if (octave == 0 && picture_resize(d, &d->original, log, &d->shrunk))
        return -1;

    if (log->silent) {
        log->steps = d->log->iterations; /* all zero, as Keras records them */
    } else if (d->log->iterations > 0) {
        int result = octave_ascend(d, octave);
        if (result)
            return result;
    }

    device_detail(d->device, &d->x, &d->original, &d->shrunk);
    if (!last && octave > 0 && picture_resize(d, &d->original, log, &d->shrunk))
        return -1;
    if ((last || d->observer->picture) && octave_download(d, octave, picture))
        return -1;
    log->seconds = clock_seconds() - begin;
    if (d->observer->octave_end)
        d->observer->octave_end(d->observer->context, d->log, octave);
    return 0;
}

int dream(struct net *net, struct device *device, struct image *picture, const struct dream_options *options,
          const struct dream_observer *observer, struct dream_log *log)
{
    static const struct dream_observer nobody = {0};
    struct dreamer d = {.net = net, .device = device, .options = options, .log = log};
    size_t state_bytes = ascent_bytes(options->iterations);
    double begin = clock_seconds();
    int result = -1;

    assert(options->octaves > 0 && options->octave_scale > 1 && options->iterations >= 0);
    d.observer = observer ? observer : &nobody;
    if (log_begin(&d, picture->height, picture->width))
        goto fail;
    d.state_copy = malloc(state_bytes);
    if (!d.state_copy) {
        error_set("no memory for the records of %d steps", options->iterations);
        goto fail;
    }
    d.state = device_alloc(device, state_bytes);
    if (!d.state || original_upload(&d, picture))
        goto fail;
    result = 0;
    for (int octave = 0; octave < options->octaves && !result; octave++)
        result = octave_dream(&d, octave, picture);
    log->seconds = clock_seconds() - begin;

fail:
    picture_free(device, &d.x);
    picture_free(device, &d.shrunk);
    picture_free(device, &d.original);
    device_free(device, d.state);
    free(d.state_copy);
    return result;
}
