/* Runs the list of cases and says whether what comes out is right:
 *   ops reference                         the reference device against oracle.c and against finite differences
 *   ops DEVICE PRECISION ENGINE [WORDS]   any other against the reference; ENGINE is auto, ours or library, or a
 *                                         level of the CPU device's instructions
 * WORDS runs only the cases whose names contain them. Ends with 77 if this processor lacks the precision or level.
 */
#include "gradient.h"
#include "oracle.h"

#include "tests/check.h"
#include "tests/common/open.h"

#include "host/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 3 }; /* wrong elements that are printed of each operand */

static const char *const slot_names[SLOTS] = {
    [X] = "x", [X_MASK] = "mask of x", [Y] = "y", [Y_MASK] = "mask", [ARGMAX] = "argmax", [DY] = "dy", [DX] = "dx"};

/* The comparison that came nearest to failing, for whoever sets the tolerances. */
static struct {
    double share; /* of the error allowed */
    const char *name;
    enum slot slot;
} nearest;

/* What is compared: a trial's results with those expected, in the words of a failure. */
struct comparison {
    struct trial *trial;
    double *expected[SLOTS];
    struct ascent *state;
};

/* Tolerances ---------------------------------------------------------------------------------------------- */

/* How many products or values the longest sum behind an element has. */
static double terms(const struct op_case *o, enum slot slot)
{
    switch (o->op) {
    case OP_CONV:
        return (double)(o->kh * o->kw) * (slot == DX ? o->cout : o->cin);
    case OP_GLOBAL_AVERAGE:
        return (double)(o->h * o->w);
    case OP_ASCEND: /* its mean |g| */
        return (double)(o->h * o->w * 3);
    default:
        return 9;
    }
}

/* Half the distance from 1 to the next number of the type that sums are made in: 16-bit devices sum in fp32. */
static double unit(enum dtype type)
{
    return type == DTYPE_F64 ? 0x1p-53 : 0x1p-24;
}

/* The error allowed, as a root mean square, to values of order one, which all are. A sum of n terms is off by less
 * than sqrt(n) roundings, in whatever order it is made; a few more are for the steps around it. A bf16 result is
 * rounded by up to 2^-9, an fp16 one by up to 2^-12, and twice where it is added to a gradient that is stored
 * already. tf32 rounds both factors of a product to 11 bits. A maximum is exact. */
static double tolerance(const struct trial *t, enum slot slot)
{
    const struct op_case *o = t->op_case;
    enum dtype type = t->operands[slot].tensor.type;

    if (o->op == OP_MAX_POOL && slot == Y)
        return 0;
    double sum = unit(type) * (4 + sqrt(terms(o, slot)));

    if (o->op == OP_CONV && strcmp(t->device->precision, "tf32") == 0)
        sum += 0x1p-10;
    return type == DTYPE_BF16 ? sum + 0x1p-8 : type == DTYPE_F16 ? sum + 0x1p-11 : sum;
}

/* A single element may be further off than the root mean square, by this factor. */
static const double outlier = 4;

/* Comparing ----------------------------------------------------------------------------------------------- */

static void print_place(const struct trial *t, enum slot slot, int64_t element)
{
    const struct operand *o = &t->operands[slot];
    int64_t pixel = element / o->tensor.pitch;

    printf("FAILED %s: %s[%d][%d][%d]: ", t->op_case->name, slot_names[slot], (int)(pixel / o->tensor.w),
           (int)(pixel % o->tensor.w), (int)(element % o->tensor.pitch - o->first));
}

/* What an element must be: around a slice what it was, in a mask what the device's own y says (that NaN is above
 * 0), else what is expected. Masks need no tolerance so, as y has one. Linear outputs' bits are nobody's, nor are
 * those that fill up a slice's last byte. */
