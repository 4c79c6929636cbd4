/* One measurement: plans, warms up, times, counts, and gives all memory back. */
#include "bench.h"

#include "bench_random.h"
#include "bench_time.h"
#include "clock.h"
#include "dream.h"
#include "error.h"
#include "gradient.h"
#include "memory.h"
#include "transfer.h"

#include <inttypes.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What a step works on. */
struct run {
    struct net *net;
    struct device *device;
    struct plan *plan;         /* in one piece; or */
    struct gradient *gradient; /* in tiles */
    struct tensor x, g;
    struct ascent *state;
    struct recording *recording; /* of a step; NULL: none */
};

/* Opening --------------------------------------------------------------------------------------------------- */

/* From now on memory_peak counts anew. False where the system does not let it. */
static bool peak_reset(void)
{
    FILE *file;
    bool written;

    malloc_trim(0);
    file = fopen("/proc/self/clear_refs", "w");
    if (!file)
        return false;
    written = fputs("5", file) >= 0;
    return fclose(file) == 0 && written;
}

/* Seconds since this process began, its libraries' loading included; NAN where the system does not say. */
static double process_seconds(void)
{
    FILE *file = fopen("/proc/self/stat", "r");
    unsigned long long ticks = 0;
    struct timespec now;
    bool read = false;

    /* The second field is the program's name in parentheses, the 22nd the start in ticks since the machine's. */
    if (file)
        read = fscanf(file,
                      "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u "
                      "%*d %*d %*d %*d %*d %*d %llu",
                      &ticks) == 1;
    if (file)
        fclose(file);
    if (!read || clock_gettime(CLOCK_BOOTTIME, &now))
        return NAN;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

/* Threads that this process has; 0 where the system does not say. */
static int process_threads(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    int threads = 0;

    while (file && !threads && fgets(line, sizeof line, file))
        if (sscanf(line, "Threads: %d", &threads) != 1)
            threads = 0;
    if (file)
        fclose(file);
    return threads;
}

int bench_open(struct bench_subject *subject, const struct session_options *options, const struct targets *targets)
{
    double begin = clock_seconds();
    bool counts = peak_reset();
    size_t before = memory_peak();

    *subject = (struct bench_subject){.targets = targets};
    if (session_open(&subject->session, options, targets, true, false))
        return -1;
    subject->startup_seconds = clock_seconds() - begin;
    subject->load_seconds = process_seconds();
    subject->startup_peak = memory_peak();
    subject->startup_known = counts || subject->startup_peak > before;
    return 0;
}

void bench_close(struct bench_subject *subject)
{
    session_close(&subject->session);
    *subject = (struct bench_subject){0};
}

/* Counting -------------------------------------------------------------------------------------------------- */

/* Multiply-adds of the convolutions that the targets need, forward, for a picture of h x w: counted from the
 * network's table, not from a plan, which merges some of them. */
static double multiply_adds(const struct network *network, const struct targets *targets, int64_t h, int64_t w)
{
    bool needed[NETWORK_NODES] = {false};
    double sum = 0;

    for (int i = 0; i < targets->count; i++)
        needed[targets->target[i].node] = true;
    for (int i = network->count - 1; i > 0; i--) {
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

/* What a pixel takes. Of tiles, which all use the same memory, the largest counts. */
static int count_bytes(const struct run *run, struct bench_result *result)
{
    double pixels = (double)result->width * (double)result->height;
    struct plan *plan = run->plan;
    struct plan_memory memory;

    if (run->gradient) {
        const struct tiling *t = gradient_tiling(run->gradient);

        plan = plan_new_crop(run->net, t->crop_rows[0], t->crop_columns[0], result->height, result->width);
        if (!plan)
            return -1;
    }
    int outcome = plan_memory(plan, &memory);
    if (run->gradient)
        plan_free(plan);
    result->bytes_per_pixel = (double)memory.tensors / pixels;
    result->kept_bytes_per_pixel = (double)memory.kept / pixels;
    return outcome;
}

/* Setting up ------------------------------------------------------------------------------------------------ */

static size_t plan_or_tiles_bytes(const struct run *run)
{
    return run->gradient ? gradient_bytes(run->gradient) : plan_bytes(run->plan);
}

/* What the run takes of the device, parameters and libraries left out. */
static size_t run_bytes(const struct run *run)
{
    return plan_or_tiles_bytes(run) + tensor_bytes(&run->x) + tensor_bytes(&run->g) + ascent_bytes(0);
}

/* 0, or 1 with an error where the device cannot hold it. */
static int check_fits(const struct run *run)
{
    const struct tiling *tiling = run->gradient ? gradient_tiling(run->gradient) : NULL;
    int64_t largest = net_largest(run->net, tiling ? tiling->crop_rows[0] : run->x.h,
                                  tiling ? tiling->crop_columns[0] : run->x.w);
    const char *piece = run->gradient ? "in such tiles" : "in one piece";

    if (largest >= NET_TENSOR_LIMIT)
        return error_set("%" PRId64 "x%" PRId64 " pixels %s have a tensor of %" PRId64
                         " values, and tensors are counted in 31 bits; --tile N takes smaller pieces",
                         run->x.w, run->x.h, piece, largest),
               1;
    if (run_bytes(run) > device_available(run->device))
        return error_set("%" PRId64 "x%" PRId64 " pixels %s take %s; %s has %s free", run->x.w, run->x.h, piece,
                         bytes_text(run_bytes(run)).text, run->device->name,
                         bytes_text(device_available(run->device)).text),
               1;
    return 0;
}

static void plan_drop(struct run *run)
{
    gradient_free(run->gradient);
    plan_free(run->plan);
    run->gradient = NULL;
    run->plan = NULL;
}

/* Plans, and takes memory if there is enough. Sets *seconds to what that takes. Returns like bench_measure. */
static int run_plan(struct run *run, int tile, double *seconds)
{
    double begin;
    int unfit;

    plan_drop(run);
    begin = clock_seconds();
    if (tile)
        run->gradient = gradient_new(run->net, run->device, run->x.h, run->x.w, tile);
    else
        run->plan = plan_new(run->net, run->x.h, run->x.w);
    if (!run->gradient && !run->plan)
        return -1;
    unfit = check_fits(run);
    if (unfit)
        return unfit;
    if (run->gradient ? gradient_allocate(run->gradient) : plan_allocate(run->plan))
        return -1;
    *seconds = clock_seconds() - begin;
    return 0;
}

/* Plans twice, as the first time is of another kind. Returns like bench_measure. */
static int run_plan_timed(struct run *run, int tile, struct bench_result *result)
{
    int outcome = run_plan(run, tile, &result->first_plan_seconds);
    uint64_t programs = run->device->programs; /* a sum over all that was ever planned */

    if (!outcome)
        outcome = run_plan(run, tile, &result->plan_seconds);
    result->programs = run->device->programs - programs;
    return outcome;
}

/* A picture, not of zeros. */
static float *random_pixels(int64_t h, int64_t w)
{
    float *values = malloc((size_t)(h * w * 3) * sizeof *values);
    uint64_t state = 1;

    if (!values)
        error_set("no memory for a picture of %" PRId64 "x%" PRId64 " pixels", w, h);
    for (int64_t i = 0; values && i < h * w * 3; i++)
        values[i] = (float)bench_random(&state);
    return values;
}

/* The picture, room for its gradient, and the numbers of the ascent. */
static int run_pictures(struct run *run)
{
    float *values = random_pixels(run->x.h, run->x.w);
    int result = -1;

    run->x.data = values ? device_alloc(run->device, tensor_bytes(&run->x)) : NULL;
    run->g.data = run->x.data ? device_alloc(run->device, tensor_bytes(&run->g)) : NULL;
    run->state = run->g.data ? device_alloc(run->device, ascent_bytes(0)) : NULL;
    if (run->state)
        result = tensor_upload(run->device, &run->x, values);
    free(values);
    return result;
}

static void run_close(struct run *run)
{
    device_recording_free(run->device, run->recording);
    device_free(run->device, run->state);
    device_free(run->device, run->g.data);
    device_free(run->device, run->x.data);
    plan_drop(run);
}

/* Timing ---------------------------------------------------------------------------------------------------- */

static int step_queue(void *context)
{
    struct run *run = context;

    device_clear(run->device, run->state, ascent_bytes(0));
    if (run->gradient)
        return gradient_compute(run->gradient, &run->x, &run->g, run->state);
    plan_forward(run->plan, &run->x, run->state);
    plan_backward(run->plan, &run->g);
    return 0;
}

static int replay_queue(void *context)
{
    struct run *run = context;

    device_replay(run->device, run->recording);
    return 0;
}

/* Records a step where a dream would. It must have run once. */
static int step_record(struct run *run)
{
    if (run->gradient ? !gradient_records(run->gradient) : !run->device->records)
        return 0;
    if (device_record_begin(run->device) || step_queue(run))
        return -1;
    run->recording = device_record_end(run->device);
    return run->recording && bench_time_once(run->device, replay_queue, run) >= 0 ? 0 : -1;
}

static int step_measure(struct run *run, double seconds, struct bench_result *result)
{
    struct bench_times times;

    result->first_seconds = bench_time_once(run->device, step_queue, run);
    if (result->first_seconds < 0 || step_record(run) ||
        bench_time(run->device, run->recording ? replay_queue : step_queue, run, seconds, &times))
        return -1;
    result->seconds = times.median;
    result->least_seconds = times.least;
    result->most_seconds = times.most;
    result->batches = times.batches;
    result->steps = times.runs;
    return 0;
}

/* The most that the process has held since it was opened for the subject, before being the most that it had held
 * when the measurement began. Where the counter could not be set back, that is known only if it has risen since. */
static size_t process_peak(const struct bench_subject *subject, bool counts, size_t before)
{
    size_t peak = memory_peak(), startup = subject->startup_peak;

    if (counts)
        return !subject->startup_known ? 0 : peak > startup ? peak : startup;
    return peak > before || (peak == startup && subject->startup_known) ? peak : 0;
}

/* All that is measured of steps. Returns like bench_measure. */
static int run_measure(struct run *run, const struct bench_subject *subject, const struct bench_settings *settings,
                       struct bench_result *result)
{
    bool counts = peak_reset();
    size_t before = memory_peak();
    int outcome = run_plan_timed(run, settings->tile, result);

    if (outcome)
        return outcome;
    if (run_pictures(run) || step_measure(run, settings->seconds, result))
        return -1;
    result->peak_planned = !run->device->in_host_memory;
    result->peak_bytes = result->peak_planned ? run_bytes(run) : process_peak(subject, counts, before);
    result->threads = run->device->in_host_memory ? process_threads() : 0;
    if (run->gradient) {
        const struct tiling *tiling = gradient_tiling(run->gradient);

        result->tiles = tiling->rows * tiling->columns;
        result->work = tiling->work;
    }
    if (count_bytes(run, result))
        return -1;
    if (settings->profile) {
        result->profile = bench_profile_measure(run->device, run->plan, run->state, settings->seconds);
        if (!result->profile)
            return -1;
    }
    return 0;
}

/* As the command dream does by itself, from a picture in memory to a picture in memory. */
int bench_dream(const struct bench_subject *subject, const struct bench_settings *settings,
                struct bench_result *result)
{
    const struct session *session = &subject->session;
    struct image picture = {.width = result->width, .height = result->height, .bits = 8};
    struct dream_options options = dream_defaults();
    struct dream_log log = {0};
    struct schedule *schedule = NULL;
    double begin;
    int outcome = -1;

    options.clip = weights_are_embedded(session->weights);
    picture.pixels = random_pixels(picture.height, picture.width);
    if (!picture.pixels)
        return -1;
    begin = clock_seconds();
    schedule = schedule_new(session->net, session->host, picture.height, picture.width, &options,
                            &(struct schedule_limits){.tile = settings->tile});
    if (!schedule || dream(schedule, &picture, NULL, NULL, &log))
        goto fail;
    result->dream_seconds = clock_seconds() - begin;
    for (int i = 0; i < log.octaves; i++)
        result->dream_steps += (int)log.octave[i].steps;
    outcome = 0;

fail:
    schedule_free(schedule);
    dream_log_free(&log);
    image_free(&picture);
    return outcome;
}

int bench_measure(const struct bench_subject *subject, const struct bench_settings *settings, int64_t h, int64_t w,
                  struct bench_result *result)
{
    const struct session *session = &subject->session;
    const struct tensor picture = {.h = h, .w = w, .c = 3, .pitch = 3, .type = session->device->picture};
    struct run run = {.net = session->net, .device = session->device, .x = picture, .g = picture};
    const char *path = weights_path(session->weights), *slash = strrchr(path, '/');
    int outcome;

    *result = (struct bench_result){.width = w,
                                    .height = h,
                                    .tile = settings->tile,
                                    .tiles = 1,
                                    .work = 1,
                                    .startup_seconds = subject->startup_seconds,
                                    .load_seconds = subject->load_seconds,
                                    .dream_seconds = NAN};
    snprintf(result->device, sizeof result->device, "%s", session->device->name);
    snprintf(result->precision, sizeof result->precision, "%s", session->device->precision);
    snprintf(result->weights, sizeof result->weights, "%s", slash ? slash + 1 : path);
    result->flops = 4 * multiply_adds(&session->network, subject->targets, h, w);
    outcome = run_measure(&run, subject, settings, result);
    run_close(&run);
    return outcome;
}

void bench_result_free(struct bench_result *result)
{
    bench_profile_free(result->profile);
    *result = (struct bench_result){0};
}
