/* Measures a matrix product and a copy through the device's own interface: what this program's kernels and
 * libraries reach where nothing is in their way, not what a data sheet promises. On the CPU the product is our own
 * kernel's, so that a slow kernel has a low rate beside it: the processor's peak is not measured here. */
#include "bench_limits.h"

#include "bench_random.h"
#include "bench_time.h"
#include "error.h"

#include <math.h>
#include <stdlib.h>

/* The next size is tried if it will not take longer than this at once. */
#define LONGEST 0.5

/* Of the device's free memory, what a trial may take: steps have been planned, but this is only a measurement. */
enum { MEMORY_SHARE = 4 };

static bool has_room(struct device *device, size_t bytes)
{
    return bytes <= device_available(device) / MEMORY_SHARE;
}

/* The product ----------------------------------------------------------------------------------------------- */

/* A 1x1 convolution of side x side pixels from and to the same number of channels: a matrix product. */
struct product_size {
    int channels;
    int64_t side;
};

static const struct product_size product_sizes[] = {{128, 32}, {256, 64}, {512, 128}, {1024, 128}, {2048, 128}};

enum { PRODUCT_SIZES = sizeof product_sizes / sizeof *product_sizes };

struct product {
    struct device *device;
    struct filter *filter;
    struct conv *conv;
    struct tensor x, y;
    void *scratch;
};

static double product_flops(struct product_size size)
{
    return 2.0 * size.channels * size.channels * (double)(size.side * size.side);
}

static struct filter *product_filter(struct device *device, int channels)
{
    size_t count = (size_t)channels * (size_t)channels;
    double *kernel = malloc(count * sizeof *kernel), *bias = malloc((size_t)channels * sizeof *bias);
    struct filter *filter = NULL;
    uint64_t state = 1;

    if (!kernel || !bias) {
        error_set("no memory for a matrix of %dx%d", channels, channels);
        goto fail;
    }
    for (size_t i = 0; i < count + (size_t)channels; i++) {
        double *value = i < count ? &kernel[i] : &bias[i - count];

        *value = bench_random(&state);
        if (i < count)
            *value /= sqrt(channels); /* so that products of products stay in range */
    }
    filter = device_filter_new(
        device,
        &(struct filter_desc){
            .kh = 1, .kw = 1, .stride = 1, .cin = channels, .cout = channels, .kernel = kernel, .bias = bias});

fail:
    free(kernel);
    free(bias);
    return filter;
}

static void product_close(struct product *product)
{
    device_free(product->device, product->scratch);
    device_free(product->device, product->y.data);
    device_free(product->device, product->x.data);
    device_conv_free(product->device, product->conv);
    device_filter_free(product->device, product->filter);
}

static int product_open(struct product *product, struct device *device, struct product_size size)
{
    const struct tensor shape = {
        .h = size.side, .w = size.side, .c = size.channels, .pitch = size.channels, .type = device->activation};
    size_t scratch;

    *product = (struct product){.device = device, .x = shape, .y = shape};
    product->filter = product_filter(device, size.channels);
    if (!product->filter)
        return -1;
    product->conv = device_conv_new(device, product->filter, &(struct conv_desc){.x = shape, .y = shape}, &scratch);
    if (!product->conv)
        return -1;
    product->x.data = device_alloc(device, tensor_bytes(&shape));
    product->y.data = product->x.data ? device_alloc(device, tensor_bytes(&shape)) : NULL;
    if (!product->y.data || (scratch && !(product->scratch = device_alloc(device, scratch))))
        return -1;
    device_clear(device, product->x.data, tensor_bytes(&shape));
    return 0;
}

/* Two products, there and back: the bias makes numbers of the zeros, and zeros would be less work for a GPU's
 * clock. */
static int product_queue(void *context)
{
    struct product *p = context;

    device_conv(p->device, p->conv, &p->x, &p->y, NULL, p->scratch);
    device_conv(p->device, p->conv, &p->y, &p->x, NULL, p->scratch);
    return 0;
}

/* Sets *once to the seconds that one takes, and raises *rate to what is reached. */
static int product_measure(struct device *device, struct product_size size, double seconds, double *once,
                           double *rate)
{
    struct product product;
    struct bench_times times;
    int result = -1;

    if (product_open(&product, device, size))
        goto fail;
    if (bench_time_once(device, product_queue, &product) < 0 ||
        bench_time(device, product_queue, &product, seconds, &times))
        goto fail;
    *once = times.least / 2; /* what can be reached, so the least */
    *rate = fmax(*rate, product_flops(size) / *once);
    result = 0;

fail:
    product_close(&product);
    return result;
}

/* The best of all sizes: the best one differs between devices. */
static int products_measure(struct device *device, double seconds, double *rate)
{
    double once = 0;

    *rate = 0;
    for (int i = 0; i < PRODUCT_SIZES; i++) {
        struct product_size size = product_sizes[i];
        int64_t values = size.side * size.side * size.channels;

        if (i > 0 && (once * product_flops(size) / product_flops(product_sizes[i - 1]) > LONGEST ||
                      !has_room(device, 3 * dtype_bytes(device->activation, values))))
            break;
        if (product_measure(device, size, seconds / PRODUCT_SIZES, &once, rate))
            return -1;
    }
    return 0;
}

/* The copy -------------------------------------------------------------------------------------------------- */

/* Pictures of side x side pixels: 3 to 201 MB in 32 bits. */
static const int64_t copy_sides[] = {512, 1024, 2048, 4096};

enum { COPY_SIDES = sizeof copy_sides / sizeof *copy_sides };

struct copy {
    struct device *device;
    struct tensor x, y;
};

static int copy_queue(void *context)
{
    struct copy *copy = context;

    device_crop(copy->device, &copy->x, 0, 0, &copy->y);
    return 0;
}

static int copy_measure(struct device *device, int64_t side, double seconds, double *once, struct bench_limits *out)
{
    struct copy copy = {.device = device, .x = {.h = side, .w = side, .c = 3, .pitch = 3, .type = device->picture}};
    struct bench_times times;
    int result = -1;

    copy.y = copy.x;
    copy.x.data = device_alloc(device, tensor_bytes(&copy.x));
    copy.y.data = copy.x.data ? device_alloc(device, tensor_bytes(&copy.y)) : NULL;
    if (!copy.y.data)
        goto fail;
    device_clear(device, copy.x.data, tensor_bytes(&copy.x));
    if (bench_time_once(device, copy_queue, &copy) < 0 || bench_time(device, copy_queue, &copy, seconds, &times))
        goto fail;
    *once = times.least;
    out->copied = tensor_bytes(&copy.x);
    out->bytes = 2 * (double)out->copied / *once;
    result = 0;

fail:
    device_free(device, copy.y.data);
    device_free(device, copy.x.data);
    return result;
}

/* Of the largest size that memory and patience allow: smaller ones stay in caches. A crop of the whole picture is
 * the copy, as it reads and writes each value once and computes nothing. */
static int copies_measure(struct device *device, double seconds, struct bench_limits *out)
{
    double once = 0;

    for (int i = 0; i < COPY_SIDES; i++) {
        size_t bytes = dtype_bytes(device->picture, copy_sides[i] * copy_sides[i] * 3);

        if (i > 0 && (4 * once > LONGEST || !has_room(device, 2 * bytes)))
            break;
        if (copy_measure(device, copy_sides[i], seconds / COPY_SIDES, &once, out))
            return -1;
    }
    return 0;
}

int bench_limits_measure(struct device *device, double seconds, struct bench_limits *out)
{
    return products_measure(device, seconds, &out->flops) || copies_measure(device, seconds, out) ? -1 : 0;
}
