/* A whole dream in tiles has no seams. Two dreams of one picture part after a few steps, by rounding alone, so they
 * cannot be compared pixel by pixel; what a seam would be is a line across which neighbouring pixels differ more,
 * or less, than elsewhere. What the dream has added to the picture is looked at, along all borders of tiles at
 * once, and beside the same lines of the dream in one piece: those have their own mean, as layers with strides
 * leave a pattern, and most of what chance does to them happens in both dreams. PAREIDOLIA_IMAGES may name a folder
 * with cloud.jpg, of which a second dream is made. */
#include "tests/check.h"
#include "tests/common/dreaming.h"
#include "tests/common/evaluation.h"
#include "tests/common/open.h"

#include "host/transfer.h"

#include <math.h>
#include <string.h>

enum { HEIGHT = 300, WIDTH = 400, VALUES = HEIGHT * WIDTH * 3, SIDE = 32 };

static struct device *device;
static struct net *net;

/* Waves of many directions and a few edges, grainy as photographs are. */
static void draw(float *pixels)
{
    uint64_t state = 3;

    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < 3; c++) {
                float u = (float)x, v = (float)y, grain;

                state = state * 6364136223846793005u + 1442695040888963407u;
                grain = (float)(state >> 40) / (float)(1 << 24) - 0.5f;
                pixels[(y * WIDTH + x) * 3 + c] = 0.3f * sinf(0.031f * u + 0.017f * v * (float)(c + 1)) +
                                                  0.2f * sinf(0.11f * u - 0.07f * v) +
                                                  ((x / 90 + y / 70) % 2 ? 0.2f : -0.2f) + 0.1f * grain;
            }
}

/* The picture at path, resized; false: it cannot be read. */
static bool read_small(const char *path, float *pixels)
{
    struct image image;
    struct tensor x = {.c = 3, .pitch = 3, .type = DTYPE_F32};
    struct tensor y = {.h = HEIGHT, .w = WIDTH, .c = 3, .pitch = 3, .type = DTYPE_F32};

    if (image_read(path, &image))
        return false;
    x.h = image.height;
    x.w = image.width;
    x.data = device_alloc(device, tensor_bytes(&x));
    y.data = device_alloc(device, tensor_bytes(&y));
    must(x.data && y.data && tensor_upload(device, &x, image.pixels) == 0, path);
    device_resize(device, &x, &y);
    must(tensor_download(device, &y, DTYPE_F32, pixels) == 0, path);
    device_free(device, x.data);
    device_free(device, y.data);
    image_free(&image);
    return true;
}

/* What the dream adds to pixels, to be freed. */
static float *dreamed(const float *pixels, int tile, struct dream_log *log)
{
    struct dream_options options = dream_defaults();
    struct schedule_limits limits = {.tile = tile};
    struct image picture = {.height = HEIGHT, .width = WIDTH, .bits = 8};

    options.octaves = 3;
    options.iterations = 10;
    options.max_loss = INFINITY;
    options.clip = true; /* else it gathers in a few spots, and means say little */
    picture.pixels = malloc(VALUES * sizeof *picture.pixels);
    must(picture.pixels, "malloc");
    memcpy(picture.pixels, pixels, VALUES * sizeof *pixels);
    must(dream_limited(net, &picture, &options, &limits, NULL, log) == 0, "dream");
    for (int i = 0; i < VALUES; i++)
        picture.pixels[i] -= pixels[i];
    return picture.pixels;
}

/* Lines between pixel i - 1 and pixel i, by what ends there. */
enum line { ELSEWHERE, OWN, CROP, LINES };

static void mark(unsigned char *line, const struct strip *strips, int count)
{
    for (int k = 0; k + 1 < count; k++)
        line[strips[k].crop.end] = line[strips[k + 1].crop.begin] = CROP;
    for (int k = 1; k < count; k++)
        line[strips[k].own.begin] = OWN;
}

/* Mean absolute differences of neighbours across each kind of lines. */
struct means {
    double sum[LINES];
    int64_t count[LINES];
};

static void add(struct means *means, enum line line, const float *a, const float *b)
{
    for (int c = 0; c < 3; c++)
        means->sum[line] += fabs((double)a[c] - (double)b[c]);
    means->count[line] += 3;
}

