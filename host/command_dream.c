/* pareidolia dream: reads a picture, dreams on it, writes the result. Everything that can be found wrong before the
 * weights are read is found before. */
#include "commands.h"
#include "error.h"
#include "finish.h"
#include "image.h"
#include "interrupt.h"
#include "keeper.h"
#include "log.h"
#include "paths.h"
#include "progress.h"
#include "resample.h"
#include "session.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
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
    bool quiet;
};

static const struct option dream_table[] = {
    {.name = "layer",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, layer),
     .argument = "NAME",
     .help =
         "what to stimulate: early layers give textures, later ones animals; also NAME[12,64-95], some channels "
         "of it, NAME:WEIGHT, and several separated by commas"},
    {.name = "octaves",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, dream.octaves),
     .argument = "N",
     .help = "sizes to dream at, from small to full; more give larger shapes",
     .least = 1,
     .most = 100},
    {.name = "octave-scale",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct settings, dream.octave_scale),
     .argument = "X",
     .help = "each size is this many times the one before",
     .least = 1,
     .above = true,
     .most = INFINITY},
    {.name = "iterations",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, dream.iterations),
     .argument = "N",
     .help = "steps at each size; more are stronger",
     .least = 0,
     .most = 1000000},
    {.name = "step",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct settings, dream.step),
     .argument = "X",
     .help = "length of a step; longer ones are stronger and coarser, negative ones take away what the layer sees",
     .least = -INFINITY,
     .most = INFINITY},
    {.name = "max-loss",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct settings, dream.max_loss),
     .argument = "X",
     .help = "a size is left when the loss, which is how strongly the layer responds, passes this; or none",
     .least = -INFINITY,
     .most = INFINITY,
     .none = true},
    {.name = "clip",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, clip),
     .help = "hold pixels to their range after each step; the default with the built-in network, whose ascent else "
             "gathers in a few spots"},
    {.name = "no-clip",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, no_clip),
     .help = "let pixels leave their range between steps, as the article does; the default with all other weights"},
    {.name = NULL},
};

static const struct option output_table[] = {
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, output),
     .argument = "FILE",
     .help = "the result, .png or .jpg (default: IMAGE's name with _dream.png, in the current directory)"},
    {.name = "width",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, resample.width),
     .argument = "N",
     .help = "resize IMAGE to this width before anything else; 0 is as --height wants it in proportion",
     .least = 0,
     .most = IMAGE_MAX_SIDE},
    {.name = "height",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, resample.height),
     .argument = "N",
     .help = "likewise; with both, exactly so",
     .least = 0,
     .most = IMAGE_MAX_SIDE},
    {.name = "max-side",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, resample.max_side),
     .argument = "N",
     .help = "shrink IMAGE in proportion where its longer side is longer than this; 0 is not",
     .least = 0,
     .most = IMAGE_MAX_SIDE},
    {.name = "bits",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, bits),
     .argument = "N",
     .help = "bits a sample of a PNG, 8 or 16; 0 is as IMAGE has them",
     .least = 0,
     .most = 16},
    {.name = "quality",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, quality),
     .argument = "N",
     .help = "quality of a JPEG",
     .least = 1,
     .most = 100},
    {.name = "save-octaves",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, save_octaves),
     .argument = "DIR",
     .help = "also write the picture after each size into this directory, and final_dream.png"},
    {.name = "log",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, log),
     .argument = "FILE",
     .help = "write settings, times, and the loss of every step as JSON"},
    {.name = "quiet",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, quiet),
     .help = "print nothing but errors"},
    {.name = NULL},
};

/* A dream that the user waits for. */
struct job {
    const char *image;
    char *output; /* owned */
    const struct settings *settings;
    struct image_format format;
    struct progress progress;
    struct keeper keeper;
    struct finish finish;
};

/* Writes picture into --save-octaves' directory. */
static int save_into_directory(const struct job *job, const char *name, const struct image *picture)
{
    char *path = path_join(job->settings->save_octaves, name);

    if (!path)
        return -1;
    int result = image_write(path, picture, &job->format);
    free(path);
    return result;
}

/* The observer ---------------------------------------------------------------------------------------------- */

static bool on_wanted(void *context)
{
    (void)context;
    return !interrupt_requested();
}

