/* Launches of kernels. A block runs on one thread of the operating system, its threads one after the other on one
 * stack; a thread that waits (at a barrier, for its warp) keeps that stack, and the next thread gets another one. A
 * grid's blocks are shared out to several threads of the operating system.
 *
 * Checked are: the launch's limits; barriers that some threads of a block do not reach, or that are not the same for
 * all; warp operations whose lanes do not come together. */
#include "internal.h"

#include "fiber.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

enum { SHARED_MOST = 227 << 10, SHARED_DEFAULT = 48 << 10, FEW_THREADS = 1024 };

/* As include/softgpu_device.h declares it. */
__thread uint3 threadIdx, blockIdx;
__thread dim3 blockDim, gridDim;

/* The memory behind `extern __shared__ unsigned char dynamic_shared[];` */
__thread unsigned char dynamic_shared[SHARED_MOST] __align__(128);

struct launch {
    void (*kernel)(void);
    void (*call)(void (*kernel)(void), void *const *arguments);
    dim3 grid, block;
    size_t shared_bytes;
    int count; /* of arguments */
    max_align_t values[];
};

enum state { STATE_NEW, STATE_RUNNING, STATE_BARRIER, STATE_WARP, STATE_READY, STATE_DONE };

struct thread {
    enum state state;
    struct fiber *fiber; /* on which it waits */
    int line;            /* of the barrier or warp operation where it waits */
    unsigned mask;       /* the warp operation's lanes */
    int source;          /* whose value it wants; VOTE: which lanes' values are not 0 */
    uint64_t value, result;
};

enum { VOTE = -1 };

/* One thread of the operating system at work on a block. */
struct worker {
    struct worker *next; /* of all workers, so that their memory can be found */
    const struct launch *launch;
    void **arguments;
    int count, started, done; /* threads of the block */
    struct order order;
    uint64_t next_new; /* the thread that begins next */
    int current;
    int at_barrier, voted, vote; /* threads at the barrier, their votes so far, and the last barrier's */
    struct thread threads[BLOCK_MOST];
    unsigned waiting[BLOCK_MOST / WARP], alive[BLOCK_MOST / WARP]; /* lanes of each warp */
    int ready[BLOCK_MOST];                                        /* a ring */
    int ready_first, ready_count;
    struct fiber *idle[BLOCK_MOST + 1];
    int idle_count;
    struct fiber *fiber; /* that runs */
    bool failed;
    char failure[320];
};

static _Thread_local struct worker *worker;
static struct worker *workers;

/* Blocks -------------------------------------------------------------------------------------------------- */

static void fail(struct worker *w, const char *what)
{
    const dim3 *size = &w->launch->block;

    if (w->failed)
        return;
    w->failed = true;
    snprintf(w->failure, sizeof w->failure, "a kernel of (%u, %u, %u) threads, block (%u, %u, %u): %s", size->x,
             size->y, size->z, blockIdx.x, blockIdx.y, blockIdx.z, what);
}

static void thread_resume(struct worker *w, int thread)
{
    const dim3 *size = &w->launch->block;
    unsigned t = (unsigned)thread;

    w->current = thread;
    w->threads[thread].state = STATE_RUNNING;
    threadIdx = size->y == 1 && size->z == 1
                    ? (uint3){t, 0, 0}
                    : (uint3){t % size->x, t / size->x % size->y, t / size->x / size->y};
}

static void ready_push(struct worker *w, int thread)
{
    w->threads[thread].state = STATE_READY;
    w->ready[(w->ready_first + w->ready_count++) % BLOCK_MOST] = thread;
}

static int ready_pop(struct worker *w)
{
    int thread = w->ready[w->ready_first];

    w->ready_first = (w->ready_first + 1) % BLOCK_MOST;
    w->ready_count--;
    return thread;
}

/* If all lanes of the operation at which this lane waits, and that have not returned, are there, they get their
 * results; all but the one that runs become ready. */
