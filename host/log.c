/* Lays out the JSON of --log. Numbers keep all their digits, so that two logs are equal only if the runs were. */
#include "log.h"

#include "error.h"
#include "json.h"
#include "output.h"

static cJSON *steps_json(const struct octave_log *octave)
{
    cJSON *steps = cJSON_CreateArray();

    for (int64_t i = 0; i < octave->steps; i++) {
        cJSON *step = cJSON_CreateObject();
        json_add_number(step, "loss", octave->records[i].loss);
        json_add_number(step, "mean_abs_gradient", octave->records[i].mean_abs_gradient);
        cJSON_AddItemToArray(steps, step);
    }
    return steps;
}

static cJSON *octave_json(const struct octave_log *octave)
{
    cJSON *object = cJSON_CreateObject();

    json_add_number(object, "height", (double)octave->height);
    json_add_number(object, "width", (double)octave->width);
    cJSON_AddBoolToObject(object, "silent", octave->silent);
    cJSON_AddBoolToObject(object, "stopped", octave->stopped);
    json_add_number(object, "seconds", octave->seconds);
    json_add_number(object, "device_bytes", (double)octave->device_bytes);
    cJSON_AddItemToObject(object, "steps", steps_json(octave));
    return object;
}

static cJSON *log_json(const struct log_header *header, const struct dream_log *log)
{
    const struct dream_options *options = &header->schedule->options;
    cJSON *object = cJSON_CreateObject();
    cJSON *octaves = cJSON_CreateArray();

    json_add_text(object, "program", "pareidolia");
    json_add_text(object, "version", PAREIDOLIA_VERSION);
    json_add_text(object, "image", header->image);
    json_add_text(object, "output", header->output);
    json_add_number(object, "width", (double)header->width);
    json_add_number(object, "height", (double)header->height);
    json_add_text(object, "layer", header->layer);
    json_add_text(object, "device", header->device->name);
    json_add_text(object, "precision", header->device->precision);
    json_add_programs(object, header->schedule->programs);
    json_add_number(object, "threads", header->threads);
    json_add_text(object, "weights", header->weights);
    json_add_number(object, "octave_scale", options->octave_scale);
    json_add_number(object, "step", options->step);
    json_add_number(object, "max_loss", options->max_loss);
    cJSON_AddBoolToObject(object, "clip", options->clip);
    json_add_number(object, "iterations", options->iterations);
    json_add_number(object, "tile", (double)header->schedule->tile);
    cJSON_AddBoolToObject(object, "partial", header->partial);
    cJSON *settings = cJSON_AddObjectToObject(object, "settings");
    if (settings)
        json_add_recipe(settings, header->recipe, false);
    json_add_number(object, "seconds", log->seconds);
    for (int i = 0; i < log->octaves; i++)
        cJSON_AddItemToArray(octaves, octave_json(&log->octave[i]));
    cJSON_AddItemToObject(object, "octaves", octaves);
    return object;
}

int log_write(const char *path, const struct log_header *header, const struct dream_log *log)
{
    struct output out;

    if (output_open(&out, path))
        return -1;
    if (json_print(out.file, log_json(header, log))) {
        output_abandon(&out);
        return error_prefix("%s", path);
    }
    return output_commit(&out);
}
