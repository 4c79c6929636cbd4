/* Pictures on disk: exact values, orientation, colour profiles, damaged files, outputs that fail half way.
 * The files are made here with libpng and libjpeg directly, so that the reader is not tested by its own writer. */
#include "image.h"

#include "error.h"
#include "tests/check.h"
#include "tests/unit/directory.h"
#include "tests/unit/image_files.h"

#include <errno.h>
#include <lcms2.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- expectations ---- */

static float from8(int v)
{
    return (float)v / 127.5f - 1.0f;
}

static float from16(int v)
{
    return (float)v / 32767.5f - 1.0f;
}

/* Reads path; an empty picture after a failure, which is counted. */
static struct image read_well(const char *path)
{
    struct image picture;
    int status = image_read(path, &picture);

    CHECK(status == 0, "%s", error_message());
    return picture;
}

static void expect_pixels(const char *what, const struct image *picture, int width, int height, const float *rgb)
{
    CHECK(picture->width == width && picture->height == height, "%s: %d x %d instead of %d x %d", what,
          (int)picture->width, (int)picture->height, width, height);
    if (picture->width != width || picture->height != height)
        return;
    for (int i = 0; i < width * height * 3; i++)
        if (picture->pixels[i] != rgb[i]) {
            CHECK(picture->pixels[i] == rgb[i], "%s: float %d is %.9g instead of %.9g", what, i,
                  (double)picture->pixels[i], (double)rgb[i]);
            return;
        }
}

static void expect_alpha(const char *what, const struct image *picture, const uint16_t *alpha)
{
    CHECK(!picture->alpha == !alpha, "%s: alpha %s", what, alpha ? "missing" : "where none should be");
    for (int64_t i = 0; alpha && picture->alpha && i < picture->width * picture->height; i++)
        CHECK(picture->alpha[i] == alpha[i], "%s: alpha %d is %d instead of %d", what, (int)i, picture->alpha[i],
              alpha[i]);
}

/* Reads what png_make makes and compares; rgb and alpha hold width * height pixels. */
static void expect_png(const char *what, const struct png_source *source, const float *rgb, const uint16_t *alpha)
{
    struct png_source interlaced = *source;

    interlaced.interlaced = true;
    for (int i = 0; i < 2; i++) {
        png_make(in_directory("source.png"), i ? &interlaced : source);
        struct image picture = read_well(in_directory("source.png"));
        expect_pixels(what, &picture, source->width, source->height, rgb);
        expect_alpha(what, &picture, alpha);
        CHECK(picture.bits == (source->bits == 16 ? 16 : 8), "%s: %d bits", what, picture.bits);
        CHECK(!picture.icc, "%s: a profile of %zu bytes", what, picture.icc_bytes);
        image_free(&picture);
    }
    remove(in_directory("source.png"));
}

/* A failed read: the sentence holds the path and the given words, and the picture is empty. */
static void expect_refused(const char *path, const char *words)
{
    static const struct image empty;
    struct image picture;
    int status = image_read(path, &picture);

    CHECK(status == -1, "%s was read", path);
    CHECK(strstr(error_message(), path) && strstr(error_message(), words), "'%s' lacks '%s'", error_message(),
          words);
    CHECK(!memcmp(&picture, &empty, sizeof empty), "%s: the picture is not empty", path);
    image_free(&picture);
}

/* ---- PNG ---- */

static void test_png_grey(void)
{
    static const uint8_t packed[][4] = {{0xa0}, {0x1b}, {0x0f, 0x70}, {0, 1, 128, 255}};
    static const int values[][4] = {{255, 0, 255, 0}, {0, 85, 170, 255}, {0, 255, 119, 0}, {0, 1, 128, 255}};
    static const uint8_t words[] = {0x00, 0x01, 0xff, 0xff, 0x12, 0x34, 0x00, 0x00};
    static const int word_values[] = {1, 65535, 0x1234, 0};
    float rgb[12];

    for (int depth = 0; depth < 4; depth++) {
        struct png_source source = {.width = 4, .height = 1, .bits = 1 << depth, .samples = packed[depth]};
        for (int i = 0; i < 12; i++)
            rgb[i] = from8(values[depth][i / 3]);
        expect_png("grey", &source, rgb, NULL);
    }
    for (int i = 0; i < 12; i++)
        rgb[i] = from16(word_values[i / 3]);
    struct png_source source = {.width = 2, .height = 2, .bits = 16, .samples = words};
    expect_png("grey of 16 bits", &source, rgb, NULL);
    source.transparent = &(png_color_16){.gray = 0x1234};
    expect_png("grey of 16 bits with tRNS", &source, rgb, (uint16_t[]){65535, 65535, 0, 65535});
}

