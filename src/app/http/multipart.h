/* The framing of several ranges in one answer: multipart/byteranges (RFC 9110 section 14.6). */
#ifndef WEIR_APP_HTTP_MULTIPART_H
#define WEIR_APP_HTTP_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/httpname.h"

#include "app/http/range.h"

enum { MULTIPART_RANDOM_SIZE = 16 };       /* bytes that make a boundary */
enum { MULTIPART_TYPE_MAX = 255 };         /* longest media type of the parts */
enum { MULTIPART_BOUNDARY_SIZE = 32 };     /* two letters a random byte */
enum { MULTIPART_HEAD_SIZE = 512 };        /* room for what stands before a part */
enum { MULTIPART_TAIL_SIZE = 64 };         /* room for what stands behind the last */
enum { MULTIPART_CONTENT_TYPE_SIZE = 80 }; /* room for the answer's media type */

struct multipart {
    struct http_text type; /* media type of the representation; borrowed */
    uint64_t total_bytes;  /* of the whole representation */
    char boundary[MULTIPART_BOUNDARY_SIZE + 1];
};

/* Begins an answer. `random` are fresh random bytes, so that no file can contain the boundary;
 * `type` is borrowed until the last head was written. WEIR_ETOOBIG when the type is longer than
 * MULTIPART_TYPE_MAX, WEIR_EINVALID when it is empty or has
 * control characters. */
int multipart_init(struct multipart *multipart, const unsigned char random[MULTIPART_RANDOM_SIZE],
                   struct http_text type, uint64_t total_bytes);

/* Content-Type of the answer. Returns the length without the NUL. */
size_t multipart_content_type(const struct multipart *multipart,
                              char out[MULTIPART_CONTENT_TYPE_SIZE]);

/* What stands before a part; `first` for the first one. Returns the length without the NUL. */
size_t multipart_head(const struct multipart *multipart, struct range part, bool first,
                      char out[MULTIPART_HEAD_SIZE]);

/* What stands behind the last part. Returns the length without the NUL. */
size_t multipart_tail(const struct multipart *multipart, char out[MULTIPART_TAIL_SIZE]);

/* Content-Length of the answer: heads, parts and tail. WEIR_ETOOBIG when it passes 64 bits. */
int multipart_total(const struct multipart *multipart, const struct range_set *set,
                    uint64_t *total_bytes);

#endif
