/* What a plan is made of, for plan.c, which makes it, and plan_run.c, which runs it. */
#ifndef PAREIDOLIA_PLAN_INTERNAL_H
#define PAREIDOLIA_PLAN_INTERNAL_H

#include "arena.h"
#include "net_internal.h"
#include "plan.h"

enum op_kind {
    OP_CONV,
    OP_CONV_BACK,
    OP_MAX_POOL,
    OP_MAX_POOL_BACK,
    OP_AVERAGE_POOL,
    OP_AVERAGE_POOL_BACK,
    OP_GLOBAL_AVERAGE,
    OP_STIMULATE,
    OP_COMPLETE, /* no work: node's activation is there to be observed */
};

/* Indices of the two tensors that the caller brings to each run; the plan's own buffers follow. */
enum { PICTURE, GRADIENT, OWN };

/* How much the gradient's scale is lowered at a time. */
enum { LOWERED_BITS = 4 };

/* Backward operations read dy and write dx: the same fields. */
struct op {
    enum op_kind kind;
    int node;                  /* the first, where a group has several */
    struct place x, y;         /* STIMULATE: a and da */
    struct place mask, argmax; /* mask: of what is written; buffer -1: none */
    bool accumulate;
    struct conv *conv;     /* of the plan */
    struct filter *filter; /* AVERAGE_POOL */
    int scratch;           /* buffer, or -1 */
    struct stimulation stimulation;
    int target; /* STIMULATE: index of the net's, or -1 where it only clears */
};

struct buffer {
    struct tensor tensor; /* over its whole pitch; data is set once the arena stands */
    struct arena_item item;
};

struct kept {
    int node;
    struct place place;
    struct tensor tensor;
};

struct plan {
    const struct net *net;
    int64_t whole_h, whole_w; /* of the picture, of which the plan's may be a crop */
    struct op *ops;
    int op_count, op_room, forward_ops;
    struct buffer *buffers;
    int buffer_count, buffer_room;
    struct conv *forward[NETWORK_NODES]; /* convolutions by group */
    struct conv *back[NETWORK_NODES];
    int activation[NETWORK_NODES];   /* the layout's buffers: index of the activations, */
    int gradient[NETWORK_NODES];     /* the gradients */
    int mask[NETWORK_NODES];         /* and the sign masks, or -1 */
    int argmax[NETWORK_NODES];       /* pools */
    bool started[NETWORK_NODES];     /* while planning: the root's gradient holds a contribution */
    int readers_left[NETWORK_NODES]; /* while planning: contributions still to come */
    struct kept *kept;
    int kept_count;
    void *memory; /* of its own; NULL: not allocated, or lent by plan_place */
    size_t bytes;
    double gradient_scale;
    int lowerings; /* of gradient_scale that are left */
    plan_observer *observer;
    void *observer_context;
};

/* The channels of a buffer that a place names; before the plan is allocated without data, as only shapes are looked
 * at then. */
struct tensor plan_tensor(const struct plan *plan, struct place place);

#endif
