/* The definitions that the reference device is tested against, each in the form that is easiest to believe and
 * least like the device's: a convolution adds every product where it goes, a resize weights every input pixel. */
#include "oracle.h"

#include <math.h>
#include <string.h>

/* Starts an output from the values before the run, or, where those do not count, from 0. */
static void start_from(struct trial *t, double *expected[SLOTS], enum slot slot, bool keep)
{
    struct operand *o = &t->operands[slot];

    for (int64_t y = 0; y < o->tensor.h; y++)
        for (int64_t x = 0; x < o->tensor.w; x++)
            for (int c = 0; c < o->tensor.c; c++)
                *element_at(o, expected[slot], y, x, c) = keep ? *element_at(o, o->before, y, x, c) : 0;
}

/* The channels of one pixel. */
static const double *input(struct trial *t, enum slot slot, int64_t y, int64_t x)
{
    return element_at(&t->operands[slot], t->operands[slot].before, y, x, 0);
}

static double *output(struct trial *t, double *expected[SLOTS], enum slot slot, int64_t y, int64_t x)
{
    return element_at(&t->operands[slot], expected[slot], y, x, 0);
}

static void apply_x_mask(struct trial *t, double *expected[SLOTS])
{
    const struct tensor *dx = &t->operands[DX].tensor;

    if (!t->operands[X_MASK].tensor.data)
        return;
    for (int64_t y = 0; y < dx->h; y++)
        for (int64_t x = 0; x < dx->w; x++)
            for (int c = 0; c < dx->c; c++)
                output(t, expected, DX, y, x)[c] *= input(t, X_MASK, y, x)[c];
}

/* Every product of an input, a kernel value and an output: into y, or, the other way, from dy into dx. */
static void add_products(struct trial *t, double *expected[SLOTS], bool backward)
{
    const struct op_case *o = t->op_case;
    const struct tensor *x = &t->operands[X].tensor;
    const struct tensor *y = &t->operands[Y].tensor;

    for (int64_t row = 0; row < y->h; row++)
        for (int64_t column = 0; column < y->w; column++)
            for (int tap = 0; tap < o->kh * o->kw; tap++) {
                int64_t v = row * o->stride + tap / o->kw - o->pad_h;
                int64_t u = column * o->stride + tap % o->kw - o->pad_w;
                const double *kernel = t->kernel + (int64_t)tap * o->cin * o->cout;

                if (v < 0 || v >= x->h || u < 0 || u >= x->w)
                    continue;
                const double *from = backward ? input(t, DY, row, column) : input(t, X, v, u);
                double *to = backward ? output(t, expected, DX, v, u) : output(t, expected, Y, row, column);

                for (int ci = 0; ci < o->cin; ci++)
                    for (int co = 0; co < o->cout; co++, kernel++)
                        to[backward ? ci : co] += *kernel * from[backward ? co : ci];
            }
}

static void fill_conv(struct trial *t, double *expected[SLOTS])
{
    const struct tensor *y = &t->operands[Y].tensor;

    start_from(t, expected, Y, false);
    add_products(t, expected, false);
    for (int64_t row = 0; row < y->h; row++)
        for (int64_t column = 0; column < y->w; column++)
            for (int c = t->op_case->linear; c < y->c; c++) {
                double *value = output(t, expected, Y, row, column) + c;

                *value = isnan(*value) ? NAN : fmax(0, *value + t->bias[c]);
            }
    if (!t->operands[DX].tensor.data)
        return;
    start_from(t, expected, DX, t->op_case->flags & ACCUMULATE);
    add_products(t, expected, true);
    apply_x_mask(t, expected);
}

