/* The time that has passed, for progress and logs; nothing that is computed may depend on it. */
#ifndef PAREIDOLIA_CLOCK_H
#define PAREIDOLIA_CLOCK_H

#include <time.h>

/* Seconds since some fixed moment, never running backwards. */
static inline double clock_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