static void test_png_color(void)
{
    enum { WIDTH = 9, HEIGHT = 11, SAMPLES = WIDTH * HEIGHT * 4 };
    static const png_color palette[] = {{1, 2, 3}, {200, 100, 50}, {255, 255, 0}, {0, 0, 0}};
    static const png_byte palette_alpha[] = {0, 100};
    uint8_t samples[2 * SAMPLES];
    float rgb[WIDTH * HEIGHT * 3];
    uint16_t alpha[WIDTH * HEIGHT];
    struct png_source source = {.width = WIDTH, .height = HEIGHT, .samples = samples};

    for (int i = 0; i < 2 * SAMPLES; i++)
        samples[i] = (uint8_t)(i * 89 + i / 256);

    source.bits = 8;
    source.color_type = PNG_COLOR_TYPE_RGB;
    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = from8(samples[3 * i + c]);
        alpha[i] = i == 5 ? 0 : 65535;
    }
    expect_png("RGB", &source, rgb, NULL);
    source.transparent = &(png_color_16){.red = samples[15], .green = samples[16], .blue = samples[17]};
    for (int i = 6; i < WIDTH * HEIGHT; i++)
        alpha[i] = memcmp(samples + 3 * i, samples + 15, 3) ? 65535 : 0;
    expect_png("RGB with tRNS", &source, rgb, alpha);
    source.transparent = NULL;

    source.color_type = PNG_COLOR_TYPE_RGB_ALPHA;
    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = from8(samples[4 * i + c]);
        alpha[i] = (uint16_t)(samples[4 * i + 3] * 257);
    }
    expect_png("RGBA", &source, rgb, alpha);

    source.bits = 16;
    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = from16(samples[8 * i + 2 * c] << 8 | samples[8 * i + 2 * c + 1]);
        alpha[i] = (uint16_t)(samples[8 * i + 6] << 8 | samples[8 * i + 7]);
    }
    expect_png("RGBA of 16 bits", &source, rgb, alpha);

    source.bits = 8;
    source.color_type = PNG_COLOR_TYPE_GRAY_ALPHA;
    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = from8(samples[2 * i]);
        alpha[i] = (uint16_t)(samples[2 * i + 1] * 257);
    }
    expect_png("grey with alpha", &source, rgb, alpha);

    uint8_t indices[] = {0x1b, 0xb1};
    source = (struct png_source){.width = 4,
                                 .height = 2,
                                 .bits = 2,
                                 .color_type = PNG_COLOR_TYPE_PALETTE,
                                 .samples = indices,
                                 .palette = palette,
                                 .colors = 4};
    for (int i = 0; i < 8; i++) {
        const png_color *color = &palette[indices[i / 4] >> (6 - 2 * (i % 4)) & 3];
        rgb[3 * i] = from8(color->red);
        rgb[3 * i + 1] = from8(color->green);
        rgb[3 * i + 2] = from8(color->blue);
        alpha[i] = color == palette ? 0 : color == palette + 1 ? 100 * 257 : 65535;
    }
    expect_png("palette", &source, rgb, NULL);
    source.palette_alpha = palette_alpha;
    source.alphas = 2;
    expect_png("palette with tRNS", &source, rgb, alpha);

    uint8_t dot[] = {7, 8, 9};
    source =
        (struct png_source){.width = 1, .height = 1, .bits = 8, .color_type = PNG_COLOR_TYPE_RGB, .samples = dot};
    expect_png("one pixel", &source, (float[]){from8(7), from8(8), from8(9)}, NULL);
}

