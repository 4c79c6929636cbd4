/* A direct convolution: input rows are packed into a tile that stays in cache, with their padding, and blocks of
 * positions x output channels are summed up in registers over the whole kernel. No transform, no matrix of
 * patches, no pass of its own for bias, ReLU, signs or accumulation.
 *
 * Every output is one chain of multiply-adds in the order r, k, i, whatever the tiles and threads: the result does
 * not depend on them. */
#include "conv_block.h"

/* One function for each type and width, so that each is compiled for its constants. */
typedef void block_function(int positions, const struct block *b, const struct finish *finish);

#define BLOCK_FUNCTIONS(name, type, product)                                                                       \
    static void name##_full(int positions, const struct block *b, const struct finish *finish)                     \
    {                                                                                                              \
        block_positions(type, product, positions, 2, b, finish);                                                   \
    }                                                                                                              \
    static void name##_half(int positions, const struct block *b, const struct finish *finish)                     \
    {                                                                                                              \
        block_positions(type, product, positions, 1, b, finish);                                                   \
    }

BLOCK_FUNCTIONS(block_f32, DTYPE_F32, PRODUCT_F32)
BLOCK_FUNCTIONS(block_bf16, DTYPE_BF16, PRODUCT_F32)
#ifdef __AVX512BF16__
BLOCK_FUNCTIONS(block_pair_f32, DTYPE_F32, PRODUCT_PAIR)
BLOCK_FUNCTIONS(block_pair_bf16, DTYPE_BF16, PRODUCT_PAIR)
#endif

/* The functions for one pass. */
struct blocks {
    block_function *full, *half;
};

/* Copies n pixels' channels as floats. */
static void pack_pixels(float *to, const struct tensor *in, int64_t y, int64_t x, int64_t n)
{
    const void *from;

    if (n == 0) /* x may lie outside */
        return;
    from = pixel_at(in, y, x);
    if (in->type == DTYPE_F32 && in->pitch == in->c) {
        memcpy(to, from, (size_t)n * (size_t)in->c * sizeof *to);
        return;
    }
    for (int64_t i = 0; i < n; i++, to += in->c)
        if (in->type == DTYPE_F32) {
            memcpy(to, (const float *)from + i * in->pitch, (size_t)in->c * sizeof *to);
        } else {
            const uint16_t *pixel = (const uint16_t *)from + i * in->pitch;
            int c = 0;

            for (; c + 8 <= in->c; c += 8)
                v8_store(to, DTYPE_F32, c, v8_load(pixel, DTYPE_BF16, c));
            for (; c < in->c; c++)
                to[c] = bf16_to_float(pixel[c]);
        }
}

/* Fills the tile with rows [y, y + rows) x columns [x, x + columns) of in, zeros outside it. */
static void pack(float *tile, const struct tensor *in, int64_t y, int64_t x, int64_t rows, int64_t columns)
{
    int64_t first = x < 0 ? (-x < columns ? -x : columns) : 0; /* columns [first, last) of the tile lie inside */
    int64_t last = in->w - x < columns ? (in->w - x > first ? in->w - x : first) : columns;
    size_t pixel = (size_t)in->c * sizeof *tile;

    for (int64_t r = 0; r < rows; r++, tile += columns * in->c) {
        if (y + r < 0 || y + r >= in->h) {
            memset(tile, 0, (size_t)columns * pixel);
            continue;
        }
        memset(tile, 0, (size_t)first * pixel);
        pack_pixels(tile + first * in->c, in, y + r, x + first, last - first);
        memset(tile + last * in->c, 0, (size_t)(columns - last) * pixel);
    }
}

/* How a pass is cut: into tiles of rows x columns output positions. */
struct cut {
    int64_t height, width; /* output positions in all */
    int64_t rows, columns; /* of a tile; the last ones may be smaller */
    int64_t down, across;  /* tiles */
    bool direct;           /* in is read where it lies */
};

