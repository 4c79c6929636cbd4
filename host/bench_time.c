/* Times by the host's clock, around work that is queued and then waited for. */
#include "bench_time.h"

#include "clock.h"

#include <math.h>
#include <stdlib.h>

/* A batch takes about so long, of which a wait is a thousandth or less. */
#define BATCH_SECONDS 0.05
enum { LEAST_BATCHES = 3, MOST_BATCHES = 1000, MOST_QUEUED = 1000 };

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

int bench_time(struct device *device, bench_queue *queue, void *context, double seconds, struct bench_times *out)
{
    double times[MOST_BATCHES];
    double once = batch_time(device, queue, context, 1), begin = clock_seconds();
    int batches = 0;

    if (once < 0)
        return -1;
    double fill = fmin(BATCH_SECONDS, seconds / LEAST_BATCHES) / once;
    int count = fill < 1 ? 1 : fill > MOST_QUEUED ? MOST_QUEUED : (int)fill;
    while (batches < LEAST_BATCHES || (batches < MOST_BATCHES && clock_seconds() - begin < seconds)) {
        times[batches] = batch_time(device, queue, context, count);
        if (times[batches++] < 0)
            return -1;
    }
    qsort(times, (size_t)batches, sizeof *times, ascending);
    *out = (struct bench_times){.median = times[batches / 2], .least = times[0], .runs = batches * count};
    return 0;
}
