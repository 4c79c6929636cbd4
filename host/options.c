/* Parses a command's arguments by its table and prints its help from the same table.
 * Deliberately small: no abbreviated names, no bundled letters, and the last of repeated options counts. */
#include "options.h"

#include "error.h"
#include "memory.h"
#include "nearest.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 48, HELP_INDENT = 26, HELP_WIDTH = 80 };

/* An option and where its value goes. */
struct setting {
    const struct option *option;
    void *value;
};

/* Every option of a command in the order of its tables. Returns how many there are. */
static size_t settings_list(const struct command_line *line, struct setting settings[OPTIONS_MAX])
{
    size_t count = 0;

    for (const struct option_group *group = line->groups; group->options; group++) {
        for (const struct option *option = group->options; option->name; option++) {
            assert(count < OPTIONS_MAX);
            settings[count++] = (struct setting){option, (char *)group->values + option->offset};
        }
    }
    return count;
}

/* Values -------------------------------------------------------------------------------------------------- */

struct text {
    char text[64];
};

/* "0 or more", "above 1", "1 to 100"; "" where every finite number will do. */
static struct text range_text(const struct option *option)
{
    struct text range = {""};
    double least = option->least, most = option->most;

    if (isfinite(least) && isfinite(most))
        snprintf(range.text, sizeof range.text, option->above ? "above %.10g, at most %.10g" : "%.10g to %.10g",
                 least, most);
    else if (isfinite(least))
        snprintf(range.text, sizeof range.text, option->above ? "above %.10g" : "%.10g or more", least);
    else if (isfinite(most))
        snprintf(range.text, sizeof range.text, "at most %.10g", most);
    return range;
}

static bool in_range(const struct option *option, double value)
{
    return (option->above ? value > option->least : value >= option->least) && value <= option->most;
}

/* Says that value is outside the option's range. */
static int range_error(const struct option *option, const char *value)
{
    return error_set("--%s %s: must be %s%s", option->name, value, range_text(option).text,
                     option->none ? ", or none" : "");
}

/* Says that value is not the kind of thing that the option wants. */
static int kind_error(const struct option *option, const char *value, const char *kind)
{
    struct text range = range_text(option);

    return error_set("--%s %s: must be %s%s%s%s", option->name, value, kind, *range.text ? ", " : "", range.text,
                     option->none ? ", or none" : "");
}

static int count_parse(const struct option *option, const char *text, int *value)
{
    char *end;

    errno = 0;
    long long parsed = strtoll(text, &end, 10);
    if (end == text || *end)
        return kind_error(option, text, "a whole number");
    assert(option->least >= INT_MIN && option->most <= INT_MAX); /* so that what is in range fits an int */
    if (errno || !in_range(option, (double)parsed))
        return range_error(option, text);
    *value = (int)parsed;
    return 0;
}

static int number_parse(const struct option *option, const char *text, double *value)
{
    char *end;

    if (option->none && !strcmp(text, "none")) {
        *value = INFINITY;
        return 0;
    }
    double parsed = strtod(text, &end);
    if (end == text || *end || !isfinite(parsed))
        return kind_error(option, text, "a finite number");
    if (!in_range(option, parsed))
        return range_error(option, text);
    *value = parsed;
    return 0;
}

static int bytes_option_parse(const struct option *option, const char *text, size_t *value)
{
    return bytes_parse(text, value) ? error_prefix("--%s %s", option->name, text) : 0;
}

/* Parses one side of a size, which ends at `end`. Returns what is behind it, or NULL. */
static const char *side_parse(const struct option *option, const char *text, char end, int64_t *side)
{
    char *behind;

    if (!isdigit((unsigned char)*text))
        return NULL;
    *side = strtoll(text, &behind, 10); /* too large: the largest, which is out of range */
    return *behind == end && in_range(option, (double)*side) ? behind + 1 : NULL;
}

