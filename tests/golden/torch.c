/* Compares a device with what PyTorch computed in float64 with a network that the program carries, "untrained" or
 * "embedded" (make_torch.py says how): every activation, gradients of single targets and of sets, whole dreams and
 * resizing. It wants no file but its own goldens; golden.c does the same with real weights, where they are at hand,
 * and looks at every value.
 * usage: golden_torch DATA_DIR NETWORK DEVICE PRECISION */
#include "tests/check.h"
#include "tests/common/dreaming.h"
#include "tests/common/arrays.h"
#include "tests/common/evaluation.h"
#include "tests/common/open.h"

#include "host/error.h"
#include "host/transfer.h"

#include <math.h>
#include <string.h>

/* What a device and precision must reach; relative L2, or relative for single numbers. */
struct tolerance {
    double activation;    /* of every node */
    double probabilities; /* of the 1000 classes */
    double loss;          /* at the goldens' picture, or at the first picture of a dream that has a loss */
    double gradient;      /* with the device's own signs and winners */
    double cosine;        /* of the same, and of what a dream has added to the picture */
    double mean;          /* mean |gradient|, also on the path of a dream */
    double with_signs;    /* gradient with the reference's signs and winners */
    double path;          /* every other loss of a dream */
    double moved;         /* what a dream has added */
};

static struct tolerance tolerance_of(const char *device, const char *precision)
{
    /* The goldens' arrays are stored as float32, 6e-8, but their losses and means as double. The dreams are short
     * enough that no sign flips between two float64 programs; what they add is the difference of two pictures that
     * are 30 times as large and float32. */
    if (strcmp(device, "reference") == 0)
        return (struct tolerance){.activation = 1e-6,
                                  .probabilities = 1e-6,
                                  .loss = 1e-9,
                                  .gradient = 1e-6,
                                  .cosine = 0.999999,
                                  .mean = 1e-9,
                                  .with_signs = 1e-6,
                                  .path = 1e-9,
                                  .moved = 1e-5};
    /* 8 bits of mantissa through 94 layers. Most of the gradient's error is flipped signs, so that only directions
     * can be asked of it, and its mean is off by 6% where few positions are stimulated; with the reference's signs
     * it must be as good as the activations. Paths of the loss agree within 5% in every precision. */
    if (strcmp(precision, "bf16") == 0)
        return (struct tolerance){.activation = 8e-2,
                                  .probabilities = 8e-2,
                                  .loss = 2e-2,
                                  .gradient = INFINITY,
                                  .cosine = 0.8,
                                  .mean = 1e-1,
                                  .with_signs = 2e-2,
                                  .path = 5e-2,
                                  .moved = INFINITY};
    /* 11 bits: of everything that is stored (fp16), or of the factors alone (tf32). The cosine is 0.998 after one
     * step and 0.968 after the dream of four. */
    if (strcmp(precision, "fp16") == 0 || strcmp(precision, "tf32") == 0)
        return (struct tolerance){.activation = 1e-2,
                                  .probabilities = 1e-2,
                                  .loss = 1e-3,
                                  .gradient = INFINITY,
                                  .cosine = 0.95,
                                  .mean = 2e-2,
                                  .with_signs = 1e-2,
                                  .path = 2e-2,
                                  .moved = INFINITY};
    /* float32: 2e-6 in the deepest activations. Which sign flips depends on the order of the sums; one in an early
     * layer costs the gradient up to 1.3e-2, and the steps after it as much. */
    return (struct tolerance){.activation = 1e-5,
                              .probabilities = 1e-5,
                              .loss = 1e-6,
                              .gradient = 2e-2,
                              .cosine = 0.999,
                              .mean = 2e-2,
                              .with_signs = 2e-5,
                              .path = 2e-2,
                              .moved = 5e-2};
}

struct suite {
    struct arrays arrays;
    cJSON *facts; /* what is not an array: shapes, strides, targets, losses */
    const struct array *x;
    struct device *device, *reference; /* reference: NULL where it is the device */
    struct weights *weights;
    struct network network;
    struct tolerance tolerance;
};

