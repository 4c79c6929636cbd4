/* Brings a convolution's parameters to the GPU, in every form that its programs read: filters with their inputs
 * innermost, as NHWC libraries want them, and flipped and transposed ones, with which backward is a forward
 * convolution. Weights are frozen, so all of this happens once. */
#include "conv.h"

#include "host/error.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of every part of the allocation: what the widest vector loads of the libraries want. */
enum { PART_ALIGNMENT = 256 };

/* What rounds to infinity in fp16. */
#define F16_MOST 65520

/* The upper half of a float, rounded to nearest, ties to even. */
static uint16_t bf16_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* IEEE binary16, rounded to nearest, ties to even. Adding and taking away a power of two whose last place is that
 * of the result rounds in the processor's own way. */
static uint16_t f16_of(float value)
{
    uint32_t bits, sign, exponent;
    float magnitude;

    memcpy(&bits, &value, sizeof bits);
    sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits >= 0x47800000u) /* 65536 and above, infinity, NaN */
        return (uint16_t)(sign | (bits > 0x7f800000u ? 0x7e00u : 0x7c00u));
    if (bits < 0x38800000u) { /* below the least normal number: units of 2^-24 */
        memcpy(&magnitude, &bits, sizeof magnitude);
        magnitude += 0.5f;
        memcpy(&bits, &magnitude, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    exponent = bits - 0x38000000u; /* the bias falls from 127 to 15 */
    return (uint16_t)(sign | (exponent + 0xfffu + (exponent >> 13 & 1u)) >> 13);
}

static void value_store(enum dtype type, void *to, size_t index, double value)
{
    if (type == DTYPE_F32)
        ((float *)to)[index] = (float)value;
    else
        ((uint16_t *)to)[index] = type == DTYPE_F16 ? f16_of((float)value) : bf16_of((float)value);
}

/* Where the parts of the allocation begin. */
struct parts {
    size_t bias, bias_same, kernel, flipped, bytes;
    bool has_flipped;
};

static size_t part_add(size_t *bytes, size_t more)
{
    size_t begin = *bytes;

    *bytes += (more + PART_ALIGNMENT - 1) / PART_ALIGNMENT * PART_ALIGNMENT;
    return begin;
}

static struct parts parts_of(const struct filter *filter, enum dtype type)
{
    const struct filter_desc *f = &filter->desc;
    int64_t weights = (int64_t)f->kh * f->kw * f->cin * f->cout;
    struct parts parts = {.has_flipped = filter_is_flippable(filter)};

    parts.bias = part_add(&parts.bytes, dtype_bytes(DTYPE_F32, f->cout));
    parts.bias_same = part_add(&parts.bytes, dtype_bytes(type, f->cout));
    parts.kernel = part_add(&parts.bytes, dtype_bytes(filter_is_first(filter) ? DTYPE_F32 : type, weights));
    if (parts.has_flipped)
        parts.flipped = part_add(&parts.bytes, dtype_bytes(type, weights));
    return parts;
}

/* Fills in the host's copy of the allocation. */
static void parts_fill(const struct parts *parts, const struct filter_desc *desc, bool first, enum dtype type,
                       char *copy)
{
    size_t kh = (size_t)desc->kh, kw = (size_t)desc->kw, cin = (size_t)desc->cin, cout = (size_t)desc->cout;
    size_t taps = kh * kw;

    for (size_t o = 0; o < cout; o++) {
        value_store(DTYPE_F32, copy + parts->bias, o, desc->bias[o]);
        value_store(type, copy + parts->bias_same, o, desc->bias[o]);
    }
    for (size_t tap = 0; tap < taps; tap++)
        for (size_t i = 0; i < cin; i++)
            for (size_t o = 0; o < cout; o++) {
                double weight = desc->kernel[(tap * cin + i) * cout + o];

                if (first) {
                    value_store(DTYPE_F32, copy + parts->kernel, (tap * cin + i) * cout + o, weight);
                    continue;
                }
                value_store(type, copy + parts->kernel, (o * taps + tap) * cin + i, weight);
                if (parts->has_flipped)
                    value_store(type, copy + parts->flipped, (i * taps + (taps - 1 - tap)) * cout + o, weight);
            }
}

/* Whether this device can convolve with desc. */
static int filter_check(const struct filter *filter, const struct filter_desc *desc, enum dtype type)
{
    int64_t weights = (int64_t)desc->kh * desc->kw * desc->cin * desc->cout;

    if (filter_is_first(filter)) {
        assert(desc->kh == 3 && desc->kw == 3 && desc->stride == 2 && !desc->pad_h && !desc->pad_w &&
               !desc->linear);
        if (desc->cout > FIRST_COUT_MAX)
            return error_set(
                "the first layer has %d channels; the cuda device takes at most %d, use the cpu device", desc->cout,
                FIRST_COUT_MAX);
        return 0; /* its weights stay float */
    }
    for (int64_t i = 0; type == DTYPE_F16 && i < weights; i++)
        if (!(fabs(desc->kernel[i]) < F16_MOST))
            return error_set("a weight of %g is too large for fp16; take another precision, bf16 say",
                             desc->kernel[i]);
    return 0;
}

struct filter *cuda_filter_new(struct device *device, const struct filter_desc *desc)
{
    struct filter *filter = calloc(1, sizeof *filter);
    struct parts parts;
    char *copy = NULL;

    if (!filter)
        goto no_memory;
    filter->desc = *desc;
    filter->desc.kernel = filter->desc.bias = NULL;
    if (filter_check(filter, desc, device->activation) != 0)
        goto fail;
    parts = parts_of(filter, device->activation);
    copy = calloc(1, parts.bytes);
    if (!copy)
        goto no_memory;
    parts_fill(&parts, desc, filter_is_first(filter), device->activation, copy);
    filter->memory = device_alloc(device, parts.bytes);
    if (!filter->memory || device_upload(device, filter->memory, copy, parts.bytes) != 0)
        goto fail;
    free(copy);
    filter->bias = (float *)((char *)filter->memory + parts.bias);
    filter->bias_same = (char *)filter->memory + parts.bias_same;
    filter->kernel = (char *)filter->memory + parts.kernel;
    if (parts.has_flipped)
        filter->flipped = (char *)filter->memory + parts.flipped;
    return filter;

no_memory:
    error_set("out of memory for the weights of a convolution");
fail:
    free(copy);
    if (filter)
        cuda_filter_free(device, filter);
    return NULL;
}

void cuda_filter_free(struct device *device, struct filter *filter)
{
    device_free(device, filter->memory);
    free(filter);
}

const float *cuda_filter_bias(const struct filter *filter)
{
    return filter->bias;
}
