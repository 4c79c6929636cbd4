/* Three printers of the same results. CSV and JSON have the same names and numbers, from one list. */
#include "bench_report.h"

#include "error.h"
#include "json.h"
#include "memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What follows from what was measured. */
static double megapixels_per_second(const struct bench_result *result)
{
    return 1e-6 * (double)result->width * (double)result->height / result->seconds;
}

static double gflops(const struct bench_result *result)
{
    return 1e-9 * result->flops / result->seconds;
}

static const char *bound_of(const struct bench_profile *profile, const struct plan_operation *what)
{
    return what->flops / profile->limits.flops > what->bytes / profile->limits.bytes ? "arithmetic" : "memory";
}

/* NAN is null in JSON, and nothing in CSV. */
static double known(double value)
{
    return value > 0 ? value : NAN;
}

/* For programs ---------------------------------------------------------------------------------------------- */

static void add_profile_numbers(cJSON *object, const struct bench_profile *profile)
{
    json_add_number(object, "peak_gflops", profile ? 1e-9 * profile->limits.flops : NAN);
    json_add_number(object, "copy_gigabytes_per_second", profile ? 1e-9 * profile->limits.bytes : NAN);
    json_add_number(object, "copy_bytes", profile ? (double)profile->limits.copied : NAN);
    json_add_number(object, "operations_seconds", profile ? profile->seconds : NAN);
    json_add_number(object, "floor_seconds", profile ? profile->direct : NAN);
}

static void add_case(cJSON *object, const struct bench_result *result)
{
    json_add_text(object, "device", result->device);
    json_add_text(object, "precision", result->precision);
    json_add_number(object, "width", (double)result->width);
    json_add_number(object, "height", (double)result->height);
}

/* The list of names. */
static cJSON *result_json(const struct bench_report *report, const struct bench_result *result)
{
    cJSON *object = cJSON_CreateObject();
    char programs[17];

    add_case(object, result);
    json_add_number(object, "threads", known(result->threads));
    json_add_number(object, "tile", result->tile);
    json_add_number(object, "tiles", result->tiles);
    json_add_number(object, "work", result->work);
    json_add_number(object, "seconds_per_step", result->seconds);
    json_add_number(object, "least_seconds_per_step", result->least_seconds);
    json_add_number(object, "most_seconds_per_step", result->most_seconds);
    json_add_number(object, "batches", result->batches);
    json_add_number(object, "steps", (double)result->steps);
    json_add_number(object, "megapixels_per_second", megapixels_per_second(result));
    json_add_number(object, "flops_per_step", result->flops);
    json_add_number(object, "gflops", gflops(result));
    json_add_number(object, "peak_bytes", known((double)result->peak_bytes));
    json_add_text(object, "peak_of", result->peak_planned ? "device" : "process");
    json_add_number(object, "bytes_per_pixel", result->bytes_per_pixel);
    json_add_number(object, "kept_bytes_per_pixel", result->kept_bytes_per_pixel);
    json_add_number(object, "startup_seconds", result->startup_seconds);
    json_add_number(object, "load_seconds", result->load_seconds);
    json_add_number(object, "first_plan_seconds", result->first_plan_seconds);
    json_add_number(object, "plan_seconds", result->plan_seconds);
    json_add_number(object, "first_step_seconds", result->first_seconds);
    json_add_number(object, "dream_seconds", result->dream_seconds);
    json_add_number(object, "dream_steps", isnan(result->dream_seconds) ? NAN : (double)result->dream_steps);
    add_profile_numbers(object, result->profile);
    snprintf(programs, sizeof programs, "%016" PRIx64, result->programs);
    json_add_text(object, "programs", result->programs ? programs : NULL);
    json_add_text(object, "layer", report->layer);
    json_add_text(object, "weights", result->weights);
    return object;
}

static void add_known(cJSON *object, const char *name, const char *text)
{
    json_add_text(object, name, *text ? text : NULL);
}

