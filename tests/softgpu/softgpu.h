/* A GPU in software: the CUDA runtime, cuDNN's graph interface and cuBLASLt on the CPU, for tests of the CUDA device
 * where there is no GPU. It proves logic (schedules, lifetimes, bounds, errors), not speed and not NVIDIA's arithmetic.
 * This header is what tests may ask of it and tell it; include/ is what the CUDA device sees.
 *
 * Work is queued on streams and runs when something waits for it, streams in an order drawn by SOFTGPU_SEED; a block's
 * threads and a grid's blocks run in shuffled order. Fresh device memory is full of NaNs. There is no default stream:
 * work on a NULL stream is refused. Calls may come from any thread; they take turns.
 *
 * Environment, read at the first call and by softgpu_reset:
 *   SOFTGPU_SEED      of all orders (1); 0: everything in order
 *   SOFTGPU_MEMORY    bytes of each GPU (4 GiB)
 *   SOFTGPU_DEVICES   number of GPUs (2)
 *   SOFTGPU_FAIL_AT   the number of the call that fails, counted from 1 (0: none)
 *   SOFTGPU_STRICT    if set, a process that leaks objects of the GPU ends with status 1 */
#ifndef SOFTGPU_H
#define SOFTGPU_H

#ifdef __cplusplus
extern "C" {
#endif

/* Calls so far that may fail: everything that returns a status, but for what destroys, and for questions about errors
 * and devices. */
long softgpu_calls(void);

/* Lets the call fail that is the number-th from now, with a fitting error; the calls after it succeed again. 0: none. */
void softgpu_fail_at(long number);

/* Forgets a sticky error and starts counting anew; reads the environment again. Objects stay. */
void softgpu_reset(void);

/* What is alive: allocations, streams, events, graphs, descriptors, handles. Printed to stderr at the process's end. */
int softgpu_leaks(void);

long softgpu_allocations(void); /* successful cudaMalloc calls so far */
long softgpu_launches(void);    /* kernels and library calls that ran so far, replayed ones included */

/* Why there is a sticky error, one sentence; "" where there is none. */
const char *softgpu_failure(void);

#ifdef __cplusplus
}
#endif

#endif
