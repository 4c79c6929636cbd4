/* Decides the places; see layout.h for the picture of a block. */
#include "layout.h"

#include <assert.h>

static int new_buffer(struct layout *l, int node, int channels)
{
    l->buffer[l->buffers] = (struct layout_buffer){.node = node, .channels = channels};
    return l->buffers++;
}

/* A convolution that can share a matrix product with others that read the same tensor. */
static bool is_pointwise(const struct node *node)
{
    return node->kind == NODE_CONV && node->kh == 1 && node->kw == 1 && node->stride == 1;
}

/* 0: before its pool; 1: read inside its block only; 2: branch 0 of a needed concatenation. */
static int rank(const struct layout *l, const struct network *network, int node)
{
    if (network->nodes[node].averaged)
        return 0;
    return l->root[node] == node ? 1 : 2;
}

static void collect_group(struct layout *l, const struct network *network, int first)
{
    struct group *group = &l->group[l->groups];
    const struct node *node = &network->nodes[first];

    *group = (struct group){.x = node->from[0], .y = {.buffer = -1}};
    if (!is_pointwise(node)) {
        group->member[group->members++] = first;
    } else {
        for (int wanted = 0; wanted <= 2; wanted++)
            for (int i = first; i < network->count; i++) {
                const struct node *other = &network->nodes[i];

                if (!l->needed[i] || !is_pointwise(other) || other->from[0] != group->x ||
                    rank(l, network, i) != wanted)
                    continue;
                assert(group->members < LAYOUT_MEMBERS);
                group->member[group->members++] = i;
            }
    }
    for (int i = 0; i < group->members; i++) {
        l->group_of[group->member[i]] = l->groups;
        if (network->nodes[group->member[i]].averaged)
            group->linear += network->nodes[group->member[i]].channels;
    }
    l->readers[group->x]++;
    l->groups++;
}

/* Lets the inputs of a needed concatenation follow one another from channel first of buffer. */
static void place_branches(struct layout *l, const struct network *network, int concat, int buffer, int first)
{
    const struct node *node = &network->nodes[concat];

    l->place[concat] = (struct place){buffer, first, node->channels};
    for (int i = 0; i < node->inputs; i++) {
        int channels = network->nodes[node->from[i]].channels;

        l->place[node->from[i]] = (struct place){buffer, first, channels};
        first += channels;
    }
}

/* Places the members of a merged group at the front of one buffer, and the concatenation that its last member
 * begins, if there is one, right behind the others. */
static void place_group(struct layout *l, const struct network *network, struct group *group)
{
    int last = group->member[group->members - 1], first = 0;
    int concat = l->root[last] != last && !network->nodes[last].averaged ? l->root[last] : -1;

    if (group->members == 1 && !network->nodes[last].averaged)
        return; /* nothing in front of it: placed like any other node */
    for (int i = 0; i < group->members; i++)
        group->y.count += network->nodes[group->member[i]].channels;
    if (concat >= 0) {
        int prefix = group->y.count - network->nodes[last].channels;

        assert(network->nodes[concat].from[0] == last);
        group->y.buffer = new_buffer(l, concat, prefix + network->nodes[concat].channels);
        place_branches(l, network, concat, group->y.buffer, prefix);
    } else {
        group->y.buffer = new_buffer(l, last, group->y.count);
    }
    for (int i = 0; i < group->members; i++) {
        int node = group->member[i], channels = network->nodes[node].channels;
        struct place place = {group->y.buffer, first, channels};

        if (network->nodes[node].averaged)
            l->linear[node] = place;
        else
            l->place[node] = place;
        first += channels;
    }
}

void layout_init(struct layout *l, const struct network *network, const struct target *targets, int count)
{
    *l = (struct layout){0};
    for (int i = 0; i < count; i++)
        l->needed[targets[i].node] = true;
    for (int i = network->count - 1; i >= 0; i--)
        for (int k = 0; l->needed[i] && k < network->nodes[i].inputs; k++)
            l->needed[network->nodes[i].from[k]] = true;

    for (int i = 0; i < network->count; i++) {
        l->root[i] = i;
        l->place[i].buffer = l->linear[i].buffer = l->group_of[i] = -1;
    }
    for (int i = 0; i < network->count; i++)
        for (int k = 0; l->needed[i] && network->nodes[i].kind == NODE_CONCAT && k < network->nodes[i].inputs; k++)
            l->root[network->nodes[i].from[k]] = i;

    for (int i = 0; i < network->count; i++) {
        enum node_kind kind = network->nodes[i].kind;

        if (!l->needed[i])
            continue;
        if ((kind == NODE_CONV || kind == NODE_DENSE) && l->group_of[i] < 0)
            collect_group(l, network, i);
        else if (kind == NODE_MAX_POOL || kind == NODE_AVERAGE)
            l->readers[network->nodes[i].from[0]]++;
    }

    for (int i = 0; i < l->groups; i++)
        place_group(l, network, &l->group[i]);
    for (int i = 1; i < network->count; i++) /* a concatenation that no group begins: its branches are strided */
        if (l->needed[i] && network->nodes[i].kind == NODE_CONCAT && l->place[i].buffer < 0)
            place_branches(l, network, i, new_buffer(l, i, network->nodes[i].channels), 0);
    for (int i = 1; i < network->count; i++)
        if (l->needed[i] && l->place[i].buffer < 0)
            l->place[i] = (struct place){new_buffer(l, i, network->nodes[i].channels), 0, network->nodes[i].channels};
    for (int i = 0; i < l->groups; i++)
        if (l->group[i].y.buffer < 0)
            l->group[i].y = l->place[l->group[i].member[0]];
}
