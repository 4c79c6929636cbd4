/* The CUDA device's inside: what its files share. Activations are F16, BF16 or F32, pictures F32. Everything is
 * queued on one stream; a failure is kept (the first one, with expression, file and line) and told by the next call
 * that waits. C and CUDA C++ files include this alike; what only kernels need is in launch.cuh and value.cuh. */
#ifndef PAREIDOLIA_CUDA_H
#define PAREIDOLIA_CUDA_H

#include "host/device_ops.h"

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <cudnn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sums over a tensor are made of this many parts, whatever the GPU, each summed by one block in a fixed order. */
enum { CUDA_PARTS = 1024 };

struct cuda {
    struct device device; /* first, so that a struct device * is a struct cuda * */
    int index;            /* the GPU's */
    char name[32];        /* "cuda:0" */
    struct cudaDeviceProp properties;
    cudaStream_t stream;
    cudnnHandle_t cudnn;
    cublasLtHandle_t cublas;
    double *parts;   /* CUDA_PARTS partial sums, device memory */
    float *zero;     /* a 0, device memory */
    bool tensor_f32; /* F32 activations may be multiplied as TF32 */
    enum conv_engine engine;
    struct tuning *tuning; /* programs known to be fast; NULL: none */
    bool tune;             /* those that are not known are timed */
    bool failed;
    char failure[512]; /* the first failure's sentence since the last wait */
};

/* The device, whose GPU becomes the calling thread's current one: there may be others. */
struct cuda *cuda_of(struct device *device);

/* Keeps the sentence of a failed call unless one is kept already: "EXPRESSION failed at FILE:LINE: WORDS". Returns
 * false. */
bool cuda_fail(struct cuda *cuda, const char *expression, const char *file, int line, const char *words);

/* Checks a call of each library; true where it succeeded. Queued operations keep the sentence and go on. */
#define CUDA_OK(cuda, call) cuda_check(cuda, call, #call, __FILE__, __LINE__)
#define CUBLAS_OK(cuda, call) cuda_check_cublas(cuda, call, #call, __FILE__, __LINE__)
#define CUDNN_OK(cuda, call) cuda_check_cudnn(cuda, call, #call, __FILE__, __LINE__)
bool cuda_check(struct cuda *, cudaError_t, const char *expression, const char *file, int line);
bool cuda_check_cublas(struct cuda *, cublasStatus_t, const char *expression, const char *file, int line);
bool cuda_check_cudnn(struct cuda *, cudnnStatus_t, const char *expression, const char *file, int line);

/* Sets error.h's sentence to the failure that is kept, and forgets it. Returns -1, or 0 where there is none. */
int cuda_failure(struct cuda *);

/* conv.c: which library or kernel computes a convolution, and the passes around it. */
struct filter *cuda_filter_new(struct device *, const struct filter_desc *);
void cuda_filter_free(struct device *, struct filter *);
const float *cuda_filter_bias(const struct filter *); /* [cout], device memory, also of the linear outputs */
struct conv *cuda_conv_new(struct device *, struct filter *, const struct conv_desc *, size_t *scratch_bytes);
void cuda_conv_free(struct device *, struct conv *);
void cuda_conv(struct device *, struct conv *, const struct tensor *x, const struct tensor *y,
               const struct tensor *mask, void *scratch);
void cuda_conv_back(struct device *, struct conv *, const struct tensor *dy, const struct tensor *dx,
                    const struct tensor *mask, void *scratch);

/* first.cu: the convolution that reads the picture, and the way back to it: 3x3, stride 2, no padding, 3 channels
 * in. kernel is [3][3][3][cout] and bias [cout], both float in device memory; cout is a multiple of 8, at most
 * FIRST_COUT_MAX. All outputs get bias and ReLU. x and dx are F32, y and dy of any activation type. */
enum { FIRST_COUT_MAX = 64 };
void cuda_first_conv(struct cuda *, const float *kernel, const float *bias, const struct tensor *x,
                     const struct tensor *y, const struct tensor *mask);
void cuda_first_conv_back(struct cuda *, const float *kernel, const struct tensor *dy, const struct tensor *dx,
                          bool accumulate, const struct tensor *mask);

/* passes.cu: what a bare library convolution leaves to do, as one pass over its output. Channels c of all tensors
 * are multiples of 8. */
/* y = relu(y + bias) for channels from linear on, mask (may be NULL) = y > 0 there. bias (float [c], device memory)
 * NULL: bias and ReLU are done, only the mask is written and y only read. */
void cuda_forward_pass(struct cuda *, const struct tensor *y, const float *bias, int linear,
                       const struct tensor *mask);
/* dx = dx * mask. */
void cuda_back_pass(struct cuda *, const struct tensor *dx, const struct tensor *mask);

/* pool.cu, ascent.cu, picture.cu: the entries of the table of the same names. */
void cuda_max_pool(struct device *, const struct tensor *x, const struct tensor *y, const struct tensor *argmax,
                   const struct tensor *mask);
void cuda_max_pool_back(struct device *, const struct tensor *dy, const struct tensor *argmax,
                        const struct tensor *dx, bool accumulate, const struct tensor *mask);
void cuda_average_pool(struct device *, const struct tensor *x, struct filter *filter, const struct tensor *y,
                       const struct tensor *mask);
void cuda_average_pool_back(struct device *, const struct tensor *dy, const struct tensor *dx);
void cuda_global_average(struct device *, const struct tensor *x, const struct tensor *y);
void cuda_stimulate(struct device *, const struct stimulation *, const struct tensor *a, const struct tensor *da,
                    bool accumulate, struct ascent *state);
void cuda_mean_abs(struct device *, const struct tensor *g, double scale, struct ascent *state);
void cuda_ascend(struct device *, const struct tensor *x, const struct tensor *g, double step, double scale,
                 double max_loss, double limit, struct ascent *state);
void cuda_resize(struct device *, const struct tensor *x, const struct tensor *y);
void cuda_detail(struct device *, const struct tensor *x, const struct tensor *original, int64_t h, int64_t w);
void cuda_crop(struct device *, const struct tensor *x, int64_t top, int64_t left, const struct tensor *y);
void cuda_add_crop(struct device *, const struct tensor *x, int64_t top, int64_t left, const struct tensor *y);

#ifdef __cplusplus
}
#endif

#endif
