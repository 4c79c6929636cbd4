/* Prepares oneDNN primitives and runs them. Backward at stride 1 is a forward convolution with the flipped kernel, twice
 * as fast as oneDNN's own. */
#include "convolution.h"

#include "internal.h"

#include <dnnl.h>
#include <dnnl_debug.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS_MOST = 3, FEW_NUMBERS = 1 << 15 };

/* One group of the channels that are summed over. */
struct part {
    int64_t first, count;
    dnnl_primitive_t convolve, pack;
    dnnl_memory_t in, out, kernel, packed;
};

struct convolution {
    struct convolution_shape shape;
    bool flips;
    int parts;
    struct part part[PARTS_MOST];
    float *flipped; /* [c][kh][kw][k] */
    float *group;   /* one part's channels of the input, packed: oneDNN is slow on slices */
    float *sum;     /* of one part, where oneDNN cannot add it */
};

static dnnl_engine_t engine;
static dnnl_stream_t stream;

static void check(dnnl_status_t status, const char *call)
{
    if (status == dnnl_success)
        return;
    fprintf(stderr, "softgpu: oneDNN: %s: %s\n", call, dnnl_status2str(status));
    abort();
}

#define CHECKED(call) check(call, #call)

static void engine_open(void)
{
    if (engine)
        return;
    CHECKED(dnnl_engine_create(&engine, dnnl_cpu, 0));
    CHECKED(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
}

static int64_t in_channels(const struct convolution_shape *s)
{
    return s->back ? s->k : s->c;
}

static int64_t in_pixels(const struct convolution_shape *s)
{
    return s->back ? s->oh * s->ow : s->h * s->w;
}

static int64_t out_channels(const struct convolution_shape *s)
{
    return s->back ? s->c : s->k;
}

/* A packed picture. */
static dnnl_memory_desc_t picture_layout(int64_t h, int64_t w, int64_t channels)
{
    const dnnl_dims_t dims = {1, channels, h, w};
    dnnl_memory_desc_t layout;

    CHECKED(dnnl_memory_desc_init_by_tag(&layout, 4, dims, dnnl_f32, dnnl_nhwc));
    return layout;
}

static dnnl_memory_t memory_new(const dnnl_memory_desc_t *layout, void *data)
{
    dnnl_memory_t memory;

    CHECKED(dnnl_memory_create(&memory, layout, engine, data));
    return memory;
}

/* Describes the convolution of one part; false where oneDNN has none. */
static bool part_describe(const struct convolution *c, const struct part *part, dnnl_primitive_attr_t attr,
                          dnnl_primitive_desc_t *described)
{
    const struct convolution_shape *s = &c->shape;
    dnnl_memory_desc_t x = picture_layout(s->h, s->w, s->back ? s->c : part->count);
    dnnl_memory_desc_t y = picture_layout(s->oh, s->ow, s->back ? part->count : s->k);
    dnnl_memory_desc_t any;
    dnnl_convolution_desc_t desc, hint_desc;
    dnnl_primitive_desc_t hint = NULL;
    dnnl_dims_t kernel = {s->back ? part->count : s->k, s->back ? s->c : part->count, s->kh, s->kw};
    dnnl_dims_t strides = {s->stride[0], s->stride[1]}, before = {s->pad_before[0], s->pad_before[1]};
    dnnl_dims_t behind = {s->pad_behind[0], s->pad_behind[1]};
    dnnl_status_t status;

    if (c->flips) {
        dnnl_memory_desc_t swapped = x;

        x = y;
        y = swapped;
        kernel[0] = s->c;
        kernel[1] = part->count;
        for (int i = 0; i < 2; i++) {
            before[i] = kernel[2 + i] - 1 - before[i];
            behind[i] = kernel[2 + i] - 1 - behind[i];
        }
    }
    CHECKED(dnnl_memory_desc_init_by_tag(&any, 4, kernel, dnnl_f32, dnnl_format_tag_any));
    CHECKED(dnnl_convolution_forward_desc_init(&hint_desc, dnnl_forward_inference, dnnl_convolution_direct, &x, &any,
                                               NULL, &y, strides, before, behind));
    if (!s->back || c->flips)
        return dnnl_primitive_desc_create(described, &hint_desc, attr, engine, NULL) == dnnl_success;
    CHECKED(dnnl_convolution_backward_data_desc_init(&desc, dnnl_convolution_direct, &x, &any, &y, strides, before,
                                                     behind));
    if (dnnl_primitive_desc_create(&hint, &hint_desc, NULL, engine, NULL) != dnnl_success)
        return false;
    status = dnnl_primitive_desc_create(described, &desc, attr, engine, hint);
    dnnl_primitive_desc_destroy(hint);
    return status == dnnl_success;
}

/* The layout of one part of the kernel as it is given, or of the flipped one. */
static dnnl_memory_desc_t kernel_layout(const struct convolution *c, const struct part *part)
{
    const struct convolution_shape *s = &c->shape;
    int64_t taps = s->kh * s->kw;
    const dnnl_dims_t forward = {s->k, part->count, s->kh, s->kw}, back = {part->count, s->c, s->kh, s->kw};
    const dnnl_dims_t flipped = {s->c, part->count, s->kh, s->kw};
    const dnnl_dims_t strides = {taps * s->c, 1, s->kw * s->c, s->c};
    const dnnl_dims_t flipped_strides = {taps * s->k, 1, s->kw * s->k, s->k};
    dnnl_memory_desc_t layout;

    CHECKED(dnnl_memory_desc_init_by_strides(&layout, 4, c->flips ? flipped : s->back ? back : forward, dnnl_f32,
                                             c->flips ? flipped_strides : strides));
    return layout;
}

static bool part_init(struct convolution *c, struct part *part, bool adds)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t post;
    dnnl_primitive_desc_t desc = NULL, pack_desc;
    const dnnl_memory_desc_t *packed, *in, *out;
    dnnl_memory_desc_t plain;
    bool own_back = c->shape.back && !c->flips, made;

    CHECKED(dnnl_primitive_attr_create(&attr));
    CHECKED(dnnl_post_ops_create(&post));
    if (adds && !own_back)
        CHECKED(dnnl_post_ops_append_sum(post, 1));
    CHECKED(dnnl_primitive_attr_set_post_ops(attr, post));
    made = part_describe(c, part, attr, &desc);
    dnnl_post_ops_destroy(post);
    dnnl_primitive_attr_destroy(attr);
    if (!made)
        return false;
    CHECKED(dnnl_primitive_create(&part->convolve, desc));
    packed = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    in = dnnl_primitive_desc_query_md(desc, own_back ? dnnl_query_diff_dst_md : dnnl_query_src_md, 0);
    out = dnnl_primitive_desc_query_md(desc, own_back ? dnnl_query_diff_src_md : dnnl_query_dst_md, 0);
    plain = kernel_layout(c, part);
    CHECKED(dnnl_reorder_primitive_desc_create(&pack_desc, &plain, engine, packed, engine, NULL));
    CHECKED(dnnl_primitive_create(&part->pack, pack_desc));
    part->in = memory_new(in, DNNL_MEMORY_NONE);
    part->out = memory_new(out, DNNL_MEMORY_NONE);
    part->kernel = memory_new(&plain, DNNL_MEMORY_NONE);
    part->packed = memory_new(packed, DNNL_MEMORY_ALLOCATE);
    dnnl_primitive_desc_destroy(pack_desc);
    dnnl_primitive_desc_destroy(desc);
    return true;
}

