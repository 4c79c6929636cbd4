/* The command line of one command, from a table: name, kind, range and help of each option. The values go where
 * the table says; what stands there before is the default, and what --help shows as such. */
#ifndef PAREIDOLIA_OPTIONS_H
#define PAREIDOLIA_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,   /* bool; takes no value */
    OPTION_TEXT,   /* const char *, borrowed from argv */
    OPTION_COUNT,  /* int */
    OPTION_NUMBER, /* double; never NaN, infinite only by the word "none" */
    OPTION_BYTES,  /* size_t: "6G", "1.5GB", as bytes_parse (memory.h) reads it; 0, as a default, is "not given" */
    OPTION_SIZE,   /* struct option_size: "1920x1080"; zeros, as a default, are "not given" */
};

struct option_size {
    int64_t width, height;
};

struct option {
    const char *name; /* "iterations" for --iterations; NULL ends a table */
    char letter;      /* 'o' for -o; 0: none */
    enum option_kind kind;
    size_t offset;        /* of the value in the group's values */
    const char *argument; /* what the help calls the value */
    const char *help;
    double least, most; /* what counts, numbers and both sides of sizes may be; may be infinite for numbers */
    bool above;         /* least itself is excluded */
    bool none;          /* a number may also be "none": INFINITY */
};

/* Options whose values lie in one struct. */
struct option_group {
    const char *title;
    const struct option *options; /* NULL ends the groups of a command line */
    void *values;
};

enum { OPTION_GROUPS = 6 };

struct command_line {
    const char *command; /* "dream" */
    const char *operand; /* what the help calls the one argument that is not an option; NULL: there is none */
    bool operand_optional;
    const char *about;
    struct option_group groups[OPTION_GROUPS + 1];
};

enum options_result {
    OPTIONS_PARSED, /* the values are set */
    OPTIONS_HELP,   /* help was asked for and has been printed to stdout; nothing else is to be done */
    OPTIONS_WRONG,  /* the command line is wrong; the error names option, value and what is allowed */
};

/* Parses argv[0..argc), what follows the command's name: --name value, --name=value, -o value, flags, and the
 * operand, in any order; after "--" everything is an operand. operand may be NULL where the line has none; *operand
 * is NULL where an optional one is missing. */
enum options_result options_parse(const struct command_line *line, int argc, char **argv, const char **operand);

#endif
