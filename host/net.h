/* The network on a device, for one set of targets: which layers are needed, their filters, and for each picture
 * size a plan (operations in order, every buffer's place in one allocation). */
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
struct plan;

/* Brings the filters that the targets need to the device. gradient: plans will run net_backward, too. Returns NULL
 * with an error that names the layer that is missing or does not fit. network and device must outlive the net. */
struct net *net_open(struct device *device, const struct network *network, struct weights *weights,
                     const struct target *targets, int count, bool gradient);
void net_close(struct net *net);

/* Plans for pictures of h x w pixels; takes no device memory yet. Returns NULL with an error where the picture is
 * too small to reach a target or memory is short. The net must outlive the plan. */
struct plan *plan_new(struct net *net, int64_t h, int64_t w);
void plan_free(struct plan *plan);

/* Bytes of the plan's one allocation, taken already or not. */
size_t plan_bytes(const struct plan *plan);

/* Takes it, once, before the plan is run. Returns 0 or -1 with an error. */
int plan_allocate(struct plan *plan);

/* Whether a picture of h x w pixels gives any target a position to stimulate; false also where the picture does
 * not reach a target at all. */
bool net_stimulates(const struct net *net, int64_t h, int64_t w);

/* Sees each needed node's activation as soon as it is complete; the tensor lies in device memory and is valid
 * during the call only. Set on a plan by plan_observe, NULL to end. */
typedef void plan_observer(void *context, int node, const struct tensor *activation);
void plan_observe(struct plan *plan, plan_observer *observer, void *context);

/* Queues the forward pass from picture x (h x w x 3, the device's picture type) to the targets: adds the loss to
 * state->current.loss and sets the seeds of the backward pass. state may be NULL without targets to stimulate
 * (net_open without gradient). */
void plan_forward(struct plan *plan, const struct tensor *x, struct ascent *state);

/* Queues the backward pass into g (shaped like x): plan_gradient_scale times the gradient of the loss. */
void plan_backward(struct plan *plan, const struct tensor *g);

/* What g must be divided by, a power of two: seeds are scaled so that half-precision gradients stay in range. 1 for
 * the types that do not need it. */
double plan_gradient_scale(const struct plan *plan);

/* Makes the scale 16 times smaller, for the next plan_forward, after a gradient that overflowed. False where it
 * cannot be, or not any further. */
bool plan_lower_gradient_scale(struct plan *plan);

/* The ReLU signs and pool winners that the forward pass left for the backward pass, in schedule order: how many
 * there are, and the tensor and node of each (BITS or U8; once allocated, valid while the plan lives). Two plans of
 * the same network, targets and size list the same ones. */
int plan_kept(const struct plan *plan);
const struct tensor *plan_kept_tensor(const struct plan *plan, int index, int *node);

#endif
