/* The reference device: device.h's operations in plain double-precision loops, as near to their definitions as C
 * allows. Everything else is compared with it, so it prefers being obviously right to being fast. Its convolutions
 * are in reference_conv.c. */
#include "reference.h"

#include "host/error.h"
#include "host/memory.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Memory -------------------------------------------------------------------------------------------------- */

static void reference_close(struct device *device)
{
    free(device);
}

static void *reference_alloc(struct device *device, size_t bytes)
{
    (void)device;
    void *memory = malloc(bytes);

    if (!memory)
        error_set("no memory for %zu bytes", bytes);
    return memory;
}

static void reference_free(struct device *device, void *memory)
{
    (void)device;
    free(memory);
}

static int reference_copy(struct device *device, void *to, const void *from, size_t bytes)
{
    (void)device;
    memcpy(to, from, bytes);
    return 0;
}

static size_t reference_available(struct device *device)
{
    (void)device;
    return memory_spare();
}

static void reference_clear(struct device *device, void *memory, size_t bytes)
{
    (void)device;
    memset(memory, 0, bytes);
}

static int reference_sync(struct device *device)
{
    (void)device;
    return 0;
}

/* Pools --------------------------------------------------------------------------------------------------- */

static uint8_t *argmax_at(const struct tensor *argmax, int64_t y, int64_t x)
{
    return (uint8_t *)argmax->data + (y * argmax->w + x) * argmax->pitch;
}

static void reference_max_pool(struct device *device, const struct tensor *x, const struct tensor *y,
                               const struct tensor *argmax, const struct tensor *mask)
{
#pragma omp parallel for num_threads(reference_threads(device))
    for (int64_t row = 0; row < y->h; row++) {
        for (int64_t column = 0; column < y->w; column++) {
            double *out = pixel_at(y, row, column);
            uint8_t *winner = argmax ? argmax_at(argmax, row, column) : NULL;

            for (int position = 0; position < 9; position++) {
                const double *in = pixel_at(x, 2 * row + position / 3, 2 * column + position % 3);

                for (int c = 0; c < y->c; c++) {
                    if (position > 0 && in[c] <= out[c])
                        continue;
                    out[c] = in[c];
                    if (winner)
                        winner[c] = (uint8_t)position;
                }
            }
            if (mask)
                mask_write(mask_at(mask, row, column), out, 0, y->c);
        }
    }
}

static void reference_max_pool_back(struct device *device, const struct tensor *dy, const struct tensor *argmax,
                                    const struct tensor *dx, bool accumulate, const struct tensor *mask)
{
#pragma omp parallel for num_threads(reference_threads(device))
    for (int64_t row = 0; row < dx->h; row++) {
        for (int64_t column = 0; column < dx->w; column++) {
            double *out = pixel_at(dx, row, column);

            if (!accumulate)
                memset(out, 0, (size_t)dx->c * sizeof *out);
            for (int position = 0; position < 9; position++) {
                int64_t twice_row = row - position / 3; /* of the window that has this pixel at position */
                int64_t twice_column = column - position % 3;

                if (twice_row < 0 || twice_row % 2 != 0 || twice_row / 2 >= dy->h || twice_column < 0 ||
                    twice_column % 2 != 0 || twice_column / 2 >= dy->w)
                    continue;
                const double *in = pixel_at(dy, twice_row / 2, twice_column / 2);
                const uint8_t *winner = argmax_at(argmax, twice_row / 2, twice_column / 2);

                for (int c = 0; c < dx->c; c++)
                    if (winner[c] == position)
                        out[c] += in[c];
            }
            if (mask)
                mask_apply(mask_at(mask, row, column), out, dx->c);
        }
    }
}

/* The positions of a 3x3 neighbourhood that lie inside the tensor: [top, bottom) x [left, right). */
struct neighbourhood {
    int64_t top, left, bottom, right;
};

static struct neighbourhood neighbourhood_of(const struct tensor *t, int64_t row, int64_t column)
{
    return (struct neighbourhood){
        .top = row > 0 ? row - 1 : 0,
        .left = column > 0 ? column - 1 : 0,
        .bottom = row + 2 < t->h ? row + 2 : t->h,
        .right = column + 2 < t->w ? column + 2 : t->w,
    };
}

static double neighbourhood_size(struct neighbourhood n)
{
    return (double)((n.bottom - n.top) * (n.right - n.left));
}

