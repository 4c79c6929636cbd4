/* What a mistyped name was probably meant to be. */
#ifndef PAREIDOLIA_NEAREST_H
#define PAREIDOLIA_NEAREST_H

#include <stddef.h>

enum { NEAREST_NAMES = 3 };

/* Puts the names that take the fewest insertions, deletions and changes of a character to become wanted into out,
 * nearest first; of equally near ones first what shares the longer beginning with wanted, then what has its
 * length, then what comes first in names. Returns how many there are: count, at most NEAREST_NAMES. */
size_t nearest_names(const char *wanted, const char *const *names, size_t count, const char *out[NEAREST_NAMES]);

#endif
