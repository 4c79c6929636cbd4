/* The format: a line that names it and its version, the length of a JSON header, the header, its checksum, the
 * numbers of the log, the pixels, and the checksum of all that but the first checksum. Integers are little-endian,
 * numbers are IEEE's. The header has a checksum of its own so that a damaged one is not mistaken for one of other
 * settings; the numbers are not in it because JSON cannot say all of them. */
#include "checkpoint.h"

#include "error.h"
#include "output.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they are in memory");
_Static_assert(sizeof(struct step_record) == 2 * sizeof(double), "records are written as they are in memory");

#define NAME "pareidolia checkpoint "
#define VERSION 1
#define MAGIC NAME "1\n"

enum {
    NAME_BYTES = sizeof NAME - 1,
    MAGIC_BYTES = sizeof MAGIC - 1,
    CHECKSUM_BYTES = 4,
    FRAME_BYTES = MAGIC_BYTES + 8 + 2 * CHECKSUM_BYTES, /* of a file without header, numbers and pixels */
    HEADER_MAX = 1 << 20,                               /* real ones are about a kilobyte */
    PIECE = 1 << 20,    /* bytes written or read at a time: they are still in the cache for the checksum */
    SIDE_MAX = 1 << 28, /* pixels; more of them could not be counted in bytes */
};

/* The largest integer that cJSON, which keeps doubles, brings back. */
#define INTEGER_MAX ((int64_t)1 << 53)

/* A file under way from its begin to its end. */
struct stream {
    FILE *file;
    const char *path;
    uLong checksum; /* of what has been written or read so far, checksums left out */
};

/* Writing --------------------------------------------------------------------------------------------------- */

static int stream_put(struct stream *stream, const void *bytes, size_t count)
{
    const unsigned char *at = bytes;

    for (size_t piece; count; at += piece, count -= piece) {
        piece = count < PIECE ? count : PIECE;
        stream->checksum = crc32_z(stream->checksum, at, piece);
        if (fwrite(at, 1, piece, stream->file) != piece)
            return error_set("%s: cannot be written: %s", stream->path, strerror(errno));
    }
    return 0;
}

static int checksum_put(struct stream *stream)
{
    uint32_t checksum = (uint32_t)stream->checksum;
    int result = stream_put(stream, &checksum, CHECKSUM_BYTES);

    stream->checksum = checksum;
    return result;
}

/* cJSON's own numbers have 15 digits where that is nearly the same. */
static bool integer_add(cJSON *object, const char *name, int64_t value)
{
    char digits[24];

    assert(value >= 0 && value <= INTEGER_MAX);
    snprintf(digits, sizeof digits, "%" PRId64, value);
    return cJSON_AddRawToObject(object, name, digits);
}

static bool octave_add(cJSON *octaves, const struct octave_log *octave)
{
    cJSON *object = cJSON_CreateObject();

    return cJSON_AddItemToArray(octaves, object) && integer_add(object, "height", octave->height) &&
           integer_add(object, "width", octave->width) && cJSON_AddBoolToObject(object, "silent", octave->silent) &&
           cJSON_AddBoolToObject(object, "stopped", octave->stopped) &&
           integer_add(object, "steps", octave->steps) &&
           integer_add(object, "device_bytes", (int64_t)octave->device_bytes);
}

/* The header's text, to be freed by cJSON_free; NULL where memory is short. Values that are not UTF-8 are written
 * as they are, which cJSON reads again but other programs may not: they are there to be compared. */
