/* The state of a dream under way in one file, from which it goes on as if it had never been interrupted. The file
 * appears whole or not at all, and is read only by a dream whose settings are the same. */
#ifndef PAREIDOLIA_CHECKPOINT_H
#define PAREIDOLIA_CHECKPOINT_H

#include "device.h"
#include "dream.h"

#include <stdint.h>

/* Something that the result depends on, as text: {"--layer", "mixed3:1"}. A name occurs once; it and both values
 * are what the sentence says when a checkpoint was made with another value. Any bytes are compared exactly. That
 * nothing is forgotten that the result depends on, up to the program's version, is the caller's business. */
struct checkpoint_setting {
    const char *name;
    const char *value;
};

/* A dream between two steps. A zeroed one is safe to free. */
struct checkpoint {
    int octave;      /* under way, index into log.octave */
    int lowerings;   /* how often the gradient's scale has been lowered in that octave */
    int64_t tile;    /* of the whole render: owned pixels a side, 0 untiled */
    bool apart;      /* of the whole render: pictures lay in the host's memory, the network's device has another */
    enum dtype type; /* of pixels: DTYPE_F32 or DTYPE_F64 */
    int64_t height, width; /* of the octave's picture, as log.octave[octave] has them */
    void *pixels;          /* height * width * 3; owned after reading, borrowed for writing */
    struct dream_log log;  /* up to here: the octaves before with all their records, this one with `steps` of them;
                              owned after reading */
};

/* Writes the checkpoint to path, which is replaced at once or, on failure, stays as it was. Pixels are not copied.
 * Returns 0, or -1 with an error that names path. */
int checkpoint_write(const char *path, const struct checkpoint_setting *settings, int count,
                     const struct checkpoint *checkpoint);

/* Reads the checkpoint at path, every bit as it was written; of each octave there are `steps` records, and
 * no array of them where it has not begun. Refuses what is not a whole and undamaged checkpoint of exactly these
 * settings, whatever their order; other settings are noticed before pixels are read, and memory for these is taken
 * only where the file is as long as they are. Returns 0, or -1 with an error that names path and the reason; out is
 * then zeroed. */
int checkpoint_read(const char *path, const struct checkpoint_setting *settings, int count, struct checkpoint *out);

/* Frees what a checkpoint that was read owns, and zeroes it; NULL is accepted. */
void checkpoint_free(struct checkpoint *checkpoint);

/* 16 hex digits and the end of the text. */
#define CHECKPOINT_DIGITS 17

/* The value of a setting "picture": a hash of the size and the RGB samples. Two pictures that differ in
 * one sample only never have the same. */
void checkpoint_picture(const struct image *picture, char digits[CHECKPOINT_DIGITS]);

#endif
