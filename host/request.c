/* Options of `dream`, and recipes as if they had been typed before the rest: each check of the command line is one
 * of recipes, too. */
#include "request.h"

#include "error.h"
#include "paths.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct option dream_table[] = {
    {.name = "layer",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct dream_settings, layer),
     .argument = "NAME",
     .help =
         "what to stimulate: early layers give textures, later ones animals; also NAME[12,64-95], some channels "
         "of it, NAME:WEIGHT, and several separated by commas"},
    {.name = "octaves",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct dream_settings, dream.octaves),
     .argument = "N",
     .help = "sizes to dream at, from small to full; more give larger shapes",
     .least = 1,
     .most = 100},
    {.name = "octave-scale",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct dream_settings, dream.octave_scale),
     .argument = "X",
     .help = "each size is this many times the one before",
     .least = 1,
     .above = true,
     .most = INFINITY},
    {.name = "iterations",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct dream_settings, dream.iterations),
     .argument = "N",
     .help = "steps at each size; more are stronger",
     .least = 0,
     .most = 1000000},
    {.name = "step",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct dream_settings, dream.step),
     .argument = "X",
     .help = "length of a step; longer ones are stronger and coarser, negative ones take away what the layer sees",
     .least = -INFINITY,
     .most = INFINITY},
    {.name = "max-loss",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct dream_settings, dream.max_loss),
     .argument = "X",
     .help = "a size is left when the loss, which is how strongly the layer responds, passes this; or none",
     .least = -INFINITY,
     .most = INFINITY,
     .none = true},
    {.name = "clip",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct dream_settings, clip),
     .help = "hold pixels to their range after each step; the default with the built-in network, whose ascent else "
             "gathers in a few spots"},
    {.name = "no-clip",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct dream_settings, no_clip),
     .help = "let pixels leave their range between steps, as the article does; the default with all other weights"},
    {.name = NULL},
};

static const struct option output_table[] = {
    {.name = "from",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct dream_settings, from),
     .argument = "FILE",
     .help = "do again what has made this picture: its settings are the defaults, and IMAGE its source, looked for "
             "beside it and in the current directory (then the result is called FILE's name with _again)"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .offset = offsetof(struct dream_settings, output),
     .argument = "FILE",
     .help = "the result, .png or .jpg (default: IMAGE's name with _dream.png, in the current directory)"},
    {.name = "width",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct dream_settings, resample.width),
     .argument = "N",
     .help = "resize IMAGE to this width before anything else; 0 is as --height wants it in proportion",
     .least = 0,
     .most = IMAGE_MAX_SIDE},
    {.name = "height",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct dream_settings, resample.height),
     .argument = "N",
     .help = "likewise; with both, exactly so",
     .least = 0,
     .most = IMAGE_MAX_SIDE},
    {.name = "max-side",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct dream_settings, resample.max_side),
     .argument = "N",
     .help = "shrink IMAGE in proportion where its longer side is longer than this; 0 is not",
     .least = 0,
     .most = IMAGE_MAX_SIDE},
    {.name = "bits",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct dream_settings, bits),
     .argument = "N",
     .help = "bits a sample of a PNG, 8 or 16; 0 is as IMAGE has them",
     .least = 0,
     .most = 16},
    {.name = "quality",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct dream_settings, quality),
     .argument = "N",
     .help = "quality of a JPEG",
     .least = 1,
     .most = 100},
    {.name = "save-octaves",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct dream_settings, save_octaves),
     .argument = "DIR",
     .help = "also write the picture after each size into this directory, and final_dream.png"},
    {.name = "no-recipe",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct dream_settings, no_recipe),
     .help = "do not write into the pictures what they were made with"},
    {.name = "log",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct dream_settings, log),
     .argument = "FILE",
     .help = "write settings, times, and the loss of every step as JSON"},
    {.name = "quiet",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct dream_settings, quiet),
     .help = "print nothing but errors"},
    {.name = NULL},
};

/* The command line ------------------------------------------------------------------------------------------ */

static struct request request_defaults(void)
{
    return (struct request){.settings = {.layer = "activation_41",
                                         .dream = dream_defaults(),
                                         .quality = 95,
                                         .keeper.every = 60,
                                         .finish = finish_defaults()}};
}

