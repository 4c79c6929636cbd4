/* Pictures in memory and on disk. Reading decodes PNG and JPEG row by row into floats; writing makes a file
 * that appears whole or not at all. What the program does not change (alpha, colour profile) is carried through. */
#ifndef PAREIDOLIA_IMAGE_H
#define PAREIDOLIA_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Largest width or height and largest number of pixels that are read. A side above IMAGE_MAX_SIDE or a picture
 * above IMAGE_MAX_PIXELS is refused before any memory is taken. */
#define IMAGE_MAX_SIDE 1000000
#define IMAGE_MAX_PIXELS ((int64_t)2000000000)

/* Bytes of the longest comment of a PNG file. */
#define IMAGE_MAX_COMMENT ((size_t)4 << 20)

/* A picture of height x width x 3 floats, RGB, rows from the top, no padding, values nominally in [-1, 1]
 * (v / 127.5 - 1 for 8 bits, v / 32767.5 - 1 for 16; computed in float32 as Keras does). A zeroed struct is
 * empty and safe to free. */
struct image {
    int64_t width, height; /* pixels */
    float *pixels;         /* height * width * 3, owned */
    uint16_t *alpha;       /* height * width, 0..65535, owned; NULL where the file has no transparency */
    unsigned char *icc;    /* ICC profile that describes the RGB values, owned; NULL: sRGB is assumed */
    size_t icc_bytes;
    int bits; /* 8 or 16: bits a sample in the file that was read; give it to image_write to keep the depth */
};

/* How a picture is written. Zeroed: PNG depth 8, JPEG quality 95, no comment. */
struct image_format {
    int bits;            /* PNG: 8 or 16; 0 means 8. JPEG is always 8 */
    int quality;         /* JPEG: 1..100; 0 means 95 (4:4:4 chroma) */
    const char *comment; /* text for people and for image_read_comment, UTF-8; NULL: none */
};

/* Reads the PNG (1 to 16 bits, grey, palette, alpha) or JPEG (grey, YCbCr, CMYK; EXIF orientation applied) file
 * at path; the content decides, not the extension. Grey becomes RGB; CMYK and grey profiles are converted to sRGB
 * and dropped, an RGB profile is kept in icc. Returns 0, or -1 with an error that names the file; out is then
 * empty. */
int image_read(const char *path, struct image *out);

/* Whether path ends in .jpg or .jpeg, in any case. */
bool image_name_is_jpeg(const char *path);

/* 0 when path's extension says .png, .jpg or .jpeg (any case) and its directory exists and can be written to
 * (checked before hours of work), else -1 with an error that names what is wrong. Creates nothing that stays. */
int image_check_output(const char *path);

/* 0 when a picture of that size can be written in the format that path's extension says, else -1 with an error that
 * names path and the limit. */
int image_check_output_size(const char *path, int64_t width, int64_t height);

/* Writes pixels by path's extension: v = (x / 2 + 0.5) * max in double precision, clipped to 0..max, truncated (max
 * 255 or 65535), as Keras does; a NaN becomes 0. Alpha goes to PNG only (JPEG has none: it is left out), the ICC
 * profile and the comment to both. A JPEG file has at most 65500 pixels a side and 65533 bytes of comment, a PNG
 * file IMAGE_MAX_COMMENT. The bytes go to a new file beside path, which is renamed when complete and synced; on any
 * failure path is as it was before and nothing is left beside it. Returns 0, or -1 with an error that names the
 * file. */
int image_write(const char *path, const struct image *picture, const struct image_format *format);

/* The comment of the picture at path, without decoding pixels, which may be damaged: PNG's first text chunk with
 * the keyword "Comment", before or behind the pixels, among the first 32 texts; JPEG's first comment before the
 * pixels, up to its first zero byte. PNG text comes as UTF-8; of JPEG text nobody but its writer knows what it is.
 * *out is to be freed; NULL where there is none. Returns 0, or -1 with an error that names the file; *out is then
 * NULL. */
int image_read_comment(const char *path, char **out);

/* Frees what the picture owns and zeroes it. */
void image_free(struct image *picture);

#endif
