/* The schedule for one picture size: operations in order, forward and backward, and every tensor's place in one
 * allocation. Backward is the forward list read from its end; what it keeps of the forward pass is sign bits and
 * the pools' winners, never activations. plan_run.c runs it. */
#include "arena.h"
#include "error.h"
#include "plan_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

static const struct place none = {.buffer = -1};

/* Half-precision gradients hold 2^-14 to 65504 with all their digits, and 2a / elements would lie below: seeds are
 * scaled to about this times a. Should that prove too large on the way back, it is lowered so often by so many
 * bits; after that 2^-14 a is left, and a seed would lose its digits. */
#define SEED_MULTIPLE 0.25
enum { LOWERINGS = 3 };

/* Building ------------------------------------------------------------------------------------------------ */

/* Makes room for one more element. Returns the array, moved if need be, or NULL. */
static void *grown(void *array, int count, int *room, size_t size)
{
    if (count < *room)
        return array;
    int wanted = *room ? 2 * *room : 64;
    void *larger = realloc(array, (size_t)wanted * size);

    if (larger)
        *room = wanted;
    return larger;
}

/* A buffer of h x w x channels, packed. Returns its index or -1. */
static int add_buffer(struct plan *plan, int64_t h, int64_t w, int channels, enum dtype type)
{
    struct buffer *buffers = grown(plan->buffers, plan->buffer_count, &plan->buffer_room, sizeof *buffers);

    if (!buffers)
        return -1;
    plan->buffers = buffers;
    buffers[plan->buffer_count] =
        (struct buffer){.tensor = {.h = h, .w = w, .c = channels, .pitch = channels, .type = type},
                        .item = {.bytes = dtype_bytes(type, h * w * channels), .first = -1, .last = -1}};
    return plan->buffer_count++;
}

/* The buffer lives at the operation that is about to be added. */
static void touch(struct plan *plan, int buffer)
{
    struct arena_item *item;

    if (buffer < 0)
        return;
    item = &plan->buffers[buffer].item;
    if (item->first < 0)
        item->first = plan->op_count;
    item->last = plan->op_count;
}

static int add_op(struct plan *plan, struct op op)
{
    struct op *ops = grown(plan->ops, plan->op_count, &plan->op_room, sizeof *ops);

    if (!ops)
        return -1;
    plan->ops = ops;
    touch(plan, op.x.buffer);
    touch(plan, op.y.buffer);
    touch(plan, op.mask.buffer);
    touch(plan, op.argmax.buffer);
    touch(plan, op.scratch);
    ops[plan->op_count++] = op;
    return 0;
}

/* A place of the layout in one of its three families of buffers. */
static struct place in(const int *family, struct place place)
{
    place.buffer = family[place.buffer];
    return place;
}

static struct place activation_of(const struct plan *plan, int node)
{
    if (node == 0)
        return (struct place){PICTURE, 0, 3};
    return in(plan->activation, plan->net->layout.place[node]);
}

static struct place gradient_of(const struct plan *plan, int node)
{
    if (node == 0)
        return (struct place){GRADIENT, 0, 3};
    return in(plan->gradient, plan->net->layout.place[node]);
}

/* Where the signs of what an operation writes are kept, if any backward operation will ask for them. */
static struct place mask_at(const struct plan *plan, struct place place)
{
    return plan->mask[place.buffer] < 0 ? none : in(plan->mask, place);
}

/* The signs that a gradient written for node must be masked with. A pool's output needs none: where the maximum is
 * 0 no input is positive, and the mask of the pool's own input removes what arrives there. */
static struct place mask_of_reader(const struct plan *plan, int node)
{
    enum node_kind kind = plan->net->network->nodes[node].kind;

    return kind == NODE_CONV || kind == NODE_CONCAT ? mask_at(plan, plan->net->layout.place[node]) : none;
}

