/* Blends the dream with the original. */
#include "finish.h"

#include "error.h"
#include "resample.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

const struct option finish_option_table[] = {
    {.name = "strength",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct finish_options, strength),
     .argument = "X",
     .help = "how much of the dream is laid over the picture, 0 to 1",
     .least = 0,
     .most = 1},
    {.name = "keep-colors",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct finish_options, keep_colors),
     .help = "keep the picture's colours; only its lightness dreams"},
    {.name = "no-keep-colors",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct finish_options, no_keep_colors),
     .help = "let them dream, whatever --from has"},
    {.name = "mask",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct finish_options, mask),
     .argument = "IMAGE",
     .help =
         "a picture of IMAGE's size, or of the result's: where it is black the result is the original, where it is "
         "white the dream"},
    {.name = "no-mask",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct finish_options, no_mask),
     .help = "dream everywhere, whatever --from has"},
    {.name = NULL},
};

struct finish_options finish_defaults(void)
{
    return (struct finish_options){.strength = 1};
}

/* More than half a rounding of a float near 1, less than a hundredth of a 16-bit level. */
#define HAIR 0x1p-22f

enum { WHITE = 65535 };

/* The mask's grey into finish. Returns 0, or -1 with an error. */
static int mask_keep(struct finish *finish, const struct image *mask)
{
    int64_t count = mask->height * mask->width;

    free(finish->mask);
    finish->mask = malloc((size_t)count * sizeof *finish->mask);
    if (!finish->mask)
        return error_set("no memory for %zu bytes", (size_t)count * sizeof *finish->mask);
    for (int64_t i = 0; i < count; i++) {
        double mean =
            ((double)mask->pixels[3 * i] + (double)mask->pixels[3 * i + 1] + (double)mask->pixels[3 * i + 2]) / 3;

        finish->mask[i] = (uint16_t)lround(fmin(fmax((mean + 1) / 2, 0), 1) * WHITE);
    }
    return 0;
}

int finish_check(const struct finish_options *options)
{
    if (options->keep_colors && options->no_keep_colors)
        return error_set("--keep-colors and --no-keep-colors: only one of them can be meant");
    if (options->mask && options->no_mask)
        return error_set("--mask and --no-mask: only one of them can be meant");
    return 0;
}

int finish_open(struct finish *finish, const struct finish_options *options, int64_t width, int64_t height,
                int64_t source_width, int64_t source_height)
{
    struct image mask;

    *finish = (struct finish){.options = options, .width = width};
    if (!options->mask)
        return 0;
    if (image_read(options->mask, &mask))
        return error_prefix("--mask");
    if ((mask.height != height || mask.width != width) &&
        (mask.height != source_height || mask.width != source_width)) {
        error_set("--mask %s: is %" PRId64 "x%" PRId64 " pixels, the picture %" PRId64 "x%" PRId64
                  "; make it the same size",
                  options->mask, mask.width, mask.height, source_width, source_height);
        goto fail;
    }
    free(mask.alpha); /* what a mask hides is no less black or white */
    mask.alpha = NULL;
    if (mask_keep(finish, &mask))
        goto fail_named;
    recipe_mask(finish->mask, mask.height * mask.width, finish->mask_digits);
    if (mask.height != height || mask.width != width) {
        if (image_resample(&mask, options->mask, width, height)) {
            error_prefix("--mask");
            goto fail;
        }
        if (mask_keep(finish, &mask))
            goto fail_named;
    }
    image_free(&mask);
    return 0;

fail_named:
    error_prefix("--mask %s", options->mask);
fail:
    image_free(&mask);
    return -1;
}

void finish_close(struct finish *finish)
{
    free(finish->mask);
    *finish = (struct finish){0};
}

bool finish_wanted(const struct finish *finish)
{
    return finish->options->strength < 1 || finish->options->keep_colors || finish->mask;
}

static float lightness(const float *rgb)
{
    return 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2];
}

/* Gives a pixel of the dream the original's colour. Returns whether it is another than the original then. */
static bool color_keep(const float *original, float *dream)
{
    float change = lightness(dream) - lightness(original);
    float most = 1 - fmaxf(fmaxf(original[0], original[1]), original[2]);
    float least = -1 - fminf(fminf(original[0], original[1]), original[2]);

    change = fminf(fmaxf(change, least), most);
    for (int c = 0; c < 3; c++)
        dream[c] = original[c] + change;
    return change != 0;
}

void finish_rows(const struct finish *finish, int64_t first, int64_t rows, const float *original, float *dream)
{
    const struct finish_options *options = finish->options;
    const uint16_t *mask = finish->mask ? finish->mask + first * finish->width : NULL;

    for (int64_t i = 0; i < rows * finish->width; i++, original += 3, dream += 3) {
        float weight = (float)options->strength * (mask ? (float)mask[i] / WHITE : 1);

        bool same = options->keep_colors && !color_keep(original, dream);
        for (int c = 0; c < 3; c++)
            if (same || weight == 0)
                dream[c] = original[c] + HAIR;
            else if (weight < 1)
                dream[c] = original[c] + weight * (dream[c] - original[c]);
    }
}
