/* Device memory: the host's own, filled with NaNs when fresh, and kept in a list so that every range that is copied or
 * given to a library can be looked up. AddressSanitizer sees each allocation's ends. Pinned host memory likewise. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 256 };

struct allocation {
    struct allocation *next;
    char *memory;
    size_t bytes;
    int device; /* PINNED: the host's */
};

enum { PINNED = -1 };

static struct allocation *allocations;
static size_t used[DEVICES_MOST];

static struct allocation *allocation_at(const void *address)
{
    uintptr_t wanted = (uintptr_t)address;

    for (struct allocation *a = allocations; a; a = a->next)
        if (wanted >= (uintptr_t)a->memory && wanted - (uintptr_t)a->memory < a->bytes)
            return a;
    return NULL;
}

static bool allocation_holds(const struct allocation *a, const void *address, size_t bytes)
{
    return a && bytes <= a->bytes - ((uintptr_t)address - (uintptr_t)a->memory);
}

bool memory_is_device(const void *address, size_t bytes, int device)
{
    const struct allocation *a = allocation_at(address);

    return allocation_holds(a, address, bytes) && a->device != PINNED && (device < 0 || a->device == device);
}

bool memory_starts_in_device(const void *address)
{
    const struct allocation *a = allocation_at(address);

    return a && a->device != PINNED;
}

bool memory_is_pinned(const void *address, size_t bytes)
{
    const struct allocation *a = allocation_at(address);

    return allocation_holds(a, address, bytes) && a->device == PINNED;
}

/* NULL where the host has no memory left. */
static void *allocation_new(size_t bytes, int device)
{
    struct allocation *a = host_alloc(sizeof *a);
    void *memory;

    if (posix_memalign(&memory, ALIGNMENT, bytes)) {
        free(a);
        return NULL;
    }
    memset(memory, 0xff, bytes);
    *a = (struct allocation){.next = allocations, .memory = memory, .bytes = bytes, .device = device};
    allocations = a;
    return memory;
}

static void allocation_free(struct allocation *a)
{
    struct allocation **link = &allocations;

    while (*link != a)
        link = &(*link)->next;
    *link = a->next;
    free(a->memory);
    free(a);
}

/* What every call that allocates or frees checks first. */
static cudaError_t check(void)
{
    cudaError_t code = failure_code();

    if (code == cudaSuccess && control()->devices == 0)
        code = cudaErrorNoDevice;
    return code == cudaSuccess ? capture_forbids() : code;
}

cudaError_t cudaMalloc(void **devPtr, size_t size)
{
    ONE_AT_A_TIME;
    int device = device_current();
    bool fails = call_fails();
    cudaError_t code = check();

    if (code != cudaSuccess)
        return returned(code);
    if (!devPtr)
        return returned(cudaErrorInvalidValue);
    *devPtr = NULL;
    if (size == 0)
        return cudaSuccess;
    if (fails || size > control()->memory - used[device] || !(*devPtr = allocation_new(size, device)))
        return returned(cudaErrorMemoryAllocation);
    used[device] += size;
    object_count(OBJECT_ALLOCATION, 1);
    allocation_count();
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **ptr, size_t size)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();
    cudaError_t code = check();

    if (code != cudaSuccess)
        return returned(code);
    if (!ptr || size == 0)
        return returned(cudaErrorInvalidValue);
    *ptr = NULL;
    if (fails || !(*ptr = allocation_new(size, PINNED)))
        return returned(cudaErrorMemoryAllocation);
    object_count(OBJECT_PINNED, 1);
    return cudaSuccess;
}

/* Waits for all work, as the real ones do, and frees what begins at memory. */
static cudaError_t release(void *memory, bool pinned)
{
    struct allocation *a = allocation_at(memory);
    cudaError_t code = check();

    if (!memory)
        return returned(code);
    /* After a sticky error memory is given back nevertheless, so that a test can go on behind softgpu_reset. */
    if (code != cudaSuccess && code != failure_code())
        return returned(code);
    if (!a || a->memory != memory || (a->device == PINNED) != pinned)
        return returned(cudaErrorInvalidValue);
    streams_run(NULL);
    if (!pinned)
        used[a->device] -= a->bytes;
    object_count(pinned ? OBJECT_PINNED : OBJECT_ALLOCATION, -1);
    allocation_free(a);
    return returned(failure_code());
}

cudaError_t cudaFree(void *devPtr)
{
    ONE_AT_A_TIME;
    return release(devPtr, false);
}

cudaError_t cudaFreeHost(void *ptr)
{
    ONE_AT_A_TIME;
    return release(ptr, true);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    ONE_AT_A_TIME;
    cudaError_t code = failure_code();

    if (call_fails())
        return returned(cudaErrorUnknown);
    if (code == cudaSuccess && control()->devices == 0)
        code = cudaErrorNoDevice;
    *total = control()->memory;
    *free_bytes = *total - used[device_current()];
    return returned(code);
}