static void reference_average_pool(struct device *device, const struct tensor *x, struct filter *filter,
                                   const struct tensor *y, const struct tensor *mask)
{
    const double *bias = reference_filter_bias(filter);

#pragma omp parallel for num_threads(reference_threads(device))
    for (int64_t row = 0; row < y->h; row++) {
        for (int64_t column = 0; column < y->w; column++) {
            struct neighbourhood n = neighbourhood_of(x, row, column);
            double *out = pixel_at(y, row, column);

            memset(out, 0, (size_t)y->c * sizeof *out);
            for (int64_t i = n.top; i < n.bottom; i++)
                for (int64_t j = n.left; j < n.right; j++)
                    for (int c = 0; c < y->c; c++)
                        out[c] += pixel_at(x, i, j)[c];
            for (int c = 0; c < y->c; c++)
                out[c] = relu(out[c] / neighbourhood_size(n) + bias[c]);
            if (mask)
                mask_write(mask_at(mask, row, column), out, 0, y->c);
        }
    }
}

/* A pixel was read by the means of its neighbours, each of which has a size of its own. */
static void reference_average_pool_back(struct device *device, const struct tensor *dy, const struct tensor *dx)
{
#pragma omp parallel for num_threads(reference_threads(device))
    for (int64_t row = 0; row < dx->h; row++) {
        for (int64_t column = 0; column < dx->w; column++) {
            struct neighbourhood n = neighbourhood_of(dx, row, column);
            double *out = pixel_at(dx, row, column);

            memset(out, 0, (size_t)dx->c * sizeof *out);
            for (int64_t i = n.top; i < n.bottom; i++) {
                for (int64_t j = n.left; j < n.right; j++) {
                    double size = neighbourhood_size(neighbourhood_of(dy, i, j));

                    for (int c = 0; c < dx->c; c++)
                        out[c] += pixel_at(dy, i, j)[c] / size;
                }
            }
        }
    }
}

static void reference_global_average(struct device *device, const struct tensor *x, const struct tensor *y)
{
    (void)device;
    double *out = pixel_at(y, 0, 0);

    memset(out, 0, (size_t)y->c * sizeof *out);
    for (int64_t row = 0; row < x->h; row++)
        for (int64_t column = 0; column < x->w; column++)
            for (int c = 0; c < y->c; c++)
                out[c] += pixel_at(x, row, column)[c];
    for (int c = 0; c < y->c; c++)
        out[c] /= (double)(x->h * x->w);
}

/* Stimulation and ascent: the sums run in one thread, as one chain of additions ------------------------------ */

static void reference_stimulate(struct device *device, const struct stimulation *s, const struct tensor *a,
                                const struct tensor *da, bool accumulate, struct ascent *state)
{
    (void)device;
    double sum = 0;

    for (int64_t row = 0; row < a->h; row++) {
        for (int64_t column = 0; column < a->w; column++) {
            bool inside = row >= s->top && row < s->bottom && column >= s->left && column < s->right;
            const double *in = pixel_at(a, row, column);
            double *out = da ? pixel_at(da, row, column) : NULL;

            for (int c = 0; c < a->c; c++) {
                if (inside)
                    sum += in[c] * in[c];
                if (out)
                    out[c] = (accumulate ? out[c] : 0) + (inside ? s->seed_scale * in[c] : 0);
            }
        }
    }
    state->current.loss += s->loss_scale * sum;
}

static void reference_mean_abs(struct device *device, const struct tensor *g, double scale, struct ascent *state)
{
    (void)device;
    const double *values = pixel_at(g, 0, 0);
    int64_t n = g->h * g->w * g->c;
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += fabs(values[i]);
    state->current.mean_abs_gradient = scale * sum / (double)n;
}

static void reference_ascend(struct device *device, const struct tensor *x, const struct tensor *g, double step,
                             double scale, double max_loss, double limit, struct ascent *state)
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
    double *picture = pixel_at(x, 0, 0);
    const double *gradient = pixel_at(g, 0, 0);
    double factor = step * scale / fmax(current.mean_abs_gradient, 1e-7);
    int64_t n = x->h * x->w * x->c;

#pragma omp parallel for num_threads(reference_threads(device))
    for (int64_t i = 0; i < n; i++)
        picture[i] = fmin(fmax(picture[i] + factor * gradient[i], -limit), limit);
}

/* The picture --------------------------------------------------------------------------------------------- */

/* Where output index i of an axis reads: `weight` of the way from input index first to the next, second. */
struct sample {
    int64_t first, second;
    double weight;
};

static struct sample sample_of(int64_t i, int64_t in, int64_t out)
{
    double coordinate = out > 1 ? (double)(i * (in - 1)) / (double)(out - 1) : 0;
    int64_t first = (int64_t)coordinate;

    if (first > in - 2)
        first = in > 1 ? in - 2 : 0;
    return (struct sample){.first = first, .second = in > 1 ? first + 1 : 0, .weight = coordinate - (double)first};
}

