/* Convolutions by oneDNN (its 2.x C interface), on plain NHWC tensors: the only file that includes it. No dream
 * runs them: they are there for the tests to compare our own with.
 *
 * Parameters are kept in plain form and, once for each layout that a primitive asks for, packed; sizes share them.
 * Everything that oneDNN could allocate during a run (scratchpads, memory objects) is made beforehand. */
#include "cpu.h"

#include "host/error.h"

#include <assert.h>
#include <dnnl.h>
#include <dnnl_debug.h>
#include <omp.h>
#include <stdlib.h>

/* oneDNN cuts a convolution into blocks that suit the number of threads it is planned for: blocks of outputs, but
 * with them, in 2.6, also the input channels and kernel rows that are summed up in one go and the treatment of
 * padding at the sides; so the same sums round differently. What runs is one block after the other, each made by
 * one thread, shared out among the threads that there are. So all primitives are planned for this many and run on
 * ours: the result is then the same for any number. Those above it idle here; planning for 64 costs 2 threads
 * nothing. */
enum { CACHE_LINE = 64, PLANNED_THREADS = 64 };

struct dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int threads; /* at most PLANNED_THREADS: scratchpads are made for as many */
};

/* A kernel in a layout of oneDNN's choice; flipped: transposed for the backward pass. */
struct packed {
    struct packed *next;
    bool flipped;
    dnnl_memory_desc_t layout;
    dnnl_memory_t memory;
    void *data;
};

struct dnnl_filter {
    struct dnnl *dnnl;
    struct filter_desc shape; /* its kernel and bias are not ours to read */
    float *kernel;            /* [kh][kw][cin][cout] */
    float *bias;              /* [cout], 0 for linear outputs */
    struct packed *packed;
};

enum step_kind {
    STEP_FORWARD,
    STEP_FLIPPED, /* the backward pass of stride 1 as a forward convolution, twice as fast as oneDNN's own */
    STEP_BACKWARD,
    STEP_COPY
};

/* A primitive with what it is run on. from, to and scratchpad get their addresses at every run. */
struct step {
    enum step_kind kind;
    dnnl_primitive_t primitive;
    dnnl_memory_t from, to, scratchpad;
    dnnl_memory_t bias;          /* NULL where there is none */
    const struct packed *kernel; /* NULL where there is none */
    size_t scratchpad_bytes;
};

struct dnnl_conv {
    struct dnnl_filter *filter;
    struct tensor from, to; /* as prepared for; no data */
    struct step main;
    struct step add;  /* stride 2: dx += what main left in scratch memory; oneDNN's backward pass cannot add */
    size_t sum_bytes; /* of that scratch memory; 0: main writes to where the result belongs */
};

/* How a step is to be made. */
struct step_wish {
    enum step_kind kind;
    const struct tensor *from, *to;
    bool add, relu;
};

static int check(dnnl_status_t status, const char *call)
{
    if (status == dnnl_success)
        return 0;
    return error_set("oneDNN: %s: %s", call, dnnl_status2str(status));
}

/* TRY(dnnl_f, (arguments)): 0, or -1 with an error that names the function and its status. */
#define TRY(function, arguments) check(function arguments, #function)

