/* The CPU device: opening, memory, failures, and the choice of a level of instructions. Its operations are in
 * conv.c, pool.c, ascent.c and picture.c. They are done when their call returns, so that waiting is only the moment
 * at which a failure is told. */
#include "conv_kernel.h"

#include "host/error.h"
#include "host/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { CACHE_LINE = 64, HUGE_PAGE = 2 << 20, THREADS_MAX = 1024 };

/* The plan's one allocation is large and walked over from end to end in every step: on huge pages it costs far
 * fewer misses of the address cache. It is not touched here: a page goes to whichever thread writes to it first. */
void *cpu_memory_new(size_t bytes)
{
    size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : CACHE_LINE;
    size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void *memory = NULL;

    if (rounded >= bytes)
        memory = aligned_alloc(alignment, rounded ? rounded : alignment);
    if (!memory) {
        error_set("cannot allocate %zu bytes of memory", bytes);
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE)
        madvise(memory, rounded, MADV_HUGEPAGE); /* advice only: may be declined */
#endif
    return memory;
}

static void *cpu_alloc(struct device *device, size_t bytes)
{
    (void)device;
    return cpu_memory_new(bytes);
}

static void cpu_free(struct device *device, void *memory)
{
    (void)device;
    free(memory);
}

static size_t cpu_available(struct device *device)
{
    (void)device;
    return memory_spare();
}

void cpu_fail(struct cpu *cpu)
{
    if (cpu->failed)
        return;
    cpu->failed = true;
    snprintf(cpu->failure, sizeof cpu->failure, "%s", error_message());
}

static int cpu_sync(struct device *device)
{
    struct cpu *cpu = cpu_of(device);

    if (!cpu->failed)
        return 0;
    cpu->failed = false;
    return error_set("%s", cpu->failure);
}

static int cpu_copy(struct device *device, void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    return cpu_sync(device);
}

static void cpu_clear(struct device *device, void *memory, size_t bytes)
{
    enum { PIECE = 1 << 18 };
    struct cpu *cpu = cpu_of(device);

#pragma omp parallel for num_threads(cpu->threads) if (bytes > PIECE)
    for (size_t first = 0; first < bytes; first += PIECE)
        memset((char *)memory + first, 0, bytes - first < PIECE ? bytes - first : PIECE);
}

static void cpu_close(struct device *device)
{
    struct cpu *cpu = cpu_of(device);

    dnnl_close(cpu->dnnl);
    free(cpu->scratch);
    free(cpu);
}

static const struct device_ops ops_base = {
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_copy,
    .download = cpu_copy,
    .available = cpu_available,
    .clear = cpu_clear,
    .sync = cpu_sync,
    .filter_new = cpu_filter_new,
    .filter_free = cpu_filter_free,
    .conv_new = cpu_conv_new,
    .conv_free = cpu_conv_free,
    .conv = cpu_conv,
    .conv_back = cpu_conv_back,
};

/* Whether this processor has everything that compilers may use at a level, with the system's consent. Compilers
 * that cannot ask for a level as a whole cannot ask for all of its parts either (f16c, lzcnt, movbe): no processor
 * has the others without those. */
#ifdef CPU_HAS_V3
static bool has_v3(void)
{
#ifdef CPU_KNOWS_LEVELS
    return __builtin_cpu_supports("x86-64-v3");
#else
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
#endif
}
#endif

#ifdef CPU_HAS_V4
static bool has_v4(void)
{
#ifdef CPU_KNOWS_LEVELS
    return __builtin_cpu_supports("x86-64-v4");
#else
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#endif
}
#endif

#ifdef CPU_HAS_BF16
static bool has_bf16(void)
{
    return __builtin_cpu_supports("avx512bf16");
}
#endif

