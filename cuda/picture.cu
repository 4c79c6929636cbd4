/* Pictures: resizing, bilinear with corners aligned, the detail that is put back after it, and tiles' parts.
 * Coordinates are exact, in whole numbers: single precision would fail on wide pictures, and doubles are slow on
 * many GPUs. Resizing and detail run once an octave. */
#include "value.cuh"

/* Between which two inputs an output lies in one direction, and how far on towards the second. */
struct tap {
    int64_t first, second;
    float weight; /* of the second */
};

/* Output i of `out` reads i * (in - 1) / (out - 1): the quotient is the first input, the remainder the way from
 * there. The last output falls on the last input. */
static __device__ inline struct tap tap_of(int64_t i, int64_t in, int64_t out)
{
    int64_t steps = out > 1 ? out - 1 : 1;
    int64_t first = i * (in - 1) / steps, rest = i * (in - 1) - first * steps;

    return {first, first + 1 < in ? first + 1 : first, (float)rest / (float)steps};
}

static __device__ inline float mix(float a, float b, float weight)
{
    return a + weight * (b - a);
}

/* Channel c of x where pixel (row, column) of an h x w picture reads it. */
static __device__ inline float resized(const struct tensor &x, const struct place &at, int64_t h, int64_t w)
{
    struct tap v = tap_of(at.row, x.h, h), u = tap_of(at.column, x.w, w);
    float upper =
        mix(*pixel_at<float>(x, v.first, u.first, at.c), *pixel_at<float>(x, v.first, u.second, at.c), u.weight);
    float lower =
        mix(*pixel_at<float>(x, v.second, u.first, at.c), *pixel_at<float>(x, v.second, u.second, at.c), u.weight);

    return mix(upper, lower, v.weight);
}

/* y[row][column][c] = x blended from the four pixels around (row, column)'s coordinates. A thread makes one channel
 * of one pixel, so that writes are one piece of memory, and reads nearly so. Moves 4 bytes an element of y, and of
 * x; what is read again comes from the caches. */
static __global__ void cuda_resize_kernel(struct tensor x, struct tensor y)
{
    struct place at = place_of_thread<1>(y.c);

    if (at.row >= y.h || at.column >= y.w)
        return;
    *pixel_at<float>(y, at.row, at.column, at.c) = resized(x, at, y.h, y.w);
}

void cuda_resize(struct device *device, const struct tensor *x, const struct tensor *y)
{
    CUDA_LAUNCH(cuda_of(device), cuda_resize_kernel, grid_of_places<1>(y->h, y->w, y->c), BLOCK, 0, *x, *y);
}

/* The same of the h x w picture that x is when resized to small_h x small_w, which is not in memory: its four
 * pixels are blended from x, each. */
static __device__ inline float resized_twice(const struct tensor &x, int64_t small_h, int64_t small_w,
                                             const struct place &at, int64_t h, int64_t w)
{
    struct tap v = tap_of(at.row, small_h, h), u = tap_of(at.column, small_w, w);
    float upper = mix(resized(x, {v.first, u.first, at.c}, small_h, small_w),
                      resized(x, {v.first, u.second, at.c}, small_h, small_w), u.weight);
    float lower = mix(resized(x, {v.second, u.first, at.c}, small_h, small_w),
                      resized(x, {v.second, u.second, at.c}, small_h, small_w), u.weight);

    return mix(upper, lower, v.weight);
}

/* x[row][column][c] += resized original - resized shrunk, neither of which is ever in memory, nor the shrunk one of
 * h x w pixels. A thread makes one channel of one pixel. Moves 8 bytes an element of x, and 4 of original; what is
 * read again comes from the caches. */
static __global__ void cuda_detail_kernel(struct tensor x, struct tensor original, int64_t h, int64_t w)
{
    struct place at = place_of_thread<1>(x.c);

    if (at.row >= x.h || at.column >= x.w)
        return;
    *pixel_at<float>(x, at.row, at.column, at.c) +=
        resized(original, at, x.h, x.w) - resized_twice(original, h, w, at, x.h, x.w);
}

void cuda_detail(struct device *device, const struct tensor *x, const struct tensor *original, int64_t h, int64_t w)
{
    CUDA_LAUNCH(cuda_of(device), cuda_detail_kernel, grid_of_places<1>(x->h, x->w, x->c), BLOCK, 0, *x, *original,
                h, w);
}

/* y[row][column][c] = x[top + row][left + column][c]. A thread moves one value: a tile's rows begin anywhere, so
 * that wider accesses would not be aligned. Moves 8 bytes an element. */
static __global__ void cuda_crop_kernel(struct tensor x, int64_t top, int64_t left, struct tensor y)
{
    struct place at = place_of_thread<1>(y.c);

    if (at.row >= y.h || at.column >= y.w)
        return;
    *pixel_at<float>(y, at.row, at.column, at.c) = *pixel_at<float>(x, top + at.row, left + at.column, at.c);
}

void cuda_crop(struct device *device, const struct tensor *x, int64_t top, int64_t left, const struct tensor *y)
{
    CUDA_LAUNCH(cuda_of(device), cuda_crop_kernel, grid_of_places<1>(y->h, y->w, y->c), BLOCK, 0, *x, top, left,
                *y);
}

/* y[top + row][left + column][c] += x[row][column][c]. A thread adds one value. Moves 12 bytes an element. */
static __global__ void cuda_add_crop_kernel(struct tensor x, int64_t top, int64_t left, struct tensor y)
{
    struct place at = place_of_thread<1>(x.c);

    if (at.row >= x.h || at.column >= x.w)
        return;
    *pixel_at<float>(y, top + at.row, left + at.column, at.c) += *pixel_at<float>(x, at.row, at.column, at.c);
}

void cuda_add_crop(struct device *device, const struct tensor *x, int64_t top, int64_t left, const struct tensor *y)
{
    CUDA_LAUNCH(cuda_of(device), cuda_add_crop_kernel, grid_of_places<1>(x->h, x->w, x->c), BLOCK, 0, *x, top, left,
                *y);
}