/* The layout's buffers at this size: activations, gradients, masks. */
static int add_layout_buffers(struct plan *plan, int64_t h, int64_t w)
{
    const struct layout *l = &plan->net->layout;
    const struct network *network = plan->net->network;
    enum dtype type = plan->net->device->activation;
    int64_t shape[3];

    if (add_buffer(plan, h, w, 3, plan->net->device->picture) < 0 ||
        add_buffer(plan, h, w, 3, plan->net->device->picture) < 0)
        return -1;
    for (int i = 0; i < l->buffers; i++) {
        network_shape(network, l->buffer[i].node, h, w, shape);
        plan->activation[i] = add_buffer(plan, shape[0], shape[1], l->buffer[i].channels, type);
        plan->gradient[i] = plan->mask[i] = -1;
        if (plan->activation[i] < 0)
            return -1;
        if (!plan->net->gradient)
            continue;
        plan->gradient[i] = add_buffer(plan, shape[0], shape[1], l->buffer[i].channels, type);
        if (plan->gradient[i] < 0)
            return -1;
    }
    for (int i = 1; plan->net->gradient && i < network->count; i++) {
        int buffer = l->place[i].buffer;
        bool masked = network->nodes[i].kind == NODE_CONV || network->nodes[i].kind == NODE_CONCAT;

        if (!l->needed[i] || !masked || l->readers[i] == 0 || plan->mask[buffer] >= 0)
            continue;
        network_shape(network, i, h, w, shape);
        plan->mask[buffer] = add_buffer(plan, shape[0], shape[1], l->buffer[buffer].channels, DTYPE_BITS);
        if (plan->mask[buffer] < 0)
            return -1;
    }
    return 0;
}

struct tensor plan_tensor(const struct plan *plan, struct place place)
{
    struct tensor whole = plan->buffers[place.buffer].tensor;

    if (!whole.data) { /* planning: only shapes are looked at */
        whole.c = place.count;
        return whole;
    }
    return tensor_slice(whole, place.first, place.count);
}

/* Scratch memory for one operation; *buffer is -1 where none is wanted. */
static int add_scratch(struct plan *plan, size_t bytes, int *buffer)
{
    *buffer = bytes ? add_buffer(plan, 1, (int64_t)bytes, 1, DTYPE_U8) : -1;
    return bytes && *buffer < 0 ? -1 : 0;
}

/* Elements of a target's output for the whole picture, of which the loss is the mean. */
static double target_elements(const struct plan *plan, const struct target *target)
{
    int64_t shape[3];

    network_shape(plan->net->network, target->node, plan->whole_h, plan->whole_w, shape);
    return (double)shape[0] * (double)shape[1] * (double)target->count;
}

/* The gradient of the loss at a target's activation a is this times a. */
static double seed_of(const struct plan *plan, const struct target *target)
{
    return 2 * target->weight / target_elements(plan, target);
}

/* Chooses by how much the seeds, and so all gradients, are multiplied. */
static void choose_scale(struct plan *plan)
{
    const struct net *net = plan->net;
    double largest = 0; /* multiple of an activation that a seed would be */

    plan->gradient_scale = 1;
    if (!net->gradient || net->device->activation != DTYPE_F16)
        return;
    for (int i = 0; i < net->target_count; i++)
        largest = fmax(largest, fabs(seed_of(plan, &net->targets[i])));
    if (largest == 0)
        return;
    plan->gradient_scale = exp2(round(log2(SEED_MULTIPLE / largest)));
    plan->lowerings = LOWERINGS;
}

/* Forward ------------------------------------------------------------------------------------------------- */

/* Seeds for a target whose node is complete. A target that is only part of a concatenation, or of its own
 * channels, leaves the rest of the gradient unset: an empty stimulation of the whole clears it first. */
