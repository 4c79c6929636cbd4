/* Capture and replay. A capture follows work from stream to stream through events and keeps, for every piece, behind
 * which others it comes; a replay runs them in a random order that respects this. */
#include "internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { STREAMS_MOST = 16 };

struct node {
    struct task *task;
    struct nodes *behind; /* earlier nodes */
};

/* Shared by a cudaGraph_t and what is instantiated from it. */
struct graph {
    int references, count, room;
    struct node *nodes;
};

struct CUgraph_st {
    struct graph *graph;
};

struct CUgraphExec_st {
    struct graph *graph;
};

struct capture {
    uint64_t id;
    enum cudaStreamCaptureMode mode;
    cudaStream_t streams[STREAMS_MOST]; /* the first is where it began */
    int count;
    struct graph *graph;
    bool invalid;
};

static struct capture *active;
static uint64_t captures;

/* Nodes --------------------------------------------------------------------------------------------------- */

static struct nodes *nodes_new(int room)
{
    struct nodes *nodes = host_alloc(sizeof *nodes + (size_t)room * sizeof nodes->index[0]);

    nodes->references = 1;
    return nodes;
}

void nodes_release(struct nodes *nodes)
{
    if (nodes && --nodes->references == 0)
        free(nodes);
}

static bool nodes_have(const struct nodes *nodes, int index)
{
    for (int i = 0; i < nodes->count; i++)
        if (nodes->index[i] == index)
            return true;
    return false;
}

static struct graph *graph_new(void)
{
    struct graph *graph = host_alloc(sizeof *graph);

    graph->references = 1;
    return graph;
}

static void graph_release(struct graph *graph)
{
    if (--graph->references > 0)
        return;
    for (int i = 0; i < graph->count; i++) {
        task_release(graph->nodes[i].task);
        nodes_release(graph->nodes[i].behind);
    }
    free(graph->nodes);
    free(graph);
}

/* Capture ------------------------------------------------------------------------------------------------- */

struct capture *capture_active(void)
{
    return active;
}

uint64_t capture_id(void)
{
    return active ? active->id : 0;
}

cudaError_t capture_invalidate(cudaError_t code)
{
    active->invalid = true;
    return code;
}

cudaError_t capture_forbids(void)
{
    if (!active || active->mode == cudaStreamCaptureModeRelaxed)
        return cudaSuccess;
    return capture_invalidate(cudaErrorStreamCaptureUnsupported);
}

cudaError_t capture_add(cudaStream_t stream, struct task *task)
{
    struct graph *graph = active->graph;

    if (active->invalid) {
        task_release(task);
        return cudaErrorStreamCaptureInvalidated;
    }
    if (graph->count == graph->room) {
        graph->room = 2 * graph->room + 16;
        graph->nodes = host_realloc(graph->nodes, (size_t)graph->room * sizeof *graph->nodes);
    }
    graph->nodes[graph->count] = (struct node){task, stream->behind};
    stream->behind = nodes_new(1);
    stream->behind->count = 1;
    stream->behind->index[0] = graph->count++;
    return cudaSuccess;
}

void capture_join(cudaStream_t stream, struct nodes *nodes)
{
    int before = stream->behind ? stream->behind->count : 0;
    struct nodes *both = nodes_new(before + nodes->count);

    if (!stream->capture) {
        assert(active->count < STREAMS_MOST);
        active->streams[active->count++] = stream;
        stream->capture = active;
    }
    for (int i = 0; i < before; i++)
        both->index[both->count++] = stream->behind->index[i];
    for (int i = 0; i < nodes->count; i++)
        if (!nodes_have(both, nodes->index[i]))
            both->index[both->count++] = nodes->index[i];
    nodes_release(stream->behind);
    stream->behind = both;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();
    cudaError_t code = stream_check(stream);

    if (code == cudaSuccess && (unsigned)mode > cudaStreamCaptureModeRelaxed)
        code = cudaErrorInvalidValue;
    if (code == cudaSuccess && active)
        code = cudaErrorIllegalState;
    if (code != cudaSuccess || fails)
        return returned(code != cudaSuccess ? code : cudaErrorMemoryAllocation);
    active = host_alloc(sizeof *active);
    *active = (struct capture){.id = ++captures, .mode = mode, .graph = graph_new()};
    capture_join(stream, &(struct nodes){.count = 0});
    return cudaSuccess;
}

