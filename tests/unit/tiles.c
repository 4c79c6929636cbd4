/* The arithmetic of tiles against brute force that shares nothing with it: a network of hashes, in one direction at
 * a time, is run over a whole picture and over every crop. A hash takes in all that a layer's window sees, zeros
 * that are padded and what is left out of a mean included, so a position whose hash is the same in both depends on
 * the same pixels by the same ways. No device computes anything here; tests/dream/tiles.c is about values. */
#include "tests/check.h"

#include "host/error.h"
#include "host/net_internal.h"
#include "host/tiles.h"

#include <math.h>
#include <string.h>

enum { MOST_TARGETS = 4, BORDER = 2 /* positions of a target that are not stimulated */ };

static struct network network;

/* Some targets and what a test says about them. */
struct trial {
    struct target targets[MOST_TARGETS];
    struct net net;
    char text[256];
};

static uint64_t state = 20260101;

/* A number in [from, to]. */
static int64_t random_in(int64_t from, int64_t to)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return from + (int64_t)((state >> 33) % (uint64_t)(to - from + 1));
}

static struct trial *trial_set(struct trial *trial, const int *nodes, int count)
{
    *trial = (struct trial){0};
    for (int i = 0; i < count; i++) {
        trial->targets[i] = (struct target){.node = nodes[i], .weight = 1};
        snprintf(trial->text + strlen(trial->text), sizeof trial->text - strlen(trial->text), "%s%s", i ? "," : "",
                 network.nodes[nodes[i]].name);
    }
    trial->net = (struct net){.network = &network, .targets = trial->targets, .target_count = count};
    return trial;
}

/* The network of hashes ----------------------------------------------------------------------------------- */

/* What every node puts out for n pixels in one direction. */
struct line {
    int64_t length[NETWORK_NODES];
    uint64_t *hash[NETWORK_NODES];
};

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

/* The hash of a window of k positions that begins at `first`; which of them are there is part of it. */
static uint64_t window(const uint64_t *x, int64_t length, int64_t first, int64_t k)
{
    uint64_t hash = 1;

    for (int64_t i = first; i < first + k; i++)
        hash = mix(hash, i >= 0 && i < length ? x[i] : 0);
    return hash;
}

static uint64_t *positions_new(int64_t n)
{
    uint64_t *positions = calloc((size_t)n + 1, sizeof *positions);

    if (!positions) {
        printf("FAILED: no memory for %lld positions\n", (long long)n);
        exit(EXIT_FAILURE);
    }
    return positions;
}

static void node_run(struct line *line, int index, bool columns)
{
    const struct node *node = &network.nodes[index];
    int64_t k = columns ? node->kw : node->kh, pad = node->same ? (k - 1) / 2 : 0;
    int64_t length = line->length[node->from[0]];
    uint64_t *means = NULL;

    line->length[index] = length + 2 * pad < k ? 0 : (length + 2 * pad - k) / node->stride + 1;
    line->hash[index] = positions_new(line->length[index]);
    if (node->averaged) {
        means = positions_new(length);
        for (int64_t i = 0; i < length; i++)
            means[i] = window(line->hash[node->from[0]], length, i - 1, 3);
    }
    for (int64_t i = 0; i < line->length[index]; i++) {
        uint64_t hash = (uint64_t)index;

        for (int j = 0; j < node->inputs; j++)
            hash = mix(hash, window(means ? means : line->hash[node->from[j]], length, i * node->stride - pad, k));
        line->hash[index][i] = hash;
    }
    free(means);
}

/* Runs the network over n pixels, up to the last of the trial's targets. */
static struct line line_new(const struct trial *trial, const uint64_t *pixels, int64_t n, bool columns)
{
    struct line line = {.length[0] = n, .hash[0] = positions_new(n)};
    int last = 0;

    memcpy(line.hash[0], pixels, (size_t)n * sizeof *pixels);
    for (int i = 0; i < trial->net.target_count; i++)
        last = trial->targets[i].node > last ? trial->targets[i].node : last;
    for (int i = 1; i <= last; i++)
        node_run(&line, i, columns);
    return line;
}

static void line_free(struct line *line)
{
    for (int i = 0; i < NETWORK_NODES; i++)
        free(line->hash[i]);
}

