/* The list itself. No inputs and no expectations are here: trial.c makes the values, oracle.c knows what is right.
 * Sizes are small, since what breaks a kernel is an edge or a tail and not a million pixels. */
#include "cases.h"

#include <math.h>

/* Padding as Keras says it; `same` is used with stride 1 only. */
#define CONV_VALID(about, rows, columns, from, to, high, wide, step, first_linear, how)                            \
    {.name = about, .op = OP_CONV, .h = rows, .w = columns, .cin = from, .cout = to, .kh = high, .kw = wide,       \
     .stride = step, .linear = first_linear, .flags = how}
#define CONV_SAME(about, rows, columns, from, to, high, wide, first_linear, how)                                   \
    {.name = about, .op = OP_CONV, .h = rows, .w = columns, .cin = from, .cout = to, .kh = high, .kw = wide,       \
     .stride = 1, .pad_h = (high - 1) / 2, .pad_w = (wide - 1) / 2, .linear = first_linear, .flags = how}

/* Every width up to the widest vector's tail, one and two rows high. */
#define WIDTH(n)                                                                                                   \
    CONV_SAME("width " #n, 1, n, 16, 24, 3, 3, 0, MASKED),                                                         \
    CONV_SAME("width " #n " 1x1", 2, n, 24, 8, 1, 1, 0, ACCUMULATE),                                               \
    CONV_VALID("width " #n " from above", 3, n + 2, 8, 16, 3, 3, 1, 0, SLICED)

/* Channel counts that no vector divides: masks end inside a byte. */
#define ODD_CHANNELS(n)                                                                                            \
    CONV_SAME(#n " channels in", 4, 5, n, 32, 3, 3, 0, MASKED | ACCUMULATE | CPU_ONLY),                            \
    CONV_SAME(#n " channels out", 5, 4, 32, n, 3, 3, 0, SLICED | MASKED | CPU_ONLY),                               \
    CONV_SAME(#n " channels in and out", 3, 7, n, n, 1, 1, 0, MASKED | CPU_ONLY),                                  \
    CONV_SAME(#n " channels, 5x5", 3, 7, n, n, 5, 5, 0, SLICED | MASKED | ACCUMULATE | CPU_ONLY),                  \
    CONV_VALID(#n " channels, stride 2", 7, 9, n, n, 3, 3, 2, 0, MASKED | CPU_ONLY),                               \
    CONV_SAME(#n " channels, 3x3 at an odd one", 4, 7, n, n, 3, 3, 0, SLICED | UNALIGNED | CPU_ONLY),              \
    CONV_SAME(#n " channels, 1x1 at an odd one", 4, 7, n, n, 1, 1, 0, SLICED | UNALIGNED | CPU_ONLY)

/* Channel counts that are and are not multiples of each vector and block size. */
#define CHANNELS(n)                                                                                                \
    CONV_SAME(#n " channels in", 4, 5, n, 32, 3, 3, 0, MASKED | ACCUMULATE),                                       \
    CONV_SAME(#n " channels out", 5, 4, 32, n, 3, 3, 0, SLICED | MASKED),                                          \
    CONV_SAME(#n " channels in and out", 3, 7, n, n, 1, 1, 0, MASKED),                                             \
    CONV_VALID(#n " channels, stride 2", 7, 9, n, n, 3, 3, 2, 0, MASKED)

#define POOL(kind, about, rows, columns, channels, how)                                                            \
    {.name = about, .op = kind, .h = rows, .w = columns, .cin = channels, .flags = how}

#define STIMULATE(about, rows, columns, channels, from_row, from_column, to_row, to_column, how)                   \
    {.name = about, .op = OP_STIMULATE, .h = rows, .w = columns, .cin = channels, .top = from_row,                 \
     .left = from_column, .bottom = to_row, .right = to_column, .flags = how}

#define ASCEND(about, rows, columns, limit, how)                                                                   \
    {.name = about, .op = OP_ASCEND, .h = rows, .w = columns, .cin = 3, .max_loss = limit, .flags = how}

#define CLIPPED(about, rows, columns, most)                                                                        \
    {.name = about, .op = OP_ASCEND, .h = rows, .w = columns, .cin = 3, .max_loss = INFINITY, .limit = most}

#define RESIZE(about, rows, columns, to_rows, to_columns)                                                          \
    {.name = about, .op = OP_RESIZE, .h = rows, .w = columns, .cin = 3, .out_h = to_rows, .out_w = to_columns}

#define CROP(about, kind, rows, columns, to_rows, to_columns, row, column)                                         \
    {.name = about, .op = kind, .h = rows, .w = columns, .cin = 3, .out_h = to_rows, .out_w = to_columns,          \
     .top = row, .left = column}
#define DETAIL(about, rows, columns, to_rows, to_columns, from_rows, from_columns)                                 \
    {.name = about, .op = OP_DETAIL, .h = rows, .w = columns, .cin = 3, .out_h = to_rows, .out_w = to_columns,     \
     .small_h = from_rows, .small_w = from_columns}

const struct op_case op_cases[] = {
    /* The network's kernels: x, channels in and out, kernel, [stride,] linear. */
    CONV_VALID("first layer", 21, 23, 3, 32, 3, 3, 2, 0, PICTURE | MASKED),
    CONV_VALID("first layer, last row and column unread", 20, 22, 3, 32, 3, 3, 2, 0, PICTURE | MASKED),
    CONV_VALID("first layer, added to the gradient", 20, 23, 3, 32, 3, 3, 2, 0, PICTURE | ACCUMULATE),
    CONV_VALID("first layer, one output", 3, 3, 3, 32, 3, 3, 2, 0, PICTURE | MASKED),
    CONV_VALID("first layer, 64 outputs", 13, 133, 3, 64, 3, 3, 2, 0, PICTURE | MASKED),
    CONV_VALID("first layer, 16 outputs", 19, 12, 3, 16, 3, 3, 2, 0, PICTURE | MASKED),
    CONV_VALID("3x3 valid", 11, 13, 32, 32, 3, 3, 1, 0, MASKED),
    CONV_VALID("3x3 valid, 80 to 192", 9, 12, 80, 192, 3, 3, 1, 0, MASKED),
    CONV_SAME("3x3 same", 11, 13, 32, 64, 3, 3, 0, MASKED),
    CONV_SAME("3x3 same, 64 to 96", 13, 15, 64, 96, 3, 3, 0, SLICED | MASKED | ACCUMULATE),
    CONV_SAME("3x3 same, 96 to 96", 12, 17, 96, 96, 3, 3, 0, MASKED),
    CONV_SAME("3x3 same, 448 to 384", 4, 5, 448, 384, 3, 3, 0, MASKED),
    CONV_SAME("5x5 same", 9, 11, 48, 64, 5, 5, 0, SLICED | MASKED | ACCUMULATE),
    CONV_SAME("1x7", 9, 17, 128, 128, 1, 7, 0, MASKED),
    CONV_SAME("7x1", 17, 9, 128, 192, 7, 1, 0, MASKED | ACCUMULATE),
    CONV_SAME("1x7 on less than its width", 5, 3, 160, 160, 1, 7, 0, SLICED | MASKED),
    CONV_SAME("7x1 on less than its height", 2, 6, 160, 192, 7, 1, 0, SLICED | MASKED),
    CONV_SAME("1x3", 8, 8, 384, 384, 1, 3, 0, SLICED | MASKED),
    CONV_SAME("3x1", 8, 8, 384, 384, 3, 1, 0, SLICED | MASKED | ACCUMULATE),
    CONV_VALID("3x3 stride 2", 9, 11, 288, 384, 3, 3, 2, 0, SLICED | MASKED | ACCUMULATE),
    CONV_VALID("3x3 stride 2, last row unread", 10, 11, 96, 96, 3, 3, 2, 0, SLICED | MASKED),
    CONV_VALID("3x3 stride 2, last column unread", 9, 12, 192, 320, 3, 3, 2, 0, MASKED | ACCUMULATE),
    CONV_VALID("3x3 stride 2, last row and column unread", 10, 12, 32, 48, 3, 3, 2, 0, 0),
    CONV_SAME("1x1", 7, 9, 64, 80, 1, 1, 0, MASKED),
    CONV_SAME("1x1, siblings side by side, one averaged", 7, 11, 288, 208, 1, 1, 64, SLICED | MASKED | ACCUMULATE),
    CONV_SAME("1x1, all outputs linear", 5, 6, 192, 32, 1, 1, 32, SLICED),
    CONV_SAME("3x3, half of the outputs linear", 6, 5, 40, 48, 3, 3, 24, MASKED),
    CONV_SAME("3x3, 8 of 24 outputs linear", 6, 5, 24, 24, 3, 3, 8, MASKED),
    CONV_SAME("1x1, 8 of 24 outputs linear", 6, 5, 24, 24, 1, 1, 8, SLICED | MASKED),
    CONV_SAME("dense", 1, 1, 2048, 1000, 1, 1, 1000, FORWARD_ONLY),

    /* Tiny and odd. */
    CONV_SAME("3x3 on one pixel", 1, 1, 16, 16, 3, 3, 0, MASKED),
    CONV_SAME("5x5 on one pixel", 1, 1, 48, 64, 5, 5, 0, ACCUMULATE),
    CONV_SAME("1x1 on one pixel", 1, 1, 32, 24, 1, 1, 0, SLICED | MASKED),
    CONV_VALID("3x3 valid, one output", 3, 3, 16, 24, 3, 3, 1, 0, SLICED | MASKED),
    CONV_VALID("3x3 stride 2, one output", 4, 4, 16, 24, 3, 3, 2, 0, MASKED),
    CONV_SAME("one column", 13, 1, 24, 40, 3, 3, 0, MASKED),
    CONV_SAME("many rows", 131, 2, 16, 8, 3, 3, 0, MASKED),
    CONV_SAME("many columns", 2, 263, 8, 16, 3, 3, 0, MASKED | ACCUMULATE),
    WIDTH(1), WIDTH(2), WIDTH(3), WIDTH(4), WIDTH(5), WIDTH(6), WIDTH(7),
    WIDTH(8), WIDTH(9), WIDTH(10), WIDTH(11), WIDTH(12), WIDTH(13),
    CHANNELS(8), CHANNELS(16), CHANNELS(24), CHANNELS(40), CHANNELS(48),
    CHANNELS(80), CHANNELS(96), CHANNELS(176), CHANNELS(208),
    ODD_CHANNELS(12), ODD_CHANNELS(20), ODD_CHANNELS(33),

    /* More than one turn for a thread: Winograd's tiles, and direct ones that are cut across their columns. */
    CONV_SAME("3x3 in several turns", 53, 61, 64, 96, 3, 3, 0, SLICED | MASKED | ACCUMULATE),
    CONV_SAME("3x3 in several turns, 256 to 256", 27, 31, 256, 256, 3, 3, 0, MASKED),
    CONV_SAME("5x5 on wide rows", 3, 300, 64, 64, 5, 5, 0, MASKED | ACCUMULATE),
    CONV_SAME("3x3 of a picture", 9, 11, 24, 32, 3, 3, 0, PICTURE | MASKED | CPU_ONLY),
    CONV_SAME("1x1 at an odd channel", 7, 9, 64, 80, 1, 1, 0, SLICED | UNALIGNED | CPU_ONLY),
    CONV_SAME("5x5 at an odd channel", 5, 7, 48, 64, 5, 5, 0, SLICED | UNALIGNED | CPU_ONLY),

    /* Overflows. */
    CONV_SAME("3x3, not finite", 12, 17, 64, 48, 3, 3, 0, MASKED | NOT_FINITE | CPU_ONLY),
    CONV_SAME("5x5, not finite", 12, 17, 64, 48, 5, 5, 0, MASKED | NOT_FINITE | CPU_ONLY),
    CONV_SAME("1x1, not finite", 12, 17, 64, 48, 1, 1, 24, MASKED | NOT_FINITE | CPU_ONLY),
    CONV_VALID("3x3 stride 2, not finite", 12, 17, 64, 48, 3, 3, 2, 0, MASKED | NOT_FINITE | CPU_ONLY),

    /* x, channels. */
    POOL(OP_MAX_POOL, "max pool", 13, 15, 64, MASKED),
    POOL(OP_MAX_POOL, "max pool, last row and column unread", 12, 14, 24, MASKED),
    POOL(OP_MAX_POOL, "max pool, ties and zeros", 15, 13, 40, COARSE | MASKED),
    POOL(OP_MAX_POOL, "max pool, ties in slices", 10, 9, 192, COARSE | SLICED | MASKED | ACCUMULATE),
    POOL(OP_MAX_POOL, "max pool without masks", 9, 11, 16, 0),
    POOL(OP_MAX_POOL, "max pool, one window", 3, 3, 8, SLICED | MASKED),
    POOL(OP_MAX_POOL, "max pool, one window and an edge", 4, 4, 8, ACCUMULATE),
    POOL(OP_MAX_POOL, "max pool, forward only", 7, 8, 48, FORWARD_ONLY),
    POOL(OP_AVERAGE_POOL, "average pool", 9, 11, 64, MASKED),
    POOL(OP_AVERAGE_POOL, "average pool in slices", 8, 7, 40, SLICED | MASKED),
    POOL(OP_AVERAGE_POOL, "average pool without a mask", 5, 3, 192, 0),
    POOL(OP_AVERAGE_POOL, "average pool of one pixel", 1, 1, 8, MASKED),
    POOL(OP_AVERAGE_POOL, "average pool of one row", 1, 6, 16, SLICED),
    POOL(OP_AVERAGE_POOL, "average pool of one column", 6, 1, 24, MASKED),
    POOL(OP_AVERAGE_POOL, "average pool, 2x2", 2, 2, 32, SLICED | MASKED),
    POOL(OP_GLOBAL_AVERAGE, "global average", 8, 9, 2048, 0),
    POOL(OP_GLOBAL_AVERAGE, "global average in slices", 5, 3, 40, SLICED),
    POOL(OP_GLOBAL_AVERAGE, "global average of one pixel", 1, 1, 8, 0),

    /* a, channels, top, left, bottom, right. */
    STIMULATE("stimulate", 11, 13, 80, 2, 2, 9, 11, 0),
    STIMULATE("stimulate everything", 5, 7, 24, 0, 0, 5, 7, SLICED),
    STIMULATE("stimulate and add", 9, 6, 40, 2, 1, 8, 4, SLICED | ACCUMULATE),
    STIMULATE("stimulate channels 3 to 8", 9, 6, 5, 2, 1, 8, 4, SLICED | UNALIGNED),
    STIMULATE("stimulate channels 3 to 8 and add", 9, 6, 5, 2, 1, 8, 4, SLICED | UNALIGNED | ACCUMULATE),
    STIMULATE("stimulate one position", 6, 5, 8, 5, 4, 6, 5, 0),
    STIMULATE("stimulate an empty region", 4, 7, 16, 2, 2, 2, 5, 0),
    STIMULATE("stimulate less than nothing", 3, 3, 16, 2, 2, 1, 1, ACCUMULATE),

    /* picture, max_loss: the third step's loss is 33, the others' below 1. */
    ASCEND("ascend", 17, 19, INFINITY, 0),
    ASCEND("ascend until the loss is too high", 17, 19, 20, 0),
    ASCEND("ascend, stopped at once", 5, 4, 0.01, 0),
    ASCEND("ascend one pixel", 1, 1, INFINITY, 0),
    ASCEND("ascend on almost no gradient", 6, 7, INFINITY, TINY_GRADIENT),
    ASCEND("ascend on a gradient that left the range", 9, 11, INFINITY, INFINITE_GRADIENT),
    CLIPPED("ascend within a range", 17, 19, 0.5),

    /* from, to. */
    RESIZE("shrink", 28, 42, 20, 30),
    RESIZE("shrink a lot", 61, 53, 7, 5),
    RESIZE("enlarge", 20, 30, 28, 42),
    RESIZE("enlarge a lot, odd", 3, 5, 97, 211),
    RESIZE("the same size", 13, 17, 13, 17),
    RESIZE("to one pixel", 5, 6, 1, 1),
    RESIZE("to one row", 9, 8, 1, 15),
    RESIZE("from one pixel", 1, 1, 6, 5),
    RESIZE("from one column", 7, 1, 11, 4),
    RESIZE("from two by two", 2, 2, 9, 8),
    RESIZE("wide, where single-precision coordinates fail", 1, 1777, 1, 2503),

    /* original, picture, shrunk. */
    DETAIL("detail", 39, 55, 28, 39, 20, 28),
    DETAIL("detail at full size", 28, 42, 28, 42, 20, 30),
    DETAIL("detail of nothing", 17, 11, 9, 8, 9, 8),
    DETAIL("detail from one pixel", 9, 9, 5, 5, 1, 1),
    CROP("crop", OP_CROP, 37, 53, 19, 26, 7, 13),
    CROP("crop, all of it", OP_CROP, 12, 9, 12, 9, 0, 0),
    CROP("crop, the last pixel", OP_CROP, 12, 9, 1, 1, 11, 8),
    CROP("added crop", OP_ADD_CROP, 19, 26, 37, 53, 7, 13),
    CROP("added crop, all of it", OP_ADD_CROP, 12, 9, 12, 9, 0, 0),
    CROP("added crop, the last pixel", OP_ADD_CROP, 1, 1, 12, 9, 11, 8),
};

const int op_case_count = sizeof op_cases / sizeof *op_cases;
