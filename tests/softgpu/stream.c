/* Streams and events. Work waits in its stream's queue until somebody waits for it; then the heads of all queues that
 * no event holds back run in random order until what is waited for has happened. Copies and fills are in copy.c. */
#include "internal.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

/* One recording of an event: done when its stream came by, or, while capturing, a place in the graph. */
struct record {
    int references;
    bool done;
    double seconds;
    uint64_t capture;     /* 0: not captured */
    struct nodes *behind; /* captured: behind these nodes */
};

struct CUevent_st {
    struct record *record; /* the latest, NULL before the first */
    bool timed;
};

/* Either work, or a record to be set done or waited for. */
struct item {
    struct item *next;
    struct task *task;
    struct record *record;
    bool waits;
};

static struct CUstream_st *streams;

/* Tasks --------------------------------------------------------------------------------------------------- */

struct task *task_new(size_t payload_bytes, void (*run)(void *), void (*release)(void *))
{
    struct task *task = host_alloc(sizeof *task + payload_bytes);

    task->run = run;
    task->release = release;
    task->references = 1;
    return task;
}

void task_release(struct task *task)
{
    if (--task->references > 0)
        return;
    if (task->release)
        task->release(task->payload);
    free(task);
}

static void record_release(struct record *record)
{
    if (!record || --record->references > 0)
        return;
    nodes_release(record->behind);
    free(record);
}

/* Queues ---------------------------------------------------------------------------------------------------- */

static void item_append(cudaStream_t stream, struct item made)
{
    struct item *item = host_alloc(sizeof *item);

    *item = made;
    if (stream->last)
        stream->last->next = item;
    else
        stream->first = item;
    stream->last = item;
}

