/* Tests the verdicts of a comparison (host/compare.c, host/difference.c) on numbers that are made up, failures
 * among them; tests/cli/compare.sh runs it on devices. */
#include "tests/check.h"

#include "host/compare.h"

#include <math.h>

static void test_differences(void)
{
    static const double a[] = {3, 4, 0}, b[] = {3, 4, 1}, none[3], nan[] = {3, NAN, 0};
    static const float single[] = {3, 4, 1};
    struct difference d = difference_of_doubles(a, b, 3);

    CHECK(fabs(d.relative_l2 - 1 / sqrt(26)) < 1e-15 && fabs(d.cosine - 25 / sqrt(25 * 26)) < 1e-15, "%g %g",
          d.relative_l2, d.cosine);
    CHECK(d.largest == 1 && d.at == 2, "%g at %d", d.largest, (int)d.at);
    d = difference_of(a, single, 3);
    CHECK(d.largest == 1 && d.at == 2, "%g at %d", d.largest, (int)d.at);
    d = difference_of_doubles(none, none, 3);
    CHECK(d.relative_l2 == 0 && d.cosine == 1 && d.largest == 0, "nothing is unlike nothing: %g", d.relative_l2);
    d = difference_of_doubles(a, none, 3);
    CHECK(isinf(d.relative_l2), "something is like nothing: %g", d.relative_l2);
    d = difference_of_doubles(nan, b, 3);
    CHECK(isnan(d.relative_l2) && isnan(d.cosine) && isnan(d.largest) && d.at == 1, "%g %g", d.relative_l2,
          d.cosine);
}

/* Just inside the limit passes, just outside and NaN do not. */
static void test_verdicts(void)
{
    for (int i = 0; i < MEASURES; i++) {
        enum measure measure = (enum measure)i;
        bool cosine = measure == MEASURE_GRADIENT;
        double allowed = measure_allowed(measure, "fp32", "fp64");
        struct difference good = {.relative_l2 = cosine ? 9 : allowed, .cosine = cosine ? allowed : -1};
        struct difference bad = {.relative_l2 = cosine ? 0 : 1.01 * allowed, .cosine = cosine ? 0.99 * allowed : 1};
        struct difference nan = {.relative_l2 = cosine ? 0 : (double)NAN, .cosine = cosine ? (double)NAN : 1};

        CHECK(measure_passes(measure, &good, allowed), "measure %d at its limit", i);
        CHECK(!measure_passes(measure, &bad, allowed), "measure %d beyond its limit", i);
        CHECK(!measure_passes(measure, &nan, allowed), "measure %d that is NaN", i);
    }
}

/* From the tightest to the loosest; the looser of two counts, whichever side has it. */
static void test_precisions(void)
{
    static const char *const precisions[] = {"fp64", "fp32", "tf32", "fp16", "bf16"};

    for (int i = 0; i < MEASURES; i++) {
        enum measure measure = (enum measure)i;
        double sign = measure == MEASURE_GRADIENT ? -1 : 1;

        for (int tight = 0; tight < 5; tight++)
            for (int loose = tight; loose < 5; loose++) {
                double own = measure_allowed(measure, precisions[loose], precisions[loose]);
                double mixed = measure_allowed(measure, precisions[tight], precisions[loose]);

                CHECK(mixed == own && mixed == measure_allowed(measure, precisions[loose], precisions[tight]),
                      "measure %d, %s and %s: %g, not %g", i, precisions[tight], precisions[loose], mixed, own);
                CHECK(sign * own >= sign * measure_allowed(measure, precisions[tight], precisions[tight]),
                      "measure %d: %s is tighter than %s", i, precisions[loose], precisions[tight]);
            }
    }
    CHECK(measure_allowed(MEASURE_ACTIVATION, "fp32", "fp64") == 1e-5, "fp32 activations");
    CHECK(measure_allowed(MEASURE_GRADIENT, "fp64", "bf16") == 0.75, "bf16 gradients");
    CHECK(measure_allowed(MEASURE_OCTAVE, "bf16", "fp64") == 0.1, "bf16 dreams");
}

int main(void)
{
    test_differences();
    test_verdicts();
    test_precisions();
    return check_result();
}