/* A tRNS chunk before PLTE, which libpng first announces and then forgets. */
static void test_png_misplaced_transparency(void)
{
    static const uint8_t sample[3] = {10, 20, 30};
    static const png_color palette[1];
    struct png_source source = {.width = 1,
                                .height = 1,
                                .bits = 8,
                                .color_type = PNG_COLOR_TYPE_RGB,
                                .samples = sample,
                                .palette = palette,
                                .colors = 1,
                                .transparent = &(png_color_16){0}};
    const char *path = in_directory("misplaced.png");
    enum { PLTE = 33, PLTE_BYTES = 12 + 3, TRNS_BYTES = 12 + 6 };
    unsigned char palette_chunk[PLTE_BYTES];
    size_t count;

    png_make(path, &source);
    unsigned char *bytes = file_read(path, &count);
    memcpy(palette_chunk, bytes + PLTE, PLTE_BYTES);
    memmove(bytes + PLTE, bytes + PLTE + PLTE_BYTES, TRNS_BYTES);
    memcpy(bytes + PLTE + TRNS_BYTES, palette_chunk, PLTE_BYTES);
    file_write(path, bytes, count);
    free(bytes);
    struct image picture = read_well(path);
    expect_pixels("misplaced tRNS", &picture, 1, 1, (float[]){from8(10), from8(20), from8(30)});
    image_free(&picture);
    remove(path);
}

/* ---- JPEG ---- */

static void jpeg_pattern(uint8_t *samples, int width, int height, int channels)
{
    for (int i = 0; i < width * height * channels; i++) {
        int x = i / channels % width, y = i / channels / width, c = i % channels;
        samples[i] = (uint8_t)((x * (7 + c) + y * (11 - 2 * c)) % 256);
    }
}

static void test_jpeg_orientation(void)
{
    enum { W = 21, H = 13 };
    uint8_t samples[W * H * 3];
    float rgb[W * H * 3];

    for (int orientation = 0; orientation <= 9; orientation++) {
        const char *path = in_directory("turned.jpg");
        struct jpeg_source source = {.width = W,
                                     .height = H,
                                     .from = JCS_RGB,
                                     .progressive = orientation % 2,
                                     .samples = samples,
                                     .orientation = orientation};
        bool turned = orientation >= 5 && orientation <= 8;
        int width = turned ? H : W, height = turned ? W : H;

        jpeg_pattern(samples, W, H, 3);
        jpeg_make(path, &source);
        jpeg_decode(path, JCS_RGB, 3, samples);
        for (int i = 0; i < W * H; i++) {
            int column = i % width, row = i / width; /* of the picture; x and y are of the file */
            int x, y;
            switch (orientation) {
            case 2:
                x = W - 1 - column, y = row;
                break;
            case 3:
                x = W - 1 - column, y = H - 1 - row;
                break;
            case 4:
                x = column, y = H - 1 - row;
                break;
            case 5:
                x = row, y = column;
                break;
            case 6:
                x = row, y = H - 1 - column;
                break;
            case 7:
                x = W - 1 - row, y = H - 1 - column;
                break;
            case 8:
                x = W - 1 - row, y = column;
                break;
            default:
                x = column, y = row;
                break; /* 0: no EXIF; 9: nonsense */
            }
            for (int c = 0; c < 3; c++)
                rgb[3 * i + c] = from8(samples[3 * (y * W + x) + c]);
        }
        struct image picture = read_well(path);
        char what[32];
        snprintf(what, sizeof what, "orientation %d", orientation);
        expect_pixels(what, &picture, width, height, rgb);
        CHECK(picture.bits == 8 && !picture.alpha && !picture.icc, "%s: %d bits", what, picture.bits);
        image_free(&picture);
        remove(path);
    }
}

static void test_jpeg_colors(void)
{
    enum { W = 17, H = 9 };
    static const struct {
        const char *what;
        J_COLOR_SPACE from, stored;
        int channels;
    } cases[] = {{"grey JPEG", JCS_GRAYSCALE, JCS_GRAYSCALE, 1},
                 {"RGB JPEG", JCS_RGB, JCS_RGB, 3},
                 {"CMYK JPEG", JCS_CMYK, JCS_CMYK, 4},
                 {"YCCK JPEG", JCS_CMYK, JCS_YCCK, 4}};
    uint8_t samples[W * H * 4];
    float rgb[W * H * 3];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = in_directory("color.jpg");
        int channels = cases[i].channels;
        struct jpeg_source source = {
            .width = W, .height = H, .from = cases[i].from, .stored = cases[i].stored, .samples = samples};

        jpeg_pattern(samples, W, H, channels);
        jpeg_make(path, &source);
        jpeg_decode(path, cases[i].from, channels, samples);
        for (int j = 0; j < W * H * 3; j++) {
            const uint8_t *pixel = samples + j / 3 * channels;
            if (channels == 4)
                rgb[j] = (float)(pixel[j % 3] * pixel[3]) / (255.0f * 127.5f) - 1.0f;
            else
                rgb[j] = from8(pixel[channels == 1 ? 0 : j % 3]);
        }
        struct image picture = read_well(path);
        expect_pixels(cases[i].what, &picture, W, H, rgb);
        image_free(&picture);
        remove(path);
    }
}

