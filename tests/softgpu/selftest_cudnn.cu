/* Tests of the emulated cuDNN: every engine for every pattern beside loops in double precision, and what it refuses. */
#include "selftest.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cudnn.h>

#include <cmath>
#include <functional>
#include <string>

#define CHECK_CUDNN(call)                                                                                            \
    do {                                                                                                             \
        cudnnStatus_t status_ = (call);                                                                              \
        char words_[300] = "";                                                                                       \
        if (status_ != CUDNN_STATUS_SUCCESS)                                                                         \
            cudnnGetLastErrorString(words_, sizeof words_);                                                          \
        CHECK(status_ == CUDNN_STATUS_SUCCESS, "%s: %s", cudnnGetErrorString(status_), words_);                      \
    } while (0)

using descriptor = cudnnBackendDescriptor_t;

static cudnnHandle_t handle;

/* Descriptors --------------------------------------------------------------------------------------------- */

static std::vector<descriptor> made;

static descriptor create(cudnnBackendDescriptorType_t type)
{
    descriptor d = nullptr;

    CHECK_CUDNN(cudnnBackendCreateDescriptor(type, &d));
    made.push_back(d);
    return d;
}

static void destroy_all()
{
    while (!made.empty()) {
        CHECK_CUDNN(cudnnBackendDestroyDescriptor(made.back()));
        made.pop_back();
    }
}

static cudnnStatus_t set(descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                         int64_t count, const void *elements)
{
    return cudnnBackendSetAttribute(d, name, type, count, elements);
}

static descriptor finalized(descriptor d)
{
    CHECK_CUDNN(cudnnBackendFinalize(d));
    return d;
}

static void set_descriptor(descriptor d, cudnnBackendAttributeName_t name, descriptor value)
{
    CHECK_CUDNN(set(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value));
}

struct shape {
    int64_t c, h, w, pitch;
};

