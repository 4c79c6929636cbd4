/* The convolution that reads the picture, and the way back to it: 3x3, stride 2, no padding, 3 channels in.
 * Libraries pad the 3 channels to 4 or 8 and want them in the activations' type; here the picture is read and its
 * gradient written as they are, F32, and all sums are in F32. */
#include "value.cuh"

/* A pixel of the picture costs 27 * cout / 4 multiply-adds in each direction, 216 for 32 channels, and
 * 12 + cout / 2 bytes, 28, in 16 bits: on an H100 (33 T fp32 multiply-adds and 3.3 TB a second) 6.5 and 8.5 ps.
 * Neither may wait for the other, nor for shared memory, which gives a warp 128 bytes in the time of 4
 * multiply-adds a thread. Hence many sums a thread, in registers: what is loaded once is used for all that it
 * meets. */

/* Values of a kernel for one output channel, [ky][kx][ci], and the most eights of output channels. */
enum { TAPS = 27, EIGHTS_MAX = FIRST_COUT_MAX / 8 };

/* Threads that share pixels, each with channels of its own: LANES times 16 bytes of neighbouring channels. */
enum { LANES = 4 };

/* Forward: a block makes ROWS x COLUMNS pixels of y, a warp one row of them, a thread EACH of them, SETS apart. */
enum { WARP = 32, ROWS = 4, COLUMNS = 64, SETS = WARP / LANES, EACH = COLUMNS / SETS, THREADS = WARP * ROWS };

/* The part of the picture below a block's pixels, its width in pieces of a value for each thread of a warp. */
enum { TILE_H = 2 * ROWS + 1, PIECES = (3 * (2 * COLUMNS + 1) + WARP - 1) / WARP, TILE_W = PIECES * WARP };

static __device__ inline int less_of(int64_t a, int b)
{
    return a < b ? (int)a : b;
}

/* Copies the part of x from pixel (row, column) on, a warp a row at a time, its loads under way together. Beyond
 * x's edges are zeros, for outputs that are none. */
static __device__ inline void tile_load(float (*tile)[TILE_W], const struct tensor &x, int64_t row, int64_t column)
{
    int height = less_of(x.h - row, TILE_H), width = less_of(3 * (x.w - column), TILE_W);

    for (int i = (int)threadIdx.y; i < TILE_H; i += ROWS) {
        const float *from = pixel_at<float>(x, row + i, column, 0);
        float value[PIECES] = {};

#pragma unroll
        for (int p = 0; p < PIECES; p++)
            if (i < height && p * WARP + (int)threadIdx.x < width)
                value[p] = from[p * WARP + (int)threadIdx.x];
        for (int p = 0; p < PIECES; p++)
            tile[i][p * WARP + (int)threadIdx.x] = value[p];
    }
}