/* ---- colour profiles ---- */

/* The bytes of a profile, which is closed; to be freed. */
static void *profile_bytes(cmsHPROFILE profile, size_t *count)
{
    cmsUInt32Number bytes = 0;

    cmsSaveProfileToMem(profile, NULL, &bytes);
    void *icc = malloc(bytes);
    CHECK(icc && cmsSaveProfileToMem(profile, icc, &bytes), "no profile of %u bytes", bytes);
    cmsCloseProfile(profile);
    *count = bytes;
    return icc;
}

static void *rgb_profile(size_t *count)
{
    static const cmsCIExyYTRIPLE primaries = {{0.64, 0.33, 1}, {0.21, 0.71, 1}, {0.15, 0.06, 1}};
    static const cmsCIExyY white = {0.3127, 0.3290, 1};
    cmsToneCurve *curve = cmsBuildGamma(NULL, 2.2);
    cmsHPROFILE profile = cmsCreateRGBProfile(&white, &primaries, (cmsToneCurve *[]){curve, curve, curve});

    cmsFreeToneCurve(curve);
    return profile_bytes(profile, count);
}

/* Light is proportional to the sample. */
static void *grey_profile(size_t *count)
{
    cmsToneCurve *curve = cmsBuildGamma(NULL, 1.0);
    cmsHPROFILE profile = cmsCreateGrayProfile(cmsD50_xyY(), curve);

    cmsFreeToneCurve(curve);
    return profile_bytes(profile, count);
}

/* L* is 100 without black ink and 0 with all of it; the other inks are water. */
static cmsInt32Number black_ink_only(const cmsUInt16Number in[], cmsUInt16Number out[], void *cargo)
{
    (void)cargo;
    out[0] = (cmsUInt16Number)(65535 - in[3]);
    out[1] = out[2] = 0x8080;
    return 1;
}

static void *cmyk_profile(size_t *count)
{
    cmsHPROFILE profile = cmsCreateProfilePlaceholder(NULL);
    cmsPipeline *pipeline = cmsPipelineAlloc(NULL, 4, 3);
    cmsStage *table = cmsStageAllocCLut16bit(NULL, 3, 4, 3, NULL);

    cmsSetProfileVersion(profile, 4.3);
    cmsSetDeviceClass(profile, cmsSigOutputClass);
    cmsSetColorSpace(profile, cmsSigCmykData);
    cmsSetPCS(profile, cmsSigLabData);
    cmsStageSampleCLut16bit(table, black_ink_only, NULL, 0);
    cmsPipelineInsertStage(pipeline, cmsAT_END, cmsStageAllocToneCurves(NULL, 4, NULL)); /* straight */
    cmsPipelineInsertStage(pipeline, cmsAT_END, table);
    cmsPipelineInsertStage(pipeline, cmsAT_END, cmsStageAllocToneCurves(NULL, 3, NULL));
    cmsWriteTag(profile, cmsSigAToB0Tag, pipeline);
    cmsPipelineFree(pipeline);
    return profile_bytes(profile, count);
}

static void expect_profile(const char *what, const struct image *picture, const void *icc, size_t icc_bytes)
{
    CHECK(picture->icc && picture->icc_bytes == icc_bytes && !memcmp(picture->icc, icc, icc_bytes),
          "%s: profile of %zu bytes instead of %zu, or different", what, picture->icc_bytes, icc_bytes);
}

