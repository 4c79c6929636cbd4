/* What a picture was made with: every setting that its bytes depend on, as text that goes into the picture, and
 * back into a command line. The same list, as far as pixels depend on it, tells a checkpoint whose it is.
 *
 * The text is the comment of the picture (image.h), behind the line "partial: ..." where it is of a dream that was
 * interrupted:
 *
 *     pareidolia recipe 1
 *     version=0.1.0
 *     --layer=mixed3
 *     picture-file=caf%C3%A9.jpg
 *
 * Each line is NAME=VALUE and ends with a line end; no name occurs twice, and the order means nothing. A name is
 * perhaps --, then a letter and up to 40 more of a-z, 0-9 and -. In a value each byte outside 32..126 and each % is
 * written as % and two hex digits. Names that begin with -- are options of `dream`, flags having the values yes and
 * no; these there can be, and no others:
 *
 *     --device --precision --layer --octaves --octave-scale --iterations --step --max-loss --clip
 *     --strength --keep-colors
 *     --tile             as it was taken, or the longer side where the picture was in one piece
 *     --bits --quality
 *     --width --height --max-side --mask    only where they were given; --mask without directories
 *
 * The rest is for comparing, and for people; a reader passes over what it does not know. A hash is hex digits,
 * perhaps with dashes between:
 *
 *     version            of the program: digits and dots
 *
 *     weights            a hash (weights_hash)
 *
 *     weights-file       their name without directories; embedded and untrained are those that are built in, a file
 *                        of such a name is called "embedded (file)"
 *
 *     programs           a hash of the convolution programs, of a GPU that has a choice of them
 *
 *     picture            a hash (recipe_picture) of the source as it was read
 *
 *     picture-file       its name without directories
 *
 *     picture-size       its size, as WIDTHxHEIGHT
 *
 *     mask               a hash (recipe_mask), where there is one
 *
 *     size               of the result
 *
 *     octave             2/4: this is the picture after the second size of four; all other lines are of the whole
 *                        dream
 *
 * There are no directories, times, or names of people or machines in it. */
#ifndef PAREIDOLIA_RECIPE_H
#define PAREIDOLIA_RECIPE_H

#include "checkpoint.h"
#include "session.h"

/* Longer texts are not to be written: they would not fit in a JPEG beside the other lines. */
enum { RECIPE_MOST = 65000 };

/* A zeroed one is empty and safe to free. */
struct recipe {
    int count;
    struct checkpoint_setting *setting; /* owned, as are both of its texts */
    bool partial;                       /* read from a picture of a dream that was interrupted */
};

void recipe_free(struct recipe *recipe);

/* Add a setting, with as few digits as bring back the number; infinity is "none". Return 0, or -1 with an error
 * where there is no memory. */
int recipe_add(struct recipe *recipe, const char *name, const char *value);
int recipe_add_number(struct recipe *recipe, const char *name, double value);

/* Adds what the pixels depend on beside the source picture and the tiles: version, --device (not which of several
 * like GPUs), --precision, what is in dream, layer as given, and the weights' hash. Returns 0, or -1 with an error.
 */
int recipe_add_dream(struct recipe *recipe, const struct session *session, const char *layer,
                     const struct dream_options *dream);

/* Adds the weights' name, as weights-file has it. Returns 0, or -1 with an error. */
int recipe_add_weights(struct recipe *recipe, const struct weights *weights);

/* Whether the weights are built in. */
bool recipe_is_built_in(const struct recipe *recipe);

/* The value of a name; NULL where it is not there. */
const char *recipe_value(const struct recipe *recipe, const char *name);

/* 16 hex digits, perhaps a dash and 16 more, and the end of the text. */
#define RECIPE_DIGITS 34

/* Hashes what a result takes from its source: size and colours as checkpoint_picture does, and behind a dash alpha
 * and colour profile where there are any. */
void recipe_picture(const struct image *picture, char digits[RECIPE_DIGITS]);

/* Hashes a mask as finish_open (finish.h) has read it: 16 hex digits. */
void recipe_mask(const uint16_t *mask, int64_t count, char digits[RECIPE_DIGITS]);

/* The text, to be freed. NULL with an error where there is no memory. */
char *recipe_text(const struct recipe *recipe);

/* Reads the text back; path is for errors. Refuses what lacks a line that every recipe has, an option that is none
 * of the above or not printable, names of files with directories, and values that do not look as said above: a
 * recipe comes from anywhere. Whether options have values that they can have is options_parse's business. Returns
 * 0, or -1 with an error; out is then empty. */
int recipe_parse(const char *path, const char *text, struct recipe *out);

/* Reads the recipe of the picture at path. Returns 0, or -1 with an error, also where it has none. */
int recipe_read(const char *path, struct recipe *out);

/* Options that may be left out because the user gives others in their place. */
enum recipe_part {
    RECIPE_DEVICE = 1, /* --device and --precision */
    RECIPE_CLIP = 2,
    RECIPE_SIZE = 4, /* --width, --height and --max-side */
    RECIPE_TILE = 8,
    RECIPE_MASK = 16,
    RECIPE_COLORS = 32, /* --keep-colors */
    RECIPE_BITS = 64,
};

/* The options as arguments of `dream`, each "--name=value" or a flag, with --weights where these are built in, and
 * behind them argv[0..argc), borrowed. Parts in `without` are left out. Returns an array that ends with NULL, to be
 * freed at once with the recipe's texts, and how many there are; NULL with an error where there is no memory. */
char **recipe_arguments(const struct recipe *recipe, unsigned without, int argc, char **argv, int *count);

/* Whether the value of name is a number, or "none"; whether it is yes or no. */
bool recipe_is_number(const char *name);
bool recipe_is_flag(const char *name);

/* value as it is written in a recipe, which a terminal can be shown; to be freed, NULL with an error. */
char *recipe_escape(const char *value);

#endif
