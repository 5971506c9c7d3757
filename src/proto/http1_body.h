/*
 * Bodies of HTTP/1.1 messages, sans I/O (RFC 9112 6 and 7): wire bytes in, runs of payload out,
 * as parts of the caller's bytes. Any cut of the input is fine.
 *
 *     while ((used = http1_body_next(&body, p, n, &piece)) >= 0) {
 *         p += used, n -= used;
 *         if (piece.event == HTTP1_PIECE_DATA)  use piece.data, piece.length;
 *         else break;
 *     }
 */
#ifndef WEIR_PROTO_HTTP1_BODY_H
#define WEIR_PROTO_HTTP1_BODY_H

#include "proto/http1.h"

enum http1_event {
    HTTP1_PIECE_MORE,     /* all input is used up, the body is not at its end */
    HTTP1_PIECE_DATA,     /* a run of payload */
    HTTP1_PIECE_TRAILERS, /* trailer fields begin: call http1_body_trailers until it is through */
    HTTP1_PIECE_END,      /* the body is through; what was not used is the next message's */
};

struct http1_piece {
    enum http1_event event;
    const uint8_t *data;
    size_t length;
};

/*
 * Chunk extensions may be as long as limits->extension_bytes each, and all together that much
 * sixteen times over plus one byte for each byte of payload: a signature on every chunk of an
 * upload passes, a body that consists of extensions does not.
 */
struct http1_body {
    uint64_t left;       /* of the fixed length or of the chunk; the size while it is read */
    uint64_t received;   /* payload bytes so far */
    uint64_t most;       /* payload bytes allowed */
    uint32_t extension;  /* bytes of this chunk's extensions so far */
    uint32_t extensions; /* bytes that extensions may still have */
    uint32_t extension_most;
    uint8_t kind;  /* enum http1_body_kind */
    uint8_t state; /* private */
    uint8_t digits;
    bool ended; /* HTTP1_PIECE_END was given */
};

/*
 * Begins the body of a request, or of a response. most is the limit on its payload bytes,
 * UINT64_MAX for none. Gives 0, or -HTTP1_BODY_TOO_LARGE at once where the length is announced.
 */
int http1_body_begin_request(struct http1_body *body, const struct http1_request *request,
                             const struct http1_limits *limits, uint64_t most);
int http1_body_begin_response(struct http1_body *body, const struct http1_response *response,
                              const struct http1_limits *limits, uint64_t most);

/*
 * Takes what it can from the front of p, up to one run of payload. Returns the number of bytes
 * used up, payload included, or a refusal as a negative number. The end comes in a call of its own
 * behind the last run, which needs no input where the length is fixed (n may be 0 then).
 */
ssize_t http1_body_next(struct http1_body *body, const uint8_t *p, size_t n,
                        struct http1_piece *piece);

/*
 * Parses the trailer section, which must lie in one piece like a head. Returns its length (the
 * body is at its end then), 0 when more is needed, or a refusal as a negative number.
 */
ssize_t http1_body_trailers(struct http1_body *body, const uint8_t *p, size_t n,
                            struct http1_resume *resume, const struct http1_limits *limits,
                            struct http1_fields *fields);

/* Says what the end of the connection means: 0 where the body is through (or lasted until now),
 * else -HTTP1_BODY_CUT. */
int http1_body_cut(struct http1_body *body);

#endif
