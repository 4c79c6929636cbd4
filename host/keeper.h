/* A dream's checkpoints for the command line: which settings they are of, when one is due, and going on from one.
 */
#ifndef PAREIDOLIA_KEEPER_H
#define PAREIDOLIA_KEEPER_H

#include "checkpoint.h"
#include "options.h"
#include "recipe.h"
#include "session.h"

/* Values of keeper_option_table. */
struct keeper_options {
    const char *checkpoint; /* NULL: none is kept */
    const char *resume;     /* NULL: from the beginning */
    int every;              /* seconds; 0: after every step */
};

extern const struct option keeper_option_table[];

struct keeper {
    const struct keeper_options *options;
    struct recipe settings; /* owned; what the state depends on */
    double kept_at;
    struct checkpoint from; /* owned; zeroed: from the beginning */
};

/* Lists what the result depends on beside the tiles, and reads the checkpoint to go on from, whose place for the
 * pictures it sets in limits, and whose tiles where the user has given none. layer is as given. Returns 0, or -1
 * with an error that says what differs. A zeroed keeper is safe to close. */
int keeper_open(struct keeper *keeper, const struct keeper_options *options, const struct session *session,
                const char *layer, const struct dream_options *dream, const struct image *picture,
                struct schedule_limits *limits);
void keeper_close(struct keeper *keeper);

/* Whether the tiles that were chosen, or that the user wants, are the checkpoint's: the same gradient is summed in
 * another order else. 0: in one piece. Returns 0, or -1 with an error. */
int keeper_check_tile(const struct keeper *keeper, int64_t tile);

/* What dream() wants to go on from, or NULL. */
struct checkpoint *keeper_from(struct keeper *keeper);

/* The observer's functions of these names (dream.h); keep only with options->checkpoint. */
bool keeper_due(const struct keeper *keeper);
int keeper_keep(struct keeper *keeper, const struct checkpoint *checkpoint);

#endif
