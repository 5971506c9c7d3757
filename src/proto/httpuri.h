/* Parts of a request target: authority, path, query (RFC 3986, RFC 9110 4). */
#ifndef WEIR_PROTO_HTTPURI_H
#define WEIR_PROTO_HTTPURI_H

#include "proto/httpname.h"

#include <stdbool.h>
#include <sys/types.h>

/*
 * Reads HOST or HOST:PORT: a name of letters, digits and - . _ ~ (an IPv4 address is one too), or
 * an IPv6 address in brackets without a zone; of the port digits only, at most 65535, 0 refused.
 * "host:" is allowed by the grammar and gives port 0, like "host". What else RFC 3986 lets stand
 * in a name (escapes, ! $ & ' ( ) * + , ; =) is refused: nobody has such hosts, but they get
 * requests past whoever looks at them. False when it is none; name then is not set.
 */
bool http_authority_parse(struct http_text authority, struct http_text *name, uint16_t *port);

/* What http_path_decode found on its way. */
struct http_path_facts {
    bool escaped_slash; /* %2F or %5C became a slash or a backslash */
    bool dot_segment;   /* after decoding, a segment is "." or ".." */
    bool empty_segment; /* after decoding, two slashes meet */
};

/*
 * Decodes the percent escapes of a path, once. Writes at most capacity bytes to out and gives
 * their number, never more than path.length; in place (out == path.at) is fine. -1 for a bad escape
 * or an escaped NUL, -2 when it does not fit. Nothing is normalised; facts may be NULL.
 */
ssize_t http_path_decode(struct http_text path, char *out, size_t capacity,
                         struct http_path_facts *facts);

/* Takes the next "name=value" off the front of a query (parted by &): false at the end. Both are
 * still encoded; a pair without = has an empty value. Empty pairs are passed over. */
bool http_query_next(struct http_text *query, struct http_text *name, struct http_text *value);

/* Decodes a name or a value of a query as HTML forms encode it: + is a space. Results as
 * http_path_decode, but an escaped NUL is allowed: it is data here. */
ssize_t http_query_decode(struct http_text part, char *out, size_t capacity);

#endif
