/* Opens devices for tests: hardware that is not there is a visible skip, anything else that fails is a failure. */
#ifndef PAREIDOLIA_TESTS_OPEN_H
#define PAREIDOLIA_TESTS_OPEN_H

#include "tests/check.h"

#include "host/device.h"
#include "host/error.h"

#include <string.h>

/* Opens the device or ends the program. */
static inline struct device *open_or_skip(const char *name, struct device_options options)
{
    struct device *device = device_open(name, &options);

    if (device)
        return device;
    if (strstr(error_message(), "no CUDA device can be used") || strstr(error_message(), "for this processor")) {
        printf("SKIPPED: %s\n", error_message());
        exit(CHECK_SKIP);
    }
    printf("%s: %s\n", name, error_message());
    exit(EXIT_FAILURE);
}

#endif
