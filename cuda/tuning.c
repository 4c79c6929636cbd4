/* Reads and writes the tuning file: JSON, an object of recipes by key, and a hash over them by which damage shows.
 * Knows nothing of timing (tune.c) or of what a recipe does (program.c). */
#include "tuning.h"

#include "hash.h"

#include "host/error.h"
#include "host/json.h"
#include "host/output.h"
#include "weights/cache.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Of the file's form and of what its numbers mean. */
enum { VERSION = 1 };

/* Names of the kinds of recipe that are timed. */
static const char *const kind_names[] = {
    [RECIPE_MATMUL] = "matmul", [RECIPE_GRAPH] = "graph", [RECIPE_FLIPPED] = "flipped"};

struct tuning {
    char *path;
    cJSON *root, *programs; /* programs belongs to root */
};

/* The object's text, or NULL. */
static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* The object's number, or -1. */
static double number_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    return cJSON_IsNumber(item) ? item->valuedouble : -1;
}

enum { HASH_DIGITS = 16 };

/* 0, or -1 when memory is short. */
static int programs_hash(const cJSON *programs, char digits[HASH_DIGITS + 1])
{
    char *text = cJSON_PrintUnformatted(programs);

    if (!text)
        return error_set("out of memory for the tuning file");
    snprintf(digits, HASH_DIGITS + 1, "%016" PRIx64, hash_bytes(HASH_BEGIN, text, strlen(text)));
    cJSON_free(text);
    return 0;
}

/* An empty file's content for this GPU and these libraries. */
static cJSON *root_new(const struct cuda *cuda)
{
    cJSON *root = cJSON_CreateObject();

    json_add_number(root, "version", VERSION);
    json_add_text(root, "gpu", cuda->properties.name);
    json_add_number(root, "capability", cuda->properties.major * 10 + cuda->properties.minor);
    json_add_number(root, "cudnn", (double)cudnnGetVersion());
    json_add_number(root, "cublaslt", (double)cublasLtGetVersion());
    cJSON_AddItemToObject(root, "programs", cJSON_CreateObject());
    return root;
}

/* Whether what was read may be used in place of fresh. */
static bool root_is_sound(const cJSON *read, const cJSON *fresh)
{
    static const char *const numbers[] = {"version", "capability", "cudnn", "cublaslt"};
    const cJSON *programs = cJSON_GetObjectItemCaseSensitive(read, "programs");
    const char *gpu = text_of(read, "gpu"), *hash = text_of(read, "hash");
    char digits[HASH_DIGITS + 1];

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (number_of(read, numbers[i]) != number_of(fresh, numbers[i]))
            return false;
    return gpu && strcmp(gpu, text_of(fresh, "gpu")) == 0 && hash && cJSON_IsObject(programs) &&
           programs_hash(programs, digits) == 0 && strcmp(hash, digits) == 0;
}

/* The whole file as text to free(), or NULL without an error where there is none. */
static char *file_read(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t length = 0, got;

    if (!file)
        return NULL;
    do {
        char *longer = realloc(text, length + 65537);

        if (!longer)
            break;
        text = longer;
        got = fread(text + length, 1, 65536, file);
        length += got;
        text[length] = '\0';
    } while (got > 0);
    fclose(file);
    return text;
}

/* Makes the directories that path lies in, where they are missing. */
static int directories_make(const char *path)
{
    char *copy = strdup(path);
    int result = 0;

    if (!copy)
        return error_set("no memory for a path");
    for (char *slash = strchr(copy + 1, '/'); slash && result == 0; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            result = error_set("%s: cannot make the directory for tuned programs: %s", copy, strerror(errno));
        *slash = '/';
    }
    free(copy);
    return result;
}

/* The file's name: the GPU's, in letters and digits. */
static char *path_of(const struct cuda *cuda)
{
    char name[sizeof cuda->properties.name + 32];
    size_t length = (size_t)snprintf(name, sizeof name, "programs_%s.json", cuda->properties.name);

    for (size_t i = 0; i + strlen(".json") < length; i++)
        if (!isalnum((unsigned char)name[i]))
            name[i] = '_';
    return cache_path(name);
}

struct tuning *tuning_open(struct cuda *cuda)
{
    struct tuning *tuning = calloc(1, sizeof *tuning);
    char *text;

