/* Evaluates pictures tile by tile, or in one piece. All tiles share one piece of memory: a plan for each size that
 * crops have (two heights and two widths at most), and one crop, which is the picture's before the plan runs and
 * the gradient's after it, as the way back needs no picture. */
#include "gradient.h"

#include "error.h"

#include <assert.h>
#include <stdlib.h>

/* Recordings of more tiles would be large, and a tile's work hides the queueing. */
enum { RECORDED_TILES = 64 };

struct gradient {
    struct device *device, *pictures;
    int64_t h, w;
    struct tiling tiling;
    struct plan *plan[2][2]; /* by the tiling's crop_rows and crop_columns; NULL where a size is there twice */
    void *memory;            /* of the plan that runs */
    struct tensor crop;      /* on the device; c 0: none, plans work on the picture itself */
    struct tensor staging;   /* the same in the pictures' memory; c 0: none */
    struct ascent *loss;     /* on the device, where the caller's state is elsewhere */
    gradient_observer *observer;
    void *observer_context;
    const struct strip *rows, *columns; /* of the tile that is queued */
};

static bool is_tiled(const struct gradient *gradient)
{
    return tiling_count(&gradient->tiling) > 1;
}

static bool is_split(const struct gradient *gradient)
{
    return gradient->device != gradient->pictures;
}

/* Planning ------------------------------------------------------------------------------------------------ */

static int plans_new(struct gradient *gradient, struct net *net)
{
    const struct tiling *t = &gradient->tiling;

    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            if ((i && t->crop_rows[1] == t->crop_rows[0]) || (j && t->crop_columns[1] == t->crop_columns[0]))
                continue;
            gradient->plan[i][j] =
                plan_new_crop(net, t->crop_rows[i], t->crop_columns[j], gradient->h, gradient->w);
            if (!gradient->plan[i][j])
                return -1;
        }
    return 0;
}

/* The plan for a tile. */
static struct plan *plan_of(const struct gradient *gradient, const struct strip *rows, const struct strip *columns)
{
    const struct tiling *t = &gradient->tiling;

    return gradient->plan[rows->crop.end - rows->crop.begin != t->crop_rows[0]]
                         [columns->crop.end - columns->crop.begin != t->crop_columns[0]];
}

struct gradient *gradient_new(struct net *net, struct device *pictures, int64_t h, int64_t w, int64_t side)
{
    struct gradient *gradient = calloc(1, sizeof *gradient);

    if (!gradient) {
        error_set("out of memory while a picture of %lldx%lld pixels is planned", (long long)w, (long long)h);
        return NULL;
    }
    gradient->device = net_device(net);
    gradient->pictures = pictures;
    gradient->h = h;
    gradient->w = w;
    assert(!is_split(gradient) || (pictures->in_host_memory && pictures->picture == gradient->device->picture));
    if (tiling_init(&gradient->tiling, net, h, w, side) || plans_new(gradient, net)) {
        gradient_free(gradient);
        return NULL;
    }
    if (is_tiled(gradient) || is_split(gradient))
        gradient->crop = (struct tensor){.h = gradient->tiling.crop_rows[0],
                                         .w = gradient->tiling.crop_columns[0],
                                         .c = 3,
                                         .pitch = 3,
                                         .type = pictures->picture};
    if (is_tiled(gradient) && is_split(gradient))
        gradient->staging = gradient->crop;
    return gradient;
}

void gradient_free(struct gradient *gradient)
{
    if (!gradient)
        return;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            plan_free(gradient->plan[i][j]);
    gradient_release(gradient);
    tiling_free(&gradient->tiling);
    free(gradient);
}

const struct tiling *gradient_tiling(const struct gradient *gradient)
{
    return &gradient->tiling;
}

/* Memory -------------------------------------------------------------------------------------------------- */

static size_t plans_bytes(const struct gradient *gradient)
{
    size_t most = 0;

    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            if (gradient->plan[i][j] && plan_bytes(gradient->plan[i][j]) > most)
                most = plan_bytes(gradient->plan[i][j]);
    return most;
}

size_t gradient_bytes(const struct gradient *gradient)
{
    return plans_bytes(gradient) + (gradient->crop.c ? tensor_bytes(&gradient->crop) : 0) +
           (is_split(gradient) ? ascent_bytes(0) : 0);
}

size_t gradient_picture_bytes(const struct gradient *gradient)
{
    return gradient->staging.c ? tensor_bytes(&gradient->staging) : 0;
}

void gradient_release(struct gradient *gradient)
{
    device_free(gradient->device, gradient->memory);
    device_free(gradient->device, gradient->crop.data);
    device_free(gradient->device, gradient->loss);
    device_free(gradient->pictures, gradient->staging.data);
    gradient->memory = gradient->crop.data = gradient->staging.data = NULL;
    gradient->loss = NULL;
}

int gradient_allocate(struct gradient *gradient)
{
    gradient->memory = device_alloc(gradient->device, plans_bytes(gradient));
    if (!gradient->memory)
        return -1;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            if (gradient->plan[i][j] && plan_place(gradient->plan[i][j], gradient->memory))
                return -1;
    if (gradient->crop.c && !(gradient->crop.data = device_alloc(gradient->device, tensor_bytes(&gradient->crop))))
        return -1;
    if (gradient->staging.c &&
        !(gradient->staging.data = device_alloc(gradient->pictures, tensor_bytes(&gradient->staging))))
        return -1;
    if (is_split(gradient) && !(gradient->loss = device_alloc(gradient->device, ascent_bytes(0))))
        return -1;
    return 0;
}

