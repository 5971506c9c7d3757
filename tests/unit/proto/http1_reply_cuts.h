/*
 * Reads a stream of answers whole, and cut, with and without a memory of heads, and compares what
 * came out. Shared by the unit test and the fuzz target.
 */
#ifndef WEIR_TEST_HTTP1_REPLY_CUTS_H
#define WEIR_TEST_HTTP1_REPLY_CUTS_H

#include "proto/http1_reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPLIES_MAX = 64 };

/* What a stream gave. */
struct replies {
    struct {
        uint16_t status;
        bool keep_alive;
        uint64_t bytes, hash; /* of the body */
    } row[REPLIES_MAX];
    unsigned count;
    ssize_t refusal; /* 0, or what ended it */
    int cut;         /* what http1_reply_cut said behind the last byte */
    uint64_t tail;   /* bytes of a body that did not end */
};

/* Takes one part of the stream. False: the stream has ended there. */
static inline bool replies_take(struct http1_reply *reply, struct http1_reply_memo *memo,
                                const uint8_t *p, size_t n, enum http_method method,
                                struct replies *out)
{
    while (n != 0 && out->count < REPLIES_MAX) {
        struct http1_reply_piece piece;
        ssize_t used = http1_reply_next(reply, memo, p, n, method, &piece);

        if (used < 0) {
            out->refusal = used;
            return false;
        }
        if ((size_t)used > n || (used == 0 && piece.event == HTTP1_REPLY_MORE) ||
            (piece.length != 0 && (piece.data < p || piece.data + piece.length > p + used)))
            abort();
        for (size_t i = 0; i < piece.length; i++)
            out->row[out->count].hash = out->row[out->count].hash * 31 + piece.data[i];
        out->row[out->count].bytes += piece.length;
        p += used;
        n -= (size_t)used;
        if (piece.event != HTTP1_REPLY_DONE)
            continue;
        out->row[out->count].status = reply->status;
        out->row[out->count].keep_alive = reply->keep_alive;
        out->count++;
        if (!reply->keep_alive)
            return false;
    }
    return out->count < REPLIES_MAX;
}

/* Reads a stream in parts of `step` bytes, the first of them `first` long. */
static inline void replies_read(const uint8_t *p, size_t n, size_t first, size_t step,
                                enum http_method method, struct http1_reply_memo *memo,
                                struct replies *out)
{
    struct http1_reply reply = {0};

    memset(out, 0, sizeof *out);
    for (size_t at = 0, part = first; at < n; at += part, part = step) {
        if (part > n - at)
            part = n - at;
        /* Memory of its own: a sanitizer sees every byte that is read beyond the part. */
        uint8_t *copy = malloc(part + 1);
        if (copy == NULL)
            abort();
        memcpy(copy, p + at, part);
        bool on = part == 0 || replies_take(&reply, memo, copy, part, method, out);
        free(copy);
        if (!on)
            break;
    }
    if (out->refusal == 0)
        out->cut = http1_reply_cut(&reply);
    if (out->cut == 1 && out->count < REPLIES_MAX) {
        out->row[out->count].status = reply.status;
        out->count++;
    }
    out->tail = out->count < REPLIES_MAX ? out->row[out->count].bytes : 0;
    http1_reply_end(&reply);
}

#endif