static void warp_finish(struct worker *w, int lane_thread)
{
    int warp = lane_thread / WARP;
    struct thread *lanes = &w->threads[warp * WARP];
    const struct thread *asked = &w->threads[lane_thread];
    unsigned lanes_wanted = asked->mask & w->alive[warp], votes = 0;

    if ((w->waiting[warp] & lanes_wanted) != lanes_wanted)
        return;
    for (int lane = 0; lane < WARP; lane++)
        if (lanes_wanted >> lane & 1) {
            if (lanes[lane].mask != asked->mask || lanes[lane].line != asked->line) {
                fail(w, "lanes of one warp meet in different warp operations, or with different masks");
                return;
            }
            votes |= (unsigned)(lanes[lane].value != 0) << lane;
        }
    for (int lane = 0; lane < WARP; lane++)
        if (lanes_wanted >> lane & 1) {
            int source = lanes[lane].source;

            if (source == VOTE)
                lanes[lane].result = votes;
            else /* what a lane that takes no part would give is undefined */
                lanes[lane].result = lanes_wanted >> source & 1 ? lanes[source].value : UINT64_MAX;
            if (lanes[lane].state == STATE_WARP)
                ready_push(w, warp * WARP + lane);
        }
    w->waiting[warp] &= ~lanes_wanted;
}

static void thread_done(struct worker *w, int thread)
{
    int warp = thread / WARP;

    w->threads[thread].state = STATE_DONE;
    w->done++;
    w->alive[warp] &= ~(1u << thread % WARP);
    for (int lane = 0; w->waiting[warp] && lane < WARP; lane++)
        if (w->waiting[warp] >> lane & 1)
            warp_finish(w, warp * WARP + lane);
}

/* What every fiber does: the block's threads that nobody has begun yet. */
static void fiber_body(void *argument)
{
    struct worker *w = argument;

    for (;;) {
        struct fiber *fiber;

        while (w->started < w->count && !w->failed) {
            thread_resume(w, (int)w->next_new);
            w->started++;
            w->next_new = order_next(&w->order, w->next_new);
            w->launch->call(w->launch->kernel, w->arguments);
            thread_done(w, w->current);
        }
        fiber = w->fiber;
        w->idle[w->idle_count++] = fiber;
        fiber_leave(fiber);
    }
}

/* The running thread gives its turn away until it is ready again. */
static void thread_wait(struct worker *w, enum state state)
{
    struct thread *thread = &w->threads[w->current];
    struct fiber *fiber = w->fiber;

    thread->state = state;
    thread->fiber = fiber;
    fiber_leave(fiber);
}

static void report_stuck(struct worker *w)
{
    int barrier = -1, warp = -1, returned_threads = 0;
    char what[160];

    for (int i = 0; i < w->count; i++) {
        if (w->threads[i].state == STATE_BARRIER)
            barrier = i;
        if (w->threads[i].state == STATE_WARP)
            warp = i;
        returned_threads += w->threads[i].state == STATE_DONE;
    }
    if (warp >= 0)
        snprintf(what, sizeof what, "thread %d waits in the warp operation of line %d for lanes that never come", warp,
                 w->threads[warp].line);
    else
        snprintf(what, sizeof what, "divergent barrier: thread %d waits in line %d, where %d threads have returned",
                 barrier, w->threads[barrier].line, returned_threads);
    fail(w, what);
}

static void block_init(struct worker *w, const struct launch *launch)
{
    w->launch = launch;
    w->count = (int)(launch->block.x * launch->block.y * launch->block.z);
    w->next_new = w->order.start;
    w->started = w->done = w->at_barrier = w->voted = w->ready_count = 0;
    for (int i = 0; i < w->count; i++)
        w->threads[i].state = STATE_NEW;
    for (int i = 0; i * WARP < w->count; i++) {
        int lanes = w->count - i * WARP;

        w->waiting[i] = 0;
        w->alive[i] = lanes < WARP ? (1u << lanes) - 1 : UINT32_MAX;
    }
    if (launch->shared_bytes)
        memset(dynamic_shared, 0xff, launch->shared_bytes);
}

/* Fibers in the middle of a thread begin anew: there is nobody to go on. */
static void block_abandon(struct worker *w)
{
    for (int i = 0; i < w->count; i++)
        if (w->threads[i].state != STATE_NEW && w->threads[i].state != STATE_DONE) {
            fiber_restart(w->threads[i].fiber);
            w->idle[w->idle_count++] = w->threads[i].fiber;
        }
}

