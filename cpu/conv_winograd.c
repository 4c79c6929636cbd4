/* 3x3 convolutions with stride 1 by Winograd's F(m x m, 3x3): a tile of m x m outputs is made of s x s inputs,
 * s = m + 2, with s^2 multiplications instead of 9 m^2,
 *
 *     y = A' [(G w G') * (B' x B)] A,
 *
 * summed over the input channels between A' and A, which makes s^2 products of matrices (tiles x cin) (cin x cout).
 *
 * m is 2 for fp32: B and A hold only 0 and +-1, and a sum has a ninth of direct convolution's terms, so that the
 * result is at least as exact. m is 4 for bf16, whose own rounding is far coarser than what the larger factors
 * lose; the arithmetic is in fp32, which is faster so than products of bf16 are without the transform.
 *
 * Tiles lie at multiples of m in out and each is computed by itself, its products in the order of the channels,
 * whatever tiles a thread takes with it: no result depends on the threads.
 *
 * Infinity and NaN: one value that is not finite makes every output of the tiles that read it NaN, also those whose
 * own 3x3 inputs are finite, as the transforms subtract. ReLU lets NaN through, so that an overflow reaches the
 * loss and the gradient and the dream ends with a sentence, as it does after the direct convolution. */
#include "conv_block.h"

#include <assert.h>

enum { SIDE = WINOGRAD_BF16 + 2, PLANES = SIDE * SIDE, OUT = WINOGRAD_BF16, MOST_TILES = 96 };

_Static_assert(WINOGRAD_TILES(PLANES, WINOGRAD_MOST, CONV_BLOCK) >= POSITIONS,
               "a thread's memory holds a block of tiles of the most channels");
_Static_assert(WINOGRAD_MOST % LANES == 0, "the most channels need no filling up");

/* m for tensors of a type. */
ROW_INLINE int out_side(enum dtype type)
{
    return type == DTYPE_BF16 ? WINOGRAD_BF16 : WINOGRAD_F32;
}

/* How a thread's memory is shared out. */
struct share {
    int planes;
    int tiles;           /* at a time, a multiple of POSITIONS */
    int depth;           /* cin, filled up with zeros to whole vectors */
    ptrdiff_t in_plane;  /* floats from plane to plane: [planes][tiles][depth] */
    ptrdiff_t sum_plane; /* [planes][tiles][CONV_BLOCK] */
    float *zeros, *in, *sums;
};

