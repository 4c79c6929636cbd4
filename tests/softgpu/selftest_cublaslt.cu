/* Tests of the emulated cuBLASLt: every proposal beside loops in double precision, and what it refuses. */
#include "selftest.h"

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>

#define CHECK_CUBLAS(call)                                                                                           \
    do {                                                                                                             \
        cublasStatus_t status_ = (call);                                                                             \
        CHECK(status_ == CUBLAS_STATUS_SUCCESS, "%s", cublasLtGetStatusString(status_));                             \
    } while (0)

static cublasLtHandle_t handle;

struct test_case {
    uint64_t m, n, k;
    bool transpose_a, transpose_b;
    cublasLtEpilogue_t epilogue;
    float beta;
    uint64_t wider; /* rows between the columns of every matrix */
};

static const test_case cases[] = {
    {16, 35, 24, true, false, CUBLASLT_EPILOGUE_RELU_BIAS, 0, 0},
    {24, 35, 16, false, false, CUBLASLT_EPILOGUE_DEFAULT, 1, 8},
    {8, 21, 40, true, true, CUBLASLT_EPILOGUE_BIAS, 0, 8},
    {8, 21, 40, false, true, CUBLASLT_EPILOGUE_RELU, 0, 0},
};

static float number(uint64_t i, uint64_t salt)
{
    return static_cast<float>((i * 7919 + salt * 104729) % 17) / 8 - 1;
}

template <typename T> static std::vector<T> numbers(size_t count, uint64_t salt)
{
    std::vector<T> all(count);

    for (size_t i = 0; i < count; i++)
        all[i] = T(number(i, salt));
    return all;
}

template <typename T> struct product {
    uint64_t a_rows, b_rows, lda, ldb, ldd;
    device_array<T> a, b, d, bias;
    device_array<unsigned char> workspace;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t layouts[3];
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t results[8];
    int count = 0;

    product(const test_case &t, cudaDataType_t type, cublasComputeType_t compute)
        : a_rows(t.transpose_a ? t.k : t.m), b_rows(t.transpose_b ? t.n : t.k), lda(a_rows + t.wider),
          ldb(b_rows + t.wider), ldd(t.m + t.wider), a(lda * (t.transpose_a ? t.m : t.k)),
          b(ldb * (t.transpose_b ? t.k : t.n)), d(ldd * t.n), bias(t.m), workspace(1 << 16)
    {
        cublasOperation_t operations[] = {t.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                                          t.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N};
        uint64_t bytes = workspace.count;
        uint32_t alignment = 16;

        a.upload(numbers<T>(a.count, 1));
        b.upload(numbers<T>(b.count, 2));
        bias.upload(numbers<T>(bias.count, 4));
        CHECK_CUBLAS(cublasLtMatmulDescCreate(&operation, compute, CUDA_R_32F));
        CHECK_CUBLAS(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &operations[0], 4));
        CHECK_CUBLAS(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSB, &operations[1], 4));
        CHECK_CUBLAS(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &t.epilogue, 4));
        CHECK_CUBLAS(
            cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.data, sizeof bias.data));
        CHECK_CUBLAS(cublasLtMatrixLayoutCreate(&layouts[0], type, a_rows, t.transpose_a ? t.m : t.k,
                                                static_cast<int64_t>(lda)));
        CHECK_CUBLAS(cublasLtMatrixLayoutCreate(&layouts[1], type, b_rows, t.transpose_b ? t.k : t.n,
                                                static_cast<int64_t>(ldb)));
        CHECK_CUBLAS(cublasLtMatrixLayoutCreate(&layouts[2], type, t.m, t.n, static_cast<int64_t>(ldd)));
        CHECK_CUBLAS(cublasLtMatmulPreferenceCreate(&preference));
        CHECK_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                                          sizeof bytes));
        CHECK_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                                          &alignment, sizeof alignment));
        CHECK_CUBLAS(cublasLtMatmulAlgoGetHeuristic(handle, operation, layouts[0], layouts[1], layouts[2], layouts[2],
                                                    preference, 8, results, &count));
    }
    product(const product &) = delete;
    product &operator=(const product &) = delete;
    ~product()
    {
        CHECK_CUBLAS(cublasLtMatmulDescDestroy(operation));
        for (cublasLtMatrixLayout_t layout : layouts)
            CHECK_CUBLAS(cublasLtMatrixLayoutDestroy(layout));
        CHECK_CUBLAS(cublasLtMatmulPreferenceDestroy(preference));
    }
    cublasStatus_t run(int algorithm, float beta, size_t workspace_bytes, void *to)
    {
        float alpha = 1;

        return cublasLtMatmul(handle, operation, &alpha, a.data, layouts[0], b.data, layouts[1], &beta, to,
                              layouts[2], to, layouts[2], &results[algorithm].algo, workspace.data, workspace_bytes,
                              test_stream);
    }
};

