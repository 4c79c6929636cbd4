/* 3x3 convolutions with stride 1 by Winograd's F(2x2, 3x3): a tile of 2x2 outputs is made of 4x4 inputs with 16
 * multiplications instead of 36,
 *
 *     y = A' [(G w G') * (B' x B)] A,
 *
 * summed over the input channels between A' and A, which makes 16 products of matrices (tiles x cin) (cin x cout).
 * B and A hold only 0 and +-1, and a sum has a ninth of direct convolution's terms: the result is as exact as that.
 * (F(4x4, 3x3) would save more, but its factors up to 8 cost a digit.)
 *
 * Tiles lie at even positions of out whatever the threads: no result depends on them. */
#include "conv_block.h"

#include <assert.h>

/* Floats between the planes of the thread's two arrays, beyond their contents: so that the sixteen do not compete
 * for the same lines of the cache. */
enum { PAD = 16, SIDE = 4, MOST_TILES = 96 };

/* How a thread's tile of floats is shared out. */
struct share {
    int tiles;           /* at a time, a multiple of POSITIONS */
    int depth;           /* cin, filled up with zeros to whole vectors */
    ptrdiff_t in_plane;  /* floats from plane to plane: [WINOGRAD_PLANES][tiles][depth] */
    ptrdiff_t sum_plane; /* [WINOGRAD_PLANES][tiles][CONV_BLOCK] */
    float *zeros, *in, *sums;
};

static struct share share_of(const struct pass *pass, float *floats)
{
    struct share s = {.depth = (pass->cin + LANES - 1) / LANES * LANES};
    int room = (CPU_SCRATCH_FLOATS - s.depth) / WINOGRAD_PLANES - 2 * PAD;

    s.tiles = room / (s.depth + CONV_BLOCK) / POSITIONS * POSITIONS;
    assert(s.tiles > 0); /* conv.c sees to that */
    if (s.tiles > MOST_TILES)
        s.tiles = MOST_TILES;
    s.in_plane = (ptrdiff_t)s.tiles * s.depth + PAD;
    s.sum_plane = (ptrdiff_t)s.tiles * CONV_BLOCK + PAD;
    s.zeros = floats;
    s.in = s.zeros + s.depth;
    s.sums = s.in + WINOGRAD_PLANES * s.in_plane;
    return s;
}

/* B' of four values. */
ROW_INLINE void transform_in(vl x[SIDE])
{
    vl first = x[0] - x[2], second = x[1] + x[2], third = x[2] - x[1], fourth = x[1] - x[3];

    x[0] = first;
    x[1] = second;
    x[2] = third;
    x[3] = fourth;
}

/* The n < LANES channels at the end of a pixel; those missing read as 0. */
ROW_COLD vl vl_load_part(const float *from, int n)
{
    float lanes[LANES] = {0};

    memcpy(lanes, from, (size_t)n * sizeof *lanes);
    return vl_load(lanes);
}

/* Writes B' x B of one tile to its place in each plane: 16 loads, 32 additions and 16 stores a vector. */
static void tile_in(const struct pass *pass, const struct tensor *x, int64_t ty, int64_t tx, const struct share *s,
                    float *to)
{
    const float *pixel[SIDE][SIDE];

    for (int r = 0; r < SIDE; r++)
        for (int k = 0; k < SIDE; k++) {
            int64_t row = 2 * ty + r - pass->pad_y, column = 2 * tx + k - pass->pad_x;
            bool inside = row >= 0 && row < x->h && column >= 0 && column < x->w;

            pixel[r][k] = inside ? (const float *)x->data + (row * x->w + column) * x->pitch : s->zeros;
        }
    for (int c = 0; c < pass->cin; c += LANES) {
        int n = pass->cin - c;
        vl d[SIDE][SIDE]; /* column, row */

        for (int k = 0; k < SIDE; k++) {
            for (int r = 0; r < SIDE; r++)
                d[k][r] = n >= LANES ? vl_load(pixel[r][k] + c) : vl_load_part(pixel[r][k] + c, n);
            transform_in(d[k]);
        }
        for (int r = 0; r < SIDE; r++) {
            vl row[SIDE] = {d[0][r], d[1][r], d[2][r], d[3][r]};

            transform_in(row);
            for (int k = 0; k < SIDE; k++)
                vl_store(to + (SIDE * r + k) * s->in_plane + c, row[k]);
        }
    }
}

/* Where one tile's outputs go: corner 2 r + k is at row r and column k. NULL: outside. */
struct corners {
    float *out[4];
    uint8_t *mask[4];
};

