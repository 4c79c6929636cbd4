/* Turns names of layers into targets, and knows how large a picture must be for them. */
#include "targets.h"

#include "error.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a layer from which on some lie inside the border that is left out of the stimulation. */
enum { STIMULATED_ROWS = 5 };

static bool can_be_stimulated(enum node_kind kind)
{
    return kind == NODE_CONV || kind == NODE_MAX_POOL || kind == NODE_CONCAT;
}

/* Parses "NAME" or "NAME:WEIGHT". */
static int target_parse(const struct network *network, char *item, struct target *out)
{
    char *colon = strchr(item, ':');

    *out = (struct target){.weight = 1};
    if (colon) {
        char *end;
        *colon = '\0';
        out->weight = strtod(colon + 1, &end);
        if (end == colon + 1 || *end || !isfinite(out->weight))
            return error_set("--layer %s:%s: the weight must be a finite number", item, colon + 1);
    }
    if (!*item)
        return error_set("--layer: the name of a layer is missing (pareidolia layers lists all)");
    out->node = network_find(network, item);
    if (out->node < 0)
        return error_prefix("--layer");
    if (!can_be_stimulated(network->nodes[out->node].kind))
        return error_set("--layer %s: cannot be stimulated; take a convolution, a max pool or a mixed block", item);
    return 0;
}

static int target_add(struct targets *targets, const struct network *network, struct target target)
{
    if (targets->count == TARGETS_MAX)
        return error_set("--layer: at most %d layers can be stimulated at once", TARGETS_MAX);
    for (int i = 0; i < targets->count; i++)
        if (targets->target[i].node == target.node)
            return error_set("--layer %s: is named twice; give it one weight instead",
                             network->nodes[target.node].name);
    targets->target[targets->count++] = target;
    return 0;
}

int targets_parse(const struct network *network, const char *text, struct targets *out)
{
    char item[128];

    out->count = 0;
    for (;;) {
        size_t length = strcspn(text, ",");
        struct target target;
        if (length >= sizeof item)
            return error_set("--layer %.40s...: no layer has so long a name", text);
        snprintf(item, sizeof item, "%.*s", (int)length, text);
        if (target_parse(network, item, &target) || target_add(out, network, target))
            return -1;
        if (!text[length])
            return 0;
        text += length + 1;
    }
}

/* A side of a picture, and the layer that wants it so long. */
struct need {
    int64_t side;
    const char *layer;
};

/* What it takes for every target to have an output. */
static struct need need_reached(const struct network *network, const struct targets *targets)
{
    struct need need = {0, ""};

    for (int i = 0; i < targets->count; i++) {
        int node = targets->target[i].node;
        int64_t side = network_smallest(network, node, 1);
        if (side > need.side)
            need = (struct need){side, network->nodes[node].name};
    }
    return need;
}

/* What it takes for at least one target to have positions inside the border. */
static struct need need_stimulated(const struct network *network, const struct targets *targets)
{
    struct need need = {INT64_MAX, ""};

    for (int i = 0; i < targets->count; i++) {
        int node = targets->target[i].node;
        int64_t side = network_smallest(network, node, STIMULATED_ROWS);
        if (side < need.side)
            need = (struct need){side, network->nodes[node].name};
    }
    return need;
}

static int need_check(struct need need, const char *verb, const char *path, int64_t h, int64_t w)
{
    if (h >= need.side && w >= need.side)
        return 0;
    return error_set("%s: the picture is %" PRId64 "x%" PRId64 " pixels; %s is %s from %" PRId64 "x%" PRId64 " on",
                     path, w, h, need.layer, verb, need.side, need.side);
}

int targets_check_reached(const struct network *network, const struct targets *targets, const char *path, int64_t h,
                          int64_t w)
{
    return need_check(need_reached(network, targets), "reached", path, h, w);
}

int targets_check_stimulated(const struct network *network, const struct targets *targets, const char *path,
                             int64_t h, int64_t w)
{
    struct need reached = need_reached(network, targets);
    struct need stimulated = need_stimulated(network, targets);

    return need_check(reached.side > stimulated.side ? reached : stimulated, "stimulated", path, h, w);
}
