/* Tests the parser of command lines (host/options.c) and the search for the name that was meant (host/nearest.c).
 */
#include "tests/check.h"

#include "host/error.h"
#include "host/nearest.h"
#include "host/options.h"

#include <limits.h>
#include <math.h>
#include <string.h>

struct values {
    bool flag;
    const char *text;
    int count;
    double number, scale;
    size_t memory;
    struct option_size size;
};

static const struct option table[] = {
    {.name = "flag", .kind = OPTION_FLAG, .offset = offsetof(struct values, flag), .help = ""},
    {.name = "text",
     .letter = 't',
     .kind = OPTION_TEXT,
     .offset = offsetof(struct values, text),
     .argument = "T",
     .help = ""},
    {.name = "count",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct values, count),
     .argument = "N",
     .help = "",
     .least = -5,
     .most = INT_MAX},
    {.name = "number",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct values, number),
     .argument = "X",
     .help = "",
     .least = -INFINITY,
     .most = INFINITY,
     .none = true},
    {.name = "scale",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct values, scale),
     .argument = "X",
     .help = "",
     .least = 1,
     .above = true,
     .most = 10},
    {.name = "memory",
     .kind = OPTION_BYTES,
     .offset = offsetof(struct values, memory),
     .argument = "BYTES",
     .help = ""},
    {.name = "size",
     .kind = OPTION_SIZE,
     .offset = offsetof(struct values, size),
     .argument = "WxH",
     .help = "",
     .least = 1,
     .most = 1000},
    {.name = NULL},
};

static struct values values;
static const char *operand;

/* Parses arguments, up to a NULL, over the defaults. */
static enum options_result parse(const char *const *arguments)
{
    const struct command_line line = {
        .command = "test", .operand = "IMAGE", .about = "", .groups = {{"options", table, &values}}};
    char *argv[8];
    int argc = 0;

    for (; arguments[argc]; argc++)
        argv[argc] = (char *)(size_t)arguments[argc]; /* the parser takes main's type and changes nothing */
    values = (struct values){.count = 7, .number = 0.5, .scale = 2};
    operand = NULL;
    return options_parse(&line, argc, argv, &operand);
}

static void test_parsed(void)
{
    CHECK(parse((const char *[]){"a.png", NULL}) == OPTIONS_PARSED, "%s", error_message());
    CHECK(!strcmp(operand, "a.png") && values.count == 7 && !values.text, "%s %d", operand, values.count);

    CHECK(parse((const char *[]){"--flag", "--count", "-5", "--text=", "a", NULL}) == OPTIONS_WRONG, "empty text");
    CHECK(parse((const char *[]){"--flag", "--count", "-5", "--text=--x", "a", NULL}) == OPTIONS_PARSED, "%s",
          error_message());
    CHECK(values.flag && values.count == -5 && !strcmp(values.text, "--x"), "%d %s", values.count, values.text);

    CHECK(parse((const char *[]){"-t", "-", "--number", "-1e-3", "--", "-a", NULL}) == OPTIONS_PARSED, "%s",
          error_message());
    CHECK(!strcmp(values.text, "-") && values.number == -1e-3 && !strcmp(operand, "-a"), "%s %g %s", values.text,
          values.number, operand);

    CHECK(parse((const char *[]){"-", "--count=1", "--count=2147483647", NULL}) == OPTIONS_PARSED, "%s",
          error_message());
    CHECK(values.count == INT_MAX, "%d: the last counts", values.count);

    CHECK(parse((const char *[]){"a", "--number=none", "--scale", "10", NULL}) == OPTIONS_PARSED, "%s",
          error_message());
    CHECK(isinf(values.number) && values.scale == 10, "%g %g", values.number, values.scale);

    CHECK(parse((const char *[]){"a", "--memory", "1.5G", "--size=1x1000", NULL}) == OPTIONS_PARSED, "%s",
          error_message());
    CHECK(values.memory == (size_t)3 << 29, "%zu", values.memory);
    CHECK(values.size.width == 1 && values.size.height == 1000, "%d x %d", (int)values.size.width,
          (int)values.size.height);
}

