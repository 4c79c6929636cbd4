/* A direct convolution: input rows are packed into a tile that stays in cache, with their padding, and blocks of 6
 * positions x 16 output channels are summed up in registers over the whole kernel. No transform, no matrix of
 * patches, no pass of its own for bias, ReLU, signs or accumulation.
 *
 * Every output is one chain of multiply-adds in the order r, k, i, whatever the tiles and threads: the result does
 * not depend on them. */
#include "conv_kernel.h"

#include "rows.h"

enum { POSITIONS = 6, HALVES = CONV_BLOCK / CONV_HALF };

/* One block's operands. Input position p begins at in + p * in_step; its kernel row r is length contiguous floats,
 * in_row further on each time. Output position p begins out_step elements after the one before. */
struct block {
    const float *in;
    ptrdiff_t in_step, in_row;
    int rows, length;
    const float *weights;
    const float *bias;
    char *out;
    uint8_t *mask;
    ptrdiff_t out_step, mask_step; /* bytes */
    int channel, channels;         /* of out, from the first of this block */
};

/* Stores the sums of one position's 8 channels; n < 8 at the end of the channels. */
ROW_INLINE void store(enum dtype type, const struct finish *finish, char *out, uint8_t *mask, int channel, int n,
                      v8 sum)
{
    bool linear = channel < finish->linear;

    if (finish->accumulate)
        sum += v8_load_n(out, type, 0, n);
    if (finish->relu && !linear)
        sum = v8_relu(sum);
    if (mask && !finish->write_mask)
        sum = v8_select(*mask, sum);
    else if (mask && !linear)
        *mask = v8_mask_byte(sum);
    v8_store_n(out, type, 0, n, sum);
}

/* positions x (8 * halves) outputs: 12 sums, 2 vectors of weights and a broadcast input fill the 16 registers of
 * AVX2; each weight vector is used 6 times and each input twice, so the loads keep up with two multiply-adds a
 * cycle. Operations: 2 * positions * 8 * halves * rows * length. */
ROW_INLINE void block_run(enum dtype type, int positions, int halves, const struct block *b,
                          const struct finish *finish)
{
    v8 sums[POSITIONS][HALVES];
    const float *w = b->weights;

    for (int p = 0; p < positions; p++)
        for (int h = 0; h < halves; h++)
            sums[p][h] = b->bias ? v8_load(b->bias, DTYPE_F32, CONV_HALF * h) : v8_splat(0);
    for (int r = 0; r < b->rows; r++) {
        /* Two bases and one step address up to six positions without running out of registers. */
        const float *low = b->in + r * b->in_row, *high = low + 3 * b->in_step;

        for (int i = 0; i < b->length; i++, w += CONV_HALF * halves) {
            v8 weights[HALVES];

            for (int h = 0; h < halves; h++)
                weights[h] = v8_load(w, DTYPE_F32, CONV_HALF * h);
            for (int p = 0; p < positions; p++) {
                v8 value = v8_splat((p < 3 ? low + p * b->in_step : high + (p - 3) * b->in_step)[i]);

                for (int h = 0; h < halves; h++)
                    sums[p][h] += value * weights[h];
            }
        }
    }
    for (int p = 0; p < positions; p++)
        for (int h = 0; h < halves; h++) {
            int left = b->channels - CONV_HALF * h;

            store(type, finish, b->out + p * b->out_step + dtype_bytes(type, CONV_HALF * h),
                  b->mask ? b->mask + p * b->mask_step + h : NULL, b->channel + CONV_HALF * h, left < 8 ? left : 8,
                  sums[p][h]);
        }
}

ROW_INLINE void block_positions(enum dtype type, int positions, int halves, const struct block *b,
                                const struct finish *finish)
{
    switch (positions) {
    case 6:
        block_run(type, 6, halves, b, finish);
        break;
    case 5:
        block_run(type, 5, halves, b, finish);
        break;
    case 4:
        block_run(type, 4, halves, b, finish);
        break;
    case 3:
        block_run(type, 3, halves, b, finish);
        break;
    case 2:
        block_run(type, 2, halves, b, finish);
        break;
    default:
        block_run(type, 1, halves, b, finish);
    }
}

