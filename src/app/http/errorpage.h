/* The body of an answer that is an error: what it is, why, and what to do. Short plain text, for it
 * is read in a terminal as often as in a browser. */
#ifndef WEIR_APP_HTTP_ERRORPAGE_H
#define WEIR_APP_HTTP_ERRORPAGE_H

#include <stddef.h>

#define ERRORPAGE_TYPE "text/plain; charset=utf-8"

/* No body is longer, with its NUL. */
enum { ERRORPAGE_MAX = 1024 };

/* Writes "404 Not Found", a line "cause: ..." and a line "fix: ...". NULL takes the usual cause and
 * fix of the status; a status that has none is left with its first line. `cause` and `fix` are the
 * server's own words and say nothing that the client may not know; control characters in them
 * become blanks, and beyond 400 bytes they are cut with "...". Returns the length without the NUL.
 * Any thread. */
size_t weir__errorpage_write(int status, const char *cause, const char *fix,
                             char out[ERRORPAGE_MAX]);

#endif
