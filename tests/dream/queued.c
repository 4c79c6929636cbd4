/* A layer between device.c and a device's table. Every operation becomes a call that is kept by value: at once in
 * the queue, or in a recording from which replaying copies it there. */
#include "queued.h"

#include "host/device_ops.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum call_kind {
    CLEAR,
    CONV,
    CONV_BACK,
    MAX_POOL,
    MAX_POOL_BACK,
    AVERAGE_POOL,
    AVERAGE_POOL_BACK,
    STIMULATE,
    MEAN_ABS,
    ASCEND,
    RESIZE,
    DETAIL,
    CROP,
    ADD_CROP
};

enum { OPERANDS = 4 };

struct call {
    enum call_kind kind;
    struct tensor operand[OPERANDS]; /* data NULL: none was given */
    void *object;                    /* conv, filter or memory */
    void *scratch;
    size_t bytes;
    bool accumulate;
    struct stimulation stimulation;
    double step, scale, max_loss, limit;
    int64_t at[2]; /* DETAIL: h and w; CROP, ADD_CROP: top and left */
    struct ascent *state;
};

struct recording {
    struct call *call;
    int64_t count, room;
};

/* Of device_alloc, since queued_begin. */
enum { ALLOCATIONS = 64 };
struct allocation {
    void *memory; /* NULL: free */
    size_t bytes;
};

static struct allocation allocations[ALLOCATIONS];
static struct device_ops original, wrapped;
static struct recording queue, *recorded; /* recorded: what is recorded now, else NULL */
static struct queued queued;

static void append(struct recording *to, const struct call *call)
{
    if (to->count == to->room) {
        to->room = to->room ? 2 * to->room : 256;
        to->call = realloc(to->call, (size_t)to->room * sizeof *to->call);
        if (!to->call) {
            printf("FAILED: no memory for %lld calls\n", (long long)to->room);
            exit(EXIT_FAILURE);
        }
    }
    to->call[to->count++] = *call;
}

static void submit(struct call call)
{
    append(recorded ? recorded : &queue, &call);
}

/* Operand i as the device below knows it, or NULL. */
static const struct tensor *operand(struct call *call, int i)
{
    struct tensor *t = &call->operand[i];

    if (t->type == DTYPE_F16)
        t->type = DTYPE_BF16;
    return t->data ? t : NULL;
}

static void run_mean_abs(struct device *device, struct call *call)
{
    double scale = 1 / call->scale;

    original.mean_abs(device, operand(call, 0), call->scale, call->state);
    queued.largest_scale = fmax(queued.largest_scale, scale);
    if (queued.evaluations++ < queued.overflow_from || scale <= queued.overflow_above)
        return;
    call->state->current.mean_abs_gradient = INFINITY;
    queued.overflows++;
}

static void run(struct device *device, struct call *call)
{
    const struct tensor *a = operand(call, 0), *b = operand(call, 1), *c = operand(call, 2), *d = operand(call, 3);

    switch (call->kind) {
    case CLEAR:
        original.clear(device, call->object, call->bytes);
        break;
    case CONV:
        original.conv(device, call->object, a, b, c, call->scratch);
        break;
    case CONV_BACK:
        original.conv_back(device, call->object, a, b, c, call->scratch);
        break;
    case MAX_POOL:
        original.max_pool(device, a, b, c, d);
        break;
    case MAX_POOL_BACK:
        original.max_pool_back(device, a, b, c, call->accumulate, d);
        break;
    case AVERAGE_POOL:
        original.average_pool(device, a, call->object, b, c);
        break;
    case AVERAGE_POOL_BACK:
        original.average_pool_back(device, a, b);
        break;
    case STIMULATE:
        original.stimulate(device, &call->stimulation, a, b, call->accumulate, call->state);
        break;
    case MEAN_ABS:
        run_mean_abs(device, call);
        break;
    case ASCEND:
        original.ascend(device, a, b, call->step, call->scale, call->max_loss, call->limit, call->state);
        break;
    case RESIZE:
        original.resize(device, a, b);
        break;
    case DETAIL:
        original.detail(device, a, b, call->at[0], call->at[1]);
        break;
    case CROP:
        original.crop(device, a, call->at[0], call->at[1], b);
        break;
    case ADD_CROP:
        original.add_crop(device, a, call->at[0], call->at[1], b);
        break;
    }
}

