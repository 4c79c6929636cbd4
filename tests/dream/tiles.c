/* The gradient of a picture in tiles beside the gradient of the same picture in one piece: random pictures, sizes
 * and sides, the sides that are worst included, on one device and with the picture on another.
 * Most cases run a network of eight channels a layer, which is cheap and as deep as the real one, so that tiles of
 * targets that see a thousand pixels can be tried at all; the embedded network is there for trained numbers.
 * usage: tiles DEVICE PRECISION */
#include "tests/check.h"
#include "tests/common/evaluation.h"
#include "tests/common/open.h"
#include "tests/unit/directory.h"

#include "host/difference.h"
#include "host/gradient.h"
#include "host/targets.h"
#include "host/transfer.h"

#include <math.h>
#include <string.h>

enum { NARROW = 8, BORDER = 2 };

/* What a precision is allowed. */
static const struct limits {
    const char *precision;
    double gradient; /* relative L2 where nothing flips */
    double cosine;   /* in any case */
    double loss;     /* relative */
} limits_of[] = {{"fp64", 1e-12, 1 - 1e-12, 1e-12},
                 {"fp32", 1e-5, 0.9999, 1e-6},
                 {"tf32", 2e-3, 0.9999, 1e-6},
                 {"fp16", 5e-3, 0.9999, 1e-5},
                 {"bf16", 3e-2, 0.999, 1e-4}}; /* tiles begin elsewhere in Winograd's, and signs flip */

static const char *device_name;
static const struct limits *limits;
static struct device *device, *host; /* host: in the host's memory, for pictures */

/* Numbers ------------------------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return random_state >> 33;
}

/* A number in [from, to]. */
static int64_t random_in(int64_t from, int64_t to)
{
    return from + (int64_t)(random_next() % (uint64_t)(to - from + 1));
}

/* In [-1, 1). */
static float random_float(void)
{
    return (float)random_next() / (float)(1u << 30) - 1;
}

static void *memory_new(size_t bytes)
{
    void *memory = calloc(bytes + 1, 1);

    must(memory, "calloc");
    return memory;
}

/* Waves, noise, and a patch that is flat, where winners are tied. */
static float *picture_new(int64_t h, int64_t w)
{
    float *picture = memory_new((size_t)(h * w * 3) * sizeof *picture);

    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++)
            for (int c = 0; c < 3; c++)
                picture[(y * w + x) * 3 + c] =
                    y > h / 3 && y < h / 2 && x > w / 4 && x < w / 2
                        ? 0.25f
                        : 0.5f * sinf((float)(x * (c + 2) + y * 3) * 0.11f) + 0.4f * random_float();
    return picture;
}

/* Networks ------------------------------------------------------------------------------------------------ */

struct opened {
    struct weights *weights;
    struct network network;
};

/* Writes the network of eight channels a layer, with weights that keep the size of what goes through. */
static const char *narrow_write(void)
{
    const char *path = in_directory("narrow.safetensors");
    char *header = memory_new(1 << 16);
    int at = snprintf(header, 1 << 16, "{");
    size_t count = 0;
    struct network network;
    uint64_t length;
    FILE *file = fopen(path, "wb");
    int channels[NETWORK_NODES] = {3};

    must(file && network_init(&network, NULL) == 0, path);
    random_state = 5;
    float *values = memory_new(sizeof(float) << 20);
    for (int i = 1; i < network.count; i++) {
        const struct node *node = &network.nodes[i];
        size_t bias = count;

        for (int j = 0; j < node->inputs; j++)
            channels[i] += channels[node->from[j]];
        if (node->kind != NODE_CONV)
            continue;
        int fan_in = node->kh * node->kw * channels[node->from[0]];
        channels[i] = NARROW;
        for (int j = 0; j < NARROW; j++)
            values[count++] = 0.1f * random_float();
        for (int j = 0; j < NARROW * fan_in; j++)
            values[count++] = sqrtf(6.0f / (float)fan_in) * random_float();
        at +=
            snprintf(header + at, (size_t)((1 << 16) - at),
                     "%s\"conv2d_%d.bias\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[%zu,%zu]},"
                     "\"conv2d_%d.weight\":{\"dtype\":\"F32\",\"shape\":[%d,%d,%d,%d],\"data_offsets\":[%zu,%zu]}",
                     at > 1 ? "," : "", node->layer, NARROW, 4 * bias, 4 * (bias + NARROW), node->layer, NARROW,
                     channels[node->from[0]], node->kh, node->kw, 4 * (bias + NARROW), 4 * count);
    }
    at += snprintf(header + at, (size_t)((1 << 16) - at), "}");
    length = (uint64_t)at;
    must(fwrite(&length, sizeof length, 1, file) == 1 && fwrite(header, (size_t)at, 1, file) == 1 &&
             fwrite(values, sizeof *values, count, file) == count && !fclose(file),
         path);
    free(values);
    free(header);
    return path;
}

