/* One sentence that says what went wrong, kept until the command ends.
 * Whoever detects a failure sets it, callers pass it on or put a prefix before it, and only main prints it. */
#ifndef PAREIDOLIA_ERROR_H
#define PAREIDOLIA_ERROR_H

/* Sets this thread's sentence (printf format, no full stop or line end needed). Always returns -1, so that
 * `return error_set("...")` ends a function that returns 0 or -1. */
int error_set(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Puts "PREFIX: " before the sentence that stands. Always returns -1. */
int error_prefix(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The sentence; "" when nothing has failed. Valid until the next call of this file's functions in this thread. */
const char *error_message(void);

#endif