static struct means means_of(const float *added, const unsigned char *rows, const unsigned char *columns)
{
    struct means means = {0};

    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            const float *pixel = added + (y * WIDTH + x) * 3;

            if (x > 0)
                add(&means, columns[x], pixel, pixel - 3);
            if (y > 0)
                add(&means, rows[y], pixel, pixel - (ptrdiff_t)WIDTH * 3);
        }
    return means;
}

/* How much more neighbours differ across a kind of lines than elsewhere. */
static double ratio(const struct means *means, enum line line)
{
    return means->sum[line] / (double)means->count[line] /
           (means->sum[ELSEWHERE] / (double)means->count[ELSEWHERE]);
}

static void check_losses(const char *name, const struct dream_log *whole, const struct dream_log *tiled)
{
    double worst = 0;

    for (int i = 0; i < whole->octaves; i++) {
        CHECK(tiled->octave[i].steps == 10 && whole->octave[i].steps == 10, "%s: %lld and %lld steps", name,
              (long long)tiled->octave[i].steps, (long long)whole->octave[i].steps);
        for (int64_t s = 0; s < whole->octave[i].steps; s++) {
            double a = tiled->octave[i].records[s].loss, b = whole->octave[i].records[s].loss;

            worst = fmax(worst, fabs(a / b - 1));
        }
    }
    printf("%s: the losses are within %.2f%%\n", name, 100 * worst);
    CHECK(worst <= 0.05, "%s: the losses are other ones", name);
}

static void test_dream(const char *name, const float *pixels)
{
    unsigned char rows[HEIGHT + 1] = {0}, columns[WIDTH + 1] = {0};
    static const char *const names[] = {[OWN] = "the borders of tiles", [CROP] = "the borders of crops"};
    struct dream_log whole_log = {0}, tiled_log = {0};
    struct tiling tiling;
    float *whole = dreamed(pixels, 0, &whole_log), *tiled = dreamed(pixels, SIDE, &tiled_log);

    must(tiling_init(&tiling, net, HEIGHT, WIDTH, SIDE) == 0, "tiling_init");
    CHECK(tiling.rows >= 3 && tiling.columns >= 3, "%d x %d tiles", tiling.rows, tiling.columns);
    mark(rows, tiling.row, tiling.rows);
    mark(columns, tiling.column, tiling.columns);

    struct means a = means_of(tiled, rows, columns), b = means_of(whole, rows, columns);

    for (enum line line = OWN; line < LINES; line++) {
        double more = ratio(&a, line) / ratio(&b, line) - 1;

        printf("%s: across %s (%lld pixels) %.4f of elsewhere, %.4f in one piece: %+.2f%%\n", name, names[line],
               (long long)a.count[line] / 3, ratio(&a, line), ratio(&b, line), 100 * more);
        CHECK(fabs(more) <= 0.02, "%s: %s are seams", name, names[line]);
    }
    check_losses(name, &whole_log, &tiled_log);
    CHECK(memcmp(whole, tiled, VALUES * sizeof *whole) != 0, "%s: nothing was dreamed in tiles", name);
    tiling_free(&tiling);
    dream_log_free(&whole_log);
    dream_log_free(&tiled_log);
    free(whole);
    free(tiled);
}

int main(int argc, char **argv)
{
    const char *images = getenv("PAREIDOLIA_IMAGES");
    struct weights *weights = weights_open(WEIGHTS_EMBEDDED);
    struct network network;
    struct target target = {.weight = 1};
    float *pixels = malloc(VALUES * sizeof *pixels);
    char path[4096];

    device = open_or_skip("cpu", (struct device_options){.precision = "fp32"});
    must(weights && network_init(&network, weights) == 0 && pixels, "open");
    target.node = network_find(&network, argc > 1 ? argv[1] : "mixed0");
    net = net_open(device, &network, weights, &target, 1, true);
    must(net, "net_open");
    draw(pixels);
    test_dream("a drawn picture", pixels);
    snprintf(path, sizeof path, "%s/cloud.jpg", images ? images : "");
    if (images && read_small(path, pixels))
        test_dream("the cloud", pixels);
    else
        printf("the cloud is left out: PAREIDOLIA_IMAGES does not say where it is\n");
    free(pixels);
    net_close(net);
    weights_close(weights);
    device_close(device);
    return check_result();
}
