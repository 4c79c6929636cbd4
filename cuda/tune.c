/* Times every way to compute a convolution on buffers of its own and takes the fastest that is right. A way is
 * right if it gives what the default gives, to rounding: cuDNN has shipped engines that do not, and the layout of
 * packed masks is documented nowhere. */
#include "tuning.h"

#include "host/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHOICES_MOST = 256, RANKS = 8, RUNS = 7, KEY_LENGTH = 256 };

/* Random values are copied in blocks of this size; the same size at both ends of an output is compared. */
enum { BLOCK_BYTES = 1 << 20 };

/* A way that needs more scratch memory than this would make the picture's size depend on it. */
static const size_t scratch_most = (size_t)1 << 30;

/* Relative L2 to the default's output. Both round to the tensors' type (TF32: their inputs), and sums are made in
 * another order. */
static double tolerance_of(const struct cuda *cuda)
{
    switch (cuda->device.activation) {
    case DTYPE_F16:
        return 4e-3;
    case DTYPE_BF16:
        return 3e-2;
    default:
        return cuda->tensor_f32 ? 4e-3 : 1e-5;
    }
}

/* Signs near 0 may flip by rounding; a mask in another order of bits differs in half of them. */
static const double flips_most = 0.05;

/* One convolution under trial. */
struct trial {
    struct cuda *cuda;
    const struct filter *filter;
    const struct conv_desc *desc;
    struct tensor in, out, mask; /* with data; mask.c 0: none */
    void *scratch;
    size_t scratch_bytes;
    char *random;             /* BLOCK_BYTES of values */
    char *right, *right_mask; /* the default's output: a block from each end */
    char *sample, *sample_mask;
    cudaEvent_t begin, end;
};

/* What identifies a convolution; the file itself is of one GPU and one set of libraries. */
static void key_of(const struct cuda *cuda, const struct filter *filter, const struct conv_desc *d,
                   char key[KEY_LENGTH])
{
    const struct filter_desc *f = &filter->desc;

    snprintf(key, KEY_LENGTH, "%s %s x %lldx%lldx%d/%d y %lldx%lldx%d/%d mask %d k %dx%d s %d p %dx%d linear %d%s",
             d->back ? "back" : "forward", cuda->device.precision, (long long)d->x.h, (long long)d->x.w, d->x.c,
             d->x.pitch, (long long)d->y.h, (long long)d->y.w, d->y.c, d->y.pitch, d->mask.c ? d->mask.pitch : 0,
             f->kh, f->kw, f->stride, f->pad_h, f->pad_w, f->linear, d->accumulate ? " add" : "");
}

/* Buffers ------------------------------------------------------------------------------------------------- */

/* Values of either sign from 0.5 to 2, in the type of the activations. */
static void random_fill(struct trial *t)
{
    uint64_t state = 1;

    for (size_t i = 0; i < BLOCK_BYTES / sizeof(uint32_t); i++) {
        uint32_t bits;

        state = state * 6364136223846793005u + 1442695040888963407u;
        bits = (uint32_t)(state >> 32);
        if (t->cuda->device.activation == DTYPE_F32) { /* +-[0.5, 2) */
            bits = (bits & 0x80ffffffu) + 0x3f000000u;
        } else if (t->cuda->device.activation == DTYPE_BF16) {
            bits = (bits & 0x80ff80ffu) + 0x3f003f00u;
        } else {
            bits = (bits & 0x87ff87ffu) + 0x38003800u;
        }
        memcpy(t->random + i * sizeof bits, &bits, sizeof bits);
    }
}

static int bytes_fill(struct trial *t, const struct tensor *tensor)
{
    size_t bytes = tensor_bytes(tensor);

    for (size_t done = 0; done < bytes; done += BLOCK_BYTES)
        CUDA_OK(t->cuda, cudaMemcpyAsync((char *)tensor->data + done, t->random,
                                         bytes - done < BLOCK_BYTES ? bytes - done : BLOCK_BYTES,
                                         cudaMemcpyHostToDevice, t->cuda->stream));
    return device_sync(&t->cuda->device);
}

static int buffer_new(struct trial *t, const struct tensor *like, struct tensor *out)
{
    *out = *like;
    out->data = NULL;
    if (like->c == 0)
        return 0;
    out->data = device_alloc(&t->cuda->device, tensor_bytes(out));
    return out->data ? bytes_fill(t, out) : -1;
}

