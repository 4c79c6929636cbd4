/* The emulated GPUs themselves: how many, what they are like, which is current, and the errors of the runtime. */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MULTIPROCESSORS = 16, SHARED_BYTES = 48 << 10, SHARED_BYTES_OPTIN = 227 << 10 };

static _Thread_local int current;
static _Thread_local cudaError_t last_error;

static struct {
    cudaError_t code;
    char sentence[512];
} failure;

int device_current(void)
{
    return current;
}

cudaError_t returned(cudaError_t code)
{
    if (code != cudaSuccess)
        last_error = code;
    return code;
}

/* Errors -------------------------------------------------------------------------------------------------- */

void failure_set(cudaError_t code, const char *format, ...)
{
    va_list arguments;

    if (failure.code != cudaSuccess)
        return;
    failure.code = code;
    va_start(arguments, format);
    vsnprintf(failure.sentence, sizeof failure.sentence, format, arguments);
    va_end(arguments);
    fprintf(stderr, "softgpu: %s\n", failure.sentence);
}

cudaError_t failure_code(void)
{
    return failure.code;
}

void failure_clear(void)
{
    failure.code = cudaSuccess;
    failure.sentence[0] = '\0';
    last_error = cudaSuccess;
}

const char *softgpu_failure(void)
{
    return failure.sentence;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t code = cudaPeekAtLastError();

    last_error = cudaSuccess;
    return code;
}

cudaError_t cudaPeekAtLastError(void)
{
    return failure.code != cudaSuccess ? failure.code : last_error;
}

struct error_text {
    cudaError_t code;
    const char *name, *words;
};
#define ERROR(code, words) {code, #code, words}
static const struct error_text errors[] = {
    ERROR(cudaSuccess, "no error"),
    ERROR(cudaErrorInvalidValue, "invalid argument"),
    ERROR(cudaErrorMemoryAllocation, "out of memory"),
    ERROR(cudaErrorInitializationError, "initialization error"),
    ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    ERROR(cudaErrorInvalidDevicePointer, "invalid device pointer"),
    ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    ERROR(cudaErrorInvalidKernelImage, "device kernel image is invalid"),
    ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    ERROR(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    ERROR(cudaErrorNotReady, "device not ready"),
    ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    ERROR(cudaErrorMisalignedAddress, "misaligned address"),
    ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    ERROR(cudaErrorNotSupported, "operation not supported"),
    ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    ERROR(cudaErrorStreamCaptureUnmatched, "capture was not initiated in this stream"),
    ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    ERROR(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    ERROR(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    ERROR(cudaErrorUnknown, "unknown error")};

static const struct error_text *error_text(cudaError_t code)
{
    static const struct error_text unrecognized = {cudaErrorUnknown, "unrecognized error code",
                                                   "unrecognized error code"};

    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code)
            return &errors[i];
    return &unrecognized;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error_text(error)->words;
}

const char *cudaGetErrorName(cudaError_t error)
{
    return error_text(error)->name;
}

/* Devices ------------------------------------------------------------------------------------------------- */

cudaError_t cudaGetDeviceCount(int *count)
{
    ONE_AT_A_TIME;
    *count = control()->devices;
    return returned(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

static cudaError_t device_check(int device)
{
    if (control()->devices == 0)
        return cudaErrorNoDevice;
    return device >= 0 && device < control()->devices ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaSetDevice(int device)
{
    ONE_AT_A_TIME;
    cudaError_t code = device_check(device);

    if (code == cudaSuccess)
        current = device;
    return returned(code);
}

cudaError_t cudaGetDevice(int *device)
{
    ONE_AT_A_TIME;
    *device = current;
    return returned(device_check(current));
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device)
{
    ONE_AT_A_TIME;
    cudaError_t code = device_check(device);

    if (code != cudaSuccess)
        return returned(code);
    *prop = (struct cudaDeviceProp){.name = "emulated GPU",
                                    .totalGlobalMem = control()->memory,
                                    .sharedMemPerBlock = SHARED_BYTES,
                                    .regsPerBlock = 65536,
                                    .warpSize = WARP,
                                    .maxThreadsPerBlock = BLOCK_MOST,
                                    .maxThreadsDim = {1024, 1024, 64},
                                    .maxGridSize = {INT32_MAX, 65535, 65535},
                                    .major = 9,
                                    .minor = 0,
                                    .multiProcessorCount = MULTIPROCESSORS,
                                    .pciBusID = device + 1,
                                    .l2CacheSize = 50 << 20,
                                    .maxThreadsPerMultiProcessor = 2048,
                                    .sharedMemPerMultiprocessor = 228 << 10,
                                    .sharedMemPerBlockOptin = SHARED_BYTES_OPTIN};
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *driverVersion)
{
    *driverVersion = control()->devices ? CUDART_VERSION : 0;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *runtimeVersion)
{
    *runtimeVersion = CUDART_VERSION;
    return cudaSuccess;
}
