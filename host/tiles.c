/* Divides pictures into tiles; tiles.h says why the parts add up. */
#include "tiles.h"

#include "error.h"
#include "net_internal.h"

#include <assert.h>
#include <stdlib.h>

/* What all targets together depend on in one direction, around what is owned. */
struct halo {
    int64_t jump;          /* the largest of all targets, which all the others' divide */
    int64_t before, after; /* pixels around those that are owned; before is a multiple of jump */
    int64_t end;           /* no target has a position at or behind this pixel */
    int64_t smallest;      /* of a crop that gives every target a position */
};

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static struct halo halo_of(const struct net *net, int64_t h, int64_t w, bool columns)
{
    struct halo halo = {.jump = 1};

    for (int i = 0; i < net->target_count; i++) {
        int node = net->targets[i].node;
        struct reach reach = network_reach(net->network, node, columns);
        int64_t shape[3];

        network_shape(net->network, node, h, w, shape);
        halo.jump = larger(halo.jump, reach.jump);
        halo.before = larger(halo.before, reach.before);
        halo.after = larger(halo.after, reach.after + 1 - reach.jump);
        halo.end = larger(halo.end, shape[columns] * reach.jump);
        halo.smallest = larger(halo.smallest, network_smallest(net->network, node, 1));
    }
    halo.before = (halo.before + halo.jump - 1) / halo.jump * halo.jump;
    return halo;
}

/* The k-th strip among n pixels. All but the last have crops of the same size: the first owns what would be its
 * halo, were it not at the border. */
static struct strip strip_at(const struct halo *halo, int64_t n, int64_t side, int64_t k)
{
    struct strip strip = {.own = {k > 0 ? k * side + halo->before : 0, (k + 1) * side + halo->before},
                          .crop = {k * side, (k + 1) * side + halo->before + halo->after}};

    if (strip.own.end < halo->end && strip.crop.end < n)
        return strip;
    strip.own.end = strip.crop.end = n;
    if (n - strip.crop.begin < halo->smallest)
        strip.crop.begin = larger(0, (n - halo->smallest) / halo->jump * halo->jump);
    return strip;
}

/* Divides n pixels into *count strips and finds the two sizes that crops have. Returns them, or NULL with an error.
 */
static struct strip *strips_new(const struct halo *halo, int64_t n, int64_t side, int *count, int64_t sizes[2])
{
    int64_t most = n / side + 1;
    struct strip *strips = malloc((size_t)most * sizeof *strips);
    struct strip last = {0};

    if (!strips) {
        error_set("no memory for %lld strips of tiles", (long long)most);
        return NULL;
    }
    *count = 0;
    while (last.own.end < n) {
        assert(*count < most);
        last = strips[*count] = strip_at(halo, n, side, *count);
        ++*count;
    }
    sizes[0] = strips[0].crop.end - strips[0].crop.begin;
    sizes[1] = last.crop.end - last.crop.begin;
    if (sizes[1] > sizes[0]) {
        int64_t size = sizes[0];
        sizes[0] = sizes[1];
        sizes[1] = size;
    }
    return strips;
}

/* Pixels of all crops in one direction. */
static double strips_sum(const struct strip *strips, int count)
{
    double sum = 0;

    for (int i = 0; i < count; i++)
        sum += (double)(strips[i].crop.end - strips[i].crop.begin);
    return sum;
}

int tiling_init(struct tiling *tiling, const struct net *net, int64_t h, int64_t w, int64_t side)
{
    struct halo rows = halo_of(net, h, w, false), columns = halo_of(net, h, w, true);

    if (side == 0)
        side = larger(h, w);
    side = larger(side / rows.jump, 1) * rows.jump;
    *tiling = (struct tiling){0};
    tiling->row = strips_new(&rows, h, side, &tiling->rows, tiling->crop_rows);
    tiling->column = tiling->row ? strips_new(&columns, w, side, &tiling->columns, tiling->crop_columns) : NULL;
    if (!tiling->column) {
        tiling_free(tiling);
        return -1;
    }
    tiling->work = strips_sum(tiling->row, tiling->rows) / (double)h *
                   (strips_sum(tiling->column, tiling->columns) / (double)w);
    return 0;
}

void tiling_free(struct tiling *tiling)
{
    free(tiling->row);
    free(tiling->column);
    *tiling = (struct tiling){0};
}

int64_t tiling_jump(const struct net *net)
{
    return halo_of(net, 0, 0, false).jump;
}