static int64_t minimum(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Input floats that a tile of rows x columns output positions reads. */
static int64_t tile_floats(const struct pass *pass, int64_t rows, int64_t columns)
{
    return ((rows - 1) * pass->stride + pass->kh) * ((columns - 1) * pass->stride + pass->kw) * pass->cin;
}

/* The widest tiles that fit, up to whole rows, then as many rows as fit; but enough tiles for all threads. One
 * position always fits: cpu_filter_new saw to that. */
static struct cut cut_pass(const struct cpu *cpu, const struct pass *pass, int64_t height, int64_t width,
                           bool direct)
{
    struct cut cut = {.height = height, .width = width, .rows = 1, .columns = width, .direct = direct};
    int64_t pieces;

    while (tile_floats(pass, 1, cut.columns) > CPU_TILE_FLOATS)
        cut.columns = (cut.columns + 1) / 2;
    if (cut.columns < width && cut.columns > POSITIONS)
        cut.columns -= cut.columns % POSITIONS;
    while (cut.rows < height && tile_floats(pass, cut.rows + 1, cut.columns) <= CPU_TILE_FLOATS)
        cut.rows++;
    if (height == 1) { /* a flattened 1x1: columns are all that there is to share out */
        pieces = (width + 4 * cpu->threads - 1) / (4 * cpu->threads);
        cut.columns = minimum(cut.columns, (pieces + POSITIONS - 1) / POSITIONS * POSITIONS);
    }
    cut.across = (width + cut.columns - 1) / cut.columns;
    pieces = (4 * cpu->threads + cut.across - 1) / cut.across;
    cut.rows = minimum(cut.rows, (height + pieces - 1) / pieces);
    cut.down = (height + cut.rows - 1) / cut.rows;
    return cut;
}

/* Computes all outputs of the tile at (ty, tx), a block of channels at a time, so that its weights stay in cache
 * while the positions pass by. */
static void tile_run(const struct pass *pass, const struct cut *cut, int64_t ty, int64_t tx, float *tile,
                     const struct blocks *blocks, const struct tensor *in, const struct tensor *out,
                     const struct finish *finish)
{
    int64_t y0 = ty * cut->rows, rows = minimum(cut->rows, cut->height - y0);
    int64_t x0 = tx * cut->columns, columns = minimum(cut->columns, cut->width - x0);
    int64_t packed = (columns - 1) * pass->stride + pass->kw;
    int step = pass->out_step;
    struct block b = {.rows = pass->kh, .length = pass->kw * pass->cin};
    const float *base = tile;
    ptrdiff_t pixel = pass->cin, row = (ptrdiff_t)packed * pass->cin;

    if (cut->direct) {
        base = pixel_at(in, y0, x0);
        pixel = in->pitch;
        row = (ptrdiff_t)in->w * in->pitch;
    } else {
        pack(tile, in, y0 * pass->stride - pass->pad_y, x0 * pass->stride - pass->pad_x,
             (rows - 1) * pass->stride + pass->kh, packed);
    }
    b.in_step = pixel * pass->stride;
    b.in_row = row;
    b.out_step = values_bytes(out->type, (ptrdiff_t)step * out->pitch);
    b.mask_step = finish->mask ? (ptrdiff_t)step * finish->mask->pitch / 8 : 0;
    for (int o = 0; o < pass->cout; o += CONV_BLOCK) {
        int left = pass->cout - o;

        b.channel = o;
        b.channels = left < CONV_BLOCK ? left : CONV_BLOCK;
        b.weights = pass->weights + (ptrdiff_t)o * b.rows * b.length;
        b.bias = finish->bias ? finish->bias + o : NULL;
        for (int64_t y = 0; y < rows; y++)
            for (int64_t x = 0; x < columns; x += POSITIONS) {
                int64_t out_y = (y0 + y) * step + pass->out_y, out_x = (x0 + x) * step + pass->out_x;
                int positions = (int)minimum(POSITIONS, columns - x);

                b.in = base + (y * row + x * pixel) * pass->stride;
                b.out = (char *)pixel_at(out, out_y, out_x) + values_bytes(out->type, o);
                b.mask = finish->mask ? (uint8_t *)pixel_at(finish->mask, out_y, out_x) + o / 8 : NULL;
                (left > CONV_HALF ? blocks->full : blocks->half)(positions, &b, finish);
            }
    }
}

/* A 1x1 convolution sees no rows: one long row cuts into better tiles. */
static struct tensor flattened(struct tensor t)
{
    t.w *= t.h;
    t.h = 1;
    return t;
}

static void pass_run(const struct cpu *cpu, const struct pass *pass, const struct blocks *blocks,
                     const struct tensor *in, const struct tensor *out, const struct finish *finish)
{
    struct tensor flat_in, flat_out, flat_mask;
    struct finish flat_finish = *finish;
    bool pointwise = pass->kh == 1 && pass->kw == 1 && pass->stride == 1 && pass->out_step == 1;
    struct cut cut;

    if (pointwise && pass->pad_y == 0 && pass->pad_x == 0) {
        flat_in = flattened(*in);
        flat_out = flattened(*out);
        in = &flat_in;
        out = &flat_out;
        if (finish->mask) {
            flat_mask = flattened(*finish->mask);
            flat_finish.mask = &flat_mask;
        }
    } else {
        pointwise = false;
    }
    cut =
        cut_pass(cpu, pass, (out->h - pass->out_y + pass->out_step - 1) / pass->out_step,
                 (out->w - pass->out_x + pass->out_step - 1) / pass->out_step, pointwise && in->type == DTYPE_F32);
    if (cut.height <= 0 || cut.width <= 0)
        return;
#pragma omp parallel num_threads(cpu->threads)
    {
        float *tile = cpu->scratch + (ptrdiff_t)cpu_thread() * CPU_SCRATCH_FLOATS;

#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < cut.down * cut.across; i++)
            tile_run(pass, &cut, i / cut.across, i % cut.across, tile, blocks, in, out, &flat_finish);
    }
}

static void run_direct(const struct cpu *cpu, const struct pass *pass, const struct tensor *in,
                       const struct tensor *out, const struct finish *finish)
{
    static const struct blocks f32 = {block_f32_full, block_f32_half}, bf16 = {block_bf16_full, block_bf16_half};

    pass_run(cpu, pass, out->type == DTYPE_BF16 ? &bf16 : &f32, in, out, finish);
}

#ifdef __AVX512BF16__
/* Two neighbouring channels of bf16 are moved about as one float would be. */
static void run_pairs(const struct cpu *cpu, const struct pass *pass, const struct tensor *in,
                      const struct tensor *out, const struct finish *finish)
{
    static const struct blocks f32 = {block_pair_f32_full, block_pair_f32_half},
                               bf16 = {block_pair_bf16_full, block_pair_bf16_half};
    struct pass halved = *pass;
    struct tensor floats = *in;

    halved.cin /= 2;
    floats.type = DTYPE_F32;
    floats.c /= 2;
    floats.pitch /= 2;
    pass_run(cpu, &halved, out->type == DTYPE_BF16 ? &bf16 : &f32, &floats, out, finish);
}
#endif

static void finish_run(const struct cpu *cpu, const struct tensor *out, const struct finish *finish)
{
#pragma omp parallel for num_threads(cpu->threads)
    for (int64_t y = 0; y < out->h; y++)
        for (int64_t x = 0; x < out->w; x++) {
            char *pixel = pixel_at(out, y, x);
            uint8_t *mask = finish->mask ? pixel_at(finish->mask, y, x) : NULL;

            for (int c = 0; c < out->c; c += 8) {
                int n = out->c - c < 8 ? out->c - c : 8;
                char *values = pixel + values_bytes(out->type, c);

                store_eight(out->type, finish, values, mask ? mask + c / 8 : NULL, c, n,
                            v8_load_n(values, out->type, 0, n));
            }
        }
}

const struct conv_kernels CPU_LEVELED(cpu_conv_kernels) = {
    .block = CONV_BLOCK,
    .run = {[FORM_DIRECT] = run_direct,
#ifdef __AVX512BF16__
            [FORM_PAIRS] = run_pairs,
#endif
            [FORM_WINOGRAD_F32] = CPU_LEVELED(cpu_conv_winograd),
            [FORM_WINOGRAD_BF16] = CPU_LEVELED(cpu_conv_winograd)},
    .finish = finish_run,
};