static void open_weights(struct opened *o, const char *path)
{
    o->weights = weights_open(path);
    must(o->weights && network_init(&o->network, o->weights) == 0, path);
}

static struct net *open_targets(struct opened *o, const char *text, struct targets *targets)
{
    struct net *net;

    must(targets_parse(&o->network, text, targets) == 0, text);
    net = net_open(device, &o->network, o->weights, targets->target, targets->count, true);
    must(net, text);
    return net;
}

/* Activations --------------------------------------------------------------------------------------------- */

/* Every node's activation, packed. */
struct activations {
    struct tensor shape[NETWORK_NODES]; /* c 0: not seen */
    double *values[NETWORK_NODES];
};

static void activations_take(struct activations *a, int node, const struct tensor *activation)
{
    free(a->values[node]);
    a->shape[node] = *activation;
    a->values[node] = memory_new((size_t)(activation->h * activation->w * activation->c) * sizeof(double));
    must(tensor_download(device, activation, DTYPE_F64, a->values[node]) == 0, "an activation");
}

static void activations_free(struct activations *a)
{
    for (int i = 0; i < NETWORK_NODES; i++)
        free(a->values[i]);
    *a = (struct activations){0};
}

static double at(const struct activations *a, int node, int64_t y, int64_t x, int c)
{
    return a->values[node][(y * a->shape[node].w + x) * a->shape[node].c + c];
}

/* Which of the window's nine values, counted from pixel (y, x), is the first largest. */
static int winner(const struct activations *a, int node, int64_t y, int64_t x, int c)
{
    int best = 0;

    for (int i = 1; i < 9; i++)
        if (at(a, node, y + i / 3, x + i % 3, c) > at(a, node, y + best / 3, x + best % 3, c))
            best = i;
    return best;
}

/* What of every node a strip's own positions depend on, in positions of the whole picture: found by walking back
 * from the targets. */
struct needs {
    struct span node[NETWORK_NODES];
    int64_t jump[NETWORK_NODES];
};

static struct needs needs_of(const struct network *network, const struct targets *targets, const int64_t size[2],
                             const struct strip *strip, bool columns)
{
    struct needs needs = {.jump = {1}};

    for (int i = 1; i < network->count; i++)
        needs.jump[i] = needs.jump[network->nodes[i].from[0]] * network->nodes[i].stride;
    for (int i = network->count - 1; i > 0; i--) {
        const struct node *node = &network->nodes[i];
        int64_t k = columns ? node->kw : node->kh, around = node->averaged, shape[3];
        int64_t pad = (node->same ? (k - 1) / 2 : 0) + around;
        struct span *need = &needs.node[i];

        network_shape(network, i, size[0], size[1], shape);
        for (int t = 0; t < targets->count; t++)
            for (int64_t p = BORDER; targets->target[t].node == i && p < shape[columns] - BORDER; p++)
                if (p * needs.jump[i] >= strip->own.begin && p * needs.jump[i] < strip->own.end) {
                    need->begin = need->end == 0 || p < need->begin ? p : need->begin;
                    need->end = p + 1 > need->end ? p + 1 : need->end;
                }
        if (need->end == 0)
            continue;
        for (int j = 0; j < node->inputs; j++) {
            struct span *from = &needs.node[node->from[j]];
            int64_t first = need->begin * node->stride - pad;
            int64_t last = (need->end - 1) * node->stride - pad + k + 2 * around;

            network_shape(network, node->from[j], size[0], size[1], shape);
            first = first > 0 ? first : 0;
            last = last < shape[columns] ? last : shape[columns];
            from->begin = from->end == 0 || first < from->begin ? first : from->begin;
            from->end = last > from->end ? last : from->end;
        }
    }
    return needs;
}