static int64_t minimum(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* As many of `all` tiles at a time as there is room for, but enough times for all threads. */
static struct share share_of(const struct pass *pass, int planes, int64_t all, int threads, float *floats)
{
    struct share s = {.planes = planes, .depth = (pass->cin + LANES - 1) / LANES * LANES};
    int64_t room = minimum(WINOGRAD_TILES(planes, s.depth, CONV_BLOCK), MOST_TILES) / POSITIONS * POSITIONS;
    int64_t fair = (all + 4 * threads - 1) / (4 * threads);

    s.tiles = (int)minimum(room, (fair + POSITIONS - 1) / POSITIONS * POSITIONS);
    s.in_plane = (ptrdiff_t)s.tiles * s.depth + WINOGRAD_PAD;
    s.sum_plane = (ptrdiff_t)s.tiles * CONV_BLOCK + WINOGRAD_PAD;
    s.zeros = floats;
    s.in = s.zeros + s.depth;
    s.sums = s.in + planes * s.in_plane;
    return s;
}

/* B' of m + 2 values: row p holds the coefficients of the polynomial that is 0 at all points but p. The points are
 * 0 and +-1, or 0, +-P and +-Q, and infinity; conv.c's G is made for the same. */
ROW_INLINE void transform_in(int m, vl x[SIDE])
{
    const float p = WINOGRAD_P, q = WINOGRAD_Q, p2 = p * p, q2 = q * q;

    if (m == 2) {
        vl sum = x[2] + x[1], difference = x[2] - x[1];

        x[0] = x[2] - x[0];
        x[3] = x[3] - x[1];
        x[1] = sum;
        x[2] = difference;
        return;
    }
    vl p_even = x[4] - q2 * x[2], p_odd = p * x[3] - p * q2 * x[1];
    vl q_even = x[4] - p2 * x[2], q_odd = q * x[3] - q * p2 * x[1];

    x[0] = p2 * q2 * x[0] - (p2 + q2) * x[2] + x[4];
    x[5] = p2 * q2 * x[1] - (p2 + q2) * x[3] + x[5];
    x[1] = p_even + p_odd;
    x[2] = p_even - p_odd;
    x[3] = q_even + q_odd;
    x[4] = q_even - q_odd;
}

/* A' of m + 2 values: row i holds the points' i-th powers. */
ROW_INLINE void transform_out(int m, const vl x[SIDE], vl y[OUT])
{
    const float p = WINOGRAD_P, q = WINOGRAD_Q;
    vl p_sum = x[1] + x[2], p_difference = x[1] - x[2];

    if (m == 2) {
        y[0] = x[0] + p_sum;
        y[1] = p_difference + x[3];
        return;
    }
    vl q_sum = x[3] + x[4], q_difference = x[3] - x[4];

    y[0] = x[0] + p_sum + q_sum;
    y[1] = p * p_difference + q * q_difference;
    y[2] = p * p * p_sum + q * q * q_sum;
    y[3] = p * p * p * p_difference + q * q * q * q_difference + x[5];
}

/* Writes B' x B of the tile at (ty, tx) to its place in each plane: (m + 2)^2 loads and stores a vector. */
ROW_INLINE void tile_in(enum dtype type, const struct pass *pass, const struct tensor *x, int64_t ty, int64_t tx,
                        const struct share *s, float *to)
{
    const int m = out_side(type), side = m + 2;
    const char *pixel[SIDE][SIDE];

    for (int r = 0; r < side; r++)
        for (int k = 0; k < side; k++) {
            int64_t row = m * ty + r - pass->pad_y, column = m * tx + k - pass->pad_x;
            bool inside = row >= 0 && row < x->h && column >= 0 && column < x->w;

            pixel[r][k] = inside ? pixel_at(x, row, column) : (const void *)s->zeros;
        }
    for (int c = 0; c < pass->cin; c += LANES) {
        vl columns[SIDE][SIDE];

        for (int k = 0; k < side; k++) {
            for (int r = 0; r < side; r++)
                columns[k][r] = vl_load_n(type, pixel[r][k] + values_bytes(type, c), pass->cin - c);
            transform_in(m, columns[k]);
        }
        for (int r = 0; r < side; r++) {
            vl row[SIDE];

            for (int k = 0; k < side; k++)
                row[k] = columns[k][r];
            transform_in(m, row);
            for (int k = 0; k < side; k++)
                vl_store(to + (side * r + k) * s->in_plane + c, row[k]);
        }
    }
}

/* Where one tile's outputs go: rows x columns of them are inside. */
struct corner {
    char *out;
    uint8_t *mask;
    int rows, columns;
};

static struct corner corner_of(const struct tensor *out, const struct tensor *mask, int64_t ty, int64_t tx)
{
    int m = out_side(out->type);
    int64_t y = m * ty, x = m * tx;

    return (struct corner){.out = pixel_at(out, y, x),
                           .mask = mask ? pixel_at(mask, y, x) : NULL,
                           .rows = (int)(out->h - y < m ? out->h - y : m),
                           .columns = (int)(out->w - x < m ? out->w - x : m)};
}

/* Calls channels [o, o + channels) of a tile's outputs into the cache while others are computed: they are written
 * in short pieces far apart, for which the processor would wait. (Inline: gcc 12 drops calls of a function that
 * only prefetches.) */
ROW_INLINE void corner_prefetch(const struct tensor *out, const struct corner *at, int o, int channels)
{
    for (int r = 0; r < at->rows; r++)
        for (int k = 0; k < at->columns; k++)
            for (int c = o; c < o + channels && c < out->c; c += 64 / (int)values_bytes(out->type, 1))
                __builtin_prefetch(at->out + values_bytes(out->type, (r * out->w + k) * out->pitch + c), 1);
}

/* A' sums A of LANES channels of one tile, stored: (m + 2)^2 loads and m^2 stores a vector. */
ROW_INLINE void tile_out(enum dtype type, const struct tensor *out, const struct corner *at, ptrdiff_t plane,
                         const float *sums, vl bias, const struct finish *finish, int channel)
{
    const int m = out_side(type), side = m + 2;
    vl columns[SIDE][OUT];

    for (int k = 0; k < side; k++) {
        vl x[SIDE];

        for (int r = 0; r < side; r++)
            x[r] = vl_load(sums + (side * r + k) * plane);
        transform_out(m, x, columns[k]);
    }
    for (int r = 0; r < m; r++) {
        vl row[SIDE], y[OUT];

        for (int k = 0; k < side; k++)
            row[k] = columns[k][r];
        transform_out(m, row, y);
        for (int k = 0; k < m; k++) {
            ptrdiff_t pixel = r * out->w + k;

            if (r < at->rows && k < at->columns)
                store(type, finish, at->out + values_bytes(type, pixel * out->pitch + channel),
                      at->mask ? at->mask + (pixel * finish->mask->pitch + channel) / 8 : NULL, channel,
                      out->c - channel, y[k] + bias);
        }
    }
}

static void products_full(int positions, const struct block *b)
{
    block_positions(DTYPE_F32, PRODUCT_F32, positions, 2, b, NULL);
}

static void products_half(int positions, const struct block *b)
{
    block_positions(DTYPE_F32, PRODUCT_F32, positions, 1, b, NULL);
}

/* The products of one block of output channels from o on: sums = in * weights, plane by plane. */
static void block_products(const struct pass *pass, const struct tensor *out, const struct corner *at,
                           const struct share *s, int o, int halves, int count)
{
    struct block b = {.in_step = s->depth, .rows = 1, .length = s->depth, .out_step = 4 * CONV_BLOCK};

    b.weights = pass->weights + (ptrdiff_t)o * s->planes * s->depth;
    for (int p = 0; p < s->planes; p++, b.weights += (ptrdiff_t)s->depth * halves * CONV_HALF) {
        for (int t = p * count / s->planes; t < (p + 1) * count / s->planes; t++)
            corner_prefetch(out, &at[t], o, halves * CONV_HALF);
        for (int t = 0; t < count; t += POSITIONS) {
            int positions = count - t < POSITIONS ? count - t : POSITIONS;

            b.in = s->in + p * s->in_plane + (ptrdiff_t)t * s->depth;
            b.out = (char *)(s->sums + p * s->sum_plane + (ptrdiff_t)t * CONV_BLOCK);
            (halves == 2 ? products_full : products_half)(positions, &b);
        }
    }
}

/* Tiles [first, first + count), counted along the rows of tiles. A block of output channels at a time, so that its
 * sums stay in the cache. */
ROW_INLINE void tiles_run(enum dtype type, const struct pass *pass, const struct tensor *in,
                          const struct tensor *out, const struct finish *finish, const struct share *s,
                          int64_t first, int count)
{
    const struct finish how = *finish; /* copies that no store can change */
    const struct tensor to = *out;
    struct corner at[MOST_TILES];
    int64_t across = (to.w + out_side(type) - 1) / out_side(type), ty = first / across, tx = first % across;

    for (int t = 0; t < count; t++) {
        tile_in(type, pass, in, ty, tx, s, s->in + (ptrdiff_t)t * s->depth);
        at[t] = corner_of(&to, how.mask, ty, tx);
        if (++tx == across) {
            tx = 0;
            ty++;
        }
    }
    for (int o = 0; o < pass->cout; o += CONV_BLOCK) {
        int halves = pass->cout - o > CONV_HALF ? 2 : 1;

        block_products(pass, &to, at, s, o, halves, count);
        for (int h = 0; h < halves; h++) {
            int channel = o + h * CONV_HALF;
            vl bias = how.bias ? vl_load(how.bias + channel) : vl_splat(0);

            for (int t = 0; t < count; t++)
                tile_out(type, &to, &at[t], s->sum_plane, s->sums + (ptrdiff_t)t * CONV_BLOCK + h * CONV_HALF, bias,
                         &how, channel);
        }
    }
}

void CPU_LEVELED(cpu_conv_winograd)(const struct cpu *cpu, const struct pass *pass, const struct tensor *in,
                                    const struct tensor *out, const struct finish *finish)
{
    int m = out_side(in->type);
    int64_t tiles = (out->h + m - 1) / m * ((out->w + m - 1) / m);

    assert(in->type == out->type && pass->cin <= WINOGRAD_MOST);
#pragma omp parallel num_threads(cpu->threads)
    {
        struct share s = share_of(pass, (m + 2) * (m + 2), tiles, cpu->threads,
                                  cpu->scratch + (ptrdiff_t)cpu_thread() * CPU_SCRATCH_FLOATS);

        memset(s.zeros, 0, (size_t)s.depth * sizeof *s.zeros);
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < tiles; first += s.tiles)
            CPU_SPECIALIZE(tiles_run, in->type, pass, in, out, finish, &s, first,
                           (int)minimum(tiles - first, s.tiles));
    }
}
