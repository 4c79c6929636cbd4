/* Resizing on the CPU: bilinear with corners aligned, and the detail that is put back after it. Coordinates are in
 * double, as scipy.ndimage.zoom has them; values are blended in float. */
#include "rows.h"

/* Between which two inputs an output lies in one direction, and how far on towards the second. */
struct tap {
    int64_t first, second;
    float weight; /* of the second */
};

/* Inputs from one output to the next; corners fall on corners. */
static double stride_of(int64_t in, int64_t out)
{
    return out > 1 ? (double)(in - 1) / (double)(out - 1) : 0;
}

/* in: the number of inputs. Rounding may put the last output a hair behind the last input, never a whole one. */
static inline struct tap tap_at(int64_t i, double stride, int64_t in)
{
    double position = (double)i * stride;
    int64_t first = (int64_t)position;

    if (first >= in - 1)
        return (struct tap){in - 1, in - 1, 0};
    return (struct tap){first, first + 1, (float)(position - (double)first)};
}

/* One row of output as it reads x: two rows of x, blended. */
struct row_source {
    const float *upper, *lower;
    float weight; /* of the lower */
    double stride;
    int64_t w;
};

static struct row_source row_source_of(const struct tensor *x, const struct tensor *y, int64_t row)
{
    struct tap tap = tap_at(row, stride_of(x->h, y->h), x->h);

    return (struct row_source){.upper = pixel_at(x, tap.first, 0),
                               .lower = pixel_at(x, tap.second, 0),
                               .weight = tap.weight,
                               .stride = stride_of(x->w, y->w),
                               .w = x->w};
}

/* Channel c of the pixel between the columns of tap. */
ROW_INLINE float blend(const struct row_source *from, struct tap tap, int channels, int c)
{
    int64_t first = tap.first * channels + c, second = tap.second * channels + c;
    float upper = from->upper[first] + tap.weight * (from->upper[second] - from->upper[first]);
    float lower = from->lower[first] + tap.weight * (from->lower[second] - from->lower[first]);

    return upper + from->weight * (lower - upper);
}

/* channels is y's, as a constant where it is 3. */
ROW_INLINE void resize_row(const struct tensor *x, const struct tensor *y, int64_t row, int channels)
{
    struct row_source from = row_source_of(x, y, row);
    float *restrict out = pixel_at(y, row, 0);

    for (int64_t column = 0; column < y->w; column++, out += channels) {
        struct tap tap = tap_at(column, from.stride, from.w);

        for (int c = 0; c < channels; c++)
            out[c] = blend(&from, tap, channels, c);
    }
}

static void resize(struct device *device, const struct tensor *x, const struct tensor *y)
{
#pragma omp parallel for num_threads(cpu_of(device)->threads)
    for (int64_t row = 0; row < y->h; row++)
        if (y->c == 3)
            resize_row(x, y, row, 3);
        else
            resize_row(x, y, row, y->c);
}

/* x += resize(original) - resize(shrunk) in one pass: neither resized picture is ever in memory. */
ROW_INLINE void detail_row(const struct tensor *x, const struct tensor *original, const struct tensor *shrunk,
                           int64_t row, int channels)
{
    struct row_source from_original = row_source_of(original, x, row);
    struct row_source from_shrunk = row_source_of(shrunk, x, row);
    float *restrict out = pixel_at(x, row, 0);

    for (int64_t column = 0; column < x->w; column++, out += channels) {
        struct tap tap_original = tap_at(column, from_original.stride, from_original.w);
        struct tap tap_shrunk = tap_at(column, from_shrunk.stride, from_shrunk.w);

        for (int c = 0; c < channels; c++)
            out[c] +=
                blend(&from_original, tap_original, channels, c) - blend(&from_shrunk, tap_shrunk, channels, c);
    }
}

static void detail(struct device *device, const struct tensor *x, const struct tensor *original,
                   const struct tensor *shrunk)
{
#pragma omp parallel for num_threads(cpu_of(device)->threads)
    for (int64_t row = 0; row < x->h; row++)
        if (x->c == 3)
            detail_row(x, original, shrunk, row, 3);
        else
            detail_row(x, original, shrunk, row, x->c);
}

void CPU_LEVELED(cpu_picture_ops)(struct device_ops *ops)
{
    ops->resize = resize;
    ops->detail = detail;
}
