/* The language of kernels for an ordinary C++ compiler: qualifiers, indices, barriers, warp operations, atomics,
 * intrinsics, and the launch. Dynamic shared memory has one name: `extern __shared__ unsigned char dynamic_shared[];`
 * There is no inline PTX, no tensor core and no cooperative group. */
#ifndef SOFTGPU_DEVICE_H
#define SOFTGPU_DEVICE_H

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <math.h>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
/* In a function thread_local means static thread_local: one copy for all threads of a block, which share a thread of
 * the operating system. Old values of other blocks are in it, as on the GPU. */
#define __shared__ thread_local

/* What kernel.c offers. lines: two threads that meet at a barrier must have come to the same one. */
extern "C" {
extern __thread uint3 threadIdx, blockIdx;
extern __thread dim3 blockDim, gridDim;
int softgpu_barrier(int voted, int line);
uint64_t softgpu_exchange(unsigned mask, uint64_t value, int source, int line);
unsigned softgpu_ballot(unsigned mask, bool voted, int line);
cudaError_t softgpu_launch(const cudaLaunchConfig_t *config, void (*kernel)(void),
                           void (*call)(void (*kernel)(void), void *const *arguments), int count,
                           const void *const *arguments, const size_t *sizes);
}

static constexpr int warpSize = 32;

/* Barriers and warp operations ---------------------------------------------------------------------------- */

static inline void __syncthreads(int line = __builtin_LINE()) { softgpu_barrier(0, line); }
static inline int __syncthreads_count(int voted, int line = __builtin_LINE())
{
    return softgpu_barrier(voted != 0, line);
}
static inline int __syncthreads_or(int voted, int line = __builtin_LINE())
{
    return softgpu_barrier(voted != 0, line) > 0;
}
static inline int __syncthreads_and(int voted, int line = __builtin_LINE())
{
    return softgpu_barrier(voted == 0, line) == 0;
}
static inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE())
{
    softgpu_ballot(mask, false, line);
}
static inline unsigned __ballot_sync(unsigned mask, int voted, int line = __builtin_LINE())
{
    return softgpu_ballot(mask, voted != 0, line);
}
static inline int __any_sync(unsigned mask, int voted, int line = __builtin_LINE())
{
    return softgpu_ballot(mask, voted != 0, line) != 0;
}
static inline int __all_sync(unsigned mask, int voted, int line = __builtin_LINE())
{
    return softgpu_ballot(mask, voted == 0, line) == 0;
}

static inline int softgpu_lane()
{
    return static_cast<int>((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32);
}

/* source: the lane whose value comes back. */
template <typename T> static inline T softgpu_shuffle(unsigned mask, T value, int source, int line)
{
    static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8),
                  "a shuffle moves 2, 4 or 8 bytes");
    uint64_t bits = 0;

    std::memcpy(&bits, &value, sizeof value);
    bits = softgpu_exchange(mask, bits, source, line);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE())
{
    return softgpu_shuffle(mask, value, (softgpu_lane() & -width) | (source & (width - 1)), line);
}

template <typename T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE())
{
    int lane = softgpu_lane(), source = lane + static_cast<int>(delta);

    return softgpu_shuffle(mask, value, source < (lane & -width) + width ? source : lane, line);
}

template <typename T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE())
{
    int lane = softgpu_lane(), source = lane - static_cast<int>(delta);

    return softgpu_shuffle(mask, value, source >= (lane & -width) ? source : lane, line);
}

template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, int line = __builtin_LINE())
{
    int lane = softgpu_lane(), source = lane ^ bits;

    return softgpu_shuffle(mask, value, source < (lane & -width) + width ? source : lane, line);
}

/* Atomics ------------------------------------------------------------------------------------------------- */

