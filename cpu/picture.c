/* Pictures on the CPU: resizing, bilinear with corners aligned, the detail that is put back after it, and tiles'
 * parts. Coordinates are in double, as scipy.ndimage.zoom has them; values are blended in float. */
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

/* Channel c between the columns of tap in a row that is blended from two rows of x resized to w columns: upper and
 * lower are where those two read x. */
ROW_INLINE float blend_twice(const struct row_source *upper, const struct row_source *lower, float weight,
                             struct tap tap, struct tap first, struct tap second, int channels, int c)
{
    float a = blend(upper, first, channels, c), b = blend(lower, first, channels, c);

    a += tap.weight * (blend(upper, second, channels, c) - a);
    b += tap.weight * (blend(lower, second, channels, c) - b);
    return a + weight * (b - a);
}

/* x += resize(original) - resize(shrunk) in one pass: neither resized picture is ever in memory, nor the shrunk one
 * of h x w pixels. */
ROW_INLINE void detail_row(const struct tensor *x, const struct tensor *original, int64_t h, int64_t w, int64_t row,
                           int channels)
{
    const struct tensor shrunk = {.h = h, .w = w};
    struct row_source from_original = row_source_of(original, x, row);
    struct tap rows = tap_at(row, stride_of(h, x->h), h);
    struct row_source upper = row_source_of(original, &shrunk, rows.first);
    struct row_source lower = row_source_of(original, &shrunk, rows.second);
    double stride = stride_of(w, x->w);
    float *restrict out = pixel_at(x, row, 0);

    for (int64_t column = 0; column < x->w; column++, out += channels) {
        struct tap tap_original = tap_at(column, from_original.stride, from_original.w);
        struct tap tap = tap_at(column, stride, w);
        struct tap first = tap_at(tap.first, upper.stride, upper.w);
        struct tap second = tap_at(tap.second, upper.stride, upper.w);

        for (int c = 0; c < channels; c++)
            out[c] += blend(&from_original, tap_original, channels, c) -
                      blend_twice(&upper, &lower, rows.weight, tap, first, second, channels, c);
    }
}

static void detail(struct device *device, const struct tensor *x, const struct tensor *original, int64_t h,
                   int64_t w)
{
#pragma omp parallel for num_threads(cpu_of(device)->threads)
    for (int64_t row = 0; row < x->h; row++)
        if (x->c == 3)
            detail_row(x, original, h, w, row, 3);
        else
            detail_row(x, original, h, w, row, x->c);
}

static void crop(struct device *device, const struct tensor *x, int64_t top, int64_t left, const struct tensor *y)
{
#pragma omp parallel for num_threads(cpu_of(device)->threads)
    for (int64_t row = 0; row < y->h; row++)
        memcpy(pixel_at(y, row, 0), pixel_at(x, top + row, left), dtype_bytes(y->type, y->w * y->c));
}

static void add_crop(struct device *device, const struct tensor *x, int64_t top, int64_t left,
                     const struct tensor *y)
{
#pragma omp parallel for num_threads(cpu_of(device)->threads)
    for (int64_t row = 0; row < x->h; row++) {
        const float *restrict from = pixel_at(x, row, 0);
        float *restrict to = pixel_at(y, top + row, left);

        for (int64_t i = 0; i < x->w * x->c; i++)
            to[i] += from[i];
    }
}

void CPU_LEVELED(cpu_picture_ops)(struct device_ops *ops)
{
    ops->resize = resize;
    ops->detail = detail;
    ops->crop = crop;
    ops->add_crop = add_crop;
}
