/* Ends the program where anything fails; the work is probe.c's. */
#include "evaluation.h"

#include "host/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void must(bool succeeded, const char *what)
{
    if (succeeded)
        return;
    printf("FAILED: %s: %s\n", what, error_message());
    exit(EXIT_FAILURE);
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
    struct evaluation e = {.net = net_open(device, network, weights, targets, count, gradient)};

    must(e.net, "net_open");
    must(probe_open(&e.probe, device, e.net, h, w) == 0, "probe_open");
    return e;
}

void evaluation_close(struct evaluation *e)
{
    probe_close(&e->probe);
    net_close(e->net);
    e->net = NULL;
}

void evaluation_forward(struct evaluation *e, const float *picture, plan_observer *observer, void *context)
{
    must(probe_forward(&e->probe, picture, observer, context) == 0, "forward");
}

int64_t evaluation_take_signs(struct evaluation *e, const struct evaluation *from, int64_t *of)
{
    struct flips flips;

    must(probe_take_kept(&e->probe, &from->probe, &flips) == 0, "the signs of another device");
    if (of)
        *of = flips.signs_of + flips.winners_of;
    return flips.signs + flips.winners;
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
    double loss;

    must(probe_backward(&e->probe, gradient, &loss) == 0, "backward");
    return loss;
}
