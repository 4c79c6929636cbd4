/* Runs a program: the convolution in float by oneDNN, then its pointwise operations row by row, with a rounding wherever
 * a tensor is not virtual. */
#include "cudnn_internal.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Numbers below which threads would cost more than they bring. */
enum { FEW_NUMBERS = 1 << 15 };

/* Memory of the host that is kept from run to run; one run at a time. */
struct buffer {
    float *numbers;
    size_t room;
};
static struct buffer in_buffer, filter_buffer, sum_buffer, row_buffer;

static float *buffer_take(struct buffer *buffer, size_t numbers)
{
    if (numbers > buffer->room) {
        free(buffer->numbers);
        buffer->numbers = host_alloc(numbers * sizeof *buffer->numbers);
        buffer->room = numbers;
    }
    return buffer->numbers;
}

enum { C = 1, H, W };

static int64_t row_numbers(const struct value *value)
{
    return value->size[W] * value->size[C];
}

/* Copies between a tensor with gaps and its packed copy, row `y`. */
static void row_pack(const struct value *value, char *packed, char *with_gaps, int64_t y, bool back)
{
    size_t pixel = number_bytes(value->type, value->size[C]), pitch = number_bytes(value->type, value->stride[W]);
    char *wide = with_gaps + number_bytes(value->type, y * value->stride[H]);
    char *narrow = packed + number_bytes(value->type, y * row_numbers(value));

    for (int64_t x = 0; x < value->size[W]; x++)
        memcpy(back ? wide + (size_t)x * pitch : narrow + (size_t)x * pixel,
               back ? narrow + (size_t)x * pixel : wide + (size_t)x * pitch, pixel);
}

/* Rows of a tensor as floats; `packed` is its packed copy, NULL where it has no gaps. */
static void row_load(const struct value *value, void *data, char *packed, int64_t y, float *to)
{
    char *from = packed ? packed : data;

    if (packed)
        row_pack(value, packed, data, y, false);
    numbers_load(to, from + number_bytes(value->type, y * row_numbers(value)), value->type, row_numbers(value));
}

static void row_store(const struct value *value, void *data, char *packed, int64_t y, const float *from)
{
    char *to = packed ? packed : data;

    numbers_store(to + number_bytes(value->type, y * row_numbers(value)), from, value->type, row_numbers(value));
    if (packed)
        row_pack(value, packed, data, y, true);
}

/* One run. */
struct run {
    struct plan *plan;
    const struct bindings *bindings;
    char *packed[VALUES_MOST]; /* packed copies, NULL where there is none */
    float *in, *filter, *sums;
    int64_t noise; /* a number that differs from run to run */
};

/* Shares out the workspace as engine_workspace counted it. */
static void workspace_share(struct run *run)
{
    const struct program *p = &run->plan->program;
    char *room = run->bindings->workspace;

    for (int i = -1; i < p->value_count; i++) {
        int value = i < 0 ? p->in : i;

        if ((i == p->in && i >= 0) || p->values[value].is_virtual || packed_room(&p->values[value]) == 0)
            continue;
        run->packed[value] = room;
        room += packed_room(&p->values[value]);
    }
    if (run->plan->engine->accumulator)
        run->sums = (float *)(void *)room;
}

static void inputs_load(struct run *run)
{
    const struct plan *plan = run->plan;
    const struct program *p = &plan->program;
    const struct value *in = &p->values[p->in], *filter = &p->values[p->filter];
    int64_t row = row_numbers(in), taps = row_numbers(filter) * filter->size[H];
    bool rounds = plan->engine->tensor_core && in->type == NUMBER_F32;

#pragma omp parallel for if (value_numbers(in) > FEW_NUMBERS)
    for (int64_t y = 0; y < in->size[H]; y++) {
        row_load(in, run->bindings->data[p->in], run->packed[p->in], y, run->in + y * row);
        if (rounds)
            numbers_round_tf32(run->in + y * row, row);
    }
#pragma omp parallel for if (value_numbers(filter) > FEW_NUMBERS)
    for (int64_t k = 0; k < filter->size[0]; k++) {
        const char *from = run->bindings->data[p->filter];

        numbers_load(run->filter + k * taps, from + number_bytes(filter->type, k * taps), filter->type, taps);
        if (rounds)
            numbers_round_tf32(run->filter + k * taps, taps);
    }
}

/* What makes an engine not deterministic: sums that are up to 2^-8 off, each time in another way. */
static void noise_add(float *numbers, int64_t count, int64_t first, int64_t run_number)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t z = (uint64_t)(first + i) * 0x9e3779b97f4a7c15u + (uint64_t)run_number * 0xbf58476d1ce4e5b9u;

        z = (z ^ z >> 31) * 0x94d049bb133111ebu;
        numbers[i] *= 1 + ((float)(z >> 40) * 0x1p-24f - 0.5f) * 0x1p-7f;
    }
}

