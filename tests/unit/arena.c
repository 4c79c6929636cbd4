/* Packs random sets of buffers: none that live at the same time may overlap, and the whole must stay near the
 * largest sum of live bytes, which is the floor. */
#include "tests/check.h"

#include "host/arena.h"

#include <stdbool.h>
#include <stdint.h>

enum { ITEMS = 60, STEPS = 80, ROUNDS = 200 };

static uint32_t random_state = 1;

static int random_below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

static size_t rounded(size_t bytes)
{
    return (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

/* The largest sum of bytes that live at one step. */
static size_t floor_of(const struct arena_item *items)
{
    size_t most = 0;

    for (int step = 0; step < STEPS; step++) {
        size_t live = 0;

        for (int i = 0; i < ITEMS; i++)
            if (items[i].first <= step && step <= items[i].last)
                live += rounded(items[i].bytes);
        most = live > most ? live : most;
    }
    return most;
}

int main(void)
{
    double worst = 0;

    for (int round = 0; round < ROUNDS; round++) {
        struct arena_item items[ITEMS];
        size_t total;

        for (int i = 0; i < ITEMS; i++) {
            items[i].first = random_below(STEPS);
            items[i].last = items[i].first + random_below(STEPS - items[i].first);
            items[i].bytes = i % 10 == 0 ? 0 : (size_t)random_below(1 << random_below(20));
        }
        total = arena_pack(items, ITEMS);
        for (int i = 0; i < ITEMS; i++) {
            CHECK(items[i].bytes == 0 || items[i].offset + items[i].bytes <= total, "item %d ends behind %zu", i,
                  total);
            CHECK(items[i].bytes == 0 || items[i].offset % ARENA_ALIGNMENT == 0, "item %d at %zu", i, items[i].offset);
            for (int k = 0; k < i; k++) {
                bool meet = items[i].first <= items[k].last && items[k].first <= items[i].last;
                bool overlap = items[i].bytes > 0 && items[k].bytes > 0 &&
                               items[i].offset < items[k].offset + items[k].bytes &&
                               items[k].offset < items[i].offset + items[i].bytes;

                CHECK(!meet || !overlap, "round %d: items %d and %d overlap", round, i, k);
            }
        }
        if (floor_of(items) > 0 && (double)total / (double)floor_of(items) > worst)
            worst = (double)total / (double)floor_of(items);
    }
    /* First fit is proved to stay within a small factor only; measured on these sets it is 1.3 at worst. */
    CHECK(worst < 1.5, "%.3f of the floor", worst);
    printf("worst: %.3f of the floor\n", worst);
    return check_result();
}
