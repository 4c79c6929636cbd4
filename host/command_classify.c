/* pareidolia classify: the whole network on a picture at its own size, and the likeliest of ImageNet's classes. */
#include "commands.h"
#include "error.h"
#include "image.h"
#include "json.h"
#include "plan.h"
#include "session.h"
#include "transfer.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

struct settings {
    int top;
    const char *labels; /* NULL: what labels_read finds */
    bool json;
};

static const struct option classify_table[] = {
    {.name = "top",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, top),
     .argument = "N",
     .help = "how many classes to print, the likeliest first",
     .least = 1,
     .most = 1000},
    {.name = "labels",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, labels),
     .argument = "FILE",
     .help = "names of the classes: Keras's imagenet_class_index.json, or lines of ID<tab>NAME (default: "
             "$PAREIDOLIA_LABELS, else what weights/fetch.sh fetched)"},
    {.name = "json", .kind = OPTION_FLAG, .offset = offsetof(struct settings, json), .help = "print JSON"},
    {.name = NULL},
};

/* Catches the dense layer's output as the forward pass goes by. */
struct catcher {
    struct device *device;
    int node;
    double *values; /* as many as the node has channels */
    int result;     /* of the download; 1: the node has not come by */
};

static void catch_activation(void *context, int node, const struct tensor *activation)
{
    struct catcher *catcher = context;

    if (node == catcher->node)
        catcher->result = tensor_download(catcher->device, activation, DTYPE_F64, catcher->values);
}

/* The dense layer's products for picture, without its bias, into logits. */
static int logits_compute(struct session *session, int dense, const struct image *picture, double *logits)
{
    struct device *device = session->device;
    struct catcher catcher = {device, dense, logits, 1};
    struct tensor x = {.h = picture->height, .w = picture->width, .c = 3, .pitch = 3, .type = device->picture};
    int result = -1;

    struct plan *plan = plan_new(session->net, picture->height, picture->width);
    if (!plan)
        return -1;
    if (plan_allocate(plan) || !(x.data = device_alloc(device, tensor_bytes(&x))) ||
        tensor_upload(device, &x, picture->pixels))
        goto fail;
    plan_observe(plan, catch_activation, &catcher);
    plan_forward(plan, &x, NULL);
    if (device_sync(device) || catcher.result < 0)
        goto fail;
    assert(catcher.result == 0);
    result = 0;

fail:
    device_free(device, x.data);
    plan_free(plan);
    return result;
}

/* logits plus the dense layer's bias, which the device leaves out, become probabilities. */
static int probabilities_finish(struct session *session, int dense, double *logits)
{
    const struct node *node = &session->network.nodes[dense];
    struct layer_weights layer = {.kh = 1, .kw = 1, .cin = session->network.nodes[node->from[0]].channels};
    double largest = -INFINITY, sum = 0;

    if (weights_read(session->weights, WEIGHTS_DENSE, &layer))
        return -1;
    for (int i = 0; i < node->channels; i++) {
        logits[i] += layer.bias[i];
        largest = fmax(largest, logits[i]);
    }
    layer_weights_free(&layer);
    for (int i = 0; i < node->channels; i++)
        sum += exp(logits[i] - largest); /* at most 1 each, so that nothing overflows */
    for (int i = 0; i < node->channels; i++)
        logits[i] = exp(logits[i] - largest) / sum;
    return isfinite(sum) ? 0 : error_set("the network's answer is not a number; try another --precision");
}

struct guess {
    int index;
    double probability;
};

/* The likelier first; of equally likely ones the lower index. */
static int guess_compare(const void *left, const void *right)
{
    const struct guess *a = left, *b = right;

    if (a->probability != b->probability)
        return a->probability > b->probability ? -1 : 1;
    return a->index - b->index;
}

/* Classifies picture. Returns all classes, likeliest first, to free(), and their number. NULL with an error. */
static struct guess *guesses_rank(struct session *session, int dense, const struct image *picture, int *count)
{
    *count = session->network.nodes[dense].channels;
    double *values = calloc((size_t)*count, sizeof *values);
    struct guess *guesses = malloc((size_t)*count * sizeof *guesses);

