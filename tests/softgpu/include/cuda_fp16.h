/* Half precision as CUDA C++ has it: the types, and the conversions that kernels use. No arithmetic: kernels compute
 * in float. */
#ifndef SOFTGPU_CUDA_FP16_H
#define SOFTGPU_CUDA_FP16_H

#ifdef __cplusplus

#include "cuda_runtime.h"
#include "softgpu_values.h"

struct __align__(2) __half_raw {
    unsigned short x;
};

struct __align__(2) __half {
protected:
    unsigned short __x;

public:
    __half() = default;
    constexpr __half(const __half_raw &raw) : __x(raw.x) {}
    __half(float value) : __x(softgpu_half_from_float(value)) {}
    operator __half_raw() const { return __half_raw{__x}; }
    operator float() const { return softgpu_float_from_half(__x); }
};

struct __align__(4) __half2 {
    __half x, y;

    __half2() = default;
    __half2(const __half &low, const __half &high) : x(low), y(high) {}
};

typedef __half half;
typedef __half2 half2;

static inline __half __float2half_rn(float value) { return __half(value); }
static inline __half __float2half(float value) { return __half(value); }
static inline float __half2float(__half value) { return value; }
static inline __half __ushort_as_half(unsigned short bits) { return __half(__half_raw{bits}); }
static inline unsigned short __half_as_ushort(__half value) { return static_cast<__half_raw>(value).x; }
static inline __half2 __floats2half2_rn(float low, float high) { return __half2(__half(low), __half(high)); }
static inline __half2 __halves2half2(__half low, __half high) { return __half2(low, high); }
static inline __half __low2half(__half2 pair) { return pair.x; }
static inline __half __high2half(__half2 pair) { return pair.y; }
static inline float __low2float(__half2 pair) { return pair.x; }
static inline float __high2float(__half2 pair) { return pair.y; }
static inline float2 __half22float2(__half2 pair) { return make_float2(pair.x, pair.y); }

#endif

#endif
