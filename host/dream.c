/* Runs the octaves on a device: what is computed, in which order, and which pictures are in memory meanwhile.
 * Steps are only queued; how one is computed is net.c's and the device's, what the user sees is the observer's. */
#include "dream.h"

#include "clock.h"
#include "error.h"
#include "transfer.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The state of the ascent is read, which waits for the device, about this often: for progress and for an ascent
 * that has stopped often enough, and so seldom that a fast device does not notice. How many steps that is, at most
 * so many, the steps before tell. The picture does not depend on it, as the device itself takes no step beyond the
 * one that stopped or overflowed. */
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
    struct plan *largest;      /* of the last octave, until its turn comes; NULL where that takes no steps */
    struct ascent *state;      /* on the device */
    struct ascent *state_copy; /* on the host */
};

/* The ascent at one octave. */
struct climb {
    struct plan *plan;
    struct tensor g;             /* the gradient */
    struct recording *recording; /* of a step; NULL: none yet, or not any more */
    int64_t queued;              /* steps that may be recorded in the state */
    int64_t read;                /* of them at the last reading */
    int64_t batch;               /* steps from there to the next reading */
    double read_at;
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

static void step_queue(struct dreamer *d, const struct climb *climb)
{
    double scale = 1 / plan_gradient_scale(climb->plan);

    plan_forward(climb->plan, &d->x, d->state);
    plan_backward(climb->plan, &climb->g);
    device_mean_abs(d->device, &climb->g, scale, d->state);
    device_ascend(d->device, &d->x, &climb->g, d->options->step, scale, d->options->max_loss,
                  d->options->clip ? 1 : INFINITY, d->state);
}

/* Queues one step: the first as it is, the others, where the device can, from a recording that is made once. */
static int step_run(struct dreamer *d, struct climb *climb)
{
    if (!d->device->records || climb->queued == 0) {
        step_queue(d, climb);
    } else {
        if (!climb->recording) {
            if (device_record_begin(d->device))
                return -1;
            step_queue(d, climb);
            climb->recording = device_record_end(d->device);
            if (!climb->recording)
                return -1;
        }
        device_replay(d->device, climb->recording);
    }
    climb->queued++;
    return 0;
}

/* After a step whose gradient overflowed: it and those behind it have changed nothing, and are queued again with a
 * smaller scale. */
static int overflow_mend(struct dreamer *d, int octave, struct climb *climb)
{
    size_t first = offsetof(struct ascent, overflowed);

    if (!plan_lower_gradient_scale(climb->plan))
        return error_set("at octave %d the gradient left the range of numbers; take a smaller step", octave + 1);
    device_clear(d->device, (char *)d->state + first, offsetof(struct ascent, records) - first);
    device_recording_free(d->device, climb->recording);
    climb->recording = NULL;
    climb->queued = d->state_copy->steps;
    return 0;
}

/* Reads what the steps queued so far have recorded, and passes the news on. */
static int records_read(struct dreamer *d, int octave, struct climb *climb)
{
    struct octave_log *log = &d->log->octave[octave];
    const struct ascent *state = d->state_copy;
    double now, batch;

    if (device_ascent_read(d->device, d->state, climb->queued, d->state_copy))
        return -1;
    assert(state->steps >= log->steps && state->steps <= climb->queued);
    for (; log->steps < state->steps; log->steps++)
        log->records[log->steps] = state->records[log->steps];
    log->stopped = state->stopped;
    if (d->observer->steps && log->steps > 0)
        d->observer->steps(d->observer->context, d->log, octave);
    now = clock_seconds();
    batch = POLL_SECONDS / fmax(now - climb->read_at, 1e-6) * (double)(climb->queued - climb->read);
    climb->batch = (int64_t)fmin(fmax(batch, 1), POLL_STEPS);
    climb->read_at = now;
    if (state->overflowed && overflow_mend(d, octave, climb))
        return -1;
    climb->read = climb->queued;
    return 0;
}

/* Queues the octave's steps and reads their records. Returns 0, -1 with an error, or 1 where the observer ended
 * it. */
static int steps_run(struct dreamer *d, int octave, struct climb *climb)
{
    const struct octave_log *log = &d->log->octave[octave];
    int64_t iterations = d->options->iterations;

    device_clear(d->device, d->state, ascent_bytes(iterations));
    climb->batch = 1;
    climb->read_at = clock_seconds();
    while (log->steps < iterations && !log->stopped) {
        if (d->observer->wanted && !d->observer->wanted(d->observer->context)) {
            device_sync(d->device); /* the caller frees what queued steps use; their fate does not matter */
            return 1;
        }
        if (step_run(d, climb))
            return -1;
        if (climb->queued < iterations && climb->queued - climb->read < climb->batch &&
            clock_seconds() - climb->read_at < POLL_SECONDS)
            continue;
        if (records_read(d, octave, climb))
            return -1;
    }
    return 0;
}

/* Ascends from d->x in place, with the memory that only this takes. Returns as steps_run does. */
static int octave_ascend(struct dreamer *d, int octave)
{
    struct octave_log *log = &d->log->octave[octave];
    struct climb climb = {0};
    int result = -1;

    if (octave + 1 == d->log->octaves) {
        climb.plan = d->largest;
        d->largest = NULL;
    } else {
        climb.plan = plan_new(d->net, log->height, log->width);
    }
    if (!climb.plan)
        return -1;
    log->device_bytes = plan_bytes(climb.plan);
    if (plan_allocate(climb.plan) || picture_new(d->device, log->height, log->width, &climb.g))
        goto fail;
    result = steps_run(d, octave, &climb);

fail:
    device_recording_free(d->device, climb.recording);
    picture_free(d->device, &climb.g);
    plan_free(climb.plan);
    return result;
}

/* Memory ---------------------------------------------------------------------------------------------------- */

struct size_text {
    char text[32];
};

/* "24.31 GB", "512.3 MB". */
static struct size_text size_text(size_t bytes)
{
    struct size_text size;

