/* Times our step: loss and gradient of a target at a random picture, weights loaded, after a warm-up.
 * usage: bench_step WEIGHTS LAYER WIDTH HEIGHT DEVICE PRECISION THREADS SECONDS [tune]
 * As a dream does it, steps are recorded where the device can, and several queued before one wait: as many as take
 * about 50 ms. Repeats that for about SECONDS (at least 3 times) and prints one line: minimum and median seconds a
 * step, GFLOP/s at the median (multiply-adds counted as 2, forward and backward), the most bytes that the process held
 * at once, and the plan's bytes. bench/peers/ has programs that do the same work and print the same line, to the
 * fourth number. */
#include "host/error.h"
#include "host/plan.h"
#include "host/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define BATCH_SECONDS 0.05
enum { MOST_RUNS = 1000, MOST_QUEUED = 100 };

/* What a step works on. */
struct bench {
    struct device *device;
    struct plan *plan;
    struct tensor x, g;
    struct ascent *state;
    struct recording *recording; /* of a step; NULL: none */
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(bool succeeded)
{
    if (succeeded)
        return;
    fprintf(stderr, "bench_step: %s\n", error_message());
    exit(EXIT_FAILURE);
}

/* Multiply-adds of the convolutions that target needs, forward, for a picture of h x w. */
static double multiply_adds(const struct network *network, int target, int64_t h, int64_t w)
{
    bool needed[NETWORK_NODES] = {[0] = false};
    double sum = 0;

    needed[target] = true;
    for (int i = target; i > 0; i--) {
        const struct node *node = &network->nodes[i];
        int64_t shape[3];

        if (!needed[i])
            continue;
        for (int k = 0; k < node->inputs; k++)
            needed[node->from[k]] = true;
        network_shape(network, i, h, w, shape);
        if (node->kind == NODE_CONV)
            sum += (double)(shape[0] * shape[1] * shape[2]) * node->kh * node->kw *
                   network->nodes[node->from[0]].channels;
    }
    return sum;
}

/* The most bytes of memory that this process has held at once. */
static long long peak_bytes(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return 1024LL * usage.ru_maxrss;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static struct tensor random_picture(struct device *device, int64_t h, int64_t w)
{
    struct tensor t = {.h = h, .w = w, .c = 3, .pitch = 3, .type = device->picture};
    float *values = malloc((size_t)(h * w * 3) * sizeof *values);
    uint64_t state = 1;

    must(values);
    for (int64_t i = 0; i < h * w * 3; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        values[i] = (float)(state >> 40) / 8388608.f - 1;
    }
    t.data = device_alloc(device, tensor_bytes(&t));
    must(t.data && tensor_upload(device, &t, values) == 0);
    free(values);
    return t;
}

static void step_queue(const struct bench *b)
{
    device_clear(b->device, b->state, ascent_bytes(1));
    plan_forward(b->plan, &b->x, b->state);
    plan_backward(b->plan, &b->g);
}

/* Seconds a step, of count steps that are queued and then waited for. */
static double steps_time(const struct bench *b, int count)
{
    double start = now();

    for (int i = 0; i < count; i++) {
        if (b->recording)
            device_replay(b->device, b->recording);
        else
            step_queue(b);
    }
    must(device_sync(b->device) == 0);
    return (now() - start) / count;
}

/* Runs a step as it is and, where the device can, one from a recording. Returns how many fill a batch. */
static int warm_up(struct bench *b)
{
    steps_time(b, 1);
    if (b->device->records) {
        must(device_record_begin(b->device) == 0);
        step_queue(b);
        b->recording = device_record_end(b->device);
        must(b->recording);
        steps_time(b, 1);
    }
    double count = BATCH_SECONDS / steps_time(b, 1);
    return count < 1 ? 1 : count > MOST_QUEUED ? MOST_QUEUED : (int)count;
}

int main(int argc, char **argv)
{
    double times[MOST_RUNS];
    int runs = 0;

    if (argc < 9 || argc > 10 || (argc == 10 && strcmp(argv[9], "tune") != 0)) {
        fprintf(stderr, "usage: bench_step WEIGHTS LAYER WIDTH HEIGHT DEVICE PRECISION THREADS SECONDS [tune]\n");
        return 2;
    }

    struct device_options options = {.precision = argv[6], .threads = atoi(argv[7]), .tune = argc == 10};
    int64_t w = atoll(argv[3]), h = atoll(argv[4]);
    double limit = atof(argv[8]);
    struct device *device = device_open(argv[5], &options);
    must(device);
    struct weights *weights = weights_open(argv[1]);
    struct network network;
    must(weights && network_init(&network, weights) == 0);
    struct target target = {.node = network_find(&network, argv[2]), .weight = 1};
    must(target.node >= 0);
    struct net *net = net_open(device, &network, weights, &target, 1, true);
    must(net);
    struct bench b = {.device = device, .plan = plan_new(net, h, w)};
    must(b.plan && plan_allocate(b.plan) == 0);
    b.x = random_picture(device, h, w);
    b.g = random_picture(device, h, w);
    b.state = device_alloc(device, ascent_bytes(1));
    must(b.state);

    int count = warm_up(&b);
    for (double begin = now(); runs < MOST_RUNS && (runs < 3 || now() - begin < limit); runs++)
        times[runs] = steps_time(&b, count);
    qsort(times, (size_t)runs, sizeof *times, ascending);
    double median = times[runs / 2];
    printf("%.6f %.6f %.1f %lld %zu\n", times[0], median,
           4e-9 * multiply_adds(&network, target.node, h, w) / median, peak_bytes(), plan_bytes(b.plan));

    device_recording_free(device, b.recording);
    device_free(device, b.state);
    device_free(device, b.x.data);
    device_free(device, b.g.data);
    plan_free(b.plan);
    net_close(net);
    weights_close(weights);
    device_close(device);
    return 0;
}