static void fill_max_pool(struct trial *t, double *expected[SLOTS])
{
    const struct tensor *y = &t->operands[Y].tensor;
    bool backward = t->operands[DX].tensor.data;

    if (backward)
        start_from(t, expected, DX, t->op_case->flags & ACCUMULATE);
    for (int64_t row = 0; row < y->h; row++)
        for (int64_t column = 0; column < y->w; column++)
            for (int c = 0; c < y->c; c++) {
                int winner = 0;

                for (int i = 1; i < 9; i++)
                    if (input(t, X, 2 * row + i / 3, 2 * column + i % 3)[c] >
                        input(t, X, 2 * row + winner / 3, 2 * column + winner % 3)[c])
                        winner = i;
                int64_t v = 2 * row + winner / 3;
                int64_t u = 2 * column + winner % 3;

                output(t, expected, Y, row, column)[c] = input(t, X, v, u)[c];
                if (!backward)
                    continue;
                output(t, expected, ARGMAX, row, column)[c] = winner;
                output(t, expected, DX, v, u)[c] += input(t, DY, row, column)[c];
            }
    if (backward)
        apply_x_mask(t, expected);
}

static void fill_average_pool(struct trial *t, double *expected[SLOTS])
{
    const struct tensor *x = &t->operands[X].tensor;

    start_from(t, expected, DX, false);
    for (int64_t row = 0; row < x->h; row++)
        for (int64_t column = 0; column < x->w; column++) {
            int64_t v[9], u[9];
            int inside = 0;

            for (int i = 0; i < 9; i++) {
                v[inside] = row + i / 3 - 1;
                u[inside] = column + i % 3 - 1;
                inside += v[inside] >= 0 && v[inside] < x->h && u[inside] >= 0 && u[inside] < x->w;
            }
            for (int c = 0; c < x->c; c++) {
                double sum = 0;

                for (int i = 0; i < inside; i++) {
                    sum += input(t, X, v[i], u[i])[c];
                    output(t, expected, DX, v[i], u[i])[c] += input(t, DY, row, column)[c] / inside;
                }
                output(t, expected, Y, row, column)[c] = fmax(0, sum / inside + t->bias[c]);
            }
        }
}

static void fill_global_average(struct trial *t, double *expected[SLOTS])
{
    const struct tensor *x = &t->operands[X].tensor;

    start_from(t, expected, Y, false);
    for (int64_t row = 0; row < x->h; row++)
        for (int64_t column = 0; column < x->w; column++)
            for (int c = 0; c < x->c; c++)
                output(t, expected, Y, 0, 0)[c] += input(t, X, row, column)[c] / (double)(x->h * x->w);
}

/* Sum of the squares of X in a region. */
static double energy(struct trial *t, int64_t top, int64_t left, int64_t bottom, int64_t right)
{
    double sum = 0;

    for (int64_t row = top; row < bottom; row++)
        for (int64_t column = left; column < right; column++)
            for (int c = 0; c < t->operands[X].tensor.c; c++)
                sum += pow(input(t, X, row, column)[c], 2);
    return sum;
}

static void fill_stimulate(struct trial *t, double *expected[SLOTS], struct ascent *state)
{
    const struct op_case *o = t->op_case;

    start_from(t, expected, DX, o->flags & ACCUMULATE);
    for (int64_t row = o->top; row < o->bottom; row++)
        for (int64_t column = o->left; column < o->right; column++)
            for (int c = 0; c < o->cin; c++)
                output(t, expected, DX, row, column)[c] += SEED_SCALE * input(t, X, row, column)[c];
    state->current.loss = 2 * stimulation_loss_scale(o, 0) * energy(t, o->top, o->left, o->bottom, o->right);
}

static void fill_ascend(struct trial *t, double *expected[SLOTS], struct ascent *state)
{
    const struct op_case *o = t->op_case;
    double n = (double)(o->h * o->w * 3);
    double mean = 0;
    int applied = 0;

    for (int64_t i = 0; i < o->h * o->w * 3; i++)
        mean += fabs(t->operands[DY].before[i]) * GRADIENT_SCALE / n;
    state->overflowed = !isfinite(mean);
    for (int step = 0; step < STEPS && !state->stopped && !state->overflowed; step++) {
        double loss = stimulation_loss_scale(o, step) * energy(t, 0, 0, 4, 4);

        state->records[state->steps++] = (struct step_record){loss, mean};
        state->stopped = loss > o->max_loss;
        applied += !state->stopped;
    }
    for (int64_t i = 0; i < o->h * o->w * 3; i++) {
        expected[Y][i] = t->operands[Y].before[i];
        for (int step = 0; step < applied; step++) {
            expected[Y][i] += STEP * GRADIENT_SCALE * t->operands[DY].before[i] / fmax(mean, 1e-7);
            if (o->limit > 0)
                expected[Y][i] = fmin(fmax(expected[Y][i], -o->limit), o->limit);
        }
    }
}