static double number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(object, name);

    must(cJSON_IsNumber(item), name);
    return item->valuedouble;
}

static double number_at(const cJSON *array, int64_t index)
{
    const cJSON *item = cJSON_GetArrayItem(array, (int)index);

    must(cJSON_IsNumber(item), "a number of an array");
    return item->valuedouble;
}

/* |a / b - 1|, and 0 where both are 0. */
static double relative(double a, double b)
{
    return a == b ? 0 : fabs(a / b - 1);
}

/* How far those of count values that were stored are from golden; fact says which they are. */
static struct difference sampled_difference(const double *values, int64_t count, const cJSON *fact,
                                            const struct array *golden)
{
    int64_t stride = (int64_t)number(fact, "stride");
    double *sample;
    struct difference d;

    must(golden && golden->count == (count + stride - 1) / stride, "as many values as PyTorch's");
    sample = malloc((size_t)golden->count * sizeof *sample);
    must(sample, "malloc");
    for (int64_t i = 0; i < golden->count; i++)
        sample[i] = values[i * stride];
    d = difference_of(sample, golden->values, golden->count);
    d.at *= stride;
    free(sample);
    return d;
}

/* Activations --------------------------------------------------------------------------------------------- */

struct seen {
    struct suite *suite;
    int compared;
    double worst;
};

static void compare_activation(void *context, int index, const struct tensor *activation)
{
    struct seen *seen = context;
    struct suite *suite = seen->suite;
    const struct node *node = &suite->network.nodes[index];
    const cJSON *fact = cJSON_GetObjectItem(cJSON_GetObjectItem(suite->facts, "activations"), node->name);
    const cJSON *shape = cJSON_GetObjectItem(fact, "shape");
    int64_t count = activation->h * activation->w * activation->c;
    bool dense = node->kind == NODE_DENSE;
    double *values = malloc((size_t)count * sizeof *values);
    struct difference d;

    must(values && tensor_download(suite->device, activation, DTYPE_F64, values) == 0, node->name);
    if (dense)
        evaluation_probabilities(&suite->network, suite->weights, index, values);
    CHECK(number_at(shape, 0) == (double)activation->h && number_at(shape, 1) == (double)activation->w &&
              number_at(shape, 2) == (double)activation->c,
          "%s is %lldx%lldx%d", node->name, (long long)activation->h, (long long)activation->w, activation->c);
    d = sampled_difference(values, count, fact, arrays_find(&suite->arrays, "%s", node->name));
    CHECK(d.relative_l2 < (dense ? suite->tolerance.probabilities : suite->tolerance.activation),
          "%s: relative L2 %.3g, largest error %.3g at %lld, which is %.9g", node->name, d.relative_l2, d.largest,
          (long long)d.at, values[d.at]);
    if (dense)
        printf("predictions: relative L2 of the probabilities %.3g\n", d.relative_l2);
    else
        seen->worst = fmax(seen->worst, d.relative_l2);
    seen->compared++;
    free(values);
}

/* Every node that the weights reach in one forward pass. */
static void test_activations(struct suite *suite)
{
    struct seen seen = {.suite = suite};
    const cJSON *facts = cJSON_GetObjectItem(suite->facts, "activations"), *last = facts->child;

    while (last->next)
        last = last->next;
    struct evaluation e = evaluation_open(suite->device, &suite->network, suite->weights, last->string, false,
                                          suite->x->shape[1], suite->x->shape[2]);

    evaluation_forward(&e, suite->x->values, compare_activation, &seen);
    evaluation_close(&e);
    printf("activations: worst relative L2 of %d nodes %.3g\n", seen.compared, seen.worst);
    CHECK(seen.compared == cJSON_GetArraySize(facts), "%d nodes compared", seen.compared);
}

/* Gradients ----------------------------------------------------------------------------------------------- */

