/* The ways to compute a convolution: which there are, in which order they are tried, how one is made ready and run.
 * Every way gives the same result to rounding; which is fastest is measured (tune.c) or assumed (here). */
#include "conv.h"

#include "host/error.h"

#include <assert.h>
#include <stdlib.h>

enum { CHOICES_MOST = 128 };

/* Scratch memory that is never too much. */
enum { SCRATCH_LEAST = 8 << 20 };

struct graph_planner cuda_planner(const struct cuda *cuda)
{
    return (struct graph_planner){.handle = cuda->cudnn, .tensor_f32 = cuda->tensor_f32};
}

/* Recipes ------------------------------------------------------------------------------------------------- */

/* Adds a kind of recipe unless the convolution has nothing for it to do. */
static void recipe_add(struct program_recipe *recipes, int *count, enum recipe_kind kind, enum recipe_fusion fusion)
{
    assert(*count < RECIPES_MOST);
    recipes[(*count)++] = (struct program_recipe){.kind = kind, .fusion = fusion};
}

int recipes_list(enum conv_engine engine, const struct filter *filter, const struct conv_desc *desc,
                 struct program_recipe recipes[RECIPES_MOST])
{
    bool relu_for_all = !desc->back && filter->desc.linear == 0;
    bool matmul = filter_is_pointwise(filter), flipped = desc->back && filter_is_flippable(filter);
    int count = 0;

    if (filter_is_first(filter)) {
        recipe_add(recipes, &count, RECIPE_FIRST, FUSION_ALL);
        return count;
    }
    if (engine == CONV_OURS) {
        recipe_add(recipes, &count, RECIPE_GRAPH, FUSION_NONE);
        return count;
    }
    if (engine == CONV_LIBRARY &&
        (desc->back ? desc->mask.c > 0 || desc->accumulate : relu_for_all && desc->mask.c > 0))
        recipe_add(recipes, &count, flipped ? RECIPE_FLIPPED : RECIPE_GRAPH, FUSION_ALL);
    if (matmul) /* slices cost it nothing; cuDNN's precompiled engines copy them */
        recipe_add(recipes, &count, RECIPE_MATMUL, desc->back ? FUSION_NONE : FUSION_RELU);
    if (flipped)
        recipe_add(recipes, &count, RECIPE_FLIPPED, FUSION_NONE);
    if (relu_for_all)
        recipe_add(recipes, &count, RECIPE_GRAPH, FUSION_RELU);
    recipe_add(recipes, &count, RECIPE_GRAPH, FUSION_NONE);
    return count;
}

struct graph recipe_graph(const struct program_recipe *recipe, const struct filter *filter,
                          const struct conv_desc *desc, enum dtype type)
{
    const struct filter_desc *f = &filter->desc;
    bool all = recipe->fusion == FUSION_ALL, flipped = recipe->kind == RECIPE_FLIPPED;
    struct graph graph = {.back = desc->back && !flipped,
                          .type = type,
                          .in = desc->back ? desc->y : desc->x,
                          .out = desc->back ? desc->x : desc->y,
                          .kh = f->kh,
                          .kw = f->kw,
                          .stride = f->stride,
                          .pad_h = flipped ? f->kh - 1 - f->pad_h : f->pad_h,
                          .pad_w = flipped ? f->kw - 1 - f->pad_w : f->pad_w,
                          .mask = desc->mask};

    if (desc->back) {
        graph.add = all && desc->accumulate;
        graph.accumulate = !all && desc->accumulate;
        graph.apply_mask = all && desc->mask.c > 0;
    } else {
        graph.bias_relu = recipe->fusion != FUSION_NONE;
        graph.write_mask = all && desc->mask.c > 0;
    }
    return graph;
}

/* Making ready -------------------------------------------------------------------------------------------- */

