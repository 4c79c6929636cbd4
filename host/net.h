/* The network on a device, for one set of targets: which layers are needed, and their filters. plan.h has what
 * runs. */
#ifndef PAREIDOLIA_NET_H
#define PAREIDOLIA_NET_H

#include "device.h"
#include "inception.h"

/* One thing to stimulate: channels [first, first + count) of a node, as the mean of their squares (border of 2
 * positions left out of the sum, not of the mean's count) times weight. */
struct target {
    int node;
    int first, count; /* count 0: all channels */
    double weight;
};

struct net;

/* Brings the filters that the targets need to the device. gradient: plans will run plan_backward, too. Returns NULL
 * with an error that names the layer that is missing or does not fit. network and device must outlive the net. */
struct net *net_open(struct device *device, const struct network *network, struct weights *weights,
                     const struct target *targets, int count, bool gradient);
void net_close(struct net *net);

struct device *net_device(const struct net *net);

/* Elements of the largest tensor for a picture of h x w pixels. From NET_TENSOR_LIMIT on 32 bits cannot count them,
 * as GPU libraries' fast kernels do: such pictures are better computed in tiles. */
#define NET_TENSOR_LIMIT ((int64_t)1 << 31)
int64_t net_largest(const struct net *net, int64_t h, int64_t w);

/* Whether a picture of h x w pixels gives any target a position to stimulate; false also where the picture does
 * not reach a target at all. */
bool net_stimulates(const struct net *net, int64_t h, int64_t w);

#endif
