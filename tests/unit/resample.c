/* Tests other sizes for a picture (host/resample.c) against the formula, evaluated in two dimensions in double
 * precision at every pixel of every size in a list, and against what anybody expects of a resized picture. */
#include "resample.h"

#include "error.h"
#include "tests/check.h"

#include <math.h>
#include <string.h>

/* Numbers that look random and are the same each time. */
static double random_next(void)
{
    static uint64_t state = 1;

    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(state >> 11) * 0x1p-53;
}

static struct image picture_make(int64_t width, int64_t height, bool alpha)
{
    struct image picture = {.width = width, .height = height, .bits = 8};
    size_t count = (size_t)(width * height);

    picture.pixels = malloc(count * 3 * sizeof *picture.pixels);
    picture.alpha = alpha ? malloc(count * sizeof *picture.alpha) : NULL;
    if (!picture.pixels || (alpha && !picture.alpha))
        exit(EXIT_FAILURE);
    for (size_t i = 0; i < 3 * count; i++)
        picture.pixels[i] = (float)(random_next() * 1.2 - 0.6);
    for (size_t i = 0; alpha && i < count; i++)
        picture.alpha[i] = (uint16_t)(random_next() * 65535);
    return picture;
}

static struct image picture_copy(const struct image *picture)
{
    struct image copy = picture_make(picture->width, picture->height, picture->alpha);
    size_t count = (size_t)(picture->width * picture->height);

    memcpy(copy.pixels, picture->pixels, count * 3 * sizeof *copy.pixels);
    if (copy.alpha)
        memcpy(copy.alpha, picture->alpha, count * sizeof *copy.alpha);
    return copy;
}

static void resample(struct image *picture, int64_t width, int64_t height)
{
    CHECK(!image_resample(picture, "picture", width, height), "%s", error_message());
    CHECK(picture->width == width && picture->height == height, "%dx%d", (int)picture->width, (int)picture->height);
}

/* ---- the formula ---- */

/* The kernel at a distance of t columns of the coarser picture. */
static double kernel(double t)
{
    double pi = acos(-1);

    if (fabs(t) >= 3)
        return 0;
    return t == 0 ? 1 : 3 * sin(pi * t) * sin(pi * t / 3) / (pi * pi * t * t);
}

/* The weight that source column i has in column x of the result, before edges. */
static double weight(int64_t i, int64_t x, int64_t from, int64_t to)
{
    double ratio = (double)from / (double)to;

    return kernel(((double)i + 0.5 - ((double)x + 0.5) * ratio) / fmax(ratio, 1));
}

/* Pixel (y, x) of the result: red, green, blue, alpha. Weights over the whole plane are products, so that one
 * division by their sum does what the header says of edges. Alpha that is nowhere counts a millionth. */
static void pixel_direct(const struct image *source, int64_t width, int64_t height, int64_t y, int64_t x,
                         double out[4])
{
    double sum[4] = {0}, all = 0;

    for (int64_t i = 0; i < source->height; i++) {
        double row = weight(i, y, source->height, height);

        for (int64_t j = 0; row != 0 && j < source->width; j++) {
            double w = row * weight(j, x, source->width, width);
            int64_t at = i * source->width + j;
            double seen = source->alpha ? source->alpha[at] / 65535.0 + 0x1p-20 : 1;

            all += w;
            sum[3] += w * seen;
            for (int c = 0; c < 3; c++)
                sum[c] += w * seen * (double)source->pixels[3 * at + c];
        }
    }
    for (int c = 0; c < 3; c++)
        out[c] = fmin(fmax(sum[c] / sum[3], -1), 1);
    out[3] = fmin(fmax((sum[3] / all - 0x1p-20) * 65535, 0), 65535);
}

static void compare_direct(int64_t w, int64_t h, int64_t width, int64_t height, bool alpha)
{
    struct image source = picture_make(w, h, alpha), result = picture_copy(&source);
    double worst = 0, worst_alpha = 0;

    resample(&result, width, height);
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            int64_t at = y * width + x;
            double wanted[4];

            pixel_direct(&source, width, height, y, x, wanted);
            /* Ratios of sums that nearly vanish are badly conditioned, and nobody sees them. */
            for (int c = 0; c < 3 && wanted[3] > 655; c++)
                worst = fmax(worst, fabs((double)result.pixels[3 * at + c] - wanted[c]));
            if (alpha)
                worst_alpha = fmax(worst_alpha, fabs(result.alpha[at] - wanted[3]));
        }
    }
    CHECK(worst < (alpha ? 2e-5 : 3e-7), "%dx%d to %dx%d: %g", (int)w, (int)h, (int)width, (int)height, worst);
    CHECK(worst_alpha < 0.51, "%dx%d to %dx%d: alpha %g", (int)w, (int)h, (int)width, (int)height, worst_alpha);
    image_free(&source);
    image_free(&result);
}

