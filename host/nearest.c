/* Edit distance by the textbook's dynamic programme, for names of options, commands and layers.
 * Of longer names only the beginning is looked at. */
#include "nearest.h"

#include <stdbool.h>
#include <string.h>

enum { LENGTH_MAX = 63 };

/* How far a name is from the wanted one; smaller is nearer, and earlier members weigh more. */
struct distance {
    size_t edits;
    size_t unshared; /* characters of the wanted name behind the common beginning */
    size_t stretch;  /* difference in length */
};

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;

    return least < c ? least : c;
}

static struct distance name_distance(const char *wanted, const char *name)
{
    size_t wanted_length = strnlen(wanted, LENGTH_MAX);
    size_t name_length = strnlen(name, LENGTH_MAX);
    size_t shared = 0;
    size_t row[LENGTH_MAX + 1]; /* row[j]: edits from the first i of name to the first j of wanted */

    for (size_t j = 0; j <= wanted_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= name_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= wanted_length; j++) {
            size_t changed = diagonal + (name[i - 1] != wanted[j - 1]);
            diagonal = row[j];
            row[j] = smallest(row[j] + 1, row[j - 1] + 1, changed);
        }
    }
    while (shared < wanted_length && shared < name_length && wanted[shared] == name[shared])
        shared++;
    return (struct distance){
        .edits = row[wanted_length],
        .unshared = wanted_length - shared,
        .stretch = wanted_length > name_length ? wanted_length - name_length : name_length - wanted_length,
    };
}

static bool distance_less(struct distance a, struct distance b)
{
    if (a.edits != b.edits)
        return a.edits < b.edits;
    if (a.unshared != b.unshared)
        return a.unshared < b.unshared;
    return a.stretch < b.stretch;
}

size_t nearest_names(const char *wanted, const char *const *names, size_t count, const char *out[NEAREST_NAMES])
{
    struct distance distances[NEAREST_NAMES];
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        struct distance distance = name_distance(wanted, names[i]);
        size_t place = found;
        while (place > 0 && distance_less(distance, distances[place - 1]))
            place--;
        if (place == NEAREST_NAMES)
            continue;
        if (found < NEAREST_NAMES)
            found++;
        for (size_t j = found - 1; j > place; j--) {
            distances[j] = distances[j - 1];
            out[j] = out[j - 1];
        }
        distances[place] = distance;
        out[place] = names[i];
    }
    return found;
}