/* As command_parsed. */
static bool request_parse(struct request *request, int argc, char **argv, enum exit_status *status)
{
    struct dream_settings *settings = &request->settings;
    const struct command_line line = {
        .command = "dream",
        .operand = "IMAGE",
        .operand_optional = true, /* with --from */
        .about =
            "Changes a picture step by step so that a layer of Inception-v3 responds to it more and more: what "
            "the layer half sees becomes visible. IMAGE is a PNG or JPEG.",
        .groups = {{"the dream", dream_table, settings},
                   {"the result", finish_option_table, &settings->finish},
                   {"the files", output_table, settings},
                   {"long renders", keeper_option_table, &settings->keeper},
                   {"large pictures", limits_option_table, &settings->limits},
                   {"the network", session_option_table, &request->session}},
    };

    return command_parsed(&line, argc, argv, &request->image, status);
}

/* --from ------------------------------------------------------------------------------------------------------ */

/* The parts of a recipe that the command line has other settings for, or, of a device, that this program lacks. */
static unsigned parts_given(const struct recipe *recipe, int argc, char **argv)
{
    const struct session_options wanted = {.device = recipe_value(recipe, "--device"),
                                           .precision = recipe_value(recipe, "--precision")};
    struct request given = request_defaults();
    struct dream_settings *settings = &given.settings;
    enum exit_status status;
    unsigned parts = 0;

    settings->limits.tile = settings->resample.width = settings->resample.height = settings->resample.max_side = -1;
    settings->bits = -1;
    request_parse(&given, argc, argv, &status); /* once more, to see what stays as it is */
    if (given.session.device || session_check(&wanted))
        parts |= RECIPE_DEVICE;
    if (settings->clip || settings->no_clip)
        parts |= RECIPE_CLIP;
    if (settings->resample.width >= 0 || settings->resample.height >= 0 || settings->resample.max_side >= 0)
        parts |= RECIPE_SIZE;
    if (settings->limits.tile >= 0 || settings->limits.memory)
        parts |= RECIPE_TILE;
    if (settings->finish.mask || settings->finish.no_mask)
        parts |= RECIPE_MASK;
    if (settings->finish.keep_colors || settings->finish.no_keep_colors)
        parts |= RECIPE_COLORS;
    if (settings->bits >= 0 || given.image) /* another picture's depth is its own */
        parts |= RECIPE_BITS;
    return parts;
}

/* The file of that name beside the picture at `from` or in the current directory: where both are there, the first
 * is *found and the second *other, else that is NULL. Returns 0, or -1 with an error. */
static int file_find(const char *from, const char *name, char **found, char **other)
{
    char *beside = NULL, *here = strdup(name);

    if (!here || asprintf(&beside, "%.*s%s", (int)(path_name(from) - from), from, name) < 0) {
        free(here);
        return error_set("no memory for a path");
    }
    *found = access(beside, F_OK) ? NULL : beside;
    *other = access(here, F_OK) || (*found && path_same_file(beside, here)) ? NULL : here;
    if (!*found)
        free(beside);
    if (!*other)
        free(here);
    if (!*found) {
        *found = *other;
        *other = NULL;
    }
    if (*found)
        return 0;
    char *text = recipe_escape(name);
    error_set("%s: was made with %s, which is neither beside it nor in the current directory; name the file", from,
              text ? text : "another file");
    free(text);
    return -1;
}

/* Parses the arguments that *arguments are about to be: the recipe's but for some parts, and argv. Returns 0, or -1
 * with an error. */
static int arguments_parse(struct request *request, const struct recipe *recipe, unsigned without, int argc,
                           char **argv)
{
    enum exit_status status;
    int count;

    free(request->arguments);
    request->arguments = recipe_arguments(recipe, without, argc, argv, &count);
    return request->arguments && request_parse(request, count, request->arguments, &status) ? 0 : -1;
}

/* Looks for the files that only the recipe names. */
static int files_find(struct request *request, const char *from, unsigned given)
{
    const char *mask = recipe_value(&request->from, "--mask");

    if (mask && !(given & RECIPE_MASK)) {
        if (file_find(from, mask, &request->found_mask, &request->other_mask))
            return -1;
        request->settings.finish.mask = request->found_mask;
    }
    if (!request->image) {
        if (file_find(from, recipe_value(&request->from, "picture-file"), &request->found_image,
                      &request->other_image))
            return -1;
        request->image = request->found_image;
    }
    return 0;
}