static void block_run(struct worker *w, const struct launch *launch, uint64_t block)
{
    const dim3 *grid = &launch->grid;

    block_init(w, launch);
    blockIdx = (uint3){(unsigned)(block % grid->x), (unsigned)(block / grid->x % grid->y),
                       (unsigned)(block / grid->x / grid->y)};
    while (w->done < w->count && !w->failed) {
        if (w->ready_count > 0) {
            int thread = ready_pop(w);

            w->fiber = w->threads[thread].fiber;
            thread_resume(w, thread);
            fiber_enter(w->fiber);
        } else if (w->started < w->count) {
            w->fiber = w->idle_count > 0 ? w->idle[--w->idle_count] : fiber_new(fiber_body, w);
            fiber_enter(w->fiber);
        } else {
            report_stuck(w);
        }
    }
    if (w->failed)
        block_abandon(w);
}

/* What kernels call ----------------------------------------------------------------------------------------- */

int softgpu_barrier(int voted, int line);
uint64_t softgpu_exchange(unsigned mask, uint64_t value, int source, int line);
unsigned softgpu_ballot(unsigned mask, bool voted, int line);

int softgpu_barrier(int voted, int line)
{
    struct worker *w = worker;

    w->threads[w->current].line = line;
    w->voted += voted;
    if (++w->at_barrier < w->count) {
        thread_wait(w, STATE_BARRIER);
        return w->vote;
    }
    w->vote = w->voted;
    w->voted = w->at_barrier = 0;
    for (int i = 0; i < w->count && !w->failed; i++)
        if (w->threads[i].line != line)
            fail(w, "divergent barrier: the threads of one block wait in different lines");
    if (w->failed)
        thread_wait(w, STATE_BARRIER);
    for (uint64_t i = 0, thread = w->order.start; i < w->order.count; i++) {
        if ((int)thread != w->current)
            ready_push(w, (int)thread);
        thread = order_next(&w->order, thread);
    }
    return w->vote;
}

static uint64_t warp_meet(unsigned mask, uint64_t value, int source, int line)
{
    struct worker *w = worker;
    int current = w->current;
    struct thread *thread = &w->threads[current];

    thread->line = line;
    thread->mask = mask;
    thread->source = source;
    thread->value = value;
    w->waiting[current / WARP] |= 1u << current % WARP;
    if (!(mask >> current % WARP & 1))
        fail(w, "a lane takes part in a warp operation whose mask leaves it out");
    else
        warp_finish(w, current);
    if (w->failed || w->waiting[current / WARP] >> current % WARP & 1)
        thread_wait(w, STATE_WARP);
    return thread->result;
}

uint64_t softgpu_exchange(unsigned mask, uint64_t value, int source, int line)
{
    return warp_meet(mask, value, source & (WARP - 1), line);
}

unsigned softgpu_ballot(unsigned mask, bool voted, int line)
{
    return (unsigned)warp_meet(mask, voted, VOTE, line);
}

/* Grids --------------------------------------------------------------------------------------------------- */

static struct worker *worker_here(void)
{
    if (!worker) {
        worker = host_alloc(sizeof *worker);
#pragma omp critical(softgpu_workers)
        {
            worker->next = workers;
            workers = worker;
        }
    }
    return worker;
}

