/* What is done to the dream before it is written, pixel by pixel beside the original: a weaker dream, one that
 * leaves parts of the picture alone, one that keeps the picture's colours. */
#ifndef PAREIDOLIA_FINISH_H
#define PAREIDOLIA_FINISH_H

#include "image.h"
#include "options.h"
#include "recipe.h"

/* Values of finish_option_table; finish_defaults change nothing. */
struct finish_options {
    double strength;              /* 0: the original, 1: the dream */
    bool keep_colors;             /* only lightness is dreamt */
    const char *mask;             /* a picture: black is left alone, white dreams; NULL: all dreams */
    bool no_keep_colors, no_mask; /* neither, whatever --from has; not beside the options above */
};

extern const struct option finish_option_table[];
struct finish_options finish_defaults(void);

/* A zeroed one is safe to close. */
struct finish {
    const struct finish_options *options;
    int64_t width;
    uint16_t *mask;                  /* height * width, 65535 dreams; owned, NULL: all of them do */
    char mask_digits[RECIPE_DIGITS]; /* recipe_mask of the mask as it was read */
};

/* 0 where the options can be meant together, else -1 with an error: a wrong command line. */
int finish_check(const struct finish_options *options);

/* Reads the mask, which must have the size of the dream, width x height, or that of the source it was resized from;
 * then it is resized, too. Returns 0, or -1 with an error that names the mask. */
int finish_open(struct finish *finish, const struct finish_options *options, int64_t width, int64_t height,
                int64_t source_width, int64_t source_height);
void finish_close(struct finish *finish);

/* Whether anything is to be done. */
bool finish_wanted(const struct finish *finish);

/* Does it to rows [first, first + rows) of the dream; both arrays begin there.
 * Kept colours: the difference in lightness (Y' of Rec. 601) is added to all three of the original's channels, as
 * far as they stay in range, so that Cb and Cr are the original's. Then original + weight * (dream - original),
 * weight being strength times mask. Where that is 0, or the lightness of kept colours has not changed, the very
 * samples of the file come back: they are raised by a hair, as writing truncates and rounding may have left them
 * below (image_write). */
void finish_rows(const struct finish *finish, int64_t first, int64_t rows, const float *original, float *dream);

#endif
