/*
 * The answers on one client connection, sans I/O: bytes in as they arrive, answers out, one after
 * the other (RFC 9112 6.3). Any cut of the input is fine, and what comes out does not depend on it.
 *
 *     while (n != 0 && (used = http1_reply_next(&reply, memo, p, n, method, &piece)) >= 0) {
 *         p += used, n -= used;
 *         use piece.data, piece.length;
 *         if (piece.event == HTTP1_REPLY_DONE)  the answer is reply.status, reply.keep_alive;
 *     }
 *
 * A head or trailer section that came in several parts is copied until it is whole; everything else
 * is used where it lies. Not shared between threads.
 */
#ifndef WEIR_PROTO_HTTP1_REPLY_H
#define WEIR_PROTO_HTTP1_REPLY_H

#include "proto/http1_body.h"

enum {
    HTTP1_REPLY_MEMO_BYTES = 1024, /* heads up to this size are remembered */
    HTTP1_REPLY_INTERIM_MAX = 64   /* 1xx heads before an answer; more are refused */
};

enum http1_reply_event {
    HTTP1_REPLY_MORE, /* all input is used up, the answer is not at its end */
    HTTP1_REPLY_DATA, /* a run of the body */
    HTTP1_REPLY_DONE  /* the answer is at its end, with its last run of the body if there was one */
};

struct http1_reply_piece {
    enum http1_reply_event event;
    const uint8_t *data;
    size_t length;
};

/* What a head said. */
struct http1_reply_head {
    uint64_t content_length;
    uint16_t status;
    uint8_t body; /* enum http1_body_kind */
    bool keep_alive, interim;
};

/* The last head that was parsed. A server's answers differ in little but their date: one that
 * begins with the very bytes of the last head has that head, and needs no parsing. Zeroed it is
 * empty; it may serve any number of connections of one thread. */
struct http1_reply_memo {
    struct http1_reply_head head;
    uint32_t bytes; /* 0: empty */
    uint8_t method;
    uint8_t text[HTTP1_REPLY_MEMO_BYTES];
};

/* Zeroed it waits for the first answer. */
struct http1_reply {
    struct http1_body body;
    struct http1_resume resume;
    uint8_t *kept; /* a part of a head or of trailers */
    uint32_t kept_bytes, kept_room;
    uint16_t status;  /* of this answer, once its head is there; kept until the next one */
    uint8_t state;    /* private */
    uint8_t interims; /* 1xx heads before it */
    bool keep_alive;  /* another answer may follow */
};

/*
 * Takes what it can from the front of p, n of which is not 0. `method` is that of the request which
 * this answer belongs to. memo may be NULL. Returns how many bytes were used (the run of the body
 * included), a refusal as a negative number (struct http1_refusal_row), or -HTTP1_REFUSALS when out
 * of memory; after that nothing but http1_reply_end may follow.
 */
ssize_t http1_reply_next(struct http1_reply *reply, struct http1_reply_memo *memo, const uint8_t *p,
                         size_t n, enum http_method method, struct http1_reply_piece *piece);

/* Says what the end of the connection means: 1: it ended the answer, which was whole; 0: there was
 * none; else -HTTP1_BODY_CUT. */
int http1_reply_cut(struct http1_reply *reply);

/* Gives back what it holds and makes it ready for another connection. */
void http1_reply_end(struct http1_reply *reply);

#endif