static double wanted(const struct comparison *c, enum slot slot, int64_t element)
{
    const struct trial *t = c->trial;
    const struct operand *o = &t->operands[slot];
    int64_t channel = element % o->tensor.pitch - o->first;

    if (o->tensor.type == DTYPE_BITS && channel >= o->tensor.c && channel < (o->tensor.c + 7) / 8 * 8)
        return o->after[element];
    if (channel < 0 || channel >= o->tensor.c)
        return o->before[element];
    if (slot != Y_MASK)
        return c->expected[slot][element];
    if (channel < t->op_case->linear)
        return o->after[element];

    const struct operand *y = &t->operands[Y];
    int64_t pixel = element / o->tensor.pitch;

    return !(y->after[pixel * y->tensor.pitch + y->first + channel] <= 0);
}

/* Whether an input near output (row, column) is not finite: in its window, or up to `around` further away. */
static bool broken_near(const struct trial *t, int64_t row, int64_t column, int64_t around)
{
    const struct op_case *o = t->op_case;
    const struct operand *x = &t->operands[X];
    int64_t top = row * o->stride - o->pad_h - around, left = column * o->stride - o->pad_w - around;

    for (int64_t v = top; v < top + o->kh + 2 * around; v++)
        for (int64_t u = left; u < left + o->kw + 2 * around; u++)
            for (int c = 0; v >= 0 && v < o->h && u >= 0 && u < o->w && c < o->cin; c++)
                if (!isfinite(x->before[(v * o->w + u) * x->tensor.pitch + x->first + c]))
                    return true;
    return false;
}

/* Whether element i of y is right where x is not finite. A sum that is not finite must not come out as a number,
 * but for one of minus infinity that ReLU makes 0. A number may be lost, too, if something broken is so near that a
 * transform can have brought it there: outputs may be made in tiles of 4x4. */
static bool broken_right(const struct trial *t, int64_t i, double want)
{
    const struct operand *y = &t->operands[Y];
    int64_t pixel = i / y->tensor.pitch, row = pixel / y->tensor.w, column = pixel % y->tensor.w;
    bool transformed = t->op_case->kh == 3 && t->op_case->kw == 3 && t->op_case->stride == 1;

    if (!isfinite(want))
        return !isfinite(y->after[i]);
    return broken_near(t, row, column, transformed ? 3 : 0);
}

static void compare_operand(const struct comparison *c, enum slot slot)
{
    const struct trial *t = c->trial;
    const struct operand *o = &t->operands[slot];
    bool inexact = o->tensor.type != DTYPE_BITS && o->tensor.type != DTYPE_U8;
    double allowed = inexact ? tolerance(t, slot) : 0;
    double squares = 0, energy = 0, worst = 0;
    int64_t wrong = 0, n = o->tensor.h * o->tensor.w * o->tensor.pitch;

    for (int64_t i = 0; i < n; i++) {
        int64_t channel = i % o->tensor.pitch - o->first;
        bool inside = channel >= 0 && channel < o->tensor.c;
        double want = wanted(c, slot, i);
        double error = fabs(o->after[i] - want);

        if (t->op_case->flags & NOT_FINITE && slot == Y && !(isfinite(want) && isfinite(o->after[i]))) {
            if (!broken_right(t, i, want) && wrong++ < SHOWN) {
                print_place(t, slot, i);
                printf("%.9g, not %.9g\n", o->after[i], want);
            }
            continue;
        }
        if (!(error <= (inside ? outlier * allowed * (1 + fabs(want)) : 0)) && wrong++ < SHOWN) {
            print_place(t, slot, i);
            printf("%.9g, not %.9g%s\n", o->after[i], want, inside ? "" : " (beside the slice)");
        }
        worst = error <= worst ? worst : error;
        squares += error * error;
        energy += want * want;
    }
    double inner = (double)(o->tensor.h * o->tensor.w * o->tensor.c);
    double rms = sqrt(squares / inner);
    double scale = fmax(1, sqrt(energy / inner));

    if (allowed > 0 && rms / (allowed * scale) > nearest.share) {
        nearest.share = rms / (allowed * scale);
        nearest.name = t->op_case->name;
        nearest.slot = slot;
    }
    CHECK(wrong == 0 && rms <= allowed * scale,
          "%s: %s: %lld of %lld elements wrong, worst error %.3g; root mean square %.3g, allowed %.3g",
          t->op_case->name, slot_names[slot], (long long)wrong, (long long)n, worst, rms, allowed * scale);
}