static void test_formula(void)
{
    static const int64_t sizes[][2] = {{1, 1}, {2, 1}, {1, 7}, {5, 3}, {16, 16}, {31, 17}, {40, 9}};
    enum { SIZES = sizeof sizes / sizeof *sizes };

    for (int i = 0; i < SIZES; i++) {
        for (int j = 0; j < SIZES; j++) {
            if (i == j)
                continue;
            compare_direct(sizes[i][0], sizes[i][1], sizes[j][0], sizes[j][1], false);
            compare_direct(sizes[i][0], sizes[i][1], sizes[j][0], sizes[j][1], true);
            compare_direct(sizes[i][0], sizes[i][1], sizes[j][0], sizes[i][1], false); /* one side only */
            compare_direct(sizes[i][0], sizes[i][1], sizes[i][0], sizes[j][1], true);
        }
    }
}

/* ---- what anybody expects ---- */

static void test_same_size(void)
{
    struct image picture = picture_make(13, 7, true), copy = picture_copy(&picture);

    picture.pixels[5] = copy.pixels[5] = 1.5f; /* not even clipped */
    resample(&picture, 13, 7);
    CHECK(!memcmp(picture.pixels, copy.pixels, 13 * 7 * 3 * sizeof *copy.pixels), "pixels differ");
    CHECK(!memcmp(picture.alpha, copy.alpha, 13 * 7 * sizeof *copy.alpha), "alpha differs");
    image_free(&picture);
    image_free(&copy);
}

static void test_constant(void)
{
    static const int64_t sizes[][2] = {{1, 1}, {50, 3}, {7, 90}, {400, 300}};
    static const float color[3] = {-1, 0.123456f, 1};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct image picture = picture_make(37, 23, false);
        double worst = 0;

        for (int j = 0; j < 37 * 23 * 3; j++)
            picture.pixels[j] = color[j % 3];
        resample(&picture, sizes[i][0], sizes[i][1]);
        for (int64_t j = 0; j < sizes[i][0] * sizes[i][1] * 3; j++)
            worst = fmax(worst, fabs((double)(picture.pixels[j] - color[j % 3])));
        CHECK(worst == 0, "a constant has changed by %g", worst);
        image_free(&picture);
    }
}

/* A ramp is kept away from the edges: Lanczos-3 keeps a slope to half a percent of what a column adds. */
static void compare_ramp(int64_t from, int64_t to)
{
    struct image picture = picture_make(from, from, false);
    double worst = 0, ratio = (double)from / (double)to, step = 1.8 / (double)from;
    double margin = 3.5 * fmax(ratio, 1);

    for (int64_t y = 0; y < from; y++)
        for (int64_t x = 0; x < from; x++)
            for (int c = 0; c < 3; c++)
                picture.pixels[3 * (y * from + x) + c] = (float)(((double)(c ? x : y) + 0.5) * step - 0.9);
    resample(&picture, to, to);
    for (int64_t y = 0; y < to; y++) {
        for (int64_t x = 0; x < to; x++) {
            for (int c = 0; c < 3; c++) {
                double at = ((double)(c ? x : y) + 0.5) * ratio;
                double difference = fabs((double)picture.pixels[3 * (y * to + x) + c] - (at * step - 0.9));

                if (at > margin && at < (double)from - margin)
                    worst = fmax(worst, difference);
            }
        }
    }
    CHECK(worst < 0.02 * step * fmax(ratio, 1), "%d to %d: a ramp of %g a column is off by %g", (int)from, (int)to,
          step, worst);
    image_free(&picture);
}

/* Grey: exactly inside, where weights are symmetric, and nearly at edges. */
static void test_checkerboard(void)
{
    for (int factor = 2; factor <= 8; factor += 2) {
        struct image picture = picture_make(80, 80, false);
        double worst = 0, worst_inside = 0;
        int side = 80 / factor;

        for (int i = 0; i < 80 * 80 * 3; i++)
            picture.pixels[i] = (i / 3 + i / 3 / 80) % 2 ? 1 : -1;
        resample(&picture, side, side);
        for (int i = 0; i < side * side * 3; i++) {
            int x = i / 3 % side, y = i / 3 / side;
            double value = fabs((double)picture.pixels[i]);

            worst = fmax(worst, value);
            if (x >= 3 && x < side - 3 && y >= 3 && y < side - 3)
                worst_inside = fmax(worst_inside, value);
        }
        CHECK(worst_inside < 1e-7, "by %d: %g instead of grey", factor, worst_inside);
        CHECK(worst < 0.03, "by %d: %g instead of grey at an edge", factor, worst);
        image_free(&picture);
    }
}

