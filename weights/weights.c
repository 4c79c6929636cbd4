/* Opens a file of weights with the reader of its format and hands out layers: presence, shapes and values are
 * checked here, once for all formats, and BatchNorm is folded into kernel and bias. Nothing is kept: a layer is
 * read from the file each time that it is asked for. */
#include "weights.h"

#include "embedded.h"
#include "error.h"
#include "reader.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPSILON 0.001 /* of every BatchNorm in Inception-v3, in Keras as in torchvision */

/* A layer wider than this is taken for damage, before memory is asked for. The published network's widest has
 * 1000; a kernel of this width and 2048 channels in takes 256 MB a position. */
#define MAX_CHANNELS 16384

/* What the hash of the network without a file is made of; the number goes up when untrained.c makes other values.
 */
#define UNTRAINED_VERSION "untrained 1"

struct weights {
    char *path;
    uint64_t hash;               /* 0: not asked for yet */
    const struct reader *reader; /* NULL: the untrained network */
    void *file;                  /* the reader's */
};

/* What a file has for one layer. */
struct layer_tensors {
    int present[TENSOR_ROLES];
    struct tensor tensor[TENSOR_ROLES];
};

/* The first bytes say which reader to take. NULL with an error when none fits. */
static const struct reader *format_detect(const char *path)
{
    static const unsigned char hdf5[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    unsigned char start[9] = {0};
    FILE *file = fopen(path, "rb");

    if (!file) {
        error_set("%s: %s", path, strerror(errno));
        return NULL;
    }
    errno = 0;
    size_t length = fread(start, 1, sizeof start, file);
    int failure = ferror(file) ? errno : 0;
    fclose(file);

    if (failure)
        error_set("%s: %s", path, strerror(failure));
    else if (length >= sizeof hdf5 && !memcmp(start, hdf5, sizeof hdf5))
        return &reader_h5;
    else if (length == sizeof start && start[8] == '{')
        return &reader_safetensors;
    else if (length >= 4 && !memcmp(start, "PK\3\4", 4))
        error_set(
            "%s: is a zip archive, as PyTorch's .pth and Keras's .keras are; save the weights as .safetensors "
            "or .h5",
            path);
    else
        error_set("%s: is neither HDF5 (Keras's .h5) nor safetensors, whatever its name; fetch the weights again "
                  "(weights/fetch.sh) or name another file",
                  path);
    return NULL;
}

struct weights *weights_open(const char *path)
{
    struct weights *weights = calloc(1, sizeof *weights);

    if (!weights || !(weights->path = strdup(path))) {
        error_set("%s: no memory to open it", path);
        goto fail;
    }
    if (!strcmp(path, WEIGHTS_UNTRAINED))
        return weights;
    if (!strcmp(path, WEIGHTS_EMBEDDED)) {
        weights->reader = &reader_safetensors;
        weights->file =
            safetensors_open_memory(embedded_weights, (size_t)(embedded_weights_end - embedded_weights));
    } else {
        weights->reader = format_detect(path);
        if (!weights->reader)
            goto fail;
        weights->file = weights->reader->open(path);
    }
    if (!weights->file) {
        error_prefix("%s", path);
        goto fail;
    }
    return weights;

fail:
    weights_close(weights);
    return NULL;
}

void weights_close(struct weights *weights)
{
    if (!weights)
        return;
    if (weights->file)
        weights->reader->close(weights->file);
    free(weights->path);
    free(weights);
}

const char *weights_path(const struct weights *weights)
{
    return weights->path;
}

bool weights_are_embedded(const struct weights *weights)
{
    return !strcmp(weights->path, WEIGHTS_EMBEDDED);
}

bool weights_are_untrained(const struct weights *weights)
{
    return !strcmp(weights->path, WEIGHTS_UNTRAINED);
}

/* The hash ------------------------------------------------------------------------------------------------- */

#define PRIME_1 UINT64_C(0x9e3779b185ebca87) /* XXH64's */
#define PRIME_2 UINT64_C(0xc2b2ae3d27d4eb4f)
#define PRIME_3 UINT64_C(0x165667b19e3779f9)
#define PRIME_4 UINT64_C(0x85ebca77c2b2ae63)

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

/* Goes on from hash with count bytes; what is missing in the last word is zeros. Every step can be undone, so that
 * one changed word always gives another hash; FNV-1a, taken on words, would not notice two changed signs. */
static uint64_t hash_add(uint64_t hash, const void *bytes, size_t count)
{
    const unsigned char *at = bytes;

    while (count > 0) {
        uint64_t word = 0;
        size_t length = count < sizeof word ? count : sizeof word;
        memcpy(&word, at, length); /* little-endian, as all machines are that this program is for */
        hash ^= rotate(word * PRIME_2, 31) * PRIME_1;
        hash = rotate(hash, 27) * PRIME_1 + PRIME_4;
        at += length;
        count -= length;
    }
    return hash;
}

/* Spreads the last words over all bits; never 0. total tells apart what differs in zeros at the end. */
static uint64_t hash_end(uint64_t hash, uint64_t total)
{
    hash ^= total;
    hash = (hash ^ hash >> 33) * PRIME_2;
    hash = (hash ^ hash >> 29) * PRIME_3;
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

static uint64_t bytes_hash(const void *bytes, size_t count)
{
    return hash_end(hash_add(0, bytes, count), count);
}

/* The hash of a file's bytes, as bytes_hash gives it of all of them at once; 0 with an error. */
static uint64_t file_hash(const char *path)
{
    enum { PIECE = 1 << 18 }; /* a multiple of a word, and small enough for the second-level cache */
    unsigned char *piece = malloc(PIECE);
    FILE *file = fopen(path, "rb");
    uint64_t hash = 0, total = 0;
    size_t length = PIECE;

    if (!piece || !file) {
        error_set("%s: %s", path, piece ? strerror(errno) : "no memory to read it");
        goto done;
    }
    setvbuf(file, NULL, _IONBF, 0);
    while (length == PIECE) {
        length = fread(piece, 1, PIECE, file);
        hash = hash_add(hash, piece, length);
        total += length;
    }
    if (ferror(file)) {
        error_set("%s: %s", path, strerror(errno));
        hash = 0;
    } else {
        hash = hash_end(hash, total);
    }

done:
    if (file)
        fclose(file);
    free(piece);
    return hash;
}

uint64_t weights_hash(struct weights *weights)
{
    if (!weights) {
        error_set("there are no weights to tell apart from others");
        return 0;
    }
    if (weights->hash)
        return weights->hash;
    if (!weights->reader)
        weights->hash = bytes_hash(UNTRAINED_VERSION, strlen(UNTRAINED_VERSION));
    else if (weights_are_embedded(weights))
        weights->hash = bytes_hash(embedded_weights, (size_t)(embedded_weights_end - embedded_weights));
    else
        weights->hash = file_hash(weights->path);
    return weights->hash;
}

/* Layers --------------------------------------------------------------------------------------------------- */

void layer_weights_free(struct layer_weights *layer)
{
    if (!layer)
        return;
    free(layer->kernel);
    free(layer->bias);
    layer->kernel = NULL;
    layer->bias = NULL;
}

struct layer_name {
    char text[16];
};

static struct layer_name layer_name(int layer)
{
    struct layer_name name;

    if (layer == WEIGHTS_DENSE)
        snprintf(name.text, sizeof name.text, "predictions");
    else
        snprintf(name.text, sizeof name.text, "conv2d_%d", layer);
    return name;
}

struct shape_text {
    char text[TENSOR_MAX_RANK * 21];
};

/* "3x3x80x192"; a negative size, which stands for any, is N. */
static struct shape_text shape_text(int rank, const int64_t *size)
{
    struct shape_text shape = {"a scalar"};
    size_t length = 0;

    for (int i = 0; i < rank; i++) {
        const char *separator = i ? "x" : "";
        int added = size[i] < 0 ? snprintf(shape.text + length, sizeof shape.text - length, "%sN", separator)
                                : snprintf(shape.text + length, sizeof shape.text - length, "%s%lld", separator,
                                           (long long)size[i]);
        length += (size_t)added;
    }
    return shape;
}

/* Compares with the shape that is wanted; a negative size there fits any. */
static int shape_check(const struct tensor *tensor, int rank, const int64_t *wanted)
{
    int same = tensor->rank == rank;

    for (int i = 0; same && i < rank; i++)
        same = wanted[i] < 0 || tensor->size[i] == wanted[i];
    if (same)
        return 0;
    return error_set("%s is %s, the network wants %s; these are weights of another network", tensor->name,
                     shape_text(tensor->rank, tensor->size).text, shape_text(rank, wanted).text);
}

static int kernel_rank(int layer)
{
    return layer == WEIGHTS_DENSE ? 2 : 4;
}

/* The axis along which a kernel's outputs lie. */
static int kernel_out_axis(const struct weights *weights, int layer)
{
    return weights->reader->out_first ? 0 : kernel_rank(layer) - 1;
}

/* Channels that the kernel puts out, or -1 with an error where its shape cannot be a kernel's. */
static int kernel_channels(const struct weights *weights, int layer, const struct tensor *kernel)
{
    static const int64_t any[4] = {-1, -1, -1, -1};
    int rank = kernel_rank(layer);

    if (shape_check(kernel, rank, any))
        return -1;
    int64_t channels = kernel->size[kernel_out_axis(weights, layer)];
    if (channels < 1 || channels > MAX_CHANNELS)
        return error_set("%s is %s: a layer has 1 to %d channels; the file is damaged", kernel->name,
                         shape_text(rank, kernel->size).text, MAX_CHANNELS);
    return (int)channels;
}

int weights_channels(struct weights *weights, int layer)
{
    struct tensor kernel;

    if (!weights->reader)
        return untrained_channels(layer);
    int found = weights->reader->find(weights->file, layer, TENSOR_KERNEL, &kernel);
    int channels = found > 0 ? kernel_channels(weights, layer, &kernel) : found;
    if (channels < 0)
        error_prefix("%s", weights->path);
    return channels;
}

/* Ends the sentence about a layer that is not all there with what can be done about it. */
static int layer_advise(const struct weights *weights, int layer)
{
    static const int last_layer[] = {12, 19, 26, 30, 40, 50, 60, 70, 76, 85, 94}; /* of mixed0 .. mixed10 */
    int complete = 0;                                                             /* mixed blocks before layer */
    const char *other = weights_are_embedded(weights)
                            ? "weights/fetch.sh gets the real network (--top: with its classes)"
                            : "name another file";
    char sentence[1024];

    snprintf(sentence, sizeof sentence, "%s", error_message());
    while (complete < (int)(sizeof last_layer / sizeof *last_layer) && last_layer[complete] < layer)
        complete++;
    if (layer == WEIGHTS_DENSE)
        return error_set("%s; name a file with the dense layer (weights/fetch.sh --top)", sentence);
    if (complete)
        return error_set("%s; %s, or take a target up to mixed%d", sentence, other, complete - 1);
    return error_set("%s; %s", sentence, other);
}

/* Finds what the file has for a layer and checks that it is enough to compute with. */
static int layer_find(const struct weights *weights, int layer, struct layer_tensors *out)
{
    static const char *const role_name[TENSOR_ROLES] = {"kernel", "bias", "gamma", "beta", "mean", "variance"};
    static const enum tensor_role needed[] = {TENSOR_BETA, TENSOR_MEAN, TENSOR_VARIANCE};
    struct layer_name name = layer_name(layer);
    int normalized = 0;

    memset(out, 0, sizeof *out);
    for (int role = 0; role < TENSOR_ROLES; role++) {
        int found = weights->reader->find(weights->file, layer, (enum tensor_role)role, &out->tensor[role]);
        if (found < 0)
            return -1;
        out->present[role] = found;
        normalized |= found && role >= TENSOR_GAMMA;
    }
    if (!out->present[TENSOR_KERNEL]) {
        error_set("%s has no kernel (there is no %s)", name.text, out->tensor[TENSOR_KERNEL].name);
        return layer_advise(weights, layer);
    }
    if (!normalized && !out->present[TENSOR_BIAS]) {
        error_set("%s has neither a BatchNorm nor a bias", name.text);
        return layer_advise(weights, layer);
    }
    for (size_t i = 0; normalized && i < sizeof needed / sizeof *needed; i++) {
        if (!out->present[needed[i]]) {
            error_set("the BatchNorm of %s has no %s (there is no %s)", name.text, role_name[needed[i]],
                      out->tensor[needed[i]].name);
            return layer_advise(weights, layer);
        }
    }
    return 0;
}

/* Checks every tensor's shape. Returns the channels that the layer puts out, or -1 with an error. */
static int layer_check(const struct weights *weights, int layer, const struct layer_tensors *tensors,
                       const struct layer_weights *wanted)
{
    const struct tensor *kernel = &tensors->tensor[TENSOR_KERNEL];
    int rank = kernel_rank(layer); /* a dense kernel is the 1x1 kernel without height and width */

    /* Any width is welcome, so the file's own channels are what is wanted of it. */
    int64_t out = kernel->rank == rank ? kernel->size[kernel_out_axis(weights, layer)] : -1;
    if (kernel->rank == rank && layer != WEIGHTS_DENSE) {
        int64_t in = kernel->size[weights->reader->out_first ? 1 : 2];
        if (in != wanted->cin)
            return error_set(
                "%s is %s: it reads %lld channels, but the layers before it put out %d; these weights do "
                "not belong together",
                kernel->name, shape_text(rank, kernel->size).text, (long long)in, wanted->cin);
    }
    int64_t in_first[4] = {wanted->kh, wanted->kw, wanted->cin, out};
    int64_t out_first[4] = {out, wanted->cin, wanted->kh, wanted->kw};
    if (shape_check(kernel, rank, weights->reader->out_first ? out_first : in_first + 4 - rank))
        return -1;
    int channels = kernel_channels(weights, layer, kernel);
    for (int role = TENSOR_BIAS; channels > 0 && role < TENSOR_ROLES; role++)
        if (tensors->present[role] && shape_check(&tensors->tensor[role], 1, (int64_t[]){channels}))
            return -1;
    return channels;
}

/* Reads count values that must be finite. Returns an array to free(), or NULL with an error. */
static double *tensor_read(const struct weights *weights, const struct tensor *tensor, size_t count)
{
    double *values = malloc(count * sizeof *values);

    if (!values) {
        error_set("no memory for the %zu values of %s", count, tensor->name);
        return NULL;
    }
    if (weights->reader->read(weights->file, tensor, values))
        goto fail;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            error_set("%s holds %g at index %zu; the file is damaged", tensor->name, values[i], i);
            goto fail;
        }
    }
    return values;

fail:
    free(values);
    return NULL;
}

