/* Runs single evaluations through the calls that a dream makes, and brings what they leave to the host. */
#include "probe.h"

#include "error.h"
#include "transfer.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

int probe_open(struct probe *probe, struct device *device, struct net *net, int64_t h, int64_t w)
{
    const struct tensor picture = {.h = h, .w = w, .c = 3, .pitch = 3, .type = device->picture};

    *probe = (struct probe){.device = device, .x = picture, .g = picture};
    probe->plan = plan_new(net, h, w);
    if (!probe->plan || plan_allocate(probe->plan))
        goto fail;
    probe->x.data = device_alloc(device, tensor_bytes(&picture));
    probe->g.data = probe->x.data ? device_alloc(device, tensor_bytes(&picture)) : NULL;
    probe->state = probe->g.data ? device_alloc(device, ascent_bytes(1)) : NULL;
    if (!probe->state)
        goto fail;
    return 0;

fail:
    probe_close(probe);
    return -1;
}

void probe_close(struct probe *probe)
{
    if (!probe->device)
        return;
    device_free(probe->device, probe->state);
    device_free(probe->device, probe->g.data);
    device_free(probe->device, probe->x.data);
    plan_free(probe->plan);
    *probe = (struct probe){0};
}

int probe_forward(struct probe *probe, const float *picture, plan_observer *observer, void *context)
{
    if (tensor_upload(probe->device, &probe->x, picture))
        return -1;
    device_clear(probe->device, probe->state, ascent_bytes(1));
    plan_observe(probe->plan, observer, context);
    plan_forward(probe->plan, &probe->x, probe->state);
    plan_observe(probe->plan, NULL, NULL);
    return device_sync(probe->device);
}

int probe_backward(struct probe *probe, double *gradient, double *loss)
{
    struct ascent state;
    double scale = plan_gradient_scale(probe->plan);

    plan_backward(probe->plan, &probe->g);
    if (tensor_download(probe->device, &probe->g, DTYPE_F64, gradient) ||
        device_ascent_read(probe->device, probe->state, 0, &state))
        return -1;
    for (int64_t i = 0; i < probe->g.h * probe->g.w * 3; i++)
        gradient[i] /= scale;
    *loss = state.current.loss;
    return 0;
}

int probe_step(struct probe *probe, const float *picture, double *step)
{
    double scale = 1 / plan_gradient_scale(probe->plan);

    device_mean_abs(probe->device, &probe->g, scale, probe->state);
    device_ascend(probe->device, &probe->x, &probe->g, 1, scale, INFINITY, INFINITY, probe->state);
    if (tensor_download(probe->device, &probe->x, DTYPE_F64, step))
        return -1;
    for (int64_t i = 0; i < probe->x.h * probe->x.w * 3; i++)
        step[i] -= (double)picture[i];
    return 0;
}

/* Makes a, of tensor t, as b is, where they differ, and returns at how many elements they did. What lies between
 * the pixels of a slice is another node's and stays. */
static int64_t kept_merge(const struct tensor *t, uint8_t *a, const uint8_t *b)
{
    int64_t different = 0;

    for (int64_t pixel = 0; pixel < t->h * t->w; pixel++)
        for (int c = 0; c < t->c; c++) {
            int64_t i = pixel * t->pitch + c;
            bool bits = t->type == DTYPE_BITS;
            int64_t byte = bits ? i / 8 : i;
            unsigned change = (unsigned)(a[byte] ^ b[byte]) & (bits ? 1u << i % 8 : 0xffu);

            a[byte] = (uint8_t)(a[byte] ^ change);
            different += change != 0;
        }
    return different;
}

/* Copies theirs, which lies on device from, to mine; a and b have room for its bytes. */
static int kept_copy(struct device *device, const struct tensor *mine, struct device *from,
                     const struct tensor *theirs, uint8_t *a, uint8_t *b, struct flips *flips)
{
    size_t bytes = tensor_bytes(mine);
    int64_t different;

    if (device_download(device, a, mine->data, bytes) || device_download(from, b, theirs->data, bytes))
        return -1;
    different = kept_merge(mine, a, b);
    if (mine->type == DTYPE_BITS) {
        flips->signs += different;
        flips->signs_of += mine->h * mine->w * mine->c;
    } else {
        flips->winners += different;
        flips->winners_of += mine->h * mine->w * mine->c;
    }
    return different ? device_upload(device, mine->data, a, bytes) : 0;
}

int probe_take_kept(struct probe *probe, const struct probe *from, struct flips *flips)
{
    int result = 0;

    *flips = (struct flips){0};
    for (int i = 0; i < plan_kept(probe->plan) && !result; i++) {
        int node, their_node;
        const struct tensor *mine = plan_kept_tensor(probe->plan, i, &node);
        const struct tensor *theirs = plan_kept_tensor(from->plan, i, &their_node);
        size_t bytes = tensor_bytes(mine);
        uint8_t *a = malloc(bytes), *b = malloc(bytes);

        assert(node == their_node && bytes == tensor_bytes(theirs));
        if (a && b)
            result = kept_copy(probe->device, mine, from->device, theirs, a, b, flips);
        else
            result = error_set("no memory for %zu bytes of signs", bytes);
        free(a);
        free(b);
    }
    return result;
}
