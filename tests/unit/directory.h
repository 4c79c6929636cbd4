/* A directory of its own for a test program that makes files, and the files' bytes. Nothing may be left in it at
 * the end: that is how the tests notice temporary files that were forgotten. */
#ifndef PAREIDOLIA_DIRECTORY_H
#define PAREIDOLIA_DIRECTORY_H

#include "tests/check.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static char directory[] = "/tmp/pareidolia-test-XXXXXX";

static inline void directory_make(void)
{
    if (mkdtemp(directory))
        return;
    printf("%s: %s\n", directory, strerror(errno));
    exit(EXIT_FAILURE);
}

static inline void directory_remove(void)
{
    CHECK(!rmdir(directory), "%s: %s", directory, strerror(errno));
}

/* For programs that make folders, too, and whose business left-over files are not. */
static inline void directory_remove_all(void)
{
    char command[sizeof directory + 8];

    snprintf(command, sizeof command, "rm -rf %s", directory);
    CHECK(system(command) == 0, "%s", command);
}

/* A path in the test's directory; the last four results are valid. */
static inline const char *in_directory(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static inline void file_write(const char *path, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");

    CHECK(file && fwrite(bytes, 1, count, file) == count && !fclose(file), "%s: %s", path, strerror(errno));
}

/* The bytes of a file, to be freed. */
static inline unsigned char *file_read(const char *path, size_t *count)
{
    static const size_t most = 1 << 20;
    unsigned char *bytes = malloc(most);
    FILE *file = fopen(path, "rb");

    CHECK(bytes && file, "%s: %s", path, strerror(errno));
    *count = file ? fread(bytes, 1, most, file) : 0;
    if (file)
        fclose(file);
    return bytes;
}

/* Entries of the test's directory, removing them where asked. */
static inline int directory_entries(bool removing)
{
    int count = 0;
    DIR *entries = opendir(directory);

    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        count++;
        if (removing)
            remove(in_directory(entry->d_name));
    }
    if (entries)
        closedir(entries);
    return count;
}

#endif
