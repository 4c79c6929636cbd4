/* Chooses how a dream is computed. Memory is known exactly only once something is planned, which takes a while; so
 * the whole picture is planned first, and where that is too large tiles are chosen by estimate, planned and
 * counted. */
#include "schedule.h"

#include "clock.h"
#include "error.h"
#include "memory.h"

#include <assert.h>
#include <inttypes.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A picture that is planned, or computed, for what can be learned from it. */
enum { SAMPLE_SIDE = 512 };

/* Pictures move to the host's memory if tiles would otherwise cost so much more work. */
#define WORK_WORTH_MOVING 1.25

/* Estimates are corrected by what planning says, so often at most. */
enum { ATTEMPTS = 8 };

struct dream_options dream_defaults(void)
{
    return (struct dream_options){
        .octaves = 4, .octave_scale = 1.4, .iterations = 20, .step = 0.01, .max_loss = 20};
}

int64_t octave_size(int64_t n, int octave, const struct dream_options *options)
{
    return (int64_t)((double)n / pow(options->octave_scale, options->octaves - 1 - octave));
}

/* Choosing ------------------------------------------------------------------------------------------------ */

/* What is free. */
struct room {
    size_t device; /* of the network's device */
    size_t host;   /* of the host's memory, for pictures that do not count against the former */
    bool limited;  /* the user's limit is why device is no more */
    bool elsewhere;
    enum picture_place pictures;
};

/* A way to compute the largest octave. */
struct choice {
    int64_t side; /* 0: in one piece */
    bool apart;
    double work; /* pixels of all crops / pixels; INFINITY: there is no such way */
};

/* Whether pictures that do not count against the limit are still in the same memory. */
static bool same_memory(const struct schedule *s)
{
    return s->device->in_host_memory;
}