/* Pixels from one position of a node to the next: the strides on the way. */
static int64_t jump_of(int node)
{
    int64_t jump = 1;

    for (; network.nodes[node].inputs; node = network.nodes[node].from[0])
        jump *= network.nodes[node].stride;
    return jump;
}

/* One direction ------------------------------------------------------------------------------------------- */

struct direction {
    const struct trial *trial;
    int64_t n, side;
    bool columns;
    const struct strip *strips;
    int count;
    const int64_t *sizes;
    int64_t jump; /* the targets' largest */
};

#define WHERE "%s, %lld pixels, side %lld, %s, strip %d of %d: own [%lld, %lld), crop [%lld, %lld)"
#define WHERE_OF(d, k)                                                                                             \
    (d)->trial->text, (long long)(d)->n, (long long)(d)->side, (d)->columns ? "columns" : "rows", k, (d)->count,   \
        (long long)(d)->strips[k].own.begin, (long long)(d)->strips[k].own.end,                                    \
        (long long)(d)->strips[k].crop.begin, (long long)(d)->strips[k].crop.end

/* That strips stand one beside the other, and crops where they may. */
static void check_spans(const struct direction *d)
{
    int64_t next = 0;

    for (int k = 0; k < d->count; k++) {
        const struct strip *strip = &d->strips[k];
        int64_t size = strip->crop.end - strip->crop.begin;

        CHECK(strip->own.begin == next && strip->own.end > next, "from %lld on: " WHERE, (long long)next,
              WHERE_OF(d, k));
        CHECK(strip->crop.begin >= 0 && strip->crop.begin <= strip->own.begin &&
                  strip->crop.end >= strip->own.end && strip->crop.end <= d->n,
              WHERE, WHERE_OF(d, k));
        CHECK(strip->crop.begin % d->jump == 0, "a jump of %lld: " WHERE, (long long)d->jump, WHERE_OF(d, k));
        CHECK(size == d->sizes[0] || size == d->sizes[1], "sizes %lld and %lld: " WHERE, (long long)d->sizes[0],
              (long long)d->sizes[1], WHERE_OF(d, k));
        next = strip->own.end;
    }
    CHECK(next == d->n, WHERE, WHERE_OF(d, d->count - 1));
    CHECK(d->sizes[0] >= d->sizes[1], "sizes %lld and %lld", (long long)d->sizes[0], (long long)d->sizes[1]);
}

/* That the receptive field of a position, as far as the picture has it, lies in the crop. */
static void check_field(const struct direction *d, int k, int node, int64_t position)
{
    struct reach reach = network_reach(&network, node, d->columns);
    int64_t first = position * reach.jump - reach.before, last = position * reach.jump + reach.after;

    first = first > 0 ? first : 0;
    last = last < d->n ? last : d->n - 1;
    CHECK(first >= d->strips[k].crop.begin && last < d->strips[k].crop.end,
          "%s: position %lld sees pixels %lld to %lld: " WHERE, network.nodes[node].name, (long long)position,
          (long long)first, (long long)last, WHERE_OF(d, k));
}

/* That a strip's crop gives all positions that it owns what the whole picture gives them. Returns how many these
 * are. */
static int64_t check_target(const struct direction *d, int k, int node, const struct line *whole,
                            const struct line *crop)
{
    const struct strip *strip = &d->strips[k];
    int64_t jump = jump_of(node), owned = 0;

    CHECK(whole->length[node] == 0 || crop->length[node] > 0, "%s has no position: " WHERE,
          network.nodes[node].name, WHERE_OF(d, k));
    for (int64_t i = BORDER; i < whole->length[node] - BORDER; i++) {
        int64_t at = i - strip->crop.begin / jump;

        if (i * jump < strip->own.begin || i * jump >= strip->own.end)
            continue;
        owned++;
        CHECK(at >= 0 && at < crop->length[node] && crop->hash[node][at] == whole->hash[node][i],
              "%s: position %lld is not the whole picture's: " WHERE, network.nodes[node].name, (long long)i,
              WHERE_OF(d, k));
        check_field(d, k, node, i);
    }
    return owned;
}

