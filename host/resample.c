/* Resizes in one walk over the source's rows: each is taken out of the picture, resized sideways, and kept among
 * the few that the next rows of the result are made of, which go where the rows that were taken out have been.
 * Deliberately without threads: a dream takes hours for each second of this. */
#include "resample.h"

#include "error.h"
#include "memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LOBES = 3 };

/* What a colour counts even under a pixel that is not seen, of 1 for one that hides all behind it. So every pixel
 * has a colour, and pixels that are seen have theirs but for less than a sample's step. */
#define ALPHA_LEAST 0x1p-20

/* The size ------------------------------------------------------------------------------------------------- */

static int check_limits(const char *path, int64_t width, int64_t height)
{
    if (width <= IMAGE_MAX_SIDE && height <= IMAGE_MAX_SIDE && width * height <= IMAGE_MAX_PIXELS)
        return 0;
    return error_set("%s%sa picture of %" PRId64 "x%" PRId64 " pixels is wanted; at most %d a side and %" PRId64
                     " in all can be",
                     path ? path : "", path ? ": " : "", width, height, IMAGE_MAX_SIDE, IMAGE_MAX_PIXELS);
}

int resample_check(const struct resample_options *options)
{
    if (options->max_side && (options->width || options->height))
        return error_set("--max-side and --%s: only one of them can be meant", options->width ? "width" : "height");
    return options->width && options->height ? check_limits(NULL, options->width, options->height) : 0;
}

/* n * wanted / of, to the nearest, halves up, at least 1. All are below 2^31. */
static int64_t side_scale(int64_t n, int64_t wanted, int64_t of)
{
    int64_t side = (2 * n * wanted + of) / (2 * of);

    return side > 0 ? side : 1;
}

int resample_size(const struct resample_options *options, const char *path, int64_t width, int64_t height,
                  int64_t *new_width, int64_t *new_height)
{
    int64_t wanted_width = options->width, wanted_height = options->height;
    int64_t most = options->max_side;

    if (most && most < width && width >= height)
        wanted_width = most;
    else if (most && most < height)
        wanted_height = most;
    *new_width = wanted_width ? wanted_width : wanted_height ? side_scale(width, wanted_height, height) : width;
    *new_height = wanted_height ? wanted_height : wanted_width ? side_scale(height, wanted_width, width) : height;
    return check_limits(path, *new_width, *new_height);
}

/* Weights -------------------------------------------------------------------------------------------------- */

/* For each place of the result, which places of the source it is made of. A zeroed one is safe to free. */
struct filter {
    int64_t taps;   /* of each: the most that any has */
    int64_t *first; /* into the source, never descending */
    int64_t *count; /* 1 to taps */
    double *weight; /* taps for each; their sum is 1 */
};

static double sinc(double t)
{
    return t == 0 ? 1 : sin(M_PI * t) / (M_PI * t);
}

/* Into filter, whose arrays are there: which places, and their weights. */
static void place_fill(struct filter *filter, int64_t place, int64_t from, int64_t to)
{
    double scale = (double)from / (double)to, width = scale > 1 ? scale : 1;
    double middle = ((double)place + 0.5) * scale - 0.5, sum = 0;
    double *weight = filter->weight + place * filter->taps;
    int64_t first = (int64_t)floor(middle - LOBES * width) + 1, last = (int64_t)ceil(middle + LOBES * width) - 1;

    first = first > 0 ? first : 0;
    last = last < from - 1 ? last : from - 1;
    filter->first[place] = first;
    filter->count[place] = last - first + 1;
    for (int64_t i = first; i <= last; i++) {
        double t = ((double)i - middle) / width;
        sum += weight[i - first] = sinc(t) * sinc(t / LOBES);
    }
    for (int64_t i = first; i <= last; i++)
        weight[i - first] /= sum;
}

static void filter_free(struct filter *filter)
{
    free(filter->first);
    free(filter->count);
    free(filter->weight);
}

