/* Runs two devices from the same picture and measures how far they are apart. Where both would go on by themselves
 * they soon differ, as the ascent is chaotic (a sign that flips is a jump); so each step is compared from the same
 * start, the backward pass also with the same signs, and of whole dreams only the path of the loss. */
#include "compare.h"

#include "error.h"
#include "transfer.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Limits ---------------------------------------------------------------------------------------------------- */

enum precision { FP64, FP32, TF32, FP16, BF16, PRECISIONS };

static const char *const precision_names[] = {"fp64", "fp32", "tf32", "fp16", "bf16"};

/* What was measured is up to activation_41 of the trained network, on the article's pictures, other photographs and
 * the picture that is drawn: fp32 and bf16 on processors, fp16 and tf32 emulated. tf32 cuts the factors of a
 * product to as many digits as fp16 has, and comes out the same. */
static const double limits[MEASURES][PRECISIONS] = {
    /* Each layer rounds its output, or its inputs; over the layers that adds up to 6e-6 (fp32), 8e-3 (fp16, tf32)
     * and 7e-2 (bf16) on a flat sky, to a third of that on pictures with more in them. */
    [MEASURE_ACTIVATION] = {1e-12, 1e-5, 1e-2, 1e-2, 8e-2},
    /* A sum over the whole layer, in which most of that cancels: 2e-7, 5e-4, 2e-3. */
    [MEASURE_LOSS] = {1e-12, 1e-6, 1e-3, 1e-3, 1e-2},
    /* The cosine. A flipped sign or winner moves a part of the gradient; how many flip follows from how far the
     * activations are off, and what it does from the picture: above 0.9999 in fp32, 0.98 to 0.995 in fp16 and tf32,
     * 0.79 to 0.97 in bf16. */
    [MEASURE_GRADIENT] = {0.999999, 0.999, 0.97, 0.97, 0.75},
    /* With the same signs rounding is all that is left, there and back: the tight test of the arithmetic. Up to
     * 1e-5, 1.7e-2 and 0.11, again on the flat sky. */
    [MEASURE_GRADIENT_GIVEN] = {1e-10, 2e-5, 2e-2, 2e-2, 0.12},
    /* The same divided by its mean, which is off by less. An fp32 picture rounds it by 1e-7. */
    [MEASURE_STEP] = {1e-10, 2e-5, 2e-2, 2e-2, 0.12},
    /* All climb the same hill by different ways: on the article's photograph (480x269) programs in every precision
     * end every octave within 5% of one another, bf16 furthest off. Not tighter for fp64: 1e-14 at the start is
     * enough to change the way. On smaller pictures, whose octaves have few positions to average over, and where
     * one feature runs away with the loss, not even dreams of the same program are so near; hence the spread. */
    [MEASURE_OCTAVE] = {0.08, 0.08, 0.08, 0.08, 0.1},
};

/* The cosine has a lower limit, what is relative an upper one. */
static bool is_cosine(enum measure measure)
{
    return measure == MEASURE_GRADIENT;
}

static double limit_of(enum measure measure, const char *precision)
{
    int i = 0;

    while (i < PRECISIONS && strcmp(precision_names[i], precision) != 0)
        i++;
    assert(i < PRECISIONS);
    return limits[measure][i];
}

double measure_allowed(enum measure measure, const char *precision_a, const char *precision_b)
{
    double a = limit_of(measure, precision_a), b = limit_of(measure, precision_b);

    return is_cosine(measure) ? fmin(a, b) : fmax(a, b);
}

bool measure_passes(enum measure measure, const struct difference *difference, double allowed)
{
    return is_cosine(measure) ? difference->cosine >= allowed : difference->relative_l2 <= allowed;
}

/* Results --------------------------------------------------------------------------------------------------- */

void comparison_free(struct comparison *comparison)
{
    free(comparison->compared);
    *comparison = (struct comparison){0};
}

