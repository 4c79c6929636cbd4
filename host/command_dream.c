/* pareidolia dream: reads a picture, dreams on it, writes the result, which says what it was made with. Everything
 * that can be found wrong before the weights are read is found before. */
#include "error.h"
#include "image.h"
#include "interrupt.h"
#include "log.h"
#include "paths.h"
#include "progress.h"
#include "request.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A dream that the user waits for. */
struct job {
    const struct request *request;
    const struct dream_settings *settings; /* its */
    const char *image;                     /* its */
    char *output;                          /* owned */
    struct image_format format;
    struct progress progress;
    struct keeper keeper;
    struct finish finish;

    struct recipe recipe;                        /* of what is being made */
    char *recipe_text;                           /* owned; NULL: none goes into the pictures */
    char source[RECIPE_DIGITS], source_size[48]; /* of the picture as it was read */
};

/* Writes picture with a comment of `first`, a line without its end, the recipe, and `last`, a line of that. */
static int picture_write(const struct job *job, const char *path, const struct image *picture, const char *first,
                         const char *last)
{
    struct image_format format = job->format;
    const char *recipe = job->recipe_text;
    char *comment;

    if (asprintf(&comment, "%s%s%s%s", first, *first && recipe ? "\n" : "", recipe ? recipe : "",
                 recipe ? last : "") < 0)
        return error_set("%s: no memory for its comment", path);
    format.comment = *comment ? comment : NULL;
    int result = image_write(path, picture, &format);
    free(comment);
    return result;
}

