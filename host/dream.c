/* Runs the octaves of a schedule: what is computed, in which order, and which pictures are in memory meanwhile.
 * Steps are only queued; how one is computed is gradient.c's and the device's, what the user sees is the
 * observer's. */
#include "dream.h"

#include "checkpoint.h"
#include "clock.h"
#include "error.h"
#include "transfer.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
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
    struct schedule *schedule;
    struct device *device; /* that pictures and state lie on */
    const struct dream_options *options;
    const struct dream_observer *observer;
    struct checkpoint *from; /* until the octave that it is of goes on, else NULL */
    struct dream_log *log;
    struct image *picture;     /* the caller's */
    struct tensor original;    /* at full size */
    struct tensor x;           /* the dream at the size of this octave */
    struct ascent *state;      /* on the device */
    struct ascent *state_copy; /* on the host */
    bool ended;                /* by the observer: no more steps */
    double begin;              /* of the dream, and */
    double octave_begin;       /* of this octave; where a checkpoint is gone on with, so much earlier as it says */
};

/* The ascent at one octave. */
struct climb {
    int octave;
    struct gradient *gradient;   /* the schedule's */
    struct tensor g;             /* its result */
    struct recording *recording; /* of a step; NULL: none yet, or not any more */
    int lowerings;               /* of the gradient's scale */
    int64_t queued;              /* steps that may be recorded in the state */
    int64_t read;                /* of them at the last reading */
    int64_t batch;               /* steps from there to the next reading */
    int64_t begun;               /* queued, when this run began */
    double read_at;
};

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

static int log_begin(struct dreamer *d)
{
    const struct schedule *s = d->schedule;

    *d->log = (struct dream_log){.octaves = d->options->octaves, .iterations = d->options->iterations};
    d->log->octave = calloc((size_t)d->options->octaves, sizeof *d->log->octave);
    if (!d->log->octave)
        return error_set("no memory for the log of %d octaves", d->options->octaves);
    for (int i = 0; i < d->options->octaves; i++)
        d->log->octave[i] = (struct octave_log){.height = s->octave[i].height,
                                                .width = s->octave[i].width,
                                                .silent = s->octave[i].silent,
                                                .device_bytes = s->octave[i].network_bytes};
    return 0;
}

/* Room for the octave's records; + 1, as never 0 bytes are wanted. */
static int records_new(struct dreamer *d, struct octave_log *log)
{
    log->records = calloc((size_t)d->log->iterations + 1, sizeof *log->records);
    return log->records ? 0 : error_set("no memory for the records of %d steps", d->log->iterations);
}

