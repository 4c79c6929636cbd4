/* A filter of the CPU device and its packed weights: what conv.c and conv_pack.c share. */
#ifndef PAREIDOLIA_CONV_PACK_H
#define PAREIDOLIA_CONV_PACK_H

#include "conv_kernel.h"

/* One direction in one form; weights is NULL until a convolution asks for it. */
struct packing {
    float *weights;
    struct pass passes[4];
    int pass_count;
};

struct filter {
    struct filter_desc desc; /* kernel and bias are NULL: they belonged to the caller */
    int block;               /* of the kernels that read the packed weights */
    bool one_form;           /* all convolutions of a direction read the same form, as they do in fp32 */
    float *kernel;           /* [kh][kw][cin][cout]; one_form: NULL once both directions are packed */
    float *bias;             /* as given, also of the linear outputs */
    float *shift; /* what is added to sums: bias, 0 for linear outputs; readable to the end of its last block */
    struct packing packings[2][FORMS]; /* forward, backward */
    struct dnnl_filter *dnnl;          /* NULL where it is not asked for */
};

/* count zeros; NULL with an error. */
float *floats_new(size_t count);

/* A direction's passes with their weights, packed now if no earlier convolution wanted them so; NULL with an error.
 */
const struct packing *filter_packing(struct filter *filter, bool back, enum form form);

#endif
