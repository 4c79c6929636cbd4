/* What another program has stored, arrays (safetensors, float32) and facts (JSON), and how far two arrays are
 * apart. */
#ifndef PAREIDOLIA_TESTS_ARRAYS_H
#define PAREIDOLIA_TESTS_ARRAYS_H

#include "host/difference.h"

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

struct array {
    char *name;
    int rank;
    int64_t shape[4];
    int64_t count;
    const float *values; /* of the file */
};

struct arrays {
    int count;
    struct array *array;
    void *file;
};

/* Reads dir/name; prints what is wrong and ends the program where it cannot be read. */
struct arrays arrays_open(const char *dir, const char *name);
void arrays_close(struct arrays *arrays);

/* The array of that name (printf format), or NULL. */
const struct array *arrays_find(const struct arrays *arrays, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What dir/name says, to cJSON_Delete; ends the program like arrays_open. */
cJSON *read_json(const char *dir, const char *name);

#endif