/* Where each argument lies in the values of a launch. */
static size_t argument_room(size_t bytes)
{
    return (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
}

static void **arguments_of(const struct launch *launch)
{
    return (void **)(uintptr_t)launch->values;
}

static void launch_run(void *payload)
{
    const struct launch *launch = payload;
    uint64_t blocks = (uint64_t)launch->grid.x * launch->grid.y * launch->grid.z, next = 0;
    uint64_t threads = blocks * launch->block.x * launch->block.y * launch->block.z;
    struct order order = order_new(blocks), threads_order = order_new(threads / blocks);
    char failure[320] = "";
    bool failed = false;

    launch_count();
#pragma omp parallel if (blocks > 1 && threads > FEW_THREADS)
    {
        struct worker *w = worker_here();
        uint64_t block;

        w->failed = false;
        w->arguments = arguments_of(launch);
        w->order = threads_order;
        blockDim = launch->block;
        gridDim = launch->grid;
#ifdef __SANITIZE_ADDRESS__
        __asan_poison_memory_region(dynamic_shared, SHARED_MOST);
        __asan_unpoison_memory_region(dynamic_shared, launch->shared_bytes);
#endif
        while ((block = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < blocks && !w->failed)
            block_run(w, launch, order_at(&order, block));
#ifdef __SANITIZE_ADDRESS__
        __asan_unpoison_memory_region(dynamic_shared, SHARED_MOST);
#endif
        if (w->failed) {
            __atomic_store_n(&next, blocks, __ATOMIC_RELAXED);
#pragma omp critical(softgpu_workers)
            {
                memcpy(failure, w->failure, sizeof failure);
                failed = true;
            }
        }
    }
    if (failed)
        failure_set(cudaErrorLaunchFailure, "%s", failure);
}

/* Kernels that may have more than the default of dynamic shared memory. */
static struct {
    const void *kernel;
    size_t bytes;
} allowances[64];
static int allowance_count;

cudaError_t cudaFuncSetAttribute(const void *func, enum cudaFuncAttribute attr, int value)
{
    ONE_AT_A_TIME;
    int i = 0;

    if (call_fails())
        return returned(cudaErrorInvalidDeviceFunction);
    if (failure_code() != cudaSuccess)
        return returned(failure_code());
    if (!func)
        return returned(cudaErrorInvalidDeviceFunction);
    if (attr == cudaFuncAttributePreferredSharedMemoryCarveout)
        return cudaSuccess;
    if (attr != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || value > SHARED_MOST)
        return returned(cudaErrorInvalidValue);
    while (i < allowance_count && allowances[i].kernel != func)
        i++;
    if (i == (int)(sizeof allowances / sizeof *allowances))
        return returned(cudaErrorNotSupported);
    if (i == allowance_count)
        allowance_count++;
    allowances[i].kernel = func;
    allowances[i].bytes = (size_t)value;
    return cudaSuccess;
}

static size_t shared_allowed(const void *kernel)
{
    for (int i = 0; i < allowance_count; i++)
        if (allowances[i].kernel == kernel)
            return allowances[i].bytes;
    return SHARED_DEFAULT;
}

static cudaError_t config_check(const cudaLaunchConfig_t *config, void (*kernel)(void))
{
    const dim3 *grid = &config->gridDim, *block = &config->blockDim;

    if (!kernel)
        return cudaErrorInvalidDeviceFunction;
    if (config->numAttrs > 0)
        return cudaErrorNotSupported;
    if (grid->x == 0 || grid->y == 0 || grid->z == 0 || block->x == 0 || block->y == 0 || block->z == 0 ||
        grid->x > INT32_MAX || grid->y > UINT16_MAX || grid->z > UINT16_MAX || block->x > BLOCK_MOST ||
        block->y > BLOCK_MOST || block->z > 64 || block->x * block->y * block->z > BLOCK_MOST)
        return cudaErrorInvalidConfiguration;
    if (config->dynamicSmemBytes > shared_allowed((const void *)(uintptr_t)kernel))
        return cudaErrorInvalidValue;
    return cudaSuccess;
}

cudaError_t softgpu_launch(const cudaLaunchConfig_t *config, void (*kernel)(void),
                           void (*call)(void (*kernel)(void), void *const *arguments), int count,
                           const void *const *arguments, const size_t *sizes);

cudaError_t softgpu_launch(const cudaLaunchConfig_t *config, void (*kernel)(void),
                           void (*call)(void (*kernel)(void), void *const *arguments), int count,
                           const void *const *arguments, const size_t *sizes)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();
    cudaError_t code = stream_check(config->stream);
    size_t pointers = argument_room((size_t)count * sizeof(void *)), bytes = pointers;
    struct launch *launch;
    struct task *task;
    char *value;

    if (code == cudaSuccess)
        code = fails ? cudaErrorLaunchOutOfResources : config_check(config, kernel);
    if (code != cudaSuccess)
        return returned(code);
    for (int i = 0; i < count; i++)
        bytes += argument_room(sizes[i]);
    task = task_new(sizeof *launch + bytes, launch_run, NULL);
    launch = task_payload(task);
    *launch = (struct launch){.kernel = kernel,
                              .call = call,
                              .grid = config->gridDim,
                              .block = config->blockDim,
                              .shared_bytes = config->dynamicSmemBytes,
                              .count = count};
    value = (char *)launch->values + pointers;
    for (int i = 0; i < count; i++) {
        arguments_of(launch)[i] = memcpy(value, arguments[i], sizes[i]);
        value += argument_room(sizes[i]);
    }
    return returned(task_queue(config->stream, task));
}
