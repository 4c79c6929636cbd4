/* What the user sees of a dream while it runs, on stderr: on a terminal one line that is drawn over and over, and
 * everywhere a line for each octave that is done. */
#ifndef PAREIDOLIA_PROGRESS_H
#define PAREIDOLIA_PROGRESS_H

#include "dream.h"

struct duration_text {
    char text[32];
};

/* "0:07", "12:34", "1:02:03". */
struct duration_text duration_text(double seconds);

struct progress {
    bool quiet;        /* show nothing at all */
    bool bar;          /* stderr is a terminal */
    const char *layer; /* as given, for what is said about it; borrowed */
    double max_loss;
    double begin;      /* by clock_seconds, */
    double begun_work; /* that had been done then, in the dream that is resumed; below 0: not known yet */
};

void progress_init(struct progress *progress, bool quiet, const char *layer, double max_loss);

/* The observer's functions of the same names (see dream.h). */
void progress_octave_begin(struct progress *progress, const struct dream_log *log, int octave);
void progress_steps(struct progress *progress, const struct dream_log *log, int octave);
void progress_octave_end(struct progress *progress, const struct dream_log *log, int octave);

/* Wipes the line, so that something else can be printed. */
void progress_clear(const struct progress *progress);

#endif
