/* Asks the real cuDNN, with no GPU there, whether it has a plan for every convolution that the network asks for, on
 * described GPUs: every graph of every needed layer, forward and backward, as host/plan.c lays its tensors out.
 * usage: plans GPU.json PRECISION WIDTHxHEIGHT TARGET [fused [EVERY]]
 * `fused` asks for what CONV_LIBRARY would run, too: plans that are compiled, in about a second each, and want a
 * libcuda.so.1 to load (libcuda.sh makes one); EVERY takes only each EVERYth of them. */
#include "tests/check.h"

#include "cuda/conv.h"

#include "host/error.h"
#include "host/plan.h"

#include <string.h>

enum { CHOICES_MOST = 128, CONVOLUTIONS_MOST = 512 };

/* A device that computes nothing: it lists what is asked of it. */
struct lister {
    struct device device;
    int count;
    struct asked {
        struct filter filter; /* without data */
        struct conv_desc desc;
    } asked[CONVOLUTIONS_MOST];
};

static struct filter *list_filter(struct device *device, const struct filter_desc *desc)
{
    struct filter *filter = calloc(1, sizeof *filter);

    (void)device;
    if (filter)
        filter->desc = *desc;
    return filter;
}

static void free_filter(struct device *device, struct filter *filter)
{
    (void)device;
    free(filter);
}

static struct conv *list_conv(struct device *device, struct filter *filter, const struct conv_desc *desc,
                              size_t *scratch_bytes)
{
    struct lister *lister = (struct lister *)device;

    if (lister->count == CONVOLUTIONS_MOST) {
        error_set("more than %d convolutions", CONVOLUTIONS_MOST);
        return NULL;
    }
    lister->asked[lister->count] = (struct asked){*filter, *desc};
    *scratch_bytes = 0;
    return (struct conv *)&lister->asked[lister->count++]; /* for the plan to keep */
}

static void free_conv(struct device *device, struct conv *conv)
{
    (void)device;
    (void)conv;
}

static const struct device_ops lister_ops = {
    .filter_new = list_filter, .filter_free = free_filter, .conv_new = list_conv, .conv_free = free_conv};

static void must(bool succeeded)
{
    if (succeeded)
        return;
    printf("%s\n", error_message());
    exit(EXIT_FAILURE);
}

/* Lists the convolutions of a step to target at w x h pixels. */
static void list_step(struct lister *lister, const char *target_name, int64_t h, int64_t w)
{
    struct weights *weights = weights_open("untrained");
    struct target target = {.weight = 1};
    struct network network;
    struct net *net;
    struct plan *plan;

    must(weights && network_init(&network, weights) == 0);
    target.node = network_find(&network, target_name);
    must(target.node >= 0);
    net = net_open(&lister->device, &network, weights, &target, 1, true);
    must(net);
    plan = plan_new(net, h, w);
    must(plan);
    plan_free(plan);
    net_close(net);
    weights_close(weights);
}

/* A compiled plan comes back from its text. */
static void check_text(const struct graph_planner *planner, const struct graph *graph,
                       const struct graph_plan *plan)
{
    char *text = graph_plan_text(plan);
    struct graph_plan *again = text ? graph_plan_load(planner, graph, text) : NULL;

    CHECK(again && graph_plan_scratch(again) == graph_plan_scratch(plan), "%s", error_message());
    graph_plan_free(again);
    free(text);
}

/* Whether cuDNN has a plan for the recipe; with VERBOSE set in the environment it is printed. */
static bool has_plan(const struct graph_planner *planner, enum dtype type, const struct asked *asked,
                     const struct program_recipe *recipe, bool compiled)
{
    static struct graph_choice choices[CHOICES_MOST];
    struct graph graph = recipe_graph(recipe, &asked->filter, &asked->desc, type);
    int count = graph_choices(planner, &graph, GRAPH_SEARCH_FIRST, choices, CHOICES_MOST);

    for (int i = 0; i < count; i++) {
        struct graph_plan *plan;

        if (choices[i].compiled != compiled)
            continue;
        int result = graph_plan_new(planner, &graph, &choices[i], &plan);

        CHECK(result >= 0, "a failure that is no refusal: %s", error_message());
        if (result != 0)
            continue;
        if (getenv("VERBOSE"))
            printf("  engine %lld, %zu bytes of scratch\n", (long long)choices[i].engine, graph_plan_scratch(plan));
        if (compiled)
            check_text(planner, &graph, plan);
        graph_plan_free(plan);
        return true;
    }
    return false;
}

