/* Convolutions of the CPU device: chooses one of our kernels for each and runs it. oneDNN's are there to compare
 * with: its fast kernels refuse slices of a concatenation, and where they run ours are as fast or, by Winograd's
 * transform, faster. */
#include "conv_pack.h"

#include "host/error.h"

#include <stdlib.h>

struct conv {
    struct filter *filter;
    bool accumulate; /* backward */
    enum form form;
    const struct packing *packing; /* ours; NULL: dnnl's */
    struct dnnl_conv *dnnl;
};

struct filter *cpu_filter_new(struct device *device, const struct filter_desc *desc)
{
    struct cpu *cpu = cpu_of(device);
    int64_t widest = desc->cin > desc->cout ? desc->cin : desc->cout;
    size_t weights = (size_t)desc->kh * (size_t)desc->kw * (size_t)desc->cin * (size_t)desc->cout;
    size_t block = (size_t)cpu->kernels->block;
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
    filter->block = cpu->kernels->block;
    filter->one_form = cpu->device.activation == DTYPE_F32;
    filter->kernel = floats_new(weights);
    filter->bias = floats_new((size_t)desc->cout + block);
    filter->shift = floats_new((size_t)desc->cout + block);
    if (!filter->kernel || !filter->bias || !filter->shift)
        goto fail;
    for (size_t i = 0; i < weights; i++)
        filter->kernel[i] = (float)desc->kernel[i];
    for (int o = 0; o < desc->cout; o++) {
        filter->bias[o] = (float)desc->bias[o];
        filter->shift[o] = o < desc->linear ? 0 : (float)desc->bias[o];
    }
    if (cpu->dnnl) {
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
    for (int i = 0; i < 2 * FORMS; i++)
        free(filter->packings[i / FORMS][i % FORMS].weights);
    free(filter->kernel);
    free(filter->bias);
    free(filter->shift);
    free(filter);
}

const float *cpu_filter_bias(const struct filter *filter)
{
    return filter->bias;
}

/* Convolutions ---------------------------------------------------------------------------------------------- */

static bool winograd_suits(const struct filter_desc *d)
{
    int least = d->cin < d->cout ? d->cin : d->cout, most = d->cin < d->cout ? d->cout : d->cin;

    return d->kh == 3 && d->kw == 3 && d->stride == 1 && least >= WINOGRAD_LEAST && most <= WINOGRAD_MOST;
}

static enum form form_choose(const struct cpu *cpu, const struct filter_desc *d, const struct tensor *from,
                             const struct tensor *to)
{
    if (winograd_suits(d) && from->type == to->type)
        return from->type == DTYPE_BF16 ? FORM_WINOGRAD_BF16 : FORM_WINOGRAD_F32;
    if (cpu->kernels->run[FORM_PAIRS] && from->type == DTYPE_BF16 && from->c % 2 == 0 && from->pitch % 2 == 0)
        return FORM_PAIRS;
    return FORM_DIRECT;
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
    conv->form =
        form_choose(cpu, &filter->desc, desc->back ? &desc->y : &desc->x, desc->back ? &desc->x : &desc->y);
    /* Where the library is asked for, ours only does what the library cannot: the picture's fp32 to bf16. */
    if (filter->dnnl && desc->x.type == desc->y.type) {
        conv->dnnl = dnnl_conv_new(cpu->dnnl, filter->dnnl, desc, scratch_bytes);
        if (!conv->dnnl)
            goto fail;
    }
    if (!conv->dnnl) {
        conv->packing = filter_packing(filter, desc->back, conv->form);
        if (!conv->packing)
            goto fail;
    }
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

/* Both directions. finish is what our kernels do; the library has accumulated by itself. */
static void conv_run(struct cpu *cpu, const struct conv *conv, const struct tensor *from, const struct tensor *to,
                     struct finish *finish, void *scratch)
{
    if (!conv->dnnl) {
        for (int i = 0; i < conv->packing->pass_count; i++)
            cpu->kernels->run[conv->form](cpu, &conv->packing->passes[i], from, to, finish);
    } else if (dnnl_conv_run(conv->dnnl, from, to, scratch) != 0) {
        cpu_fail(cpu);
    } else if (finish->mask || finish->linear > 0) {
        finish->accumulate = false;
        cpu->kernels->finish(cpu, to, finish);
    }
}

void cpu_conv(struct device *device, struct conv *conv, const struct tensor *x, const struct tensor *y,
              const struct tensor *mask, void *scratch)
{
    struct finish finish = {.bias = conv->filter->shift,
                            .relu = true,
                            .linear = conv->filter->desc.linear,
                            .mask = mask,
                            .write_mask = true};

    conv_run(cpu_of(device), conv, x, y, &finish, scratch);
}

void cpu_conv_back(struct device *device, struct conv *conv, const struct tensor *dy, const struct tensor *dx,
                   const struct tensor *mask, void *scratch)
{
    struct finish finish = {.accumulate = conv->accumulate, .mask = mask};

    conv_run(cpu_of(device), conv, dy, dx, &finish, scratch);
}
