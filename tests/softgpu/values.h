/* Rows of numbers in the types of tensors, read as floats and written with one rounding. */
#ifndef SOFTGPU_VALUES_ROWS_H
#define SOFTGPU_VALUES_ROWS_H

#include <stddef.h>
#include <stdint.h>

enum number { NUMBER_F32, NUMBER_F16, NUMBER_BF16, NUMBER_BIT /* the least significant bit of a byte first */ };

/* Bytes of count numbers. */
size_t number_bytes(enum number type, int64_t count);

/* Rows begin at whole bytes. */
void numbers_load(float *to, const void *from, enum number type, int64_t count);
void numbers_store(void *to, const float *from, enum number type, int64_t count);

/* Rounds to what tensor cores keep of a float. */
void numbers_round_tf32(float *numbers, int64_t count);

#endif
