/* The list of settings, its text, and its arguments. What is done with them is the commands' business. */
#include "recipe.h"

#include "error.h"
#include "paths.h"
#include "text.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECIPE_TITLE "pareidolia recipe "
#define RECIPE_VERSION "1"

/* So that looking for names that occur twice takes no time to speak of, whatever the file is. */
enum { READ_MOST = 65533 };

/* Characters of a name behind its dashes, and digits of a side. */
enum { NAME_MOST = 41, SIDE_DIGITS = 9 };

/* What is known of a line. */
static const struct line {
    const char *name;
    bool always;     /* every recipe has it: one that was cut off is noticed */
    bool number;     /* or none */
    bool flag;       /* yes or no */
    const char *off; /* of a flag: the option that says no; NULL: that none is given */
    bool file;       /* a name without directories */
    bool hash;       /* hex digits and dashes */
    bool size;       /* WIDTHxHEIGHT */
    bool version;    /* digits and dots */
    unsigned part;   /* enum recipe_part; 0: none */
} lines[] = {
    {.name = "version", .always = true, .version = true},
    {.name = "--device", .always = true, .part = RECIPE_DEVICE},
    {.name = "--precision", .always = true, .part = RECIPE_DEVICE},
    {.name = "--layer", .always = true},
    {.name = "--octaves", .always = true, .number = true},
    {.name = "--octave-scale", .always = true, .number = true},
    {.name = "--iterations", .always = true, .number = true},
    {.name = "--step", .always = true, .number = true},
    {.name = "--max-loss", .always = true, .number = true},
    {.name = "--clip", .always = true, .flag = true, .off = "--no-clip", .part = RECIPE_CLIP},
    {.name = "--strength", .always = true, .number = true},
    {.name = "--keep-colors", .always = true, .flag = true, .part = RECIPE_COLORS},
    {.name = "--mask", .file = true, .part = RECIPE_MASK},
    {.name = "--width", .number = true, .part = RECIPE_SIZE},
    {.name = "--height", .number = true, .part = RECIPE_SIZE},
    {.name = "--max-side", .number = true, .part = RECIPE_SIZE},
    {.name = "--tile", .always = true, .number = true, .part = RECIPE_TILE},
    {.name = "--bits", .always = true, .number = true, .part = RECIPE_BITS},
    {.name = "--quality", .always = true, .number = true},
    {.name = "weights", .always = true, .hash = true},
    {.name = "weights-file", .always = true, .file = true},
    {.name = "programs", .hash = true},
    {.name = "picture", .always = true, .hash = true},
    {.name = "picture-file", .always = true, .file = true},
    {.name = "picture-size", .always = true, .size = true},
    {.name = "mask", .hash = true},
    {.name = "size", .always = true, .size = true},
};

enum { LINES = sizeof lines / sizeof *lines };

static const struct line *line_find(const char *name)
{
    for (int i = 0; i < LINES; i++)
        if (!strcmp(lines[i].name, name))
            return &lines[i];
    return NULL;
}

static bool is_option(const char *name)
{
    return !strncmp(name, "--", 2);
}

bool recipe_is_number(const char *name)
{
    const struct line *line = line_find(name);

    return line && line->number;
}

bool recipe_is_flag(const char *name)
{
    const struct line *line = line_find(name);

    return line && line->flag;
}

/* The list ------------------------------------------------------------------------------------------------- */

void recipe_free(struct recipe *recipe)
{
    for (int i = 0; i < recipe->count; i++) {
        free((char *)(uintptr_t)recipe->setting[i].name);
        free((char *)(uintptr_t)recipe->setting[i].value);
    }
    free(recipe->setting);
    *recipe = (struct recipe){0};
}

int recipe_add(struct recipe *recipe, const char *name, const char *value)
{
    struct checkpoint_setting *grown =
        realloc(recipe->setting, (size_t)(recipe->count + 1) * sizeof *recipe->setting);

    if (!grown)
        return error_set("no memory for the settings");
    recipe->setting = grown;
    char *own_name = strdup(name), *own_value = strdup(value);
    if (!own_name || !own_value) {
        free(own_name);
        free(own_value);
        return error_set("no memory for the settings");
    }
    grown[recipe->count++] = (struct checkpoint_setting){own_name, own_value};
    return 0;
}

