/* Conversions of rows of numbers; the compiler makes vector loops of them. */
#include "values.h"

#include <softgpu_values.h>

size_t number_bytes(enum number type, int64_t count)
{
    switch (type) {
    case NUMBER_F32:
        return (size_t)count * sizeof(float);
    case NUMBER_BIT:
        return (size_t)(count + 7) / 8;
    default:
        return (size_t)count * sizeof(uint16_t);
    }
}

void numbers_load(float *to, const void *from, enum number type, int64_t count)
{
    const uint16_t *words = from;
    const uint8_t *bytes = from;

    switch (type) {
    case NUMBER_F32:
        memcpy(to, from, (size_t)count * sizeof *to);
        break;
    case NUMBER_F16:
        for (int64_t i = 0; i < count; i++)
            to[i] = softgpu_float_from_half(words[i]);
        break;
    case NUMBER_BF16:
        for (int64_t i = 0; i < count; i++)
            to[i] = softgpu_float_from_bfloat16(words[i]);
        break;
    case NUMBER_BIT:
        for (int64_t i = 0; i < count; i++)
            to[i] = (float)(bytes[i / 8] >> i % 8 & 1);
        break;
    }
}

void numbers_store(void *to, const float *from, enum number type, int64_t count)
{
    uint16_t *words = to;
    uint8_t *bytes = to;

    switch (type) {
    case NUMBER_F32:
        memcpy(to, from, (size_t)count * sizeof *from);
        break;
    case NUMBER_F16:
        for (int64_t i = 0; i < count; i++)
            words[i] = softgpu_half_from_float(from[i]);
        break;
    case NUMBER_BF16:
        for (int64_t i = 0; i < count; i++)
            words[i] = softgpu_bfloat16_from_float(from[i]);
        break;
    case NUMBER_BIT:
        for (int64_t i = 0; i < count; i++)
            bytes[i / 8] = (uint8_t)((i % 8 ? bytes[i / 8] : 0) | (from[i] != 0) << i % 8);
        break;
    }
}

void numbers_round_tf32(float *numbers, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        numbers[i] = softgpu_tf32_from_float(numbers[i]);
}
