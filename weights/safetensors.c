/* Reads .safetensors: eight bytes of header length, a JSON header that says where each tensor lies, the tensors.
 * Three sets of names: torchvision's and timm's (which are the same) and this project's own conv2d_K.weight and
 * conv2d_K.bias, each also behind a prefix such as "model.". The header is not trusted: every entry's place is
 * checked on opening, whether the network needs it or not. */
#include "error.h"
#include "reader.h"

#include <cjson/cJSON.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The format allows 100 MB; Inception-v3 with all its names takes 0.1, and parsed JSON is 30 times its text. */
#define MAX_HEADER_BYTES (4 << 20)

#define MAX_EXACT_INTEGER 0x1p53 /* above it, JSON numbers parsed as double skip integers */

/* How a value is stored. Types without `to_double` are known for their size only. */
struct dtype {
    const char *name;
    int bytes;
    double (*to_double)(const unsigned char *bytes);
};

struct entry {
    const char *name; /* the JSON tree's */
    const struct dtype *dtype;
    const char *dtype_name; /* the JSON tree's */
    int rank;
    int64_t size[TENSOR_MAX_RANK];
    int64_t begin, end; /* bytes, counted from the end of the header */
};

struct safetensors {
    int file;                    /* -1: the bytes lie in memory */
    const unsigned char *memory; /* borrowed */
    int64_t bytes;               /* of all */
    int64_t data_start, data_bytes;
    cJSON *header;
    struct entry *entries; /* sorted by name once the file is open */
    size_t count;
    int torchvision; /* whose names */
    char prefix[64]; /* before every name: "", "model." */
};

static double from_f16(const unsigned char *bytes)
{
    uint16_t bits;

    memcpy(&bits, bytes, sizeof bits);
    bits = le16toh(bits);
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude = exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25);
    if (exponent == 31)
        magnitude = fraction ? (double)NAN : (double)INFINITY;
    return bits >> 15 ? -magnitude : magnitude;
}

static double from_f32_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

/* bfloat16 is the upper half of a float32. */
static double from_bf16(const unsigned char *bytes)
{
    uint16_t bits;

    memcpy(&bits, bytes, sizeof bits);
    return from_f32_bits((uint32_t)le16toh(bits) << 16);
}

static double from_f32(const unsigned char *bytes)
{
    uint32_t bits;

    memcpy(&bits, bytes, sizeof bits);
    return from_f32_bits(le32toh(bits));
}

static double from_f64(const unsigned char *bytes)
{
    uint64_t bits;
    double value;

    memcpy(&bits, bytes, sizeof bits);
    bits = le64toh(bits);
    memcpy(&value, &bits, sizeof value);
    return value;
}

static const struct dtype dtypes[] = {
    {"F32", 4, from_f32}, {"F16", 2, from_f16}, {"BF16", 2, from_bf16}, {"F64", 8, from_f64}, {"BOOL", 1, NULL},
    {"U8", 1, NULL},      {"I8", 1, NULL},      {"U16", 2, NULL},       {"I16", 2, NULL},     {"U32", 4, NULL},
    {"I32", 4, NULL},     {"U64", 8, NULL},     {"I64", 8, NULL},
};

static const struct dtype *dtype_find(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, name))
            return &dtypes[i];
    return NULL;
}

/* torchvision defines a block's convolutions in the order in which Keras creates them, so a layer's name follows
 * from its number: these are blocks in order, with their convolutions in order and the kernels' height x width. */
