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

static bool same_inode(const char *a, const char *b)
{
    struct stat a_status, b_status;

    return stat(a, &a_status) == 0 && stat(b, &b_status) == 0 && a_status.st_dev == b_status.st_dev &&
           a_status.st_ino == b_status.st_ino;
}

const char *path_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

bool path_same_file(const char *a, const char *b)
{
    const char *a_name = path_name(a), *b_name = path_name(b);
    char *a_directory, *b_directory;
    bool same = false;

    if (!strcmp(a, b) || same_inode(a, b))
        return true;
    if (strcmp(a_name, b_name))
        return false;
    /* Files that are not there yet are the same where their directories are. */
    a_directory = strndup(a, (size_t)(a_name - a));
    b_directory = strndup(b, (size_t)(b_name - b));
    if (a_directory && b_directory)
        same = same_inode(*a_directory ? a_directory : ".", *b_directory ? b_directory : ".");
    free(a_directory);
    free(b_directory);
    return same;
}

char *path_derive(const char *path, const char *suffix)
{
    const char *name = path_name(path);
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
