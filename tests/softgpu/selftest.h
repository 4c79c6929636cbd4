/* What the software GPU's own tests share: checked calls, launches, and device memory that frees itself. */
#ifndef SOFTGPU_SELFTEST_H
#define SOFTGPU_SELFTEST_H

#include "../check.h"
#include "softgpu.h"

#include <cuda_runtime.h>

#include <cstring>
#include <vector>

#define CHECK_CUDA(call)                                                                                             \
    do {                                                                                                             \
        cudaError_t code_ = (call);                                                                                  \
        CHECK(code_ == cudaSuccess, "%s %s", cudaGetErrorString(code_), softgpu_failure());                          \
    } while (0)

extern cudaStream_t test_stream;

/* selftest_cudnn.cu, selftest_cublaslt.cu */
void test_cudnn(void);
void test_cublaslt(void);

template <typename... Parameters, typename... Arguments>
static cudaError_t launch_on(cudaStream_t stream, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                             size_t shared_bytes, Arguments... arguments)
{
    cudaLaunchConfig_t config = {};

    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

template <typename... Parameters, typename... Arguments>
static cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                          Arguments... arguments)
{
    return launch_on(test_stream, kernel, grid, block, shared_bytes, arguments...);
}

template <typename T> struct device_array {
    T *data = nullptr;
    size_t count;

    explicit device_array(size_t n) : count(n) { CHECK_CUDA(cudaMalloc(&data, bytes())); }
    device_array(const device_array &) = delete;
    device_array &operator=(const device_array &) = delete;
    ~device_array() { cudaFree(data); }

    size_t bytes() const { return count * sizeof(T); }
    void upload(const std::vector<T> &from)
    {
        CHECK(from.size() == count, "%zu values for %zu", from.size(), count);
        CHECK_CUDA(cudaMemcpyAsync(data, from.data(), bytes(), cudaMemcpyHostToDevice, test_stream));
    }
    std::vector<T> download() const
    {
        std::vector<T> to(count);

        CHECK_CUDA(cudaMemcpyAsync(to.data(), data, bytes(), cudaMemcpyDeviceToHost, test_stream));
        return to;
    }
};

#endif
