/* Tests weights/: small HDF5 and safetensors files, right and wrong ones, are written into a temporary directory
 * and read back; then the untrained and the embedded network. Real weights are looked at where PAREIDOLIA_WEIGHTS
 * names them. */
#include "directory.h"

#include "host/error.h"
#include "weights/weights.h"

#include <hdf5.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A value that depends on the tensor and the place, and is exact in 16-bit types: a multiple of 1/32 in [-1, 1]. */
static double sample(int tensor, size_t index)
{
    return ((double)((index * 37 + (size_t)tensor * 11) % 65) - 32) / 32;
}

/* What weights_read should say about a file that has something wrong with it: every part, and the file's name. */
static void check_sentence(const char *path, const char *const *parts)
{
    CHECK(strstr(error_message(), path), "\"%s\" does not name %s", error_message(), path);
    CHECK(!strchr(error_message(), '\n'), "\"%s\" is more than one line", error_message());
    for (; *parts; parts++)
        CHECK(strstr(error_message(), *parts), "\"%s\" lacks \"%s\"", error_message(), *parts);
}

#define PARTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The file must be refused when it is opened. */
static void check_open_fails(const char *path, const char *const *parts)
{
    struct weights *weights = weights_open(path);

    CHECK(!weights, "%s was opened", path);
    check_sentence(path, parts);
    weights_close(weights);
}

/* The file must open, but this layer of kh x kw x cin must be refused. */
static void check_read_fails(const char *path, int layer, int kh, int kw, int cin, const char *const *parts)
{
    struct weights *weights = weights_open(path);
    struct layer_weights read = {.kh = kh, .kw = kw, .cin = cin};

    CHECK(weights, "%s", error_message());
    if (!weights)
        return;
    CHECK(weights_read(weights, layer, &read) == -1, "layer %d of %s was read", layer, path);
    CHECK(!read.kernel && !read.bias, "a failed read left arrays behind");
    check_sentence(path, parts);
    weights_close(weights);
}

/* HDF5 files */

