/* The innermost part of our own convolution: a block of positions x output channels that is summed up in registers.
 * conv_kernel.c runs it over the taps of a kernel, conv_winograd.c over the channels of a transformed one.
 *
 * Every output is one chain of multiply-adds in the order of the operands: the result does not depend on how
 * positions are grouped. Included by files that are compiled once for each level of processor, as rows.h is. */
#ifndef PAREIDOLIA_CONV_BLOCK_H
#define PAREIDOLIA_CONV_BLOCK_H

#include "conv_kernel.h"
#include "rows.h"

/* A register's floats, and positions that are summed up together: as many as leave registers for two vectors of
 * weights and an input, of 16 with AVX2 and 32 with AVX-512. */
#ifdef __AVX512F__
enum { LANES = 16, POSITIONS = 12 };
#else
enum { LANES = 8, POSITIONS = 6 };
#endif

/* Output channels that are computed together; the packed weights come in blocks of as many, the last block in half
 * of it where that is enough. */
enum { HALVES = 2, CONV_HALF = LANES, CONV_BLOCK = HALVES * LANES };

typedef float vl __attribute__((vector_size(4 * LANES)));

ROW_INLINE vl vl_load(const float *from)
{
    vl value;

    memcpy(&value, from, sizeof value);
    return value;
}

ROW_INLINE void vl_store(float *to, vl value)
{
    memcpy(to, &value, sizeof value);
}

ROW_INLINE vl vl_splat(float value)
{
    return value - (vl){0}; /* as v8_splat */
}

/* Bytes of n values of out. */
ROW_INLINE ptrdiff_t values_bytes(enum dtype type, ptrdiff_t n)
{
    return n * (type == DTYPE_BF16 ? 2 : 4);
}

/* Stores the sums of one position's 8 channels; n < 8 at the end of the channels. */
ROW_INLINE void store_eight(enum dtype type, const struct finish *finish, void *out, uint8_t *mask, int channel,
                            int n, v8 sum)
{
    bool linear = channel < finish->linear;

    if (finish->accumulate)
        sum += v8_load_n(out, type, 0, n);
    if (finish->relu && !linear)
        sum = v8_relu(sum);
    if (mask && !finish->write_mask)
        sum = v8_select(*mask, sum);
    else if (mask && !linear)
        *mask = v8_mask_byte(sum);
    v8_store_n(out, type, 0, n, sum);
}

/* Stores the sums of one position's LANES channels, of which there are `channels` up to the end of out. */
#ifdef __AVX512F__
ROW_INLINE __m512 values_load(enum dtype type, __mmask16 there, const void *from)
{
    if (type == DTYPE_F32)
        return _mm512_maskz_loadu_ps(there, from);
    return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, from)), 16);
}

ROW_INLINE void values_store(enum dtype type, __mmask16 there, void *to, __m512 value)
{
    if (type == DTYPE_F32) {
        _mm512_mask_storeu_ps(to, there, value);
        return;
    }
#ifdef __AVX512BF16__
    _mm256_mask_storeu_epi16(to, there, (__m256i)_mm512_cvtneps_pbh(value));
#else
    v8h halves[2] = {v8_to_bf16((v8)_mm512_castps512_ps256(value)),
                     v8_to_bf16((v8)_mm512_extractf32x8_ps(value, 1))};
    __m256i both;

    memcpy(&both, halves, sizeof both);
    _mm256_mask_storeu_epi16(to, there, both);
#endif
}

/* LANES values, of which n are there; the others read as 0. */
ROW_INLINE vl vl_load_n(enum dtype type, const void *from, int n)
{
    return (vl)values_load(type, (__mmask16)(n < LANES ? (1u << n) - 1 : 0xffffu), from);
}

/* The bits of mask reach to the end of the last byte, those of linear outputs are nobody's. */
ROW_INLINE void store(enum dtype type, const struct finish *finish, void *out, uint8_t *mask, int channel,
                      int channels, vl sum)
{
    __m512 value = (__m512)sum;
    __mmask16 there = (__mmask16)(channels < LANES ? (1u << channels) - 1 : 0xffffu), kept = 0xffff;
    uint16_t bits;

    if (finish->accumulate)
        value = _mm512_add_ps(value, values_load(type, there, out));
    bits = _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_NLE_UQ); /* as v8_mask_byte */
    if (finish->relu) {
        kept = bits;
        if (channel < finish->linear)
            kept |=
                (__mmask16)(finish->linear - channel < LANES ? (1u << (finish->linear - channel)) - 1 : 0xffffu);
    }
    if (mask && finish->write_mask) {
        memcpy(mask, &bits, 1);
        if (channels > 8)
            memcpy(mask + 1, (const uint8_t *)&bits + 1, 1);
    } else if (mask) {
        memcpy(&bits, mask, 1);
        if (channels > 8)
            memcpy((uint8_t *)&bits + 1, mask + 1, 1);
        kept = bits;
    }
    values_store(type, there, out, _mm512_maskz_mov_ps(kept, value));
}
#else
ROW_INLINE vl vl_load_n(enum dtype type, const void *from, int n)
{
    return v8_load_n(from, type, 0, n < LANES ? n : LANES);
}