/* Tiles whose activations are compared with the whole picture's. */
struct comparison {
    const struct network *network;
    const struct targets *targets;
    int64_t size[2];
    const struct strip *rows, *columns; /* of the tile that needs are known for */
    struct needs need_rows, need_columns;
    struct activations whole, tile;
    int64_t flips, values, different;
};

static void see_whole(void *context, const struct strip *rows, const struct strip *columns, int node,
                      const struct tensor *activation)
{
    struct comparison *c = context;

    (void)rows;
    (void)columns;
    activations_take(&c->whole, node, activation);
}

/* Counts what is different of a node at position (y, x) of the whole picture. */
static void compare_position(struct comparison *c, int index, int64_t y, int64_t x)
{
    const struct node *node = &c->network->nodes[index];
    int64_t top = c->rows->crop.begin / c->need_rows.jump[index];
    int64_t left = c->columns->crop.begin / c->need_columns.jump[index];

    for (int channel = 0; channel < c->whole.shape[index].c; channel++) {
        double a = at(&c->whole, index, y, x, channel), b = at(&c->tile, index, y - top, x - left, channel);

        c->values++;
        c->different += a != b;
        if (node->kind == NODE_CONV)
            c->flips += (a > 0) != (b > 0);
        else if (node->kind == NODE_MAX_POOL)
            c->flips += winner(&c->whole, node->from[0], 2 * y, 2 * x, channel) !=
                        winner(&c->tile, node->from[0], 2 * (y - top), 2 * (x - left), channel);
    }
}

static void see_tile(void *context, const struct strip *rows, const struct strip *columns, int node,
                     const struct tensor *activation)
{
    struct comparison *c = context;

    if (rows != c->rows || columns != c->columns) {
        c->rows = rows;
        c->columns = columns;
        c->need_rows = needs_of(c->network, c->targets, c->size, rows, false);
        c->need_columns = needs_of(c->network, c->targets, c->size, columns, true);
    }
    activations_take(&c->tile, node, activation);
    const struct span *need_rows = &c->need_rows.node[node], *need_columns = &c->need_columns.node[node];
    int64_t top = rows->crop.begin / c->need_rows.jump[node];
    int64_t left = columns->crop.begin / c->need_columns.jump[node];

    if (need_rows->end == 0 || need_columns->end == 0)
        return;
    if (need_rows->begin < top || need_columns->begin < left || need_rows->end - top > activation->h ||
        need_columns->end - left > activation->w) {
        CHECK(false, "%s: a tile has not all positions that it needs", c->network->nodes[node].name);
        return;
    }
    for (int64_t y = need_rows->begin; y < need_rows->end; y++)
        for (int64_t x = need_columns->begin; x < need_columns->end; x++)
            compare_position(c, node, y, x);
}

/* Evaluations --------------------------------------------------------------------------------------------- */

/* A picture that is evaluated in one way. */
struct run {
    struct device *pictures;
    struct gradient *gradient;
    struct tensor x, g;
    struct ascent *state;
    double *values; /* the gradient */
    double loss;
};