static hid_t h5_new(const char *name)
{
    hid_t file = H5Fcreate(in_directory(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    if (file < 0)
        exit(EXIT_FAILURE);
    return file;
}

/* Writes a dataset, with the groups on its path. values NULL: sample(tensor, index). */
static void h5_put(hid_t file, const char *path, hid_t type, int rank, const hsize_t *size, int tensor,
                   const double *values)
{
    hid_t links = H5Pcreate(H5P_LINK_CREATE), space = H5Screate_simple(rank, size, NULL);
    size_t count = (size_t)H5Sget_simple_extent_npoints(space);
    double *buffer = malloc((count + 1) * sizeof *buffer);

    for (size_t i = 0; i < count; i++)
        buffer[i] = values ? values[i] : sample(tensor, i);
    H5Pset_create_intermediate_group(links, 1);
    hid_t dataset = H5Dcreate2(file, path, type, space, links, H5P_DEFAULT, H5P_DEFAULT);
    if (dataset < 0 || H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer) < 0)
        exit(EXIT_FAILURE);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(links);
    free(buffer);
}

#define SIZE(...) ((const hsize_t[]){__VA_ARGS__})

/* How a Keras version names and nests things. */
struct layout {
    const char *title;
    const char *kernel, *norm; /* printf formats: the dataset, from the layer's number and the tensor's name */
    int first;                 /* the number of the first layer; 0 has no number in its name */
};

static const struct layout layouts[] = {
    {"Keras's published file", "conv2d_%1$d/conv2d_%1$d/%2$s:0",
     "batch_normalization_%1$d/batch_normalization_%1$d/%2$s:0", 1},
    {"not nested", "conv2d_%1$d/%2$s:0", "batch_normalization_%1$d/%2$s:0", 1},
    {"whole model", "model_weights/conv2d_%1$d/conv2d_%1$d/%2$s:0",
     "model_weights/batch_normalization_%1$d/batch_normalization_%1$d/%2$s:0", 1},
    {"model in a model", "model_weights/inception_v3/conv2d_%1$d/%2$s:0",
     "model_weights/inception_v3/batch_normalization_%1$d/%2$s:0", 1},
    {"other session's name inside", "conv2d_%1$d/conv2d_%1$d_1/%2$s:0",
     "batch_normalization_%1$d/batch_normalization_%1$d_1/%2$s:0", 1},
    {"0-based, no :0", "conv2d_%1$d/conv2d_%1$d/%2$s", "batch_normalization_%1$d/batch_normalization_%1$d/%2$s", 0},
    {"second model of a session", "conv2d_%1$d/conv2d_%1$d/%2$s:0",
     "batch_normalization_%1$d/batch_normalization_%1$d/%2$s:0", 95},
};

/* Composes a name; "conv2d_0" is "conv2d" in a 0-based file. */
static const char *layout_name(const char *format, int number, const char *tensor)
{
    static char name[256];

    snprintf(name, sizeof name, format, number, tensor);
    for (char *zero; (zero = strstr(name, "_0"));)
        memmove(zero, zero + 2, strlen(zero + 2) + 1);
    return name;
}

static void h5_put_layer(hid_t file, const struct layout *layout, int layer, const hsize_t *kernel, hid_t type,
                         int with_gamma, const double *variance)
{
    int number = layout->first + layer - 1;

    h5_put(file, layout_name(layout->kernel, number, "kernel"), type, 4, kernel, 10 * layer, NULL);
    if (with_gamma)
        h5_put(file, layout_name(layout->norm, number, "gamma"), type, 1, kernel + 3, 10 * layer + 1, NULL);
    h5_put(file, layout_name(layout->norm, number, "beta"), type, 1, kernel + 3, 10 * layer + 2, NULL);
    h5_put(file, layout_name(layout->norm, number, "moving_mean"), type, 1, kernel + 3, 10 * layer + 3, NULL);
    h5_put(file, layout_name(layout->norm, number, "moving_variance"), type, 1, kernel + 3, 10 * layer + 4,
           variance);
}

static const double variances[8] = {0, 0.25, 0.5, 0.75, 1, 1.5, 2, 4};

/* Reads a layer that h5_put_layer or its like has written and compares with the formula. */
static void check_folded(struct weights *weights, const char *title, int layer, const hsize_t *kernel,
                         int with_gamma)
{
    struct layer_weights read = {.kh = (int)kernel[0], .kw = (int)kernel[1], .cin = (int)kernel[2]};
    double worst = 0;

    CHECK(weights_channels(weights, layer) == (int)kernel[3], "%s: %s", title, error_message());
    int status = weights_read(weights, layer, &read);
    CHECK(status == 0, "%s: %s", title, error_message());
    if (status)
        return;
    CHECK(read.cout == (int)kernel[3], "%s: %d channels", title, read.cout);
    for (size_t o = 0; o < (size_t)read.cout; o++) {
        double gamma = with_gamma ? sample(10 * layer + 1, o) : 1;
        double deviation = sqrt(variances[o] + 0.001);
        double bias = sample(10 * layer + 2, o) - sample(10 * layer + 3, o) * gamma / deviation;
        worst = fmax(worst, fabs(read.bias[o] - bias) / fmax(1, fabs(bias)));
        for (size_t row = 0; row < kernel[0] * kernel[1] * kernel[2]; row++) {
            size_t index = row * kernel[3] + o;
            double value = sample(10 * layer, index) * gamma / deviation;
            worst = fmax(worst, fabs(read.kernel[index] - value) / fmax(1, fabs(value)));
        }
    }
    CHECK(worst <= 1e-15, "%s: layer %d is off by %g", title, layer, worst);
    layer_weights_free(&read);
    layer_weights_free(&read);
}

static void test_h5_layouts(void)
{
    const hsize_t *first = SIZE(3, 3, 3, 8), *second = SIZE(1, 7, 8, 5);

    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        hid_t file = h5_new("layout.h5");
        h5_put_layer(file, &layouts[i], 1, first, H5T_IEEE_F32LE, 0, variances);
        h5_put_layer(file, &layouts[i], 2, second, H5T_IEEE_F64BE, 1, variances);
        h5_put(file, "optimizer_weights/Adam/m/conv2d_1/kernel:0", H5T_IEEE_F32LE, 1, SIZE(3), 0, NULL);
        h5_put(file, "predictions/predictions/kernel:0", H5T_IEEE_F32LE, 2, SIZE(6, 4), 950, NULL);
        h5_put(file, "predictions/predictions/bias:0", H5T_IEEE_F32LE, 1, SIZE(4), 951, NULL);
        H5Fclose(file);

        struct weights *weights = weights_open(in_directory("layout.h5"));
        CHECK(weights, "%s: %s", layouts[i].title, error_message());
        if (!weights)
            continue;
        CHECK(!strcmp(weights_path(weights), in_directory("layout.h5")), "%s", weights_path(weights));
        check_folded(weights, layouts[i].title, 1, first, 0);
        check_folded(weights, layouts[i].title, 2, second, 1);
        CHECK(weights_channels(weights, 3) == 0, "%s: layer 3 is absent", layouts[i].title);
        CHECK(weights_channels(weights, WEIGHTS_DENSE) == 4, "%s", error_message());

        struct layer_weights dense = {.kh = 1, .kw = 1, .cin = 6};
        CHECK(!weights_read(weights, WEIGHTS_DENSE, &dense), "%s", error_message());
        for (size_t k = 0; dense.kernel && k < 24; k++)
            CHECK(dense.kernel[k] == sample(950, k), "dense kernel, index %zu: %g", k, dense.kernel[k]);
        for (size_t k = 0; dense.bias && k < 4; k++)
            CHECK(dense.bias[k] == sample(951, k), "dense bias, index %zu: %g", k, dense.bias[k]);
        layer_weights_free(&dense);
        weights_close(weights);
    }
}

static void test_h5_half_precision(void)
{
    const hsize_t *shape = SIZE(3, 3, 3, 8);
    hid_t half = H5Tcopy(H5T_IEEE_F32LE), file = h5_new("half.h5");

    H5Tset_fields(half, 15, 10, 5, 0, 10);
    H5Tset_size(half, 2);
    H5Tset_ebias(half, 15);
    h5_put_layer(file, &layouts[0], 1, shape, half, 1, variances);
    H5Tclose(half);
    H5Fclose(file);
    struct weights *weights = weights_open(in_directory("half.h5"));
    CHECK(weights, "%s", error_message());
    if (weights)
        check_folded(weights, "half.h5", 1, shape, 1);
    weights_close(weights);
}