enum { TARGETS = 4 }; /* more than any case has */

/* The targets that a gradient or a dream is of; returns their number. */
static int read_targets(const struct suite *suite, const cJSON *fact, struct target targets[TARGETS])
{
    const cJSON *item;
    int count = 0;

    cJSON_ArrayForEach(item, cJSON_GetObjectItem(fact, "targets"))
    {
        const cJSON *layer = cJSON_GetObjectItem(item, "layer");

        must(count < TARGETS && cJSON_IsString(layer), "targets");
        targets[count] = (struct target){.node = network_find(&suite->network, layer->valuestring),
                                         .first = (int)number(item, "first"),
                                         .count = (int)number(item, "count"),
                                         .weight = number(item, "weight")};
        must(targets[count].node >= 0, layer->valuestring);
        count++;
    }
    return count;
}

static struct evaluation open_targets(const struct suite *suite, struct device *device, const cJSON *fact)
{
    struct target targets[TARGETS];
    int count = read_targets(suite, fact, targets);

    return evaluation_open_targets(device, &suite->network, suite->weights, targets, count, true,
                                   suite->x->shape[1], suite->x->shape[2]);
}

static double mean_abs(const double *values, int64_t count)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += fabs(values[i]);
    return sum / (double)count;
}

/* The gradient once more, with the reference's signs and winners: what is left is rounding. */
static void compare_with_signs(struct suite *suite, const cJSON *fact, const struct array *golden,
                               struct evaluation *e, double *gradient)
{
    struct evaluation r = open_targets(suite, suite->reference, fact);
    struct difference d;
    int64_t flips, signs;

    evaluation_forward(&r, suite->x->values, NULL, NULL);
    evaluation_forward(e, suite->x->values, NULL, NULL);
    flips = evaluation_take_signs(e, &r, &signs);
    evaluation_backward(e, gradient);
    d = sampled_difference(gradient, suite->x->count, fact, golden);
    CHECK(d.relative_l2 < suite->tolerance.with_signs, "%s: with the reference's signs: relative L2 %.3g",
          fact->string, d.relative_l2);
    printf("%-24s with the reference's signs %.1e, flips %lld of %lld\n", "", d.relative_l2, (long long)flips,
           (long long)signs);
    evaluation_close(&r);
}

static void compare_gradient(struct suite *suite, const cJSON *fact)
{
    const struct tolerance *t = &suite->tolerance;
    const struct array *golden = arrays_find(&suite->arrays, "gradient/%s", fact->string);
    struct evaluation e = open_targets(suite, suite->device, fact);
    double *gradient = malloc((size_t)suite->x->count * sizeof *gradient);
    double loss, loss_error, mean_error;
    struct difference d;

    must(gradient, "malloc");
    evaluation_forward(&e, suite->x->values, NULL, NULL);
    loss = evaluation_backward(&e, gradient);
    loss_error = relative(loss, number(fact, "loss"));
    mean_error = relative(mean_abs(gradient, suite->x->count), number(fact, "mean_abs"));
    d = sampled_difference(gradient, suite->x->count, fact, golden);
    printf("%-24s loss %.1e  mean %.1e  gradient %.1e cosine %.7f\n", fact->string, loss_error, mean_error,
           d.relative_l2, d.cosine);
    CHECK(loss_error <= t->loss, "%s: loss %.17g against %.17g", fact->string, loss, number(fact, "loss"));
    CHECK(mean_error <= t->mean, "%s: the mean of |g| is off by %.3g", fact->string, mean_error);
    CHECK(d.relative_l2 < t->gradient && d.cosine > t->cosine,
          "%s: gradient's relative L2 %.3g, cosine %.6f, largest error %.3g at %lld", fact->string, d.relative_l2,
          d.cosine, d.largest, (long long)d.at);
    if (suite->reference)
        compare_with_signs(suite, fact, golden, &e, gradient);
    evaluation_close(&e);
    free(gradient);
}

