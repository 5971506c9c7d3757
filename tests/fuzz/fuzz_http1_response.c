/* Responses on one connection, heads and bodies: read whole and read in pieces, with every engine,
 * they must be the same messages. Input: one byte for the method they answer, one for the size of
 * the pieces, then the stream. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/proto/http1_differ.h"
#include "proto/http1_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 5000, MESSAGES = 32 };

/* What a stream turned out to hold; no padding: compared with memcmp. */
struct outcome {
    uint64_t messages, interim, sum, length, used;
    int64_t refusal; /* and 1 for a body that was cut by the end of the stream */
};

struct stream {
    const uint8_t *data;
    size_t size, have, at, step;
};

static bool grow(struct stream *s)
{
    if (s->have == s->size)
        return false;
    s->have = s->size - s->have > s->step ? s->have + s->step : s->size;
    return true;
}

static void add(struct outcome *outcome, const uint8_t *p, size_t n)
{
    outcome->length += n;
    while (n-- > 0)
        outcome->sum = (outcome->sum ^ *p++) * 1099511628211u;
}

/* A response; 0: one was read, else a refusal, or 1: it is not whole. */
static int64_t read_head(struct stream *s, enum http_method method, struct http1_response *response)
{
    struct http1_resume resume = {0, 0, 0};
    ssize_t rc;

    for (;;) {
        rc =
            http1_parse_response(s->data + s->at, s->have - s->at, &resume, NULL, method, response);
        if (rc != 0)
            break;
        if (!grow(s))
            return 1;
    }
    if (rc < 0)
        return rc;
    DIFFER_CHECK((size_t)rc <= s->have - s->at && response->head_bytes == (uint32_t)rc);
    DIFFER_CHECK(response->status >= 100 && response->status <= 999);
    DIFFER_CHECK(!response->interim || response->status < 200);
    s->at += (size_t)rc;
    return 0;
}

static int64_t read_trailers(struct stream *s, struct http1_body *body)
{
    static struct http1_field rows[HTTP1_TRAILERS];
    struct http1_fields fields = {.row = rows, .capacity = HTTP1_TRAILERS};
    struct http1_resume resume = {0, 0, 0};

    for (;;) {
        ssize_t rc =
            http1_body_trailers(body, s->data + s->at, s->have - s->at, &resume, NULL, &fields);

        if (rc < 0)
            return rc;
        s->at += (size_t)rc;
        if (rc > 0)
            return 0;
        if (!grow(s))
            return 1;
    }
}

static int64_t read_body(struct stream *s, const struct http1_response *response,
                         struct outcome *outcome)
{
    struct http1_body body;
    int error = http1_body_begin_response(&body, response, NULL, MOST);

    if (error < 0)
        return error;
    for (;;) {
        struct http1_piece piece = {HTTP1_PIECE_MORE, NULL, 0};
        ssize_t rc = http1_body_next(&body, s->data + s->at, s->have - s->at, &piece);

        if (rc < 0)
            return rc;
        s->at += (size_t)rc;
        DIFFER_CHECK(s->at <= s->have && body.received <= MOST);
        if (piece.event == HTTP1_PIECE_DATA) {
            DIFFER_CHECK(piece.length > 0 && piece.data + piece.length == s->data + s->at);
            add(outcome, piece.data, piece.length);
        } else if (piece.event == HTTP1_PIECE_END) {
            return 0;
        } else if (piece.event == HTTP1_PIECE_TRAILERS) {
            return read_trailers(s, &body);
        } else if (!grow(s)) {
            return http1_body_cut(&body) < 0 ? 1 : 0;
        }
    }
}

static struct outcome read_all(struct stream s, enum http_method method)
{
    static struct http1_field rows[HTTP1_FIELDS];
    struct http1_response response = {.fields = {.row = rows, .capacity = HTTP1_FIELDS}};
    struct outcome outcome = {0};

    while (outcome.messages + outcome.interim < MESSAGES && outcome.refusal == 0) {
        outcome.refusal = read_head(&s, method, &response);
        if (outcome.refusal != 0)
            break;
        if (response.interim) {
            outcome.interim++;
            continue;
        }
        outcome.refusal = read_body(&s, &response, &outcome);
        if (outcome.refusal != 0)
            break;
        outcome.messages++;
        if (!response.keep_alive)
            break;
    }
    outcome.used = outcome.refusal == 0 ? s.at : 0;
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum http_method methods[] = {HTTP_GET, HTTP_HEAD, HTTP_CONNECT, HTTP_POST};
    struct differ_options options = {.response = true};
    struct outcome whole, pieces;
    struct stream stream = {0};
    size_t step;
    uint8_t *copy;

    if (size < 2)
        return 0;
    options.method = methods[data[0] % 4];
    step = data[1] % 64 + 1;
    stream.size = size - 2;
    copy = malloc(stream.size + 1);
    DIFFER_CHECK(copy);
    memcpy(copy, data + 2, stream.size);
    stream.data = copy;
    differ_head(copy, stream.size, step, &options);
    http1_engine_use(http1_engines[0]);
    stream.step = size;
    whole = read_all(stream, options.method);
    stream.step = step;
    for (int i = 0; http1_engines[i]; i++) {
        if (!http1_engines[i]->usable())
            continue;
        http1_engine_use(http1_engines[i]);
        pieces = read_all(stream, options.method);
        DIFFER_CHECK(whole.refusal == pieces.refusal);
        DIFFER_CHECK(whole.refusal != 0 || memcmp(&whole, &pieces, sizeof(whole)) == 0);
    }
    http1_engine_use(NULL);
    free(copy);
    return 0;
}
