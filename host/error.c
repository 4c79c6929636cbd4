/* Keeps one error sentence a thread in a fixed buffer, so that running out of memory can be reported too.
 * A sentence that does not fit is cut, never refused. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[2048];

int error_set(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return -1;
}

int error_prefix(const char *format, ...)
{
    char old[sizeof message];
    va_list arguments;

    memcpy(old, message, sizeof old);
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    strncat(message, ": ", sizeof message - strlen(message) - 1);
    strncat(message, old, sizeof message - strlen(message) - 1);
    return -1;
}

const char *error_message(void)
{
    return message;
}
