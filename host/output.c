/* Writes beside the target and renames: a reader sees the old file or the new one, never half of one.
 * Ownership, hard links and extended attributes of a file that is replaced are not carried over. */
#include "output.h"

#include "error.h"
#include "paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How many names are tried: each one taken was left by a killed program that had our process id. */
#define NAME_ATTEMPTS 1000

/* The temporary files that there are, where a signal handler can find them: memory that is never freed, and a flag
 * that is set last and cleared first. More at once than this are not listed. */
enum { LISTED = 4 };
static struct {
    volatile sig_atomic_t used;
    char path[PATH_MAX];
} listed[LISTED];

static void temporary_list(const char *path)
{
    for (int i = 0; i < LISTED; i++) {
        if (listed[i].used || strlen(path) >= sizeof listed[i].path)
            continue;
        strcpy(listed[i].path, path);
        atomic_signal_fence(memory_order_release);
        listed[i].used = 1;
        return;
    }
}

static void temporary_unlist(const char *path)
{
    for (int i = 0; i < LISTED; i++)
        if (listed[i].used && !strcmp(listed[i].path, path))
            listed[i].used = 0;
}

void output_remove_all(void)
{
    for (int i = 0; i < LISTED; i++)
        if (listed[i].used)
            unlink(listed[i].path);
}

/* Where the bytes shall end up: the target of a symbolic link, so that the link itself survives the rename.
 * NULL when memory runs out. */
static char *target_path(const char *path)
{
    struct stat link;
    char *target = NULL;

    if (lstat(path, &link) == 0 && S_ISLNK(link.st_mode))
        target = realpath(path, NULL);
    return target ? target : strdup(path);
}

/* Creates the temporary file of out->path and stores its name. mkstemp is not used because its mode is 0600, and
 * the umask that would correct it cannot be read without changing it under other threads. Returns a descriptor,
 * or -1 with errno set. */
static int temporary_create(struct output *out)
{
    const char *name = path_name(out->path);
    int directory_length = (int)(name - out->path);

    for (int attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
        /* The name is cut so that what is added to a long one does not exceed the file system's limit. */
        if (asprintf(&out->temporary, "%.*s.%.100s.pareidolia-%ld-%d", directory_length, out->path, name,
                     (long)getpid(), attempt) < 0) {
            out->temporary = NULL;
            errno = ENOMEM;
            return -1;
        }
        /* Listed before it is there, so that no signal finds it there and not listed. */
        temporary_list(out->temporary);
        int descriptor = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0)
            return descriptor;
        int reason = errno;
        temporary_unlist(out->temporary);
        free(out->temporary);
        out->temporary = NULL;
        errno = reason;
        if (reason != EEXIST)
            return -1;
    }
    return -1;
}

/* The process that a temporary file of target's, as temporary_create calls it, is of; 0: it is none. */
static long temporary_owner(const char *name, const char *target)
{
    char prefix[NAME_MAX + 1];
    size_t length = (size_t)snprintf(prefix, sizeof prefix, ".%.100s.pareidolia-", target);
    char *end;

    if (strncmp(name, prefix, length) != 0)
        return 0;
    long owner = strtol(name + length, &end, 10);
    return owner > 0 && *end == '-' ? owner : 0;
}

void output_sweep(const char *path)
{
    char *target = target_path(path), *folder = target ? strdup(target) : NULL;
    char *slash = folder ? strrchr(folder, '/') : NULL;
    const char *name = slash ? target + (slash - folder) + 1 : target;
    DIR *directory = NULL;

    if (!folder)
        goto done;
    if (slash)
        slash[slash == folder] = '\0';
    directory = opendir(slash ? folder : ".");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        long owner = temporary_owner(entry->d_name, name);

        if (owner && kill((pid_t)owner, 0) && errno == ESRCH)
            unlinkat(dirfd(directory), entry->d_name, 0);
    }
    if (directory)
        closedir(directory);

done:
    free(folder);
    free(target);
}

int output_open(struct output *out, const char *path)
{
    struct stat existing;
    int descriptor = -1;

    *out = (struct output){0};
    if (!*path || path[strlen(path) - 1] == '/')
        return error_set("%s: cannot be written: it names no file", path);
    int exists = stat(path, &existing) == 0;
    if (!exists && errno != ENOENT)
        return error_set("%s: cannot be written: %s", path, strerror(errno));
    if (exists && S_ISDIR(existing.st_mode))
        return error_set("%s: cannot be written: it is a directory; add the name of a file", path);
    if (exists && !S_ISREG(existing.st_mode))
        return error_set("%s: cannot be written: it is not a regular file; give another name", path);

    out->path = target_path(path);
    if (!out->path) {
        error_set("%s: cannot be written: out of memory", path);
        goto fail;
    }
    descriptor = temporary_create(out);
    if (descriptor < 0) {
        error_set("%s: cannot create a file in its directory: %s", path, strerror(errno));
        goto fail;
    }
    if (exists && fchmod(descriptor, existing.st_mode & 0777)) {
        error_set("%s: cannot give the new file the mode of the old one: %s", path, strerror(errno));
        goto fail;
    }
    out->file = fdopen(descriptor, "wb");
    if (!out->file) {
        error_set("%s: cannot be written: %s", path, strerror(errno));
        goto fail;
    }
    return 0;

fail:
    if (descriptor >= 0)
        close(descriptor);
    output_abandon(out);
    return -1;
}

int output_commit(struct output *out)
{
    FILE *file = out->file;

    if (fflush(file))
        goto fail;
    if (ferror(file)) {
        errno = EIO; /* a write failed earlier; its reason is gone */
        goto fail;
    }
    if (fsync(fileno(file)))
        goto fail;
    out->file = NULL; /* fclose frees it even when it fails */
    if (fclose(file) || rename(out->temporary, out->path))
        goto fail;

    temporary_unlist(out->temporary);
    free(out->temporary);
    out->temporary = NULL; /* nothing is there any more that output_abandon should remove */
    output_abandon(out);
    return 0;

fail:
    error_set("%s: cannot be written: %s", out->path, strerror(errno));
    output_abandon(out);
    return -1;
}

void output_abandon(struct output *out)
{
    if (out->file)
        fclose(out->file);
    if (out->temporary) {
        unlink(out->temporary);
        temporary_unlist(out->temporary);
    }
    free(out->temporary);
    free(out->path);
    *out = (struct output){0};
}