static void test_profile_kept(void)
{
    static const struct image_format format;
    uint8_t samples[8 * 8 * 3];
    size_t icc_bytes;
    void *icc = rgb_profile(&icc_bytes);
    struct png_source png = {.width = 8,
                             .height = 8,
                             .bits = 8,
                             .color_type = PNG_COLOR_TYPE_RGB,
                             .samples = samples,
                             .icc = icc,
                             .icc_bytes = icc_bytes};
    struct jpeg_source jpeg = {
        .width = 8, .height = 8, .from = JCS_RGB, .samples = samples, .icc = icc, .icc_bytes = icc_bytes};

    jpeg_pattern(samples, 8, 8, 3);
    png_make(in_directory("a.png"), &png);
    jpeg_make(in_directory("b.jpg"), &jpeg);
    for (const char *const *name = (const char *const[]){"a.png", "b.jpg", NULL}; *name; name++) {
        struct image picture = read_well(in_directory(*name));
        expect_profile(*name, &picture, icc, icc_bytes);
        for (const char *const *copy = (const char *const[]){"c.png", "c.jpg", NULL}; *copy; copy++) {
            CHECK(!image_write(in_directory(*copy), &picture, &format), "%s", error_message());
            struct image again = read_well(in_directory(*copy));
            expect_profile(*copy, &again, icc, icc_bytes);
            image_free(&again);
        }
        /* A profile that libpng does not accept must not cost the picture. */
        if (picture.icc)
            picture.icc[40] ^= 0xff;
        picture.icc_bytes -= 5;
        CHECK(!image_write(in_directory("c.png"), &picture, &format), "%s", error_message());
        image_free(&picture);
    }
    free(icc);
    directory_entries(true);
}

/* All pixels of the picture at path are this grey, and no profile is left. */
static void expect_converted(const char *path, double grey, double tolerance)
{
    struct image picture = read_well(path);

    CHECK(!picture.icc, "%s: the profile was kept", path);
    for (int64_t i = 0; i < picture.width * picture.height * 3; i++)
        CHECK(fabs((double)picture.pixels[i] - grey) < tolerance, "%s: float %d is %.5f instead of %.5f", path,
              (int)i, (double)picture.pixels[i], grey);
    image_free(&picture);
    remove(path);
}

static void test_profile_converted(void)
{
    static const uint8_t grey8[] = {128, 128}, grey_alpha16[] = {0x80, 0x80, 0x12, 0x34};
    uint8_t samples[8 * 8 * 4];
    double linear = 128 / 255.0;
    double encoded = 2 * (1.055 * pow(linear, 1 / 2.4) - 0.055) - 1; /* sRGB, in [-1, 1] */
    size_t icc_bytes;
    void *icc = grey_profile(&icc_bytes);
    struct png_source png = {
        .width = 2, .height = 1, .bits = 8, .samples = grey8, .icc = icc, .icc_bytes = icc_bytes};

    png_make(in_directory("grey8.png"), &png);
    expect_converted(in_directory("grey8.png"), encoded, 1e-3);
    png = (struct png_source){.width = 1,
                              .height = 1,
                              .bits = 16,
                              .color_type = PNG_COLOR_TYPE_GRAY_ALPHA,
                              .samples = grey_alpha16,
                              .icc = icc,
                              .icc_bytes = icc_bytes};
    png_make(in_directory("grey16.png"), &png);
    struct image picture = read_well(in_directory("grey16.png"));
    expect_alpha("grey with profile and alpha", &picture, (uint16_t[]){0x1234});
    image_free(&picture);
    expect_converted(in_directory("grey16.png"), encoded, 1e-3);

    memset(samples, 128, sizeof samples);
    struct jpeg_source jpeg = {
        .width = 8, .height = 8, .from = JCS_GRAYSCALE, .samples = samples, .icc = icc, .icc_bytes = icc_bytes};
    jpeg_make(in_directory("grey.jpg"), &jpeg);
    expect_converted(in_directory("grey.jpg"), encoded, 1e-3);
    /* A grey profile cannot describe colours: it is dropped and the pixels stay. */
    jpeg.from = JCS_RGB;
    jpeg_make(in_directory("strange.jpg"), &jpeg);
    expect_converted(in_directory("strange.jpg"), (double)from8(128), 1e-6);
    free(icc);

    icc = cmyk_profile(&icc_bytes);
    for (int i = 0; i < 64; i++)
        samples[4 * i + 3] = 191; /* inverted: L* = 100 * 191 / 255 */
    double y = pow((100 * 191 / 255.0 + 16) / 116, 3);
    jpeg.from = JCS_CMYK;
    jpeg.icc = icc;
    jpeg.icc_bytes = icc_bytes;
    jpeg_make(in_directory("ink.jpg"), &jpeg);
    expect_converted(in_directory("ink.jpg"), 2 * (1.055 * pow(y, 1 / 2.4) - 0.055) - 1, 1e-2);
    jpeg.icc_bytes = 100; /* cut: as if it were not there */
    jpeg_make(in_directory("cut.jpg"), &jpeg);
    expect_converted(in_directory("cut.jpg"), 2 * (128 / 255.0) * (191 / 255.0) - 1, 1e-6);
    free(icc);
}

