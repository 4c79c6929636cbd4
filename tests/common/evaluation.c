/* Runs single evaluations through the same calls that the dream makes. */
#include "evaluation.h"

#include "host/error.h"
#include "host/transfer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void must(bool succeeded, const char *what)
{
    if (succeeded)
        return;
    printf("FAILED: %s: %s\n", what, error_message());
    exit(EXIT_FAILURE);
}

static struct tensor new_picture(struct device *device, int64_t h, int64_t w)
{
    struct tensor t = {.h = h, .w = w, .c = 3, .pitch = 3, .type = device->picture};

    t.data = device_alloc(device, tensor_bytes(&t));
    must(t.data, "device_alloc");
    return t;
}

struct evaluation evaluation_open(struct device *device, const struct network *network, struct weights *weights,
                                  const char *name, bool gradient, int64_t h, int64_t w)
{
    struct target target = {.node = network_find(network, name), .weight = 1};

    must(target.node >= 0, name);
    return evaluation_open_targets(device, network, weights, &target, 1, gradient, h, w);
}

struct evaluation evaluation_open_targets(struct device *device, const struct network *network,
                                          struct weights *weights, const struct target *targets, int count,
                                          bool gradient, int64_t h, int64_t w)
{
    struct evaluation e = {.device = device};

    e.net = net_open(device, network, weights, targets, count, gradient);
    must(e.net, "net_open");
    e.plan = plan_new(e.net, h, w);
    must(e.plan && plan_allocate(e.plan) == 0, "plan_new");
    e.x = new_picture(device, h, w);
    e.g = new_picture(device, h, w);
    e.state = device_alloc(device, ascent_bytes(1));
    must(e.state, "device_alloc");
    return e;
}

void evaluation_close(struct evaluation *e)
{
    device_free(e->device, e->x.data);
    device_free(e->device, e->g.data);
    device_free(e->device, e->state);
    plan_free(e->plan);
    net_close(e->net);
    *e = (struct evaluation){0};
}

void evaluation_forward(struct evaluation *e, const float *picture, plan_observer *observer, void *context)
{
    must(tensor_upload(e->device, &e->x, picture) == 0, "upload");
    device_clear(e->device, e->state, ascent_bytes(1));
    plan_observe(e->plan, observer, context);
    plan_forward(e->plan, &e->x, e->state);
    plan_observe(e->plan, NULL, NULL);
    must(device_sync(e->device) == 0, "forward");
}

/* Signs or winners that are different in two slices of the same shape. */
static int64_t count_different(const struct tensor *t, const uint8_t *a, const uint8_t *b)
{
    int64_t different = 0;

    for (int64_t pixel = 0; pixel < t->h * t->w; pixel++)
        for (int c = 0; c < t->c; c++) {
            int64_t i = pixel * t->pitch + c;

            different += t->type == DTYPE_BITS ? ((a[i / 8] ^ b[i / 8]) >> i % 8) & 1 : a[i] != b[i];
        }
    return different;
}

int64_t evaluation_take_signs(struct evaluation *e, const struct evaluation *from, int64_t *of)
{
    int64_t different = 0, count = 0;

    for (int i = 0; i < plan_kept(e->plan); i++) {
        int node, other_node;
        const struct tensor *mine = plan_kept_tensor(e->plan, i, &node);
        const struct tensor *theirs = plan_kept_tensor(from->plan, i, &other_node);
        size_t bytes = tensor_bytes(mine);
        uint8_t *a = malloc(bytes), *b = malloc(bytes);

        must(a && b && node == other_node && bytes == tensor_bytes(theirs), "the same signs on both devices");
        must(device_download(e->device, a, mine->data, bytes) == 0, "download");
        must(device_download(from->device, b, theirs->data, bytes) == 0, "download");
        must(device_upload(e->device, mine->data, b, bytes) == 0, "upload");
        different += count_different(mine, a, b);
        count += mine->h * mine->w * mine->c;
        free(a);
        free(b);
    }
    if (of)
        *of = count;
    return different;
}

void evaluation_probabilities(const struct network *network, struct weights *weights, int dense, double *values)
{
    const struct node *node = &network->nodes[dense];
    struct layer_weights layer = {.kh = 1, .kw = 1, .cin = network->nodes[node->from[0]].channels};
    double sum = 0;

    must(weights_read(weights, node->layer, &layer) == 0, node->name);
    for (int i = 0; i < node->channels; i++)
        sum += values[i] = exp(values[i] + layer.bias[i]);
    for (int i = 0; i < node->channels; i++)
        values[i] /= sum;
    layer_weights_free(&layer);
}

double evaluation_backward(struct evaluation *e, double *gradient)
{
    struct ascent *state = malloc(ascent_bytes(1));
    double loss;

    must(state, "malloc");
    plan_backward(e->plan, &e->g);
    must(tensor_download(e->device, &e->g, DTYPE_F64, gradient) == 0, "backward");
    must(device_ascent_read(e->device, e->state, 1, state) == 0, "ascent");
    loss = state->current.loss;
    for (int64_t i = 0; i < e->g.h * e->g.w * 3; i++)
        gradient[i] /= plan_gradient_scale(e->plan);
    free(state);
    return loss;
}