static descriptor tensor(int64_t id, cudnnDataType_t type, int64_t n, shape s, bool is_virtual = false)
{
    descriptor d = create(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    int64_t sizes[] = {n, s.c, s.h, s.w}, strides[] = {s.h * s.w * s.pitch, 1, s.w * s.pitch, s.pitch};
    int64_t alignment = 16;

    CHECK_CUDNN(set(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
    CHECK_CUDNN(set(d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, sizes));
    CHECK_CUDNN(set(d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides));
    CHECK_CUDNN(set(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id));
    CHECK_CUDNN(set(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment));
    CHECK_CUDNN(set(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual));
    return finalized(d);
}

static descriptor pointwise(cudnnPointwiseMode_t mode, descriptor x, descriptor b, descriptor y)
{
    descriptor kind = create(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    descriptor d = create(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    cudnnDataType_t math = CUDNN_DATA_FLOAT;

    CHECK_CUDNN(set(kind, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode));
    CHECK_CUDNN(set(kind, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &math));
    set_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, finalized(kind));
    set_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b)
        set_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    set_descriptor(d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    return finalized(d);
}

/* Cases --------------------------------------------------------------------------------------------------- */

enum extra { BIAS_RELU = 1, SIGNS = 2, ADDEND = 4, MASK = 8, FLOAT_BIAS = 16 };
enum id { X = 1, FILTER, Y, BIAS, ZERO, BITS, SUM, VIRTUAL };

/* A convolution from c to k channels; pitches beyond the channels make slices. */
struct test_case {
    const char *name;
    int64_t h, w, c, k, kh, kw, stride, pad_h, pad_w;
    bool back;
    float beta;
    unsigned extras;
    int64_t wider; /* channels that x and y lack to the next pixel */
};

static const test_case cases[] = {
    {"3x3", 9, 11, 16, 24, 3, 3, 1, 1, 1, false, 0, 0, 0},
    {"1x7 slices", 6, 13, 16, 8, 1, 7, 1, 0, 3, false, 0, 0, 8},
    {"3x3 stride 2", 10, 11, 8, 16, 3, 3, 2, 0, 0, false, 0, 0, 16},
    {"1x1 sum", 5, 7, 24, 16, 1, 1, 1, 0, 0, false, 1, 0, 0},
    {"back 3x3", 9, 11, 16, 24, 3, 3, 1, 1, 1, true, 0, 0, 0},
    {"back 3x3 valid, sum, slices", 9, 11, 16, 24, 3, 3, 1, 0, 0, true, 1, 0, 8},
    {"back 3x3 stride 2", 10, 11, 16, 24, 3, 3, 2, 0, 0, true, 0, 0, 8},
    {"back 5x5 stride 2 sum", 12, 9, 8, 8, 5, 5, 2, 2, 2, true, 1, 0, 0},
    {"relu", 9, 11, 16, 24, 3, 3, 1, 1, 1, false, 0, BIAS_RELU, 0},
    {"relu slices", 9, 11, 16, 24, 3, 3, 1, 1, 1, false, 0, BIAS_RELU, 8},
    {"relu signs", 9, 11, 16, 24, 3, 3, 1, 1, 1, false, 0, BIAS_RELU | SIGNS, 0},
    {"relu of float bias", 9, 11, 16, 24, 3, 3, 1, 1, 1, false, 0, BIAS_RELU | FLOAT_BIAS, 0},
    {"back mask", 9, 11, 16, 24, 3, 3, 1, 1, 1, true, 0, MASK, 0},
    {"back addend mask", 10, 11, 16, 24, 3, 3, 2, 0, 0, true, 0, ADDEND | MASK, 0},
    {"addend", 9, 11, 16, 24, 3, 3, 1, 1, 1, false, 0, ADDEND, 0},
};

static int64_t out_size(int64_t size, int64_t pad, int64_t kernel, int64_t stride)
{
    return (size + 2 * pad - kernel) / stride + 1;
}

static int64_t oh(const test_case &t) { return out_size(t.h, t.pad_h, t.kh, t.stride); }
static int64_t ow(const test_case &t) { return out_size(t.w, t.pad_w, t.kw, t.stride); }
static shape x_shape(const test_case &t) { return {t.c, t.h, t.w, t.c + t.wider}; }
static shape y_shape(const test_case &t) { return {t.k, oh(t), ow(t), t.k + t.wider}; }
static shape in_shape(const test_case &t) { return t.back ? y_shape(t) : x_shape(t); }
static shape out_shape(const test_case &t) { return t.back ? x_shape(t) : y_shape(t); }

static descriptor convolution(const test_case &t, cudnnDataType_t type, descriptor out)
{
    descriptor kind = create(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    descriptor d = create(t.back ? CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR
                                 : CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    descriptor in = tensor(X, type, 1, in_shape(t)), filter = tensor(FILTER, type, t.k, {t.c, t.kh, t.kw, t.c});
    cudnnDataType_t math = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t axes = 2, pads[] = {t.pad_h, t.pad_w}, strides[] = {t.stride, t.stride}, ones[] = {1, 1};
    float alpha = 1;

    CHECK_CUDNN(set(kind, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &math));
    CHECK_CUDNN(set(kind, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
    CHECK_CUDNN(set(kind, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &axes));
    CHECK_CUDNN(set(kind, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pads));
    CHECK_CUDNN(set(kind, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pads));
    CHECK_CUDNN(set(kind, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides));
    CHECK_CUDNN(set(kind, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, ones));
    finalized(kind);
    if (t.back) {
        set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, kind);
        set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, in);
        set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, filter);
        set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, out);
        CHECK_CUDNN(set(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1, &alpha));
        CHECK_CUDNN(set(d, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 1, &t.beta));
    } else {
        set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, kind);
        set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, in);
        set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, filter);
        set_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, out);
        CHECK_CUDNN(set(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &alpha));
        CHECK_CUDNN(set(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &t.beta));
    }
    return finalized(d);
}

