/* Pools. Every output, forward and backward, is gathered by one thread in a fixed order: no atomics, no second
 * pass. Windows overlap, and what they share comes from the caches: neighbours in a row from L1, since one block
 * has them, rows from L2, since the blocks of neighbouring rows run at about the same time. */
#include "value.cuh"

/* Maximum ------------------------------------------------------------------------------------------------- */

/* y[row][column][c] = max over k = 3 ky + kx of x[2 row + ky][2 column + kx][c], argmax = the first such k, mask =
 * y > 0. A thread makes eight channels of one pixel of y, its nine loads under way together. Moves, an element of y
 * in 16 bits, 8 bytes of x and 2 + 1 + 1/8 of y, argmax and mask. */
template <typename T>
static __global__ void cuda_max_pool_kernel(struct tensor x, struct tensor y, struct tensor argmax,
                                            struct tensor mask)
{
    struct place at = place_of_thread(y.c);

    if (at.row >= y.h || at.column >= y.w)
        return;
    values<> best = values_load(pixel_at<T>(x, 2 * at.row, 2 * at.column, at.c));
    pack<uint8_t, 8> winner = {};

#pragma unroll
    for (int k = 1; k < 9; k++) {
        values<> value = values_load(pixel_at<T>(x, 2 * at.row + k / 3, 2 * at.column + k % 3, at.c));

        for (int i = 0; i < 8; i++)
            if (value.v[i] > best.v[i]) {
                best.v[i] = value.v[i];
                winner.v[i] = (uint8_t)k;
            }
    }
    values_store(pixel_at<T>(y, at.row, at.column, at.c), best);
    if (argmax.data)
        pack_store(pixel_at<uint8_t>(argmax, at.row, at.column, at.c), winner);
    if (mask.data)
        *mask_at(mask, at.row, at.column, at.c) = values_signs(best);
}

void cuda_max_pool(struct device *device, const struct tensor *x, const struct tensor *y,
                   const struct tensor *argmax, const struct tensor *mask)
{
    type_dispatch(x->type, [&]<typename T>(T) {
        CUDA_LAUNCH(cuda_of(device), cuda_max_pool_kernel<T>, grid_of_places(y->h, y->w, y->c), BLOCK, 0, *x, *y,
                    tensor_or_none(argmax), tensor_or_none(mask));
    });
}

/* dx[row][column][c] = [dx +] sum of dy over the windows that cover (row, column) and whose argmax names it, then
 * times mask. A thread makes eight channels of 2 x 2 pixels of dx, which are covered by the same four windows: seen
 * from there each of a window's nine places is met exactly once, so that nothing is compared in vain and no thread
 * of a warp does other than its neighbour. dy and argmax come from memory once, and four times from the caches.
 * Moves, an element of dx in 16 bits, 2 bytes of dx (4 if added to), 3/4 of dy and argmax and 1/8 of mask. */
template <typename T>
static __global__ void cuda_max_pool_back_kernel(struct tensor dy, struct tensor argmax, struct tensor dx,
                                                 bool accumulate, struct tensor mask)
{
    struct place at = place_of_thread(dx.c); /* of the four pixels; and of the window that begins there */
    values<> sum[2][2] = {};

    if (2 * at.row >= dx.h || 2 * at.column >= dx.w)
        return;
    bool inside[2][2] = {{true, 2 * at.column + 1 < dx.w}, {2 * at.row + 1 < dx.h, false}};

    inside[1][1] = inside[0][1] && inside[1][0];
    for (int q = 0; q < 4; q++)
        if (accumulate && inside[q / 2][q % 2])
            sum[q / 2][q % 2] = values_load(pixel_at<T>(dx, 2 * at.row + q / 2, 2 * at.column + q % 2, at.c));

#pragma unroll
    for (int up = 0; up < 2; up++)
#pragma unroll
        for (int left = 0; left < 2; left++) {
            int64_t row = at.row - up, column = at.column - left;

            if (row < 0 || row >= dy.h || column < 0 || column >= dy.w)
                continue;
            values<> gradient = values_load(pixel_at<T>(dy, row, column, at.c));
            pack<uint8_t, 8> winner = pack_load<8>(pixel_at<uint8_t>(argmax, row, column, at.c));

            for (int ky = 2 * up; ky < 2 + up; ky++)
                for (int kx = 2 * left; kx < 2 + left; kx++)
                    for (int i = 0; i < 8; i++)
                        if (winner.v[i] == 3 * ky + kx)
                            sum[ky % 2][kx % 2].v[i] += gradient.v[i];
        }

    for (int q = 0; q < 4; q++) {
        int64_t row = 2 * at.row + q / 2, column = 2 * at.column + q % 2;

        if (!inside[q / 2][q % 2])
            continue;
        if (mask.data)
            sum[q / 2][q % 2] = values_masked(sum[q / 2][q % 2], *mask_at(mask, row, column, at.c));
        values_store(pixel_at<T>(dx, row, column, at.c), sum[q / 2][q % 2]);
    }
}