/* a + b, or SIZE_MAX. */
static size_t bytes_more(size_t a, size_t b)
{
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

static struct room room_of(const struct schedule *s, const struct schedule_limits *limits)
{
    struct room room = {
        .device = SIZE_MAX, .host = SIZE_MAX, .elsewhere = limits->elsewhere, .pictures = limits->pictures};

    if (!limits->elsewhere) {
        room.device = bytes_more(device_available(s->device), same_memory(s) ? limits->returned : 0);
        room.host = bytes_more(memory_spare(), limits->returned);
    }
    room.limited = limits->memory > 0 && limits->memory < room.device;
    if (room.limited)
        room.device = limits->memory;
    return room;
}

/* The original, the dream and its gradient, and the state. Where pictures are resized there are the octave before's
 * and this one's, but no gradient yet. */
static size_t pictures_bytes(const struct schedule *s, int octave)
{
    const struct scheduled_octave *o = &s->octave[octave];
    enum dtype type = s->device->picture;

    return dtype_bytes(type, s->height * s->width * 3) + 2 * dtype_bytes(type, o->height * o->width * 3) +
           ascent_bytes(s->options.iterations);
}

/* What the network may take if pictures of that many bytes lie on its device, or apart; 0: they do not fit. */
static size_t network_room(const struct schedule *s, const struct room *room, size_t pictures, bool apart)
{
    if (!apart)
        return room->device > pictures ? room->device - pictures : 0;
    if (room->host <= pictures)
        return 0;
    if (same_memory(s) && room->host - pictures < room->device)
        return room->host - pictures;
    return room->device;
}

/* Whether pieces of h x w pixels fit, the network taking about so many bytes a pixel. Tiles have a crop beside it.
 */
static bool piece_fits(const struct schedule *s, double rate, int64_t h, int64_t w, bool tile, size_t room)
{
    double crop = tile ? (double)dtype_bytes(s->device->picture, 3) : 0;

    return (double)h * (double)w * (rate + crop) <= (double)room && net_largest(s->net, h, w) < NET_TENSOR_LIMIT;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The tiles with the least work of those that fit; of equal ones the largest. */
static int tiles_choose(const struct schedule *s, double rate, size_t room, struct choice *choice)
{
    const struct scheduled_octave *largest = &s->octave[s->options.octaves - 1];
    int64_t longer = largest->height > largest->width ? largest->height : largest->width;
    int64_t step = tiling_jump(s->net);

    choice->work = INFINITY;
    while (longer / step > 4096) /* candidates enough */
        step *= 2;
    for (int64_t side = step; side < longer + step; side += step) {
        struct tiling tiling;

        if (!piece_fits(s, rate, smaller(side, largest->height), smaller(side, largest->width), true, room))
            break;
        if (tiling_init(&tiling, s->net, largest->height, largest->width, side))
            return -1;
        if (tiling.work <= choice->work &&
            piece_fits(s, rate, tiling.crop_rows[0], tiling.crop_columns[0], true, room)) {
            choice->work = tiling.work;
            choice->side = side;
        }
        tiling_free(&tiling);
    }
    return 0;
}

/* Whether pictures may lie apart, or with the network. */
static bool way_allowed(const struct schedule *s, const struct room *room, bool apart)
{
    if (same_memory(s))
        return !apart || room->limited;
    return apart ? s->host && room->pictures != PICTURES_ON_DEVICE : room->pictures != PICTURES_ON_HOST;
}

/* In which tiles, and where the pictures lie then; in one piece where there is room for that beside pictures that
 * lie apart. */
static int way_choose(const struct schedule *s, const struct room *room, double rate, struct choice *out)
{
    const struct scheduled_octave *largest = &s->octave[s->options.octaves - 1];
    size_t pictures = pictures_bytes(s, s->options.octaves - 1);
    struct choice ways[2] = {{.apart = false}, {.apart = true}};
    /* In the same memory nothing is gained but that the limit is not kept: the last resort. */
    double worth_moving = same_memory(s) ? INFINITY : WORK_WORTH_MOVING;

    for (int i = 0; i < 2; i++) {
        size_t free = network_room(s, room, pictures, ways[i].apart);

        ways[i].work = INFINITY;
        if (!way_allowed(s, room, ways[i].apart))
            continue;
        if (piece_fits(s, rate, largest->height, largest->width, ways[i].apart && !same_memory(s), free))
            ways[i].work = 1;
        else if (tiles_choose(s, rate, free, &ways[i]))
            return -1;
    }
    *out = ways[0].work < INFINITY && ways[0].work <= worth_moving * ways[1].work ? ways[0] : ways[1];
    return 0;
}

/* Planning ------------------------------------------------------------------------------------------------ */

static bool fits(const struct schedule *s, const struct room *room)
{
    return s->network_bytes <= network_room(s, room, s->picture_bytes, s->apart);
}

static const struct tiling *largest_tiling(const struct schedule *s)
{
    const struct gradient *gradient = s->octave[s->options.octaves - 1].gradient;

    return gradient ? gradient_tiling(gradient) : NULL;
}

/* Says that it cannot fit. */
static int cannot_fit(const struct schedule *s, const struct room *room)
{
    char host[64] = "";

    if (!same_memory(s))
        snprintf(host, sizeof host, ", the host %s", bytes_text(room->host).text);
    return error_set("%" PRId64 "x%" PRId64 " pixels take %s for the network%s and %s for pictures; %s has %s%s%s; "
                     "take a smaller picture or another device",
                     s->width, s->height, bytes_text(s->network_bytes).text, s->tile ? ", in tiles," : "",
                     bytes_text(s->picture_bytes).text, s->device->name, bytes_text(room->device).text,
                     room->limited ? " that --memory allows" : " free", host);
}

static int octave_plan(struct schedule *s, struct scheduled_octave *o, size_t pictures)
{
    o->network_bytes = 0;
    o->picture_bytes = pictures;
    if (!o->silent && s->options.iterations > 0) {
        o->gradient = gradient_new(s->net, s->pictures, o->height, o->width, s->tile);
        if (!o->gradient)
            return -1;
        o->network_bytes = gradient_bytes(o->gradient);
        o->picture_bytes += gradient_picture_bytes(o->gradient);
    }
    s->network_bytes = o->network_bytes > s->network_bytes ? o->network_bytes : s->network_bytes;
    s->picture_bytes = o->picture_bytes > s->picture_bytes ? o->picture_bytes : s->picture_bytes;
    return 0;
}

/* Plans all octaves in the way that is chosen, the largest first, and no more where that does not fit. */
static int octaves_plan(struct schedule *s, const struct choice *choice, const struct room *room)
{
    uint64_t programs = s->device->programs; /* a sum over all that was ever planned */
    const struct tiling *tiling;

    for (int i = 0; i < s->options.octaves; i++) {
        gradient_free(s->octave[i].gradient);
        s->octave[i].gradient = NULL;
    }
    s->tile = choice->side;
    s->apart = choice->apart;
    s->pictures = choice->apart ? s->host : s->device;
    s->network_bytes = s->picture_bytes = 0;
    for (int i = s->options.octaves - 1; i >= 0; i--) {
        if (octave_plan(s, &s->octave[i], pictures_bytes(s, i)))
            return -1;
        if (!fits(s, room))
            break;
    }
    tiling = largest_tiling(s);
    if (!tiling || tiling_count(tiling) == 1)
        s->tile = 0;
    s->programs = s->device->programs - programs;
    s->device_bytes = s->network_bytes + (s->pictures == s->device ? s->picture_bytes : 0);
    s->host_bytes = same_memory(s)             ? s->device_bytes
                    : s->pictures == s->device ? dtype_bytes(DTYPE_F32, s->height * s->width * 3)
                                               : s->picture_bytes;
    return 0;
}

/* Plans in the given tiles. */
static int fit_forced(struct schedule *s, const struct room *room, int64_t side)
{
    for (int apart = 0; apart < 2; apart++) {
        const struct tiling *tiling;

        if (!way_allowed(s, room, apart))
            continue;
        if (octaves_plan(s, &(struct choice){.side = side, .apart = apart}, room))
            return -1;
        tiling = largest_tiling(s);
        if (!room->elsewhere && tiling &&
            net_largest(s->net, tiling->crop_rows[0], tiling->crop_columns[0]) >= NET_TENSOR_LIMIT)
            return error_set("--tile %" PRId64
                             ": tensors of such tiles have more than 2^31 values, which are not computed; "
                             "take smaller ones",
                             side);
        if (fits(s, room))
            return 0;
    }
    return cannot_fit(s, room);
}

/* Bytes a pixel of what is planned for the largest octave, crops left out. */
static double rate_planned(const struct schedule *s)
{
    const struct tiling *tiling = largest_tiling(s);
    double pixels = (double)tiling->crop_rows[0] * (double)tiling->crop_columns[0];
    bool crop = tiling_count(tiling) > 1 || s->pictures != s->device;

    return (double)s->network_bytes / pixels - (crop ? (double)dtype_bytes(s->device->picture, 3) : 0);
}

/* The same of a small picture. */
static int rate_sample(const struct schedule *s, double *rate)
{
    const struct scheduled_octave *largest = &s->octave[s->options.octaves - 1];
    int64_t h = smaller(largest->height, SAMPLE_SIDE), w = smaller(largest->width, SAMPLE_SIDE);
    struct gradient *sample = gradient_new(s->net, s->device, h, w, 0);

    if (!sample)
        return -1;
    *rate = (double)gradient_bytes(sample) / (double)(h * w);
    gradient_free(sample);
    return 0;
}

/* In one piece if that fits, else chooses tiles, plans, and chooses again with what planning has taught. */
static int fit_chosen(struct schedule *s, const struct room *room)
{
    const struct scheduled_octave *largest = &s->octave[s->options.octaves - 1];
    bool in_place = way_allowed(s, room, false);
    double rate;

    if (in_place && net_largest(s->net, largest->height, largest->width) < NET_TENSOR_LIMIT) {
        if (octaves_plan(s, &(struct choice){.side = 0}, room))
            return -1;
        if (fits(s, room))
            return 0;
        rate = rate_planned(s);
    } else if (rate_sample(s, &rate)) {
        return -1;
    }
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        struct choice choice;

        if (way_choose(s, room, rate, &choice))
            return -1;
        if (choice.work == INFINITY)
            break;
        if (octaves_plan(s, &choice, room))
            return -1;
        if (fits(s, room))
            return 0;
        rate = fmax(rate * 1.01, rate_planned(s));
    }
    return fit_forced(s, room, tiling_jump(s->net)); /* the smallest tiles that there are, or the sentence */
}

/* The octaves' sizes. */
static int octaves_lay_out(struct schedule *s)
{
    const struct dream_options *options = &s->options;

    s->octave = calloc((size_t)options->octaves, sizeof *s->octave);
    if (!s->octave)
        return error_set("no memory for the plan of %d octaves", options->octaves);
    for (int i = 0; i < options->octaves; i++) {
        struct scheduled_octave *o = &s->octave[i];

        o->height = octave_size(s->height, i, options);
        o->width = octave_size(s->width, i, options);
        if (o->height < 1 || o->width < 1)
            return error_set("the smallest of %d octaves, each %g times the next, would be %" PRId64 "x%" PRId64
                             " pixels; take fewer octaves or a smaller scale",
                             options->octaves, 1 / options->octave_scale, o->width, o->height);
        o->silent = !net_stimulates(s->net, o->height, o->width);
    }
    return 0;
}

static int fit(struct schedule *s, const struct room *room, int tile)
{
    bool computes = s->options.iterations > 0 && !s->octave[s->options.octaves - 1].silent;
    int64_t jump = tiling_jump(s->net);

    if (!tile && computes)
        return fit_chosen(s, room);
    return fit_forced(s, room, tile && tile < jump ? jump : tile / jump * jump); /* as it will be said */
}

/* Lets what is freed go back to the system at once, as is counted. glibc keeps as much as the largest block that
 * was ever freed, tens of megabytes of pictures. */
static void memory_give_back(void)
{
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    mallopt(M_TRIM_THRESHOLD, 128 * 1024);
#endif
}

struct schedule *schedule_new(struct net *net, struct device *host, int64_t h, int64_t w,
                              const struct dream_options *options, const struct schedule_limits *limits)
{
    struct schedule *s = calloc(1, sizeof *s);
    struct room room;

    assert(options->octaves > 0 && options->octave_scale > 1 && options->iterations >= 0);
    if (!s) {
        error_set("no memory for the plan of a dream");
        return NULL;
    }
    memory_give_back();
    s->net = net;
    s->device = net_device(net);
    s->host = same_memory(s) ? s->device : host;
    s->options = *options;
    s->height = h;
    s->width = w;
    room = room_of(s, limits);
    if (octaves_lay_out(s) || fit(s, &room, limits->tile)) {
        schedule_free(s);
        return NULL;
    }
    return s;
}

void schedule_free(struct schedule *schedule)
{
    if (!schedule)
        return;
    for (int i = 0; i < schedule->options.octaves && schedule->octave; i++)
        gradient_free(schedule->octave[i].gradient);
    free(schedule->octave);
    free(schedule);
}

/* Time ---------------------------------------------------------------------------------------------------- */

/* Seconds of a step of h x w pixels, the second of two: the first warms up. */
static double step_seconds(struct device *device, struct gradient *gradient, int64_t h, int64_t w)
{
    struct tensor x = {.h = h, .w = w, .c = 3, .pitch = 3, .type = device->picture}, g = x;
    struct ascent *state = NULL;
    double begin = 0, seconds = NAN;

    if (gradient_allocate(gradient))
        goto fail;
    x.data = device_alloc(device, tensor_bytes(&x));
    g.data = x.data ? device_alloc(device, tensor_bytes(&g)) : NULL;
    state = g.data ? device_alloc(device, ascent_bytes(0)) : NULL;
    if (!state)
        goto fail;
    device_clear(device, x.data, tensor_bytes(&x));
    device_clear(device, state, ascent_bytes(0));
    for (int i = 0; i < 2; i++) {
        begin = clock_seconds();
        if (gradient_compute(gradient, &x, &g, state) || device_sync(device))
            goto fail;
    }
    seconds = clock_seconds() - begin;

fail:
    device_free(device, state);
    device_free(device, g.data);
    device_free(device, x.data);
    gradient_release(gradient);
    return seconds;
}

/* Seconds of a step for each pixel that is computed: of the smallest octave that takes steps, or of a piece of it
 * that is no larger than its tiles. */
static double pixel_seconds(const struct schedule *s, const struct scheduled_octave *smallest)
{
    const struct tiling *tiling = gradient_tiling(smallest->gradient);
    int64_t h = smaller(tiling->crop_rows[0], SAMPLE_SIDE), w = smaller(tiling->crop_columns[0], SAMPLE_SIDE);
    bool itself = h == smallest->height && w == smallest->width && s->pictures == s->device;
    struct gradient *gradient = itself ? smallest->gradient : gradient_new(s->net, s->device, h, w, 0);
    double seconds = gradient ? step_seconds(s->device, gradient, h, w) : NAN;

    if (!itself)
        gradient_free(gradient);
    return seconds / ((double)h * (double)w);
}

double schedule_estimate(const struct schedule *schedule)
{
    const struct scheduled_octave *smallest = NULL;
    double pixels = 0;

    for (int i = schedule->options.octaves - 1; i >= 0; i--) {
        const struct scheduled_octave *o = &schedule->octave[i];

        if (!o->gradient)
            continue;
        smallest = o;
        pixels += (double)o->height * (double)o->width * gradient_tiling(o->gradient)->work;
    }
    return smallest ? pixel_seconds(schedule, smallest) * pixels * schedule->options.iterations : 0;
}

struct schedule_text schedule_describe(const struct schedule *schedule)
{
    const struct scheduled_octave *largest = &schedule->octave[schedule->options.octaves - 1];
    const struct tiling *tiling = largest->gradient ? gradient_tiling(largest->gradient) : NULL;
    const char *place = !schedule->apart        ? ""
                        : same_memory(schedule) ? " beside what --memory allows"
                                                : " in the host's memory";
    struct schedule_text text;
    char how[128] = "in one piece";

    if (tiling && tiling_count(tiling) > 1)
        snprintf(how, sizeof how,
                 "in %" PRId64 " tiles that own %" PRId64 " pixels a side and compute %.0f%% more for their halos",
                 tiling_count(tiling), schedule->tile, 100 * (tiling->work - 1));
    snprintf(text.text, sizeof text.text, "%s, %s for the network and %s for pictures%s", how,
             bytes_text(schedule->network_bytes).text, bytes_text(schedule->picture_bytes).text, place);
    return text;
}