int recipe_add_number(struct recipe *recipe, const char *name, double value)
{
    return recipe_add(recipe, name, isfinite(value) ? number_text(value).text : "none");
}

static bool is_built_in(const char *weights_file)
{
    return !strcmp(weights_file, WEIGHTS_EMBEDDED) || !strcmp(weights_file, WEIGHTS_UNTRAINED);
}

int recipe_add_weights(struct recipe *recipe, const struct weights *weights)
{
    bool built_in = weights_are_embedded(weights) || weights_are_untrained(weights);
    const char *name = path_name(weights_path(weights));
    char *other;

    if (built_in || !is_built_in(name))
        return recipe_add(recipe, "weights-file", name);
    if (asprintf(&other, "%s (file)", name) < 0)
        return error_set("no memory for the settings");
    int result = recipe_add(recipe, "weights-file", other);
    free(other);
    return result;
}

int recipe_add_dream(struct recipe *recipe, const struct session *session, const char *layer,
                     const struct dream_options *dream)
{
    const struct device *device = session->device;
    char name[64], weights[32];
    uint64_t hash = weights_hash(session->weights);

    if (!hash)
        return -1;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(device->name, ":"), device->name);
    snprintf(weights, sizeof weights, "%016" PRIx64, hash);
    if (recipe_add(recipe, "version", PAREIDOLIA_VERSION) || recipe_add(recipe, "--device", name) ||
        recipe_add(recipe, "--precision", device->precision) || recipe_add(recipe, "--layer", layer) ||
        recipe_add_number(recipe, "--octaves", dream->octaves) ||
        recipe_add_number(recipe, "--octave-scale", dream->octave_scale) ||
        recipe_add_number(recipe, "--iterations", dream->iterations) ||
        recipe_add_number(recipe, "--step", dream->step) ||
        recipe_add_number(recipe, "--max-loss", dream->max_loss) ||
        recipe_add(recipe, "--clip", dream->clip ? "yes" : "no") || recipe_add(recipe, "weights", weights))
        return -1;
    return 0;
}

const char *recipe_value(const struct recipe *recipe, const char *name)
{
    for (int i = 0; i < recipe->count; i++)
        if (!strcmp(recipe->setting[i].name, name))
            return recipe->setting[i].value;
    return NULL;
}

bool recipe_is_built_in(const struct recipe *recipe)
{
    const char *file = recipe_value(recipe, "weights-file");

    return file && is_built_in(file);
}

/* FNV-1a. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < count; i++)
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    return hash;
}

void recipe_mask(const uint16_t *mask, int64_t count, char digits[RECIPE_DIGITS])
{
    uint64_t hash = hash_bytes(UINT64_C(0xcbf29ce484222325), mask, (size_t)count * sizeof *mask);

    snprintf(digits, RECIPE_DIGITS, "%016" PRIx64, hash);
}

void recipe_picture(const struct image *picture, char digits[RECIPE_DIGITS])
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    checkpoint_picture(picture, digits);
    if (!picture->alpha && !picture->icc)
        return;
    if (picture->alpha)
        hash =
            hash_bytes(hash, picture->alpha, (size_t)(picture->width * picture->height) * sizeof *picture->alpha);
    hash = hash_bytes(hash, picture->icc, picture->icc_bytes);
    snprintf(digits + CHECKPOINT_DIGITS - 1, RECIPE_DIGITS - CHECKPOINT_DIGITS + 1, "-%016" PRIx64, hash);
}

/* Its text ------------------------------------------------------------------------------------------------- */

char *recipe_escape(const char *value)
{
    char *escaped = malloc(3 * strlen(value) + 1), *to = escaped;

    if (!escaped) {
        error_set("no memory for a text");
        return NULL;
    }
    for (; *value; value++) {
        if (*value >= 32 && *value <= 126 && *value != '%')
            *to++ = *value;
        else
            to += sprintf(to, "%%%02X", (unsigned)(unsigned char)*value);
    }
    *to = '\0';
    return escaped;
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *found = c ? strchr(digits, tolower((unsigned char)c)) : NULL;

    return found ? (int)(found - digits) : -1;
}