/* The product of filter's outputs [first, first + count), or backward of all inputs. */
static int product_new(struct cuda *cuda, const struct filter *filter, const struct conv_desc *desc, int first,
                       int count, int rank, struct matmul **product)
{
    const struct filter_desc *f = &filter->desc;
    struct matmul_desc matmul = {.type = cuda->device.activation,
                                 .pixels = desc->x.h * desc->x.w,
                                 .m = desc->back ? f->cin : count,
                                 .k = desc->back ? f->cout : f->cin,
                                 .filter_ld = f->cin,
                                 .in_pitch = desc->back ? desc->y.pitch : desc->x.pitch,
                                 .out_pitch = desc->back ? desc->x.pitch : desc->y.pitch,
                                 .transposed = !desc->back,
                                 .accumulate = desc->back && desc->accumulate};

    if (!desc->back && first >= f->linear)
        matmul.bias = (char *)filter->bias_same + dtype_bytes(matmul.type, first);
    return matmul_new(cuda, &matmul, rank, product);
}

static int products_init(struct program *program, struct cuda *cuda, const struct filter *filter,
                         const struct conv_desc *desc)
{
    int linear = desc->back ? 0 : filter->desc.linear, others = filter->desc.cout - linear;
    int rank = program->recipe.rank, result = 0;

    if (others > 0)
        result = product_new(cuda, filter, desc, linear, others, rank, &program->matmul);
    /* The linear outputs are few: their product takes what is proposed first, or the same rank where alone. */
    if (result == 0 && linear > 0)
        result = product_new(cuda, filter, desc, 0, linear, others > 0 ? 0 : rank, &program->linear);
    if (result != 0)
        return result;
    if (program->matmul)
        program->scratch = matmul_scratch(program->matmul);
    if (program->linear && matmul_scratch(program->linear) > program->scratch)
        program->scratch = matmul_scratch(program->linear);
    program->recipe.algorithm = matmul_algorithm(program->matmul ? program->matmul : program->linear);
    return 0;
}

static int plan_init(struct program *program, struct cuda *cuda, const struct filter *filter,
                     const struct conv_desc *desc)
{
    struct graph_planner planner = cuda_planner(cuda);
    struct graph graph = recipe_graph(&program->recipe, filter, desc, cuda->device.activation);
    int result = 0;

    if (!program->text)
        result = graph_plan_new(&planner, &graph, &program->recipe.choice, &program->plan);
    else if (!(program->plan = graph_plan_load(&planner, &graph, program->text)))
        result = PROGRAM_REFUSED;
    if (result == 0)
        program->scratch = graph_plan_scratch(program->plan);
    return result;
}

int program_init(struct program *program, struct cuda *cuda, const struct filter *filter,
                 const struct conv_desc *desc, const struct program_recipe *recipe, char *text)
{
    int result = 0;

    _Static_assert((int)GRAPH_REFUSED == (int)PROGRAM_REFUSED && (int)MATMUL_REFUSED == (int)PROGRAM_REFUSED,
                   "what the libraries refuse is passed on");
    *program = (struct program){.recipe = *recipe, .text = text};
    if (recipe->kind == RECIPE_MATMUL)
        result = products_init(program, cuda, filter, desc);
    else if (recipe->kind != RECIPE_FIRST)
        result = plan_init(program, cuda, filter, desc);
    if (result != 0)
        program_free(program);
    return result;
}

/* The first of cuDNN's proposals that can be made ready with no more scratch memory than its tensors take, which is
 * what packed copies of slices need; some engines want several times that. Where there is none, the first one. */
static int program_init_graph(struct program *program, struct cuda *cuda, const struct filter *filter,
                              const struct conv_desc *desc, struct program_recipe recipe, bool compiled)
{
    struct graph_planner planner = cuda_planner(cuda);
    struct graph graph = recipe_graph(&recipe, filter, desc, cuda->device.activation);
    struct graph_choice choices[CHOICES_MOST];
    int count = graph_choices(&planner, &graph, GRAPH_SEARCH_FIRST, choices, CHOICES_MOST);
    const size_t limits[] = {SCRATCH_LEAST + tensor_bytes(&desc->x) + tensor_bytes(&desc->y), SIZE_MAX};

    for (size_t l = 0; l < sizeof limits / sizeof *limits; l++)
        for (int i = 0; i < count; i++) {
            int result;

            recipe.choice = choices[i];
            if (recipe.choice.compiled && !compiled)
                continue;
            result = program_init(program, cuda, filter, desc, &recipe, NULL);
            if (result < 0 || (result == 0 && program->scratch <= limits[l]))
                return result;
            program_free(program);
        }
    return count < 0 ? -1 : PROGRAM_REFUSED;
}

