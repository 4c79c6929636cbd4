/* Rates that a step is held against, measured on the device. */
#ifndef PAREIDOLIA_BENCH_LIMITS_H
#define PAREIDOLIA_BENCH_LIMITS_H

#include "device.h"

struct bench_limits {
    double flops; /* a second, by the fastest of several matrix products in the device's precision, which run as its
                     1x1 convolutions do; a multiply-add is two */
    double bytes; /* a second, read and written, by a copy */
    size_t copied; /* bytes of what was copied; twice as many were moved */
};

/* Measures both, for about that many seconds each. Returns 0 or -1 with an error. */
int bench_limits_measure(struct device *device, double seconds, struct bench_limits *out);

#endif