    if (!values || !guesses) {
        error_set("no memory for %d classes", *count);
        goto fail;
    }
    if (logits_compute(session, dense, picture, values) || probabilities_finish(session, dense, values))
        goto fail;
    for (int i = 0; i < *count; i++)
        guesses[i] = (struct guess){i, values[i]};
    qsort(guesses, (size_t)*count, sizeof *guesses, guess_compare);
    free(values);
    return guesses;

fail:
    free(values);
    free(guesses);
    return NULL;
}

/* Names of the classes. Their absence is an error only where a file of them was named. */
static int labels_find(const struct settings *settings, int classes, struct labels *labels)
{
    if (labels_read(settings->labels, labels)) {
        if (settings->labels)
            return -1;
        fprintf(stderr, "pareidolia: classes have numbers only: %s\n", error_message());
        return 0;
    }
    if (labels->count != classes)
        return error_set("the file of labels has %d names, the network %d classes", labels->count, classes);
    return 0;
}

static void print_text(const struct guess *guesses, int count, const struct labels *labels)
{
    for (int i = 0; i < count; i++) {
        printf("%4d %6.2f%%  ", i + 1, 100 * guesses[i].probability);
        if (labels->count)
            printf("%s (%s)\n", labels->names[guesses[i].index], labels->ids[guesses[i].index]);
        else
            printf("class %d\n", guesses[i].index);
    }
}

static int print_json(const char *image, const char *weights, const struct guess *guesses, int count,
                      const struct labels *labels)
{
    cJSON *object = cJSON_CreateObject();
    cJSON *top = cJSON_CreateArray();

    json_add_text(object, "image", image);
    json_add_text(object, "weights", weights);
    for (int i = 0; i < count; i++) {
        cJSON *guess = cJSON_CreateObject();
        json_add_number(guess, "index", guesses[i].index);
        json_add_number(guess, "probability", guesses[i].probability);
        json_add_text(guess, "name", labels->count ? labels->names[guesses[i].index] : NULL);
        json_add_text(guess, "id", labels->count ? labels->ids[guesses[i].index] : NULL);
        cJSON_AddItemToArray(top, guess);
    }
    cJSON_AddItemToObject(object, "top", top);
    return json_print(stdout, object) ? error_prefix("standard output") : 0;
}

/* Reads, computes and prints. */
static int classify(const char *image, const struct settings *settings, const struct session_options *options)
{
    struct session session = {0};
    struct image picture = {0};
    struct labels labels = {0};
    struct guess *guesses = NULL;
    struct network network;
    struct targets targets = {.count = 1};
    int count, result = -1;

    if (network_init(&network, NULL))
        return -1;
    int dense = network_find(&network, "predictions");
    assert(dense >= 0);
    targets.target[0] = (struct target){.node = dense, .weight = 1};
    if (image_read(image, &picture) ||
        targets_check_reached(&network, &targets, image, picture.height, picture.width) ||
        session_open(&session, options, &targets, false, true))
        goto fail;
    session_notice(&session);
    guesses = guesses_rank(&session, dense, &picture, &count);
    if (!guesses || labels_find(settings, count, &labels))
        goto fail;
    int printed = settings->top < count ? settings->top : count;
    if (settings->json) {
        result = print_json(image, weights_path(session.weights), guesses, printed, &labels);
    } else {
        print_text(guesses, printed, &labels);
        result = 0;
    }

fail:
    free(guesses);
    labels_free(&labels);
    image_free(&picture);
    session_close(&session);
    return result;
}

enum exit_status command_classify(int argc, char **argv)
{
    struct settings settings = {.top = 5};
    struct session_options options = {0};
    enum exit_status status = STATUS_DONE;
    const struct command_line line = {
        .command = "classify",
        .operand = "IMAGE",
        .about = "Prints what the network takes a picture for, with probabilities. The picture is seen at its own "
                 "size, which is at least 75x75 pixels.",
        .groups = {{"the answer", classify_table, &settings}, {"the network", session_option_table, &options}},
    };
    const char *image = NULL;

    if (!command_parsed(&line, argc, argv, &image, &status))
        return status;
    if (session_check(&options))
        return STATUS_USAGE;
    return classify(image, &settings, &options) ? STATUS_FAILED : STATUS_DONE;
}
