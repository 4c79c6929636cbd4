/* Runs a plan: queues its operations on the device, and lets the host see what they leave. */
#include "error.h"
#include "plan_internal.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

/* The positions of span, which is of the picture's pixels, inside [first, last), counted from where crop begins. */
static struct span positions(struct span span, struct span crop, int64_t jump, int64_t first, int64_t last)
{
    struct span result = {(span.begin + jump - 1) / jump, (span.end + jump - 1) / jump};

    result.begin = result.begin > first ? result.begin : first;
    result.end = result.end < last ? result.end : last;
    result.end = result.end > result.begin ? result.end : result.begin;
    return (struct span){result.begin - crop.begin / jump, result.end - crop.begin / jump};
}

void plan_own(struct plan *plan, const struct strip *rows, const struct strip *columns)
{
    const struct net *net = plan->net;

    for (int i = 0; i < plan->forward_ops; i++) {
        struct op *op = &plan->ops[i];
        struct stimulation whole;
        struct span own_rows, own_columns;
        int64_t jump;
        int64_t shape[3];

        if (op->kind != OP_STIMULATE || op->target < 0)
            continue;
        network_shape(net->network, op->node, plan->whole_h, plan->whole_w, shape);
        jump = network_reach(net->network, op->node, false).jump;
        whole = target_region(shape[0], shape[1]);
        own_rows = positions(rows->own, rows->crop, jump, whole.top, whole.bottom);
        own_columns = positions(columns->own, columns->crop, jump, whole.left, whole.right);
        op->stimulation.top = own_rows.begin;
        op->stimulation.bottom = own_rows.end;
        op->stimulation.left = own_columns.begin;
        op->stimulation.right = own_columns.end;
    }
}

double plan_gradient_scale(const struct plan *plan)
{
    return plan->gradient_scale;
}

bool plan_lower_gradient_scale(struct plan *plan)
{
    if (plan->lowerings == 0)
        return false;
    plan->lowerings--;
    plan->gradient_scale = ldexp(plan->gradient_scale, -LOWERED_BITS);
    for (int i = 0; i < plan->forward_ops; i++) /* other operations' are 0 */
        plan->ops[i].stimulation.seed_scale = ldexp(plan->ops[i].stimulation.seed_scale, -LOWERED_BITS);
    return true;
}

void plan_observe(struct plan *plan, plan_observer *observer, void *context)
{
    plan->observer = observer;
    plan->observer_context = context;
}

int plan_kept(const struct plan *plan)
{
    return plan->kept_count;
}

const struct tensor *plan_kept_tensor(const struct plan *plan, int index, int *node)
{
    *node = plan->kept[index].node;
    return &plan->kept[index].tensor;
}

/* Running ------------------------------------------------------------------------------------------------- */

static void run_op(struct plan *plan, const struct op *op, struct ascent *state)
{
    struct device *device = plan->net->device;
    struct tensor x = {0}, y = {0}, mask = {0}, argmax = {0};
    const struct tensor *m = NULL, *winners = NULL;
    void *scratch = op->scratch < 0 ? NULL : plan->buffers[op->scratch].tensor.data;

    x = plan_tensor(plan, op->x);
    if (op->y.buffer >= 0)
        y = plan_tensor(plan, op->y);
    if (op->mask.buffer >= 0) {
        mask = plan_tensor(plan, op->mask);
        m = &mask;
    }
    if (op->argmax.buffer >= 0) {
        argmax = plan_tensor(plan, op->argmax);
        winners = &argmax;
    }
    switch (op->kind) {
    case OP_CONV:
        device_conv(device, op->conv, &x, &y, m, scratch);
        break;
    case OP_CONV_BACK:
        device_conv_back(device, op->conv, &y, &x, m, scratch);
        break;
    case OP_MAX_POOL:
        device_max_pool(device, &x, &y, winners, m);
        break;
    case OP_MAX_POOL_BACK:
        device_max_pool_back(device, &y, winners, &x, op->accumulate, m);
        break;
    case OP_AVERAGE_POOL:
        device_average_pool(device, &x, op->filter, &y, m);
        break;
    case OP_AVERAGE_POOL_BACK:
        device_average_pool_back(device, &y, &x);
        break;
    case OP_GLOBAL_AVERAGE:
        device_global_average(device, &x, &y);
        break;
    case OP_STIMULATE:
        device_stimulate(device, &op->stimulation, &x, &y, op->accumulate, state);
        break;
    case OP_COMPLETE:
        if (plan->observer)
            plan->observer(plan->observer_context, op->node, &x);
        break;
    }
}

