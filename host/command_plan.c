/* pareidolia plan: what a dream of some size would take, octave by octave, without dreaming. */
#include "commands.h"
#include "error.h"
#include "json.h"
#include "memory.h"
#include "progress.h"
#include "session.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>

struct settings {
    struct option_size size;
    const char *layer;
    struct dream_options dream;
    bool json;
};

static const struct option plan_table[] = {
    {.name = "size",
     .kind = OPTION_SIZE,
     .offset = offsetof(struct settings, size),
     .argument = "WxH",
     .help = "width and height of the picture in pixels",
     .least = 1,
     .most = 1000000},
    {.name = "layer",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, layer),
     .argument = "NAME",
     .help = "the layer to stimulate; also NAME[CHANNELS], NAME:WEIGHT, and several separated by commas"},
    {.name = "octaves",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct settings, dream.octaves),
     .argument = "N",
     .help = "sizes to dream at",
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
     .help = "steps at each size",
     .least = 0,
     .most = 1000000},
    {.name = "json", .kind = OPTION_FLAG, .offset = offsetof(struct settings, json), .help = "print JSON"},
    {.name = NULL},
};

/* What is printed. */
struct plan_report {
    const struct settings *settings;
    const struct session *session;
    const struct schedule *schedule;
    double seconds;
    size_t peak_bytes; /* of the process, on the host */
};

static int64_t tiles_of(const struct scheduled_octave *octave)
{
    return octave->gradient ? tiling_count(gradient_tiling(octave->gradient)) : 0;
}

static double work_of(const struct scheduled_octave *octave)
{
    return octave->gradient ? gradient_tiling(octave->gradient)->work : 0;
}

/* What this process holds now, with the weights and everything that a first step has brought, and what the dream
 * will come to take beside it. */
static size_t peak_bytes(const struct schedule *schedule)
{
    size_t most = memory_resident() + schedule->host_bytes;

    return most > memory_peak() ? most : memory_peak();
}

static void print_table(const struct plan_report *report)
{
    const struct schedule *s = report->schedule;

    printf("%s, %s, up to %s, weights %s\n\n", s->device->name, s->device->precision, report->settings->layer,
           weights_path(report->session->weights));
    printf("%6s  %15s  %6s  %9s  %10s  %10s  %10s\n", "octave", "size", "tiles", "halo work", "network", "pictures",
           "network/px");
    for (int i = 0; i < s->options.octaves; i++) {
        const struct scheduled_octave *o = &s->octave[i];
        char size[48], halo[16] = "-", tiles[16] = "-";

        snprintf(size, sizeof size, "%" PRId64 "x%" PRId64, o->width, o->height);
        if (o->gradient) {
            snprintf(tiles, sizeof tiles, "%" PRId64, tiles_of(o));
            snprintf(halo, sizeof halo, "+%.0f%%", 100 * (work_of(o) - 1));
        }
        printf("%6d  %15s  %6s  %9s  %10s  %10s  %10.1f%s\n", i + 1, size, tiles, halo,
               bytes_text(o->network_bytes).text, bytes_text(o->picture_bytes).text,
               (double)o->network_bytes / ((double)o->height * (double)o->width),
               o->silent ? "  nothing is stimulated" : "");
    }
    printf("\n%s\n", schedule_describe(s).text);
    if (!s->device->in_host_memory)
        printf("%s on the device, ", bytes_text(s->device_bytes).text);
    printf("%s in this process", bytes_text(report->peak_bytes).text);
    if (!isnan(report->seconds))
        printf("; about %s", duration_text(report->seconds).text);
    putchar('\n');
}

static cJSON *octave_json(const struct scheduled_octave *octave)
{
    cJSON *object = cJSON_CreateObject();

    json_add_number(object, "width", (double)octave->width);
    json_add_number(object, "height", (double)octave->height);
    cJSON_AddBoolToObject(object, "silent", octave->silent);
    json_add_number(object, "tiles", (double)tiles_of(octave));
    json_add_number(object, "work", work_of(octave));
    json_add_number(object, "network_bytes", (double)octave->network_bytes);
    json_add_number(object, "picture_bytes", (double)octave->picture_bytes);
    return object;
}

