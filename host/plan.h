/* The network's operations for one size, in order, with every buffer's place in one allocation: for a whole picture
 * or for a tile of one. */
#ifndef PAREIDOLIA_PLAN_H
#define PAREIDOLIA_PLAN_H

#include "net.h"
#include "tiles.h"

struct plan;

/* Plans for pictures of h x w pixels; takes no device memory yet. Returns NULL with an error where the picture is
 * too small to reach a target or memory is short. The net must outlive the plan. */
struct plan *plan_new(struct net *net, int64_t h, int64_t w);

/* The same for crops of h x w pixels of a picture of whole_h x whole_w: the loss is the share of the whole
 * picture's that the plan owns. */
struct plan *plan_new_crop(struct net *net, int64_t h, int64_t w, int64_t whole_h, int64_t whole_w);
void plan_free(struct plan *plan);

/* From the next plan_forward on only the positions of the targets that the tile owns are stimulated. A new plan
 * stimulates all that a picture of its own size has. */
void plan_own(struct plan *plan, const struct strip *rows, const struct strip *columns);

/* Bytes of the plan's one allocation, taken already or not. */
size_t plan_bytes(const struct plan *plan);

/* Takes it, once, before the plan is run. Returns 0 or -1 with an error. */
int plan_allocate(struct plan *plan);

/* Instead: uses plan_bytes of the caller's device memory, which several plans may share, until the next call.
 * Returns 0 or -1 with an error. */
int plan_place(struct plan *plan, void *memory);

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

/* For measurements: what one operation of the plan does. */
struct plan_operation {
    const char *kind;  /* "convolution", "max pool", "average pool", "global average", "stimulation" */
    const char *layer; /* of several that run as one, the first */
    int members;       /* how many run as one */
    bool backward;
    /* Of convolutions as they are defined, a multiply-add being two: a device that transforms them does fewer. 0 of
     * all others. */
    double flops;
    /* Of all that it reads and of all that it writes, each once: tensors, signs, winners, parameters. */
    double bytes;
};

/* Operations 0..plan_operations-1 stand in the order in which they run. plan_operation returns false for one that
 * does no work. */
int plan_operations(const struct plan *plan);
bool plan_operation(const struct plan *plan, int index, struct plan_operation *out);

/* Queues one operation alone, on the pictures of the last plan_forward and plan_backward. What it reads is what it
 * should be if all operations run in their order from the first one on; each may run several times in its turn,
 * those that add to a tensor then add more than once. */
void plan_operation_run(struct plan *plan, int index, struct ascent *state);

/* What plan_bytes is made of. */
struct plan_memory {
    /* What plan_bytes would be without the convolutions' scratch memory: activations, their gradients and */
    size_t tensors;
    /* the signs and winners that the forward pass leaves for the backward pass. */
    size_t kept;
};

/* Returns 0, or -1 with an error when memory is short. */
int plan_memory(const struct plan *plan, struct plan_memory *out);

#endif
