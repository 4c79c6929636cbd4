/* What is in a text, character by character. */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

size_t text_character(const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;
    unsigned char first = byte[0];
    size_t length;

    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    for (size_t i = 1; i < length; i++)
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
    if ((first == 0xe0 && byte[1] < 0xa0) || (first == 0xed && byte[1] > 0x9f) ||
        (first == 0xf0 && byte[1] < 0x90) || (first == 0xf4 && byte[1] > 0x8f))
        return 0;
    return length;
}

size_t text_shown(const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;
    size_t length = text_character(text);

    if (length == 1 && (byte[0] < 32 || byte[0] == 127))
        return 0;
    if (length == 2 && byte[0] == 0xc2 && byte[1] < 0xa0) /* the controls from U+0080 on */
        return 0;
    if (length == 3 && byte[0] == 0xe2 &&
        ((byte[1] == 0x80 && byte[2] >= 0xaa && byte[2] <= 0xae) ||
         (byte[1] == 0x81 && byte[2] >= 0xa6 && byte[2] <= 0xa9)))
        return 0;
    return length;
}

struct number_text number_text(double value)
{
    struct number_text text;

    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text.text, sizeof text.text, "%.*g", digits, value);
        if (strtod(text.text, NULL) == value)
            break;
    }
    return text;
}