static struct run run_new(struct net *net, struct device *pictures, const float *picture, int64_t h, int64_t w,
                          int64_t side)
{
    struct tensor shape = {.h = h, .w = w, .c = 3, .pitch = 3, .type = pictures->picture};
    struct run r = {.pictures = pictures, .x = shape, .g = shape};

    r.gradient = gradient_new(net, pictures, h, w, side);
    must(r.gradient && gradient_allocate(r.gradient) == 0, "gradient_new");
    r.x.data = device_alloc(pictures, tensor_bytes(&shape));
    r.g.data = device_alloc(pictures, tensor_bytes(&shape));
    r.state = device_alloc(pictures, ascent_bytes(1));
    must(r.x.data && r.g.data && r.state && tensor_upload(pictures, &r.x, picture) == 0, "the picture");
    r.values = memory_new((size_t)(h * w * 3) * sizeof *r.values);
    return r;
}

static void run_free(struct run *r)
{
    gradient_free(r->gradient);
    device_free(r->pictures, r->x.data);
    device_free(r->pictures, r->g.data);
    device_free(r->pictures, r->state);
    free(r->values);
}

/* The loss that is found where `before` is in the state already, with or without the gradient. */
static double run_compute(struct run *r, bool gradient, double before)
{
    int64_t count = r->g.h * r->g.w * 3;
    float *rubbish = memory_new((size_t)count * sizeof *rubbish);
    struct ascent state = {.current.loss = before};

    for (int64_t i = 0; i < count; i++)
        rubbish[i] = NAN; /* whatever was in g may not matter */
    must(tensor_upload(r->pictures, &r->g, rubbish) == 0 &&
             device_upload(r->pictures, r->state, &state, sizeof state) == 0,
         "upload");
    free(rubbish);
    must(gradient_compute(r->gradient, &r->x, gradient ? &r->g : NULL, r->state) == 0, "gradient_compute");
    must(device_ascent_read(r->pictures, r->state, 0, &state) == 0, "the loss");
    if (gradient) {
        must(tensor_download(r->pictures, &r->g, DTYPE_F64, r->values) == 0, "the gradient");
        for (int64_t i = 0; i < count; i++)
            r->values[i] /= gradient_scale(r->gradient);
    }
    return state.current.loss;
}

static double relative(double a, double b)
{
    return a == b ? 0 : fabs(a - b) / fabs(b);
}

/* One case ------------------------------------------------------------------------------------------------ */

static struct totals {
    int cases, flipped;
    int64_t tiles, flips, values, different;
    double relative, cosine, loss; /* the worst, the first of cases where nothing flips */
} totals = {.cosine = 1};

static void compare_runs(struct comparison *c, const char *what, struct run *whole, struct run *tiled)
{
    const struct tiling *tiling = gradient_tiling(tiled->gradient);
    struct difference d = difference_of_doubles(tiled->values, whole->values, whole->g.h * whole->g.w * 3);

    totals.cases++;
    totals.tiles += tiling->rows * tiling->columns;
    totals.flips += c->flips;
    totals.flipped += c->flips > 0;
    totals.values += c->values;
    totals.different += c->different;
    totals.relative = fmax(totals.relative, c->flips ? 0 : d.relative_l2);
    totals.cosine = fmin(totals.cosine, d.cosine);
    totals.loss = fmax(totals.loss, relative(tiled->loss, whole->loss));
    CHECK(c->values > 0 && whole->loss != 0, "%s: %lld values, a loss of %g", what, (long long)c->values,
          whole->loss);
    CHECK(c->flips || d.relative_l2 <= limits->gradient, "%s: %d x %d tiles: relative L2 %.3g, cosine %.9f", what,
          tiling->rows, tiling->columns, d.relative_l2, d.cosine);
    CHECK(d.cosine >= limits->cosine, "%s: %d x %d tiles: relative L2 %.3g, cosine %.9f, %lld flips", what,
          tiling->rows, tiling->columns, d.relative_l2, d.cosine, (long long)c->flips);
    CHECK(relative(tiled->loss, whole->loss) <= limits->loss, "%s: loss %.17g, %.17g in one piece", what,
          tiled->loss, whole->loss);
    if (strcmp(limits->precision, "fp64") == 0)
        CHECK(c->different == 0, "%s: %lld of %lld activations are different", what, (long long)c->different,
              (long long)c->values);
}