static void test_gradients(struct suite *suite)
{
    const cJSON *fact;
    int compared = 0;

    cJSON_ArrayForEach(fact, cJSON_GetObjectItem(suite->facts, "gradients"))
    {
        compare_gradient(suite, fact);
        compared++;
    }
    CHECK(compared >= 10, "%d gradients compared", compared);
}

/* Dreams -------------------------------------------------------------------------------------------------- */

/* One octave's size, end, losses and means. *first: no step with a loss has been compared yet. */
static void compare_octave(const struct suite *suite, const char *what, const struct octave_log *octave,
                           const cJSON *fact, bool *first)
{
    const cJSON *losses = cJSON_GetObjectItem(fact, "losses"), *means = cJSON_GetObjectItem(fact, "mean_abs");
    const struct tolerance *t = &suite->tolerance;

    CHECK((double)octave->height == number(fact, "height") && (double)octave->width == number(fact, "width"),
          "%s: an octave of %lldx%lld", what, (long long)octave->height, (long long)octave->width);
    CHECK(octave->stopped == cJSON_IsTrue(cJSON_GetObjectItem(fact, "stopped")), "%s: stopped is %d", what,
          octave->stopped);
    CHECK(octave->steps == cJSON_GetArraySize(losses), "%s: %lld steps", what, (long long)octave->steps);
    CHECK(octave->silent == (number_at(losses, 0) == 0), "%s: silent is %d", what, octave->silent);
    for (int64_t i = 0; i < octave->steps && i < cJSON_GetArraySize(losses); i++) {
        const struct step_record *record = &octave->records[i];
        double loss_error = relative(record->loss, number_at(losses, i));
        double mean_error = relative(record->mean_abs_gradient, number_at(means, i));

        printf("%-24s %lldx%lld step %lld: loss %.1e  mean %.1e\n", what, (long long)octave->width,
               (long long)octave->height, (long long)i, loss_error, mean_error);
        CHECK(loss_error <= (*first ? t->loss : t->path), "%s: loss %.17g against %.17g", what, record->loss,
              number_at(losses, i));
        CHECK(mean_error <= t->mean, "%s: mean of |g| %.17g against %.17g", what, record->mean_abs_gradient,
              number_at(means, i));
        *first = *first && octave->silent;
    }
}

static void compare_dream(struct suite *suite, const cJSON *fact)
{
    struct dream_options options = dream_defaults();
    struct target targets[TARGETS];
    int target_count = read_targets(suite, fact, targets);
    const cJSON *log_fact = cJSON_GetObjectItem(fact, "log");
    const struct array *x = suite->x;
    struct image picture = {.height = x->shape[1], .width = x->shape[2], .bits = 8};
    struct dream_log log = {0};
    struct net *net = net_open(suite->device, &suite->network, suite->weights, targets, target_count, true);
    double *values = malloc((size_t)x->count * sizeof *values);
    struct difference d;
    bool first = true;

    options.octaves = (int)number(fact, "octaves");
    options.iterations = (int)number(fact, "iterations");
    options.max_loss = number(fact, "max_loss");
    picture.pixels = malloc((size_t)x->count * sizeof *picture.pixels);
    must(net && values && picture.pixels, fact->string);
    memcpy(picture.pixels, x->values, (size_t)x->count * sizeof *picture.pixels);
    must(dream_now(net, &picture, &options, NULL, &log) == 0, fact->string);
    CHECK(log.octaves == cJSON_GetArraySize(log_fact), "%s: %d octaves", fact->string, log.octaves);
    for (int i = 0; i < log.octaves; i++)
        compare_octave(suite, fact->string, &log.octave[i], cJSON_GetArrayItem(log_fact, i), &first);
    for (int64_t i = 0; i < x->count; i++)
        values[i] = (double)picture.pixels[i] - (double)x->values[i];
    d = sampled_difference(values, x->count, fact, arrays_find(&suite->arrays, "dream/%s", fact->string));
    printf("%-24s moved %.1e cosine %.7f\n", fact->string, d.relative_l2, d.cosine);
    CHECK(d.relative_l2 < suite->tolerance.moved && d.cosine > suite->tolerance.cosine,
          "%s: what was added: relative L2 %.3g, cosine %.6f, largest error %.3g at %lld", fact->string,
          d.relative_l2, d.cosine, d.largest, (long long)d.at);
    free(values);
    dream_log_free(&log);
    image_free(&picture);
    net_close(net);
}

