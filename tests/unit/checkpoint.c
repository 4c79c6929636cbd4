/* Checkpoints: every bit comes back, and whatever is not exactly what was written, or was made with other settings,
 * is refused by a sentence that says why. */
#include "checkpoint.h"

#include "error.h"
#include "tests/check.h"
#include "tests/unit/directory.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <zlib.h>

enum { MAGIC_BYTES = 24, LENGTH_BYTES = 8 };

static const struct checkpoint_setting settings[] = {
    {"--layer", "mixed3:1"}, {"--step", "0x1.47ae147ae147bp-7"}, {"picture", "0123456789abcdef"}};
enum { SETTINGS = sizeof settings / sizeof *settings };

/* ---- a checkpoint ---- */

/* Each number that text could spoil. */
static const struct step_record odd_records[] = {
    {-0.0, 5e-324}, {INFINITY, -INFINITY}, {0.1, 1.0 / 3}, {2.2250738585072009e-308, 1.7976931348623157e308}};

/* Three octaves, the second of which is under way; free it with checkpoint_free. */
static struct checkpoint checkpoint_make(enum dtype type, int64_t h, int64_t w)
{
    struct checkpoint made = {.octave = 1, .lowerings = 2, .tile = 1536, .type = type, .height = h, .width = w};
    size_t bytes = dtype_bytes(type, h * w * 3);

    made.log = (struct dream_log){.octaves = 3, .iterations = 20, .seconds = 0.1 + 0.2};
    made.log.octave = calloc(3, sizeof *made.log.octave);
    made.pixels = malloc(bytes);
    CHECK(made.log.octave && made.pixels, "no memory");
    made.log.octave[0] = (struct octave_log){
        .height = 1, .width = 2, .steps = 4, .stopped = true, .seconds = 1e-300, .device_bytes = 9007199254740991};
    made.log.octave[1] = (struct octave_log){.height = h, .width = w, .silent = true, .steps = 1, .seconds = -0.0};
    made.log.octave[2] = (struct octave_log){.height = 123456789, .width = 268435456};
    for (int i = 0; i < 2; i++) {
        struct octave_log *octave = &made.log.octave[i];
        octave->records = calloc((size_t)octave->steps, sizeof *octave->records);
        memcpy(octave->records, odd_records, (size_t)octave->steps * sizeof *octave->records);
    }
    uint32_t state = 1; /* any bits, NaNs among them */
    for (size_t i = 0; i < bytes; i++) {
        state = state * 1664525 + 1013904223;
        ((unsigned char *)made.pixels)[i] = (unsigned char)(state >> 24);
    }
    return made;
}

static bool same_bits(double a, double b)
{
    return !memcmp(&a, &b, sizeof a);
}

static void expect_same_octave(int i, const struct octave_log *a, const struct octave_log *b)
{
    CHECK(a->height == b->height && a->width == b->width && a->silent == b->silent && a->stopped == b->stopped &&
              a->device_bytes == b->device_bytes,
          "octave %d: %dx%d instead of %dx%d, or its flags or its bytes", i, (int)a->width, (int)a->height,
          (int)b->width, (int)b->height);
    CHECK(same_bits(a->seconds, b->seconds), "octave %d: %a seconds instead of %a", i, a->seconds, b->seconds);
    CHECK(a->steps == b->steps, "octave %d: %d steps instead of %d", i, (int)a->steps, (int)b->steps);
    for (int64_t k = 0; k < a->steps && a->steps == b->steps; k++)
        CHECK(!memcmp(&a->records[k], &b->records[k], sizeof *a->records), "octave %d, record %d: %a instead of %a",
              i, (int)k, a->records[k].loss, b->records[k].loss);
}

static void expect_same(const struct checkpoint *a, const struct checkpoint *b)
{
    CHECK(a->octave == b->octave && a->lowerings == b->lowerings && a->tile == b->tile && a->type == b->type,
          "octave %d, %d lowerings, tile %d, %s", a->octave, a->lowerings, (int)a->tile, dtype_name(a->type));
    CHECK(a->height == b->height && a->width == b->width, "%dx%d", (int)a->width, (int)a->height);
    CHECK(a->log.octaves == b->log.octaves && a->log.iterations == b->log.iterations, "%d octaves of %d",
          a->log.octaves, a->log.iterations);
    CHECK(same_bits(a->log.seconds, b->log.seconds), "%a seconds", a->log.seconds);
    for (int i = 0; i < a->log.octaves && a->log.octaves == b->log.octaves; i++) {
        expect_same_octave(i, &a->log.octave[i], &b->log.octave[i]);
        CHECK(!a->log.octave[i].records == (i > a->octave), "octave %d: records %s", i,
              i > a->octave ? "of what has not begun" : "missing");
    }
    if (a->pixels && a->height == b->height && a->width == b->width && a->type == b->type)
        CHECK(!memcmp(a->pixels, b->pixels, dtype_bytes(a->type, a->height * a->width * 3)), "pixels differ");
}