/* Turns out, in, height, width into height, width, in, out. */
static void kernel_transpose(const double *from, const struct layer_weights *shape, double *to)
{
    size_t positions = (size_t)shape->kh * (size_t)shape->kw;
    size_t cin = (size_t)shape->cin, cout = (size_t)shape->cout;

    for (size_t o = 0; o < cout; o++)
        for (size_t i = 0; i < cin; i++)
            for (size_t p = 0; p < positions; p++)
                to[(p * cin + i) * cout + o] = from[(o * cin + i) * positions + p];
}

static double *kernel_read(const struct weights *weights, const struct tensor *tensor,
                           const struct layer_weights *shape)
{
    size_t count = (size_t)shape->kh * (size_t)shape->kw * (size_t)shape->cin * (size_t)shape->cout;
    double *values = tensor_read(weights, tensor, count);

    if (!values || !weights->reader->out_first)
        return values;
    double *turned = malloc(count * sizeof *turned);
    if (turned)
        kernel_transpose(values, shape, turned);
    else
        error_set("no memory for the %zu values of %s", count, tensor->name);
    free(values);
    return turned;
}

/* Makes the layer's BatchNorm, gamma * (y - mean) / sqrt(variance + epsilon) + beta, part of kernel and bias.
 * vectors are by role; gamma NULL is 1, as Keras leaves it out. */
