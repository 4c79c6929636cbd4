/* Finite differences through a network in miniature: a strided convolution, a max pool, and a module of two
 * branches (a padded convolution; a linear 1x1 convolution with an average pool behind it) that end in slices of
 * one concatenation. It finds what single operations cannot show: slices, masks and accumulation that do not fit.
 */
#include "gradient.h"

#include "tests/check.h"

#include "host/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEIGHT = 28, WIDTH = 26, STEM = 8, BRANCH = 16, PIXELS = HEIGHT * WIDTH * 3 };

enum { STRIDED, PADDED, LINEAR, FILTERS };

static const struct filter_desc descs[FILTERS] = {
    [STRIDED] = {.kh = 3, .kw = 3, .stride = 2, .cin = 3, .cout = STEM},
    [PADDED] = {.kh = 3, .kw = 3, .stride = 1, .pad_h = 1, .pad_w = 1, .cin = STEM, .cout = BRANCH},
    [LINEAR] = {.kh = 1, .kw = 1, .stride = 1, .cin = STEM, .cout = BRANCH, .linear = BRANCH},
};

/* All tensors are F64 and stay allocated until the end. "d" before a name: the gradient there. */
enum { PICTURE, D_PICTURE, STEM_OUT, D_STEM_OUT, POOLED, D_POOLED, MIDDLE, D_MIDDLE, CONCAT, D_CONCAT, TENSORS };

enum { STEM_MASK, POOLED_MASK, CONCAT_MASK, MASKS };

struct miniature {
    struct device *device;
    struct tensor tensors[TENSORS];
    struct tensor masks[MASKS];
    struct tensor argmax;
    struct filter *filters[FILTERS];
    struct conv *forward[FILTERS];
    struct conv *back[FILTERS];
    void *scratch;
    struct ascent *state;
};

static struct tensor tensor_new(struct device *device, int64_t h, int64_t w, int c, enum dtype type)
{
    struct tensor tensor = {.h = h, .w = w, .c = c, .pitch = c, .type = type};

    tensor.data = device_alloc(device, tensor_bytes(&tensor));
    return tensor;
}

static double random_value(void)
{
    static uint32_t state = 1;

    state = state * 1664525u + 1013904223u;
    return state * 0x1p-31 - 1;
}

static void make_filter(struct miniature *m, int which)
{
    static double kernel[9 * STEM * BRANCH], bias[BRANCH];
    struct filter_desc desc = descs[which];

    for (int i = 0; i < desc.kh * desc.kw * desc.cin * desc.cout; i++)
        kernel[i] = random_value() / sqrt(desc.kh * desc.kw * desc.cin);
    for (int i = 0; i < desc.cout; i++)
        bias[i] = random_value() / 4;
    desc.kernel = kernel;
    desc.bias = bias;
    m->filters[which] = device_filter_new(m->device, &desc);
}

/* mask may be NULL. */
static struct conv *make_conv(struct miniature *m, int which, bool back, struct tensor x, struct tensor y,
                              bool accumulate, const struct tensor *mask, size_t *scratch_bytes)
{
    struct conv_desc desc = {.x = x, .y = y, .back = back, .accumulate = accumulate};
    size_t bytes;

    if (mask)
        desc.mask = *mask;
    struct conv *conv = device_conv_new(m->device, m->filters[which], &desc, &bytes);
    if (bytes > *scratch_bytes)
        *scratch_bytes = bytes;
    return conv;
}

static void make_convs(struct miniature *m, size_t *bytes)
{
    const struct tensor *t = m->tensors;
    struct tensor first = tensor_slice(t[CONCAT], 0, BRANCH), d_first = tensor_slice(t[D_CONCAT], 0, BRANCH);
    struct tensor first_mask = tensor_slice(m->masks[CONCAT_MASK], 0, BRANCH);
    const struct tensor *stem_mask = &m->masks[STEM_MASK], *pooled_mask = &m->masks[POOLED_MASK];

    for (int i = 0; i < FILTERS; i++)
        make_filter(m, i);
    m->forward[STRIDED] = make_conv(m, STRIDED, false, t[PICTURE], t[STEM_OUT], false, stem_mask, bytes);
    m->forward[PADDED] = make_conv(m, PADDED, false, t[POOLED], first, false, &first_mask, bytes);
    m->forward[LINEAR] = make_conv(m, LINEAR, false, t[POOLED], t[MIDDLE], false, NULL, bytes);
    m->back[STRIDED] = make_conv(m, STRIDED, true, t[D_PICTURE], t[D_STEM_OUT], false, NULL, bytes);
    m->back[PADDED] = make_conv(m, PADDED, true, t[D_POOLED], d_first, true, pooled_mask, bytes);
    m->back[LINEAR] = make_conv(m, LINEAR, true, t[D_POOLED], t[D_MIDDLE], false, NULL, bytes);
}