struct convolution *convolution_new(const struct convolution_shape *shape, int parts)
{
    struct convolution *c = host_alloc(sizeof *c);
    int64_t channels = in_channels(shape);

    engine_open();
    c->shape = *shape;
    c->flips = shape->back && shape->stride[0] == 1 && shape->stride[1] == 1;
    c->parts = (int)(channels < parts ? channels : parts);
    if (c->flips)
        c->flipped = host_alloc((size_t)(shape->c * shape->kh * shape->kw * shape->k) * sizeof *c->flipped);
    else if (shape->back && c->parts > 1)
        c->sum = host_alloc((size_t)(shape->h * shape->w * shape->c) * sizeof *c->sum);
    if (c->parts > 1)
        c->group = host_alloc((size_t)(in_pixels(shape) * (channels / c->parts + 1)) * sizeof *c->group);
    for (int i = 0; i < c->parts; i++) {
        struct part *part = &c->part[i];

        part->first = channels * i / c->parts;
        part->count = channels * (i + 1) / c->parts - part->first;
        if (!part_init(c, part, i > 0)) {
            convolution_free(c);
            return NULL;
        }
    }
    return c;
}

void convolution_free(struct convolution *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->parts && c->part[i].convolve; i++) {
        struct part *part = &c->part[i];

        dnnl_memory_destroy(part->in);
        dnnl_memory_destroy(part->out);
        dnnl_memory_destroy(part->kernel);
        dnnl_memory_destroy(part->packed);
        dnnl_primitive_destroy(part->pack);
        dnnl_primitive_destroy(part->convolve);
    }
    free(c->flipped);
    free(c->group);
    free(c->sum);
    free(c);
}