/* clang-format off */
static const char *const stem[] = {
    "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3",
    NULL,
};
static const char *const block_a[] = {
    ".branch1x1",                                            /* 1x1 */
    ".branch5x5_1", ".branch5x5_2",                          /* 1x1, 5x5 */
    ".branch3x3dbl_1", ".branch3x3dbl_2", ".branch3x3dbl_3", /* 1x1, 3x3, 3x3 */
    ".branch_pool",                                          /* 1x1 */
    NULL,
};
static const char *const block_b[] = {
    ".branch3x3",                                            /* 3x3 */
    ".branch3x3dbl_1", ".branch3x3dbl_2", ".branch3x3dbl_3", /* 1x1, 3x3, 3x3 */
    NULL,
};
static const char *const block_c[] = {
    ".branch1x1",                                            /* 1x1 */
    ".branch7x7_1", ".branch7x7_2", ".branch7x7_3",          /* 1x1, 1x7, 7x1 */
    ".branch7x7dbl_1", ".branch7x7dbl_2", ".branch7x7dbl_3", /* 1x1, 7x1, 1x7, */
    ".branch7x7dbl_4", ".branch7x7dbl_5",                    /* 7x1, 1x7 */
    ".branch_pool",                                          /* 1x1 */
    NULL,
};
static const char *const block_d[] = {
    ".branch3x3_1", ".branch3x3_2",                          /* 1x1, 3x3 */
    ".branch7x7x3_1", ".branch7x7x3_2", ".branch7x7x3_3",    /* 1x1, 1x7, 7x1, */
    ".branch7x7x3_4",                                        /* 3x3 */
    NULL,
};
static const char *const block_e[] = {
    ".branch1x1",                                            /* 1x1 */
    ".branch3x3_1", ".branch3x3_2a", ".branch3x3_2b",        /* 1x1, 1x3, 3x1 */
    ".branch3x3dbl_1", ".branch3x3dbl_2",                    /* 1x1, 3x3, */
    ".branch3x3dbl_3a", ".branch3x3dbl_3b",                  /* 1x3, 3x1 */
    ".branch_pool",                                          /* 1x1 */
    NULL,
};
/* clang-format on */
static const struct block {
    const char *name;
    const char *const *convolutions;
} blocks[] = {
    {"", stem},
    {"Mixed_5b", block_a},
    {"Mixed_5c", block_a},
    {"Mixed_5d", block_a},
    {"Mixed_6a", block_b},
    {"Mixed_6b", block_c},
    {"Mixed_6c", block_c},
    {"Mixed_6d", block_c},
    {"Mixed_6e", block_c},
    {"Mixed_7a", block_d},
    {"Mixed_7b", block_e},
    {"Mixed_7c", block_e},
};

/* The name under which torchvision keeps a layer's tensor, without prefix. */
static void torchvision_name(int layer, enum tensor_role role, char *name, size_t bytes)
{
    static const char *const suffix[TENSOR_ROLES] = {"conv.weight", "conv.bias",       "bn.weight",
                                                     "bn.bias",     "bn.running_mean", "bn.running_var"};
    int number = 1;

    for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++)
        for (const char *const *convolution = blocks[b].convolutions; *convolution; convolution++, number++)
            if (number == layer)
                snprintf(name, bytes, "%s%s.%s", blocks[b].name, *convolution, suffix[role]);
    if (layer == WEIGHTS_DENSE) /* no BatchNorm: that name is never there */
        snprintf(name, bytes, "fc.%s",
                 role == TENSOR_KERNEL ? "weight"
                 : role == TENSOR_BIAS ? "bias"
                                       : suffix[role]);
}

/* The name under which this project keeps it. BatchNorm is folded already: its names are never there. */
static void own_name(int layer, enum tensor_role role, char *name, size_t bytes)
{
    static const char *const suffix[TENSOR_ROLES] = {"weight", "bias", "gamma", "beta", "mean", "variance"};

    if (layer == WEIGHTS_DENSE)
        snprintf(name, bytes, "predictions.%s", suffix[role]);
    else
        snprintf(name, bytes, "conv2d_%d.%s", layer, suffix[role]);
}

/* A name from the file, fit for an error sentence: cut, and nothing that a terminal would obey. */
struct printable {
    char text[81];
};

static struct printable printable(const char *name)
{
    struct printable out;

