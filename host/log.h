/* The record of a dream as a JSON file: what was asked for, and what happened at every step. */
#ifndef PAREIDOLIA_LOG_H
#define PAREIDOLIA_LOG_H

#include "dream.h"
#include "recipe.h"

/* What a log says beside the dream's own log. All borrowed. */
struct log_header {
    const char *image, *output; /* paths as given */
    int64_t height, width;
    const char *layer; /* as given */
    const struct device *device;
    int threads; /* as given; 0: all */
    const char *weights;
    const struct schedule *schedule;
    const struct recipe *recipe; /* what it says of settings is "settings" */
    bool partial;                /* the dream was interrupted */
};

/* Writes the log to path, whole or not at all. Numbers that are not finite become null; so max_loss means "none".
 * Returns 0, or -1 with an error that names path. */
int log_write(const char *path, const struct log_header *header, const struct dream_log *log);

#endif
