/* The untrained network: full width, seeded, the same numbers on every machine, nothing to download.
 * Integers come from splitmix64 keyed by layer, and all that follows is exact or rounded once (IEEE 754 division,
 * square root, product), so neither libm nor the compiler has a say. It dreams of nothing in particular: it is for
 * tests and benchmarks. */
#include "error.h"
#include "reader.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define SEED UINT64_C(0x7061726569646f6c) /* "pareidol" */
#define BIAS_BOUND 0.0625                 /* small beside activations, which are about 1 */

/* Channels that each layer puts out, one block of the network a line (see host/inception.c for the rest of it). */
static const short channels[WEIGHTS_DENSE] = {
    32,   32,  64,  80,  192,                          /* 1..5 */
    64,   48,  64,  64,  96,  96,  32,                 /* mixed0 */
    64,   48,  64,  64,  96,  96,  64,                 /* mixed1 */
    64,   48,  64,  64,  96,  96,  64,                 /* mixed2 */
    384,  64,  96,  96,                                /* mixed3 */
    192,  128, 128, 192, 128, 128, 128, 128, 192, 192, /* mixed4 */
    192,  160, 160, 192, 160, 160, 160, 160, 192, 192, /* mixed5 */
    192,  160, 160, 192, 160, 160, 160, 160, 192, 192, /* mixed6 */
    192,  192, 192, 192, 192, 192, 192, 192, 192, 192, /* mixed7 */
    192,  320, 192, 192, 192, 192,                     /* mixed8 */
    320,  384, 384, 384, 448, 384, 384, 384, 192,      /* mixed9 */
    320,  384, 384, 384, 448, 384, 384, 384, 192,      /* mixed10 */
    1000,                                              /* predictions */
};

int untrained_channels(int layer)
{
    return channels[layer - 1];
}

static uint64_t splitmix64_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Uniform in [-bound, bound). 53 bits, so that the factor before bound is exact. */
static void fill_uniform(double *values, size_t count, double bound, uint64_t *state)
{
    for (size_t i = 0; i < count; i++)
        values[i] = ((double)(splitmix64_next(state) >> 11) * 0x1p-52 - 1) * bound;
}

int untrained_read(int layer, struct layer_weights *out)
{
    assert(out->kh > 0 && out->kw > 0 && out->cin > 0);
    size_t fan_in = (size_t)out->kh * (size_t)out->kw * (size_t)out->cin;
    size_t cout = (size_t)untrained_channels(layer);
    double *kernel = malloc(fan_in * cout * sizeof *kernel);
    double *bias = malloc(cout * sizeof *bias);

    if (!kernel || !bias) {
        free(kernel);
        free(bias);
        return error_set("no memory for the %zu weights of layer %d", fan_in * cout, layer);
    }

    /* One draw turns the layer's number into a starting point; layers' sequences are then far apart. */
    uint64_t state = SEED + (uint64_t)layer;
    state = splitmix64_next(&state);
    fill_uniform(kernel, fan_in * cout, sqrt(6.0 / (double)fan_in), &state); /* keeps the variance through ReLU */
    fill_uniform(bias, cout, BIAS_BOUND, &state);

    out->cout = (int)cout;
    out->kernel = kernel;
    out->bias = bias;
    return 0;
}