#define BYTES_ERROR(value)                                                                                         \
    "--memory " value ": must be a size above 0, such as 6G, 512M, 1.5GB or 1000000000 (G and GiB are 1024^3 "     \
    "bytes, GB is 1000^3)"
#define SIZE_ERROR(value) "--size " value ": must be WIDTHxHEIGHT, each 1 to 1000"

static void test_wrong(void)
{
    static const struct {
        const char *arguments[4];
        const char *error;
    } cases[] = {
        {{"--count", "-6", "a"}, "--count -6: must be -5 to 2147483647"},
        {{"--count", "2147483648", "a"}, "--count 2147483648: must be -5 to 2147483647"},
        {{"--count", "", "a"}, "--count : must be a whole number, -5 to 2147483647"},
        {{"--count", "1 ", "a"}, "--count 1 : must be a whole number, -5 to 2147483647"},
        {{"--number", "inf", "a"}, "--number inf: must be a finite number, or none"},
        {{"--number", "nan", "a"}, "--number nan: must be a finite number, or none"},
        {{"--scale", "1", "a"}, "--scale 1: must be above 1, at most 10"},
        {{"--scale", "none", "a"}, "--scale none: must be a finite number, above 1, at most 10"},
        {{"--scale=", "a"}, "--scale : must be a finite number, above 1, at most 10"},
        {{"--memory", "6X", "a"}, BYTES_ERROR("6X")},
        {{"--memory=-1", "a"}, BYTES_ERROR("-1")},
        {{"--memory", "0", "a"}, BYTES_ERROR("0")},
        {{"--memory", "16777216T", "a"}, "--memory 16777216T: must be below 2^64 bytes"},
        {{"--size", "299", "a"}, SIZE_ERROR("299")},
        {{"--size", "0x5", "a"}, SIZE_ERROR("0x5")},
        {{"--size", "5x1001", "a"}, SIZE_ERROR("5x1001")},
        {{"--size", "99999999999999999999x5", "a"}, SIZE_ERROR("99999999999999999999x5")},
        {{"--size", "5x5x5", "a"}, SIZE_ERROR("5x5x5")},
        {{"--size", "5x", "a"}, SIZE_ERROR("5x")},
        {{"--size", "+5x5", "a"}, SIZE_ERROR("+5x5")},
        {{"--size", "5X5", "a"}, SIZE_ERROR("5X5")},
        {{"a", "--count"}, "--count: needs a value (N)"},
        {{"--coun", "1", "a"}, "unknown option --coun; the nearest is --count (pareidolia test --help lists all)"},
        {{"--=1", "a"}, "unknown option --; the nearest is --flag (pareidolia test --help lists all)"},
        {{"-tx", "a"}, "unknown option -tx (pareidolia test --help lists all)"},
        {{""}, "test needs IMAGE (pareidolia test --help says more)"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum options_result result = parse(cases[i].arguments);
        CHECK(result == OPTIONS_WRONG, "case %zu: %d", i, (int)result);
        CHECK(!strcmp(error_message(), cases[i].error), "case %zu: \"%s\", not \"%s\"", i, error_message(),
              cases[i].error);
    }
}

static void test_nearest(void)
{
    static const char *const names[] = {"mixed1", "mixed10", "mixed2", "activation_1", "input"};
    char name[] = "mixed1";
    const char *out[NEAREST_NAMES];

    CHECK(nearest_names("mixed11", names, 5, out) == 3, "three are asked for");
    CHECK(!strcmp(out[0], "mixed10") && !strcmp(out[1], "mixed1") && !strcmp(out[2], "mixed2"), "%s %s %s", out[0],
          out[1], out[2]);
    CHECK(nearest_names("", names, 2, out) == 2 && out[0] == names[0], "as many as there are");
    CHECK(nearest_names(name, names, 5, out) == 3 && out[0] == names[0], "itself is nearest");
    CHECK(nearest_names("x", names, 0, out) == 0, "none of none");
}

int main(void)
{
    test_parsed();
    test_wrong();
    test_nearest();
    return check_result();
}
