/* From descriptors to a program: what finalising a tensor, an operation or an operation graph checks, and which of the
 * patterns that cuDNN has engines for a graph is of. */
#include "cudnn_internal.h"

#include <string.h>

/* Tensors ------------------------------------------------------------------------------------------------- */

enum { AXES = 4, N = 0, C, H, W };

static bool number_of(int64_t type, enum number *number)
{
    switch (type) {
    case CUDNN_DATA_FLOAT:
        *number = NUMBER_F32;
        return true;
    case CUDNN_DATA_HALF:
        *number = NUMBER_F16;
        return true;
    case CUDNN_DATA_BFLOAT16:
        *number = NUMBER_BF16;
        return true;
    case CUDNN_DATA_BOOLEAN:
        *number = NUMBER_BIT;
        return true;
    default:
        return false;
    }
}

cudnnStatus_t tensor_finalize(struct descriptor *d)
{
    int64_t alignment = attribute_int(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0);
    enum number type;

    if (attribute_count(d, CUDNN_ATTR_TENSOR_DIMENSIONS) != AXES ||
        attribute_count(d, CUDNN_ATTR_TENSOR_STRIDES) != AXES)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a tensor needs %d dimensions and as many strides", AXES);
    if (!number_of(attribute_int(d, CUDNN_ATTR_TENSOR_DATA_TYPE, 0), &type))
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "numbers of type %lld are not emulated",
                      (long long)attribute_int(d, CUDNN_ATTR_TENSOR_DATA_TYPE, 0));
    if (alignment <= 0 || alignment % (int64_t)number_bytes(type, 1) != 0)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a tensor's alignment is %lld bytes", (long long)alignment);
    for (int i = 0; i < AXES; i++)
        if (attribute_int(d, CUDNN_ATTR_TENSOR_DIMENSIONS, i) < 1 || attribute_int(d, CUDNN_ATTR_TENSOR_STRIDES, i) < 1)
            return refuse(CUDNN_STATUS_BAD_PARAM, "dimension %d of a tensor is %lld, its stride %lld", i,
                          (long long)attribute_int(d, CUDNN_ATTR_TENSOR_DIMENSIONS, i),
                          (long long)attribute_int(d, CUDNN_ATTR_TENSOR_STRIDES, i));
    return CUDNN_STATUS_SUCCESS;
}

static struct value value_of(const struct descriptor *d)
{
    struct value value;

    memset(&value, 0, sizeof value);
    value.id = attribute_int(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, 0);
    value.alignment = attribute_int(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0);
    number_of(attribute_int(d, CUDNN_ATTR_TENSOR_DATA_TYPE, 0), &value.type);
    value.is_virtual = attribute_int(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, 0) != 0;
    value.by_value = attribute_int(d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, 0) != 0;
    for (int i = 0; i < AXES; i++) {
        value.size[i] = attribute_int(d, CUDNN_ATTR_TENSOR_DIMENSIONS, i);
        value.stride[i] = attribute_int(d, CUDNN_ATTR_TENSOR_STRIDES, i);
    }
    return value;
}

int64_t value_numbers(const struct value *value)
{
    return value->size[N] * value->size[C] * value->size[H] * value->size[W];
}

size_t value_bytes(const struct value *value)
{
    int64_t last = 0;

    for (int i = 0; i < AXES; i++)
        last += (value->size[i] - 1) * value->stride[i];
    return number_bytes(value->type, last + 1);
}

/* Strides of axes of one element say nothing. */
static bool has_strides(const struct value *value, int64_t c, int64_t h, int64_t w)
{
    return (value->size[C] == 1 || value->stride[C] == c) && (value->size[H] == 1 || value->stride[H] == h) &&
           (value->size[W] == 1 || value->stride[W] == w);
}

bool value_is_packed(const struct value *value)
{
    return has_strides(value, 1, value->size[W] * value->size[C], value->size[C]) &&
           (value->size[N] == 1 || value->stride[N] == value->size[H] * value->size[W] * value->size[C]);
}

static bool value_is_nhwc(const struct value *value)
{
    bool one_pixel = value->size[H] == 1 && value->size[W] == 1;

    return has_strides(value, 1, value->size[W] * value->stride[W], value->stride[W]) &&
           (one_pixel || value->stride[W] >= value->size[C]);
}

static bool same_size(const struct value *a, const struct value *b)
{
    return memcmp(a->size, b->size, sizeof a->size) == 0;
}