static void check_direction(const struct direction *d)
{
    uint64_t *pixels = positions_new(d->n);
    int64_t owned[MOST_TARGETS] = {0};
    struct line whole;

    for (int64_t i = 0; i < d->n; i++)
        pixels[i] = mix((uint64_t)i + 1, 77);
    whole = line_new(d->trial, pixels, d->n, d->columns);
    check_spans(d);
    for (int k = 0; k < d->count && check_failures < 20; k++) {
        const struct span *span = &d->strips[k].crop;
        struct line crop = line_new(d->trial, pixels + span->begin, span->end - span->begin, d->columns);

        for (int i = 0; i < d->trial->net.target_count; i++)
            owned[i] += check_target(d, k, d->trial->targets[i].node, &whole, &crop);
        line_free(&crop);
    }
    for (int i = 0; i < d->trial->net.target_count; i++) {
        int64_t length = whole.length[d->trial->targets[i].node];
        int64_t stimulated = length > 2 * BORDER ? length - 2 * BORDER : 0;

        CHECK(owned[i] == stimulated, "%s: %lld of %lld positions are owned: " WHERE,
              network.nodes[d->trial->targets[i].node].name, (long long)owned[i], (long long)stimulated,
              WHERE_OF(d, d->count - 1));
    }
    line_free(&whole);
    free(pixels);
}

/* Pictures ------------------------------------------------------------------------------------------------ */

/* Whether a strip lies inside the picture. */
static bool has_inner(const struct direction *d)
{
    return d->count >= 3;
}

/* About how much larger than what they own crops inside the picture are. */
static int64_t halo_of_largest(const int *nodes, int count)
{
    int64_t largest = 0;

    for (int i = 0; i < count; i++) {
        struct reach reach = network_reach(&network, nodes[i], false);

        largest = reach.before + reach.after > largest ? reach.before + reach.after : largest;
    }
    return largest;
}

static void check_side(const struct direction *rows)
{
    int64_t side = rows->side / rows->jump * rows->jump;

    CHECK(tiling_jump(&rows->trial->net) == rows->jump, "%s: a jump of %lld", rows->trial->text,
          (long long)tiling_jump(&rows->trial->net));
    if (has_inner(rows)) {
        const struct span *own = &rows->strips[1].own;

        CHECK(own->end - own->begin == (side > 0 ? side : rows->jump), WHERE, WHERE_OF(rows, 1));
    }
}

static void check_picture(const struct trial *trial, int64_t h, int64_t w, int64_t side)
{
    struct tiling tiling;
    double work = 0;
    int64_t jump = 1;

    if (tiling_init(&tiling, &trial->net, h, w, side)) {
        CHECK(false, "%s, %lldx%lld, side %lld: %s", trial->text, (long long)w, (long long)h, (long long)side,
              error_message());
        return;
    }
    for (int i = 0; i < trial->net.target_count; i++)
        jump = jump_of(trial->targets[i].node) > jump ? jump_of(trial->targets[i].node) : jump;

    const struct direction rows = {trial, h, side, false, tiling.row, tiling.rows, tiling.crop_rows, jump};
    const struct direction columns = {trial, w, side, true, tiling.column, tiling.columns, tiling.crop_columns,
                                      jump};

    for (int i = 0; i < tiling.rows; i++)
        for (int j = 0; j < tiling.columns; j++)
            work += (double)(tiling.row[i].crop.end - tiling.row[i].crop.begin) *
                    (double)(tiling.column[j].crop.end - tiling.column[j].crop.begin);
    work /= (double)h * (double)w;
    CHECK(fabs(tiling.work - work) <= 1e-9 * work, "%s, %lldx%lld, side %lld: work %.12g, not %.12g", trial->text,
          (long long)w, (long long)h, (long long)side, tiling.work, work);
    if (side == 0 || side >= (h > w ? h : w))
        CHECK(tiling.rows == 1 && tiling.columns == 1 && tiling.work == 1,
              "%s, %lldx%lld, side %lld: %d x %d tiles", trial->text, (long long)w, (long long)h, (long long)side,
              tiling.rows, tiling.columns);
    check_direction(&rows);
    check_direction(&columns);
    check_side(&rows);
    tiling_free(&tiling);
    CHECK(!tiling.row && !tiling.column && tiling.rows == 0, "a tiling that is freed is empty");
}