/* Returns 0, or -1 without an error where there is no memory. */
static int filter_make(struct filter *filter, int64_t from, int64_t to)
{
    int64_t most = from > to ? 2 * LOBES * from / to + 2 : 2 * LOBES + 2;

    filter->taps = most < from ? most : from;
    filter->first = malloc((size_t)to * sizeof *filter->first);
    filter->count = malloc((size_t)to * sizeof *filter->count);
    filter->weight = malloc((size_t)to * (size_t)filter->taps * sizeof *filter->weight);
    if (!filter->first || !filter->count || !filter->weight)
        return -1;
    for (int64_t place = 0; place < to; place++)
        place_fill(filter, place, from, to);
    return 0;
}

/* Rows ----------------------------------------------------------------------------------------------------- */

/* A picture that is being resized. Values of a row in `kept` are colours, or, with alpha, colours times alpha and
 * alpha. */
struct resizing {
    struct image *picture;
    int64_t width, height;       /* that will be */
    int64_t shift;               /* pixels before the source in the picture's memory */
    size_t channels;             /* 3, or 4 with alpha */
    struct filter columns, rows; /* owned */
    float *source;               /* one row of the source; owned */
    float *kept;                 /* the last rows.taps rows, resized sideways, row i at i % taps; owned */
    double *sum;                 /* one row of the result; owned */
};

static void resizing_free(struct resizing *job)
{
    filter_free(&job->columns);
    filter_free(&job->rows);
    free(job->source);
    free(job->kept);
    free(job->sum);
}

/* How many pixels there must be before the source's first, so that no row is written over one that is yet to be
 * read: those that row y needs have been read when it is written. */
static int64_t shift_needed(const struct resizing *job)
{
    int64_t shift = 0;

    for (int64_t y = 0; y < job->height; y++) {
        int64_t read = job->rows.first[y] + job->rows.count[y];
        int64_t wanted = (y + 1) * job->width - read * job->picture->width;
        if (read < job->picture->height && wanted > shift)
            shift = wanted;
    }
    return shift;
}

/* Row i of the source, ready to be summed up. */
static void source_load(const struct resizing *job, int64_t i)
{
    int64_t width = job->picture->width, at = job->shift + i * width;
    const float *pixel = job->picture->pixels + 3 * at;
    float *x = job->source;

    if (job->channels == 3) {
        memcpy(x, pixel, (size_t)width * 3 * sizeof *x);
        return;
    }
    for (int64_t j = 0; j < width; j++, pixel += 3, x += 4) {
        x[3] = (float)(job->picture->alpha[at + j] / 65535.0 + ALPHA_LEAST);
        for (int c = 0; c < 3; c++)
            x[c] = pixel[c] * x[3];
    }
}

/* Row i of the source among the rows that are kept. */
static void row_keep(const struct resizing *job, int64_t i)
{
    const struct filter *columns = &job->columns;
    size_t channels = job->channels;
    float *y = job->kept + (size_t)(i % job->rows.taps) * (size_t)job->width * channels;

    source_load(job, i);
    for (int64_t place = 0; place < job->width; place++, y += channels) {
        const float *x = job->source + (size_t)columns->first[place] * channels;
        const double *weight = columns->weight + place * columns->taps;
        double sum[4] = {0};

        for (int64_t tap = 0; tap < columns->count[place]; tap++, x += channels)
            for (size_t c = 0; c < channels; c++)
                sum[c] += weight[tap] * (double)x[c];
        for (size_t c = 0; c < channels; c++)
            y[c] = (float)sum[c];
    }
}

static double clip(double x, double least, double most)
{
    return x < least ? least : x > most ? most : x;
}

/* Row y of the result, from those that are kept. */
static void row_make(const struct resizing *job, int64_t y)
{
    const struct filter *rows = &job->rows;
    size_t count = (size_t)job->width * job->channels;
    int64_t at = y * job->width;
    float *pixel = job->picture->pixels + 3 * at;
    const double *sum = job->sum;

    memset(job->sum, 0, count * sizeof *sum);
    for (int64_t tap = 0; tap < rows->count[y]; tap++) {
        const float *x = job->kept + (size_t)((rows->first[y] + tap) % rows->taps) * count;
        double weight = rows->weight[y * rows->taps + tap];

        for (size_t i = 0; i < count; i++)
            job->sum[i] += weight * (double)x[i];
    }
    for (int64_t j = 0; j < job->width; j++, pixel += 3, sum += job->channels) {
        double seen = job->channels == 4 ? sum[3] : 1;

        for (int c = 0; c < 3; c++)
            pixel[c] = seen != 0 ? (float)clip(sum[c] / seen, -1, 1) : 0;
        if (job->channels == 4)
            job->picture->alpha[at + j] = (uint16_t)(clip((seen - ALPHA_LEAST) * 65535, 0, 65535) + 0.5);
    }
}