    if (bytes < 1000000000)
        snprintf(size.text, sizeof size.text, "%.1f MB", (double)bytes / 1e6);
    else
        snprintf(size.text, sizeof size.text, "%.2f GB", (double)bytes / 1e9);
    return size;
}

static size_t picture_bytes(const struct dreamer *d, int64_t h, int64_t w)
{
    return dtype_bytes(d->device->picture, h * w * 3);
}

/* Plans the last octave, which is the largest, and checks that the device has the memory for it before anything is
 * computed. What lives then, and no moment needs more: the plan's allocation, the original, the dream and its
 * gradient at full size, the shrunk original of the octave before, and the state. (Where pictures are resized there
 * is one more of an octave's size, but no gradient and no plan.) */
static int largest_plan(struct dreamer *d, const struct image *picture)
{
    int last = d->log->octaves - 1;
    const struct octave_log *largest = &d->log->octave[last], *before = &d->log->octave[last > 0 ? last - 1 : 0];
    size_t available = device_available(d->device);
    size_t needed = picture_bytes(d, picture->height, picture->width) +
                    2 * picture_bytes(d, largest->height, largest->width) +
                    picture_bytes(d, before->height, before->width) + ascent_bytes(d->options->iterations);

    if (!largest->silent && d->options->iterations > 0) {
        d->largest = plan_new(d->net, largest->height, largest->width);
        if (!d->largest)
            return -1;
        needed += plan_bytes(d->largest);
    }
    if (needed <= available)
        return 0;
    return error_set(
        "a dream of %" PRId64 "x%" PRId64 " pixels takes %s of memory on %s, which has %s free; take a "
        "smaller picture or another device",
        largest->width, largest->height, size_text(needed).text, d->device->name, size_text(available).text);
}

/* The dream ------------------------------------------------------------------------------------------------- */

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

    device_detail(d->device, &d->x, &d->original, d->shrunk.h, d->shrunk.w);
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
    if (largest_plan(&d, picture))
        goto fail;
    d.state = device_alloc(device, state_bytes);
    if (!d.state || original_upload(&d, picture))
        goto fail;
    result = 0;
    for (int octave = 0; octave < options->octaves && !result; octave++)
        result = octave_dream(&d, octave, picture);
    log->seconds = clock_seconds() - begin;

fail:
    plan_free(d.largest);
    picture_free(device, &d.x);
    picture_free(device, &d.shrunk);
    picture_free(device, &d.original);
    device_free(device, d.state);
    free(d.state_copy);
    return result;
}