static bool same_value(const struct value *a, const struct value *b)
{
    return a->id == b->id && same_size(a, b) && memcmp(a->stride, b->stride, sizeof a->stride) == 0 &&
           a->alignment == b->alignment && a->type == b->type && a->is_virtual == b->is_virtual &&
           a->by_value == b->by_value;
}

/* Operations ---------------------------------------------------------------------------------------------- */

cudnnStatus_t convolution_finalize(struct descriptor *d)
{
    static const cudnnBackendAttributeName_t pairs[] = {
        CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS,
        CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_ATTR_CONVOLUTION_DILATIONS};

    if (attribute_int(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 0) != 2 ||
        attribute_int(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, 0) != CUDNN_CROSS_CORRELATION ||
        attribute_int(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, 0) != CUDNN_DATA_FLOAT)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "only cross-correlations in float over two axes are emulated");
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (attribute_count(d, pairs[i]) != 2)
            return refuse(CUDNN_STATUS_BAD_PARAM, "attribute %d of a convolution has %lld elements instead of 2",
                          pairs[i], (long long)attribute_count(d, pairs[i]));
        for (int64_t axis = 0; axis < 2; axis++) {
            int64_t value = attribute_int(d, pairs[i], axis);

            if (pairs[i] == CUDNN_ATTR_CONVOLUTION_DILATIONS && value != 1)
                return refuse(CUDNN_STATUS_NOT_SUPPORTED, "dilations are not emulated");
            if (value < (pairs[i] == CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES))
                return refuse(CUDNN_STATUS_BAD_PARAM, "attribute %d of a convolution is %lld", pairs[i],
                              (long long)value);
        }
    }
    return CUDNN_STATUS_SUCCESS;
}

/* The names of a convolution's attributes, which differ with its direction. */
struct operation_names {
    bool back;
    cudnnBackendAttributeName_t convolution, x, w, y, alpha, beta;
};