static void trial_free(struct trial *t)
{
    struct device *device = &t->cuda->device;

    device_free(device, t->in.data);
    device_free(device, t->out.data);
    device_free(device, t->mask.data);
    device_free(device, t->scratch);
    if (t->begin)
        CUDA_OK(t->cuda, cudaEventDestroy(t->begin));
    if (t->end)
        CUDA_OK(t->cuda, cudaEventDestroy(t->end));
    free(t->random);
    free(t->right);
    free(t->right_mask);
    free(t->sample);
    free(t->sample_mask);
}

static int trial_init(struct trial *t)
{
    char **const blocks[] = {&t->right, &t->right_mask, &t->sample, &t->sample_mask};

    t->random = malloc(BLOCK_BYTES);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        *blocks[i] = calloc(2, BLOCK_BYTES);
    if (!t->random || !t->right || !t->right_mask || !t->sample || !t->sample_mask)
        return error_set("out of memory for timing a convolution");
    random_fill(t);
    if (buffer_new(t, t->desc->back ? &t->desc->y : &t->desc->x, &t->in) != 0 ||
        buffer_new(t, t->desc->back ? &t->desc->x : &t->desc->y, &t->out) != 0 ||
        buffer_new(t, &t->desc->mask, &t->mask) != 0)
        return -1;
    CUDA_OK(t->cuda, cudaEventCreate(&t->begin));
    CUDA_OK(t->cuda, cudaEventCreate(&t->end));
    return cuda_failure(t->cuda);
}

static int scratch_reserve(struct trial *t, size_t bytes)
{
    if (bytes <= t->scratch_bytes)
        return 0;
    device_free(&t->cuda->device, t->scratch);
    t->scratch_bytes = 0;
    t->scratch = device_alloc(&t->cuda->device, bytes);
    if (!t->scratch)
        return -1;
    t->scratch_bytes = bytes;
    return 0;
}

/* Trying -------------------------------------------------------------------------------------------------- */

static void run(struct trial *t, const struct program *program)
{
    program_run(program, t->cuda, t->filter, t->desc, &t->in, &t->out, t->mask.c ? &t->mask : NULL, t->scratch);
}

/* A block from each end of a tensor's bytes. */
static int ends_download(struct trial *t, const struct tensor *tensor, char *to)
{
    size_t bytes = tensor_bytes(tensor), part = bytes < BLOCK_BYTES ? bytes : BLOCK_BYTES;

    if (device_download(&t->cuda->device, to, tensor->data, part) != 0)
        return -1;
    return device_download(&t->cuda->device, to + BLOCK_BYTES, (char *)tensor->data + bytes - part, part);
}

/* Runs program once on fresh values and takes samples of what it wrote. */
static int run_fresh(struct trial *t, const struct program *program, char *sample, char *sample_mask)
{
    bool writes_mask = t->mask.c > 0 && !t->desc->back;

    if (scratch_reserve(t, program->scratch) != 0 || bytes_fill(t, &t->out) != 0 ||
        (writes_mask && bytes_fill(t, &t->mask) != 0))
        return -1;
    run(t, program);
    if (device_sync(&t->cuda->device) != 0 || ends_download(t, &t->out, sample) != 0)
        return -1;
    return writes_mask ? ends_download(t, &t->mask, sample_mask) : 0;
}

