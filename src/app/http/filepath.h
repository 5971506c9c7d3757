/* From the path of a request to a path beneath the served directory. */
#ifndef WEIR_APP_HTTP_FILEPATH_H
#define WEIR_APP_HTTP_FILEPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/httpname.h"

/* With its NUL: what the kernel takes at most (PATH_MAX). */
enum { FILEPATH_MAX = 4096 };

struct filepath {
    uint32_t size;           /* bytes of text, without the NUL */
    bool directory;          /* the request ended in a slash: serve an index or a listing */
    char text[FILEPATH_MAX]; /* relative, "." for the root; no empty segment, no "." or ".." */
};

/* Maps the path of a request, which begins with a slash and was percent-decoded once, to a path for
 * openat2 beneath the root. `raw` is the same path before decoding; at NULL when there is none.
 * Empty and "." segments vanish. 0, or
 *   -EINVAL        no leading slash, a NUL, a ".." segment: answer 400
 *   -ENOENT        what never names a file here: a slash that was %2F, a backslash (clients and
 *                  proxies read it as a slash), a hidden name (leading dot) unless `hidden` allows
 *                  it; "/.well-known" is always allowed (RFC 8615)
 *   -ENAMETOOLONG  longer than the kernel takes
 * and filepath_status tells the status. Any thread. */
int filepath_map(struct filepath *path, struct http_text decoded, struct http_text raw,
                 bool hidden);

/* Appends a file of the directory that the path names: "docs" becomes "docs/index.html". `name` is
 * the operator's, one segment. 0 or -ENAMETOOLONG, and then the path stays as it was. */
int filepath_append(struct filepath *path, struct http_text name);

/* The location for a directory that was asked for without a slash at the end: `prefix` (where the
 * root is mounted: "" or "/static", already encoded), the path encoded again, a slash, the query.
 * It never begins with two slashes, which would name another host. `query` is without its question
 * mark, at NULL: none. Returns the length without the NUL, or WEIR_ETOOBIG. */
int filepath_redirect(const struct filepath *path, const char *prefix, struct http_text query,
                      char *out, size_t out_size);

/* The status for an error of filepath_map, openat2 or stat (negative): 400, 403, 404, 503 or 500.
 * What is outside the root (-EXDEV) or a forbidden link (-ELOOP) is not there: 404. Any thread. */
int filepath_status(int error);

/* Flags for openat2's `resolve`: RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS always (kernel 5.6), and
 * RESOLVE_NO_SYMLINKS unless symbolic links are allowed. */
uint64_t filepath_resolve_flags(bool symlinks);

#endif
