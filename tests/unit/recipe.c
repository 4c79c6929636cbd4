/* Recipes as text and as arguments: any bytes come back, what is not one is refused with the reason, and hashes
 * tell pictures apart. */
#include "recipe.h"

#include "error.h"
#include "tests/check.h"

#include <math.h>
#include <string.h>

/* The lines that every recipe has. */
static const char *const lines[] = {
    "version=1",      "--device=cpu", "--precision=fp32", "--layer=mixed0", "--octaves=2", "--octave-scale=1.4",
    "--iterations=3", "--step=-0.01", "--max-loss=none",  "--clip=no",      "--tile=64",   "--strength=1",
    "--bits=8",       "--quality=95", "--keep-colors=no", "weights=1",      "picture=2",   "weights-file=w.h5",
    "picture-file=p", "size=1x1",     "picture-size=1x1"};

enum { LINES = sizeof lines / sizeof *lines, ROOM = 2048, VERSION = 0, WEIGHTS_FILE = 17, PICTURE_SIZE = 20 };

/* The text of all lines but one, and of another line. */
static const char *text_make(int without, const char *last)
{
    static char text[ROOM];
    size_t length = (size_t)snprintf(text, ROOM, "pareidolia recipe 1\n");

    for (int i = 0; i < LINES; i++)
        if (i != without)
            length += (size_t)snprintf(text + length, ROOM - length, "%s\n", lines[i]);
    snprintf(text + length, ROOM - length, "%s", last);
    return text;
}

static void expect_refused(const char *text, const char *words)
{
    struct recipe recipe;

    CHECK(recipe_parse("a.png", text, &recipe) == -1, "read: %s", text);
    CHECK(!strncmp(error_message(), "a.png: ", 7) && strstr(error_message(), words), "'%s' lacks '%s'",
          error_message(), words);
    CHECK(!recipe.count && !recipe.setting, "something is left");
}

/* All bytes, but the one that ends a text. */
static void test_bytes(void)
{
    struct recipe recipe = {0}, back;
    char all[256], name[32];

    for (int i = 0; i < 255; i++)
        all[i] = (char)(i + 1);
    all[255] = '\0';
    CHECK(!recipe_add(&recipe, "any", all) && !recipe_add(&recipe, "empty", ""), "%s", error_message());
    for (int i = 0; i < LINES; i++) {
        size_t length = strcspn(lines[i], "=");
        snprintf(name, sizeof name, "%.*s", (int)length, lines[i]);
        CHECK(!recipe_add(&recipe, name, lines[i] + length + 1), "%s", error_message());
    }
    char *text = recipe_text(&recipe);
    CHECK(text, "%s", error_message());
    for (const char *c = text; *c; c++)
        CHECK(*c == '\n' || (*c >= 32 && *c <= 126), "byte %d", *c);
    CHECK(!recipe_parse("a.png", text, &back), "%s", error_message());
    CHECK(back.count == recipe.count && !back.partial, "%d settings of %d", back.count, recipe.count);
    for (int i = 0; i < back.count && i < recipe.count; i++)
        CHECK(!strcmp(back.setting[i].name, recipe.setting[i].name) &&
                  !strcmp(back.setting[i].value, recipe.setting[i].value),
              "%s=%s", back.setting[i].name, back.setting[i].value);
    CHECK(recipe_value(&back, "any") && !recipe_value(&back, "none"), "values");
    free(text);
    recipe_free(&back);
    recipe_free(&recipe);
}

static void test_numbers(void)
{
    static const double values[] = {0.1, 1.0 / 3, 1e-300, -2, 1000000, INFINITY};
    static const char *const texts[] = {"0.1", "0.3333333333333333", "1e-300", "-2", "1000000", "none"};
    struct recipe recipe = {0};

    for (int i = 0; i < 6; i++) {
        CHECK(!recipe_add_number(&recipe, "x", values[i]), "%s", error_message());
        CHECK(!strcmp(recipe.setting[i].value, texts[i]), "%s", recipe.setting[i].value);
    }
    recipe_free(&recipe);
}

static void expect_arguments(unsigned without, const char *wanted)
{
    struct recipe recipe;
    char *argv[] = {(char[]){"b.png"}, (char[]){"--quiet"}}, joined[ROOM] = "";
    int count = -1;

    CHECK(!recipe_parse("a.png", text_make(-1, "--width=5\nunknown=x\nmask=3\n--mask=m x.png\n"), &recipe), "%s",
          error_message());
    char **arguments = recipe_arguments(&recipe, without, 2, argv, &count);
    CHECK(arguments && !arguments[count], "%s", error_message());
    for (int i = 0; arguments && i < count; i++)
        snprintf(joined + strlen(joined), ROOM - strlen(joined), "%s|", arguments[i]);
    CHECK(!strcmp(joined, wanted), "%s\ninstead of %s", joined, wanted);
    free(arguments);
    recipe_free(&recipe);
}

static void test_arguments(void)
{
    expect_arguments(0,
                     "--device=cpu|--precision=fp32|--layer=mixed0|--octaves=2|--octave-scale=1.4|--iterations=3|"
                     "--step=-0.01|--max-loss=none|--no-clip|--tile=64|--strength=1|--bits=8|--quality=95|"
                     "--width=5|--mask=m x.png|b.png|--quiet|");
    expect_arguments(RECIPE_DEVICE | RECIPE_CLIP | RECIPE_SIZE | RECIPE_TILE | RECIPE_MASK,
                     "--layer=mixed0|--octaves=2|--octave-scale=1.4|--iterations=3|--step=-0.01|--max-loss=none|"
                     "--strength=1|--bits=8|--quality=95|b.png|--quiet|");
}

