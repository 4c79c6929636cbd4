/* Matrix products as cuBLASLt describes them, column-major, computed in float by oneDNN on converted copies. A handful of
 * proposals that differ in how they sum; one of them wants workspace, and uses it. */
#include "convolution.h"
#include "internal.h"
#include "values.h"

#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

/* Objects live in NVIDIA's opaque structures. tag tells them apart. */
enum tag { TAG_LAYOUT = 0x1a70, TAG_PRODUCT, TAG_PREFERENCE };

struct layout {
    enum tag tag;
    enum number type;
    uint64_t rows, columns;
    int64_t ld;
};

struct product {
    enum tag tag;
    cublasComputeType_t compute;
    cublasOperation_t transpose_a, transpose_b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
    enum number bias_type;
    bool has_bias_type;
};

struct preference {
    enum tag tag;
    uint64_t workspace;
    uint32_t alignment[4];
    uint32_t schemes; /* of adding up split sums: none is split here */
};

/* What an algorithm's 64 bytes hold. */
struct algorithm {
    uint64_t mark, parts, workspace;
    uint32_t alignment[4]; /* of A, B, C and D */
};

enum { MARK = 0x50f7, ALGORITHMS = 3, FEW_NUMBERS = 1 << 15 };

struct cublasLtContext {
    int device;
};

_Static_assert(sizeof(struct layout) <= sizeof(cublasLtMatrixLayoutOpaque_t), "a layout fits");
_Static_assert(sizeof(struct product) <= sizeof(cublasLtMatmulDescOpaque_t), "a product fits");
_Static_assert(sizeof(struct preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t), "a preference fits");
_Static_assert(sizeof(struct algorithm) <= sizeof(cublasLtMatmulAlgo_t), "an algorithm fits");

/* Handles and words --------------------------------------------------------------------------------------- */

cublasStatus_t cublasLtCreate(cublasLtHandle_t *lightHandle)
{
    ONE_AT_A_TIME;

    if (call_fails())
        return CUBLAS_STATUS_ALLOC_FAILED;
    if (!lightHandle)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (control()->devices == 0 || failure_code() != cudaSuccess)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    *lightHandle = host_alloc(sizeof **lightHandle);
    (*lightHandle)->device = device_current();
    object_count(OBJECT_CUBLAS_HANDLE, 1);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t lightHandle)
{
    ONE_AT_A_TIME;

    if (!lightHandle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    free(lightHandle);
    object_count(OBJECT_CUBLAS_HANDLE, -1);
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
        return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
        return "CUBLAS_STATUS_UNKNOWN";
    }
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "an invalid value was used as a parameter";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "the function failed to launch on the GPU";
    case CUBLAS_STATUS_INTERNAL_ERROR:
        return "an internal operation failed";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "the functionality is not supported";
    default:
        return "unknown status";
    }
}

/* Descriptions -------------------------------------------------------------------------------------------- */

static bool number_of(cudaDataType type, enum number *number)
{
    *number = type == CUDA_R_16F ? NUMBER_F16 : type == CUDA_R_16BF ? NUMBER_BF16 : NUMBER_F32;
    return type == CUDA_R_16F || type == CUDA_R_16BF || type == CUDA_R_32F;
}

/* A new opaque structure with `inside` in it. */
static void *object_new(size_t bytes, const void *inside, size_t inside_bytes)
{
    object_count(OBJECT_CUBLAS_DESCRIPTOR, 1);
    return memcpy(host_alloc(bytes), inside, inside_bytes);
}

