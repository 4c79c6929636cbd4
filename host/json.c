/* The little that lies between cJSON and this program's logs and listings. */
#include "json.h"

#include "error.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_add_number(cJSON *object, const char *name, double value)
{
    char digits[32];

    if (!isfinite(value)) {
        cJSON_AddNullToObject(object, name);
        return;
    }
    /* As few as bring back the same number; cJSON is content with 15, and one double in ten is another then. */
    for (int count = 15; count <= 17; count++) {
        snprintf(digits, sizeof digits, "%.*g", count, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    cJSON_AddRawToObject(object, name, digits);
}

/* Bytes of the UTF-8 character that text begins with; 0 where it begins with none. Overlong forms, surrogates and
 * what lies beyond U+10FFFF are none. */
static size_t character_length(const unsigned char *text)
{
    unsigned char first = text[0];
    size_t length;

    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((first == 0xe0 && text[1] < 0xa0) || (first == 0xed && text[1] > 0x9f) ||
        (first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
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
        size_t length = character_length((const unsigned char *)text);
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
