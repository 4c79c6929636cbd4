/* Times by the host's clock, around work that is queued and then waited for. */
#include "bench_time.h"

#include "clock.h"
#include "error.h"

#include <math.h>
#include <stdlib.h>

/* A batch takes about so long, of which a wait is a thousandth or less. */
#define BATCH_SECONDS 0.05
enum { LEAST_BATCHES = 3, FEW_BATCHES = 5, MOST_QUEUED = 1000 };

/* Seconds for one, of each batch. */
struct batches {
    double *seconds; /* owned */
    int count, room;
};

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Seconds for each of count runs that are queued and then waited for; negative with an error. */
static double batch_time(struct device *device, bench_queue *queue, void *context, int count)
{
    double begin = clock_seconds();

    for (int i = 0; i < count; i++)
        if (queue(context))
            return -1;
    return device_sync(device) ? -1 : (clock_seconds() - begin) / count;
}

double bench_time_once(struct device *device, bench_queue *queue, void *context)
{
    return batch_time(device, queue, context, 1);
}

static int batches_add(struct batches *batches, double seconds)
{
    if (batches->count == batches->room) {
        int room = batches->room ? 2 * batches->room : 64;
        double *larger = realloc(batches->seconds, (size_t)room * sizeof *larger);

        if (!larger)
            return error_set("no memory for the times of %d batches", room);
        batches->seconds = larger;
        batches->room = room;
    }
    batches->seconds[batches->count++] = seconds;
    return 0;
}

int bench_time(struct device *device, bench_queue *queue, void *context, double seconds, struct bench_times *out)
{
    struct batches batches = {0};
    double once = batch_time(device, queue, context, 1), begin = clock_seconds();
    int result = -1;

    if (once < 0)
        return -1;
    double fill = fmin(BATCH_SECONDS, seconds / FEW_BATCHES) / once;
    int count = fill < 1 ? 1 : fill > MOST_QUEUED ? MOST_QUEUED : (int)fill;
    int least = once <= seconds ? FEW_BATCHES : LEAST_BATCHES;
    while (batches.count < least || clock_seconds() - begin < seconds) {
        double time = batch_time(device, queue, context, count);
        if (time < 0 || batches_add(&batches, time))
            goto fail;
    }
    qsort(batches.seconds, (size_t)batches.count, sizeof *batches.seconds, ascending);
    *out = (struct bench_times){.least = batches.seconds[0],
                                .median = batches.seconds[batches.count / 2],
                                .most = batches.seconds[batches.count - 1],
                                .batches = batches.count,
                                .runs = (int64_t)batches.count * count};
    result = 0;

fail:
    free(batches.seconds);
    return result;
}
