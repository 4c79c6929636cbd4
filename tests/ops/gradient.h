/* The proof that needs no second opinion: what the backward operations say against what the loss really does. */
#ifndef PAREIDOLIA_TESTS_GRADIENT_H
#define PAREIDOLIA_TESTS_GRADIENT_H

#include "host/device.h"

/* Builds a small network of every fused operation on a double-precision device, and compares the gradient at its
 * picture with central differences of its loss. Counts failures as check.h does. */
int gradient_failures(struct device *device);

#endif
