/* PNG files: all depths and colour types to floats, floats to RGB or RGBA; the only file that knows libpng.
 * gAMA, cHRM and eXIf are not applied, as in most programs; text and other chunks are not carried over. The one
 * text that is written and read is the comment. */
#include "image_codec.h"

#include "error.h"

#include <assert.h>
#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

/* Largest memory that one ancillary chunk (in practice the ICC profile) may take when it is decompressed. */
#define CHUNK_MAX_BYTES (16u << 20)
_Static_assert(IMAGE_MAX_COMMENT + 1024 < CHUNK_MAX_BYTES, "a comment that is written can be read");

/* Among how many texts the comment is looked for: libpng keeps them all, each of up to that memory. */
#define TEXTS_MOST 32

/* The keyword of the comment's chunk; one of those that the PNG specification lists. */
#define COMMENT_KEY "Comment"

/* A file being read or written. libpng leaves a call by longjmp to the setjmp in `guarded`; what must be freed
 * afterwards is here and not in local variables, which would be indeterminate. */
struct png_job {
    FILE *file;
    const char *path;
    const char *failing; /* what an error of libpng's means, for the sentence */
    png_structp png;
    png_infop info;
    unsigned char *samples; /* one row, or all of them of an interlaced picture; owned */
    struct color_conversion *to_srgb;
    struct image *out;                 /* when reading */
    char **comment;                    /* when reading that */
    const struct image *picture;       /* when writing */
    const struct image_format *format; /* when writing */
};

static void on_error(png_structp png, png_const_charp message)
{
    const struct png_job *job = png_get_error_ptr(png);

    error_set("%s: %s: %s", job->path, job->failing, message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    /* Warnings are about chunks that are left out; the pixels are whole. */
    (void)png;
    (void)message;
}

static void read_bytes(png_structp png, png_bytep bytes, size_t count)
{
    const struct png_job *job = png_get_io_ptr(png);

    if (fread(bytes, 1, count, job->file) == count)
        return;
    if (ferror(job->file))
        error_set("%s: cannot be read: %s", job->path, strerror(errno));
    else
        error_set("%s: the PNG file is cut off: it ends before the picture does", job->path);
    png_longjmp(png, 1);
}

static void write_bytes(png_structp png, png_bytep bytes, size_t count)
{
    const struct png_job *job = png_get_io_ptr(png);

    if (fwrite(bytes, 1, count, job->file) == count)
        return;
    error_set("%s: cannot be written: %s", job->path, strerror(errno));
    png_longjmp(png, 1);
}

static void flush_bytes(png_structp png)
{
    (void)png; /* output_commit flushes */
}

/* Runs one of the functions below so that an error of libpng's returns here. Has no local variable that a longjmp
 * could spoil. */
static int guarded(struct png_job *job, int (*work)(struct png_job *job))
{
    if (setjmp(png_jmpbuf(job->png)))
        return -1;
    return work(job);
}

/* 16-bit samples are big-endian in the file. */
static void use_machine_order(png_structp png)
{
    const uint16_t one = 1;
    unsigned char first;

    memcpy(&first, &one, 1);
    if (first == 1)
        png_set_swap(png);
}

/* Keeps an RGB profile; opens the conversion to sRGB from a grey one, which the RGB pixels no longer match. */
static int read_profile(struct png_job *job, int channels)
{
    struct image *out = job->out;
    png_charp name;
    png_bytep icc;
    png_uint_32 icc_bytes;
    int compression;

    if (!png_get_iCCP(job->png, job->info, &name, &compression, &icc, &icc_bytes))
        return 0;
    switch (color_space_of(icc, icc_bytes)) {
    case COLOR_GREY:
        job->to_srgb = color_open(icc, icc_bytes, channels, out->bits / 8);
        return 0;
    case COLOR_RGB:
        out->icc = malloc(icc_bytes);
        if (!out->icc)
            return error_set("%s: not enough memory for its colour profile (%zu bytes)", job->path,
                             (size_t)icc_bytes);
        memcpy(out->icc, icc, icc_bytes);
        out->icc_bytes = icc_bytes;
        return 0;
    default: /* libpng accepts no other */
        return 0;
    }
}

static void load_row(const struct png_job *job, const unsigned char *samples, int channels, int64_t y)
{
    const struct image *out = job->out;
    size_t width = (size_t)out->width;
    size_t start = (size_t)y * width;
    float *x = out->pixels + 3 * start;
    uint16_t *alpha = out->alpha ? out->alpha + start : NULL;

    if (out->bits == 16)
        image_row_load16((const uint16_t *)(const void *)samples, channels, width, x, alpha);
    else
        image_row_load8(samples, channels, width, x, alpha);
    if (job->to_srgb)
        color_convert(job->to_srgb, samples, width, x);
}

/* Reads up to the pixels. */
static void read_info(struct png_job *job)
{
    png_structp png = job->png;

    png_set_read_fn(png, job, read_bytes);
    /* image_check_size says it better than libpng does. */
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_chunk_malloc_max(png, CHUNK_MAX_BYTES);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_read_info(png, job->info);
}

static int read_picture(struct png_job *job)
{
    png_structp png = job->png;
    png_infop info = job->info;

    /* Texts, which may be large when they are decompressed, and many, are passed over. */
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, (png_const_bytep) "tEXt\0zTXt\0iTXt", 3);
    read_info(job);

    png_set_expand(png); /* palette to RGB, 1, 2 and 4 bits to 8, tRNS to alpha */
    png_set_gray_to_rgb(png);
    use_machine_order(png);
    bool interlaced = png_set_interlace_handling(png) > 1;
    int64_t width = png_get_image_width(png, info);
    int64_t height = png_get_image_height(png, info);
    if (image_check_size(job->path, width, height))
        return -1;
    png_read_update_info(png, info); /* allocates rows */
    int channels = png_get_channels(png, info);
    if (image_allocate(job->out, job->path, width, height, channels == 4))
        return -1;
    job->out->bits = png_get_bit_depth(png, info);
    if (read_profile(job, channels))
        return -1;

    size_t row_bytes = png_get_rowbytes(png, info);
    size_t bytes = interlaced ? row_bytes * (size_t)height : row_bytes;
    job->samples = malloc(bytes);
    if (!job->samples)
        return error_set("%s: not enough memory to decode it (%zu bytes); scale it down%s", job->path, bytes,
                         interlaced ? " or save it without interlacing" : "");
    for (int pass = 0, passes = interlaced ? PNG_INTERLACE_ADAM7_PASSES : 1; pass < passes; pass++)
        for (int64_t y = 0; y < height; y++) {
            unsigned char *row = interlaced ? job->samples + (size_t)y * row_bytes : job->samples;
            png_read_row(png, row, NULL);
            if (pass == passes - 1)
                load_row(job, row, channels, y);
        }
    png_read_end(png, NULL); /* so that a cut or damaged end is noticed */
    return 0;
}

