/* Pools of the CPU device. Every output, forward and backward, is gathered by one thread in a fixed order: no
 * atomics, no second pass, the same bytes with any number of threads. Rows are shared out among the threads; the
 * innermost loops run over eight channels at a time. */
#include "rows.h"

/* 3x3 maximum, stride 2: y[oy][ox][c] = max over k = 3 ky + kx of x[2 oy + ky][2 ox + kx][c]. The three rows of x
 * stay in the cache from one window to the next, so that x is read from memory once: 4 bytes of x a position, and
 * a quarter of a value, of an index byte and of a mask bit written. argmax and mask may be NULL. */
ROW_INLINE void max_pool_eight(enum dtype type, const void *const x[9], void *y, uint8_t *argmax, uint8_t *mask,
                               int c, int n)
{
    v8 best = v8_load_n(x[0], type, c, n);
    v8i winner = {0};

    for (int k = 1; k < 9; k++) {
        v8 value = v8_load_n(x[k], type, c, n);
        v8i better = value > best;

        best = v8_choose(better, value, best);
        winner = (winner & ~better) | (better & k);
    }
    v8_store_n(y, type, c, n, best);
    if (argmax)
        v8i_store_bytes(argmax, c, n, winner);
    if (mask)
        mask[c / 8] = v8_mask_byte(best);
}

ROW_INLINE void max_pool_row(enum dtype type, const struct tensor *x, const struct tensor *y,
                             const struct tensor *argmax, const struct tensor *mask, int64_t oy)
{
    for (int64_t ox = 0; ox < y->w; ox++) {
        void *out = pixel_at(y, oy, ox);
        uint8_t *winner = argmax ? pixel_at(argmax, oy, ox) : NULL;
        uint8_t *bits = mask ? pixel_at(mask, oy, ox) : NULL;
        const void *window[9];

        for (int k = 0; k < 9; k++)
            window[k] = pixel_at(x, 2 * oy + k / 3, 2 * ox + k % 3);
        ROW_EIGHTS(y->c, max_pool_eight, type, window, out, winner, bits);
    }
}

static void max_pool(struct device *device, const struct tensor *x, const struct tensor *y,
                     const struct tensor *argmax, const struct tensor *mask)
{
#pragma omp parallel for num_threads(cpu_of(device)->threads)
    for (int64_t oy = 0; oy < y->h; oy++)
        CPU_SPECIALIZE(max_pool_row, x->type, x, y, argmax, mask, oy);
}

/* The windows that cover one position of x: in each direction one or two, or none behind the last. */
struct cover {
    int64_t window[2];
    int place[2]; /* of the position in that window, 0 to 2 */
    int n;
};

static struct cover cover_of(int64_t position, int64_t windows)
{
    struct cover cover = {.n = 0};

    for (int64_t window = position / 2 - (position % 2 == 0); window <= position / 2; window++)
        if (window >= 0 && window < windows) {
            cover.window[cover.n] = window;
            cover.place[cover.n++] = (int)(position - 2 * window);
        }
    return cover;
}

/* The windows that cover one pixel of x. */
struct winners {
    const void *gradient[4];
    const uint8_t *argmax[4];
    int place[4];
};

/* windows is a constant: the loop over them is unrolled and their addresses stay in registers. */
ROW_INLINE void max_pool_back_eight(enum dtype type, int windows, const struct winners *from, void *dx,
                                    bool accumulate, const uint8_t *mask, int c, int n)
{
    v8 sum = accumulate ? v8_load_n(dx, type, c, n) : v8_splat(0);

#pragma GCC unroll 4
    for (int k = 0; k < windows; k++)
        sum += v8_keep(v8i_load_bytes(from->argmax[k], c, n) == from->place[k],
                       v8_load_n(from->gradient[k], type, c, n));
    v8_store_n(dx, type, c, n, mask ? v8_select(mask[c / 8], sum) : sum);
}

