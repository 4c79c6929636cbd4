/* Measures this program at one size on one device: what a step costs in time and memory, and what else a dream
 * waits for. A step is what every step evaluates: loss and gradient of a random picture that is on the device
 * already. */
#ifndef PAREIDOLIA_BENCH_H
#define PAREIDOLIA_BENCH_H

#include "bench_limits.h"
#include "plan.h"
#include "session.h"

struct bench_settings {
    double seconds; /* for which a step is timed, as bench_time does */
    int tile;       /* pixels a side that a tile owns; 0: in one piece */
    bool profile;   /* time each operation, too; tile is 0 */
};

/* A device in one precision with the network on it, ready to be measured. A zeroed one is safe to close. */
struct bench_subject {
    struct session session;
    const struct targets *targets;
    double startup_seconds; /* to open device, weights and network */
    double load_seconds;    /* from the process' start until they were open; NAN: not known */
    size_t startup_peak;    /* bytes of the process by then, at most, */
    bool startup_known;     /* and not what the process held at most before */
};

/* Opens what options name, not their lists. Returns 0, or -1 with an error; the subject is then closed. */
int bench_open(struct bench_subject *subject, const struct session_options *options, const struct targets *targets);
void bench_close(struct bench_subject *subject);

/* An operation of the plan, timed by itself. */
struct bench_operation {
    struct plan_operation what; /* its layer is named by the network's table, which stays */
    double seconds;
    /* Seconds that direct convolution would take: flops or bytes at the limits' rate, whichever is more. Winograd's
     * transform, which does fewer multiplications, can beat it, and so can what finds its bytes in caches. */
    double direct;
};

struct bench_profile {
    struct bench_limits limits;
    int count;
    struct bench_operation *operation; /* owned; those that take the most time over their direct one first */
    double seconds, direct;            /* of all together */
};

/* A zeroed result is empty and safe to free. */
struct bench_result {
    char device[32], precision[16];
    char weights[256]; /* the file's name; where it lies is nobody's business */
    int threads;       /* that this process has: those that compute, on a CPU. 0: not known, or a GPU computes */
    int64_t width, height;
    int tile;
    int tiles;
    double work;          /* pixels that the tiles compute / pixels of the picture */
    double seconds;       /* a step: the median of the batches, */
    double least_seconds; /* their least, and */
    double most_seconds;
    int batches;
    int64_t steps;               /* that were timed, in all batches */
    double flops;                /* of a step, of the convolutions that the picture needs, as they are defined: a
                                    tile's halo does not count, nor does a transform that saves multiplications */
    size_t peak_bytes;           /* that it takes; of what, peak_planned says; 0: not known, as the system does not
                                    count anew and more was held before */
    bool peak_planned;           /* peak_bytes are the bytes on a GPU as planned, without parameters and
                                    libraries; else all that the process held */
    double bytes_per_pixel;      /* of activations, their gradients, signs and winners, packed as they live: what
                                    grows with the picture, beside the 24 bytes of picture and gradient */
    double kept_bytes_per_pixel; /* of those the signs and winners, which all live at once */
    double startup_seconds;      /* as the subject's, */
    double load_seconds;         /* this, too */
    double first_plan_seconds;   /* from the size to a plan that has its memory, for the first time: of the first
                                    size this packs the weights, and of each it chooses a GPU's programs */
    double plan_seconds;         /* the same once more */
    double first_seconds;        /* of the first step, which makes what libraries make late */
    double dream_seconds;        /* of a dream with the article's defaults; NAN: none was measured */
    int dream_steps;             /* taken in it */
    uint64_t programs;           /* as device.h's, of this plan */
    struct bench_profile *profile; /* owned; NULL: none was asked for */
};

/* Measures steps. Returns 0; -1 with an error; 1 with an error where the size does not fit into the device's
 * memory. Free result after each. */
int bench_measure(const struct bench_subject *subject, const struct bench_settings *settings, int64_t h, int64_t w,
                  struct bench_result *result);

/* Measures a dream at the size of a result that bench_measure has filled in. Returns 0 or -1 with an error; the
 * result is then as it was. */
int bench_dream(const struct bench_subject *subject, const struct bench_settings *settings,
                struct bench_result *result);
void bench_result_free(struct bench_result *result);

/* Times plan's operations one by one, in their order, on the pictures of a step that has just run. Returns NULL
 * with an error. */
struct bench_profile *bench_profile_measure(struct device *device, struct plan *plan, struct ascent *state,
                                            double seconds);
void bench_profile_free(struct bench_profile *profile);

#endif
