/* Opens devices by name and passes calls on to their tables after checking them. What is checked here (shapes,
 * types, slices) no device checks again. */
#include "device.h"

#include "device_ops.h"
#include "error.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { PRECISIONS = 5 };

static const struct {
    const char *name;
    const char *precisions[PRECISIONS]; /* its own first; NULL behind the last */
    struct device *(*open)(const struct device_options *);
    struct device *(*open_numbered)(int index, const struct device_options *); /* "name" or "name:index" */
} devices[] = {
#ifdef PAREIDOLIA_CUDA
    {.name = "cuda", .precisions = {"fp16", "bf16", "tf32", "fp32"}, .open_numbered = device_cuda_open},
#endif
    {.name = "cpu", .precisions = {"fp32", "bf16"}, .open = device_cpu_open},
    {.name = "reference", .precisions = {"fp64"}, .open = device_reference_open},
};

enum { DEVICES = sizeof devices / sizeof *devices, INDEX_MAX = 255 };

size_t dtype_bytes(enum dtype type, int64_t n)
{
    static const int bits[] = {
        [DTYPE_F64] = 64, [DTYPE_F32] = 32, [DTYPE_F16] = 16, [DTYPE_BF16] = 16, [DTYPE_U8] = 8, [DTYPE_BITS] = 1};

    return ((size_t)n * (size_t)bits[type] + 7) / 8;
}

const char *dtype_name(enum dtype type)
{
    static const char *const names[] = {[DTYPE_F64] = "float64",   [DTYPE_F32] = "float32", [DTYPE_F16] = "float16",
                                        [DTYPE_BF16] = "bfloat16", [DTYPE_U8] = "uint8",    [DTYPE_BITS] = "bits"};

    return names[type];
}

struct tensor tensor_slice(struct tensor whole, int first, int count)
{
    assert(first >= 0 && count > 0 && first + count <= whole.c);
    assert(whole.type != DTYPE_BITS || first % 8 == 0);
    whole.data = (char *)whole.data + dtype_bytes(whole.type, first);
    whole.c = count;
    return whole;
}

size_t tensor_bytes(const struct tensor *tensor)
{
    return dtype_bytes(tensor->type, (tensor->h * tensor->w - 1) * tensor->pitch + tensor->c);
}

size_t ascent_bytes(int64_t steps)
{
    return sizeof(struct ascent) + (size_t)steps * sizeof(struct step_record);
}

/* Whether name means devices[i], and with which number: "cuda" is 0, "cuda:2" 2. */
static bool device_named(const char *name, int i, int *index)
{
    size_t length = strlen(devices[i].name);
    char *end;

    *index = 0;
    if (strncmp(name, devices[i].name, length) != 0)
        return false;
    if (!name[length])
        return true;
    if (!devices[i].open_numbered || name[length] != ':' || !isdigit((unsigned char)name[length + 1]))
        return false;
    long number = strtol(name + length + 1, &end, 10);
    *index = (int)number;
    return !*end && number <= INDEX_MAX;
}

/* Which of devices name means, or -1 with an error. */
static int device_find(const char *name, int *index)
{
    char names[128] = "";

    for (int i = 0; i < DEVICES; i++)
        if (device_named(name, i, index))
            return i;
    for (int i = 0; i < DEVICES; i++) {
        strncat(names, i ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, devices[i].name, sizeof names - strlen(names) - 1);
    }
    return error_set("unknown device \"%s\"; this program has: %s", name, names);
}

int device_check(const char *name, const char *precision)
{
    char precisions[64] = "";
    int index, found = device_find(name, &index);

    if (found < 0)
        return -1;
    if (!precision)
        return 0;
    for (int i = 0; i < PRECISIONS && devices[found].precisions[i]; i++) {
        if (strcmp(devices[found].precisions[i], precision) == 0)
            return 0;
        strncat(precisions, i ? ", " : "", sizeof precisions - strlen(precisions) - 1);
        strncat(precisions, devices[found].precisions[i], sizeof precisions - strlen(precisions) - 1);
    }
    return error_set("the %s device has no precision \"%s\"; it has: %s", devices[found].name, precision,
                     precisions);
}

struct device *device_open(const char *name, const struct device_options *options)
{
    int index, found = device_find(name, &index);

    if (found < 0 || device_check(name, options->precision))
        return NULL;
    return devices[found].open ? devices[found].open(options) : devices[found].open_numbered(index, options);
}