/* y[row][column][c] = relu(bias[c] + sum over ky, kx and ci of
 * x[2 row + ky][2 column + kx][ci] * kernel[ky][kx][ci][c]), mask = y > 0. A thread has the sums of eight channels
 * of EACH pixels in registers, and uses eight weights, two loads, for 64 multiply-adds and a value of x for 8.
 * Neighbouring threads take neighbouring eights of channels and then neighbouring pixels: a warp writes whole
 * pieces of y and of mask, and reads shared memory without bank conflicts. Moves 12 bytes a pixel of x (13.6 with
 * the tiles' edges, which come from L2), 2 an element of y in 16 bits, and a bit of mask. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    cuda_first_conv_kernel(const float *kernel, const float *bias, struct tensor x, struct tensor y,
                           struct tensor mask)
{
    __shared__ float tile[TILE_H][TILE_W];
    __shared__ pack<float, 8> weights[TAPS * EIGHTS_MAX];
    int lane = (int)threadIdx.x % LANES, set = (int)threadIdx.x / LANES, groups = y.c / 8;
    int64_t top = block_row() * ROWS, left = (int64_t)blockIdx.x * COLUMNS;
    int64_t row = top + threadIdx.y, column = left + set;
    int columns = row < y.h ? less_of(y.w - column, COLUMNS) : 0;

#pragma unroll 1
    for (int i = (int)(threadIdx.y * WARP + threadIdx.x); i < TAPS * groups; i += THREADS)
        weights[i] = pack_load<8>(kernel + 8 * i);
    tile_load(tile, x, 2 * top, 2 * left);
    __syncthreads();

    for (int group = lane; group < groups; group += LANES) {
        values<> sum[EACH];

        for (int p = 0; p < EACH; p++)
            sum[p] = values_load(bias + 8 * group);
#pragma unroll 1
        for (int ky = 0; ky < 3; ky++)
#pragma unroll
            for (int k = 0; k < 9; k++) {
                pack<float, 8> weight = weights[(9 * ky + k) * groups + group];

#pragma unroll
                for (int p = 0; p < EACH; p++)
                    for (int i = 0; i < 8; i++)
                        sum[p].v[i] += weight.v[i] * tile[2 * (int)threadIdx.y + ky][6 * (set + SETS * p) + k];
            }

        T *pixel = pixel_at<T>(y, row, column, 8 * group);

        for (int p = 0; p < EACH; p++) {
            if (SETS * p >= columns)
                continue;
            values<> value = values_store(pixel + p * SETS * y.pitch, values_relu(sum[p], values<>{}));

            if (mask.data)
                mask_at(mask, row, column, 8 * group)[p * SETS * mask.pitch / 8] = values_signs(value);
        }
    }
}

void cuda_first_conv(struct cuda *cuda, const float *kernel, const float *bias, const struct tensor *x,
                     const struct tensor *y, const struct tensor *mask)
{
    type_dispatch(y->type, [&]<typename T>(T) {
        CUDA_LAUNCH(cuda, cuda_first_conv_kernel<T>, grid_of(blocks_for(y->h, ROWS), blocks_for(y->w, COLUMNS)),
                    dim3(WARP, ROWS), 0, kernel, bias, *x, *y, tensor_or_none(mask));
    });
}

/* Backward: pixels of dx come in quads of 2 x 2, which are covered by the same four windows; seen from a quad each
 * of a window's nine places is met exactly once. A block makes QUADS_H x QUADS_W quads, LANES threads a column of
 * them, of which each sums over its share of dy's channels. */
enum { QUADS_H = 4, QUADS_W = 32, BACK_H = 2 * QUADS_H, BACK_W = 3 * 2 * QUADS_W, BACK_THREADS = QUADS_W * LANES };

/* The weights that belong to N channels of dy: a channel's in whole 16 bytes, and 16 more behind the last, so that
 * the lanes, each at channels of its own, read from different banks. */
template <int N> struct channel_weights {
    pack<float, 4> v[N][(TAPS + 3) / 4];
    pack<float, 4> padding;
};

/* What a lane has summed for a block's pixels; the padding sets the lanes apart, so that at most two of a warp's writes meet in a bank. */
struct lane_sums {
    float v[BACK_H][BACK_W];
    float padding[8];
};

/* sum[h][...] += one channel of dy times its weights, for all of a column's quads: gradient[h] is the row of
 * windows above quad h, gradient[h + 1] the one that begins there, [0] those to the left. */
static __device__ inline void quads_add(float (&sum)[QUADS_H][2][2][3], const float (&gradient)[QUADS_H + 1][2],
                                        const pack<float, 4> *weights)
{
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
        int ky = tap / 9, kx = tap / 3 % 3, ci = tap % 3;
        float weight = weights[tap / 4].v[tap % 4];

#pragma unroll
        for (int h = 0; h < QUADS_H; h++)
            sum[h][ky % 2][kx % 2][ci] += weight * gradient[h + (ky < 2)][kx < 2];
    }
}

