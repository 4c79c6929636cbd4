/* Copies and fills of device memory, as work on a stream. What they touch is looked up when they are asked for. */
#include "internal.h"

#include <string.h>

struct copy {
    void *to;
    const void *from; /* NULL: staged */
    size_t bytes;
    max_align_t staged[];
};

static void copy_run(void *payload)
{
    struct copy *copy = payload;

    memmove(copy->to, copy->from ? copy->from : (const void *)copy->staged, copy->bytes);
}

/* Whether the two ends are where kind says; finds kind out where it is Default. */
static bool ends_fit(void *to, const void *from, size_t bytes, enum cudaMemcpyKind *kind)
{
    bool to_device = memory_starts_in_device(to), from_device = memory_starts_in_device(from);

    if (*kind == cudaMemcpyDefault)
        *kind = to_device ? from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
                          : from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
    return to_device == (*kind == cudaMemcpyHostToDevice || *kind == cudaMemcpyDeviceToDevice) &&
           from_device == (*kind == cudaMemcpyDeviceToHost || *kind == cudaMemcpyDeviceToDevice) &&
           (!to_device || memory_is_device(to, bytes, -1)) && (!from_device || memory_is_device(from, bytes, -1));
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t count, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    ONE_AT_A_TIME;
    bool fails = call_fails(), staged, blocking;
    cudaError_t code = stream_check(stream);
    struct task *task;
    struct copy *copy;

    if (code != cudaSuccess || count == 0)
        return returned(code);
    if (fails || (unsigned)kind > cudaMemcpyDefault || !ends_fit(dst, src, count, &kind))
        return returned(cudaErrorInvalidValue);
    staged = kind == cudaMemcpyHostToDevice && !memory_is_pinned(src, count);
    blocking = kind == cudaMemcpyHostToHost || (kind == cudaMemcpyDeviceToHost && !memory_is_pinned(dst, count));
    if (stream->capture && (staged || blocking))
        return returned(capture_invalidate(cudaErrorStreamCaptureUnsupported));
    task = task_new(sizeof *copy + (staged ? count : 0), copy_run, NULL);
    copy = task_payload(task);
    *copy = (struct copy){.to = dst, .from = staged ? NULL : src, .bytes = count};
    if (staged)
        memcpy(copy->staged, src, count);
    code = task_queue(stream, task);
    if (code == cudaSuccess && blocking) {
        streams_run(stream);
        code = failure_code();
    }
    return returned(code);
}

struct fill {
    void *to;
    int value;
    size_t bytes;
};

static void fill_run(void *payload)
{
    const struct fill *fill = payload;

    memset(fill->to, fill->value, fill->bytes);
}

cudaError_t cudaMemsetAsync(void *devPtr, int value, size_t count, cudaStream_t stream)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();
    cudaError_t code = stream_check(stream);
    struct task *task;
    struct fill *fill;

    if (code != cudaSuccess || count == 0)
        return returned(code);
    if (fails || !memory_is_device(devPtr, count, -1))
        return returned(cudaErrorInvalidValue);
    task = task_new(sizeof(struct fill), fill_run, NULL);
    fill = task_payload(task);
    *fill = (struct fill){devPtr, value, count};
    return returned(task_queue(stream, task));
}
