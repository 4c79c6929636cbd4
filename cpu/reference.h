/* The reference device's inside: what its two files share. Every activation, gradient and picture is F64; masks are
 * bits and argmax bytes, as device.h has them. Work runs at once; an output belongs to one thread, which computes
 * it in a fixed order, so that no result depends on the number of threads. */
#ifndef PAREIDOLIA_REFERENCE_H
#define PAREIDOLIA_REFERENCE_H

#include "host/device_ops.h"

#include <assert.h>

struct reference {
    struct device device; /* first, so that a struct device * is a struct reference * */
    int threads;
};

static inline int reference_threads(const struct device *device)
{
    return ((const struct reference *)device)->threads;
}

static inline double *pixel_at(const struct tensor *t, int64_t y, int64_t x)
{
    assert(t->type == DTYPE_F64);
    return (double *)t->data + (y * t->w + x) * t->pitch;
}

static inline uint8_t *mask_at(const struct tensor *mask, int64_t y, int64_t x)
{
    return (uint8_t *)mask->data + (y * mask->w + x) * (mask->pitch / 8);
}

/* NaN passes, and its bit in a mask is 1. */
static inline double relu(double value)
{
    return value <= 0 ? 0 : value;
}

/* Sets the bits of channels [first, c) of one pixel to value > 0; no other bit changes. */
static inline void mask_write(uint8_t *bits, const double *value, int first, int c)
{
    for (int i = first; i < c; i++) {
        unsigned bit = 1u << i % 8;

        bits[i / 8] = (uint8_t)(value[i] <= 0 ? bits[i / 8] & ~bit : bits[i / 8] | bit);
    }
}

/* Clears the values of one pixel whose bits are 0. */
static inline void mask_apply(const uint8_t *bits, double *value, int c)
{
    for (int i = 0; i < c; i++)
        if (!(bits[i / 8] >> i % 8 & 1))
            value[i] = 0;
}

/* reference_conv.c */
struct filter *reference_filter_new(struct device *, const struct filter_desc *);
void reference_filter_free(struct device *, struct filter *);
const double *reference_filter_bias(const struct filter *); /* [cout], also of the linear outputs */
struct conv *reference_conv_new(struct device *, struct filter *, const struct conv_desc *, size_t *scratch_bytes);
void reference_conv_free(struct device *, struct conv *);
void reference_conv(struct device *, struct conv *, const struct tensor *x, const struct tensor *y,
                    const struct tensor *mask, void *scratch);
void reference_conv_back(struct device *, struct conv *, const struct tensor *dy, const struct tensor *dx,
                         const struct tensor *mask, void *scratch);

#endif
