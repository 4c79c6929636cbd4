/* Builds operation graphs through cuDNN's backend API. Every descriptor of a graph lives as long as the plan made
 * from it: the documentation does not say that a plan may outlive them. */
#include "graph.h"

#include "host/error.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIGS = 96, DESCRIPTORS = CONFIGS + 8 };

/* Names of the tensors within a graph. */
enum uid { IN = 1, FILTER, OUT, BIAS, MASK, ADDEND, ZERO, VIRTUAL };

/* Slices begin at a multiple of eight channels: 16 bytes of the smallest type, one byte of a mask. */
enum { ALIGNMENT = 16, MASK_ALIGNMENT = 1 };

struct descriptors {
    cudnnBackendDescriptor_t item[DESCRIPTORS];
    int count;
    int64_t next_virtual;
    bool failed; /* something went wrong that is no refusal */
};

struct graph_plan {
    struct descriptors descriptors;
    cudnnBackendDescriptor_t plan;
    size_t scratch;
    bool bias, addend, mask, zero;
};

/* Whether cuDNN says that this graph is not for this engine, GPU or settings, and another way may be tried.
 * Everything else (no memory, say) ends the attempt: taking another way for such a reason would give another
 * picture. */
static bool is_refusal(cudnnStatus_t status)
{
    int category = CUDNN_STATUS_CATEGORY((int)status);

    switch (status) {
    case CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDA_DRIVER: /* these are about the machine, not the graph */
    case CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDART:
    case CUDNN_STATUS_NOT_SUPPORTED_RUNTIME_PREREQUISITE_MISSING:
    case CUDNN_STATUS_NOT_SUPPORTED_SUBLIBRARY_UNAVAILABLE:
        return false;
    default:
        break;
    }
    return category == CUDNN_STATUS_NOT_SUPPORTED || category == CUDNN_STATUS_BAD_PARAM ||
           status == CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED;
}

/* Keeps cuDNN's words. Returns whether status is success. */
static bool succeeded(struct descriptors *all, cudnnStatus_t status, const char *what)
{
    char detail[1024] = "";

    if (status == CUDNN_STATUS_SUCCESS)
        return true;
    all->failed = all->failed || !is_refusal(status);
    cudnnGetLastErrorString(detail, sizeof detail);
    error_set("cuDNN %s %s: %s%s%s", is_refusal(status) ? "refuses" : "fails at", what, cudnnGetErrorString(status),
              *detail ? ": " : "", detail);
    return false;
}

/* Descriptors --------------------------------------------------------------------------------------------- */

static cudnnBackendDescriptor_t descriptor_new(struct descriptors *all, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t descriptor = NULL;

    assert(all->count < DESCRIPTORS);
    if (!succeeded(all, cudnnBackendCreateDescriptor(type, &descriptor), "a descriptor"))
        return NULL;
    return all->item[all->count++] = descriptor;
}

static void descriptors_free(struct descriptors *all)
{
    while (all->count > 0)
        cudnnBackendDestroyDescriptor(all->item[--all->count]);
}

/* An attribute to be set. */
struct attribute {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t count;
    const void *values;
};