static cJSON *report_json(const struct plan_report *report)
{
    const struct schedule *s = report->schedule;
    cJSON *object = cJSON_CreateObject(), *octaves = cJSON_CreateArray();

    json_add_number(object, "width", (double)s->width);
    json_add_number(object, "height", (double)s->height);
    json_add_text(object, "layer", report->settings->layer);
    json_add_text(object, "device", s->device->name);
    json_add_text(object, "precision", s->device->precision);
    json_add_text(object, "weights", weights_path(report->session->weights));
    json_add_number(object, "tile", (double)s->tile);
    cJSON_AddBoolToObject(object, "pictures_on_host", s->pictures != s->device || s->device->in_host_memory);
    json_add_number(object, "peak_bytes", (double)report->peak_bytes);
    json_add_number(object, "device_bytes", (double)s->device_bytes);
    json_add_number(object, "network_bytes", (double)s->network_bytes);
    json_add_number(object, "picture_bytes", (double)s->picture_bytes);
    json_add_number(object, "seconds", report->seconds);
    for (int i = 0; i < s->options.octaves; i++)
        cJSON_AddItemToArray(octaves, octave_json(&s->octave[i]));
    cJSON_AddItemToObject(object, "octaves", octaves);
    return object;
}

/* Plans with an open session, and prints. */
static int plan_print(const struct settings *settings, const struct schedule_limits *limits,
                      const struct session *session)
{
    struct schedule *schedule = schedule_new(session->net, session->host, settings->size.height,
                                             settings->size.width, &settings->dream, limits);
    struct plan_report report = {.settings = settings, .session = session, .schedule = schedule};
    int result = 0;

    if (!schedule)
        return -1;
    report.seconds = schedule_estimate(schedule);
    report.peak_bytes = peak_bytes(schedule);
    if (settings->json)
        result = json_print(stdout, report_json(&report));
    else
        print_table(&report);
    schedule_free(schedule);
    return result;
}

static enum exit_status plan(const struct settings *settings, const struct schedule_limits *limits,
                             const struct session_options *options)
{
    enum exit_status status = STATUS_FAILED;
    struct session session = {0};
    struct network network;
    struct targets targets;

    if (network_init(&network, NULL) || targets_parse(&network, settings->layer, &targets))
        return STATUS_USAGE;
    if (targets_check_stimulated(&network, &targets, "--size", settings->size.height, settings->size.width) ||
        session_open(&session, options, &targets, true, false))
        goto fail;
    session_notice(&session);
    if (plan_print(settings, limits, &session))
        goto fail;
    status = STATUS_DONE;

fail:
    session_close(&session);
    return status;
}

enum exit_status command_plan(int argc, char **argv)
{
    struct settings settings = {.layer = "activation_41", .dream = dream_defaults()};
    struct session_options options = {0};
    struct schedule_limits limits = {0};
    enum exit_status status = STATUS_DONE;
    const struct command_line line = {
        .command = "plan",
        .about =
            "Says what a dream of a picture of some size takes: the sizes it is dreamt at, in how many tiles, "
            "memory and time. Nothing is rendered; one step at a small size tells how fast this machine is. With "
            "--memory it plans for a machine that has so much, whatever this one has.",
        .groups = {{"the dream", plan_table, &settings},
                   {"large pictures", limits_option_table, &limits},
                   {"the network", session_option_table, &options}},
    };

    if (!command_parsed(&line, argc, argv, NULL, &status))
        return status;
    if (session_check(&options))
        return STATUS_USAGE;
    if (settings.size.width == 0) {
        error_set("plan needs --size WxH (pareidolia plan --help says more)");
        return STATUS_USAGE;
    }
    limits.elsewhere = limits.memory > 0;
    return plan(&settings, &limits, &options);
}
