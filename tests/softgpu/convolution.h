/* Convolutions of floats by oneDNN: packed NHWC, one picture. */
#ifndef SOFTGPU_CONVOLUTION_H
#define SOFTGPU_CONVOLUTION_H

#include <stdbool.h>
#include <stdint.h>

/* x [h][w][c], y [oh][ow][k], kernel [k][kh][kw][c]. */
struct convolution_shape {
    int64_t h, w, c, oh, ow, k, kh, kw;
    int64_t stride[2], pad_before[2], pad_behind[2];
    bool back;
};

struct convolution;

/* Sums in `parts` sums over so many groups of channels. NULL where oneDNN cannot. */
struct convolution *convolution_new(const struct convolution_shape *shape, int parts);
void convolution_free(struct convolution *convolution);

/* y = conv(x), in x, out y; or back: dx = transposed conv(dy), in dy, out dx. */
void convolution_run(struct convolution *convolution, const float *in, const float *kernel, float *out);

/* oneDNN's plain product c = a b of row-major floats, with leading dimensions. c = beta c + a b. */
void product_run(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                 const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

#endif