/* A file whose layers have one thing wrong each; layer 1 is right. */
static void test_h5_errors(void)
{
    const struct layout *keras = &layouts[0];
    const hsize_t *shape = SIZE(1, 1, 2, 4);
    const double not_a_number[8] = {0, 0, 0, 0, 0, NAN}, infinite[4] = {0, -INFINITY};
    const double negative[4] = {1, 1, -0.5, 1}, not_a_variance[4] = {1, 1, 1, NAN};
    hid_t f32 = H5T_IEEE_F32LE, file = h5_new("wrong.h5");

    h5_put_layer(file, keras, 1, shape, f32, 0, variances);
    h5_put(file, "conv2d_2/kernel:0", f32, 4, shape, 0, NULL);
    h5_put(file, "conv2d_3/kernel:0", f32, 4, shape, 0, NULL);
    h5_put(file, "batch_normalization_3/beta:0", f32, 1, SIZE(4), 0, NULL);
    h5_put(file, "batch_normalization_3/moving_mean:0", f32, 1, SIZE(4), 0, NULL);
    h5_put(file, "conv2d_4/kernel:0", f32, 4, shape, 0, not_a_number);
    h5_put(file, "conv2d_4/bias:0", f32, 1, SIZE(4), 0, NULL);
    h5_put(file, "conv2d_5/kernel:0", f32, 4, shape, 0, NULL);
    h5_put(file, "conv2d_5/bias:0", f32, 1, SIZE(4), 0, infinite);
    h5_put_layer(file, keras, 6, shape, f32, 0, negative);
    h5_put_layer(file, keras, 7, shape, f32, 0, not_a_variance);
    h5_put(file, "conv2d_8/kernel:0", H5T_STD_I32LE, 4, shape, 0, variances);
    h5_put(file, "conv2d_9/kernel:0", f32, 2, SIZE(2, 4), 0, NULL);
    h5_put(file, "conv2d_9/bias:0", f32, 1, SIZE(4), 0, NULL);
    h5_put(file, "conv2d_10/kernel:0", f32, 4, shape, 0, NULL);
    h5_put(file, "conv2d_10/bias:0", f32, 1, SIZE(5), 0, NULL);
    h5_put(file, "conv2d_11/kernel:0", f32, 4, shape, 0, NULL);
    h5_put(file, "conv2d_11/conv2d_11/kernel:0", f32, 4, shape, 0, NULL);
    h5_put(file, "conv2d_12/kernel:0/kernel", f32, 4, shape, 0, NULL);
    h5_put(file, "conv2d_13/kernel:0", f32, 4, SIZE(1, 1, 2, 20000), 0, NULL);
    h5_put(file, "conv2d_13/bias:0", f32, 1, SIZE(20000), 0, NULL);
    h5_put(file, "conv2d_14/kernel:0", f32, 0, NULL, 0, NULL);
    h5_put(file, "conv2d_14/bias:0", f32, 1, SIZE(4), 0, NULL);
    H5Fclose(file);

    static const struct {
        int layer, cin;
        const char *parts[4];
    } cases[] = {
        {1, 3, {"conv2d_1/kernel:0 is 1x1x2x4: it reads 2 channels, but the layers before it put out 3"}},
        {2, 2, {"conv2d_2 has neither a BatchNorm nor a bias"}},
        {3, 2, {"conv2d_3 has no variance", "batch_normalization_3/moving_variance:0"}},
        {4, 2, {"conv2d_4/kernel:0 holds nan at index 5"}},
        {5, 2, {"conv2d_5/bias:0 holds -inf at index 1"}},
        {6, 2, {"batch_normalization_6/moving_variance:0 is -0.5 for channel 2"}},
        {7, 2, {"batch_normalization_7/moving_variance:0 holds nan at index 3"}},
        {8, 2, {"conv2d_8/kernel:0 holds no floating-point numbers"}},
        {9, 2, {"conv2d_9/kernel:0 is 2x4, the network wants 1x1x2xN"}},
        {10, 2, {"conv2d_10/bias:0 is 5, the network wants 4"}},
        {11, 2, {"conv2d_11/kernel:0 twice"}},
        {12, 2, {"conv2d_12/kernel:0"}},
        {13, 2, {"conv2d_13/kernel:0 is 1x1x2x20000", "1 to 16384 channels"}},
        {14, 2, {"conv2d_14/kernel:0 is a scalar, the network wants 1x1x2xN"}},
        {15, 2, {"conv2d_15 has no kernel", "conv2d_15/kernel:0", "up to mixed0"}},
        {82, 2, {"conv2d_82 has no kernel", "conv2d_82/kernel:0", "up to mixed8"}},
        {WEIGHTS_DENSE, 2, {"predictions has no kernel", "predictions/kernel:0", "--top"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_read_fails(in_directory("wrong.h5"), cases[i].layer, 1, 1, cases[i].cin, cases[i].parts);

    struct weights *weights = weights_open(in_directory("wrong.h5"));
    CHECK(weights_channels(weights, 2) == 4, "%s", error_message());
    CHECK(weights_channels(weights, 9) == -1, "a kernel of two dimensions has channels");
    check_sentence(in_directory("wrong.h5"), PARTS("conv2d_9/kernel:0 is 2x4"));
    weights_close(weights);
}

/* Files that are not what they are called. */
static void test_not_weights(void)
{
    char cut[4096];
    hid_t file = h5_new("other.h5");

    h5_put(file, "dense/dense/kernel:0", H5T_IEEE_F32LE, 1, SIZE(1000), 0, NULL);
    H5Fclose(file);
    check_open_fails(in_directory("other.h5"), PARTS("holds no layer of an Inception-v3"));

    FILE *whole = fopen(in_directory("other.h5"), "rb");
    size_t length = whole ? fread(cut, 1, sizeof cut, whole) : 0;
    if (whole)
        fclose(whole);
    file_write(in_directory("cut.h5"), cut, length / 2);
    check_open_fails(in_directory("cut.h5"), PARTS("truncated file"));

    file_write(in_directory("text.h5"), "<!DOCTYPE html>\n<html>", 22);
    check_open_fails(in_directory("text.h5"), PARTS("neither HDF5", "nor safetensors"));
    file_write(in_directory("empty.h5"), "", 0);
    check_open_fails(in_directory("empty.h5"), PARTS("neither HDF5"));
    file_write(in_directory("torch.h5"), "PK\3\4............", 16);
    check_open_fails(in_directory("torch.h5"), PARTS("zip", ".safetensors"));
    check_open_fails(in_directory("absent.h5"), PARTS("No such file"));
    check_open_fails(directory, PARTS("directory"));
    weights_close(NULL);
}

/* safetensors files */

/* A file under construction: the entries of the header, and the data. */
struct st_file {
    FILE *header, *data;
    char *header_bytes, *data_bytes;
    size_t header_length, data_length;
};

static struct st_file *st_new(void)
{
    struct st_file *st = calloc(1, sizeof *st);

    if (!st)
        exit(EXIT_FAILURE);
    st->header = open_memstream(&st->header_bytes, &st->header_length);
    st->data = open_memstream(&st->data_bytes, &st->data_length);
    return st;
}

/* Writes any header, of any claimed length (0: its own), with any data. */
static void st_write_raw(const char *path, uint64_t claimed, const char *header, const void *data,
                         size_t data_length)
{
    size_t length = strlen(header);
    char *bytes = malloc(8 + length + data_length + 1);

    if (!bytes)
        exit(EXIT_FAILURE);
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((claimed ? claimed : length) >> 8 * i);
    memcpy(bytes + 8, header, length);
    memcpy(bytes + 8 + length, data, data_length);
    file_write(path, bytes, 8 + length + data_length);
    free(bytes);
}

/* Ends the file: writes it to path, padded to eight bytes as the format's writers do. */
static void st_end(struct st_file *st, const char *path)
{
    char *header;

    fclose(st->header);
    fclose(st->data);
    int padding = (int)(7 - (st->header_length + 1) % 8);
    if (asprintf(&header, "{\"__metadata__\":{\"format\":\"pt\"}%s}%*s", st->header_bytes, padding, "") < 0)
        exit(EXIT_FAILURE);
    st_write_raw(path, 0, header, st->data_bytes, st->data_length);
    free(header);
    free(st->header_bytes);
    free(st->data_bytes);
    free(st);
}

static uint16_t half_bits(double value)
{
    int exponent;
    double fraction = frexp(fabs(value), &exponent); /* [0.5, 1) */

    if (value == 0)
        return 0;
    if (exponent < -13) /* subnormal */
        return (uint16_t)((value < 0) << 15 | (int)ldexp(fabs(value), 24));
    return (uint16_t)((value < 0) << 15 | (exponent + 14) << 10 | (int)ldexp(fraction - 0.5, 11));
}

/* Appends a tensor of values that its type holds exactly. */
static void st_put(struct st_file *st, const char *name, const char *dtype, const char *shape, const double *values,
                   size_t count)
{
    long begin = ftell(st->data);

    for (size_t i = 0; i < count; i++) {
        float single = (float)values[i];
        uint16_t half = half_bits(values[i]);
        if (!strcmp(dtype, "F64"))
            fwrite(&values[i], 8, 1, st->data);
        else if (!strcmp(dtype, "F32"))
            fwrite(&single, 4, 1, st->data);
        else if (!strcmp(dtype, "BF16")) /* the tests run on little-endian machines */
            fwrite((const char *)&single + 2, 2, 1, st->data);
        else
            fwrite(&half, 2, 1, st->data);
    }
    fprintf(st->header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%ld,%ld]}", name, dtype, shape,
            begin, ftell(st->data));
}

/* This project's names, in every type: transposed, biases as they are. */
static void test_safetensors_own(void)
{
    static const char *const dtypes[] = {"F16", "BF16", "F32", "F64"};
    enum { OUT = 3, IN = 2, H = 1, W = 4, COUNT = OUT * IN * H * W };
    double kernel[COUNT], bias[OUT] = {0.25, -2, 0};

    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        for (size_t i = 0; i < COUNT; i++)
            kernel[i] = sample(1, i);
        if (d == 0) {
            kernel[1] = 0x1p-24; /* the least and the greatest of 16 bits */
            kernel[2] = -65504;
        }
        struct st_file *st = st_new();
        st_put(st, "model.conv2d_1.weight", dtypes[d], "3,2,1,4", kernel, COUNT);
        st_put(st, "model.conv2d_1.bias", dtypes[d], "3", bias, OUT);
        st_put(st, "model.predictions.weight", dtypes[d], "6,4", kernel, COUNT);
        st_put(st, "model.predictions.bias", dtypes[d], "6", kernel, 6);
        st_end(st, in_directory("own.safetensors"));

        struct weights *weights = weights_open(in_directory("own.safetensors"));
        CHECK(weights, "%s: %s", dtypes[d], error_message());
        if (!weights)
            continue;
        struct layer_weights read = {.kh = H, .kw = W, .cin = IN}, dense = {.kh = 1, .kw = 1, .cin = 4};
        CHECK(weights_channels(weights, 1) == OUT, "%s", error_message());
        CHECK(weights_channels(weights, 2) == 0, "%s", error_message());
        CHECK(!weights_read(weights, 1, &read), "%s: %s", dtypes[d], error_message());
        CHECK(!weights_read(weights, WEIGHTS_DENSE, &dense), "%s: %s", dtypes[d], error_message());
        for (size_t o = 0; read.bias && o < OUT; o++) {
            CHECK(read.bias[o] == bias[o], "%s bias %zu: %g", dtypes[d], o, read.bias[o]);
            for (size_t i = 0; i < IN; i++)
                for (size_t w = 0; w < W; w++)
                    CHECK(read.kernel[(w * IN + i) * OUT + o] == kernel[(o * IN + i) * W + w],
                          "%s kernel %zu,%zu,%zu", dtypes[d], w, i, o);
        }
        for (size_t k = 0; dense.kernel && k < COUNT; k++)
            CHECK(dense.kernel[k % 4 * 6 + k / 4] == kernel[k], "%s dense kernel %zu", dtypes[d], k);
        layer_weights_free(&read);
        layer_weights_free(&dense);
        weights_close(weights);
    }
    check_read_fails(in_directory("own.safetensors"), 1, 3, 3, 2,
                     PARTS("model.conv2d_1.weight is 3x2x1x4, the network wants 3x2x3x3"));
    check_read_fails(in_directory("own.safetensors"), 2, 1, 1, 3,
                     PARTS("conv2d_2 has no kernel", "model.conv2d_2.weight"));
}