static void on_octave_begin(void *context, const struct dream_log *log, int octave)
{
    progress_octave_begin(&((struct job *)context)->progress, log, octave);
}

static void on_steps(void *context, const struct dream_log *log, int octave)
{
    progress_steps(&((struct job *)context)->progress, log, octave);
}

static void on_octave_end(void *context, const struct dream_log *log, int octave)
{
    progress_octave_end(&((struct job *)context)->progress, log, octave);
}

static void on_finish(void *context, int64_t first, int64_t rows, const float *original, float *dream)
{
    finish_rows(&((struct job *)context)->finish, first, rows, original, dream);
}

static bool on_checkpoint_due(void *context)
{
    return keeper_due(&((struct job *)context)->keeper);
}

static int on_checkpoint(void *context, const struct checkpoint *checkpoint)
{
    return keeper_keep(&((struct job *)context)->keeper, checkpoint);
}

enum { OCTAVE_NAME = 96 };

/* The article's name for the picture after an octave. */
static void octave_name(char name[OCTAVE_NAME], int64_t height, int64_t width)
{
    snprintf(name, OCTAVE_NAME, "dream_at_scale_(%" PRId64 ", %" PRId64 ").png", height, width);
}

static int on_picture(void *context, const struct dream_log *log, int octave, const struct image *picture)
{
    const struct job *job = context;
    char name[OCTAVE_NAME];

    octave_name(name, picture->height, picture->width);
    if (save_into_directory(job, name, picture))
        return -1;
    return octave + 1 == log->octaves ? save_into_directory(job, "final_dream.png", picture) : 0;
}

/* The command ----------------------------------------------------------------------------------------------- */

/* No file that is written may be the one that is read, nor another that is written. */
static int check_distinct(const struct job *job)
{
    const char *log = job->settings->log, *checkpoint = job->settings->keeper.checkpoint;
    const char *resume = job->settings->keeper.resume;

    if (path_same_file(job->output, job->image))
        return error_set("%s: is the picture itself; give the result another name", job->output);
    if (log && path_same_file(log, job->image))
        return error_set("--log %s: is the picture itself; give the log another name", log);
    if (log && path_same_file(log, job->output))
        return error_set("--log %s: is the result's name, too; give the log another", log);
    if (checkpoint && (path_same_file(checkpoint, job->image) || path_same_file(checkpoint, job->output) ||
                       (log && path_same_file(checkpoint, log))))
        return error_set("--checkpoint %s: is the picture, the result or the log; give it another name",
                         checkpoint);
    if (resume && (path_same_file(resume, job->output) || (log && path_same_file(resume, log))))
        return error_set("--resume %s: is the result or the log, too; give that another name", resume);
    return 0;
}

/* --save-octaves must not write over the picture that is read, the result, the log or a checkpoint. */
static int check_octave_names(const struct job *job, const struct image *picture)
{
    const struct settings *settings = job->settings;
    const struct keeper_options *keeper = &settings->keeper;

    for (int i = 0; settings->save_octaves && i <= settings->dream.octaves; i++) {
        char name[OCTAVE_NAME] = "final_dream.png";
        char *path;
        bool taken;

        if (i < settings->dream.octaves)
            octave_name(name, octave_size(picture->height, i, &settings->dream),
                        octave_size(picture->width, i, &settings->dream));
        path = path_join(settings->save_octaves, name);
        if (!path)
            return -1;
        taken = path_same_file(path, job->image) || path_same_file(path, job->output) ||
                (settings->log && path_same_file(path, settings->log)) ||
                (keeper->checkpoint && path_same_file(path, keeper->checkpoint)) ||
                (keeper->resume && path_same_file(path, keeper->resume));
        free(path);
        if (taken)
            return error_set("--save-octaves %s: would write over %s there; choose another directory",
                             settings->save_octaves, name);
    }
    return 0;
}

static int check_outputs(const struct job *job)
{
    const struct settings *settings = job->settings;

    if (image_check_output(job->output))
        return -1;
    if (settings->save_octaves && path_check_directory(settings->save_octaves))
        return error_prefix("--save-octaves");
    if (settings->log && path_check_output(settings->log))
        return error_prefix("--log");
    if (settings->keeper.checkpoint && path_check_output(settings->keeper.checkpoint))
        return error_prefix("--checkpoint");
    return 0;
}

