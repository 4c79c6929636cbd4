/* What --layer says: the layers to stimulate, each with a weight. */
#ifndef PAREIDOLIA_TARGETS_H
#define PAREIDOLIA_TARGETS_H

#include "net.h"

enum { TARGETS_MAX = 16 };

struct targets {
    int count;
    struct target target[TARGETS_MAX];
};

/* Parses "NAME" or "NAME:WEIGHT", several separated by commas; a weight is 1 where none is given. Returns 0, or -1
 * with an error for what is unknown (with the nearest names), cannot be stimulated, or is named twice. */
int targets_parse(const struct network *network, const char *text, struct targets *out);

/* 0 where a picture of h x w pixels is large enough for every target to have an output, else -1 with an error that
 * names path and the smallest size that is. */
int targets_check_reached(const struct network *network, const struct targets *targets, const char *path, int64_t h,
                          int64_t w);

/* 0 where a picture of h x w pixels gives the targets something to stimulate, else -1 with an error that names
 * path and the smallest size that does. */
int targets_check_stimulated(const struct network *network, const struct targets *targets, const char *path,
                             int64_t h, int64_t w);

#endif
