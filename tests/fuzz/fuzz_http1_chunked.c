/* Chunked bodies with trailers: read whole and read in pieces they must be the same; what was read
 * must be what a slow copy of the rules reads. Input: one byte for the size of the pieces, then
 * the body. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/http1_body.h"
#include "proto/http1_engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST 5000

static void expect(bool holds)
{
    if (!holds)
        abort();
}

struct outcome {
    ssize_t rc; /* wire bytes of the body, 0 when it did not end, or a refusal */
    uint64_t sum, length, trailers; /* no padding: compared with memcmp */
};

static uint64_t add(uint64_t sum, const uint8_t *p, size_t n)
{
    while (n-- > 0)
        sum = (sum ^ *p++) * 1099511628211u;
    return sum;
}

/* Reads with input that grows by `step` bytes; unread input stays, as on a connection. */
static struct outcome read_body(const uint8_t *p, size_t n, size_t step)
{
    struct http1_request request = {.chunked = true};
    struct http1_field rows[HTTP1_TRAILERS];
    struct http1_fields fields = {.row = rows, .capacity = HTTP1_TRAILERS};
    struct http1_resume resume = {0, 0, 0};
    struct http1_body body;
    struct outcome outcome = {0, 0, 0, 0};
    size_t at = 0, have = 0;
    bool in_trailers = false;

    http1_body_begin_request(&body, &request, NULL, MOST);
    for (;;) {
        struct http1_piece piece = {HTTP1_PIECE_MORE, NULL, 0};
        ssize_t rc = in_trailers
                         ? http1_body_trailers(&body, p + at, have - at, &resume, NULL, &fields)
                         : http1_body_next(&body, p + at, have - at, &piece);

        if (rc < 0) {
            outcome.rc = rc;
            return outcome;
        }
        at += (size_t)rc;
        expect(at <= have);
        if (piece.event == HTTP1_PIECE_DATA) {
            expect(piece.length > 0 && piece.data + piece.length == p + at);
            outcome.sum = add(outcome.sum, piece.data, piece.length);
            outcome.length += piece.length;
            continue;
        }
        if (piece.event == HTTP1_PIECE_END || (in_trailers && rc > 0)) {
            expect(body.ended && body.received == outcome.length && outcome.length <= MOST);
            outcome.rc = (ssize_t)at;
            outcome.trailers = in_trailers ? fields.count : 0;
            return outcome;
        }
        if (piece.event == HTTP1_PIECE_TRAILERS) {
            in_trailers = true;
            continue;
        }
        expect(in_trailers || at == have);
        if (have == n)
            return outcome;
        have = n - have > step ? have + step : n;
    }
}

/* The framing once more, without extensions and trailers, in the simplest words. Says whether the
 * body is of that kind, and if so how long it is on the wire. */
static bool read_simply(const uint8_t *p, size_t n, size_t *used, uint64_t *length)
{
    size_t at = 0;

    *length = 0;
    for (;;) {
        uint64_t size = 0;
        unsigned digits = 0;

        for (; at < n && strchr("0123456789abcdefABCDEF", p[at]) && p[at]; at++, digits++) {
            char digit[2] = {(char)p[at], '\0'};

            if (digits == 15)
                return false;
            size = size * 16 + strtoul(digit, NULL, 16);
        }
        if (digits == 0 || n - at < 2 || p[at] != '\r' || p[at + 1] != '\n')
            return false;
        at += 2;
        if (size > MOST - *length || n - at < size + 2 || p[at + size] != '\r' ||
            p[at + size + 1] != '\n')
            return false;
        at += size + 2;
        *length += size;
        *used = at;
        if (size == 0)
            return true;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole, pieces;
    uint64_t length;
    size_t step, used;
    uint8_t *copy;

    if (size == 0)
        return 0;
    step = (size_t)*data++ % 64 + 1;
    size--;
    copy = malloc(size + 1);
    expect(copy != NULL);
    memcpy(copy, data, size);
    whole = read_body(copy, size, size + 1);
    for (int i = 0; http1_engines[i]; i++) {
        if (!http1_engines[i]->usable())
            continue;
        http1_engine_use(http1_engines[i]);
        pieces = read_body(copy, size, step);
        expect(memcmp(&whole, &pieces, sizeof(whole)) == 0 ||
               (whole.rc < 0 && whole.rc == pieces.rc));
    }
    http1_engine_use(NULL);
    if (read_simply(copy, size, &used, &length))
        expect(whole.rc == (ssize_t)used && whole.length == length);
    free(copy);
    return 0;
}
