/* How long something takes that a device does: the median of several batches. */
#ifndef PAREIDOLIA_BENCH_TIME_H
#define PAREIDOLIA_BENCH_TIME_H

#include "device.h"

/* Queues what is timed, once. Returns 0, or -1 with an error. */
typedef int bench_queue(void *context);

struct bench_times {
    double least, median, most; /* seconds for one: of the batches, each of which counts with its mean */
    int batches;
    int64_t runs; /* that were timed in all */
};

/* Times what queue queues, which must have run before, for about that many seconds: five batches where one takes no
 * longer than these, else three. As in a dream, a batch is several that are queued before one wait: devices have no
 * clock of their own here, but so many that the wait is a small part. Returns 0 or -1 with an error. */
int bench_time(struct device *device, bench_queue *queue, void *context, double seconds, struct bench_times *out);

/* Seconds of one, from queueing it until it is done; negative with an error. */
double bench_time_once(struct device *device, bench_queue *queue, void *context);

#endif
