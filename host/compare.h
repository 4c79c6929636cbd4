/* One device beside another from the same picture: layers, loss, gradient, a step, and the loss of whole dreams.
 * How near they must be, and why, stands in compare.c's table. */
#ifndef PAREIDOLIA_COMPARE_H
#define PAREIDOLIA_COMPARE_H

#include "difference.h"
#include "dream.h"
#include "image.h"
#include "probe.h"

enum measure {
    MEASURE_ACTIVATION,     /* of one layer */
    MEASURE_LOSS,           /* of the picture */
    MEASURE_GRADIENT,       /* of the loss, each device with its own signs and winners */
    MEASURE_GRADIENT_GIVEN, /* the same, both with the second device's */
    MEASURE_STEP,           /* what is added to the picture, both with the second device's signs and winners */
    MEASURE_OCTAVE, /* the loss at the end of one octave of a dream; to the limit comes SPREADS_ALLOWED times
                       the octave's spread */
    MEASURES
};

struct compared {
    enum measure measure;
    int index;                    /* ACTIVATION: the node; OCTAVE: the octave */
    double a, b;                  /* LOSS, OCTAVE: the two numbers */
    struct difference difference; /* LOSS, OCTAVE: relative_l2 is |a - b| / |b|, the others are NaN */
    double spread; /* OCTAVE: how far the first device's own dreams are apart, relative to the least */
    double allowed;
    bool passed;
};

enum { SPREADS_ALLOWED = 2 };

/* A zeroed comparison is empty and safe to free. */
struct comparison {
    int count;
    struct compared *compared; /* owned */
    struct flips flips;        /* between the two devices' forward passes */
};

void comparison_free(struct comparison *comparison);

/* Where measure must lie between devices of these precisions: the cosine at least there (GRADIENT), else the
 * relative L2 at most. Of two precisions the looser one counts. */
double measure_allowed(enum measure measure, const char *precision_a, const char *precision_b);

/* Whether it does; NaN does not. */
bool measure_passes(enum measure measure, const struct difference *difference, double allowed);

/* One of the two: a device and a net on it, opened with gradient. Both nets have the same targets. */
struct compare_side {
    struct device *device;
    struct net *net;
};

/* Compares everything but dreams from picture, and appends it to out. Returns 0 or -1 with an error. */
int compare_steps(const struct compare_side *a, const struct compare_side *b, const struct image *picture,
                  struct comparison *out);

/* Dreams of the first device: from the picture, and some more from the picture moved a little, which show how far
 * dreams are apart that ought to be the same. */
enum { COMPARE_DREAMS = 4 };
#define COMPARE_MOVE 1e-6

/* Moves picture as the dream-th of them begins; the first not at all. */
void compare_move(struct image *picture, int dream);

/* Compares what dreams with the same options have logged, octave by octave, those left out that are silent. */
int compare_dreams(const struct compare_side *a, const struct dream_log a_logs[COMPARE_DREAMS],
                   const struct compare_side *b, const struct dream_log *b_log, struct comparison *out);

#endif