static void flush(struct device *device)
{
    assert(!recorded); /* nobody may wait while a step is recorded */
    for (int64_t i = 0; i < queue.count; i++) {
        struct call call = queue.call[i];

        run(device, &call);
    }
    queue.count = 0;
}

/* The table ----------------------------------------------------------------------------------------------- */

static struct tensor given(const struct tensor *t)
{
    return t ? *t : (struct tensor){0};
}

static void queued_clear(struct device *device, void *memory, size_t bytes)
{
    (void)device;
    submit((struct call){.kind = CLEAR, .object = memory, .bytes = bytes});
}

static struct conv *queued_conv_new(struct device *device, struct filter *filter, const struct conv_desc *desc,
                                    size_t *scratch_bytes)
{
    struct conv_desc below = *desc;

    if (below.x.type == DTYPE_F16)
        below.x.type = DTYPE_BF16;
    if (below.y.type == DTYPE_F16)
        below.y.type = DTYPE_BF16;
    return original.conv_new(device, filter, &below, scratch_bytes);
}

static void queued_conv(struct device *device, struct conv *conv, const struct tensor *x, const struct tensor *y,
                        const struct tensor *mask, void *scratch)
{
    (void)device;
    submit((struct call){.kind = CONV, .object = conv, .operand = {*x, *y, given(mask)}, .scratch = scratch});
}

static void queued_conv_back(struct device *device, struct conv *conv, const struct tensor *dy,
                             const struct tensor *dx, const struct tensor *mask, void *scratch)
{
    (void)device;
    submit(
        (struct call){.kind = CONV_BACK, .object = conv, .operand = {*dy, *dx, given(mask)}, .scratch = scratch});
}

static void queued_max_pool(struct device *device, const struct tensor *x, const struct tensor *y,
                            const struct tensor *argmax, const struct tensor *mask)
{
    (void)device;
    submit((struct call){.kind = MAX_POOL, .operand = {*x, *y, given(argmax), given(mask)}});
}

static void queued_max_pool_back(struct device *device, const struct tensor *dy, const struct tensor *argmax,
                                 const struct tensor *dx, bool accumulate, const struct tensor *mask)
{
    (void)device;
    submit((struct call){
        .kind = MAX_POOL_BACK, .operand = {*dy, *argmax, *dx, given(mask)}, .accumulate = accumulate});
}

static void queued_average_pool(struct device *device, const struct tensor *x, struct filter *filter,
                                const struct tensor *y, const struct tensor *mask)
{
    (void)device;
    submit((struct call){.kind = AVERAGE_POOL, .object = filter, .operand = {*x, *y, given(mask)}});
}

static void queued_average_pool_back(struct device *device, const struct tensor *dy, const struct tensor *dx)
{
    (void)device;
    submit((struct call){.kind = AVERAGE_POOL_BACK, .operand = {*dy, *dx}});
}

static void queued_stimulate(struct device *device, const struct stimulation *stimulation, const struct tensor *a,
                             const struct tensor *da, bool accumulate, struct ascent *state)
{
    (void)device;
    submit((struct call){.kind = STIMULATE,
                         .operand = {*a, given(da)},
                         .accumulate = accumulate,
                         .stimulation = *stimulation,
                         .state = state});
}

static void queued_mean_abs(struct device *device, const struct tensor *g, double scale, struct ascent *state)
{
    (void)device;
    submit((struct call){.kind = MEAN_ABS, .operand = {*g}, .scale = scale, .state = state});
}

static void queued_ascend(struct device *device, const struct tensor *x, const struct tensor *g, double step,
                          double scale, double max_loss, double limit, struct ascent *state)
{
    (void)device;
    submit((struct call){.kind = ASCEND,
                         .operand = {*x, *g},
                         .step = step,
                         .scale = scale,
                         .max_loss = max_loss,
                         .limit = limit,
                         .state = state});
}

static void queued_resize(struct device *device, const struct tensor *x, const struct tensor *y)
{
    (void)device;
    submit((struct call){.kind = RESIZE, .operand = {*x, *y}});
}

static void queued_detail(struct device *device, const struct tensor *x, const struct tensor *from, int64_t h,
                          int64_t w)
{
    (void)device;
    submit((struct call){.kind = DETAIL, .operand = {*x, *from}, .at = {h, w}});
}

