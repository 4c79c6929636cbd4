/* What a device can do: the network's fused operations on NHWC tensors, and the picture's. The host plans, the
 * device computes; the CPU, the reference and the CUDA device stand behind the same functions.
 *
 * Work is queued in the order of the calls. No operation allocates, waits or returns a number; the numbers of an
 * ascent stay in device memory (struct ascent) until device_ascent_read asks for them, so that a device can run
 * ahead, or record a whole step once and replay it. A failure is kept and reported by the next call that waits. */
#ifndef PAREIDOLIA_DEVICE_H
#define PAREIDOLIA_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F64,
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_U8,
    DTYPE_BITS /* sign masks: bit c % 8 of byte c / 8 */
};

/* One picture's worth of values in device memory, [h][w][c] (NHWC with n = 1), rows from the top and without gaps.
 * Pixel (y, x) begins at element (y * w + x) * pitch. A pitch above c makes the tensor a slice of the channels of
 * a wider one: a branch of a concatenation is written where it belongs. BITS: pitch is a multiple of 8. */
struct tensor {
    int64_t h, w;
    int c;
    int pitch; /* elements from pixel to pixel, at least c */
    enum dtype type;
    void *data; /* borrowed: of a plan's one allocation, or a picture's */
};

/* Bytes of n elements of a type (BITS: n is rounded up to a multiple of 8). */
size_t dtype_bytes(enum dtype type, int64_t n);
const char *dtype_name(enum dtype type);

/* Channels [first, first + count) of whole; BITS: first is a multiple of 8. */
struct tensor tensor_slice(struct tensor whole, int first, int count);

/* Bytes from the first value to behind the last one, what lies between the slices of pixels included. */
size_t tensor_bytes(const struct tensor *tensor);

/* Opening ------------------------------------------------------------------------------------------------- */

/* Which of a device's convolution programs runs; every choice gives the same result to rounding. On the CPU AUTO
 * and OURS are our own kernels and LIBRARY is oneDNN's; on CUDA OURS is bare library convolutions with our passes
 * behind them, LIBRARY whatever cuDNN and cuBLASLt can fuse, and AUTO chooses. */
enum conv_engine { CONV_AUTO, CONV_OURS, CONV_LIBRARY };

struct device_options {
    const char *precision;   /* "fp16", "bf16", "tf32", "fp32", "fp64"; NULL: the device's own default */
    int threads;             /* CPU threads, 0: all */
    bool tune;               /* CUDA: run the fastest convolution programs, timed once and kept in a file, instead
                                of those that are known beforehand */
    enum conv_engine engine; /* for tests; CONV_AUTO elsewhere */
    const char *level;       /* for tests: the instructions that the CPU device may use, "base", "v3", "v4" or
                                "bf16"; NULL: all that this processor has */
};

/* What the host may look at. Devices embed this as their first member. */
struct device {
    const struct device_ops *ops;
    const char *name;      /* "cuda:0", "cpu", "reference" */
    const char *precision; /* as in device_options */
    enum dtype activation; /* type of activations and of their gradients */
    enum dtype picture;    /* type of pictures and of the gradient at the picture */
    bool in_host_memory;   /* its memory is the process's own */
    bool records;          /* device_record_begin works */
    uint64_t programs;     /* hash of the convolution programs chosen so far; 0: the device has no choice */
    int64_t allocations;   /* device_alloc calls so far */
    int64_t waits;         /* times the host waited for the device so far */
};

/* 0 where this build has the device and the device the precision (NULL: its own); else -1 with an error that lists
 * what there is. Opens nothing: whether the machine has the device is another question. */
int device_check(const char *name, const char *precision);

/* Opens "reference" (double precision, plain loops), "cpu", or "cuda", which may name a GPU: "cuda:1". Returns NULL
 * with an error for an unknown name, a precision that the device or this processor does not have, or a GPU that is
 * not there (with the driver's words). */
struct device *device_open(const char *name, const struct device_options *options);
void device_close(struct device *device);

/* The names that device_open takes in this build, ended by NULL, best first. */
const char *const *device_names(void);