static void test_dreams(struct suite *suite)
{
    const cJSON *fact;
    int compared = 0;

    cJSON_ArrayForEach(fact, cJSON_GetObjectItem(suite->facts, "dreams"))
    {
        compare_dream(suite, fact);
        compared++;
    }
    CHECK(compared == 2, "%d dreams compared", compared);
}

/* Resizing ------------------------------------------------------------------------------------------------ */

/* A picture's tensor on the device, of an array's shape. */
static struct tensor picture_like(struct device *device, const struct array *array)
{
    struct tensor t = {.h = array->shape[1], .w = array->shape[2], .c = 3, .pitch = 3, .type = device->picture};

    t.data = device_alloc(device, tensor_bytes(&t));
    must(t.data, array->name);
    return t;
}

static void test_resize(struct suite *suite)
{
    const struct array *in, *out;
    int compared = 0;

    while ((in = arrays_find(&suite->arrays, "resize/%d/in", compared)) &&
           (out = arrays_find(&suite->arrays, "resize/%d/out", compared))) {
        struct tensor x = picture_like(suite->device, in), y = picture_like(suite->device, out);
        double *values = malloc((size_t)out->count * sizeof *values);
        struct difference d;

        must(values && tensor_upload(suite->device, &x, in->values) == 0, in->name);
        device_resize(suite->device, &x, &y);
        must(tensor_download(suite->device, &y, DTYPE_F64, values) == 0, out->name);
        d = difference_of(values, out->values, out->count);
        /* Pictures are float32 or better in every precision. */
        CHECK(d.largest < 1e-6, "%s: largest error %.3g at %lld: %.9g against %.9g", out->name, d.largest,
              (long long)d.at, values[d.at], (double)out->values[d.at]);
        printf("%-24s largest error %.1e\n", out->name, d.largest);
        free(values);
        device_free(suite->device, x.data);
        device_free(suite->device, y.data);
        compared++;
    }
    CHECK(compared == 6, "%d resizes compared", compared);
}

struct file_name {
    char text[64];
};

static struct file_name file_name(const char *network, const char *extension)
{
    struct file_name name;

    snprintf(name.text, sizeof name.text, "%s%s", network, extension);
    return name;
}

int main(int argc, char **argv)
{
    struct suite suite = {0};

    if (argc != 5) {
        fprintf(stderr, "usage: golden_torch DATA_DIR NETWORK DEVICE PRECISION\n");
        return 2;
    }
    suite.device = open_or_skip(argv[3], (struct device_options){.precision = argv[4]});
    if (strcmp(argv[3], "reference") != 0)
        suite.reference = open_or_skip("reference", (struct device_options){0});
    suite.tolerance = tolerance_of(argv[3], argv[4]);
    suite.arrays = arrays_open(argv[1], file_name(argv[2], ".safetensors").text);
    suite.facts = read_json(argv[1], file_name(argv[2], ".json").text);
    suite.x = arrays_find(&suite.arrays, "x");
    suite.weights = weights_open(argv[2]);
    must(suite.x && suite.weights && network_init(&suite.network, suite.weights) == 0, argv[2]);
    test_activations(&suite);
    test_gradients(&suite);
    test_dreams(&suite);
    test_resize(&suite);
    weights_close(suite.weights);
    cJSON_Delete(suite.facts);
    arrays_close(&suite.arrays);
    device_close(suite.reference);
    device_close(suite.device);
    return check_result();
}