const char *const *device_names(void)
{
    static const char *names[DEVICES + 1];

    for (int i = 0; i < DEVICES; i++)
        names[i] = devices[i].name;
    return names;
}

void device_close(struct device *device)
{
    if (device)
        device->ops->close(device);
}

void *device_alloc(struct device *device, size_t bytes)
{
    device->allocations++;
    return device->ops->alloc(device, bytes);
}

void device_free(struct device *device, void *memory)
{
    if (memory)
        device->ops->free(device, memory);
}

int device_upload(struct device *device, void *to, const void *from, size_t bytes)
{
    device->waits++;
    return device->ops->upload(device, to, from, bytes);
}

int device_download(struct device *device, void *to, const void *from, size_t bytes)
{
    device->waits++;
    return device->ops->download(device, to, from, bytes);
}

size_t device_available(struct device *device)
{
    return device->ops->available ? device->ops->available(device) : SIZE_MAX;
}

void device_clear(struct device *device, void *memory, size_t bytes)
{
    device->ops->clear(device, memory, bytes);
}

int device_sync(struct device *device)
{
    device->waits++;
    return device->ops->sync(device);
}

/* A tensor that can be passed on: not empty, its channels inside its pitch. */
static bool sound(const struct tensor *t)
{
    return t && t->data && t->h > 0 && t->w > 0 && t->c > 0 && t->pitch >= t->c &&
           (t->type != DTYPE_BITS || t->pitch % 8 == 0);
}

static bool same_shape(const struct tensor *a, const struct tensor *b)
{
    return a->h == b->h && a->w == b->w && a->c == b->c;
}

/* An optional companion of t: a mask or an argmax of its shape. */
static bool companion(const struct tensor *t, const struct tensor *other, enum dtype type)
{
    return !other || (sound(other) && same_shape(t, other) && other->type == type);
}

static bool is_picture(const struct device *device, const struct tensor *t)
{
    return sound(t) && t->type == device->picture && t->pitch == t->c;
}

struct filter *device_filter_new(struct device *device, const struct filter_desc *desc)
{
    assert(desc->kh > 0 && desc->kw > 0 && desc->cin > 0 && desc->cout > 0);
    assert(desc->stride == 1 || desc->stride == 2);
    assert(desc->pad_h < desc->kh && desc->pad_w < desc->kw);
    assert(desc->linear >= 0 && desc->linear <= desc->cout && desc->linear % 8 == 0);
    return device->ops->filter_new(device, desc);
}

void device_filter_free(struct device *device, struct filter *filter)
{
    if (filter)
        device->ops->filter_free(device, filter);
}

/* The same of a tensor whose memory is not known yet. */
static bool sound_shape(const struct tensor *t)
{
    struct tensor with_data = *t;

    with_data.data = &with_data;
    return sound(&with_data);
}

struct conv *device_conv_new(struct device *device, struct filter *filter, const struct conv_desc *desc,
                             size_t *scratch_bytes)
{
    const struct tensor *written = desc->back ? &desc->x : &desc->y;

    assert(sound_shape(&desc->x) && sound_shape(&desc->y) && (desc->back || !desc->accumulate));
    assert(desc->mask.c == 0 ||
           (sound_shape(&desc->mask) && same_shape(written, &desc->mask) && desc->mask.type == DTYPE_BITS));
    return device->ops->conv_new(device, filter, desc, scratch_bytes);
}

void device_conv_free(struct device *device, struct conv *conv)
{
    if (conv)
        device->ops->conv_free(device, conv);
}

void device_conv(struct device *device, struct conv *conv, const struct tensor *x, const struct tensor *y,
                 const struct tensor *mask, void *scratch)
{
    assert(sound(x) && sound(y) && companion(y, mask, DTYPE_BITS));
    device->ops->conv(device, conv, x, y, mask, scratch);
}

void device_conv_back(struct device *device, struct conv *conv, const struct tensor *dy, const struct tensor *dx,
                      const struct tensor *mask, void *scratch)
{
    assert(sound(dy) && sound(dx) && companion(dx, mask, DTYPE_BITS));
    device->ops->conv_back(device, conv, dy, dx, mask, scratch);
}