/* Writes picture into --save-octaves' directory. */
static int save_into_directory(const struct job *job, const char *name, const struct image *picture,
                               const char *last)
{
    char *path = path_join(job->settings->save_octaves, name);

    if (!path)
        return -1;
    int result = picture_write(job, path, picture, "", last);
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

/* A checkpoint that cannot be written, as on a full disk, does not end the dream: the one before is still there. */
static int on_checkpoint(void *context, const struct checkpoint *checkpoint)
{
    struct job *job = context;

    if (keeper_keep(&job->keeper, checkpoint)) {
        progress_clear(&job->progress);
        fprintf(stderr, "pareidolia: %s; the dream goes on\n", error_message());
    }
    return 0;
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
    char name[OCTAVE_NAME], last[48] = "";

    octave_name(name, picture->height, picture->width);
    if (octave + 1 < log->octaves)
        snprintf(last, sizeof last, "octave=%d/%d\n", octave + 1, log->octaves);
    if (save_into_directory(job, name, picture, last))
        return -1;
    return octave + 1 == log->octaves ? save_into_directory(job, "final_dream.png", picture, "") : 0;
}

/* What is written ------------------------------------------------------------------------------------------- */

/* No file that is written may be the one that is read, nor another that is written. */
static int check_distinct(const struct job *job)
{
    const char *log = job->settings->log, *checkpoint = job->settings->keeper.checkpoint;
    const char *resume = job->settings->keeper.resume, *from = job->settings->from;

    if (from && path_same_file(job->output, from))
        return error_set("%s: is the picture of --from; give the result another name", job->output);
    if (from && ((log && path_same_file(log, from)) || (checkpoint && path_same_file(checkpoint, from))))
        return error_set("--from %s: is the log or the checkpoint, too; give that another name", from);
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
    const struct dream_settings *settings = job->settings;
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
                (settings->from && path_same_file(path, settings->from)) ||
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
    const struct dream_settings *settings = job->settings;

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
static void announce(const struct job *job, const struct schedule *schedule)
{
    double seconds;

    if (job->settings->quiet)
        return;
    seconds = schedule_estimate(schedule);
    fprintf(stderr, "%" PRId64 "x%" PRId64 " %s%s%s\n", schedule->width, schedule->height,
            schedule_describe(schedule).text, isnan(seconds) ? "" : "; about ",
            isnan(seconds) ? "" : duration_text(seconds).text);
}

/* Writes what the dream has come to: the picture, marked where it is partial, and the log. */
static int results_write(const struct job *job, const struct image *picture, const struct log_header *header,
                         const struct dream_log *log)
{
    char first[128] = "";

    if (header->partial)
        snprintf(first, sizeof first, "partial: interrupted %s", progress_text(log).text);
    int result = picture_write(job, job->output, picture, first, "");
    if (!result && job->settings->log)
        result = log_write(job->settings->log, header, log);
    return result;
}

/* Dreams on picture by the schedule and writes what was asked for. */
static enum exit_status dream_and_write(struct job *job, struct session *session, struct schedule *schedule,
                                        const struct session_options *options, struct image *picture)
{
    const struct dream_settings *settings = job->settings;
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
static struct dream_options dream_options_of(const struct dream_settings *settings, const struct session *session)
{
    struct dream_options options = settings->dream;

    options.clip = settings->clip || (!settings->no_clip && weights_are_embedded(session->weights));
    if (options.clip && !settings->clip && !settings->quiet)
        fputs("pareidolia: with that network pixels are held to their range after each step (--no-clip: not)\n",
              stderr);
    return options;
}

/* The recipe ------------------------------------------------------------------------------------------------ */

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Lists what is being made of what; on the device and with the weights of session, in the schedule's tiles. */
static int recipe_list(struct job *job, const struct session *session, const struct dream_options *dream,
                       const struct schedule *schedule)
{
    const struct dream_settings *settings = job->settings;
    const struct resample_options *resample = &settings->resample;
    struct recipe *recipe = &job->recipe;
    int64_t longer = schedule->height > schedule->width ? schedule->height : schedule->width;
    char text[48];

    if (recipe_add_dream(recipe, session, settings->layer, dream) ||
        recipe_add_number(recipe, "--strength", settings->finish.strength) ||
        recipe_add(recipe, "--keep-colors", settings->finish.keep_colors ? "yes" : "no") ||
        recipe_add_number(recipe, "--tile", (double)(schedule->tile ? schedule->tile : longer)) ||
        recipe_add_number(recipe, "--bits", job->format.bits) ||
        recipe_add_number(recipe, "--quality", settings->quality) ||
        (resample->width && recipe_add_number(recipe, "--width", resample->width)) ||
        (resample->height && recipe_add_number(recipe, "--height", resample->height)) ||
        (resample->max_side && recipe_add_number(recipe, "--max-side", resample->max_side)))
        return -1;
    if (job->finish.mask) {
        recipe_mask(job->finish.mask, schedule->height * schedule->width, text);
        if (recipe_add(recipe, "--mask", file_name(settings->finish.mask)) || recipe_add(recipe, "mask", text))
            return -1;
    }
    if (schedule->programs) {
        snprintf(text, sizeof text, "%016" PRIx64, schedule->programs);
        if (recipe_add(recipe, "programs", text))
            return -1;
    }
    snprintf(text, sizeof text, "%" PRId64 "x%" PRId64, schedule->width, schedule->height);
    if (recipe_add(recipe, "weights-file", file_name(weights_path(session->weights))) ||
        recipe_add(recipe, "picture", job->source) || recipe_add(recipe, "picture-file", file_name(job->image)) ||
        recipe_add(recipe, "picture-size", job->source_size) || recipe_add(recipe, "size", text))
        return -1;
    return 0;
}

/* Says what else than --from's picture this is, or why its bytes may be others although no setting differs. */
static int from_notice(const struct job *job)
{
    static const char *const names[] = {"version", "--device", "--precision", "weights", "programs"};
    const char *from = job->settings->from;
    const char *octave = recipe_value(&job->request->from, "octave");

    if (octave || job->request->from.partial)
        fprintf(stderr, "pareidolia: %s is %s; this does the whole dream\n", from,
                octave ? "the picture after one of the octaves" : "of a dream that was interrupted");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *then = recipe_value(&job->request->from, names[i]), *now = recipe_value(&job->recipe, names[i]);

        if (!then || !now || !strcmp(then, now))
            continue;
        char *text = recipe_escape(then);
        if (!text)
            return -1;
        fprintf(stderr, "pareidolia: %s was made with %s %s, not %s; other bytes may come out\n", from, names[i],
                text, now);
        free(text);
    }
    return 0;
}

/* Lists what is being made, compares it with what --from has, and makes the text that goes into the pictures. */
static int recipe_make(struct job *job, const struct session *session, const struct dream_options *dream,
                       const struct schedule *schedule)
{
    const struct dream_settings *settings = job->settings;

    if (settings->no_recipe && !settings->from)
        return 0;
    if (recipe_list(job, session, dream, schedule) || (settings->from && !settings->quiet && from_notice(job)))
        return -1;
    if (settings->no_recipe)
        return 0;
    job->recipe_text = recipe_text(&job->recipe);
    if (!job->recipe_text)
        return -1;
    size_t bytes = strlen(job->recipe_text);
    if (bytes > RECIPE_MOST) {
        fprintf(stderr,
                "pareidolia: no recipe goes into the pictures: it would be %zu bytes, and %d are the most\n", bytes,
                RECIPE_MOST);
        free(job->recipe_text);
        job->recipe_text = NULL;
    }
    return 0;
}

static int check_found_mask(const struct job *job, const struct image *picture)
{
    char digits[RECIPE_DIGITS];

    if (!job->request->found_mask)
        return 0;
    recipe_mask(job->finish.mask, picture->height * picture->width, digits);
    return request_check_found(job->request, job->request->found_mask, "mask", digits);
}

/* The command ----------------------------------------------------------------------------------------------- */

/* The rest, once network, weights and picture are there. */
static enum exit_status session_dream(struct job *job, struct session *session,
                                      const struct session_options *options, struct image *picture)
{
    struct dream_options dream_options = dream_options_of(job->settings, session);
    struct schedule_limits limits = request_limits(job->request, picture->width, picture->height);
    struct schedule *schedule = NULL;
    enum exit_status status = STATUS_FAILED;

    if (finish_open(&job->finish, &job->settings->finish, picture) || check_found_mask(job, picture) ||
        keeper_open(&job->keeper, &job->settings->keeper, session, job->settings->layer, &dream_options, picture,
                    &limits))
        goto fail;
    limits.returned += (size_t)(picture->height * picture->width) * 3 * sizeof *picture->pixels;
    schedule = schedule_new(session->net, session->host, picture->height, picture->width, &dream_options, &limits);
    if (!schedule || keeper_check_tile(&job->keeper, schedule->tile) ||
        recipe_make(job, session, &dream_options, schedule))
        goto fail;
    announce(job, schedule);
    interrupt_catch();
    status = dream_and_write(job, session, schedule, options, picture);

fail:
    schedule_free(schedule);
    keeper_close(&job->keeper);
    finish_close(&job->finish);
    return status;
}

/* Reads the picture and makes it as large as is wanted. */
static int picture_read(struct job *job, struct image *picture)
{
    int64_t width, height;

    if (image_read(job->image, picture) ||
        resample_size(&job->settings->resample, job->image, picture->width, picture->height, &width, &height))
        return -1;
    recipe_picture(picture, job->source);
    snprintf(job->source_size, sizeof job->source_size, "%" PRId64 "x%" PRId64, picture->width, picture->height);
    if (job->request->found_image && request_check_found(job->request, job->image, "picture", job->source))
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

/* Whether path's extension is a JPEG's. */
static bool is_jpeg(const char *path)
{
    const char *dot = strrchr(file_name(path), '.');

    return dot && (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

/* The result's name; NULL with an error. */
static char *output_name(const struct request *request)
{
    const char *from = request->settings.from, *output = request->settings.output;
    char *name;

    if (!output && request->found_image)
        return path_derive(from, is_jpeg(from) ? "_again.jpg" : "_again.png");
    if (!output)
        return path_derive(request->image, "_dream.png");
    name = strdup(output);
    if (!name)
        error_set("no memory for a path");
    return name;
}

enum exit_status command_dream(int argc, char **argv)
{
    struct request request;
    enum exit_status status = request_read(&request, argc, argv);

    if (status == STATUS_DONE && request.image) {
        struct job job = {.request = &request,
                          .settings = &request.settings,
                          .image = request.image,
                          .output = output_name(&request),
                          .format.quality = request.settings.quality};

        status = job.output ? job_run(&job, &request.session) : STATUS_FAILED;
        free(job.output);
        free(job.recipe_text);
        recipe_free(&job.recipe);
    }
    request_free(&request);
    return status;
}