/* A finalised descriptor with these attributes (a count of 0 leaves one out), or NULL with an error. */
static cudnnBackendDescriptor_t described(struct descriptors *all, cudnnBackendDescriptorType_t type,
                                          const char *what, const struct attribute *attributes, int count)
{
    cudnnBackendDescriptor_t descriptor = descriptor_new(all, type);

    for (int i = 0; descriptor && i < count; i++) {
        const struct attribute *a = &attributes[i];

        if (a->type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
            for (int64_t k = 0; k < a->count; k++)
                if (!((const cudnnBackendDescriptor_t *)a->values)[k])
                    return NULL; /* could not be made, and the error says why */
        if (a->count > 0 &&
            !succeeded(all, cudnnBackendSetAttribute(descriptor, a->name, a->type, a->count, a->values), what))
            return NULL;
    }
    return descriptor && succeeded(all, cudnnBackendFinalize(descriptor), what) ? descriptor : NULL;
}

#define DESCRIBED(all, type, what, attributes)                                                                     \
    described(all, type, what, attributes, (int)(sizeof(attributes) / sizeof *(attributes)))

static cudnnDataType_t data_type(enum dtype type)
{
    switch (type) {
    case DTYPE_F16:
        return CUDNN_DATA_HALF;
    case DTYPE_BF16:
        return CUDNN_DATA_BFLOAT16;
    case DTYPE_BITS:
        return CUDNN_DATA_BOOLEAN;
    default:
        return CUDNN_DATA_FLOAT;
    }
}

/* Dimensions in the order n, c, h, w, strides that say NHWC with this pitch. uid VIRTUAL: an intermediate. */
static cudnnBackendDescriptor_t tensor_new(struct descriptors *all, enum uid uid, cudnnDataType_t type, int64_t n,
                                           int64_t c, int64_t h, int64_t w, int64_t pitch)
{
    int64_t dimensions[4] = {n, c, h, w}, strides[4] = {h * w * pitch, 1, w * pitch, pitch};
    int64_t alignment = type == CUDNN_DATA_BOOLEAN ? MASK_ALIGNMENT : ALIGNMENT, id = uid;
    bool is_virtual = uid == VIRTUAL;

    if (is_virtual)
        id += all->next_virtual++;
    const struct attribute attributes[] = {
        {CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type},
        {CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dimensions},
        {CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides},
        {CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id},
        {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment},
        {CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual},
    };

    return DESCRIBED(all, CUDNN_BACKEND_TENSOR_DESCRIPTOR, "a tensor", attributes);
}

static cudnnBackendDescriptor_t shaped(struct descriptors *all, enum uid uid, cudnnDataType_t type,
                                       const struct tensor *t)
{
    return tensor_new(all, uid, type, 1, t->c, t->h, t->w, uid == VIRTUAL ? t->c : t->pitch);
}

static cudnnBackendDescriptor_t convolution_new(struct descriptors *all, const struct graph *g)
{
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t axes = 2, pads[2] = {g->pad_h, g->pad_w}, strides[2] = {g->stride, g->stride}, dilations[2] = {1, 1};
    const struct attribute attributes[] = {
        {CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute},
        {CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode},
        {CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &axes},
        {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pads},
        {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pads},
        {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides},
        {CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilations},
    };

    return DESCRIBED(all, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, "a convolution", attributes);
}

/* out = beta * out + conv(in), or its transpose. */
static cudnnBackendDescriptor_t convolve(struct descriptors *all, const struct graph *g,
                                         cudnnBackendDescriptor_t in, cudnnBackendDescriptor_t filter,
                                         cudnnBackendDescriptor_t out)
{
    cudnnBackendDescriptor_t convolution = convolution_new(all, g);
    float alpha = 1, beta = g->accumulate;
    const struct attribute forward[] = {
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &convolution},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &in},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &filter},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &out},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &alpha},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &beta},
    };
    const struct attribute back[] = {
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &convolution},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &in},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &filter},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &out},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1, &alpha},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 1, &beta},
    };

    if (g->back)
        return DESCRIBED(all, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                         "a transposed convolution", back);
    return DESCRIBED(all, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, "a convolution", forward);
}

/* y = mode(x, b); b may be NULL. */
static cudnnBackendDescriptor_t pointwise(struct descriptors *all, cudnnPointwiseMode_t mode,
                                          cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b,
                                          cudnnBackendDescriptor_t y)
{
    cudnnDataType_t math = CUDNN_DATA_FLOAT;
    const struct attribute kind[] = {
        {CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode},
        {CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &math},
    };
    cudnnBackendDescriptor_t what =
        DESCRIBED(all, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, "a pointwise operation", kind);
    const struct attribute operation[] = {
        {CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &what},
        {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x},
        {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, b ? 1 : 0, &b},
        {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y},
    };

    return DESCRIBED(all, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, "a pointwise operation", operation);
}

/* The graph ----------------------------------------------------------------------------------------------- */

enum { OPERATIONS = 4 };

/* Operations in order, each reading what the one before wrote. A missing one is NULL. */
struct operations {
    cudnnBackendDescriptor_t item[OPERATIONS];
    int count;
};

static cudnnBackendDescriptor_t filter_tensor(struct descriptors *all, const struct graph *g)
{
    /* K, C, R, S with C innermost. The transposed convolution is that of a filter from its output to its input. */
    int64_t outputs = g->back ? g->in.c : g->out.c, inputs = g->back ? g->out.c : g->in.c;

    return tensor_new(all, FILTER, data_type(g->type), outputs, inputs, g->kh, g->kw, inputs);
}

