/* Heads and chunks of HTTP/1.1 written into the caller's memory. */
#ifndef WEIR_PROTO_HTTP1_WRITE_H
#define WEIR_PROTO_HTTP1_WRITE_H

#include "proto/httpname.h"

#include <stdbool.h>
#include <sys/types.h>

/*
 * Appends to [at, end). Once something did not fit or was not valid, error is set, nothing more
 * is written, and all that was written is to be thrown away: look once, at http1_write_end().
 */
struct http1_writer {
    uint8_t *begin;
    uint8_t *at;
    uint8_t *end;
    int error; /* 0, -ENOBUFS: no room, -EINVAL: not valid in a head */
};

static inline struct http1_writer http1_writer_on(void *memory, size_t size)
{
    uint8_t *p = (uint8_t *)memory;

    return (struct http1_writer){p, p, p + size, 0};
}

/* "HTTP/1.1 404 Not Found", CR LF. A status without a known text gets none. 100 to 999. */
void http1_write_status(struct http1_writer *writer, unsigned status);

/* The same with a reason of the caller's, which is checked as a field value is. */
void http1_write_status_reason(struct http1_writer *writer, unsigned status, const char *reason,
                               size_t length);

/* "METHOD target HTTP/1.1", CR LF, checked against what a parser takes. */
void http1_write_request(struct http1_writer *writer, struct http_text method,
                         struct http_text target);

/* One field. The name must be a token; the value may have no control character but HTAB and no
 * white space at its ends, so that nobody can make two fields of one. */
void http1_write_field(struct http1_writer *writer, struct http_text name, struct http_text value);

/* The same with literals that are known to be right, CR LF included: "Vary: Accept\r\n". */
void http1_write_raw(struct http1_writer *writer, const void *bytes, size_t length);
#define http1_write_literal(writer, literal) \
    http1_write_raw(writer, "" literal, sizeof(literal) - 1)

/* "Date: " and the 29 bytes of http_date_format, which the caller keeps for a second. */
void http1_write_date(struct http1_writer *writer, const char date[29]);

/* "Content-Length: 123". */
void http1_write_length(struct http1_writer *writer, uint64_t length);

/* Ends the head with its empty line. Gives its length or writer->error. */
ssize_t http1_write_end(struct http1_writer *writer);

/* ---- chunks ---- */

/* The longest size line: sixteen digits, CR LF. */
#define HTTP1_CHUNK_HEAD_MAX 18

/* Writes the size line of a chunk with `length` bytes, not 0 (that ends the body); gives its own
 * length. After the data comes CR LF. */
size_t http1_chunk_head(uint8_t out[HTTP1_CHUNK_HEAD_MAX], uint64_t length);

/* The end of a chunked body without trailers. With them: http1_write_literal "0\r\n", fields,
 * http1_write_end. */
#define HTTP1_CHUNK_LAST "0\r\n\r\n"

#endif