/* The smallest picture of which a node has a position. */
static int64_t smallest_of(const struct trial *trial)
{
    int64_t n = 1;

    for (bool enough = false; !enough; n++) {
        uint64_t *pixels = positions_new(n);
        struct line line = line_new(trial, pixels, n, false);

        enough = true;
        for (int i = 0; i < trial->net.target_count; i++)
            enough = enough && line.length[trial->targets[i].node] > 0;
        line_free(&line);
        free(pixels);
    }
    return n - 1;
}

/* Every size of picture beside those at which something changes, in the sides that are the worst. */
static void test_edges(void)
{
    static const char *const names[][MOST_TARGETS] = {{"activation_1"},
                                                      {"activation_3"},
                                                      {"max_pooling2d_1"},
                                                      {"mixed0"},
                                                      {"mixed3"},
                                                      {"activation_41"},
                                                      {"mixed5"},
                                                      {"mixed7"},
                                                      {"mixed10"},
                                                      {"activation_1", "mixed10"},
                                                      {"mixed5", "activation_2", "mixed0"}};

    for (size_t t = 0; t < sizeof names / sizeof *names; t++) {
        struct trial trial;
        int nodes[MOST_TARGETS], count = 0;
        int64_t jump = 1;

        for (; count < MOST_TARGETS && names[t][count]; count++)
            nodes[count] = network_find(&network, names[t][count]);
        trial_set(&trial, nodes, count);
        for (int i = 0; i < count; i++)
            jump = jump_of(nodes[i]) > jump ? jump_of(nodes[i]) : jump;

        int64_t smallest = smallest_of(&trial), halo = halo_of_largest(nodes, count);
        int64_t sides[] = {0, 1, jump - 1, jump, jump + 1, 2 * jump, smallest, halo, 3 * jump + jump / 2, 100000};
        int64_t sizes[] = {smallest, smallest + 4 * jump, halo + 2 * jump, halo + 5 * jump};

        for (size_t s = 0; s < sizeof sides / sizeof *sides; s++)
            for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++)
                for (int64_t more = 0; more < 3; more++)
                    check_picture(&trial, sizes[n] + more, sizes[n] + random_in(0, 2 * jump), sides[s]);
    }
}

static void test_random(int trials)
{
    for (int t = 0; t < trials && !check_failures; t++) {
        struct trial trial;
        int nodes[MOST_TARGETS], count = 0, wanted = (int)random_in(1, MOST_TARGETS);

        while (count < wanted) {
            int node = (int)random_in(1, network.count - 3); /* neither avg_pool nor predictions */

            nodes[count++] = node;
            for (int i = 0; i < count - 1; i++)
                if (nodes[i] == node)
                    count--; /* again */
        }
        trial_set(&trial, nodes, count);

        int64_t smallest = smallest_of(&trial);

        check_picture(&trial, smallest + random_in(0, 900), smallest + random_in(0, 900), random_in(1, 200));
    }
}

/* Pictures as large as tiles are for: sizes no less than 32 bits would hold, of which only the spans are looked at,
 * and one that is walked through. */
static void test_large(void)
{
    struct trial trial;
    struct tiling tiling;
    int nodes[] = {network_find(&network, "activation_41")};

    trial_set(&trial, nodes, 1);
    check_picture(&trial, 1003, 20011, 1000);
    if (tiling_init(&tiling, &trial.net, 1000000, INT64_C(5000000001), 1 << 20)) {
        CHECK(false, "%s", error_message());
        return;
    }
    CHECK(tiling.column[tiling.columns - 1].own.end == INT64_C(5000000001) && tiling.rows == 1, "%d x %d tiles",
          tiling.rows, tiling.columns);
    check_spans(&(struct direction){&trial, INT64_C(5000000001), 1 << 20, true, tiling.column, tiling.columns,
                                    tiling.crop_columns, 16});
    tiling_free(&tiling);
}

int main(int argc, char **argv)
{
    if (network_init(&network, NULL)) {
        printf("%s\n", error_message());
        return EXIT_FAILURE;
    }
    test_edges();
    test_large();
    test_random(argc > 1 ? atoi(argv[1]) : 1500);
    return check_result();
}
