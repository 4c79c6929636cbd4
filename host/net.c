/* Opens the network for a set of targets: checks them, and brings the filters they need to the device, each merged
 * group of convolutions as one. Knows nothing of picture sizes; plan.c does. */
#include "net_internal.h"

#include "error.h"

#include <stdlib.h>
#include <string.h>

enum { BORDER = 2 }; /* positions on each side that the article leaves out of the stimulation */

static int check_targets(const struct network *network, const struct target *targets, int count, bool gradient)
{
    for (int i = 0; i < count; i++) {
        const struct node *node = &network->nodes[targets[i].node];

        if (gradient && (node->kind == NODE_INPUT || node->kind == NODE_AVERAGE || node->kind == NODE_DENSE))
            return error_set("%s cannot be stimulated; choose a layer from activation_1 to mixed10", node->name);
        if (targets[i].first < 0 || targets[i].count < 0 ||
            (node->channels > 0 &&
             (targets[i].first >= node->channels || targets[i].count > node->channels - targets[i].first)))
            return error_set("%s has channels 0 to %d; %d channels from %d on were asked for", node->name,
                             node->channels - 1, targets[i].count, targets[i].first);
    }
    return 0;
}

/* Reads the layers of group and puts their kernels side by side: [kh][kw][cin][all couts]. */
static struct filter *open_filter(struct net *net, struct weights *weights, const struct group *group)
{
    const struct node *first = &net->network->nodes[group->member[0]];
    struct filter_desc desc = {.kh = first->kh,
                               .kw = first->kw,
                               .stride = first->stride,
                               .pad_h = first->same ? (first->kh - 1) / 2 : 0,
                               .pad_w = first->same ? (first->kw - 1) / 2 : 0,
                               .cin = net->network->nodes[group->x].channels,
                               .cout = group->y.count,
                               .linear = first->kind == NODE_DENSE ? group->y.count : group->linear};
    size_t rows = (size_t)desc.kh * (size_t)desc.kw * (size_t)desc.cin;
    double *kernel = malloc(rows * (size_t)desc.cout * sizeof *kernel);
    double *bias = malloc((size_t)desc.cout * sizeof *bias);
    struct filter *filter = NULL;
    int done = 0;

    if (!kernel || !bias) {
        error_set("out of memory for the weights of %s", first->name);
        goto fail;
    }
    for (int i = 0; i < group->members; i++) {
        struct layer_weights layer = {.kh = desc.kh, .kw = desc.kw, .cin = desc.cin};

        if (weights_read(weights, net->network->nodes[group->member[i]].layer, &layer) != 0)
            goto fail;
        for (size_t row = 0; row < rows; row++)
            memcpy(kernel + row * (size_t)desc.cout + done, layer.kernel + row * (size_t)layer.cout,
                   (size_t)layer.cout * sizeof *kernel);
        memcpy(bias + done, layer.bias, (size_t)layer.cout * sizeof *bias);
        done += layer.cout;
        layer_weights_free(&layer);
    }
    desc.kernel = kernel;
    desc.bias = bias;
    filter = device_filter_new(net->device, &desc);
fail:
    free(kernel);
    free(bias);
    return filter;
}

/* Every layer that the targets need must be there and fit what it reads; all are checked before the first is read.
 */
static int check_layers(const struct net *net, struct weights *weights)
{
    for (int i = 0; i < net->network->count; i++) {
        if (!net->layout.needed[i] || !network_check_node(net->network, weights, i))
            continue;
        for (int t = 0; t < net->target_count; t++) {
            const struct node *target = &net->network->nodes[net->targets[t].node];

            if (target->channels == 0)
                return error_prefix("%s is not in these weights", target->name);
        }
        return -1;
    }
    return 0;
}

struct net *net_open(struct device *device, const struct network *network, struct weights *weights,
                     const struct target *targets, int count, bool gradient)
{
    struct net *net = NULL;

    if (check_targets(network, targets, count, gradient) != 0)
        return NULL;
    net = calloc(1, sizeof *net);
    if (net)
        net->targets = malloc((size_t)count * sizeof *targets);
    if (!net || !net->targets) {
        error_set("out of memory while the network is opened");
        goto fail;
    }
    net->device = device;
    net->network = network;
    net->gradient = gradient;
    net->target_count = count;
    memcpy(net->targets, targets, (size_t)count * sizeof *targets);
    layout_init(&net->layout, network, targets, count);
    if (check_layers(net, weights) != 0)
        goto fail;
    for (int i = 0; i < count; i++) {
        if (targets[i].count == 0)
            net->targets[i].count = network->nodes[targets[i].node].channels - targets[i].first;
    }
    for (int i = 0; i < net->layout.groups; i++) {
        net->filters[i] = open_filter(net, weights, &net->layout.group[i]);
        if (!net->filters[i])
            goto fail;
    }
    return net;
fail:
    net_close(net);
    return NULL;
}

void net_close(struct net *net)
{
    if (!net)
        return;
    for (int i = 0; i < net->layout.groups; i++)
        device_filter_free(net->device, net->filters[i]);
    free(net->targets);
    free(net);
}

struct device *net_device(const struct net *net)
{
    return net->device;
}

int64_t net_largest(const struct net *net, int64_t h, int64_t w)
{
    int64_t largest = h * w * 3;

    for (int i = 0; i < net->layout.buffers; i++) {
        int64_t shape[3], elements;

        network_shape(net->network, net->layout.buffer[i].node, h, w, shape);
        elements = shape[0] * shape[1] * net->layout.buffer[i].channels;
        largest = elements > largest ? elements : largest;
    }
    return largest;
}

struct stimulation target_region(int64_t h, int64_t w)
{
    struct stimulation region = {0};

    if (h > 2 * BORDER && w > 2 * BORDER)
        region = (struct stimulation){.top = BORDER, .left = BORDER, .bottom = h - BORDER, .right = w - BORDER};
    return region;
}

bool net_stimulates(const struct net *net, int64_t h, int64_t w)
{
    bool any = false;

    for (int i = 0; i < net->target_count; i++) {
        int64_t shape[3];

        network_shape(net->network, net->targets[i].node, h, w, shape);
        if (shape[0] == 0)
            return false;
        any = any || target_region(shape[0], shape[1]).bottom > 0;
    }
    return any;
}
