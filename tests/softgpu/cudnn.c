/* cuDNN's handles and descriptors: every type is a table of attributes that are set, checked, finalised and read by the
 * same code. A descriptor that another one refers to lives on when it is destroyed. */
#include "cudnn_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char last_error[512];

cudnnStatus_t refuse(cudnnStatus_t status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    return status;
}

/* Errors and handles -------------------------------------------------------------------------------------- */

size_t cudnnGetVersion(void)
{
    return CUDNN_VERSION;
}

#define NAMED(status)                                                                                                \
    case status:                                                                                                     \
        return #status
const char *cudnnGetErrorString(cudnnStatus_t status)
{
    switch (status) {
        NAMED(CUDNN_STATUS_SUCCESS);
        NAMED(CUDNN_STATUS_NOT_INITIALIZED);
        NAMED(CUDNN_STATUS_BAD_PARAM);
        NAMED(CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
        NAMED(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
        NAMED(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
        NAMED(CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND);
        NAMED(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT);
        NAMED(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
        NAMED(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES);
        NAMED(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE);
        NAMED(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE);
        NAMED(CUDNN_STATUS_NOT_SUPPORTED);
        NAMED(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN);
        NAMED(CUDNN_STATUS_NOT_SUPPORTED_SHAPE);
        NAMED(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE);
        NAMED(CUDNN_STATUS_NOT_SUPPORTED_LAYOUT);
        NAMED(CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH);
        NAMED(CUDNN_STATUS_INTERNAL_ERROR);
        NAMED(CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED);
        NAMED(CUDNN_STATUS_EXECUTION_FAILED);
        NAMED(CUDNN_STATUS_EXECUTION_FAILED_CUDART);
    default:
        return "CUDNN_STATUS_UNKNOWN";
    }
}

void cudnnGetLastErrorString(char *message, size_t max_size)
{
    if (max_size > 0)
        snprintf(message, max_size, "%s", last_error);
    last_error[0] = '\0';
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    ONE_AT_A_TIME;

    if (call_fails())
        return refuse(CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED, "told to fail");
    if (!handle)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no place for the handle");
    if (control()->devices == 0 || failure_code() != cudaSuccess)
        return refuse(CUDNN_STATUS_NOT_INITIALIZED, "there is no working GPU");
    *handle = host_alloc(sizeof **handle);
    (*handle)->device = device_current();
    object_count(OBJECT_CUDNN_HANDLE, 1);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    ONE_AT_A_TIME;

    if (!handle)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no handle");
    free(handle);
    object_count(OBJECT_CUDNN_HANDLE, -1);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t streamId)
{
    ONE_AT_A_TIME;

    if (call_fails())
        return refuse(CUDNN_STATUS_INTERNAL_ERROR, "told to fail");
    if (!handle)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no handle");
    if (stream_check(streamId) != cudaSuccess || streamId->device != handle->device)
        return refuse(CUDNN_STATUS_BAD_PARAM, "not a stream of the handle's GPU");
    handle->stream = streamId;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *streamId)
{
    *streamId = handle->stream;
    return CUDNN_STATUS_SUCCESS;
}

/* Attributes ---------------------------------------------------------------------------------------------- */

/* The attribute's place in its kind's table, or -1. */
static int attribute_place(const struct kind *kind, cudnnBackendAttributeName_t name)
{
    for (int i = 0; i < ATTRIBUTES_MOST && kind->attributes[i].most > 0; i++)
        if (kind->attributes[i].name == name)
            return i;
    return -1;
}

static const struct slot *slot_of(const struct descriptor *d, cudnnBackendAttributeName_t name)
{
    static const struct slot empty;
    int place = attribute_place(d->kind, name);

    return place < 0 ? &empty : &d->slots[place];
}

int64_t attribute_count(const struct descriptor *d, cudnnBackendAttributeName_t name)
{
    return slot_of(d, name)->count;
}

int64_t attribute_int(const struct descriptor *d, cudnnBackendAttributeName_t name, int64_t index)
{
    const struct slot *slot = slot_of(d, name);

    if (index >= slot->count)
        return 0;
    switch (element_bytes(d->kind->attributes[slot - d->slots].type)) {
    case sizeof(int64_t):
        return ((int64_t *)slot->elements)[index];
    case sizeof(int):
        return ((int *)slot->elements)[index];
    default:
        return ((bool *)slot->elements)[index];
    }
}

float attribute_float(const struct descriptor *d, cudnnBackendAttributeName_t name, float fallback)
{
    const struct slot *slot = slot_of(d, name);

    return slot->count > 0 ? *(float *)slot->elements : fallback;
}

const char *attribute_text(const struct descriptor *d, cudnnBackendAttributeName_t name)
{
    return slot_of(d, name)->elements;
}

void *attribute_pointer(const struct descriptor *d, cudnnBackendAttributeName_t name, int64_t index)
{
    const struct slot *slot = slot_of(d, name);

    return index < slot->count ? ((void **)slot->elements)[index] : NULL;
}

struct descriptor *attribute_descriptor(const struct descriptor *d, cudnnBackendAttributeName_t name, int64_t index)
{
    return attribute_pointer(d, name, index);
}

static void slot_clear(const struct attribute *attribute, struct slot *slot)
{
    for (int64_t i = 0; attribute->type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < slot->count; i++)
        descriptor_release(((struct descriptor **)slot->elements)[i]);
    free(slot->elements);
    *slot = (struct slot){0};
}

void attribute_put(struct descriptor *d, cudnnBackendAttributeName_t name, int64_t count, const void *elements)
{
    int place = attribute_place(d->kind, name);
    const struct attribute *attribute = &d->kind->attributes[place];
    struct slot *slot = &d->slots[place];
    size_t bytes = (size_t)count * element_bytes(attribute->type);
    void *copy = host_alloc(bytes);

    if (count > 0)
        memcpy(copy, elements, bytes);
    for (int64_t i = 0; attribute->type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < count; i++)
        ((struct descriptor **)copy)[i]->references++;
    slot_clear(attribute, slot);
    slot->count = count;
    slot->elements = copy;
}

/* Descriptors --------------------------------------------------------------------------------------------- */

struct descriptor *descriptor_new(const struct kind *kind)
{
    struct descriptor *d = host_alloc(sizeof *d);

    d->kind = kind;
    d->references = 1;
    return d;
}

void descriptor_release(struct descriptor *d)
{
    if (--d->references > 0)
        return;
    for (int i = 0; i < ATTRIBUTES_MOST; i++)
        slot_clear(&d->kind->attributes[i], &d->slots[i]);
    if (d->plan)
        plan_release(d->plan);
    free(d->program);
    free(d);
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t descriptorType,
                                           cudnnBackendDescriptor_t *descriptor)
{
    ONE_AT_A_TIME;
    const struct kind *kind = kind_of(descriptorType);

    if (call_fails())
        return refuse(CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED, "told to fail");
    if (!descriptor)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no place for the descriptor");
    if (!kind)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "descriptors of type %d are not emulated", descriptorType);
    *descriptor = descriptor_new(kind);
    object_count(OBJECT_CUDNN_DESCRIPTOR, 1);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor)
{
    ONE_AT_A_TIME;

    if (!descriptor)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
    descriptor_release(descriptor);
    object_count(OBJECT_CUDNN_DESCRIPTOR, -1);
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t references_check(const struct kind *kind, int64_t count, struct descriptor *const *elements)
{
    for (int64_t i = 0; i < count; i++) {
        if (!elements[i])
            return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "an attribute of a %s is a NULL descriptor", kind->name);
        if (!elements[i]->finalized)
            return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "an attribute of a %s is a %s that is not finalised",
                          kind->name, elements[i]->kind->name);
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t attributeName,
                                       cudnnBackendAttributeType_t attributeType, int64_t elementCount,
                                       const void *arrayOfElements)
{
    ONE_AT_A_TIME;
    struct descriptor *d = descriptor;
    const struct attribute *attribute;
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    int place;

    if (call_fails())
        return refuse(CUDNN_STATUS_INTERNAL_ERROR, "told to fail");
    if (!d || !arrayOfElements)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor, or no elements");
    if (d->finalized)
        return refuse(CUDNN_STATUS_BAD_PARAM, "attribute %d is set of a %s that is finalised", attributeName,
                      d->kind->name);
    place = attribute_place(d->kind, attributeName);
    if (place < 0 || d->kind->attributes[place].found_out)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a %s has no attribute %d that can be set", d->kind->name,
                      attributeName);
    attribute = &d->kind->attributes[place];
    if (attribute->type != attributeType)
        return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "attribute %d of a %s is of type %d, not %d",
                      attributeName, d->kind->name, attribute->type, attributeType);
    if (elementCount < 1 || elementCount > attribute->most)
        return refuse(CUDNN_STATUS_BAD_PARAM, "attribute %d of a %s has 1 to %d elements, not %lld", attributeName,
                      d->kind->name, attribute->most, (long long)elementCount);
    if (attributeType == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        status = references_check(d->kind, elementCount, arrayOfElements);
    if (status == CUDNN_STATUS_SUCCESS)
        attribute_put(d, attributeName, elementCount, arrayOfElements);
    return status;
}

/* Makes `to`, which the caller created, what `from` is. */
static cudnnStatus_t descriptor_fill(struct descriptor *to, const struct descriptor *from)
{
    if (!to || to->kind != from->kind || to->finalized)
        return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a %s goes into a fresh descriptor of its type",
                      from->kind->name);
    for (int i = 0; i < ATTRIBUTES_MOST; i++)
        if (from->slots[i].elements)
            attribute_put(to, from->kind->attributes[i].name, from->slots[i].count, from->slots[i].elements);
    to->finalized = true;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                       cudnnBackendAttributeName_t attributeName,
                                       cudnnBackendAttributeType_t attributeType, int64_t requestedElementCount,
                                       int64_t *elementCount, void *arrayOfElements)
{
    ONE_AT_A_TIME;
    const struct descriptor *d = descriptor;
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    int64_t count;
    int place;

    if (call_fails())
        return refuse(CUDNN_STATUS_INTERNAL_ERROR, "told to fail");
    if (!d || (requestedElementCount > 0 && !arrayOfElements))
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor, or no place for the elements");
    if (!d->finalized)
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "attribute %d is read of a %s that is not finalised",
                      attributeName, d->kind->name);
    place = attribute_place(d->kind, attributeName);
    if (place < 0)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a %s has no attribute %d", d->kind->name, attributeName);
    if (d->kind->attributes[place].type != attributeType)
        return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "attribute %d of a %s is of type %d, not %d",
                      attributeName, d->kind->name, d->kind->attributes[place].type, attributeType);
    count = d->slots[place].count;
    if (requestedElementCount > 0 && count > requestedElementCount)
        count = requestedElementCount;
    for (int64_t i = 0; attributeType == CUDNN_TYPE_BACKEND_DESCRIPTOR && requestedElementCount > 0 && i < count &&
                        status == CUDNN_STATUS_SUCCESS;
         i++)
        status = descriptor_fill(((struct descriptor **)arrayOfElements)[i],
                                 attribute_descriptor(d, attributeName, i));
    if (attributeType != CUDNN_TYPE_BACKEND_DESCRIPTOR && requestedElementCount > 0 && count > 0)
        memcpy(arrayOfElements, d->slots[place].elements, (size_t)count * element_bytes(attributeType));
    if (elementCount)
        *elementCount = count;
    return status;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor)
{
    ONE_AT_A_TIME;
    struct descriptor *d = descriptor;
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;

    if (call_fails())
        return refuse(CUDNN_STATUS_INTERNAL_ERROR, "told to fail");
    if (!d)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
    if (d->finalized)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a %s is finalised twice", d->kind->name);
    for (int i = 0; i < ATTRIBUTES_MOST && d->kind->attributes[i].most > 0; i++)
        if (d->slots[i].count < d->kind->attributes[i].least)
            return refuse(CUDNN_STATUS_BAD_PARAM, "attribute %d of a %s is not set", d->kind->attributes[i].name,
                          d->kind->name);
    if (d->kind->finalize)
        status = d->kind->finalize(d);
    d->finalized = status == CUDNN_STATUS_SUCCESS;
    return status;
}
