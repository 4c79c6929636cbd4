/* Describes products to cuBLASLt and runs them. The ReLU's signs are not asked of its RELU_AUX epilogue: that wants
 * a mask whose leading dimension is a multiple of 128 bits and which begins at 16 bytes, and branches of a
 * concatenation begin at any multiple of 8 channels; passes.cu writes them. */
#include "matmul.h"

#include "hash.h"

#include "host/error.h"

#include <stdlib.h>
#include <string.h>

/* What a product may take beside its operands; algorithms that split the sum want some. */
enum { SCRATCH_MOST = 32 << 20 };

/* Slices begin at a multiple of eight channels: 16 bytes of the smallest type. */
enum { ALIGNMENT = 16 };

enum { PROPOSALS = 16 };

struct matmul {
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algorithm;
    size_t scratch;
    bool accumulate;
};

static cudaDataType_t data_type(enum dtype type)
{
    return type == DTYPE_F16 ? CUDA_R_16F : type == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static bool operation_init(struct cuda *cuda, struct matmul *m, const struct matmul_desc *desc)
{
    cublasComputeType_t compute =
        desc->type == DTYPE_F32 && cuda->tensor_f32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublasOperation_t transpose = desc->transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = desc->bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    cudaDataType_t bias_type = data_type(desc->type);

    return CUBLAS_OK(cuda, cublasLtMatmulDescCreate(&m->operation, compute, CUDA_R_32F)) &&
           CUBLAS_OK(cuda, cublasLtMatmulDescSetAttribute(m->operation, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                                          sizeof transpose)) &&
           CUBLAS_OK(cuda, cublasLtMatmulDescSetAttribute(m->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                                          sizeof epilogue)) &&
           (!desc->bias ||
            (CUBLAS_OK(cuda, cublasLtMatmulDescSetAttribute(m->operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                                                            &bias_type, sizeof bias_type)) &&
             CUBLAS_OK(cuda, cublasLtMatmulDescSetAttribute(m->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                            &desc->bias, sizeof desc->bias))));
}

static bool layouts_init(struct cuda *cuda, struct matmul *m, const struct matmul_desc *desc)
{
    cudaDataType_t type = data_type(desc->type);
    uint64_t rows = (uint64_t)(desc->transposed ? desc->k : desc->m);
    uint64_t columns = (uint64_t)(desc->transposed ? desc->m : desc->k);
    uint64_t pixels = (uint64_t)desc->pixels;

    return CUBLAS_OK(cuda, cublasLtMatrixLayoutCreate(&m->a, type, rows, columns, desc->filter_ld)) &&
           CUBLAS_OK(cuda, cublasLtMatrixLayoutCreate(&m->b, type, (uint64_t)desc->k, pixels, desc->in_pitch)) &&
           CUBLAS_OK(cuda, cublasLtMatrixLayoutCreate(&m->d, type, (uint64_t)desc->m, pixels, desc->out_pitch));
}

static bool preference_init(struct cuda *cuda, cublasLtMatmulPreference_t *preference)
{
    static const cublasLtMatmulPreferenceAttributes_t operands[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    uint64_t scratch = SCRATCH_MOST;
    uint32_t alignment = ALIGNMENT;
    /* The other schemes add up the parts of a split sum in the type of the result. */
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;

    if (!CUBLAS_OK(cuda, cublasLtMatmulPreferenceCreate(preference)) ||
        !CUBLAS_OK(cuda, cublasLtMatmulPreferenceSetAttribute(*preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                              &scratch, sizeof scratch)) ||
        !CUBLAS_OK(cuda, cublasLtMatmulPreferenceSetAttribute(
                             *preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes)))
        return false;
    for (size_t i = 0; i < sizeof operands / sizeof *operands; i++)
        if (!CUBLAS_OK(
                cuda, cublasLtMatmulPreferenceSetAttribute(*preference, operands[i], &alignment, sizeof alignment)))
            return false;
    return true;
}

/* Takes cuBLASLt's proposal number rank. Having no such proposal is no failure of the device. */
static int algorithm_choose(struct cuda *cuda, struct matmul *m, int rank)
{
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t results[PROPOSALS] = {0}; /* what is not filled in is hashed, too */
    cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
    int count = 0;

    if (preference_init(cuda, &preference))
        status = cublasLtMatmulAlgoGetHeuristic(cuda->cublas, m->operation, m->a, m->b, m->d, m->d, preference,
                                                PROPOSALS, results, &count);
    if (preference)
        cublasLtMatmulPreferenceDestroy(preference);
    if (cuda_failure(cuda) != 0)
        return -1;
    if (status != CUBLAS_STATUS_SUCCESS && status != CUBLAS_STATUS_NOT_SUPPORTED) {
        CUBLAS_OK(cuda, status);
        return cuda_failure(cuda);
    }
    if (rank >= count || results[rank].state != CUBLAS_STATUS_SUCCESS) {
        error_set("cuBLASLt has no way number %d to multiply these matrices", rank + 1);
        return MATMUL_REFUSED;
    }
    m->algorithm = results[rank].algo;
    m->scratch = results[rank].workspaceSize;
    return 0;
}

int matmul_new(struct cuda *cuda, const struct matmul_desc *desc, int rank, struct matmul **out)
{
    struct matmul *m = calloc(1, sizeof *m);
    int result;

    *out = NULL;
    if (!m)
        return error_set("out of memory for a matrix product");
    m->accumulate = desc->accumulate;
    if (operation_init(cuda, m, desc) && layouts_init(cuda, m, desc))
        result = algorithm_choose(cuda, m, rank);
    else
        result = cuda_failure(cuda);
    if (result == 0)
        *out = m;
    else
        matmul_free(m);
    return result;
}

void matmul_free(struct matmul *m)
{
    if (!m)
        return;
    if (m->operation)
        cublasLtMatmulDescDestroy(m->operation);
    if (m->a)
        cublasLtMatrixLayoutDestroy(m->a);
    if (m->b)
        cublasLtMatrixLayoutDestroy(m->b);
    if (m->d)
        cublasLtMatrixLayoutDestroy(m->d);
    free(m);
}

size_t matmul_scratch(const struct matmul *m)
{
    return m->scratch;
}

uint64_t matmul_algorithm(const struct matmul *m)
{
    return hash_bytes(HASH_BEGIN, &m->algorithm, sizeof m->algorithm);
}

void matmul_run(struct cuda *cuda, const struct matmul *m, const void *filter, const void *in, void *out,
                void *scratch)
{
    float alpha = 1, beta = m->accumulate;

    CUBLAS_OK(cuda, cublasLtMatmul(cuda->cublas, m->operation, &alpha, filter, m->a, in, m->b, &beta, out, m->d,
                                   out, m->d, &m->algorithm, scratch, m->scratch, cuda->stream));
}
