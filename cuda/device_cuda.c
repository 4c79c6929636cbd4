/* The CUDA device: opening, memory, recording, and failures. Its operations are in conv.c, first.cu, passes.cu,
 * pool.cu, ascent.cu and picture.cu. Everything is queued on one stream. Once something has failed nothing more is
 * queued until the next call that waits, which says so. */
#include "cuda.h"

#include "tuning.h"

#include "host/error.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the libraries still take when kernels are loaded at their first use, and the driver rounds up. */
enum { RESERVED_BYTES = 128 << 20 };

/* GPUs before this have no bf16 and no TF32; nothing is compiled for them. */
enum { LEAST_MAJOR = 8 };

struct recording {
    cudaGraphExec_t exec;
};

struct cuda *cuda_of(struct device *device)
{
    static _Thread_local int current = -1;
    struct cuda *cuda = (struct cuda *)device;

    if (current != cuda->index && CUDA_OK(cuda, cudaSetDevice(cuda->index)))
        current = cuda->index;
    return cuda;
}

/* Failures ------------------------------------------------------------------------------------------------ */

bool cuda_fail(struct cuda *cuda, const char *expression, const char *file, int line, const char *words)
{
    if (!cuda->failed)
        snprintf(cuda->failure, sizeof cuda->failure, "%s: %s failed at %s:%d: %s", cuda->name, expression, file,
                 line, words);
    cuda->failed = true;
    return false;
}

bool cuda_check(struct cuda *cuda, cudaError_t status, const char *expression, const char *file, int line)
{
    if (status == cudaSuccess)
        return true;
    cudaGetLastError(); /* what is kept here need not be told again by the next launch */
    return cuda_fail(cuda, expression, file, line, cudaGetErrorString(status));
}

bool cuda_check_cublas(struct cuda *cuda, cublasStatus_t status, const char *expression, const char *file, int line)
{
    return status == CUBLAS_STATUS_SUCCESS ||
           cuda_fail(cuda, expression, file, line, cublasLtGetStatusString(status));
}

bool cuda_check_cudnn(struct cuda *cuda, cudnnStatus_t status, const char *expression, const char *file, int line)
{
    char words[768], detail[512] = "";

    if (status == CUDNN_STATUS_SUCCESS)
        return true;
    cudnnGetLastErrorString(detail, sizeof detail);
    snprintf(words, sizeof words, "%s%s%s", cudnnGetErrorString(status), *detail ? ": " : "", detail);
    return cuda_fail(cuda, expression, file, line, words);
}

int cuda_failure(struct cuda *cuda)
{
    if (!cuda->failed)
        return 0;
    cuda->failed = false;
    return error_set("%s", cuda->failure);
}

/* Memory -------------------------------------------------------------------------------------------------- */

static size_t cuda_available(struct device *device)
{
    struct cuda *cuda = cuda_of(device);
    size_t available = 0, total;

    if (!CUDA_OK(cuda, cudaMemGetInfo(&available, &total)))
        return SIZE_MAX; /* unknown; the next call that waits says why */
    return available > RESERVED_BYTES ? available - RESERVED_BYTES : 0;
}

static void *cuda_alloc(struct device *device, size_t bytes)
{
    struct cuda *cuda = cuda_of(device);
    void *memory = NULL;
    cudaError_t status = cudaMalloc(&memory, bytes);

    if (status == cudaSuccess)
        return memory;
    cudaGetLastError();
    if (status == cudaErrorMemoryAllocation) {
        size_t available = 0, total;

        cudaMemGetInfo(&available, &total);
        error_set("%s (%s) has no room for %zu bytes more; %zu are free", cuda->name, cuda->properties.name, bytes,
                  available);
    } else {
        cuda_check(cuda, status, "cudaMalloc(&memory, bytes)", __FILE__, __LINE__);
        cuda_failure(cuda);
    }
    return NULL;
}

static int cuda_sync(struct device *device)
{
    struct cuda *cuda = cuda_of(device);

    CUDA_OK(cuda, cudaStreamSynchronize(cuda->stream));
    return cuda_failure(cuda);
}

