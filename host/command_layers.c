/* pareidolia layers: the network as a table, for a picture size. Computes nothing and, unless weights are named,
 * reads nothing. */
#include "commands.h"
#include "error.h"
#include "image.h"
#include "inception.h"
#include "json.h"
#include "options.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

struct settings {
    struct option_size size;
    const char *weights; /* NULL: the published channel counts */
    bool json;
};

static const struct option layers_table[] = {
    {.name = "size",
     .kind = OPTION_SIZE,
     .offset = offsetof(struct settings, size),
     .argument = "WxH",
     .help = "width and height of the picture that the shapes are for",
     .least = 1,
     .most = IMAGE_MAX_SIDE},
    {.name = "weights",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, weights),
     .argument = "FILE",
     .help = "take the channels from this file (default: as published)"},
    {.name = "json", .kind = OPTION_FLAG, .offset = offsetof(struct settings, json), .help = "print JSON"},
    {.name = NULL},
};

/* What is printed of a node beside its own fields. */
struct row {
    const char *kind;
    const char *padding;
    int64_t shape[3];
    int64_t parameters;
    int64_t field, jump;
};

static const char *kind_name(enum node_kind kind)
{
    static const char *const names[] = {
        [NODE_INPUT] = "input",   [NODE_CONV] = "convolution", [NODE_MAX_POOL] = "max pool",
        [NODE_CONCAT] = "concat", [NODE_AVERAGE] = "average",  [NODE_DENSE] = "dense",
    };

    return names[kind];
}

/* Numbers that are learned: kernel, and one bias a channel that BatchNorm has been folded into. */
static int64_t parameter_count(const struct network *network, const struct node *node)
{
    if (!node->layer)
        return 0;
    int64_t cin = network->nodes[node->from[0]].channels;
    return ((int64_t)node->kh * node->kw * cin + 1) * node->channels;
}

static struct row row_of(const struct network *network, int index, int64_t h, int64_t w)
{
    const struct node *node = &network->nodes[index];
    struct row row = {.kind = kind_name(node->kind),
                      .padding = node->same ? "same" : "valid",
                      .parameters = parameter_count(network, node)};

    struct reach rows = network_reach(network, index, false), columns = network_reach(network, index, true);
    int64_t height = rows.before + 1 + rows.after, width = columns.before + 1 + columns.after;

    network_shape(network, index, h, w, row.shape);
    row.field = height > width ? height : width;
    row.jump = rows.jump;
    return row;
}

static bool has_kernel(const struct node *node)
{
    return node->kind == NODE_CONV || node->kind == NODE_MAX_POOL;
}

/* Prints the names of what node reads; a node that averages first says so. */
static void print_inputs(const struct network *network, const struct node *node)
{
    if (node->inputs == 0)
        putchar('-');
    for (int i = 0; i < node->inputs; i++)
        printf(node->averaged ? "%savgpool(%s)" : "%s%s", i ? "+" : "", network->nodes[node->from[i]].name);
}

static void print_row(const struct network *network, int index, int64_t h, int64_t w)
{
    const struct node *node = &network->nodes[index];
    struct row row = row_of(network, index, h, w);
    char kernel[24] = "-", stride[12] = "-", shape[72] = "-";

    if (has_kernel(node)) {
        snprintf(kernel, sizeof kernel, "%dx%d", node->kh, node->kw);
        snprintf(stride, sizeof stride, "%d", node->stride);
    }
    if (node->channels == 0)
        snprintf(shape, sizeof shape, "absent");
    else if (row.shape[0])
        snprintf(shape, sizeof shape, "%" PRId64 "x%" PRId64 "x%" PRId64, row.shape[0], row.shape[1], row.shape[2]);
    printf("%5d  %-15s  %-11s  %-6s  %-6s  %-7s  %-14s  %10" PRId64 "  %5" PRId64 "  %4" PRId64 "  ", index,
           node->name, row.kind, kernel, stride, has_kernel(node) ? row.padding : "-", shape, row.parameters,
           row.field, row.jump);
    print_inputs(network, node);
    putchar('\n');
}