/* torchvision's convolutions in the order of Keras's layers, with their kernels' height and width: written down
 * from its source, apart from the table that the reader has. */
/* clang-format off */
static const struct {
    const char *name;
    int kh, kw;
} torchvision[WEIGHTS_CONVOLUTIONS] = {
    {"Conv2d_1a_3x3", 3, 3}, {"Conv2d_2a_3x3", 3, 3}, {"Conv2d_2b_3x3", 3, 3},
    {"Conv2d_3b_1x1", 1, 1}, {"Conv2d_4a_3x3", 3, 3},
    {"Mixed_5b.branch1x1", 1, 1}, {"Mixed_5b.branch5x5_1", 1, 1}, {"Mixed_5b.branch5x5_2", 5, 5},
    {"Mixed_5b.branch3x3dbl_1", 1, 1}, {"Mixed_5b.branch3x3dbl_2", 3, 3}, {"Mixed_5b.branch3x3dbl_3", 3, 3},
    {"Mixed_5b.branch_pool", 1, 1},
    {"Mixed_5c.branch1x1", 1, 1}, {"Mixed_5c.branch5x5_1", 1, 1}, {"Mixed_5c.branch5x5_2", 5, 5},
    {"Mixed_5c.branch3x3dbl_1", 1, 1}, {"Mixed_5c.branch3x3dbl_2", 3, 3}, {"Mixed_5c.branch3x3dbl_3", 3, 3},
    {"Mixed_5c.branch_pool", 1, 1},
    {"Mixed_5d.branch1x1", 1, 1}, {"Mixed_5d.branch5x5_1", 1, 1}, {"Mixed_5d.branch5x5_2", 5, 5},
    {"Mixed_5d.branch3x3dbl_1", 1, 1}, {"Mixed_5d.branch3x3dbl_2", 3, 3}, {"Mixed_5d.branch3x3dbl_3", 3, 3},
    {"Mixed_5d.branch_pool", 1, 1},
    {"Mixed_6a.branch3x3", 3, 3}, {"Mixed_6a.branch3x3dbl_1", 1, 1}, {"Mixed_6a.branch3x3dbl_2", 3, 3},
    {"Mixed_6a.branch3x3dbl_3", 3, 3},
    {"Mixed_6b.branch1x1", 1, 1}, {"Mixed_6b.branch7x7_1", 1, 1}, {"Mixed_6b.branch7x7_2", 1, 7},
    {"Mixed_6b.branch7x7_3", 7, 1}, {"Mixed_6b.branch7x7dbl_1", 1, 1}, {"Mixed_6b.branch7x7dbl_2", 7, 1},
    {"Mixed_6b.branch7x7dbl_3", 1, 7}, {"Mixed_6b.branch7x7dbl_4", 7, 1}, {"Mixed_6b.branch7x7dbl_5", 1, 7},
    {"Mixed_6b.branch_pool", 1, 1},
    {"Mixed_6c.branch1x1", 1, 1}, {"Mixed_6c.branch7x7_1", 1, 1}, {"Mixed_6c.branch7x7_2", 1, 7},
    {"Mixed_6c.branch7x7_3", 7, 1}, {"Mixed_6c.branch7x7dbl_1", 1, 1}, {"Mixed_6c.branch7x7dbl_2", 7, 1},
    {"Mixed_6c.branch7x7dbl_3", 1, 7}, {"Mixed_6c.branch7x7dbl_4", 7, 1}, {"Mixed_6c.branch7x7dbl_5", 1, 7},
    {"Mixed_6c.branch_pool", 1, 1},
    {"Mixed_6d.branch1x1", 1, 1}, {"Mixed_6d.branch7x7_1", 1, 1}, {"Mixed_6d.branch7x7_2", 1, 7},
    {"Mixed_6d.branch7x7_3", 7, 1}, {"Mixed_6d.branch7x7dbl_1", 1, 1}, {"Mixed_6d.branch7x7dbl_2", 7, 1},
    {"Mixed_6d.branch7x7dbl_3", 1, 7}, {"Mixed_6d.branch7x7dbl_4", 7, 1}, {"Mixed_6d.branch7x7dbl_5", 1, 7},
    {"Mixed_6d.branch_pool", 1, 1},
    {"Mixed_6e.branch1x1", 1, 1}, {"Mixed_6e.branch7x7_1", 1, 1}, {"Mixed_6e.branch7x7_2", 1, 7},
    {"Mixed_6e.branch7x7_3", 7, 1}, {"Mixed_6e.branch7x7dbl_1", 1, 1}, {"Mixed_6e.branch7x7dbl_2", 7, 1},
    {"Mixed_6e.branch7x7dbl_3", 1, 7}, {"Mixed_6e.branch7x7dbl_4", 7, 1}, {"Mixed_6e.branch7x7dbl_5", 1, 7},
    {"Mixed_6e.branch_pool", 1, 1},
    {"Mixed_7a.branch3x3_1", 1, 1}, {"Mixed_7a.branch3x3_2", 3, 3}, {"Mixed_7a.branch7x7x3_1", 1, 1},
    {"Mixed_7a.branch7x7x3_2", 1, 7}, {"Mixed_7a.branch7x7x3_3", 7, 1}, {"Mixed_7a.branch7x7x3_4", 3, 3},
    {"Mixed_7b.branch1x1", 1, 1}, {"Mixed_7b.branch3x3_1", 1, 1}, {"Mixed_7b.branch3x3_2a", 1, 3},
    {"Mixed_7b.branch3x3_2b", 3, 1}, {"Mixed_7b.branch3x3dbl_1", 1, 1}, {"Mixed_7b.branch3x3dbl_2", 3, 3},
    {"Mixed_7b.branch3x3dbl_3a", 1, 3}, {"Mixed_7b.branch3x3dbl_3b", 3, 1}, {"Mixed_7b.branch_pool", 1, 1},
    {"Mixed_7c.branch1x1", 1, 1}, {"Mixed_7c.branch3x3_1", 1, 1}, {"Mixed_7c.branch3x3_2a", 1, 3},
    {"Mixed_7c.branch3x3_2b", 3, 1}, {"Mixed_7c.branch3x3dbl_1", 1, 1}, {"Mixed_7c.branch3x3dbl_2", 3, 3},
    {"Mixed_7c.branch3x3dbl_3a", 1, 3}, {"Mixed_7c.branch3x3dbl_3b", 3, 1}, {"Mixed_7c.branch_pool", 1, 1},
};
/* clang-format on */