static void queued_crop(struct device *device, const struct tensor *x, int64_t top, int64_t left,
                        const struct tensor *y)
{
    (void)device;
    submit((struct call){.kind = CROP, .operand = {*x, *y}, .at = {top, left}});
}

static void queued_add_crop(struct device *device, const struct tensor *x, int64_t top, int64_t left,
                            const struct tensor *y)
{
    (void)device;
    submit((struct call){.kind = ADD_CROP, .operand = {*x, *y}, .at = {top, left}});
}

/* Waiting, recording, memory -------------------------------------------------------------------------------- */

static int queued_sync(struct device *device)
{
    flush(device);
    return original.sync(device);
}

static int queued_upload(struct device *device, void *to, const void *from, size_t bytes)
{
    flush(device);
    return original.upload(device, to, from, bytes);
}

static int queued_download(struct device *device, void *to, const void *from, size_t bytes)
{
    flush(device);
    return original.download(device, to, from, bytes);
}

static void *queued_alloc(struct device *device, size_t bytes)
{
    void *memory = original.alloc(device, bytes);

    for (int i = 0; memory && i < ALLOCATIONS; i++)
        if (!allocations[i].memory) {
            allocations[i] = (struct allocation){memory, bytes};
            queued.taken += bytes;
            queued.most = queued.taken > queued.most ? queued.taken : queued.most;
            return memory;
        }
    assert(!memory); /* else the list is full */
    return NULL;
}

static void queued_free(struct device *device, void *memory)
{
    flush(device);
    for (int i = 0; i < ALLOCATIONS; i++)
        if (allocations[i].memory == memory) {
            queued.taken -= allocations[i].bytes;
            allocations[i].memory = NULL;
        }
    original.free(device, memory);
}

static size_t queued_available(struct device *device)
{
    (void)device;
    return queued.available;
}

static int queued_record_begin(struct device *device)
{
    (void)device;
    assert(!recorded);
    recorded = calloc(1, sizeof *recorded);
    queued.recordings++;
    return recorded ? 0 : -1;
}

static struct recording *queued_record_end(struct device *device)
{
    (void)device;
    struct recording *recording = recorded;

    recorded = NULL;
    return recording;
}

static void queued_recording_free(struct device *device, struct recording *recording)
{
    (void)device;
    free(recording->call);
    free(recording);
}

static void queued_replay(struct device *device, struct recording *recording)
{
    (void)device;
    queued.replays++;
    for (int64_t i = 0; i < recording->count; i++)
        submit(recording->call[i]);
}

static void queued_close(struct device *device)
{
    flush(device);
    free(queue.call);
    queue = (struct recording){0};
    original.close(device);
}

struct queued *queued_begin(struct device *device)
{
    assert(device->activation == DTYPE_BF16);
    original = wrapped = *device->ops;
    wrapped.close = queued_close;
    wrapped.alloc = queued_alloc;
    wrapped.free = queued_free;
    wrapped.upload = queued_upload;
    wrapped.download = queued_download;
    wrapped.available = queued_available;
    wrapped.clear = queued_clear;
    wrapped.sync = queued_sync;
    wrapped.conv_new = queued_conv_new;
    wrapped.conv = queued_conv;
    wrapped.conv_back = queued_conv_back;
    wrapped.max_pool = queued_max_pool;
    wrapped.max_pool_back = queued_max_pool_back;
    wrapped.average_pool = queued_average_pool;
    wrapped.average_pool_back = queued_average_pool_back;
    wrapped.stimulate = queued_stimulate;
    wrapped.mean_abs = queued_mean_abs;
    wrapped.ascend = queued_ascend;
    wrapped.record_begin = queued_record_begin;
    wrapped.record_end = queued_record_end;
    wrapped.recording_free = queued_recording_free;
    wrapped.replay = queued_replay;
    wrapped.resize = queued_resize;
    wrapped.detail = queued_detail;
    wrapped.crop = queued_crop;
    wrapped.add_crop = queued_add_crop;
    device->ops = &wrapped;
    device->records = true;
    device->activation = DTYPE_F16;
    queued_reset();
    return &queued;
}

void queued_reset(void)
{
    queued = (struct queued){.available = SIZE_MAX, .taken = queued.taken, .overflow_above = INFINITY};
}
