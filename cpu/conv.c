/* Convolutions of the CPU device: packs weights for our own kernel, reduces backward to correlations, and lets
 * oneDNN do what it does faster. On processors with AVX-512 that is nearly everything (its matrix-product kernels
 * reach nine tenths of the peak); with AVX2 alone oneDNN 2.6 has none for these tensors, its older direct kernels
 * reach half of the peak in NHWC, and ours runs instead. */
#include "conv_kernel.h"

#include "host/error.h"

#include <stdlib.h>

struct filter {
    struct filter_desc desc; /* kernel and bias are NULL: they belonged to the caller */
    float *bias;             /* as given, also of the linear outputs */
    float *shift;   /* what is added to sums: bias, 0 for linear outputs; readable to the end of its last block */
    float *forward; /* packed, see struct pass */
    float *back;    /* packed for backward, one part a pass; NULL until a convolution asks for it */
    struct pass passes[4]; /* backward's */
    int pass_count;
    struct dnnl_filter *dnnl; /* NULL where the library is not used */
};

struct conv {
    struct filter *filter;
    bool accumulate;        /* backward */
    struct dnnl_conv *dnnl; /* NULL: ours */
};

/* Where the weight of tap (r, k), input i and output o lies in a packed array of kh x kw x cin x cout. */
static size_t packed_index(int kh, int kw, int cin, int cout, int r, int k, int i, int o)
{
    size_t block = (size_t)(o / CONV_BLOCK), in_block = (size_t)(o % CONV_BLOCK);
    size_t width = cout - o / CONV_BLOCK * CONV_BLOCK > CONV_HALF ? CONV_BLOCK : CONV_HALF;
    size_t depth = (size_t)kh * (size_t)kw * (size_t)cin;

    return block * CONV_BLOCK * depth + (((size_t)r * (size_t)kw + (size_t)k) * (size_t)cin + (size_t)i) * width +
           in_block;
}

/* Floats of a packed array; channels that are only there to fill a block are zeros. */
static size_t packed_floats(int kh, int kw, int cin, int cout)
{
    size_t channels = (size_t)((cout + CONV_HALF - 1) / CONV_HALF * CONV_HALF);

    return (size_t)kh * (size_t)kw * (size_t)cin * channels;
}

static float forward_weight(const struct filter *filter, int r, int k, int i, int o)
{
    const struct filter_desc *d = &filter->desc;

    return filter->forward[packed_index(d->kh, d->kw, d->cin, d->cout, r, k, i, o)];
}

static float *floats_new(size_t count)
{
    float *floats = aligned_alloc(64, (count * sizeof *floats + 63) / 64 * 64);

    if (!floats)
        error_set("cannot allocate %zu bytes for the weights of a convolution", count * sizeof *floats);
    else
        memset(floats, 0, count * sizeof *floats);
    return floats;
}

struct filter *cpu_filter_new(struct device *device, const struct filter_desc *desc)
{
    struct cpu *cpu = cpu_of(device);
    int64_t widest = desc->cin > desc->cout ? desc->cin : desc->cout;
    struct filter *filter;

    if ((int64_t)desc->kh * desc->kw * widest > CPU_TILE_FLOATS) {
        error_set("a convolution of %dx%d taps over %lld channels is too wide for the cpu device, which takes %d "
                  "products for an output",
                  desc->kh, desc->kw, (long long)widest, CPU_TILE_FLOATS);
        return NULL;
    }
    filter = calloc(1, sizeof *filter);
    if (!filter) {
        error_set("out of memory for the weights of a convolution");
        return NULL;
    }
    filter->desc = *desc;
    filter->desc.kernel = filter->desc.bias = NULL;
    filter->bias = floats_new((size_t)desc->cout + CONV_HALF);
    filter->shift = floats_new((size_t)desc->cout + CONV_BLOCK);
    filter->forward = floats_new(packed_floats(desc->kh, desc->kw, desc->cin, desc->cout));
    if (!filter->bias || !filter->shift || !filter->forward)
        goto fail;
    for (int o = 0; o < desc->cout; o++) {
        filter->bias[o] = (float)desc->bias[o];
        filter->shift[o] = o < desc->linear ? 0 : (float)desc->bias[o];
    }
    for (int r = 0; r < desc->kh; r++)
        for (int k = 0; k < desc->kw; k++)
            for (int i = 0; i < desc->cin; i++) {
                const double *row =
                    desc->kernel + (((size_t)r * (size_t)desc->kw + (size_t)k) * (size_t)desc->cin + (size_t)i) *
                                       (size_t)desc->cout;

                for (int o = 0; o < desc->cout; o++)
                    filter->forward[packed_index(desc->kh, desc->kw, desc->cin, desc->cout, r, k, i, o)] =
                        (float)row[o];
            }
    if (cpu->library) {
        filter->dnnl = dnnl_filter_new(cpu->dnnl, desc);
        if (!filter->dnnl)
            goto fail;
    }
    return filter;
fail:
    cpu_filter_free(device, filter);
    return NULL;
}

void cpu_filter_free(struct device *device, struct filter *filter)
{
    (void)device;
    if (!filter)
        return;
    dnnl_filter_free(filter->dnnl);
    free(filter->bias);
    free(filter->shift);
    free(filter->forward);
    free(filter->back);
    free(filter);
}

const float *cpu_filter_bias(const struct filter *filter)
{
    return filter->bias;
}

/* One axis of backward for the positions y with y % stride == parity: dx[y] is the sum over the taps
 * r = first + stride * j of dy[(y + pad - r) / stride] * w[r]; falling r is rising dy, so the taps are taken in
 * falling order. */
