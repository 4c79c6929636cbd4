/* Tests networks of other widths than the published: copies of the embedded file, each changed in one place, that
 * must run on the CPU as on the reference, or be refused in one sentence that names layer and reason. */
#include "directory.h"
#include "tests/common/evaluation.h"

#include "host/error.h"
#include "weights/embedded.h"

#include <cjson/cJSON.h>
#include <math.h>

/* The embedded file, taken apart; the data may be changed where it is. */
struct parts {
    cJSON *header;
    unsigned char *data;
    size_t count;
};

static struct parts parts_new(void)
{
    uint64_t length;
    size_t all = (size_t)(embedded_weights_end - embedded_weights);

    memcpy(&length, embedded_weights, sizeof length);
    struct parts parts = {.header = cJSON_ParseWithLength((const char *)embedded_weights + sizeof length, length),
                          .count = all - sizeof length - length};
    parts.data = malloc(parts.count);
    must(parts.header && parts.data, "the embedded file");
    memcpy(parts.data, embedded_weights + sizeof length + length, parts.count);
    return parts;
}

/* Writes what parts have become and frees them; returns the path. */
static const char *parts_write(struct parts *parts, const char *name)
{
    const char *path = in_directory(name);
    char *text = cJSON_PrintUnformatted(parts->header);
    uint64_t length = strlen(text);
    FILE *file = fopen(path, "wb");

    must(file && fwrite(&length, sizeof length, 1, file) == 1 && fwrite(text, length, 1, file) == 1 &&
             fwrite(parts->data, parts->count, 1, file) == 1 && !fclose(file),
         path);
    free(text);
    free(parts->data);
    cJSON_Delete(parts->header);
    return path;
}

/* A number of a tensor's shape or of its data_offsets. */
static double number_of(const struct parts *parts, const char *tensor, const char *list, int index)
{
    const cJSON *entry = cJSON_GetObjectItem(parts->header, tensor);
    const cJSON *number = cJSON_GetArrayItem(cJSON_GetObjectItem(entry, list), index);

    must(number, tensor);
    return number->valuedouble;
}

static void number_set(struct parts *parts, const char *tensor, const char *list, int index, double value)
{
    const cJSON *entry = cJSON_GetObjectItem(parts->header, tensor);

    cJSON_SetNumberValue(cJSON_GetArrayItem(cJSON_GetObjectItem(entry, list), index), value);
}

/* Leaves a layer the first of its channels: outputs come first in the file. */
static void narrow(struct parts *parts, int layer, int channels)
{
    static const char *const suffix[] = {"weight", "bias"};

    for (int i = 0; i < 2; i++) {
        char name[32];

        snprintf(name, sizeof name, "conv2d_%d.%s", layer, suffix[i]);
        double begin = number_of(parts, name, "data_offsets", 0), end = number_of(parts, name, "data_offsets", 1);
        double part = (end - begin) / number_of(parts, name, "shape", 0);
        number_set(parts, name, "shape", 0, channels);
        number_set(parts, name, "data_offsets", 1, begin + part * channels);
    }
}

/* The error of opening target with the weights at path; "" where it opens. */
static const char *open_error(const char *path, const char *target_name)
{
    struct device *device = device_open("cpu", &(struct device_options){0});
    struct weights *weights = weights_open(path);
    struct network network;
    struct target target = {.weight = 1};
    struct net *net = NULL;

    must(device && weights, path);
    error_set("%s", "");
    if (!network_init(&network, weights)) {
        target.node = network_find(&network, target_name);
        net = net_open(device, &network, weights, &target, 1, true);
    }
    CHECK(net || *error_message(), "%s fails without a word", path);
    if (net)
        error_set("%s", "");
    net_close(net);
    weights_close(weights);
    device_close(device);
    return error_message();
}

static void check_refused(const char *path, const char *target, const char *what)
{
    const char *error = open_error(path, target);

    CHECK(strstr(error, what) && strstr(error, path) && !strchr(error, '\n'), "%s: \"%s\" lacks \"%s\"", target,
          error, what);
}

static void check_opens(const char *path, const char *target)
{
    const char *error = open_error(path, target);

    CHECK(!*error, "%s: %s", target, error);
}

