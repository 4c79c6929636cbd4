/* The one way in which kernels are launched: typed arguments, and a failed launch that names kernel, file and line.
 * cudaLaunchKernelEx rather than <<<>>>, so that any C++ compiler can read it. */
#ifndef PAREIDOLIA_CUDA_LAUNCH_H
#define PAREIDOLIA_CUDA_LAUNCH_H

#include "cuda.h"

template <typename... Parameters, typename... Arguments>
static void cuda_launch_at(struct cuda *cuda, const char *expression, const char *file, int line,
                           void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                           Arguments... arguments)
{
    cudaLaunchConfig_t config = {};

    if (cuda->failed) /* what the kernel would read may never have been written */
        return;
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = cuda->stream;
    cuda_check(cuda, cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), expression, file, line);
}

/* Queues kernel(arguments...) on the device's stream. A template's name with commas goes in parentheses. */
#define CUDA_LAUNCH(cuda, kernel, grid, block, shared_bytes, ...)                                                  \
    cuda_launch_at(cuda, "launch of " #kernel, __FILE__, __LINE__, kernel, grid, block, shared_bytes, __VA_ARGS__)

#endif
