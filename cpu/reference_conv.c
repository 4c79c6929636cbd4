/* The reference device's convolutions: the definition, written down as loops. Forward and backward both gather, so
 * that each output pixel is one sum in one order. No blocking, no transform, nothing chosen by size: what is fast
 * is only that the innermost loop runs over neighbouring channels. */
#include "reference.h"

#include "host/error.h"

#include <stdlib.h>
#include <string.h>

struct filter {
    struct filter_desc desc;  /* its kernel and bias point to copies behind it */
    const double *transposed; /* the kernel as [kh][kw][cout][cin] */
    double memory[];
};

struct conv {
    const struct filter *filter;
    bool accumulate; /* backward */
};

struct filter *reference_filter_new(struct device *device, const struct filter_desc *desc)
{
    (void)device;
    size_t taps = (size_t)desc->kh * (size_t)desc->kw;
    size_t cin = (size_t)desc->cin;
    size_t cout = (size_t)desc->cout;
    size_t n = taps * cin * cout;
    size_t bytes = sizeof(struct filter) + (2 * n + cout) * sizeof(double);
    struct filter *filter = malloc(bytes);

    if (!filter) {
        error_set("no memory for a convolution's parameters (%zu bytes)", bytes);
        return NULL;
    }
    double *kernel = filter->memory;
    double *transposed = kernel + n;
    double *bias = transposed + n;

    memcpy(kernel, desc->kernel, n * sizeof *kernel);
    memcpy(bias, desc->bias, cout * sizeof *bias);
    for (size_t tap = 0; tap < taps; tap++)
        for (size_t ci = 0; ci < cin; ci++)
            for (size_t co = 0; co < cout; co++)
                transposed[(tap * cout + co) * cin + ci] = kernel[(tap * cin + ci) * cout + co];
    filter->desc = *desc;
    filter->desc.kernel = kernel;
    filter->desc.bias = bias;
    filter->transposed = transposed;
    return filter;
}

void reference_filter_free(struct device *device, struct filter *filter)
{
    (void)device;
    free(filter);
}

const double *reference_filter_bias(const struct filter *filter)
{
    return filter->desc.bias;
}

struct conv *reference_conv_new(struct device *device, struct filter *filter, const struct conv_desc *desc,
                                size_t *scratch_bytes)
{
    (void)device;
    const struct filter_desc *f = &filter->desc;
    const struct tensor *x = &desc->x, *y = &desc->y;
    struct conv *conv = malloc(sizeof *conv);

    assert(x->c == f->cin && y->c == f->cout);
    assert(y->h == (x->h + 2 * f->pad_h - f->kh) / f->stride + 1);
    assert(y->w == (x->w + 2 * f->pad_w - f->kw) / f->stride + 1);
    if (!conv) {
        error_set("no memory for a convolution (%zu bytes)", sizeof *conv);
        return NULL;
    }
    *conv = (struct conv){.filter = filter, .accumulate = desc->accumulate};
    *scratch_bytes = 0;
    return conv;
}

void reference_conv_free(struct device *device, struct conv *conv)
{
    (void)device;
    free(conv);
}

/* out[n] += in[m] * matrix[m][n]. The pragma lets gcc vectorise at -O2; it reorders nothing within an output. */
static void add_product(double *restrict out, const double *in, const double *matrix, int m, int n)
{
    for (int i = 0; i < m; i++, matrix += n) {
        double factor = in[i];

#pragma omp simd
        for (int j = 0; j < n; j++)
            out[j] += factor * matrix[j];
    }
}

void reference_conv(struct device *device, struct conv *conv, const struct tensor *x, const struct tensor *y,
                    const struct tensor *mask, void *scratch)
{
    (void)scratch;
    const struct filter_desc *f = &conv->filter->desc;
    int64_t tap_size = (int64_t)f->cin * f->cout;

#pragma omp parallel for num_threads(reference_threads(device))
    for (int64_t row = 0; row < y->h; row++) {
        for (int64_t column = 0; column < y->w; column++) {
            double *out = pixel_at(y, row, column);

            for (int co = 0; co < f->cout; co++)
                out[co] = co < f->linear ? 0 : f->bias[co];
            for (int ky = 0; ky < f->kh; ky++) {
                for (int kx = 0; kx < f->kw; kx++) {
                    int64_t from_row = row * f->stride + ky - f->pad_h;
                    int64_t from_column = column * f->stride + kx - f->pad_w;

                    if (from_row < 0 || from_row >= x->h || from_column < 0 || from_column >= x->w)
                        continue;
                    add_product(out, pixel_at(x, from_row, from_column), f->kernel + (ky * f->kw + kx) * tap_size,
                                f->cin, f->cout);
                }
            }
            for (int co = f->linear; co < f->cout; co++)
                out[co] = relu(out[co]);
            if (mask)
                mask_write(mask_at(mask, row, column), out, f->linear, f->cout);
        }
    }
}

/* The output row (or column) that reads input `at` through tap `tap`, or -1. */
static int64_t reader_of(int64_t at, int tap, int pad, int stride, int64_t outputs)
{
    int64_t distance = at + pad - tap;

    if (distance < 0 || distance % stride != 0 || distance / stride >= outputs)
        return -1;
    return distance / stride;
}

void reference_conv_back(struct device *device, struct conv *conv, const struct tensor *dy, const struct tensor *dx,
                         const struct tensor *mask, void *scratch)
{
    (void)scratch;
    const struct filter_desc *f = &conv->filter->desc;
    const double *transposed = conv->filter->transposed;
    int64_t tap_size = (int64_t)f->cin * f->cout;

#pragma omp parallel for num_threads(reference_threads(device))
    for (int64_t row = 0; row < dx->h; row++) {
        for (int64_t column = 0; column < dx->w; column++) {
            double *out = pixel_at(dx, row, column);

            if (!conv->accumulate)
                memset(out, 0, (size_t)f->cin * sizeof *out);
            for (int ky = 0; ky < f->kh; ky++) {
                for (int kx = 0; kx < f->kw; kx++) {
                    int64_t from_row = reader_of(row, ky, f->pad_h, f->stride, dy->h);
                    int64_t from_column = reader_of(column, kx, f->pad_w, f->stride, dy->w);

                    if (from_row < 0 || from_column < 0)
                        continue;
                    add_product(out, pixel_at(dy, from_row, from_column), transposed + (ky * f->kw + kx) * tap_size,
                                f->cout, f->cin);
                }
            }
            if (mask)
                mask_apply(mask_at(mask, row, column), out, f->cin);
        }
    }
}