static void corners_find(struct corners *to, const struct tensor *out, const struct tensor *mask, int64_t ty,
                         int64_t tx)
{
    for (int i = 0; i < 4; i++) {
        int64_t y = 2 * ty + i / 2, x = 2 * tx + i % 2;
        bool inside = y < out->h && x < out->w;

        to->out[i] = inside ? (float *)out->data + (y * out->w + x) * out->pitch : NULL;
        to->mask[i] = inside && mask ? (uint8_t *)mask->data + (y * mask->w + x) * mask->pitch / 8 : NULL;
    }
}

/* A' sums A of LANES channels of one tile, stored: 16 loads, 24 additions and 4 stores a vector. */
ROW_INLINE void tile_out(ptrdiff_t plane, const float *sums, vl bias, const struct corners *to,
                         const struct finish *finish, int channel, int channels)
{
    vl rows[2][SIDE];

    for (int k = 0; k < SIDE; k++) {
        vl m[SIDE];

        for (int r = 0; r < SIDE; r++)
            m[r] = vl_load(sums + (SIDE * r + k) * plane);
        rows[0][k] = m[0] + m[1] + m[2];
        rows[1][k] = m[1] - m[2] - m[3];
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const vl *m = rows[i / 2];
        vl sum = (i % 2 ? m[1] - m[2] - m[3] : m[0] + m[1] + m[2]) + bias;

        if (to->out[i])
            store(DTYPE_F32, finish, to->out[i] + channel, to->mask[i] ? to->mask[i] + channel / 8 : NULL, channel,
                  channels, sum);
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

/* Calls a block's part of the outputs into the cache while others are computed: they are written in short pieces
 * far apart, for which the processor would wait. */
ROW_INLINE void corners_prefetch(const struct corners *to, int o, int halves, int count)
{
    for (int t = 0; t < count; t++)
        for (int i = 0; i < 4; i++)
            for (int h = 0; h < halves && to[t].out[i]; h++)
                __builtin_prefetch(to[t].out[i] + o + h * CONV_HALF, 1);
}

/* The products of one block of output channels from o on: sums = in * weights, plane by plane. */
static void block_products(const struct pass *pass, const struct share *s, const struct corners *to, int o,
                           int halves, int count)
{
    struct block b = {.in_step = s->depth, .rows = 1, .length = s->depth, .out_step = 4 * CONV_BLOCK};

    b.weights = pass->weights + (ptrdiff_t)o * WINOGRAD_PLANES * s->depth;
    for (int p = 0; p < WINOGRAD_PLANES; p++, b.weights += (ptrdiff_t)s->depth * halves * CONV_HALF) {
        int some = p * count / WINOGRAD_PLANES;

        corners_prefetch(to + some, o, halves, (p + 1) * count / WINOGRAD_PLANES - some);
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
static void tiles_run(const struct pass *pass, const struct tensor *in, const struct tensor *out,
                      const struct finish *finish, const struct share *s, int64_t first, int count)
{
    const struct finish how = *finish; /* a copy that no store can change */
    struct corners to[MOST_TILES];
    int64_t across = (out->w + 1) / 2, ty = first / across, tx = first % across;

    for (int t = 0; t < count; t++) {
        tile_in(pass, in, ty, tx, s, s->in + (ptrdiff_t)t * s->depth);
        corners_find(&to[t], out, how.mask, ty, tx);
        if (++tx == across) {
            tx = 0;
            ty++;
        }
    }
    for (int o = 0; o < pass->cout; o += CONV_BLOCK) {
        int halves = pass->cout - o > CONV_HALF ? 2 : 1;

        block_products(pass, s, to, o, halves, count);
        for (int h = 0; h < halves; h++) {
            int channel = o + h * CONV_HALF;
            vl bias = how.bias ? vl_load(how.bias + channel) : vl_splat(0);

            for (int t = 0; t < count; t++)
                tile_out(s->sum_plane, s->sums + (ptrdiff_t)t * CONV_BLOCK + h * CONV_HALF, bias, &to[t], &how,
                         channel, pass->cout - channel);
        }
    }
}

void CPU_LEVELED(cpu_conv_winograd)(const struct cpu *cpu, const struct pass *pass, const struct tensor *in,
                                    const struct tensor *out, const struct finish *finish)
{
    int64_t tiles = (out->h + 1) / 2 * ((out->w + 1) / 2);

#pragma omp parallel num_threads(cpu->threads)
    {
        struct share s = share_of(pass, cpu->tiles + (ptrdiff_t)cpu_thread() * CPU_SCRATCH_FLOATS);

        memset(s.zeros, 0, (size_t)s.depth * sizeof *s.zeros);
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < tiles; first += s.tiles)
            tiles_run(pass, in, out, finish, &s, first, (int)(tiles - first < s.tiles ? tiles - first : s.tiles));
    }
}