static void cuda_free(struct device *device, void *memory)
{
    struct cuda *cuda = cuda_of(device);

    CUDA_OK(cuda, cudaFree(memory));
}

static int cuda_upload(struct device *device, void *to, const void *from, size_t bytes)
{
    struct cuda *cuda = cuda_of(device);

    if (!cuda->failed)
        CUDA_OK(cuda, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, cuda->stream));
    return cuda_sync(device);
}

static int cuda_download(struct device *device, void *to, const void *from, size_t bytes)
{
    struct cuda *cuda = cuda_of(device);

    if (!cuda->failed)
        CUDA_OK(cuda, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, cuda->stream));
    return cuda_sync(device);
}

static void cuda_clear(struct device *device, void *memory, size_t bytes)
{
    struct cuda *cuda = cuda_of(device);

    if (!cuda->failed)
        CUDA_OK(cuda, cudaMemsetAsync(memory, 0, bytes, cuda->stream));
}

/* Recording ----------------------------------------------------------------------------------------------- */

static int cuda_record_begin(struct device *device)
{
    struct cuda *cuda = cuda_of(device);

    if (!cuda->failed)
        CUDA_OK(cuda, cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal));
    return cuda_failure(cuda);
}

static struct recording *cuda_record_end(struct device *device)
{
    struct cuda *cuda = cuda_of(device);
    struct recording *recording = calloc(1, sizeof *recording);
    cudaGraph_t graph = NULL;

    if (CUDA_OK(cuda, cudaStreamEndCapture(cuda->stream, &graph)) && recording && !cuda->failed)
        CUDA_OK(cuda, cudaGraphInstantiate(&recording->exec, graph, 0));
    if (graph)
        CUDA_OK(cuda, cudaGraphDestroy(graph));
    if (!recording)
        error_set("out of memory for a recorded step");
    if (cuda_failure(cuda) == 0 && recording)
        return recording;
    device_recording_free(device, recording);
    return NULL;
}

static void cuda_recording_free(struct device *device, struct recording *recording)
{
    struct cuda *cuda = cuda_of(device);

    if (recording->exec)
        CUDA_OK(cuda, cudaGraphExecDestroy(recording->exec));
    free(recording);
}

static void cuda_replay(struct device *device, struct recording *recording)
{
    struct cuda *cuda = cuda_of(device);

    if (!cuda->failed)
        CUDA_OK(cuda, cudaGraphLaunch(recording->exec, cuda->stream));
}

/* Opening ------------------------------------------------------------------------------------------------- */

static void cuda_close(struct device *device)
{
    struct cuda *cuda = (struct cuda *)device; /* which may have no GPU yet */

    if (cuda->stream) {
        cuda_of(device);
        cudaStreamSynchronize(cuda->stream);
    }
    tuning_close(cuda->tuning);
    if (cuda->cudnn)
        cudnnDestroy(cuda->cudnn);
    if (cuda->cublas)
        cublasLtDestroy(cuda->cublas);
    if (cuda->parts)
        cudaFree(cuda->parts);
    if (cuda->zero)
        cudaFree(cuda->zero);
    if (cuda->stream)
        cudaStreamDestroy(cuda->stream);
    free(cuda);
}

static const struct device_ops cuda_ops = {
    .close = cuda_close,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .upload = cuda_upload,
    .download = cuda_download,
    .available = cuda_available,
    .clear = cuda_clear,
    .sync = cuda_sync,
    .filter_new = cuda_filter_new,
    .filter_free = cuda_filter_free,
    .conv_new = cuda_conv_new,
    .conv_free = cuda_conv_free,
    .conv = cuda_conv,
    .conv_back = cuda_conv_back,
    .max_pool = cuda_max_pool,
    .max_pool_back = cuda_max_pool_back,
    .average_pool = cuda_average_pool,
    .average_pool_back = cuda_average_pool_back,
    .global_average = cuda_global_average,
    .stimulate = cuda_stimulate,
    .mean_abs = cuda_mean_abs,
    .ascend = cuda_ascend,
    .record_begin = cuda_record_begin,
    .record_end = cuda_record_end,
    .recording_free = cuda_recording_free,
    .replay = cuda_replay,
    .resize = cuda_resize,
    .detail = cuda_detail,
    .crop = cuda_crop,
    .add_crop = cuda_add_crop,
};