/* That b has the same bytes as a; b is computed here. */
static void check_same(const char *what, const char *how, const struct run *a, struct run *b)
{
    double loss = run_compute(b, true, 0), alone = run_compute(b, false, 0), more = run_compute(b, false, 3);

    CHECK(memcmp(a->values, b->values, (size_t)(a->g.h * a->g.w * 3) * sizeof *a->values) == 0,
          "%s: %s: other bytes", what, how);
    CHECK(loss == a->loss && alone == a->loss, "%s: %s: loss %.17g, without the gradient %.17g, %.17g before", what,
          how, loss, alone, a->loss);
    CHECK(relative(more, 3 + loss) < 1e-12, "%s: %s: 3 and %.17g are %.17g", what, how, loss, more);
}

/* Lowers the scale as far as it can be. */
static void check_scale(const char *what, const struct run *whole, struct run *tiled)
{
    double scale = gradient_scale(tiled->gradient);
    struct run before = *tiled;
    int64_t count = tiled->g.h * tiled->g.w * 3;
    int lowered = 0;

    CHECK(scale == gradient_scale(whole->gradient), "%s: a scale of %g, %g in one piece", what, scale,
          gradient_scale(whole->gradient));
    before.values = memory_new((size_t)count * sizeof *before.values);
    memcpy(before.values, tiled->values, (size_t)count * sizeof *before.values);
    while (lowered < 100 && gradient_lower_scale(tiled->gradient)) {
        double loss = run_compute(tiled, true, 0);
        struct difference d = difference_of_doubles(tiled->values, before.values, count);

        lowered++;
        CHECK(gradient_scale(tiled->gradient) == ldexp(scale, -4 * lowered),
              "%s: a scale of %g, lowered %d times from %g", what, gradient_scale(tiled->gradient), lowered, scale);
        CHECK(loss == before.loss, "%s: the scale changes the loss", what);
        /* What is lost are gradients that are too small for the type, few at first. */
        CHECK(lowered > 1 || d.relative_l2 < 0.05, "%s: scale %g: relative L2 %.3g, cosine %.9f", what,
              gradient_scale(tiled->gradient), d.relative_l2, d.cosine);
    }
    CHECK((lowered > 0) == (device->activation == DTYPE_F16), "%s: lowered %d times", what, lowered);
    free(before.values);
}

static void test_picture(struct opened *o, struct net *net, const struct targets *targets, const char *name,
                         int64_t h, int64_t w, const int64_t *sides, int count, bool thoroughly)
{
    float *picture = picture_new(h, w);
    struct comparison c = {.network = &o->network, .targets = targets, .size = {h, w}};
    struct run whole = run_new(net, device, picture, h, w, 0);

    gradient_observe(whole.gradient, see_whole, &c);
    whole.loss = run_compute(&whole, true, 0);
    gradient_observe(whole.gradient, NULL, NULL);
    for (int i = 0; i < count; i++) {
        struct run tiled = run_new(net, device, picture, h, w, sides[i]);
        char what[256];

        snprintf(what, sizeof what, "%s of %lldx%lld pixels, side %lld", name, (long long)w, (long long)h,
                 (long long)sides[i]);
        c.rows = c.columns = NULL;
        c.flips = c.values = c.different = 0;
        gradient_observe(tiled.gradient, see_tile, &c);
        tiled.loss = run_compute(&tiled, true, 0);
        gradient_observe(tiled.gradient, NULL, NULL);
        compare_runs(&c, what, &whole, &tiled);
        if (thoroughly) {
            struct run apart = run_new(net, host, picture, h, w, sides[i]);

            check_same(what, "the picture is elsewhere", &tiled, &apart);
            check_same(what, "a second time", &tiled, &tiled);
            check_scale(what, &whole, &tiled);
            run_free(&apart);
        }
        run_free(&tiled);
    }
    if (thoroughly) {
        struct run apart = run_new(net, host, picture, h, w, 0);

        check_same(name, "in one piece, the picture elsewhere", &whole, &apart);
        run_free(&apart);
    }
    activations_free(&c.whole);
    activations_free(&c.tile);
    run_free(&whole);
    free(picture);
}

