/* pareidolia compare: one device beside another, as a table or as JSON, with a verdict. What is measured, and how
 * near it must be, is compare.c's; here it is set up, shown, and summed up in an exit status. */
#include "commands.h"
#include "compare.h"
#include "error.h"
#include "json.h"
#include "progress.h"
#include "session.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    const char *layer;
    const char *against;
    const char *against_precision; /* NULL: the device's own */
    struct dream_options dream;
    bool steps_only;
    bool verbose;
    bool json;
};

static const struct option compare_table[] = {
    {.name = "against",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, against),
     .argument = "NAME",
     .help = "the second device, which the first one (--device) is measured by"},
    {.name = "against-precision",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, against_precision),
     .argument = "TYPE",
     .help = "its precision, as --precision is the first one's"},
    {.name = "layer",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, layer),
     .argument = "NAME",
     .help = "the layer to stimulate, up to which all are compared"},
    {.name = "steps-only",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, steps_only),
     .help = "leave the dreams out, which take nearly all of the time"},
    {.name = "verbose",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, verbose),
     .help = "list all layers, not only those that are furthest off"},
    {.name = "json", .kind = OPTION_FLAG, .offset = offsetof(struct settings, json), .help = "print JSON"},
    {.name = NULL},
};

static const struct option dreams_table[] = {
    {.name = "octaves",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, dream.octaves),
     .argument = "N",
     .help = "sizes to dream at",
     .least = 1,
     .most = 100},
    {.name = "iterations",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, dream.iterations),
     .argument = "N",
     .help = "steps at each size",
     .least = 1,
     .most = 1000000},
    {.name = NULL},
};

/* What is compared, and what has come of it. */
struct job {
    const char *image; /* NULL: drawn */
    const struct settings *settings;
    struct dream_options dream;
    const char *weights;
    const struct network *network;
    struct image picture;
    struct compare_side a, b;
    struct dream_log a_logs[COMPARE_DREAMS], b_log;
    struct comparison comparison;
};

/* The picture ----------------------------------------------------------------------------------------------- */

enum { DRAWN_SIDE = 299 };

