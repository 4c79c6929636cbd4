/* What tests can tell the software GPU and ask of it: the environment, which call fails, what is alive, and the order
 * in which things happen. */
#include "internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const object_names[OBJECTS] = {
    "allocations", "pinned allocations", "streams", "events", "graphs", "executable graphs",
    "cuDNN handles", "cuDNN descriptors", "cuBLASLt handles", "cuBLASLt descriptors"};

static struct {
    bool ready;
    struct control control;
    long calls, fail_at; /* fail_at: in calls, 0 for never */
    long allocations, launches;
    int objects[OBJECTS];
    uint64_t random;
} state;

static long number(const char *variable, long fallback)
{
    const char *text = getenv(variable);

    return text && *text ? strtol(text, NULL, 10) : fallback;
}

static void report_leaks(void)
{
    if (softgpu_leaks() == 0)
        return;
    fprintf(stderr, "softgpu: still alive at the end:");
    for (int i = 0; i < OBJECTS; i++)
        if (state.objects[i])
            fprintf(stderr, " %d %s", state.objects[i], object_names[i]);
    fprintf(stderr, "\n");
    if (getenv("SOFTGPU_STRICT")) {
        fflush(NULL);
        _exit(EXIT_FAILURE);
    }
}

static void environment_read(void)
{
    long devices = number("SOFTGPU_DEVICES", 2);

    state.control.seed = (uint64_t)number("SOFTGPU_SEED", 1);
    state.control.memory = (size_t)number("SOFTGPU_MEMORY", 4L << 30);
    state.control.devices = (int)(devices < 0 ? 0 : devices > DEVICES_MOST ? DEVICES_MOST : devices);
    state.fail_at = number("SOFTGPU_FAIL_AT", 0);
    state.random = state.control.seed;
    state.calls = 0;
}

const struct control *control(void)
{
    if (!state.ready) {
        state.ready = true;
        environment_read();
        atexit(report_leaks);
    }
    return &state.control;
}

void softgpu_reset(void)
{
    control();
    environment_read();
    failure_clear();
}

long softgpu_calls(void)
{
    return state.calls;
}

void softgpu_fail_at(long number_from_now)
{
    control();
    state.fail_at = number_from_now > 0 ? state.calls + number_from_now : 0;
}

bool call_fails(void)
{
    control();
    return ++state.calls == state.fail_at;
}

void object_count(enum object kind, int change)
{
    state.objects[kind] += change;
}

int softgpu_leaks(void)
{
    int sum = 0;

    for (int i = 0; i < OBJECTS; i++)
        sum += state.objects[i];
    return sum;
}

void allocation_count(void)
{
    state.allocations++;
}

long softgpu_allocations(void)
{
    return state.allocations;
}

void launch_count(void)
{
    state.launches++;
}

long softgpu_launches(void)
{
    return state.launches;
}

/* splitmix64 */
uint64_t random_next(void)
{
    uint64_t z = state.random += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t random_below(uint64_t count)
{
    return control()->seed ? random_next() % count : 0;
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

struct order order_new(uint64_t count)
{
    struct order order = {.count = count, .step = 1, .start = random_below(count)};

    if (count == 1)
        order.step = 0;
    if (control()->seed && count > 2)
        do
            order.step = 1 + random_below(count - 1);
        while (common_divisor(order.step, count) != 1);
    return order;
}

static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

void calls_lock(void)
{
    pthread_mutex_lock(&mutex);
}

void calls_unlock(const int *unused)
{
    (void)unused;
    pthread_mutex_unlock(&mutex);
}

static void *allocated(void *memory, size_t bytes)
{
    if (memory)
        return memory;
    fprintf(stderr, "softgpu: the host has no %zu bytes of memory left\n", bytes);
    abort();
}

void *host_alloc(size_t bytes)
{
    return allocated(calloc(1, bytes ? bytes : 1), bytes);
}

void *host_realloc(void *memory, size_t bytes)
{
    return allocated(realloc(memory, bytes), bytes);
}