/* How far a dream that was interrupted has come, for people. */
struct progress_text {
    char text[96];
};

static struct progress_text progress_text(const struct dream_log *log)
{
    struct progress_text text;
    int octave = 0;

    while (octave + 1 < log->octaves && log->octave[octave + 1].steps > 0)
        octave++;
    snprintf(text.text, sizeof text.text, "in octave %d of %d after %" PRId64 " of %d steps", octave + 1,
             log->octaves, log->octave[octave].steps, log->iterations);
    return text;
}

/* Says what was chosen and about how long it will take. */
static int announce(const struct job *job, const struct schedule *schedule)
{
    double seconds;

    if (job->settings->quiet)
        return 0;
    seconds = schedule_estimate(schedule);
    if (seconds < 0)
        return -1;
    fprintf(stderr, "%" PRId64 "x%" PRId64 " %s; about %s\n", schedule->width, schedule->height,
            schedule_describe(schedule).text, duration_text(seconds).text);
    return 0;
}

/* Writes what the dream has come to: the picture, marked where it is partial, and the log. */
static int results_write(struct job *job, struct image *picture, const struct log_header *header,
                         const struct dream_log *log)
{
    char comment[128];

    if (header->partial) {
        snprintf(comment, sizeof comment, "partial: interrupted %s", progress_text(log).text);
        job->format.comment = comment;
    }
    int result = image_write(job->output, picture, &job->format);
    job->format.comment = NULL;
    if (!result && job->settings->log)
        result = log_write(job->settings->log, header, log);
    return result;
}

/* Dreams on picture by the schedule and writes what was asked for. */
static enum exit_status dream_and_write(struct job *job, struct session *session, struct schedule *schedule,
                                        const struct session_options *options, struct image *picture)
{
    const struct settings *settings = job->settings;
    struct dream_observer observer = {.context = job,
                                      .wanted = on_wanted,
                                      .octave_begin = on_octave_begin,
                                      .steps = on_steps,
                                      .octave_end = on_octave_end,
                                      .picture = settings->save_octaves ? on_picture : NULL,
                                      .finish = finish_wanted(&job->finish) ? on_finish : NULL,
                                      .checkpoint_due = on_checkpoint_due,
                                      .checkpoint = settings->keeper.checkpoint ? on_checkpoint : NULL};
    struct log_header header = {.image = job->image,
                                .output = job->output,
                                .height = picture->height,
                                .width = picture->width,
                                .layer = settings->layer,
                                .device = session->device,
                                .threads = options->threads,
                                .weights = weights_path(session->weights),
                                .schedule = schedule};
    struct dream_log log = {0};
    enum exit_status status = STATUS_FAILED;

    progress_init(&job->progress, settings->quiet, settings->layer, settings->dream.max_loss);
    int result = dream(schedule, picture, keeper_from(&job->keeper), &observer, &log);
    progress_clear(&job->progress);
    header.partial = result > 0;
    if (result < 0 || results_write(job, picture, &header, &log))
        goto fail;
    if (!settings->quiet)
        fprintf(stderr, "%s\n", job->output);
    status = header.partial ? STATUS_INTERRUPTED : STATUS_DONE;
    if (header.partial)
        error_set("interrupted %s: %s is the dream as far as it was, at full size%s%s", progress_text(&log).text,
                  job->output, settings->keeper.checkpoint ? "; go on with --resume " : "",
                  settings->keeper.checkpoint ? settings->keeper.checkpoint : "");

fail:
    dream_log_free(&log);
    return status;
}

/* The options of the dream, as the weights want them. */
static struct dream_options dream_options_of(const struct settings *settings, const struct session *session)
{
    struct dream_options options = settings->dream;

    options.clip = settings->clip || (!settings->no_clip && weights_are_embedded(session->weights));
    if (options.clip && !settings->clip && !settings->quiet)
        fputs("pareidolia: with that network pixels are held to their range after each step (--no-clip: not)\n",
              stderr);
    return options;
}

