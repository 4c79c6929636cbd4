/* Our own convolutions' inner part: what conv.c hands to conv_kernel.c and conv_winograd.c, which are compiled once
 * for each level of processor. */
#ifndef PAREIDOLIA_CONV_KERNEL_H
#define PAREIDOLIA_CONV_KERNEL_H

#include "cpu.h"

/* A correlation, to which forward and backward are reduced alike:
 *
 *     out[y * out_step + out_y][x * out_step + out_x][o] =
 *         sum over r < kh, k < kw, i < cin of in[y * stride + r - pad_y][x * stride + k - pad_x][i] * w[r][k][i][o]
 *
 * for all positions of out that there are; in is 0 outside. Backward with stride 1 is this with the kernel flipped
 * and transposed; with stride 2 it is four of these, one for each parity of row and column, over the taps that
 * reach it (out_step 2). kh or kw may be 0 there: nothing reaches. */
struct pass {
    int kh, kw, stride;
    int pad_y, pad_x; /* may be negative */
    int out_step, out_y, out_x;
    int cin, cout;
    const float *weights; /* [block of o][kh][kw][cin][o in block], or in the form that its kernel reads:
                           * pairs: bf16, [block of o][kh][kw][cin / 2][o in block][2]
                           * winograd: [block of o][(m + 2)^2][cin, filled up to half blocks][o in block] */
};

/* Winograd's transform makes tiles of m x m outputs, m by the tensors' type; m = 4 has the points 0, +-P, +-Q and
 * infinity. (The usual +-1 and +-2 lose a third more.) */
enum { WINOGRAD_F32 = 2, WINOGRAD_BF16 = 4 };
#define WINOGRAD_P 0.75f
#define WINOGRAD_Q 1.5f

/* Where there are channels enough to pay for the transforms, and no more than leave a thread's memory room for a
 * block of tiles: beside one zero for each channel there are as many planes as a tile has inputs, each of tiles x
 * (channels + the sums of a block of outputs), and two arrays' distances between planes, which keep these from
 * competing for the same lines of the cache. */
enum { WINOGRAD_LEAST = 16, WINOGRAD_MOST = 256, WINOGRAD_PAD = 16 };
#define WINOGRAD_TILES(planes, channels, block)                                                                    \
    (((CPU_SCRATCH_FLOATS - (channels)) / (planes)-2 * WINOGRAD_PAD) / ((channels) + (block)))

/* What becomes of a sum before it is stored. */
struct finish {
    const float *bias; /* [cout, rounded up to half a block]; NULL: 0 */
    bool relu;         /* for outputs from `linear` on */
    int linear;
    bool accumulate;           /* add what out holds */
    const struct tensor *mask; /* NULL: none */
    bool write_mask;           /* mask = result > 0 for outputs from `linear` on, else: result is masked by it */
};

/* The kernels, by what they read: weights as they are, two bf16 inputs' at a time, or transformed. */
enum form { FORM_DIRECT, FORM_PAIRS, FORM_WINOGRAD_F32, FORM_WINOGRAD_BF16, FORMS };

/* Runs pass on threads' tiles. */
typedef void conv_function(const struct cpu *cpu, const struct pass *pass, const struct tensor *in,
                           const struct tensor *out, const struct finish *finish);

struct conv_kernels {
    int block; /* output channels that are computed together: the packed weights come in blocks of as many, the last
                * block in half of it where that is enough */
    /* FORM_PAIRS: of bf16, cin and in's pitch even; NULL: this level has no such products. Winograd: 3x3 taps,
     * stride 1, in and out of the form's type, WINOGRAD_LEAST to WINOGRAD_MOST channels on either side. */
    conv_function *run[FORMS];
    /* Applies ReLU and mask to what a library has left in out. */
    void (*finish)(const struct cpu *cpu, const struct tensor *out, const struct finish *finish);
};

extern const struct conv_kernels cpu_conv_kernels_base, cpu_conv_kernels_v3, cpu_conv_kernels_v4,
    cpu_conv_kernels_bf16;

/* conv_winograd.c */
conv_function cpu_conv_winograd_base, cpu_conv_winograd_v3, cpu_conv_winograd_v4, cpu_conv_winograd_bf16;

#endif
