/* pareidolia bench: what a step costs, for every size, device and precision that is asked for. bench.c measures and
 * bench_report.c prints; here is decided what. */
#include "bench_report.h"
#include "commands.h"
#include "error.h"
#include "image.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where sizes are not given: from here on doubled. */
enum { FIRST_SIDE = 256 };

enum { SIZES_MAX = 64, SUBJECTS_MAX = 32, ITEM_BYTES = 64 };

struct settings {
    const char *sizes; /* NULL: doubled */
    const char *layer;
    int tile;
    double seconds;
    double limit;
    bool dream, profile, json, csv;
};

static const struct option bench_table[] = {
    {.name = "sizes",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, sizes),
     .argument = "LIST",
     .help = "sizes of pictures, as 256,1024x768 (default: 256, and doubled until memory or --limit ends it)"},
    {.name = "limit",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct settings, limit),
     .argument = "SECONDS",
     .help = "how long a step may take, by the one before, where sizes are doubled",
     .least = 0,
     .most = 1e9,
     .none = true},
    {.name = "seconds",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct settings, seconds),
     .argument = "SECONDS",
     .help = "how long each step is timed; at least five batches, three where one takes longer",
     .least = 0,
     .most = 1e6},
    {.name = "layer",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, layer),
     .argument = "NAME",
     .help = "the layer to stimulate, up to which all is computed"},
    {.name = "tile",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, tile),
     .argument = "N",
     .help = "compute in tiles that own N x N pixels; 0 is in one piece",
     .least = 0,
     .most = IMAGE_MAX_SIDE},
    {.name = "dream",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, dream),
     .help = "also dream at each size, with dream's defaults"},
    {.name = "profile",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, profile),
     .help = "also time each operation by itself, beside what direct convolution would take at the rates of a "
             "matrix product and of a copy that are measured here"},
    {.name = "json", .kind = OPTION_FLAG, .offset = offsetof(struct settings, json), .help = "print JSON"},
    {.name = "csv",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, csv),
     .help = "print CSV, a row a result; operations are left out"},
    {.name = NULL},
};

/* A device in one precision. */
struct choice {
    char device[ITEM_BYTES], precision[ITEM_BYTES]; /* "": the default */
};

/* What is to be measured, and what has come of it. */
struct job {
    const struct settings *settings;
    struct session_options options;
    struct bench_settings bench;
    struct network network;
    struct targets targets;
    int sizes; /* 0: doubled */
    struct option_size size[SIZES_MAX];
    int choices;
    struct choice choice[SUBJECTS_MAX];
    bool noticed;    /* what the user must know of the session has been said */
    char unfit[512]; /* why a size that was asked for is not there; "": all are */
    struct bench_report report;
};

/* The command line ------------------------------------------------------------------------------------------ */

/* 0 where every item of a list has at least one character; NULL is an empty list. */
static int list_check(const char *name, const char *list)
{
    for (const char *text = list; text; text = strchr(text, ',') ? strchr(text, ',') + 1 : NULL)
        if (strcspn(text, ",") == 0)
            return error_set("--%s %s: there is nothing before or behind a comma", name, list);
    return 0;
}

/* Copies the next item of a list with commas. Returns false behind the last. */
static bool item_next(const char **list, char item[ITEM_BYTES])
{
    size_t length;

    if (!*list)
        return false;
    length = strcspn(*list, ",");
    snprintf(item, ITEM_BYTES, "%.*s", (int)length, *list);
    *list = (*list)[length] ? *list + length + 1 : NULL;
    return true;
}

/* Parses digits that are followed by `end`. Returns what is behind, or NULL. */
static const char *side_parse(const char *text, char end, int64_t *side)
{
    char *behind;

    if (!isdigit((unsigned char)*text))
        return NULL;
    *side = strtoll(text, &behind, 10);
    return *behind == end && *side >= 1 && *side <= IMAGE_MAX_SIDE ? behind + 1 : NULL;
}