int program_init_default(struct program *program, struct cuda *cuda, const struct filter *filter,
                         const struct conv_desc *desc, enum conv_engine engine)
{
    struct program_recipe recipes[RECIPES_MOST];
    int count = recipes_list(engine, filter, desc, recipes), result = PROGRAM_REFUSED;

    for (int i = 0; i < count && result == PROGRAM_REFUSED; i++)
        result = recipes[i].kind == RECIPE_FIRST || recipes[i].kind == RECIPE_MATMUL
                     ? program_init(program, cuda, filter, desc, &recipes[i], NULL)
                     : program_init_graph(program, cuda, filter, desc, recipes[i], engine == CONV_LIBRARY);
    return result == 0 ? 0 : -1;
}

void program_free(struct program *program)
{
    graph_plan_free(program->plan);
    matmul_free(program->matmul);
    matmul_free(program->linear);
    free(program->text);
    *program = (struct program){0};
}

/* Running ------------------------------------------------------------------------------------------------- */

static void run_first(struct cuda *cuda, const struct filter *filter, const struct conv_desc *desc,
                      const struct tensor *in, const struct tensor *out, const struct tensor *mask)
{
    if (desc->back)
        cuda_first_conv_back(cuda, filter->kernel, in, out, desc->accumulate, mask);
    else
        cuda_first_conv(cuda, filter->kernel, filter->bias, in, out, mask);
}

static void run_products(const struct program *program, struct cuda *cuda, const struct filter *filter,
                         const struct tensor *in, const struct tensor *out, void *scratch)
{
    enum dtype type = cuda->device.activation;
    int linear = program->linear ? filter->desc.linear : 0;

    if (program->linear)
        matmul_run(cuda, program->linear, filter->kernel, in->data, out->data, scratch);
    if (program->matmul)
        matmul_run(cuda, program->matmul,
                   (const char *)filter->kernel + dtype_bytes(type, (int64_t)linear * filter->desc.cin), in->data,
                   (char *)out->data + dtype_bytes(type, linear), scratch);
}

static void run_graph(const struct program *program, struct cuda *cuda, const struct filter *filter,
                      const struct tensor *in, const struct tensor *out, const struct tensor *mask, void *scratch)
{
    struct graph_data data = {.in = in->data,
                              .filter = program->recipe.kind == RECIPE_FLIPPED ? filter->flipped : filter->kernel,
                              .bias = filter->bias_same,
                              .addend = out->data,
                              .zero = cuda->zero,
                              .out = out->data,
                              .mask = mask ? mask->data : NULL};

    CUDNN_OK(cuda, graph_plan_run(program->plan, cuda->cudnn, &data, scratch));
}

void program_run(const struct program *program, struct cuda *cuda, const struct filter *filter,
                 const struct conv_desc *desc, const struct tensor *in, const struct tensor *out,
                 const struct tensor *mask, void *scratch)
{
    enum recipe_fusion fusion = program->recipe.fusion;

    if (cuda->failed)
        return;
    if (program->recipe.kind == RECIPE_FIRST)
        run_first(cuda, filter, desc, in, out, mask);
    else if (program->recipe.kind == RECIPE_MATMUL)
        run_products(program, cuda, filter, in, out, scratch);
    else
        run_graph(program, cuda, filter, in, out, mask, scratch);
    if (fusion == FUSION_ALL)
        return;
    if (desc->back && mask)
        cuda_back_pass(cuda, out, mask);
    else if (!desc->back && (mask || fusion == FUSION_NONE))
        cuda_forward_pass(cuda, out, fusion == FUSION_NONE ? filter->bias : NULL, filter->desc.linear, mask);
}
