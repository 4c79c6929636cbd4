/* Options of `dream`, and recipes as if they had been typed before the rest: each check of the command line is one
 * of recipes, too. */
#include "request.h"

#include "error.h"

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

static enum options_result request_parse(struct request *request, int argc, char **argv)
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

    return options_parse(&line, argc, argv, &request->image);
}

/* --from ------------------------------------------------------------------------------------------------------ */

/* The parts of a recipe that the command line has other settings for, or, of a device, that this program lacks. */
static unsigned parts_given(const struct recipe *recipe, int argc, char **argv)
{
    const struct session_options wanted = {.device = recipe_value(recipe, "--device"),
                                           .precision = recipe_value(recipe, "--precision")};
    struct request given = request_defaults();
    struct dream_settings *settings = &given.settings;
    unsigned parts = 0;

    settings->limits.tile = settings->resample.width = settings->resample.height = settings->resample.max_side = -1;
    request_parse(&given, argc, argv); /* once more, to see what stays as it is */
    if (given.session.device || session_check(&wanted))
        parts |= RECIPE_DEVICE;
    if (settings->clip || settings->no_clip)
        parts |= RECIPE_CLIP;
    if (settings->resample.width >= 0 || settings->resample.height >= 0 || settings->resample.max_side >= 0)
        parts |= RECIPE_SIZE;
    if (settings->limits.tile >= 0 || settings->limits.memory)
        parts |= RECIPE_TILE;
    if (settings->finish.mask)
        parts |= RECIPE_MASK;
    return parts;
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* The file of that name beside the picture at `from`, else in the current directory. NULL with an error. */
static char *file_find(const char *from, const char *name)
{
    char *path;

    if (asprintf(&path, "%.*s%s", (int)(file_name(from) - from), from, name) < 0) {
        error_set("no memory for a path");
        return NULL;
    }
    if (!access(path, F_OK) || !access(name, F_OK)) {
        if (access(path, F_OK))
            strcpy(path, name); /* which is its end */
        return path;
    }
    free(path);
    path = recipe_escape(name);
    error_set("%s: was made with %s, which is neither beside it nor in the current directory; name the file", from,
              path ? path : "another file");
    free(path);
    return NULL;
}

/* Parses the arguments that *arguments are about to be: the recipe's but for some parts, and argv. */
static enum options_result arguments_parse(struct request *request, const struct recipe *recipe, unsigned without,
                                           int argc, char **argv)
{
    int count;

    free(request->arguments);
    request->arguments = recipe_arguments(recipe, without, argc, argv, &count);
    return request->arguments ? request_parse(request, count, request->arguments) : OPTIONS_WRONG;
}

/* Looks for the files that only the recipe names. */
static int files_find(struct request *request, const char *from, unsigned given)
{
    const char *mask = recipe_value(&request->from, "--mask");

    if (mask && !(given & RECIPE_MASK)) {
        request->settings.finish.mask = request->found_mask = file_find(from, mask);
        if (!request->found_mask)
            return -1;
    }
    if (!request->image)
        request->image = request->found_image = file_find(from, recipe_value(&request->from, "picture-file"));
    return request->image ? 0 : -1;
}

/* Reads the recipe of the picture at `from`, and argv again with what is in it as defaults. */
static enum exit_status request_from(struct request *request, const char *from, int argc, char **argv)
{
    struct request alone = request_defaults();
    enum options_result result;

    *request = request_defaults();
    if (recipe_read(from, &request->from))
        return STATUS_FAILED;
    unsigned given = parts_given(&request->from, argc, argv);
    /* Alone first, so that what is wrong with it is not said of the command line. */
    result = arguments_parse(&alone, &request->from, 0, 0, NULL);
    request->from_tile = given & RECIPE_TILE ? 0 : alone.settings.limits.tile;
    request_free(&alone);
    if (result != OPTIONS_PARSED) {
        error_prefix("%s: its recipe", from);
        return STATUS_FAILED;
    }
    if (arguments_parse(request, &request->from, given | RECIPE_TILE | RECIPE_MASK, argc, argv) != OPTIONS_PARSED)
        return STATUS_FAILED; /* no memory: argv has been parsed before */
    return files_find(request, from, given) ? STATUS_FAILED : STATUS_DONE;
}

/* STATUS_DONE where the options can be meant together. */
static enum exit_status request_check(const struct request *request)
{
    const struct dream_settings *settings = &request->settings;

    if (session_check(&request->session) || resample_check(&settings->resample))
        return STATUS_USAGE;
    if (settings->clip && settings->no_clip) {
        error_set("--clip and --no-clip: only one of them can be meant");
        return STATUS_USAGE;
    }
    if (settings->bits != 0 && settings->bits != 8 && settings->bits != 16) {
        error_set("--bits %d: must be 8 or 16, or 0", settings->bits);
        return STATUS_USAGE;
    }
    return STATUS_DONE;
}

enum exit_status request_read(struct request *request, int argc, char **argv)
{
    enum exit_status status = STATUS_DONE;

    *request = request_defaults();
    switch (request_parse(request, argc, argv)) {
    case OPTIONS_HELP:
        request->image = NULL;
        return STATUS_DONE;
    case OPTIONS_WRONG:
        return STATUS_USAGE;
    case OPTIONS_PARSED:
        break;
    }
    if (request->settings.from) {
        status = request_from(request, request->settings.from, argc, argv);
    } else if (!request->image) {
        error_set("dream needs IMAGE (pareidolia dream --help says more)");
        status = STATUS_USAGE;
    }
    return status == STATUS_DONE ? request_check(request) : status;
}

void request_free(struct request *request)
{
    recipe_free(&request->from);
    free(request->found_image);
    free(request->found_mask);
    free(request->arguments);
    *request = (struct request){0};
}

int request_check_found(const struct request *request, const char *path, const char *name, const char *digits)
{
    const char *then = recipe_value(&request->from, name);

    if (then && !strcmp(then, digits))
        return 0;
    return error_set("%s: is not the %s that %s was made with, but another of that name; name one to take it "
                     "nevertheless",
                     path, name, request->settings.from);
}

struct schedule_limits request_limits(const struct request *request, int64_t width, int64_t height)
{
    struct schedule_limits limits = request->settings.limits;
    const char *then = recipe_value(&request->from, "size");
    char now[48];

    snprintf(now, sizeof now, "%" PRId64 "x%" PRId64, width, height);
    if (request->from_tile && then && !strcmp(then, now))
        limits.tile = request->from_tile;
    return limits;
}