/* "256" or "1024x768". */
static int size_parse(const char *item, struct option_size *size)
{
    const char *height = side_parse(item, 'x', &size->width);

    if (side_parse(item, '\0', &size->width))
        size->height = size->width;
    else if (!height || !side_parse(height, '\0', &size->height))
        return error_set("--sizes %s: must be SIDE or WIDTHxHEIGHT, each 1 to %d, several with commas", item,
                         IMAGE_MAX_SIDE);
    return 0;
}

static int sizes_parse(struct job *job)
{
    const char *list = job->settings->sizes;
    char item[ITEM_BYTES], name[ITEM_BYTES + 16];

    while (item_next(&list, item)) {
        struct option_size *size = &job->size[job->sizes];

        if (job->sizes == SIZES_MAX)
            return error_set("--sizes: at most %d", SIZES_MAX);
        snprintf(name, sizeof name, "--sizes %s", item);
        if (size_parse(item, size) ||
            targets_check_stimulated(&job->network, &job->targets, name, size->height, size->width))
            return -1;
        job->sizes++;
    }
    return 0;
}

/* Whether the device has the precision; both may be "". */
static int choice_check(const struct choice *choice)
{
    struct session_options options = {.device = *choice->device ? choice->device : NULL,
                                      .precision = *choice->precision ? choice->precision : NULL};

    return session_check(&options);
}

/* Every device in every precision that it has. One without any, and one that none has, are mistakes. */
static int choices_list(struct job *job)
{
    const char *devices = job->options.device ? job->options.device : "";
    const char *precisions = job->options.precision ? job->options.precision : "";
    struct choice choice;

    for (const char *list = precisions; item_next(&list, choice.precision);) {
        bool had = false;

        for (const char *other = devices; !had && item_next(&other, choice.device);)
            had = choice_check(&choice) == 0;
        if (!had)
            return -1;
    }
    for (const char *list = devices; item_next(&list, choice.device);) {
        int before = job->choices;

        for (const char *other = precisions; item_next(&other, choice.precision);) {
            if (choice_check(&choice))
                continue;
            if (job->choices == SUBJECTS_MAX)
                return error_set("--device and --precision: at most %d together", SUBJECTS_MAX);
            job->choice[job->choices++] = choice;
        }
        if (job->choices == before)
            return -1;
    }
    return 0;
}

static int job_prepare(struct job *job)
{
    const struct settings *settings = job->settings;

    if (settings->json && settings->csv)
        return error_set("--json, --csv: take one of them");
    if (settings->profile && settings->tile)
        return error_set("--profile, --tile: operations are timed in one piece only; take one of them");
    if (list_check("sizes", settings->sizes) || list_check("device", job->options.device) ||
        list_check("precision", job->options.precision))
        return -1;
    if (network_init(&job->network, NULL) || targets_parse(&job->network, settings->layer, &job->targets))
        return -1;
    return sizes_parse(job) || choices_list(job) ? -1 : 0;
}

/* Measuring ------------------------------------------------------------------------------------------------- */

/* Says why sizes end here. */
static void notice_end(const struct bench_subject *subject, const char *reason)
{
    fprintf(stderr, "pareidolia: %s, %s: %s\n", subject->session.device->name, subject->session.device->precision,
            reason);
}

/* Measures one size, and has it reported: the steps also where the dream then fails. Returns like bench_measure;
 * *seconds becomes those of a step. */
static int measure(struct job *job, const struct bench_subject *subject, int64_t h, int64_t w, double *seconds)
{
    struct bench_result result;
    int outcome = bench_measure(subject, &job->bench, h, w, &result);

    if (outcome) {
        bench_result_free(&result);
        return outcome;
    }
    *seconds = result.seconds;
    if (job->settings->dream)
        outcome = bench_dream(subject, &job->bench, &result);
    return bench_report_add(&job->report, &result) ? -1 : outcome;
}

/* The sizes that were asked for. One that does not fit is a failure, but does not keep the others from being
 * measured. */
static int measure_sizes(struct job *job, const struct bench_subject *subject)
{
    double seconds;

    for (int i = 0; i < job->sizes; i++) {
        int outcome = measure(job, subject, job->size[i].height, job->size[i].width, &seconds);

        if (outcome < 0)
            return -1;
        if (outcome > 0 && !*job->unfit)
            snprintf(job->unfit, sizeof job->unfit, "%s", error_message());
    }
    return 0;
}