static descriptor graph(const test_case &t, cudnnDataType_t type)
{
    std::vector<descriptor> operations;
    shape out = out_shape(t), packed = {out.c, out.h, out.w, out.c};
    int64_t next = VIRTUAL;
    auto output = [&](bool last) {
        return last ? tensor(Y, type, 1, out) : tensor(next++, CUDNN_DATA_FLOAT, 1, packed, true);
    };
    descriptor value = output(!t.extras), after, d = create(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);

    operations.push_back(convolution(t, type, value));
    if (t.extras & BIAS_RELU) {
        descriptor bias = tensor(BIAS, t.extras & FLOAT_BIAS ? CUDNN_DATA_FLOAT : type, 1, {out.c, 1, 1, out.c});

        after = output(false);
        operations.push_back(pointwise(CUDNN_POINTWISE_ADD, value, bias, after));
        operations.push_back(pointwise(CUDNN_POINTWISE_RELU_FWD, after, nullptr, output(true)));
        value = after;
    }
    if (t.extras & SIGNS)
        operations.push_back(pointwise(CUDNN_POINTWISE_CMP_GT, value, tensor(ZERO, CUDNN_DATA_FLOAT, 1, {1, 1, 1, 1}),
                                       tensor(BITS, CUDNN_DATA_BOOLEAN, 1, packed)));
    if (t.extras & ADDEND) {
        after = output(!(t.extras & MASK));
        operations.push_back(pointwise(CUDNN_POINTWISE_ADD, value, tensor(SUM, type, 1, out), after));
        value = after;
    }
    if (t.extras & MASK)
        operations.push_back(
            pointwise(CUDNN_POINTWISE_MUL, value, tensor(BITS, CUDNN_DATA_BOOLEAN, 1, packed), output(true)));
    CHECK_CUDNN(set(d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle));
    CHECK_CUDNN(set(d, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                    static_cast<int64_t>(operations.size()), operations.data()));
    return finalized(d);
}

