/* PNG and JPEG files of every kind that libpng and libjpeg can write, for tests of the reader.
 * No errors are handled: a library that cannot do this ends the program with its own message. */
#ifndef PAREIDOLIA_IMAGE_FILES_H
#define PAREIDOLIA_IMAGE_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

/* What a PNG file of the test holds; zeroed members are left out. */
struct png_source {
    int width, height, bits, color_type;
    bool interlaced;
    const void *samples; /* packed as in the file: 16 bits big-endian */
    const png_color *palette;
    int colors;
    const png_byte *palette_alpha;
    int alphas;
    const png_color_16 *transparent;
    const void *icc;
    size_t icc_bytes;
};

static inline void png_make(const char *path, const struct png_source *source)
{
    static const int channels[] = {1, 0, 3, 1, 2, 0, 4}; /* by colour type */
    FILE *file = fopen(path, "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    size_t row_bytes = ((size_t)(source->width * source->bits * channels[source->color_type]) + 7) / 8;

    png_init_io(png, file);
    png_set_IHDR(png, info, (png_uint_32)source->width, (png_uint_32)source->height, source->bits,
                 source->color_type, source->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    if (source->palette)
        png_set_PLTE(png, info, source->palette, source->colors);
    if (source->palette_alpha || source->transparent)
        png_set_tRNS(png, info, source->palette_alpha, source->alphas, source->transparent);
    if (source->icc)
        png_set_iCCP(png, info, "test", 0, source->icc, (png_uint_32)source->icc_bytes);
    png_write_info(png, info);
    for (int pass = 0, passes = png_set_interlace_handling(png); pass < passes; pass++)
        for (int y = 0; y < source->height; y++)
            png_write_row(png, (png_const_bytep)source->samples + (size_t)y * row_bytes);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    fclose(file);
}

/* What a JPEG file of the test holds. */
struct jpeg_source {
    int width, height;
    J_COLOR_SPACE from, stored; /* stored zero: as libjpeg thinks best */
    bool progressive;
    const uint8_t *samples;
    int orientation; /* 0: no EXIF */
    const void *icc;
    size_t icc_bytes;
    const jpeg_scan_info *scans; /* NULL: one scan, or the usual progressive ones */
    int scan_count;
};

static inline void jpeg_make(const char *path, const struct jpeg_source *source)
{
    /* "Exif", TIFF header, one entry: orientation, a short, one of it, its value, no further entries */
    unsigned char exif[] = "Exif\0\0II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0?\0\0\0\0\0\0";
    int channels = source->from == JCS_GRAYSCALE ? 1 : source->from == JCS_CMYK ? 4 : 3;
    struct jpeg_compress_struct jpeg = {0};
    struct jpeg_error_mgr errors;
    FILE *file = fopen(path, "wb");

    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, file);
    jpeg.image_width = (JDIMENSION)source->width;
    jpeg.image_height = (JDIMENSION)source->height;
    jpeg.input_components = channels;
    jpeg.in_color_space = source->from;
    jpeg_set_defaults(&jpeg);
    if (source->stored)
        jpeg_set_colorspace(&jpeg, source->stored);
    jpeg_set_quality(&jpeg, 90, TRUE);
    if (source->progressive)
        jpeg_simple_progression(&jpeg);
    if (source->scans) {
        jpeg.scan_info = source->scans;
        jpeg.num_scans = source->scan_count;
    }
    jpeg_start_compress(&jpeg, TRUE);
    if (source->orientation) {
        exif[24] = (unsigned char)source->orientation;
        jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif, sizeof exif - 1);
    }
    if (source->icc)
        jpeg_write_icc_profile(&jpeg, source->icc, (unsigned)source->icc_bytes);
    for (int y = 0; y < source->height; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(source->samples + y * source->width * channels);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    fclose(file);
}

/* What libjpeg itself decodes, into samples. */
static inline void jpeg_decode(const char *path, J_COLOR_SPACE space, int channels, uint8_t *samples)
{
    struct jpeg_decompress_struct jpeg = {0};
    struct jpeg_error_mgr errors;
    FILE *file = fopen(path, "rb");

    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&jpeg);
    jpeg_stdio_src(&jpeg, file);
    jpeg_read_header(&jpeg, TRUE);
    jpeg.out_color_space = space;
    jpeg_start_decompress(&jpeg);
    while (jpeg.output_scanline < jpeg.output_height) {
        JSAMPROW row = samples + jpeg.output_scanline * jpeg.output_width * (JDIMENSION)channels;
        jpeg_read_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_decompress(&jpeg);
    jpeg_destroy_decompress(&jpeg);
    fclose(file);
}

#endif