static void compare_number(const struct trial *t, const char *what, int step, double got, double want,
                           double allowed)
{
    CHECK(fabs(got - want) <= allowed * fabs(want), "%s: %s %d: %.12g, not %.12g", t->op_case->name, what, step,
          got, want);
}

/* Sums of positive terms: relative errors. Their terms are exact in every type, so only the summing rounds. */
static void compare_states(const struct comparison *c)
{
    const struct trial *t = c->trial;
    const struct ascent *got = t->state_after, *want = c->state;
    double allowed = unit(t->device->picture) * 32;

    CHECK(got->steps == want->steps && got->stopped == want->stopped && got->overflowed == want->overflowed,
          "%s: %d steps, stopped %d, overflowed %d; not %d, %d, %d", t->op_case->name, (int)got->steps,
          (int)got->stopped, (int)got->overflowed, (int)want->steps, (int)want->stopped, (int)want->overflowed);
    compare_number(t, "loss after step", (int)want->steps, got->current.loss, want->current.loss, allowed);
    compare_number(t, "mean after step", (int)want->steps, got->current.mean_abs_gradient,
                   want->current.mean_abs_gradient, allowed);
    for (int i = 0; i < STEPS && i < want->steps; i++) {
        compare_number(t, "loss of step", i, got->records[i].loss, want->records[i].loss, allowed);
        compare_number(t, "mean of step", i, got->records[i].mean_abs_gradient, want->records[i].mean_abs_gradient,
                       allowed);
    }
}

/* The same numbers from a second run, bit for bit (a double's bits, so NaN equals NaN and 0 is not -0). The devices
 * that promise so are run with one thread then. */
static void compare_bits(const struct trial *t, const struct trial *again)
{
    for (int slot = 0; slot < SLOTS; slot++) {
        const struct operand *o = &t->operands[slot];

        if (!o->written)
            continue;
        size_t n = (size_t)(o->tensor.h * o->tensor.w * o->tensor.pitch);
        CHECK(memcmp(o->after, again->operands[slot].after, n * sizeof *o->after) == 0,
              "%s: %s differs in a second run", t->op_case->name, slot_names[slot]);
    }
    CHECK(memcmp(t->state_after, again->state_after, ascent_bytes(STEPS)) == 0,
          "%s: the sums differ in a second run", t->op_case->name);
}

/* Running ------------------------------------------------------------------------------------------------- */

/* A case on a device, run and read; NULL after a failure. */
static struct trial *run(struct device *device, const struct op_case *o, const struct device *as)
{
    struct trial *t = trial_new(device, o, as);

    CHECK(t, "%s on %s: %s", o->name, device->name, error_message());
    if (!t)
        return NULL;
    int64_t allocations = device->allocations, waits = device->waits;

    trial_forward(t);
    trial_backward(t);
    CHECK(device->allocations == allocations, "%s: an operation allocates", o->name);
    CHECK(device->waits == waits, "%s: an operation waits", o->name);
    if (trial_read(t) == 0)
        return t;
    CHECK(false, "%s on %s: %s", o->name, device->name, error_message());
    trial_free(t);
    return NULL;
}

static void compare(const struct comparison *c)
{
    for (int slot = 0; slot < SLOTS; slot++)
        if (c->trial->operands[slot].written)
            compare_operand(c, slot);
    compare_states(c);
}

