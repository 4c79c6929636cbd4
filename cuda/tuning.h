/* Which program was fastest for each convolution on this GPU with these libraries: the project's own table of a GPU
 * that it has timed, which is built in, or the file that --tune keeps in the user's cache directory. What is
 * damaged, or of another GPU, library or version of this program, is not used; what is missing in the file is timed
 * again. */
#ifndef PAREIDOLIA_CUDA_TUNING_H
#define PAREIDOLIA_CUDA_TUNING_H

#include "conv.h"

struct tuning;

/* Reads the file of cuda's GPU, if there is one. NULL with an error where memory is short or no file can be made.
 */
struct tuning *tuning_open(const struct cuda *cuda);

/* The built-in table of cuda's GPU; NULL, without an error, where there is none. */
struct tuning *tuning_open_built_in(const struct cuda *cuda);
void tuning_close(struct tuning *tuning);

/* Whether a recipe is kept for key; fills it in, and *text, to free(), if its plan is kept, else NULL. */
bool tuning_find(const struct tuning *tuning, const char *key, struct program_recipe *recipe, char **text);

/* Keeps recipe for key, with the text of its plan unless that is NULL, on disk too. Returns 0, or -1 with an error.
 */
int tuning_keep(struct tuning *tuning, const char *key, const struct program_recipe *recipe, const char *text);

#endif
