/* Half and bfloat16 numbers as bits: exact conversions from and to float, to nearest even, with overflow to infinity,
 * subnormals, and NVIDIA's one NaN. Without branches, so that a compiler makes vector loops of them. C and C++. */
#ifndef SOFTGPU_VALUES_H
#define SOFTGPU_VALUES_H

#include <stdint.h>
#include <string.h>

static inline uint32_t softgpu_float_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float softgpu_bits_float(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint16_t softgpu_half_from_float(float value)
{
    uint32_t bits = softgpu_float_bits(value), size = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
    /* Normal: the exponent's bias goes from 127 to 15, 13 bits of the mantissa are rounded away. */
    uint32_t normal = (size - (112u << 23) + 0xfffu + (size >> 13 & 1)) >> 13;
    /* Subnormal: beside 0.5, the float unit itself rounds to multiples of 2^-24. */
    uint32_t subnormal = softgpu_float_bits(softgpu_bits_float(size) + 0.5f) - 0x3f000000u;
    uint32_t half = size < 0x38800000u ? subnormal : normal;

    half = size >= 0x47800000u ? 0x7c00u : half;
    return (uint16_t)(size > 0x7f800000u ? 0x7fffu : sign | half);
}

static inline float softgpu_float_from_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, size = (uint32_t)(half & 0x7fffu) << 13;
    uint32_t finite = softgpu_float_bits(softgpu_bits_float(size) * 0x1p112f);

    return softgpu_bits_float(sign | (size >= 0x0f800000u ? size | 0x7f800000u : finite));
}

static inline uint16_t softgpu_bfloat16_from_float(float value)
{
    uint32_t bits = softgpu_float_bits(value), rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;

    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : rounded);
}

static inline float softgpu_float_from_bfloat16(uint16_t bits)
{
    return softgpu_bits_float((uint32_t)bits << 16);
}

/* A float rounded to the 10 bits of mantissa that tensor cores read of it. */
static inline float softgpu_tf32_from_float(float value)
{
    uint32_t bits = softgpu_float_bits(value), rounded = (bits + 0xfffu + (bits >> 13 & 1)) & ~0x1fffu;

    return softgpu_bits_float((bits & 0x7f800000u) == 0x7f800000u ? bits : rounded);
}

#endif