static const struct operation_names forward_names = {false,
                                                     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                                     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                                     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                                     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                                                     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                                                     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
static const struct operation_names back_names = {true,
                                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};

/* NULL: not a convolution. */
static const struct operation_names *names_of(const struct descriptor *d)
{
    if (d->kind->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
        return &forward_names;
    return d->kind->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR ? &back_names : NULL;
}

static struct convolution_shape shape_of(const struct descriptor *d, const struct operation_names *names)
{
    const struct descriptor *convolution = attribute_descriptor(d, names->convolution, 0);
    struct value x = value_of(attribute_descriptor(d, names->x, 0));
    struct value w = value_of(attribute_descriptor(d, names->w, 0));
    struct value y = value_of(attribute_descriptor(d, names->y, 0));
    struct convolution_shape shape;

    memset(&shape, 0, sizeof shape);
    shape.h = x.size[H];
    shape.w = x.size[W];
    shape.c = x.size[C];
    shape.oh = y.size[H];
    shape.ow = y.size[W];
    shape.k = y.size[C];
    shape.kh = w.size[H];
    shape.kw = w.size[W];
    shape.back = names->back;
    for (int i = 0; i < 2; i++) {
        shape.stride[i] = attribute_int(convolution, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, i);
        shape.pad_before[i] = attribute_int(convolution, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, i);
        shape.pad_behind[i] = attribute_int(convolution, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, i);
    }
    return shape;
}

static cudnnStatus_t kind_check(const struct descriptor *d, cudnnBackendAttributeName_t name,
                                cudnnBackendDescriptorType_t wanted)
{
    const struct descriptor *given = attribute_descriptor(d, name, 0);

    if (!given || given->kind->type == wanted)
        return CUDNN_STATUS_SUCCESS;
    return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "attribute %d of a %s is a %s", name, d->kind->name,
                  given->kind->name);
}

static int64_t output_size(const struct convolution_shape *s, int axis)
{
    int64_t size = axis ? s->w : s->h, kernel = axis ? s->kw : s->kh;

    return (size + s->pad_before[axis] + s->pad_behind[axis] - kernel) / s->stride[axis] + 1;
}

static cudnnStatus_t operation_check(const struct descriptor *d, const struct operation_names *names)
{
    const cudnnBackendAttributeName_t tensors[] = {names->x, names->w, names->y};
    cudnnStatus_t status = kind_check(d, names->convolution, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    struct convolution_shape s;
    struct value x, w, y;

    for (int i = 0; i < 3 && status == CUDNN_STATUS_SUCCESS; i++)
        status = kind_check(d, tensors[i], CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    if (status != CUDNN_STATUS_SUCCESS)
        return status;
    x = value_of(attribute_descriptor(d, names->x, 0));
    w = value_of(attribute_descriptor(d, names->w, 0));
    y = value_of(attribute_descriptor(d, names->y, 0));
    s = shape_of(d, names);
    if (x.size[C] != w.size[C] || y.size[C] != w.size[N] || x.size[N] != y.size[N] || output_size(&s, 0) != s.oh ||
        output_size(&s, 1) != s.ow)
        return refuse(CUDNN_STATUS_BAD_PARAM,
                      "a %s of %lldx%lldx%lld by %lldx%lld, %lld to %lld channels, makes %lldx%lld, not %lldx%lldx%lld",
                      d->kind->name, (long long)s.h, (long long)s.w, (long long)s.c, (long long)s.kh, (long long)s.kw,
                      (long long)w.size[C], (long long)w.size[N], (long long)output_size(&s, 0),
                      (long long)output_size(&s, 1), (long long)s.oh, (long long)s.ow, (long long)s.k);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t forward_finalize(struct descriptor *d)
{
    return operation_check(d, &forward_names);
}

cudnnStatus_t back_finalize(struct descriptor *d)
{
    return operation_check(d, &back_names);
}

static bool takes_two(int64_t mode)
{
    return mode != CUDNN_POINTWISE_RELU_FWD && mode != CUDNN_POINTWISE_IDENTITY;
}

cudnnStatus_t pointwise_finalize(struct descriptor *d)
{
    switch (attribute_int(d, CUDNN_ATTR_POINTWISE_MODE, 0)) {
    case CUDNN_POINTWISE_ADD:
    case CUDNN_POINTWISE_MUL:
    case CUDNN_POINTWISE_MAX:
    case CUDNN_POINTWISE_CMP_GT:
    case CUDNN_POINTWISE_RELU_FWD:
    case CUDNN_POINTWISE_IDENTITY:
        break;
    default:
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "pointwise operation %lld is not emulated",
                      (long long)attribute_int(d, CUDNN_ATTR_POINTWISE_MODE, 0));
    }
    if (attribute_int(d, CUDNN_ATTR_POINTWISE_MATH_PREC, 0) != CUDNN_DATA_FLOAT)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "pointwise operations are emulated in float");
    return CUDNN_STATUS_SUCCESS;
}

static int64_t mode_of(const struct descriptor *d)
{
    return attribute_int(attribute_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, 0),
                         CUDNN_ATTR_POINTWISE_MODE, 0);
}

cudnnStatus_t pointwise_operation_finalize(struct descriptor *d)
{
    static const cudnnBackendAttributeName_t tensors[] = {CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
                                                          CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                                                          CUDNN_ATTR_OPERATION_POINTWISE_YDESC};
    const struct descriptor *second = attribute_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, 0);
    cudnnStatus_t status =
        kind_check(d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    struct value x, b, y;

    for (int i = 0; i < 3 && status == CUDNN_STATUS_SUCCESS; i++)
        status = kind_check(d, tensors[i], CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    if (status != CUDNN_STATUS_SUCCESS)
        return status;
    if (takes_two(mode_of(d)) != (second != NULL))
        return refuse(CUDNN_STATUS_BAD_PARAM, "pointwise operation %lld has %d inputs", (long long)mode_of(d),
                      second ? 2 : 1);
    x = value_of(attribute_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, 0));
    y = value_of(attribute_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, 0));
    b = second ? value_of(second) : x;
    for (int i = 0; i < AXES; i++)
        if (x.size[i] != y.size[i] || (b.size[i] != y.size[i] && b.size[i] != 1))
            return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
                          "dimension %d of a pointwise operation's tensors is %lld, %lld and %lld", i,
                          (long long)x.size[i], (long long)b.size[i], (long long)y.size[i]);
    return CUDNN_STATUS_SUCCESS;
}

/* Graphs -------------------------------------------------------------------------------------------------- */

/* The tensor's index among the program's values; -1 where another one has its number. */
static int value_add(struct program *p, const struct descriptor *d)
{
    struct value value = value_of(d);

    for (int i = 0; i < p->value_count; i++)
        if (p->values[i].id == value.id)
            return same_value(&p->values[i], &value) ? i : -1;
    p->values[p->value_count] = value;
    return p->value_count++;
}