static char *header_text(const struct checkpoint_setting *settings, int count, const struct checkpoint *checkpoint)
{
    const struct dream_log *log = &checkpoint->log;
    cJSON *header = cJSON_CreateObject();
    cJSON *object = cJSON_AddObjectToObject(header, "settings");
    bool complete = object;

    for (int i = 0; i < count; i++)
        complete = complete && cJSON_AddStringToObject(object, settings[i].name, settings[i].value);
    complete = complete && integer_add(header, "octave", checkpoint->octave) &&
               integer_add(header, "lowerings", checkpoint->lowerings) &&
               integer_add(header, "tile", checkpoint->tile) &&
               cJSON_AddBoolToObject(header, "apart", checkpoint->apart) &&
               cJSON_AddStringToObject(header, "type", dtype_name(checkpoint->type)) &&
               integer_add(header, "iterations", log->iterations);
    cJSON *octaves = cJSON_AddArrayToObject(header, "octaves");
    for (int i = 0; i < log->octaves; i++)
        complete = complete && octave_add(octaves, &log->octave[i]);
    char *text = complete ? cJSON_Print(header) : NULL;
    cJSON_Delete(header);
    return text;
}

static size_t pixels_bytes(const struct checkpoint *checkpoint)
{
    return dtype_bytes(checkpoint->type, checkpoint->height * checkpoint->width * 3);
}

static int header_put(struct stream *stream, const char *header)
{
    uint64_t bytes = strlen(header);

    if (stream_put(stream, MAGIC, MAGIC_BYTES) || stream_put(stream, &bytes, sizeof bytes) ||
        stream_put(stream, header, bytes))
        return -1;
    return checksum_put(stream);
}

static int content_put(struct stream *stream, const struct checkpoint *checkpoint)
{
    const struct dream_log *log = &checkpoint->log;

    if (stream_put(stream, &log->seconds, sizeof log->seconds))
        return -1;
    for (int i = 0; i < log->octaves; i++) {
        const struct octave_log *octave = &log->octave[i];
        if (stream_put(stream, &octave->seconds, sizeof octave->seconds) ||
            stream_put(stream, octave->records, (size_t)octave->steps * sizeof *octave->records))
            return -1;
    }
    if (stream_put(stream, checkpoint->pixels, pixels_bytes(checkpoint)))
        return -1;
    return checksum_put(stream);
}

int checkpoint_write(const char *path, const struct checkpoint_setting *settings, int count,
                     const struct checkpoint *checkpoint)
{
    const struct dream_log *log = &checkpoint->log;
    struct output out;

    assert(checkpoint->octave >= 0 && checkpoint->octave < log->octaves);
    assert(checkpoint->height == log->octave[checkpoint->octave].height);
    assert(checkpoint->width == log->octave[checkpoint->octave].width);
    assert(checkpoint->type == DTYPE_F32 || checkpoint->type == DTYPE_F64);
    for (int i = 0; i < log->octaves; i++)
        assert(log->octave[i].steps <= (i <= checkpoint->octave ? log->iterations : 0));

    char *header = header_text(settings, count, checkpoint);
    if (!header)
        return error_set("%s: cannot be written: no memory for its header", path);
    int result = -1;
    if (strlen(header) > HEADER_MAX) {
        error_set("%s: cannot be written: its settings and octaves take %zu bytes, at most %d are written", path,
                  strlen(header), HEADER_MAX);
    } else if (!output_open(&out, path)) {
        struct stream stream = {.file = out.file, .path = path};
        if (header_put(&stream, header) || content_put(&stream, checkpoint))
            output_abandon(&out);
        else
            result = output_commit(&out);
    }
    cJSON_free(header);
    return result;
}

/* Reading --------------------------------------------------------------------------------------------------- */