static size_t round_up(size_t bytes)
{
    return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

/* oneDNN plans for as many threads as OpenMP would take by default. */
static int threads_set(int threads)
{
    int before = omp_get_max_threads();

    omp_set_num_threads(threads);
    return before;
}

struct dnnl *dnnl_open(int threads)
{
    struct dnnl *dnnl = calloc(1, sizeof *dnnl);

    if (!dnnl) {
        error_set("cannot allocate %zu bytes of memory", sizeof *dnnl);
        return NULL;
    }
    dnnl->threads = threads < PLANNED_THREADS ? threads : PLANNED_THREADS;
    if (TRY(dnnl_engine_create, (&dnnl->engine, dnnl_cpu, 0)) ||
        TRY(dnnl_stream_create, (&dnnl->stream, dnnl->engine, dnnl_stream_default_flags))) {
        dnnl_close(dnnl);
        return NULL;
    }
    return dnnl;
}

void dnnl_close(struct dnnl *dnnl)
{
    if (!dnnl)
        return;
    dnnl_stream_destroy(dnnl->stream);
    dnnl_engine_destroy(dnnl->engine);
    free(dnnl);
}

bool dnnl_has_bf16(void)
{
    /* Each value has the bits of those that it includes. */
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

struct dnnl_filter *dnnl_filter_new(struct dnnl *dnnl, const struct filter_desc *desc)
{
    struct dnnl_filter *filter = calloc(1, sizeof *filter);
    size_t weights = (size_t)desc->kh * (size_t)desc->kw * (size_t)desc->cin * (size_t)desc->cout;

    if (!filter) {
        error_set("cannot allocate %zu bytes of memory", sizeof *filter);
        return NULL;
    }
    filter->dnnl = dnnl;
    filter->shape = *desc;
    filter->shape.kernel = filter->shape.bias = NULL;
    filter->kernel = cpu_memory_new(weights * sizeof *filter->kernel);
    filter->bias = cpu_memory_new((size_t)desc->cout * sizeof *filter->bias);
    if (!filter->kernel || !filter->bias) {
        dnnl_filter_free(filter);
        return NULL;
    }
    for (size_t i = 0; i < weights; i++)
        filter->kernel[i] = (float)desc->kernel[i];
    for (int o = 0; o < desc->cout; o++)
        filter->bias[o] = o < desc->linear ? 0 : (float)desc->bias[o];
    return filter;
}

static void packed_free(struct packed *packed)
{
    if (packed->memory)
        dnnl_memory_destroy(packed->memory);
    free(packed->data);
    free(packed);
}

void dnnl_filter_free(struct dnnl_filter *filter)
{
    if (!filter)
        return;
    for (struct packed *packed = filter->packed, *next; packed; packed = next) {
        next = packed->next;
        packed_free(packed);
    }
    free(filter->kernel);
    free(filter->bias);
    free(filter);
}

/* Layouts ------------------------------------------------------------------------------------------------- */

static dnnl_data_type_t data_type(enum dtype type)
{
    return type == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* oneDNN names dimensions in the order n, c, h, w; the strides make it NHWC with our pitch. */
static int layout_tensor(dnnl_memory_desc_t *layout, const struct tensor *t)
{
    const dnnl_dims_t dims = {1, t->c, t->h, t->w};
    const dnnl_dims_t strides = {t->h * t->w * t->pitch, 1, t->w * t->pitch, t->pitch};

    return TRY(dnnl_memory_desc_init_by_strides, (layout, 4, dims, data_type(t->type), strides));
}

/* The plain kernel, o, i, h, w over [kh][kw][cin][cout]; flipped: as the kernel of the backward pass, whose outputs
 * are cin. */
static int layout_kernel(dnnl_memory_desc_t *layout, const struct filter_desc *shape, bool flipped)
{
    int64_t tap = (int64_t)shape->cin * shape->cout;
    const dnnl_dims_t dims = {shape->cout, shape->cin, shape->kh, shape->kw};
    const dnnl_dims_t strides = {1, shape->cout, shape->kw * tap, tap};
    const dnnl_dims_t dims_flipped = {shape->cin, shape->cout, shape->kh, shape->kw};
    const dnnl_dims_t strides_flipped = {shape->cout, 1, shape->kw * tap, tap};

    return TRY(dnnl_memory_desc_init_by_strides,
               (layout, 4, flipped ? dims_flipped : dims, dnnl_f32, flipped ? strides_flipped : strides));
}

/* The kernel in whatever layout a primitive likes best. */
static int layout_kernel_any(dnnl_memory_desc_t *layout, const struct filter_desc *shape, bool flipped,
                             enum dtype type)
{
    const dnnl_dims_t dims = {shape->cout, shape->cin, shape->kh, shape->kw};
    const dnnl_dims_t dims_flipped = {shape->cin, shape->cout, shape->kh, shape->kw};

    return TRY(dnnl_memory_desc_init_by_tag,
               (layout, 4, flipped ? dims_flipped : dims, data_type(type), dnnl_format_tag_any));
}

static int layout_bias(dnnl_memory_desc_t *layout, int cout)
{
    const dnnl_dims_t dims = {cout};

    return TRY(dnnl_memory_desc_init_by_tag, (layout, 1, dims, dnnl_f32, dnnl_a));
}

/* Packed kernels ------------------------------------------------------------------------------------------ */

/* A memory object that borrows data, which may come later. */
static int memory_wrap(dnnl_memory_t *memory, const struct dnnl *dnnl, const dnnl_memory_desc_t *layout, void *data)
{
    return TRY(dnnl_memory_create, (memory, layout, dnnl->engine, data));
}

/* A copy of the kernel with its taps in reverse order. */
static float *kernel_flip(const struct dnnl_filter *filter)
{
    size_t taps = (size_t)filter->shape.kh * (size_t)filter->shape.kw;
    size_t tap = (size_t)filter->shape.cin * (size_t)filter->shape.cout;
    float *flipped = cpu_memory_new(taps * tap * sizeof *flipped);

    if (flipped)
        for (size_t i = 0; i < taps; i++)
            memcpy(flipped + i * tap, filter->kernel + (taps - 1 - i) * tap, tap * sizeof *flipped);
    return flipped;
}

static int reorder_run(struct dnnl *dnnl, dnnl_memory_t from, const dnnl_memory_desc_t *from_layout,
                       dnnl_memory_t to, const dnnl_memory_desc_t *to_layout)
{
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t primitive = NULL;
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    int failed = TRY(dnnl_reorder_primitive_desc_create,
                     (&desc, from_layout, dnnl->engine, to_layout, dnnl->engine, NULL)) ||
                 TRY(dnnl_primitive_create, (&primitive, desc)) ||
                 TRY(dnnl_primitive_execute, (primitive, dnnl->stream, 2, args)) ||
                 TRY(dnnl_stream_wait, (dnnl->stream));

    if (primitive)
        dnnl_primitive_destroy(primitive);
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    return failed ? -1 : 0;
}

static int kernel_pack(struct dnnl_filter *filter, struct packed *packed)
{
    struct dnnl *dnnl = filter->dnnl;
    float *kernel = packed->flipped ? kernel_flip(filter) : filter->kernel;
    dnnl_memory_desc_t plain_layout;
    dnnl_memory_t plain = NULL;
    int failed = !kernel || layout_kernel(&plain_layout, &filter->shape, packed->flipped) ||
                 memory_wrap(&plain, dnnl, &plain_layout, kernel) ||
                 memory_wrap(&packed->memory, dnnl, &packed->layout, packed->data) ||
                 reorder_run(dnnl, plain, &plain_layout, packed->memory, &packed->layout);

    if (plain)
        dnnl_memory_destroy(plain);
    if (packed->flipped)
        free(kernel);
    return failed ? -1 : 0;
}

/* The kernel in that layout, packed now if no earlier primitive wanted it so. */
static struct packed *filter_packed(struct dnnl_filter *filter, bool flipped, const dnnl_memory_desc_t *layout)
{
    struct packed *packed;

    for (packed = filter->packed; packed; packed = packed->next)
        if (packed->flipped == flipped && dnnl_memory_desc_equal(&packed->layout, layout))
            return packed;
    packed = calloc(1, sizeof *packed);
    if (!packed) {
        error_set("cannot allocate %zu bytes of memory", sizeof *packed);
        return NULL;
    }
    packed->flipped = flipped;
    packed->layout = *layout;
    packed->data = cpu_memory_new(dnnl_memory_desc_get_size(layout));
    if (!packed->data || kernel_pack(filter, packed)) {
        packed_free(packed);
        return NULL;
    }
    packed->next = filter->packed;
    filter->packed = packed;
    return packed;
}

/* Steps --------------------------------------------------------------------------------------------------- */

/* Scratchpad from the caller; sum before ReLU, as oneDNN applies them in this order. */
static int attributes_new(dnnl_primitive_attr_t *attr, bool add, bool relu)
{
    dnnl_post_ops_t ops = NULL;
    int failed = TRY(dnnl_primitive_attr_create, (attr)) ||
                 TRY(dnnl_primitive_attr_set_scratchpad_mode, (*attr, dnnl_scratchpad_mode_user)) ||
                 TRY(dnnl_post_ops_create, (&ops)) || (add && TRY(dnnl_post_ops_append_sum, (ops, 1))) ||
                 (relu && TRY(dnnl_post_ops_append_eltwise, (ops, 1, dnnl_eltwise_relu, 0, 0))) ||
                 TRY(dnnl_primitive_attr_set_post_ops, (*attr, ops));

    if (ops)
        dnnl_post_ops_destroy(ops);
    return failed ? -1 : 0;
}

/* oneDNN computes (in - kernel + 2 pad) / stride + 1 and rounds down as we do: rows that stride 2 leaves over at
 * the end need no padding of their own. Flipped, the zeros around dy are what is left of the kernel behind its
 * first tap. */
static int convolution_describe(dnnl_primitive_desc_t *out, const struct dnnl_filter *filter,
                                const struct step_wish *wish, dnnl_primitive_attr_t attr)
{
    const struct filter_desc *s = &filter->shape;
    bool flipped = wish->kind == STEP_FLIPPED;
    const dnnl_dims_t strides = {s->stride, s->stride};
    const dnnl_dims_t pad = {flipped ? s->kh - 1 - s->pad_h : s->pad_h, flipped ? s->kw - 1 - s->pad_w : s->pad_w};
    dnnl_memory_desc_t from, to, kernel, bias;
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t hint = NULL;
    dnnl_status_t status;

    if (layout_tensor(&from, wish->from) || layout_tensor(&to, wish->to) || layout_bias(&bias, s->cout) ||
        layout_kernel_any(&kernel, s, flipped, wish->from->type))
        return -1;
    if (wish->kind == STEP_BACKWARD) {
        const struct step_wish forward = {.kind = STEP_FORWARD, .from = wish->to, .to = wish->from};

        if (convolution_describe(&hint, filter, &forward, NULL) ||
            TRY(dnnl_convolution_backward_data_desc_init,
                (&desc, dnnl_convolution_direct, &to, &kernel, &from, strides, pad, pad)))
            goto fail;
    } else if (TRY(dnnl_convolution_forward_desc_init,
                   (&desc, dnnl_forward_inference, dnnl_convolution_direct, &from, &kernel,
                    wish->kind == STEP_FORWARD ? &bias : NULL, &to, strides, pad, pad))) {
        goto fail;
    }
    status = dnnl_primitive_desc_create(out, &desc, attr, filter->dnnl->engine, hint);
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    return check(status, "dnnl_primitive_desc_create");

fail:
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    return -1;
}

static int copy_describe(dnnl_primitive_desc_t *out, const struct dnnl_filter *filter, const struct step_wish *wish,
                         dnnl_primitive_attr_t attr)
{
    dnnl_engine_t engine = filter->dnnl->engine;
    dnnl_memory_desc_t from, to;

    if (layout_tensor(&from, wish->from) || layout_tensor(&to, wish->to))
        return -1;
    return TRY(dnnl_reorder_primitive_desc_create, (out, &from, engine, &to, engine, attr));
}

static void step_free(struct step *step)
{
    const dnnl_memory_t memories[] = {step->from, step->to, step->scratchpad, step->bias};

    for (int i = 0; i < 4; i++)
        if (memories[i])
            dnnl_memory_destroy(memories[i]);
    if (step->primitive)
        dnnl_primitive_destroy(step->primitive);
}

/* Makes what the primitive of desc is run on. */
static int step_bind(struct step *step, struct dnnl_filter *filter, const struct step_wish *wish,
                     dnnl_primitive_desc_t desc)
{
    struct dnnl *dnnl = filter->dnnl;
    const dnnl_memory_desc_t *scratchpad = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    dnnl_memory_desc_t from, to, bias;

    if (layout_tensor(&from, wish->from) || layout_tensor(&to, wish->to) || layout_bias(&bias, filter->shape.cout))
        return -1;
    step->scratchpad_bytes = dnnl_memory_desc_get_size(scratchpad);
    if (memory_wrap(&step->from, dnnl, &from, NULL) || memory_wrap(&step->to, dnnl, &to, NULL) ||
        memory_wrap(&step->scratchpad, dnnl, scratchpad, NULL))
        return -1;
    if (wish->kind == STEP_FORWARD && memory_wrap(&step->bias, dnnl, &bias, filter->bias))
        return -1;
    if (wish->kind == STEP_COPY)
        return 0;
    step->kernel = filter_packed(filter, wish->kind == STEP_FLIPPED,
                                 dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0));
    return step->kernel ? 0 : -1;
}

/* On failure, the caller frees what there is of the step. */
static int step_new(struct step *step, struct dnnl_filter *filter, const struct step_wish *wish)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    int before = threads_set(PLANNED_THREADS), failed;

    step->kind = wish->kind;
    failed = attributes_new(&attr, wish->add, wish->relu) ||
             (wish->kind == STEP_COPY ? copy_describe(&desc, filter, wish, attr)
                                      : convolution_describe(&desc, filter, wish, attr)) ||
             TRY(dnnl_primitive_create, (&step->primitive, desc));
    threads_set(before);
    failed = failed || step_bind(step, filter, wish, desc);
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return failed ? -1 : 0;
}

/* Most primitives ask OpenMP for the threads that they were planned for, some for its default; the league of one
 * team is there to limit what the former get. */
static dnnl_status_t primitive_run(const struct dnnl *dnnl, const struct step *step, int used,
                                   const dnnl_exec_arg_t *args)
{
    int before = threads_set(dnnl->threads);
    dnnl_status_t status = dnnl_success;

#pragma omp teams num_teams(1) thread_limit(dnnl->threads)
    status = dnnl_primitive_execute(step->primitive, dnnl->stream, used, args);
    threads_set(before);
    return status;
}

static int step_run(const struct dnnl *dnnl, const struct step *step, const void *from, void *to, void *scratchpad)
{
    bool backward = step->kind == STEP_BACKWARD;
    dnnl_exec_arg_t args[5] = {{backward ? DNNL_ARG_DIFF_DST : DNNL_ARG_SRC, step->from},
                               {backward ? DNNL_ARG_DIFF_SRC : DNNL_ARG_DST, step->to},
                               {DNNL_ARG_SCRATCHPAD, step->scratchpad}};
    int used = 3;

    if (step->kernel)
        args[used++] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, step->kernel->memory};
    if (step->bias)
        args[used++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, step->bias};
    if (TRY(dnnl_memory_set_data_handle, (step->from, (void *)(uintptr_t)from)) ||
        TRY(dnnl_memory_set_data_handle, (step->to, to)) ||
        TRY(dnnl_memory_set_data_handle, (step->scratchpad, scratchpad)))
        return -1;
    if (check(primitive_run(dnnl, step, used, args), "dnnl_primitive_execute"))
        return -1;
    return TRY(dnnl_stream_wait, (dnnl->stream));
}