/* From small to large, as far as it goes. */
static int measure_doubled(struct job *job, const struct bench_subject *subject)
{
    double seconds = 0;

    for (int64_t side = FIRST_SIDE; side <= IMAGE_MAX_SIDE; side *= 2) {
        char reason[128];

        if (targets_check_stimulated(&job->network, &job->targets, "", side, side))
            continue;
        if (4 * seconds > job->settings->limit) {
            snprintf(reason, sizeof reason,
                     "a step of %" PRId64 "x%" PRId64 " pixels would take about %.3g s, and --limit is %g", side,
                     side, 4 * seconds, job->settings->limit);
            notice_end(subject, reason);
            break;
        }
        int outcome = measure(job, subject, side, side, &seconds);
        if (outcome < 0)
            return -1;
        if (outcome > 0) {
            notice_end(subject, error_message());
            break;
        }
    }
    return 0;
}

static int measure_choice(struct job *job, int index)
{
    const struct choice *choice = &job->choice[index];
    struct session_options options = job->options;
    struct bench_subject subject;
    int outcome;

    options.device = *choice->device ? choice->device : NULL;
    options.precision = *choice->precision ? choice->precision : NULL;
    if (bench_open(&subject, &options, &job->targets))
        return -1;
    if (!job->noticed)
        session_notice(&subject.session);
    job->noticed = true;
    outcome = job->sizes ? measure_sizes(job, &subject) : measure_doubled(job, &subject);
    bench_close(&subject);
    return outcome;
}

/* Keeps why one of several has failed, for the end, and says it at once if it is not the first one: there is one
 * sentence that main prints. */
static void failure_keep(const struct choice *choice, char *failure, size_t size)
{
    char text[512];

    snprintf(text, sizeof text, "%s%s%s: %s", *choice->device ? choice->device : "auto",
             *choice->precision ? ", " : "", choice->precision, error_message());
    if (*failure)
        fprintf(stderr, "pareidolia: %s\n", text);
    else
        snprintf(failure, size, "%s", text);
}

/* What can be measured is measured, and printed in any case. */
static enum exit_status job_run(struct job *job)
{
    char failure[512] = "";

    bench_machine_read(&job->report.machine);
    for (int i = 0; i < job->choices; i++)
        if (measure_choice(job, i))
            failure_keep(&job->choice[i], failure, sizeof failure);
    if (!*failure)
        snprintf(failure, sizeof failure, "%s", job->unfit);
    else if (*job->unfit)
        fprintf(stderr, "pareidolia: %s\n", job->unfit);
    if (bench_report_end(&job->report))
        return STATUS_FAILED;
    if (*failure)
        error_set("%s", failure);
    return *failure ? STATUS_FAILED : STATUS_DONE;
}

enum exit_status command_bench(int argc, char **argv)
{
    struct settings settings = {.layer = "activation_41", .seconds = 1, .limit = 10};
    struct job job = {.settings = &settings};
    enum exit_status status = STATUS_DONE;
    const struct command_line line = {
        .command = "bench",
        .about =
            "Measures a step, loss and gradient, at every size on every device in every precision: --device and "
            "--precision take lists with commas. Prints seconds, pixels and operations a second, memory, and what "
            "comes before the first step.",
        .groups = {{"the measurement", bench_table, &settings},
                   {"device and network", session_option_table, &job.options}},
    };

    if (!command_parsed(&line, argc, argv, NULL, &status))
        return status;
    if (job_prepare(&job))
        return STATUS_USAGE;
    job.bench =
        (struct bench_settings){.seconds = settings.seconds, .tile = settings.tile, .profile = settings.profile};
    job.report = (struct bench_report){.format = settings.json  ? BENCH_JSON
                                                 : settings.csv ? BENCH_CSV
                                                                : BENCH_TABLE,
                                       .layer = settings.layer};
    status = job_run(&job);
    bench_report_free(&job.report);
    return status;
}
