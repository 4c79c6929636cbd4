/* Turns names of layers into targets, and knows how large a picture must be for them. */
#include "targets.h"

#include "error.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a layer from which on some lie inside the border that is left out of the stimulation. */
enum { STIMULATED_ROWS = 5 };

/* More channels than any layer has, and more characters than any sensible item. */
enum { CHANNELS_MOST = 65535, ITEM_MOST = 2048 };

static bool can_be_stimulated(enum node_kind kind)
{
    return kind == NODE_CONV || kind == NODE_MAX_POOL || kind == NODE_CONCAT;
}

/* One item of --layer: NAME, NAME[CHANNELS], either with :WEIGHT. The texts lie in the item, which is cut up. */
struct item {
    char *name;
    char *channels; /* between the brackets; NULL: all */
    char *weight;   /* NULL: 1 */
};

/* Cuts text into its parts. */
static int item_cut(char *text, struct item *item)
{
    char *open = strchr(text, '['), *close = strchr(text, ']'), *colon = strrchr(text, ':');

    *item = (struct item){.name = text};
    if ((open || close) && (!open || !close || close < open || (close[1] != '\0' && close[1] != ':')))
        return error_set("--layer %s: channels stand in brackets behind the name, as in mixed4[0,8-15]:2", text);
    if (open) {
        item->channels = open + 1;
        *open = *close = '\0';
        colon = close[1] ? close + 1 : NULL;
    }
    if (colon) {
        item->weight = colon + 1;
        *colon = '\0';
    }
    if (!*item->name)
        return error_set("--layer: the name of a layer is missing (pareidolia layers lists all)");
    return 0;
}

static int weight_parse(const struct item *item, double *weight)
{
    char *end;

    *weight = 1;
    if (!item->weight)
        return 0;
    *weight = strtod(item->weight, &end);
    if (end == item->weight || *end || !isfinite(*weight))
        return error_set("--layer %s:%s: the weight must be a finite number", item->name, item->weight);
    return 0;
}

/* Parses "12" or "8-15" at *text and moves it behind. Of which layer is only for the error. */
static int range_parse(const char *layer, const char **text, struct target *target)
{
    char *end;
    long first, last;

    errno = 0;
    last = first = isdigit((unsigned char)**text) ? strtol(*text, &end, 10) : -1;
    if (first >= 0 && *end == '-')
        last = isdigit((unsigned char)end[1]) ? strtol(end + 1, &end, 10) : -1;
    if (first < 0 || last < first || errno || last > CHANNELS_MOST || (*end && *end != ','))
        return error_set(
            "--layer %s[...%s]: channels are numbers from 0 on and ranges of them, as in mixed4[0,8-15]", layer,
            *text);
    target->first = (int)first;
    target->count = (int)(last - first + 1);
    *text = *end ? end + 1 : end;
    return 0;
}

static int target_add(struct targets *targets, const struct network *network, struct target target)
{
    const char *name = network->nodes[target.node].name;

    if (targets->count == TARGETS_MAX)
        return error_set("--layer: at most %d layers or ranges of channels can be stimulated at once", TARGETS_MAX);
    for (int i = 0; i < targets->count; i++) {
        const struct target *other = &targets->target[i];

        if (other->node != target.node)
            continue;
        if (!other->count || !target.count)
            return error_set("--layer %s: is named twice; give it one weight instead", name);
        if (target.first < other->first + other->count && other->first < target.first + target.count)
            return error_set("--layer %s: channel %d is named twice", name,
                             target.first > other->first ? target.first : other->first);
    }
    targets->target[targets->count++] = target;
    return 0;
}

/* Adds the channels of an item, each range a target of its own with its share of the weight, so that the loss is
 * the mean over all of them. */
static int channels_add(struct targets *targets, const struct network *network, const char *text,
                        struct target target)
{
    int first = targets->count, total = 0;
    double weight = target.weight;

    do {
        if (range_parse(network->nodes[target.node].name, &text, &target) || target_add(targets, network, target))
            return -1;
        total += target.count;
    } while (*text);
    for (int i = first; i < targets->count; i++)
        targets->target[i].weight = weight * targets->target[i].count / total;
    return 0;
}

static int item_add(struct targets *targets, const struct network *network, char *text)
{
    struct target target = {0};
    struct item item;

    if (item_cut(text, &item) || weight_parse(&item, &target.weight))
        return -1;
    target.node = network_find(network, item.name);
    if (target.node < 0)
        return error_prefix("--layer");
    if (!can_be_stimulated(network->nodes[target.node].kind))
        return error_set("--layer %s: cannot be stimulated; take a convolution, a max pool or a mixed block",
                         item.name);
    return item.channels ? channels_add(targets, network, item.channels, target)
                         : target_add(targets, network, target);
}

/* Characters up to the next comma that is not in brackets. */
static size_t item_length(const char *text)
{
    bool inside = false;
    size_t length = 0;

    while (text[length] && (inside || text[length] != ',')) {
        inside = text[length] == '[' || (inside && text[length] != ']');
        length++;
    }
    return length;
}

int targets_parse(const struct network *network, const char *text, struct targets *out)
{
    char item[ITEM_MOST];

    out->count = 0;
    for (;;) {
        size_t length = item_length(text);

        if (length >= sizeof item)
            return error_set("--layer %.40s...: an item of --layer is longer than %d characters", text,
                             ITEM_MOST - 1);
        snprintf(item, sizeof item, "%.*s", (int)length, text);
        if (item_add(out, network, item))
            return -1;
        if (!text[length])
            return 0;
        text += length + 1;
    }
}

int targets_layers(const struct targets *targets)
{
    int layers = 0;

    for (int i = 0; i < targets->count; i++) {
        bool again = false;

        for (int j = 0; j < i; j++)
            again = again || targets->target[j].node == targets->target[i].node;
        layers += !again;
    }
    return layers;
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
