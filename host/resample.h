/* Another size for a picture: Lanczos-3, row by row, in the memory that the larger of both sizes takes anyway. It
 * works on the values as they are stored, gamma-encoded, as most programs do: fine black and white lines become a
 * middle grey that is darker than they look from afar. */
#ifndef PAREIDOLIA_RESAMPLE_H
#define PAREIDOLIA_RESAMPLE_H

#include "image.h"
#include "options.h"

/* What size is wanted; zeroed: the picture's own. */
struct resample_options {
    int width, height; /* 0: not given. One alone keeps the aspect ratio */
    int max_side;      /* 0: not given. The longer side is made this long where it is longer */
};

/* 0 where the options can be meant together, and name no size above image.h's limits; else -1 with an error: a
 * wrong command line. */
int resample_check(const struct resample_options *options);

/* The size that options want of a picture of width x height, which path names in errors: a side that is not given
 * is rounded to the nearest, halves up, and at least 1. Returns 0, or -1 with an error where it is above image.h's
 * limits.
 */
int resample_size(const struct resample_options *options, const char *path, int64_t width, int64_t height,
                  int64_t *new_width, int64_t *new_height);

/* Makes picture width x height, in place. Column x of the result lies at (x + 1/2) * old / new of the source, whose
 * columns are weighted by sinc(t) * sinc(t / 3), |t| < 3, where t is the distance in columns of the coarser of
 * both; weights at an edge are divided by the sum of those that lie inside; rows likewise. What comes to lie
 * outside [-1, 1] is clipped. The same size leaves every bit as it is. Where there is alpha, it is resized, too,
 * and colours count as much as they are seen: a colour under transparent pixels does not bleed into what is seen.
 * Beside the larger picture it takes up to 8 rows of the new width, or 2 more than 6 times as many as one of the
 * new rows covers, and the weights; and where the picture grows in one direction and shrinks in the other, the rows
 * that are in each other's way. No more is taken than memory_spare (memory.h) says there is. Returns 0, or -1 with
 * an error where there is no memory, which names path; the picture is then as it was. */
int image_resample(struct image *picture, const char *path, int64_t width, int64_t height);

#endif
