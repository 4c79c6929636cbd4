/* Where a step's time goes: each operation by itself, beside the time that it would take by direct convolution at
 * the rates that were measured. That is no lower bound: which multiplications a device really does is not asked. */
#include "bench.h"

#include "bench_time.h"
#include "error.h"

#include <math.h>
#include <stdlib.h>

/* Of the time for a whole step, an operation is timed so long. */
#define OPERATION_SHARE 0.05

/* One operation of a plan, to be queued. */
struct turn {
    struct plan *plan;
    int index;
    struct ascent *state;
};

static int turn_queue(void *context)
{
    const struct turn *turn = context;

    plan_operation_run(turn->plan, turn->index, turn->state);
    return 0;
}

static double direct_of(const struct bench_limits *limits, const struct plan_operation *what)
{
    return fmax(what->flops / limits->flops, what->bytes / limits->bytes);
}

/* The one that takes more time over its direct one first. */
static int by_time_over(const void *a, const void *b)
{
    const struct bench_operation *x = a, *y = b;
    double over_x = x->seconds - x->direct, over_y = y->seconds - y->direct;

    return (over_x < over_y) - (over_x > over_y);
}

static int operations_measure(struct bench_profile *profile, struct device *device, struct plan *plan,
                              struct ascent *state, double seconds)
{
    for (int i = 0; i < plan_operations(plan); i++) {
        struct bench_operation *operation = &profile->operation[profile->count];
        struct turn turn = {.plan = plan, .index = i, .state = state};
        struct bench_times times;

        if (!plan_operation(plan, i, &operation->what))
            continue;
        if (bench_time(device, turn_queue, &turn, seconds * OPERATION_SHARE, &times))
            return -1;
        operation->seconds = times.median;
        operation->direct = direct_of(&profile->limits, &operation->what);
        profile->seconds += operation->seconds;
        profile->direct += operation->direct;
        profile->count++;
    }
    return 0;
}

struct bench_profile *bench_profile_measure(struct device *device, struct plan *plan, struct ascent *state,
                                            double seconds)
{
    struct bench_profile *profile = calloc(1, sizeof *profile);

    if (profile)
        profile->operation = calloc((size_t)plan_operations(plan), sizeof *profile->operation);
    if (!profile || !profile->operation) {
        error_set("no memory for a profile of %d operations", plan_operations(plan));
        goto fail;
    }
    if (bench_limits_measure(device, seconds, &profile->limits) ||
        operations_measure(profile, device, plan, state, seconds))
        goto fail;
    qsort(profile->operation, (size_t)profile->count, sizeof *profile->operation, by_time_over);
    return profile;

fail:
    bench_profile_free(profile);
    return NULL;
}

void bench_profile_free(struct bench_profile *profile)
{
    if (!profile)
        return;
    free(profile->operation);
    free(profile);
}