/* Undoes recipe_escape in place. Returns 0, or -1 without an error where text is none of its results. */
static int unescape(char *text)
{
    char *to = text;

    for (; *text; text++) {
        int byte = (unsigned char)*text;

        if (byte == '%') {
            int high = hex_digit(text[1]), low = high < 0 ? -1 : hex_digit(text[2]);
            if (low < 0 || !(high * 16 + low))
                return -1;
            byte = high * 16 + low;
            text += 2;
        } else if (byte < 32 || byte > 126) {
            return -1;
        }
        *to++ = (char)byte;
    }
    *to = '\0';
    return 0;
}

char *recipe_text(const struct recipe *recipe)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    bool failed = !file || fputs(RECIPE_TITLE RECIPE_VERSION "\n", file) < 0;

    for (int i = 0; !failed && i < recipe->count; i++) {
        char *value = recipe_escape(recipe->setting[i].value);
        failed = !value || fprintf(file, "%s=%s\n", recipe->setting[i].name, value) < 0;
        free(value);
    }
    if (file && fclose(file))
        failed = true;
    if (failed) {
        free(text);
        error_set("no memory for the recipe");
        return NULL;
    }
    return text;
}

/* Reading it back ------------------------------------------------------------------------------------------ */

static int damaged(const char *path, const char *reason, const char *name)
{
    return error_set("%s: its recipe is damaged: %s%s", path, reason, name);
}

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if (*text < 32 || *text > 126)
            return false;
    return true;
}

static bool is_file_name(const char *text)
{
    return *text && !strchr(text, '/') && strcmp(text, ".") && strcmp(text, "..");
}

