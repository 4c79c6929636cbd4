/* Reads the names of the classes: Keras's imagenet_class_index.json, {"0": ["n01440764", "tench"], ...}, or lines
 * of ID<tab>NAME. The content decides. Any number of classes will do, as long as none is missing. */
#include "cache.h"
#include "error.h"
#include "weights.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES (4 << 20) /* the 1000 names of ImageNet take 35 kB */

/* Copies one class's id and name in place. Both end up on terminals, so control characters are refused. */
static int label_set(struct labels *labels, int index, const char *id, const char *name)
{
    for (const char *c = id; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            return error_set("the id of class %d holds a control character", index);
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            return error_set("the name of class %d holds a control character", index);
    if (!*id || !*name)
        return error_set("class %d has an empty id or name", index);
    labels->ids[index] = strdup(id);
    labels->names[index] = strdup(name);
    if (!labels->ids[index] || !labels->names[index])
        return error_set("no memory for the names of the classes");
    for (char *c = labels->names[index]; *c; c++)
        if (*c == '_') /* Keras: Egyptian_cat */
            *c = ' ';
    return 0;
}

/* Makes room for count labels. */
static int labels_allocate(struct labels *labels, int count)
{
    labels->ids = calloc((size_t)count, sizeof *labels->ids);
    labels->names = calloc((size_t)count, sizeof *labels->names);
    labels->count = count;
    if (!labels->ids || !labels->names)
        return error_set("no memory for the names of %d classes", count);
    return 0;
}

/* A class's number written in decimal without leading zeros and below count, or -1. */
static int index_parse(const char *text, int count)
{
    char again[16];
    long value = strtol(text, NULL, 10);

    snprintf(again, sizeof again, "%ld", value);
    return value >= 0 && value < count && !strcmp(again, text) ? (int)value : -1;
}

static int labels_fill_from_json(const cJSON *root, struct labels *out)
{
    int count = cJSON_GetArraySize(root);
    const cJSON *item;

    if (!cJSON_IsObject(root) || count < 1)
        return error_set("is not one JSON object of classes; it was cut or is damaged");
    if (labels_allocate(out, count))
        return -1;
    cJSON_ArrayForEach(item, root)
    {
        int index = index_parse(item->string, count);
        const cJSON *id = cJSON_GetArrayItem(item, 0), *name = cJSON_GetArrayItem(item, 1);
        if (index < 0)
            return error_set("has %d classes, and one whose key is not a number from 0 to %d", count, count - 1);
        if (out->ids[index])
            return error_set("has class %d twice", index);
        if (!cJSON_IsArray(item) || !cJSON_IsString(id) || !cJSON_IsString(name))
            return error_set("class %d is not [\"ID\", \"NAME\"]", index);
        if (label_set(out, index, id->valuestring, name->valuestring))
            return -1;
    }
    return 0;
}

static int labels_parse_json(const char *text, struct labels *out)
{
    cJSON *root = cJSON_ParseWithOpts(text, NULL, 1);
    int result = labels_fill_from_json(root, out);

    cJSON_Delete(root);
    return result;
}

/* Takes text apart in place. */
static int labels_parse_lines(char *text, struct labels *out)
{
    int count = 0, index = 0;

    for (const char *c = text; *c; c++)
        count += *c == '\n' || !c[1];
    if (count < 1)
        return error_set("is empty");
    if (labels_allocate(out, count))
        return -1;
    for (char *line = text, *next; *line; line = next, index++) {
        size_t length = strcspn(line, "\n");
        next = line + length + (line[length] == '\n');
        line[length] = '\0';
        line[strcspn(line, "\r")] = '\0';
        char *name = strchr(line, '\t');
        if (!name)
            return error_set("line %d is not ID<tab>NAME", index + 1);
        *name++ = '\0';
        name[strcspn(name, "\t")] = '\0';
        if (label_set(out, index, line, name))
            return -1;
    }
    return 0;
}

/* Reads the whole file. Returns text to free(), or NULL with an error. */
static char *text_read(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = malloc(MAX_BYTES + 1);

    if (!file) {
        error_set("%s", strerror(errno));
        goto fail;
    }
    if (!text) {
        error_set("no memory to read it");
        goto fail;
    }
    errno = 0;
    size_t length = fread(text, 1, MAX_BYTES + 1, file);
    if (ferror(file)) {
        error_set("%s", strerror(errno));
        goto fail;
    }
    if (length > MAX_BYTES || memchr(text, '\0', length)) {
        error_set("is no list of class names");
        goto fail;
    }
    text[length] = '\0';
    fclose(file);
    return text;

fail:
    if (file)
        fclose(file);
    free(text);
    return NULL;
}

/* The path of the labels when none is named. */
static char *labels_find(void)
{
    const char *named = getenv("PAREIDOLIA_LABELS");

    if (!named || !*named)
        return cache_path("imagenet_class_index.json");
    char *copy = strdup(named);
    if (!copy)
        error_set("no memory for a path");
    return copy;
}

int labels_read(const char *path, struct labels *out)
{
    char *found = path ? NULL : labels_find();
    const char *from = path ? path : found;
    int result = -1;

    memset(out, 0, sizeof *out);
    if (!from)
        return -1;
    char *text = text_read(from);
    if (text)
        result =
            text[strspn(text, " \t\r\n")] == '{' ? labels_parse_json(text, out) : labels_parse_lines(text, out);
    else if (found)
        error_prefix("no class names (run weights/fetch.sh --top, or set PAREIDOLIA_LABELS)");
    if (result) {
        labels_free(out);
        error_prefix("%s", from);
    }
    free(text);
    free(found);
    return result;
}

void labels_free(struct labels *labels)
{
    if (!labels)
        return;
    for (int i = 0; i < labels->count; i++) {
        free(labels->names ? labels->names[i] : NULL);
        free(labels->ids ? labels->ids[i] : NULL);
    }
    free(labels->names);
    free(labels->ids);
    memset(labels, 0, sizeof *labels);
}
