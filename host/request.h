/* The command line of `dream`, and with --from the recipe that it goes on. */
#ifndef PAREIDOLIA_REQUEST_H
#define PAREIDOLIA_REQUEST_H

#include "commands.h"
#include "finish.h"
#include "keeper.h"
#include "recipe.h"
#include "resample.h"
#include "session.h"

struct dream_settings {
    const char *from;   /* a picture that has a recipe; NULL: none */
    const char *output; /* NULL: derived from the picture's name */
    const char *layer;
    struct dream_options dream;
    bool clip, no_clip;       /* neither: as the weights want it */
    const char *save_octaves; /* NULL: not */
    const char *log;          /* NULL: none */
    struct schedule_limits limits;
    struct keeper_options keeper;
    struct finish_options finish;
    struct resample_options resample;
    int bits; /* 0: as the picture has it */
    int quality;
    bool no_recipe;
    bool quiet;
};

/* What is asked for. Everything that is a pointer in settings and session lives as long as argv and the request. */
struct request {
    struct dream_settings settings;
    struct session_options session;
    const char *image; /* NULL: help was asked for, and has been printed */

    struct recipe from; /* of settings.from, owned; empty: there is none */
    int from_tile;      /* its --tile, which is right for a picture of its size; 0: something else was given */

    /* Files that only the recipe names, owned, else NULL: image and settings.finish.mask, and others of their
     * names, which are those where these are not (request_check_found). */
    char *found_image, *other_image, *found_mask, *other_mask;

    char **arguments; /* owned */
};

/* Understands argv, what follows the command's name; where it has --from, what stands in that picture's recipe are
 * the defaults. Sizes are one setting here: who gives one of --width, --height and --max-side gives all; so are
 * device and precision. A device that this program lacks is passed over, and of another IMAGE the depth is its own.
 * Returns STATUS_DONE, or another status
 * with an error; free the request either way. */
enum exit_status request_read(struct request *request, int argc, char **argv);
void request_free(struct request *request);

/* 0 where digits are those that --from has under name (picture or mask); -1 with an error that says that path is
 * another file of the same name, and how to take it. */
int request_check_found(const struct request *request, const char *path, const char *name, const char *digits);

/* The tiles of --from for a dream of this size, of which `now` has what recipe_add_dream adds: where neither size
 * nor layer, device, precision and weights are others, and the user has said nothing of tiles or memory. Else 0. */
int request_tile(const struct request *request, const struct recipe *now, int64_t width, int64_t height);

#endif
