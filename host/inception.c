/* The table of Inception-v3 and what follows from it alone: shapes, receptive fields, names. The layers and their
 * numbers are those of keras.applications.inception_v3 as Keras 2.1 names them (arXiv 1512.00567). */
#include "inception.h"

#include "error.h"
#include "nearest.h"

#include <stdio.h>
#include <string.h>

enum padding { VALID, SAME };
enum row_kind { INPUT, CONV, AVERAGED /* a convolution behind an average pool */, POOL, CONCAT, MEAN, DENSE };

/* from names the rows that are read, separated by blanks; channels is 0 where it follows from them. */
static const struct row {
    enum row_kind kind;
    const char *name, *from;
    int kh, kw, stride;
    enum padding padding;
    int channels;
} rows[] = {
    {INPUT, "input_1", "", 1, 1, 1, VALID, 3},
    {CONV, "activation_1", "input_1", 3, 3, 2, VALID, 32},
    {CONV, "activation_2", "activation_1", 3, 3, 1, VALID, 32},
    {CONV, "activation_3", "activation_2", 3, 3, 1, SAME, 64},
    {POOL, "max_pooling2d_1", "activation_3", 3, 3, 2, VALID, 0},
    {CONV, "activation_4", "max_pooling2d_1", 1, 1, 1, VALID, 80},
    {CONV, "activation_5", "activation_4", 3, 3, 1, VALID, 192},
    {POOL, "max_pooling2d_2", "activation_5", 3, 3, 2, VALID, 0},
    {CONV, "activation_6", "max_pooling2d_2", 1, 1, 1, SAME, 64},
    {CONV, "activation_7", "max_pooling2d_2", 1, 1, 1, SAME, 48},
    {CONV, "activation_8", "activation_7", 5, 5, 1, SAME, 64},
    {CONV, "activation_9", "max_pooling2d_2", 1, 1, 1, SAME, 64},
    {CONV, "activation_10", "activation_9", 3, 3, 1, SAME, 96},
    {CONV, "activation_11", "activation_10", 3, 3, 1, SAME, 96},
    {AVERAGED, "activation_12", "max_pooling2d_2", 1, 1, 1, SAME, 32},
    {CONCAT, "mixed0", "activation_6 activation_8 activation_11 activation_12", 1, 1, 1, VALID, 0},
    {CONV, "activation_13", "mixed0", 1, 1, 1, SAME, 64},
    {CONV, "activation_14", "mixed0", 1, 1, 1, SAME, 48},
    {CONV, "activation_15", "activation_14", 5, 5, 1, SAME, 64},
    {CONV, "activation_16", "mixed0", 1, 1, 1, SAME, 64},
    {CONV, "activation_17", "activation_16", 3, 3, 1, SAME, 96},
    {CONV, "activation_18", "activation_17", 3, 3, 1, SAME, 96},
    {AVERAGED, "activation_19", "mixed0", 1, 1, 1, SAME, 64},
    {CONCAT, "mixed1", "activation_13 activation_15 activation_18 activation_19", 1, 1, 1, VALID, 0},
    {CONV, "activation_20", "mixed1", 1, 1, 1, SAME, 64},
    {CONV, "activation_21", "mixed1", 1, 1, 1, SAME, 48},
    {CONV, "activation_22", "activation_21", 5, 5, 1, SAME, 64},
    {CONV, "activation_23", "mixed1", 1, 1, 1, SAME, 64},
    {CONV, "activation_24", "activation_23", 3, 3, 1, SAME, 96},
    {CONV, "activation_25", "activation_24", 3, 3, 1, SAME, 96},
    {AVERAGED, "activation_26", "mixed1", 1, 1, 1, SAME, 64},
    {CONCAT, "mixed2", "activation_20 activation_22 activation_25 activation_26", 1, 1, 1, VALID, 0},
    {CONV, "activation_27", "mixed2", 3, 3, 2, VALID, 384},
    {CONV, "activation_28", "mixed2", 1, 1, 1, SAME, 64},
    {CONV, "activation_29", "activation_28", 3, 3, 1, SAME, 96},
    {CONV, "activation_30", "activation_29", 3, 3, 2, VALID, 96},
    {POOL, "max_pooling2d_3", "mixed2", 3, 3, 2, VALID, 0},
    {CONCAT, "mixed3", "activation_27 activation_30 max_pooling2d_3", 1, 1, 1, VALID, 0},
    {CONV, "activation_31", "mixed3", 1, 1, 1, SAME, 192},
    {CONV, "activation_32", "mixed3", 1, 1, 1, SAME, 128},
    {CONV, "activation_33", "activation_32", 1, 7, 1, SAME, 128},
    {CONV, "activation_34", "activation_33", 7, 1, 1, SAME, 192},
    {CONV, "activation_35", "mixed3", 1, 1, 1, SAME, 128},
    {CONV, "activation_36", "activation_35", 7, 1, 1, SAME, 128},
    {CONV, "activation_37", "activation_36", 1, 7, 1, SAME, 128},
    {CONV, "activation_38", "activation_37", 7, 1, 1, SAME, 128},
    {CONV, "activation_39", "activation_38", 1, 7, 1, SAME, 192},
    {AVERAGED, "activation_40", "mixed3", 1, 1, 1, SAME, 192},
    {CONCAT, "mixed4", "activation_31 activation_34 activation_39 activation_40", 1, 1, 1, VALID, 0},
    {CONV, "activation_41", "mixed4", 1, 1, 1, SAME, 192},
    {CONV, "activation_42", "mixed4", 1, 1, 1, SAME, 160},
    {CONV, "activation_43", "activation_42", 1, 7, 1, SAME, 160},
    {CONV, "activation_44", "activation_43", 7, 1, 1, SAME, 192},
    {CONV, "activation_45", "mixed4", 1, 1, 1, SAME, 160},
    {CONV, "activation_46", "activation_45", 7, 1, 1, SAME, 160},
    {CONV, "activation_47", "activation_46", 1, 7, 1, SAME, 160},
    {CONV, "activation_48", "activation_47", 7, 1, 1, SAME, 160},
    {CONV, "activation_49", "activation_48", 1, 7, 1, SAME, 192},
    {AVERAGED, "activation_50", "mixed4", 1, 1, 1, SAME, 192},
    {CONCAT, "mixed5", "activation_41 activation_44 activation_49 activation_50", 1, 1, 1, VALID, 0},
    {CONV, "activation_51", "mixed5", 1, 1, 1, SAME, 192},
    {CONV, "activation_52", "mixed5", 1, 1, 1, SAME, 160},
    {CONV, "activation_53", "activation_52", 1, 7, 1, SAME, 160},
    {CONV, "activation_54", "activation_53", 7, 1, 1, SAME, 192},
    {CONV, "activation_55", "mixed5", 1, 1, 1, SAME, 160},
    {CONV, "activation_56", "activation_55", 7, 1, 1, SAME, 160},
    {CONV, "activation_57", "activation_56", 1, 7, 1, SAME, 160},
    {CONV, "activation_58", "activation_57", 7, 1, 1, SAME, 160},
    {CONV, "activation_59", "activation_58", 1, 7, 1, SAME, 192},
    {AVERAGED, "activation_60", "mixed5", 1, 1, 1, SAME, 192},
    {CONCAT, "mixed6", "activation_51 activation_54 activation_59 activation_60", 1, 1, 1, VALID, 0},
    {CONV, "activation_61", "mixed6", 1, 1, 1, SAME, 192},
    {CONV, "activation_62", "mixed6", 1, 1, 1, SAME, 192},
    {CONV, "activation_63", "activation_62", 1, 7, 1, SAME, 192},
    {CONV, "activation_64", "activation_63", 7, 1, 1, SAME, 192},
    {CONV, "activation_65", "mixed6", 1, 1, 1, SAME, 192},
    {CONV, "activation_66", "activation_65", 7, 1, 1, SAME, 192},
    {CONV, "activation_67", "activation_66", 1, 7, 1, SAME, 192},
    {CONV, "activation_68", "activation_67", 7, 1, 1, SAME, 192},
    {CONV, "activation_69", "activation_68", 1, 7, 1, SAME, 192},
    {AVERAGED, "activation_70", "mixed6", 1, 1, 1, SAME, 192},
    {CONCAT, "mixed7", "activation_61 activation_64 activation_69 activation_70", 1, 1, 1, VALID, 0},
    {CONV, "activation_71", "mixed7", 1, 1, 1, SAME, 192},
    {CONV, "activation_72", "activation_71", 3, 3, 2, VALID, 320},
    {CONV, "activation_73", "mixed7", 1, 1, 1, SAME, 192},
    {CONV, "activation_74", "activation_73", 1, 7, 1, SAME, 192},
    {CONV, "activation_75", "activation_74", 7, 1, 1, SAME, 192},
    {CONV, "activation_76", "activation_75", 3, 3, 2, VALID, 192},
    {POOL, "max_pooling2d_4", "mixed7", 3, 3, 2, VALID, 0},
    {CONCAT, "mixed8", "activation_72 activation_76 max_pooling2d_4", 1, 1, 1, VALID, 0},
    {CONV, "activation_77", "mixed8", 1, 1, 1, SAME, 320},
    {CONV, "activation_78", "mixed8", 1, 1, 1, SAME, 384},
    {CONV, "activation_79", "activation_78", 1, 3, 1, SAME, 384},
    {CONV, "activation_80", "activation_78", 3, 1, 1, SAME, 384},
    {CONV, "activation_81", "mixed8", 1, 1, 1, SAME, 448},
    {CONV, "activation_82", "activation_81", 3, 3, 1, SAME, 384},
    {CONV, "activation_83", "activation_82", 1, 3, 1, SAME, 384},
    {CONV, "activation_84", "activation_82", 3, 1, 1, SAME, 384},
    {AVERAGED, "activation_85", "mixed8", 1, 1, 1, SAME, 192},
    {CONCAT, "mixed9", "activation_77 activation_79 activation_80 activation_83 activation_84 activation_85", 1, 1,
     1, VALID, 0},
    {CONV, "activation_86", "mixed9", 1, 1, 1, SAME, 320},
    {CONV, "activation_87", "mixed9", 1, 1, 1, SAME, 384},
    {CONV, "activation_88", "activation_87", 1, 3, 1, SAME, 384},
    {CONV, "activation_89", "activation_87", 3, 1, 1, SAME, 384},
    {CONV, "activation_90", "mixed9", 1, 1, 1, SAME, 448},
    {CONV, "activation_91", "activation_90", 3, 3, 1, SAME, 384},
    {CONV, "activation_92", "activation_91", 1, 3, 1, SAME, 384},
    {CONV, "activation_93", "activation_91", 3, 1, 1, SAME, 384},
    {AVERAGED, "activation_94", "mixed9", 1, 1, 1, SAME, 192},
    {CONCAT, "mixed10", "activation_86 activation_88 activation_89 activation_92 activation_93 activation_94", 1, 1,
     1, VALID, 0},
    {MEAN, "avg_pool", "mixed10", 1, 1, 1, VALID, 0},
    {DENSE, "predictions", "avg_pool", 1, 1, 1, VALID, 1000},
};

