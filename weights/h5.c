/* Reads Keras's .h5 through libhdf5; no other file includes its header. Opening walks the file once and notes
 * every dataset under a layer's group by what it is called, so that all the ways in which Keras has nested its
 * groups (conv2d_1/conv2d_1/kernel:0, conv2d_1/kernel:0, model_weights/...) are one. Keras 3's .weights.h5, which
 * numbers variables instead of naming them, is not read. libhdf5 is used by one thread at a time. */
#include "error.h"
#include "reader.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 32 /* groups within groups; Keras's deepest are 8, and libhdf5 recurses */

enum kind { CONVOLUTION, BATCH_NORM, DENSE, KINDS };

/* A dataset of the network. */
struct entry {
    enum kind kind;
    long number; /* in the layer's name: 0 for conv2d, 7 for conv2d_7 */
    enum tensor_role role;
    char *path;
};

struct h5 {
    hid_t file;
    struct entry *entries;
    size_t count, capacity;
    long first[KINDS]; /* the number in the first layer's name */
};

static const char *const kind_name[KINDS] = {"conv2d", "batch_normalization", "predictions"};

static const struct role {
    const char *name;
    int kinds; /* bits: the kinds of layer that have it */
} roles[TENSOR_ROLES] = {
    [TENSOR_KERNEL] = {"kernel", 1 << CONVOLUTION | 1 << DENSE},
    [TENSOR_BIAS] = {"bias", 1 << CONVOLUTION | 1 << DENSE},
    [TENSOR_GAMMA] = {"gamma", 1 << BATCH_NORM},
    [TENSOR_BETA] = {"beta", 1 << BATCH_NORM},
    [TENSOR_MEAN] = {"moving_mean", 1 << BATCH_NORM},
    [TENSOR_VARIANCE] = {"moving_variance", 1 << BATCH_NORM},
};

static herr_t reason_keep(unsigned depth, const H5E_error2_t *error, void *text)
{
    if (depth == 0)
        snprintf(text, 256, "%s", error->desc ? error->desc : "");
    return 0;
}

/* Sets "NAME SENTENCE (HDF5 says: REASON)"; name may be empty. */
static int h5_error(const char *sentence, const char *name)
{
    char reason[256] = "";

    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, reason_keep, reason);
    return error_set("%s%s%s (HDF5 says: %s)", name, *name ? " " : "", sentence, *reason ? reason : "nothing");
}

/* Whether text of this length is a layer's name; sets its kind and number. */
static int layer_parse(const char *text, size_t length, struct entry *out)
{
    for (int kind = 0; kind < KINDS; kind++) {
        size_t base = strlen(kind_name[kind]);
        if (length < base || memcmp(text, kind_name[kind], base))
            continue;
        out->kind = (enum kind)kind;
        out->number = 0;
        if (length == base)
            return 1;
        size_t digits = strspn(text + base + 1, "0123456789");
        if (kind == DENSE || text[base] != '_' || digits < 1 || digits > 6 || base + 1 + digits != length)
            continue;
        out->number = strtol(text + base + 1, NULL, 10);
        return 1;
    }
    return 0;
}

static int role_parse(const char *text, enum kind kind, enum tensor_role *role)
{
    size_t length = strcspn(text, ":"); /* older versions write kernel:0, newer ones kernel */

    if (text[length] && strcmp(text + length, ":0"))
        return 0;
    for (int i = 0; i < TENSOR_ROLES; i++) {
        if (!(roles[i].kinds >> kind & 1) || strlen(roles[i].name) != length || memcmp(text, roles[i].name, length))
            continue;
        *role = (enum tensor_role)i;
        return 1;
    }
    return 0;
}

/* Whether path is a tensor of the network: its outermost component that is a layer's name says which layer (the
 * names of groups within that one depend on the session that saved it), its last one which role. */
static int path_parse(const char *path, struct entry *out)
{
    static const char optimizer[] = "optimizer_weights/"; /* holds momenta under the layers' names */
    const char *slash = strchr(path, '/');

    if (!strncmp(path, optimizer, sizeof optimizer - 1))
        return 0;
    for (const char *part = path; slash; part = slash + 1, slash = strchr(part, '/'))
        if (layer_parse(part, (size_t)(slash - part), out))
            return role_parse(strrchr(path, '/') + 1, out->kind, &out->role);
    return 0;
}

/* libhdf5 calls this for every link in the file; a negative result ends the walk. */
static herr_t link_note(hid_t group, const char *path, const H5L_info_t *info, void *context)
{
    struct h5 *h5 = context;
    struct entry entry;
    int depth = 0;

    (void)group;
    for (const char *c = path; *c; c++)
        depth += *c == '/';
    if (depth > MAX_DEPTH)
        return error_set("has groups nested more than %d deep; this is no file of Keras's", MAX_DEPTH);
    if (info->type != H5L_TYPE_HARD || !path_parse(path, &entry))
        return 0;

    if (h5->count == h5->capacity) {
        size_t capacity = h5->capacity ? 2 * h5->capacity : 512;
        struct entry *grown = realloc(h5->entries, capacity * sizeof *grown);
        if (!grown)
            return error_set("no memory for the table of tensors");
        h5->entries = grown;
        h5->capacity = capacity;
    }
    entry.path = strdup(path);
    if (!entry.path)
        return error_set("no memory for the table of tensors");
    h5->entries[h5->count++] = entry;
    return 0;
}

/* Keras 2.1 counts layers of a kind from 1, newer versions from 0, and both count on where one session builds a
 * second network, so the lowest number is the first layer; unless it lies within the network, where layers before
 * it are simply absent. */