static void batch_norm_fold(struct layer_weights *layer, double *const *vectors)
{
    size_t cout = (size_t)layer->cout;
    size_t rows = (size_t)layer->kh * (size_t)layer->kw * (size_t)layer->cin;

    for (size_t o = 0; o < cout; o++) {
        double gamma = vectors[TENSOR_GAMMA] ? vectors[TENSOR_GAMMA][o] : 1;
        double scale = gamma / sqrt(vectors[TENSOR_VARIANCE][o] + EPSILON);
        for (size_t row = 0; row < rows; row++)
            layer->kernel[row * cout + o] *= scale;
        layer->bias[o] = vectors[TENSOR_BETA][o] + (layer->bias[o] - vectors[TENSOR_MEAN][o]) * scale;
    }
}

/* Reads and folds a layer whose tensors have been checked; out->cout is set. On failure, out owns what was read. */
static int layer_read(const struct weights *weights, const struct layer_tensors *tensors, struct layer_weights *out)
{
    size_t cout = (size_t)out->cout;
    double *vectors[TENSOR_ROLES] = {NULL};
    int result = -1;

    out->kernel = kernel_read(weights, &tensors->tensor[TENSOR_KERNEL], out);
    if (!out->kernel)
        goto done;
    for (int role = TENSOR_BIAS; role < TENSOR_ROLES; role++) {
        if (!tensors->present[role])
            continue;
        vectors[role] = tensor_read(weights, &tensors->tensor[role], cout);
        if (!vectors[role])
            goto done;
    }
    for (size_t o = 0; vectors[TENSOR_VARIANCE] && o < cout; o++) {
        double variance = vectors[TENSOR_VARIANCE][o];
        if (variance < 0) {
            error_set("%s is %g for channel %zu and a variance is never negative; the file is damaged",
                      tensors->tensor[TENSOR_VARIANCE].name, variance, o);
            goto done;
        }
    }

    out->bias = vectors[TENSOR_BIAS] ? vectors[TENSOR_BIAS] : calloc(cout, sizeof *out->bias);
    vectors[TENSOR_BIAS] = NULL; /* out's now */
    if (!out->bias) {
        error_set("no memory for %zu biases", cout);
        goto done;
    }
    if (vectors[TENSOR_VARIANCE])
        batch_norm_fold(out, vectors);
    result = 0;

done:
    for (int role = 0; role < TENSOR_ROLES; role++)
        free(vectors[role]);
    return result;
}

int weights_check(struct weights *weights, int layer, int kh, int kw, int cin)
{
    const struct layer_weights wanted = {.kh = kh, .kw = kw, .cin = cin};
    struct layer_tensors tensors;

    if (!weights->reader)
        return 0;
    if (layer_find(weights, layer, &tensors) || layer_check(weights, layer, &tensors, &wanted) < 0)
        return error_prefix("%s", weights->path);
    return 0;
}

int weights_read(struct weights *weights, int layer, struct layer_weights *out)
{
    struct layer_tensors tensors;

    out->cout = 0;
    out->kernel = NULL;
    out->bias = NULL;
    if (!weights->reader)
        return untrained_read(layer, out);
    if (layer_find(weights, layer, &tensors))
        goto fail;
    int channels = layer_check(weights, layer, &tensors, out);
    if (channels < 0)
        goto fail;
    out->cout = channels;
    if (layer_read(weights, &tensors, out))
        goto fail;
    return 0;

fail:
    layer_weights_free(out);
    return error_prefix("%s", weights->path);
}