/* Memory: alloc takes at least 1 byte, aligns to 64, and returns NULL with an error that names the bytes. upload,
 * download and free wait for what is queued. */
void *device_alloc(struct device *device, size_t bytes);
void device_free(struct device *device, void *memory);
int device_upload(struct device *device, void *to, const void *from, size_t bytes);
int device_download(struct device *device, void *to, const void *from, size_t bytes);

/* Bytes that device_alloc can still give in all; SIZE_MAX where the device cannot tell. In host memory: without
 * swapping, and what was allocated but not yet written to still counts as available. */
size_t device_available(struct device *device);

/* Queues bytes zeros. */
void device_clear(struct device *device, void *memory, size_t bytes);

/* Waits for all queued work. Returns 0, or -1 with the first failure since the last wait. */
int device_sync(struct device *device);

/* Convolution --------------------------------------------------------------------------------------------- */

/* The frozen parameters of one convolution, or of several that read the same tensor side by side. */
struct filter_desc {
    int kh, kw, stride; /* stride 1 or 2 */
    int pad_h, pad_w;   /* zeros before the first and behind the last row and column */
    int cin, cout;
    int linear; /* the first `linear` outputs get neither bias nor ReLU nor a mask; 0..cout, multiple of 8 */
    const double *kernel; /* [kh][kw][cin][cout], borrowed during the call */
    const double *bias;   /* [cout] */
};

struct filter; /* parameters on the device, in whatever form its convolutions read */
struct conv;   /* one filter in one direction at one size */

/* Brings parameters to the device. NULL with an error when memory is short. */
struct filter *device_filter_new(struct device *device, const struct filter_desc *desc);
void device_filter_free(struct device *device, struct filter *filter);

/* What a convolution will be asked to do. Of the tensors only shapes, pitches and types are read. */
struct conv_desc {
    struct tensor x, y; /* back: dx and dy. y's height is (x.h + 2 pad - kh) / stride + 1 */
    struct tensor mask; /* of what is written; c 0: none */
    bool back;          /* device_conv_back, else device_conv */
    bool accumulate;    /* back only: adds to dx */
};

/* Prepares filter for this. The scratch memory that each call wants goes to *scratch_bytes. The filter must outlive
 * the convolution. */
struct conv *device_conv_new(struct device *device, struct filter *filter, const struct conv_desc *desc,
                             size_t *scratch_bytes);
void device_conv_free(struct device *device, struct conv *conv);

/* The tensors of a call are those of the conv_desc, with data; mask is NULL where that has none.
 * y = relu(conv(x) + bias), linear outputs excepted; mask (BITS, y's channels) = y > 0. */
void device_conv(struct device *device, struct conv *conv, const struct tensor *x, const struct tensor *y,
                 const struct tensor *mask, void *scratch);

/* dx = [dx +] transposed conv(dy), then times mask (of x). Whoever contributes last to dx applies the mask. dy
 * carries its own mask already. */
void device_conv_back(struct device *device, struct conv *conv, const struct tensor *dy, const struct tensor *dx,
                      const struct tensor *mask, void *scratch);

/* Pools --------------------------------------------------------------------------------------------------- */

/* 3x3 maximum, stride 2, no padding: y is (h - 3) / 2 + 1. argmax (U8, y's shape; may be NULL) = position 0..8 in
 * row order of the first maximum; mask (may be NULL) = y > 0. */
void device_max_pool(struct device *device, const struct tensor *x, const struct tensor *y,
                     const struct tensor *argmax, const struct tensor *mask);

/* dx = [dx +] dy at every window's winner, then times mask (of x; may be NULL). */
void device_max_pool_back(struct device *device, const struct tensor *dy, const struct tensor *argmax,
                          const struct tensor *dx, bool accumulate, const struct tensor *mask);

/* y = relu(mean of the 3x3 neighbourhood of x + bias), stride 1, positions outside x left out of the mean;
 * mask (may be NULL) = y > 0. bias is the filter's whose first y->c outputs x holds (its linear outputs): the pool
 * of a branch commutes with the branch's 1x1 convolution, bias and ReLU do not. */
