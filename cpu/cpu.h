/* The CPU device's inside: what its files share. Tensors are F32 or BF16 (sums are fp32 in either case), pictures
 * F32. Work runs at once, on OpenMP's threads; every result of ours is independent of how many there are. */
#ifndef PAREIDOLIA_CPU_H
#define PAREIDOLIA_CPU_H

#include "host/device_ops.h"

#include <omp.h>
#include <string.h>

/* Floats of a thread's own memory: half a megabyte, which a second-level cache of a megabyte holds beside weights;
 * and how many of them packed input rows of a direct convolution may fill. */
enum { CPU_SCRATCH_FLOATS = 128 * 1024, CPU_TILE_FLOATS = 64 * 1024 };

/* Sums over a tensor are made of this many parts, each of neighbouring rows and summed by one thread in order; so
 * they are the same for any number of threads. */
enum { CPU_PARTS = 256 };

/* For what the loops are compiled; each has all that those before it have. */
enum cpu_level { CPU_BASE, CPU_V3, CPU_V4, CPU_BF16 };

struct cpu {
    struct device device; /* first, so that a struct device * is a struct cpu * */
    struct device_ops ops;
    int threads;                        /* of every parallel region: num_threads(cpu->threads) */
    struct dnnl *dnnl;                  /* NULL: our own convolution does everything */
    const struct conv_kernels *kernels; /* our own convolution, for this level of processor */
    float *scratch;                     /* CPU_SCRATCH_FLOATS for each thread */
    double parts[CPU_PARTS];
    bool failed;
    char failure[512]; /* the first failure's sentence since the last wait */
};

/* Memory that begins at a line of the cache, or, where it is large, at a huge page; to be freed with free. NULL
 * with an error. */
void *cpu_memory_new(size_t bytes);

/* Which of the device's threads asks: 0..threads - 1. */
static inline int cpu_thread(void)
{
    return omp_get_thread_num();
}

/* Keeps the error sentence for the next call that waits; for queued operations, which cannot return it. */
void cpu_fail(struct cpu *);

/* The files whose loops want vector instructions are compiled several times: as they are, and for x86 once more
 * with -march=x86-64-v3 -DCPU_LEVEL=v3, the convolutions also for v4 (AVX-512) and bf16 (that, and AVX512-BF16), as
 * far as the compiler knows these levels; CPU_HAS_V3, CPU_HAS_V4 and CPU_HAS_BF16 tell device_cpu.c. What such a
 * file exports is called CPU_LEVELED(name), which is name_base, name_v3 and so on. */
#ifndef CPU_LEVEL
#define CPU_LEVEL base
#endif
#define CPU_PASTE_EXPANDED(name, level) name##_##level
#define CPU_PASTE(name, level) CPU_PASTE_EXPANDED(name, level)
#define CPU_LEVELED(name) CPU_PASTE(name, CPU_LEVEL)

static inline struct cpu *cpu_of(struct device *device)
{
    return (struct cpu *)device;
}

/* bfloat16 is the upper half of a float; conversion to it rounds to nearest, ties to even. NaN stays NaN. */
static inline float bf16_to_float(uint16_t value)
{
    uint32_t bits = (uint32_t)value << 16;
    float result;

    memcpy(&result, &bits, sizeof result);
    return result;
}

static inline uint16_t float_to_bf16(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    bits += 0x7fffu + (bits >> 16 & 1u);
    return (uint16_t)(bits >> 16);
}

/* conv.c: our own convolutions, and oneDNN's where they are asked for. */
struct filter *cpu_filter_new(struct device *, const struct filter_desc *);
void cpu_filter_free(struct device *, struct filter *);
const float *cpu_filter_bias(const struct filter *); /* [cout], also of the linear outputs */
struct conv *cpu_conv_new(struct device *, struct filter *, const struct conv_desc *, size_t *scratch_bytes);
void cpu_conv_free(struct device *, struct conv *);
void cpu_conv(struct device *, struct conv *, const struct tensor *x, const struct tensor *y,
              const struct tensor *mask, void *scratch);
void cpu_conv_back(struct device *, struct conv *, const struct tensor *dy, const struct tensor *dx,
                   const struct tensor *mask, void *scratch);

/* dnnl.c: the only file that includes oneDNN. */
struct dnnl;        /* its engine and stream */
struct dnnl_filter; /* one filter's parameters in plain form and in those that its convolutions asked for */
struct dnnl_conv;   /* one direction */

/* Its primitives run on this many threads, or as many of them as it can use; what most of them compute does not
 * depend on that. NULL with an error where oneDNN fails to start. */
struct dnnl *dnnl_open(int threads);
void dnnl_close(struct dnnl *);

/* Whether it has convolutions of bf16 for this processor. */
bool dnnl_has_bf16(void);

/* Copies the parameters of desc (linear outputs' bias becomes 0). NULL with an error when memory is short. */
struct dnnl_filter *dnnl_filter_new(struct dnnl *, const struct filter_desc *desc);
void dnnl_filter_free(struct dnnl_filter *);

/* Prepares what desc asks for, but for the mask. */
struct dnnl_conv *dnnl_conv_new(struct dnnl *, struct dnnl_filter *, const struct conv_desc *desc,
                                size_t *scratch_bytes);
void dnnl_conv_free(struct dnnl_conv *);

/* Forward, from x to y: y = conv(x) + bias, then ReLU unless the filter has linear outputs (the caller then applies
 * it to the others). Linear outputs get no bias. Backward, from dy to dx: dx = [dx +] transposed conv(dy). The
 * caller writes or applies the mask. Returns 0, or -1 with an error. */
int dnnl_conv_run(struct dnnl_conv *, const struct tensor *from, const struct tensor *to, void *scratch);

/* pool.c, ascent.c, picture.c: each puts its own operations into the table. */
void cpu_pool_ops_base(struct device_ops *);
void cpu_pool_ops_v3(struct device_ops *);
void cpu_ascent_ops_base(struct device_ops *);
void cpu_ascent_ops_v3(struct device_ops *);
void cpu_picture_ops_base(struct device_ops *);
void cpu_picture_ops_v3(struct device_ops *);

#endif
