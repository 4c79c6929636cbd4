/* What image.c, the file formats and the colour conversion share; nobody else includes it.
 * A format reads into an empty picture and may leave it half filled on failure: image_read frees it. */
#ifndef PAREIDOLIA_IMAGE_CODEC_H
#define PAREIDOLIA_IMAGE_CODEC_H

#include "image.h"

#include <stdbool.h>
#include <stdio.h>

/* The formats. file is at its first byte, path is for the error. All return 0, or -1 with an error that names
 * path; whoever opened file closes it. */
int image_png_read(FILE *file, const char *path, struct image *out);
int image_png_write(FILE *file, const char *path, const struct image *picture, const struct image_format *format);
int image_png_read_comment(FILE *file, const char *path, char **out);
int image_jpeg_read(FILE *file, const char *path, struct image *out);
int image_jpeg_write(FILE *file, const char *path, const struct image *picture, const struct image_format *format);
int image_jpeg_read_comment(FILE *file, const char *path, char **out);

/* Refuses a size that no JPEG file has. Returns 0, or -1 with an error that names path, size and limit. */
int image_jpeg_check_size(const char *path, int64_t width, int64_t height);

/* Refuses a size above the limits of image.h. Returns 0, or -1 with an error that names path, size and limit. */
int image_check_size(const char *path, int64_t width, int64_t height);

/* Sets the size of an empty picture and allocates its pixels and, where asked for, its alpha. Returns 0, or -1
 * with an error that names path and the bytes that are wanted or the limit of the size. */
int image_allocate(struct image *out, const char *path, int64_t width, int64_t height, bool alpha);

/* One row of RGB (channels 3) or RGBA (channels 4) samples to floats; 16-bit samples are in the machine's order.
 * Alpha is stored where channels is 4 (8-bit a as a * 257). */
void image_row_load8(const uint8_t *samples, int channels, size_t pixels, float *x, uint16_t *alpha);
void image_row_load16(const uint16_t *samples, int channels, size_t pixels, float *x, uint16_t *alpha);

/* One row of floats to RGB samples, or to RGBA where alpha is not NULL, as image_write says. */
void image_row_store8(const float *x, const uint16_t *alpha, size_t pixels, uint8_t *samples);
void image_row_store16(const float *x, const uint16_t *alpha, size_t pixels, uint16_t *samples);

/* What an ICC profile describes. COLOR_OTHER: something else, or not a profile at all. */
enum color_space { COLOR_OTHER, COLOR_GREY, COLOR_RGB, COLOR_CMYK };

enum color_space color_space_of(const unsigned char *icc, size_t icc_bytes);

/* A conversion of samples to sRGB. */
struct color_conversion;

/* Opens the conversion from a grey or CMYK profile, for pixels of the given number of interleaved channels of 1 or
 * 2 bytes each. Of grey the first channel counts and the others are skipped; CMYK has 4, inverted as in JPEG files
 * (0 is full ink). NULL, without an error, where the profile cannot be used for that. */
struct color_conversion *color_open(const unsigned char *icc, size_t icc_bytes, int channels, int sample_bytes);

/* Converts pixels to floats in [-1, 1]. */
void color_convert(const struct color_conversion *conversion, const void *samples, size_t pixels, float *x);

/* NULL is accepted. */
void color_close(struct color_conversion *conversion);

#endif