/* ---- writing ---- */

/* Every 8-bit value, and values outside the range, against numpy's clip((x / 2 + .5) * max, 0, max) in float64. */
static void test_write_values(void)
{
    enum { COUNT = 256 + 6 };
    static const float odd[] = {-1.5f, 1.5f, 1e30f, -1e30f, INFINITY, NAN};
    static const int odd8[] = {0, 255, 255, 0, 255, 0};
    float pixels[COUNT * 3], back[COUNT * 3];
    uint16_t alpha[COUNT];
    struct image picture = {.width = COUNT, .height = 1, .pixels = pixels, .alpha = alpha, .bits = 8};

    for (int bits = 8; bits <= 16; bits += 8) {
        double max = bits == 8 ? 255 : 65535;
        for (int i = 0; i < COUNT * 3; i++) {
            pixels[i] = i / 3 < 256 ? from8(i / 3) : odd[i / 3 - 256];
            double v = ((double)pixels[i] / 2 + .5) * max;
            int sample = i / 3 < 256 ? (int)v : odd8[i / 3 - 256] * (bits == 8 ? 1 : 257);
            back[i] = bits == 8 ? from8(sample) : from16(sample);
            alpha[i / 3] = (uint16_t)(i / 3 % 256 * 257);
        }
        CHECK(!image_write(in_directory("v.png"), &picture, &(struct image_format){.bits = bits}), "%s",
              error_message());
        struct image again = read_well(in_directory("v.png"));
        CHECK(again.bits == bits, "%d bits instead of %d", again.bits, bits);
        expect_pixels("values written", &again, COUNT, 1, back);
        expect_alpha("values written", &again, alpha);
        int lost = 0;
        for (int v = 0; bits == 8 && again.pixels && v < 256; v++)
            lost += again.pixels[3 * v] < from8(v);
        CHECK(bits != 8 || lost == 63, "%d of the 256 values came back lower; numpy says 63", lost);
        image_free(&again);
    }
    directory_entries(true);
}

static void test_write_jpeg(void)
{
    enum { W = 40, H = 30 };
    float pixels[W * H * 3];
    uint16_t alpha[W * H] = {0};
    struct image picture = {.width = W, .height = H, .pixels = pixels, .alpha = alpha, .bits = 8};
    off_t bytes[3];
    int qualities[] = {1, 0, 100};

    for (int i = 0; i < W * H * 3; i++)
        pixels[i] = (float)sin(i / 3 % W * 0.2 + i % 3) * (float)cos(i / 3 / W * 0.15);
    for (int q = 0; q < 3; q++) {
        struct stat status;
        CHECK(!image_write(in_directory("q.JPeG"), &picture, &(struct image_format){.quality = qualities[q]}), "%s",
              error_message());
        stat(in_directory("q.JPeG"), &status);
        bytes[q] = status.st_size;
    }
    CHECK(bytes[0] < bytes[1] && bytes[1] < bytes[2], "sizes %d %d %d", (int)bytes[0], (int)bytes[1],
          (int)bytes[2]);
    struct image again = read_well(in_directory("q.JPeG"));
    double worst = 0;
    for (int i = 0; again.pixels && i < W * H * 3; i++)
        worst = fmax(worst, fabs((double)again.pixels[i] - (double)pixels[i]));
    CHECK(worst < 4 / 127.5, "at quality 100 off by %.4f", worst);
    CHECK(!again.alpha, "alpha in a JPEG file");
    image_free(&again);

    picture = (struct image){.width = 65501, .height = 1, .bits = 8};
    CHECK(image_write(in_directory("long.jpg"), &picture, &(struct image_format){0}) == -1, "written");
    CHECK(strstr(error_message(), ".png") && strstr(error_message(), "65501"), "%s", error_message());
    CHECK(directory_entries(true) == 1, "a file was left");
}

/* ---- files that are refused ---- */

