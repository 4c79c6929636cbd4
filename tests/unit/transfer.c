/* Tests how values come back from a device (host/transfer.c): every half-precision number, and slices. */
#include "tests/check.h"

#include "host/error.h"
#include "host/transfer.h"

#include <math.h>
#include <string.h>

/* What a half-precision number means, from its definition. */
static double half_value(unsigned half)
{
    int exponent = (int)(half >> 10 & 31), fraction = (int)(half & 1023);
    double size;

    if (exponent == 31)
        size = fraction ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        size = fraction * pow(2, -24);
    else
        size = pow(2, exponent - 15) * (1 + fraction / 1024.0);
    return half & 0x8000 ? -size : size;
}

/* All of them, in the first two of each pixel's three channels. */
static void test_halves(struct device *device)
{
    enum { PIXELS = 32768, PITCH = 3 };
    static uint16_t halves[PIXELS * PITCH];
    static double doubles[PIXELS * 2];
    static float floats[PIXELS * 2];
    struct tensor tensor = {.h = 128, .w = 256, .c = 2, .pitch = PITCH, .type = DTYPE_F16};

    for (int i = 0; i < PIXELS; i++)
        for (int c = 0; c < 2; c++)
            halves[i * PITCH + c] = (uint16_t)(2 * i + c);
    tensor.data = device_alloc(device, sizeof halves);
    CHECK(tensor.data && device_upload(device, tensor.data, halves, sizeof halves) == 0, "%s", error_message());
    CHECK(tensor_download(device, &tensor, DTYPE_F64, doubles) == 0, "%s", error_message());
    CHECK(tensor_download(device, &tensor, DTYPE_F32, floats) == 0, "%s", error_message());
    for (unsigned half = 0; half < 2 * PIXELS; half++) {
        double want = half_value(half);

        CHECK(isnan(want) ? isnan(doubles[half]) : memcmp(&want, &doubles[half], sizeof want) == 0,
              "half %#06x: %.17g, not %.17g", half, doubles[half], want);
        CHECK(isnan(want) ? isnan(floats[half]) : (double)floats[half] == want, "half %#06x as float: %.9g", half,
              (double)floats[half]);
    }
    device_free(device, tensor.data);
}

int main(void)
{
    struct device *device = device_open("reference", &(struct device_options){0});

    if (!device) {
        printf("FAILED: %s\n", error_message());
        return EXIT_FAILURE;
    }
    test_halves(device);
    device_close(device);
    return check_result();
}