_Static_assert(sizeof rows / sizeof *rows == NETWORK_NODES, "NETWORK_NODES counts the rows");

static enum node_kind kind_of(enum row_kind kind)
{
    static const enum node_kind kinds[] = {
        [INPUT] = NODE_INPUT,   [CONV] = NODE_CONV,    [AVERAGED] = NODE_CONV, [POOL] = NODE_MAX_POOL,
        [CONCAT] = NODE_CONCAT, [MEAN] = NODE_AVERAGE, [DENSE] = NODE_DENSE};

    return kinds[kind];
}

/* Index of the row whose name is the length characters at name; they are known to be there. */
static int row_named(const char *name, size_t length)
{
    int i = 0;

    while (strlen(rows[i].name) != length || memcmp(rows[i].name, name, length) != 0)
        i++;
    return i;
}

/* The channels that a node puts out, from its inputs' and the weights'; 0 unknown, -1 error. */
static int channels_of(const struct network *network, const struct node *node, const struct row *row,
                       struct weights *weights)
{
    int sum = 0;

    if (node->layer)
        return weights ? weights_channels(weights, node->layer) : row->channels;
    if (node->kind == NODE_INPUT)
        return row->channels;
    for (int i = 0; i < node->inputs; i++) {
        int channels = network->nodes[node->from[i]].channels;

        if (channels == 0)
            return 0;
        sum += channels;
    }
    return sum;
}

