/* Builds and runs trials: seeded values, conversion to and from the device's types, slices, and the device calls of
 * each operation. Running out of host memory ends the program, as nothing could be tested then. */
#include "trial.h"

#include "host/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Channels around a slice, which nobody may write: 24 in all, or 20 around one that begins at an odd channel. */
enum { GUARD_BEFORE = 8, GUARD_BEHIND = 16, ODD_BEFORE = 3, ODD_BEHIND = 17 };

/* Outputs that an average pool's filter has besides the averaged ones. */
enum { SIBLINGS = 16 };

enum { KERNEL_SEED = SLOTS, BIAS_SEED };

/* Which values stand in an operand before the run. */
enum content {
    SPREAD /* -1..1 */,
    FEW /* 0, 1/4, 1/2, half of them 0 */,
    TINY,
    INFINITE /* one of SPREAD */,
    BROKEN /* the same, and a NaN elsewhere */,
    OVERWRITTEN
};

enum { INFINITE_ELEMENT = 7, NAN_ELEMENT = 6000 };

static void *allocate(size_t n, size_t size)
{
    void *memory = calloc(n, size);

    if (!memory) {
        printf("FAILED: no memory for %zu elements of %zu bytes\n", n, size);
        exit(EXIT_FAILURE);
    }
    return memory;
}

/* Values ------------------------------------------------------------------------------------------------- */