/* Opens a regular file and tells its length; NULL with an error. */
static FILE *file_open(const char *path, int64_t *length)
{
    struct stat status = {0};
    /* O_NONBLOCK: a pipe without a writer shall be refused, not waited for. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    FILE *file = NULL;

    if (descriptor < 0 || fstat(descriptor, &status))
        error_set("%s: cannot be opened: %s", path, strerror(errno));
    else if (!S_ISREG(status.st_mode))
        error_set("%s: is not a regular file, so not a checkpoint", path);
    else if (!(file = fdopen(descriptor, "rb")))
        error_set("%s: cannot be opened: %s", path, strerror(errno));
    if (!file && descriptor >= 0)
        close(descriptor);
    *length = status.st_size;
    return file;
}

static int cut_off(const char *path, int64_t length)
{
    return error_set("%s: is cut off after %" PRId64 " bytes; take an earlier checkpoint or begin anew", path,
                     length);
}

static int damaged(const char *path, const char *what)
{
    return error_set("%s: is damaged: %s; take an earlier checkpoint or begin anew", path, what);
}

static int stream_get(struct stream *stream, void *bytes, size_t count)
{
    unsigned char *at = bytes;

    for (size_t piece; count; at += piece, count -= piece) {
        piece = count < PIECE ? count : PIECE;
        if (fread(at, 1, piece, stream->file) != piece) {
            if (ferror(stream->file))
                return error_set("%s: cannot be read: %s", stream->path, strerror(errno));
            return error_set("%s: was cut off while it was read", stream->path);
        }
        stream->checksum = crc32_z(stream->checksum, at, piece);
    }
    return 0;
}

/* Reads the checksum of what was read so far and compares; what says what that was. */
static int checksum_get(struct stream *stream, const char *what)
{
    uint32_t checksum = (uint32_t)stream->checksum, stored;

    if (stream_get(stream, &stored, CHECKSUM_BYTES))
        return -1;
    stream->checksum = checksum;
    return stored == checksum ? 0 : damaged(stream->path, what);
}

static int magic_get(struct stream *stream, int64_t length)
{
    char found[MAGIC_BYTES + 1] = "";
    size_t count = length < MAGIC_BYTES ? (size_t)length : MAGIC_BYTES;

    if (stream_get(stream, found, count))
        return -1;
    if (count == 0 || memcmp(found, NAME, count < NAME_BYTES ? count : NAME_BYTES))
        return error_set("%s: is not a checkpoint of this program's", stream->path);
    long version = count > NAME_BYTES ? strtol(found + NAME_BYTES, NULL, 10) : VERSION;
    if (version > VERSION)
        return error_set(
            "%s: is a checkpoint of version %ld, which a later version of this program wrote; this one "
            "reads version %d",
            stream->path, version, VERSION);
    if (memcmp(found, MAGIC, count))
        return damaged(stream->path, "its first line is not as it was written");
    return length < FRAME_BYTES ? cut_off(stream->path, length) : 0;
}

/* Reads all up to the log's numbers. NULL with an error. */
static cJSON *header_get(struct stream *stream, int64_t length)
{
    uint64_t bytes;
    cJSON *header = NULL;

    if (magic_get(stream, length) || stream_get(stream, &bytes, sizeof bytes))
        return NULL;
    if (bytes > HEADER_MAX) {
        damaged(stream->path, "the length of its header is not as it was written");
        return NULL;
    }
    if ((int64_t)bytes > length - FRAME_BYTES) {
        cut_off(stream->path, length);
        return NULL;
    }
    char *text = calloc(bytes + 1, 1);
    if (!text) {
        error_set("%s: no memory for its header (%" PRIu64 " bytes)", stream->path, bytes);
        return NULL;
    }
    if (stream_get(stream, text, bytes) || checksum_get(stream, "its header is not as it was written"))
        goto fail;
    header = cJSON_ParseWithOpts(text, NULL, true);
    if (!header)
        damaged(stream->path, "its header is no JSON");

fail:
    free(text);
    return header;
}

/* The integer of that name, least..most; false where there is none. */
static bool integer_read(const cJSON *object, const char *name, int64_t least, int64_t most, int64_t *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    if (!cJSON_IsNumber(item) || !(item->valuedouble >= (double)least && item->valuedouble <= (double)most))
        return false;
    *out = (int64_t)item->valuedouble;
    return (double)*out == item->valuedouble;
}

static bool int_read(const cJSON *object, const char *name, int most, int *out)
{
    int64_t value = 0;
    bool found = integer_read(object, name, 0, most, &value);

    *out = (int)value;
    return found;
}

static bool bool_read(const cJSON *object, const char *name, bool *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    *out = cJSON_IsTrue(item);
    return cJSON_IsBool(item);
}

static bool type_read(const cJSON *header, enum dtype *out)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(header, "type"));

    *out = name && !strcmp(name, dtype_name(DTYPE_F64)) ? DTYPE_F64 : DTYPE_F32;
    return name && !strcmp(name, dtype_name(*out));
}

