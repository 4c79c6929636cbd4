/* One evaluation of a network at a picture, taken apart: what `compare` and the tests look at. A dream runs the
 * same calls in a row (dream.c). */
#ifndef PAREIDOLIA_PROBE_H
#define PAREIDOLIA_PROBE_H

#include "plan.h"

struct probe {
    struct device *device;
    struct plan *plan;
    struct tensor x, g; /* the picture and its gradient */
    struct ascent *state;
};

/* Prepares net on device for pictures of h x w. Returns 0, or -1 with an error; the probe is then closed. */
int probe_open(struct probe *probe, struct device *device, struct net *net, int64_t h, int64_t w);
void probe_close(struct probe *probe);

/* Forward from picture (h * w * 3 floats); each needed node's activation goes to observer, which may be NULL.
 * Returns 0 or -1, as all of these do. */
int probe_forward(struct probe *probe, const float *picture, plan_observer *observer, void *context);

/* Backward after forward, once. gradient receives h * w * 3 values of dL/dx, *loss the forward pass's loss. */
int probe_backward(struct probe *probe, double *gradient, double *loss);

/* After backward: step receives h * w * 3 values of g / max(mean |g|, 1e-7), as the device adds them to the
 * picture. picture is what forward was given. */
int probe_step(struct probe *probe, const float *picture, double *step);

/* ReLU signs and pool winners that differ, and of how many. */
struct flips {
    int64_t signs, signs_of, winners, winners_of;
};

/* After forward on both, and before backward on either: copies the signs and winners of another device for the same
 * targets and size into this one's plan, and counts those that were different. */
int probe_take_kept(struct probe *probe, const struct probe *from, struct flips *flips);

#endif
