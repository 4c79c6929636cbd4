/* Channels of a pixel, eight at a time: loading and storing them as fp32 whatever the tensor's type, and the
 * sign masks, whose every byte belongs to eight channels. Written with vector extensions, so that any processor
 * will do; the files that include this are compiled once for each level of processor (CPU_LEVEL in cpu.h) and,
 * as nothing here is ever called across files, with -Wno-psabi.
 *
 * type is a constant wherever speed matters: CPU_SPECIALIZE makes it one. */
#ifndef PAREIDOLIA_CPU_ROWS_H
#define PAREIDOLIA_CPU_ROWS_H

#include "cpu.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

typedef float v8 __attribute__((vector_size(32)));
typedef float v4 __attribute__((vector_size(16)));
typedef double v4d __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));
typedef uint32_t v8u __attribute__((vector_size(32)));
typedef uint16_t v8h __attribute__((vector_size(16)));
typedef uint8_t v8b __attribute__((vector_size(8)));

#define ROW_INLINE static inline __attribute__((always_inline))
#define ROW_COLD __attribute__((noinline, cold, unused)) static

/* Calls function(..., c, n) for all channels, eight at a time and so that n is the constant 8, and at last for the
 * n < 8 that are left. */
#define ROW_EIGHTS(channels, function, ...)                                                                        \
    do {                                                                                                           \
        int eights_ = (channels) / 8 * 8;                                                                          \
                                                                                                                   \
        for (int c_ = 0; c_ < eights_; c_ += 8)                                                                    \
            function(__VA_ARGS__, c_, 8);                                                                          \
        if (eights_ < (channels))                                                                                  \
            function(__VA_ARGS__, eights_, (channels)-eights_);                                                    \
    } while (0)

/* Calls function(type, ...) with type as a constant. */
#define CPU_SPECIALIZE(function, type, ...)                                                                        \
    ((type) == DTYPE_BF16 ? function(DTYPE_BF16, __VA_ARGS__) : function(DTYPE_F32, __VA_ARGS__))

/* The first channel of pixel (y, x); t's type is F32, BF16, U8 or BITS. */
ROW_INLINE void *pixel_at(const struct tensor *t, int64_t y, int64_t x)
{
    int64_t element = (y * t->w + x) * t->pitch;

    switch (t->type) {
    case DTYPE_F32:
        return (float *)t->data + element;
    case DTYPE_BF16:
        return (uint16_t *)t->data + element;
    case DTYPE_BITS:
        return (uint8_t *)t->data + element / 8;
    default:
        return (uint8_t *)t->data + element;
    }
}

ROW_INLINE v8 v8_splat(float value)
{
    return value - (v8){0}; /* -0 is kept, so the compiler may drop the subtraction; an addition it may not */
}

/* Elements [c, c + 8) of a row. */
ROW_INLINE v8 v8_load(const void *row, enum dtype type, int c)
{
    if (type == DTYPE_BF16) {
        v8h half;

        memcpy(&half, (const uint16_t *)row + c, sizeof half);
#ifdef __AVX2__
        return (v8)((v8u)_mm256_cvtepu16_epi32((__m128i)half) << 16); /* gcc 12 makes three of it */
#else
        return (v8)(__builtin_convertvector(half, v8u) << 16);
#endif
    }
    v8 value;

    memcpy(&value, (const float *)row + c, sizeof value);
    return value;
}

/* Eight times float_to_bf16. */
ROW_INLINE v8h v8_to_bf16(v8 value)
{
    v8u bits = (v8u)value;
    v8u rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    v8u nan = (v8u)(value != value);

    return __builtin_convertvector((rounded & ~nan) | ((bits >> 16 | 0x40) & nan), v8h);
}

ROW_INLINE void v8_store(void *row, enum dtype type, int c, v8 value)
{
    if (type == DTYPE_BF16) {
        v8h half = v8_to_bf16(value);

        memcpy((uint16_t *)row + c, &half, sizeof half);
    } else {
        memcpy((float *)row + c, &value, sizeof value);
    }
}

/* The same for the n < 8 channels at the end of a row; those missing read as 0. Kept out of the loops: a lane that
 * is chosen by a variable would put the vector into memory for all of them. */
ROW_COLD v8 v8_load_part(const void *row, enum dtype type, int c, int n)
{
    v8 value = {0};

    for (int i = 0; i < n; i++)
        value[i] = type == DTYPE_BF16 ? bf16_to_float(((const uint16_t *)row)[c + i]) : ((const float *)row)[c + i];
    return value;
}

