/* Byte ranges: what a Range field asks for, and the framing of the answer (RFC 9110 section 14). */
#ifndef WEIR_APP_HTTP_RANGE_H
#define WEIR_APP_HTTP_RANGE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/httpname.h"

/* More ranges than this in one field, and the field is ignored: no reader needs them, and each part
 * costs more than it carries. */
enum { RANGE_MAX = 16 };

/* Ranges that overlap or lie closer than this are joined: a part's head costs about as much as the
 * gap (RFC 9110 section 15.3.7.2 names 80 bytes). */
enum { RANGE_GAP_MAX = 80 };

enum range_outcome {
    RANGE_IGNORED,      /* not bytes, malformed, too many, or nothing to cut: answer 200 */
    RANGE_SATISFIED,    /* `part` holds them: answer 206 */
    RANGE_UNSATISFIABLE /* all lie beyond the end: answer 416 with Content-Range: bytes * / total */
};

struct range {
    uint64_t offset, size; /* bytes; size > 0, offset + size at most the total */
};

struct range_set {
    uint32_t count; /* 1: answer with one part and no multipart framing */
    struct range part[RANGE_MAX];
};

/* Reads the value of a Range field against a representation of `total_bytes`. Parts come out in the
 * order in which they were asked for, disjoint, with more than RANGE_GAP_MAX bytes between them, so
 * that their sum never passes the total. Numbers too large for 64 bits count as beyond the end. A
 * field with one bad range is ignored whole, and so is every field on an empty representation (many
 * clients add "bytes=0-" to each request, and an empty 200 is what they can use). Any thread.
 * RFC 9110 sections 14.1.1, 14.1.2, 14.2. */
enum range_outcome weir__range_read(struct http_text field, uint64_t total_bytes,
                                    struct range_set *set);

/* Room for the value of Content-Range with its NUL. */
enum { RANGE_TEXT_SIZE = 72 };

/* "bytes 0-99/1234" for a part that is sent. Returns the length. */
size_t weir__range_text(struct range part, uint64_t total_bytes, char out[RANGE_TEXT_SIZE]);

/* The text "bytes *" with "/1234" behind it, for 416. Returns the length. */
size_t weir__range_text_unsatisfiable(uint64_t total_bytes, char out[RANGE_TEXT_SIZE]);

#endif
