/* What --layer says: the layers to stimulate, or channels of them, each with a weight. */
#ifndef PAREIDOLIA_TARGETS_H
#define PAREIDOLIA_TARGETS_H

#include "net.h"

enum { TARGETS_MAX = 64 };

struct targets {
    int count;
    struct target target[TARGETS_MAX];
};

/* Parses "NAME" or "NAME:WEIGHT", several separated by commas; a weight is 1 where none is given, and may be
 * negative. "NAME[12,37,64-95]" is these channels of the layer: the loss is the mean over all of them. Returns 0,
 * or -1 with an error for what is unknown (with the nearest names), cannot be stimulated, or is named twice. */
int targets_parse(const struct network *network, const char *text, struct targets *out);

/* How many different layers the targets are of. */
int targets_layers(const struct targets *targets);

/* 0 where a picture of h x w pixels is large enough for every target to have an output, else -1 with an error that
 * names path and the smallest size that is. */
int targets_check_reached(const struct network *network, const struct targets *targets, const char *path, int64_t h,
                          int64_t w);

/* 0 where a picture of h x w pixels gives the targets something to stimulate, else -1 with an error that names
 * path and the smallest size that does. */
int targets_check_stimulated(const struct network *network, const struct targets *targets, const char *path,
                             int64_t h, int64_t w);

#endif
