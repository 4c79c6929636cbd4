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
     .help =
         "what computes: cuda (cuda:1 is the second GPU), cpu or reference, as far as pareidolia --version lists "
         "them; auto takes a GPU, or else the cpu (default: auto)"},
    {.name = "precision",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct session_options, precision),
     .argument = "TYPE",
     .help = "cuda has fp16, bf16, tf32 and fp32, cpu fp32 and bf16, reference fp64 (default: the device's first)"},
    {.name = "threads",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct session_options, threads),
     .argument = "N",
     .help = "processor threads, 0 for all; the result does not depend on it",
     .least = 0,
     .most = 1024},
    {.name = "tune",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct session_options, tune),
     .help = "time the GPU's convolution programs once, keep the fastest in a file, and use them"},
    {.name = "weights",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct session_options, weights),
     .argument = "FILE",
     .help = "Keras's .h5 or .safetensors; or the word embedded, the small network that is built in (default: "
             "$PAREIDOLIA_WEIGHTS, else what weights/fetch.sh fetched, else embedded)"},
    {.name = NULL},
};

const struct option limits_option_table[] = {
    {.name = "memory",
     .kind = OPTION_BYTES,
     .offset = offsetof(struct schedule_limits, memory),
     .argument = "BYTES",
     .help =
         "what may be taken of the device's memory, as 6G or 500M (default: what is free). Where that is too "
         "little for "
         "the whole picture, tiles are computed, with the same result to rounding; where it is too little for the "
         "pictures, too, 36 bytes a pixel, these lie in the host's memory and do not count"},
    {.name = "tile",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct schedule_limits, tile),
     .argument = "N",
     .help =
         "compute in tiles of N x N pixels, each with the surroundings that it depends on; 0: as memory wants it",
     .least = 0,
     .most = 1000000},
    {.name = NULL},
};

static bool is_auto(const struct session_options *options)
{
    return !options->device || !strcmp(options->device, "auto");
}

/* What "auto" may be, in this order. */
static const char *const candidates[] = {"cuda", "cpu"};

enum { CANDIDATES = sizeof candidates / sizeof *candidates };

int session_check(const struct session_options *options)
{
    if (!is_auto(options))
        return device_check(options->device, options->precision);
    for (int i = 0; i < CANDIDATES; i++)
        if (!device_check(candidates[i], options->precision))
            return 0;
    return error_set("--precision %s: no device that --device auto takes has it; --help lists what each has",
                     options->precision);
}

/* Opens the first candidate that this build has, in the precision that is asked for, and that opens. */
static struct device *open_auto(const struct session_options *options, const struct device_options *device_options,
                                char *reason, size_t reason_size)
{
    struct device *device = NULL;
    char last[512];

    for (int i = 0; !device && i < CANDIDATES; i++) {
        if (device_check(candidates[i], options->precision))
            continue;
        device = device_open(candidates[i], device_options);
        if (!device && i + 1 < CANDIDATES)
            snprintf(reason, reason_size, "%s", error_message());
    }
    if (!device && *reason) {
        snprintf(last, sizeof last, "%s", error_message());
        error_set("%s, and %s", reason, last);
    }
    return device;
}

static struct device *open_device(const struct session_options *options, char *reason, size_t reason_size)
{
    const struct device_options device_options = {
        .precision = options->precision, .threads = options->threads, .tune = options->tune};

    if (is_auto(options))
        return open_auto(options, &device_options, reason, reason_size);
    return device_open(options->device, &device_options);
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
    session->device = open_device(options, session->no_gpu, sizeof session->no_gpu);
    if (!session->device)
        goto fail;
    if (!session->device->in_host_memory) {
        session->host = device_open("cpu", &(struct device_options){.threads = options->threads});
        if (!session->host)
            goto fail;
    }
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
    device_close(session->host);
    device_close(session->device);
    *session = (struct session){0};
}

void session_notice(const struct session *session)
{
    if (*session->no_gpu)
        fprintf(stderr, "pareidolia: %s; computing on the cpu\n", session->no_gpu);
    if (weights_are_embedded(session->weights))
        fputs(
            "pareidolia: the weights are the small network that is built in; weights/fetch.sh gets the real ones\n",
            stderr);
    if (weights_are_untrained(session->weights))
        fputs(
            "pareidolia: the weights are untrained, so the shapes mean nothing; weights/fetch.sh gets real ones\n",
            stderr);
}
