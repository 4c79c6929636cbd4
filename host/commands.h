/* The program's commands. Each takes what follows its name on the command line, prints results to stdout and
 * progress to stderr, and returns the program's exit status; unless that is 0, error.h has the sentence to
 * print. */
#ifndef PAREIDOLIA_COMMANDS_H
#define PAREIDOLIA_COMMANDS_H

#include "options.h"

enum exit_status {
    STATUS_DONE = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_INTERRUPTED = 130, /* as a shell says of a program that SIGINT has ended */
};

enum exit_status command_dream(int argc, char **argv);
enum exit_status command_classify(int argc, char **argv);
enum exit_status command_layers(int argc, char **argv);
enum exit_status command_dump(int argc, char **argv);
enum exit_status command_compare(int argc, char **argv);
enum exit_status command_plan(int argc, char **argv);
enum exit_status command_bench(int argc, char **argv);
enum exit_status command_recipe(int argc, char **argv);

/* What every command begins with: parses its arguments (options_parse). False where that is all there is to do, as
 * help was asked for or the command line is wrong; *status is then what to return, else it is as it was. */
bool command_parsed(const struct command_line *line, int argc, char **argv, const char **operand,
                    enum exit_status *status);

#endif
