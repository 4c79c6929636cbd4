/* The little that lies between cJSON and this program's logs and listings. */
#include "json.h"

#include "error.h"
#include "recipe.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_add_number(cJSON *object, const char *name, double value)
{
    /* cJSON by itself is content with 15 digits, and one double in ten is another then. */
    if (isfinite(value))
        cJSON_AddRawToObject(object, name, number_text(value).text);
    else
        cJSON_AddNullToObject(object, name);
}

void json_add_text(cJSON *object, const char *name, const char *text)
{
    static const char replacement[] = "\xef\xbf\xbd";

    if (!text) {
        cJSON_AddNullToObject(object, name);
        return;
    }
    char *clean = malloc(strlen(text) * (sizeof replacement - 1) + 1);
    if (!clean)
        return;
    char *end = clean;
    while (*text) {
        size_t length = text_character(text);
        if (length) {
            memcpy(end, text, length);
            text += length;
            end += length;
        } else {
            memcpy(end, replacement, sizeof replacement - 1);
            text++;
            end += sizeof replacement - 1;
        }
    }
    *end = '\0';
    cJSON_AddStringToObject(object, name, clean);
    free(clean);
}

void json_add_programs(cJSON *object, uint64_t programs)
{
    char digits[17];

    if (!programs)
        return;
    snprintf(digits, sizeof digits, "%016" PRIx64, programs);
    cJSON_AddStringToObject(object, "programs", digits);
}

static void add_setting(cJSON *object, const struct checkpoint_setting *setting)
{
    char name[64];

    snprintf(name, sizeof name, "%s", setting->name + strspn(setting->name, "-"));
    for (char *c = name; *c; c++)
        if (*c == '-')
            *c = '_';
    if (recipe_is_flag(setting->name))
        cJSON_AddBoolToObject(object, name, !strcmp(setting->value, "yes"));
    else if (recipe_is_number(setting->name))
        json_add_number(object, name, strcmp(setting->value, "none") ? strtod(setting->value, NULL) : INFINITY);
    else
        json_add_text(object, name, setting->value);
}

void json_add_recipe(cJSON *object, const struct recipe *recipe, bool facts)
{
    for (int i = 0; i < recipe->count; i++)
        if (!strncmp(recipe->setting[i].name, "--", 2) != facts)
            add_setting(object, &recipe->setting[i]);
}

int json_print(FILE *file, cJSON *value)
{
    char *text = value ? cJSON_Print(value) : NULL;
    int result = 0;

    if (!text)
        result = error_set("no memory for the JSON text");
    else if (fprintf(file, "%s\n", text) < 0)
        result = error_set("cannot be written: %s", strerror(errno));
    cJSON_free(text);
    cJSON_Delete(value);
    return result;
}