static void expect_read(const char *path, const struct checkpoint *as)
{
    struct checkpoint read;

    CHECK(!checkpoint_read(path, settings, SETTINGS, &read), "%s", error_message());
    if (read.pixels)
        expect_same(&read, as);
    else
        CHECK(read.pixels, "%s: no pixels", path);
    checkpoint_free(&read);
}

/* words are in the sentence, between which there is more. */
static void expect_refused_with(const char *path, const struct checkpoint_setting *given, int count,
                                const char *words)
{
    static const struct checkpoint none;
    struct checkpoint read;

    CHECK(checkpoint_read(path, given, count, &read) == -1, "%s was read, which should say '%s'", path, words);
    CHECK(!memcmp(&read, &none, sizeof none), "%s: the checkpoint is not zeroed", path);
    CHECK(!strncmp(error_message(), path, strlen(path)) && strstr(error_message(), words), "'%s' lacks '%s'",
          error_message(), words);
    checkpoint_free(&read);
}

static void expect_refused(const char *path, const char *words)
{
    expect_refused_with(path, settings, SETTINGS, words);
}

/* ---- what is written comes back ---- */

static void test_round_trip(void)
{
    static const int sides[][2] = {{1, 1}, {7, 5}, {400, 500}}; /* the last: more than is read at a time */
    const char *path = in_directory("a.ckpt");

    for (int i = 0; i < 3; i++)
        for (int type = 0; type < 2; type++) {
            struct checkpoint made = checkpoint_make(type ? DTYPE_F64 : DTYPE_F32, sides[i][0], sides[i][1]);
            CHECK(!checkpoint_write(path, settings, SETTINGS, &made), "%s", error_message());
            expect_read(path, &made);
            checkpoint_free(&made);
        }
    CHECK(directory_entries(true) == 1, "a temporary file was left");
}

/* The first octave before its first step, the last after its last, and no settings at all. */
static void test_edges(void)
{
    struct checkpoint made = checkpoint_make(DTYPE_F32, 3, 4), read;
    const char *path = in_directory("a.ckpt");
    struct octave_log *octave = made.log.octave;
    static const int under_way[] = {0, 2};

    for (int i = 0; i < 3; i++) {
        octave[i].height = 3;
        octave[i].width = 4;
        octave[i].steps = 0;
    }
    octave[2].records = calloc((size_t)made.log.iterations, sizeof *octave[2].records);
    for (int i = 0; i < 2; i++) {
        made.octave = under_way[i];
        made.lowerings = 0;
        made.tile = 0;
        CHECK(!checkpoint_write(path, NULL, 0, &made), "%s", error_message());
        CHECK(!checkpoint_read(path, NULL, 0, &read), "%s", error_message());
        expect_same(&read, &made);
        checkpoint_free(&read);
        octave[2].steps = made.log.iterations; /* for the second round */
    }
    checkpoint_free(&made);
    checkpoint_free(&made); /* zeroed */
    checkpoint_free(NULL);
    directory_entries(true);
}

/* ---- settings ---- */

static void test_settings(void)
{
    const struct checkpoint_setting other[] = {{"--layer", "activation_41:1"}, settings[1], settings[2]},
                                    capital[] = {{"--layer", "Mixed3:1"}, settings[1], settings[2]},
                                    more[] = {settings[0], settings[1], settings[2], {"--tile", "512"}},
                                    turned[] = {settings[2], settings[0], settings[1]},
                                    renamed[] = {settings[0], settings[1], {"Picture", settings[2].value}};
    struct checkpoint made = checkpoint_make(DTYPE_F32, 2, 3), read;
    const char *path = in_directory("a.ckpt");
    size_t count;

    CHECK(!checkpoint_write(path, settings, SETTINGS, &made), "%s", error_message());
    CHECK(!checkpoint_read(path, turned, 3, &read), "%s", error_message());
    checkpoint_free(&read);
    expect_refused_with(path, other, 3, "was made with --layer mixed3:1, not activation_41:1;");
    expect_refused_with(path, capital, 3, "not Mixed3:1;");
    expect_refused_with(path, more, 4, "was made without --tile, which is 512 now;");
    expect_refused_with(path, more, 2, "was made with picture 0123456789abcdef, which is not set now;");
    expect_refused_with(path, renamed, 3, "was made without Picture,");
    expect_refused_with(path, NULL, 0, "was made with --layer");

    /* Before the pixels, which are damaged here, are read. */
    unsigned char *bytes = file_read(path, &count);
    bytes[count - 5] ^= 1;
    file_write(path, bytes, count);
    free(bytes);
    expect_refused_with(path, other, 3, "not activation_41:1");
    expect_refused(path, "damaged");
    checkpoint_free(&made);
    directory_entries(true);
}