/* A target at some sizes: rows that are few where its field is large, and columns enough for several tiles. */
struct subject {
    const char *targets;
    int64_t rows, columns; /* at least so many, */
    int64_t more_rows, more_columns;
    int trials;
    bool thoroughly; /* also elsewhere, again, and with other scales: many evaluations */
};

static void test_subject(struct opened *o, const struct subject *s)
{
    struct targets targets;
    struct net *net = open_targets(o, s->targets, &targets);
    int64_t jump = tiling_jump(net);

    for (int i = 0; i < s->trials; i++) {
        int64_t sides[] = {random_in(1, 4 * jump), i % 2 ? jump : random_in(3, 8) * jump - 1};

        test_picture(o, net, &targets, s->targets, s->rows + random_in(0, s->more_rows),
                     s->columns + random_in(0, s->more_columns), sides, 2, s->thoroughly && i == 0);
    }
    net_close(net);
}

int main(int argc, char **argv)
{
    static const struct subject narrow[] = {
        {"activation_1", 11, 11, 20, 20, 2, true},
        {"activation_3", 17, 17, 50, 50, 4, true},
        {"max_pooling2d_1", 27, 27, 50, 50, 2, false},
        {"mixed0", 110, 110, 60, 60, 3, true},
        {"mixed3", 200, 220, 80, 90, 2, false},
        {"activation_2,mixed3:-2,activation_7:0.25", 108, 230, 50, 90, 2, true},
        {"activation_41", 107, 400, 30, 60, 1, false},
        {"activation_41", 390, 107, 60, 30, 1, false},
        {"mixed5", 107, 600, 30, 90, 2, false},
        {"mixed7", 107, 980, 30, 100, 2, false},
        {"mixed7,activation_3[1,4-6]:0.5", 107, 980, 10, 50, 1, false},
        {"activation_1,mixed10", 205, 1400, 10, 40, 1, false},
    };
    static const struct subject trained[] = {{"mixed0", 75, 130, 10, 20, 1, true},
                                             {"mixed3", 107, 210, 10, 20, 1, false}};
    struct device_options options = {.precision = argc > 2 ? argv[2] : NULL};
    struct opened o;

    if (argc < 3) {
        printf("usage: tiles DEVICE PRECISION\n");
        return 2;
    }
    device_name = argv[1];
    device = open_or_skip(device_name, options);
    host = open_or_skip(strcmp(device_name, "reference") == 0 ? "reference" : "cpu", (struct device_options){0});
    for (size_t i = 0; i < sizeof limits_of / sizeof *limits_of; i++)
        if (strcmp(limits_of[i].precision, device->precision) == 0)
            limits = &limits_of[i];
    must(limits, "a precision without limits");

    directory_make();
    open_weights(&o, narrow_write());
    random_state = 1;
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++)
        test_subject(&o, &narrow[i]);
    weights_close(o.weights);
    directory_remove_all();
    open_weights(&o, WEIGHTS_EMBEDDED);
    for (size_t i = 0; i < sizeof trained / sizeof *trained; i++)
        test_subject(&o, &trained[i]);
    weights_close(o.weights);
    device_close(host);
    device_close(device);
    printf("%d cases, %lld tiles; %lld of %lld activations are different, in %d cases %lld signs or winners flip\n"
           "relative L2 at most %.3g where none does, cosine at least %.9f, loss within %.3g\n",
           totals.cases, (long long)totals.tiles, (long long)totals.different, (long long)totals.values,
           totals.flipped, (long long)totals.flips, totals.relative, totals.cosine, totals.loss);
    return check_result();
}
