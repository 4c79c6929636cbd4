/* One case on one device: its tensors, filled with values that depend on nothing but the case, and the calls that
 * it is made of. A trial does not know what is right; it can be run again and again. */
#ifndef PAREIDOLIA_TESTS_TRIAL_H
#define PAREIDOLIA_TESTS_TRIAL_H

#include "cases.h"

#include "host/device.h"

/* What the operations call x, y, ... OP_STIMULATE: X is a, DX is da. OP_ASCEND: X is a, DY is g, Y the picture.
 * OP_DETAIL: X is the original, Y the picture. */
enum slot { X, X_MASK, Y, Y_MASK, ARGMAX, DY, DX, SLOTS };

/* A tensor as the device has it, and all elements of the wider tensor that it is a slice of (itself, if it is no
 * slice) as numbers: a bit is 0 or 1. */
struct operand {
    struct tensor tensor; /* data NULL: the case does without it */
    void *memory;         /* the wider tensor's, on the device */
    int first;            /* the slice's first channel */
    bool written;
    double *before, *after; /* [h][w][pitch]; what is overwritten holds NaN before */
};

struct trial {
    struct device *device;
    const struct op_case *op_case;
    struct operand operands[SLOTS];
    double *kernel, *bias; /* OP_CONV and OP_AVERAGE_POOL */
    struct filter *filter;
    struct conv *convs[2]; /* forward, backward */
    void *scratches[2];
    struct ascent *state;       /* on the device */
    struct ascent *state_after; /* STEPS records */
};

/* What OP_STIMULATE and OP_ASCEND pass. */
#define SEED_SCALE 0.75
#define GRADIENT_SCALE 0.5
#define STEP 0.7
double stimulation_loss_scale(const struct op_case *op_case, int step);

/* Values are rounded to the types of `as`, so that a second device can be given the very same numbers.
 * NULL with an error. */
struct trial *trial_new(struct device *device, const struct op_case *op_case, const struct device *as);
void trial_free(struct trial *trial);

/* Makes everything as it was before the first run. Returns 0, or -1 with an error, like trial_read. */
int trial_reset(struct trial *trial);

/* Queue the case's operations. */
void trial_forward(struct trial *trial);
void trial_backward(struct trial *trial);

/* Waits and fills the operands' after, and state_after. */
int trial_read(struct trial *trial);

/* Element (y, x, c) of an operand in before, after or any array like them. */
static inline double *element_at(const struct operand *o, double *values, int64_t y, int64_t x, int c)
{
    return values + (y * o->tensor.w + x) * o->tensor.pitch + o->first + c;
}

#endif
