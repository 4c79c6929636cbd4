/* Execution plans: made from an engine's configuration or from a text that an earlier plan gave, and run on the stream
 * of a handle with the memory of a variant pack, which is looked up before. */
#include "cudnn_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a plan's text holds, in hexadecimal digits. */
struct written {
    uint64_t hash; /* of what follows */
    int64_t engine, setting;
    struct program program;
};

static const char text_begin[] = "{\"softgpu_plan\":\"", text_end[] = "\"}";

static uint64_t hash_of(const struct written *written)
{
    const unsigned char *bytes = (const unsigned char *)written;
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = sizeof written->hash; i < sizeof *written; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static void text_put(struct descriptor *d, struct written *written)
{
    const unsigned char *bytes = (const unsigned char *)written;
    size_t begin = strlen(text_begin), room = begin + 2 * sizeof *written + sizeof text_end;
    char *text = host_alloc(room);

    written->hash = hash_of(written);
    strcpy(text, text_begin);
    for (size_t i = 0; i < sizeof *written; i++)
        snprintf(text + begin + 2 * i, 3, "%02x", bytes[i]);
    strcat(text, text_end);
    attribute_put(d, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, (int64_t)strlen(text), text);
    free(text);
}

static bool text_read(const struct descriptor *d, struct written *written)
{
    const char *text = attribute_text(d, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
    int64_t count = attribute_count(d, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
    size_t begin = strlen(text_begin);
    unsigned char *bytes = (unsigned char *)written;

    if ((size_t)count != begin + 2 * sizeof *written + strlen(text_end) || memcmp(text, text_begin, begin) != 0)
        return false;
    for (size_t i = 0; i < 2 * sizeof *written; i++) {
        const char *digits = "0123456789abcdef", *digit = memchr(digits, text[begin + i], 16);

        if (!digit)
            return false;
        bytes[i / 2] = (unsigned char)(bytes[i / 2] << 4 | (digit - digits));
    }
    return written->hash == hash_of(written) && engine_find(written->engine);
}

static cudnnStatus_t config_read(const struct descriptor *d, struct written *written)
{
    const struct descriptor *config = attribute_descriptor(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, 0);
    const struct descriptor *engine, *graph;

    if (config->kind->type != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)
        return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a plan's configuration is a %s", config->kind->name);
    engine = attribute_descriptor(config, CUDNN_ATTR_ENGINECFG_ENGINE, 0);
    graph = attribute_descriptor(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, 0);
    written->engine = attribute_int(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 0);
    if (attribute_count(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES) > 0)
        written->setting = attribute_int(attribute_descriptor(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, 0),
                                         CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, 0);
    memcpy(&written->program, graph->program, sizeof written->program);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t plan_finalize(struct descriptor *d)
{
    cudnnHandle_t handle = attribute_pointer(d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, 0);
    bool configured = attribute_count(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG) > 0;
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
    struct written *written;
    struct plan *plan;
    int64_t bytes;

    if (!handle && attribute_count(d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP) == 0)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a plan needs a handle or a description of the GPU");
    if (configured == (attribute_count(d, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION) > 0))
        return refuse(CUDNN_STATUS_BAD_PARAM, "a plan needs either a configuration or a text");
    written = host_alloc(sizeof *written);
    if (configured)
        status = config_read(d, written);
    else if (!text_read(d, written))
        status = refuse(CUDNN_STATUS_BAD_PARAM, "the text of a plan is damaged");
    if (status == CUDNN_STATUS_SUCCESS)
        status = engine_supports(engine_find(written->engine), &written->program);
    if (status == CUDNN_STATUS_SUCCESS) {
        plan = d->plan = host_alloc(sizeof *plan);
        plan->references = 1;
        plan->device = handle ? handle->device : -1;
        plan->program = written->program;
        plan->engine = engine_find(written->engine);
        plan->parts = 1 + (int)((written->engine + written->setting) % 3);
        plan->workspace = engine_workspace(plan->engine, &plan->program);
        bytes = (int64_t)plan->workspace;
        attribute_put(d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 1, &bytes);
        text_put(d, written);
    }
    free(written);
    return status;
}

void plan_release(struct plan *plan)
{
    if (--plan->references > 0)
        return;
    convolution_free(plan->convolution);
    free(plan);
}

/* Execution ----------------------------------------------------------------------------------------------- */

cudnnStatus_t pack_finalize(struct descriptor *d)
{
    int64_t ids = attribute_count(d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    int64_t pointers = attribute_count(d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);

    if (ids != pointers)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a variant pack has %lld numbers of tensors and %lld pointers",
                      (long long)ids, (long long)pointers);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t bindings_check(const struct plan *plan, const struct bindings *bindings)
{
    const struct program *p = &plan->program;

    for (int i = 0; i < p->value_count; i++) {
        const struct value *value = &p->values[i];
        const void *data = bindings->data[i];

        if (value->is_virtual || value->by_value)
            continue;
        if (!data)
            return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "tensor %lld of a graph has no memory",
                          (long long)value->id);
        if ((uintptr_t)data % (uintptr_t)value->alignment != 0)
            return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "tensor %lld of a graph is not aligned to %lld",
                          (long long)value->id, (long long)value->alignment);
        if (!memory_is_device(data, value_bytes(value), plan->device))
            return refuse(CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND,
                          "tensor %lld of a graph takes %zu bytes that are not all in one allocation of the GPU",
                          (long long)value->id, value_bytes(value));
    }
    if (plan->workspace > 0 && !memory_is_device(bindings->workspace, plan->workspace, plan->device))
        return refuse(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "a plan's workspace has fewer than %zu bytes",
                      plan->workspace);
    if ((uintptr_t)bindings->workspace % 16 != 0)
        return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "a plan's workspace is not aligned to 16 bytes");
    return CUDNN_STATUS_SUCCESS;
}

/* Finds the memory of the program's values in a variant pack. */
static struct bindings bindings_of(const struct program *p, const struct descriptor *pack)
{
    struct bindings bindings = {.workspace = attribute_pointer(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, 0)};

    for (int i = 0; i < p->value_count; i++)
        for (int64_t k = 0; k < attribute_count(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS); k++)
            if (attribute_int(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, k) == p->values[i].id)
                bindings.data[i] = attribute_pointer(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, k);
    for (int i = 0; i < p->value_count; i++)
        if (p->values[i].by_value && bindings.data[i])
            numbers_load(&bindings.scalar[i], bindings.data[i], p->values[i].type, 1);
    return bindings;
}

struct execution {
    struct plan *plan;
    struct bindings bindings;
};

static void execution_run(void *payload)
{
    struct execution *e = payload;
    char words[256];

    launch_count();
    if (bindings_check(e->plan, &e->bindings) != CUDNN_STATUS_SUCCESS) {
        cudnnGetLastErrorString(words, sizeof words);
        failure_set(cudaErrorIllegalAddress, "cuDNN runs behind its memory's end: %s", words);
    } else if (!graph_interpret(e->plan, &e->bindings)) {
        failure_set(cudaErrorUnknown, "oneDNN has no such convolution");
    }
}

static void execution_release(void *payload)
{
    struct execution *e = payload;

    plan_release(e->plan);
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t executionPlan,
                                  cudnnBackendDescriptor_t variantPack)
{
    ONE_AT_A_TIME;
    const struct descriptor *planned = executionPlan, *pack = variantPack;
    struct execution *execution;
    struct bindings bindings;
    cudnnStatus_t status;
    struct task *task;
    cudaError_t code;

    if (call_fails())
        return refuse(CUDNN_STATUS_EXECUTION_FAILED, "told to fail");
    if (!handle || !planned || !pack)
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no handle, no plan or no variant pack");
    if (!planned->finalized || !pack->finalized)
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "the plan or the variant pack is not finalised");
    if (!planned->plan || pack->kind->type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)
        return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a %s is run with a %s", planned->kind->name,
                      pack->kind->name);
    if (planned->plan->device != handle->device)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH, "the plan was made for another GPU");
    bindings = bindings_of(&planned->plan->program, pack);
    status = bindings_check(planned->plan, &bindings);
    if (status != CUDNN_STATUS_SUCCESS)
        return status;
    task = task_new(sizeof *execution, execution_run, execution_release);
    execution = task_payload(task);
    *execution = (struct execution){planned->plan, bindings};
    planned->plan->references++;
    code = task_queue(handle->stream, task);
    if (code != cudaSuccess)
        return refuse(CUDNN_STATUS_EXECUTION_FAILED_CUDART, "%s", cudaGetErrorString(code));
    return CUDNN_STATUS_SUCCESS;
}