ROW_INLINE void store(enum dtype type, const struct finish *finish, void *out, uint8_t *mask, int channel,
                      int channels, vl sum)
{
    store_eight(type, finish, out, mask, channel, channels < 8 ? channels : 8, sum);
}
#endif

/* One block's operands. Input position p begins at in + p * in_step; its kernel row r is length contiguous floats,
 * in_row further on each time. Output position p begins out_step bytes after the one before. */
struct block {
    const float *in;
    ptrdiff_t in_step, in_row;
    int rows, length;
    const float *weights;
    const float *bias;
    char *out;
    uint8_t *mask;
    ptrdiff_t out_step, mask_step; /* bytes */
    int channel, channels;         /* of out, from the first of this block */
};

/* What a multiply-add takes from in and weights: fp32, or two bf16 in the place of one float. */
enum product { PRODUCT_F32, PRODUCT_PAIR };

ROW_INLINE vl multiply_add(enum product product, vl sum, const float *value, vl weights)
{
#ifdef __AVX512BF16__
    if (product == PRODUCT_PAIR) {
        int pair; /* not a float, nor aligned as one where a slice begins at an odd channel */

        memcpy(&pair, value, sizeof pair);
        return (vl)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)weights);
    }
#endif
    (void)product;
    return sum + *value * weights;
}

/* positions x (LANES * halves) outputs: 12 sums (24 with AVX-512), 2 vectors of weights and a broadcast input fill
 * the registers; each weight vector is used by every position and each input twice, so the loads keep up with the
 * multiply-adds. finish NULL: the sums are stored as they are, as fp32. The bias comes last: a chain that began
 * with it would be rounded to its size all along. Operations: 2 * positions * LANES * halves * rows * length. */
ROW_INLINE void block_run(enum dtype type, enum product product, int positions, int halves, const struct block *b,
                          const struct finish *finish)
{
    vl sums[POSITIONS][HALVES];
    const float *w = b->weights;

    for (int p = 0; p < positions; p++)
        for (int h = 0; h < halves; h++)
            sums[p][h] = vl_splat(0);
    for (int r = 0; r < b->rows; r++) {
        /* A base for each three positions and one step address them without running out of registers. */
        const float *base[POSITIONS / 3];

        for (int p = 0; p < POSITIONS / 3; p++)
            base[p] = b->in + r * b->in_row + (3 * p < positions ? 3 * p * b->in_step : 0);
        for (int i = 0; i < b->length; i++, w += LANES * halves) {
            vl weights[HALVES];

            for (int h = 0; h < halves; h++)
                weights[h] = vl_load(w + LANES * h);
            for (int p = 0; p < positions; p++)
                for (int h = 0; h < halves; h++)
                    sums[p][h] =
                        multiply_add(product, sums[p][h], base[p / 3] + p % 3 * b->in_step + i, weights[h]);
        }
    }
    for (int p = 0; p < positions; p++)
        for (int h = 0; h < halves; h++) {
            vl sum = b->bias ? sums[p][h] + vl_load(b->bias + LANES * h) : sums[p][h];
            char *out = b->out + p * b->out_step + values_bytes(type, LANES * h);

            if (finish)
                store(type, finish, out, b->mask ? b->mask + p * b->mask_step + LANES / 8 * h : NULL,
                      b->channel + LANES * h, b->channels - LANES * h, sum);
            else
                vl_store((float *)out, sum);
        }
}

/* Compiled for every number of positions. */
ROW_INLINE void block_positions(enum dtype type, enum product product, int positions, int halves,
                                const struct block *b, const struct finish *finish)
{
#define BLOCK_CASE(n)                                                                                              \
    case n:                                                                                                        \
        if (n <= POSITIONS)                                                                                        \
            block_run(type, product, n, halves, b, finish);                                                        \
        break
    switch (positions) {
        BLOCK_CASE(1);
        BLOCK_CASE(2);
        BLOCK_CASE(3);
        BLOCK_CASE(4);
        BLOCK_CASE(5);
        BLOCK_CASE(6);
        BLOCK_CASE(7);
        BLOCK_CASE(8);
        BLOCK_CASE(9);
        BLOCK_CASE(10);
        BLOCK_CASE(11);
        BLOCK_CASE(12);
    }
#undef BLOCK_CASE
}

#endif
