/* Runs a plan: queues its operations on the device, and lets the host see what they leave. */
#include "plan_internal.h"

#include <math.h>
#include <stddef.h>

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
