/* pareidolia recipe: prints what a dream was made with as the command line that makes it again. */
#include "commands.h"
#include "error.h"
#include "json.h"
#include "paths.h"
#include "recipe.h"
#include "text.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    bool json;
};

static const struct option recipe_table[] = {
    {.name = "json", .kind = OPTION_FLAG, .offset = offsetof(struct settings, json), .help = "print JSON"},
    {.name = NULL},
};

/* A command line. All owned. */
struct words {
    char **arguments; /* "--name=value", or a flag */
    int count;
    char *image;
    char *output; /* NULL: what it is called without a word */
};

static void words_free(struct words *words)
{
    free(words->arguments);
    free(words->image);
    free(words->output);
}

static int words_make(const char *path, const struct recipe *recipe, struct words *words)
{
    const char *image = recipe_value(recipe, "picture-file");

    words->arguments = recipe_arguments(recipe, 0, 0, NULL, &words->count);
    if (!words->arguments)
        return -1;
    words->image = *image == '-' ? path_join(".", image) : strdup(image);
    if (!words->image)
        return error_set("no memory for a path");
    if (image_name_is_jpeg(path)) {
        words->output = path_derive(words->image, "_dream.jpg");
        return words->output ? 0 : -1;
    }
    return 0;
}

/* Prints word as a shell reads it. Nothing that a terminal would obey comes out as it is, but for line ends. */
static void print_word(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,+@=";

    if (*word && !word[strspn(word, plain)]) {
        fputs(word, stdout);
        return;
    }
    putchar('\'');
    while (*word) {
        size_t shown = *word == '\n' ? 1 : text_shown(word);

        if (*word == '\'')
            fputs("'\\''", stdout);
        else if (shown)
            fwrite(word, 1, shown, stdout);
        else
            printf("'\"$(printf '\\%03o')\"'", (unsigned)(unsigned char)*word);
        word += shown ? shown : 1;
    }
    putchar('\'');
}

/* An option as people write it: name and value apart. */
static void print_argument(const char *argument)
{
    const char *value = strchr(argument, '=');

    if (!value || !strncmp(value + 1, "--", 2)) {
        putchar(' ');
        print_word(argument);
        return;
    }
    printf(" %.*s ", (int)(value - argument), argument);
    print_word(value + 1);
}

/* Prints what the command line cannot say, behind a #, in a form that stays in its line. */
static int print_facts(const struct recipe *recipe)
{
    char *weights = recipe_escape(recipe_value(recipe, "weights-file"));

    if (!weights)
        return -1;
    printf("# pareidolia %s, weights ", recipe_value(recipe, "version"));
    print_word(weights);
    printf(" (%s), of a picture of %s (%s)\n", recipe_value(recipe, "weights"),
           recipe_value(recipe, "picture-size"), recipe_value(recipe, "picture"));
    free(weights);
    if (!recipe_is_built_in(recipe))
        puts("# Give it --weights FILE, too, where it finds others than these by itself.");
    if (recipe->partial)
        puts("# The picture is of a dream that was interrupted; this does the whole dream.");
    else if (recipe_value(recipe, "octave"))
        puts("# The picture is the one after an octave; this does the whole dream.");
    return 0;
}

static int print_text(const char *path, const struct recipe *recipe)
{
    struct words words = {0};
    int result = words_make(path, recipe, &words);

    if (!result) {
        fputs("pareidolia dream ", stdout);
        print_word(words.image);
        for (int i = 0; i < words.count; i++)
            print_argument(words.arguments[i]);
        if (words.output) {
            fputs(*words.output == '-' ? " --output=" : " -o ", stdout);
            print_word(words.output);
        }
        putchar('\n');
        result = print_facts(recipe);
    }
    words_free(&words);
    return result;
}

static int print_json(const struct recipe *recipe)
{
    cJSON *object = cJSON_CreateObject(), *settings = cJSON_CreateObject(), *facts = cJSON_CreateObject();

    cJSON_AddBoolToObject(object, "partial", recipe->partial);
    json_add_recipe(settings, recipe, false);
    json_add_recipe(facts, recipe, true);
    cJSON_AddItemToObject(object, "settings", settings);
    cJSON_AddItemToObject(object, "made_with", facts);
    return json_print(stdout, object) ? error_prefix("standard output") : 0;
}

enum exit_status command_recipe(int argc, char **argv)
{
    struct settings settings = {0};
    struct recipe recipe;
    enum exit_status status = STATUS_DONE;
    const char *path;
    const struct command_line line = {
        .command = "recipe",
        .operand = "PICTURE",
        .about =
            "Prints the command line that has made a picture, or would: a dream has its recipe in it, unless it "
            "was made with --no-recipe. pareidolia dream --from PICTURE follows it at once.",
        .groups = {{"the recipe", recipe_table, &settings}},
    };

    if (!command_parsed(&line, argc, argv, &path, &status))
        return status;
    if (recipe_read(path, &recipe))
        return STATUS_FAILED;
    int result = settings.json ? print_json(&recipe) : print_text(path, &recipe);
    recipe_free(&recipe);
    return result ? STATUS_FAILED : STATUS_DONE;
}