static bool octave_read(const cJSON *object, int most_steps, struct octave_log *out)
{
    int64_t device_bytes = 0;
    bool complete = integer_read(object, "height", 1, SIDE_MAX, &out->height) &&
                    integer_read(object, "width", 1, SIDE_MAX, &out->width) &&
                    bool_read(object, "silent", &out->silent) && bool_read(object, "stopped", &out->stopped) &&
                    integer_read(object, "steps", 0, most_steps, &out->steps) &&
                    integer_read(object, "device_bytes", 0, INTEGER_MAX, &device_bytes);

    out->device_bytes = (size_t)device_bytes;
    return complete;
}

/* Takes all but the settings from the header. A header with the right checksum that does not say everything was not
 * written by this program. */
static int header_read(const char *path, const cJSON *header, struct checkpoint *out)
{
    static const char what[] = "its header does not say what it must";
    const cJSON *octaves = cJSON_GetObjectItemCaseSensitive(header, "octaves"), *object;
    struct dream_log *log = &out->log;
    int count = cJSON_GetArraySize(octaves);

    if (!cJSON_IsArray(octaves) || count < 1 || !int_read(header, "octave", count - 1, &out->octave) ||
        !int_read(header, "lowerings", INT_MAX, &out->lowerings) ||
        !integer_read(header, "tile", 0, INTEGER_MAX, &out->tile) || !bool_read(header, "apart", &out->apart) ||
        !type_read(header, &out->type) || !int_read(header, "iterations", INT_MAX, &log->iterations))
        return damaged(path, what);
    log->octave = calloc((size_t)count, sizeof *log->octave);
    if (!log->octave)
        return error_set("%s: no memory for the log of %d octaves", path, count);
    cJSON_ArrayForEach(object, octaves)
    {
        int most_steps = log->octaves <= out->octave ? log->iterations : 0; /* no later one has begun */
        if (!octave_read(object, most_steps, &log->octave[log->octaves]))
            return damaged(path, what);
        log->octaves++;
    }
    out->height = log->octave[out->octave].height;
    out->width = log->octave[out->octave].width;
    return 0;
}

/* Refuses settings of the file that are not exactly the given ones. */
static int settings_compare(const char *path, const cJSON *header, const struct checkpoint_setting *settings,
                            int count)
{
    static const char advice[] = "give what it was made with, or begin anew";
    const cJSON *stored = cJSON_GetObjectItemCaseSensitive(header, "settings"), *item;

    for (int i = 0; i < count; i++) {
        const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(stored, settings[i].name));
        if (!value)
            return error_set("%s: was made without %s, which is %s now; %s", path, settings[i].name,
                             settings[i].value, advice);
        if (strcmp(value, settings[i].value))
            return error_set("%s: was made with %s %s, not %s; %s", path, settings[i].name, value,
                             settings[i].value, advice);
    }
    cJSON_ArrayForEach(item, stored)
    {
        bool known = false;
        for (int i = 0; i < count; i++)
            known = known || !strcmp(item->string, settings[i].name);
        if (!known)
            return error_set("%s: was made with %s %s, which is not set now; %s", path, item->string,
                             cJSON_IsString(item) ? item->valuestring : "?", advice);
    }
    return 0;
}