    snprintf(out.text, sizeof out.text, "%s", name);
    for (char *c = out.text; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
    return out;
}

/* A JSON number that is an integer from 0 to 2^53, or -1. */
static int64_t json_integer(const cJSON *item)
{
    if (!cJSON_IsNumber(item))
        return -1;
    double value = item->valuedouble;
    if (!(value >= 0 && value <= MAX_EXACT_INTEGER) || value != floor(value))
        return -1;
    return (int64_t)value;
}

/* Reads `"dtype": "F32", "shape": [...], "data_offsets": [begin, end]` and checks it in itself. */
static int entry_parse(const cJSON *item, int64_t data_bytes, struct entry *out)
{
    struct printable name = printable(item->string);
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    const cJSON *size;
    int64_t elements = 1;
    int overflow = 0;

    if (!cJSON_IsString(dtype) || !cJSON_IsArray(shape) || !cJSON_IsArray(offsets) ||
        cJSON_GetArraySize(offsets) != 2)
        return error_set("the header's entry %s lacks a dtype, a shape or two data_offsets", name.text);
    out->name = item->string;
    out->dtype_name = dtype->valuestring;
    out->dtype = dtype_find(dtype->valuestring);
    cJSON_ArrayForEach(size, shape)
    {
        if (out->rank == TENSOR_MAX_RANK)
            return error_set("%s has more than %d dimensions", name.text, TENSOR_MAX_RANK);
        int64_t value = json_integer(size);
        if (value < 0)
            return error_set("%s has a size that is no integer from 0 to 2^53", name.text);
        out->size[out->rank++] = value;
        overflow |= __builtin_mul_overflow(elements, value, &elements);
    }

    out->begin = json_integer(offsets->child);
    out->end = json_integer(offsets->child->next);
    if (out->begin < 0 || out->end < 0)
        return error_set("%s has a data_offset that is no integer from 0 to 2^53", name.text);
    if (out->begin > out->end || out->end > data_bytes)
        return error_set("%s is said to be bytes %lld to %lld of %lld; the file was cut or is damaged", name.text,
                         (long long)out->begin, (long long)out->end, (long long)data_bytes);
    if (!out->dtype)
        return 0;
    int64_t bytes = 0;
    overflow |= __builtin_mul_overflow(elements, out->dtype->bytes, &bytes);
    if (overflow || bytes != out->end - out->begin)
        return error_set("the shape of %s does not fit its %lld bytes of %s; the file is damaged", name.text,
                         (long long)(out->end - out->begin), out->dtype->name);
    return 0;
}

static int entry_compare_place(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end); /* the empty one first: it overlaps nothing */
}

static int entry_compare_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* Fills entries from the header and checks them against one another. */
static int entries_read(struct safetensors *st)
{
    const cJSON *item;

    st->entries = calloc((size_t)cJSON_GetArraySize(st->header) + 1, sizeof *st->entries);
    if (!st->entries)
        return error_set("no memory for the table of tensors");
    cJSON_ArrayForEach(item, st->header)
    {
        if (!strcmp(item->string, "__metadata__"))
            continue;
        if (entry_parse(item, st->data_bytes, &st->entries[st->count]))
            return -1;
        st->count++;
    }

    qsort(st->entries, st->count, sizeof *st->entries, entry_compare_place);
    for (size_t i = 1; i < st->count; i++)
        if (st->entries[i].begin < st->entries[i - 1].end)
            return error_set("%s and %s overlap; the file is damaged", printable(st->entries[i - 1].name).text,
                             printable(st->entries[i].name).text);
    qsort(st->entries, st->count, sizeof *st->entries, entry_compare_name);
    for (size_t i = 1; i < st->count; i++)
        if (!strcmp(st->entries[i].name, st->entries[i - 1].name))
            return error_set("the header names %s twice", printable(st->entries[i].name).text);
    return 0;
}