static cJSON *machine_json(const struct bench_machine *machine)
{
    cJSON *object = cJSON_CreateObject();

    add_known(object, "cpu", machine->cpu);
    json_add_number(object, "cores", machine->cores);
    json_add_number(object, "memory_bytes", (double)machine->memory_bytes);
    add_known(object, "os", machine->os);
    add_known(object, "gpu", machine->gpu);
    add_known(object, "driver", machine->driver);
    add_known(object, "libraries", machine->libraries);
    json_add_text(object, "version", PAREIDOLIA_VERSION);
    add_known(object, "commit", machine->commit);
    return object;
}

static cJSON *operation_json(const struct bench_profile *profile, const struct bench_operation *operation)
{
    cJSON *object = cJSON_CreateObject();

    json_add_text(object, "layer", operation->what.layer);
    json_add_number(object, "members", operation->what.members);
    json_add_text(object, "kind", operation->what.kind);
    json_add_text(object, "direction", operation->what.backward ? "backward" : "forward");
    json_add_number(object, "flops", operation->what.flops);
    json_add_number(object, "bytes", operation->what.bytes);
    json_add_number(object, "seconds", operation->seconds);
    json_add_number(object, "floor_seconds", operation->direct);
    json_add_text(object, "bound", bound_of(profile, &operation->what));
    return object;
}

static cJSON *profile_json(const struct bench_result *result)
{
    cJSON *object = cJSON_CreateObject();
    cJSON *operations = cJSON_CreateArray();

    add_case(object, result);
    json_add_number(object, "seconds_per_step", result->seconds);
    add_profile_numbers(object, result->profile);
    for (int i = 0; i < result->profile->count; i++)
        cJSON_AddItemToArray(operations, operation_json(result->profile, &result->profile->operation[i]));
    cJSON_AddItemToObject(object, "operations", operations);
    return object;
}

static int print_json(const struct bench_report *report)
{
    cJSON *object = cJSON_CreateObject();
    cJSON *results = cJSON_CreateArray(), *profiles = cJSON_CreateArray();

    for (int i = 0; i < report->count; i++) {
        cJSON_AddItemToArray(results, result_json(report, &report->result[i]));
        if (report->result[i].profile)
            cJSON_AddItemToArray(profiles, profile_json(&report->result[i]));
    }
    cJSON_AddItemToObject(object, "machine", machine_json(&report->machine));
    cJSON_AddItemToObject(object, "results", results);
    cJSON_AddItemToObject(object, "profile", profiles);
    return json_print(stdout, object) ? error_prefix("standard output") : 0;
}

/* A text as CSV has it: in quotes, quotes doubled, where something in it has a meaning. */
static void print_csv_text(const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (; *text; text++) {
        if (*text == '"')
            putchar('"');
        putchar(*text);
    }
    putchar('"');
}

/* The names or the values of a flat object's members. */
static void print_csv_members(const cJSON *object, bool names, const char *separator)
{
    const cJSON *member;

    cJSON_ArrayForEach(member, object)
    {
        fputs(separator, stdout);
        separator = ",";
        if (names)
            print_csv_text(member->string);
        else if (member->valuestring) /* a text, or a number's digits (json.h); null has none */
            print_csv_text(member->valuestring);
    }
}

static void print_csv(const struct bench_report *report, const struct bench_result *result)
{
    cJSON *left = result_json(report, result), *right = machine_json(&report->machine);

    for (int names = report->count == 0; names >= 0; names--) {
        print_csv_members(left, names, "");
        print_csv_members(right, names, ",");
        putchar('\n');
    }
    cJSON_Delete(left);
    cJSON_Delete(right);
}

/* For people ------------------------------------------------------------------------------------------------ */

