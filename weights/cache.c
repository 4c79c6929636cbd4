/* Finds what weights/fetch.sh has left in the cache directory: the same directory and the same names as there.
 * Nothing is fetched here and no file is opened. */
#include "cache.h"

#include "error.h"
#include "weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char with_dense[] = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5";
static const char without_dense[] = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5";

char *cache_path(const char *name)
{
    const char *base = getenv("XDG_CACHE_HOME");
    const char *below = "";
    char *path;

    if (!base || !*base) {
        base = getenv("HOME");
        below = "/.cache";
    }
    if (!base || !*base) {
        error_set("neither XDG_CACHE_HOME nor HOME is set, so there is no cache directory to look into");
        return NULL;
    }
    if (asprintf(&path, "%s%s/pareidolia/%s", base, below, name) < 0) {
        error_set("no memory for a path");
        return NULL;
    }
    return path;
}

/* When the file was last changed; a time before all others where it is not there. */
static struct timespec time_changed(const char *path)
{
    struct stat status;

    if (stat(path, &status) || !S_ISREG(status.st_mode))
        return (struct timespec){.tv_sec = -1};
    return status.st_mtim;
}

/* What there is where no file is: without a dense layer, so not for who wants one. */
static char *find_embedded(int with_top)
{
    char *path = with_top ? NULL : strdup(WEIGHTS_EMBEDDED);

    if (!with_top && !path)
        error_set("no memory for a path");
    return path;
}

char *weights_find(int with_top)
{
    const char *named = getenv("PAREIDOLIA_WEIGHTS");

    if (named && *named) {
        char *copy = strdup(named);
        if (!copy)
            error_set("no memory for a path");
        return copy;
    }

    char *full = cache_path(with_dense);
    char *part = full ? cache_path(without_dense) : NULL;
    if (!part) {
        free(full);
        return find_embedded(with_top);
    }
    struct timespec full_time = time_changed(full), part_time = time_changed(part);
    if (full_time.tv_sec < 0 && part_time.tv_sec < 0) {
        error_set("no weights in %.*s: run weights/fetch.sh%s once, or set PAREIDOLIA_WEIGHTS to a .h5 or "
                  ".safetensors file",
                  (int)(strrchr(full, '/') - full), full, with_top ? " --top" : "");
        free(full);
        free(part);
        return find_embedded(with_top);
    }
    int full_is_newer = full_time.tv_sec != part_time.tv_sec ? full_time.tv_sec > part_time.tv_sec
                                                             : full_time.tv_nsec > part_time.tv_nsec;
    int take_full = full_time.tv_sec >= 0 && (with_top || full_is_newer);
    free(take_full ? part : full);
    return take_full ? full : part;
}
