/* Tests weights_hash: equal for equal bytes wherever they lie, another for every other file, kept once it is known.
 */
#include "directory.h"

#include "host/error.h"
#include "weights/embedded.h"
#include "weights/weights.h"

#include <inttypes.h>
#include <time.h>

/* The hash of what path names; 0 where it cannot be opened. */
static uint64_t hash_of(const char *path)
{
    struct weights *weights = weights_open(path);

    CHECK(weights, "%s", error_message());
    uint64_t hash = weights ? weights_hash(weights) : 0;
    CHECK(hash, "%s: %s", path, error_message());
    weights_close(weights);
    return hash;
}

/* Checks the hash of the program's own network, written to a file with one bit changed (bit < 0: none) and removed
 * again. */
static void check_changed(unsigned char *bytes, size_t count, size_t at, int bit, uint64_t original)
{
    const char *path = in_directory("changed.safetensors");
    unsigned char mask = (unsigned char)(bit < 0 ? 0 : 1 << bit);

    bytes[at] ^= mask;
    file_write(path, bytes, count);
    bytes[at] ^= mask;
    uint64_t hash = hash_of(path);
    CHECK((hash == original) == (bit < 0), "byte %zu, bit %d: %016" PRIx64 ", the original %016" PRIx64, at, bit,
          hash, original);
    remove(path);
}

static void test_bytes(void)
{
    size_t count = (size_t)(embedded_weights_end - embedded_weights);
    unsigned char *bytes = malloc(count);
    uint64_t embedded = hash_of(WEIGHTS_EMBEDDED);

    CHECK(bytes, "%zu bytes", count);
    if (!bytes)
        return;
    memcpy(bytes, embedded_weights, count);
    CHECK(hash_of(WEIGHTS_EMBEDDED) == embedded, "the same network twice");
    check_changed(bytes, count, 0, -1, embedded); /* where the bytes lie makes no difference */
    check_changed(bytes, count, count / 2, 0, embedded);
    check_changed(bytes, count, count - 1, 7, embedded);
    check_changed(bytes, count, (1 << 18) - 1, 3, embedded);

    /* The signs of two values, in the uppermost bits of two words. */
    size_t first = count / 16 * 8 + 7;
    bytes[first] ^= 0x80;
    check_changed(bytes, count, first + 8, 7, embedded);
    free(bytes);
}

static void test_untrained(void)
{
    uint64_t untrained = hash_of("untrained");

    CHECK(hash_of("untrained") == untrained && untrained != hash_of(WEIGHTS_EMBEDDED), "%016" PRIx64, untrained);
}

static void test_kept(void)
{
    size_t count = (size_t)(embedded_weights_end - embedded_weights);
    const char *path = in_directory("kept.safetensors");

    file_write(path, embedded_weights, count);
    struct weights *first = weights_open(path), *second = weights_open(path);
    CHECK(first && second, "%s", error_message());
    remove(path);
    file_write(path, embedded_weights, count - 1);
    if (first && second) {
        uint64_t hash = weights_hash(first);
        CHECK(hash && hash != hash_of(WEIGHTS_EMBEDDED), "a shorter file: %s", error_message());
        remove(path);
        CHECK(weights_hash(first) == hash, "it is kept");
        CHECK(!weights_hash(second), "the file is gone");
        CHECK(strstr(error_message(), path) && strstr(error_message(), strerror(ENOENT)), "%s", error_message());
        file_write(path, embedded_weights, count);
        CHECK(weights_hash(second) == hash_of(WEIGHTS_EMBEDDED), "a failure is not kept: %s", error_message());
    }
    weights_close(first);
    weights_close(second);
    remove(path);
    CHECK(!weights_hash(NULL) && *error_message(), "no weights");
}

/* The real weights where they are, and how long they take: a number to look at, as machines differ. */
static void test_real(void)
{
    const char *path = getenv("PAREIDOLIA_WEIGHTS");
    struct timespec start, end;

    if (!path || !*path)
        return;
    clock_gettime(CLOCK_MONOTONIC, &start);
    uint64_t hash = hash_of(path);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%s: %016" PRIx64 ", opened and hashed in %.3f s\n", path, hash,
           (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) * 1e-9);
}

int main(void)
{
    directory_make();
    test_bytes();
    test_untrained();
    test_kept();
    test_real();
    directory_remove();
    return check_result();
}
