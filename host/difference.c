/* Sums over two arrays in double precision, in one pass. */
#include "difference.h"

#include <math.h>
#include <stdbool.h>

/* The sums that every kind of difference is made of. */
struct sums {
    double aa, bb, ab, dd, largest;
    int64_t at;
};

static void sums_add(struct sums *s, double a, double b, int64_t at)
{
    s->aa += a * a;
    s->bb += b * b;
    s->ab += a * b;
    s->dd += (a - b) * (a - b);
    if (!(fabs(a - b) <= s->largest) && !isnan(s->largest)) { /* NaN counts as the largest */
        s->largest = fabs(a - b);
        s->at = at;
    }
}

static struct difference sums_end(const struct sums *s)
{
    bool both_zero = s->aa == 0 && s->bb == 0;

    return (struct difference){.relative_l2 = both_zero ? 0 : sqrt(s->dd / s->bb),
                               .cosine = both_zero ? 1 : s->ab / sqrt(s->aa * s->bb),
                               .largest = s->largest,
                               .at = s->at};
}

struct difference difference_of(const double *a, const float *b, int64_t count)
{
    struct sums sums = {0};

    for (int64_t i = 0; i < count; i++)
        sums_add(&sums, a[i], (double)b[i], i);
    return sums_end(&sums);
}

struct difference difference_of_doubles(const double *a, const double *b, int64_t count)
{
    struct sums sums = {0};

    for (int64_t i = 0; i < count; i++)
        sums_add(&sums, a[i], b[i], i);
    return sums_end(&sums);
}
