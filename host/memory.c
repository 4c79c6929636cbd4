/* Reads the kernel's text files about memory, and sizes as people write them. A file that is missing or says
 * nothing is no error: what it would have limited is then not limited by it. */
#include "memory.h"

#include "error.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 8192, LINE_BYTES = 4096, GROUP_LIMITS = 2 };

/* Where a version of cgroups keeps its numbers. */
struct group_files {
    const char *mount;
    const char *limits[GROUP_LIMITS]; /* files; NULL behind the last */
    const char *usage;
    const char *cache; /* what begins the line of memory.stat with file cache that can be dropped */
};

/* Above memory.high processes are slowed down until they have given back: it is a limit for whoever is in a hurry.
 */
static const struct group_files groups_v2 = {
    .mount = "/sys/fs/cgroup",
    .limits = {"memory.max", "memory.high"},
    .usage = "memory.current",
    .cache = "inactive_file ",
};

static const struct group_files groups_v1 = {
    .mount = "/sys/fs/cgroup/memory",
    .limits = {"memory.limit_in_bytes"},
    .usage = "memory.usage_in_bytes",
    .cache = "total_inactive_file ",
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t difference(size_t a, size_t b)
{
    return a > b ? a - b : 0;
}

/* Opens root/folder/name. NULL, without an error, where it cannot be opened. */
static FILE *text_open(const char *root, const char *folder, const char *name)
{
    char path[NAME_MAX_BYTES];
    int length = snprintf(path, sizeof path, "%s%s/%s", root, folder, name);

    return length < (int)sizeof path ? fopen(path, "r") : NULL;
}

/* Parses "123", or "123 kB"; false for words, such as "max" and "unlimited". */
static bool number_parse(const char *text, size_t *bytes)
{
    char *end;

    text += strspn(text, " \t");
    if (!isdigit((unsigned char)*text))
        return false;
    unsigned long long number = strtoull(text, &end, 10); /* too large: the largest, which limits nothing */
    unsigned long long unit = strncmp(end, " kB", 3) == 0 ? 1024 : 1;
    *bytes = number <= SIZE_MAX / unit ? (size_t)(number * unit) : SIZE_MAX;
    return true;
}

/* Reads the number behind key at the beginning of a line. */
static bool number_read(const char *root, const char *folder, const char *name, const char *key, size_t *bytes)
{
    char line[LINE_BYTES];
    size_t length = strlen(key);
    bool found = false;
    FILE *file = text_open(root, folder, name);

    while (file && !found && fgets(line, sizeof line, file))
        found = strncmp(line, key, length) == 0 && number_parse(line + length, bytes);
    if (file)
        fclose(file);
    return found;
}

/* What one cgroup, whose files lie in folder, leaves. */
static size_t group_room(const char *root, const char *folder, const struct group_files *files)
{
    size_t limit = SIZE_MAX, usage, cache = 0;

    for (int i = 0; i < GROUP_LIMITS && files->limits[i]; i++) {
        size_t bytes;
        if (number_read(root, folder, files->limits[i], "", &bytes))
            limit = least(limit, bytes);
    }
    if (limit == SIZE_MAX || !number_read(root, folder, files->usage, "", &usage))
        return limit;
    number_read(root, folder, "memory.stat", files->cache, &cache);
    return difference(limit, difference(usage, cache));
}

/* What the cgroup at path and all above it leave. In a container the path may be the machine's and the files the
 * container's own: what is not there limits nothing, and the topmost one is looked at in any case. */
static size_t groups_room(const char *root, const struct group_files *files, const char *path)
{
    char folder[LINE_BYTES + 64];
    size_t top = strlen(files->mount), available = SIZE_MAX;

    /* A process outside what its namespace shows has a path that begins with "..". */
    snprintf(folder, sizeof folder, "%s%s", files->mount, strncmp(path, "/..", 3) == 0 ? "" : path);
    for (;;) {
        available = least(available, group_room(root, folder, files));
        char *slash = strrchr(folder, '/');
        if ((size_t)(slash - folder) < top)
            return available;
        *slash = '\0';
    }
}

/* Whether a comma separates "memory" from what else is in the list. */
static bool controls_memory(const char *controllers)
{
    for (const char *name = controllers; *name;) {
        size_t length = strcspn(name, ",");
        if (length == strlen("memory") && strncmp(name, "memory", length) == 0)
            return true;
        name += length;
        name += *name == ',';
    }
    return false;
}

/* What all cgroups leave. A line of the file is "4:memory:/path" in version 1 and "0::/path" in version 2. */
static size_t cgroup_room(const char *root)
{
    char line[LINE_BYTES];
    size_t available = SIZE_MAX;
    FILE *file = text_open(root, "/proc/self", "cgroup");

    while (file && fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        controllers++;
        if (!*controllers)
            available = least(available, groups_room(root, &groups_v2, path));
        else if (controls_memory(controllers))
            available = least(available, groups_room(root, &groups_v1, path));
    }
    if (file)
        fclose(file);
    return available;
}

/* What the limit of address space (ulimit -v) leaves. */
static size_t address_room(const char *root)
{
    size_t limit, used = 0;

    if (!number_read(root, "/proc/self", "limits", "Max address space ", &limit))
        return SIZE_MAX;
    number_read(root, "/proc/self", "status", "VmSize:", &used);
    return difference(limit, used);
}

size_t memory_available_under(const char *root)
{
    size_t available = SIZE_MAX;

    number_read(root, "/proc", "meminfo", "MemAvailable:", &available);
    return least(least(available, cgroup_room(root)), address_room(root));
}

size_t memory_available(void)
{
    return memory_available_under("");
}

size_t memory_spare(void)
{
    size_t available = memory_available();

    return available == SIZE_MAX ? SIZE_MAX : available - available / 16;
}

size_t memory_resident(void)
{
    size_t bytes = 0;

    number_read("", "/proc/self", "status", "VmRSS:", &bytes);
    return bytes;
}

size_t memory_peak(void)
{
    size_t bytes = 0;

    number_read("", "/proc/self", "status", "VmHWM:", &bytes);
    return bytes;
}

/* Sizes as people write them --------------------------------------------------------------------------------- */

struct bytes_text bytes_text(size_t bytes)
{
    struct bytes_text size;

    if (bytes < 1000000000)
        snprintf(size.text, sizeof size.text, "%.1f MB", (double)bytes / 1e6);
    else
        snprintf(size.text, sizeof size.text, "%.2f GB", (double)bytes / 1e9);
    return size;
}

/* What "", "K", "GB", "TiB" multiply with; 0 for what is none of these. */
static long double unit_bytes(const char *unit)
{
    static const char letters[] = "KMGT";

    if (!*unit)
        return 1;
    const char *letter = strchr(letters, toupper((unsigned char)*unit));
    if (!letter)
        return 0;
    bool decimal = strcasecmp(unit + 1, "B") == 0;
    if (unit[1] && !decimal && strcasecmp(unit + 1, "iB") != 0)
        return 0;
    return powl(decimal ? 1000 : 1024, (long double)(letter - letters + 1));
}

int bytes_parse(const char *text, size_t *bytes)
{
    const char *unit = text + strspn(text, "0123456789.");
    char *end;
    long double number = strtold(text, &end);
    long double size = end == unit && end > text ? floorl(number * unit_bytes(unit)) : 0;

    /* What is not written in digits and a point (signs, exponents, hexadecimals, nan) ends elsewhere. */
    if (size < 1)
        return error_set(
            "must be a size above 0, such as 6G, 512M, 1.5GB or 1000000000 (G and GiB are 1024^3 bytes, "
            "GB is 1000^3)");
    if (size >= ldexpl(1, 8 * sizeof *bytes))
        return error_set("must be below 2^%zu bytes", 8 * sizeof *bytes);
    *bytes = (size_t)size;
    return 0;
}