static void print_text(const struct network *network, int64_t h, int64_t w)
{
    int64_t parameters = 0;

    printf("%5s  %-15s  %-11s  %-6s  %-6s  %-7s  %-14s  %10s  %5s  %4s  %s\n", "index", "name", "kind", "kernel",
           "stride", "padding", "output HxWxC", "parameters", "field", "jump", "inputs");
    for (int i = 0; i < network->count; i++) {
        print_row(network, i, h, w);
        parameters += parameter_count(network, &network->nodes[i]);
    }
    printf("\n%" PRId64
           " parameters (kernels, and biases with BatchNorm folded into them); field and jump in pixels "
           "of the picture\n",
           parameters);
}

static cJSON *row_json(const struct network *network, int index, int64_t h, int64_t w)
{
    const struct node *node = &network->nodes[index];
    struct row row = row_of(network, index, h, w);
    cJSON *object = cJSON_CreateObject();
    cJSON *inputs = cJSON_CreateArray();

    json_add_number(object, "index", index);
    json_add_text(object, "name", node->name);
    json_add_text(object, "kind", row.kind);
    cJSON_AddItemToObject(object, "kernel", cJSON_CreateIntArray((int[]){node->kh, node->kw}, 2));
    json_add_number(object, "stride", node->stride);
    json_add_text(object, "padding", has_kernel(node) ? row.padding : NULL);
    cJSON_AddBoolToObject(object, "averaged", node->averaged);
    for (int i = 0; i < node->inputs; i++)
        cJSON_AddItemToArray(inputs, cJSON_CreateString(network->nodes[node->from[i]].name));
    cJSON_AddItemToObject(object, "inputs", inputs);
    cJSON_AddItemToObject(
        object, "output",
        cJSON_CreateDoubleArray((double[]){(double)row.shape[0], (double)row.shape[1], (double)row.shape[2]}, 3));
    json_add_number(object, "parameters", (double)row.parameters);
    json_add_number(object, "receptive_field", (double)row.field);
    json_add_number(object, "jump", (double)row.jump);
    return object;
}

static int print_json(const struct network *network, int64_t h, int64_t w)
{
    cJSON *rows = cJSON_CreateArray();

    for (int i = 0; i < network->count; i++)
        cJSON_AddItemToArray(rows, row_json(network, i, h, w));
    return json_print(stdout, rows) ? error_prefix("standard output") : 0;
}

/* The network with the channels of weights, or as published. */
static int network_read(struct network *network, const char *path)
{
    struct weights *weights = NULL;

    if (path && !(weights = weights_open(path)))
        return -1;
    int result = network_init(network, weights);
    for (int i = 0; weights && !result && i < network->count; i++)
        if (network->nodes[i].channels > 0 && network->nodes[i].channels % 8 == 0)
            result = network_check_node(network, weights, i);
    weights_close(weights);
    return result;
}

enum exit_status command_layers(int argc, char **argv)
{
    struct settings settings = {.size = {299, 299}};
    enum exit_status status = STATUS_DONE;
    const struct command_line line = {
        .command = "layers",
        .about =
            "Lists the layers of Inception-v3 by the names that --layer takes: what each reads, its output for "
            "a size of picture (- where the picture is too small, absent where a file of weights does not have "
            "it), and how much of the picture one of its outputs sees.",
        .groups = {{"the table", layers_table, &settings}},
    };
    struct network network;

    if (!command_parsed(&line, argc, argv, NULL, &status))
        return status;
    if (network_read(&network, settings.weights))
        return STATUS_FAILED;
    if (settings.json)
        return print_json(&network, settings.size.height, settings.size.width) ? STATUS_FAILED : STATUS_DONE;
    print_text(&network, settings.size.height, settings.size.width);
    return STATUS_DONE;
}
