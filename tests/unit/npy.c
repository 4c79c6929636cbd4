/* Tests arrays written as .npy (host/npy.c): header, padding, values, and that nothing is left of a failure. */
#include "directory.h"

#include "host/error.h"
#include "host/npy.h"

#include <stdint.h>

/* Reads all of path into bytes and removes it. Returns how many there are. */
static size_t file_take(const char *path, unsigned char *bytes, size_t room)
{
    FILE *file = fopen(path, "rb");
    size_t length = file ? fread(bytes, 1, room, file) : 0;

    if (file)
        fclose(file);
    remove(path);
    return length;
}

static void test_written(void)
{
    static const double doubles[2 * 3 * 2] = {1, -2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0.1};
    static const float floats[1] = {0.25f};
    static const char dictionary[] = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 3, 2), }";
    unsigned char bytes[512];
    const char *path = in_directory("a.npy");

    CHECK(!npy_write(path, DTYPE_F64, 2, 3, 2, doubles), "%s", error_message());
    size_t length = file_take(path, bytes, sizeof bytes);
    CHECK(length == 128 + sizeof doubles, "%zu bytes", length);
    CHECK(!memcmp(bytes, "\x93NUMPY\x01\x00\x76\x00", 10), "magic, version, length of the header");
    CHECK(!memcmp(bytes + 10, dictionary, sizeof dictionary - 1), "%.100s", (const char *)bytes + 10);
    CHECK(bytes[126] == ' ' && bytes[127] == '\n', "the header ends in %d %d", bytes[126], bytes[127]);
    CHECK(!memcmp(bytes + 128, doubles, sizeof doubles), "values");

    CHECK(!npy_write(path, DTYPE_F32, 1, 1, 1, floats), "%s", error_message());
    length = file_take(path, bytes, sizeof bytes);
    CHECK(length == 128 + sizeof floats && !memcmp(bytes + 10, "{'descr': '<f4'", 15), "%zu bytes", length);
    CHECK(!memcmp(bytes + 128, floats, sizeof floats), "values");
}

static void test_refused(void)
{
    const char *path = in_directory("none/a.npy");

    CHECK(npy_write(path, DTYPE_F32, 1, 1, 1, (float[]){1}), "a directory that is missing");
    CHECK(strstr(error_message(), path), "the error names the file: %s", error_message());
}

int main(void)
{
    directory_make();
    test_written();
    test_refused();
    directory_remove();
    return check_result();
}
