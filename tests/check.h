/* What every test program shares: checks that print what was compared, and an exit status that ctest understands.
 * A check that fails is printed and counted and the program goes on; what cannot be tried is a visible skip. */
#ifndef PAREIDOLIA_CHECK_H
#define PAREIDOLIA_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK_SKIP 77 /* ctest: SKIP_RETURN_CODE */

static int check_failures;

/* Counts and prints a failure unless condition holds; the rest is a printf format that gives the values. */
#define CHECK(condition, ...)                                                   \
    do {                                                                        \
        if (!(condition)) {                                                     \
            check_failures++;                                                   \
            printf("FAILED %s:%d: %s: ", __FILE__, __LINE__, #condition);       \
            printf(__VA_ARGS__);                                                \
            printf("\n");                                                       \
            fflush(stdout); /* a sanitizer may end the program */               \
        }                                                                       \
    } while (0)

/* The value of an environment variable that names test data, or ends the program as skipped. */
static inline const char *check_data(const char *variable)
{
    const char *path = getenv(variable);

    if (!path || !*path) {
        printf("SKIPPED: %s is not set\n", variable);
        exit(CHECK_SKIP);
    }
    return path;
}

/* What main returns. */
static inline int check_result(void)
{
    printf("%d checks failed\n", check_failures);
    return check_failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