static bool convolution_add(struct program *p, const struct descriptor *d, const struct operation_names *names)
{
    int x = value_add(p, attribute_descriptor(d, names->x, 0));
    int y = value_add(p, attribute_descriptor(d, names->y, 0));

    p->filter = value_add(p, attribute_descriptor(d, names->w, 0));
    p->in = names->back ? y : x;
    p->out = names->back ? x : y;
    p->alpha = attribute_float(d, names->alpha, 1);
    p->beta = attribute_float(d, names->beta, 0);
    p->shape = shape_of(d, names);
    return x >= 0 && y >= 0 && p->filter >= 0;
}

static bool step_add(struct program *p, const struct descriptor *d)
{
    struct step *step = &p->steps[p->step_count++];
    const struct descriptor *second = attribute_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, 0);

    step->mode = (cudnnPointwiseMode_t)mode_of(d);
    step->x = value_add(p, attribute_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, 0));
    step->b = second ? value_add(p, second) : -1;
    step->y = value_add(p, attribute_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, 0));
    return step->x >= 0 && (!second || step->b >= 0) && step->y >= 0;
}

/* Whether a step's inputs are there once `done` values are computed; what is not virtual is there anyway. */
static bool step_is_ready(const struct program *p, const struct step *step, const bool *done)
{
    return (!p->values[step->x].is_virtual || done[step->x]) &&
           (step->b < 0 || !p->values[step->b].is_virtual || done[step->b]);
}