/* Cuts the file at path after every step-th byte, and before each of the last ones. */
static void expect_cuts_refused(const char *path, size_t step)
{
    size_t count;
    unsigned char *bytes = file_read(path, &count);

    for (size_t cut = 0; cut < count; cut += cut + 40 < count ? step : 1) {
        file_write(path, bytes, cut);
        expect_refused(path, cut ? "" : "empty");
    }
    file_write(path, bytes, count);
    struct image picture = read_well(path);
    image_free(&picture);
    free(bytes);
    remove(path);
}

static void test_refused_damage(void)
{
    enum { W = 33, H = 20 };
    uint8_t samples[W * H * 3];
    struct png_source png = {
        .width = W, .height = H, .bits = 8, .color_type = PNG_COLOR_TYPE_RGB, .samples = samples};
    struct jpeg_source jpeg = {.width = W, .height = H, .from = JCS_RGB, .samples = samples, .orientation = 6};
    size_t count;

    jpeg_pattern(samples, W, H, 3);
    for (int i = 0; i < 2; i++) {
        png.interlaced = jpeg.progressive = i;
        png_make(in_directory("cut.png"), &png);
        expect_cuts_refused(in_directory("cut.png"), 7);
        jpeg_make(in_directory("cut.jpg"), &jpeg);
        expect_cuts_refused(in_directory("cut.jpg"), 7);
    }
    png_make(in_directory("crc.png"), &png);
    unsigned char *bytes = file_read(in_directory("crc.png"), &count);
    bytes[count - 1] ^= 1; /* of IEND */
    file_write(in_directory("crc.png"), bytes, count);
    expect_refused(in_directory("crc.png"), "CRC");
    bytes[count - 1] ^= 1;
    bytes[count / 2] ^= 1; /* in IDAT */
    file_write(in_directory("crc.png"), bytes, count);
    expect_refused(in_directory("crc.png"), "not a valid PNG");
    free(bytes);
    directory_entries(true);
}

/* A file whose last scan comes again and again: little to store, much to decode. */
static void test_refused_scans(void)
{
    static const jpeg_scan_info scans[] = {{1, {0}, 0, 63, 0, 0}, {1, {1}, 0, 63, 0, 0}, {1, {2}, 0, 63, 0, 0}};
    static const uint8_t samples[8 * 8 * 3];
    const char *path = in_directory("scans.jpg");
    struct jpeg_source jpeg = {.width = 8,
                               .height = 8,
                               .from = JCS_RGB,
                               .samples = samples,
                               .scans = scans,
                               .scan_count = sizeof scans / sizeof *scans};
    size_t count;

    jpeg_make(path, &jpeg);
    struct image picture = read_well(path);
    image_free(&picture);
    unsigned char *bytes = file_read(path, &count);
    size_t last = count - 2; /* of the scan's two bytes FF DA */
    while (last && (bytes[last] != 0xff || bytes[last + 1] != 0xda))
        last--;
    FILE *file = fopen(path, "wb");
    fwrite(bytes, 1, last, file);
    for (int i = 0; i < 600; i++)
        fwrite(bytes + last, 1, count - 2 - last, file);
    fwrite(bytes + count - 2, 1, 2, file); /* end of image */
    fclose(file);
    free(bytes);
    expect_refused(path, "scans");
    remove(path);
}