/* One function for each type and width, so that each is compiled for its constants. */
static void block_f32_16(int positions, const struct block *b, const struct finish *finish)
{
    block_positions(DTYPE_F32, positions, 2, b, finish);
}

static void block_f32_8(int positions, const struct block *b, const struct finish *finish)
{
    block_positions(DTYPE_F32, positions, 1, b, finish);
}

static void block_bf16_16(int positions, const struct block *b, const struct finish *finish)
{
    block_positions(DTYPE_BF16, positions, 2, b, finish);
}

static void block_bf16_8(int positions, const struct block *b, const struct finish *finish)
{
    block_positions(DTYPE_BF16, positions, 1, b, finish);
}

/* Copies n pixels' channels as floats. */
static void pack_pixels(float *to, const struct tensor *in, int64_t y, int64_t x, int64_t n)
{
    const void *from = pixel_at(in, y, x);

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
static struct cut cut_pass(const struct cpu *cpu, const struct pass *pass, int64_t height, int64_t width, bool direct)
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
                     const struct tensor *in, const struct tensor *out, const struct finish *finish)
{
    int64_t y0 = ty * cut->rows, rows = minimum(cut->rows, cut->height - y0);
    int64_t x0 = tx * cut->columns, columns = minimum(cut->columns, cut->width - x0);
    int64_t packed = (columns - 1) * pass->stride + pass->kw;
    int step = pass->out_step;
    bool half = out->type == DTYPE_BF16;
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
    b.out_step = (ptrdiff_t)dtype_bytes(out->type, (int64_t)step * out->pitch);
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
                b.out = (char *)pixel_at(out, out_y, out_x) + dtype_bytes(out->type, o);
                b.mask = finish->mask ? (uint8_t *)pixel_at(finish->mask, out_y, out_x) + o / 8 : NULL;
                if (left > CONV_HALF)
                    (half ? block_bf16_16 : block_f32_16)(positions, &b, finish);
                else
                    (half ? block_bf16_8 : block_f32_8)(positions, &b, finish);
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

static void run(const struct cpu *cpu, const struct pass *pass, const struct tensor *in, const struct tensor *out,
                const struct finish *finish)
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
    cut = cut_pass(cpu, pass, (out->h - pass->out_y + pass->out_step - 1) / pass->out_step,
                   (out->w - pass->out_x + pass->out_step - 1) / pass->out_step, pointwise && in->type == DTYPE_F32);
    if (cut.height <= 0 || cut.width <= 0)
        return;
#pragma omp parallel num_threads(cpu->threads)
    {
        float *tile = cpu->tiles + (ptrdiff_t)cpu_thread() * CPU_TILE_FLOATS;

#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < cut.down * cut.across; i++)
            tile_run(pass, &cut, i / cut.across, i % cut.across, tile, in, out, &flat_finish);
    }
}

static void finish_run(const struct cpu *cpu, const struct tensor *out, const struct finish *finish)
{
#pragma omp parallel for num_threads(cpu->threads)
    for (int64_t y = 0; y < out->h; y++)
        for (int64_t x = 0; x < out->w; x++) {
            char *pixel = pixel_at(out, y, x);
            uint8_t *mask = finish->mask ? pixel_at(finish->mask, y, x) : NULL;

            for (int c = 0; c < out->c; c += 8) {
                int n = out->c - c < 8 ? out->c - c : 8;
                char *values = pixel + dtype_bytes(out->type, c);

                store(out->type, finish, values, mask ? mask + c / 8 : NULL, c, n, v8_load_n(values, out->type, 0, n));
            }
        }
}

const struct conv_kernels CPU_LEVELED(cpu_conv_kernels) = {.run = run, .finish = finish_run};