/* Brings steps into an order in which everything is computed before it is read. */
static cudnnStatus_t steps_sort(struct program *p)
{
    bool done[VALUES_MOST] = {false};

    done[p->out] = true;
    for (int i = 0; i < p->step_count; i++) {
        int next = i;
        struct step ready;

        while (next < p->step_count && !step_is_ready(p, &p->steps[next], done))
            next++;
        if (next == p->step_count)
            return refuse(CUDNN_STATUS_BAD_PARAM, "an operation graph reads a virtual tensor that nothing computes");
        ready = p->steps[next];
        memmove(&p->steps[i + 1], &p->steps[i], (size_t)(next - i) * sizeof ready);
        p->steps[i] = ready;
        if (done[ready.y] || ready.y == p->in || ready.y == p->filter)
            return refuse(CUDNN_STATUS_BAD_PARAM, "an operation graph writes tensor %lld twice, or an input",
                          (long long)p->values[ready.y].id);
        done[ready.y] = true;
    }
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t program_init(struct program *p, const struct descriptor *d)
{
    int64_t count = attribute_count(d, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    int convolutions = 0;

    for (int64_t i = 0; i < count; i++) {
        const struct descriptor *operation = attribute_descriptor(d, CUDNN_ATTR_OPERATIONGRAPH_OPS, i);
        const struct operation_names *names = names_of(operation);
        bool added;

        if (!names && operation->kind->type != CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
            return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "a %s is no operation", operation->kind->name);
        if (names && convolutions++ > 0)
            break;
        added = names ? convolution_add(p, operation, names) : step_add(p, operation);
        if (!added)
            return refuse(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES,
                          "two different tensors of an operation graph have the same number");
    }
    if (convolutions != 1)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "only graphs with one convolution are emulated");
    return steps_sort(p);
}

cudnnStatus_t graph_finalize(struct descriptor *d)
{
    struct program *p = host_alloc(sizeof *p);
    int64_t indices = ENGINE_INDICES;
    cudnnStatus_t status;

    d->program = p;
    status = program_init(p, d);
    attribute_put(d, CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, 1, &indices);
    return status;
}

/* Patterns ------------------------------------------------------------------------------------------------ */

static bool is_per_channel(const struct value *v, const struct value *out)
{
    return v->size[N] == 1 && v->size[C] == out->size[C] && v->size[H] == 1 && v->size[W] == 1;
}

/* What one step of a fused graph does, or NULL where there is no engine for it. */
static const char *step_role(const struct program *p, const struct step *step)
{
    const struct value *y = &p->values[step->y], *b = step->b >= 0 ? &p->values[step->b] : NULL;
    enum number type = p->values[p->in].type;

    if (!p->values[step->x].is_virtual || (b && b->is_virtual) ||
        y->type != (step->mode == CUDNN_POINTWISE_CMP_GT ? NUMBER_BIT : y->is_virtual ? NUMBER_F32 : type))
        return NULL;
    switch (step->mode) {
    case CUDNN_POINTWISE_RELU_FWD:
        return "relu";
    case CUDNN_POINTWISE_IDENTITY:
        return "";
    case CUDNN_POINTWISE_MAX:
        return is_per_channel(b, y) && b->type != NUMBER_BIT ? "relu" : NULL;
    case CUDNN_POINTWISE_CMP_GT:
        return value_numbers(b) == 1 && b->type == NUMBER_F32 && !y->is_virtual ? "signs" : NULL;
    case CUDNN_POINTWISE_MUL:
        return same_size(b, y) && b->type == NUMBER_BIT ? "mask" : NULL;
    case CUDNN_POINTWISE_ADD:
        if (is_per_channel(b, y) && (b->type == type || b->type == NUMBER_F32))
            return "bias";
        return same_size(b, y) && b->type == type ? "addend" : NULL;
    default:
        return NULL;
    }
}

/* Whether the steps are, each at most once and for this direction, those that the run-time compiled engines fuse:
 * bias, ReLU and signs; or an addend and a mask. */
static bool steps_are_fusible(const struct program *p)
{
    const char *roles[OPERATIONS_MOST];
    bool forward = false, sums = false;

    for (int i = 0; i < p->step_count; i++) {
        roles[i] = step_role(p, &p->steps[i]);
        if (!roles[i])
            return false;
        for (int k = 0; k < i; k++)
            if (*roles[i] && strcmp(roles[i], roles[k]) == 0)
                return false;
        forward = forward || !strcmp(roles[i], "bias") || !strcmp(roles[i], "relu") || !strcmp(roles[i], "signs");
        sums = sums || !strcmp(roles[i], "addend") || !strcmp(roles[i], "mask");
    }
    return !(forward && (sums || p->shape.back));
}

static bool layouts_fit(const struct program *p)
{
    const struct value *filter = &p->values[p->filter];

    for (int i = 0; i < p->value_count; i++)
        if (!value_is_nhwc(&p->values[i]) || (i != p->filter && p->values[i].size[N] != 1))
            return false;
    return value_is_packed(filter) && filter->type == p->values[p->in].type && !filter->is_virtual &&
           !p->values[p->in].is_virtual && p->values[p->in].type != NUMBER_BIT;
}

/* Packed tensors, and masks whose pixels begin at whole bytes. */
static bool is_packed_program(const struct program *p)
{
    for (int i = 0; i < p->value_count; i++)
        if (!value_is_packed(&p->values[i]) || (p->values[i].type == NUMBER_BIT && p->values[i].size[C] % 8 != 0))
            return false;
    return true;
}

/* Convolution, + bias of the tensors' type, ReLU. */
static bool is_relu(const struct program *p)
{
    const struct step *add = &p->steps[0], *relu = &p->steps[1];

    return !p->shape.back && p->step_count == 2 && add->mode == CUDNN_POINTWISE_ADD && add->x == p->out &&
           is_per_channel(&p->values[add->b], &p->values[p->out]) &&
           p->values[add->b].type == p->values[p->in].type && relu->mode == CUDNN_POINTWISE_RELU_FWD &&
           relu->x == add->y && p->values[add->y].is_virtual && p->values[relu->y].type == p->values[p->in].type;
}

unsigned program_patterns(const struct program *p)
{
    const struct value *out = &p->values[p->out];
    unsigned patterns = 0;

    if (!layouts_fit(p)) {
        refuse(CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, "only NHWC tensors of one picture and packed filters are emulated");
        return 0;
    }
    if (p->step_count == 0 && out->type == p->values[p->in].type && !out->is_virtual)
        return p->shape.back ? PATTERN_BACK : PATTERN_FORWARD;
    if (p->step_count > 0 && out->is_virtual && out->type == NUMBER_F32 && p->alpha == 1 && p->beta == 0) {
        if (is_relu(p) && !p->values[p->steps[1].y].is_virtual)
            patterns |= PATTERN_RELU;
        if (steps_are_fusible(p) && is_packed_program(p))
            patterns |= PATTERN_FUSED;
    }
    if (!patterns)
        refuse(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "there is no engine for this operation graph");
    return patterns;
}