int network_init(struct network *network, struct weights *weights)
{
    int layer = 0;

    *network = (struct network){.count = NETWORK_NODES};
    for (int i = 0; i < NETWORK_NODES; i++) {
        const struct row *row = &rows[i];
        struct node *node = &network->nodes[i];

        *node = (struct node){.kind = kind_of(row->kind),
                              .name = row->name,
                              .kh = row->kh,
                              .kw = row->kw,
                              .stride = row->stride,
                              .same = row->padding == SAME,
                              .averaged = row->kind == AVERAGED};
        if (node->kind == NODE_CONV)
            node->layer = ++layer;
        else if (node->kind == NODE_DENSE)
            node->layer = WEIGHTS_DENSE;
        for (const char *from = row->from; *from;) {
            size_t length = strcspn(from, " ");

            node->from[node->inputs++] = row_named(from, length);
            from += length + strspn(from + length, " ");
        }
        node->channels = channels_of(network, node, row, weights);
        if (node->channels < 0)
            return -1;
    }
    return 0;
}

int network_check_node(const struct network *network, struct weights *weights, int index)
{
    const struct node *node = &network->nodes[index];

    if (!node->layer)
        return 0;
    int cin = network->nodes[node->from[0]].channels;
    /* Where that is unknown, what lies before it is at fault, and has been checked before. */
    if (cin > 0 && weights_check(weights, node->layer, node->kh, node->kw, cin))
        return -1;
    /* A mask keeps eight channels a byte, and branches begin at a byte of the concatenation's mask. */
    if (node->kind == NODE_CONV && node->channels % 8 != 0)
        return error_set("%s: %s has %d channels; only multiples of 8 can be computed with", weights_path(weights),
                         node->name, node->channels);
    return 0;
}