/* Refuses a file that is not as long as its header says; position is where the header ends. Nothing overflows:
 * there are at most HEADER_MAX octaves of INT_MAX records, and the pixels are bounded by SIDE_MAX. */
static int length_check(const char *path, int64_t position, int64_t length, const struct checkpoint *checkpoint)
{
    const struct dream_log *log = &checkpoint->log;
    int64_t wanted = position + (int64_t)sizeof log->seconds + (int64_t)pixels_bytes(checkpoint) + CHECKSUM_BYTES;

    for (int i = 0; i < log->octaves; i++)
        wanted +=
            (int64_t)sizeof log->octave->seconds + log->octave[i].steps * (int64_t)sizeof *log->octave->records;
    if (length < wanted)
        return error_set("%s: is cut off: %" PRId64 " of its %" PRId64
                         " bytes are there; take an earlier checkpoint "
                         "or begin anew",
                         path, length, wanted);
    return length == wanted ? 0 : damaged(path, "more bytes follow than belong to it");
}

static int content_get(struct stream *stream, struct checkpoint *out)
{
    struct dream_log *log = &out->log;
    size_t bytes = pixels_bytes(out);

    if (stream_get(stream, &log->seconds, sizeof log->seconds))
        return -1;
    for (int i = 0; i < log->octaves; i++) {
        struct octave_log *octave = &log->octave[i];
        if (stream_get(stream, &octave->seconds, sizeof octave->seconds))
            return -1;
        if (i > out->octave)
            continue;
        octave->records = calloc((size_t)octave->steps + 1, sizeof *octave->records); /* + 1: never of 0 bytes */
        if (!octave->records)
            return error_set("%s: no memory for the records of %" PRId64 " steps", stream->path, octave->steps);
        if (stream_get(stream, octave->records, (size_t)octave->steps * sizeof *octave->records))
            return -1;
    }
    out->pixels = malloc(bytes);
    if (!out->pixels)
        return error_set("%s: no memory for its pixels (%zu bytes)", stream->path, bytes);
    if (stream_get(stream, out->pixels, bytes))
        return -1;
    return checksum_get(stream, "what is in it is not as it was written");
}

int checkpoint_read(const char *path, const struct checkpoint_setting *settings, int count, struct checkpoint *out)
{
    struct stream stream = {.path = path};
    int64_t length;
    int result = -1;

    *out = (struct checkpoint){0};
    stream.file = file_open(path, &length);
    if (!stream.file)
        return -1;
    cJSON *header = header_get(&stream, length);
    if (header && !header_read(path, header, out) && !settings_compare(path, header, settings, count) &&
        !length_check(path, ftell(stream.file), length, out))
        result = content_get(&stream, out);
    cJSON_Delete(header);
    fclose(stream.file);
    if (result)
        checkpoint_free(out);
    return result;
}

void checkpoint_free(struct checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    free(checkpoint->pixels);
    dream_log_free(&checkpoint->log);
    *checkpoint = (struct checkpoint){0};
}

/* The picture ----------------------------------------------------------------------------------------------- */

/* FNV-1a of whole words, eight times as fast as of bytes. A product only carries upwards, so that high bits would
 * never reach low ones: they are brought there. Each step is one to one in the hash and in the word. */
static uint64_t hash_word(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 32;
}

void checkpoint_picture(const struct image *picture, char digits[CHECKPOINT_DIGITS])
{
    const float *x = picture->pixels;
    int64_t count = picture->height * picture->width * 3;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    hash = hash_word(hash, (uint64_t)picture->height);
    hash = hash_word(hash, (uint64_t)picture->width);
    for (int64_t i = 0; i < count; i += 2) {
        uint64_t word = 0;
        memcpy(&word, x + i, i + 1 < count ? 2 * sizeof *x : sizeof *x);
        hash = hash_word(hash, word);
    }
    snprintf(digits, CHECKPOINT_DIGITS, "%016" PRIx64, hash);
}
