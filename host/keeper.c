/* Decides when the state of a dream is kept, and whether a kept one is of the same dream. */
#include "keeper.h"

#include "clock.h"
#include "error.h"
#include "output.h"

#include <inttypes.h>
#include <stddef.h>

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

/* What the state depends on; the picture as the dream begins with it, whatever its file was. */
static int settings_list(struct recipe *settings, const struct session *session, const char *layer,
                         const struct dream_options *dream, const struct image *picture)
{
    char digits[CHECKPOINT_DIGITS];

    checkpoint_picture(picture, digits);
    return recipe_add_dream(settings, session, layer, dream) || recipe_add(settings, "picture", digits) ? -1 : 0;
}

/* The checkpoint's tiles, where the user has given none, and its place for the pictures: rounding is another in
 * others. */
static void limits_take(const struct keeper *keeper, const struct image *picture, struct schedule_limits *limits)
{
    const struct checkpoint *from = &keeper->from;
    int64_t whole = picture->height > picture->width ? picture->height : picture->width;

    if (!limits->tile)
        limits->tile = (int)(from->tile ? from->tile : whole);
    limits->pictures = from->apart ? PICTURES_ON_HOST : PICTURES_ON_DEVICE;
    limits->returned += (size_t)(from->height * from->width) * 3 * dtype_bytes(from->type, 1);
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
    if (options->checkpoint)
        output_sweep(options->checkpoint); /* such a half file is as large as the picture */
    if (settings_list(&keeper->settings, session, layer, dream, picture))
        return -1;
    if (options->resume) {
        if (checkpoint_read(options->resume, keeper->settings.setting, keeper->settings.count, &keeper->from))
            return -1;
        limits_take(keeper, picture, limits);
    }
    return 0;
}

void keeper_close(struct keeper *keeper)
{
    checkpoint_free(&keeper->from);
    recipe_free(&keeper->settings);
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
    keeper->kept_at = clock_seconds(); /* also where it fails: not again at once */
    return checkpoint_write(keeper->options->checkpoint, keeper->settings.setting, keeper->settings.count,
                            checkpoint);
}
