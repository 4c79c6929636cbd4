/* A dream as tests want most: planned and run at once. */
#ifndef PAREIDOLIA_TESTS_DREAMING_H
#define PAREIDOLIA_TESTS_DREAMING_H

#include "host/dream.h"

/* As schedule_new and dream; limits may be NULL. */
static inline int dream_limited(struct net *net, struct image *picture, const struct dream_options *options,
                                const struct schedule_limits *limits, const struct dream_observer *observer,
                                struct dream_log *log)
{
    static const struct schedule_limits none = {0};
    struct schedule *schedule =
        schedule_new(net, NULL, picture->height, picture->width, options, limits ? limits : &none);
    int result = schedule ? dream(schedule, picture, NULL, observer, log) : -1;

    schedule_free(schedule);
    return result;
}

/* Within what memory there is. */
static inline int dream_now(struct net *net, struct image *picture, const struct dream_options *options,
                            const struct dream_observer *observer, struct dream_log *log)
{
    return dream_limited(net, picture, options, NULL, observer, log);
}

#endif