    if (!tuning) {
        error_set("out of memory for the tuning file");
        return NULL;
    }
    tuning->path = path_of(cuda);
    tuning->root = root_new(cuda);
    if (!tuning->path || directories_make(tuning->path) != 0)
        goto fail;
    text = file_read(tuning->path);
    if (text) {
        cJSON *read = cJSON_Parse(text);

        free(text);
        if (root_is_sound(read, tuning->root)) {
            cJSON_Delete(tuning->root);
            tuning->root = read;
        } else {
            cJSON_Delete(read);
        }
    }
    tuning->programs = cJSON_GetObjectItemCaseSensitive(tuning->root, "programs");
    if (tuning->programs)
        return tuning;
    error_set("out of memory for the tuning file");
fail:
    tuning_close(tuning);
    return NULL;
}

void tuning_close(struct tuning *tuning)
{
    if (!tuning)
        return;
    cJSON_Delete(tuning->root);
    free(tuning->path);
    free(tuning);
}

/* Recipes ------------------------------------------------------------------------------------------------- */

static cJSON *recipe_write(const struct recipe *recipe)
{
    cJSON *object = cJSON_CreateObject();
    char digits[HASH_DIGITS + 1];

    json_add_text(object, "kind", kind_names[recipe->kind]);
    json_add_number(object, "fusion", recipe->fusion);
    if (recipe->kind == RECIPE_MATMUL) {
        snprintf(digits, sizeof digits, "%016" PRIx64, recipe->algorithm);
        json_add_number(object, "rank", recipe->rank);
        json_add_text(object, "algorithm", digits);
        return object;
    }
    cJSON *knobs = cJSON_AddArrayToObject(object, "knobs");

    json_add_number(object, "engine", (double)recipe->choice.engine);
    cJSON_AddBoolToObject(object, "compiled", recipe->choice.compiled);
    for (int i = 0; i < recipe->choice.knobs; i++) {
        cJSON_AddItemToArray(knobs, cJSON_CreateNumber((double)recipe->choice.knob[i].type));
        cJSON_AddItemToArray(knobs, cJSON_CreateNumber((double)recipe->choice.knob[i].value));
    }
    return object;
}

static bool recipe_read(const cJSON *object, struct recipe *recipe)
{
    const char *kind = text_of(object, "kind"), *algorithm = text_of(object, "algorithm");
    const cJSON *knobs = cJSON_GetObjectItemCaseSensitive(object, "knobs"), *number;
    double fusion = number_of(object, "fusion");
    int values = 0;

    *recipe = (struct recipe){.kind = RECIPE_FIRST};
    for (size_t i = 0; kind && i < sizeof kind_names / sizeof *kind_names; i++)
        if (kind_names[i] && strcmp(kind, kind_names[i]) == 0)
            recipe->kind = (enum recipe_kind)i;
    if (recipe->kind == RECIPE_FIRST || fusion < FUSION_NONE || fusion > FUSION_ALL)
        return false;
    recipe->fusion = (enum recipe_fusion)fusion;
    if (recipe->kind == RECIPE_MATMUL) {
        recipe->rank = (int)number_of(object, "rank");
        recipe->algorithm = algorithm ? strtoull(algorithm, NULL, 16) : 0;
        return recipe->rank >= 0;
    }
    recipe->choice.engine = (int64_t)number_of(object, "engine");
    recipe->choice.compiled = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "compiled"));
    cJSON_ArrayForEach(number, knobs)
    {
        if (values == 2 * GRAPH_KNOBS)
            return false;
        if (values % 2 == 0)
            recipe->choice.knob[values / 2].type = (int64_t)number->valuedouble;
        else
            recipe->choice.knob[values / 2].value = (int64_t)number->valuedouble;
        values++;
    }
    recipe->choice.knobs = values / 2;
    return recipe->choice.engine >= 0;
}

bool tuning_find(const struct tuning *tuning, const char *key, struct recipe *recipe)
{
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(tuning->programs, key);

    return object && recipe_read(object, recipe);
}

static int tuning_write(const struct tuning *tuning)
{
    struct output output = {0};
    char *text = cJSON_Print(tuning->root);

    if (!text)
        return error_set("out of memory for the tuning file");
    if (output_open(&output, tuning->path) != 0) {
        cJSON_free(text);
        return -1;
    }
    fputs(text, output.file); /* a failure shows when the file is committed */
    cJSON_free(text);
    return output_commit(&output);
}

int tuning_keep(struct tuning *tuning, const char *key, const struct recipe *recipe)
{
    char digits[HASH_DIGITS + 1];

    cJSON_DeleteItemFromObjectCaseSensitive(tuning->programs, key);
    cJSON_AddItemToObject(tuning->programs, key, recipe_write(recipe));
    if (programs_hash(tuning->programs, digits) != 0)
        return -1;
    cJSON_DeleteItemFromObjectCaseSensitive(tuning->root, "hash");
    json_add_text(tuning->root, "hash", digits);
    return tuning_write(tuning);
}
