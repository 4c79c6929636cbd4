/* Loss and gradient of a picture: what every step evaluates, in one piece or in exact tiles (tiles.h), with the
 * picture on the network's device or in the host's memory. */
#ifndef PAREIDOLIA_GRADIENT_H
#define PAREIDOLIA_GRADIENT_H

#include "plan.h"

struct gradient;

/* Plans the evaluation of pictures of h x w pixels; takes no device memory yet. side: of what a tile owns, see
 * tiling_init; 0: one piece. pictures is the device that picture and gradient lie on: the net's own, or one whose
 * memory is the host's and whose picture type is the same. Returns NULL with an error where the picture is too
 * small to reach a target or memory is short. net and devices must outlive it. */
struct gradient *gradient_new(struct net *net, struct device *pictures, int64_t h, int64_t w, int64_t side);
void gradient_free(struct gradient *gradient);

/* How the picture is divided. */
const struct tiling *gradient_tiling(const struct gradient *gradient);

/* Bytes that gradient_allocate takes on the net's device, and on that of the pictures where it is another. */
size_t gradient_bytes(const struct gradient *gradient);
size_t gradient_picture_bytes(const struct gradient *gradient);

/* Takes them, and gives them back; the plans stay. allocate returns 0, or -1 with an error; what it has taken by
 * then is given back by release or free. */
int gradient_allocate(struct gradient *gradient);
void gradient_release(struct gradient *gradient);

/* Queues: adds the loss at picture x to state->current.loss, and writes gradient_scale times the loss's gradient to
 * g; g NULL: the loss alone. x, g (both h x w x 3) and state lie on the pictures' device. Waits only where that is
 * not the net's. Returns 0, or -1 with an error of such a wait. */
int gradient_compute(struct gradient *gradient, const struct tensor *x, const struct tensor *g,
                     struct ascent *state);

/* Whether gradient_compute may be recorded: one device, and not so many tiles that a recording would be large. */
bool gradient_records(const struct gradient *gradient);

/* What g must be divided by, and a smaller one after an overflow; see plan.h. */
double gradient_scale(const struct gradient *gradient);
bool gradient_lower_scale(struct gradient *gradient);

/* Sees every needed node's activation in every tile, like plan_observer. */
typedef void gradient_observer(void *context, const struct strip *rows, const struct strip *columns, int node,
                               const struct tensor *activation);
void gradient_observe(struct gradient *gradient, gradient_observer *observer, void *context);

#endif
