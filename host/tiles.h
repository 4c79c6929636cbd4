/* Exact tiles: which pixels each works on, so that their gradients add up to the whole picture's.
 *
 * The network is local, and backpropagation is linear in its seeds. So each tile owns some positions of the
 * targets, sets seeds for these alone, and computes on a crop that holds every pixel they depend on; the sum of the
 * crops' gradients is the gradient, whatever the tiles' size. A crop begins at a multiple of the largest jump, so
 * that strided layers see the same windows, and ends at the picture's border where it reaches that, so that zeros
 * are padded there and only there: what is padded at inner edges lies outside of all that the tile owns.
 *
 * Rows and columns are divided on their own: a tile is a strip of rows and a strip of columns. Knows nothing of
 * devices or memory. */
#ifndef PAREIDOLIA_TILES_H
#define PAREIDOLIA_TILES_H

#include "net.h"

/* [begin, end). */
struct span {
    int64_t begin, end;
};

/* A tile in one direction, in pixels of the picture. A position i of a target belongs to the strip that owns pixel
 * i * jump. */
struct strip {
    struct span own, crop;
};

/* Strips cover the picture: they own all of it, each pixel once. A zeroed tiling is empty and safe to free. */
struct tiling {
    int rows, columns;          /* how many strips; 1 and 1: one tile, the whole picture */
    struct strip *row, *column; /* owned */
    int64_t crop_rows[2];       /* heights that crops have, the larger first; */
    int64_t crop_columns[2];    /* and widths; twice the same where there is only one */
    double work;                /* pixels of all crops / pixels of the picture */
};

/* Divides a picture of h x w pixels for the net's targets into tiles that own side x side pixels, side being
 * rounded down to a multiple of the largest jump (but not to 0); those at the border own as much more as they need
 * no halo there. side 0: one tile. Returns 0 or -1 with an error. */
int tiling_init(struct tiling *tiling, const struct net *net, int64_t h, int64_t w, int64_t side);
void tiling_free(struct tiling *tiling);

/* How many tiles. */
static inline int64_t tiling_count(const struct tiling *tiling)
{
    return (int64_t)tiling->rows * tiling->columns;
}

/* What sides of tiles are multiples of: input pixels from one position to the next of the target that has the most.
 */
int64_t tiling_jump(const struct net *net);

#endif
