/* What our kernels share: which channels of which pixel a thread takes, and values in registers as float whatever
 * the tensor's type. Channel counts, first channels and pitches are multiples of 8, so that eight channels are
 * accesses of 16 bytes and a thread owns the byte of a sign mask that its eight make. Launching is launch.cuh's. */
#ifndef PAREIDOLIA_CUDA_VALUE_CUH
#define PAREIDOLIA_CUDA_VALUE_CUH

#include "launch.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <assert.h>

/* Host ---------------------------------------------------------------------------------------------------- */

/* Calls use(T()), T being the type of an activation's elements. */
template <typename Use> static inline void type_dispatch(enum dtype type, Use use)
{
    switch (type) {
    case DTYPE_F16:
        use(__half());
        break;
    case DTYPE_BF16:
        use(__nv_bfloat16());
        break;
    default:
        assert(type == DTYPE_F32);
        use(float());
    }
}

/* A tensor as a kernel takes it; without data where there is none. */
static inline struct tensor tensor_or_none(const struct tensor *tensor)
{
    const struct tensor none = {};

    return tensor ? *tensor : none;
}

static inline int64_t blocks_for(int64_t n, int64_t block)
{
    return (n + block - 1) / block;
}

/* A grid of rows of blocks. There may be more rows than a grid's y can count: z goes on counting. */
static inline dim3 grid_of(int64_t rows, int64_t blocks_in_row)
{
    const int64_t most = 65535;
    int64_t depth = blocks_for(rows, most);

    assert(blocks_in_row <= INT32_MAX && depth <= most);
    return dim3((unsigned)blocks_in_row, (unsigned)blocks_for(rows, depth), (unsigned)depth);
}

/* Threads of a block where nothing speaks for another number: few, since a row's last block has some to spare. */
enum { BLOCK = 128 };

/* A grid with a thread for every N channels of h x w pixels: see place_of_thread. */
template <int N = 8> static inline dim3 grid_of_places(int64_t h, int64_t w, int channels)
{
    int64_t in_row = blocks_for(w * (channels / N), BLOCK);

    assert(in_row * BLOCK <= UINT32_MAX);
    return grid_of(h, in_row);
}

/* Places ------------------------------------------------------------------------------------------------- */

/* The row of blocks that a block stands in. The last ones may be too many. */
static __device__ inline int64_t block_row()
{
    return (int64_t)blockIdx.z * gridDim.y + blockIdx.y;
}

/* What a thread works on: channels [c, c + N) of a pixel. */
struct place {
    int64_t row, column;
    int c;
};

/* Neighbouring threads take neighbouring channels of a pixel, then the next pixel of the row: a warp's accesses are
 * one piece of memory where a tensor has no gaps, and pieces of all of a slice's channels where it has. Rows and
 * columns behind the last are for the caller to leave out. */
template <int N = 8> static __device__ inline struct place place_of_thread(int channels)
{
    unsigned groups = (unsigned)channels / N;
    unsigned item = blockIdx.x * BLOCK + threadIdx.x;

    return {block_row(), item / groups, (int)(item % groups) * N};
}

template <typename T>
static __device__ inline T *pixel_at(const struct tensor &t, int64_t row, int64_t column, int c)
{
    return (T *)t.data + ((row * t.w + column) * t.pitch + c);
}

/* The mask byte of channels [c, c + 8). */
static __device__ inline uint8_t *mask_at(const struct tensor &mask, int64_t row, int64_t column, int c)
{
    return (uint8_t *)mask.data + ((row * mask.w + column) * mask.pitch + c) / 8;
}

/* Values ------------------------------------------------------------------------------------------------- */

/* N neighbouring elements, moved in accesses of up to 16 bytes. */
template <typename T, int N> struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) pack {
    T v[N];
};

template <int N, typename T> static __device__ inline pack<T, N> pack_load(const T *from)
{
    return *(const pack<T, N> *)from;
}

template <int N, typename T> static __device__ inline void pack_store(T *to, const pack<T, N> &from)
{
    *(pack<T, N> *)to = from;
}

static __device__ inline float value_get(float value)
{
    return value;
}

static __device__ inline float value_get(__half value)
{
    return __half2float(value);
}

static __device__ inline float value_get(__nv_bfloat16 value)
{
    return __bfloat162float(value);
}

static __device__ inline void value_set(float &to, float value)
{
    to = value;
}

static __device__ inline void value_set(__half &to, float value)
{
    to = __float2half_rn(value);
}

static __device__ inline void value_set(__nv_bfloat16 &to, float value)
{
    to = __float2bfloat16_rn(value);
}

/* N neighbouring channels as kernels compute with them. */
template <int N = 8> struct values {
    float v[N];
};

template <typename T, int N> static __device__ inline values<N> values_of(const pack<T, N> &stored)
{
    values<N> result;

    for (int i = 0; i < N; i++)
        result.v[i] = value_get(stored.v[i]);
    return result;
}

template <int N = 8, typename T> static __device__ inline values<N> values_load(const T *from)
{
    return values_of(pack_load<N>(from));
}

/* Rounds to T and returns what is then there: a mask must agree with it, and small values round to 0. */
template <int N, typename T> static __device__ inline values<N> values_store(T *to, const values<N> &from)
{
    pack<T, N> stored;

    for (int i = 0; i < N; i++)
        value_set(stored.v[i], from.v[i]);
    pack_store(to, stored);
    return values_of(stored);
}

/* relu(from + bias). */
static __device__ inline values<> values_relu(const values<> &from, const values<> &bias)
{
    values<> result;

    for (int i = 0; i < 8; i++)
        result.v[i] = from.v[i] + bias.v[i] > 0 ? from.v[i] + bias.v[i] : 0;
    return result;
}

/* Bit i: value i is above 0. */
static __device__ inline uint8_t values_signs(const values<> &from)
{
    unsigned bits = 0;

    for (int i = 0; i < 8; i++)
        bits |= (unsigned)(from.v[i] > 0) << i;
    return (uint8_t)bits;
}

/* The values whose bits are set, 0 for the others. */
static __device__ inline values<> values_masked(const values<> &from, uint8_t bits)
{
    values<> result;

    for (int i = 0; i < 8; i++)
        result.v[i] = bits >> i & 1 ? from.v[i] : 0;
    return result;
}

#endif
