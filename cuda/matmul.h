/* 1x1 convolutions as matrix products of cuBLASLt. In NHWC a tensor is a column-major matrix of a column a pixel
 * whose leading dimension is the pitch, so that slices of a concatenation are read and written where they are. */
#ifndef PAREIDOLIA_CUDA_MATMUL_H
#define PAREIDOLIA_CUDA_MATMUL_H

#include "cuda.h"

/* out[m x pixels] = [out +] A * in[k x pixels], then relu(+ bias) where there is a bias. filter is column-major
 * [k x m] with k rows: A is its transpose (forward); or, transposed unset, it is [m x k] itself (backward). */
struct matmul_desc {
    enum dtype type;
    int64_t pixels;
    int m, k;
    int filter_ld;           /* leading dimension of the filter as it is stored */
    int in_pitch, out_pitch; /* elements from pixel to pixel */
    bool transposed;
    bool accumulate;
    const void
        *bias; /* [m] of the tensors' type, device memory, borrowed by the product; NULL: neither bias nor ReLU */
};

struct matmul;

/* Prepares the product with the `rank`th of cuBLASLt's proposals for this GPU, 0 being the one that it expects to
 * be fastest. 0; MATMUL_REFUSED with an error where there are not so many, so that another way may be tried; -1
 * with an error where anything else fails. */
enum { MATMUL_REFUSED = 1 };
int matmul_new(struct cuda *cuda, const struct matmul_desc *desc, int rank, struct matmul **matmul);
void matmul_free(struct matmul *matmul);
size_t matmul_scratch(const struct matmul *matmul);

/* A number that tells its algorithm from others. */
uint64_t matmul_algorithm(const struct matmul *matmul);

/* Queues it. */
void matmul_run(struct cuda *cuda, const struct matmul *matmul, const void *filter, const void *in, void *out,
                void *scratch);

#endif
