/* Tests what of a text is a character and what a terminal may be given (host/text.c), and numbers as text. */
#include "text.h"

#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

static void test_characters(void)
{
    static const struct {
        const char *text;
        size_t character, shown;
    } cases[] = {
        {"a", 1, 1},
        {"\xc3\xa9", 2, 2},         /* e with an acute accent */
        {"\xe2\x98\x95", 3, 3},     /* a cup */
        {"\xf0\x9f\x98\x80", 4, 4}, /* a face */
        {"\xf4\x8f\xbf\xbf", 4, 4}, /* the last there is */
        {"\x1b[2J", 1, 0},          /* clears the screen */
        {"\n", 1, 0},               /* begins another line */
        {"\x7f", 1, 0},             /* DEL */
        {"\xc2\x9b", 2, 0},         /* what ESC [ is, too */
        {"\xc2\x80", 2, 0},         /* the first of these, */
        {"\xc2\xa0", 2, 2},         /* and what is behind the last */
        {"\xe2\x80\xa9", 3, 3},     /* before the first that turns the direction of writing, */
        {"\xe2\x80\xaa", 3, 0},     /* that, */
        {"\xe2\x80\xae", 3, 0},     /* the last of the first group, */
        {"\xe2\x80\xaf", 3, 3},     /* and behind it */
        {"\xe2\x81\xa5", 3, 3},     /* so for the second group */
        {"\xe2\x81\xa6", 3, 0},
        {"\xe2\x81\xa9", 3, 0},
        {"\xe2\x81\xaa", 3, 3},
        {"\x9b", 0, 0}, /* no UTF-8: continues what has not begun, */
        {"\xc3", 0, 0}, /* is cut off, */
        {"\xc3\x28", 0, 0},
        {"\xe2\x98", 0, 0},
        {"\xf0\x9f\x98", 0, 0},
        {"\xc0\xaf", 0, 0}, /* longer than it need be, */
        {"\xe0\x9f\xbf", 0, 0},
        {"\xf0\x8f\xbf\xbf", 0, 0},
        {"\xed\xa0\x80", 0, 0},     /* half of a pair, */
        {"\xf4\x90\x80\x80", 0, 0}, /* behind the last */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(text_character(cases[i].text) == cases[i].character && text_shown(cases[i].text) == cases[i].shown,
              "case %zu: %zu, of which %zu are shown", i, text_character(cases[i].text), text_shown(cases[i].text));
}

static void test_numbers(void)
{
    static const double values[] = {0.1, 1.0 / 3, 1e-300, -2, 1000000, 0.1 + 0.2, 1.7976931348623157e308};
    static const char *const texts[] = {
        "0.1", "0.3333333333333333", "1e-300", "-2", "1000000", "0.30000000000000004", "1.7976931348623157e+308"};

    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        CHECK(!strcmp(number_text(values[i]).text, texts[i]) && strtod(texts[i], NULL) == values[i], "%s",
              number_text(values[i]).text);
}

int main(void)
{
    test_characters();
    test_numbers();
    return check_result();
}
