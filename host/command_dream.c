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

/* A dream that the user waits for. */
struct job {
    const struct request *request;
    const struct dream_settings *settings; /* its */
    const char *image;                     /* its */
    char *output;                          /* owned */
    struct image_format format;
    struct progress progress;
    struct keeper keeper;
    char *weights; /* the file, or the word; owned */

    struct finish_options finish_options; /* of settings, but with the mask that was found */
    struct finish finish;

    struct recipe recipe; /* of what is being made */
    char *recipe_text;    /* owned; NULL: none goes into the pictures */
    bool tiles_differ;    /* --from's do not fit */

    char source[RECIPE_DIGITS]; /* of the picture as it was read */
    int64_t source_width, source_height;
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

/* A file that is read or written. */
struct file {
    const char *option; /* "" for an operand */
    const char *what;
    const char *path; /* NULL: there is none */
};

/* Those that are written stand before those that are read. */
enum { WRITTEN = 3, FILES = 10, CHECKPOINT = 2, RESUME = 8 };

static void files_list(const struct job *job, struct file files[FILES])
{
    const struct request *request = job->request;
    const struct dream_settings *settings = job->settings;
    bool built_in = !strcmp(job->weights, WEIGHTS_EMBEDDED) || !strcmp(job->weights, WEIGHTS_UNTRAINED);
    const struct file list[FILES] = {
        {"", "the result", job->output},
        {"--log ", "the log", settings->log},
        [CHECKPOINT] = {"--checkpoint ", "the checkpoint", settings->keeper.checkpoint},
        {"", "the picture itself", job->image},
        {"", "the picture itself", request->other_image},
        {"", "the picture of --from", settings->from},
        {"", "the mask", settings->finish.mask},
        {"", "the mask", request->other_mask},
        [RESUME] = {"", "the checkpoint of --resume", settings->keeper.resume},
        {"", "the file of weights", built_in ? NULL : job->weights},
    };

    memcpy(files, list, sizeof list);
}

static bool is_same(const char *a, const char *b)
{
    return a && b && path_same_file(a, b);
}

/* No file that is written may be one that is read, but for a checkpoint, nor another that is written. */
static int check_distinct(const struct job *job)
{
    struct file files[FILES];

    files_list(job, files);
    for (int i = 0; i < WRITTEN; i++)
        for (int j = 0; j < FILES; j++) {
            bool wanted = (j < i || j >= WRITTEN) && !(i == CHECKPOINT && j == RESUME);

            if (wanted && is_same(files[i].path, files[j].path))
                return error_set("%s%s: is %s; give %s another name", files[i].option, files[i].path, files[j].what,
                                 files[i].what);
        }
    return 0;
}

/* --save-octaves must not write over any of them. */
static int check_octave_names(const struct job *job, int64_t height, int64_t width)
{
    const struct dream_settings *settings = job->settings;
    struct file files[FILES];

    files_list(job, files);
    for (int i = 0; settings->save_octaves && i <= settings->dream.octaves; i++) {
        char name[OCTAVE_NAME] = "final_dream.png";
        int taken = 0;

        if (i < settings->dream.octaves)
            octave_name(name, octave_size(height, i, &settings->dream), octave_size(width, i, &settings->dream));
        char *path = path_join(settings->save_octaves, name);
        if (!path)
            return -1;
        while (taken < FILES && !is_same(path, files[taken].path))
            taken++;
        free(path);
        if (taken < FILES)
            return error_set("--save-octaves %s: would write over %s there, %s; choose another directory",
                             settings->save_octaves, name, files[taken].what);
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
                                .schedule = schedule,
                                .recipe = &job->recipe};
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

static bool recipe_wanted(const struct job *job)
{
    return !job->settings->no_recipe || job->settings->from || job->settings->log;
}

/* Lists the rest of what is being made of what: on the device of session, in the schedule's tiles. */
static int recipe_list(struct job *job, const struct session *session, const struct schedule *schedule)
{
    const struct dream_settings *settings = job->settings;
    const struct resample_options *resample = &settings->resample;
    struct recipe *recipe = &job->recipe;
    int64_t longer = schedule->height > schedule->width ? schedule->height : schedule->width;
    char text[48], source_size[48];

    if (recipe_add_number(recipe, "--strength", settings->finish.strength) ||
        recipe_add(recipe, "--keep-colors", settings->finish.keep_colors ? "yes" : "no") ||
        recipe_add_number(recipe, "--tile", (double)(schedule->tile ? schedule->tile : longer)) ||
        recipe_add_number(recipe, "--bits", job->format.bits) ||
        recipe_add_number(recipe, "--quality", settings->quality) ||
        (resample->width && recipe_add_number(recipe, "--width", resample->width)) ||
        (resample->height && recipe_add_number(recipe, "--height", resample->height)) ||
        (resample->max_side && recipe_add_number(recipe, "--max-side", resample->max_side)))
        return -1;
    if (job->finish.mask && (recipe_add(recipe, "--mask", path_name(settings->finish.mask)) ||
                             recipe_add(recipe, "mask", job->finish.mask_digits)))
        return -1;
    if (schedule->programs) {
        snprintf(text, sizeof text, "%016" PRIx64, schedule->programs);
        if (recipe_add(recipe, "programs", text))
            return -1;
    }
    snprintf(source_size, sizeof source_size, "%" PRId64 "x%" PRId64, job->source_width, job->source_height);
    snprintf(text, sizeof text, "%" PRId64 "x%" PRId64, schedule->width, schedule->height);
    if (recipe_add_weights(recipe, session->weights) || recipe_add(recipe, "picture", job->source) ||
        recipe_add(recipe, "picture-file", path_name(job->image)) ||
        recipe_add(recipe, "picture-size", source_size) || recipe_add(recipe, "size", text))
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
    if (job->tiles_differ)
        fprintf(stderr,
                "pareidolia: %s was made with --tile %s, which does not fit here; other bytes may come out\n", from,
                recipe_value(&job->request->from, "--tile"));
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

/* Completes the list, compares it with what --from has, and makes the text that goes into the pictures. */
static int recipe_make(struct job *job, const struct session *session, const struct schedule *schedule)
{
    const struct dream_settings *settings = job->settings;

    if (!recipe_wanted(job))
        return 0;
    if (recipe_list(job, session, schedule) || (settings->from && !settings->quiet && from_notice(job)))
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

/* The command ----------------------------------------------------------------------------------------------- */

/* Plans the dream: in the tiles of --from where these are right and fit, as the bytes depend on them. */
static struct schedule *schedule_make(struct job *job, const struct session *session, const struct image *picture,
                                      const struct dream_options *dream, const struct schedule_limits *limits)
{
    struct schedule_limits again = *limits;

    if (!limits->tile)
        again.tile = request_tile(job->request, &job->recipe, picture->width, picture->height);
    struct schedule *schedule =
        schedule_new(session->net, session->host, picture->height, picture->width, dream, &again);
    if (schedule || again.tile == limits->tile)
        return schedule;
    job->tiles_differ = true;
    return schedule_new(session->net, session->host, picture->height, picture->width, dream, limits);
}

/* The rest, once network, weights and picture are there. */
static enum exit_status session_dream(struct job *job, struct session *session,
                                      const struct session_options *options, struct image *picture)
{
    const struct dream_settings *settings = job->settings;
    struct dream_options dream_options = dream_options_of(settings, session);
    struct schedule_limits limits = settings->limits;
    struct schedule *schedule = NULL;
    enum exit_status status = STATUS_FAILED;

    if ((recipe_wanted(job) && recipe_add_dream(&job->recipe, session, settings->layer, &dream_options)) ||
        keeper_open(&job->keeper, &settings->keeper, session, settings->layer, &dream_options, picture, &limits))
        goto fail;
    limits.returned += (size_t)(picture->height * picture->width) * 3 * sizeof *picture->pixels;
    schedule = schedule_make(job, session, picture, &dream_options, &limits);
    if (!schedule || keeper_check_tile(&job->keeper, schedule->tile) || recipe_make(job, session, schedule))
        goto fail;
    announce(job, schedule);
    interrupt_catch();
    status = dream_and_write(job, session, schedule, options, picture);

fail:
    schedule_free(schedule);
    keeper_close(&job->keeper);
    return status;
}

static int source_try(struct job *job, const char *path, struct image *picture)
{
    job->image = path;
    if (image_read(path, picture))
        return -1;
    recipe_picture(picture, job->source);
    return job->request->found_image ? request_check_found(job->request, path, "picture", job->source) : 0;
}

/* Reads the picture; where only a recipe names it, the one of that name that it means. */
static int source_read(struct job *job, struct image *picture)
{
    const char *other = job->request->other_image;

    if (!source_try(job, job->image, picture))
        return 0;
    image_free(picture);
    return other ? source_try(job, other, picture) : -1;
}

/* Reads the picture and makes it as large as is wanted, once it is known that it can be written so. */
static int picture_read(struct job *job, struct image *picture)
{
    int64_t width, height;

    if (source_read(job, picture) ||
        resample_size(&job->settings->resample, job->image, picture->width, picture->height, &width, &height) ||
        image_check_output_size(job->output, width, height) || check_octave_names(job, height, width))
        return -1;
    job->source_width = picture->width;
    job->source_height = picture->height;
    return image_resample(picture, job->image, width, height);
}

static int mask_try(struct job *job, const char *path, const struct image *picture)
{
    job->finish_options = job->settings->finish;
    job->finish_options.mask = path;
    if (finish_open(&job->finish, &job->finish_options, picture->width, picture->height, job->source_width,
                    job->source_height))
        return -1;
    return job->request->found_mask ? request_check_found(job->request, path, "mask", job->finish.mask_digits) : 0;
}

/* Reads the mask, where there is one, as source_read does the picture. */
static int mask_read(struct job *job, const struct image *picture)
{
    const char *other = job->request->other_mask;

    if (!mask_try(job, job->settings->finish.mask, picture))
        return 0;
    finish_close(&job->finish);
    return other ? mask_try(job, other, picture) : -1;
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
    if (check_outputs(job) || picture_read(job, &picture) ||
        targets_check_stimulated(&network, &targets, job->image, picture.height, picture.width) ||
        mask_read(job, &picture))
        goto fail;
    job->format.bits = job->settings->bits ? job->settings->bits : picture.bits;
    if (session_open(&session, options, &targets, true, false))
        goto fail;
    if (!job->settings->quiet)
        session_notice(&session);
    status = session_dream(job, &session, options, &picture);

fail:
    finish_close(&job->finish);
    image_free(&picture);
    session_close(&session);
    return status;
}

/* The result's name; NULL with an error. */
static char *output_name(const struct request *request)
{
    const char *from = request->settings.from, *output = request->settings.output;
    char *name;

    if (!output && request->found_image)
        return path_derive(from, image_name_is_jpeg(from) ? "_again.jpg" : "_again.png");
    if (!output)
        return path_derive(request->image, "_dream.png");
    name = strdup(output);
    if (!name)
        error_set("no memory for a path");
    return name;
}

/* The weights that session_open will open; NULL with an error. */
static char *weights_name(const struct session_options *options)
{
    char *name = options->weights ? strdup(options->weights) : weights_find(false);

    if (!name && options->weights)
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
                          .weights = weights_name(&request.session),
                          .format.quality = request.settings.quality};

        status = job.output && job.weights ? job_run(&job, &request.session) : STATUS_FAILED;
        free(job.output);
        free(job.weights);
        free(job.recipe_text);
        recipe_free(&job.recipe);
    }
    request_free(&request);
    return status;
}