/* tEXt and zTXt are Latin-1, whose characters are Unicode's first 256. NULL where memory is short. */
static char *text_from_latin1(const char *text)
{
    char *utf8 = malloc(2 * strlen(text) + 1);
    char *end = utf8;

    if (!utf8)
        return NULL;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x80) {
            *end++ = (char)c;
        } else {
            *end++ = (char)(0xc0 | c >> 6);
            *end++ = (char)(0x80 | (c & 0x3f));
        }
    }
    *end = '\0';
    return utf8;
}

/* The first comment among the texts that were read so far; sets nothing where there is none. */
static int find_comment(struct png_job *job)
{
    png_textp text;
    int texts;

    png_get_text(job->png, job->info, &text, &texts);
    for (int i = 0; i < texts; i++) {
        if (strcmp(text[i].key, COMMENT_KEY))
            continue;
        bool latin1 =
            text[i].compression == PNG_TEXT_COMPRESSION_NONE || text[i].compression == PNG_TEXT_COMPRESSION_zTXt;
        *job->comment = latin1 ? text_from_latin1(text[i].text) : strdup(text[i].text);
        return *job->comment ? 0 : error_set("%s: not enough memory for its comment", job->path);
    }
    return 0;
}

/* Where there is no comment before the pixels, one may stand behind them. png_read_end passes over rows that were
 * not asked for (it calls them benign errors), but only once the decoding of the first could begin. */