/* Replaces *address by change(*address); returns what was there. */
template <typename T, typename Change> static inline T softgpu_atomic(T *address, Change change)
{
    T before, after;

    __atomic_load(address, &before, __ATOMIC_RELAXED);
    do
        after = change(before);
    while (!__atomic_compare_exchange(address, &before, &after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return before;
}

template <typename T> static inline T atomicAdd(T *address, std::type_identity_t<T> value)
{
    return softgpu_atomic(address, [=](T before) { return static_cast<T>(before + value); });
}
template <typename T> static inline T atomicMax(T *address, std::type_identity_t<T> value)
{
    static_assert(std::is_integral_v<T>);
    return softgpu_atomic(address, [=](T before) { return before > value ? before : value; });
}
template <typename T> static inline T atomicMin(T *address, std::type_identity_t<T> value)
{
    static_assert(std::is_integral_v<T>);
    return softgpu_atomic(address, [=](T before) { return before < value ? before : value; });
}
template <typename T> static inline T atomicOr(T *address, std::type_identity_t<T> value)
{
    return softgpu_atomic(address, [=](T before) { return before | value; });
}
template <typename T> static inline T atomicAnd(T *address, std::type_identity_t<T> value)
{
    return softgpu_atomic(address, [=](T before) { return before & value; });
}
template <typename T> static inline T atomicExch(T *address, std::type_identity_t<T> value)
{
    return softgpu_atomic(address, [=](T) { return value; });
}
template <typename T>
static inline T atomicCAS(T *address, std::type_identity_t<T> expected, std::type_identity_t<T> value)
{
    return softgpu_atomic(address, [=](T before) { return before == expected ? value : before; });
}

static inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* Loads, stores and numbers ------------------------------------------------------------------------------- */

template <typename T> static inline T __ldg(const T *address) { return *address; }
template <typename T> static inline T __ldcg(const T *address) { return *address; }
template <typename T> static inline T __ldcs(const T *address) { return *address; }
template <typename T> static inline void __stcg(T *address, std::type_identity_t<T> value) { *address = value; }
template <typename T> static inline void __stcs(T *address, std::type_identity_t<T> value) { *address = value; }

/* CUDA's set of overloads: other mixtures are as ambiguous here as there. */
#define SOFTGPU_MIN_MAX(result, a_type, b_type)                                                                      \
    static inline result min(a_type a, b_type b)                                                                     \
    {                                                                                                                \
        result x = static_cast<result>(a), y = static_cast<result>(b);                                               \
        return x < y ? x : y;                                                                                        \
    }                                                                                                                \
    static inline result max(a_type a, b_type b)                                                                     \
    {                                                                                                                \
        result x = static_cast<result>(a), y = static_cast<result>(b);                                               \
        return x > y ? x : y;                                                                                        \
    }
SOFTGPU_MIN_MAX(int, int, int)
SOFTGPU_MIN_MAX(unsigned, unsigned, unsigned)
SOFTGPU_MIN_MAX(unsigned, int, unsigned)
SOFTGPU_MIN_MAX(unsigned, unsigned, int)
SOFTGPU_MIN_MAX(long, long, long)
SOFTGPU_MIN_MAX(unsigned long, unsigned long, unsigned long)
SOFTGPU_MIN_MAX(unsigned long, long, unsigned long)
SOFTGPU_MIN_MAX(unsigned long, unsigned long, long)
SOFTGPU_MIN_MAX(long long, long long, long long)
SOFTGPU_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
SOFTGPU_MIN_MAX(unsigned long long, long long, unsigned long long)
SOFTGPU_MIN_MAX(unsigned long long, unsigned long long, long long)
#undef SOFTGPU_MIN_MAX
/* Of a number and a NaN, the number. */
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
static inline double min(float a, double b) { return fmin(static_cast<double>(a), b); }
static inline double max(float a, double b) { return fmax(static_cast<double>(a), b); }
static inline double min(double a, float b) { return fmin(a, static_cast<double>(b)); }
static inline double max(double a, float b) { return fmax(a, static_cast<double>(b)); }

template <typename To, typename From> static inline To softgpu_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From));
    To to;

    std::memcpy(&to, &from, sizeof to);
    return to;
}
static inline int __float_as_int(float value) { return softgpu_bits<int>(value); }
static inline unsigned __float_as_uint(float value) { return softgpu_bits<unsigned>(value); }
static inline float __int_as_float(int value) { return softgpu_bits<float>(value); }
static inline float __uint_as_float(unsigned value) { return softgpu_bits<float>(value); }
static inline long long __double_as_longlong(double value) { return softgpu_bits<long long>(value); }
static inline double __longlong_as_double(long long value) { return softgpu_bits<double>(value); }

static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
#define __expf(x) expf(x) /* the C library declares functions of these names */
#define __logf(x) logf(x)
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline float __double2float_rn(double x) { return static_cast<float>(x); }
static inline float __int2float_rn(int x) { return static_cast<float>(x); }
static inline int __float2int_rn(float x) { return static_cast<int>(rintf(x)); }
static inline int __float2int_rz(float x) { return static_cast<int>(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
[[noreturn]] static inline void __trap() { abort(); }

/* The launch, and the runtime's functions that are templates in C++ ------------------------------------------ */

template <typename... Parameters>
static inline void softgpu_call(void (*kernel)(void), void *const *arguments)
{
    auto typed = reinterpret_cast<void (*)(Parameters...)>(kernel);

    [&]<int... index>(std::integer_sequence<int, index...>) {
        typed(*static_cast<std::remove_cvref_t<Parameters> *>(arguments[index])...);
    }(std::make_integer_sequence<int, sizeof...(Parameters)>());
}

template <typename... ExpTypes, typename... ActTypes>
static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(ExpTypes...),
                                             ActTypes &&...args)
{
    static_assert((std::is_trivially_copyable_v<ExpTypes> && ...), "kernels take their arguments by value");
    return [&](ExpTypes... coerced) {
        const void *arguments[] = {&coerced..., nullptr};
        const size_t sizes[] = {sizeof coerced..., 0};

        return softgpu_launch(config, reinterpret_cast<void (*)(void)>(kernel), softgpu_call<ExpTypes...>,
                              sizeof...(ExpTypes), arguments, sizes);
    }(static_cast<ActTypes &&>(args)...);
}

template <typename T> static inline cudaError_t cudaMalloc(T **devPtr, size_t size)
{
    return cudaMalloc(reinterpret_cast<void **>(devPtr), size);
}

template <typename T> static inline cudaError_t cudaMallocHost(T **ptr, size_t size)
{
    return cudaMallocHost(reinterpret_cast<void **>(ptr), size);
}

template <typename T>
static inline cudaError_t cudaFuncSetAttribute(T *func, enum cudaFuncAttribute attr, int value)
{
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(func), attr, value);
}

#endif
