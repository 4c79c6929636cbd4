/* pareidolia dump: what one step computes from a picture, as arrays, for whoever compares this program with
 * another: the loss, the layer's activation and the raw gradient. */
#include "commands.h"
#include "error.h"
#include "image.h"
#include "interrupt.h"
#include "npy.h"
#include "paths.h"
#include "session.h"
#include "transfer.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    const char *layer;
    const char *activation; /* NULL: not written */
    const char *gradient;   /* NULL: not computed */
    struct schedule_limits limits;
};

static const struct option dump_table[] = {
    {.name = "layer",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, layer),
     .argument = "NAME",
     .help = "the layer to stimulate; also NAME[CHANNELS], NAME:WEIGHT, and several separated by commas"},
    {.name = "activation",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, activation),
     .argument = "FILE.npy",
     .help = "write the layer's activation, shape (1, height, width, channels)"},
    {.name = "gradient",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct settings, gradient),
     .argument = "FILE.npy",
     .help = "write the gradient of the loss at the picture, not normalised, shape (1, height, width, 3)"},
    {.name = NULL},
};

/* An array on its way from the device to a file. */
struct array {
    enum dtype type;
    int64_t h, w;
    int c;
    void *values; /* owned */
};

static int array_download(struct device *device, const struct tensor *tensor, struct array *out)
{
    enum dtype type = tensor->type == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    size_t bytes = dtype_bytes(type, tensor->h * tensor->w * tensor->c);

    *out = (struct array){type, tensor->h, tensor->w, tensor->c, malloc(bytes)};
    if (!out->values)
        return error_set("no memory for an array of %zu bytes", bytes);
    return tensor_download(device, tensor, type, out->values);
}

/* Divides by what the device has multiplied the gradient with. */
static void array_unscale(struct array *array, double scale)
{
    for (int64_t i = 0; i < array->h * array->w * array->c; i++) {
        if (array->type == DTYPE_F64)
            ((double *)array->values)[i] /= scale;
        else
            ((float *)array->values)[i] = (float)((double)((float *)array->values)[i] / scale);
    }
}

static int array_write(const char *path, const struct array *array)
{
    if (interrupt_requested())
        return error_set("interrupted; %s was not written", path);
    return npy_write(path, array->type, array->h, array->w, array->c, array->values);
}

/* What a step from a picture gives. */
struct result {
    double loss;
    struct array activation, gradient; /* empty where not asked for */
};

static void result_free(struct result *result)
{
    free(result->activation.values);
    free(result->gradient.values);
}

/* Catches the target's activation as the forward pass goes by, tile after tile. */
struct catcher {
    struct device *device;
    int node;
    int64_t jump;
    struct array *activation; /* of the whole picture; NULL: not wanted */
    int result;
};

/* Copies what a tile owns from its crop's array to the whole picture's. */
static void array_place(struct array *whole, const struct array *crop, const struct strip *rows,
                        const struct strip *columns, int64_t jump)
{
    int64_t left = (columns->own.begin + jump - 1) / jump, right = (columns->own.end + jump - 1) / jump;
    int64_t bottom = (rows->own.end + jump - 1) / jump;

    right = right < whole->w ? right : whole->w;
    bottom = bottom < whole->h ? bottom : whole->h;
    for (int64_t row = (rows->own.begin + jump - 1) / jump; row < bottom && left < right; row++) {
        int64_t from = (row - rows->crop.begin / jump) * crop->w + left - columns->crop.begin / jump;

        memcpy((char *)whole->values + dtype_bytes(whole->type, (row * whole->w + left) * whole->c),
               (char *)crop->values + dtype_bytes(crop->type, from * crop->c),
               dtype_bytes(whole->type, (right - left) * whole->c));
    }
}

static void catch_activation(void *context, const struct strip *rows, const struct strip *columns, int node,
                             const struct tensor *activation)
{
    struct catcher *catcher = context;
    struct array crop = {0};

    if (node != catcher->node || catcher->result)
        return;
    catcher->result = array_download(catcher->device, activation, &crop);
    if (!catcher->result)
        array_place(catcher->activation, &crop, rows, columns, catcher->jump);
    free(crop.values);
}

/* Room for the target's activation of the whole picture. */
static int activation_new(const struct session *session, int node, const struct image *picture, struct array *out)
{
    int64_t shape[3];
    size_t bytes;

    network_shape(&session->network, node, picture->height, picture->width, shape);
    *out = (struct array){.type = session->device->activation == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32,
                          .h = shape[0],
                          .w = shape[1],
                          .c = (int)shape[2]};
    bytes = dtype_bytes(out->type, out->h * out->w * out->c);
    out->values = malloc(bytes);
    return out->values ? 0 : error_set("no memory for an array of %zu bytes", bytes);
}

/* Evaluates x and collects what was asked for. g has no data where no gradient is wanted. */
static int step_run(struct gradient *gradient, struct device *pictures, const struct tensor *x,
                    const struct tensor *g, struct ascent *state, struct catcher *catcher, struct result *out)
{
    struct ascent numbers;

    device_clear(pictures, state, ascent_bytes(0));
    if (catcher->activation)
        gradient_observe(gradient, catch_activation, catcher);
    if (gradient_compute(gradient, x, g->data ? g : NULL, state) ||
        device_ascent_read(pictures, state, 0, &numbers) || catcher->result)
        return -1;
    out->loss = numbers.current.loss;
    if (g->data) {
        if (array_download(pictures, g, &out->gradient))
            return -1;
        array_unscale(&out->gradient, gradient_scale(gradient));
    }
    return 0;
}

