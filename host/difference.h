/* How far two arrays are apart. */
#ifndef PAREIDOLIA_DIFFERENCE_H
#define PAREIDOLIA_DIFFERENCE_H

#include <stdint.h>

/* A NaN in either array makes all of it NaN, or large, so that `<=` a limit does not hold. */
struct difference {
    double relative_l2; /* |a - b| / |b|; 0 where both are zero */
    double cosine;      /* of the angle between them; 1 where both are zero */
    double largest;     /* |a - b| of one element */
    int64_t at;         /* which one */
};

/* How far a is from b. */
struct difference difference_of(const double *a, const float *b, int64_t count);
struct difference difference_of_doubles(const double *a, const double *b, int64_t count);

#endif