/* dx[row][column][ci] = [dx +] sum over the windows (oy, ox) that cover (row, column), at place (ky, kx), and over
 * c of dy[oy][ox][c] * kernel[ky][kx][ci][c], then times mask. A thread has the 48 sums of a column of quads in
 * registers and uses each load of four weights for 16 multiply-adds. It reads channels of dy by 16 bytes,
 * neighbouring threads neighbouring channels of a pixel and then the next pixel. What the lanes have is added up in
 * their order in shared memory, and written row by row: a quad's own pixels would be pieces of 24 bytes. Moves 12
 * bytes a pixel of dx (24 if added to) and 2 an element of dy in 16 bits; the windows above and left of a block's
 * own, a third more, come from L2. */
template <typename T>
static __global__ void __launch_bounds__(BACK_THREADS, 3)
    cuda_first_conv_back_kernel(const float *kernel, struct tensor dy, struct tensor dx, bool accumulate,
                                struct tensor mask)
{
    constexpr int N = 16 / sizeof(T);
    __shared__ channel_weights<N> weights[FIRST_COUT_MAX / N];
    __shared__ lane_sums lanes[LANES];
    int lane = (int)threadIdx.x % LANES, quad = (int)threadIdx.x / LANES;
    int64_t top = block_row() * QUADS_H, left = (int64_t)blockIdx.x * QUADS_W;
    float sum[QUADS_H][2][2][3] = {};

    for (int i = (int)threadIdx.x; i < TAPS * dy.c; i += BACK_THREADS) {
        int tap = i / dy.c, c = i % dy.c;

        weights[c / N].v[c % N][tap / 4].v[tap % 4] = kernel[i];
    }
    __syncthreads();

    for (int part = lane; part < dy.c / N; part += LANES) {
        pack<T, N> window[QUADS_H + 1][2] = {};

#pragma unroll
        for (int h = 0; h <= QUADS_H; h++)
#pragma unroll
            for (int w = 0; w < 2; w++) {
                int64_t row = top + h - 1, column = left + quad + w - 1;

                if (row >= 0 && row < dy.h && column >= 0 && column < dy.w)
                    window[h][w] = pack_load<N>(pixel_at<T>(dy, row, column, N * part));
            }
#pragma unroll
        for (int i = 0; i < N; i++) {
            float gradient[QUADS_H + 1][2];

            for (int h = 0; h <= QUADS_H; h++)
                for (int w = 0; w < 2; w++)
                    gradient[h][w] = value_get(window[h][w].v[i]);
            quads_add(sum, gradient, weights[part].v[i]);
        }
    }

    for (int i = 0; i < BACK_H; i++)
        for (int j = 0; j < 6; j++)
            lanes[lane].v[i][6 * quad + j] = sum[i / 2][i % 2][j / 3][j % 3];
    __syncthreads();

    for (int i = (int)threadIdx.x; i < BACK_H * BACK_W; i += BACK_THREADS) {
        int64_t row = 2 * top + i / BACK_W, column = 2 * left + i % BACK_W / 3;
        int ci = i % 3;
        float total = 0;

        if (row >= dx.h || column >= dx.w)
            continue;
        float *to = pixel_at<float>(dx, row, column, ci);

        for (int from = 0; from < LANES; from++)
            total += lanes[from].v[i / BACK_W][i % BACK_W];
        if (accumulate)
            total += *to;
        *to = !mask.data || (*mask_at(mask, row, column, 0) >> ci & 1) ? total : 0;
    }
}

void cuda_first_conv_back(struct cuda *cuda, const float *kernel, const struct tensor *dy, const struct tensor *dx,
                          bool accumulate, const struct tensor *mask)
{
    type_dispatch(dy->type, [&]<typename T>(T) {
        CUDA_LAUNCH(cuda, cuda_first_conv_back_kernel<T>,
                    grid_of(blocks_for(dx->h, BACK_H), blocks_for(dx->w, 2 * QUADS_W)), BACK_THREADS, 0, kernel,
                    *dy, *dx, accumulate, tensor_or_none(mask));
    });
}