/* precision is one that device.c lists for this device, or NULL: the first. */
static void precision_choose(struct cuda *cuda, const char *precision)
{
    static const struct {
        const char *name;
        enum dtype activation;
        bool tensor_f32;
    } precisions[] = {{"fp16", DTYPE_F16, false},
                      {"bf16", DTYPE_BF16, false},
                      {"tf32", DTYPE_F32, true},
                      {"fp32", DTYPE_F32, false}};
    size_t i = 0;

    while (precision && strcmp(precision, precisions[i].name) != 0) {
        i++;
        assert(i < sizeof precisions / sizeof *precisions);
    }
    cuda->device.precision = precisions[i].name;
    cuda->device.activation = precisions[i].activation;
    cuda->tensor_f32 = precisions[i].tensor_f32;
}

/* Chooses the GPU: there, and new enough. */
static int gpu_choose(struct cuda *cuda, int index)
{
    int count = 0;
    cudaError_t status = cudaGetDeviceCount(&count);

    if (status != cudaSuccess || count == 0) {
        cudaGetLastError();
        return error_set("no CUDA device can be used: %s",
                         status == cudaSuccess ? "the driver lists none" : cudaGetErrorString(status));
    }
    if (index >= count)
        return error_set("there is no %s; this machine has %d CUDA device%s, numbered from cuda:0", cuda->name,
                         count, count == 1 ? "" : "s");
    cuda->index = index;
    if (!CUDA_OK(cuda, cudaGetDeviceProperties(&cuda->properties, index)))
        return cuda_failure(cuda);
    if (cuda->properties.major < LEAST_MAJOR)
        return error_set("%s (%s) has compute capability %d.%d; this program needs %d.0 or later", cuda->name,
                         cuda->properties.name, cuda->properties.major, cuda->properties.minor, LEAST_MAJOR);
    return 0;
}

static int libraries_open(struct cuda *cuda)
{
    cuda_of(&cuda->device);
    if (!cuda->failed && CUDA_OK(cuda, cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking)) &&
        CUDA_OK(cuda, cudaMalloc((void **)&cuda->parts, CUDA_PARTS * sizeof *cuda->parts)) &&
        CUDA_OK(cuda, cudaMalloc((void **)&cuda->zero, sizeof *cuda->zero)) &&
        CUDA_OK(cuda, cudaMemsetAsync(cuda->zero, 0, sizeof *cuda->zero, cuda->stream)) &&
        CUDNN_OK(cuda, cudnnCreate(&cuda->cudnn)) && CUDNN_OK(cuda, cudnnSetStream(cuda->cudnn, cuda->stream)) &&
        CUBLAS_OK(cuda, cublasLtCreate(&cuda->cublas)))
        return 0;
    return cuda_failure(cuda);
}

struct device *device_cuda_open(int index, const struct device_options *options)
{
    struct cuda *cuda = calloc(1, sizeof *cuda);

    if (!cuda) {
        error_set("cannot allocate %zu bytes of memory", sizeof *cuda);
        return NULL;
    }
    snprintf(cuda->name, sizeof cuda->name, "cuda:%d", index);
    cuda->device.name = cuda->name;
    cuda->device.ops = &cuda_ops;
    cuda->device.picture = DTYPE_F32;
    cuda->device.records = true;
    cuda->engine = options->engine;
    precision_choose(cuda, options->precision);
    if (gpu_choose(cuda, index) || libraries_open(cuda))
        goto fail;
    cuda->tune = options->tune;
    if (cuda->tune)
        cuda->tuning = tuning_open(cuda);
    else if (cuda->engine == CONV_AUTO)
        cuda->tuning = tuning_open_built_in(cuda);
    if (cuda->tune && !cuda->tuning)
        goto fail;
    return &cuda->device;

fail:
    cuda_close(&cuda->device);
    return NULL;
}