cudaError_t task_queue(cudaStream_t stream, struct task *task)
{
    cudaError_t code = stream_check(stream);

    if (code != cudaSuccess)
        task_release(task);
    else if (stream->capture)
        return capture_add(stream, task);
    else
        item_append(stream, (struct item){.task = task});
    return code;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Runs what stands at the head of the queue. After a sticky error work is dropped, but nobody waits for ever. */
static void head_run(cudaStream_t stream)
{
    struct item *item = stream->first;

    stream->first = item->next;
    if (!stream->first)
        stream->last = NULL;
    if (item->task) {
        if (failure_code() == cudaSuccess)
            item->task->run(item->task->payload);
        task_release(item->task);
    } else if (!item->waits) {
        item->record->done = true;
        item->record->seconds = now();
    }
    record_release(item->record);
    free(item);
}

static bool head_is_free(const struct CUstream_st *stream)
{
    const struct item *item = stream->first;

    return item && !(item->waits && !item->record->done);
}

/* Runs one queue's head, any that may. */
static void step(void)
{
    uint64_t free_heads = 0, chosen;

    for (struct CUstream_st *s = streams; s; s = s->next)
        free_heads += head_is_free(s);
    assert(free_heads > 0); /* an event is recorded before it can be waited for */
    chosen = random_below(free_heads);
    for (struct CUstream_st *s = streams; s; s = s->next)
        if (head_is_free(s) && chosen-- == 0) {
            head_run(s);
            return;
        }
}

static bool is_pending(const struct CUstream_st *stream)
{
    if (stream)
        return stream->first;
    for (struct CUstream_st *s = streams; s; s = s->next)
        if (s->first)
            return true;
    return false;
}

void streams_run(cudaStream_t stream)
{
    while (is_pending(stream))
        step();
}

/* Streams ------------------------------------------------------------------------------------------------- */

static bool is_stream(cudaStream_t stream)
{
    for (struct CUstream_st *s = streams; s; s = s->next)
        if (s == stream)
            return true;
    return false;
}

cudaError_t stream_check(cudaStream_t stream)
{
    if (failure_code() != cudaSuccess)
        return failure_code();
    if (!is_stream(stream) || stream->device != device_current())
        return cudaErrorInvalidResourceHandle;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *pStream, unsigned int flags)
{
    ONE_AT_A_TIME;
    cudaStream_t stream;

    if (call_fails())
        return returned(cudaErrorMemoryAllocation);
    if (failure_code() != cudaSuccess)
        return returned(failure_code());
    if (control()->devices == 0)
        return returned(cudaErrorNoDevice);
    if (!pStream || flags & ~(unsigned)cudaStreamNonBlocking)
        return returned(cudaErrorInvalidValue);
    stream = host_alloc(sizeof *stream);
    stream->device = device_current();
    stream->next = streams;
    streams = stream;
    *pStream = stream;
    object_count(OBJECT_STREAM, 1);
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *pStream)
{
    return cudaStreamCreateWithFlags(pStream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    ONE_AT_A_TIME;
    struct CUstream_st **link = &streams;

    if (!is_stream(stream))
        return returned(cudaErrorInvalidResourceHandle);
    if (stream->capture) {
        cudaGraph_t unfinished;

        capture_invalidate(cudaErrorStreamCaptureInvalidated);
        cudaStreamEndCapture(stream, &unfinished);
    }
    streams_run(stream);
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    nodes_release(stream->behind);
    free(stream);
    object_count(OBJECT_STREAM, -1);
    return returned(failure_code());
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();
    cudaError_t code = stream_check(stream);

    if (code != cudaSuccess)
        return returned(code);
    if (stream->capture)
        return returned(capture_invalidate(cudaErrorStreamCaptureUnsupported));
    streams_run(stream);
    return returned(fails ? cudaErrorLaunchFailure : failure_code());
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    ONE_AT_A_TIME;
    cudaError_t code = stream_check(stream);

    if (code != cudaSuccess)
        return returned(code);
    if (stream->capture)
        return returned(capture_invalidate(cudaErrorStreamCaptureUnsupported));
    if (!stream->first)
        return cudaSuccess;
    step(); /* whoever asks in a loop gets his answer in the end */
    return stream->first ? cudaErrorNotReady : returned(failure_code());
}

cudaError_t cudaDeviceSynchronize(void)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();

    if (capture_active())
        return returned(capture_invalidate(cudaErrorStreamCaptureUnsupported));
    streams_run(NULL);
    return returned(fails ? cudaErrorLaunchFailure : failure_code());
}

/* Events -------------------------------------------------------------------------------------------------- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags)
{
    ONE_AT_A_TIME;
    if (call_fails())
        return returned(cudaErrorMemoryAllocation);
    if (failure_code() != cudaSuccess)
        return returned(failure_code());
    if (!event || flags & ~(unsigned)(cudaEventBlockingSync | cudaEventDisableTiming))
        return returned(cudaErrorInvalidValue);
    *event = host_alloc(sizeof **event);
    (*event)->timed = !(flags & cudaEventDisableTiming);
    object_count(OBJECT_EVENT, 1);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    ONE_AT_A_TIME;
    if (!event)
        return returned(cudaErrorInvalidResourceHandle);
    record_release(event->record);
    free(event);
    object_count(OBJECT_EVENT, -1);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();
    cudaError_t code = stream_check(stream);
    struct record *record;

    if (code == cudaSuccess && !event)
        code = cudaErrorInvalidResourceHandle;
    if (code != cudaSuccess || fails)
        return returned(code != cudaSuccess ? code : cudaErrorUnknown);
    record = host_alloc(sizeof *record);
    record->references = 1;
    record_release(event->record);
    event->record = record;
    if (stream->capture) {
        record->capture = capture_id();
        record->behind = stream->behind;
        record->behind->references++;
        return cudaSuccess;
    }
    record->references++;
    item_append(stream, (struct item){.record = record});
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();
    cudaError_t code = stream_check(stream);

    if (code == cudaSuccess && !event)
        code = cudaErrorInvalidResourceHandle;
    if (code == cudaSuccess && (flags || fails))
        code = flags ? cudaErrorInvalidValue : cudaErrorUnknown;
    if (code != cudaSuccess || !event->record)
        return returned(code);
    if (event->record->capture) {
        if (event->record->capture != capture_id())
            return returned(cudaErrorCapturedEvent);
        capture_join(stream, event->record->behind);
        return cudaSuccess;
    }
    if (stream->capture)
        return returned(capture_invalidate(cudaErrorStreamCaptureIsolation));
    event->record->references++;
    item_append(stream, (struct item){.record = event->record, .waits = true});
    return cudaSuccess;
}

/* Of an event that somebody on the host asks about. */
static cudaError_t event_check(cudaEvent_t event)
{
    if (!event)
        return cudaErrorInvalidResourceHandle;
    if (event->record && event->record->capture)
        return capture_active() ? capture_invalidate(cudaErrorCapturedEvent) : cudaErrorCapturedEvent;
    return failure_code();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();
    cudaError_t code = event_check(event);

    if (code != cudaSuccess)
        return returned(code);
    while (event->record && !event->record->done)
        step();
    return returned(fails ? cudaErrorLaunchFailure : failure_code());
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    ONE_AT_A_TIME;
    cudaError_t code = event_check(event);

    if (code != cudaSuccess)
        return returned(code);
    if (event->record && !event->record->done)
        step();
    return event->record && !event->record->done ? cudaErrorNotReady : returned(failure_code());
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    ONE_AT_A_TIME;
    cudaError_t code = event_check(start);

    if (code == cudaSuccess)
        code = event_check(end);
    if (code != cudaSuccess)
        return returned(code);
    if (!start->timed || !end->timed || !start->record || !end->record)
        return returned(cudaErrorInvalidResourceHandle);
    if (!start->record->done || !end->record->done)
        return cudaErrorNotReady;
    *ms = (float)((end->record->seconds - start->record->seconds) * 1e3);
    return cudaSuccess;
}
