/* The article's program: octaves, ascent, and the detail put back after each, as schedule.h has planned it. */
#ifndef PAREIDOLIA_DREAM_H
#define PAREIDOLIA_DREAM_H

#include "image.h"
#include "schedule.h"

/* What happened at one octave. Size and silence of every octave are known from the beginning of the dream. */
struct octave_log {
    int64_t height, width;
    bool silent;                 /* too small for any target to be stimulated: the steps change nothing */
    bool stopped;                /* ended by max_loss; the last record's step was not applied */
    int64_t steps;               /* records so far */
    struct step_record *records; /* owned by the dream_log */
    double seconds;              /* of the whole octave */
    size_t device_bytes;         /* that the network takes: plans and crops */
};

/* A zeroed log is empty and safe to free. */
struct dream_log {
    int octaves;
    int iterations;            /* steps that each octave may take */
    double seconds;            /* of the whole dream */
    struct octave_log *octave; /* octaves of them, smallest first; owned */
};

void dream_log_free(struct dream_log *log);

struct checkpoint;

/* What the caller wants to know and do on the way; each function may be NULL. octave is the
 * index in log->octave. */
struct dream_observer {
    void *context;
    /* Asked before every step; false ends the dream after the one before (Ctrl-C). */
    bool (*wanted)(void *context);
    void (*octave_begin)(void *context, const struct dream_log *log, int octave);
    /* The octave's log has new records. Comes after every step where steps are slow, else several times a
     * second. */
    void (*steps)(void *context, const struct dream_log *log, int octave);
    void (*octave_end)(void *context, const struct dream_log *log, int octave);
    /* The octave's detail is back: picture (borrowed) as it is now. Returns 0, or -1 with an error. */
    int (*picture)(void *context, const struct dream_log *log, int octave, const struct image *picture);
    /* The dream is at full size, with its last detail: may change rows [first, first + rows) of it, beside the same
     * rows of the original. Called for all rows from the top, also where `wanted` has ended the dream. */
    void (*finish)(void *context, int64_t first, int64_t rows, const float *original, float *dream);
    /* Asked after every step: whether the state shall be kept now. Waits for the step if so. */
    bool (*checkpoint_due)(void *context);
    /* Keeps it (checkpoint and what it points to are borrowed); also called once more where `wanted` has ended the
     * dream. Returns 0, or -1 with an error. */
    int (*checkpoint)(void *context, const struct checkpoint *checkpoint);
};

/* Dreams on picture, which has the schedule's size: its pixels are replaced. Pixel values may leave [-1, 1]. Uses
 * up the schedule's plans. from, of a dream with the same schedule and picture, or NULL: goes on from there, to the
 * same bytes; frees its pixels. observer may be NULL. log, zeroed, receives what happened, also on failure; free it
 * with dream_log_free. Returns 0; -1 with an error, picture's pixels are unspecified then; 1 where the observer
 * ended it: picture is the dream as it was then, enlarged to full size with its detail put back. */
int dream(struct schedule *schedule, struct image *picture, struct checkpoint *from,
          const struct dream_observer *observer, struct dream_log *log);

#endif
