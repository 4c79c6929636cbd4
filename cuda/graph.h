/* Convolutions as cuDNN operation graphs: which engines would run one, and plans that do. Works without a GPU where
 * the planner describes one. Knows nothing of filters, tuning files or passes; conv.c does. */
#ifndef PAREIDOLIA_CUDA_GRAPH_H
#define PAREIDOLIA_CUDA_GRAPH_H

#include "host/device.h"

#include <cudnn.h>

/* For whom plans are made, and what they may do. */
struct graph_planner {
    cudnnHandle_t handle;               /* the GPU that runs them; NULL: */
    cudnnBackendDescriptor_t described; /* a GPU that is only described (graph_describe) */
    bool tensor_f32;                    /* F32 tensors may be multiplied as TF32 */
};

/* A convolution and what is done to its output before that is stored: out = conv(in), or for `back` the transposed
 * convolution; then, as far as asked for, + addend or relu(+ bias), * mask. */
struct graph {
    bool back;
    enum dtype type;       /* of all tensors but masks: F16, BF16 or F32 */
    struct tensor in, out; /* in: what is convolved, x or dy. Only shapes and pitches are read */
    int kh, kw, stride, pad_h, pad_w;
    bool accumulate; /* out += , done by the convolution itself; alone */
    bool add;        /* an addend of out's shape and pitch, which may be out itself */
    bool bias_relu;  /* bias is [c] of the tensors' type */
    bool write_mask; /* with bias_relu: mask = out > 0 */
    bool apply_mask; /* back, or a convolution that stands for one */
    struct tensor mask;
};

/* One way of running a graph: a cuDNN engine and its settings. */
enum { GRAPH_KNOBS = 48 };
struct graph_choice {
    int64_t engine; /* cuDNN's global index */
    int knobs;
    struct {
        int64_t type, value;
    } knob[GRAPH_KNOBS];
    bool compiled; /* generated and compiled at run time, in about a second */
};

/* How far to look: what cuDNN's heuristics would take, or all that might be fastest. */
enum graph_search { GRAPH_SEARCH_FIRST, GRAPH_SEARCH_ALL };

/* Fills choices[0..room) with ways to run graph, the most promising first, and returns how many there are. Left out
 * is what is not deterministic, sums in less than fp32, goes through another transform (FFT, Winograd) or, unless
 * planner->tensor_f32, multiplies F32 in less. 0 with an error where cuDNN refuses the graph. */
int graph_choices(const struct graph_planner *planner, const struct graph *graph, enum graph_search search,
                  struct graph_choice *choices, int room);

/* What a plan's tensors are, at a call, in device memory. bias, addend and mask are NULL where the graph has none;
 * zero is a float 0. */
struct graph_data {
    const void *in, *filter, *bias, *addend, *zero;
    void *out, *mask;
};

struct graph_plan;

/* Makes a plan that is ready to run. 0; GRAPH_REFUSED with cuDNN's words where the engine does not take the graph,
 * so that another may be tried; -1 with its words where anything else fails. */
enum { GRAPH_REFUSED = 1 };
int graph_plan_new(const struct graph_planner *planner, const struct graph *graph,
                   const struct graph_choice *choice, struct graph_plan **plan);
void graph_plan_free(struct graph_plan *plan);
size_t graph_plan_scratch(const struct graph_plan *plan);

/* A finalised plan as text to free(), in which a compiled one keeps its machine code; and the plan of the same
 * graph back from it in about a millisecond. NULL with cuDNN's words where it is not of this GPU, graph and
 * version. */
char *graph_plan_text(const struct graph_plan *plan);
struct graph_plan *graph_plan_load(const struct graph_planner *planner, const struct graph *graph,
                                   const char *text);

/* Queues it on the stream of handle. */
cudnnStatus_t graph_plan_run(const struct graph_plan *plan, cudnnHandle_t handle, const struct graph_data *data,
                             void *scratch);

/* A GPU from its description, cuDNN's JSON of a device's properties. NULL with an error. Free it with
 * cudnnBackendDestroyDescriptor. */
cudnnBackendDescriptor_t graph_describe(const char *json);

#endif