/* Every layer's bias and the first value of its kernel are its own number, so that each must be found in its place.
 */
static void test_safetensors_torchvision(void)
{
    static const double count = 7;
    struct st_file *st = st_new();
    char name[128], shape[32];
    double values[9], zero = 0, unit = 1 - 0.001;

    st_put(st, "AuxLogits.fc.weight", "F32", "1", &zero, 1);
    for (int layer = WEIGHTS_CONVOLUTIONS; layer >= 1; layer--) {
        const char *base = torchvision[layer - 1].name;
        int positions = torchvision[layer - 1].kh * torchvision[layer - 1].kw;
        for (int i = 0; i < 9; i++)
            values[i] = layer + i * 128;
        values[0] = layer;
        double kernel[25] = {0};
        memcpy(kernel, values, sizeof values);
        snprintf(shape, sizeof shape, "1,1,%d,%d", torchvision[layer - 1].kh, torchvision[layer - 1].kw);
        snprintf(name, sizeof name, "%s.conv.weight", base);
        st_put(st, name, "F32", shape, kernel, (size_t)positions);
        snprintf(name, sizeof name, "%s.bn.weight", base);
        st_put(st, name, "F32", "1", &(double){2}, 1);
        snprintf(name, sizeof name, "%s.bn.bias", base);
        st_put(st, name, "F32", "1", &(double){layer}, 1);
        snprintf(name, sizeof name, "%s.bn.running_mean", base);
        st_put(st, name, "F32", "1", &zero, 1);
        snprintf(name, sizeof name, "%s.bn.running_var", base);
        st_put(st, name, "F64", "1", &unit, 1);
        snprintf(name, sizeof name, "%s.bn.num_batches_tracked", base);
        fprintf(st->header, ",\"%s\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[%ld,%ld]}", name,
                ftell(st->data), ftell(st->data) + 8);
        fwrite(&count, 8, 1, st->data);
    }
    st_put(st, "fc.weight", "F32", "2,1", (double[]){5, 6}, 2);
    st_put(st, "fc.bias", "F32", "2", (double[]){7, 8}, 2);
    st_end(st, in_directory("torch.safetensors"));

    struct weights *weights = weights_open(in_directory("torch.safetensors"));
    CHECK(weights, "%s", error_message());
    for (int layer = 1; weights && layer <= WEIGHTS_CONVOLUTIONS; layer++) {
        struct layer_weights read = {.kh = torchvision[layer - 1].kh, .kw = torchvision[layer - 1].kw, .cin = 1};
        CHECK(!weights_read(weights, layer, &read), "%s", error_message());
        CHECK(!read.bias || read.bias[0] == layer, "layer %d has the bias of %g", layer, read.bias[0]);
        CHECK(!read.kernel || fabs(read.kernel[0] - 2 * layer) < 1e-13, "layer %d has the kernel of %g / 2", layer,
              read.kernel[0]);
        layer_weights_free(&read);
    }
    struct layer_weights dense = {.kh = 1, .kw = 1, .cin = 1};
    CHECK(weights && !weights_read(weights, WEIGHTS_DENSE, &dense), "%s", error_message());
    CHECK(!dense.kernel || (dense.kernel[1] == 6 && dense.bias[1] == 8), "dense layer");
    layer_weights_free(&dense);
    weights_close(weights);
}

