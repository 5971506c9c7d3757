/* Media types of files, by extension. */
#ifndef WEIR_APP_HTTP_MIME_H
#define WEIR_APP_HTTP_MIME_H

#include <stddef.h>

#include "proto/httpname.h"

/* What a file is called whose extension says nothing. */
#define MIME_DEFAULT "application/octet-stream"

/* The value of Content-Type for a file, by the extension of the path's last segment (letters of
 * either case); MIME_DEFAULT when it has none that is known. Text carries charset=utf-8. For a
 * precompressed neighbour pass the name of the file that it stands for, without .gz or .br.
 * Never NULL; static text. Any thread. Types as registered with IANA where there is one. */
const char *weir__mime_of(struct http_text path);

/* How many extensions are known, and the i-th with its type, in order. For tests and for
 * `weir limits`; `i` must be below weir__mime_count(). Static text. Any thread. */
size_t weir__mime_count(void);
const char *weir__mime_extension(size_t i);
const char *weir__mime_type(size_t i);

#endif
