/* Tests what is done to a dream before it is written (host/finish.c): through files, as a user sees it. */
#include "tests/check.h"
#include "tests/unit/directory.h"

#include "host/error.h"
#include "host/finish.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 256, HEIGHT = 12 };

/* Every sample of 8 bits in the first rows, all sorts of colours below. */
static struct image original_new(void)
{
    struct image picture = {.width = WIDTH, .height = HEIGHT, .bits = 8};

    picture.pixels = malloc(WIDTH * HEIGHT * 3 * sizeof *picture.pixels);
    for (int i = 0; i < WIDTH * HEIGHT; i++)
        for (int c = 0; c < 3; c++) {
            int v = i < 3 * WIDTH ? (i % WIDTH + 80 * c * (i / WIDTH)) % 256 : (i * (7 + 13 * c)) % 256;

            picture.pixels[3 * i + c] = (float)v / 127.5f - 1.0f;
        }
    return picture;
}

/* A dream of it that leaves the range, too. */
static struct image dream_new(const struct image *original)
{
    struct image dream = *original;

    dream.pixels = malloc(WIDTH * HEIGHT * 3 * sizeof *dream.pixels);
    for (int i = 0; i < WIDTH * HEIGHT * 3; i++)
        dream.pixels[i] = original->pixels[i] + 0.7f * sinf((float)i * 0.31f);
    return dream;
}

/* Finishes a dream in bands, and what comes of it through a PNG file of that depth. */
static struct image finished(const struct finish_options *options, const struct image *original, int bits)
{
    struct image dream = dream_new(original), result;
    struct finish finish;
    const char *path = in_directory("finished.png");

    CHECK(!finish_open(&finish, options, WIDTH, HEIGHT, WIDTH, HEIGHT), "%s", error_message());
    for (int64_t row = 0; row < HEIGHT; row += 5) {
        int64_t rows = HEIGHT - row < 5 ? HEIGHT - row : 5;

        finish_rows(&finish, row, rows, original->pixels + row * WIDTH * 3, dream.pixels + row * WIDTH * 3);
    }
    CHECK(!image_write(path, &dream, &(struct image_format){.bits = bits}) && !image_read(path, &result), "%s",
          error_message());
    finish_close(&finish);
    image_free(&dream);
    return result;
}

/* Strength 0 gives the file's samples back, all of them, in both depths; strength 1 the dream. */
static void test_strength(const struct image *original)
{
    struct finish_options options = finish_defaults();
    struct finish none;

    CHECK(!finish_open(&none, &options, WIDTH, HEIGHT, WIDTH, HEIGHT) && !finish_wanted(&none),
          "the defaults do nothing");
    for (int bits = 8; bits <= 16; bits += 8) {
        options.strength = 0;
        struct image result = finished(&options, original, bits);
        int wrong = 0;
        for (int i = 0; i < WIDTH * HEIGHT * 3; i++)
            wrong += fabsf(result.pixels[i] - original->pixels[i]) > (bits == 8 ? 0 : 2.1f / 65535);
        CHECK(wrong == 0, "%d bits: %d samples are not the original's", bits, wrong);
        image_free(&result);
    }
    struct image dream = dream_new(original),
                 half = finished(&(struct finish_options){.strength = 0.5}, original, 16);
    double worst = 0;
    for (int i = 0; i < WIDTH * HEIGHT * 3; i++) {
        double want = ((double)original->pixels[i] + (double)dream.pixels[i]) / 2;
        worst = fmax(worst, fabs((double)half.pixels[i] - fmin(fmax(want, -1), 1)));
    }
    CHECK(worst < 3.0 / 65535, "half of it is off by %g", worst);
    image_free(&half);
    image_free(&dream);
}

/* Cb and Cr of Rec. 601, from the matrix as JFIF prints it. */
static void test_colors(const struct image *original)
{
    struct finish_options options = {.strength = 1, .keep_colors = true};
    struct image result = finished(&options, original, 16);
    double worst = 0, moved = 0;

    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        const float *a = original->pixels + 3 * i, *b = result.pixels + 3 * i;
        double cb = 0, cr = 0;

        for (int c = 0; c < 3; c++) {
            static const double to_cb[] = {-0.168736, -0.331264, 0.5}, to_cr[] = {0.5, -0.418688, -0.081312};
            cb += to_cb[c] * ((double)b[c] - (double)a[c]);
            cr += to_cr[c] * ((double)b[c] - (double)a[c]);
        }
        worst = fmax(worst, fmax(fabs(cb), fabs(cr)));
        moved = fmax(moved, fabs((double)b[1] - (double)a[1]));
    }
    CHECK(worst < 4.0 / 65535, "chroma is off by %g", worst); /* 16-bit levels are cut off */
    CHECK(moved > 0.2, "nothing has dreamt");
    image_free(&result);
}

