/* Sets up device, weights and network for a command, in the order in which failing is cheapest. */
#include "session.h"

#include "error.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct option session_option_table[] = {
    {.name = "device",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct session_options, device),
     .argument = "NAME",
     .help = "what computes; pareidolia --version lists the devices of this build (default: the first of them)"},
    {.name = "precision",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct session_options, precision),
     .argument = "TYPE",
     .help = "fp32, bf16 or fp64, as far as the device has it (default: the device's own)"},
    {.name = "threads",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct session_options, threads),
     .argument = "N",
     .help = "processor threads, 0 for all; the result does not depend on it",
     .least = 0,
     .most = 4096},
    {.name = "weights",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct session_options, weights),
     .argument = "FILE",
     .help = "Keras's .h5 or .safetensors, or the word untrained (default: $PAREIDOLIA_WEIGHTS, else what "
             "weights/fetch.sh fetched)"},
    {.name = NULL},
};

static struct device *open_device(const struct session_options *options)
{
    const char *name = options->device ? options->device : device_names()[0];

    return device_open(name,
                       &(struct device_options){.precision = options->precision, .threads = options->threads});
}

static struct weights *open_weights(const struct session_options *options, bool dense)
{
    if (options->weights)
        return weights_open(options->weights);
    char *path = weights_find(dense);
    if (!path)
        return NULL;
    struct weights *weights = weights_open(path);
    free(path);
    return weights;
}

int session_open(struct session *session, const struct session_options *options, const struct targets *targets,
                 bool gradient, bool dense)
{
    *session = (struct session){0};
    session->device = open_device(options);
    if (!session->device)
        goto fail;
    session->weights = open_weights(options, dense);
    if (!session->weights)
        goto fail;
    if (network_init(&session->network, session->weights))
        goto fail;
    session->net =
        net_open(session->device, &session->network, session->weights, targets->target, targets->count, gradient);
    if (!session->net)
        goto fail;
    return 0;

fail:
    session_close(session);
    return -1;
}

void session_close(struct session *session)
{
    net_close(session->net);
    weights_close(session->weights);
    device_close(session->device);
    *session = (struct session){0};
}

void session_notice(const struct session *session)
{
    if (!strcmp(weights_path(session->weights), "untrained"))
        fputs(
            "pareidolia: the weights are untrained, so the shapes mean nothing; weights/fetch.sh gets real ones\n",
            stderr);
}
