/* What the files of the software GPU share: objects that are counted, calls that may be told to fail, the sticky
 * error, memory, and work that is queued on streams or recorded in graphs. */
#ifndef SOFTGPU_INTERNAL_H
#define SOFTGPU_INTERNAL_H

#include "softgpu.h"

#include <cuda_runtime.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* control.c ----------------------------------------------------------------------------------------------- */

enum { DEVICES_MOST = 8, WARP = 32, BLOCK_MOST = 1024 };

struct control {
    uint64_t seed; /* 0: nothing is shuffled */
    size_t memory; /* bytes of each GPU */
    int devices;
};

/* Read from the environment at the first call. */
const struct control *control(void);

enum object {
    OBJECT_ALLOCATION,
    OBJECT_PINNED,
    OBJECT_STREAM,
    OBJECT_EVENT,
    OBJECT_GRAPH,
    OBJECT_EXEC,
    OBJECT_CUDNN_HANDLE,
    OBJECT_CUDNN_DESCRIPTOR,
    OBJECT_CUBLAS_HANDLE,
    OBJECT_CUBLAS_DESCRIPTOR,
    OBJECTS
};
void object_count(enum object kind, int change);

void allocation_count(void);
void launch_count(void);

/* Counts a call that may fail; true where it has been told to. */
bool call_fails(void);

/* The next number of a sequence that the seed determines. */
uint64_t random_next(void);

/* One of [0, count); 0 where nothing is shuffled. */
uint64_t random_below(uint64_t count);

/* An order of [0, count), count below 2^32: order_at(order, i) is the number at place i, and order_next what comes
 * behind a number. */
struct order {
    uint64_t count, step, start;
};
struct order order_new(uint64_t count);
static inline uint64_t order_at(const struct order *order, uint64_t i)
{
    return (i * order->step + order->start) % order->count;
}
static inline uint64_t order_next(const struct order *order, uint64_t number)
{
    return number + order->step < order->count ? number + order->step : number + order->step - order->count;
}

/* Every function of the three libraries begins with this: one call at a time. Calls may nest. */
void calls_lock(void);
void calls_unlock(const int *unused);
#define ONE_AT_A_TIME __attribute__((cleanup(calls_unlock), unused)) const int locked_ = (calls_lock(), 0)

/* Memory of the host, or the end of the process: tests need no tale of a host without memory. */
void *host_alloc(size_t bytes);
void *host_realloc(void *memory, size_t bytes);

/* device.c ------------------------------------------------------------------------------------------------ */

int device_current(void);

/* Keeps code for cudaGetLastError unless it is success, and returns it. */
cudaError_t returned(cudaError_t code);

/* Makes code the answer of all calls from now on, and keeps and prints the first sentence. */
void failure_set(cudaError_t code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The sticky error, or cudaSuccess. */
cudaError_t failure_code(void);
void failure_clear(void);

/* memory.c ------------------------------------------------------------------------------------------------ */

/* Whether [address, address + bytes) lies in one allocation of the GPU; device -1: of any. */
bool memory_is_device(const void *address, size_t bytes, int device);

/* Whether address lies in device memory, or in pinned host memory. */
bool memory_starts_in_device(const void *address);
bool memory_is_pinned(const void *address, size_t bytes);

/* stream.c ------------------------------------------------------------------------------------------------ */

/* Work that can be queued and, once recorded, repeated. Its payload follows it. */
struct task {
    void (*run)(void *payload);
    void (*release)(void *payload); /* may be NULL */
    int references;
    max_align_t payload[];
};
struct task *task_new(size_t payload_bytes, void (*run)(void *), void (*release)(void *));
static inline void *task_payload(struct task *task)
{
    return task->payload;
}
void task_release(struct task *task);

/* Queues task on stream, or records it where the stream is capturing. Takes the task. */
cudaError_t task_queue(cudaStream_t stream, struct task *task);

/* Runs queued work until the stream is empty; NULL: until all are. */
void streams_run(cudaStream_t stream);

struct CUstream_st {
    struct CUstream_st *next; /* of all streams */
    int device;
    struct item *first, *last; /* queued */
    struct capture *capture;   /* NULL: work is queued; else recorded behind these nodes: */
    struct nodes *behind;
};

/* cudaSuccess for a stream on which this thread may work now; else what the caller should answer. */
cudaError_t stream_check(cudaStream_t stream);

/* graph.c ------------------------------------------------------------------------------------------------- */

/* A set of nodes of the graph that is being recorded. */
struct nodes {
    int references, count;
    int index[];
};
void nodes_release(struct nodes *nodes);

/* Recording: at most one capture at a time, of any number of streams. */
cudaError_t capture_add(cudaStream_t stream, struct task *task);
void capture_join(cudaStream_t stream, struct nodes *nodes);
uint64_t capture_id(void); /* of the active capture, 0 where there is none */
struct capture *capture_active(void);
cudaError_t capture_invalidate(cudaError_t code);

/* For calls that are not permitted during a capture: cudaSuccess where there is none, else an error; the capture is
 * then invalid. */
cudaError_t capture_forbids(void);

#ifdef __cplusplus
}
#endif

#endif