void device_max_pool(struct device *device, const struct tensor *x, const struct tensor *y,
                     const struct tensor *argmax, const struct tensor *mask)
{
    assert(sound(x) && sound(y) && x->c == y->c && y->h == (x->h - 3) / 2 + 1 && y->w == (x->w - 3) / 2 + 1);
    assert(companion(y, argmax, DTYPE_U8) && companion(y, mask, DTYPE_BITS));
    device->ops->max_pool(device, x, y, argmax, mask);
}

void device_max_pool_back(struct device *device, const struct tensor *dy, const struct tensor *argmax,
                          const struct tensor *dx, bool accumulate, const struct tensor *mask)
{
    assert(sound(dy) && sound(dx) && argmax && companion(dy, argmax, DTYPE_U8) && companion(dx, mask, DTYPE_BITS));
    device->ops->max_pool_back(device, dy, argmax, dx, accumulate, mask);
}

void device_average_pool(struct device *device, const struct tensor *x, struct filter *filter,
                         const struct tensor *y, const struct tensor *mask)
{
    assert(sound(x) && sound(y) && same_shape(x, y) && companion(y, mask, DTYPE_BITS));
    device->ops->average_pool(device, x, filter, y, mask);
}

void device_average_pool_back(struct device *device, const struct tensor *dy, const struct tensor *dx)
{
    assert(sound(dy) && sound(dx) && same_shape(dy, dx));
    device->ops->average_pool_back(device, dy, dx);
}

void device_global_average(struct device *device, const struct tensor *x, const struct tensor *y)
{
    assert(sound(x) && sound(y) && y->h == 1 && y->w == 1 && x->c == y->c);
    device->ops->global_average(device, x, y);
}

void device_stimulate(struct device *device, const struct stimulation *stimulation, const struct tensor *a,
                      const struct tensor *da, bool accumulate, struct ascent *state)
{
    assert(sound(a) && (!da || (sound(da) && same_shape(a, da))));
    device->ops->stimulate(device, stimulation, a, da, accumulate, state);
}

void device_mean_abs(struct device *device, const struct tensor *g, double scale, struct ascent *state)
{
    assert(is_picture(device, g));
    device->ops->mean_abs(device, g, scale, state);
}

void device_ascend(struct device *device, const struct tensor *x, const struct tensor *g, double step, double scale,
                   double max_loss, double limit, struct ascent *state)
{
    assert(is_picture(device, x) && is_picture(device, g) && same_shape(x, g) && limit > 0);
    device->ops->ascend(device, x, g, step, scale, max_loss, limit, state);
}

int device_ascent_read(struct device *device, const struct ascent *state, int64_t records, struct ascent *host)
{
    return device_download(device, host, state, ascent_bytes(records));
}

int device_record_begin(struct device *device)
{
    assert(device->records);
    return device->ops->record_begin(device);
}

struct recording *device_record_end(struct device *device)
{
    return device->ops->record_end(device);
}

void device_recording_free(struct device *device, struct recording *recording)
{
    if (recording)
        device->ops->recording_free(device, recording);
}

void device_replay(struct device *device, struct recording *recording)
{
    device->ops->replay(device, recording);
}

void device_resize(struct device *device, const struct tensor *x, const struct tensor *y)
{
    assert(is_picture(device, x) && is_picture(device, y) && x->c == y->c);
    device->ops->resize(device, x, y);
}

void device_detail(struct device *device, const struct tensor *x, const struct tensor *original, int64_t h,
                   int64_t w)
{
    assert(is_picture(device, x) && is_picture(device, original) && h > 0 && w > 0);
    device->ops->detail(device, x, original, h, w);
}

/* Whether part, placed at (top, left), lies inside whole. */
static bool inside(const struct tensor *part, int64_t top, int64_t left, const struct tensor *whole)
{
    return top >= 0 && left >= 0 && top + part->h <= whole->h && left + part->w <= whole->w && part->c == whole->c;
}

void device_crop(struct device *device, const struct tensor *x, int64_t top, int64_t left, const struct tensor *y)
{
    assert(is_picture(device, x) && is_picture(device, y) && inside(y, top, left, x));
    device->ops->crop(device, x, top, left, y);
}

void device_add_crop(struct device *device, const struct tensor *x, int64_t top, int64_t left,
                     const struct tensor *y)
{
    assert(is_picture(device, x) && is_picture(device, y) && inside(x, top, left, y));
    device->ops->add_crop(device, x, top, left, y);
}