/* dx[iy][ix][c] = [dx +] the sum of dy over the at most four windows that cover (iy, ix) and whose argmax names it;
 * then 0 where x was not above 0. Gathered from dy, which is a quarter of dx and stays in the cache: memory sees
 * dy and argmax once and one write (and, accumulating, one read) of dx. */
ROW_INLINE void max_pool_back_row(enum dtype type, const struct tensor *dy, const struct tensor *argmax,
                                  const struct tensor *dx, bool accumulate, const struct tensor *mask, int64_t iy)
{
    struct cover rows = cover_of(iy, dy->h);

    for (int64_t ix = 0; ix < dx->w; ix++) {
        struct cover columns = cover_of(ix, dy->w);
        struct winners from;
        int windows = 0;
        void *out = pixel_at(dx, iy, ix);
        const uint8_t *bits = mask ? pixel_at(mask, iy, ix) : NULL;

        for (int r = 0; r < rows.n; r++)
            for (int q = 0; q < columns.n; q++, windows++) {
                from.gradient[windows] = pixel_at(dy, rows.window[r], columns.window[q]);
                from.argmax[windows] = pixel_at(argmax, rows.window[r], columns.window[q]);
                from.place[windows] = 3 * rows.place[r] + columns.place[q];
            }
        if (windows == 4)
            ROW_EIGHTS(dx->c, max_pool_back_eight, type, 4, &from, out, accumulate, bits);
        else if (windows == 2)
            ROW_EIGHTS(dx->c, max_pool_back_eight, type, 2, &from, out, accumulate, bits);
        else if (windows == 1)
            ROW_EIGHTS(dx->c, max_pool_back_eight, type, 1, &from, out, accumulate, bits);
        else
            ROW_EIGHTS(dx->c, max_pool_back_eight, type, 0, &from, out, accumulate, bits);
    }
}

static void max_pool_back(struct device *device, const struct tensor *dy, const struct tensor *argmax,
                          const struct tensor *dx, bool accumulate, const struct tensor *mask)
{
#pragma omp parallel for num_threads(cpu_of(device)->threads)
    for (int64_t iy = 0; iy < dx->h; iy++)
        CPU_SPECIALIZE(max_pool_back_row, dx->type, dy, argmax, dx, accumulate, mask, iy);
}

/* The neighbours of a position that lie inside its tensor, in row order, each with the weight that it has in the
 * sum. */
struct neighbours {
    const void *pixel[9];
    float weight[9];
    int n;
};

/* Positions from i - 1 to i + 1 that lie in [0, size). */
static int span(int64_t i, int64_t size)
{
    return 1 + (i > 0) + (i + 1 < size);
}

/* The mean over a 3x3 window divides by the positions of the window that lie inside. Forward that is the window
 * around the output itself; transposed, the windows around each neighbour, which may be nearer to an edge. */
static void neighbours_find(struct neighbours *near, const struct tensor *t, int64_t y, int64_t x, bool transposed)
{
    static const float mean[] = {0, 1, 1.f / 2, 1.f / 3, 1.f / 4, 0, 1.f / 6, 0, 0, 1.f / 9};

    near->n = 0;
    for (int64_t ny = y > 0 ? y - 1 : 0; ny <= y + 1 && ny < t->h; ny++)
        for (int64_t nx = x > 0 ? x - 1 : 0; nx <= x + 1 && nx < t->w; nx++) {
            int count = transposed ? span(ny, t->h) * span(nx, t->w) : span(y, t->h) * span(x, t->w);

            near->pixel[near->n] = pixel_at(t, ny, nx);
            near->weight[near->n++] = mean[count];
        }
}

/* Nearly everywhere there are nine: a constant, for which the loop is unrolled. */
ROW_INLINE v8 neighbours_sum(enum dtype type, const struct neighbours *near, int c, int n)
{
    v8 sum = v8_splat(0);

    if (near->n == 9) {
#pragma GCC unroll 9
        for (int k = 0; k < 9; k++)
            sum += near->weight[k] * v8_load_n(near->pixel[k], type, c, n);
    } else {
        for (int k = 0; k < near->n; k++)
            sum += near->weight[k] * v8_load_n(near->pixel[k], type, c, n);
    }
    return sum;
}