/* flipped[c][kh][kw][k] = kernel[k][KH - 1 - kh][KW - 1 - kw][c], a cache line of channels at a time. */
static void kernel_flip(const struct convolution_shape *s, const float *kernel, float *flipped)
{
    int64_t taps = s->kh * s->kw, line = 16;

#pragma omp parallel for if (s->c * s->k * taps > FEW_NUMBERS)
    for (int64_t first = 0; first < s->c; first += line)
        for (int64_t tap = 0; tap < taps; tap++)
            for (int64_t k = 0; k < s->k; k++)
                for (int64_t c = first; c < s->c && c < first + line; c++)
                    flipped[(c * taps + tap) * s->k + k] = kernel[(k * taps + taps - 1 - tap) * s->c + c];
}

static void *writable(const float *data)
{
    return (void *)(uintptr_t)data;
}

/* The part's channels of in, packed. */
static const float *group_pack(const struct convolution *c, const struct part *part, const float *in)
{
    int64_t pixels = in_pixels(&c->shape), channels = in_channels(&c->shape);

    if (c->parts == 1)
        return in;
#pragma omp parallel for if (pixels * channels > FEW_NUMBERS)
    for (int64_t pixel = 0; pixel < pixels; pixel++)
        memcpy(c->group + pixel * part->count, in + pixel * channels + part->first,
               (size_t)part->count * sizeof *c->group);
    return c->group;
}

static void part_run(const struct convolution *c, const struct part *part, const float *in, const float *kernel,
                     float *out)
{
    const struct convolution_shape *s = &c->shape;
    bool own_back = s->back && !c->flips;
    int64_t first_tap = own_back ? part->first * s->kh * s->kw * s->c : part->first;
    const dnnl_exec_arg_t pack[] = {{DNNL_ARG_FROM, part->kernel}, {DNNL_ARG_TO, part->packed}};
    const dnnl_exec_arg_t convolve[] = {{own_back ? DNNL_ARG_DIFF_DST : DNNL_ARG_SRC, part->in},
                                        {DNNL_ARG_WEIGHTS, part->packed},
                                        {own_back ? DNNL_ARG_DIFF_SRC : DNNL_ARG_DST, part->out}};

    CHECKED(dnnl_memory_set_data_handle(part->kernel, writable(kernel + first_tap)));
    CHECKED(dnnl_memory_set_data_handle(part->in, writable(group_pack(c, part, in))));
    CHECKED(dnnl_memory_set_data_handle(part->out, out));
    CHECKED(dnnl_primitive_execute(part->pack, stream, 2, pack));
    CHECKED(dnnl_primitive_execute(part->convolve, stream, 3, convolve));
    CHECKED(dnnl_stream_wait(stream));
}

void convolution_run(struct convolution *c, const float *in, const float *kernel, float *out)
{
    int64_t count = c->shape.h * c->shape.w * out_channels(&c->shape);

    if (c->flips) {
        kernel_flip(&c->shape, kernel, c->flipped);
        kernel = c->flipped;
    }
    for (int i = 0; i < c->parts; i++) {
        part_run(c, &c->part[i], in, kernel, c->sum && i > 0 ? c->sum : out);
        for (int64_t n = 0; c->sum && i > 0 && n < count; n++)
            out[n] += c->sum[n];
    }
}

void product_run(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                 const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    CHECKED(dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1, a, lda, b, ldb, beta, c, ldc));
}
