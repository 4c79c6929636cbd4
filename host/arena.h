/* Places of short-lived buffers in one allocation: two buffers may share bytes where their lives do not meet. */
#ifndef PAREIDOLIA_ARENA_H
#define PAREIDOLIA_ARENA_H

#include <stddef.h>

/* Bytes to which every place is aligned: enough for any vector type, and what GPU libraries are given elsewhere. */
enum { ARENA_ALIGNMENT = 256 };

struct arena_item {
    size_t bytes;    /* 0: takes no place */
    int first, last; /* its life: from before step first to after step last */
    size_t offset;   /* out */
};

/* Gives every item an offset such that items whose lives meet do not overlap. Returns the bytes needed in all, or
 * (size_t)-1 with an error when memory for sorting is short. */
size_t arena_pack(struct arena_item *items, int count);

#endif