/* Takes over what a checkpoint says of an octave that is done, or under way. */
static int log_take(struct dreamer *d, int octave)
{
    const struct octave_log *from = &d->from->log.octave[octave];
    struct octave_log *log = &d->log->octave[octave];

    if (records_new(d, log))
        return -1;
    memcpy(log->records, from->records, (size_t)from->steps * sizeof *log->records);
    log->steps = from->steps;
    log->stopped = from->stopped;
    log->seconds = from->seconds;
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

/* Forgets the picture's pixels: fresh memory takes no room before it is written to. */
static int pixels_renew(struct image *picture)
{
    size_t bytes = (size_t)(picture->height * picture->width) * 3 * sizeof *picture->pixels;

    free(picture->pixels);
    picture->pixels = malloc(bytes);
    return picture->pixels ? 0 : error_set("no memory for the result (%zu bytes)", bytes);
}

/* Moves the picture's pixels to the device. They are not needed again before the result takes their place. */
static int original_upload(struct dreamer *d)
{
    struct image *picture = d->picture;

    if (picture_new(d->device, picture->height, picture->width, &d->original) ||
        tensor_upload(d->device, &d->original, picture->pixels))
        return -1;
    return pixels_renew(picture);
}

enum { FINISH_BYTES = 1 << 20 };

/* Lets the observer finish the picture, some rows at a time. */
static int picture_finish(struct dreamer *d)
{
    int64_t row_values = d->original.w * 3, rows = FINISH_BYTES / (row_values * (int64_t)sizeof(float)) + 1;
    float *original = malloc((size_t)(rows * row_values) * sizeof *original);
    int result = original ? 0 : error_set("no memory for %" PRId64 " rows of the picture", rows);

    for (int64_t row = 0; row < d->original.h && !result; row += rows) {
        struct tensor band = d->original;

        band.h = d->original.h - row < rows ? d->original.h - row : rows;
        band.data = (char *)band.data + dtype_bytes(band.type, row * row_values);
        result = tensor_download(d->device, &band, DTYPE_F32, original);
        if (!result)
            d->observer->finish(d->observer->context, row, band.h, original, d->picture->pixels + row * row_values);
    }
    free(original);
    return result;
}

/* Brings the dream as it is now to the picture's pixels, which have room for the largest octave, checks it, and
 * shows it to the observer. */
static int octave_download(struct dreamer *d, int octave)
{
    const struct image *picture = d->picture;
    struct image view = *picture; /* borrows all but the size */
    bool last = octave + 1 == d->log->octaves;

    view.height = d->x.h;
    view.width = d->x.w;
    view.alpha = d->x.h == picture->height && d->x.w == picture->width ? picture->alpha : NULL;
    if (tensor_download(d->device, &d->x, DTYPE_F32, picture->pixels))
        return -1;
    /* Of the last step no loss tells. */
    for (int64_t i = 0; i < view.height * view.width * 3; i++)
        if (!isfinite(view.pixels[i]))
            return error_set("at octave %d the picture left the range of numbers; take a smaller step", octave + 1);
    if (last && d->observer->finish && picture_finish(d))
        return -1;
    if (d->observer->picture && !d->ended && d->observer->picture(d->observer->context, d->log, octave, &view))
        return -1;
    return last ? 0 : pixels_renew(d->picture);
}

/* Checkpoints ------------------------------------------------------------------------------------------------- */

/* Hands the state between two steps to the observer. */
static int checkpoint_hand(struct dreamer *d, const struct climb *climb)
{
    double now = clock_seconds();
    struct checkpoint checkpoint;

    d->log->seconds = now - d->begin;
    d->log->octave[climb->octave].seconds = now - d->octave_begin;
    checkpoint = (struct checkpoint){.octave = climb->octave,
                                     .lowerings = climb->lowerings,
                                     .tile = d->schedule->tile,
                                     .apart = d->schedule->pictures != d->schedule->device,
                                     .type = d->x.type,
                                     .height = d->x.h,
                                     .width = d->x.w,
                                     .pixels = d->x.data,
                                     .log = *d->log};

    if (!d->device->in_host_memory) {
        /* The result's memory is still unused. */
        checkpoint.pixels = d->picture->pixels;
        assert(d->x.type == DTYPE_F32);
        if (device_download(d->device, checkpoint.pixels, d->x.data, tensor_bytes(&d->x)))
            return -1;
    }
    return d->observer->checkpoint(d->observer->context, &checkpoint);
}

/* Whether the observer wants one now. */
static bool checkpoint_due(const struct dreamer *d)
{
    return d->observer->checkpoint_due && d->observer->checkpoint &&
           d->observer->checkpoint_due(d->observer->context);
}

/* Goes back to the octave's picture, its scale and its records. */
static int climb_restore(struct dreamer *d, struct climb *climb)
{
    const struct octave_log *log = &d->log->octave[climb->octave];
    struct ascent *state = d->state_copy;

    assert(d->from->height == d->x.h && d->from->width == d->x.w);
    while (climb->lowerings < d->from->lowerings && gradient_lower_scale(climb->gradient))
        climb->lowerings++;
    memset(state, 0, ascent_bytes(d->options->iterations));
    memcpy(state->records, log->records, (size_t)log->steps * sizeof *log->records);
    state->steps = log->steps;
    state->stopped = log->stopped;
    climb->queued = climb->read = climb->begun = log->steps;
    if (device_upload(d->device, d->x.data, d->from->pixels, tensor_bytes(&d->x)) ||
        device_upload(d->device, d->state, state, ascent_bytes(d->options->iterations)))
        return -1;
    free(d->from->pixels);
    d->from->pixels = NULL;
    d->from = NULL;
    return 0;
}

/* Ascent ---------------------------------------------------------------------------------------------------- */

static int step_queue(struct dreamer *d, const struct climb *climb)
{
    double scale = 1 / gradient_scale(climb->gradient);

    if (gradient_compute(climb->gradient, &d->x, &climb->g, d->state))
        return -1;
    device_mean_abs(d->device, &climb->g, scale, d->state);
    device_ascend(d->device, &d->x, &climb->g, d->options->step, scale, d->options->max_loss,
                  d->options->clip ? 1 : INFINITY, d->state);
    return 0;
}

/* Queues one step: the first as it is, the others, where the device can, from a recording that is made once. */
static int step_run(struct dreamer *d, struct climb *climb)
{
    if (!gradient_records(climb->gradient) || climb->queued == climb->begun) {
        if (step_queue(d, climb))
            return -1;
    } else {
        if (!climb->recording) {
            int result;

            if (device_record_begin(d->device))
                return -1;
            result = step_queue(d, climb);
            climb->recording = device_record_end(d->device);
            if (result || !climb->recording)
                return -1;
        }
        device_replay(d->device, climb->recording);
    }
    climb->queued++;
    return 0;
}

/* After a step whose gradient overflowed: it and those behind it have changed nothing, and are queued again with a
 * smaller scale. */
static int overflow_mend(struct dreamer *d, struct climb *climb)
{
    size_t first = offsetof(struct ascent, overflowed);

    if (!gradient_lower_scale(climb->gradient))
        return error_set("at octave %d the gradient left the range of numbers; take a smaller step",
                         climb->octave + 1);
    climb->lowerings++;
    device_clear(d->device, (char *)d->state + first, offsetof(struct ascent, records) - first);
    device_recording_free(d->device, climb->recording);
    climb->recording = NULL;
    climb->queued = d->state_copy->steps;
    return 0;
}

/* Reads what the steps queued so far have recorded, and passes the news on. */
static int records_read(struct dreamer *d, struct climb *climb)
{
    struct octave_log *log = &d->log->octave[climb->octave];
    const struct ascent *state = d->state_copy;
    double now, batch;

    if (device_ascent_read(d->device, d->state, climb->queued, d->state_copy))
        return -1;
    assert(state->steps >= log->steps && state->steps <= climb->queued);
    for (; log->steps < state->steps; log->steps++)
        log->records[log->steps] = state->records[log->steps];
    log->stopped = state->stopped;
    if (d->observer->steps && log->steps > 0)
        d->observer->steps(d->observer->context, d->log, climb->octave);
    now = clock_seconds();
    batch = POLL_SECONDS / fmax(now - climb->read_at, 1e-6) * (double)(climb->queued - climb->read);
    climb->batch = (int64_t)fmin(fmax(batch, 1), POLL_STEPS);
    climb->read_at = now;
    if (state->overflowed && overflow_mend(d, climb))
        return -1;
    climb->read = climb->queued;
    return 0;
}

/* Whether more steps are queued before the records are read. */
static bool goes_on(const struct dreamer *d, const struct climb *climb)
{
    return climb->queued < d->options->iterations && climb->queued - climb->read < climb->batch &&
           clock_seconds() - climb->read_at < POLL_SECONDS;
}

/* Queues the octave's steps and reads their records, until they are done or the observer has ended them. */
static int steps_run(struct dreamer *d, struct climb *climb)
{
    const struct octave_log *log = &d->log->octave[climb->octave];

    climb->batch = 1;
    climb->read_at = clock_seconds();
    while (log->steps < d->options->iterations && !log->stopped && !d->ended) {
        bool due;

        d->ended = d->observer->wanted && !d->observer->wanted(d->observer->context);
        if (!d->ended && step_run(d, climb))
            return -1;
        due = checkpoint_due(d);
        if (!due && !d->ended && goes_on(d, climb))
            continue;
        if (climb->queued > climb->read && records_read(d, climb))
            return -1;
        if ((due || (d->ended && d->observer->checkpoint)) && checkpoint_hand(d, climb))
            return -1;
    }
    return 0;
}

/* Ascends from d->x in place, with the memory that only this takes. */
static int octave_ascend(struct dreamer *d, int octave)
{
    struct octave_log *log = &d->log->octave[octave];
    struct scheduled_octave *scheduled = &d->schedule->octave[octave];
    struct climb climb = {.octave = octave, .gradient = scheduled->gradient};
    int result = -1;

    device_clear(d->device, d->state, ascent_bytes(d->options->iterations));
    if (gradient_allocate(climb.gradient) || picture_new(d->device, log->height, log->width, &climb.g) ||
        (d->from && climb_restore(d, &climb)))
        goto fail;
    result = steps_run(d, &climb);

fail:
    device_recording_free(d->device, climb.recording);
    picture_free(d->device, &climb.g);
    gradient_free(scheduled->gradient);
    scheduled->gradient = NULL;
    return result;
}

/* The dream ------------------------------------------------------------------------------------------------- */

/* Enlarges the dream to the octave; for the one that a checkpoint is of, only makes room: what it holds comes with
 * the ascent. */
static int octave_enter(struct dreamer *d, int octave)
{
    const struct octave_log *log = &d->log->octave[octave];

    if (!d->from)
        return picture_resize(d, octave == 0 ? &d->original : &d->x, log, &d->x);
    return picture_new(d->device, log->height, log->width, &d->x);
}

/* One octave: enlarge, ascend unless the dream has been ended, put back the detail. The last one's result is always
 * brought to the picture. */
static int octave_dream(struct dreamer *d, int octave)
{
    struct octave_log *log = &d->log->octave[octave];
    const struct octave_log *before = &d->log->octave[octave > 0 ? octave - 1 : 0];
    bool last = octave + 1 == d->log->octaves, watched = !d->ended;

    d->octave_begin = clock_seconds() - log->seconds;
    if (!log->records && records_new(d, log))
        return -1;
    if (watched && d->observer->octave_begin)
        d->observer->octave_begin(d->observer->context, d->log, octave);
    if (octave_enter(d, octave))
        return -1;
    if (log->silent && !d->ended)
        log->steps = d->log->iterations; /* all zero, as Keras records them */
    else if (d->log->iterations > 0 && !d->ended && octave_ascend(d, octave))
        return -1;
    device_detail(d->device, &d->x, &d->original, before->height, before->width);
    if ((last || (d->observer->picture && !d->ended)) && octave_download(d, octave))
        return -1;
    log->seconds = clock_seconds() - d->octave_begin;
    if (watched && !d->ended && d->observer->octave_end)
        d->observer->octave_end(d->observer->context, d->log, octave);
    return 0;
}

/* Whether the checkpoint is of such a dream as the schedule is of; the settings were compared by who has read it.
 */
static int from_check(const struct dreamer *d)
{
    const struct checkpoint *from = d->from;
    bool fits = from->log.octaves == d->options->octaves && from->octave < d->options->octaves &&
                from->log.iterations == d->options->iterations && from->type == d->device->picture &&
                d->schedule->octave[from->octave].gradient;

    for (int i = 0; fits && i < from->log.octaves; i++)
        fits = from->log.octave[i].height == d->log->octave[i].height &&
               from->log.octave[i].width == d->log->octave[i].width &&
               from->log.octave[i].steps <= d->options->iterations;
    return fits
               ? 0
               : error_set("the checkpoint is of a dream of other sizes, steps or numbers; begin without --resume");
}

/* Runs all octaves, or those that the checkpoint has not done. */
static int octaves_dream(struct dreamer *d)
{
    int first = d->from ? d->from->octave : 0;

    if (d->from && from_check(d))
        return -1;
    for (int octave = 0; d->from && octave <= first; octave++)
        if (log_take(d, octave))
            return -1;
    for (int octave = first; octave < d->options->octaves; octave++)
        if (octave_dream(d, octave))
            return -1;
    return 0;
}

int dream(struct schedule *schedule, struct image *picture, struct checkpoint *from,
          const struct dream_observer *observer, struct dream_log *log)
{
    static const struct dream_observer nobody = {0};
    struct dreamer d = {.schedule = schedule,
                        .device = schedule->pictures,
                        .options = &schedule->options,
                        .observer = observer ? observer : &nobody,
                        .from = from,
                        .log = log,
                        .picture = picture,
                        .begin = clock_seconds() - (from ? from->log.seconds : 0)};
    size_t state_bytes = ascent_bytes(d.options->iterations);
    int result = -1;

    assert(picture->height == schedule->height && picture->width == schedule->width);
    if (log_begin(&d))
        goto fail;
    d.state_copy = malloc(state_bytes);
    if (!d.state_copy) {
        error_set("no memory for the records of %d steps", d.options->iterations);
        goto fail;
    }
    d.state = device_alloc(d.device, state_bytes);
    if (!d.state || original_upload(&d) || octaves_dream(&d))
        goto fail;
    log->seconds = clock_seconds() - d.begin;
    result = d.ended;

fail:
    picture_free(d.device, &d.x);
    picture_free(d.device, &d.original);
    device_free(d.device, d.state);
    free(d.state_copy);
    return result;
}