static double reference(const test_case &t, uint64_t row, uint64_t column)
{
    uint64_t lda = (t.transpose_a ? t.k : t.m) + t.wider, ldb = (t.transpose_b ? t.n : t.k) + t.wider;
    double sum = t.beta != 0 ? static_cast<double>(number(column * (t.m + t.wider) + row, 3)) : 0;

    for (uint64_t i = 0; i < t.k; i++)
        sum += static_cast<double>(number(t.transpose_a ? row * lda + i : i * lda + row, 1)) *
               static_cast<double>(number(t.transpose_b ? i * ldb + column : column * ldb + i, 2));
    if (t.epilogue & CUBLASLT_EPILOGUE_BIAS)
        sum += static_cast<double>(number(row, 4));
    return t.epilogue & CUBLASLT_EPILOGUE_RELU ? std::fmax(sum, 0.0) : sum;
}

template <typename T> static void test(const test_case &t, cudaDataType_t type, cublasComputeType_t compute)
{
    product<T> p(t, type, compute);
    double unit = type == CUDA_R_32F ? 0x1p-20 : type == CUDA_R_16F ? 0x1p-11 : 0x1p-8;

    CHECK(p.count == 3, "%d proposals", p.count);
    for (int algorithm = 0; algorithm < p.count; algorithm++) {
        double worst = 0;

        p.d.upload(numbers<T>(p.d.count, 3));
        CHECK_CUBLAS(p.run(algorithm, t.beta, p.results[algorithm].workspaceSize, p.d.data));
        std::vector<T> got = p.d.download();
        for (uint64_t column = 0; column < t.n; column++)
            for (uint64_t row = 0; row < p.ldd; row++) {
                double value = static_cast<double>(static_cast<float>(got[column * p.ldd + row]));
                double wanted = row < t.m ? reference(t, row, column)
                                          : static_cast<double>(number(column * p.ldd + row, 3));
                double error = std::fabs(value - wanted) / std::fmax(std::fabs(wanted), 1.0);

                worst = std::isnan(error) || error > worst ? error : worst;
            }
        CHECK(worst <= unit, "%lux%lux%lu algorithm %d: %g off", static_cast<unsigned long>(t.m),
              static_cast<unsigned long>(t.n), static_cast<unsigned long>(t.k), algorithm, worst);
    }
}

static void refusals()
{
    product<float> p(cases[0], CUDA_R_32F, CUBLAS_COMPUTE_32F);
    cublasLtEpilogue_t unknown = CUBLASLT_EPILOGUE_DRELU;
    cublasLtMatrixLayout_t layout;
    cublasLtMatmulHeuristicResult_t result;
    int count;

    CHECK(cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, 8, 8, 7) == CUBLAS_STATUS_INVALID_VALUE, "ld below rows");
    CHECK(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &unknown, sizeof unknown) ==
              CUBLAS_STATUS_NOT_SUPPORTED,
          "an epilogue that is not emulated");
    CHECK(cublasLtMatmulAlgoGetHeuristic(handle, p.operation, p.layouts[1], p.layouts[1], p.layouts[2], p.layouts[2],
                                         p.preference, 1, &result, &count) == CUBLAS_STATUS_INVALID_VALUE,
          "shapes that do not fit");
    CHECK(p.run(1, 0, p.results[1].workspaceSize - 1, p.d.data) == CUBLAS_STATUS_INVALID_VALUE, "too little workspace");
    CHECK(p.run(0, 0, 0, p.d.data + 1) == CUBLAS_STATUS_INVALID_VALUE, "beyond the memory");
}

void test_cublaslt(void)
{
    CHECK_CUBLAS(cublasLtCreate(&handle));
    for (const test_case &t : cases) {
        test<__half>(t, CUDA_R_16F, CUBLAS_COMPUTE_32F);
        test<__nv_bfloat16>(t, CUDA_R_16BF, CUBLAS_COMPUTE_32F);
        test<float>(t, CUDA_R_32F, CUBLAS_COMPUTE_32F);
        test<float>(t, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32);
    }
    refusals();
    CHECK_CUBLAS(cublasLtDestroy(handle));
}
