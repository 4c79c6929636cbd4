/* Finds the command, and is the only place that prints an error. */
#include "commands.h"
#include "device.h"
#include "error.h"
#include "nearest.h"
#include "text.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct command {
    const char *name;
    const char *summary;
    enum exit_status (*run)(int argc, char **argv);
} commands[] = {
    {"dream", "let a layer of the network paint what it sees into a picture", command_dream},
    {"recipe", "say how a picture was dreamt, as a command line that does it again", command_recipe},
    {"plan", "say what a dream of some size would take: tiles, memory, time", command_plan},
    {"classify", "say what the whole network takes a picture for", command_classify},
    {"layers", "list the network's layers, their shapes and receptive fields", command_layers},
    {"dump", "write a layer's activation and the gradient of one step, for comparison", command_dump},
    {"compare", "hold one device against another, from layers to whole dreams", command_compare},
    {"bench", "measure what a step costs: time, memory, and where it goes", command_bench},
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *file)
{
    fputs("usage: pareidolia COMMAND [ARGUMENT]...\n\n", file);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(file, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\npareidolia COMMAND --help says more; pareidolia --version says what is built in.\n", file);
}

static void print_version(void)
{
    const char *separator = "";

    printf("pareidolia %s\ndevices: ", PAREIDOLIA_VERSION);
    for (const char *const *name = device_names(); *name; name++, separator = ", ")
        printf("%s%s", separator, *name);
    putchar('\n');
}

static enum exit_status unknown_command(const char *name)
{
    const char *names[COMMANDS];
    const char *nearest[NEAREST_NAMES];

    for (int i = 0; i < COMMANDS; i++)
        names[i] = commands[i].name;
    nearest_names(name, names, COMMANDS, nearest);
    error_set("unknown command \"%s\"; the nearest is %s", name, nearest[0]);
    print_usage(stderr);
    return STATUS_USAGE;
}

static enum exit_status run(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        error_set("which command?");
        return STATUS_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_usage(stdout);
        return STATUS_DONE;
    }
    if (!strcmp(argv[1], "--version")) {
        print_version();
        return STATUS_DONE;
    }
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 2, argv + 2);
    return unknown_command(argv[1]);
}

/* Prints the sentence; names from files are in it, so what a terminal would obey is replaced. */
static void print_error(void)
{
    fputs("pareidolia: ", stderr);
    for (const char *c = error_message(); *c;) {
        size_t length = text_shown(c);

        if (length)
            fwrite(c, 1, length, stderr);
        else
            fputc('?', stderr);
        c += length ? length : 1;
    }
    fputc('\n', stderr);
}

int main(int argc, char **argv)
{
    /* A limit on the size of files shall be a write that fails, with a sentence and nothing left behind. */
    signal(SIGXFSZ, SIG_IGN);

    enum exit_status status = run(argc, argv);
    if (status == STATUS_DONE && (fflush(stdout) || ferror(stdout))) {
        error_set("standard output: cannot be written: %s", strerror(errno));
        status = STATUS_FAILED;
    }
    if (status != STATUS_DONE)
        print_error();
    return (int)status;
}
