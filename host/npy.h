/* Arrays as NumPy's .npy files, for whoever compares this program with another. */
#ifndef PAREIDOLIA_NPY_H
#define PAREIDOLIA_NPY_H

#include "device.h"

/* Writes values (DTYPE_F64: double, DTYPE_F32: float) of shape (1, h, w, c) in C order to path, whole or not at
 * all. Returns 0, or -1 with an error that names path. */
int npy_write(const char *path, enum dtype type, int64_t h, int64_t w, int64_t c, const void *values);

#endif
