/* Bfloat16 as CUDA C++ has it: the types, and the conversions that kernels use. No arithmetic: kernels compute
 * in float. */
#ifndef SOFTGPU_CUDA_BF16_H
#define SOFTGPU_CUDA_BF16_H

#ifdef __cplusplus

#include "cuda_runtime.h"
#include "softgpu_values.h"

struct __align__(2) __nv_bfloat16_raw {
    unsigned short x;
};

struct __align__(2) __nv_bfloat16 {
protected:
    unsigned short __x;

public:
    __nv_bfloat16() = default;
    constexpr __nv_bfloat16(const __nv_bfloat16_raw &raw) : __x(raw.x) {}
    __nv_bfloat16(float value) : __x(softgpu_bfloat16_from_float(value)) {}
    operator __nv_bfloat16_raw() const { return __nv_bfloat16_raw{__x}; }
    operator float() const { return softgpu_float_from_bfloat16(__x); }
};

struct __align__(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;

    __nv_bfloat162() = default;
    __nv_bfloat162(const __nv_bfloat16 &low, const __nv_bfloat16 &high) : x(low), y(high) {}
};

typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

static inline __nv_bfloat16 __float2bfloat16_rn(float value) { return __nv_bfloat16(value); }
static inline __nv_bfloat16 __float2bfloat16(float value) { return __nv_bfloat16(value); }
static inline float __bfloat162float(__nv_bfloat16 value) { return value; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return __nv_bfloat16(__nv_bfloat16_raw{bits}); }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value)
{
    return static_cast<__nv_bfloat16_raw>(value).x;
}
static inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high)
{
    return __nv_bfloat162(__nv_bfloat16(low), __nv_bfloat16(high));
}
static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 low, __nv_bfloat16 high)
{
    return __nv_bfloat162(low, high);
}
static inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 pair) { return pair.x; }
static inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 pair) { return pair.y; }
static inline float __low2float(__nv_bfloat162 pair) { return pair.x; }
static inline float __high2float(__nv_bfloat162 pair) { return pair.y; }
static inline float2 __bfloat1622float2(__nv_bfloat162 pair) { return make_float2(pair.x, pair.y); }

#endif

#endif