/* Values are bytes, not text. */
static void test_setting_bytes(void)
{
    static const char *const values[] = {"",     "\xff\xfe", "\xff\xfd", "\"quoted\\\"\n\t\1\x7f", "caf\xc3\xa9",
                                         "null", "1e400"};
    enum { VALUES = sizeof values / sizeof *values };
    struct checkpoint made = checkpoint_make(DTYPE_F32, 1, 1), read;
    const char *path = in_directory("a.ckpt");

    for (int i = 0; i < VALUES; i++) {
        struct checkpoint_setting as[] = {{"na\xefme \"\\", values[i]}}, other[] = {{as[0].name, NULL}};
        CHECK(!checkpoint_write(path, as, 1, &made), "%s", error_message());
        CHECK(!checkpoint_read(path, as, 1, &read), "%s", error_message());
        checkpoint_free(&read);
        other[0].value = values[(i + 1) % VALUES];
        expect_refused_with(path, other, 1, "was made with na\xefme");
    }
    checkpoint_free(&made);
    directory_entries(true);
}

/* ---- damage ---- */

static void test_damage(void)
{
    static const unsigned char flips[] = {0x01, 0x80, 0xff, 0x20};
    struct checkpoint made = checkpoint_make(DTYPE_F32, 2, 1);
    const char *path = in_directory("a.ckpt");
    size_t count;

    CHECK(!checkpoint_write(path, settings, SETTINGS, &made), "%s", error_message());
    unsigned char *bytes = file_read(path, &count);
    for (size_t cut = 0; cut < count; cut++) {
        file_write(path, bytes, cut);
        expect_refused(path, cut ? "is cut off" : "is not a checkpoint");
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < sizeof flips; k++) {
            bytes[i] ^= flips[k];
            file_write(path, bytes, count);
            /* Of the version and of a header's length that could be right many things can be said. */
            expect_refused(path, i < MAGIC_BYTES - 2   ? "is not a checkpoint"
                                 : i < MAGIC_BYTES + 3 ? ""
                                                       : "is damaged");
            bytes[i] ^= flips[k];
        }
    file_write(path, bytes, count);
    expect_read(path, &made);
    bytes[count] = 0;
    file_write(path, bytes, count + 1);
    expect_refused(path, "more bytes follow");
    free(bytes);
    checkpoint_free(&made);
    directory_entries(true);
}

static uint32_t crc_of(uint32_t before, const void *bytes, size_t count)
{
    return (uint32_t)crc32(before, bytes, (unsigned)count);
}

/* Writes the checkpoint at path with the first `from` in its header replaced by `to`, and all else in order:
 * lengths and checksums are right. */