static int add_stimulation(struct plan *plan, int index)
{
    const struct layout *l = &plan->net->layout;
    const struct target *target = &plan->net->targets[index];
    int root = l->root[target->node];
    struct place a = activation_of(plan, target->node), whole = gradient_of(plan, root);
    struct place da = gradient_of(plan, target->node);
    const struct tensor *shape = &plan->buffers[a.buffer].tensor;
    struct op op = {
        .kind = OP_STIMULATE, .node = target->node, .mask = none, .argmax = none, .scratch = -1, .target = -1};

    a.first += target->first;
    da.first += target->first;
    a.count = da.count = target->count;
    if (!plan->started[root] && da.count < whole.count) {
        op.x = op.y = whole;
        op.x.buffer = activation_of(plan, root).buffer;
        if (add_op(plan, op) != 0)
            return -1;
        plan->started[root] = true;
    }
    op.target = index;
    op.x = a;
    op.y = da;
    op.accumulate = plan->started[root];
    op.stimulation = target_region(shape->h, shape->w);
    op.stimulation.loss_scale = target->weight / target_elements(plan, target);
    op.stimulation.seed_scale = seed_of(plan, target) * plan->gradient_scale;
    plan->started[root] = true;
    return add_op(plan, op);
}

static int add_complete(struct plan *plan, int node)
{
    const struct net *net = plan->net;

    if (add_op(plan, (struct op){.kind = OP_COMPLETE,
                                 .node = node,
                                 .x = activation_of(plan, node),
                                 .y = none,
                                 .mask = none,
                                 .argmax = none,
                                 .scratch = -1}) != 0)
        return -1;
    for (int i = 0; net->gradient && i < net->target_count; i++)
        if (net->targets[i].node == node && add_stimulation(plan, i) != 0)
            return -1;
    return 0;
}

/* Prepares op's convolution, of a group, as op will run it: as its places lie, with its mask, adding or not. */
static int prepare_conv(struct plan *plan, int group, struct op *op, struct conv **conv)
{
    struct conv_desc desc = {.x = plan_tensor(plan, op->x),
                             .y = plan_tensor(plan, op->y),
                             .back = op->kind == OP_CONV_BACK,
                             .accumulate = op->accumulate};
    size_t scratch_bytes;

    if (op->mask.buffer >= 0)
        desc.mask = plan_tensor(plan, op->mask);
    *conv = op->conv = device_conv_new(plan->net->device, plan->net->filters[group], &desc, &scratch_bytes);
    return op->conv ? add_scratch(plan, scratch_bytes, &op->scratch) : -1;
}

static int add_conv(struct plan *plan, int index)
{
    const struct net *net = plan->net;
    const struct group *group = &net->layout.group[index];
    struct op op = {.kind = OP_CONV, .node = group->member[0], .argmax = none};

    op.x = activation_of(plan, group->x);
    op.y = in(plan->activation, group->y);
    op.mask = mask_at(plan, group->y);
    if (prepare_conv(plan, index, &op, &plan->forward[index]) != 0 || add_op(plan, op) != 0)
        return -1;
    for (int i = 0; i < group->members; i++)
        if (!net->network->nodes[group->member[i]].averaged && add_complete(plan, group->member[i]) != 0)
            return -1;
    return 0;
}

static int add_average_pool(struct plan *plan, int node)
{
    const struct layout *l = &plan->net->layout;

    if (add_op(plan, (struct op){.kind = OP_AVERAGE_POOL,
                                 .node = node,
                                 .x = in(plan->activation, l->linear[node]),
                                 .y = activation_of(plan, node),
                                 .mask = mask_at(plan, l->place[node]),
                                 .argmax = none,
                                 .filter = plan->net->filters[l->group_of[node]],
                                 .scratch = -1}) != 0)
        return -1;
    return add_complete(plan, node);
}

static int add_max_pool(struct plan *plan, int node)
{
    const struct layout *l = &plan->net->layout;
    const struct tensor *y = &plan->buffers[activation_of(plan, node).buffer].tensor;
    struct op op = {.kind = OP_MAX_POOL, .node = node, .argmax = none, .scratch = -1};

    op.x = activation_of(plan, plan->net->network->nodes[node].from[0]);
    op.y = activation_of(plan, node);
    op.mask = mask_at(plan, l->place[node]);
    if (plan->net->gradient) {
        plan->argmax[node] = add_buffer(plan, y->h, y->w, op.y.count, DTYPE_U8);
        if (plan->argmax[node] < 0)
            return -1;
        op.argmax = (struct place){plan->argmax[node], 0, op.y.count};
    }
    if (add_op(plan, op) != 0)
        return -1;
    return add_complete(plan, node);
}