static void numbering_detect(struct h5 *h5)
{
    for (int kind = 0; kind < KINDS; kind++) {
        long lowest = 1;
        int seen = 0;
        for (size_t i = 0; i < h5->count; i++) {
            if (h5->entries[i].kind != (enum kind)kind)
                continue;
            if (!seen || h5->entries[i].number < lowest)
                lowest = h5->entries[i].number;
            seen = 1;
        }
        h5->first[kind] = lowest == 0 || lowest >= WEIGHTS_CONVOLUTIONS ? lowest : 1;
    }
}

static void h5_close(void *file)
{
    struct h5 *h5 = file;

    if (h5->file >= 0)
        H5Fclose(h5->file);
    for (size_t i = 0; i < h5->count; i++)
        free(h5->entries[i].path);
    free(h5->entries);
    free(h5);
}

/* Opens for reading without a lock, which read-only and network file systems may refuse. */
static hid_t file_open(const char *path)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file = -1;

    if (access >= 0 && H5Pset_file_locking(access, 0, 1) >= 0)
        file = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (file < 0) /* libhdf5 forgets the reason at its next call */
        h5_error("cannot be opened as HDF5; the file was cut or is damaged", "");
    if (access >= 0)
        H5Pclose(access);
    return file;
}

static void *h5_open(const char *path)
{
    struct h5 *h5 = calloc(1, sizeof *h5);

    if (!h5) {
        error_set("no memory to open it");
        return NULL;
    }
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* only main prints */
    H5PLset_loading_state(0);              /* a file must not have code loaded: Keras needs no filter plugins */
    h5->file = file_open(path);
    if (h5->file < 0)
        goto fail;
    error_set("%s", ""); /* tells a sentence of link_note's from a failure of libhdf5's */
    if (H5Lvisit(h5->file, H5_INDEX_NAME, H5_ITER_INC, link_note, h5) < 0) {
        if (!*error_message())
            h5_error("cannot be listed; the file is damaged", "");
        goto fail;
    }
    if (!h5->count) {
        error_set("holds no layer of an Inception-v3 by Keras's names (conv2d_1/kernel:0 and so on; Keras 3's "
                  ".weights.h5 has none: save it as a plain .h5)");
        goto fail;
    }
    numbering_detect(h5);
    return h5;

fail:
    h5_close(h5);
    return NULL;
}

/* Sets rank and sizes from the dataset at out->name's entry, and refuses what is no array of floats. */
static int dataset_describe(hid_t dataset, struct tensor *out)
{
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    hsize_t size[H5S_MAX_RANK];
    int result = -1;

    if (type < 0 || space < 0) {
        h5_error("has no readable type or shape; the file is damaged", out->name);
        goto done;
    }
    if (H5Tget_class(type) != H5T_FLOAT || H5Tget_size(type) > sizeof(double)) {
        error_set("%s holds no floating-point numbers of 16 to 64 bits", out->name);
        goto done;
    }
    out->rank = H5Sget_simple_extent_dims(space, size, NULL);
    if (out->rank < 0 || out->rank > TENSOR_MAX_RANK) {
        error_set("%s is no array of at most %d dimensions", out->name, TENSOR_MAX_RANK);
        goto done;
    }
    for (int i = 0; i < out->rank; i++)
        out->size[i] = size[i] > INT64_MAX ? INT64_MAX : (int64_t)size[i];
    result = 0;

done:
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    return result;
}

static hid_t dataset_open(const struct h5 *h5, const struct tensor *tensor)
{
    hid_t dataset = H5Dopen2(h5->file, h5->entries[tensor->index].path, H5P_DEFAULT);

    if (dataset < 0)
        h5_error("cannot be opened as a dataset; the file is damaged", tensor->name);
    return dataset;
}

/* The name that Keras gives the tensor, without the groups around it. */
static void name_compose(const struct h5 *h5, enum kind kind, long number, const char *role, struct tensor *out)
{
    if (kind == DENSE || (number == 0 && h5->first[kind] == 0))
        snprintf(out->name, sizeof out->name, "%s/%s:0", kind_name[kind], role);
    else
        snprintf(out->name, sizeof out->name, "%s_%ld/%s:0", kind_name[kind], number, role);
}

static int h5_find(void *file, int layer, enum tensor_role role, struct tensor *out)
{
    const struct h5 *h5 = file;
    enum kind kind = layer == WEIGHTS_DENSE ? DENSE : role >= TENSOR_GAMMA ? BATCH_NORM : CONVOLUTION;
    long number = layer == WEIGHTS_DENSE ? 0 : h5->first[kind] + layer - 1;
    int found = 0;

    memset(out, 0, sizeof *out);
    name_compose(h5, kind, number, roles[role].name, out);
    for (size_t i = 0; i < h5->count; i++) {
        const struct entry *entry = &h5->entries[i];
        if (entry->kind != kind || entry->number != number || entry->role != role)
            continue;
        if (found)
            return error_set("holds %s twice; save the network alone", out->name);
        out->index = i;
        found = 1;
    }
    if (!found)
        return 0;
    hid_t dataset = dataset_open(h5, out);
    if (dataset < 0)
        return -1;
    int result = dataset_describe(dataset, out);
    H5Dclose(dataset);
    return result ? -1 : 1;
}

static int h5_read(void *file, const struct tensor *tensor, double *values)
{
    const struct h5 *h5 = file;
    hid_t dataset = dataset_open(h5, tensor);

    if (dataset < 0)
        return -1;
    int result = H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0 ? -1 : 0;
    if (result)
        h5_error("cannot be read; the file was cut or is damaged", tensor->name);
    H5Dclose(dataset);
    return result;
}

const struct reader reader_h5 = {
    .out_first = 0,
    .open = h5_open,
    .close = h5_close,
    .find = h5_find,
    .read = h5_read,
};
