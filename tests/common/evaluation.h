/* One evaluation of the network on one device: loss and gradient of a target at a picture, the activations on the
 * way, and the signs and winners that the backward pass used. */
#ifndef PAREIDOLIA_TESTS_EVALUATION_H
#define PAREIDOLIA_TESTS_EVALUATION_H

#include "host/probe.h"

struct evaluation {
    struct net *net;
    struct probe probe;
};

/* Opens the target (gradient false: only its activation) for pictures of h x w. Prints what is wrong and ends the
 * program on failure, as all of these do. */
struct evaluation evaluation_open(struct device *device, const struct network *network, struct weights *weights,
                                  const char *target, bool gradient, int64_t h, int64_t w);

/* The same for count targets at once. */
struct evaluation evaluation_open_targets(struct device *device, const struct network *network,
                                          struct weights *weights, const struct target *targets, int count,
                                          bool gradient, int64_t h, int64_t w);
void evaluation_close(struct evaluation *e);

/* Forward from picture (h * w * 3 floats); each needed node's activation goes to observer, which may be NULL. */
void evaluation_forward(struct evaluation *e, const float *picture, plan_observer *observer, void *context);

/* Copies another device's signs and winners for the same target and size into this one's plan. Returns how many
 * signs and winners were different, and of how many, where wanted. */
int64_t evaluation_take_signs(struct evaluation *e, const struct evaluation *from, int64_t *of);

/* Backward after forward. gradient receives h * w * 3 values of dL/dx; returns the loss of the forward pass. */
double evaluation_backward(struct evaluation *e, double *gradient);

/* Turns the dense layer's output, which is without its bias, into probabilities, as `classify` does. */
void evaluation_probabilities(const struct network *network, struct weights *weights, int dense, double *values);

/* Ends the program with the error sentence when failed. */
void must(bool succeeded, const char *what);

#endif