static void forge(const char *path, const unsigned char *bytes, size_t count, const char *from, const char *to)
{
    char header[4096] = "";
    uint64_t length;
    uint32_t checksum;

    memcpy(&length, bytes + MAGIC_BYTES, sizeof length);
    memcpy(header, bytes + MAGIC_BYTES + LENGTH_BYTES, length);
    const unsigned char *rest = bytes + MAGIC_BYTES + LENGTH_BYTES + length + sizeof checksum;
    size_t rest_count = count - (size_t)(rest - bytes) - sizeof checksum;
    char *at = strstr(header, from);
    CHECK(at, "no '%s' in %s", from, header);
    if (!at)
        return;
    memmove(at + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
    memcpy(at, to, strlen(to));
    length = strlen(header);

    FILE *file = fopen(path, "wb");
    checksum = crc_of(crc_of(0, bytes, MAGIC_BYTES), &length, sizeof length);
    checksum = crc_of(checksum, header, length);
    fwrite(bytes, 1, MAGIC_BYTES, file);
    fwrite(&length, 1, sizeof length, file);
    fwrite(header, 1, length, file);
    fwrite(&checksum, 1, sizeof checksum, file);
    checksum = crc_of(checksum, rest, rest_count);
    fwrite(rest, 1, rest_count, file);
    fwrite(&checksum, 1, sizeof checksum, file);
    CHECK(!fclose(file), "%s: %s", path, strerror(errno));
}

/* Headers that this program does not write, with the right checksums. */
static void test_forged(void)
{
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"\"octave\":\t1", "\"octave\":\t3", "does not say"},
        {"\"octave\":\t1", "\"octave\":\t-1", "does not say"},
        {"\"octave\":\t1", "\"octave\":\t0.5", "does not say"},
        {"\"octave\":\t1", "\"octave\":\t1e999", "does not say"},
        {"\"octave\":\t1", "\"octave\":\ttrue", "does not say"},
        {"\"octave\":\t1", "\"other\":\t1", "does not say"},
        {"\"octave\":\t1", "\"octave\":\t", "no JSON"},
        {"\"lowerings\":\t2", "\"lowerings\":\t2147483648", "does not say"},
        {"\"lowerings\":\t2", "\"lowerings\":\t2.5", "does not say"},
        {"\"tile\":\t1536", "\"tile\":\t-1536", "does not say"},
        {"\"iterations\":\t20", "\"iterations\":\t2147483648", "does not say"},
        {"\"iterations\":\t20", "\"iterations\":\t3", "does not say"}, /* fewer than steps */
        {"float32", "float16", "does not say"},
        {"\"float32\"", "null", "does not say"},
        {"float32", "float64", "cut off"},
        {"\"octaves\"", "\"octave_s\"", "does not say"},
        {"\"octaves\":\t[", "\"octaves\":\t[1, ", "does not say"},
        {"\"silent\":\tfalse", "\"silent\":\t0", "does not say"},
        {"\"height\":\t3", "\"height\":\t0", "does not say"},
        {"\"height\":\t3", "\"height\":\t2", "more bytes follow"},
        {"\"height\":\t3", "\"height\":\t4", "cut off"},
        {"\"height\":\t3", "\"height\":\t268435456", "cut off"}, /* and nothing is allocated */
        {"\"height\":\t3", "\"height\":\t268435457", "does not say"},
        {"\"width\":\t5", "\"width\":\t268435456", "cut off"},
        {"\"steps\":\t1", "\"steps\":\t2", "cut off"},
        {"\"steps\":\t1", "\"steps\":\t0", "more bytes follow"},
        {"\"steps\":\t0", "\"steps\":\t1", "does not say"}, /* has not begun */
        {"\"settings\"", "\"s\"", "was made without --layer"},
        {"\"mixed3:1\"", "1", "was made without --layer"},
        {"\"mixed3:1\"", "\"mixed3:1\", \"--more\": 7", "was made with --more ?, which"},
        {"}", "}}", "no JSON"},
    };
    struct checkpoint made = checkpoint_make(DTYPE_F32, 3, 5);
    const char *path = in_directory("a.ckpt");
    size_t count;

    CHECK(!checkpoint_write(path, settings, SETTINGS, &made), "%s", error_message());
    unsigned char *bytes = file_read(path, &count);
    forge(path, bytes, count, "\"octave\":\t1", "\"octave\":\t1");
    expect_read(path, &made); /* a forgery without a change is right */
    forge(path, bytes, count, "\"octave\":\t1", "\"octave\":1.0");
    expect_read(path, &made);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        forge(path, bytes, count, cases[i].from, cases[i].to);
        expect_refused(path, cases[i].words);
    }
    free(bytes);
    checkpoint_free(&made);
    directory_entries(true);
}

/* ---- files that are something else ---- */

static void test_refused_files(void)
{
    static const char png[] = "\x89PNG\r\n\x1a\nand so on, for more than a few bytes",
                      later[] = "pareidolia checkpoint 12\n...", earlier[] = "pareidolia checkpoint 0\n",
                      cut[] = "pareidolia check";
    const char *path = in_directory("a.ckpt");

    expect_refused(path, strerror(ENOENT));
    expect_refused(directory, "not a regular file");
    expect_refused("/dev/null", "not a regular file");
    file_write(path, png, sizeof png);
    expect_refused(path, "is not a checkpoint");
    file_write(path, "", 0);
    expect_refused(path, "is not a checkpoint");
    file_write(path, later, sizeof later - 1);
    expect_refused(path, "is a checkpoint of version 12, which a later version of this program wrote");
    file_write(path, earlier, sizeof earlier - 1);
    expect_refused(path, "damaged");
    file_write(path, cut, sizeof cut - 1);
    expect_refused(path, "is cut off after 16 bytes");
    if (geteuid() == 0) {
        printf("not tried as root: a file that may not be read\n");
    } else {
        chmod(path, 0);
        expect_refused(path, strerror(EACCES));
    }
    directory_entries(true);
}