/* Headers that lie; each must be refused with one sentence. F is a right first tensor of two bytes. */
static void test_safetensors_hostile(void)
{
#define F "\"conv2d_1.weight\":{\"dtype\":\"F16\",\"shape\":[1,1,1,1],\"data_offsets\":[0,2]}"
#define B(dtype, shape, offsets)                                                                                   \
    "{" F ",\"conv2d_1.bias\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    static const struct {
        const char *title;
        uint64_t claimed;
        const char *header, *part;
    } cases[] = {
        {"longer than the file", 1000, "{" F "}", "the file was cut"},
        {"100 MB", 100000001, "{" F "}", "claims 100000001 bytes"},
        {"longer than 2^63", UINT64_MAX, "{" F "}", "claims 18446744073709551615 bytes"},
        {"shorter than the JSON", 20, "{" F "}", "not one JSON object"},
        {"not JSON", 0, "{abc}", "not one JSON object"},
        {"cut JSON", 0, "{" F, "not one JSON object"},
        {"two objects", 0, "{" F "}{}", "not one JSON object"},
        {"no tensors", 0, "{}", "not the weights of an Inception-v3"},
        {"other tensors", 0, "{\"x\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", "Conv2d_1a_3x3"},
        {"other name's end", 0, "{\"aconv2d_1.weight\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}",
         "conv2d_1.weight"},
        {"entry no object", 0, "{" F ",\"conv2d_1.bias\":7}", "conv2d_1.bias"},
        {"no dtype", 0, "{" F ",\"conv2d_1.bias\":{\"shape\":[1],\"data_offsets\":[2,4]}}", "dtype"},
        {"dtype a number", 0, B("16", "[1]", "[2,4]"), "dtype"},
        {"shape a number", 0, B("\"F16\"", "1", "[2,4]"), "shape"},
        {"one offset", 0, B("\"F16\"", "[1]", "[2]"), "data_offsets"},
        {"offsets beyond the file", 0, B("\"F16\"", "[1]", "[4,6]"), "bytes 4 to 6 of 4"},
        {"offsets far beyond", 0, B("\"F16\"", "[1]", "[9007199254740990,9007199254740992]"), "of 4"},
        {"offsets beyond integers", 0, B("\"F16\"", "[1]", "[1e300,1e301]"), "no integer"},
        {"offsets backwards", 0, B("\"F16\"", "[1]", "[4,2]"), "bytes 4 to 2"},
        {"offsets negative", 0, B("\"F16\"", "[1]", "[-2,0]"), "no integer"},
        {"offsets in halves", 0, B("\"F16\"", "[1]", "[2.5,4]"), "no integer"},
        {"offsets as text", 0, B("\"F16\"", "[1]", "[\"2\",\"4\"]"), "no integer"},
        {"overlap", 0, B("\"F16\"", "[1]", "[1,3]"), "overlap"},
        {"too few bytes", 0, B("\"F16\"", "[2]", "[2,4]"), "does not fit its 2 bytes"},
        {"too many bytes", 0, B("\"BOOL\"", "[1]", "[2,4]"), "does not fit its 2 bytes"},
        {"size negative", 0, B("\"F16\"", "[-1]", "[2,4]"), "no integer"},
        {"size a fraction", 0, B("\"F16\"", "[0.5]", "[2,4]"), "no integer"},
        {"sizes beyond 2^64", 0, B("\"F16\"", "[4294967296,4294967296,1]", "[2,4]"), "does not fit"},
        {"bytes beyond 2^64", 0, B("\"F64\"", "[2305843009213693952]", "[2,2]"), "no integer"},
        {"product wraps to 1", 0, B("\"F16\"", "[9007199254740992,2048,1]", "[2,2]"), "does not fit"},
        {"nine dimensions", 0, B("\"F16\"", "[1,1,1,1,1,1,1,1,1]", "[2,4]"), "more than 8 dimensions"},
        {"twice", 0, "{" F ",\"conv2d_1.weight\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[2,4]}}",
         "twice"},
        {"terminal codes", 0, "{" F ",\"\\u001b[2J\":{}}", "?[2J"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int failures = check_failures;
        st_write_raw(in_directory("lie.safetensors"), cases[i].claimed, cases[i].header, "\0\74\0\0", 4);
        check_open_fails(in_directory("lie.safetensors"), PARTS(cases[i].part));
        if (check_failures > failures)
            printf("... which was the header \"%s\"\n", cases[i].title);
    }

    char deep[100001] = "{\"a\":";
    memset(deep + 5, '[', sizeof deep - 6);
    st_write_raw(in_directory("deep.safetensors"), 0, deep, "", 0);
    check_open_fails(in_directory("deep.safetensors"), PARTS("not one JSON object"));

    /* What is right in itself and wrong for the network is refused when it is read. */
    st_write_raw(in_directory("type.safetensors"), 0, B("\"I16\"", "[1]", "[2,4]"), "\0\74\0\0", 4);
    check_read_fails(in_directory("type.safetensors"), 1, 1, 1, 1, PARTS("conv2d_1.bias is stored as I16"));
    st_write_raw(in_directory("type.safetensors"), 0, B("\"F4\\u0007\"", "[1]", "[2,4]"), "\0\74\0\0", 4);
    check_read_fails(in_directory("type.safetensors"), 1, 1, 1, 1, PARTS("conv2d_1.bias is stored as F4?"));
    st_write_raw(in_directory("nan.safetensors"), 0, B("\"BF16\"", "[1]", "[2,4]"), "\0\74\377\177", 4);
    check_read_fails(in_directory("nan.safetensors"), 1, 1, 1, 1, PARTS("conv2d_1.bias holds", "nan at index 0"));
    st_write_raw(in_directory("inf.safetensors"), 0, B("\"F16\"", "[1]", "[2,4]"), "\0\74\0\374", 4);
    check_read_fails(in_directory("inf.safetensors"), 1, 1, 1, 1, PARTS("conv2d_1.bias holds -inf at index 0"));
#undef B
#undef F
}

