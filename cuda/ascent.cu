/* Stimulation and ascent: the loss with its seed gradient, mean |g|, and the step. The numbers stay in device
 * memory (struct ascent), where a kernel decides whether a step is applied.
 *
 * A sum is made of at most CUDA_PARTS parts, by as many blocks, and then of the parts by one warp: what is added to
 * what depends on the tensor's shape alone, not on the GPU or on timing. Doubles are slow on many GPUs, so a thread
 * adds eight values as floats, and only their sum, off by less than 2^-21 of itself, as a double. */
#include "value.cuh"

#include <math.h>

enum { WARP = 32, THREADS = 256, STRIDE = CUDA_PARTS * THREADS };

/* The sum over a warp's threads, in each of them. */
static __device__ inline double warp_sum(double value)
{
    for (int step = WARP / 2; step > 0; step /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

/* parts[block] = the sum over a block's threads. */
static __device__ inline void part_write(double *parts, double value)
{
    __shared__ double warps[THREADS / WARP];

    value = warp_sum(value);
    if (threadIdx.x % WARP == 0)
        warps[threadIdx.x / WARP] = value;
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int warp = 1; warp < THREADS / WARP; warp++)
        value += warps[warp];
    parts[blockIdx.x] = value;
}

/* The sum of all parts, in each thread of the one warp that calls it. */
static __device__ inline double parts_sum(const double *parts, int count)
{
    double sum = 0;

    for (int part = (int)threadIdx.x; part < count; part += WARP)
        sum += parts[part];
    return warp_sum(sum);
}

/* The parts that a sum over so many items is made of: an item a thread, and if that wants more than CUDA_PARTS
 * blocks, more items a thread, STRIDE apart. */
static int parts_of(int64_t items)
{
    int64_t blocks = blocks_for(items, THREADS);

    return blocks < CUDA_PARTS ? (int)blocks : CUDA_PARTS;
}

/* Stimulation --------------------------------------------------------------------------------------------- */

/* parts = shares of the sum of a^2 over s's region; da[row][column][c] = [da +] seed_scale * a there, [da +] 0
 * elsewhere. Items of N channels, a pixel's one after the other, are dealt out to all threads of the grid in turn:
 * one piece of memory after the other. Moves 4 bytes an element in 16 bits, 6 where it adds, and 2 where da is
 * NULL. */
template <typename T, int N>
static __global__ void cuda_stimulate_kernel(struct stimulation s, float seed_scale, struct tensor a,
                                             struct tensor da, bool accumulate, double *parts)
{
    int groups = a.c / N;
    int64_t items = a.h * a.w * groups;
    double sum = 0;

    for (int64_t item = (int64_t)blockIdx.x * THREADS + threadIdx.x; item < items; item += STRIDE) {
        int64_t pixel = item / groups, row = pixel / a.w, column = pixel % a.w;
        int c = (int)(item % groups) * N;
        bool inside = row >= s.top && row < s.bottom && column >= s.left && column < s.right;
        values<N> value = {}, seed = {};
        float squares = 0;

        if (inside)
            value = values_load<N>(pixel_at<T>(a, row, column, c));
        for (int i = 0; i < N; i++)
            squares += value.v[i] * value.v[i];
        sum += (double)squares;
        if (!da.data || (accumulate && !inside))
            continue;
        if (accumulate)
            seed = values_load<N>(pixel_at<T>(da, row, column, c));
        for (int i = 0; i < N; i++)
            seed.v[i] += seed_scale * value.v[i];
        values_store(pixel_at<T>(da, row, column, c), seed);
    }
    part_write(parts, sum);
}

/* loss += scale * sum of the parts. One warp. */
static __global__ void cuda_stimulate_fold_kernel(const double *parts, int count, double scale,
                                                  struct ascent *state)
{
    double sum = parts_sum(parts, count);

    if (threadIdx.x == 0)
        state->current.loss += scale * sum;
}

/* Whether eights of channels are packs. One channel of a layer may be a target, too. */
static bool in_eights(const struct tensor *t)
{
    return t->c % 8 == 0 && t->pitch % 8 == 0 && (uintptr_t)t->data % 16 == 0;
}

template <typename T, int N>
static void stimulate_in(struct cuda *cuda, const struct stimulation *stimulation, const struct tensor *a,
                         const struct tensor *da, bool accumulate, struct ascent *state)
{
    int parts = parts_of(a->h * a->w * (a->c / N));

    CUDA_LAUNCH(cuda, (cuda_stimulate_kernel<T, N>), (unsigned)parts, THREADS, 0, *stimulation,
                (float)stimulation->seed_scale, *a, tensor_or_none(da), accumulate, cuda->parts);
    CUDA_LAUNCH(cuda, cuda_stimulate_fold_kernel, 1, WARP, 0, cuda->parts, parts, stimulation->loss_scale, state);
}

void cuda_stimulate(struct device *device, const struct stimulation *stimulation, const struct tensor *a,
                    const struct tensor *da, bool accumulate, struct ascent *state)
{
    type_dispatch(a->type, [&]<typename T>(T) {
        if (in_eights(a) && (!da || in_eights(da)))
            stimulate_in<T, 8>(cuda_of(device), stimulation, a, da, accumulate, state);
        else
            stimulate_in<T, 1>(cuda_of(device), stimulation, a, da, accumulate, state);
    });
}

/* Mean |g| ------------------------------------------------------------------------------------------------- */

/* parts = shares of the sum of |g| over n elements without gaps. Eights are dealt out to all threads of the grid in
 * turn; the last may be a part of one. Moves 4 bytes an element. */
static __global__ void cuda_mean_abs_kernel(const float *g, int64_t n, double *parts)
{
    double sum = 0;

    for (int64_t i = 8 * ((int64_t)blockIdx.x * THREADS + threadIdx.x); i < n; i += 8 * STRIDE) {
        values<> value = {};
        float some = 0;

        if (i + 8 <= n)
            value = values_load(g + i);
        else
            for (int j = 0; j < 8; j++)
                value.v[j] = i + j < n ? g[i + j] : 0;
        for (int j = 0; j < 8; j++)
            some += fabsf(value.v[j]);
        sum += (double)some;
    }
    part_write(parts, sum);
}

/* mean_abs_gradient = scale * sum of the parts. One warp. */
static __global__ void cuda_mean_abs_fold_kernel(const double *parts, int count, double scale, struct ascent *state)
{
    double sum = parts_sum(parts, count);

    if (threadIdx.x == 0)
        state->current.mean_abs_gradient = scale * sum;
}

void cuda_mean_abs(struct device *device, const struct tensor *g, double scale, struct ascent *state)
{
    struct cuda *cuda = cuda_of(device);
    int64_t n = g->h * g->w * g->c;
    int parts = parts_of(blocks_for(n, 8));

    assert((uintptr_t)g->data % 16 == 0);
    CUDA_LAUNCH(cuda, cuda_mean_abs_kernel, (unsigned)parts, THREADS, 0, (const float *)g->data, n, cuda->parts);
    CUDA_LAUNCH(cuda, cuda_mean_abs_fold_kernel, 1, WARP, 0, cuda->parts, parts, scale / (double)n, state);
}

/* Ascent -------------------------------------------------------------------------------------------------- */

/* What device_ascend says of the state, done by one thread. *factor = what g is to be multiplied by; 0: the step is
 * not applied. */
static __global__ void cuda_ascend_decide_kernel(double step, double scale, double max_loss, struct ascent *state,
                                                 double *factor)
{
    struct step_record current = state->current;

    state->current = {};
    *factor = 0;
    if (state->stopped || state->overflowed)
        return;
    if (!isfinite(current.mean_abs_gradient)) {
        state->overflowed = 1;
        return;
    }
    state->records[state->steps++] = current;
    if (current.loss > max_loss)
        state->stopped = 1;
    else
        *factor = step * scale / fmax(current.mean_abs_gradient, 1e-7);
}

/* x = x + factor * g, held to [-limit, limit], over n elements without gaps; x is not touched where factor is 0, since
 * g may not be finite then.
 * A thread takes four elements, the last fewer. Moves 12 bytes an element. */
static __global__ void cuda_ascend_kernel(float *x, const float *g, int64_t n, const double *factor, float limit)
{
    int64_t i = 4 * ((int64_t)blockIdx.x * THREADS + threadIdx.x);
    float by = (float)*factor;

    if (by == 0)
        return;
    if (i + 4 <= n) {
        values<4> sum = values_load<4>(x + i), step = values_load<4>(g + i);

        for (int j = 0; j < 4; j++)
            sum.v[j] = fminf(fmaxf(sum.v[j] + by * step.v[j], -limit), limit);
        values_store(x + i, sum);
        return;
    }
    for (int j = 0; j < 4; j++)
        if (i + j < n)
            x[i + j] = fminf(fmaxf(x[i + j] + by * g[i + j], -limit), limit);
}

void cuda_ascend(struct device *device, const struct tensor *x, const struct tensor *g, double step, double scale,
                 double max_loss, double limit, struct ascent *state)
{
    struct cuda *cuda = cuda_of(device);
    int64_t n = x->h * x->w * x->c, blocks = blocks_for(n, 4 * THREADS);

    assert(blocks <= INT32_MAX && (uintptr_t)x->data % 16 == 0 && (uintptr_t)g->data % 16 == 0);
    CUDA_LAUNCH(cuda, cuda_ascend_decide_kernel, 1, 1, 0, step, scale, max_loss, state, cuda->parts);
    CUDA_LAUNCH(cuda, cuda_ascend_kernel, (unsigned)blocks, THREADS, 0, (float *)x->data, (const float *)g->data, n,
                cuda->parts, (float)limit);
}
