#include "net/socket_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int weir__socket_fail(struct weir__socket_error *error, int code, const char *what,
                      const char *format, ...)
{
    va_list arguments;

    error->code = code;
    error->what = what;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return code;
}

/* The handful of warnings that there are fit; one that did not would be left out whole. */
void weir__socket_warn(struct weir__socket_error *error, const char *format, ...)
{
    size_t used = strlen(error->warning), room = sizeof error->warning - used;
    va_list arguments;
    int length;

    if (used > 0 && room > 1) {
        error->warning[used] = '\n';
        error->warning[used + 1] = '\0';
        room--;
    }
    va_start(arguments, format);
    length = vsnprintf(error->warning + sizeof error->warning - room, room, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= room)
        error->warning[used] = '\0';
    else
        error->warnings++;
}