/* The untrained network */

static void test_untrained(void)
{
    struct weights *weights = weights_open("untrained");
    struct layer_weights first = {.kh = 3, .kw = 3, .cin = 3}, again = {.kh = 3, .kw = 3, .cin = 3};
    struct layer_weights other = {.kh = 3, .kw = 3, .cin = 32};
    int sum = 0;

    CHECK(weights, "%s", error_message());
    if (!weights)
        return;
    for (int layer = 1; layer <= WEIGHTS_CONVOLUTIONS; layer++)
        sum += weights_channels(weights, layer);
    CHECK(sum == 17216, "%d channels in all", sum);
    CHECK(weights_channels(weights, WEIGHTS_DENSE) == 1000, "%d classes", weights_channels(weights, WEIGHTS_DENSE));

    CHECK(!weights_read(weights, 1, &first) && !weights_read(weights, 2, &other) &&
              !weights_read(weights, 1, &again),
          "%s", error_message());
    CHECK(first.cout == 32 && other.cout == 32, "%d and %d channels", first.cout, other.cout);
    CHECK(!memcmp(first.kernel, again.kernel, 27 * 32 * sizeof *first.kernel), "the second reading differs");
    CHECK(!memcmp(first.bias, again.bias, 32 * sizeof *first.bias), "the second reading differs");

    /* These bits are part of what "untrained" means: a change of them changes every benchmark's and test's picture.
     */
    CHECK(first.kernel[0] == 0x1.af6e72de111f6p-4, "%a", first.kernel[0]);
    CHECK(first.kernel[863] == 0x1.0083e67e21f73p-2, "%a", first.kernel[863]);
    CHECK(first.bias[31] == 0x1.3565e093918e6p-5, "%a", first.bias[31]);
    CHECK(other.kernel[9215] == -0x1.87418c3b7dac9p-6, "%a", other.kernel[9215]);

    double mean = 0, square = 0, largest = 0;
    for (size_t i = 0; i < 9216; i++) {
        mean += other.kernel[i] / 9216;
        square += other.kernel[i] * other.kernel[i] / 9216;
        largest = fmax(largest, fabs(other.kernel[i]));
    }
    CHECK(fabs(mean) < 0.005, "mean %g", mean);
    CHECK(fabs(square * 288 / 2 - 1) < 0.05, "variance %g, not 2 / 288", square);
    CHECK(largest <= sqrt(6.0 / 288), "largest %g", largest);
    layer_weights_free(&first);
    layer_weights_free(&again);
    layer_weights_free(&other);
    weights_close(weights);
}

