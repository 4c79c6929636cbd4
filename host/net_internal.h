/* An opened network, for net.c, tiles.c and the files of plans. */
#ifndef PAREIDOLIA_NET_INTERNAL_H
#define PAREIDOLIA_NET_INTERNAL_H

#include "layout.h"

struct net {
    struct device *device;
    const struct network *network;
    struct target *targets;
    int target_count;
    bool gradient;
    struct layout layout;
    struct filter *filters[NETWORK_NODES]; /* by group */
};

/* The positions of target's node that are stimulated, for a node of shape h x w. */
struct stimulation target_region(int64_t h, int64_t w);

#endif