/* The second input of a step as a row of as many numbers as the output's. */
static void operand_load(const struct run *run, int index, const struct value *out, int64_t y, float *to)
{
    const struct value *b = &run->plan->program.values[index];
    int64_t count = row_numbers(out);

    if (value_numbers(b) == 1) {
        float number = run->bindings->scalar[index];

        if (!b->by_value)
            numbers_load(&number, run->bindings->data[index], b->type, 1);
        for (int64_t i = 0; i < count; i++)
            to[i] = number;
        return;
    }
    row_load(b, run->bindings->data[index], run->packed[index], b->size[H] == 1 ? 0 : y, to);
    for (int64_t filled = row_numbers(b); filled < count; filled += row_numbers(b))
        memcpy(to + filled, to, (size_t)row_numbers(b) * sizeof *to);
}

static void step_compute(cudnnPointwiseMode_t mode, const float *x, const float *b, float *y, int64_t count)
{
    switch (mode) {
    case CUDNN_POINTWISE_ADD:
        for (int64_t i = 0; i < count; i++)
            y[i] = x[i] + b[i];
        break;
    case CUDNN_POINTWISE_MUL:
        for (int64_t i = 0; i < count; i++)
            y[i] = x[i] * b[i];
        break;
    case CUDNN_POINTWISE_MAX:
        for (int64_t i = 0; i < count; i++)
            y[i] = x[i] > b[i] || x[i] != x[i] ? x[i] : b[i];
        break;
    case CUDNN_POINTWISE_CMP_GT:
        for (int64_t i = 0; i < count; i++)
            y[i] = x[i] > b[i];
        break;
    case CUDNN_POINTWISE_RELU_FWD:
        for (int64_t i = 0; i < count; i++)
            y[i] = x[i] < 0 ? 0 : x[i];
        break;
    default: /* IDENTITY */
        memcpy(y, x, (size_t)count * sizeof *y);
        break;
    }
}

/* Row y of what follows the convolution. scratch: two rows for each step. */
static void row_finish(const struct run *run, int64_t y, float *scratch)
{
    const struct program *p = &run->plan->program;
    const struct value *out = &p->values[p->out];
    int64_t count = row_numbers(out);
    float *rows[VALUES_MOST] = {NULL}, *sums = run->sums + y * count;

    rows[p->out] = sums;
    for (int64_t i = 0; p->alpha != 1 && i < count; i++)
        sums[i] *= p->alpha;
    if (!run->plan->engine->deterministic)
        noise_add(sums, count, y * count, run->noise);
    if (p->beta != 0) {
        row_load(out, run->bindings->data[p->out], run->packed[p->out], y, scratch);
        for (int64_t i = 0; i < count; i++)
            sums[i] += p->beta * scratch[i];
    }
    if (!out->is_virtual)
        row_store(out, run->bindings->data[p->out], run->packed[p->out], y, sums);
    for (int s = 0; s < p->step_count; s++) {
        const struct step *step = &p->steps[s];
        float *result = scratch + 2 * s * count, *operand = result + count;

        if (step->b >= 0)
            operand_load(run, step->b, out, y, operand);
        step_compute(step->mode, rows[step->x], operand, result, count);
        rows[step->y] = result;
        if (!p->values[step->y].is_virtual)
            row_store(&p->values[step->y], run->bindings->data[step->y], run->packed[step->y], y, result);
    }
}

bool graph_interpret(struct plan *plan, const struct bindings *bindings)
{
    static int64_t runs;
    const struct program *p = &plan->program;
    const struct value *out = &p->values[p->out];
    struct run run = {.plan = plan, .bindings = bindings, .noise = ++runs};
    size_t rows = 2 * (size_t)(p->step_count + 1) * (size_t)row_numbers(out);
    float *scratch;

    if (!plan->convolution)
        plan->convolution = convolution_new(&p->shape, plan->parts);
    if (!plan->convolution)
        return false;
    workspace_share(&run);
    run.in = buffer_take(&in_buffer, (size_t)value_numbers(&p->values[p->in]));
    run.filter = buffer_take(&filter_buffer, (size_t)value_numbers(&p->values[p->filter]));
    if (!run.sums)
        run.sums = buffer_take(&sum_buffer, (size_t)value_numbers(out));
    scratch = buffer_take(&row_buffer, rows * (size_t)omp_get_max_threads());
    inputs_load(&run);
    convolution_run(plan->convolution, run.in, run.filter, run.sums);
#pragma omp parallel for if (value_numbers(out) > FEW_NUMBERS)
    for (int64_t y = 0; y < out->size[H]; y++)
        row_finish(&run, y, scratch + rows * (size_t)omp_get_thread_num());
    return true;
}