/* Names are shown, so no more can be in them than is in one. */
static bool is_name(const char *text)
{
    const char *rest = text + (is_option(text) ? 2 : 0);
    size_t length = strspn(rest, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return *rest >= 'a' && *rest <= 'z' && !rest[length] && length <= NAME_MOST;
}

static bool is_number(const char *text)
{
    char *end;

    if (!strcmp(text, "none"))
        return true;
    return *text && !text[strspn(text, "0123456789+-.e")] && isfinite(strtod(text, &end)) && !*end;
}

static bool is_hash(const char *text)
{
    return *text && !text[strspn(text, "0123456789abcdef-")];
}

static bool is_size(const char *text)
{
    size_t width = strspn(text, "0123456789");
    size_t height = text[width] == 'x' ? strspn(text + width + 1, "0123456789") : 0;

    return width && width <= SIDE_DIGITS && height && height <= SIDE_DIGITS && !text[width + 1 + height];
}

static bool is_version(const char *text)
{
    return *text && !text[strspn(text, "0123456789.")];
}

/* Refuses a setting that no recipe has. */
static int setting_check(const char *path, const char *name, const char *value)
{
    const struct line *line = line_find(name);

    if (!line)
        return is_option(name) ? damaged(path, "no setting of a dream is called ", name) : 0;
    if (line->flag && strcmp(value, "yes") && strcmp(value, "no"))
        return damaged(path, "neither yes nor no is the value of ", name);
    if (line->file && !is_file_name(value))
        return damaged(path, "no name of a file is the value of ", name);
    if (line->number && !is_number(value))
        return damaged(path, "no number is the value of ", name);
    if (line->hash && !is_hash(value))
        return damaged(path, "no hash is the value of ", name);
    if (line->size && !is_size(value))
        return damaged(path, "no size is the value of ", name);
    if (line->version && !is_version(value))
        return damaged(path, "no version is the value of ", name);
    if (is_option(name) && !line->file && !is_printable(value))
        return damaged(path, "no printable text is the value of ", name);
    return 0;
}

/* Reads one line, which is cut in pieces. */
static int line_parse(const char *path, char *line, struct recipe *out)
{
    char *value = strchr(line, '=');

    if (value)
        *value++ = '\0';
    if (!value || !is_name(line))
        return damaged(path, "a line is not NAME=VALUE", "");
    if (unescape(value))
        return damaged(path, "it cannot be read what is the value of ", line);
    if (recipe_value(out, line))
        return damaged(path, "twice there is ", line);
    return setting_check(path, line, value) || recipe_add(out, line, value) ? -1 : 0;
}

/* Reads all lines behind the title. */
static int lines_parse(const char *path, char *text, struct recipe *out)
{
    while (*text) {
        char *end = strchr(text, '\n');
        if (!end)
            return damaged(path, "it is cut off", "");
        *end = '\0';
        if (line_parse(path, text, out))
            return -1;
        text = end + 1;
    }
    for (int i = 0; i < LINES; i++)
        if (lines[i].always && !recipe_value(out, lines[i].name))
            return damaged(path, "it lacks ", lines[i].name);
    return 0;
}

int recipe_parse(const char *path, const char *text, struct recipe *out)
{
    static const char title[] = RECIPE_TITLE, partial[] = "partial: ";
    const char *start = text;

    *out = (struct recipe){0};
    if (!strncmp(start, partial, sizeof partial - 1) && strchr(start, '\n'))
        start = strchr(start, '\n') + 1;
    if (strncmp(start, title, sizeof title - 1))
        return error_set("%s: has no recipe; pictures have one that pareidolia dream has made without --no-recipe",
                         path);
    out->partial = start != text;
    start += sizeof title - 1;
    size_t digits = strspn(start, "0123456789");
    if (!digits || digits > 9 || start[digits] != '\n')
        return damaged(path, "its first line does not end in a version", "");
    if (strncmp(start, RECIPE_VERSION "\n", sizeof RECIPE_VERSION))
        return error_set("%s: has a recipe of version %.*s; this program reads version %s", path, (int)digits,
                         start, RECIPE_VERSION);
    if (strlen(start) > READ_MOST)
        return damaged(path, "it is longer than the comment of a JPEG can be", "");
    char *copy = strdup(start + digits + 1);
    int result = copy ? lines_parse(path, copy, out) : error_set("%s: no memory for its recipe", path);
    free(copy);
    if (result)
        recipe_free(out);
    return result;
}

int recipe_read(const char *path, struct recipe *out)
{
    char *comment;

    *out = (struct recipe){0};
    if (image_read_comment(path, &comment))
        return -1;
    int result = recipe_parse(path, comment ? comment : "", out);
    free(comment);
    return result;
}

/* Its arguments -------------------------------------------------------------------------------------------- */

/* Writes the argument that setting is, with its end, to `to` where that is not NULL. Returns its bytes, 0: it is
 * none.
 */
static size_t argument_write(const struct checkpoint_setting *setting, unsigned without, char *to, size_t room)
{
    const char *name = setting->name, *value = setting->value;
    const struct line *line = line_find(name);
    int length = 0;

    if (!strcmp(name, "weights-file") && is_built_in(value))
        length = snprintf(to, room, "--weights=%s", value);
    else if (!is_option(name) || (line && line->part & without))
        return 0;
    else if (line && line->flag && !strcmp(value, "no") && !line->off)
        return 0;
    else if (line && line->flag)
        length = snprintf(to, room, "%s", !strcmp(value, "yes") ? name : line->off);
    else
        length = snprintf(to, room, "%s=%s", name, value);
    return (size_t)length + 1;
}

char **recipe_arguments(const struct recipe *recipe, unsigned without, int argc, char **argv, int *count)
{
    size_t bytes = (size_t)(recipe->count + argc + 1) * sizeof(char *), room = 0;

    for (int i = 0; i < recipe->count; i++)
        room += argument_write(&recipe->setting[i], without, NULL, 0);
    char **arguments = malloc(bytes + room);
    if (!arguments) {
        error_set("no memory for the settings");
        return NULL;
    }
    char *to = (char *)arguments + bytes;
    *count = 0;
    for (int i = 0; i < recipe->count; i++) {
        size_t written = argument_write(&recipe->setting[i], without, to, room);

        if (written)
            arguments[(*count)++] = to;
        to += written;
        room -= written;
    }
    for (int i = 0; i < argc; i++)
        arguments[(*count)++] = argv[i];
    arguments[*count] = NULL;
    return arguments;
}