int network_find(const struct network *network, const char *name)
{
    const char *names[NETWORK_NODES], *near[3] = {0};

    for (int i = 0; i < network->count; i++) {
        names[i] = network->nodes[i].name;
        if (strcmp(names[i], name) == 0)
            return i;
    }
    nearest_names(name, names, (size_t)network->count, near);
    return error_set(
        "there is no layer \"%s\"; the nearest names are %s, %s and %s (`pareidolia layers` lists all)", name,
        near[0], near[1], near[2]);
}

/* Output rows (or, with columns, columns) of node for n input rows; 0 where nothing is left. */
static int64_t extent(const struct network *network, int index, int64_t n, bool columns)
{
    const struct node *node = &network->nodes[index];

    if (node->kind == NODE_INPUT)
        return n;
    n = extent(network, node->from[0], n, columns);
    if (n == 0 || node->same)
        return n;
    if (node->kind == NODE_AVERAGE)
        return 1;

    int k = columns ? node->kw : node->kh;

    return n < k ? 0 : (n - k) / node->stride + 1;
}

void network_shape(const struct network *network, int node, int64_t h, int64_t w, int64_t shape[3])
{
    shape[0] = extent(network, node, h, false);
    shape[1] = extent(network, node, w, true);
    shape[2] = network->nodes[node].channels;
    if (shape[0] == 0 || shape[1] == 0)
        shape[0] = shape[1] = shape[2] = 0;
}

int64_t network_smallest(const struct network *network, int node, int64_t wanted)
{
    int64_t n = 1;

    /* No 1-dimensional path of the network differs between rows and columns in what it leaves. */
    while (extent(network, node, n, false) < wanted)
        n++;
    return n;
}

struct reach network_reach(const struct network *network, int node, bool columns)
{
    struct reach reach[NETWORK_NODES];

    /* Forward over all nodes up to the one asked for: following the branches back would visit each block once for
     * every path that leads through it. */
    for (int i = 0; i <= node; i++) {
        const struct node *n = &network->nodes[i];
        int64_t k = columns ? n->kw : n->kh, pad = n->same ? (k - 1) / 2 : 0, averaged = n->averaged;
        struct reach in = {.jump = 1};

        for (int j = 0; j < n->inputs; j++) {
            const struct reach *from = &reach[n->from[j]];

            in.jump = from->jump;
            in.before = from->before > in.before ? from->before : in.before;
            in.after = from->after > in.after ? from->after : in.after;
        }
        reach[i] = (struct reach){.jump = in.jump * n->stride,
                                  .before = in.before + (pad + averaged) * in.jump,
                                  .after = in.after + (k - 1 - pad + averaged) * in.jump};
    }
    return reach[node];
}
