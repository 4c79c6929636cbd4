/* What a bare library convolution leaves to do, as one pass over its output: bias, ReLU and sign mask forward,
 * masking backward. Arithmetic is nothing here, memory everything. */
#include "value.cuh"

/* y[row][column][c] = relu(y[row][column][c] + bias[c]), mask = y > 0, for c in [linear, y.c). A thread takes eight
 * channels of one pixel. Moves 2 + 2 bytes an element in 16 bits, 4 + 4 in F32, and a bit of mask; without a bias y
 * is only read. The bias comes from the cache. */
template <typename T>
static __global__ void cuda_forward_pass_kernel(struct tensor y, const float *bias, int linear, struct tensor mask)
{
    struct place at = place_of_thread(y.c - linear);
    int c = linear + at.c;

    if (at.row >= y.h || at.column >= y.w)
        return;
    T *pixel = pixel_at<T>(y, at.row, at.column, c);
    values<> value = values_load(pixel);

    if (bias)
        value = values_store(pixel, values_relu(value, values_load(bias + c)));
    if (mask.data)
        *mask_at(mask, at.row, at.column, c) = values_signs(value);
}

void cuda_forward_pass(struct cuda *cuda, const struct tensor *y, const float *bias, int linear,
                       const struct tensor *mask)
{
    if (linear == y->c || (!bias && !mask))
        return;
    type_dispatch(y->type, [&]<typename T>(T) {
        CUDA_LAUNCH(cuda, cuda_forward_pass_kernel<T>, grid_of_places(y->h, y->w, y->c - linear), BLOCK, 0, *y,
                    bias, linear, tensor_or_none(mask));
    });
}

/* dx[row][column][c] = dx[row][column][c] times the bit of mask. A thread takes eight channels of one pixel. Moves
 * 4 bytes an element in 16 bits, 8 in F32, and a bit of mask. */
template <typename T> static __global__ void cuda_back_pass_kernel(struct tensor dx, struct tensor mask)
{
    struct place at = place_of_thread(dx.c);

    if (at.row >= dx.h || at.column >= dx.w)
        return;
    T *pixel = pixel_at<T>(dx, at.row, at.column, at.c);

    values_store(pixel, values_masked(values_load(pixel), *mask_at(mask, at.row, at.column, at.c)));
}

void cuda_back_pass(struct cuda *cuda, const struct tensor *dx, const struct tensor *mask)
{
    type_dispatch(dx->type, [&]<typename T>(T) {
        CUDA_LAUNCH(cuda, cuda_back_pass_kernel<T>, grid_of_places(dx->h, dx->w, dx->c), BLOCK, 0, *dx, *mask);
    });
}