/* The n-th number of a seed's sequence (splitmix64), so that no value depends on which were asked for before. */
static uint64_t random_bits(int seed, int64_t n)
{
    uint64_t z = ((uint64_t)seed << 40) + ((uint64_t)n + 1) * 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double random_spread(int seed, int64_t n)
{
    return (double)(random_bits(seed, n) >> 11) * 0x1p-52 - 1;
}

/* The half-precision number nearest to value: 5 bits of exponent, 10 of fraction; ties to even. */
static uint16_t half_from(double value)
{
    unsigned sign = signbit(value) ? 0x8000 : 0;
    double size = fabs(value);
    int exponent;

    if (isnan(value))
        return 0x7e00;
    if (size >= 65520) /* rounds to 2^16, which there is not */
        return (uint16_t)(sign | 0x7c00);
    exponent = size < 0x1p-14 ? -14 : ilogb(size);
    /* The first bit of a normal number's 11 adds 1 to the exponent's field, and so does rounding up to 2048. */
    return (uint16_t)(sign | (((unsigned)(exponent + 14) << 10) + (unsigned)rint(ldexp(size, 10 - exponent))));
}

static double half_to_double(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double size = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
                  : exponent == 0 ? fraction * 0x1p-24
                                  : ldexp(1 + fraction / 1024.0, exponent - 15);

    return half & 0x8000 ? -size : size;
}

/* Stores a number in a type that holds it; floating-point types round to nearest, ties to even. */
static void store(enum dtype type, void *memory, int64_t i, double value)
{
    float single = (float)value;
    uint8_t *bits = (uint8_t *)memory + i / 8;
    uint32_t word;

    switch (type) {
    case DTYPE_F64:
        ((double *)memory)[i] = value;
        break;
    case DTYPE_F32:
        ((float *)memory)[i] = single;
        break;
    case DTYPE_F16:
        ((uint16_t *)memory)[i] = half_from(value);
        break;
    case DTYPE_BF16: /* the upper half of a float; the NaN that we use stays one */
        memcpy(&word, &single, sizeof word);
        ((uint16_t *)memory)[i] = (uint16_t)((word + 0x7fffu + (word >> 16 & 1u)) >> 16);
        break;
    case DTYPE_U8:
        ((uint8_t *)memory)[i] = (uint8_t)value;
        break;
    case DTYPE_BITS:
        *bits = (uint8_t)((*bits & ~(1u << i % 8)) | (unsigned)value << i % 8);
        break;
    }
}

static double load(enum dtype type, const void *memory, int64_t i)
{
    uint32_t word;
    float single;

    switch (type) {
    case DTYPE_F64:
        return ((const double *)memory)[i];
    case DTYPE_F32:
        return (double)((const float *)memory)[i];
    case DTYPE_F16:
        return half_to_double(((const uint16_t *)memory)[i]);
    case DTYPE_BF16:
        word = (uint32_t)((const uint16_t *)memory)[i] << 16;
        memcpy(&single, &word, sizeof single);
        return (double)single;
    case DTYPE_U8:
        return ((const uint8_t *)memory)[i];
    case DTYPE_BITS:
        return ((const uint8_t *)memory)[i / 8] >> i % 8 & 1;
    }
    return NAN;
}

static double rounded(enum dtype type, double value)
{
    double memory = 0;

    store(type, &memory, 0, value);
    return load(type, &memory, 0);
}

/* Element i of a tensor of type, before the run. */
static double value_before(enum dtype type, enum content content, bool guard, enum dtype rounding, int seed,
                           int64_t i)
{
    double value = random_spread(seed, i);

    if (type == DTYPE_BITS)
        return (double)(random_bits(seed, i) & 1);
    if (type == DTYPE_U8)
        return (double)(random_bits(seed, i) & 0xff);
    if ((content == INFINITE || content == BROKEN) && i == INFINITE_ELEMENT)
        return INFINITY;
    if (content == BROKEN && i == NAN_ELEMENT)
        return NAN;
    if (guard || content == SPREAD || content == INFINITE || content == BROKEN)
        return rounded(rounding, value);
    if (content == FEW)
        return value > 0.5 ? 0.5 : value > 0 ? 0.25 : 0;
    return content == TINY ? rounded(rounding, value) * 0x1p-30 : NAN;
}

/* Operands ------------------------------------------------------------------------------------------------ */

static int64_t elements(const struct operand *o)
{
    return o->tensor.h * o->tensor.w * o->tensor.pitch;
}

static const struct tensor *tensor_of(const struct trial *t, enum slot slot)
{
    return t->operands[slot].tensor.data ? &t->operands[slot].tensor : NULL;
}

static int upload(struct trial *t, const struct operand *o)
{
    int64_t n = elements(o);
    void *converted = allocate(1, dtype_bytes(o->tensor.type, n));

    for (int64_t i = 0; i < n; i++)
        store(o->tensor.type, converted, i, o->before[i]);
    int result = device_upload(t->device, o->memory, converted, dtype_bytes(o->tensor.type, n));
    free(converted);
    return result;
}

static int download(struct trial *t, const struct operand *o)
{
    int64_t n = elements(o);
    void *stored = allocate(1, dtype_bytes(o->tensor.type, n));
    int result = device_download(t->device, stored, o->memory, dtype_bytes(o->tensor.type, n));

    for (int64_t i = 0; i < n; i++) {
        o->after[i] = load(o->tensor.type, stored, i);
        if (isnan(o->after[i])) /* with whatever sign */
            o->after[i] = (double)NAN;
    }
    free(stored);
    return result;
}

/* Makes the operand in slot; pictures are never slices. A pixel of BITS ends with a byte. */
static int add(struct trial *t, const struct device *as, enum slot slot, enum dtype type, int64_t h, int64_t w,
               int c, enum content content)
{
    bool sliced = t->op_case->flags & SLICED, odd = t->op_case->flags & UNALIGNED;
    int before = sliced ? odd ? ODD_BEFORE : GUARD_BEFORE : 0;
    int behind = sliced ? odd ? ODD_BEHIND : GUARD_BEHIND : 0;
    struct operand *o = &t->operands[slot];
    struct tensor whole = {.h = h, .w = w, .type = type};

    whole.c = before + c + behind;
    if (type == DTYPE_BITS)
        whole.c = (whole.c + 7) / 8 * 8;
    whole.pitch = whole.c;
    whole.data = o->memory = device_alloc(t->device, tensor_bytes(&whole));
    if (!o->memory)
        return -1;
    o->first = before;
    o->tensor = tensor_slice(whole, o->first, c);
    o->before = allocate((size_t)elements(o), sizeof *o->before);
    o->after = allocate((size_t)elements(o), sizeof *o->after);
    for (int64_t i = 0; i < elements(o); i++) {
        int64_t channel = i % whole.pitch - o->first;

        o->before[i] = value_before(type, content, channel < 0 || channel >= c, as->activation, (int)slot, i);
    }
    return 0;
}

/* The same for an operand that the device writes. */
static int add_written(struct trial *t, const struct device *as, enum slot slot, enum dtype type, int64_t h,
                       int64_t w, int c, enum content content)
{
    t->operands[slot].written = true;
    return add(t, as, slot, type, h, w, c, content);
}

/* A filter with kernel values of which a sum over all taps and inputs is of order one. */
static int add_filter(struct trial *t, const struct device *as, struct filter_desc desc)
{
    int64_t terms = (int64_t)desc.kh * desc.kw * desc.cin;
    int64_t n = terms * desc.cout;
    double scale = sqrt(3 / (double)terms);

    t->kernel = allocate((size_t)n, sizeof *t->kernel);
    t->bias = allocate((size_t)desc.cout, sizeof *t->bias);
    for (int64_t i = 0; i < n; i++)
        t->kernel[i] = rounded(as->activation, random_spread(KERNEL_SEED, i) * scale);
    for (int64_t i = 0; i < desc.cout; i++)
        t->bias[i] = rounded(as->activation, random_spread(BIAS_SEED, i) / 2);
    desc.kernel = t->kernel;
    desc.bias = t->bias;
    t->filter = device_filter_new(t->device, &desc);
    return t->filter ? 0 : -1;
}

/* Prepares the convolution in one direction. Its scratch memory has exactly the size asked for and holds NaNs, as
 * whatever was there before in a real plan might. */
static int add_conv(struct trial *t, bool back)
{
    const struct tensor *mask = tensor_of(t, back ? X_MASK : Y_MASK);
    struct conv_desc desc = {.x = *tensor_of(t, back ? DX : X),
                             .y = *tensor_of(t, back ? DY : Y),
                             .back = back,
                             .accumulate = back && t->op_case->flags & ACCUMULATE};
    size_t bytes = 0;

    if (mask)
        desc.mask = *mask;
    desc.x.data = desc.y.data = desc.mask.data = NULL; /* nobody may look there yet */
    t->convs[back] = device_conv_new(t->device, t->filter, &desc, &bytes);
    if (!t->convs[back])
        return -1;
    if (bytes == 0)
        return 0;
    t->scratches[back] = device_alloc(t->device, bytes);
    if (!t->scratches[back])
        return -1;
    void *garbage = allocate(1, bytes);
    memset(garbage, 0xff, bytes);
    int result = device_upload(t->device, t->scratches[back], garbage, bytes);
    free(garbage);
    return result;
}

/* What each operation works on ------------------------------------------------------------------------------ */

static int prepare_conv(struct trial *t, const struct device *as)
{
    const struct op_case *o = t->op_case;
    enum dtype type = t->device->activation;
    enum dtype x_type = o->flags & PICTURE ? t->device->picture : type;
    enum content dx_content = o->flags & ACCUMULATE ? SPREAD : OVERWRITTEN;
    int64_t h = (o->h + 2 * o->pad_h - o->kh) / o->stride + 1;
    int64_t w = (o->w + 2 * o->pad_w - o->kw) / o->stride + 1;
    struct filter_desc desc = {.kh = o->kh,
                               .kw = o->kw,
                               .stride = o->stride,
                               .pad_h = o->pad_h,
                               .pad_w = o->pad_w,
                               .cin = o->cin,
                               .cout = o->cout,
                               .linear = o->linear};

    if (add(t, as, X, x_type, o->h, o->w, o->cin, o->flags & NOT_FINITE ? BROKEN : SPREAD) ||
        add_written(t, as, Y, type, h, w, o->cout, OVERWRITTEN))
        return -1;
    if (o->flags & MASKED && add_written(t, as, Y_MASK, DTYPE_BITS, h, w, o->cout, OVERWRITTEN))
        return -1;
    if (!(o->flags & FORWARD_ONLY) && (add(t, as, DY, type, h, w, o->cout, SPREAD) ||
                                       add_written(t, as, DX, x_type, o->h, o->w, o->cin, dx_content)))
        return -1;
    if (o->flags & MASKED && !(o->flags & PICTURE) && add(t, as, X_MASK, DTYPE_BITS, o->h, o->w, o->cin, SPREAD))
        return -1;
    if (add_filter(t, as, desc) || add_conv(t, false))
        return -1;
    return o->flags & FORWARD_ONLY ? 0 : add_conv(t, true);
}

static int prepare_max_pool(struct trial *t, const struct device *as)
{
    const struct op_case *o = t->op_case;
    enum dtype type = t->device->activation;
    enum content dx_content = o->flags & ACCUMULATE ? SPREAD : OVERWRITTEN;
    int64_t h = (o->h - 3) / 2 + 1;
    int64_t w = (o->w - 3) / 2 + 1;

    if (add(t, as, X, type, o->h, o->w, o->cin, o->flags & COARSE ? FEW : SPREAD) ||
        add_written(t, as, Y, type, h, w, o->cin, OVERWRITTEN))
        return -1;
    if (o->flags & MASKED && (add_written(t, as, Y_MASK, DTYPE_BITS, h, w, o->cin, OVERWRITTEN) ||
                              add(t, as, X_MASK, DTYPE_BITS, o->h, o->w, o->cin, SPREAD)))
        return -1;
    if (!(o->flags & FORWARD_ONLY) && (add_written(t, as, ARGMAX, DTYPE_U8, h, w, o->cin, OVERWRITTEN) ||
                                       add(t, as, DY, type, h, w, o->cin, SPREAD) ||
                                       add_written(t, as, DX, type, o->h, o->w, o->cin, dx_content)))
        return -1;
    return 0;
}

static int prepare_average_pool(struct trial *t, const struct device *as)
{
    const struct op_case *o = t->op_case;
    enum dtype type = t->device->activation;
    struct filter_desc desc = {
        .kh = 1, .kw = 1, .stride = 1, .cin = 8, .cout = o->cin + SIBLINGS, .linear = o->cin};

    if (add(t, as, X, type, o->h, o->w, o->cin, SPREAD) || add(t, as, DY, type, o->h, o->w, o->cin, SPREAD) ||
        add_written(t, as, Y, type, o->h, o->w, o->cin, OVERWRITTEN) ||
        add_written(t, as, DX, type, o->h, o->w, o->cin, OVERWRITTEN))
        return -1;
    if (o->flags & MASKED && add_written(t, as, Y_MASK, DTYPE_BITS, o->h, o->w, o->cin, OVERWRITTEN))
        return -1;
    return add_filter(t, as, desc);
}

static enum content gradient_content(const struct op_case *o)
{
    return o->flags & TINY_GRADIENT ? TINY : o->flags & INFINITE_GRADIENT ? INFINITE : SPREAD;
}

static int prepare_others(struct trial *t, const struct device *as)
{
    const struct op_case *o = t->op_case;
    enum dtype type = t->device->activation;
    enum dtype picture = t->device->picture;

    switch (o->op) {
    case OP_GLOBAL_AVERAGE:
        return add(t, as, X, type, o->h, o->w, o->cin, SPREAD) ||
               add_written(t, as, Y, type, 1, 1, o->cin, OVERWRITTEN);
    case OP_STIMULATE:
        return add(t, as, X, type, o->h, o->w, o->cin, SPREAD) ||
               add_written(t, as, DX, type, o->h, o->w, o->cin, o->flags & ACCUMULATE ? SPREAD : OVERWRITTEN);
    case OP_ASCEND:
        return add(t, as, X, type, 4, 4, 8, SPREAD) ||
               add(t, as, DY, picture, o->h, o->w, 3, gradient_content(o)) ||
               add_written(t, as, Y, picture, o->h, o->w, 3, SPREAD);
    case OP_RESIZE:
    case OP_CROP:
        return add(t, as, X, picture, o->h, o->w, 3, SPREAD) ||
               add_written(t, as, Y, picture, o->out_h, o->out_w, 3, OVERWRITTEN);
    case OP_DETAIL:
    case OP_ADD_CROP:
        return add(t, as, X, picture, o->h, o->w, 3, SPREAD) ||
               add_written(t, as, Y, picture, o->out_h, o->out_w, 3, SPREAD);
    default:
        return error_set("no such operation: %d", (int)o->op);
    }
}

static int prepare(struct trial *t, const struct device *as)
{
    switch (t->op_case->op) {
    case OP_CONV:
        return prepare_conv(t, as);
    case OP_MAX_POOL:
        return prepare_max_pool(t, as);
    case OP_AVERAGE_POOL:
        return prepare_average_pool(t, as);
    default:
        return prepare_others(t, as) ? -1 : 0;
    }
}

struct trial *trial_new(struct device *device, const struct op_case *op_case, const struct device *as)
{
    struct trial *t = allocate(1, sizeof *t);

    t->device = device;
    t->op_case = op_case;
    t->state_after = allocate(1, ascent_bytes(STEPS));
    t->state = device_alloc(device, ascent_bytes(STEPS));
    if (!t->state || prepare(t, as) || trial_reset(t)) {
        trial_free(t);
        return NULL;
    }
    return t;
}

void trial_free(struct trial *t)
{
    if (!t)
        return;
    for (int back = 0; back < 2; back++) {
        device_conv_free(t->device, t->convs[back]);
        device_free(t->device, t->scratches[back]);
    }
    device_filter_free(t->device, t->filter);
    device_free(t->device, t->state);
    for (int slot = 0; slot < SLOTS; slot++) {
        device_free(t->device, t->operands[slot].memory);
        free(t->operands[slot].before);
        free(t->operands[slot].after);
    }
    free(t->kernel);
    free(t->bias);
    free(t->state_after);
    free(t);
}

int trial_reset(struct trial *t)
{
    device_clear(t->device, t->state, ascent_bytes(STEPS));
    for (int slot = 0; slot < SLOTS; slot++)
        if (tensor_of(t, slot) && upload(t, &t->operands[slot]))
            return -1;
    return device_sync(t->device);
}

int trial_read(struct trial *t)
{
    if (device_sync(t->device))
        return -1;
    for (int slot = 0; slot < SLOTS; slot++)
        if (tensor_of(t, slot) && download(t, &t->operands[slot]))
            return -1;
    return device_ascent_read(t->device, t->state, STEPS, t->state_after);
}

/* Running ------------------------------------------------------------------------------------------------- */

double stimulation_loss_scale(const struct op_case *o, int step)
{
    double n = o->op == OP_ASCEND ? 4 * 4 * 8 : (double)(o->h * o->w * o->cin);

    return (o->op == OP_ASCEND && step == 2 ? 100 : 1) / n;
}

/* The loss is added to twice, once by a call that writes no gradient. */
static void forward_stimulate(struct trial *t)
{
    const struct op_case *o = t->op_case;
    struct stimulation s = {.top = o->top,
                            .left = o->left,
                            .bottom = o->bottom,
                            .right = o->right,
                            .loss_scale = stimulation_loss_scale(o, 0),
                            .seed_scale = SEED_SCALE};

    device_stimulate(t->device, &s, tensor_of(t, X), NULL, false, t->state);
    device_stimulate(t->device, &s, tensor_of(t, X), tensor_of(t, DX), o->flags & ACCUMULATE, t->state);
}

static void forward_ascend(struct trial *t)
{
    const struct op_case *o = t->op_case;

    for (int step = 0; step < STEPS; step++) {
        struct stimulation s = {.bottom = 4, .right = 4, .loss_scale = stimulation_loss_scale(o, step)};

        device_stimulate(t->device, &s, tensor_of(t, X), NULL, false, t->state);
        device_mean_abs(t->device, tensor_of(t, DY), GRADIENT_SCALE, t->state);
        device_ascend(t->device, tensor_of(t, Y), tensor_of(t, DY), STEP, GRADIENT_SCALE, o->max_loss,
                      o->limit > 0 ? o->limit : INFINITY, t->state);
    }
}

void trial_forward(struct trial *t)
{
    struct device *device = t->device;
    const struct tensor *x = tensor_of(t, X);
    const struct tensor *y = tensor_of(t, Y);

    switch (t->op_case->op) {
    case OP_CONV:
        device_conv(device, t->convs[0], x, y, tensor_of(t, Y_MASK), t->scratches[0]);
        break;
    case OP_MAX_POOL:
        device_max_pool(device, x, y, tensor_of(t, ARGMAX), tensor_of(t, Y_MASK));
        break;
    case OP_AVERAGE_POOL:
        device_average_pool(device, x, t->filter, y, tensor_of(t, Y_MASK));
        break;
    case OP_GLOBAL_AVERAGE:
        device_global_average(device, x, y);
        break;
    case OP_STIMULATE:
        forward_stimulate(t);
        break;
    case OP_ASCEND:
        forward_ascend(t);
        break;
    case OP_RESIZE:
        device_resize(device, x, y);
        break;
    case OP_DETAIL:
        device_detail(device, y, x, t->op_case->small_h, t->op_case->small_w);
        break;
    case OP_CROP:
        device_crop(device, x, t->op_case->top, t->op_case->left, y);
        break;
    case OP_ADD_CROP:
        device_add_crop(device, x, t->op_case->top, t->op_case->left, y);
        break;
    }
}

void trial_backward(struct trial *t)
{
    const struct op_case *o = t->op_case;
    const struct tensor *dy = tensor_of(t, DY);
    const struct tensor *dx = tensor_of(t, DX);
    bool accumulate = o->flags & ACCUMULATE;

    if (!dy || !dx)
        return;
    if (o->op == OP_CONV)
        device_conv_back(t->device, t->convs[1], dy, dx, tensor_of(t, X_MASK), t->scratches[1]);
    else if (o->op == OP_MAX_POOL)
        device_max_pool_back(t->device, dy, tensor_of(t, ARGMAX), dx, accumulate, tensor_of(t, X_MASK));
    else if (o->op == OP_AVERAGE_POOL)
        device_average_pool_back(t->device, dy, dx);
}
