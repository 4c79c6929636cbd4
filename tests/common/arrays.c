/* A reader for the goldens that shares nothing with the program's own reader of safetensors. */
#include "arrays.h"

#include <math.h>
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

        if (strcmp(item->string, "__metadata__") == 0)
            continue;
        array->name = strdup(item->string);
        array->count = 1;
        cJSON_ArrayForEach(dimension, cJSON_GetObjectItem(item, "shape"))
        {
            array->shape[array->rank++] = (int64_t)dimension->valuedouble;
            array->count *= (int64_t)dimension->valuedouble;
        }
        array->values = (const float *)(const void *)(data + (size_t)cJSON_GetArrayItem(
                                            cJSON_GetObjectItem(item, "data_offsets"), 0)->valuedouble);
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

/* The sums that every kind of difference is made of. */
struct sums {
    double aa, bb, ab, dd, largest;
    int64_t at;
};

static void sums_add(struct sums *s, double a, double b, int64_t at)
{
    s->aa += a * a;
    s->bb += b * b;
    s->ab += a * b;
    s->dd += (a - b) * (a - b);
    if (!(fabs(a - b) <= s->largest)) { /* NaN counts as large */
        s->largest = fabs(a - b);
        s->at = at;
    }
}

static struct difference sums_end(const struct sums *s)
{
    bool both_zero = s->aa == 0 && s->bb == 0;

    return (struct difference){.relative_l2 = both_zero ? 0 : sqrt(s->dd / s->bb),
                               .cosine = both_zero ? 1 : s->ab / sqrt(s->aa * s->bb),
                               .largest = s->largest,
                               .at = s->at};
}

struct difference difference_of(const double *a, const float *b, int64_t count)
{
    struct sums sums = {0};

    for (int64_t i = 0; i < count; i++)
        sums_add(&sums, a[i], (double)b[i], i);
    return sums_end(&sums);
}

struct difference difference_of_doubles(const double *a, const double *b, int64_t count)
{
    struct sums sums = {0};

    for (int64_t i = 0; i < count; i++)
        sums_add(&sums, a[i], b[i], i);
    return sums_end(&sums);
}
