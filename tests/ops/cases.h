/* The one list of what every device must do right: each kernel kind of Inception-v3 and each other operation, at
 * the sizes where programs go wrong. ops.c checks it; a benchmark can run the same list, with h and w enlarged. */
#ifndef PAREIDOLIA_TESTS_CASES_H
#define PAREIDOLIA_TESTS_CASES_H

#include <stdint.h>

enum op {
    OP_CONV,           /* device_conv, then device_conv_back */
    OP_MAX_POOL,       /* device_max_pool, then device_max_pool_back */
    OP_AVERAGE_POOL,   /* device_average_pool, then device_average_pool_back */
    OP_GLOBAL_AVERAGE, /* device_global_average */
    OP_STIMULATE,      /* device_stimulate, twice */
    OP_ASCEND,         /* stimulate, mean_abs and ascend, STEPS times */
    OP_RESIZE,         /* device_resize */
    OP_DETAIL,         /* device_detail */
    OP_CROP,           /* device_crop */
    OP_ADD_CROP,       /* device_add_crop */
};

enum { STEPS = 4 };

enum flags {
    SLICED = 1,              /* every tensor is a slice from the middle of a wider one */
    MASKED = 2,              /* forward writes a mask, backward applies one */
    ACCUMULATE = 4,          /* backward adds to what is there */
    PICTURE = 8,             /* x is a picture, dx a gradient at the picture */
    FORWARD_ONLY = 16,       /* no way back, and nothing kept for it */
    COARSE = 32,             /* x takes few values: zeros and exact ties */
    TINY_GRADIENT = 64,      /* OP_ASCEND: below what the step is divided by at least */
    INFINITE_GRADIENT = 128, /* OP_ASCEND: at one element */
    UNALIGNED = 256,         /* with SLICED: slices begin at an odd channel, and a pitch is odd where c is */
    NOT_FINITE = 512,        /* OP_CONV: x holds an infinity and a NaN; see compare_operand */
    CPU_ONLY = 1024,         /* more than the network asks for, and than CUDA devices do */
};

struct op_case {
    const char *name;
    enum op op;
    unsigned flags;
    int64_t h, w; /* of x; OP_DETAIL: of the original */
    int cin;      /* channels of x, and of y except in OP_CONV */
    int cout, kh, kw, stride, pad_h, pad_w, linear;
    int64_t top, left, bottom, right; /* stimulated; OP_CROP, OP_ADD_CROP: where the part begins */
    int64_t out_h, out_w;             /* of the picture that is written */
    int64_t small_h, small_w;         /* of the shrunk picture, OP_DETAIL */
    double max_loss;
    double limit; /* of OP_ASCEND's picture; 0: none */
};

extern const struct op_case op_cases[];
extern const int op_case_count;

#endif