/* One step from picture, whose pixels are freed once they are on the device. */
static int step_compute(struct session *session, const struct targets *targets, const struct settings *settings,
                        struct image *picture, struct result *out)
{
    struct dream_options one_step = {.octaves = 1, .octave_scale = 2, .iterations = 1};
    struct catcher catcher = {.device = session->device,
                              .node = targets->target[0].node,
                              .jump = network_reach(&session->network, targets->target[0].node, false).jump,
                              .activation = settings->activation ? &out->activation : NULL};
    struct schedule *schedule =
        schedule_new(session->net, session->host, picture->height, picture->width, &one_step, &settings->limits);
    struct gradient *gradient = NULL;
    struct tensor x, g;
    struct ascent *state = NULL;
    int result = -1;

    if (!schedule)
        return -1;
    x = g = (struct tensor){
        .h = picture->height, .w = picture->width, .c = 3, .pitch = 3, .type = schedule->pictures->picture};
    gradient = schedule->octave[0].gradient;
    if (!gradient) /* nothing is stimulated, which can be looked at, too */
        schedule->octave[0].gradient = gradient =
            gradient_new(session->net, schedule->pictures, picture->height, picture->width, 0);
    if (!gradient || gradient_allocate(gradient) || !(x.data = device_alloc(schedule->pictures, tensor_bytes(&x))))
        goto fail;
    if (settings->gradient && !(g.data = device_alloc(schedule->pictures, tensor_bytes(&g))))
        goto fail;
    state = device_alloc(schedule->pictures, ascent_bytes(0));
    if (!state || tensor_upload(schedule->pictures, &x, picture->pixels) ||
        (catcher.activation && activation_new(session, catcher.node, picture, catcher.activation)))
        goto fail;
    free(picture->pixels);
    picture->pixels = NULL;
    result = step_run(gradient, schedule->pictures, &x, &g, state, &catcher, out);

fail:
    device_free(schedule->pictures, state);
    device_free(schedule->pictures, g.data);
    device_free(schedule->pictures, x.data);
    schedule_free(schedule);
    return result;
}

/* Checks that what is asked for can be written. */
static enum exit_status check_outputs(const char *image, const struct settings *settings,
                                      const struct targets *targets)
{
    const char *paths[] = {settings->activation, settings->gradient};

    if (settings->activation && targets_layers(targets) > 1) {
        error_set("--activation %s: writes one layer's activation; --layer names %d", settings->activation,
                  targets_layers(targets));
        return STATUS_USAGE;
    }
    if (paths[0] && paths[1] && path_same_file(paths[0], paths[1])) {
        error_set("%s: cannot be both activation and gradient", paths[0]);
        return STATUS_USAGE;
    }
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (!paths[i])
            continue;
        if (path_same_file(paths[i], image)) {
            error_set("%s: is the picture itself; give the array another name", paths[i]);
            return STATUS_USAGE;
        }
        if (path_check_output(paths[i]))
            return STATUS_FAILED;
    }
    return STATUS_DONE;
}

static enum exit_status dump(const char *image, const struct settings *settings,
                             const struct session_options *options)
{
    enum exit_status status = STATUS_USAGE;
    struct session session = {0};
    struct image picture = {0};
    struct result result = {0};
    struct network network;
    struct targets targets;

    if (network_init(&network, NULL) || targets_parse(&network, settings->layer, &targets))
        return STATUS_USAGE;
    status = check_outputs(image, settings, &targets);
    if (status != STATUS_DONE)
        return status;
    status = STATUS_FAILED;
    if (image_read(image, &picture) ||
        targets_check_reached(&network, &targets, image, picture.height, picture.width) ||
        session_open(&session, options, &targets, true, false))
        goto fail;
    session_notice(&session);
    if (step_compute(&session, &targets, settings, &picture, &result))
        goto fail;
    interrupt_catch(); /* so that a file that has been begun is ended or removed */
    if (settings->activation && array_write(settings->activation, &result.activation))
        goto fail;
    if (settings->gradient && array_write(settings->gradient, &result.gradient))
        goto fail;
    printf("loss %.17g\n", result.loss);
    status = STATUS_DONE;

fail:
    result_free(&result);
    image_free(&picture);
    session_close(&session);
    return status;
}

enum exit_status command_dump(int argc, char **argv)
{
    struct settings settings = {.layer = "activation_41"};
    struct session_options options = {0};
    enum exit_status status = STATUS_DONE;
    const struct command_line line = {
        .command = "dump",
        .operand = "IMAGE",
        .about =
            "Computes loss and gradient for a picture once, as a step of a dream does, prints the loss with all "
            "its digits, and writes arrays in NumPy's format: float64 from the reference device, else float32.",
        .groups = {{"the step", dump_table, &settings},
                   {"large pictures", limits_option_table, &settings.limits},
                   {"the network", session_option_table, &options}},
    };
    const char *image = NULL;

    if (!command_parsed(&line, argc, argv, &image, &status))
        return status;
    if (session_check(&options))
        return STATUS_USAGE;
    return dump(image, &settings, &options);
}