static void print_machine(const struct bench_report *report, const struct bench_result *result)
{
    const struct bench_machine *m = &report->machine;

    printf("pareidolia %s%s%s, up to %s, weights %s\n", PAREIDOLIA_VERSION, *m->commit ? " at " : "", m->commit,
           report->layer, result->weights);
    printf("%s, %d core%s, %s of memory; %s", *m->cpu ? m->cpu : "a processor without a name", m->cores,
           m->cores == 1 ? "" : "s", bytes_text(m->memory_bytes).text, m->os);
    if (*m->gpu)
        printf("; GPU: %s%s%s", m->gpu, *m->driver ? ", driver " : "", m->driver);
    printf("; %s\n\n", m->libraries);
}

static void print_row(const struct bench_report *report, const struct bench_result *result)
{
    char size[48], peak[40] = "-", dream[24] = "-", direct[24] = "-";

    if (report->count == 0) {
        print_machine(report, result);
        printf("%-9s  %-9s  %11s  %5s  %10s  %9s  %9s  %7s  %7s  %8s  %9s  %7s  %6s  %7s  %7s  %7s  %8s  %6s\n",
               "device", "precision", "picture", "tiles", "ms a step", "least", "most", "batches", "MP/s",
               "GFLOP/s", "peak", "B/pixel", "kept", "start s", "plan s", "first s", "dream s", "direct");
    }
    snprintf(size, sizeof size, "%" PRId64 "x%" PRId64, result->width, result->height);
    if (result->peak_bytes)
        snprintf(peak, sizeof peak, "%s", bytes_text(result->peak_bytes).text);
    if (!isnan(result->dream_seconds))
        snprintf(dream, sizeof dream, "%.2f", result->dream_seconds);
    if (result->profile)
        snprintf(direct, sizeof direct, "%.0f%%", 100 * result->profile->direct / result->seconds);
    printf(
        "%-9s  %-9s  %11s  %5d  %10.3f  %9.3f  %9.3f  %7d  %7.3f  %8.1f  %9s  %7.2f  %6.2f  %7.3f  %7.3f  %7.3f  "
        "%8s  %6s\n",
        result->device, result->precision, size, result->tiles, 1e3 * result->seconds, 1e3 * result->least_seconds,
        1e3 * result->most_seconds, result->batches, megapixels_per_second(result), gflops(result), peak,
        result->bytes_per_pixel, result->kept_bytes_per_pixel, result->startup_seconds, result->plan_seconds,
        result->first_seconds, dream, direct);
}

static void print_operation(const char *layer, const char *kind, bool backward, double flops, double bytes,
                            double seconds, double direct, const char *bound)
{
    char over[24] = "-";

    if (seconds > direct)
        snprintf(over, sizeof over, "%.3f", 1e3 * (seconds - direct));
    printf("%-18s  %-14s  %-8s  %8.3f  %9.2f  %9s  %9.3f  %9.3f  %8.1f%s%s\n", layer, kind,
           backward ? "backward" : "forward", 1e-9 * flops, 1e-6 * bytes, over, 1e3 * seconds, 1e3 * direct,
           1e-9 * flops / seconds, bound ? "  " : "", bound ? bound : "");
}

/* One row for all operations of the kind that first is the first of, if it is. */
static void print_total(const struct bench_profile *profile, int first)
{
    const struct plan_operation *kind = &profile->operation[first].what;
    double flops = 0, bytes = 0, seconds = 0, direct = 0;
    int count = 0;
    char name[32];

    for (int i = 0; i < profile->count; i++) {
        const struct bench_operation *operation = &profile->operation[i];

        if (strcmp(operation->what.kind, kind->kind) != 0 || operation->what.backward != kind->backward)
            continue;
        if (i < first)
            return;
        flops += operation->what.flops;
        bytes += operation->what.bytes;
        seconds += operation->seconds;
        direct += operation->direct;
        count++;
    }
    snprintf(name, sizeof name, "all %d", count);
    print_operation(name, kind->kind, kind->backward, flops, bytes, seconds, direct, NULL);
}

