/* Tests of the software GPU's runtime: kernels, streams, capture, memory and errors. What the libraries compute is
 * tested in selftest_cudnn.cu and selftest_cublaslt.cu. */
#include "selftest.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <vector>

cudaStream_t test_stream;

/* Kernels ------------------------------------------------------------------------------------------------- */

extern __shared__ unsigned char dynamic_shared[];

/* y[i] = sum of x[0..n) in two stages: lanes by shuffles, warps through shared memory. */
__global__ static void sum_kernel(const float *x, int n, float *y)
{
    __shared__ float warps[32];
    float sum = 0;
    int warp = static_cast<int>(threadIdx.x) / 32;

    for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x))
        sum += x[i];
    for (int offset = 16; offset > 0; offset /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, static_cast<unsigned>(offset));
    if (threadIdx.x % 32 == 0)
        warps[warp] = sum;
    __syncthreads();
    sum = 0;
    for (int i = 0; i < static_cast<int>(blockDim.x) / 32; i++)
        sum += warps[i];
    y[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

/* Reverses each block's numbers through dynamic shared memory, many times. */
__global__ static void reverse_kernel(int *x, int times)
{
    int *shared = reinterpret_cast<int *>(dynamic_shared);
    unsigned i = threadIdx.x + blockDim.x * threadIdx.y, n = blockDim.x * blockDim.y;
    int value = x[blockIdx.x * n + i];

    for (int k = 0; k < times; k++) {
        shared[i] = value;
        __syncthreads();
        value = shared[n - 1 - i];
        __syncthreads();
    }
    x[blockIdx.x * n + i] = value;
}

__global__ static void order_kernel(int *counter, int *order)
{
    order[blockIdx.x] = atomicAdd(counter, 1);
}

__global__ static void votes_kernel(unsigned *ballots, int *votes, float *shuffled)
{
    unsigned t = threadIdx.x;
    unsigned mask = t < 32 ? 0xffffffffu : 0xffu; /* the second warp has 8 lanes */

    ballots[t] = __ballot_sync(mask, t % 3 == 0);
    votes[t] = __syncthreads_count(t < 5) + 100 * __syncthreads_or(t == 39) + 1000 * __syncthreads_and(t < 39);
    shuffled[t] = __shfl_xor_sync(mask, static_cast<float>(t), 4) + __shfl_sync(mask, static_cast<float>(t), 0, 8);
}

__global__ static void early_return_kernel(int *x)
{
    if (threadIdx.x == 7)
        return;
    __syncthreads();
    x[threadIdx.x] = 1;
}

__global__ static void two_barriers_kernel(int *x)
{
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncthreads();
    x[threadIdx.x] = 1;
}

__global__ static void lonely_lane_kernel(int *x)
{
    if (threadIdx.x == 3)
        x[0] = __shfl_sync(0xffffffffu, 1, 0);
    __syncthreads();
}

__global__ static void missing_barrier_kernel(int *x)
{
    __shared__ int shared[256];

    shared[threadIdx.x] = static_cast<int>(threadIdx.x) + static_cast<int>(blockIdx.x) * 1000;
    x[blockIdx.x * blockDim.x + threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}

__global__ static void add_kernel(float *x, int n, float value)
{
    int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);

    if (i < n)
        x[i] += value;
}

template <typename T> __global__ static void scale_kernel(T *x, T value)
{
    x[threadIdx.x] *= value;
}

static void sums(void)
{
    enum { N = 1000, BLOCKS = 9, THREADS = 256 };
    device_array<float> x(N), y(BLOCKS * THREADS);
    std::vector<float> from(N);
    float wanted = 0;

    for (int i = 0; i < N; i++)
        wanted += from[static_cast<size_t>(i)] = static_cast<float>(i % 17);
    x.upload(from);
    CHECK_CUDA(launch(sum_kernel, dim3(BLOCKS), dim3(THREADS), 0, x.data, static_cast<int>(N), y.data));
    for (float sum : y.download())
        CHECK(sum == wanted, "%g instead of %g", sum, wanted);
}

static void reversals(void)
{
    enum { BLOCKS = 5, N = 96 };
    device_array<int> x(BLOCKS * N);
    std::vector<int> numbers(BLOCKS * N);

    for (size_t i = 0; i < numbers.size(); i++)
        numbers[i] = static_cast<int>(i);
    x.upload(numbers);
    CHECK_CUDA(launch(reverse_kernel, dim3(BLOCKS), dim3(32, 3), N * sizeof(int), x.data, 7));
    numbers = x.download();
    for (int b = 0; b < BLOCKS; b++)
        for (int i = 0; i < N; i++)
            CHECK(numbers[static_cast<size_t>(b * N + i)] == b * N + N - 1 - i, "%d at %d of block %d",
                  numbers[static_cast<size_t>(b * N + i)], i, b);
}

static void votes(void)
{
    device_array<unsigned> ballots(40);
    device_array<int> counts(40);
    device_array<float> shuffled(40);

    CHECK_CUDA(launch(votes_kernel, dim3(1), dim3(40), 0, ballots.data, counts.data, shuffled.data));
    std::vector<unsigned> masks = ballots.download();
    std::vector<int> sums = counts.download();
    std::vector<float> values = shuffled.download();
    for (unsigned t = 0; t < 40; t++) {
        unsigned mask = t < 32 ? 0x49249249u : 0x92u;

        CHECK(masks[t] == mask, "%x instead of %x", masks[t], mask);
        CHECK(sums[t] == 105, "%d", sums[t]);
        CHECK(values[t] == static_cast<float>((t ^ 4) + t / 8 * 8), "%g of thread %u", values[t], t);
    }
}

static void orders(void)
{
    enum { BLOCKS = 100 };
    device_array<int> counter(1), order(BLOCKS);
    int moved = 0;

    CHECK_CUDA(cudaMemsetAsync(counter.data, 0, sizeof(int), test_stream));
    CHECK_CUDA(launch(order_kernel, dim3(BLOCKS), dim3(1), 0, counter.data, order.data));
    std::vector<int> places = order.download();
    for (int i = 0; i < BLOCKS; i++)
        moved += places[static_cast<size_t>(i)] != i;
    CHECK(moved > BLOCKS / 2, "only %d blocks are not in order", moved);
}

/* A race that a barrier would mend must show. */
static void races(void)
{
    enum { BLOCKS = 16, THREADS = 256 };
    device_array<int> x(BLOCKS * THREADS);
    int wrong = 0;

    CHECK_CUDA(launch(missing_barrier_kernel, dim3(BLOCKS), dim3(THREADS), 0, x.data));
    std::vector<int> got = x.download();
    for (int i = 0; i < BLOCKS * THREADS; i++)
        wrong += got[static_cast<size_t>(i)] != (i + 1) % THREADS + i / THREADS * 1000;
    CHECK(wrong > BLOCKS * THREADS / 4, "only %d wrong numbers without a barrier", wrong);
}

static void divergent(void (*kernel)(int *), int threads, const char *words)
{
    device_array<int> x(64);

    CHECK_CUDA(launch(kernel, dim3(2), dim3(static_cast<unsigned>(threads)), 0, x.data));
    CHECK(cudaStreamSynchronize(test_stream) == cudaErrorLaunchFailure, "no error");
    CHECK(strstr(softgpu_failure(), words), "%s", softgpu_failure());
    CHECK(cudaMemsetAsync(x.data, 0, 4, test_stream) == cudaErrorLaunchFailure, "the error is not sticky");
    CHECK(cudaGetLastError() == cudaErrorLaunchFailure && cudaGetLastError() == cudaErrorLaunchFailure,
          "the error is not sticky");
    softgpu_reset();
    CHECK(cudaGetLastError() == cudaSuccess, "the error outlives softgpu_reset");
}

static void launches(void)
{
    device_array<float> x(64);
    cudaLaunchConfig_t config = {};

    CHECK(launch(add_kernel, dim3(0), dim3(32), 0, x.data, 32, 1.0f) == cudaErrorInvalidConfiguration, "empty grid");
    CHECK(launch(add_kernel, dim3(1), dim3(1025), 0, x.data, 32, 1.0f) == cudaErrorInvalidConfiguration, "block");
    CHECK(launch(add_kernel, dim3(1), dim3(32), 50000, x.data, 32, 1.0f) == cudaErrorInvalidValue, "shared memory");
    CHECK_CUDA(cudaFuncSetAttribute(add_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 50000));
    CHECK_CUDA(launch(add_kernel, dim3(1), dim3(32), 50000, x.data, 32, 1.0f));
    config.gridDim = config.blockDim = dim3(1);
    CHECK(cudaLaunchKernelEx(&config, add_kernel, x.data, 1, 1.0f) == cudaErrorInvalidResourceHandle,
          "a launch on the default stream");
    cudaGetLastError();
    CHECK_CUDA(cudaStreamSynchronize(test_stream));
}

/* Streams and capture --------------------------------------------------------------------------------------- */

static void waits(void)
{
    cudaStream_t other;
    cudaEvent_t event, end;
    float ms = -1;

    CHECK_CUDA(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    CHECK_CUDA(cudaEventCreate(&event));
    CHECK_CUDA(cudaEventCreate(&end));
    for (int i = 0; i < 20; i++) {
        device_array<float> x(32);

        CHECK_CUDA(cudaMemsetAsync(x.data, 0, x.bytes(), test_stream));
        CHECK_CUDA(launch(add_kernel, dim3(1), dim3(32), 0, x.data, 32, 2.0f));
        CHECK_CUDA(cudaEventRecord(event, test_stream));
        CHECK(cudaEventElapsedTime(&ms, event, event) == cudaErrorNotReady, "work ran before anyone waited");
        CHECK_CUDA(cudaStreamWaitEvent(other, event, 0));
        CHECK_CUDA(launch_on(other, scale_kernel<float>, dim3(1), dim3(32), 0, x.data, 3.0f));
        CHECK_CUDA(cudaEventRecord(end, other));
        CHECK_CUDA(cudaEventSynchronize(end));
        CHECK_CUDA(cudaEventElapsedTime(&ms, event, end));
        for (float value : x.download())
            CHECK(value == 6, "%g", value);
    }
    CHECK(ms >= 0, "%g ms", ms);
    CHECK_CUDA(cudaEventDestroy(event));
    CHECK_CUDA(cudaEventDestroy(end));
    CHECK_CUDA(cudaStreamDestroy(other));
}

static void staging(void)
{
    device_array<int> x(4);
    std::vector<int> numbers = {1, 2, 3, 4};
    int *pinned;

    CHECK_CUDA(cudaMemcpyAsync(x.data, numbers.data(), x.bytes(), cudaMemcpyHostToDevice, test_stream));
    numbers.assign(4, 0);
    CHECK(x.download()[3] == 4, "pageable memory was read late");
    CHECK_CUDA(cudaMallocHost(&pinned, x.bytes()));
    CHECK_CUDA(cudaMemcpyAsync(x.data, pinned, x.bytes(), cudaMemcpyHostToDevice, test_stream));
    pinned[3] = 9;
    CHECK(x.download()[3] == 9, "pinned memory was read early");
    CHECK_CUDA(cudaFreeHost(pinned));
    CHECK(cudaMemcpyAsync(x.data + 1, numbers.data(), x.bytes(), cudaMemcpyHostToDevice, test_stream) ==
              cudaErrorInvalidValue,
          "a copy beyond the allocation");
    CHECK(cudaMemsetAsync(x.data, 0, x.bytes() + 1, test_stream) == cudaErrorInvalidValue, "a fill beyond");
    cudaGetLastError();
}

static void replays(void)
{
    device_array<float> x(32), y(32);
    cudaStream_t other;
    cudaEvent_t fork, join;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaStreamCaptureStatus status;
    long before = softgpu_launches();

    CHECK_CUDA(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    CHECK_CUDA(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
    CHECK_CUDA(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    CHECK_CUDA(cudaMemsetAsync(x.data, 0, x.bytes(), test_stream));
    CHECK_CUDA(cudaStreamBeginCapture(test_stream, cudaStreamCaptureModeGlobal));
    CHECK_CUDA(launch(add_kernel, dim3(1), dim3(32), 0, x.data, 32, 1.0f));
    CHECK_CUDA(cudaEventRecord(fork, test_stream));
    CHECK_CUDA(cudaStreamWaitEvent(other, fork, 0));
    CHECK_CUDA(cudaMemcpyAsync(y.data, x.data, x.bytes(), cudaMemcpyDeviceToDevice, other));
    CHECK_CUDA(launch_on(other, scale_kernel<float>, dim3(1), dim3(32), 0, y.data, 10.0f));
    CHECK_CUDA(cudaEventRecord(join, other));
    CHECK_CUDA(cudaStreamWaitEvent(test_stream, join, 0));
    CHECK_CUDA(launch(scale_kernel<float>, dim3(1), dim3(32), 0, x.data, 2.0f));
    CHECK_CUDA(cudaStreamIsCapturing(other, &status));
    CHECK(status == cudaStreamCaptureStatusActive, "%d", status);
    CHECK_CUDA(cudaStreamEndCapture(test_stream, &graph));
    CHECK_CUDA(cudaGraphInstantiate(&exec, graph, 0));
    CHECK_CUDA(cudaGraphDestroy(graph));
    CHECK(softgpu_launches() == before, "a capture ran something");
    for (int i = 0; i < 3; i++)
        CHECK_CUDA(cudaGraphLaunch(exec, test_stream));
    CHECK_CUDA(cudaGraphExecDestroy(exec)); /* queued replays go on */
    CHECK(x.download()[31] == 14 && y.download()[0] == 70, "%g, %g", x.download()[31], y.download()[0]);
    CHECK_CUDA(cudaEventDestroy(fork));
    CHECK_CUDA(cudaEventDestroy(join));
    CHECK_CUDA(cudaStreamDestroy(other));
}

enum forbidden { MALLOC, FREE, SYNCHRONIZE, DEVICE_SYNCHRONIZE, TO_HOST, UNJOINED, FORBIDDEN };

static cudaError_t forbidden_call(int which, float *x, cudaStream_t other, cudaEvent_t event)
{
    float host[1];
    void *memory;

    switch (which) {
    case MALLOC:
        return cudaMalloc(&memory, 1);
    case FREE:
        return cudaFree(x);
    case SYNCHRONIZE:
        return cudaStreamSynchronize(test_stream);
    case DEVICE_SYNCHRONIZE:
        return cudaDeviceSynchronize();
    case TO_HOST:
        return cudaMemcpyAsync(host, x, sizeof host, cudaMemcpyDeviceToHost, test_stream);
    default:
        CHECK_CUDA(cudaEventRecord(event, test_stream));
        CHECK_CUDA(cudaStreamWaitEvent(other, event, 0));
        return cudaMemsetAsync(x, 0, 4, other);
    }
}

static void captures_fail(void)
{
    device_array<float> x(1);
    cudaStream_t other;
    cudaEvent_t event;
    cudaGraph_t graph;

    CHECK_CUDA(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    CHECK_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    for (int which = 0; which < FORBIDDEN; which++) {
        cudaError_t wanted = which == UNJOINED ? cudaSuccess : cudaErrorStreamCaptureUnsupported;

        CHECK_CUDA(cudaStreamBeginCapture(test_stream, cudaStreamCaptureModeGlobal));
        CHECK(forbidden_call(which, x.data, other, event) == wanted, "call %d", which);
        CHECK(cudaMemsetAsync(x.data, 0, 4, test_stream) ==
                  (which == UNJOINED ? cudaSuccess : cudaErrorStreamCaptureInvalidated),
              "call %d leaves the capture valid", which);
        CHECK(cudaStreamEndCapture(test_stream, &graph) ==
                  (which == UNJOINED ? cudaErrorStreamCaptureUnjoined : cudaErrorStreamCaptureInvalidated),
              "call %d", which);
        CHECK(!graph, "call %d leaves a graph", which);
    }
    CHECK(cudaStreamEndCapture(test_stream, &graph) == cudaErrorIllegalState, "no capture");
    cudaGetLastError();
    CHECK_CUDA(cudaEventDestroy(event));
    CHECK_CUDA(cudaStreamDestroy(other));
}

/* Memory, devices, errors ----------------------------------------------------------------------------------- */

static void memory(void)
{
    device_array<float> x(100);
    size_t left, total;
    void *much;

    for (float value : x.download())
        CHECK(value != value, "fresh memory holds %g", value);
    CHECK_CUDA(cudaMemGetInfo(&left, &total));
    CHECK(total - left == x.bytes(), "%zu bytes are used", total - left);
    CHECK(cudaMalloc(&much, left + 1) == cudaErrorMemoryAllocation && !much, "more memory than there is");
    CHECK(!strcmp(cudaGetErrorString(cudaGetLastError()), "out of memory"), "another error");
    CHECK(cudaFree(x.data + 1) == cudaErrorInvalidValue, "the middle of an allocation was freed");
    CHECK_CUDA(cudaFree(nullptr));
    cudaGetLastError();
}

static void devices(void)
{
    cudaDeviceProp properties;
    device_array<float> x(1);
    int count;

    CHECK_CUDA(cudaGetDeviceCount(&count));
    CHECK(count == 2, "%d GPUs", count);
    CHECK_CUDA(cudaGetDeviceProperties(&properties, 1));
    CHECK(properties.major == 9 && !strcmp(properties.name, "emulated GPU"), "%s", properties.name);
    CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice, "a third GPU");
    CHECK_CUDA(cudaSetDevice(1));
    CHECK(cudaMemsetAsync(x.data, 0, 4, test_stream) == cudaErrorInvalidResourceHandle, "a stream of another GPU");
    CHECK_CUDA(cudaSetDevice(0));
    setenv("SOFTGPU_DEVICES", "0", 1);
    softgpu_reset();
    CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice && count == 0, "%d GPUs", count);
    unsetenv("SOFTGPU_DEVICES");
    softgpu_reset();
}

/* A sequence of calls in which each is made to fail once. */
static cudaError_t sequence(void)
{
    float *x = nullptr;
    cudaError_t code = cudaMalloc(&x, 128), freed;

    if (code == cudaSuccess)
        code = cudaMemsetAsync(x, 0, 128, test_stream);
    if (code == cudaSuccess)
        code = launch(add_kernel, dim3(1), dim3(32), 0, x, 32, 1.0f);
    if (code == cudaSuccess)
        code = cudaStreamSynchronize(test_stream);
    freed = cudaFree(x);
    return code == cudaSuccess ? freed : code;
}

static void failures(void)
{
    long before = softgpu_calls(), calls;
    const cudaError_t wanted[] = {cudaErrorMemoryAllocation, cudaErrorInvalidValue, cudaErrorLaunchOutOfResources,
                                  cudaErrorLaunchFailure};

    CHECK_CUDA(sequence());
    calls = softgpu_calls() - before;
    CHECK(calls == 4, "%ld calls", calls);
    for (long i = 1; i <= calls; i++) {
        softgpu_fail_at(i);
        CHECK(sequence() == wanted[i - 1], "call %ld", i);
        CHECK_CUDA(sequence());
    }
    cudaGetLastError();
}

static void values(void)
{
    const float floats[] = {0.0f, -0.0f, 1.0f, 65504.0f, 65519.99f, 65520.0f, 6e-8f, 2.9e-8f, 3.1e-8f, 1.00048828125f,
                            1.00146484375f, INFINITY, -INFINITY, 6.1035e-5f, 6.0976e-5f};
    const unsigned short halves[] = {0,      0x8000, 0x3c00, 0x7bff, 0x7bff, 0x7c00, 1,   0,
                                     1,      0x3c00, 0x3c02, 0x7c00, 0xfc00, 0x0400, 0x3ff};

    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++)
        CHECK(__half_as_ushort(__float2half_rn(floats[i])) == halves[i], "%g is %x instead of %x", floats[i],
              __half_as_ushort(__float2half_rn(floats[i])), halves[i]);
    CHECK(__half_as_ushort(__float2half_rn(NAN)) == 0x7fff, "NaN");
    CHECK(__bfloat16_as_ushort(__float2bfloat16_rn(NAN)) == 0x7fff, "NaN");
    CHECK(__bfloat16_as_ushort(__float2bfloat16_rn(1.00390625f)) == 0x3f80, "1 + 2^-8 to even");
    CHECK(__bfloat16_as_ushort(__float2bfloat16_rn(3.4e38f)) == 0x7f80, "overflow");
    for (unsigned bits = 0; bits < 0x10000; bits++) {
        __half number = __ushort_as_half(static_cast<unsigned short>(bits));
        __nv_bfloat16 brain = __ushort_as_bfloat16(static_cast<unsigned short>(bits));

        if (!std::isnan(__half2float(number)))
            CHECK(__half_as_ushort(__float2half_rn(__half2float(number))) == bits, "%x", bits);
        if (!std::isnan(__bfloat162float(brain)))
            CHECK(__bfloat16_as_ushort(__float2bfloat16_rn(__bfloat162float(brain))) == bits, "%x", bits);
    }
}

int main()
{
    CHECK_CUDA(cudaStreamCreateWithFlags(&test_stream, cudaStreamNonBlocking));
    values();
    sums();
    reversals();
    votes();
    orders();
    races();
    divergent(early_return_kernel, 32, "divergent barrier");
    divergent(two_barriers_kernel, 32, "divergent barrier");
    divergent(lonely_lane_kernel, 64, "lanes that never come");
    launches();
    waits();
    staging();
    replays();
    captures_fail();
    memory();
    devices();
    failures();
    test_cudnn();
    test_cublaslt();
    CHECK_CUDA(cudaStreamDestroy(test_stream));
    CHECK(softgpu_leaks() == 0, "%d objects are alive", softgpu_leaks());
    return check_result();
}
