/* Prints what cuDNN knows of the first GPU, as the JSON by which its plans can be asked for where that GPU is not
 * (tests/cuda/gpus/). bench/gpu_session.sh compiles and runs it. */
#include <cudnn.h>

#include <stdio.h>
#include <stdlib.h>

static void must(cudnnStatus_t status, const char *what)
{
    if (status == CUDNN_STATUS_SUCCESS)
        return;
    fprintf(stderr, "gpu_properties: %s: %s\n", what, cudnnGetErrorString(status));
    exit(EXIT_FAILURE);
}

int main(void)
{
    static char json[1 << 16];
    cudnnHandle_t handle;
    cudnnBackendDescriptor_t properties;
    int64_t length = 0;

    must(cudnnCreate(&handle), "cudnnCreate");
    must(cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &properties), "no descriptor");
    must(cudnnBackendSetAttribute(properties, CUDNN_ATTR_DEVICEPROP_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle),
         "the handle is not taken");
    must(cudnnBackendFinalize(properties), "not finalised");
    must(cudnnBackendGetAttribute(properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                  sizeof json - 1, &length, json),
         "no JSON");
    puts(json);
    cudnnBackendDestroyDescriptor(properties);
    cudnnDestroy(handle);
    return 0;
}