struct axis {
    int taps;
    int first; /* the lowest tap */
    int pad;   /* of the pass */
};

static struct axis axis_of(int k, int stride, int pad, int parity)
{
    struct axis axis = {.first = (parity + pad) % stride};

    axis.taps = axis.first < k ? (k - axis.first + stride - 1) / stride : 0;
    axis.pad = axis.taps - 1 - (parity + pad - axis.first) / stride;
    return axis;
}

static void pack_back(const struct filter *filter, const struct axis *rows, const struct axis *columns, float *to)
{
    const struct filter_desc *d = &filter->desc;

    for (int r = 0; r < rows->taps; r++)
        for (int k = 0; k < columns->taps; k++)
            for (int o = 0; o < d->cout; o++)
                for (int i = 0; i < d->cin; i++)
                    to[packed_index(rows->taps, columns->taps, d->cout, d->cin, r, k, o, i)] =
                        forward_weight(filter, rows->first + d->stride * (rows->taps - 1 - r),
                                       columns->first + d->stride * (columns->taps - 1 - k), i, o);
}

/* Prepares the passes of backward and their weights. */
static int back_init(struct filter *filter)
{
    const struct filter_desc *d = &filter->desc;
    size_t used = 0;

    if (filter->back)
        return 0;
    /* The parities share the taps between them, so in all there are as many weights as forward has. */
    filter->back = floats_new(packed_floats(d->kh, d->kw, d->cout, d->cin));
    if (!filter->back)
        return -1;
    for (int y = 0; y < d->stride; y++)
        for (int x = 0; x < d->stride; x++) {
            struct axis rows = axis_of(d->kh, d->stride, d->pad_h, y);
            struct axis columns = axis_of(d->kw, d->stride, d->pad_w, x);

            pack_back(filter, &rows, &columns, filter->back + used);
            filter->passes[filter->pass_count++] = (struct pass){.kh = rows.taps,
                                                                 .kw = columns.taps,
                                                                 .stride = 1,
                                                                 .pad_y = rows.pad,
                                                                 .pad_x = columns.pad,
                                                                 .out_step = d->stride,
                                                                 .out_y = y,
                                                                 .out_x = x,
                                                                 .cin = d->cout,
                                                                 .cout = d->cin,
                                                                 .weights = filter->back + used};
            used += packed_floats(rows.taps, columns.taps, d->cout, d->cin);
        }
    return 0;
}

struct conv *cpu_conv_new(struct device *device, struct filter *filter, const struct conv_desc *desc,
                          size_t *scratch_bytes)
{
    struct cpu *cpu = cpu_of(device);
    struct conv *conv = calloc(1, sizeof *conv);

    *scratch_bytes = 0;
    if (!conv) {
        error_set("out of memory while a convolution is planned");
        return NULL;
    }
    conv->filter = filter;
    conv->accumulate = desc->accumulate;
    if (filter->dnnl)
        conv->dnnl = dnnl_conv_new(cpu->dnnl, filter->dnnl, desc, cpu->engine != CONV_LIBRARY, scratch_bytes);
    /* Where the library is asked for, ours may only do what the library cannot: the picture's fp32 to bf16. */
    if (!conv->dnnl && cpu->engine == CONV_LIBRARY && desc->x.type == desc->y.type)
        goto fail;
    if (!conv->dnnl && desc->back && back_init(filter) != 0)
        goto fail;
    return conv;
fail:
    free(conv);
    return NULL;
}

void cpu_conv_free(struct device *device, struct conv *conv)
{
    (void)device;
    if (!conv)
        return;
    dnnl_conv_free(conv->dnnl);
    free(conv);
}

void cpu_conv(struct device *device, struct conv *conv, const struct tensor *x, const struct tensor *y,
              const struct tensor *mask, void *scratch)
{
    struct cpu *cpu = cpu_of(device);
    const struct filter *filter = conv->filter;
    const struct filter_desc *d = &filter->desc;
    struct finish finish = {
        .bias = filter->shift, .relu = true, .linear = d->linear, .mask = mask, .write_mask = true};

    if (!conv->dnnl) {
        const struct pass pass = {.kh = d->kh,
                                  .kw = d->kw,
                                  .stride = d->stride,
                                  .pad_y = d->pad_h,
                                  .pad_x = d->pad_w,
                                  .out_step = 1,
                                  .cin = d->cin,
                                  .cout = d->cout,
                                  .weights = filter->forward};

        cpu->kernels->run(cpu, &pass, x, y, &finish);
    } else if (dnnl_conv_run(conv->dnnl, x, y, scratch) != 0) {
        cpu_fail(cpu);
    } else if (mask || d->linear > 0) {
        cpu->kernels->finish(cpu, y, &finish);
    }
}

void cpu_conv_back(struct device *device, struct conv *conv, const struct tensor *dy, const struct tensor *dx,
                   const struct tensor *mask, void *scratch)
{
    struct cpu *cpu = cpu_of(device);
    const struct filter *filter = conv->filter;
    struct finish finish = {.accumulate = conv->accumulate, .mask = mask};

    if (!conv->dnnl) {
        for (int i = 0; i < filter->pass_count; i++)
            cpu->kernels->run(cpu, &filter->passes[i], dy, dx, &finish);
    } else if (dnnl_conv_run(conv->dnnl, dy, dx, scratch) != 0) {
        cpu_fail(cpu);
    } else if (mask) {
        finish.accumulate = false;
        cpu->kernels->finish(cpu, dx, &finish);
    }
}