static void test_refused(void)
{
    struct parts parts = parts_new();
    number_set(&parts, "conv2d_7.weight", "shape", 0, 48);
    number_set(&parts, "conv2d_7.weight", "shape", 1, 48);
    const char *path = parts_write(&parts, "neighbour");
    check_refused(path, "mixed0",
                  "conv2d_7.weight is 48x48x1x1: it reads 48 channels, but the layers before it put "
                  "out 96");
    check_opens(path, "activation_6");

    parts = parts_new();
    narrow(&parts, 12, 8);
    path = parts_write(&parts, "concatenation");
    check_opens(path, "mixed0");
    check_refused(path, "mixed1",
                  "conv2d_13.weight is 32x128x1x1: it reads 128 channels, but the layers before it put "
                  "out 120");

    parts = parts_new();
    cJSON_DeleteItemFromObject(parts.header, "conv2d_7.bias");
    check_refused(parts_write(&parts, "bias"), "mixed0", "conv2d_7 has neither a BatchNorm nor a bias");

    parts = parts_new();
    number_set(&parts, "conv2d_8.bias", "shape", 0, 31);
    number_set(&parts, "conv2d_8.bias", "data_offsets", 1,
               number_of(&parts, "conv2d_8.bias", "data_offsets", 0) + 62);
    check_refused(parts_write(&parts, "short"), "mixed0", "conv2d_8.bias is 31, the network wants 32");

    /* Little-endian float16: infinity is 0x7c00, one NaN 0xfe00. */
    for (int i = 0; i < 2; i++) {
        parts = parts_new();
        unsigned char *value = parts.data + (size_t)number_of(&parts, "conv2d_2.weight", "data_offsets", 0) + 2 * 5;
        value[0] = 0;
        value[1] = i ? 0xfe : 0x7c;
        check_refused(parts_write(&parts, "value"), "activation_2",
                      i ? "nan at index 5" : "conv2d_2.weight holds inf at index 5; the file is damaged");
    }

    check_refused(WEIGHTS_EMBEDDED, "mixed6", "mixed6 is not in these weights: embedded: conv2d_51 has no kernel");
    check_refused(WEIGHTS_EMBEDDED, "activation_62", "activation_62 is not in these weights: ");
    check_refused(WEIGHTS_EMBEDDED, "mixed10", "or take a target up to mixed5");
}

/* A width that cannot be computed with is nobody's business who does not need the layer. */
static void test_odd(void)
{
    struct parts parts = parts_new();
    narrow(&parts, 50, 95);
    const char *path = parts_write(&parts, "odd");
    check_opens(path, "activation_41");
    check_refused(path, "mixed5", "activation_50 has 95 channels; only multiples of 8 can be computed with");
}

/* Each branch its own width: the CPU against the reference. */
static void test_any_width(void)
{
    enum { H = 141, W = 133 };
    struct parts parts = parts_new();
    narrow(&parts, 41, 40);
    narrow(&parts, 44, 8);
    narrow(&parts, 50, 88);
    const char *path = parts_write(&parts, "widths"), *const devices[] = {"reference", "cpu"};
    static double gradient[2][H * W * 3];
    static float picture[H * W * 3];
    double loss[2], difference = 0, sum = 0;

    for (int i = 0; i < H * W * 3; i++)
        picture[i] = sinf((float)i / 7.1f) * cosf((float)(i / W) / 5.3f);
    for (int i = 0; i < 2; i++) {
        struct device *device = device_open(devices[i], &(struct device_options){0});
        struct weights *weights = weights_open(path);
        struct network network;

        must(device && weights && !network_init(&network, weights), devices[i]);
        CHECK(network.nodes[network_find(&network, "mixed5")].channels == 40 + 8 + 96 + 88, "%d channels",
              network.nodes[network_find(&network, "mixed5")].channels);
        struct evaluation e = evaluation_open(device, &network, weights, "mixed5", true, H, W);
        evaluation_forward(&e, picture, NULL, NULL);
        loss[i] = evaluation_backward(&e, gradient[i]);
        evaluation_close(&e);
        weights_close(weights);
        device_close(device);
    }
    for (int i = 0; i < H * W * 3; i++) {
        difference += (gradient[1][i] - gradient[0][i]) * (gradient[1][i] - gradient[0][i]);
        sum += gradient[0][i] * gradient[0][i];
    }
    CHECK(fabs(loss[1] / loss[0] - 1) < 1e-5, "loss %.9g against %.9g", loss[1], loss[0]);
    CHECK(sum > 0 && sqrt(difference / sum) < 2e-2, "gradient: relative L2 %.3g", sqrt(difference / sum));
}

int main(void)
{
    directory_make();
    test_refused();
    test_odd();
    test_any_width();
    directory_remove_all();
    return check_result();
}