/* Evaluating ---------------------------------------------------------------------------------------------- */

/* Tells the observer in which tile an activation is. */
static void observe_tile(void *context, int node, const struct tensor *activation)
{
    const struct gradient *gradient = context;

    gradient->observer(gradient->observer_context, gradient->rows, gradient->columns, node, activation);
}

/* The part of a crop's memory that a tile of this size takes. */
static struct tensor tile_tensor(struct tensor crop, const struct strip *rows, const struct strip *columns)
{
    crop.h = rows->crop.end - rows->crop.begin;
    crop.w = columns->crop.end - columns->crop.begin;
    return crop;
}

/* Brings a tile's part of the picture to crop. */
static int tile_load(struct gradient *gradient, const struct tensor *x, const struct tensor *crop)
{
    const struct strip *rows = gradient->rows, *columns = gradient->columns;
    struct tensor staging = tile_tensor(gradient->staging, rows, columns);

    if (!is_split(gradient)) {
        device_crop(gradient->device, x, rows->crop.begin, columns->crop.begin, crop);
        return 0;
    }
    if (staging.c) {
        device_crop(gradient->pictures, x, rows->crop.begin, columns->crop.begin, &staging);
        x = &staging;
    }
    return device_sync(gradient->pictures) ||
                   device_upload(gradient->device, crop->data, x->data, tensor_bytes(crop))
               ? -1
               : 0;
}

/* Adds what crop holds now to a tile's part of the gradient. */
static int tile_store(struct gradient *gradient, const struct tensor *crop, const struct tensor *g)
{
    const struct strip *rows = gradient->rows, *columns = gradient->columns;
    struct tensor staging = tile_tensor(gradient->staging, rows, columns);

    if (!is_split(gradient)) {
        device_add_crop(gradient->device, crop, rows->crop.begin, columns->crop.begin, g);
        return 0;
    }
    if (!staging.c)
        return device_download(gradient->device, g->data, crop->data, tensor_bytes(crop));
    if (device_download(gradient->device, staging.data, crop->data, tensor_bytes(crop)))
        return -1;
    device_add_crop(gradient->pictures, &staging, rows->crop.begin, columns->crop.begin, g);
    return 0;
}

static int tile_compute(struct gradient *gradient, const struct tensor *x, const struct tensor *g,
                        struct ascent *state)
{
    struct plan *plan = plan_of(gradient, gradient->rows, gradient->columns);
    struct tensor crop = tile_tensor(gradient->crop, gradient->rows, gradient->columns);

    plan_own(plan, gradient->rows, gradient->columns);
    plan_observe(plan, gradient->observer ? observe_tile : NULL, gradient);
    if (crop.c && tile_load(gradient, x, &crop))
        return -1;
    plan_forward(plan, crop.c ? &crop : x, state);
    if (!g)
        return 0;
    plan_backward(plan, crop.c ? &crop : g);
    return crop.c ? tile_store(gradient, &crop, g) : 0;
}

/* Adds the loss that has gathered on the device to the caller's state. */
static int loss_move(struct gradient *gradient, struct ascent *state)
{
    struct ascent numbers, total;

    if (device_ascent_read(gradient->device, gradient->loss, 0, &numbers) ||
        device_ascent_read(gradient->pictures, state, 0, &total))
        return -1;
    total.current.loss += numbers.current.loss;
    return device_upload(gradient->pictures, &state->current.loss, &total.current.loss, sizeof total.current.loss);
}

int gradient_compute(struct gradient *gradient, const struct tensor *x, const struct tensor *g,
                     struct ascent *state)
{
    const struct tiling *tiling = &gradient->tiling;

    assert(x->h == gradient->h && x->w == gradient->w);
    if (g && is_tiled(gradient))
        device_clear(gradient->pictures, g->data, tensor_bytes(g));
    if (is_split(gradient))
        device_clear(gradient->device, gradient->loss, ascent_bytes(0));
    for (int i = 0; i < tiling->rows; i++)
        for (int j = 0; j < tiling->columns; j++) {
            gradient->rows = &tiling->row[i];
            gradient->columns = &tiling->column[j];
            if (tile_compute(gradient, x, g, is_split(gradient) ? gradient->loss : state))
                return -1;
        }
    return is_split(gradient) ? loss_move(gradient, state) : 0;
}

bool gradient_records(const struct gradient *gradient)
{
    return gradient->device->records && !is_split(gradient) && tiling_count(&gradient->tiling) <= RECORDED_TILES;
}

double gradient_scale(const struct gradient *gradient)
{
    return plan_gradient_scale(gradient->plan[0][0]);
}

bool gradient_lower_scale(struct gradient *gradient)
{
    bool lowered = true;

    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            if (gradient->plan[i][j])
                lowered = plan_lower_gradient_scale(gradient->plan[i][j]) && lowered;
    return lowered;
}

void gradient_observe(struct gradient *gradient, gradient_observer *observer, void *context)
{
    gradient->observer = observer;
    gradient->observer_context = context;
}