/* A PNG header that claims a size, with nothing behind it. */
static void expect_size_refused(uint32_t width, uint32_t height)
{
    unsigned char bytes[33] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const char *path = in_directory("size.png");
    uint32_t crc = 0xffffffff;

    bytes[24] = 8;
    bytes[25] = PNG_COLOR_TYPE_RGB;
    for (int i = 0; i < 4; i++) {
        bytes[16 + i] = (unsigned char)(width >> (24 - 8 * i));
        bytes[20 + i] = (unsigned char)(height >> (24 - 8 * i));
    }
    for (int i = 12; i < 29; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    for (int i = 0; i < 4; i++)
        bytes[29 + i] = (unsigned char)(~crc >> (24 - 8 * i));
    file_write(path, bytes, sizeof bytes);
    FILE *file = fopen(path, "ab"); /* the header of IDAT, after which libpng stops to look at the size */
    CHECK(file && fwrite("\0\0\0\1IDAT", 1, 8, file) == 8 && !fclose(file), "%s", strerror(errno));
    expect_refused(path, "at most");
    remove(path);
}

static void test_refused_input(void)
{
    const char text[] = "Not a picture, whatever its name says.\n";

    file_write(in_directory("text.jpg"), text, sizeof text - 1);
    expect_refused(in_directory("text.jpg"), "neither");
    file_write(in_directory("empty.png"), "", 0);
    expect_refused(in_directory("empty.png"), "empty");
    expect_refused(in_directory("missing.png"), strerror(ENOENT));
    expect_refused(directory, "directory");
    expect_refused("/dev/null", "regular");
    if (geteuid() == 0)
        printf("not tried as root: a file that may not be read\n");
    else {
        chmod(in_directory("text.jpg"), 0);
        expect_refused(in_directory("text.jpg"), strerror(EACCES));
    }
    expect_size_refused(20000000, 1);
    expect_size_refused(1, 1000001);
    expect_size_refused(100000, 100000);
    expect_size_refused(0x7fffffff, 0x7fffffff);
    directory_entries(true);
}

static void expect_output_refused(const char *path, const char *words)
{
    float pixels[3] = {0};
    struct image picture = {.width = 1, .height = 1, .pixels = pixels, .bits = 8};

    CHECK(image_check_output(path) == -1, "%s was accepted", path);
    CHECK(strstr(error_message(), path) && strstr(error_message(), words), "'%s' lacks '%s'", error_message(),
          words);
    CHECK(image_write(path, &picture, &(struct image_format){0}) == -1, "%s was written", path);
    CHECK(strstr(error_message(), path) && strstr(error_message(), words), "'%s' lacks '%s'", error_message(),
          words);
}

static void test_refused_output(void)
{
    expect_output_refused(in_directory("picture.gif"), ".png");
    expect_output_refused(in_directory("picture"), ".png");
    expect_output_refused(in_directory("dir.png/picture"), ".png");
    expect_output_refused(in_directory("missing/picture.png"), strerror(ENOENT));
    mkdir(in_directory("dir.png"), 0700);
    expect_output_refused(in_directory("dir.png"), "directory");
    mkfifo(in_directory("pipe.jpg"), 0600);
    expect_output_refused(in_directory("pipe.jpg"), "regular");
    CHECK(directory_entries(true) == 2, "a temporary file was left");
    CHECK(!image_check_output(in_directory("fine.PNG")), "%s", error_message());
    CHECK(directory_entries(true) == 0, "image_check_output left something");
}

/* The disk is full, as far as the process can tell: the file that was there stays as it is. */
static void test_full_disk(void)
{
    enum { SIDE = 100, LIMIT = 1000 };
    static float pixels[SIDE * SIDE * 3];
    struct image picture = {.width = SIDE, .height = SIDE, .pixels = pixels, .bits = 8};
    struct rlimit limit, small;

    for (int i = 0; i < SIDE * SIDE * 3; i++)
        pixels[i] = (float)(i * 7919 % 1009) / 504.5f - 1;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    for (const char *const *name = (const char *const[]){"full.png", "full.jpg", NULL}; *name; name++) {
        const char *path = in_directory(*name);
        char old[8] = "";
        size_t count;

        file_write(path, "old one", 7);
        small = (struct rlimit){LIMIT, limit.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
        int status = image_write(path, &picture, &(struct image_format){0});
        setrlimit(RLIMIT_FSIZE, &limit);
        CHECK(status == -1, "%s was written", path);
        CHECK(strstr(error_message(), path) && strstr(error_message(), strerror(EFBIG)), "%s", error_message());
        unsigned char *bytes = file_read(path, &count);
        memcpy(old, bytes, count < 7 ? count : 7);
        free(bytes);
        CHECK(count == 7 && !strcmp(old, "old one"), "%s has now %zu bytes", path, count);
    }
    CHECK(directory_entries(true) == 2, "a temporary file was left");
}

int main(void)
{
    directory_make();
    test_png_grey();
    test_png_color();
    test_png_misplaced_transparency();
    test_jpeg_orientation();
    test_jpeg_colors();
    test_profile_kept();
    test_profile_converted();
    test_write_values();
    test_write_jpeg();
    test_refused_damage();
    test_refused_scans();
    test_refused_input();
    test_refused_output();
    test_full_disk();
    directory_remove();
    return check_result();
}