/* The next operation's output: the graph's own if it is the last one that computes, else an intermediate. */
static cudnnBackendDescriptor_t output_of(struct descriptors *all, const struct graph *g, bool last)
{
    return last ? shaped(all, OUT, data_type(g->type), &g->out) : shaped(all, VIRTUAL, CUDNN_DATA_FLOAT, &g->out);
}

static struct operations operations_new(struct descriptors *all, const struct graph *g)
{
    cudnnDataType_t type = data_type(g->type);
    cudnnBackendDescriptor_t in = shaped(all, IN, type, &g->in), filter = filter_tensor(all, g);
    cudnnBackendDescriptor_t value = output_of(all, g, !g->add && !g->bias_relu && !g->apply_mask), next;
    struct operations ops = {.count = 1, .item = {convolve(all, g, in, filter, value)}};

    if (g->add) {
        next = output_of(all, g, !g->apply_mask);
        ops.item[ops.count++] =
            pointwise(all, CUDNN_POINTWISE_ADD, value, shaped(all, ADDEND, type, &g->out), next);
        value = next;
    }
    if (g->bias_relu) {
        next = output_of(all, g, false);
        ops.item[ops.count++] = pointwise(all, CUDNN_POINTWISE_ADD, value,
                                          tensor_new(all, BIAS, type, 1, g->out.c, 1, 1, g->out.c), next);
        value = next;
        next = output_of(all, g, true);
        ops.item[ops.count++] = pointwise(all, CUDNN_POINTWISE_RELU_FWD, value, NULL, next);
    }
    if (g->write_mask)
        ops.item[ops.count++] =
            pointwise(all, CUDNN_POINTWISE_CMP_GT, value, tensor_new(all, ZERO, CUDNN_DATA_FLOAT, 1, 1, 1, 1, 1),
                      shaped(all, MASK, CUDNN_DATA_BOOLEAN, &g->mask));
    if (g->apply_mask)
        ops.item[ops.count++] = pointwise(all, CUDNN_POINTWISE_MUL, value,
                                          shaped(all, MASK, CUDNN_DATA_BOOLEAN, &g->mask), output_of(all, g, true));
    return ops;
}

/* The finalised operation graph, or NULL with an error. */
static cudnnBackendDescriptor_t graph_new(struct descriptors *all, const struct graph_planner *planner,
                                          const struct graph *g)
{
    struct operations ops = operations_new(all, g);
    const struct attribute attributes[] = {
        {CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, planner->handle ? 1 : 0, &planner->handle},
        {CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, ops.count, ops.item},
    };

    return DESCRIBED(all, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "the graph of a convolution", attributes);
}

/* Choices ------------------------------------------------------------------------------------------------- */

/* Up to room values of one attribute, and how many there are. */
static bool attribute_get(struct descriptors *all, cudnnBackendDescriptor_t from, cudnnBackendAttributeName_t name,
                          cudnnBackendAttributeType_t type, int64_t room, int64_t *count, void *values)
{
    return succeeded(all, cudnnBackendGetAttribute(from, name, type, room, count, values), "to answer a question");
}

