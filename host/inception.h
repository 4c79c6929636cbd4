/* Inception-v3 as a table: which layer reads which, with what kernel. Knows nothing of devices or memory. */
#ifndef PAREIDOLIA_INCEPTION_H
#define PAREIDOLIA_INCEPTION_H

#include "weights/weights.h"

#include <stdbool.h>
#include <stdint.h>

enum node_kind {
    NODE_INPUT,
    NODE_CONV,     /* convolution, folded BatchNorm and ReLU: Keras's activation_N */
    NODE_MAX_POOL, /* 3x3, stride 2, no padding */
    NODE_CONCAT,   /* mixedN: its inputs' channels in their order */
    NODE_AVERAGE,  /* mean over all positions: Keras's avg_pool */
    NODE_DENSE,    /* predictions, before its softmax */
};

enum { NODE_INPUTS = 6, NETWORK_NODES = 112 };

struct node {
    enum node_kind kind;
    const char *name;      /* Keras 2.1's: activation_41, mixed5, max_pooling2d_1 */
    int layer;             /* convolutions and the dense layer: their number in weights.h; else 0 */
    int inputs;            /* how many of from are used */
    int from[NODE_INPUTS]; /* indices of earlier nodes */
    int kh, kw, stride;    /* 1, 1, 1 where the kind has no kernel */
    bool same;             /* zero padding of (k - 1) / 2 on each side; only with stride 1 */
    bool averaged;         /* the input passes through a 3x3 average pool (stride 1, padding not counted) first */
    int channels;          /* out; 0: the weights at hand do not have this layer */
};

/* Nodes in an order in which each follows all that it reads; node 0 is the input. */
struct network {
    int count;
    struct node nodes[NETWORK_NODES];
};

/* Fills in the network with the channel counts of weights; NULL means the published ones. Returns 0, or -1 with an
 * error that names a layer that is malformed. */
int network_init(struct network *network, struct weights *weights);

/* Whether the weights that network was filled in from have what the node needs, in shapes that fit the nodes that
 * it reads, and as many channels as can be computed with. Returns 0, or -1 with an error that names the layer. */
int network_check_node(const struct network *network, struct weights *weights, int node);

/* The index of the node called name, or -1 with an error that gives the nearest names. */
int network_find(const struct network *network, const char *name);

/* Output height and width of node for a picture of h x w pixels, and the channels, into shape[3]; all zero where
 * the picture is too small to reach it. */
void network_shape(const struct network *network, int node, int64_t h, int64_t w, int64_t shape[3]);

/* Smallest height (or width) of a picture at which node's output is at least `rows` high; exact, as it is found by
 * trying. */
int64_t network_smallest(const struct network *network, int node, int64_t rows);

/* What one output of a node depends on in one direction: output i on input pixels i * jump - before to
 * i * jump + after, as far as the picture has them. */
struct reach {
    int64_t jump;          /* input pixels from one output to the next, the same in both directions */
    int64_t before, after; /* 0 or more; before + 1 + after is the receptive field */
};

/* Of rows, or of columns. */
struct reach network_reach(const struct network *network, int node, bool columns);

#endif