static const char *name_of(const struct asked *asked, const struct program_recipe *recipe)
{
    static char name[160];
    const struct filter_desc *f = &asked->filter.desc;

    snprintf(name, sizeof name, "%dx%d/%d %d->%d %s%s%s, kind %d fusion %d, y %lldx%lld", f->kh, f->kw, f->stride,
             f->cin, f->cout, asked->desc.back ? "back" : "forward", asked->desc.accumulate ? " adding" : "",
             asked->desc.mask.c ? " masked" : "", recipe->kind, recipe->fusion, (long long)asked->desc.y.h,
             (long long)asked->desc.y.w);
    return name;
}

/* Every convolution must have a precompiled plan among what the default tries. */
static int check_default(const struct graph_planner *planner, enum dtype type, const struct asked *asked)
{
    struct program_recipe recipes[RECIPES_MOST];
    int count = recipes_list(CONV_AUTO, &asked->filter, &asked->desc, recipes), plans = 0;

    for (int i = 0; i < count; i++) {
        bool found;

        if (recipes[i].kind == RECIPE_FIRST || recipes[i].kind == RECIPE_MATMUL)
            continue; /* no plan of cuDNN's; cuBLASLt tells nothing without a GPU */
        found = has_plan(planner, type, asked, &recipes[i], false);
        CHECK(found, "no precompiled plan for %s: %s", name_of(asked, &recipes[i]), error_message());
        plans += found;
    }
    return plans;
}

/* Packed tensors can have everything in one compiled kernel. */
static int check_fused(const struct graph_planner *planner, enum dtype type, const struct asked *asked)
{
    const struct conv_desc *d = &asked->desc;
    bool packed = d->x.pitch == d->x.c && d->y.pitch == d->y.c && (!d->mask.c || d->mask.pitch == d->mask.c);
    struct program_recipe recipes[RECIPES_MOST];

    recipes_list(CONV_LIBRARY, &asked->filter, &asked->desc, recipes);
    if (!packed || recipes[0].kind == RECIPE_FIRST || recipes[0].fusion != FUSION_ALL)
        return 0;
    bool found = has_plan(planner, type, asked, &recipes[0], true);
    CHECK(found, "no compiled plan for %s: %s", name_of(asked, &recipes[0]), error_message());
    return found;
}

/* The file's text, without the line end. */
static char *read_text(const char *path)
{
    static char text[8192];
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;

    if (!length) {
        printf("%s: cannot be read\n", path);
        exit(EXIT_FAILURE);
    }
    fclose(file);
    while (length > 0 && text[length - 1] <= ' ')
        length--;
    text[length] = '\0';
    return text;
}

int main(int argc, char **argv)
{
    static struct lister lister = {.device = {.ops = &lister_ops, .name = "lister", .picture = DTYPE_F32}};
    struct graph_planner planner = {0};
    long long w, h;
    int plans = 0, fused = 0, every = argc > 6 ? atoi(argv[6]) : 1;
    const char *precision = argc > 2 ? argv[2] : "";

    if (argc < 5 || sscanf(argv[3], "%lldx%lld", &w, &h) != 2 || every < 1) {
        printf("usage: plans GPU.json PRECISION WIDTHxHEIGHT TARGET [fused [EVERY]]\n");
        return 2;
    }
    lister.device.activation = !strcmp(precision, "fp16")   ? DTYPE_F16
                               : !strcmp(precision, "bf16") ? DTYPE_BF16
                                                            : DTYPE_F32;
    planner.tensor_f32 = !strcmp(precision, "tf32");
    planner.described = graph_describe(read_text(argv[1]));
    must(planner.described);
    list_step(&lister, argv[4], h, w);
    for (int i = 0; i < lister.count; i++) {
        plans += check_default(&planner, lister.device.activation, &lister.asked[i]);
        if (argc > 5 && i % every == 0)
            fused += check_fused(&planner, lister.device.activation, &lister.asked[i]);
    }
    printf("%s %s %lldx%lld %s: %d convolutions, %d precompiled plans, %d compiled ones\n", argv[1], precision, w,
           h, argv[4], lister.count, plans, fused);
    CHECK(plans > lister.count / 2, "%d plans for %d convolutions", plans, lister.count);
    cudnnBackendDestroyDescriptor(planner.described);
    return check_result();
}