void device_average_pool(struct device *device, const struct tensor *x, struct filter *filter,
                         const struct tensor *y, const struct tensor *mask);

/* dx = transposed mean of dy. */
void device_average_pool_back(struct device *device, const struct tensor *dy, const struct tensor *dx);

/* y[0][0][c] = mean of x over all its positions. y is 1 x 1 x c. */
void device_global_average(struct device *device, const struct tensor *x, const struct tensor *y);

/* Stimulation and ascent ---------------------------------------------------------------------------------- */

struct step_record {
    double loss;
    double mean_abs_gradient; /* in the loss's own units */
};

/* The state of the ascent at one octave, in device memory. */
struct ascent {
    int64_t steps;              /* records so far */
    int64_t stopped;            /* 1: a step found loss > max_loss; it is recorded, but neither it nor any later
                                   one is applied */
    int64_t overflowed;         /* 1: a step found mean |g| not finite; neither it nor any later one is recorded or
                                   applied */
    struct step_record current; /* being summed up */
    struct step_record records[];
};

/* Bytes of a state with room for steps records. */
size_t ascent_bytes(int64_t steps);

/* Positions [top, bottom) x [left, right) of a target, inside it: loss += loss_scale * sum a^2, da = [da +]
 * seed_scale * a there and 0 elsewhere. */
struct stimulation {
    int64_t top, left, bottom, right; /* an empty region is allowed */
    double loss_scale, seed_scale;
};

/* Adds to state->current.loss and writes da, which may be NULL. */
void device_stimulate(struct device *device, const struct stimulation *stimulation, const struct tensor *a,
                      const struct tensor *da, bool accumulate, struct ascent *state);

/* state->current.mean_abs_gradient = scale * mean |g|, scale being what turns g into the gradient of the loss. */
void device_mean_abs(struct device *device, const struct tensor *g, double scale, struct ascent *state);

/* One step: appends current to the records unless the ascent has stopped or overflowed, which it does here; stops
 * it where the loss is above max_loss; else x += step * scale * g / max(current.mean_abs_gradient, 1e-7), and every
 * value of x is then held to [-limit, limit]. current becomes zero in any case. max_loss and limit may be INFINITY.
 */
void device_ascend(struct device *device, const struct tensor *x, const struct tensor *g, double step, double scale,
                   double max_loss, double limit, struct ascent *state);

/* Waits and copies the state with its first `records` records to host. Returns 0 or -1 like device_sync. */
int device_ascent_read(struct device *device, const struct ascent *state, int64_t records, struct ascent *host);

/* Recording ----------------------------------------------------------------------------------------------- */

struct recording; /* queued operations, ready to run again */

/* From begin to end what is queued does not run but is recorded; nothing else may be asked of the device meanwhile.
 * Every operation must have run once before. Only where device->records is set. begin returns 0, or -1 with an
 * error; end returns NULL with the first failure since begin. */
int device_record_begin(struct device *device);
struct recording *device_record_end(struct device *device);
void device_recording_free(struct device *device, struct recording *recording);

/* Queues all that was recorded, on the memory that it was recorded with. */
void device_replay(struct device *device, struct recording *recording);

/* The picture --------------------------------------------------------------------------------------------- */

/* y = x resized bilinearly with corners aligned: output index i reads input coordinate i * (in - 1) / (out - 1), 0
 * where out is 1 (scipy.ndimage.zoom, order 1). No smoothing when shrinking. */
void device_resize(struct device *device, const struct tensor *x, const struct tensor *y);

/* x += resize(original) - resize(shrunk), both to x's shape, shrunk being original resized to h x w: puts back the
 * detail that an octave of that size does not hold. The shrunk picture is never in memory. x is not original. */
void device_detail(struct device *device, const struct tensor *x, const struct tensor *original, int64_t h,
                   int64_t w);

/* y = the part of x of y's size that begins at (top, left). */
void device_crop(struct device *device, const struct tensor *x, int64_t top, int64_t left, const struct tensor *y);

/* Adds x to the part of y of x's size that begins at (top, left). */
void device_add_crop(struct device *device, const struct tensor *x, int64_t top, int64_t left,
                     const struct tensor *y);

#endif
