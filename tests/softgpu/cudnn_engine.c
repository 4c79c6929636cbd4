/* The engines, their notes and knobs, and the heuristics that propose them. The list is modelled on what cuDNN answers
 * for an H200: among it are one engine that is not deterministic, which comes first, engines that round float to TF32,
 * and some that are compiled at run time and take packed tensors only. */
#include "cudnn_internal.h"

enum {
    MODE_A = 1 << CUDNN_HEUR_MODE_A | 1 << CUDNN_HEUR_MODE_INSTANT,
    MODE_B = 1 << CUDNN_HEUR_MODE_B,
    MODE_FALLBACK = 1 << CUDNN_HEUR_MODE_FALLBACK,
    PLAIN = PATTERN_FORWARD | PATTERN_BACK,
    ANY = PLAIN | PATTERN_RELU | PATTERN_FUSED
};

const struct engine engines[ENGINES] = {
    {.index = 3, .patterns = ANY, .modes = MODE_A | MODE_B, .tensor_core = true, .configs = 1},
    {.index = 4,
     .patterns = PLAIN | PATTERN_RELU,
     .modes = MODE_A | MODE_B,
     .tensor_core = true,
     .deterministic = true,
     .configs = 2,
     .knob = CUDNN_KNOB_TYPE_TILE_SIZE},
    {.index = 7,
     .patterns = PATTERN_RELU | PATTERN_FUSED,
     .modes = MODE_A | MODE_B,
     .tensor_core = true,
     .deterministic = true,
     .compiled = true,
     .configs = 2,
     .knob = CUDNN_KNOB_TYPE_KERNEL_CFG},
    {.index = 1,
     .patterns = PLAIN,
     .modes = MODE_B | MODE_FALLBACK,
     .tensor_core = true,
     .deterministic = true,
     .accumulator = true,
     .configs = 1},
    {.index = 0, .patterns = PLAIN, .modes = MODE_A | MODE_B | MODE_FALLBACK, .deterministic = true, .configs = 1},
    {.index = 6, .patterns = PATTERN_RELU, .modes = MODE_A | MODE_FALLBACK, .deterministic = true, .configs = 1},
    {.index = 2,
     .patterns = PATTERN_FUSED,
     .modes = MODE_FALLBACK,
     .tensor_core = true,
     .deterministic = true,
     .compiled = true,
     .configs = 1},
};

const struct engine *engine_find(int64_t index)
{
    for (int i = 0; i < ENGINES; i++)
        if (engines[i].index == index)
            return &engines[i];
    return NULL;
}

cudnnStatus_t engine_supports(const struct engine *engine, const struct program *program)
{
    unsigned patterns = program_patterns(program), shared = patterns & engine->patterns;

    if (!patterns)
        return CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN;
    /* What is compiled at run time takes packed tensors only, which the pattern of fused graphs includes. */
    if (engine->compiled)
        shared = patterns & PATTERN_FUSED;
    if (!shared)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "engine %lld does not support this operation graph",
                      (long long)engine->index);
    return CUDNN_STATUS_SUCCESS;
}

size_t packed_room(const struct value *value)
{
    const size_t line = 256;

    if (value_is_packed(value))
        return 0;
    return (number_bytes(value->type, value_numbers(value)) + line - 1) / line * line;
}

size_t engine_workspace(const struct engine *engine, const struct program *program)
{
    size_t bytes = packed_room(&program->values[program->in]);

    for (int i = 0; i < program->value_count; i++)
        if (i != program->in && !program->values[i].is_virtual)
            bytes += packed_room(&program->values[i]);
    if (engine->accumulator)
        bytes += (size_t)value_numbers(&program->values[program->out]) * sizeof(float);
    return bytes;
}

/* Engines and configurations -------------------------------------------------------------------------------- */