/* Left half opaque red, right half transparent green: no pixel that is seen is greener than half a 16-bit step of
 * what is seen of it, and what is not seen stays green. */
static void test_hidden_colors(void)
{
    static const int64_t widths[] = {7, 20, 90};

    for (int k = 0; k < 3; k++) {
        struct image picture = picture_make(40, 4, true);
        int64_t width = widths[k];

        for (int i = 0; i < 40 * 4; i++) {
            bool left = i % 40 < 20;
            float *pixel = picture.pixels + 3 * i;
            pixel[0] = left ? 1 : -1;
            pixel[1] = left ? -1 : 1;
            pixel[2] = 0;
            picture.alpha[i] = left ? 65535 : 0;
        }
        resample(&picture, width, 4);
        for (int64_t i = 0; i < width * 4; i++) {
            double seen = picture.alpha[i] / 65535.0;
            CHECK(((double)picture.pixels[3 * i + 1] + 1) * seen < 1.0 / 65535,
                  "%d wide, at %d: %g of green is seen", (int)width, (int)i,
                  ((double)picture.pixels[3 * i + 1] + 1) * seen);
        }
        CHECK(picture.pixels[3 * (width - 1) + 1] > 0.999f && picture.alpha[width - 1] == 0, "what is hidden: %g",
              (double)picture.pixels[3 * (width - 1) + 1]);
        CHECK(picture.alpha[0] == 65535, "alpha %d", picture.alpha[0]);
        image_free(&picture);
    }
}

/* ---- sizes ---- */

static void expect_size(struct resample_options options, int64_t width, int64_t height, int64_t w, int64_t h)
{
    int64_t new_width = 0, new_height = 0;

    CHECK(!resample_check(&options), "%s", error_message());
    CHECK(!resample_size(&options, "picture", width, height, &new_width, &new_height), "%s", error_message());
    CHECK(new_width == w && new_height == h, "%dx%d instead of %dx%d", (int)new_width, (int)new_height, (int)w,
          (int)h);
}

static void expect_error(int result, const char *words)
{
    CHECK(result == -1 && strstr(error_message(), words), "%d, '%s' lacks '%s'", result, error_message(), words);
}

static void test_sizes(void)
{
    struct resample_options options = {.max_side = 5, .height = 7};
    struct image picture = picture_make(2, 2, false);
    int64_t w, h;

    expect_size((struct resample_options){0}, 640, 480, 640, 480);
    expect_size((struct resample_options){.width = 320}, 640, 480, 320, 240);
    expect_size((struct resample_options){.height = 100}, 640, 480, 133, 100); /* 133.3 */
    expect_size((struct resample_options){.width = 5}, 2, 3, 5, 8);            /* 7.5 */
    expect_size((struct resample_options){.width = 1}, 1000, 10, 1, 1);        /* 0.01 */
    expect_size((struct resample_options){.width = 3, .height = 1000}, 640, 480, 3, 1000);
    expect_size((struct resample_options){.max_side = 100}, 640, 480, 100, 75);
    expect_size((struct resample_options){.max_side = 100}, 480, 640, 75, 100);
    expect_size((struct resample_options){.max_side = 640}, 480, 640, 480, 640);
    expect_size((struct resample_options){.max_side = 1000}, 480, 640, 480, 640);
    expect_size((struct resample_options){.max_side = 1}, 480, 640, 1, 1);

    expect_error(resample_check(&options), "--max-side and --height");
    options = (struct resample_options){.width = 1000000, .height = 1000000};
    expect_error(resample_check(&options), "1000000x1000000");
    options = (struct resample_options){.width = 1000000};
    expect_error(resample_size(&options, "picture", 10, 10, &w, &h), "picture: ");
    expect_error(resample_size(&options, "picture", 1, 1000000, &w, &h), "1000000x1000000000000");
    expect_error(image_resample(&picture, "picture", 1, 1000001), "picture: ");
    CHECK(picture.width == 2 && picture.pixels, "a refused picture was changed");
    image_free(&picture);
}

int main(void)
{
    test_formula();
    test_same_size();
    test_constant();
    compare_ramp(64, 200);
    compare_ramp(64, 64 * 3);
    compare_ramp(300, 41);
    compare_ramp(200, 150);
    test_checkerboard();
    test_hidden_colors();
    test_sizes();
    return check_result();
}
