/* What a file format provides to weights.c: finding a layer's tensor and reading it as doubles.
 * A reader knows its format's names and types; what shapes the network wants, which values make sense and how
 * BatchNorm is folded is weights.c's. Sentences set here do not name the file: weights.c puts it in front. */
#ifndef PAREIDOLIA_READER_H
#define PAREIDOLIA_READER_H

#include "weights.h"

#include <stddef.h>
#include <stdint.h>

#define TENSOR_MAX_RANK 8

/* What a tensor is to its layer. TENSOR_GAMMA and those after it are the layer's BatchNorm. */
enum tensor_role {
    TENSOR_KERNEL,
    TENSOR_BIAS,
    TENSOR_GAMMA,
    TENSOR_BETA,
    TENSOR_MEAN,
    TENSOR_VARIANCE,
    TENSOR_ROLES
};

/* A tensor as it lies in the file. */
struct tensor {
    char name[160]; /* the file's own name; where the tensor is absent, the name that was looked for. Printable */
    int rank;
    int64_t size[TENSOR_MAX_RANK]; /* in the file's order */
    size_t index;                  /* the reader's own */
};

/* A file format. */
struct reader {
    int out_first; /* kernels are out, in, height, width (dense: out, in), not height, width, in, out (in, out) */

    /* Opens the file, checks its structure and reads no values. NULL with an error. */
    void *(*open)(const char *path);
    void (*close)(void *file);

    /* Describes the tensor that has this role in layer 1..WEIGHTS_DENSE. Returns 1; 0 where the file has none,
     * then only out->name is set; -1 with an error for a tensor that cannot be read. */
    int (*find)(void *file, int layer, enum tensor_role role, struct tensor *out);

    /* Reads all values of a tensor that find described, in the file's order. Returns 0, or -1 with an error. */
    int (*read)(void *file, const struct tensor *tensor, double *values);
};

extern const struct reader reader_h5;          /* Keras's .h5 */
extern const struct reader reader_safetensors; /* .safetensors of torchvision, timm or this project */

/* Opens a .safetensors that lies in memory, for the functions of reader_safetensors; it must outlive what is returned.
 * NULL with an error. */
void *safetensors_open_memory(const unsigned char *bytes, size_t count);

/* The network without a file. Channels that a layer puts out (WEIGHTS_DENSE: classes). */
int untrained_channels(int layer);

/* Fills out as weights_read does. Returns 0, or -1 with an error when memory runs out. */
int untrained_read(int layer, struct layer_weights *out);

#endif