/* The weight of input i in output `at` of an axis: a hat of width 1 around the coordinate that the output reads. */
static double hat(int64_t i, int64_t in, int64_t at, int64_t out)
{
    double coordinate = out > 1 ? (double)at * (double)(in - 1) / (double)(out - 1) : 0;

    return fmax(0, 1 - fabs(coordinate - (double)i));
}

/* The same through a picture of `small` inputs in between; 0: there is none. */
static double hat_through(int64_t i, int64_t in, int64_t at, int64_t out, int64_t small)
{
    double weight = small ? 0 : hat(i, in, at, out);

    for (int64_t s = 0; s < small; s++)
        weight += hat(s, small, at, out) * hat(i, in, s, small);
    return weight;
}

/* Y += scale * X resized to Y's shape, by way of small_h x small_w. */
static void add_resized(struct trial *t, double *expected[SLOTS], int64_t small_h, int64_t small_w, double scale)
{
    const struct tensor *x = &t->operands[X].tensor;
    const struct tensor *y = &t->operands[Y].tensor;

    for (int64_t row = 0; row < y->h; row++)
        for (int64_t column = 0; column < y->w; column++)
            for (int64_t v = 0; v < x->h; v++)
                for (int64_t u = 0; u < x->w; u++) {
                    double weight = scale * hat_through(v, x->h, row, y->h, small_h) *
                                    hat_through(u, x->w, column, y->w, small_w);

                    for (int c = 0; c < 3; c++)
                        output(t, expected, Y, row, column)[c] += weight * input(t, X, v, u)[c];
                }
}

/* Y of OP_CROP is a part of X, that of OP_ADD_CROP has X added to a part. */
static void fill_crop(struct trial *t, double *expected[SLOTS], bool added)
{
    const struct op_case *o = t->op_case;
    const struct tensor *part = &t->operands[added ? X : Y].tensor;

    start_from(t, expected, Y, added);
    for (int64_t row = 0; row < part->h; row++)
        for (int64_t column = 0; column < part->w; column++)
            for (int c = 0; c < 3; c++) {
                int64_t far_row = row + o->top, far_column = column + o->left;

                if (added)
                    output(t, expected, Y, far_row, far_column)[c] += input(t, X, row, column)[c];
                else
                    output(t, expected, Y, row, column)[c] = input(t, X, far_row, far_column)[c];
            }
}

void oracle_fill(struct trial *t, double *expected[SLOTS], struct ascent *state)
{
    memset(state, 0, ascent_bytes(STEPS));
    switch (t->op_case->op) {
    case OP_CONV:
        fill_conv(t, expected);
        break;
    case OP_MAX_POOL:
        fill_max_pool(t, expected);
        break;
    case OP_AVERAGE_POOL:
        fill_average_pool(t, expected);
        break;
    case OP_GLOBAL_AVERAGE:
        fill_global_average(t, expected);
        break;
    case OP_STIMULATE:
        fill_stimulate(t, expected, state);
        break;
    case OP_ASCEND:
        fill_ascend(t, expected, state);
        break;
    case OP_RESIZE:
        start_from(t, expected, Y, false);
        add_resized(t, expected, 0, 0, 1);
        break;
    case OP_DETAIL:
        start_from(t, expected, Y, true);
        add_resized(t, expected, 0, 0, 1);
        add_resized(t, expected, t->op_case->small_h, t->op_case->small_w, -1);
        break;
    case OP_CROP:
    case OP_ADD_CROP:
        fill_crop(t, expected, t->op_case->op == OP_ADD_CROP);
        break;
    }
}