/* Memory --------------------------------------------------------------------------------------------------- */

/* Everything beside the picture. Returns 0, or -1 without an error where there is no memory. */
static int resizing_allocate(struct resizing *job)
{
    size_t row = (size_t)job->width * job->channels;

    if (filter_make(&job->columns, job->picture->width, job->width) ||
        filter_make(&job->rows, job->picture->height, job->height))
        return -1;
    job->source = malloc((size_t)job->picture->width * job->channels * sizeof *job->source);
    job->kept = malloc((size_t)job->rows.taps * row * sizeof *job->kept);
    job->sum = malloc(row * sizeof *job->sum);
    return job->source && job->kept && job->sum ? 0 : -1;
}

/* Makes *values hold `room` of `bytes` bytes each, where there are fewer now, `count`. Returns 0, or -1. */
static int array_grow(void **values, int64_t room, int64_t count, size_t bytes)
{
    void *grown = room > count ? realloc(*values, (size_t)room * bytes) : *values;

    if (!grown)
        return -1;
    *values = grown;
    return 0;
}

/* Gives the picture the memory of both sizes, and moves the source to where it is not in the way. */
static int picture_grow(struct resizing *job)
{
    struct image *picture = job->picture;
    int64_t count = picture->width * picture->height, wanted = job->width * job->height;
    int64_t room = count + job->shift > wanted ? count + job->shift : wanted;
    size_t bytes = 3 * sizeof *picture->pixels + (picture->alpha ? sizeof *picture->alpha : 0);
    void *pixels = picture->pixels, *alpha = picture->alpha;

    /* The system would promise it, and end the process later. */
    if (room > count && (size_t)(room - count) * bytes > memory_spare())
        return -1;
    int failed = array_grow(&pixels, room, count, 3 * sizeof *picture->pixels);
    picture->pixels = pixels;
    if (!failed && alpha)
        failed = array_grow(&alpha, room, count, sizeof *picture->alpha);
    picture->alpha = alpha;
    if (failed)
        return -1;
    memmove(picture->pixels + 3 * job->shift, picture->pixels, (size_t)count * 3 * sizeof *picture->pixels);
    if (picture->alpha)
        memmove(picture->alpha + job->shift, picture->alpha, (size_t)count * sizeof *picture->alpha);
    return 0;
}

/* Gives back what the new size does not need. */
static void picture_shrink(struct image *picture)
{
    size_t count = (size_t)(picture->width * picture->height);
    float *pixels = realloc(picture->pixels, count * 3 * sizeof *pixels);
    uint16_t *alpha = picture->alpha ? realloc(picture->alpha, count * sizeof *alpha) : NULL;

    picture->pixels = pixels ? pixels : picture->pixels;
    picture->alpha = alpha ? alpha : picture->alpha;
}

int image_resample(struct image *picture, const char *path, int64_t width, int64_t height)
{
    struct resizing job = {
        .picture = picture, .width = width, .height = height, .channels = picture->alpha ? 4 : 3};
    int64_t read = 0;

    if (check_limits(path, width, height))
        return -1;
    if (width == picture->width && height == picture->height)
        return 0;
    int failed = resizing_allocate(&job);
    if (!failed) {
        job.shift = shift_needed(&job);
        failed = picture_grow(&job);
    }
    if (failed) {
        resizing_free(&job);
        return error_set("%s: not enough memory to resize it to %" PRId64 " x %" PRId64 " pixels", path, width,
                         height);
    }
    for (int64_t y = 0; y < height; y++) {
        while (read < job.rows.first[y] + job.rows.count[y])
            row_keep(&job, read++);
        row_make(&job, y);
    }
    resizing_free(&job);
    picture->width = width;
    picture->height = height;
    picture_shrink(picture);
    return 0;
}
