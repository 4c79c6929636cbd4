/* Convolutions of the CUDA device as the table wants them: one program each, chosen when it is prepared. */
#include "conv.h"

#include "hash.h"

#include "host/error.h"

#include <stdlib.h>

struct conv {
    const struct filter *filter;
    struct conv_desc desc;
    struct program program;
};

/* Mixes what was chosen into the number that tells this device's set of programs from others. Sums, so that the
 * order of preparing does not matter. */
static void programs_count(struct device *device, const struct conv *conv)
{
    const struct program_recipe *r = &conv->program.recipe;
    const struct conv_desc *d = &conv->desc;
    const struct filter_desc *f = &conv->filter->desc;
    const int64_t numbers[] = {d->x.h,    d->x.w,    f->cin,           f->cout, d->x.pitch, d->y.pitch,
                               d->mask.c, d->back,   d->accumulate,    f->kh,   f->kw,      f->stride,
                               r->kind,   r->fusion, r->choice.engine, r->rank};
    uint64_t hash = hash_bytes(HASH_BEGIN, numbers, sizeof numbers);

    hash = hash_bytes(hash, r->choice.knob, (size_t)r->choice.knobs * sizeof *r->choice.knob);
    device->programs += hash_bytes(hash, &r->algorithm, sizeof r->algorithm);
}

struct conv *cuda_conv_new(struct device *device, struct filter *filter, const struct conv_desc *desc,
                           size_t *scratch_bytes)
{
    struct cuda *cuda = cuda_of(device);
    struct conv *conv = calloc(1, sizeof *conv);
    int result;

    if (!conv) {
        error_set("out of memory for a convolution");
        return NULL;
    }
    conv->filter = filter;
    conv->desc = *desc;
    result = cuda->tuning ? program_init_tuned(&conv->program, cuda, filter, desc)
                          : program_init_default(&conv->program, cuda, filter, desc, cuda->engine);
    if (result != 0) {
        error_prefix("%s, a %dx%d convolution of %d to %d channels%s", cuda->name, filter->desc.kh, filter->desc.kw,
                     filter->desc.cin, filter->desc.cout, desc->back ? ", backward" : "");
        free(conv);
        return NULL;
    }
    programs_count(device, conv);
    *scratch_bytes = conv->program.scratch;
    return conv;
}

void cuda_conv_free(struct device *device, struct conv *conv)
{
    (void)device;
    program_free(&conv->program);
    free(conv);
}

void cuda_conv(struct device *device, struct conv *conv, const struct tensor *x, const struct tensor *y,
               const struct tensor *mask, void *scratch)
{
    program_run(&conv->program, cuda_of(device), conv->filter, &conv->desc, x, y, mask, scratch);
}

void cuda_conv_back(struct device *device, struct conv *conv, const struct tensor *dy, const struct tensor *dx,
                    const struct tensor *mask, void *scratch)
{
    program_run(&conv->program, cuda_of(device), conv->filter, &conv->desc, dy, dx, mask, scratch);
}
