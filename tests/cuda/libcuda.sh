#!/bin/sh
# Makes DIRECTORY/libcuda.so.1, a stand-in for the driver, from the toolkit's own stub: every entry returns success and
# cuInit says that there is no GPU. That is all that cuDNN's run-time compiled engines want in order to generate and
# compile a kernel for a described GPU. usage: libcuda.sh DIRECTORY [STUB]
set -eu
out=$1
stub=${2:-${CUDA_HOME:-/usr/local/cuda}/lib64/stubs/libcuda.so}
mkdir -p "$out"
{
    cat <<'SOURCE'
#include <dlfcn.h>

static int handle[64];

static void *find(const char *name)
{
    static void *library;

    if (!library)
        library = dlopen("libcuda.so.1", RTLD_LAZY);
    return library ? dlsym(library, name) : 0;
}

int cuInit(void) { return 100; /* CUDA_ERROR_NO_DEVICE */ }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 0; return 0; }
int cuDeviceGet(int *device) { *device = 0; return 101; /* CUDA_ERROR_INVALID_DEVICE */ }
int cuGetErrorString(int error, const char **text) { (void)error; *text = "stand-in driver"; return 0; }
int cuGetErrorName(int error, const char **text) { (void)error; *text = "stand-in driver"; return 0; }
int cuGetProcAddress(const char *name, void **entry) { *entry = find(name); return *entry ? 0 : 500; }
int cuGetProcAddress_v2(const char *name, void **entry, int version, unsigned long long flags, int *status)
{
    (void)version;
    (void)flags;
    *entry = find(name);
    if (status)
        *status = !*entry;
    return *entry ? 0 : 500;
}
SOURCE
    for entry in cuLibraryLoadData cuLibraryGetKernel cuLibraryGetModule cuModuleLoadData cuModuleLoadDataEx \
        cuModuleGetFunction cuKernelGetFunction; do
        echo "int $entry(void **to) { *to = handle; return 0; }"
    done
    nm -D --defined-only "$stub" | awk '$2 == "T" { print $3 }' | sort -u |
        grep -v -x -E 'cuInit|cuDriverGetVersion|cuDeviceGetCount|cuDeviceGet|cuGetError(String|Name)|cuGetProcAddress(_v2)?|cuLibraryLoadData|cuLibraryGet(Kernel|Module)|cuModuleLoadData(Ex)?|cu(Module|Kernel)GetFunction' |
        sed 's/.*/int &(void) { return 0; }/'
} >"$out/libcuda.c"
gcc -w -shared -fPIC -o "$out/libcuda.so.1" "$out/libcuda.c" -ldl
