/* What the files of the CUDA device's convolutions share: parameters (filter.c), the ways to compute one
 * (program.c), their timing (tune.c) and the file that keeps the fastest (tuning.c). */
#ifndef PAREIDOLIA_CUDA_CONV_H
#define PAREIDOLIA_CUDA_CONV_H

#include "cuda.h"
#include "graph.h"
#include "matmul.h"

/* One allocation on the device holds all of it. */
struct filter {
    struct filter_desc desc; /* kernel and bias are NULL: they belonged to the caller */
    void *memory;
    float *bias;     /* [cout] */
    void *bias_same; /* [cout], in the activations' type, as the libraries want it */
    void *kernel;    /* [cout][kh][kw][cin], activations' type; the first layer: float [kh][kw][cin][cout] */
    void *flipped;   /* [cin][kh][kw][cout] with the taps in reverse order; NULL unless filter_is_flippable */
};

/* Whether the convolution reads the picture: first.cu's. */
static inline bool filter_is_first(const struct filter *filter)
{
    return filter->desc.cin == 3;
}

/* Whether it is a matrix product. */
static inline bool filter_is_pointwise(const struct filter *filter)
{
    const struct filter_desc *f = &filter->desc;

    return f->kh == 1 && f->kw == 1 && f->stride == 1 && f->pad_h == 0 && f->pad_w == 0;
}

/* Whether its way back is a forward convolution with the flipped filter. */
static inline bool filter_is_flippable(const struct filter *filter)
{
    return filter->desc.stride == 1 && !filter_is_pointwise(filter) && !filter_is_first(filter);
}

/* How a convolution is computed. What its library calls leave to do, our passes (passes.cu) do. */
enum recipe_kind {
    RECIPE_FIRST,   /* first.cu */
    RECIPE_MATMUL,  /* cuBLASLt */
    RECIPE_GRAPH,   /* cuDNN, the convolution as it is (backward: the transposed one) */
    RECIPE_FLIPPED, /* cuDNN, backward as a forward convolution with the flipped filter */
};

/* How much of it the library's one call does. */
enum recipe_fusion {
    FUSION_NONE, /* the sums; backward adds them to dx */
    FUSION_RELU, /* forward: and bias and ReLU */
    FUSION_ALL,  /* and the mask: nothing is left to do */
};

struct program_recipe {
    enum recipe_kind kind;
    enum recipe_fusion fusion;
    struct graph_choice choice; /* GRAPH, FLIPPED */
    int rank;                   /* MATMUL: of cuBLASLt's proposals */
    uint64_t algorithm;         /* MATMUL: what that proposal was (matmul_algorithm) */
};

/* A recipe made ready for one convolution. */
struct program {
    struct program_recipe recipe;
    char *text;              /* what its plan was loaded from (graph_plan_text), or NULL; owned */
    struct graph_plan *plan; /* GRAPH, FLIPPED */
    struct matmul *matmul;   /* MATMUL: the outputs that get bias and ReLU, or all of backward; may be NULL */
    struct matmul *linear;   /* MATMUL forward: the linear outputs; may be NULL */
    size_t scratch;          /* bytes that each run wants */
};

/* The kinds of recipe worth trying, the default's first; writes them to recipes[0..RECIPES_MOST) without choice or
 * rank, and returns how many. engine narrows them down (struct device_options). */
enum { RECIPES_MOST = 6 };
int recipes_list(enum conv_engine engine, const struct filter *filter, const struct conv_desc *desc,
                 struct program_recipe recipes[RECIPES_MOST]);

/* The graph that a recipe has cuDNN compute. */
struct graph recipe_graph(const struct program_recipe *recipe, const struct filter *filter,
                          const struct conv_desc *desc, enum dtype type);

/* For whom this device's plans are made. */
struct graph_planner cuda_planner(const struct cuda *cuda);

/* Makes exactly this recipe ready, a plan of cuDNN's from its text where there is one (taken; may be NULL). 0;
 * PROGRAM_REFUSED with an error where the library does not take it, so that another may be tried; -1 with an error
 * where anything else fails. Unless it is 0 the program is empty. */
enum { PROGRAM_REFUSED = 1 };
int program_init(struct program *program, struct cuda *cuda, const struct filter *filter,
                 const struct conv_desc *desc, const struct program_recipe *recipe, char *text);

/* Makes the default ready: the first kind of recipe and the first of the library's proposals for it that can be
 * made; run-time compiled ones only where the engine is CONV_LIBRARY. 0, or -1 with an error. */
int program_init_default(struct program *program, struct cuda *cuda, const struct filter *filter,
                         const struct conv_desc *desc, enum conv_engine engine);
void program_free(struct program *program);

/* Queues the whole convolution. in is x or dy, out is y or dx; mask NULL where desc has none. */
void program_run(const struct program *program, struct cuda *cuda, const struct filter *filter,
                 const struct conv_desc *desc, const struct tensor *in, const struct tensor *out,
                 const struct tensor *mask, void *scratch);

/* tune.c: like program_init_default, with the recipe that is known to be fastest (cuda->tuning); with cuda->tune it
 * is timed now where none is known. */
int program_init_tuned(struct program *program, struct cuda *cuda, const struct filter *filter,
                       const struct conv_desc *desc);

#endif
