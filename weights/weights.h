/* The parameters of an Inception-v3, read from a file or made up, with BatchNorm folded into kernel and bias.
 * A file is opened once; each layer's tensors are checked and read when they are asked for, so that an absent
 * tensor is an error only for who needs it. */
#ifndef PAREIDOLIA_WEIGHTS_H
#define PAREIDOLIA_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIGHTS_CONVOLUTIONS 94 /* conv2d_1 .. conv2d_94, numbered as in Keras 2.1 */
#define WEIGHTS_DENSE 95        /* the index of `predictions` beside them */

#define WEIGHTS_EMBEDDED "embedded"   /* the path of the small network that the program carries */
#define WEIGHTS_UNTRAINED "untrained" /* that of the seeded one, which it makes up */

/* One layer's parameters: y[o] = sum kernel[h][w][i][o] * x[h][w][i] + bias[o]. */
struct layer_weights {
    int kh, kw, cin, cout; /* predictions: 1, 1, 2048, 1000 */
    double *kernel;        /* kh * kw * cin * cout, owned; double, as the folding is worth keeping whole */
    double *bias;          /* cout, owned */
};

struct weights;

/* Opens path: Keras .h5 (by HDF5 signature) or .safetensors with torchvision's, timm's or this project's own
 * names. path "embedded" is the trained network that the program carries: half the channels, up to mixed5; path
 * "untrained" is the deterministic seeded network of full width, with its dense layer. Else the content decides
 * about the format. Returns NULL with an error that names the file and, where it can, the tensor. All functions
 * here are for one thread at a time, as libhdf5 is. */
struct weights *weights_open(const char *path);
void weights_close(struct weights *weights);

/* The path that was opened. */
const char *weights_path(const struct weights *weights);
bool weights_are_embedded(const struct weights *weights);
bool weights_are_untrained(const struct weights *weights);

/* A number for the parameters that does not depend on where they lie: a 64-bit hash of the file's bytes (words of 8
 * bytes with the steps that XXH64 takes behind its last stripe; no cryptography), for "embedded" of the bytes that
 * the program carries, for "untrained" of its name and version. Reads the file at the first call and keeps the
 * number. 0 with an error where the file cannot be read again; weights may then be NULL, too. */
uint64_t weights_hash(struct weights *weights);

/* Channels that layer 1..94 puts out, or WEIGHTS_DENSE's classes, as the file has them; 0 where the file has no
 * such layer. Reads shapes only. -1 with an error for a malformed tensor. */
int weights_channels(struct weights *weights, int layer);

/* Whether all that layer 1..94 or WEIGHTS_DENSE needs is there and shaped for kh, kw, cin; reads no values. Returns
 * 0, or -1 with the error that weights_read would set. */
int weights_check(struct weights *weights, int layer, int kh, int kw, int cin);

/* Reads layer 1..94 or WEIGHTS_DENSE from the file (nothing is kept), checks every tensor's shape against kh, kw,
 * cin (taken from out) and that all values are finite, and folds BatchNorm (epsilon 0.001) in double precision:
 * kernel * gamma / sqrt(variance + epsilon), beta - mean * gamma / sqrt(variance + epsilon). The caller sets
 * out->kh, kw, cin; cout and the arrays are filled in; free them with layer_weights_free. Returns 0, or -1 with an
 * error that names file, tensor, and both shapes where a shape is wrong; out then owns nothing. */
int weights_read(struct weights *weights, int layer, struct layer_weights *out);
void layer_weights_free(struct layer_weights *layer);

/* Finds the file to use when none is named: $PAREIDOLIA_WEIGHTS, else the newest fetched file in the cache
 * directory ($XDG_CACHE_HOME or ~/.cache)/pareidolia, else "embedded". with_top asks for a file with a dense layer
 * first, and "embedded" has none. Returns a path to free(), or NULL with an error that says how to get the weights.
 */
char *weights_find(int with_top);

/* Names of the 1000 ImageNet classes in the order of the dense layer. */
struct labels {
    int count;
    char **names; /* owned; human-readable, e.g. "Egyptian cat" */
    char **ids;   /* owned; WordNet ids, e.g. "n02124075" */
};

/* Reads labels from path: Keras's imagenet_class_index.json, or lines of ID<tab>NAME (other tab-separated columns
 * are ignored). path NULL: $PAREIDOLIA_LABELS, else the cache directory. Returns 0, or -1 with an error. */
int labels_read(const char *path, struct labels *out);
void labels_free(struct labels *labels);

#endif
