/* Questions about names of files that are worth asking before hours of work. */
#include "paths.h"

#include "error.h"
#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool path_same_file(const char *a, const char *b)
{
    struct stat a_status, b_status;

    if (!strcmp(a, b))
        return true;
    return stat(a, &a_status) == 0 && stat(b, &b_status) == 0 && a_status.st_dev == b_status.st_dev &&
           a_status.st_ino == b_status.st_ino;
}

char *path_derive(const char *path, const char *suffix)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    int length = (int)(dot && dot > name ? (size_t)(dot - name) : strlen(name));
    char *derived;

    if (asprintf(&derived, "%.*s%s", length, name, suffix) < 0) {
        error_set("no memory for a path");
        return NULL;
    }
    return derived;
}

char *path_join(const char *directory, const char *name)
{
    char *joined;

    if (asprintf(&joined, "%s/%s", directory, name) < 0) {
        error_set("no memory for a path");
        return NULL;
    }
    return joined;
}

int path_check_output(const char *path)
{
    struct output trial;

    if (output_open(&trial, path))
        return -1;
    output_abandon(&trial);
    return 0;
}

int path_check_directory(const char *path)
{
    struct stat status;

    if (stat(path, &status))
        return error_set("%s: %s; make the directory first", path, strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return error_set("%s: is not a directory", path);
    if (access(path, W_OK | X_OK))
        return error_set("%s: files cannot be made there: %s", path, strerror(errno));
    return 0;
}
