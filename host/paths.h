/* Names of files: what they are called after, and whether two mean the same file. */
#ifndef PAREIDOLIA_PATHS_H
#define PAREIDOLIA_PATHS_H

#include <stdbool.h>

/* Whether both name one existing file, or would once they are made: by the same text, or the same name in one
 * directory.
 */
bool path_same_file(const char *a, const char *b);

/* The last part of path, what stands behind its directories. */
const char *path_name(const char *path);

/* That part without its extension, with suffix: "in/cat.jpg", "_dream.png" give "cat_dream.png".
 * Returns a path to free(), or NULL with an error. */
char *path_derive(const char *path, const char *suffix);

/* "directory/name". Returns a path to free(), or NULL with an error. */
char *path_join(const char *directory, const char *name);

/* 0 where path can be written as output.h does, else -1 with an error. Creates nothing that stays. */
int path_check_output(const char *path);

/* 0 where path is a directory in which files can be made, else -1 with an error. */
int path_check_directory(const char *path);

#endif