static int size_parse(const struct option *option, const char *text, struct option_size *value)
{
    struct option_size size;

    assert(option->least >= 1 && option->most <= INT_MAX); /* so that a side in range is exact as a double */
    const char *height = side_parse(option, text, 'x', &size.width);
    if (!height || !side_parse(option, height, '\0', &size.height))
        return error_set("--%s %s: must be WIDTHxHEIGHT, each %s", option->name, text, range_text(option).text);
    *value = size;
    return 0;
}

static int value_parse(const struct setting *setting, const char *text)
{
    switch (setting->option->kind) {
    case OPTION_FLAG:
        *(bool *)setting->value = true;
        return 0;
    case OPTION_TEXT:
        if (!*text)
            return error_set("--%s: needs a value (%s)", setting->option->name, setting->option->argument);
        *(const char **)setting->value = text;
        return 0;
    case OPTION_COUNT:
        return count_parse(setting->option, text, setting->value);
    case OPTION_NUMBER:
        return number_parse(setting->option, text, setting->value);
    case OPTION_BYTES:
        return bytes_option_parse(setting->option, text, setting->value);
    case OPTION_SIZE:
        return size_parse(setting->option, text, setting->value);
    }
    return 0;
}

/* Help ---------------------------------------------------------------------------------------------------- */

/* Prints text in lines that do not pass HELP_WIDTH, starting in column `column` and continuing at indent. */
static void print_wrapped(const char *text, size_t column, size_t indent)
{
    bool line_empty = true;

    while (*text) {
        size_t length = strcspn(text, " ");
        if (!line_empty && column + 1 + length > HELP_WIDTH) {
            printf("\n%*s", (int)indent, "");
            column = indent;
            line_empty = true;
        }
        column += (size_t)printf("%s%.*s", line_empty ? "" : " ", (int)length, text);
        line_empty = false;
        text += length;
        text += strspn(text, " ");
    }
    putchar('\n');
}

/* " (default: 20)", or "" where the table's own text must say it. */
static struct text default_text(const struct setting *setting)
{
    struct text text = {""};
    const void *value = setting->value;
    const struct option_size *size;

    switch (setting->option->kind) {
    case OPTION_FLAG:
        break;
    case OPTION_TEXT:
        if (*(const char *const *)value)
            snprintf(text.text, sizeof text.text, " (default: %s)", *(const char *const *)value);
        break;
    case OPTION_COUNT:
        snprintf(text.text, sizeof text.text, " (default: %d)", *(const int *)value);
        break;
    case OPTION_NUMBER:
        if (isfinite(*(const double *)value))
            snprintf(text.text, sizeof text.text, " (default: %.10g)", *(const double *)value);
        else
            snprintf(text.text, sizeof text.text, " (default: none)");
        break;
    case OPTION_BYTES:
        if (*(const size_t *)value)
            snprintf(text.text, sizeof text.text, " (default: %s)", bytes_text(*(const size_t *)value).text);
        break;
    case OPTION_SIZE:
        size = value;
        if (size->width)
            snprintf(text.text, sizeof text.text, " (default: %" PRId64 "x%" PRId64 ")", size->width, size->height);
        break;
    }
    return text;
}

static void print_option(const struct setting *setting)
{
    const struct option *option = setting->option;
    char letter[] = {'-', option->letter, ',', '\0'};
    char help[512];

    int column = printf("  %3s --%s%s%s", option->letter ? letter : "", option->name, option->argument ? " " : "",
                        option->argument ? option->argument : "");
    if (column + 2 > HELP_INDENT) {
        putchar('\n');
        column = 0;
    }
    printf("%*s", HELP_INDENT - column, "");
    snprintf(help, sizeof help, "%s%s", option->help, default_text(setting).text);
    print_wrapped(help, HELP_INDENT, HELP_INDENT);
}

static void print_help(const struct command_line *line)
{
    struct setting settings[OPTIONS_MAX];
    size_t next = 0;

    settings_list(line, settings);
    printf("usage: pareidolia %s", line->command);
    if (line->operand)
        printf(line->operand_optional ? " [%s]" : " %s", line->operand);
    printf(" [OPTION]...\n\n");
    print_wrapped(line->about, 0, 0);
    for (const struct option_group *group = line->groups; group->options; group++) {
        printf("\n%s:\n", group->title);
        for (const struct option *option = group->options; option->name; option++)
            print_option(&settings[next++]);
    }
}