/* 0 where settings can be meant together, else -1 with an error. */
static int settings_check(const struct dream_settings *settings)
{
    if (resample_check(&settings->resample) || finish_check(&settings->finish))
        return -1;
    if (settings->clip && settings->no_clip)
        return error_set("--clip and --no-clip: only one of them can be meant");
    if (settings->bits != 0 && settings->bits != 8 && settings->bits != 16)
        return error_set("--bits %d: must be 8 or 16, or 0", settings->bits);
    return 0;
}

static int layer_check(const char *layer)
{
    struct network network;
    struct targets targets;

    return network_init(&network, NULL) || targets_parse(&network, layer, &targets) ? -1 : 0;
}

/* Parses and checks the recipe alone, so that what is wrong with it is not said of the command line. The device
 * aside: one that this program lacks is passed over. Returns 0, or -1 with an error. */
static int recipe_check(const struct recipe *recipe, int *tile)
{
    struct request alone = request_defaults();
    int result = arguments_parse(&alone, recipe, 0, 0, NULL) || settings_check(&alone.settings) ||
                         layer_check(alone.settings.layer)
                     ? -1
                     : 0;

    *tile = alone.settings.limits.tile;
    request_free(&alone);
    return result;
}

/* Reads the recipe of the picture at `from`, and argv again with what is in it as defaults. */
static enum exit_status request_from(struct request *request, const char *from, int argc, char **argv)
{
    *request = request_defaults();
    if (recipe_read(from, &request->from))
        return STATUS_FAILED;
    if (recipe_check(&request->from, &request->from_tile)) {
        error_prefix("%s: its recipe", from);
        return STATUS_FAILED;
    }
    unsigned given = parts_given(&request->from, argc, argv);
    if (given & RECIPE_TILE)
        request->from_tile = 0;
    if (arguments_parse(request, &request->from, given | RECIPE_TILE | RECIPE_MASK, argc, argv))
        return STATUS_FAILED; /* no memory: argv has been parsed before */
    return files_find(request, from, given) ? STATUS_FAILED : STATUS_DONE;
}

enum exit_status request_read(struct request *request, int argc, char **argv)
{
    enum exit_status status = STATUS_DONE;

    *request = request_defaults();
    if (!request_parse(request, argc, argv, &status)) {
        request->image = NULL;
        return status;
    }
    if (request->settings.from) {
        status = request_from(request, request->settings.from, argc, argv);
    } else if (!request->image) {
        error_set("dream needs IMAGE (pareidolia dream --help says more)");
        status = STATUS_USAGE;
    }
    if (status != STATUS_DONE)
        return status;
    return session_check(&request->session) || settings_check(&request->settings) ? STATUS_USAGE : STATUS_DONE;
}

void request_free(struct request *request)
{
    recipe_free(&request->from);
    free(request->found_image);
    free(request->other_image);
    free(request->found_mask);
    free(request->other_mask);
    free(request->arguments);
    *request = (struct request){0};
}

int request_check_found(const struct request *request, const char *path, const char *name, const char *digits)
{
    const char *then = recipe_value(&request->from, name), *from = request->settings.from;

    if (then && !strcmp(then, digits))
        return 0;
    return error_set("%s: is not the %s that %s was made with, but another of that name; to take it nevertheless "
                     "say dream --from %s %s%s",
                     path, name, from, from, strcmp(name, "mask") ? "" : "--mask ", path);
}

int request_tile(const struct request *request, const struct recipe *now, int64_t width, int64_t height)
{
    static const char *const names[] = {"--device", "--precision", "--layer", "weights"};
    const char *size = recipe_value(&request->from, "size");
    char text[48];

    snprintf(text, sizeof text, "%" PRId64 "x%" PRId64, width, height);
    if (!size || strcmp(size, text) != 0)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = recipe_value(now, names[i]), *then = recipe_value(&request->from, names[i]);

        if (!value || !then || strcmp(value, then) != 0)
            return 0;
    }
    return request->from_tile;
}