void cuda_max_pool_back(struct device *device, const struct tensor *dy, const struct tensor *argmax,
                        const struct tensor *dx, bool accumulate, const struct tensor *mask)
{
    type_dispatch(dx->type, [&]<typename T>(T) {
        CUDA_LAUNCH(cuda_of(device), cuda_max_pool_back_kernel<T>,
                    grid_of_places(blocks_for(dx->h, 2), blocks_for(dx->w, 2), dx->c), BLOCK, 0, *dy, *argmax, *dx,
                    accumulate, tensor_or_none(mask));
    });
}

/* Mean ---------------------------------------------------------------------------------------------------- */

/* Pixels below one another that a thread makes: their neighbourhoods share rows, and each row is summed once. */
enum { STRIP = 4 };

/* 1 / the number of positions i - 1, i and i + 1 that lie in [0, size): the mean over a neighbourhood weighs its
 * positions by the product of this for its row and its column. */
static __device__ inline float share_of(int64_t i, int64_t size)
{
    int n = 1 + (i > 0) + (i + 1 < size);

    return n == 3 ? 1.f / 3 : n == 2 ? 1.f / 2 : 1.f;
}

/* Eight channels of t[row][column - 1] + t[row][column] + t[row][column + 1], without what lies outside.
 * transposed: each weighed with the share that positions have in its own mean. */
template <typename T>
static __device__ inline values<> row_sum(const struct tensor &t, int64_t row, int64_t column, int c,
                                          bool transposed)
{
    values<> sum = {};

    if (row < 0 || row >= t.h)
        return sum;
#pragma unroll
    for (int64_t near = column - 1; near <= column + 1; near++) {
        if (near < 0 || near >= t.w)
            continue;
        values<> value = values_load(pixel_at<T>(t, row, near, c));
        float weight = transposed ? share_of(row, t.h) * share_of(near, t.w) : 1;

        for (int i = 0; i < 8; i++)
            sum.v[i] += weight * value.v[i];
    }
    return sum;
}

static __device__ inline values<> sum_of(const values<> &a, const values<> &b, const values<> &c)
{
    values<> sum;

    for (int i = 0; i < 8; i++)
        sum.v[i] = a.v[i] + b.v[i] + c.v[i];
    return sum;
}

/* y[row][column][c] = relu(mean of x over the 3x3 neighbourhood of (row, column) that lies inside, + bias[c]),
 * mask = y > 0. A thread makes eight channels of STRIP pixels of a column of y, walking down: it reads
 * 3 (STRIP + 2) / STRIP times what it writes, of which memory sees a third or less. Moves 4 bytes an element in 16
 * bits, and a bit of mask. */
template <typename T>
static __global__ void cuda_average_pool_kernel(struct tensor x, const float *bias, struct tensor y,
                                                struct tensor mask)
{
    struct place at = place_of_thread(y.c);
    int64_t top = at.row * STRIP;

    if (at.column >= y.w)
        return;
    values<> above = row_sum<T>(x, top - 1, at.column, at.c, false);
    values<> here = row_sum<T>(x, top, at.column, at.c, false);