static int read_comment(struct png_job *job)
{
    png_structp png = job->png;

    png_set_benign_errors(png, 1);
    png_set_chunk_cache_max(png, TEXTS_MOST + 2); /* libpng keeps one less, and counts from 1 */
    read_info(job);
    if (find_comment(job))
        return -1;
    if (*job->comment)
        return 0;
    if (image_check_size(job->path, png_get_image_width(png, job->info), png_get_image_height(png, job->info)))
        return -1;
    png_read_update_info(png, job->info);
    png_read_end(png, job->info);
    return find_comment(job);
}

static int run_reading(struct png_job *job, int (*work)(struct png_job *job))
{
    int status = -1;

    job->failing = "is not a valid PNG file";
    job->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, on_error, on_warning);
    if (job->png)
        job->info = png_create_info_struct(job->png);
    if (job->info)
        status = guarded(job, work);
    else
        error_set("%s: libpng cannot be started: out of memory or of another version", job->path);
    png_destroy_read_struct(&job->png, &job->info, NULL);
    color_close(job->to_srgb);
    free(job->samples);
    return status;
}

int image_png_read(FILE *file, const char *path, struct image *out)
{
    struct png_job job = {.file = file, .path = path, .out = out};

    return run_reading(&job, read_picture);
}

int image_png_read_comment(FILE *file, const char *path, char **out)
{
    struct png_job job = {.file = file, .path = path, .comment = out};

    return run_reading(&job, read_comment);
}

/* As iTXt, which is UTF-8: paths and names are in a comment, and tEXt has Latin-1 only. Not compressed, so that any
 * tool shows it. */
static void set_comment(png_structp png, png_infop info, const char *comment)
{
    /* libpng copies both and changes neither. */
    png_text text = {.compression = PNG_ITXT_COMPRESSION_NONE,
                     .key = (png_charp)(uintptr_t)COMMENT_KEY,
                     .text = (png_charp)(uintptr_t)comment};

    png_set_text(png, info, &text, 1);
}

static int write_picture(struct png_job *job)
{
    const struct image *picture = job->picture;
    png_structp png = job->png;
    png_infop info = job->info;
    size_t width = (size_t)picture->width;
    int bits = job->format->bits ? job->format->bits : 8;
    int color_type = picture->alpha ? PNG_COLOR_TYPE_RGB_ALPHA : PNG_COLOR_TYPE_RGB;

    assert(bits == 8 || bits == 16);
    png_set_write_fn(png, job, write_bytes, flush_bytes);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_benign_errors(png, 1); /* a profile that libpng does not accept is left out, the picture is written */
    png_set_IHDR(png, info, (png_uint_32)picture->width, (png_uint_32)picture->height, bits, color_type,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (picture->icc)
        png_set_iCCP(png, info, "ICC profile", PNG_COMPRESSION_TYPE_BASE, picture->icc,
                     (png_uint_32)picture->icc_bytes);
    if (job->format->comment)
        set_comment(png, info, job->format->comment);
    png_write_info(png, info);
    use_machine_order(png);

    size_t row_bytes = png_get_rowbytes(png, info);
    job->samples = malloc(row_bytes);
    if (!job->samples)
        return error_set("%s: not enough memory to encode it (%zu bytes)", job->path, row_bytes);
    for (size_t y = 0; y < (size_t)picture->height; y++) {
        const float *x = picture->pixels + 3 * y * width;
        const uint16_t *alpha = picture->alpha ? picture->alpha + y * width : NULL;
        if (bits == 16)
            image_row_store16(x, alpha, width, (uint16_t *)(void *)job->samples);
        else
            image_row_store8(x, alpha, width, job->samples);
        png_write_row(png, job->samples);
    }
    png_write_end(png, NULL);
    return 0;
}

int image_png_write(FILE *file, const char *path, const struct image *picture, const struct image_format *format)
{
    struct png_job job = {
        .file = file, .path = path, .failing = "cannot be written as PNG", .picture = picture, .format = format};
    size_t comment_bytes = format->comment ? strlen(format->comment) : 0;
    int status = -1;

    if (comment_bytes > IMAGE_MAX_COMMENT)
        return error_set("%s: a comment of %zu bytes; at most %zu are written", path, comment_bytes,
                         IMAGE_MAX_COMMENT);
    job.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning);
    if (job.png)
        job.info = png_create_info_struct(job.png);
    if (job.info)
        status = guarded(&job, write_picture);
    else
        error_set("%s: libpng cannot be started: out of memory or of another version", path);
    png_destroy_write_struct(&job.png, &job.info);
    free(job.samples);
    return status;
}