static void test_refused(void)
{
    struct recipe recipe;
    char text[ROOM];

    for (int i = 0; i < LINES; i++)
        expect_refused(text_make(i, ""), "it lacks ");
    expect_refused("", "no recipe");
    expect_refused("pareidolia", "no recipe");
    expect_refused("partial: x", "no recipe");
    expect_refused("partial: x\n", "no recipe");
    expect_refused("pareidolia recipe ", "version");
    expect_refused("pareidolia recipe 1", "version");
    expect_refused("pareidolia recipe 1x\n", "version");
    expect_refused("pareidolia recipe 12\n", "version 12");
    expect_refused("pareidolia recipe 1\n", "it lacks ");
    expect_refused(text_make(-1, "\n"), "NAME=VALUE");
    expect_refused(text_make(-1, "=1\n"), "NAME=VALUE");
    expect_refused(text_make(-1, "a\x1b=1\n"), "NAME=VALUE");
    expect_refused(text_make(-1, "a=\x1b\n"), "the value of a");
    expect_refused(text_make(-1, "a=%00\n"), "the value of a");
    expect_refused(text_make(-1, "a=%4\n"), "the value of a");
    expect_refused(text_make(-1, "a=%4g\n"), "the value of a");
    expect_refused(text_make(-1, "a=%\n"), "the value of a");
    expect_refused(text_make(-1, "a=1\na=1\n"), "twice there is a");
    expect_refused(text_make(-1, "--output=x.png\n"), "--output");
    expect_refused(text_make(-1, "--help=\n"), "--help");
    expect_refused(text_make(-1, "--=\n"), "NAME=VALUE");
    expect_refused(text_make(-1, "A=\n"), "NAME=VALUE");
    expect_refused(text_make(-1, "1=\n"), "NAME=VALUE");
    expect_refused(text_make(-1, "a b=\n"), "NAME=VALUE");
    expect_refused(text_make(-1, "abcdefghijabcdefghijabcdefghijabcdefghijab=\n"), "NAME=VALUE");
    expect_refused(text_make(-1, "mask=xyz\n"), "no hash is the value of mask");
    expect_refused(text_make(-1, "programs=\n"), "no hash is the value of programs");
    expect_refused(text_make(-1, "--width=5 \n"), "no number is the value of --width");
    expect_refused(text_make(-1, "--width=5-\n"), "no number is the value of --width");
    expect_refused(text_make(-1, "--width=\n"), "no number is the value of --width");
    expect_refused(text_make(-1, "--width=1e999\n"), "no number is the value of --width");
    expect_refused(text_make(WEIGHTS_FILE, "weights-file=a/b\n"), "no name of a file");
    expect_refused(text_make(PICTURE_SIZE, "picture-size=1x\n"), "no size is");
    expect_refused(text_make(PICTURE_SIZE, "picture-size=1x1x\n"), "no size is");
    expect_refused(text_make(PICTURE_SIZE, "picture-size=1x1234567890\n"), "no size is");
    expect_refused(text_make(VERSION, "version=1 2\n"), "no version is");
    expect_refused(text_make(-1, "--mask=a/b\n"), "--mask");
    expect_refused(text_make(-1, "--mask=a%2fb\n"), "--mask");
    expect_refused(text_make(-1, "--mask=..\n"), "--mask");
    expect_refused(text_make(-1, "--width=%0a\n"), "--width");
    /* Cut anywhere but behind the last line */
    snprintf(text, sizeof text, "%s", text_make(-1, ""));
    for (size_t cut = strlen(text) - 1; cut > 0; cut--) {
        text[cut] = '\0';
        expect_refused(text, "");
    }
    CHECK(!recipe_parse("a.png", text_make(-1, ""), &recipe), "%s", error_message());
    recipe_free(&recipe);
    snprintf(text, sizeof text, "partial: interrupted\n%s", text_make(-1, "future=1\n"));
    CHECK(!recipe_parse("a.png", text, &recipe) && recipe.partial, "%s", error_message());
    recipe_free(&recipe);

    char *long_text = malloc(70000);
    if (!long_text)
        exit(EXIT_FAILURE);
    snprintf(long_text, 70000, "%sa=%066000d\n", text_make(-1, ""), 0);
    expect_refused(long_text, "longer");
    free(long_text);
}

static void test_picture(void)
{
    float pixels[6] = {0, 0.25f, 0.5f, 0.75f, 1, -1};
    uint16_t alpha[2] = {65535, 1};
    unsigned char icc[3] = "abc";
    struct image picture = {.width = 2, .height = 1, .pixels = pixels};
    char digits[5][RECIPE_DIGITS];

    recipe_picture(&picture, digits[0]);
    CHECK(strlen(digits[0]) == 16, "%s", digits[0]);
    picture.alpha = alpha;
    recipe_picture(&picture, digits[1]);
    alpha[1]++;
    recipe_picture(&picture, digits[2]);
    picture.icc = icc;
    picture.icc_bytes = 3;
    recipe_picture(&picture, digits[3]);
    CHECK(strlen(digits[3]) == 33, "%s", digits[3]);
    pixels[5] = -0.5f;
    recipe_picture(&picture, digits[4]);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++)
            CHECK(strcmp(digits[i], digits[j]) != 0, "%d and %d are %s", i, j, digits[i]);
    recipe_mask(alpha, 2, digits[0]);
    recipe_mask(alpha, 1, digits[1]);
    CHECK(strlen(digits[0]) == 16 && strcmp(digits[0], digits[1]) != 0, "%s and %s", digits[0], digits[1]);
}

int main(void)
{
    test_bytes();
    test_numbers();
    test_arguments();
    test_refused();
    test_picture();
    return check_result();
}
