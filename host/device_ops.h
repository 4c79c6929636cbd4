/* The table that a device fills in; see device.h for what each entry does. Only device.c and the devices include
 * this. device.c checks the arguments (as assertions: the callers are ours), so that devices need not. */
#ifndef PAREIDOLIA_DEVICE_OPS_H
#define PAREIDOLIA_DEVICE_OPS_H

#include "device.h"

struct device_ops {
    void (*close)(struct device *);
    void *(*alloc)(struct device *, size_t bytes);
    void (*free)(struct device *, void *memory);
    int (*upload)(struct device *, void *to, const void *from, size_t bytes);
    int (*download)(struct device *, void *to, const void *from, size_t bytes);
    size_t (*available)(struct device *); /* NULL: unknown */
    void (*clear)(struct device *, void *memory, size_t bytes);
    int (*sync)(struct device *);

    struct filter *(*filter_new)(struct device *, const struct filter_desc *);
    void (*filter_free)(struct device *, struct filter *);
    struct conv *(*conv_new)(struct device *, struct filter *, const struct conv_desc *, size_t *scratch_bytes);
    void (*conv_free)(struct device *, struct conv *);
    void (*conv)(struct device *, struct conv *, const struct tensor *x, const struct tensor *y,
                 const struct tensor *mask, void *scratch);
    void (*conv_back)(struct device *, struct conv *, const struct tensor *dy, const struct tensor *dx,
                      const struct tensor *mask, void *scratch);

    void (*max_pool)(struct device *, const struct tensor *x, const struct tensor *y, const struct tensor *argmax,
                     const struct tensor *mask);
    void (*max_pool_back)(struct device *, const struct tensor *dy, const struct tensor *argmax,
                          const struct tensor *dx, bool accumulate, const struct tensor *mask);
    void (*average_pool)(struct device *, const struct tensor *x, struct filter *filter, const struct tensor *y,
                         const struct tensor *mask);
    void (*average_pool_back)(struct device *, const struct tensor *dy, const struct tensor *dx);
    void (*global_average)(struct device *, const struct tensor *x, const struct tensor *y);

    void (*stimulate)(struct device *, const struct stimulation *, const struct tensor *a, const struct tensor *da,
                      bool accumulate, struct ascent *state);
    void (*mean_abs)(struct device *, const struct tensor *g, double scale, struct ascent *state);
    void (*ascend)(struct device *, const struct tensor *x, const struct tensor *g, double step, double scale,
                   double max_loss, double limit, struct ascent *state);

    /* NULL where device->records is not set. */
    int (*record_begin)(struct device *);
    struct recording *(*record_end)(struct device *);
    void (*recording_free)(struct device *, struct recording *);
    void (*replay)(struct device *, struct recording *);

    void (*resize)(struct device *, const struct tensor *x, const struct tensor *y);
    void (*detail)(struct device *, const struct tensor *x, const struct tensor *original, int64_t h, int64_t w);
    void (*crop)(struct device *, const struct tensor *x, int64_t top, int64_t left, const struct tensor *y);
    void (*add_crop)(struct device *, const struct tensor *x, int64_t top, int64_t left, const struct tensor *y);
};

/* How each device is opened, with a precision that device.c's table says it has; NULL with an error. index is the
 * number behind the colon of its name, else 0; only CUDA has more than one. */
struct device *device_reference_open(const struct device_options *options);
struct device *device_cpu_open(const struct device_options *options);
struct device *device_cuda_open(int index, const struct device_options *options);

#endif