static double value_at(enum dtype type, const char *values, size_t i)
{
    uint16_t half;
    uint32_t bits;
    float value;

    if (type == DTYPE_F32) {
        memcpy(&value, values + i * sizeof value, sizeof value);
        return (double)value;
    }
    memcpy(&half, values + i * sizeof half, sizeof half);
    if (type == DTYPE_F16) {
        double magnitude =
            half >> 10 & 31 ? ldexp((half & 1023) + 1024, (half >> 10 & 31) - 25) : ldexp(half & 1023, -24);

        if ((half >> 10 & 31) == 31)
            magnitude = NAN; /* as wrong as an infinity is here */
        return half >> 15 ? -magnitude : magnitude;
    }
    bits = (uint32_t)half << 16;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

/* Whether the samples agree with the default's. */
static bool is_right(const struct trial *t)
{
    enum dtype type = t->cuda->device.activation;
    size_t values = 2 * BLOCK_BYTES / dtype_bytes(type, 1), flips = 0;
    double difference = 0, energy = 0;

    for (size_t i = 0; i < values; i++) {
        double want = value_at(type, t->right, i), error = value_at(type, t->sample, i) - want;

        difference += error * error;
        energy += want * want;
    }
    for (size_t i = 0; i < 2 * BLOCK_BYTES; i++)
        flips += (size_t)__builtin_popcount((unsigned char)(t->right_mask[i] ^ t->sample_mask[i]));
    return difference <= tolerance_of(t->cuda) * tolerance_of(t->cuda) * energy &&
           (double)flips <= flips_most * 8 * (double)tensor_bytes(&t->mask);
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Median milliseconds of a run; infinite where it fails. Ends early where it is out of the race. */
static float milliseconds_of(struct trial *t, const struct program *program, float best)
{
    float times[RUNS];

    for (int i = 0; i < RUNS; i++) {
        CUDA_OK(t->cuda, cudaEventRecord(t->begin, t->cuda->stream));
        run(t, program);
        CUDA_OK(t->cuda, cudaEventRecord(t->end, t->cuda->stream));
        CUDA_OK(t->cuda, cudaEventSynchronize(t->end));
        CUDA_OK(t->cuda, cudaEventElapsedTime(&times[i], t->begin, t->end));
        if (cuda_failure(t->cuda) != 0 || (i == 1 && times[0] > 2 * best && times[1] > 2 * best))
            return INFINITY;
    }
    qsort(times, RUNS, sizeof *times, ascending);
    return times[RUNS / 2];
}

/* Candidates ---------------------------------------------------------------------------------------------- */

/* Everything that might be fastest. */
struct candidates {
    struct program_recipe *recipes;
    int count;
};

static void candidates_add_kind(struct candidates *all, const struct trial *t, struct program_recipe recipe)
{
    struct graph_planner planner = cuda_planner(t->cuda);
    struct graph_choice choices[CHOICES_MOST];
    struct graph graph;
    int count;

    if (recipe.kind == RECIPE_MATMUL) {
        for (recipe.rank = 0; recipe.rank < RANKS; recipe.rank++)
            all->recipes[all->count++] = recipe;
        return;
    }
    graph = recipe_graph(&recipe, t->filter, t->desc, t->cuda->device.activation);
    count = graph_choices(&planner, &graph, GRAPH_SEARCH_ALL, choices, CHOICES_MOST); /* -1: none of this kind */
    for (int i = 0; i < count; i++) {
        recipe.choice = choices[i];
        all->recipes[all->count++] = recipe;
    }
}

static int candidates_init(struct candidates *all, const struct trial *t)
{
    struct program_recipe kinds[RECIPES_MOST];
    /* What the library fuses, and the default's kinds, are one list; OURS adds nothing that is not among these. */
    int count = recipes_list(CONV_LIBRARY, t->filter, t->desc, kinds);

    *all = (struct candidates){.recipes = malloc(RECIPES_MOST * CHOICES_MOST * sizeof *all->recipes)};
    if (!all->recipes)
        return error_set("out of memory for timing a convolution");
    for (int i = 0; i < count; i++)
        candidates_add_kind(all, t, kinds[i]);
    return 0;
}

/* Compiles a candidate's plan and writes it down. NULL where that fails. */
static char *compiled_text(const struct graph_planner *planner, const struct trial *t,
                           const struct program_recipe *recipe)
{
    struct graph graph = recipe_graph(recipe, t->filter, t->desc, t->cuda->device.activation);
    struct graph_plan *plan;
    char *text = graph_plan_new(planner, &graph, &recipe->choice, &plan) == 0 ? graph_plan_text(plan) : NULL;

    graph_plan_free(plan);
    return text;
}

/* Compiling takes about a second for each plan, so all processors share it, each with a handle of its own; the
 * texts are then loaded with the device's. texts[i] stays NULL where candidate i is not compiled, or cannot be. */
static void candidates_compile(const struct candidates *all, const struct trial *t, char **texts)
{
#pragma omp parallel
    {
        struct graph_planner planner = {.tensor_f32 = t->cuda->tensor_f32};
        bool ready = false;

#pragma omp for schedule(dynamic)
        for (int i = 0; i < all->count; i++) {
            if (!all->recipes[i].choice.compiled)
                continue;
            if (!planner.handle)
                ready = cudaSetDevice(t->cuda->index) == cudaSuccess &&
                        cudnnCreate(&planner.handle) == CUDNN_STATUS_SUCCESS;
            if (ready)
                texts[i] = compiled_text(&planner, t, &all->recipes[i]);
        }
        if (ready)
            cudnnDestroy(planner.handle);
    }
}

/* Makes candidate i ready. */
static int candidate_init(struct program *program, const struct candidates *all, int i, const struct trial *t,
                          char **texts)
{
    char *text = texts[i];

    texts[i] = NULL; /* the program's from here on */
    if (all->recipes[i].choice.compiled && !text)
        return -1;
    return program_init(program, t->cuda, t->filter, t->desc, &all->recipes[i], text);
}

/* best, which holds the default, becomes the fastest program that is right. */
static int race(struct trial *t, const struct candidates *all, char **texts, struct program *best)
{
    float best_time;

    if (run_fresh(t, best, t->right, t->right_mask) != 0)
        return -1;
    best_time = milliseconds_of(t, best, INFINITY);
    for (int i = 0; i < all->count; i++) {
        struct program program = {0};
        float time = INFINITY;

        if (candidate_init(&program, all, i, t, texts) == 0 && program.scratch <= scratch_most &&
            run_fresh(t, &program, t->sample, t->sample_mask) == 0 && is_right(t))
            time = milliseconds_of(t, &program, best_time);
        if (time < best_time) {
            program_free(best);
            *best = program;
            best_time = time;
        } else {
            program_free(&program);
        }
    }
    return device_sync(&t->cuda->device);
}

/* Times all candidates. best, which holds the default, becomes the winner. */
static int tune(struct trial *t, struct program *best)
{
    struct candidates all = {0};
    char **texts = NULL;
    int result = -1;

    if (trial_init(t) != 0 || candidates_init(&all, t) != 0)
        goto fail;
    texts = calloc((size_t)all.count, sizeof *texts);
    if (!texts) {
        error_set("out of memory for timing a convolution");
        goto fail;
    }
    candidates_compile(&all, t, texts);
    result = race(t, &all, texts, best);
    for (int i = 0; i < all.count; i++)
        free(texts[i]);
fail:
    free(texts);
    free(all.recipes);
    trial_free(t);
    return result;
}

/* Whether the convolution has such a kind of program; a file can say anything. */
static bool recipe_fits(const struct program_recipe *recipe, const struct filter *filter,
                        const struct conv_desc *desc)
{
    struct program_recipe kinds[RECIPES_MOST];
    int count = recipes_list(CONV_LIBRARY, filter, desc, kinds);

    for (int i = 0; i < count; i++)
        if (kinds[i].kind == recipe->kind && kinds[i].fusion == recipe->fusion)
            return true;
    return false;
}

int program_init_tuned(struct program *program, struct cuda *cuda, const struct filter *filter,
                       const struct conv_desc *desc)
{
    struct trial trial = {.cuda = cuda, .filter = filter, .desc = desc};
    struct program_recipe recipe;
    char key[KEY_LENGTH], *text;

    if (filter_is_first(filter))
        return program_init_default(program, cuda, filter, desc, CONV_AUTO);
    key_of(cuda, filter, desc, key);
    if (tuning_find(cuda->tuning, key, &recipe, &text)) {
        int result = PROGRAM_REFUSED;

        if (recipe_fits(&recipe, filter, desc))
            result = program_init(program, cuda, filter, desc, &recipe, text);
        else
            free(text);
        if (result < 0)
            return -1;
        if (result == 0 && program->recipe.algorithm == recipe.algorithm)
            return 0;
        if (result == 0)
            program_free(program); /* cuBLASLt proposes something else today */
    }
    if (program_init_default(program, cuda, filter, desc, CONV_AUTO) != 0)
        return -1;
    if (!cuda->tune ||
        (tune(&trial, program) == 0 && tuning_keep(cuda->tuning, key, &program->recipe, program->text) == 0))
        return 0;
    program_free(program);
    return -1;
}
