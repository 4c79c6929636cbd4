/* Writes version 1.0 of the format: magic, length of the header, a Python dictionary padded with blanks, values. */
#include "npy.h"

#include "error.h"
#include "output.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the header says that the values are little endian");

enum {
    PREFIX = 10,  /* bytes before the dictionary */
    HEADER = 128, /* bytes before the values; the format wants a multiple of 64 */
};

int npy_write(const char *path, enum dtype type, int64_t h, int64_t w, int64_t c, const void *values)
{
    char header[HEADER + 1];
    struct output out;

    assert(type == DTYPE_F64 || type == DTYPE_F32);
    int length =
        snprintf(header + PREFIX, sizeof header - PREFIX,
                 "{'descr': '<f%d', 'fortran_order': False, 'shape': (1, %" PRId64 ", %" PRId64 ", %" PRId64 "), }",
                 type == DTYPE_F64 ? 8 : 4, h, w, c);
    assert(length < HEADER - PREFIX);
    memset(header + PREFIX + length, ' ', (size_t)(HEADER - PREFIX - length));
    header[HEADER - 1] = '\n';
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)(HEADER - PREFIX); /* two bytes, the lower first */
    header[9] = 0;

    if (output_open(&out, path))
        return -1;
    size_t bytes = dtype_bytes(type, h * w * c);
    if (fwrite(header, HEADER, 1, out.file) != 1 || fwrite(values, 1, bytes, out.file) != bytes) {
        error_set("%s: cannot be written: %s", path, strerror(errno));
        output_abandon(&out);
        return -1;
    }
    return output_commit(&out);
}
