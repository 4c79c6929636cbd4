/* The article's program: octaves, ascent, and the detail put back after each. */
#ifndef PAREIDOLIA_DREAM_H
#define PAREIDOLIA_DREAM_H

#include "image.h"
#include "plan.h"

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

/* What happened at one octave. Size and silence of every octave are known from the beginning of the dream. */
struct octave_log {
    int64_t height, width;
    bool silent;                 /* too small for any target to be stimulated: the steps change nothing */
    bool stopped;                /* ended by max_loss; the last record's step was not applied */
    int64_t steps;               /* records so far */
    struct step_record *records; /* owned by the dream_log */
    double seconds;              /* of the whole octave */
    size_t device_bytes;         /* of its plan's allocation */
};

/* A zeroed log is empty and safe to free. */
struct dream_log {
    int octaves;
    int iterations;            /* steps that each octave may take */
    double seconds;            /* of the whole dream */
    struct octave_log *octave; /* octaves of them, smallest first; owned */
};

void dream_log_free(struct dream_log *log);

/* What the caller wants to know and do on the way; each function may be NULL. octave is the
 * index in log->octave. */
struct dream_observer {
    void *context;
    /* Asked before every step; false ends the dream (Ctrl-C). */
    bool (*wanted)(void *context);
    void (*octave_begin)(void *context, const struct dream_log *log, int octave);
    /* The octave's log has new records. Comes after every step where steps are slow, else several times a
     * second. */
    void (*steps)(void *context, const struct dream_log *log, int octave);
    void (*octave_end)(void *context, const struct dream_log *log, int octave);
    /* The octave's detail is back: picture (borrowed) as it is now. Returns 0, or -1 with an error. */
    int (*picture)(void *context, const struct dream_log *log, int octave, const struct image *picture);
};

/* Dreams on picture: its pixels are replaced, its size stays. Pixel values may leave [-1, 1]. observer may be NULL.
 * log, zeroed, receives what happened, also on failure; free it with dream_log_free. Returns 0; -1 with an error;
 * 1 where the observer ended it. Unless 0 is returned, picture's pixels are unspecified. */
int dream(struct net *net, struct device *device, struct image *picture, const struct dream_options *options,
          const struct dream_observer *observer, struct dream_log *log);

/* Height or width of octave 0..octaves-1 (smallest first) for a full size of n pixels: int(n / scale^i), as the
 * article truncates it. May be 0, which dream refuses. */
int64_t octave_size(int64_t n, int octave, const struct dream_options *options);

#endif