/* The rest, once network, weights and picture are there. */
static enum exit_status session_dream(struct job *job, struct session *session,
                                      const struct session_options *options, struct image *picture)
{
    struct dream_options dream_options = dream_options_of(job->settings, session);
    struct schedule_limits limits = job->settings->limits;
    struct schedule *schedule = NULL;
    enum exit_status status = STATUS_FAILED;

    if (finish_open(&job->finish, &job->settings->finish, picture) ||
        keeper_open(&job->keeper, &job->settings->keeper, session, job->settings->layer, &dream_options, picture,
                    &limits))
        goto fail;
    schedule = schedule_new(session->net, session->host, picture->height, picture->width, &dream_options, &limits);
    if (!schedule || keeper_check_tile(&job->keeper, schedule->tile) || announce(job, schedule))
        goto fail;
    interrupt_catch();
    status = dream_and_write(job, session, schedule, options, picture);

fail:
    schedule_free(schedule);
    keeper_close(&job->keeper);
    finish_close(&job->finish);
    return status;
}

/* Reads the picture and makes it as large as is wanted. */
static int picture_read(const struct job *job, struct image *picture)
{
    int64_t width, height;

    if (image_read(job->image, picture) ||
        resample_size(&job->settings->resample, job->image, picture->width, picture->height, &width, &height))
        return -1;
    return image_resample(picture, job->image, width, height);
}

/* The rest, once the command line has been understood. */
static enum exit_status job_run(struct job *job, const struct session_options *options)
{
    enum exit_status status = STATUS_FAILED;
    struct network network;
    struct targets targets;
    struct session session = {0};
    struct image picture = {0};

    if (network_init(&network, NULL))
        goto fail;
    if (targets_parse(&network, job->settings->layer, &targets) || check_distinct(job)) {
        status = STATUS_USAGE;
        goto fail;
    }
    if (check_outputs(job) || picture_read(job, &picture) || check_octave_names(job, &picture) ||
        targets_check_stimulated(&network, &targets, job->image, picture.height, picture.width))
        goto fail;
    job->format.bits = job->settings->bits ? job->settings->bits : picture.bits;
    if (session_open(&session, options, &targets, true, false))
        goto fail;
    if (!job->settings->quiet)
        session_notice(&session);
    status = session_dream(job, &session, options, &picture);

fail:
    image_free(&picture);
    session_close(&session);
    return status;
}

enum exit_status command_dream(int argc, char **argv)
{
    struct settings settings = {.layer = "activation_41",
                                .dream = dream_defaults(),
                                .quality = 95,
                                .keeper.every = 60,
                                .finish = finish_defaults()};
    struct session_options options = {0};
    const struct command_line line = {
        .command = "dream",
        .operand = "IMAGE",
        .about =
            "Changes a picture step by step so that a layer of Inception-v3 responds to it more and more: what "
            "the layer half sees becomes visible. IMAGE is a PNG or JPEG.",
        .groups = {{"the dream", dream_table, &settings},
                   {"the result", finish_option_table, &settings.finish},
                   {"the files", output_table, &settings},
                   {"long renders", keeper_option_table, &settings.keeper},
                   {"large pictures", limits_option_table, &settings.limits},
                   {"the network", session_option_table, &options}},
    };
    struct job job = {.settings = &settings};

    switch (options_parse(&line, argc, argv, &job.image)) {
    case OPTIONS_HELP:
        return STATUS_DONE;
    case OPTIONS_WRONG:
        return STATUS_USAGE;
    case OPTIONS_PARSED:
        break;
    }
    if (session_check(&options) || resample_check(&settings.resample))
        return STATUS_USAGE;
    if (settings.clip && settings.no_clip) {
        error_set("--clip and --no-clip: only one of them can be meant");
        return STATUS_USAGE;
    }
    if (settings.bits != 0 && settings.bits != 8 && settings.bits != 16) {
        error_set("--bits %d: must be 8 or 16, or 0", settings.bits);
        return STATUS_USAGE;
    }
    job.format.quality = settings.quality;
    job.output = settings.output ? strdup(settings.output) : path_derive(job.image, "_dream.png");
    if (!job.output) {
        error_set("no memory for a path");
        return STATUS_FAILED;
    }
    enum exit_status status = job_run(&job, &options);
    free(job.output);
    return status;
}
