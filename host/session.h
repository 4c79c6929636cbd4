/* What every command that computes needs: a device, weights, the network, and its filters on the device. */
#ifndef PAREIDOLIA_SESSION_H
#define PAREIDOLIA_SESSION_H

#include "options.h"
#include "schedule.h"
#include "targets.h"

/* Values of session_option_table; zeroed: every default. */
struct session_options {
    const char *device;    /* NULL or "auto": a GPU, else the CPU */
    const char *precision; /* NULL: the device's own */
    int threads;           /* 0: all */
    bool tune;
    const char *weights; /* NULL: what weights_find finds */
};

extern const struct option session_option_table[];

/* Options whose values are a struct schedule_limits (schedule.h). */
extern const struct option limits_option_table[];

/* 0 where this build has the device that the options name and the device the precision, else -1 with an error: a
 * wrong command line. */
int session_check(const struct session_options *options);

/* A zeroed session is empty and safe to close. */
struct session {
    struct device *device;
    struct device
        *host; /* a device for pictures that `device` has no room for; NULL: its memory is the host's anyway */
    char no_gpu[512]; /* why "auto" has not taken one; "": it has, or none was wanted */
    struct weights *weights;
    struct network network;
    struct net *net;
};

/* Opens all of it for targets (see net_open for gradient). Prefers weights with a dense layer where `dense` is set
 * and none are named. Returns 0, or -1 with an error; the session is then closed. */
int session_open(struct session *session, const struct session_options *options, const struct targets *targets,
                 bool gradient, bool dense);
void session_close(struct session *session);

/* Tells the user on stderr that the CPU had to take a GPU's place, and that the weights are untrained, where it is
 * so. */
void session_notice(const struct session *session);

#endif
