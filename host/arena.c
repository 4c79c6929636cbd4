/* First fit in the order of falling size: the large, short-lived activations of the first layers settle at the
 * bottom and the rest fills what they leave in time. Within a few per cent of the largest sum of live bytes here,
 * which no placement can go below. */
#include "arena.h"

#include "error.h"

#include <stdbool.h>
#include <stdlib.h>

static int larger_first(const void *a, const void *b)
{
    const struct arena_item *x = *(struct arena_item *const *)a, *y = *(struct arena_item *const *)b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y; /* qsort is not stable, the layout must be */
}

static bool lives_meet(const struct arena_item *a, const struct arena_item *b)
{
    return a->first <= b->last && b->first <= a->last;
}

static size_t end_of(const struct arena_item *item)
{
    return item->offset + (item->bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

/* The lowest offset at which item fits between those placed before it. Each move goes behind an item that is in
 * the way, so the search ends after at most one round for each of them. */
static size_t lowest_offset(const struct arena_item *item, struct arena_item *const *placed, int count)
{
    struct arena_item trial = *item;
    bool moved;

    trial.offset = 0;
    do {
        moved = false;
        for (int i = 0; i < count; i++)
            if (lives_meet(&trial, placed[i]) && trial.offset < end_of(placed[i]) &&
                placed[i]->offset < end_of(&trial)) {
                trial.offset = end_of(placed[i]);
                moved = true;
            }
    } while (moved);
    return trial.offset;
}

size_t arena_pack(struct arena_item *items, int count)
{
    struct arena_item **order = malloc((size_t)(count > 0 ? count : 1) * sizeof *order);
    size_t total = 0;

    if (!order) {
        error_set("out of memory while placing %d buffers", count);
        return (size_t)-1;
    }
    for (int i = 0; i < count; i++)
        order[i] = &items[i];
    qsort(order, (size_t)count, sizeof *order, larger_first);
    for (int i = 0; i < count && order[i]->bytes > 0; i++) {
        order[i]->offset = lowest_offset(order[i], order, i);
        total = end_of(order[i]) > total ? end_of(order[i]) : total;
    }
    free(order);
    return total;
}