/* What an engine says of itself. Every enumeration of cuDNN's is an int. */
struct notes {
    int64_t numerical_count, behaviour_count;
    int numerical[CUDNN_NUMERICAL_NOTE_TYPE_COUNT], behaviour[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
};

static bool notes_read(struct descriptors *all, cudnnBackendDescriptor_t engine, struct notes *notes)
{
    return attribute_get(all, engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                         CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &notes->numerical_count, notes->numerical) &&
           attribute_get(all, engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
                         CUDNN_BEHAVIOR_NOTE_TYPE_COUNT, &notes->behaviour_count, notes->behaviour);
}

static bool numerical(const struct notes *notes, cudnnBackendNumericalNote_t note)
{
    for (int64_t i = 0; i < notes->numerical_count; i++)
        if (notes->numerical[i] == (int)note)
            return true;
    return false;
}

static bool compiled(const struct notes *notes)
{
    for (int64_t i = 0; i < notes->behaviour_count; i++)
        if (notes->behaviour[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)
            return true;
    return false;
}

/* Whether an engine's arithmetic is reproducible and precise enough. */
static bool notes_allowed(const struct notes *notes, const struct graph_planner *planner, const struct graph *g)
{
    if (numerical(notes, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) ||
        numerical(notes, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) ||
        numerical(notes, CUDNN_NUMERICAL_NOTE_FFT) || numerical(notes, CUDNN_NUMERICAL_NOTE_WINOGRAD))
        return false;
    return g->type != DTYPE_F32 || planner->tensor_f32 ||
           (!numerical(notes, CUDNN_NUMERICAL_NOTE_TENSOR_CORE) &&
            !numerical(notes, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
}

static bool same_choice(const struct graph_choice *a, const struct graph_choice *b)
{
    if (a->engine != b->engine || a->knobs != b->knobs)
        return false;
    for (int i = 0; i < a->knobs; i++)
        if (a->knob[i].type != b->knob[i].type || a->knob[i].value != b->knob[i].value)
            return false;
    return true;
}

/* A search for choices. */
struct found {
    const struct graph_planner *planner;
    const struct graph *g;
    cudnnBackendDescriptor_t graph;
    struct graph_choice *choices;
    int count, room;
    bool failed;
};

/* Adds an engine with the knobs that choice has already, if it is allowed and not there yet. */
static void found_add(struct found *found, struct descriptors *all, cudnnBackendDescriptor_t engine,
                      struct graph_choice choice)
{
    struct notes notes;
    int64_t count;

    if (found->count == found->room || !notes_read(all, engine, &notes) ||
        !notes_allowed(&notes, found->planner, found->g) ||
        !attribute_get(all, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count, &choice.engine))
        return;
    choice.compiled = compiled(&notes);
    for (int i = 0; i < found->count; i++)
        if (same_choice(&found->choices[i], &choice))
            return;
    found->choices[found->count++] = choice;
}

/* Reads the knobs of a configuration. knobs is empty: cuDNN does not say beforehand how many descriptors it will
 * fill in, and does not fill in one again. */
static bool knobs_read(struct descriptors *knobs, cudnnBackendDescriptor_t config, struct graph_choice *choice)
{
    int64_t count = 0, one;

    while (knobs->count < GRAPH_KNOBS)
        if (!descriptor_new(knobs, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR))
            return false;
    if (!attribute_get(knobs, config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, GRAPH_KNOBS,
                       &count, knobs->item))
        return false;
    for (int64_t i = 0; i < count && i < GRAPH_KNOBS; i++) {
        cudnnBackendKnobType_t type = CUDNN_KNOB_TYPE_COUNTS;

        if (!attribute_get(knobs, knobs->item[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &one,
                           &type) ||
            !attribute_get(knobs, knobs->item[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &one,
                           &choice->knob[i].value))
            return false;
        choice->knob[i].type = (int64_t)type;
    }
    choice->knobs = count < GRAPH_KNOBS ? (int)count : GRAPH_KNOBS;
    return true;
}

/* Adds one configuration that cuDNN proposes. */
static void config_add(struct found *found, cudnnBackendDescriptor_t config)
{
    struct descriptors all = {0}, knobs = {0};
    struct graph_choice choice = {0};
    cudnnBackendDescriptor_t engine = descriptor_new(&all, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    int64_t one;

    if (engine && knobs_read(&knobs, config, &choice) &&
        attribute_get(&all, config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &one, &engine))
        found_add(found, &all, engine, choice);
    found->failed = found->failed || all.failed || knobs.failed;
    descriptors_free(&knobs);
    descriptors_free(&all);
}

/* Adds what one of cuDNN's heuristics proposes. */
static void heuristics_add(struct found *found, cudnnBackendHeurMode_t mode)
{
    const struct graph_planner *planner = found->planner;
    struct descriptors all = {0};
    int64_t count = 0, filled = 0; /* which can be fewer than were promised */
    const struct attribute attributes[] = {
        {CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &found->graph},
        {CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode},
        {CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, planner->handle ? 0 : 1,
         &planner->described},
    };
    cudnnBackendDescriptor_t heuristics =
        DESCRIBED(&all, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, "its heuristics", attributes);
    cudnnBackendDescriptor_t *configs = all.item + all.count;

    if (heuristics)
        attribute_get(&all, heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count,
                      NULL);
    count = count < CONFIGS ? count : CONFIGS;
    for (int64_t i = 0; i < count; i++)
        if (!descriptor_new(&all, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR))
            count = 0;
    if (count > 0 && attribute_get(&all, heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                   count, &filled, configs))
        for (int64_t i = 0; i < filled && i < count; i++)
            config_add(found, configs[i]);
    found->failed = found->failed || all.failed;
    descriptors_free(&all);
}

/* An engine by its index, for this graph. */
static cudnnBackendDescriptor_t engine_new(struct descriptors *all, const struct graph_planner *planner,
                                           cudnnBackendDescriptor_t graph, int64_t index)
{
    const struct attribute attributes[] = {
        {CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph},
        {CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &index},
        {CUDNN_ATTR_ENGINE_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, planner->handle ? 0 : 1, &planner->described},
    };

    return DESCRIBED(all, CUDNN_BACKEND_ENGINE_DESCRIPTOR, "an engine", attributes);
}

/* Adds every engine there is for the graph, as it is set by default: some are in no heuristic's list. */
static void engines_add(struct found *found)
{
    struct descriptors all = {0};
    int64_t engines = 0, one;

    attribute_get(&all, found->graph, CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, CUDNN_TYPE_INT64, 1, &one,
                  &engines);
    for (int64_t i = 0; i < engines; i++) {
        cudnnBackendDescriptor_t engine = engine_new(&all, found->planner, found->graph, i);

        if (engine)
            found_add(found, &all, engine, (struct graph_choice){0});
        descriptors_free(&all);
    }
    found->failed = found->failed || all.failed;
}

int graph_choices(const struct graph_planner *planner, const struct graph *graph, enum graph_search search,
                  struct graph_choice *choices, int room)
{
    struct descriptors all = {0};
    struct found found = {.planner = planner, .g = graph, .choices = choices, .room = room};

    found.graph = graph_new(&all, planner, graph);
    if (found.graph) {
        error_set("cuDNN has no engine for this convolution that is deterministic and precise enough");
        heuristics_add(&found, CUDNN_HEUR_MODE_A);
        if (search == GRAPH_SEARCH_ALL)
            heuristics_add(&found, CUDNN_HEUR_MODE_B);
        heuristics_add(&found, CUDNN_HEUR_MODE_FALLBACK);
        if (search == GRAPH_SEARCH_ALL)
            engines_add(&found);
    }
    found.failed = found.failed || all.failed;
    descriptors_free(&all);
    return found.failed ? -1 : found.count;
}

/* Plans --------------------------------------------------------------------------------------------------- */

/* The configuration of a choice. Knob choices are only needed until it is finalised. */
static cudnnBackendDescriptor_t config_new(struct descriptors *all, struct descriptors *knobs,
                                           cudnnBackendDescriptor_t engine, const struct graph_choice *choice)
{
    cudnnBackendDescriptor_t list[GRAPH_KNOBS];

    for (int i = 0; i < choice->knobs; i++) {
        cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)choice->knob[i].type;
        const struct attribute attributes[] = {
            {CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type},
            {CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &choice->knob[i].value},
        };

        list[i] = DESCRIBED(knobs, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, "a setting of an engine", attributes);
        if (!list[i])
            return NULL;
    }
    const struct attribute attributes[] = {
        {CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine},
        {CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, choice->knobs, list},
    };

    return DESCRIBED(all, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, "the settings of an engine", attributes);
}

/* Sets plan->plan, of a configuration or, without one, of a text. */
static int plan_finalise(struct graph_plan *plan, const struct graph_planner *planner,
                         cudnnBackendDescriptor_t config, const char *text)
{
    int64_t bytes = 0, one;
    const struct attribute attributes[] = {
        {CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, planner->handle ? 1 : 0, &planner->handle},
        {CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, planner->handle ? 0 : 1,
         &planner->described},
        {CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, text ? 0 : 1, &config},
        {CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, text ? (int64_t)strlen(text) : 0, text},
    };

    plan->plan = DESCRIBED(&plan->descriptors, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "the plan of a convolution",
                           attributes);
    if (!plan->plan || !attribute_get(&plan->descriptors, plan->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                      CUDNN_TYPE_INT64, 1, &one, &bytes))
        return -1;
    plan->scratch = (size_t)bytes;
    return 0;
}

static int plan_init(struct graph_plan *plan, const struct graph_planner *planner, const struct graph *graph,
                     const struct graph_choice *choice)
{
    struct descriptors *all = &plan->descriptors, knobs = {0};
    cudnnBackendDescriptor_t operations = graph_new(all, planner, graph);
    cudnnBackendDescriptor_t engine = engine_new(all, planner, operations, choice->engine);
    cudnnBackendDescriptor_t config = config_new(all, &knobs, engine, choice);
    int result = plan_finalise(plan, planner, config, NULL);

    all->failed = all->failed || knobs.failed;
    descriptors_free(&knobs);
    return result;
}

/* Empty, for this graph's tensors. */
static struct graph_plan *plan_alloc(const struct graph *graph)
{
    struct graph_plan *plan = calloc(1, sizeof *plan);

    if (!plan) {
        error_set("out of memory for the plan of a convolution");
        return NULL;
    }
    plan->bias = graph->bias_relu;
    plan->addend = graph->add;
    plan->mask = graph->write_mask || graph->apply_mask;
    plan->zero = graph->write_mask;
    return plan;
}

int graph_plan_new(const struct graph_planner *planner, const struct graph *graph,
                   const struct graph_choice *choice, struct graph_plan **out)
{
    struct graph_plan *plan = plan_alloc(graph);
    bool failed = !plan;

    *out = NULL;
    if (plan && plan_init(plan, planner, graph, choice) == 0) {
        *out = plan;
        return 0;
    }
    failed = failed || plan->descriptors.failed;
    graph_plan_free(plan);
    return failed ? -1 : GRAPH_REFUSED;
}

struct graph_plan *graph_plan_load(const struct graph_planner *planner, const struct graph *graph, const char *text)
{
    struct graph_plan *plan = plan_alloc(graph);

    if (plan && plan_finalise(plan, planner, NULL, text) == 0)
        return plan;
    graph_plan_free(plan);
    return NULL;
}

char *graph_plan_text(const struct graph_plan *plan)
{
    struct descriptors all = {0};
    int64_t length = 0;
    char *text;

    if (!attribute_get(&all, plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 0, &length,
                       NULL))
        return NULL;
    text = calloc(1, (size_t)length + 1);
    if (!text) {
        error_set("out of memory for the text of a plan");
        return NULL;
    }
    if (attribute_get(&all, plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, length,
                      &length, text))
        return text;
    free(text);
    return NULL;
}

void graph_plan_free(struct graph_plan *plan)
{
    if (!plan)
        return;
    descriptors_free(&plan->descriptors);
    free(plan);
}

size_t graph_plan_scratch(const struct graph_plan *plan)
{
    return plan->scratch;
}

cudnnStatus_t graph_plan_run(const struct graph_plan *plan, cudnnHandle_t handle, const struct graph_data *data,
                             void *scratch)
{
    int64_t ids[VIRTUAL] = {IN, FILTER, OUT}, count = 3;
    const void *pointers[VIRTUAL] = {data->in, data->filter, data->out};
    cudnnBackendDescriptor_t pack = NULL;
    cudnnStatus_t status;

    if (plan->bias)
        ids[count] = BIAS, pointers[count++] = data->bias;
    if (plan->addend)
        ids[count] = ADDEND, pointers[count++] = data->addend;
    if (plan->mask)
        ids[count] = MASK, pointers[count++] = data->mask;
    if (plan->zero)
        ids[count] = ZERO, pointers[count++] = data->zero;
    status = cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    if (status != CUDNN_STATUS_SUCCESS)
        return status;
    if ((status = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count,
                                           ids)) == CUDNN_STATUS_SUCCESS &&
        (status = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count,
                                           pointers)) == CUDNN_STATUS_SUCCESS &&
        (status = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1,
                                           &scratch)) == CUDNN_STATUS_SUCCESS &&
        (status = cudnnBackendFinalize(pack)) == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendExecute(handle, plan->plan, pack);
    cudnnBackendDestroyDescriptor(pack);
    return status;
}

cudnnBackendDescriptor_t graph_describe(const char *json)
{
    struct descriptors all = {0};
    const struct attribute attributes[] = {
        {CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(json), json}};
    cudnnBackendDescriptor_t described_gpu =
        DESCRIBED(&all, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, "the description of a GPU", attributes);

    if (!described_gpu)
        descriptors_free(&all);
    return described_gpu;
}