void plan_forward(struct plan *plan, const struct tensor *x, struct ascent *state)
{
    plan->buffers[PICTURE].tensor.data = x->data;
    for (int i = 0; i < plan->forward_ops; i++)
        run_op(plan, &plan->ops[i], state);
}

void plan_backward(struct plan *plan, const struct tensor *g)
{
    plan->buffers[GRADIENT].tensor.data = g->data;
    for (int i = plan->forward_ops; i < plan->op_count; i++)
        run_op(plan, &plan->ops[i], NULL);
}

/* Measuring ----------------------------------------------------------------------------------------------- */

int plan_operations(const struct plan *plan)
{
    return plan->op_count;
}

/* Bytes of the values at a place, without those between them. */
static double place_bytes(const struct plan *plan, struct place place)
{
    if (place.buffer < 0)
        return 0;
    const struct tensor *t = &plan->buffers[place.buffer].tensor;
    return (double)dtype_bytes(t->type, t->h * t->w * place.count);
}

/* Fills in what only convolutions have. */
static void describe_convolution(const struct plan *plan, const struct op *op, struct plan_operation *out)
{
    const struct net *net = plan->net;
    const struct group *group = &net->layout.group[net->layout.group_of[op->node]];
    const struct node *node = &net->network->nodes[op->node];
    const struct tensor *y = &plan->buffers[op->y.buffer].tensor;
    double weights = (double)node->kh * node->kw * net->network->nodes[group->x].channels * op->y.count;

    out->members = group->members;
    out->flops = 2 * (double)(y->h * y->w) * weights;
    out->bytes += (double)dtype_bytes(net->device->activation, (int64_t)weights);
}

bool plan_operation(const struct plan *plan, int index, struct plan_operation *out)
{
    static const char *const kinds[] = {
        [OP_CONV] = "convolution",
        [OP_CONV_BACK] = "convolution",
        [OP_MAX_POOL] = "max pool",
        [OP_MAX_POOL_BACK] = "max pool",
        [OP_AVERAGE_POOL] = "average pool",
        [OP_AVERAGE_POOL_BACK] = "average pool",
        [OP_GLOBAL_AVERAGE] = "global average",
        [OP_STIMULATE] = "stimulation",
    };
    const struct op *op = &plan->ops[index];

    if (op->kind == OP_COMPLETE)
        return false;
    *out = (struct plan_operation){.kind = kinds[op->kind],
                                   .layer = plan->net->network->nodes[op->node].name,
                                   .members = 1,
                                   .backward = index >= plan->forward_ops};
    out->bytes = place_bytes(plan, op->y) + place_bytes(plan, op->mask) + place_bytes(plan, op->argmax);
    if (op->kind != OP_STIMULATE || op->target >= 0) /* one that only clears reads nothing */
        out->bytes += place_bytes(plan, op->x);
    if (op->accumulate) /* what is added to is read, too */
        out->bytes += place_bytes(plan, op->kind == OP_STIMULATE ? op->y : op->x);
    if (op->kind == OP_CONV || op->kind == OP_CONV_BACK)
        describe_convolution(plan, op, out);
    return true;
}

void plan_operation_run(struct plan *plan, int index, struct ascent *state)
{
    run_op(plan, &plan->ops[index], state);
}

int plan_memory(const struct plan *plan, struct plan_memory *out)
{
    struct arena_item *items = malloc((size_t)plan->buffer_count * sizeof *items);

    if (!items)
        return error_set("out of memory while the network's memory is counted");
    *out = (struct plan_memory){0};
    for (int i = 0; i < plan->buffer_count; i++)
        items[i] = plan->buffers[i].item;
    for (int i = 0; i < plan->op_count; i++) {
        const struct op *op = &plan->ops[i];

        if (op->scratch >= 0)
            items[op->scratch].bytes = 0;
        if (op->argmax.buffer >= 0 && i < plan->forward_ops)
            out->kept += items[op->argmax.buffer].bytes;
    }
    for (int i = 0; i < plan->net->layout.buffers; i++)
        if (plan->mask[i] >= 0 && items[plan->mask[i]].first >= 0)
            out->kept += items[plan->mask[i]].bytes;
    out->tensors = arena_pack(items, plan->buffer_count);
    free(items);
    return out->tensors == (size_t)-1 ? -1 : 0;
}
