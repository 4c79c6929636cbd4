/* Packs the weights of the CPU device's convolutions: reduces each direction to correlations and lays their weights
 * out as the kernel that computes them reads them. */
#include "conv_pack.h"

#include <assert.h>
#include <stdlib.h>

float *floats_new(size_t count)
{
    float *floats = cpu_memory_new(count * sizeof *floats);

    if (floats)
        memset(floats, 0, count * sizeof *floats);
    return floats;
}

/* Passes ---------------------------------------------------------------------------------------------------- */

/* One axis of backward for the positions y with y % stride == parity: dx[y] is the sum over the taps
 * r = first + stride * j of dy[(y + pad - r) / stride] * w[r]; falling r is rising dy, so the taps are taken in
 * falling order. */
struct axis {
    int taps;
    int first; /* the lowest tap */
    int pad;   /* of the pass */
};

static struct axis axis_of(int k, int stride, int pad, int parity)
{
    struct axis axis = {.first = (parity + pad) % stride};

    axis.taps = axis.first < k ? (k - axis.first + stride - 1) / stride : 0;
    axis.pad = axis.taps - 1 - (parity + pad - axis.first) / stride;
    return axis;
}

/* The passes of a direction; their weights come later. The parities of backward share the taps between them, so in
 * all there are as many weights as forward has. */
static void passes_init(const struct filter_desc *d, bool back, struct packing *packing)
{
    packing->pass_count = 0;
    for (int y = 0; y < (back ? d->stride : 1); y++)
        for (int x = 0; x < (back ? d->stride : 1); x++) {
            struct pass *pass = &packing->passes[packing->pass_count++];
            struct axis rows = axis_of(d->kh, d->stride, d->pad_h, y);
            struct axis columns = axis_of(d->kw, d->stride, d->pad_w, x);

            if (back)
                *pass = (struct pass){.kh = rows.taps,
                                      .kw = columns.taps,
                                      .stride = 1,
                                      .pad_y = rows.pad,
                                      .pad_x = columns.pad,
                                      .out_step = d->stride,
                                      .out_y = y,
                                      .out_x = x,
                                      .cin = d->cout,
                                      .cout = d->cin};
            else
                *pass = (struct pass){.kh = d->kh,
                                      .kw = d->kw,
                                      .stride = d->stride,
                                      .pad_y = d->pad_h,
                                      .pad_x = d->pad_w,
                                      .out_step = 1,
                                      .cin = d->cin,
                                      .cout = d->cout};
        }
}

/* The weight of tap (r, k) of a pass from its input i to its output o. */
static float pass_weight(const struct filter *filter, bool back, const struct pass *pass, int r, int k, int i,
                         int o)
{
    const struct filter_desc *d = &filter->desc;
    size_t tap, cin = (size_t)d->cin, cout = (size_t)d->cout;

    if (!back)
        return filter->kernel[(((size_t)r * (size_t)d->kw + (size_t)k) * cin + (size_t)i) * cout + (size_t)o];
    r = (pass->out_y + d->pad_h) % d->stride + d->stride * (pass->kh - 1 - r);
    k = (pass->out_x + d->pad_w) % d->stride + d->stride * (pass->kw - 1 - k);
    tap = (size_t)r * (size_t)d->kw + (size_t)k;
    return filter->kernel[(tap * cin + (size_t)o) * cout + (size_t)i];
}

/* Packing --------------------------------------------------------------------------------------------------- */

/* Where the weight of tap t, input i and output o lies in a packed array of taps x cin x cout. */
static size_t packed_index(int block, int taps, int cin, int cout, int t, int i, int o)
{
    size_t first = (size_t)(o / block * block), in_block = (size_t)(o % block);
    size_t width = (size_t)(cout - o / block * block > block / 2 ? block : block / 2);

    return first * (size_t)taps * (size_t)cin + ((size_t)t * (size_t)cin + (size_t)i) * width + in_block;
}

/* Floats of a packed array; channels that are only there to fill a block are zeros. */
static size_t packed_floats(int block, int taps, int cin, int cout)
{
    int channels = (cout + block / 2 - 1) / (block / 2) * (block / 2);

    return (size_t)taps * (size_t)cin * (size_t)channels;
}

/* Two inputs' weights as bf16 in the place of one float, the first in the lower half. */
static float pair_of(float first, float second)
{
    uint32_t bits = (uint32_t)float_to_bf16(first) | (uint32_t)float_to_bf16(second) << 16;
    float pair;

    memcpy(&pair, &bits, sizeof pair);
    return pair;
}