/* Left third black, then grey, then white. */
static void test_mask(const struct image *original)
{
    struct image mask = original_new();
    const char *path = in_directory("mask.png");
    struct finish_options options = {.strength = 1, .mask = path};
    struct image dream = dream_new(original);
    int changed = 0;
    double worst = 0;

    for (int i = 0; i < WIDTH * HEIGHT * 3; i++)
        mask.pixels[i] = i / 3 % WIDTH < 80 ? -1.0f : i / 3 % WIDTH < 160 ? 0.2f : 1.0f;
    CHECK(!image_write(path, &mask, &(struct image_format){.bits = 16}), "%s", error_message());
    struct image result = finished(&options, original, 8), fine = finished(&options, original, 16);
    for (int i = 0; i < WIDTH * HEIGHT * 3; i++) {
        int column = i / 3 % WIDTH;
        double weight = column < 80 ? 0 : column < 160 ? 0.6 : 1;
        double want = (1 - weight) * (double)original->pixels[i] + weight * (double)dream.pixels[i];

        changed += column < 80 && result.pixels[i] != original->pixels[i];
        worst = fmax(worst, fabs((double)fine.pixels[i] - fmin(fmax(want, -1), 1)));
    }
    CHECK(changed == 0, "%d masked samples have changed", changed);
    CHECK(worst < 6.0 / 65535, "off by %g", worst); /* the mask's and the result's 16-bit levels */
    image_free(&result);
    image_free(&fine);

    struct finish finish = {0};
    CHECK(finish_open(&finish, &options, WIDTH, HEIGHT - 1, WIDTH, HEIGHT - 2) == -1 &&
              strstr(error_message(), "make it the same size"),
          "%s", error_message());
    options.mask = "/nonexistent/mask.png";
    CHECK(finish_open(&finish, &options, WIDTH, HEIGHT, WIDTH, HEIGHT) == -1 && strstr(error_message(), "--mask"),
          "%s", error_message());
    image_free(&dream);
    image_free(&mask);
}

/* A mask of the source's size is resized as the picture was; its hash is that of the file. */
static void test_mask_resized(void)
{
    struct image mask = original_new();
    const char *path = in_directory("mask.png");
    struct finish_options options = {.strength = 1, .mask = path};
    struct finish same = {0}, half = {0};

    for (int i = 0; i < WIDTH * HEIGHT * 3; i++)
        mask.pixels[i] = i / 3 % WIDTH < WIDTH / 2 ? -1.0f : 1.0f;
    CHECK(!image_write(path, &mask, &(struct image_format){.bits = 16}), "%s", error_message());
    CHECK(!finish_open(&same, &options, WIDTH, HEIGHT, WIDTH, HEIGHT) &&
              !finish_open(&half, &options, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT),
          "%s", error_message());
    for (int i = 0; half.mask && i < WIDTH / 2 * HEIGHT / 2; i++) {
        int column = i % (WIDTH / 2), far = abs(2 * column + 1 - WIDTH / 2) > 6;

        CHECK(!far || half.mask[i] == (column < WIDTH / 4 ? 0 : 65535), "column %d: %d", column, half.mask[i]);
    }
    CHECK(!strcmp(same.mask_digits, half.mask_digits), "%s and %s", same.mask_digits, half.mask_digits);
    finish_close(&same);
    finish_close(&half);
    image_free(&mask);
}

/* All values of 16 bits come back where nothing is dreamt, whatever the reason. */
static void test_samples(void)
{
    enum { SIDE = 256, COUNT = SIDE * SIDE };
    const char *path = in_directory("samples.png"), *black = in_directory("black.png");
    struct image original = {.width = SIDE, .height = SIDE, .bits = 16};
    struct image dream = original, mask = original;
    const struct {
        struct finish_options options;
        const char *what;
    } cases[] = {{{.strength = 0}, "strength 0"},
                 {{.strength = 1, .mask = black}, "a black mask"},
                 {{.strength = 1, .keep_colors = true}, "colours of the same lightness"},
                 {{.strength = 0.3, .keep_colors = true}, "colours of the same lightness, weakly"}};

    original.pixels = malloc(COUNT * 3 * sizeof(float));
    dream.pixels = malloc(COUNT * 3 * sizeof(float));
    mask.pixels = malloc(COUNT * 3 * sizeof(float));
    if (!original.pixels || !dream.pixels || !mask.pixels)
        exit(EXIT_FAILURE);
    for (int i = 0; i < COUNT; i++)
        for (int c = 0; c < 3; c++) {
            int v = c == 0 ? i : c == 1 ? COUNT - 1 - i : i * 257 % COUNT;

            original.pixels[3 * i + c] = (float)v / 32767.5f - 1.0f;
            mask.pixels[3 * i + c] = -1;
        }
    CHECK(!image_write(black, &mask, &(struct image_format){0}), "%s", error_message());
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct image result;
        struct finish finish;
        int wrong = 0;

        for (int i = 0; i < COUNT * 3; i++)
            dream.pixels[i] = original.pixels[i] + (cases[k].options.keep_colors ? 0 : 0.3f);
        CHECK(!finish_open(&finish, &cases[k].options, SIDE, SIDE, SIDE, SIDE), "%s", error_message());
        finish_rows(&finish, 0, SIDE, original.pixels, dream.pixels);
        CHECK(!image_write(path, &dream, &(struct image_format){.bits = 16}) && !image_read(path, &result), "%s",
              error_message());
        for (int i = 0; i < COUNT * 3; i++)
            wrong += result.pixels[i] != original.pixels[i];
        CHECK(wrong == 0, "%s: %d samples are not the original's", cases[k].what, wrong);
        image_free(&result);
        finish_close(&finish);
    }
    image_free(&original);
    image_free(&dream);
    image_free(&mask);
}

int main(void)
{
    struct image original = original_new();

    directory_make();
    test_strength(&original);
    test_colors(&original);
    test_mask(&original);
    test_mask_resized();
    test_samples();
    image_free(&original);
    directory_remove_all();
    return check_result();
}