static void print_profile(const struct bench_result *result)
{
    const struct bench_profile *profile = result->profile;

    printf("\n%s, %s, %" PRId64 "x%" PRId64
           ", each operation by itself; here a matrix product reaches %.1f GFLOP/s and a "
           "copy of %s %.2f GB/s\n",
           result->device, result->precision, result->width, result->height, 1e-9 * profile->limits.flops,
           bytes_text(profile->limits.copied).text, 1e-9 * profile->limits.bytes);
    printf("%-18s  %-14s  %-8s  %8s  %9s  %9s  %9s  %9s  %8s  %s\n", "layer", "kind", "pass", "GFLOP", "MB",
           "over ms", "ms", "direct ms", "GFLOP/s", "bound by");
    for (int i = 0; i < profile->count; i++) {
        const struct bench_operation *operation = &profile->operation[i];
        char layer[48];

        snprintf(layer, sizeof layer, operation->what.members > 1 ? "%s +%d" : "%s", operation->what.layer,
                 operation->what.members - 1);
        print_operation(layer, operation->what.kind, operation->what.backward, operation->what.flops,
                        operation->what.bytes, operation->seconds, operation->direct,
                        bound_of(profile, &operation->what));
    }
    putchar('\n');
    for (int i = 0; i < profile->count; i++)
        print_total(profile, i);
    printf("all together %.3f ms, direct %.3f ms; the step as a whole %.3f ms, direct %.0f%% of it\n",
           1e3 * profile->seconds, 1e3 * profile->direct, 1e3 * result->seconds,
           100 * profile->direct / result->seconds);
}

static void print_legend(const struct bench_report *report)
{
    bool planned = false, process = false, profiled = false;

    for (int i = 0; i < report->count; i++) {
        profiled |= report->result[i].profile != NULL;
        planned |= report->result[i].peak_planned;
        process |= !report->result[i].peak_planned;
    }
    puts("\nA step is loss and gradient of a random picture: the median, least and most of batches that are queued "
         "at once,\n"
         "by the host's clock.");
    puts("GFLOP/s count the convolutions that the picture needs, as they are defined, forward and backward, a "
         "multiply-add\n"
         "as two: Winograd's transform does fewer and may pass what the processor can do.");
    if (process)
        puts("peak: the most that the process held, of everything.");
    if (planned)
        puts("peak: what a step takes of the GPU's memory as planned, parameters and libraries left out.");
    puts("B/pixel: bytes of activations, their gradients, signs and winners, as packed, for each pixel of the "
         "picture;\n"
         "kept: of those the signs and winners, which wait for the way back.");
    if (profiled)
        puts("direct: what direct convolution would take at the rate of the best matrix product measured, or its "
             "bytes at\n"
             "a copy's; Winograd's transform and caches can beat it. over: what an operation takes longer than "
             "that.");
}

/* The report ------------------------------------------------------------------------------------------------ */

int bench_report_add(struct bench_report *report, struct bench_result *result)
{
    if (report->count == report->room) {
        int room = report->room ? 2 * report->room : 16;
        struct bench_result *larger = realloc(report->result, (size_t)room * sizeof *larger);

        if (!larger) {
            bench_result_free(result);
            return error_set("no memory for %d results", room);
        }
        report->result = larger;
        report->room = room;
    }
    if (report->format == BENCH_TABLE)
        print_row(report, result);
    else if (report->format == BENCH_CSV)
        print_csv(report, result);
    fflush(stdout);
    report->result[report->count++] = *result;
    return 0;
}

int bench_report_end(const struct bench_report *report)
{
    if (report->format == BENCH_JSON)
        return print_json(report);
    if (report->format == BENCH_CSV || report->count == 0)
        return 0;
    print_legend(report);
    for (int i = 0; i < report->count; i++)
        if (report->result[i].profile)
            print_profile(&report->result[i]);
    return 0;
}

void bench_report_free(struct bench_report *report)
{
    for (int i = 0; i < report->count; i++)
        bench_result_free(&report->result[i]);
    free(report->result);
}
