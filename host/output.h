/* Files that appear whole or not at all: written beside their place under a temporary name and renamed when
 * complete. A program that is interrupted calls output_abandon on its way out; from a signal handler it may call
 * output_remove_all only. */
#ifndef PAREIDOLIA_OUTPUT_H
#define PAREIDOLIA_OUTPUT_H

#include <stdio.h>

/* An output under way. Zeroed: none. */
struct output {
    FILE *file;      /* write here; owned */
    char *path;      /* where it will be; owned */
    char *temporary; /* where it is now; owned */
};

/* Opens a temporary file beside path (beside its target where path is a symbolic link). The result will have the
 * mode of the file it replaces, or what the umask says. Refuses a path that exists and is not a regular file.
 * Returns 0, or -1 with an error that names path; out is then zeroed. */
int output_open(struct output *out, const char *path);

/* Flushes, syncs and renames into place. Returns 0, or -1 with an error that names path (disk full and the like);
 * either way the struct is zeroed and no temporary file is left. */
int output_commit(struct output *out);

/* Closes and removes the temporary file; a zeroed struct is accepted. Leaves the error sentence alone. */
void output_abandon(struct output *out);

/* Removes what programs that were killed (kill -9, power cut) have left half written beside path. */
void output_sweep(const char *path);

/* Removes the temporary files of all outputs under way, for a signal handler that ends the program then. */
void output_remove_all(void);

#endif