/* A number in -1..1 for a corner of a grid, the same for all time. */
static double corner(int64_t row, int64_t column, int layer)
{
    uint64_t z = ((uint64_t)layer << 48) + ((uint64_t)row << 24) + (uint64_t)column;

    z = (z + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-52 - 1;
}

/* A smooth random surface over a grid of that many pixels. */
static double surface(int row, int column, int cell, int layer)
{
    int64_t i = row / cell, j = column / cell;
    double v = (double)(row % cell) / cell, u = (double)(column % cell) / cell;

    v = v * v * (3 - 2 * v);
    u = u * u * (3 - 2 * u);
    return (1 - v) * ((1 - u) * corner(i, j, layer) + u * corner(i, j + 1, layer)) +
           v * ((1 - u) * corner(i + 1, j, layer) + u * corner(i + 1, j + 1, layer));
}

/* Clouds: surfaces of every size, the coarser ones the higher, as in photographs. Each colour has a third of its
 * own. Nothing is so flat that many activations are exactly equal. */
static double drawn(int row, int column, int channel)
{
    double value = 0, height = 0.5;

    for (int cell = 128, layer = 0; cell > 1; cell /= 2, layer += 4, height *= 0.7)
        value += height * (0.67 * surface(row, column, cell, layer) +
                           0.33 * surface(row, column, cell, layer + 1 + channel));
    return value < -1 ? -1 : value > 1 ? 1 : value;
}

static int picture_draw(struct image *picture)
{
    *picture = (struct image){.width = DRAWN_SIDE, .height = DRAWN_SIDE, .bits = 8};
    picture->pixels = malloc((size_t)DRAWN_SIDE * DRAWN_SIDE * 3 * sizeof *picture->pixels);
    if (!picture->pixels)
        return error_set("no memory for a picture of %dx%d pixels", DRAWN_SIDE, DRAWN_SIDE);
    for (int i = 0; i < DRAWN_SIDE * DRAWN_SIDE * 3; i++)
        picture->pixels[i] = (float)drawn(i / 3 / DRAWN_SIDE, i / 3 % DRAWN_SIDE, i % 3);
    return 0;
}

/* Dreams ---------------------------------------------------------------------------------------------------- */

static void on_octave_begin(void *context, const struct dream_log *log, int octave)
{
    progress_octave_begin(context, log, octave);
}

static void on_steps(void *context, const struct dream_log *log, int octave)
{
    progress_steps(context, log, octave);
}

static void on_octave_end(void *context, const struct dream_log *log, int octave)
{
    progress_octave_end(context, log, octave);
}

/* The number-th dream from the picture, on a copy of it. A terminal is told how far it is. */
static int dream_on(const struct job *job, const struct compare_side *side, int number, struct dream_log *log)
{
    struct progress progress;
    struct dream_observer observer = {
        .context = &progress, .octave_begin = on_octave_begin, .steps = on_steps, .octave_end = on_octave_end};
    struct image copy = {.width = job->picture.width, .height = job->picture.height, .bits = 8};
    size_t bytes = (size_t)(copy.width * copy.height * 3) * sizeof *copy.pixels;
    bool terminal = isatty(STDERR_FILENO);

    copy.pixels = malloc(bytes);
    if (!copy.pixels)
        return error_set("no memory for a copy of the picture (%zu bytes)", bytes);
    memcpy(copy.pixels, job->picture.pixels, bytes);
    compare_move(&copy, number);
    if (terminal)
        fprintf(stderr, "a dream on %s, %s%s\n", side->device->name, side->device->precision,
                number ? ", the picture moved a little" : "");
    progress_init(&progress, !terminal, job->settings->layer, job->dream.max_loss);
    struct schedule *schedule =
        schedule_new(side->net, NULL, copy.height, copy.width, &job->dream, &(struct schedule_limits){0});
    int result = schedule ? dream(schedule, &copy, NULL, &observer, log) : -1;
    progress_clear(&progress);
    schedule_free(schedule);
    image_free(&copy);
    return result;
}

static int compare_all(struct job *job)
{
    if (compare_steps(&job->a, &job->b, &job->picture, &job->comparison))
        return -1;
    if (job->settings->steps_only)
        return 0;
    for (int i = 0; i < COMPARE_DREAMS; i++)
        if (dream_on(job, &job->a, i, &job->a_logs[i]))
            return -1;
    if (dream_on(job, &job->b, 0, &job->b_log))
        return -1;
    return compare_dreams(&job->a, job->a_logs, &job->b, &job->b_log, &job->comparison);
}

/* The table ------------------------------------------------------------------------------------------------- */

enum { LAYERS_SHOWN = 3, NAME_LENGTH = 80 };

/* What the first column says. */
static void row_name(const struct job *job, const struct compared *row, char name[NAME_LENGTH])
{
    const struct octave_log *octave;

    switch (row->measure) {
    case MEASURE_ACTIVATION:
        snprintf(name, NAME_LENGTH, "%s", job->network->nodes[row->index].name);
        break;
    case MEASURE_LOSS:
        snprintf(name, NAME_LENGTH, "loss, %.6g and %.6g", row->a, row->b);
        break;
    case MEASURE_GRADIENT:
        snprintf(name, NAME_LENGTH, "gradient, each with its own signs");
        break;
    case MEASURE_GRADIENT_GIVEN:
        snprintf(name, NAME_LENGTH, "gradient, both with %s's signs", job->b.device->name);
        break;
    case MEASURE_STEP:
        snprintf(name, NAME_LENGTH, "step, both with %s's signs", job->b.device->name);
        break;
    case MEASURE_OCTAVE:
        octave = &job->b_log.octave[row->index];
        snprintf(name, NAME_LENGTH, "dream at %" PRId64 "x%" PRId64 ", loss %.4g and %.4g", octave->width,
                 octave->height, row->a, row->b);
        break;
    case MEASURES:
        break;
    }
}

/* A number for a column of 11 characters; "-" where nothing was measured. */
static void print_number(const char *format, double value)
{
    char text[32] = "-";

    if (!isnan(value))
        snprintf(text, sizeof text, format, value);
    printf("  %11s", text);
}

static void print_row(const struct job *job, const struct compared *row)
{
    char name[NAME_LENGTH], allowed[32];

    row_name(job, row, name);
    printf("%-44s", name);
    print_number("%.2e", row->difference.relative_l2);
    print_number("%.2e", row->difference.largest);
    print_number("%.7f", row->difference.cosine);
    snprintf(allowed, sizeof allowed, row->measure == MEASURE_GRADIENT ? "cosine %g" : "relative %.3g",
             row->allowed);
    printf("  %-16s  %s\n", allowed, row->passed ? "ok" : "FAILED");
}

/* Whether a has been further off than b; NaN is furthest. */
static bool is_worse(const struct compared *a, const struct compared *b)
{
    return !isnan(b->difference.relative_l2) && !(a->difference.relative_l2 <= b->difference.relative_l2);
}

/* How many layers are worse than row; of those equally bad, the earlier one counts as worse. */
static int layers_worse(const struct comparison *c, const struct compared *row)
{
    int worse = 0;

    for (const struct compared *other = c->compared; other < c->compared + c->count; other++)
        if (other->measure == MEASURE_ACTIVATION && other != row &&
            (is_worse(other, row) || (other < row && !is_worse(row, other))))
            worse++;
    return worse;
}

static int layers_count(const struct comparison *c)
{
    int layers = 0;

    for (int i = 0; i < c->count; i++)
        layers += c->compared[i].measure == MEASURE_ACTIVATION;
    return layers;
}

static void print_flips(const struct flips *flips)
{
    printf("%" PRId64 " of %" PRId64 " signs of ReLUs and %" PRId64 " of %" PRId64
           " winners of pools are flipped\n",
           flips->signs, flips->signs_of, flips->winners, flips->winners_of);
}

static void print_text(const struct job *job)
{
    const struct comparison *c = &job->comparison;
    int layers = layers_count(c);
    bool flips_printed = false;
    double spread = 0;

    printf("%s, %s against %s, %s\n%s, %" PRId64 "x%" PRId64 ", up to %s, weights %s\n\n", job->a.device->name,
           job->a.device->precision, job->b.device->name, job->b.device->precision,
           job->image ? job->image : "a picture that is built in", job->picture.width, job->picture.height,
           job->settings->layer, job->weights);
    printf("%-44s  %11s  %11s  %11s  %-16s  verdict\n", "", "relative L2", "largest", "cosine", "limit");
    for (int i = 0; i < c->count; i++) {
        const struct compared *row = &c->compared[i];
        bool layer = row->measure == MEASURE_ACTIVATION;

        if (layer && !job->settings->verbose && row->passed && layers_worse(c, row) >= LAYERS_SHOWN)
            continue;
        if (!layer && !flips_printed) {
            if (!job->settings->verbose)
                printf("(%d layers; --verbose lists all)\n", layers);
            print_flips(&c->flips);
            flips_printed = true;
        }
        print_row(job, row);
        spread = fmax(spread, row->spread);
    }
    if (spread > 0)
        printf("Dreams of %s end up to %.0f%% apart where the picture is moved by %g: the limit of a dream's loss "
               "is %g, "
               "and %d times that.\n",
               job->a.device->name, 100 * spread, COMPARE_MOVE,
               measure_allowed(MEASURE_OCTAVE, job->a.device->precision, job->b.device->precision),
               SPREADS_ALLOWED);
}

/* JSON ------------------------------------------------------------------------------------------------------ */

static cJSON *side_json(const struct compare_side *side)
{
    cJSON *object = cJSON_CreateObject();

    json_add_text(object, "device", side->device->name);
    json_add_text(object, "precision", side->device->precision);
    json_add_programs(object, side->device->programs);
    return object;
}

static const char *measure_name(enum measure measure)
{
    static const char *const names[MEASURES] = {
        [MEASURE_ACTIVATION] = "activation", [MEASURE_LOSS] = "loss",
        [MEASURE_GRADIENT] = "gradient",     [MEASURE_GRADIENT_GIVEN] = "gradient_same_signs",
        [MEASURE_STEP] = "step_same_signs",  [MEASURE_OCTAVE] = "octave"};

    return names[measure];
}

static cJSON *row_json(const struct job *job, const struct compared *row)
{
    bool numbers = row->measure == MEASURE_LOSS || row->measure == MEASURE_OCTAVE;
    cJSON *object = cJSON_CreateObject();

    json_add_text(object, "what", measure_name(row->measure));
    if (row->measure == MEASURE_ACTIVATION)
        json_add_text(object, "layer", job->network->nodes[row->index].name);
    if (row->measure == MEASURE_OCTAVE) {
        json_add_number(object, "width", (double)job->b_log.octave[row->index].width);
        json_add_number(object, "height", (double)job->b_log.octave[row->index].height);
        json_add_number(object, "spread", row->spread);
    }
    if (numbers) {
        json_add_number(object, "a", row->a);
        json_add_number(object, "b", row->b);
    }
    json_add_number(object, "relative_l2", row->difference.relative_l2);
    if (!numbers) {
        json_add_number(object, "largest", row->difference.largest);
        json_add_number(object, "cosine", row->difference.cosine);
    }
    json_add_number(object, row->measure == MEASURE_GRADIENT ? "least_cosine" : "most_relative_l2", row->allowed);
    cJSON_AddBoolToObject(object, "passed", row->passed);
    return object;
}

static int print_json(const struct job *job, bool passed)
{
    const struct comparison *c = &job->comparison;
    cJSON *object = cJSON_CreateObject(), *rows = cJSON_CreateArray();

    json_add_text(object, "image", job->image);
    json_add_number(object, "width", (double)job->picture.width);
    json_add_number(object, "height", (double)job->picture.height);
    json_add_text(object, "layer", job->settings->layer);
    json_add_text(object, "weights", job->weights);
    cJSON_AddItemToObject(object, "a", side_json(&job->a));
    cJSON_AddItemToObject(object, "b", side_json(&job->b));
    json_add_number(object, "signs", (double)c->flips.signs_of);
    json_add_number(object, "signs_flipped", (double)c->flips.signs);
    json_add_number(object, "winners", (double)c->flips.winners_of);
    json_add_number(object, "winners_flipped", (double)c->flips.winners);
    for (int i = 0; i < c->count; i++)
        cJSON_AddItemToArray(rows, row_json(job, &c->compared[i]));
    cJSON_AddItemToObject(object, "comparisons", rows);
    cJSON_AddBoolToObject(object, "passed", passed);
    return json_print(stdout, object) ? error_prefix("standard output") : 0;
}

/* The command ----------------------------------------------------------------------------------------------- */

/* 0 where everything has passed, else -1 with a sentence that names the first that has not. */
static int verdict(const struct job *job)
{
    const struct comparison *c = &job->comparison;
    const struct compared *first = NULL;
    char name[NAME_LENGTH];
    int failed = 0;

    for (int i = 0; i < c->count; i++) {
        if (c->compared[i].passed)
            continue;
        if (failed++ == 0)
            first = &c->compared[i];
    }
    if (!first)
        return 0;
    row_name(job, first, name);
    return error_set("%s, %s is further from %s, %s than it may be in %d of %d comparisons, the first of them: %s",
                     job->a.device->name, job->a.device->precision, job->b.device->name, job->b.device->precision,
                     failed, c->count, name);
}

/* Opens the second side beside the session's device. */
static int sides_open(struct job *job, const struct session *session, const struct session_options *options,
                      const struct targets *targets)
{
    const struct device_options against = {
        .precision = job->settings->against_precision, .threads = options->threads, .tune = options->tune};

    job->weights = weights_path(session->weights);
    job->dream = job->settings->dream;
    job->dream.clip = weights_are_embedded(session->weights); /* as dream does by itself */
    job->network = &session->network;
    job->a.device = session->device;
    job->a.net = session->net;
    job->b.device = device_open(job->settings->against, &against);
    if (!job->b.device)
        return error_prefix("--against %s", job->settings->against);
    job->b.net =
        net_open(job->b.device, &session->network, session->weights, targets->target, targets->count, true);
    return job->b.net ? 0 : -1;
}

static enum exit_status job_run(struct job *job, const struct session_options *options)
{
    enum exit_status status = STATUS_FAILED;
    const char *name = job->image ? job->image : "the built-in picture";
    struct session session = {0};
    struct network network;
    struct targets targets;

    if (network_init(&network, NULL) || targets_parse(&network, job->settings->layer, &targets))
        return STATUS_USAGE;
    if (job->image ? image_read(job->image, &job->picture) : picture_draw(&job->picture))
        goto fail;
    if (targets_check_stimulated(&network, &targets, name, job->picture.height, job->picture.width) ||
        session_open(&session, options, &targets, true, false) || sides_open(job, &session, options, &targets))
        goto fail;
    session_notice(&session);
    if (compare_all(job))
        goto fail;

    int outcome = verdict(job);
    if (!job->settings->json)
        print_text(job);
    else if (print_json(job, outcome == 0))
        goto fail;
    status = outcome ? STATUS_FAILED : STATUS_DONE;

fail:
    comparison_free(&job->comparison);
    for (int i = 0; i < COMPARE_DREAMS; i++)
        dream_log_free(&job->a_logs[i]);
    dream_log_free(&job->b_log);
    net_close(job->b.net);
    device_close(job->b.device);
    session_close(&session);
    image_free(&job->picture);
    return status;
}

enum exit_status command_compare(int argc, char **argv)
{
    struct settings settings = {.layer = "activation_41", .against = "reference", .dream = dream_defaults()};
    struct session_options options = {0};
    enum exit_status status = STATUS_DONE;
    const struct command_line line = {
        .command = "compare",
        .operand = "IMAGE",
        .operand_optional = true,
        .about =
            "Holds one device against another from the same picture: every layer, the loss, the gradient, a step, "
            "and the loss of a whole dream at the end of each size. Ends with 0 where all of it is as near as the "
            "precisions allow, else with 1. Without IMAGE it takes a picture of its own, 299x299.",
        .groups = {{"the comparison", compare_table, &settings},
                   {"the dreams", dreams_table, &settings},
                   {"the first device, and the network", session_option_table, &options}},
    };
    struct job job = {.settings = &settings};

    if (!command_parsed(&line, argc, argv, &job.image, &status))
        return status;
    if (session_check(&options))
        return STATUS_USAGE;
    if (device_check(settings.against, settings.against_precision)) {
        error_prefix("--against %s", settings.against);
        return STATUS_USAGE;
    }
    return job_run(&job, &options);
}
