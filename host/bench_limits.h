/* What a device can do at most, measured on it: the rates that a step is held against. */
#ifndef PAREIDOLIA_BENCH_LIMITS_H
#define PAREIDOLIA_BENCH_LIMITS_H

#include "device.h"

struct bench_limits {
    double flops; /* a second, by a matrix product in the device's precision; a multiply-add is two */
    double bytes; /* a second, read and written, by a copy that is far larger than caches where memory allows it */
};

/* Measures both, for about that many seconds each. Returns 0 or -1 with an error. */
int bench_limits_measure(struct device *device, double seconds, struct bench_limits *out);

#endif