static void compare_with_reference(struct trial *t, struct device *reference)
{
    struct comparison c = {.trial = t};
    struct trial *right = run(reference, t->op_case, t->device);

    if (!right)
        return;
    for (int slot = 0; slot < SLOTS; slot++)
        c.expected[slot] = right->operands[slot].after;
    c.state = right->state_after;
    compare(&c);
    trial_free(right);
}

static void compare_with_oracle(struct trial *t)
{
    struct comparison c = {.trial = t, .state = malloc(ascent_bytes(STEPS))};

    for (int slot = 0; slot < SLOTS; slot++) {
        const struct tensor *tensor = &t->operands[slot].tensor;

        c.expected[slot] = calloc((size_t)(tensor->h * tensor->w * tensor->pitch + 1), sizeof(double));
    }
    oracle_fill(t, c.expected, c.state);
    compare(&c);
    for (int slot = 0; slot < SLOTS; slot++)
        free(c.expected[slot]);
    free(c.state);
}

/* reference NULL: compares with the oracle. second is the device again, with one thread. */
static void check_case(const struct op_case *o, struct device *device, struct device *second,
                       struct device *reference)
{
    struct trial *t = run(device, o, device);
    struct trial *again = run(second, o, device);

    if (t && reference)
        compare_with_reference(t, reference);
    else if (t)
        compare_with_oracle(t);
    if (t && again)
        compare_bits(t, again);
    trial_free(t);
    trial_free(again);
}

static int engine_choose(const char *name, struct device_options *options)
{
    static const char *const names[] = {[CONV_AUTO] = "auto", [CONV_OURS] = "ours", [CONV_LIBRARY] = "library"};
    static const char *const levels[] = {"base", "v3", "v4", "bf16"};

    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            options->engine = (enum conv_engine)i;
            return 0;
        }
    for (int i = 0; i < 4; i++)
        if (strcmp(name, levels[i]) == 0) {
            options->level = levels[i];
            return 0;
        }
    return -1;
}

/* Whether the device is asked for a case. Of libraries nobody knows what they make of NaN. */
static bool case_suits(const struct op_case *o, const struct device *device, enum conv_engine engine)
{
    if (o->flags & NOT_FINITE && engine == CONV_LIBRARY)
        return false;
    return !(o->flags & CPU_ONLY) || strncmp(device->name, "cuda", 4) != 0;
}

int main(int argc, char **argv)
{
    struct device_options options = {0};
    bool oracle = argc == 2 && strcmp(argv[1], "reference") == 0;

    if (!oracle && (argc < 4 || argc > 5 || engine_choose(argv[3], &options))) {
        fprintf(stderr, "usage: ops reference | ops DEVICE PRECISION auto|ours|library|base|v3|v4|bf16 [WORDS]\n");
        return 2;
    }
    options.precision = oracle ? NULL : argv[2];
    struct device *device = open_or_skip(argv[1], options);
    struct device *reference = oracle ? NULL : open_or_skip("reference", (struct device_options){0});

    /* oneDNN splits some sums by threads: there a second run has as many. */
    if (options.engine != CONV_LIBRARY)
        options.threads = 1;
    struct device *second = open_or_skip(argv[1], options);
    int cases = 0;

    for (int i = 0; i < op_case_count; i++) {
        if ((argc == 5 && !strstr(op_cases[i].name, argv[4])) || !case_suits(&op_cases[i], device, options.engine))
            continue;
        check_case(&op_cases[i], device, second, reference);
        cases++;
    }
    printf("%s %s: %d cases", device->name, device->precision, cases);
    if (nearest.name)
        printf("; nearest to its limit, with %.2g of the error allowed: %s, %s", nearest.share, nearest.name,
               slot_names[nearest.slot]);
    printf("\n");
    if (oracle)
        check_failures += gradient_failures(device);
    device_close(second);
    device_close(reference);
    device_close(device);
    return check_result();
}