static int add_forward(struct plan *plan)
{
    const struct network *network = plan->net->network;
    const struct layout *l = &plan->net->layout;

    for (int i = 1; i < network->count; i++) {
        const struct node *node = &network->nodes[i];
        int error = 0;

        if (!l->needed[i])
            continue;
        if (l->group_of[i] >= 0 && !plan->forward[l->group_of[i]])
            error = add_conv(plan, l->group_of[i]);
        if (!error && node->averaged)
            error = add_average_pool(plan, i);
        else if (node->kind == NODE_MAX_POOL)
            error = add_max_pool(plan, i);
        else if (node->kind == NODE_CONCAT)
            error = add_complete(plan, i);
        else if (node->kind == NODE_AVERAGE)
            error = add_op(plan, (struct op){.kind = OP_GLOBAL_AVERAGE,
                                             .node = i,
                                             .x = activation_of(plan, node->from[0]),
                                             .y = activation_of(plan, i),
                                             .mask = none,
                                             .argmax = none,
                                             .scratch = -1}) ||
                    add_complete(plan, i);
        if (error)
            return -1;
    }
    plan->forward_ops = plan->op_count;
    return 0;
}

/* Backward ------------------------------------------------------------------------------------------------ */

/* Sets how op contributes to the gradient of the node x that its forward twin read: the first one writes, the last
 * one masks. */
static void contribute(struct plan *plan, struct op *op, int x)
{
    assert(plan->net->layout.root[x] == x); /* a branch is read through its concatenation only */
    op->x = gradient_of(plan, x);
    op->accumulate = plan->started[x];
    op->mask = --plan->readers_left[x] == 0 ? mask_of_reader(plan, x) : none;
    plan->started[x] = true;
}

static int add_back(struct plan *plan, const struct op *forward)
{
    const struct layout *l = &plan->net->layout;
    const struct node *node = &plan->net->network->nodes[forward->node];
    struct op op = {.node = forward->node, .mask = none, .argmax = none, .scratch = -1};

    if (forward->kind == OP_CONV) {
        int group = l->group_of[forward->node];

        op.kind = OP_CONV_BACK;
        op.y = in(plan->gradient, l->group[group].y);
        contribute(plan, &op, l->group[group].x);
        if (prepare_conv(plan, group, &op, &plan->back[group]) != 0)
            return -1;
    } else if (forward->kind == OP_MAX_POOL) {
        op.kind = OP_MAX_POOL_BACK;
        op.y = gradient_of(plan, forward->node);
        op.argmax = forward->argmax;
        contribute(plan, &op, node->from[0]);
    } else {
        op.kind = OP_AVERAGE_POOL_BACK;
        op.x = in(plan->gradient, l->linear[forward->node]);
        op.y = gradient_of(plan, forward->node);
    }
    return add_op(plan, op);
}

static int add_backward(struct plan *plan)
{
    for (int i = 0; i < plan->net->network->count; i++)
        plan->readers_left[i] = plan->net->layout.readers[i];
    for (int i = plan->forward_ops - 1; i >= 0; i--) {
        struct op forward = plan->ops[i]; /* a copy: the list may move while it grows */

        if ((forward.kind == OP_CONV || forward.kind == OP_MAX_POOL || forward.kind == OP_AVERAGE_POOL) &&
            add_back(plan, &forward) != 0)
            return -1;
    }
    return 0;
}

/* The plan ------------------------------------------------------------------------------------------------ */

/* Gives all buffers but the caller's two a place in the one allocation. */
static int place_buffers(struct plan *plan)
{
    struct arena_item *items = malloc((size_t)plan->buffer_count * sizeof *items);

    if (!items)
        return error_set("out of memory while the network is planned");
    for (int i = 0; i < plan->buffer_count; i++) {
        items[i] = plan->buffers[i].item;
        if (i < OWN || items[i].first < 0)
            items[i].bytes = 0;
    }
    plan->bytes = arena_pack(items, plan->buffer_count);
    for (int i = 0; i < plan->buffer_count; i++)
        plan->buffers[i].item = items[i];
    free(items);
    return plan->bytes == (size_t)-1 ? -1 : 0;
}

