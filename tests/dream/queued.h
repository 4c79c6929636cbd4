/* Makes a CPU device behave like a GPU: what is queued runs when somebody waits, steps can be recorded, memory is
 * counted, and gradients overflow where a test wants it. A bf16 device calls itself fp16 meanwhile, so that
 * gradients are scaled; as its range is that of fp32, any scale must give the very same numbers. */
#ifndef PAREIDOLIA_TESTS_QUEUED_H
#define PAREIDOLIA_TESTS_QUEUED_H

#include "host/device.h"

/* What the test wants, and what has happened since queued_reset. */
struct queued {
    size_t available;                     /* what device_available says */
    size_t taken, most;                   /* bytes allocated now, and at most */
    double overflow_above;                /* gradients with a larger scale overflow, */
    int64_t overflow_from;                /* from this evaluation on (0 is the first) */
    int64_t evaluations;                  /* calls of device_mean_abs that ran, */
    int64_t overflows;                    /* and how many of them overflowed */
    int64_t recordings, replays;
    double largest_scale;                 /* of any gradient */
};

/* Takes over a bf16 device of the CPU; one at a time. It is closed as ever. */
struct queued *queued_begin(struct device *device);

/* Forgets what has happened; nothing overflows and memory is endless from here on. */
void queued_reset(void);

#endif
