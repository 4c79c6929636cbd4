/* Numbers without a pattern, the same for all time: what is measured must not be zeros, which are less work. */
#ifndef PAREIDOLIA_BENCH_RANDOM_H
#define PAREIDOLIA_BENCH_RANDOM_H

#include <stdint.h>

/* The next number in [-1, 1), which a float holds exactly. *state may begin with anything. */
static inline double bench_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 40) * 0x1p-23 - 1;
}

#endif
