/* Stimulation and ascent on the CPU: the loss with its seed gradient, mean |g|, and the step. Work is done when a
 * call returns, so that the state (struct ascent) is plain memory that no two operations share.
 *
 * Sums are in double and made of CPU_PARTS parts (cpu.h), each of neighbouring rows: the order of additions depends
 * on the tensor's shape alone, not on the threads or on the processor. */
#include "rows.h"

#include <math.h>

/* Where part of CPU_PARTS begins among n rows or elements. */
static int64_t part_begin(int64_t n, int part)
{
    return n / CPU_PARTS * part + n % CPU_PARTS * part / CPU_PARTS;
}

static double parts_total(const struct cpu *cpu)
{
    double total = 0;

    for (int part = 0; part < CPU_PARTS; part++)
        total += cpu->parts[part];
    return total;
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* Writes zeros to pixels [left, right) of a row of da; nothing where da accumulates, or is not wanted. */
static void seed_clear(const struct tensor *da, bool accumulate, int64_t row, int64_t left, int64_t right)
{
    if (da && !accumulate)
        for (int64_t column = left; column < right; column++)
            memset(pixel_at(da, row, column), 0, dtype_bytes(da->type, da->c));
}

/* Adds a^2 to sum and writes da = [da +] seed_scale * a: a is read once for both. */
ROW_INLINE void stimulate_eight(enum dtype type, const void *a, void *da, bool accumulate, float seed_scale,
                                struct v8_sum *sum, int c, int n)
{
    v8 value = v8_load_n(a, type, c, n);

    v8_sum_add_square(sum, value);
    if (da) {
        v8 seed = seed_scale * value;

        v8_store_n(da, type, c, n, accumulate ? seed + v8_load_n(da, type, c, n) : seed);
    }
}

/* Pixels [left, right) of a row. */
ROW_INLINE void stimulate_pixels(enum dtype type, const struct tensor *a, const struct tensor *da, bool accumulate,
                                 float seed_scale, int64_t row, int64_t left, int64_t right, struct v8_sum *sum)
{
    struct v8_sum squares = *sum; /* a copy that stays in registers */

    for (int64_t column = left; column < right; column++) {
        const void *in = pixel_at(a, row, column);
        void *out = da ? pixel_at(da, row, column) : NULL;

        ROW_EIGHTS(a->c, stimulate_eight, type, in, out, accumulate, seed_scale, &squares);
    }
    *sum = squares;
}

static void stimulate(struct device *device, const struct stimulation *stimulation, const struct tensor *a,
                      const struct tensor *da, bool accumulate, struct ascent *state)
{
    struct cpu *cpu = cpu_of(device);
    float seed_scale = (float)stimulation->seed_scale;
    int64_t left = clamp(stimulation->left, 0, a->w);
    int64_t right = clamp(stimulation->right, left, a->w);

#pragma omp parallel for num_threads(cpu->threads)
    for (int part = 0; part < CPU_PARTS; part++) {
        struct v8_sum sum = {0};

        for (int64_t row = part_begin(a->h, part); row < part_begin(a->h, part + 1); row++) {
            if (row < stimulation->top || row >= stimulation->bottom) {
                seed_clear(da, accumulate, row, 0, a->w);
                continue;
            }
            seed_clear(da, accumulate, row, 0, left);
            CPU_SPECIALIZE(stimulate_pixels, a->type, a, da, accumulate, seed_scale, row, left, right, &sum);
            seed_clear(da, accumulate, row, right, a->w);
        }
        cpu->parts[part] = v8_sum_total(sum);
    }
    state->current.loss += stimulation->loss_scale * parts_total(cpu);
}

static int64_t tensor_elements(const struct tensor *picture)
{
    return picture->h * picture->w * picture->c;
}

/* Pictures have no gaps: the sum runs over their elements as over one row. */
static void mean_abs(struct device *device, const struct tensor *g, double scale, struct ascent *state)
{
    struct cpu *cpu = cpu_of(device);
    const float *values = g->data;
    int64_t elements = tensor_elements(g);

#pragma omp parallel for num_threads(cpu->threads)
    for (int part = 0; part < CPU_PARTS; part++) {
        int64_t i = part_begin(elements, part), end = part_begin(elements, part + 1);
        struct v8_sum sum = {0};

        for (; i + 8 <= end; i += 8)
            v8_sum_add(&sum, v8_abs(v8_load(values + i, DTYPE_F32, 0)));
        v8_sum_add(&sum, v8_abs(v8_load_part(values + i, DTYPE_F32, 0, (int)(end - i))));
        cpu->parts[part] = v8_sum_total(sum);
    }
    state->current.mean_abs_gradient = scale * (parts_total(cpu) / (double)elements);
}

static void ascend(struct device *device, const struct tensor *x, const struct tensor *g, double step, double scale,
                   double max_loss, double limit, struct ascent *state)
{
    struct step_record current = state->current;

    state->current = (struct step_record){0};
    if (state->stopped || state->overflowed)
        return;
    if (!isfinite(current.mean_abs_gradient)) {
        state->overflowed = 1;
        return;
    }
    state->records[state->steps++] = current;
    if (current.loss > max_loss) {
        state->stopped = 1;
        return;
    }

    float factor = (float)(step * scale / fmax(current.mean_abs_gradient, 1e-7));
    int64_t elements = tensor_elements(x);
    float *picture = x->data;
    const float *gradient = g->data;
    float most = (float)limit;

#pragma omp parallel for simd num_threads(cpu_of(device)->threads)
    for (int64_t i = 0; i < elements; i++) {
        float value = picture[i] + factor * gradient[i];

        value = value > most ? most : value;
        picture[i] = value < -most ? -most : value;
    }
}

void CPU_LEVELED(cpu_ascent_ops)(struct device_ops *ops)
{
    ops->stimulate = stimulate;
    ops->mean_abs = mean_abs;
    ops->ascend = ascend;
}