    for (int64_t row = top; row < top + STRIP && row < y.h; row++) {
        values<> below = row_sum<T>(x, row + 1, at.column, at.c, false);
        values<> mean = sum_of(above, here, below);

        for (int i = 0; i < 8; i++)
            mean.v[i] *= share_of(row, x.h) * share_of(at.column, x.w);
        mean = values_store(pixel_at<T>(y, row, at.column, at.c), values_relu(mean, values_load(bias + at.c)));
        if (mask.data)
            *mask_at(mask, row, at.column, at.c) = values_signs(mean);
        above = here;
        here = below;
    }
}

void cuda_average_pool(struct device *device, const struct tensor *x, struct filter *filter, const struct tensor *y,
                       const struct tensor *mask)
{
    type_dispatch(x->type, [&]<typename T>(T) {
        CUDA_LAUNCH(cuda_of(device), cuda_average_pool_kernel<T>,
                    grid_of_places(blocks_for(y->h, STRIP), y->w, y->c), BLOCK, 0, *x, cuda_filter_bias(filter), *y,
                    tensor_or_none(mask));
    });
}

/* dx[row][column][c] = sum of dy over the 3x3 neighbourhood of (row, column), each weighed with the share that
 * (row, column) had in its mean. A thread makes eight channels of STRIP pixels of a column of dx, walking down as
 * forward. Moves 4 bytes an element in 16 bits. */
template <typename T> static __global__ void cuda_average_pool_back_kernel(struct tensor dy, struct tensor dx)
{
    struct place at = place_of_thread(dx.c);
    int64_t top = at.row * STRIP;

    if (at.column >= dx.w)
        return;
    values<> above = row_sum<T>(dy, top - 1, at.column, at.c, true);
    values<> here = row_sum<T>(dy, top, at.column, at.c, true);

    for (int64_t row = top; row < top + STRIP && row < dx.h; row++) {
        values<> below = row_sum<T>(dy, row + 1, at.column, at.c, true);

        values_store(pixel_at<T>(dx, row, at.column, at.c), sum_of(above, here, below));
        above = here;
        here = below;
    }
}

void cuda_average_pool_back(struct device *device, const struct tensor *dy, const struct tensor *dx)
{
    type_dispatch(dx->type, [&]<typename T>(T) {
        CUDA_LAUNCH(cuda_of(device), cuda_average_pool_back_kernel<T>,
                    grid_of_places(blocks_for(dx->h, STRIP), dx->w, dx->c), BLOCK, 0, *dy, *dx);
    });
}

/* The global mean: a block makes CHANNELS of y, each summed by SHARES threads. */
enum { CHANNELS = 32, SHARES = 8 };

/* y[0][0][c] = mean of x[.][.][c]. A thread sums every SHARES-th pixel of one channel, in double, and the first of
 * a channel's threads adds up the shares in order. A warp reads 32 channels of a pixel: 2 bytes a thread are no
 * GPU's best, but this runs once, on the little that is left of a picture at the network's end, and takes any
 * channels. */
template <typename T> static __global__ void cuda_global_average_kernel(struct tensor x, struct tensor y)
{
    __shared__ double shares[SHARES][CHANNELS];
    int c = (int)(blockIdx.x * CHANNELS + threadIdx.x);
    double sum = 0;

    for (int64_t pixel = threadIdx.y; c < x.c && pixel < x.h * x.w; pixel += SHARES)
        sum += (double)value_get(*pixel_at<T>(x, 0, pixel, c));
    shares[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || c >= x.c)
        return;
    for (int share = 1; share < SHARES; share++)
        sum += shares[share][threadIdx.x];
    value_set(*pixel_at<T>(y, 0, 0, c), (float)(sum / (double)(x.h * x.w)));
}

void cuda_global_average(struct device *device, const struct tensor *x, const struct tensor *y)
{
    type_dispatch(x->type, [&]<typename T>(T) {
        CUDA_LAUNCH(cuda_of(device), cuda_global_average_kernel<T>, (unsigned)blocks_for(x->c, CHANNELS),
                    dim3(CHANNELS, SHARES), 0, *x, *y);
    });
}