/* Convolutions -------------------------------------------------------------------------------------------- */

/* Forward is one primitive, and so is backward with stride 1, also where it adds. With stride 2 it is oneDNN's own
 * backward pass, which cannot add: then a sum is made in scratch memory first and added by a second pass. */
static int steps_new(struct dnnl_conv *conv, const struct conv_desc *desc)
{
    const struct filter_desc *shape = &conv->filter->shape;
    struct step_wish wish = {.kind = STEP_FORWARD, .from = &conv->from, .to = &conv->to};

    if (!desc->back) {
        wish.relu = shape->linear == 0;
    } else if (shape->stride == 1) {
        wish.kind = STEP_FLIPPED;
        wish.add = desc->accumulate;
    } else {
        wish.kind = STEP_BACKWARD;
    }
    if (wish.kind != STEP_BACKWARD || !desc->accumulate)
        return step_new(&conv->main, conv->filter, &wish);

    struct tensor sum = conv->to;
    const struct step_wish add = {.kind = STEP_COPY, .from = &sum, .to = &conv->to, .add = true};

    sum.pitch = sum.c;
    wish.to = &sum;
    conv->sum_bytes = round_up(tensor_bytes(&sum));
    return step_new(&conv->main, conv->filter, &wish) || step_new(&conv->add, conv->filter, &add);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

struct dnnl_conv *dnnl_conv_new(struct dnnl *dnnl, struct dnnl_filter *filter, const struct conv_desc *desc,
                                size_t *scratch_bytes)
{
    struct dnnl_conv *conv;
    int before, failed;

    if (desc->x.type != desc->y.type) {
        error_set("oneDNN has no convolution from %s to %s", dtype_name(desc->x.type), dtype_name(desc->y.type));
        return NULL;
    }
    conv = calloc(1, sizeof *conv);
    if (!conv) {
        error_set("cannot allocate %zu bytes of memory", sizeof *conv);
        return NULL;
    }
    conv->filter = filter;
    conv->from = desc->back ? desc->y : desc->x;
    conv->to = desc->back ? desc->x : desc->y;
    before = threads_set(dnnl->threads);
    failed = steps_new(conv, desc);
    threads_set(before);
    if (failed) {
        dnnl_conv_free(conv);
        return NULL;
    }
    *scratch_bytes = conv->sum_bytes + larger(conv->main.scratchpad_bytes, conv->add.scratchpad_bytes);
    return conv;
}

void dnnl_conv_free(struct dnnl_conv *conv)
{
    if (!conv)
        return;
    step_free(&conv->main);
    step_free(&conv->add);
    free(conv);
}

/* Strides are part of a primitive: another pitch would be read and written in the wrong places. */
static bool is_prepared(const struct tensor *prepared, const struct tensor *t)
{
    return prepared->h == t->h && prepared->w == t->w && prepared->c == t->c && prepared->pitch == t->pitch &&
           prepared->type == t->type;
}

int dnnl_conv_run(struct dnnl_conv *conv, const struct tensor *from, const struct tensor *to, void *scratch)
{
    const struct dnnl *dnnl = conv->filter->dnnl;
    char *scratchpad = (char *)scratch + conv->sum_bytes;

    assert(is_prepared(&conv->from, from) && is_prepared(&conv->to, to));
    if (conv->sum_bytes == 0)
        return step_run(dnnl, &conv->main, from->data, to->data, scratchpad);
    if (step_run(dnnl, &conv->main, from->data, scratch, scratchpad))
        return -1;
    return step_run(dnnl, &conv->add, scratch, to->data, scratchpad);
}
