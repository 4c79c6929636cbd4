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
    char *found_image;  /* image, where only the recipe names it; owned, else NULL */
    char *found_mask;   /* settings.finish.mask, likewise */
    char **arguments;   /* owned */
};

/* Understands argv, what follows the command's name; where it has --from, what stands in that picture's recipe are
 * the defaults. Sizes are one setting here: who gives one of --width, --height and --max-side gives all; so are
 * device and precision. A device that this program lacks is passed over. Returns STATUS_DONE, or another status
 * with an error; free the request either way. */
enum exit_status request_read(struct request *request, int argc, char **argv);
void request_free(struct request *request);

/* 0 where digits are those that --from has under name (picture or mask); -1 with an error that says that path is
 * another file of the same name. */
int request_check_found(const struct request *request, const char *path, const char *name, const char *digits);

/* The limits for a picture of this size: with the tiles of --from, where that was as large and nothing else was
 * said. */
struct schedule_limits request_limits(const struct request *request, int64_t width, int64_t height);

#endif
