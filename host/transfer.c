/* Moves tensors a band of rows at a time, so that a conversion needs little memory beside the result.
 * Where nothing is to be converted the values move at once. */
#include "transfer.h"

#include "error.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BAND_BYTES = 1 << 20 };

/* Rows of tensor that fit BAND_BYTES, at least one. */
static int64_t band_rows(const struct tensor *tensor)
{
    int64_t rows = BAND_BYTES / (int64_t)dtype_bytes(tensor->type, tensor->w * tensor->pitch);

    if (rows < 1)
        return 1;
    return rows < tensor->h ? rows : tensor->h;
}

/* The rows of tensor from `first` on, at most `rows` of them. */
static struct tensor tensor_band(const struct tensor *tensor, int64_t first, int64_t rows)
{
    struct tensor band = *tensor;

    band.h = tensor->h - first < rows ? tensor->h - first : rows;
    band.data = (char *)tensor->data + dtype_bytes(tensor->type, first * tensor->w * tensor->pitch);
    return band;
}

/* Bytes from the first value to behind the last. Unlike tensor_bytes without the gap that ends a slice, which may
 * lie outside the memory that the slice was cut from. */
static size_t band_bytes(const struct tensor *band)
{
    return dtype_bytes(band->type, (band->h * band->w - 1) * band->pitch + band->c);
}

static void *band_alloc(const struct tensor *band)
{
    void *memory = malloc(tensor_bytes(band));

    if (!memory)
        error_set("no memory for %zu bytes of a tensor", tensor_bytes(band));
    return memory;
}

int tensor_upload(struct device *device, const struct tensor *tensor, const float *values)
{
    assert(tensor->pitch == tensor->c && (tensor->type == DTYPE_F32 || tensor->type == DTYPE_F64));
    if (tensor->type == DTYPE_F32)
        return device_upload(device, tensor->data, values, tensor_bytes(tensor));

    int64_t rows = band_rows(tensor);
    struct tensor band = tensor_band(tensor, 0, rows);
    double *converted = band_alloc(&band);
    if (!converted)
        return -1;
    int result = 0;
    for (int64_t first = 0; first < tensor->h && !result; first += rows) {
        band = tensor_band(tensor, first, rows);
        int64_t count = band.h * band.w * band.c;
        for (int64_t i = 0; i < count; i++)
            converted[i] = (double)*values++;
        result = device_upload(device, band.data, converted, tensor_bytes(&band));
    }
    free(converted);
    return result;
}

/* Sign, 5 bits of exponent (biased by 15) and 10 of fraction; a float holds all of them exactly. */
static double half_to_double(uint16_t half)
{
    int exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
    double value = exponent == 0x1f ? (fraction ? (double)NAN : (double)INFINITY)
                   : exponent       ? ldexp(1024 + fraction, exponent - 25)
                                    : ldexp(fraction, -24);

    return half & 0x8000 ? -value : value;
}

static double value_at(enum dtype type, const void *values, int64_t i)
{
    switch (type) {
    case DTYPE_F64:
        return ((const double *)values)[i];
    case DTYPE_F32:
        return (double)((const float *)values)[i];
    case DTYPE_F16:
        return half_to_double(((const uint16_t *)values)[i]);
    case DTYPE_BF16: {
        uint32_t bits = (uint32_t)((const uint16_t *)values)[i] << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    case DTYPE_U8:
    case DTYPE_BITS:
        break;
    }
    assert(!"a tensor of values");
    return 0;
}

/* Writes the band's values, copied to the host as `from`, to values[offset] and on. */
static void band_convert(const struct tensor *band, const void *from, enum dtype as, void *values, int64_t offset)
{
    for (int64_t pixel = 0; pixel < band->h * band->w; pixel++) {
        for (int c = 0; c < band->c; c++, offset++) {
            double value = value_at(band->type, from, pixel * band->pitch + c);
            if (as == DTYPE_F64)
                ((double *)values)[offset] = value;
            else
                ((float *)values)[offset] = (float)value;
        }
    }
}

int tensor_download(struct device *device, const struct tensor *tensor, enum dtype as, void *values)
{
    assert(as == DTYPE_F64 || as == DTYPE_F32);
    if (tensor->type == as && tensor->pitch == tensor->c)
        return device_download(device, values, tensor->data, tensor_bytes(tensor));

    int64_t rows = band_rows(tensor);
    struct tensor band = tensor_band(tensor, 0, rows);
    void *copy = band_alloc(&band);
    if (!copy)
        return -1;
    int result = 0;
    for (int64_t first = 0; first < tensor->h && !result; first += rows) {
        band = tensor_band(tensor, first, rows);
        result = device_download(device, copy, band.data, band_bytes(&band));
        if (!result)
            band_convert(&band, copy, as, values, first * band.w * band.c);
    }
    free(copy);
    return result;
}