/* The two sides, a picture's size, and where results go. */
struct comparing {
    const struct compare_side *a, *b;
    struct comparison *out;
};

static int append(const struct comparing *c, struct compared compared)
{
    struct comparison *out = c->out;
    struct compared *larger = realloc(out->compared, ((size_t)out->count + 1) * sizeof *larger);

    if (!larger)
        return error_set("no memory for %d comparisons", out->count + 1);
    compared.allowed = measure_allowed(compared.measure, c->a->device->precision, c->b->device->precision) +
                       SPREADS_ALLOWED * compared.spread;
    compared.passed = measure_passes(compared.measure, &compared.difference, compared.allowed);
    out->compared = larger;
    out->compared[out->count++] = compared;
    return 0;
}

static int append_arrays(const struct comparing *c, enum measure measure, int index, const double *a,
                         const double *b, int64_t count)
{
    return append(
        c, (struct compared){.measure = measure, .index = index, .difference = difference_of_doubles(a, b, count)});
}

static int append_numbers(const struct comparing *c, enum measure measure, int index, double a, double b,
                          double spread)
{
    double relative = a == b ? 0 : fabs(a - b) / fabs(b);

    return append(c, (struct compared){.measure = measure,
                                       .index = index,
                                       .a = a,
                                       .b = b,
                                       .spread = spread,
                                       .difference = {.relative_l2 = relative, .cosine = NAN, .largest = NAN}});
}

/* Layers ---------------------------------------------------------------------------------------------------- */

/* The second device's activations, each until the first device's has been compared with it. */
struct layers {
    const struct comparing *c;
    struct device *device; /* whose forward pass runs */
    double *activation[NETWORK_NODES];
    int result;
};

static double *downloaded(struct device *device, const struct tensor *tensor)
{
    size_t bytes = (size_t)(tensor->h * tensor->w * tensor->c) * sizeof(double);
    double *values = malloc(bytes);

    if (values && tensor_download(device, tensor, DTYPE_F64, values) == 0)
        return values;
    if (!values)
        error_set("no memory for %zu bytes of activations; take a smaller picture", bytes);
    free(values);
    return NULL;
}

static void layer_keep(void *context, int node, const struct tensor *activation)
{
    struct layers *layers = context;

    if (layers->result)
        return;
    layers->activation[node] = downloaded(layers->device, activation);
    layers->result = layers->activation[node] ? 0 : -1;
}

static void layer_compare(void *context, int node, const struct tensor *activation)
{
    struct layers *layers = context;
    int64_t count = activation->h * activation->w * activation->c;
    double *values;

    if (layers->result)
        return;
    values = downloaded(layers->device, activation);
    layers->result =
        values ? append_arrays(layers->c, MEASURE_ACTIVATION, node, values, layers->activation[node], count) : -1;
    free(values);
    free(layers->activation[node]);
    layers->activation[node] = NULL;
}

/* Forward on both, layer by layer. */
static int compare_layers(const struct comparing *c, struct probe *a, struct probe *b, const float *picture)
{
    struct layers layers = {.c = c, .device = c->b->device};

    if (probe_forward(b, picture, layer_keep, &layers) == 0 && !layers.result) {
        layers.device = c->a->device;
        if (probe_forward(a, picture, layer_compare, &layers))
            layers.result = -1;
    } else {
        layers.result = -1;
    }
    for (int i = 0; i < NETWORK_NODES; i++)
        free(layers.activation[i]);
    return layers.result;
}

/* Gradients ------------------------------------------------------------------------------------------------- */