ROW_COLD void v8_store_part(void *row, enum dtype type, int c, int n, v8 value)
{
    for (int i = 0; i < n; i++)
        if (type == DTYPE_BF16)
            ((uint16_t *)row)[c + i] = float_to_bf16(value[i]);
        else
            ((float *)row)[c + i] = value[i];
}

/* Either of them: n is 8 but at the end of a row. */
ROW_INLINE v8 v8_load_n(const void *row, enum dtype type, int c, int n)
{
    return n == 8 ? v8_load(row, type, c) : v8_load_part(row, type, c, n);
}

ROW_INLINE void v8_store_n(void *row, enum dtype type, int c, int n, v8 value)
{
    if (n == 8)
        v8_store(row, type, c, value);
    else
        v8_store_part(row, type, c, n, value);
}

/* value where a comparison held (its lanes are 0 or -1), else 0. */
ROW_INLINE v8 v8_keep(v8i held, v8 value)
{
    return (v8)((v8i)value & held);
}

/* yes where a comparison held, else no. */
ROW_INLINE v8 v8_choose(v8i held, v8 yes, v8 no)
{
    return (v8)(((v8i)yes & held) | ((v8i)no & ~held));
}

ROW_INLINE v8 v8_abs(v8 value)
{
    return (v8)((v8i)value & 0x7fffffff);
}

/* NaN passes, and its bit in a mask is 1: an overflow that no one sees would leave a dream of nothing. */
ROW_INLINE v8 v8_relu(v8 value)
{
    return v8_keep(~(value <= 0), value);
}

/* Bit i of the result: value[i] > 0, or NaN. */
ROW_INLINE uint8_t v8_mask_byte(v8 value)
{
#ifdef __AVX2__
    return (uint8_t)_mm256_movemask_ps((__m256)~(value <= 0));
#else
    const v8i place = {1, 2, 4, 8, 16, 32, 64, 128};
    v8i bits = ~(value <= 0) & place;

    return (uint8_t)(bits[0] | bits[1] | bits[2] | bits[3] | bits[4] | bits[5] | bits[6] | bits[7]);
#endif
}

/* value where the bit is 1, else 0. */
ROW_INLINE v8 v8_select(uint8_t bits, v8 value)
{
    const v8i place = {1, 2, 4, 8, 16, 32, 64, 128};
    v8i wide = (v8i){0} + bits;

    return v8_keep((wide & place) == place, value);
}

/* Sums of eight channels, or of eight neighbouring elements, in double. */
struct v8_sum {
    v4d low, high;
};

ROW_INLINE void v8_sum_add(struct v8_sum *sum, v8 value)
{
    sum->low += __builtin_convertvector(__builtin_shufflevector(value, value, 0, 1, 2, 3), v4d);
    sum->high += __builtin_convertvector(__builtin_shufflevector(value, value, 4, 5, 6, 7), v4d);
}

ROW_INLINE void v8_sum_add_square(struct v8_sum *sum, v8 value)
{
    v4d low = __builtin_convertvector(__builtin_shufflevector(value, value, 0, 1, 2, 3), v4d);
    v4d high = __builtin_convertvector(__builtin_shufflevector(value, value, 4, 5, 6, 7), v4d);

    sum->low += low * low;
    sum->high += high * high;
}

ROW_INLINE double v8_sum_total(struct v8_sum sum)
{
    v4d lanes = sum.low + sum.high;

    return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

ROW_INLINE v8 v8_sum_divided(struct v8_sum sum, double by)
{
    return __builtin_shufflevector(__builtin_convertvector(sum.low / by, v4),
                                   __builtin_convertvector(sum.high / by, v4), 0, 1, 2, 3, 4, 5, 6, 7);
}

/* n bytes of a U8 row as integers, and back. (Through 16 bits: gcc 12 takes 8 to 32 bits apart byte by byte.) */
ROW_INLINE v8i v8i_load_bytes(const uint8_t *row, int c, int n)
{
    v8b bytes = {0};

    if (n == 8)
        memcpy(&bytes, row + c, 8);
    else
        memcpy(&bytes, row + c, (size_t)n);
#ifdef __AVX2__
    return (v8i)_mm256_cvtepu8_epi32((__m128i){(long long)bytes});
#else
    return __builtin_convertvector(__builtin_convertvector(bytes, v8h), v8i);
#endif
}

ROW_INLINE void v8i_store_bytes(uint8_t *row, int c, int n, v8i value)
{
    v8b bytes = __builtin_convertvector(__builtin_convertvector(value, v8h), v8b);

    if (n == 8)
        memcpy(row + c, &bytes, 8);
    else
        memcpy(row + c, &bytes, (size_t)n);
}

#endif