/* The command line ---------------------------------------------------------------------------------------- */

static int unknown_option(const struct command_line *line, const struct setting *settings, size_t count,
                          const char *name, size_t length)
{
    const char *names[OPTIONS_MAX];
    const char *nearest[NEAREST_NAMES];
    char wanted[64];

    for (size_t i = 0; i < count; i++)
        names[i] = settings[i].option->name;
    snprintf(wanted, sizeof wanted, "%.*s", (int)(length < sizeof wanted ? length : sizeof wanted - 1), name);
    if (!nearest_names(wanted, names, count, nearest))
        return error_set("unknown option --%s; %s takes none", wanted, line->command);
    return error_set("unknown option --%s; the nearest is --%s (pareidolia %s --help lists all)", wanted,
                     nearest[0], line->command);
}

/* Finds the option that argument ("--name", "--name=value" or "-o") names, and its value where argument holds it.
 * NULL with an error where there is none. */
static const struct setting *setting_find(const struct command_line *line, const struct setting *settings,
                                          size_t count, const char *argument, const char **value)
{
    *value = NULL;
    if (argument[1] != '-') {
        for (size_t i = 0; i < count; i++)
            if (settings[i].option->letter == argument[1] && !argument[2])
                return &settings[i];
        error_set("unknown option %s (pareidolia %s --help lists all)", argument, line->command);
        return NULL;
    }

    const char *name = argument + 2;
    size_t length = strcspn(name, "=");
    if (name[length] == '=')
        *value = name + length + 1;
    for (size_t i = 0; i < count; i++)
        if (strlen(settings[i].option->name) == length && !strncmp(settings[i].option->name, name, length))
            return &settings[i];
    unknown_option(line, settings, count, name, length);
    return NULL;
}

/* Parses the option at argv[*next] and moves *next behind it and its value. */
static int option_parse(const struct command_line *line, const struct setting *settings, size_t count, int argc,
                        char **argv, int *next)
{
    const char *value;
    const struct setting *setting = setting_find(line, settings, count, argv[*next], &value);

    if (!setting)
        return -1;
    ++*next;
    const struct option *option = setting->option;
    if (option->kind == OPTION_FLAG && value)
        return error_set("--%s=%s: takes no value", option->name, value);
    if (option->kind != OPTION_FLAG && !value) {
        /* What looks like an option is one: "--output --quiet" lacks a name. "--output=--quiet" can be said. */
        if (*next == argc || !strncmp(argv[*next], "--", 2))
            return error_set("--%s: needs a value (%s)", option->name, option->argument);
        value = argv[(*next)++];
    }
    return value_parse(setting, value);
}

enum options_result options_parse(const struct command_line *line, int argc, char **argv, const char **operand)
{
    struct setting settings[OPTIONS_MAX];
    size_t count = settings_list(line, settings);
    const char *found = NULL;
    bool options_ended = false;

    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help(line);
            return OPTIONS_HELP;
        }
    }
    for (int next = 0; next < argc;) {
        const char *argument = argv[next];
        if (!options_ended && !strcmp(argument, "--")) {
            options_ended = true;
            next++;
        } else if (!options_ended && argument[0] == '-' && argument[1]) {
            if (option_parse(line, settings, count, argc, argv, &next))
                return OPTIONS_WRONG;
        } else if (!line->operand || found) {
            error_set("\"%s\" is one argument too many: %s takes %s%s", argument, line->command,
                      line->operand ? "one " : "options only", line->operand ? line->operand : "");
            return OPTIONS_WRONG;
        } else {
            found = argument;
            next++;
        }
    }
    if (line->operand && (found ? !*found : !line->operand_optional)) {
        error_set("%s needs %s (pareidolia %s --help says more)", line->command, line->operand, line->command);
        return OPTIONS_WRONG;
    }
    if (operand)
        *operand = found;
    return OPTIONS_PARSED;
}
