/* The file that keeps which program was fastest for each convolution on this GPU with these libraries, in the user's
 * cache directory. A file that is damaged, or of another GPU, library or version of this program, is not used: what
 * is missing is timed again. */
#ifndef PAREIDOLIA_CUDA_TUNING_H
#define PAREIDOLIA_CUDA_TUNING_H

#include "conv.h"

struct tuning;

/* Reads the file of cuda's GPU, if there is one. NULL with an error where memory is short or no file can be made. */
struct tuning *tuning_open(struct cuda *cuda);
void tuning_close(struct tuning *tuning);

/* Whether a recipe is kept for key; fills it in. */
bool tuning_find(const struct tuning *tuning, const char *key, struct recipe *recipe);

/* Keeps recipe for key, in the file too. Returns 0, or -1 with an error. */
int tuning_keep(struct tuning *tuning, const char *key, const struct recipe *recipe);

#endif