/* The levels for which the loops were compiled, by enum cpu_level, and what was. */
static const struct {
    const char *name;
    bool (*here)(void); /* whether this processor has what it adds to the one before; NULL: always */
    const struct conv_kernels *kernels;
    void (*pool_ops)(struct device_ops *);
    void (*ascent_ops)(struct device_ops *);
    void (*picture_ops)(struct device_ops *);
} levels[] = {
    [CPU_BASE] = {"base", NULL, &cpu_conv_kernels_base, cpu_pool_ops_base, cpu_ascent_ops_base,
                  cpu_picture_ops_base},
#ifdef CPU_HAS_V3
    [CPU_V3] = {"v3", has_v3, &cpu_conv_kernels_v3, cpu_pool_ops_v3, cpu_ascent_ops_v3, cpu_picture_ops_v3},
#endif
#ifdef CPU_HAS_V4
    [CPU_V4] = {"v4", has_v4, &cpu_conv_kernels_v4, cpu_pool_ops_v3, cpu_ascent_ops_v3, cpu_picture_ops_v3},
#endif
#ifdef CPU_HAS_BF16
    [CPU_BF16] = {"bf16", has_bf16, &cpu_conv_kernels_bf16, cpu_pool_ops_v3, cpu_ascent_ops_v3, cpu_picture_ops_v3},
#endif
};

/* Fills in the operations that are compiled for the highest level that this processor has, or for the one named. */
static int level_choose(struct cpu *cpu, const char *name)
{
    int level = 0;

    while ((!name || strcmp(name, levels[level].name) != 0) && level + 1 < (int)(sizeof levels / sizeof *levels) &&
           levels[level + 1].here())
        level++;
    if (name && strcmp(name, levels[level].name) != 0)
        return error_set("the cpu device has no instructions of level \"%s\" for this processor", name);
    cpu->kernels = levels[level].kernels;
    levels[level].pool_ops(&cpu->ops);
    levels[level].ascent_ops(&cpu->ops);
    levels[level].picture_ops(&cpu->ops);
    return 0;
}

/* Sets the precision and the types that go with it. */
static void precision_choose(struct device *device, const char *precision)
{
    bool bf16 = precision && strcmp(precision, "bf16") == 0;

    device->precision = bf16 ? "bf16" : "fp32";
    device->activation = bf16 ? DTYPE_BF16 : DTYPE_F32;
    device->picture = DTYPE_F32;
}

/* 0 stands for all cores that this process may use. */
static int threads_choose(int *threads, int wanted)
{
    if (wanted < 0 || wanted > THREADS_MAX)
        return error_set("the cpu device takes 1 to %d threads, or 0 for all cores, not %d", THREADS_MAX, wanted);
    *threads = wanted ? wanted : omp_get_num_procs();
    if (*threads > THREADS_MAX)
        *threads = THREADS_MAX;
    return 0;
}

struct device *device_cpu_open(const struct device_options *options)
{
    struct cpu *cpu = calloc(1, sizeof *cpu);

    if (!cpu) {
        error_set("cannot allocate %zu bytes of memory", sizeof *cpu);
        return NULL;
    }
    cpu->device.name = "cpu";
    cpu->device.ops = &cpu->ops;
    cpu->device.in_host_memory = true;
    cpu->ops = ops_base;
    precision_choose(&cpu->device, options->precision);
    if (level_choose(cpu, options->level) || threads_choose(&cpu->threads, options->threads))
        goto fail;
    cpu->scratch = cpu_memory_new((size_t)cpu->threads * CPU_SCRATCH_FLOATS * sizeof *cpu->scratch);
    if (!cpu->scratch)
        goto fail;
    if (options->engine == CONV_LIBRARY) {
        if (cpu->device.activation == DTYPE_BF16 && !dnnl_has_bf16()) {
            error_set("oneDNN has no bf16 convolution for this processor");
            goto fail;
        }
        cpu->dnnl = dnnl_open(cpu->threads);
        if (!cpu->dnnl)
            goto fail;
    }
    return &cpu->device;

fail:
    cpu_close(&cpu->device);
    return NULL;
}