/* m of Winograd's F(m x m, 3x3), 0 for other forms. */
static int winograd_side(enum form form)
{
    return form == FORM_WINOGRAD_F32 ? WINOGRAD_F32 : form == FORM_WINOGRAD_BF16 ? WINOGRAD_BF16 : 0;
}

/* G of F(m x m, 3x3). Row p is 1, p, p^2 over the product of p's distances from the other points; that of infinity
 * is 0, 0, 1. */
static void winograd_g(int m, double g[WINOGRAD_BF16 + 2][3])
{
    static const double points_2[] = {0, 1, -1}, points_4[] = {0, WINOGRAD_P, -WINOGRAD_P, WINOGRAD_Q, -WINOGRAD_Q};
    const double *points = m == 2 ? points_2 : points_4;

    for (int p = 0; p <= m; p++) {
        double distances = 1;

        for (int q = 0; q <= m; q++)
            distances *= q == p ? 1 : points[p] - points[q];
        g[p][0] = 1 / distances;
        g[p][1] = points[p] / distances;
        g[p][2] = points[p] * points[p] / distances;
    }
    g[m + 1][0] = g[m + 1][1] = 0;
    g[m + 1][2] = 1;
}

/* The weight of plane t: that element of G w G'. */
static float winograd_weight(const struct filter *filter, bool back, const struct pass *pass, int m,
                             double g[WINOGRAD_BF16 + 2][3], int t, int i, int o)
{
    double sum = 0;

    for (int r = 0; r < 3; r++)
        for (int k = 0; k < 3; k++)
            sum += g[t / (m + 2)][r] * (double)pass_weight(filter, back, pass, r, k, i, o) * g[t % (m + 2)][k];
    return (float)sum;
}

/* Packs one pass's weights to `to`, or only counts them where that is NULL. Returns how many floats they are. */
static size_t pass_pack(const struct filter *filter, bool back, enum form form, const struct pass *pass, float *to)
{
    int block = filter->block, half = block / 2, m = winograd_side(form);
    int taps = m ? (m + 2) * (m + 2) : pass->kh * pass->kw;
    int inputs = form == FORM_PAIRS ? pass->cin / 2 : pass->cin;
    int depth = m ? (inputs + half - 1) / half * half : inputs;
    double g[WINOGRAD_BF16 + 2][3];

    if (m)
        winograd_g(m, g);
    for (int i = 0; to && i < inputs; i++)
        for (int o = 0; o < pass->cout; o++)
            for (int t = 0; t < taps; t++) {
                float *weight = to + packed_index(block, taps, depth, pass->cout, t, i, o);

                if (m)
                    *weight = winograd_weight(filter, back, pass, m, g, t, i, o);
                else if (form == FORM_PAIRS)
                    *weight = pair_of(pass_weight(filter, back, pass, t / pass->kw, t % pass->kw, 2 * i, o),
                                      pass_weight(filter, back, pass, t / pass->kw, t % pass->kw, 2 * i + 1, o));
                else
                    *weight = pass_weight(filter, back, pass, t / pass->kw, t % pass->kw, i, o);
            }
    return packed_floats(block, taps, depth, pass->cout);
}

/* Without its plain form a filter is about a third smaller. */
static void kernel_drop(struct filter *filter)
{
    bool packed[2] = {false, false};

    for (int i = 0; i < 2 * FORMS; i++)
        packed[i / FORMS] |= filter->packings[i / FORMS][i % FORMS].weights != NULL;
    if (filter->one_form && packed[0] && packed[1]) {
        free(filter->kernel);
        filter->kernel = NULL;
    }
}

const struct packing *filter_packing(struct filter *filter, bool back, enum form form)
{
    struct packing *packing = &filter->packings[back][form];
    size_t floats = 0;

    if (packing->weights)
        return packing;
    assert(filter->kernel);
    passes_init(&filter->desc, back, packing);
    for (int i = 0; i < packing->pass_count; i++)
        floats += pass_pack(filter, back, form, &packing->passes[i], NULL);
    packing->weights = floats_new(floats);
    if (!packing->weights)
        return NULL;
    floats = 0;
    for (int i = 0; i < packing->pass_count; i++) {
        packing->passes[i].weights = packing->weights + floats;
        floats += pass_pack(filter, back, form, &packing->passes[i], packing->weights + floats);
    }
    kernel_drop(filter);
    return packing;
}