static double mix(double a, double b, double weight)
{
    return (1 - weight) * a + weight * b;
}

static double resized(const struct tensor *x, struct sample v, struct sample u, int c)
{
    double upper = mix(pixel_at(x, v.first, u.first)[c], pixel_at(x, v.first, u.second)[c], u.weight);
    double lower = mix(pixel_at(x, v.second, u.first)[c], pixel_at(x, v.second, u.second)[c], u.weight);

    return mix(upper, lower, v.weight);
}

static void reference_resize(struct device *device, const struct tensor *x, const struct tensor *y)
{
#pragma omp parallel for num_threads(reference_threads(device))
    for (int64_t row = 0; row < y->h; row++) {
        struct sample v = sample_of(row, x->h, y->h);

        for (int64_t column = 0; column < y->w; column++) {
            struct sample u = sample_of(column, x->w, y->w);

            for (int c = 0; c < y->c; c++)
                pixel_at(y, row, column)[c] = resized(x, v, u, c);
        }
    }
}

/* Pixel (row, column) of x resized to h x w. */
static double resized_pixel(const struct tensor *x, int64_t h, int64_t w, int64_t row, int64_t column, int c)
{
    return resized(x, sample_of(row, x->h, h), sample_of(column, x->w, w), c);
}

static void reference_detail(struct device *device, const struct tensor *x, const struct tensor *original,
                             int64_t h, int64_t w)
{
#pragma omp parallel for num_threads(reference_threads(device))
    for (int64_t row = 0; row < x->h; row++) {
        struct sample v = sample_of(row, h, x->h);

        for (int64_t column = 0; column < x->w; column++) {
            struct sample u = sample_of(column, w, x->w);

            for (int c = 0; c < x->c; c++) {
                double upper = mix(resized_pixel(original, h, w, v.first, u.first, c),
                                   resized_pixel(original, h, w, v.first, u.second, c), u.weight);
                double lower = mix(resized_pixel(original, h, w, v.second, u.first, c),
                                   resized_pixel(original, h, w, v.second, u.second, c), u.weight);

                pixel_at(x, row, column)[c] +=
                    resized_pixel(original, x->h, x->w, row, column, c) - mix(upper, lower, v.weight);
            }
        }
    }
}

static void reference_crop(struct device *device, const struct tensor *x, int64_t top, int64_t left,
                           const struct tensor *y)
{
    (void)device;
    for (int64_t row = 0; row < y->h; row++)
        for (int64_t column = 0; column < y->w; column++)
            for (int c = 0; c < y->c; c++)
                pixel_at(y, row, column)[c] = pixel_at(x, top + row, left + column)[c];
}

static void reference_add_crop(struct device *device, const struct tensor *x, int64_t top, int64_t left,
                               const struct tensor *y)
{
    (void)device;
    for (int64_t row = 0; row < x->h; row++)
        for (int64_t column = 0; column < x->w; column++)
            for (int c = 0; c < x->c; c++)
                pixel_at(y, top + row, left + column)[c] += pixel_at(x, row, column)[c];
}

static const struct device_ops reference_ops = {
    .close = reference_close,
    .alloc = reference_alloc,
    .free = reference_free,
    .upload = reference_copy,
    .download = reference_copy,
    .available = reference_available,
    .clear = reference_clear,
    .sync = reference_sync,
    .filter_new = reference_filter_new,
    .filter_free = reference_filter_free,
    .conv_new = reference_conv_new,
    .conv_free = reference_conv_free,
    .conv = reference_conv,
    .conv_back = reference_conv_back,
    .max_pool = reference_max_pool,
    .max_pool_back = reference_max_pool_back,
    .average_pool = reference_average_pool,
    .average_pool_back = reference_average_pool_back,
    .global_average = reference_global_average,
    .stimulate = reference_stimulate,
    .mean_abs = reference_mean_abs,
    .ascend = reference_ascend,
    .resize = reference_resize,
    .detail = reference_detail,
    .crop = reference_crop,
    .add_crop = reference_add_crop,
};

struct device *device_reference_open(const struct device_options *options)
{
    struct reference *reference = malloc(sizeof *reference);

    if (!reference) {
        error_set("no memory for the reference device (%zu bytes)", sizeof *reference);
        return NULL;
    }
    reference->threads = options->threads > 0 ? options->threads : omp_get_max_threads();
    reference->device = (struct device){
        .ops = &reference_ops,
        .name = "reference",
        .precision = "fp64",
        .activation = DTYPE_F64,
        .picture = DTYPE_F64,
        .in_host_memory = true,
    };
    return &reference->device;
}