/* y[y][x][c] = relu(mean of x around (y, x) + bias[c]). Three rows of x stay in the cache. */
ROW_INLINE void average_pool_eight(enum dtype type, const struct neighbours *near, const float *bias, void *y,
                                   uint8_t *mask, int c, int n)
{
    v8 value = v8_relu(neighbours_sum(type, near, c, n) + v8_load_n(bias, DTYPE_F32, c, n));

    v8_store_n(y, type, c, n, value);
    if (mask)
        mask[c / 8] = v8_mask_byte(value);
}

ROW_INLINE void average_pool_row(enum dtype type, const struct tensor *x, const float *bias, const struct tensor *y,
                                 const struct tensor *mask, int64_t row)
{
    for (int64_t column = 0; column < y->w; column++) {
        void *out = pixel_at(y, row, column);
        uint8_t *bits = mask ? pixel_at(mask, row, column) : NULL;
        struct neighbours near;

        neighbours_find(&near, x, row, column, false);
        ROW_EIGHTS(y->c, average_pool_eight, type, &near, bias, out, bits);
    }
}

static void average_pool(struct device *device, const struct tensor *x, struct filter *filter,
                         const struct tensor *y, const struct tensor *mask)
{
    const float *bias = cpu_filter_bias(filter);

#pragma omp parallel for num_threads(cpu_of(device)->threads)
    for (int64_t row = 0; row < y->h; row++)
        CPU_SPECIALIZE(average_pool_row, x->type, x, bias, y, mask, row);
}

/* dx[y][x][c] = sum of dy / (its window's count) around (y, x). */
ROW_INLINE void average_pool_back_eight(enum dtype type, const struct neighbours *near, void *dx, int c, int n)
{
    v8_store_n(dx, type, c, n, neighbours_sum(type, near, c, n));
}

ROW_INLINE void average_pool_back_row(enum dtype type, const struct tensor *dy, const struct tensor *dx,
                                      int64_t row)
{
    for (int64_t column = 0; column < dx->w; column++) {
        void *out = pixel_at(dx, row, column);
        struct neighbours near;

        neighbours_find(&near, dy, row, column, true);
        ROW_EIGHTS(dx->c, average_pool_back_eight, type, &near, out);
    }
}

static void average_pool_back(struct device *device, const struct tensor *dy, const struct tensor *dx)
{
#pragma omp parallel for num_threads(cpu_of(device)->threads)
    for (int64_t row = 0; row < dx->h; row++)
        CPU_SPECIALIZE(average_pool_back_row, dx->type, dy, dx, row);
}

/* y[c] = mean of x[.][.][c], summed in double over the positions in order; a thread takes eight
 * channels at a time. */
ROW_INLINE void global_average_channels(enum dtype type, const struct tensor *x, const struct tensor *y, int c)
{
    int n = x->c - c < 8 ? x->c - c : 8;
    struct v8_sum sum = {0};

    for (int64_t row = 0; row < x->h; row++)
        for (int64_t column = 0; column < x->w; column++)
            v8_sum_add(&sum, v8_load_n(pixel_at(x, row, column), type, c, n));
    v8_store_n(y->data, type, c, n, v8_sum_divided(sum, (double)(x->h * x->w)));
}

static void global_average(struct device *device, const struct tensor *x, const struct tensor *y)
{
#pragma omp parallel for num_threads(cpu_of(device)->threads) schedule(static)
    for (int c = 0; c < x->c; c += 8)
        CPU_SPECIALIZE(global_average_channels, x->type, x, y, c);
}

void CPU_LEVELED(cpu_pool_ops)(struct device_ops *ops)
{
    ops->max_pool = max_pool;
    ops->max_pool_back = max_pool_back;
    ops->average_pool = average_pool;
    ops->average_pool_back = average_pool_back;
    ops->global_average = global_average;
}