static bool all_finite(const double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

/* Backward after forward, with a scale at which it does not overflow, as a dream finds it. */
static int backward(struct probe *probe, const float *picture, double *gradient, double *loss)
{
    for (;;) {
        if (probe_backward(probe, gradient, loss))
            return -1;
        if (all_finite(gradient, probe->x.h * probe->x.w * 3) || !plan_lower_gradient_scale(probe->plan))
            return 0;
        if (probe_forward(probe, picture, NULL, NULL))
            return -1;
    }
}

/* Loss and gradient after a forward pass on both, then once more with the same signs and winners, with the step
 * that this makes. of_a and of_b have room for a picture. */
static int compare_gradients(const struct comparing *c, struct probe *a, struct probe *b, const float *picture,
                             double *of_a, double *of_b)
{
    int64_t count = a->x.h * a->x.w * 3;
    double a_loss, b_loss;

    if (backward(a, picture, of_a, &a_loss) || probe_forward(a, picture, NULL, NULL) ||
        probe_take_kept(a, b, &c->out->flips) || backward(b, picture, of_b, &b_loss))
        return -1;
    if (append_numbers(c, MEASURE_LOSS, 0, a_loss, b_loss, 0) ||
        append_arrays(c, MEASURE_GRADIENT, 0, of_a, of_b, count))
        return -1;
    if (probe_backward(a, of_a, &a_loss) || append_arrays(c, MEASURE_GRADIENT_GIVEN, 0, of_a, of_b, count))
        return -1;
    if (probe_step(a, picture, of_a) || probe_step(b, picture, of_b))
        return -1;
    return append_arrays(c, MEASURE_STEP, 0, of_a, of_b, count);
}

int compare_steps(const struct compare_side *a, const struct compare_side *b, const struct image *picture,
                  struct comparison *out)
{
    const struct comparing c = {a, b, out};
    struct probe of_a = {0}, of_b = {0};
    size_t bytes = (size_t)(picture->height * picture->width * 3) * sizeof(double);
    double *a_values = malloc(bytes), *b_values = malloc(bytes);
    int result = -1;

    if (!a_values || !b_values) {
        error_set("no memory for two gradients of %zu bytes", bytes);
        goto fail;
    }
    if (probe_open(&of_a, a->device, a->net, picture->height, picture->width) ||
        probe_open(&of_b, b->device, b->net, picture->height, picture->width))
        goto fail;
    if (compare_layers(&c, &of_a, &of_b, picture->pixels) ||
        compare_gradients(&c, &of_a, &of_b, picture->pixels, a_values, b_values))
        goto fail;
    result = 0;

fail:
    probe_close(&of_a);
    probe_close(&of_b);
    free(a_values);
    free(b_values);
    return result;
}

/* Dreams ---------------------------------------------------------------------------------------------------- */

void compare_move(struct image *picture, int dream)
{
    uint64_t state = (uint64_t)dream;

    for (int64_t i = 0; dream > 0 && i < picture->height * picture->width * 3; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        picture->pixels[i] += (float)(COMPARE_MOVE * ((double)(state >> 33) * 0x1p-30 - 1));
    }
}

/* The loss at the end of an octave; NaN where there are no steps. */
static double end_loss(const struct dream_log *log, int octave)
{
    const struct octave_log *o = &log->octave[octave];

    return o->steps > 0 ? o->records[o->steps - 1].loss : (double)NAN;
}

int compare_dreams(const struct compare_side *a, const struct dream_log a_logs[COMPARE_DREAMS],
                   const struct compare_side *b, const struct dream_log *b_log, struct comparison *out)
{
    const struct comparing c = {a, b, out};

    for (int i = 0; i < b_log->octaves; i++) {
        double least = INFINITY, most = 0;

        if (b_log->octave[i].silent)
            continue;
        for (int dream = 0; dream < COMPARE_DREAMS; dream++) {
            least = fmin(least, end_loss(&a_logs[dream], i));
            most = fmax(most, end_loss(&a_logs[dream], i));
        }
        if (append_numbers(&c, MEASURE_OCTAVE, i, end_loss(&a_logs[0], i), end_loss(b_log, i),
                           most > least ? (most - least) / least : 0))
            return -1;
    }
    return 0;
}