/* Whether the work of every stream comes before what the first one did last. */
static bool is_joined(const struct capture *capture)
{
    const struct graph *graph = capture->graph;
    bool *before = host_alloc((size_t)graph->count + 1), joined = true;
    const struct nodes *end = capture->streams[0]->behind;

    for (int i = 0; i < end->count; i++)
        before[end->index[i]] = true;
    for (int n = graph->count - 1; n >= 0; n--)
        for (int i = 0; before[n] && i < graph->nodes[n].behind->count; i++)
            before[graph->nodes[n].behind->index[i]] = true;
    for (int n = 0; n < graph->count; n++)
        joined = joined && before[n];
    free(before);
    return joined;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *pGraph)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();
    struct capture *capture = active;
    cudaError_t code = failure_code();

    *pGraph = NULL;
    if (!stream || !stream->capture)
        return returned(cudaErrorIllegalState);
    if (stream != capture->streams[0])
        return returned(capture_invalidate(cudaErrorStreamCaptureUnmatched));
    if (code == cudaSuccess && (capture->invalid || fails))
        code = cudaErrorStreamCaptureInvalidated;
    if (code == cudaSuccess && !is_joined(capture))
        code = cudaErrorStreamCaptureUnjoined;
    for (int i = 0; i < capture->count; i++) {
        nodes_release(capture->streams[i]->behind);
        capture->streams[i]->behind = NULL;
        capture->streams[i]->capture = NULL;
    }
    active = NULL;
    if (code == cudaSuccess) {
        *pGraph = host_alloc(sizeof **pGraph);
        (*pGraph)->graph = capture->graph;
        object_count(OBJECT_GRAPH, 1);
    } else {
        graph_release(capture->graph);
    }
    free(capture);
    return returned(code);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *pCaptureStatus)
{
    ONE_AT_A_TIME;
    cudaError_t code = stream_check(stream);

    if (code == cudaSuccess)
        *pCaptureStatus = !stream->capture         ? cudaStreamCaptureStatusNone
                          : stream->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                                     : cudaStreamCaptureStatusActive;
    return returned(code);
}

/* Replay -------------------------------------------------------------------------------------------------- */

static bool is_free(const struct graph *graph, const bool *done, int n)
{
    const struct nodes *behind = graph->nodes[n].behind;

    if (done[n])
        return false;
    for (int i = 0; i < behind->count; i++)
        if (!done[behind->index[i]])
            return false;
    return true;
}

static void replay_run(void *payload)
{
    const struct graph *graph = *(struct graph **)payload;
    bool *done = host_alloc((size_t)graph->count + 1);

    for (int left = graph->count; left > 0 && failure_code() == cudaSuccess; left--) {
        uint64_t free_nodes = 0, chosen;
        int n = -1;

        for (int i = 0; i < graph->count; i++)
            free_nodes += is_free(graph, done, i);
        chosen = random_below(free_nodes) + 1;
        while (chosen > 0)
            chosen -= is_free(graph, done, ++n);
        graph->nodes[n].task->run(graph->nodes[n].task->payload);
        done[n] = true;
    }
    free(done);
}

static void replay_release(void *payload)
{
    graph_release(*(struct graph **)payload);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *pGraphExec, cudaGraph_t graph, unsigned long long flags)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();
    cudaError_t code = failure_code();

    *pGraphExec = NULL;
    if (code == cudaSuccess && (!graph || flags || fails))
        code = graph && !flags ? cudaErrorMemoryAllocation : cudaErrorInvalidValue;
    if (code != cudaSuccess)
        return returned(code);
    *pGraphExec = host_alloc(sizeof **pGraphExec);
    (*pGraphExec)->graph = graph->graph;
    graph->graph->references++;
    object_count(OBJECT_EXEC, 1);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graphExec, cudaStream_t stream)
{
    ONE_AT_A_TIME;
    bool fails = call_fails();
    cudaError_t code = stream_check(stream);
    struct graph **replayed;
    struct task *task;

    if (code == cudaSuccess && (!graphExec || fails))
        code = graphExec ? cudaErrorLaunchOutOfResources : cudaErrorInvalidValue;
    if (code != cudaSuccess)
        return returned(code);
    task = task_new(sizeof(struct graph *), replay_run, replay_release);
    replayed = task_payload(task);
    *replayed = graphExec->graph;
    graphExec->graph->references++;
    return returned(task_queue(stream, task));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    ONE_AT_A_TIME;
    if (!graph)
        return returned(cudaErrorInvalidValue);
    graph_release(graph->graph);
    free(graph);
    object_count(OBJECT_GRAPH, -1);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graphExec)
{
    ONE_AT_A_TIME;
    if (!graphExec)
        return returned(cudaErrorInvalidValue);
    graph_release(graphExec->graph);
    free(graphExec);
    object_count(OBJECT_EXEC, -1);
    return cudaSuccess;
}