static void keep(struct plan *plan, int node, struct place place)
{
    if (place.buffer >= 0 && plan->buffers[place.buffer].tensor.data)
        plan->kept[plan->kept_count++] =
            (struct kept){.node = node, .place = place, .tensor = plan_tensor(plan, place)};
}

/* Lists the signs of every node that writes some, and the winners of every pool. */
static int list_kept(struct plan *plan)
{
    const struct layout *l = &plan->net->layout;

    free(plan->kept);
    plan->kept_count = 0;
    plan->kept = malloc(2 * NETWORK_NODES * sizeof *plan->kept);
    if (!plan->kept)
        return error_set("out of memory while the network is planned");
    for (int i = 1; plan->net->gradient && i < plan->net->network->count; i++) {
        enum node_kind kind = plan->net->network->nodes[i].kind;

        if (!l->needed[i] || (kind != NODE_CONV && kind != NODE_MAX_POOL))
            continue;
        keep(plan, i, mask_at(plan, l->place[i]));
        if (kind == NODE_MAX_POOL)
            keep(plan, i, (struct place){plan->argmax[i], 0, l->place[i].count});
    }
    return 0;
}

/* Every target's output has at least one position. */
static int check_size(const struct net *net, int64_t h, int64_t w)
{
    for (int i = 0; i < net->target_count; i++) {
        int64_t shape[3];

        network_shape(net->network, net->targets[i].node, h, w, shape);
        if (shape[0] == 0) {
            int64_t smallest = network_smallest(net->network, net->targets[i].node, 1);

            return error_set("a picture of %lldx%lld pixels is too small for %s, which wants at least %lldx%lld",
                             (long long)w, (long long)h, net->network->nodes[net->targets[i].node].name,
                             (long long)smallest, (long long)smallest);
        }
    }
    return 0;
}

struct plan *plan_new(struct net *net, int64_t h, int64_t w)
{
    return plan_new_crop(net, h, w, h, w);
}

struct plan *plan_new_crop(struct net *net, int64_t h, int64_t w, int64_t whole_h, int64_t whole_w)
{
    struct plan *plan;

    if (check_size(net, h, w) != 0)
        return NULL;
    plan = calloc(1, sizeof *plan);
    if (!plan) {
        error_set("out of memory while the network is planned");
        return NULL;
    }
    plan->net = net;
    plan->whole_h = whole_h;
    plan->whole_w = whole_w;
    error_set("out of memory while the network is planned"); /* stands unless a device says more */
    if (add_layout_buffers(plan, h, w) != 0)
        goto fail;
    choose_scale(plan);
    if (add_forward(plan) != 0 || (net->gradient && add_backward(plan) != 0) || place_buffers(plan) != 0)
        goto fail;
    return plan;

fail:
    plan_free(plan);
    return NULL;
}

int plan_place(struct plan *plan, void *memory)
{
    for (int i = OWN; i < plan->buffer_count; i++)
        if (plan->buffers[i].item.bytes > 0)
            plan->buffers[i].tensor.data = (char *)memory + plan->buffers[i].item.offset;
    return list_kept(plan);
}

int plan_allocate(struct plan *plan)
{
    assert(!plan->memory);
    plan->memory = device_alloc(plan->net->device, plan->bytes);
    return plan->memory ? plan_place(plan, plan->memory) : -1;
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    for (int i = 0; i < plan->net->layout.groups; i++) {
        device_conv_free(plan->net->device, plan->forward[i]);
        device_conv_free(plan->net->device, plan->back[i]);
    }
    device_free(plan->net->device, plan->memory);
    free(plan->kept);
    free(plan->buffers);
    free(plan->ops);
    free(plan);
}

size_t plan_bytes(const struct plan *plan)
{
    return plan->bytes;
}