static std::vector<descriptor> configurations(descriptor graph_described, cudnnBackendHeurMode_t mode)
{
    descriptor d = create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    std::vector<descriptor> configs;
    int64_t count = 0;

    CHECK_CUDNN(set(d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
    set_descriptor(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph_described);
    finalized(d);
    CHECK_CUDNN(cudnnBackendGetAttribute(d, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count,
                                         nullptr));
    for (int64_t i = 0; i < count; i++)
        configs.push_back(create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    if (count > 0)
        CHECK_CUDNN(cudnnBackendGetAttribute(d, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count,
                                             &count, configs.data()));
    return configs;
}

/* Whether the engine of a configuration has this note. */
static bool has_note(descriptor config, cudnnBackendNumericalNote_t note)
{
    descriptor engine = create(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendNumericalNote_t notes[10];
    int64_t count = 0;

    CHECK_CUDNN(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                         &count, &engine));
    CHECK_CUDNN(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, 10,
                                         &count, notes));
    for (int64_t i = 0; i < count; i++)
        if (notes[i] == note)
            return true;
    return false;
}

static descriptor plan_of(descriptor config)
{
    descriptor d = create(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);

    CHECK_CUDNN(set(d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle));
    set_descriptor(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    return finalized(d);
}

/* The same plan by way of its text. */
static descriptor plan_by_text(descriptor plan)
{
    descriptor d = create(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    int64_t count = 0;

    CHECK_CUDNN(cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 0,
                                         &count, nullptr));
    std::string text(static_cast<size_t>(count), ' ');
    CHECK_CUDNN(cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, count,
                                         &count, text.data()));
    CHECK_CUDNN(set(d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle));
    CHECK_CUDNN(set(d, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, count, text.data()));
    return finalized(d);
}

static int64_t workspace_of(descriptor plan)
{
    int64_t bytes = -1, count;

    CHECK_CUDNN(cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count,
                                         &bytes));
    return bytes;
}

/* Data ---------------------------------------------------------------------------------------------------- */

/* Small integers and halves: exact in every type. */
static float number(int64_t i, int salt)
{
    return static_cast<float>((i * 7919 + salt * 104729) % 17 - 8) / 8;
}

template <typename T> static std::vector<T> numbers(int64_t count, int salt)
{
    std::vector<T> all(static_cast<size_t>(count));

    for (int64_t i = 0; i < count; i++)
        all[static_cast<size_t>(i)] = T(number(i, salt));
    return all;
}

static int64_t elements(shape s)
{
    return s.h * s.w * s.pitch;
}

enum salt { OF_X, OF_FILTER, OF_Y, OF_BIAS, OF_SUM };

/* The output's element by the definition, before it is rounded. */
static double reference(const test_case &t, const std::vector<unsigned char> &bits, int64_t y, int64_t x, int64_t c)
{
    shape in = in_shape(t), out = out_shape(t);
    double sum = 0;

    for (int64_t r = 0; r < t.kh; r++)
        for (int64_t s = 0; s < t.kw; s++) {
            int64_t iy = t.back ? y + t.pad_h - r : y * t.stride - t.pad_h + r;
            int64_t ix = t.back ? x + t.pad_w - s : x * t.stride - t.pad_w + s;

            if (t.back && (iy % t.stride || ix % t.stride))
                continue;
            iy /= t.back ? t.stride : 1;
            ix /= t.back ? t.stride : 1;
            if (iy < 0 || iy >= in.h || ix < 0 || ix >= in.w)
                continue;
            for (int64_t i = 0; i < in.c; i++) {
                int64_t k = t.back ? i : c, ci = t.back ? c : i;

                sum += static_cast<double>(number((iy * in.w + ix) * in.pitch + i, OF_X)) *
                       static_cast<double>(number(((k * t.kh + r) * t.kw + s) * t.c + ci, OF_FILTER));
            }
        }
    int64_t at = (y * out.w + x) * out.pitch + c;
    if (t.beta != 0)
        sum += static_cast<double>(number(at, OF_Y));
    if (t.extras & BIAS_RELU)
        sum = std::fmax(sum + static_cast<double>(number(c, OF_BIAS)), 0.0);
    if (t.extras & ADDEND)
        sum += static_cast<double>(number(at, OF_SUM));
    if (t.extras & MASK && !(bits[static_cast<size_t>(at / 8)] >> at % 8 & 1))
        sum = 0;
    return sum;
}

template <typename T> struct data {
    device_array<T> x, filter, y, sum;
    device_array<float> zero;
    device_array<T> bias;
    device_array<float> bias_float;
    device_array<unsigned char> bits, workspace;
    std::vector<unsigned char> bits_in;

    data(const test_case &t, int64_t workspace_bytes)
        : x(static_cast<size_t>(elements(in_shape(t)))), filter(static_cast<size_t>(t.k * t.kh * t.kw * t.c)),
          y(static_cast<size_t>(elements(out_shape(t)))), sum(y.count), zero(1),
          bias(static_cast<size_t>(out_shape(t).c)), bias_float(bias.count), bits((y.count + 7) / 8),
          workspace(static_cast<size_t>(workspace_bytes) + 1), bits_in(bits.count)
    {
        for (size_t i = 0; i < bits_in.size(); i++)
            bits_in[i] = static_cast<unsigned char>(i * 37 + 11);
        x.upload(numbers<T>(static_cast<int64_t>(x.count), OF_X));
        filter.upload(numbers<T>(static_cast<int64_t>(filter.count), OF_FILTER));
        y.upload(numbers<T>(static_cast<int64_t>(y.count), OF_Y));
        sum.upload(numbers<T>(static_cast<int64_t>(sum.count), OF_SUM));
        bias.upload(numbers<T>(static_cast<int64_t>(bias.count), OF_BIAS));
        bias_float.upload(numbers<float>(static_cast<int64_t>(bias.count), OF_BIAS));
        zero.upload({0.0f});
        bits.upload(bits_in);
    }
    descriptor pack(const test_case &t) const
    {
        descriptor d = create(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
        const void *bias_data = t.extras & FLOAT_BIAS ? static_cast<void *>(bias_float.data) : bias.data;
        const void *pointers[] = {x.data, filter.data, y.data, bias_data, zero.data, bits.data, sum.data};
        int64_t ids[] = {X, FILTER, Y, BIAS, ZERO, BITS, SUM};

        CHECK_CUDNN(set(d, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 7, ids));
        CHECK_CUDNN(set(d, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 7, pointers));
        CHECK_CUDNN(set(d, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace.data));
        return finalized(d);
    }
};

template <typename T> static double unit()
{
    return std::is_same_v<T, float> ? 0x1p-20 : std::is_same_v<T, __half> ? 0x1p-11 : 0x1p-8;
}

/* One configuration's outputs beside the definition. */
template <typename T>
static std::vector<T> compare(const test_case &t, const data<T> &d, const char *what, double tolerance)
{
    std::vector<T> got = d.y.download();
    std::vector<unsigned char> bits = d.bits.download();
    shape out = out_shape(t);
    double worst = 0;

    for (int64_t y = 0; y < out.h; y++)
        for (int64_t x = 0; x < out.w; x++)
            for (int64_t c = 0; c < out.pitch; c++) {
                int64_t at = (y * out.w + x) * out.pitch + c;
                double value = static_cast<double>(static_cast<float>(got[static_cast<size_t>(at)]));
                double wanted = c < out.c ? reference(t, d.bits_in, y, x, c) : static_cast<double>(number(at, OF_Y));
                double error = std::fabs(value - wanted) / std::fmax(std::fabs(wanted), 1.0);

                worst = std::isnan(error) || error > worst ? error : worst;
                if (t.extras & SIGNS)
                    CHECK((bits[static_cast<size_t>(at / 8)] >> at % 8 & 1) == (value > 0), "sign %ld of %s",
                          static_cast<long>(at), what);
            }
    CHECK(worst <= tolerance, "%s %s: %g off", t.name, what, worst);
    return got;
}

template <typename T> static void test(const test_case &t, cudnnDataType_t type, const char *type_name)
{
    int run = 0, deterministic = 0;

    for (cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
        std::vector<descriptor> configs = configurations(graph(t, type), mode);

        for (size_t i = 0; i < configs.size(); i++) {
            bool varies = has_note(configs[i], CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
            double tolerance = varies ? 0.02 + unit<T>() : unit<T>();
            std::string what = std::string(type_name) + " configuration " + std::to_string(i) + " of mode " +
                               std::to_string(static_cast<int>(mode));
            std::vector<T> results[2];

            CHECK(varies == (i == 0 && mode != CUDNN_HEUR_MODE_FALLBACK), "%s", what.c_str());
            for (std::vector<T> &result : results) {
                descriptor plan = plan_by_text(plan_of(configs[i]));
                data<T> d(t, workspace_of(plan));

                CHECK((t.wider == 0 && mode == CUDNN_HEUR_MODE_A) == (workspace_of(plan) == 0) ||
                          mode != CUDNN_HEUR_MODE_A, "%s: workspace", what.c_str());
                CHECK_CUDNN(cudnnBackendExecute(handle, plan, d.pack(t)));
                result = compare(t, d, what.c_str(), tolerance);
            }
            if (t.wider == 0) /* what lies between slices is equal */
                CHECK((memcmp(results[0].data(), results[1].data(), results[0].size() * sizeof(T)) != 0) == varies,
                      "%s %s", t.name, what.c_str());
            run++;
            deterministic += !varies;
        }
        destroy_all();
    }
    CHECK(run >= 1 && deterministic >= 1, "%s %s has %d engines", t.name, type_name, run);
}

/* Refusals ------------------------------------------------------------------------------------------------ */

static void refused(cudnnStatus_t got, cudnnStatus_t wanted, const char *what)
{
    char words[300];

    cudnnGetLastErrorString(words, sizeof words);
    CHECK(got == wanted, "%s: %s instead of %s", what, cudnnGetErrorString(got), cudnnGetErrorString(wanted));
    CHECK(*words, "%s: no sentence", what);
}

static void refusals()
{
    descriptor fresh = create(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    descriptor operation = create(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    int64_t sizes[4] = {1, 8, 4, 4}, count;
    test_case t = cases[0];

    refused(cudnnBackendFinalize(fresh), CUDNN_STATUS_BAD_PARAM, "an empty tensor");
    refused(set(fresh, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_INT64, 1, sizes), CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE,
            "a wrong type");
    refused(set(fresh, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 2, sizes), CUDNN_STATUS_BAD_PARAM,
            "two numbers");
    refused(set(fresh, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, sizes), CUDNN_STATUS_BAD_PARAM,
            "another's attribute");
    refused(cudnnBackendGetAttribute(fresh, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, &count, sizes),
            CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "reading early");
    refused(set(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &fresh),
            CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "a tensor that is not finalised");

    std::vector<descriptor> configs = configurations(graph(t, CUDNN_DATA_HALF), CUDNN_HEUR_MODE_B);
    descriptor plan = plan_of(configs[1]), with_workspace = nullptr;
    data<__half> d(t, workspace_of(plan));
    descriptor pack = d.pack(t);

    refused(set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle), CUDNN_STATUS_BAD_PARAM,
            "setting late");
    for (descriptor config : configs)
        if (workspace_of(plan_of(config)) > 0)
            with_workspace = made.back();
    CHECK(with_workspace, "no engine wants workspace");
    refused(cudnnBackendExecute(handle, with_workspace, pack), CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT,
            "too little workspace");
    CHECK_CUDA(cudaFree(d.y.data));
    CHECK_CUDA(cudaMalloc(&d.y.data, d.y.bytes() - 1));
    refused(cudnnBackendExecute(handle, plan, d.pack(t)), CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND, "too little memory");
    t.extras = MASK;
    t.wider = 8;
    descriptor unknown = graph(t, CUDNN_DATA_HALF), heuristics = create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    set_descriptor(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, unknown);
    CHECK_CUDNN(set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
    refused(cudnnBackendFinalize(heuristics), CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "a fused graph of slices");
    destroy_all();
}

/* A plan that is recorded, destroyed and replayed. */
static void capture()
{
    test_case t = cases[5];
    std::vector<descriptor> configs = configurations(graph(t, CUDNN_DATA_FLOAT), CUDNN_HEUR_MODE_FALLBACK);
    descriptor plan = plan_of(configs.back());
    data<float> d(t, workspace_of(plan));
    cudaGraph_t recorded;
    cudaGraphExec_t exec;

    CHECK_CUDA(cudaStreamBeginCapture(test_stream, cudaStreamCaptureModeGlobal));
    CHECK_CUDNN(cudnnBackendExecute(handle, plan, d.pack(t)));
    CHECK_CUDA(cudaStreamEndCapture(test_stream, &recorded));
    destroy_all();
    CHECK_CUDA(cudaGraphInstantiate(&exec, recorded, 0));
    CHECK_CUDA(cudaGraphLaunch(exec, test_stream));
    compare(t, d, "replayed", unit<float>());
    CHECK_CUDA(cudaGraphDestroy(recorded));
    CHECK_CUDA(cudaGraphExecDestroy(exec));
}

void test_cudnn(void)
{
    CHECK_CUDNN(cudnnCreate(&handle));
    CHECK_CUDNN(cudnnSetStream(handle, test_stream));
    for (const test_case &t : cases) {
        test<__half>(t, CUDNN_DATA_HALF, "half");
        test<__nv_bfloat16>(t, CUDNN_DATA_BFLOAT16, "bfloat16");
        test<float>(t, CUDNN_DATA_FLOAT, "float");
    }
    refusals();
    capture();
    CHECK_CUDNN(cudnnDestroy(handle));
}
