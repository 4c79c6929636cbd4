/* Reads and writes the tuning file: JSON, an object of recipes by key, and a hash over them by which damage shows.
 * Compiled plans, 90 KB of text each, are files of their own beside it, named by the hash of what is in them. Knows
 * nothing of timing (tune.c) or of what a recipe does (program.c). */
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

/* The texts of cuda/tables/, made by CMake into a file of this build; ended by NULL. */
extern const char *const tuning_tables[];

struct tuning {
    char *path;             /* NULL: built in, never written */
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

    cJSON_AddNumberToObject(root, "version", VERSION);
    json_add_text(root, "gpu", cuda->properties.name);
    cJSON_AddNumberToObject(root, "capability", cuda->properties.major * 10 + cuda->properties.minor);
    cJSON_AddNumberToObject(root, "cudnn", (double)cudnnGetVersion());
    cJSON_AddNumberToObject(root, "cublaslt", (double)cublasLtGetVersion());
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

/* Takes text in place of the empty content, if it is sound. */
static bool root_take(struct tuning *tuning, const char *text)
{
    cJSON *read = cJSON_Parse(text);

    if (!root_is_sound(read, tuning->root)) {
        cJSON_Delete(read);
        return false;
    }
    cJSON_Delete(tuning->root);
    tuning->root = read;
    return true;
}

/* Without programs yet, for cuda's GPU. */
static struct tuning *tuning_new(const struct cuda *cuda)
{
    struct tuning *tuning = calloc(1, sizeof *tuning);

    if (tuning)
        tuning->root = root_new(cuda);
    if (tuning && cJSON_GetObjectItemCaseSensitive(tuning->root, "programs"))
        return tuning;
    tuning_close(tuning);
    error_set("out of memory for the tuning file");
    return NULL;
}

struct tuning *tuning_open(const struct cuda *cuda)
{
    struct tuning *tuning = tuning_new(cuda);
    char *text;

    if (!tuning)
        return NULL;
    tuning->path = path_of(cuda);
    if (!tuning->path || directories_make(tuning->path) != 0) {
        tuning_close(tuning);
        return NULL;
    }
    text = file_read(tuning->path);
    if (text)
        root_take(tuning, text);
    free(text);
    tuning->programs = cJSON_GetObjectItemCaseSensitive(tuning->root, "programs");
    return tuning;
}

struct tuning *tuning_open_built_in(const struct cuda *cuda)
{
    struct tuning *tuning = tuning_new(cuda);
    bool found = false;

    for (int i = 0; tuning && !found && tuning_tables[i]; i++)
        found = root_take(tuning, tuning_tables[i]);
    if (found) {
        tuning->programs = cJSON_GetObjectItemCaseSensitive(tuning->root, "programs");
        return tuning;
    }
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

/* The name of the file of a plan's text, to free(): that of the tuning file with the text's hash. */
static char *plan_path(const struct tuning *tuning, const char *digits)
{
    char *path;

    if (asprintf(&path, "%.*s_%s.plan", (int)(strlen(tuning->path) - strlen(".json")), tuning->path, digits) >= 0)
        return path;
    error_set("no memory for a path");
    return NULL;
}

static void text_hash(const char *text, char digits[HASH_DIGITS + 1])
{
    snprintf(digits, HASH_DIGITS + 1, "%016" PRIx64, hash_bytes(HASH_BEGIN, text, strlen(text)));
}

/* text becomes the file's content, whole or not at all. */
static int file_write(const char *path, const char *text)
{
    struct output output = {0};

    if (output_open(&output, path) != 0)
        return -1;
    fputs(text, output.file); /* a failure shows when the file is committed */
    return output_commit(&output);
}

static int plan_write(const struct tuning *tuning, const char *text)
{
    char digits[HASH_DIGITS + 1], *path;
    int result;

    text_hash(text, digits);
    path = plan_path(tuning, digits);
    result = path ? file_write(path, text) : -1;
    free(path);
    return result;
}

/* The text whose hash is digits, or NULL without an error: it is then compiled anew. */
static char *plan_read(const struct tuning *tuning, const char *digits)
{
    char found[HASH_DIGITS + 1], *path, *text;

    if (!tuning->path || strlen(digits) != HASH_DIGITS || !(path = plan_path(tuning, digits)))
        return NULL;
    text = file_read(path);
    free(path);
    if (!text)
        return NULL;
    text_hash(text, found);
    if (strcmp(found, digits) == 0)
        return text;
    free(text);
    return NULL;
}

static cJSON *recipe_write(const struct program_recipe *recipe, const char *text)
{
    cJSON *object = cJSON_CreateObject();
    char digits[HASH_DIGITS + 1];

    json_add_text(object, "kind", kind_names[recipe->kind]);
    cJSON_AddNumberToObject(object, "fusion", recipe->fusion);
    if (recipe->kind == RECIPE_MATMUL) {
        snprintf(digits, sizeof digits, "%016" PRIx64, recipe->algorithm);
        cJSON_AddNumberToObject(object, "rank", recipe->rank);
        json_add_text(object, "algorithm", digits);
        return object;
    }
    cJSON *knobs = cJSON_AddArrayToObject(object, "knobs");

    cJSON_AddNumberToObject(object, "engine", (double)recipe->choice.engine);
    cJSON_AddBoolToObject(object, "compiled", recipe->choice.compiled);
    if (text) {
        text_hash(text, digits);
        json_add_text(object, "plan", digits);
    }
    for (int i = 0; i < recipe->choice.knobs; i++) {
        cJSON_AddItemToArray(knobs, cJSON_CreateNumber((double)recipe->choice.knob[i].type));
        cJSON_AddItemToArray(knobs, cJSON_CreateNumber((double)recipe->choice.knob[i].value));
    }
    return object;
}

static bool recipe_read(const cJSON *object, struct program_recipe *recipe)
{
    const char *kind = text_of(object, "kind"), *algorithm = text_of(object, "algorithm");
    const cJSON *knobs = cJSON_GetObjectItemCaseSensitive(object, "knobs"), *number;
    double fusion = number_of(object, "fusion");
    int values = 0;

    *recipe = (struct program_recipe){.kind = RECIPE_FIRST};
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

bool tuning_find(const struct tuning *tuning, const char *key, struct program_recipe *recipe, char **text)
{
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(tuning->programs, key);
    const char *plan = text_of(object, "plan");

    *text = NULL;
    if (!object || !recipe_read(object, recipe))
        return false;
    if (plan)
        *text = plan_read(tuning, plan);
    return true;
}

int tuning_keep(struct tuning *tuning, const char *key, const struct program_recipe *recipe, const char *text)
{
    char digits[HASH_DIGITS + 1], *whole;
    int result;

    if (text && plan_write(tuning, text) != 0)
        return -1;
    cJSON_DeleteItemFromObjectCaseSensitive(tuning->programs, key);
    cJSON_AddItemToObject(tuning->programs, key, recipe_write(recipe, text));
    if (programs_hash(tuning->programs, digits) != 0)
        return -1;
    cJSON_DeleteItemFromObjectCaseSensitive(tuning->root, "hash");
    json_add_text(tuning->root, "hash", digits);
    whole = cJSON_Print(tuning->root);
    if (!whole)
        return error_set("out of memory for the tuning file");
    result = file_write(tuning->path, whole);
    cJSON_free(whole);
    return result;
}
