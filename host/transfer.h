/* Values between the host's packed arrays and tensors in device memory, whatever the device's type and pitch. */
#ifndef PAREIDOLIA_TRANSFER_H
#define PAREIDOLIA_TRANSFER_H

#include "device.h"

/* Uploads h * w * c floats to a tensor of F32 or F64 without gaps. Returns 0 or -1 with an error. */
int tensor_upload(struct device *device, const struct tensor *tensor, const float *values);

/* Downloads a tensor of F64, F32, F16 or BF16 to h * w * c values; as is DTYPE_F64 (double) or DTYPE_F32 (float).
 * Returns 0 or -1 with an error. */
int tensor_download(struct device *device, const struct tensor *tensor, enum dtype as, void *values);

#endif
