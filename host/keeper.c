/* Decides when the state of a dream is kept, and whether a kept one is of the same dream. */
#include "keeper.h"

#include "clock.h"
#include "error.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct option keeper_option_table[] = {
    {.name = "checkpoint",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct keeper_options, checkpoint),
     .argument = "FILE",
     .help = "keep the state here now and then, so that --resume can go on from it, whatever happens meanwhile"},
    {.name = "checkpoint-every",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct keeper_options, every),
     .argument = "SECONDS",
     .help = "how often; 0 is after every step",
     .least = 0,
     .most = 1000000},
    {.name = "resume",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct keeper_options, resume),
     .argument = "FILE",
     .help = "go on from a checkpoint of the same picture and settings, to the same bytes as without a break"},
    {.name = NULL},
};

static void setting_add(struct keeper *keeper, const char *name, const char *value)
{
    int i = keeper->count++;

    snprintf(keeper->value[i], KEEPER_VALUE, "%s", value);
    keeper->setting[i] = (struct checkpoint_setting){name, keeper->value[i]};
}

/* As few digits as bring back the number: only the same number is the same text, and it is the one that was typed.
 */
static void setting_add_number(struct keeper *keeper, const char *name, double value)
{
    char text[32];

    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    setting_add(keeper, name, text);
}

/* Everything that the bytes of the result depend on; not which of several like GPUs computes. */
static int settings_list(struct keeper *keeper, const struct session *session, const char *layer,
                         const struct dream_options *dream, const struct image *picture)
{
    char text[KEEPER_VALUE];
    uint64_t weights = weights_hash(session->weights);

    if (!weights)
        return -1;
    setting_add(keeper, "version", PAREIDOLIA_VERSION);
    snprintf(text, sizeof text, "%.*s", (int)strcspn(session->device->name, ":"), session->device->name);
    setting_add(keeper, "--device", text);
    setting_add(keeper, "--precision", session->device->precision);
    setting_add(keeper, "--layer", layer);
    setting_add_number(keeper, "--octaves", dream->octaves);
    setting_add_number(keeper, "--octave-scale", dream->octave_scale);
    setting_add_number(keeper, "--iterations", dream->iterations);
    setting_add_number(keeper, "--step", dream->step);
    setting_add_number(keeper, "--max-loss", dream->max_loss);
    setting_add(keeper, "--clip", dream->clip ? "yes" : "no");
    snprintf(text, sizeof text, "%016" PRIx64, weights);
    setting_add(keeper, "weights", text);
    checkpoint_picture(picture, text);
    setting_add(keeper, "picture", text);
    return 0;
}

/* The checkpoint's tiles, where the user has given none. */
static void tiles_take(const struct keeper *keeper, const struct image *picture, struct schedule_limits *limits)
{
    const struct checkpoint *from = &keeper->from;
    int64_t whole = picture->height > picture->width ? picture->height : picture->width;

    if (!limits->tile)
        limits->tile = (int)(from->tile ? from->tile : whole);
}

int keeper_check_tile(const struct keeper *keeper, int64_t tile)
{
    const struct checkpoint *from = &keeper->from;

    if (!from->pixels || from->tile == tile)
        return 0;
    if (!from->tile)
        return error_set("%s: was made in one piece, not with --tile %" PRId64 "; leave the option out",
                         keeper->options->resume, tile);
    return error_set("%s: was made with --tile %" PRId64 ", not %" PRId64 "; leave the option out",
                     keeper->options->resume, from->tile, tile);
}

int keeper_open(struct keeper *keeper, const struct keeper_options *options, const struct session *session,
                const char *layer, const struct dream_options *dream, const struct image *picture,
                struct schedule_limits *limits)
{
    *keeper = (struct keeper){.options = options, .kept_at = clock_seconds()};
    if (!options->checkpoint && !options->resume)
        return 0;
    if (settings_list(keeper, session, layer, dream, picture))
        return -1;
    if (options->resume) {
        if (checkpoint_read(options->resume, keeper->setting, keeper->count, &keeper->from))
            return -1;
        tiles_take(keeper, picture, limits);
    }
    return 0;
}

void keeper_close(struct keeper *keeper)
{
    checkpoint_free(&keeper->from);
}

struct checkpoint *keeper_from(struct keeper *keeper)
{
    return keeper->from.pixels ? &keeper->from : NULL;
}

bool keeper_due(const struct keeper *keeper)
{
    return keeper->options->checkpoint && clock_seconds() - keeper->kept_at >= keeper->options->every;
}

int keeper_keep(struct keeper *keeper, const struct checkpoint *checkpoint)
{
    if (!keeper->options->checkpoint)
        return 0;
    if (checkpoint_write(keeper->options->checkpoint, keeper->setting, keeper->count, checkpoint))
        return -1;
    keeper->kept_at = clock_seconds();
    return 0;
}