/* Reads exactly count bytes at offset. */
static int bytes_read(const struct safetensors *st, void *buffer, size_t count, int64_t offset)
{
    if (offset > st->bytes || count > (uint64_t)(st->bytes - offset))
        return error_set("the file has %lld bytes and was cut", (long long)st->bytes);
    if (st->memory) {
        memcpy(buffer, st->memory + offset, count);
        return 0;
    }
    for (size_t done = 0; done < count;) {
        ssize_t got = pread(st->file, (char *)buffer + done, count - done, (off_t)offset + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set("reading failed (%s)", strerror(errno));
        if (got == 0)
            return error_set("the file ended while it was read");
        done += (size_t)got;
    }
    return 0;
}

/* Reads and parses the header; sets header, data_start and data_bytes. */
static int header_read(struct safetensors *st)
{
    uint64_t length;
    const char *end = NULL;
    char *text = NULL;

    if (bytes_read(st, &length, sizeof length, 0))
        return -1;
    length = le64toh(length);
    if (length > MAX_HEADER_BYTES)
        return error_set("its safetensors header claims %llu bytes, more than the %d of any Inception-v3; this is "
                         "another kind of file or damaged",
                         (unsigned long long)length, MAX_HEADER_BYTES);
    st->data_start = (int64_t)(sizeof length + length);
    st->data_bytes = st->bytes - st->data_start;
    if (st->data_bytes < 0)
        return error_set("its safetensors header claims %llu bytes, the whole file has %lld; the file was cut",
                         (unsigned long long)length, (long long)st->bytes);

    text = malloc(length + 1);
    if (!text)
        return error_set("no memory for the header of %llu bytes", (unsigned long long)length);
    if (bytes_read(st, text, length, sizeof length)) {
        free(text);
        return -1;
    }
    text[length] = '\0';
    st->header = cJSON_ParseWithLengthOpts(text, length, &end, 0);
    if (st->header) /* writers fill up with spaces */
        end += strspn(end, " ");
    int whole = cJSON_IsObject(st->header) && end == text + length;
    free(text);
    return whole ? 0 : error_set("its safetensors header is not one JSON object; the file is damaged");
}

/* Finds out whose names the file has, and what stands before them, from the name of the first kernel, without
 * which nothing can be computed. */
static int names_detect(struct safetensors *st)
{
    char first[2][64];

    own_name(1, TENSOR_KERNEL, first[0], sizeof first[0]);
    torchvision_name(1, TENSOR_KERNEL, first[1], sizeof first[1]);
    for (size_t i = 0; i < st->count; i++) {
        const char *name = st->entries[i].name;
        for (int whose = 0; whose < 2; whose++) {
            size_t length = strlen(name), tail = strlen(first[whose]);
            size_t before = length >= tail ? length - tail : 0;
            if (before >= sizeof st->prefix || strcmp(name + before, first[whose]) ||
                (before && name[before - 1] != '.'))
                continue;
            memcpy(st->prefix, name, before);
            st->torchvision = whose;
            return 0;
        }
    }
    return error_set("has no %s and no %s; these are not the weights of an Inception-v3", first[0], first[1]);
}

static void safetensors_close(void *file)
{
    struct safetensors *st = file;

    free(st->entries);
    cJSON_Delete(st->header);
    if (st->file >= 0)
        close(st->file);
    free(st);
}

static struct safetensors *safetensors_new(void)
{
    struct safetensors *st = calloc(1, sizeof *st);

    if (st)
        st->file = -1;
    else
        error_set("no memory to open it");
    return st;
}

void *safetensors_open_memory(const unsigned char *bytes, size_t count)
{
    struct safetensors *st = safetensors_new();

    if (!st)
        return NULL;
    st->memory = bytes;
    st->bytes = (int64_t)count;
    if (!header_read(st) && !entries_read(st) && !names_detect(st))
        return st;
    safetensors_close(st);
    return NULL;
}

static void *safetensors_open(const char *path)
{
    struct safetensors *st = safetensors_new();
    struct stat status;

    if (!st)
        return NULL;
    st->file = open(path, O_RDONLY | O_CLOEXEC);
    if (st->file < 0 || fstat(st->file, &status)) {
        error_set("%s", strerror(errno));
        goto fail;
    }
    st->bytes = (int64_t)status.st_size;
    if (header_read(st) || entries_read(st) || names_detect(st))
        goto fail;
    return st;

fail:
    safetensors_close(st);
    return NULL;
}

static int safetensors_find(void *file, int layer, enum tensor_role role, struct tensor *out)
{
    const struct safetensors *st = file;
    char name[sizeof st->prefix + 64];

    memset(out, 0, sizeof *out);
    int before = snprintf(name, sizeof name, "%s", st->prefix);
    (st->torchvision ? torchvision_name : own_name)(layer, role, name + before, sizeof name - (size_t)before);
    snprintf(out->name, sizeof out->name, "%s", printable(name).text);

    struct entry key = {.name = name};
    const struct entry *entry = bsearch(&key, st->entries, st->count, sizeof *st->entries, entry_compare_name);
    if (!entry)
        return 0;
    if (!entry->dtype || !entry->dtype->to_double)
        return error_set("%s is stored as %s; F16, BF16, F32 and F64 can be read", out->name,
                         printable(entry->dtype_name).text);
    out->rank = entry->rank;
    memcpy(out->size, entry->size, sizeof out->size);
    out->index = (size_t)(entry - st->entries);
    return 1;
}

static int safetensors_read(void *file, const struct tensor *tensor, double *values)
{
    const struct safetensors *st = file;
    const struct entry *entry = &st->entries[tensor->index];
    size_t bytes = (size_t)(entry->end - entry->begin);
    size_t step = (size_t)entry->dtype->bytes;
    unsigned char *raw = malloc(bytes);

    if (!raw)
        return error_set("no memory for the %zu bytes of %s", bytes, tensor->name);
    int result = bytes_read(st, raw, bytes, st->data_start + entry->begin);
    if (result)
        error_prefix("%s", tensor->name);
    for (size_t i = 0; !result && i < bytes / step; i++)
        values[i] = entry->dtype->to_double(raw + i * step);
    free(raw);
    return result;
}

const struct reader reader_safetensors = {
    .out_first = 1,
    .open = safetensors_open,
    .close = safetensors_close,
    .find = safetensors_find,
    .read = safetensors_read,
};