cudnnStatus_t engine_finalize(struct descriptor *d)
{
    const struct descriptor *graph = attribute_descriptor(d, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, 0);
    int64_t index = attribute_int(d, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 0);
    const struct engine *engine = engine_find(index);
    int numerical[3], behavior[1], count = 0;
    cudnnStatus_t status;

    if (!graph->program)
        return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "an engine's graph is a %s", graph->kind->name);
    if (!engine)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "there is no engine %lld for this graph", (long long)index);
    status = engine_supports(engine, graph->program);
    if (status != CUDNN_STATUS_SUCCESS)
        return status;
    if (engine->tensor_core)
        numerical[count++] = CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    if (engine->tensor_core && graph->program->values[graph->program->in].type == NUMBER_F32)
        numerical[count++] = CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS;
    if (!engine->deterministic)
        numerical[count++] = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    behavior[0] = CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
    attribute_put(d, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, count, numerical);
    attribute_put(d, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, engine->compiled, behavior);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t knob_finalize(struct descriptor *d)
{
    if (attribute_int(d, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, 0) >= CUDNN_KNOB_TYPE_COUNTS)
        return refuse(CUDNN_STATUS_BAD_PARAM, "there is no knob %lld",
                      (long long)attribute_int(d, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, 0));
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t config_finalize(struct descriptor *d)
{
    const struct descriptor *described = attribute_descriptor(d, CUDNN_ATTR_ENGINECFG_ENGINE, 0);
    const struct engine *engine;

    if (described->kind->type != CUDNN_BACKEND_ENGINE_DESCRIPTOR)
        return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "the engine of a configuration is a %s",
                      described->kind->name);
    engine = engine_find(attribute_int(described, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 0));
    for (int64_t i = 0; i < attribute_count(d, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES); i++) {
        const struct descriptor *choice = attribute_descriptor(d, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, i);
        int64_t type = attribute_int(choice, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, 0);
        int64_t value = attribute_int(choice, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, 0);

        if (choice->kind->type != CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR)
            return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a knob choice is a %s", choice->kind->name);
        if (engine->configs == 1 || type != (int64_t)engine->knob || value < 0 || value >= engine->configs)
            return refuse(CUDNN_STATUS_BAD_PARAM, "engine %lld has no knob %lld with the value %lld",
                          (long long)engine->index, (long long)type, (long long)value);
    }
    return CUDNN_STATUS_SUCCESS;
}

/* Heuristics ---------------------------------------------------------------------------------------------- */

static struct descriptor *engine_describe(struct descriptor *graph, int64_t index)
{
    struct descriptor *d = descriptor_new(kind_of(CUDNN_BACKEND_ENGINE_DESCRIPTOR));

    attribute_put(d, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, 1, &graph);
    attribute_put(d, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 1, &index);
    d->finalized = engine_finalize(d) == CUDNN_STATUS_SUCCESS;
    return d;
}

static struct descriptor *config_describe(struct descriptor *graph, const struct engine *engine, int64_t setting)
{
    struct descriptor *d = descriptor_new(kind_of(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    struct descriptor *engine_described = engine_describe(graph, engine->index), *choice;

    attribute_put(d, CUDNN_ATTR_ENGINECFG_ENGINE, 1, &engine_described);
    descriptor_release(engine_described);
    if (engine->configs > 1) {
        choice = descriptor_new(kind_of(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR));
        attribute_put(choice, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, 1, &engine->knob);
        attribute_put(choice, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, 1, &setting);
        choice->finalized = true;
        attribute_put(d, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, 1, &choice);
        descriptor_release(choice);
    }
    d->finalized = true;
    return d;
}

cudnnStatus_t heuristics_finalize(struct descriptor *d)
{
    struct descriptor *graph = attribute_descriptor(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, 0);
    int64_t mode = attribute_int(d, CUDNN_ATTR_ENGINEHEUR_MODE, 0);
    struct descriptor *configs[2 * ENGINES];
    int count = 0;

    if (!graph->program)
        return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "the graph of heuristics is a %s", graph->kind->name);
    if (mode < 0 || mode >= CUDNN_HEUR_MODES_COUNT)
        return refuse(CUDNN_STATUS_BAD_PARAM, "there is no heuristic %lld", (long long)mode);
    if (attribute_count(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE) == 0 &&
        attribute_count(d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP) == 0)
        return refuse(CUDNN_STATUS_BAD_PARAM, "heuristics need a handle in the graph or a description of the GPU");
    if (!program_patterns(graph->program))
        return CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN;
    for (int i = 0; i < ENGINES; i++)
        for (int64_t setting = 0; engines[i].modes >> mode & 1 && setting < engines[i].configs; setting++)
            if (engine_supports(&engines[i], graph->program) == CUDNN_STATUS_SUCCESS)
                configs[count++] = config_describe(graph, &engines[i], setting);
    attribute_put(d, CUDNN_ATTR_ENGINEHEUR_RESULTS, count, configs);
    while (count > 0)
        descriptor_release(configs[--count]);
    return CUDNN_STATUS_SUCCESS;
}
