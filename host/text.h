/* Texts from elsewhere, as terminals and other programs can be given them, and numbers as text. */
#ifndef PAREIDOLIA_TEXT_H
#define PAREIDOLIA_TEXT_H

#include <stddef.h>

/* Bytes of the UTF-8 character that text begins with, 1 for an end; 0 where it begins with none. Overlong forms,
 * surrogates and what lies beyond U+10FFFF are none. */
size_t text_character(const char *text);

/* That, but 0 also where a terminal would obey it: control characters, line ends among them, and the characters
 * that change the direction of writing (U+202A to U+202E, U+2066 to U+2069). */
size_t text_shown(const char *text);

struct number_text {
    char text[32];
};

/* A finite number with as few digits, 15 to 17, as bring back the same double. */
struct number_text number_text(double value);

#endif