static void miniature_open(struct miniature *m, struct device *device)
{
    static const struct {
        int64_t h, w;
        int c;
    } shapes[] = {{HEIGHT, WIDTH, 3}, {13, 12, STEM}, {6, 5, STEM}, {6, 5, BRANCH}, {6, 5, 2 * BRANCH}};
    size_t scratch_bytes = 1;

    *m = (struct miniature){.device = device};
    for (int i = 0; i < TENSORS; i++)
        m->tensors[i] = tensor_new(device, shapes[i / 2].h, shapes[i / 2].w, shapes[i / 2].c, DTYPE_F64);
    m->masks[STEM_MASK] = tensor_new(device, 13, 12, STEM, DTYPE_BITS);
    m->masks[POOLED_MASK] = tensor_new(device, 6, 5, STEM, DTYPE_BITS);
    m->masks[CONCAT_MASK] = tensor_new(device, 6, 5, 2 * BRANCH, DTYPE_BITS);
    m->argmax = tensor_new(device, 6, 5, STEM, DTYPE_U8);
    m->state = device_alloc(device, ascent_bytes(0));
    make_convs(m, &scratch_bytes);
    m->scratch = device_alloc(device, scratch_bytes);
}

static void miniature_close(struct miniature *m)
{
    for (int i = 0; i < FILTERS; i++) {
        device_conv_free(m->device, m->forward[i]);
        device_conv_free(m->device, m->back[i]);
        device_filter_free(m->device, m->filters[i]);
    }
    for (int i = 0; i < TENSORS; i++)
        device_free(m->device, m->tensors[i].data);
    for (int i = 0; i < MASKS; i++)
        device_free(m->device, m->masks[i].data);
    device_free(m->device, m->argmax.data);
    device_free(m->device, m->scratch);
    device_free(m->device, m->state);
}

/* The loss at a picture: half the sum of squares over the concatenation without its border. */
static double forward(struct miniature *m, const double *picture)
{
    struct device *device = m->device;
    const struct tensor *t = m->tensors;
    struct tensor first = tensor_slice(t[CONCAT], 0, BRANCH);
    struct tensor second = tensor_slice(t[CONCAT], BRANCH, BRANCH);
    struct tensor first_mask = tensor_slice(m->masks[CONCAT_MASK], 0, BRANCH);
    struct tensor second_mask = tensor_slice(m->masks[CONCAT_MASK], BRANCH, BRANCH);
    struct stimulation s = {.top = 1, .left = 1, .bottom = 5, .right = 4, .loss_scale = 0.5, .seed_scale = 1};
    struct ascent result;

    device_upload(device, t[PICTURE].data, picture, tensor_bytes(&t[PICTURE]));
    device_clear(device, m->state, ascent_bytes(0));
    device_conv(device, m->forward[STRIDED], &t[PICTURE], &t[STEM_OUT], &m->masks[STEM_MASK], m->scratch);
    device_max_pool(device, &t[STEM_OUT], &t[POOLED], &m->argmax, &m->masks[POOLED_MASK]);
    device_conv(device, m->forward[PADDED], &t[POOLED], &first, &first_mask, m->scratch);
    device_conv(device, m->forward[LINEAR], &t[POOLED], &t[MIDDLE], NULL, m->scratch);
    device_average_pool(device, &t[MIDDLE], m->filters[LINEAR], &second, &second_mask);
    device_stimulate(device, &s, &t[CONCAT], &t[D_CONCAT], false, m->state);
    device_ascent_read(device, m->state, 0, &result);
    return result.current.loss;
}

/* After forward: its gradient. The seed needs no mask, as it is 0 wherever the activation is. */
static void backward(struct miniature *m, double *gradient)
{
    struct device *device = m->device;
    const struct tensor *t = m->tensors;
    struct tensor first = tensor_slice(t[D_CONCAT], 0, BRANCH);
    struct tensor second = tensor_slice(t[D_CONCAT], BRANCH, BRANCH);

    device_average_pool_back(device, &second, &t[D_MIDDLE]);
    device_conv_back(device, m->back[LINEAR], &t[D_MIDDLE], &t[D_POOLED], NULL, m->scratch);
    device_conv_back(device, m->back[PADDED], &first, &t[D_POOLED], &m->masks[POOLED_MASK], m->scratch);
    device_max_pool_back(device, &t[D_POOLED], &m->argmax, &t[D_STEM_OUT], false, &m->masks[STEM_MASK]);
    device_conv_back(device, m->back[STRIDED], &t[D_STEM_OUT], &t[D_PICTURE], NULL, m->scratch);
    device_download(device, gradient, t[D_PICTURE].data, tensor_bytes(&t[D_PICTURE]));
}

/* An error of distance^2 remains, and rounding of 1e-16 / distance; a kink within the distance would show, and the
 * seed has none. Every 7th element meets each channel and both parities of rows and columns. */
int gradient_failures(struct device *device)
{
    static double picture[PIXELS], gradient[PIXELS];
    const double distance = 1e-6, tolerance = 1e-7;
    struct miniature m;
    double worst = 0, largest = 0;

    miniature_open(&m, device);
    for (int i = 0; i < PIXELS; i++)
        picture[i] = random_value();
    forward(&m, picture);
    backward(&m, gradient);
    for (int i = 0; i < PIXELS; i += 7) {
        double middle = picture[i];

        picture[i] = middle + distance;
        double above = forward(&m, picture);
        picture[i] = middle - distance;
        double below = forward(&m, picture);
        picture[i] = middle;

        double slope = (above - below) / (2 * distance);
        worst = fmax(worst, fabs(slope - gradient[i]));
        largest = fmax(largest, fabs(slope));
        CHECK(fabs(slope - gradient[i]) <= tolerance, "finite differences, element %d: gradient %.12g, slope %.12g",
              i, gradient[i], slope);
    }
    printf("finite differences: worst error %.2g where the largest slope is %.2g\n", worst, largest);
    miniature_close(&m);
    return check_failures;
}