/* Real weights */

static void check_real_layer(struct weights *weights, int layer, int k, int cin, int cout)
{
    struct layer_weights read = {.kh = k, .kw = k, .cin = cin};

    CHECK(!weights_read(weights, layer, &read), "%s", error_message());
    CHECK(read.cout == cout, "layer %d has %d channels", layer, read.cout);
    for (size_t i = 0; read.kernel && i < (size_t)(k * k * cin * cout); i++)
        CHECK(isfinite(read.kernel[i]), "layer %d, index %zu: %g", layer, i, read.kernel[i]);
    layer_weights_free(&read);
}

static void test_embedded(void)
{
    struct weights *weights = weights_open(WEIGHTS_EMBEDDED);

    CHECK(weights && weights_are_embedded(weights), "%s", error_message());
    if (weights)
        check_real_layer(weights, 1, 3, 3, 16);
    weights_close(weights);
    check_read_fails(WEIGHTS_EMBEDDED, 51, 1, 1, 384,
                     PARTS("conv2d_51 has no kernel", "weights/fetch.sh", "up to mixed5"));
}

static void test_real(const char *h5)
{
    struct weights *weights;

    if (h5 && *h5) {
        weights = weights_open(h5);
        CHECK(weights, "%s", error_message());
        if (weights)
            check_real_layer(weights, 1, 3, 3, 32);
        CHECK(weights && weights_channels(weights, 82) == 0, "conv2d_82 is there");
        weights_close(weights);
        check_read_fails(h5, 82, 3, 3, 448, PARTS("conv2d_82 has no kernel", "up to mixed8"));
    } else {
        printf("SKIPPED in part: PAREIDOLIA_WEIGHTS is not set\n");
    }
}

int main(void)
{
    directory_make();
    test_real(getenv("PAREIDOLIA_WEIGHTS"));
    test_embedded();
    test_h5_layouts();
    test_h5_half_precision();
    test_h5_errors();
    test_not_weights();
    test_safetensors_own();
    test_safetensors_torchvision();
    test_safetensors_hostile();
    test_untrained();
    directory_remove_all();
    return check_result();
}