static cublasStatus_t object_free(void *object)
{
    if (!object)
        return CUBLAS_STATUS_INVALID_VALUE;
    free(object);
    object_count(OBJECT_CUBLAS_DESCRIPTOR, -1);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *matLayout, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld)
{
    ONE_AT_A_TIME;
    struct layout layout = {.tag = TAG_LAYOUT, .rows = rows, .columns = cols, .ld = ld};

    if (call_fails())
        return CUBLAS_STATUS_ALLOC_FAILED;
    if (!matLayout || rows == 0 || cols == 0 || ld < (int64_t)rows)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!number_of(type, &layout.type))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    *matLayout = object_new(sizeof **matLayout, &layout, sizeof layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t matLayout)
{
    ONE_AT_A_TIME;

    return object_free(matLayout);
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t matLayout, cublasLtMatrixLayoutAttribute_t attr,
                                                const void *buf, size_t sizeInBytes)
{
    ONE_AT_A_TIME;
    int32_t value;

    if (call_fails())
        return CUBLAS_STATUS_INTERNAL_ERROR;
    if (!matLayout || !buf || sizeInBytes != sizeof value)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&value, buf, sizeof value);
    if ((attr == CUBLASLT_MATRIX_LAYOUT_ORDER && value == CUBLASLT_ORDER_COL) ||
        (attr == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT && value == 1))
        return CUBLAS_STATUS_SUCCESS;
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *matmulDesc, cublasComputeType_t computeType,
                                        cudaDataType_t scaleType)
{
    ONE_AT_A_TIME;
    struct product product = {.tag = TAG_PRODUCT,
                              .compute = computeType,
                              .transpose_a = CUBLAS_OP_N,
                              .transpose_b = CUBLAS_OP_N,
                              .epilogue = CUBLASLT_EPILOGUE_DEFAULT};

    if (call_fails())
        return CUBLAS_STATUS_ALLOC_FAILED;
    if (!matmulDesc)
        return CUBLAS_STATUS_INVALID_VALUE;
    if ((computeType != CUBLAS_COMPUTE_32F && computeType != CUBLAS_COMPUTE_32F_PEDANTIC &&
         computeType != CUBLAS_COMPUTE_32F_FAST_TF32) ||
        scaleType != CUDA_R_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    *matmulDesc = object_new(sizeof **matmulDesc, &product, sizeof product);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t matmulDesc)
{
    ONE_AT_A_TIME;

    return object_free(matmulDesc);
}

static cublasStatus_t product_set(struct product *product, cublasLtMatmulDescAttributes_t attr, const void *buf,
                                  size_t bytes)
{
    int32_t value = 0;

    if (bytes != (attr == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? sizeof product->bias : sizeof value))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (attr == CUBLASLT_MATMUL_DESC_BIAS_POINTER) {
        memcpy(&product->bias, buf, bytes);
        return CUBLAS_STATUS_SUCCESS;
    }
    memcpy(&value, buf, bytes);
    switch (attr) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        product->transpose_a = (cublasOperation_t)value;
        return value == CUBLAS_OP_N || value == CUBLAS_OP_T ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
    case CUBLASLT_MATMUL_DESC_TRANSB:
        product->transpose_b = (cublasOperation_t)value;
        return value == CUBLAS_OP_N || value == CUBLAS_OP_T ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        product->epilogue = (cublasLtEpilogue_t)value;
        return value == CUBLASLT_EPILOGUE_DEFAULT || value == CUBLASLT_EPILOGUE_BIAS ||
                       value == CUBLASLT_EPILOGUE_RELU || value == CUBLASLT_EPILOGUE_RELU_BIAS
                   ? CUBLAS_STATUS_SUCCESS
                   : CUBLAS_STATUS_NOT_SUPPORTED;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        product->has_bias_type = true;
        return number_of((cudaDataType)value, &product->bias_type) ? CUBLAS_STATUS_SUCCESS
                                                                   : CUBLAS_STATUS_NOT_SUPPORTED;
    default:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t matmulDesc, cublasLtMatmulDescAttributes_t attr,
                                              const void *buf, size_t sizeInBytes)
{
    ONE_AT_A_TIME;
    struct product product;
    cublasStatus_t status;

    if (call_fails())
        return CUBLAS_STATUS_INTERNAL_ERROR;
    if (!matmulDesc || !buf)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&product, matmulDesc, sizeof product);
    status = product_set(&product, attr, buf, sizeInBytes);
    if (status == CUBLAS_STATUS_SUCCESS)
        memcpy(matmulDesc, &product, sizeof product);
    return status;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *pref)
{
    ONE_AT_A_TIME;
    struct preference preference = {.tag = TAG_PREFERENCE, .alignment = {256, 256, 256, 256}};

    if (call_fails())
        return CUBLAS_STATUS_ALLOC_FAILED;
    if (!pref)
        return CUBLAS_STATUS_INVALID_VALUE;
    *pref = object_new(sizeof **pref, &preference, sizeof preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t pref)
{
    ONE_AT_A_TIME;

    return object_free(pref);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t pref,
                                                    cublasLtMatmulPreferenceAttributes_t attr, const void *buf,
                                                    size_t sizeInBytes)
{
    ONE_AT_A_TIME;
    struct preference preference;
    int operand = (int)attr - (int)CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
    void *value = &preference.alignment[operand >= 0 && operand < 4 ? operand : 0];
    size_t size = sizeof preference.alignment[0];

    if (call_fails())
        return CUBLAS_STATUS_INTERNAL_ERROR;
    if (!pref || !buf)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (attr == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
        value = &preference.workspace;
        size = sizeof preference.workspace;
    } else if (attr == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) {
        value = &preference.schemes;
        size = sizeof preference.schemes;
    } else if (operand < 0 || operand > 3) {
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (sizeInBytes != size)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&preference, pref, sizeof preference);
    memcpy(value, buf, size);
    memcpy(pref, &preference, sizeof preference);
    return CUBLAS_STATUS_SUCCESS;
}

/* Products ------------------------------------------------------------------------------------------------ */

/* D [m, n] = op(A) op(B), sums of k products. */
struct matrices {
    struct product product;
    struct layout a, b, c, d;
    int64_t m, n, k;
};

static cublasStatus_t matrices_init(struct matrices *all, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
                                    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d)
{
    bool transpose_a, transpose_b;

    if (!product || !a || !b || !c || !d)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&all->product, product, sizeof all->product);
    memcpy(&all->a, a, sizeof all->a);
    memcpy(&all->b, b, sizeof all->b);
    memcpy(&all->c, c, sizeof all->c);
    memcpy(&all->d, d, sizeof all->d);
    if (all->product.tag != TAG_PRODUCT || all->a.tag != TAG_LAYOUT || all->b.tag != TAG_LAYOUT ||
        all->c.tag != TAG_LAYOUT || all->d.tag != TAG_LAYOUT)
        return CUBLAS_STATUS_INVALID_VALUE;
    transpose_a = all->product.transpose_a == CUBLAS_OP_T;
    transpose_b = all->product.transpose_b == CUBLAS_OP_T;
    all->m = (int64_t)(transpose_a ? all->a.columns : all->a.rows);
    all->k = (int64_t)(transpose_a ? all->a.rows : all->a.columns);
    all->n = (int64_t)(transpose_b ? all->b.rows : all->b.columns);
    if ((int64_t)(transpose_b ? all->b.columns : all->b.rows) != all->k || (int64_t)all->d.rows != all->m ||
        (int64_t)all->d.columns != all->n || all->c.rows != all->d.rows || all->c.columns != all->d.columns)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (all->a.type != all->b.type || all->c.type != all->d.type ||
        (all->d.type != all->a.type && all->d.type != NUMBER_F32))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

static size_t matrix_bytes(const struct layout *layout)
{
    return number_bytes(layout->type, ((int64_t)layout->columns - 1) * layout->ld + (int64_t)layout->rows);
}

static bool has_bias(const struct product *product)
{
    return product->epilogue & CUBLASLT_EPILOGUE_BIAS;
}

static enum number bias_type(const struct matrices *all)
{
    return all->product.has_bias_type ? all->product.bias_type : all->d.type;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t lightHandle, cublasLtMatmulDesc_t operationDesc,
                                              cublasLtMatrixLayout_t Adesc, cublasLtMatrixLayout_t Bdesc,
                                              cublasLtMatrixLayout_t Cdesc, cublasLtMatrixLayout_t Ddesc,
                                              cublasLtMatmulPreference_t preference, int requestedAlgoCount,
                                              cublasLtMatmulHeuristicResult_t heuristicResultsArray[],
                                              int *returnAlgoCount)
{
    ONE_AT_A_TIME;
    struct matrices all;
    struct preference limits;
    cublasStatus_t status;

    if (call_fails())
        return CUBLAS_STATUS_INTERNAL_ERROR;
    if (!lightHandle || !preference || requestedAlgoCount < 1 || !heuristicResultsArray || !returnAlgoCount)
        return CUBLAS_STATUS_INVALID_VALUE;
    *returnAlgoCount = 0;
    status = matrices_init(&all, operationDesc, Adesc, Bdesc, Cdesc, Ddesc);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    memcpy(&limits, preference, sizeof limits);
    if (limits.tag != TAG_PREFERENCE)
        return CUBLAS_STATUS_INVALID_VALUE;
    for (uint64_t parts = 1; parts <= ALGORITHMS && *returnAlgoCount < requestedAlgoCount; parts++) {
        cublasLtMatmulHeuristicResult_t *result = &heuristicResultsArray[*returnAlgoCount];
        size_t sums = (size_t)(all.m * all.n) * sizeof(float);
        struct algorithm algorithm = {.mark = MARK, .parts = parts, .workspace = parts == 2 ? sums : 0};

        if (algorithm.workspace > limits.workspace)
            continue;
        memset(result, 0, sizeof *result);
        memcpy(algorithm.alignment, limits.alignment, sizeof algorithm.alignment);
        memcpy(&result->algo, &algorithm, sizeof algorithm);
        result->workspaceSize = algorithm.workspace;
        result->state = CUBLAS_STATUS_SUCCESS;
        result->wavesCount = 1;
        ++*returnAlgoCount;
    }
    return *returnAlgoCount > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

struct multiplication {
    int device;
    struct matrices all;
    struct algorithm algorithm;
    float alpha, beta;
    const void *a, *b, *c;
    void *d, *workspace;
};

static bool memory_fits(const struct multiplication *m)
{
    const struct matrices *all = &m->all;
    size_t bias = number_bytes(bias_type(all), all->m);

    return memory_is_device(m->a, matrix_bytes(&all->a), m->device) &&
           memory_is_device(m->b, matrix_bytes(&all->b), m->device) &&
           (m->beta == 0 || memory_is_device(m->c, matrix_bytes(&all->c), m->device)) &&
           memory_is_device(m->d, matrix_bytes(&all->d), m->device) &&
           (!has_bias(&all->product) || memory_is_device(all->product.bias, bias, m->device)) &&
           (m->algorithm.workspace == 0 || memory_is_device(m->workspace, m->algorithm.workspace, m->device));
}

static bool is_aligned(const struct multiplication *m)
{
    const void *operands[] = {m->a, m->b, m->beta != 0 ? m->c : m->d, m->d};

    for (int i = 0; i < 4; i++)
        if (m->algorithm.alignment[i] > 0 && (uintptr_t)operands[i] % m->algorithm.alignment[i] != 0)
            return false;
    return true;
}

/* A matrix without gaps, as floats. */
static float *matrix_load(const struct layout *layout, const void *data, bool tf32)
{
    int64_t rows = (int64_t)layout->rows;
    float *numbers = host_alloc((size_t)rows * layout->columns * sizeof *numbers);

#pragma omp parallel for if (rows * (int64_t)layout->columns > FEW_NUMBERS)
    for (int64_t column = 0; column < (int64_t)layout->columns; column++) {
        const char *from = data;

        numbers_load(numbers + column * rows, from + number_bytes(layout->type, column * layout->ld), layout->type,
                     rows);
        if (tf32)
            numbers_round_tf32(numbers + column * rows, rows);
    }
    return numbers;
}

/* sums = op(A) op(B), column-major, k in parts. In oneDNN's row-major order that is the product of the transposed
 * matrices, B's first. */
static void sums_compute(const struct multiplication *m, const float *a, const float *b, float *sums)
{
    const struct matrices *all = &m->all;
    bool transpose_a = all->product.transpose_a == CUBLAS_OP_T, transpose_b = all->product.transpose_b == CUBLAS_OP_T;
    int64_t lda = (int64_t)all->a.rows, ldb = (int64_t)all->b.rows;
    int64_t parts = all->k < (int64_t)m->algorithm.parts ? all->k : (int64_t)m->algorithm.parts;

    for (int64_t part = 0; part < parts; part++) {
        int64_t first = all->k * part / parts, count = all->k * (part + 1) / parts - first;

        product_run(transpose_b, transpose_a, all->n, all->m, count, b + first * (transpose_b ? ldb : 1), ldb,
                    a + first * (transpose_a ? 1 : lda), lda, part > 0, sums, all->m);
    }
}

static void column_finish(const struct multiplication *m, float *sums, const float *bias, int64_t column, float *old)
{
    const struct matrices *all = &m->all;
    const char *c = m->c;
    char *d = m->d;

    if (m->beta != 0)
        numbers_load(old, c + number_bytes(all->c.type, column * all->c.ld), all->c.type, all->m);
    for (int64_t i = 0; i < all->m; i++) {
        sums[i] = m->alpha * sums[i] + (m->beta != 0 ? m->beta * old[i] : 0) + (bias ? bias[i] : 0);
        if (all->product.epilogue & CUBLASLT_EPILOGUE_RELU && sums[i] < 0)
            sums[i] = 0;
    }
    numbers_store(d + number_bytes(all->d.type, column * all->d.ld), sums, all->d.type, all->m);
}

static void multiplication_run(void *payload)
{
    const struct multiplication *m = payload;
    const struct matrices *all = &m->all;
    bool tf32 = all->product.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && all->a.type == NUMBER_F32;
    float *a, *b, *own = NULL, *sums = m->workspace, *bias = NULL;

    launch_count();
    if (!memory_fits(m)) {
        failure_set(cudaErrorIllegalAddress, "cuBLASLt runs behind its memory's end");
        return;
    }
    a = matrix_load(&all->a, m->a, tf32);
    b = matrix_load(&all->b, m->b, tf32);
    if (m->algorithm.workspace == 0)
        sums = own = host_alloc((size_t)(all->m * all->n) * sizeof *own);
    if (has_bias(&all->product)) {
        bias = host_alloc((size_t)all->m * sizeof *bias);
        numbers_load(bias, all->product.bias, bias_type(all), all->m);
    }
    sums_compute(m, a, b, sums);
#pragma omp parallel if (all->m * all->n > FEW_NUMBERS)
    {
        float *old = host_alloc((size_t)all->m * sizeof *old);

#pragma omp for
        for (int64_t column = 0; column < all->n; column++)
            column_finish(m, sums + column * all->m, bias, column, old);
        free(old);
    }
    free(a);
    free(b);
    free(own);
    free(bias);
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t lightHandle, cublasLtMatmulDesc_t computeDesc, const void *alpha,
                              const void *A, cublasLtMatrixLayout_t Adesc, const void *B, cublasLtMatrixLayout_t Bdesc,
                              const void *beta, const void *C, cublasLtMatrixLayout_t Cdesc, void *D,
                              cublasLtMatrixLayout_t Ddesc, const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspaceSizeInBytes, cudaStream_t stream)
{
    ONE_AT_A_TIME;
    struct multiplication m = {.a = A, .b = B, .c = C, .d = D, .workspace = workspace}, *queued;
    cublasStatus_t status;
    struct task *task;

    if (call_fails())
        return CUBLAS_STATUS_EXECUTION_FAILED;
    if (!lightHandle || !alpha || !beta || !algo)
        return CUBLAS_STATUS_INVALID_VALUE;
    status = matrices_init(&m.all, computeDesc, Adesc, Bdesc, Cdesc, Ddesc);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    m.device = lightHandle->device;
    memcpy(&m.alpha, alpha, sizeof m.alpha);
    memcpy(&m.beta, beta, sizeof m.beta);
    memcpy(&m.algorithm, algo, sizeof m.algorithm);
    if (m.algorithm.mark != MARK || m.algorithm.workspace > workspaceSizeInBytes || !memory_fits(&m) ||
        !is_aligned(&m) || m.device != device_current())
        return CUBLAS_STATUS_INVALID_VALUE;
    task = task_new(sizeof m, multiplication_run, NULL);
    queued = task_payload(task);
    *queued = m;
    return task_queue(stream, task) == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
