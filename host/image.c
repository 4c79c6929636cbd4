/* Pictures: which format a file has, the memory of a picture, and samples to floats and back.
 * The formats themselves are in image_png.c and image_jpeg.c; the file that appears whole is output.c's. */
#include "image.h"

#include "error.h"
#include "image_codec.h"
#include "output.h"
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(size_t) >= 8, "IMAGE_MAX_PIXELS pixels of 3 floats must be countable in bytes");

enum kind { KIND_UNKNOWN, KIND_PNG, KIND_JPEG };

/* Opens a regular file for reading; NULL with an error that names it. */
static FILE *file_open(const char *path)
{
    struct stat status;
    /* O_NONBLOCK: a pipe without a writer shall be refused below, not waited for. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (descriptor < 0) {
        error_set("%s: cannot be opened: %s", path, strerror(errno));
        return NULL;
    }
    if (fstat(descriptor, &status)) {
        error_set("%s: cannot be examined: %s", path, strerror(errno));
        goto fail;
    }
    if (S_ISDIR(status.st_mode)) {
        error_set("%s: is a directory, not a picture", path);
        goto fail;
    }
    if (!S_ISREG(status.st_mode)) {
        error_set("%s: is not a regular file; save the picture to one first", path);
        goto fail;
    }
    FILE *file = fdopen(descriptor, "rb");
    if (!file) {
        error_set("%s: cannot be opened: %s", path, strerror(errno));
        goto fail;
    }
    return file;

fail:
    close(descriptor);
    return NULL;
}

/* The format that the first bytes say; leaves file at its start. KIND_UNKNOWN comes with an error. */
static enum kind kind_of_content(FILE *file, const char *path)
{
    static const unsigned char png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const unsigned char jpeg[] = {0xff, 0xd8, 0xff};
    unsigned char start[sizeof png];
    size_t count = fread(start, 1, sizeof start, file);

    if (ferror(file) || fseek(file, 0, SEEK_SET)) {
        error_set("%s: cannot be read: %s", path, strerror(errno));
        return KIND_UNKNOWN;
    }
    if (count >= sizeof png && memcmp(start, png, sizeof png) == 0)
        return KIND_PNG;
    if (count >= sizeof jpeg && memcmp(start, jpeg, sizeof jpeg) == 0)
        return KIND_JPEG;
    if (count == 0)
        error_set("%s: the file is empty", path);
    else
        error_set("%s: neither a PNG nor a JPEG picture; only these are read, convert it to one of them", path);
    return KIND_UNKNOWN;
}

bool image_name_is_jpeg(const char *path)
{
    const char *dot = strrchr(path_name(path), '.');

    return dot && (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

/* The format that path's extension says. KIND_UNKNOWN comes with an error. */
static enum kind kind_of_name(const char *path)
{
    const char *dot = strrchr(path_name(path), '.');

    if (dot && !strcasecmp(dot, ".png"))
        return KIND_PNG;
    if (image_name_is_jpeg(path))
        return KIND_JPEG;
    error_set("%s: cannot tell the format to write; end the name in .png, .jpg or .jpeg", path);
    return KIND_UNKNOWN;
}

/* Opens the picture at path and says which format its content has. NULL with an error. */
static FILE *picture_open(const char *path, enum kind *kind)
{
    FILE *file = file_open(path);

    if (!file)
        return NULL;
    *kind = kind_of_content(file, path);
    if (*kind != KIND_UNKNOWN)
        return file;
    fclose(file);
    return NULL;
}

int image_read(const char *path, struct image *out)
{
    enum kind kind;

    *out = (struct image){0};
    FILE *file = picture_open(path, &kind);
    if (!file)
        return -1;
    int status = kind == KIND_PNG ? image_png_read(file, path, out) : image_jpeg_read(file, path, out);
    fclose(file);
    if (status)
        image_free(out);
    return status;
}

int image_read_comment(const char *path, char **out)
{
    enum kind kind;

    *out = NULL;
    FILE *file = picture_open(path, &kind);
    if (!file)
        return -1;
    int status =
        kind == KIND_PNG ? image_png_read_comment(file, path, out) : image_jpeg_read_comment(file, path, out);
    fclose(file);
    return status;
}

int image_check_output(const char *path)
{
    struct output trial;

    if (kind_of_name(path) == KIND_UNKNOWN || output_open(&trial, path))
        return -1;
    output_abandon(&trial);
    return 0;
}

int image_check_output_size(const char *path, int64_t width, int64_t height)
{
    return image_name_is_jpeg(path) ? image_jpeg_check_size(path, width, height) : 0;
}

int image_write(const char *path, const struct image *picture, const struct image_format *format)
{
    struct output out;
    enum kind kind = kind_of_name(path);

    if (kind == KIND_UNKNOWN || output_open(&out, path))
        return -1;
    if (kind == KIND_PNG ? image_png_write(out.file, path, picture, format)
                         : image_jpeg_write(out.file, path, picture, format)) {
        output_abandon(&out);
        return -1;
    }
    return output_commit(&out);
}

void image_free(struct image *picture)
{
    if (!picture)
        return;
    free(picture->pixels);
    free(picture->alpha);
    free(picture->icc);
    *picture = (struct image){0};
}

int image_check_size(const char *path, int64_t width, int64_t height)
{
    if (width <= IMAGE_MAX_SIDE && height <= IMAGE_MAX_SIDE && width * height <= IMAGE_MAX_PIXELS)
        return 0;
    return error_set("%s: %" PRId64 " x %" PRId64 " pixels; at most %d a side and %" PRId64
                     " in all are read, scale it down first",
                     path, width, height, IMAGE_MAX_SIDE, IMAGE_MAX_PIXELS);
}

int image_allocate(struct image *out, const char *path, int64_t width, int64_t height, bool alpha)
{
    if (image_check_size(path, width, height))
        return -1;

    size_t count = (size_t)(width * height);
    size_t pixel_bytes = count * 3 * sizeof *out->pixels;
    size_t alpha_bytes = alpha ? count * sizeof *out->alpha : 0;
    out->pixels = malloc(pixel_bytes);
    if (alpha)
        out->alpha = malloc(alpha_bytes);
    if (!out->pixels || (alpha && !out->alpha))
        return error_set("%s: not enough memory for its %" PRId64 " x %" PRId64
                         " pixels (%zu bytes); scale it down first",
                         path, width, height, pixel_bytes + alpha_bytes);
    out->width = width;
    out->height = height;
    return 0;
}

void image_row_load8(const uint8_t *samples, int channels, size_t pixels, float *x, uint16_t *alpha)
{
    for (size_t i = 0; i < pixels; i++, samples += channels) {
        for (size_t c = 0; c < 3; c++)
            x[3 * i + c] = (float)samples[c] / 127.5f - 1.0f;
        if (channels == 4)
            alpha[i] = (uint16_t)(samples[3] * 257);
    }
}

void image_row_load16(const uint16_t *samples, int channels, size_t pixels, float *x, uint16_t *alpha)
{
    for (size_t i = 0; i < pixels; i++, samples += channels) {
        for (size_t c = 0; c < 3; c++)
            x[3 * i + c] = (float)samples[c] / 32767.5f - 1.0f;
        if (channels == 4)
            alpha[i] = samples[3];
    }
}

/* numpy's clip((x.astype(float64) / 2 + .5) * max, 0, max), to be truncated by the caller; a NaN becomes 0.
 * Truncation is Keras's: a float32 x that was made from v and lies a rounding below it comes back as v - 1, which
 * happens to 63 of the 256 8-bit values. */
static double sample_value(float x, double max)
{
    double v = ((double)x / 2 + 0.5) * max;

    if (!(v > 0))
        return 0;
    return v < max ? v : max;
}

void image_row_store8(const float *x, const uint16_t *alpha, size_t pixels, uint8_t *samples)
{
    for (size_t i = 0; i < pixels; i++) {
        for (size_t c = 0; c < 3; c++)
            *samples++ = (uint8_t)sample_value(x[3 * i + c], 255);
        if (alpha)
            *samples++ = (uint8_t)((alpha[i] + 128) / 257);
    }
}

void image_row_store16(const float *x, const uint16_t *alpha, size_t pixels, uint16_t *samples)
{
    for (size_t i = 0; i < pixels; i++) {
        for (size_t c = 0; c < 3; c++)
            *samples++ = (uint16_t)sample_value(x[3 * i + c], 65535);
        if (alpha)
            *samples++ = alpha[i];
    }
}
