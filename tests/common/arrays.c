/* A reader for the goldens that shares nothing with the program's own reader of safetensors. */
#include "arrays.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *whole_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    void *data = NULL;

    if (file && fseek(file, 0, SEEK_END) == 0) {
        *bytes = (size_t)ftell(file);
        rewind(file);
        data = malloc(*bytes + 1);
        if (data && fread(data, 1, *bytes, file) != *bytes) {
            free(data);
            data = NULL;
        }
    }
    if (file)
        fclose(file);
    if (!data) {
        printf("FAILED: cannot read %s\n", path);
        exit(EXIT_FAILURE);
    }
    return data;
}

struct arrays arrays_open(const char *dir, const char *name)
{
    char path[4096];
    size_t bytes;
    uint64_t header;
    struct arrays arrays = {0};

    snprintf(path, sizeof path, "%s/%s", dir, name);
    arrays.file = whole_file(path, &bytes);
    memcpy(&header, arrays.file, sizeof header);

    const char *data = (const char *)arrays.file + sizeof header + header;
    cJSON *json = cJSON_ParseWithLength((const char *)arrays.file + sizeof header, header);
    const cJSON *item;

    arrays.array = calloc((size_t)cJSON_GetArraySize(json) + 1, sizeof *arrays.array);
    cJSON_ArrayForEach(item, json)
    {
        struct array *array = &arrays.array[arrays.count];
        const cJSON *dimension;
        size_t offset = 0;

        if (strcmp(item->string, "__metadata__") == 0)
            continue;
        array->name = strdup(item->string);
        array->count = 1;
        cJSON_ArrayForEach(dimension, cJSON_GetObjectItem(item, "shape"))
        {
            array->shape[array->rank++] = (int64_t)dimension->valuedouble;
            array->count *= (int64_t)dimension->valuedouble;
        }
        offset = (size_t)cJSON_GetArrayItem(cJSON_GetObjectItem(item, "data_offsets"), 0)->valuedouble;
        array->values = (const float *)(const void *)(data + offset);
        arrays.count++;
    }
    cJSON_Delete(json);
    return arrays;
}

void arrays_close(struct arrays *arrays)
{
    for (int i = 0; i < arrays->count; i++)
        free(arrays->array[i].name);
    free(arrays->array);
    free(arrays->file);
    *arrays = (struct arrays){0};
}

const struct array *arrays_find(const struct arrays *arrays, const char *format, ...)
{
    char name[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    for (int i = 0; i < arrays->count; i++)
        if (strcmp(arrays->array[i].name, name) == 0)
            return &arrays->array[i];
    return NULL;
}

cJSON *read_json(const char *dir, const char *name)
{
    char path[4096];
    size_t bytes;
    char *text;
    cJSON *json;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    text = whole_file(path, &bytes);
    json = cJSON_ParseWithLength(text, bytes);
    free(text);
    if (!json) {
        printf("FAILED: %s is not JSON\n", path);
        exit(EXIT_FAILURE);
    }
    return json;
}
