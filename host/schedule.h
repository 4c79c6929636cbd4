/* What a dream will take, decided before its first step: the size of every octave, in how many tiles it is
 * computed, where the pictures lie, and the bytes of all of it. Nothing is allocated beyond that later, so that no
 * dream ends for want of memory in the middle. */
#ifndef PAREIDOLIA_SCHEDULE_H
#define PAREIDOLIA_SCHEDULE_H

#include "gradient.h"

/* The constants of the article; see dream_defaults. */
struct dream_options {
    int octaves;         /* 1 or more */
    double octave_scale; /* above 1 */
    int iterations;      /* steps at each octave, 0 or more */
    double step;         /* added along the normalised gradient, in units of the picture's [-1, 1] */
    double max_loss;     /* an octave ends before the step whose loss is above; INFINITY: never */
    bool clip;           /* pixels are held to [-1, 1] after each step */
};

/* 4 octaves of 1.4, 20 steps of 0.01, maximal loss 20, not clipped. */
struct dream_options dream_defaults(void);

/* Height or width of octave 0..octaves-1 (smallest first) for a full size of n pixels: int(n / scale^i), as the
 * article truncates it. May be 0, which schedule_new refuses. */
int64_t octave_size(int64_t n, int octave, const struct dream_options *options);

/* Where the pictures lie, if the network's device has a memory of its own. Rounding is another there, so that a
 * dream that is to be repeated must say it. */
enum picture_place { PICTURES_ANYWHERE, PICTURES_ON_DEVICE, PICTURES_ON_HOST };

/* What the user allows. Zeroed: everything, and the choice is the schedule's. */
struct schedule_limits {
    size_t memory;   /* bytes of the network's device that may be taken; 0: what is free */
    int tile;        /* pixels a side that a tile owns; 0: chosen */
    bool elsewhere;  /* memory is that of a machine that is thought of: what is free on this one does not count */
    size_t returned; /* bytes of the host's that dream() will free: those of the picture, and of a checkpoint */
    enum picture_place pictures;
};

struct scheduled_octave {
    int64_t height, width;
    bool silent;               /* too small for any target to be stimulated: steps would change nothing */
    struct gradient *gradient; /* owned; NULL where no steps are taken */
    size_t network_bytes;      /* of the gradient's plans and crops, on the network's device */
    size_t picture_bytes;      /* of the pictures that live meanwhile, on theirs */
};

/* A dream's three pictures of full size are the original, the dream, and its gradient. They lie on the network's
 * device where they fit beside the network, else in the host's memory. */
struct schedule {
    struct net *net;
    struct device *device, *pictures; /* the network's, and that of the pictures: this or */
    struct device *host;              /* a device in the host's memory; NULL: there is none */
    struct dream_options options;
    int64_t height, width;           /* of the largest octave */
    int64_t tile;                    /* 0: in one piece */
    struct scheduled_octave *octave; /* options.octaves of them, smallest first */
    bool apart;                      /* the pictures do not count against the limit of memory */
    uint64_t programs;               /* of the device (device.h) for just these plans */
    size_t network_bytes;            /* the most of all octaves, */
    size_t picture_bytes;
    size_t device_bytes; /* on the network's device, and */
    size_t host_bytes;   /* in this process' own memory, the picture itself included: most that is there at once */
};

/* Plans a dream of h x w pixels. host is a device in the host's memory that can take the pictures, or NULL. Returns
 * NULL with an error that names what is wanted and what is there where it cannot fit. net and host must outlive it.
 */
struct schedule *schedule_new(struct net *net, struct device *host, int64_t h, int64_t w,
                              const struct dream_options *options, const struct schedule_limits *limits);
void schedule_free(struct schedule *schedule);

/* Seconds that the dream will take if no octave is left early: what a step at a small size takes, scaled. Computes
 * for a moment, in no more memory than the dream will take. NAN where that fails. */
double schedule_estimate(const struct schedule *schedule);

/* "in one piece, 61.2 MB for the network and 21.2 MB for pictures": what was chosen, for people. */
struct schedule_text {
    char text[256];
};

struct schedule_text schedule_describe(const struct schedule *schedule);

#endif
