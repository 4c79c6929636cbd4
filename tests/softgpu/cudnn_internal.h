/* What the files of the emulated cuDNN share. A descriptor is a table of attributes, the same code for all types
 * (cudnn_kinds.c, cudnn.c); an operation graph becomes a program (cudnn_graph.c), which an engine of a short list runs
 * (cudnn_engine.c, cudnn_plan.c, cudnn_run.c). */
#ifndef SOFTGPU_CUDNN_INTERNAL_H
#define SOFTGPU_CUDNN_INTERNAL_H

#include "convolution.h"
#include "internal.h"
#include "values.h"

#include <cudnn.h>

/* Descriptors --------------------------------------------------------------------------------------------- */

enum { ATTRIBUTES_MOST = 10, OPERATIONS_MOST = 6, KNOBS_MOST = 4 };

struct descriptor;

struct attribute {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int least, most; /* elements; least 0: may be left out */
    bool found_out;  /* not set by the caller, but at finalisation */
};

struct kind {
    cudnnBackendDescriptorType_t type;
    const char *name;
    cudnnStatus_t (*finalize)(struct descriptor *); /* NULL: nothing to check */
    struct attribute attributes[ATTRIBUTES_MOST];   /* ended by most 0 */
};

struct slot {
    int64_t count;
    void *elements; /* descriptors are references */
};

struct descriptor {
    const struct kind *kind;
    int references;
    bool finalized;
    struct slot slots[ATTRIBUTES_MOST];
    struct program *program; /* an operation graph's */
    struct plan *plan;       /* an execution plan's */
};

const struct kind *kind_of(cudnnBackendDescriptorType_t type); /* NULL: unknown here */
size_t element_bytes(cudnnBackendAttributeType_t type);

struct descriptor *descriptor_new(const struct kind *kind);
void descriptor_release(struct descriptor *descriptor);

/* What is set: element `index` of an attribute. attribute_int reads INT64 and all enumerations. */
int64_t attribute_count(const struct descriptor *d, cudnnBackendAttributeName_t name);
int64_t attribute_int(const struct descriptor *d, cudnnBackendAttributeName_t name, int64_t index);
float attribute_float(const struct descriptor *d, cudnnBackendAttributeName_t name, float fallback);
const char *attribute_text(const struct descriptor *d, cudnnBackendAttributeName_t name); /* no 0 at its end */
void *attribute_pointer(const struct descriptor *d, cudnnBackendAttributeName_t name, int64_t index);
struct descriptor *attribute_descriptor(const struct descriptor *d, cudnnBackendAttributeName_t name, int64_t index);
void attribute_put(struct descriptor *d, cudnnBackendAttributeName_t name, int64_t count, const void *elements);

/* Keeps the sentence of a failed call, and returns status. */
cudnnStatus_t refuse(cudnnStatus_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct cudnnContext {
    int device;
    cudaStream_t stream;
};

/* Programs ------------------------------------------------------------------------------------------------ */

enum { VALUES_MOST = 3 + 2 * OPERATIONS_MOST };

/* A tensor. Sizes and strides in the order n, c, h, w. */
struct value {
    int64_t id, size[4], stride[4], alignment;
    enum number type;
    bool is_virtual, by_value;
};

/* y = mode(x, b); values by index, b -1 where there is none. */
struct step {
    cudnnPointwiseMode_t mode;
    int x, b, y;
};

/* A convolution and what follows, without pointers, so that it can be written down as it is. */
struct program {
    struct value values[VALUES_MOST];
    int value_count;
    int in, filter, out; /* of the convolution */
    struct convolution_shape shape;
    float alpha, beta;
    struct step steps[OPERATIONS_MOST];
    int step_count;
};

enum pattern { PATTERN_FORWARD = 1, PATTERN_BACK = 2, PATTERN_RELU = 4, PATTERN_FUSED = 8 };

cudnnStatus_t tensor_finalize(struct descriptor *);
cudnnStatus_t convolution_finalize(struct descriptor *);
cudnnStatus_t forward_finalize(struct descriptor *);
cudnnStatus_t back_finalize(struct descriptor *);
cudnnStatus_t pointwise_finalize(struct descriptor *);
cudnnStatus_t pointwise_operation_finalize(struct descriptor *);
cudnnStatus_t graph_finalize(struct descriptor *);

/* The patterns that a program is of, in bits; 0 with a sentence. */
unsigned program_patterns(const struct program *program);

/* Whether pixels follow each other without gaps. */
bool value_is_packed(const struct value *value);

/* Bytes from the first number to behind the last. */
size_t value_bytes(const struct value *value);
int64_t value_numbers(const struct value *value);

/* Engines ------------------------------------------------------------------------------------------------- */

struct engine {
    int64_t index;
    unsigned patterns, modes; /* bits of 1 << cudnnBackendHeurMode_t */
    bool tensor_core, deterministic, compiled, accumulator;
    int configs; /* settings that the heuristics propose, by the one knob; 1: there is no knob */
    cudnnBackendKnobType_t knob;
};

enum { ENGINES = 7, ENGINE_INDICES = 10 };
extern const struct engine engines[ENGINES];

const struct engine *engine_find(int64_t index);
cudnnStatus_t engine_supports(const struct engine *engine, const struct program *program);
cudnnStatus_t engine_finalize(struct descriptor *);
cudnnStatus_t knob_finalize(struct descriptor *);
cudnnStatus_t config_finalize(struct descriptor *);
cudnnStatus_t heuristics_finalize(struct descriptor *);

/* Workspace: a packed copy of what is convolved, of every other tensor with gaps, and then an engine's accumulator.
 * packed_room: bytes of a tensor's packed copy, 0 where it is packed. */
size_t packed_room(const struct value *value);
size_t engine_workspace(const struct engine *engine, const struct program *program);

/* Plans --------------------------------------------------------------------------------------------------- */

struct plan {
    int references;
    int device; /* -1: made for a GPU that is only described */
    struct program program;
    const struct engine *engine;
    int parts;
    size_t workspace;
    struct convolution *convolution; /* made when first needed */
};

cudnnStatus_t plan_finalize(struct descriptor *);
cudnnStatus_t pack_finalize(struct descriptor *);
void plan_release(struct plan *plan);

/* Where the values of a program are; virtual ones are nowhere. */
struct bindings {
    void *data[VALUES_MOST];
    float scalar[VALUES_MOST]; /* of values that are given by value */
    void *workspace;
};

/* Whether every tensor lies in memory of the GPU and begins where it must. */
cudnnStatus_t bindings_check(const struct plan *plan, const struct bindings *bindings);

/* Computes. Returns false where oneDNN has no such convolution. */
bool graph_interpret(struct plan *plan, const struct bindings *bindings);

#endif