/* ---- files that cannot be written ---- */

/* The disk is full, as far as the process can tell: the checkpoint before stays as it is. */
static void test_full_disk(void)
{
    struct checkpoint before = checkpoint_make(DTYPE_F32, 3, 4), made = checkpoint_make(DTYPE_F64, 100, 100);
    const char *path = in_directory("a.ckpt");
    struct rlimit limit;

    CHECK(!checkpoint_write(path, settings, SETTINGS, &before), "%s", error_message());
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    for (rlim_t room = 0; room < 240000; room += 30000) {
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){room, limit.rlim_max});
        int status = checkpoint_write(path, settings, SETTINGS, &made);
        setrlimit(RLIMIT_FSIZE, &limit);
        CHECK(status == -1, "%s was written to %d bytes", path, (int)room);
        CHECK(strstr(error_message(), path) && strstr(error_message(), strerror(EFBIG)), "%s", error_message());
        expect_read(path, &before);
    }
    CHECK(directory_entries(false) == 1, "a temporary file was left");
    CHECK(!checkpoint_write(path, settings, SETTINGS, &made), "%s", error_message());
    expect_read(path, &made);
    checkpoint_free(&made);
    checkpoint_free(&before);
    directory_entries(true);
}

static void test_refused_output(void)
{
    struct checkpoint made = checkpoint_make(DTYPE_F32, 1, 1);
    const char *path = in_directory("missing/a.ckpt");
    size_t most = 2 << 20;
    char *value = malloc(most);

    CHECK(checkpoint_write(path, settings, SETTINGS, &made) == -1, "written");
    CHECK(strstr(error_message(), path) && strstr(error_message(), strerror(ENOENT)), "%s", error_message());
    CHECK(checkpoint_write(directory, settings, SETTINGS, &made) == -1, "written");
    CHECK(strstr(error_message(), directory), "%s", error_message());

    path = in_directory("a.ckpt");
    memset(value, 'x', most - 1); /* more than would be read */
    value[most - 1] = '\0';
    CHECK(checkpoint_write(path, &(struct checkpoint_setting){"--layer", value}, 1, &made) == -1, "written");
    CHECK(strstr(error_message(), path) && strstr(error_message(), "at most 1048576"), "%s", error_message());
    free(value);
    checkpoint_free(&made);
    CHECK(directory_entries(true) == 0, "a file was left");
}

/* ---- the picture's hash ---- */

static void expect_digits(const struct image *picture, const char *digits, bool same)
{
    char found[CHECKPOINT_DIGITS];

    checkpoint_picture(picture, found);
    CHECK(strlen(found) == 16 && strspn(found, "0123456789abcdef") == 16, "'%s'", found);
    CHECK(!strcmp(found, digits) == same, "%s%s", found, same ? "" : " again");
}

static void test_picture(void)
{
    static const char golden[] = "34c9a759b705943a"; /* by a program of its own; checkpoints on disk depend on it */
    float pixels[15];
    struct image picture = {.height = 1, .width = 5, .pixels = pixels, .bits = 8};

    for (int i = 0; i < 15; i++)
        pixels[i] = (float)(i * i) / 128 - 1;
    expect_digits(&picture, golden, true);
    for (int i = 0; i < 15; i++) {
        float old = pixels[i];
        pixels[i] = nextafterf(old, 2);
        expect_digits(&picture, golden, false);
        pixels[i] = old;
    }
    picture.height = 5;
    picture.width = 1;
    expect_digits(&picture, golden, false);
    picture.height = 1;
    picture.width = 4;
    expect_digits(&picture, golden, false);
    picture.width = 5;
    picture.bits = 16; /* how it was stored does not matter */
    expect_digits(&picture, golden, true);
}

int main(void)
{
    directory_make();
    test_round_trip();
    test_edges();
    test_settings();
    test_setting_bytes();
    test_damage();
    test_forged();
    test_refused_files();
    test_full_disk();
    test_refused_output();
    test_picture();
    directory_remove();
    return check_result();
}
