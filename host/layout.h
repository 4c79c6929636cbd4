/* Where the tensors of a set of targets live, for any picture size: which nodes are needed, which convolutions run
 * as one, and which channels of which buffer each output occupies. Pure bookkeeping; no device, no memory.
 *
 * A block of the network is laid out so that nothing is ever copied together. Its buffer begins with what only the
 * block itself reads, and ends with the concatenation:
 *
 *     [ pooled branch before its pool | inner 1x1s | branch 0 | branch 1 | ... ]
 *       `------------ one merged 1x1 convolution ----------'
 *       `------- prefix -------------' `---------- mixedN ---------------'
 *
 * The 1x1 convolutions that read the same tensor write the front of it as one; the other branches write their
 * slices. Gradients and sign masks use the same layout, so backward the merged convolution sums its branches for
 * free. */
#ifndef PAREIDOLIA_LAYOUT_H
#define PAREIDOLIA_LAYOUT_H

#include "net.h"

enum { LAYOUT_MEMBERS = 4 };

/* Channels [first, first + count) of a buffer; buffer -1: none. */
struct place {
    int buffer, first, count;
};

/* Convolutions that run as one: a single one, or 1x1s that read the same node. */
struct group {
    int x; /* the node that is read */
    int members;
    int member[LAYOUT_MEMBERS]; /* nodes in the order of their channels; an averaged one comes first */
    int linear;                 /* channels of the averaged member, which get their bias and ReLU in the pool */
    struct place y;             /* all members' outputs */
};

/* All tensors of a buffer are as high and wide as this node's output. */
struct layout_buffer {
    int node;
    int channels;
};

struct layout {
    bool needed[NETWORK_NODES];
    int root[NETWORK_NODES];          /* the needed concatenation that holds the node's output, or the node itself */
    struct place place[NETWORK_NODES];  /* the node's output */
    struct place linear[NETWORK_NODES]; /* averaged convolutions: their output before the pool */
    int group_of[NETWORK_NODES];        /* convolutions: index of their group */
    int readers[NETWORK_NODES];         /* operations that read the node: groups and pools */
    int groups;
    struct group group[NETWORK_NODES];
    int buffers;
    struct layout_buffer buffer[NETWORK_NODES];
};

/* Fills in the layout. The channels of all needed nodes are known. */
void layout_init(struct layout *layout, const struct network *network, const struct target *targets, int count);

#endif
