#include "proto/http1_reply.h"

#include "base/alloc.h"

#include <string.h>

enum reply_state { REPLY_HEAD, REPLY_BODY, REPLY_TRAILERS };

enum { KEPT_FIRST = 512, NO_MEMORY = -(int)HTTP1_REFUSALS };

/* A part of a head, or of trailers, as it is parsed: where it lies, and how much of it was there
 * before this call. */
struct part {
    const uint8_t *at;
    size_t bytes, before;
};

static bool keep(struct http1_reply *reply, const uint8_t *p, size_t n)
{
    size_t want = reply->kept_bytes + n,
           room = reply->kept_room != 0 ? reply->kept_room : KEPT_FIRST;
    while (room < want)
        room *= 2;
    if (room != reply->kept_room) {
        uint8_t *grown = weir__realloc(reply->kept, room);
        if (grown == NULL)
            return false;
        reply->kept = grown;
        reply->kept_room = (uint32_t)room;
    }
    memcpy(reply->kept + reply->kept_bytes, p, n);
    reply->kept_bytes = (uint32_t)want;
    return true;
}

/* Makes one piece of what was kept and what is new. No more is copied than such a section may have,
 * so that what comes behind it stays where it is. */
static bool join(struct http1_reply *reply, const uint8_t *p, size_t n, size_t most,
                 struct part *part)
{
    *part = (struct part){p, n, 0};
    if (reply->kept_bytes == 0)
        return true;
    size_t room = most - reply->kept_bytes;
    part->before = reply->kept_bytes;
    if (!keep(reply, p, n < room ? n : room))
        return false;
    part->at = reply->kept;
    part->bytes = reply->kept_bytes;
    return true;
}

/* The section ends `length` bytes into the part: how much of that was new. */
static ssize_t taken(struct http1_reply *reply, const struct part *part, size_t length)
{
    reply->kept_bytes = 0;
    return (ssize_t)(length - part->before);
}

/* It has not ended: all that is new is kept, if it is not yet. */
static ssize_t unfinished(struct http1_reply *reply, const struct part *part, const uint8_t *p,
                          size_t n)
{
    if (part->before == 0 && !keep(reply, p, n))
        return NO_MEMORY;
    return (ssize_t)n;
}

static void remember(struct http1_reply_memo *memo, const struct http1_reply_head *head,
                     const uint8_t *p, size_t bytes, enum http_method method)
{
    if (memo == NULL || bytes > sizeof memo->text)
        return;
    memcpy(memo->text, p, bytes);
    memo->head = *head;
    memo->method = (uint8_t)method;
    memo->bytes = (uint32_t)bytes;
}

static ssize_t parse_head(struct http1_reply *reply, struct http1_reply_memo *memo,
                          const uint8_t *p, size_t n, enum http_method method,
                          struct http1_reply_head *head)
{
    struct http1_field rows[HTTP1_FIELDS];
    struct http1_response response;
    struct part part;

    response.fields.row = rows;
    response.fields.capacity = HTTP1_FIELDS;
    if (!join(reply, p, n, HTTP1_HEAD_BYTES, &part))
        return NO_MEMORY;
    ssize_t length =
        http1_parse_response(part.at, part.bytes, &reply->resume, NULL, method, &response);
    if (length < 0)
        return length;
    if (length == 0)
        return unfinished(reply, &part, p, n);
    *head = (struct http1_reply_head){.content_length = response.content_length,
                                      .status = response.status,
                                      .body = response.body,
                                      .keep_alive = response.keep_alive,
                                      .interim = response.interim};
    if (part.before == 0)
        remember(memo, head, p, (size_t)length, method);
    return taken(reply, &part, (size_t)length);
}

/* The head, by memory or by parsing; *head keeps status 0 when it is not whole. */
static inline ssize_t take_head(struct http1_reply *reply, struct http1_reply_memo *memo,
                                const uint8_t *p, size_t n, enum http_method method,
                                struct http1_reply_head *head)
{
    if (memo != NULL && memo->bytes != 0 && n >= memo->bytes && reply->kept_bytes == 0 &&
        memo->method == method && memcmp(p, memo->text, memo->bytes) == 0) {
        *head = memo->head;
        return memo->bytes;
    }
    return parse_head(reply, memo, p, n, method, head);
}

static ssize_t take_trailers(struct http1_reply *reply, const uint8_t *p, size_t n,
                             struct http1_reply_piece *piece)
{
    struct http1_field rows[HTTP1_TRAILERS];
    struct http1_fields fields = {.row = rows, .capacity = HTTP1_TRAILERS};
    struct part part;

    if (!join(reply, p, n, HTTP1_TRAILER_BYTES, &part))
        return NO_MEMORY;
    ssize_t length =
        http1_body_trailers(&reply->body, part.at, part.bytes, &reply->resume, NULL, &fields);
    if (length < 0)
        return length;
    if (length == 0)
        return unfinished(reply, &part, p, n);
    reply->state = REPLY_HEAD;
    piece->event = HTTP1_REPLY_DONE;
    return taken(reply, &part, (size_t)length);
}

static ssize_t take_body(struct http1_reply *reply, const uint8_t *p, size_t n,
                         struct http1_reply_piece *piece)
{
    struct http1_piece got = {HTTP1_PIECE_MORE, NULL, 0};
    ssize_t used = http1_body_next(&reply->body, p, n, &got);

    if (used < 0)
        return used;
    switch (got.event) {
    case HTTP1_PIECE_MORE:
        return used;
    case HTTP1_PIECE_TRAILERS:
        reply->state = REPLY_TRAILERS;
        return used;
    case HTTP1_PIECE_DATA:
        piece->event = HTTP1_REPLY_DATA;
        piece->data = got.data;
        piece->length = got.length;
        if (reply->body.kind != HTTP1_BODY_LENGTH || reply->body.left != 0)
            return used;
        break;
    case HTTP1_PIECE_END:
        break;
    }
    reply->state = REPLY_HEAD;
    piece->event = HTTP1_REPLY_DONE;
    return used;
}

/* The head is there: what follows it. */
static ssize_t begin_body(struct http1_reply *reply, const struct http1_reply_head *head,
                          struct http1_reply_piece *piece)
{
    struct http1_response response = {.body = head->body, .content_length = head->content_length};

    if (head->interim) {
        if (reply->interims++ == HTTP1_REPLY_INTERIM_MAX)
            return -(ssize_t)HTTP1_HEAD_TOO_LARGE;
        return 0;
    }
    reply->interims = 0;
    reply->status = head->status;
    reply->keep_alive = head->keep_alive;
    if (head->body == HTTP1_BODY_NONE) {
        piece->event = HTTP1_REPLY_DONE;
        return 0;
    }
    reply->state = REPLY_BODY;
    return http1_body_begin_response(&reply->body, &response, NULL, UINT64_MAX);
}

ssize_t http1_reply_next(struct http1_reply *reply, struct http1_reply_memo *memo, const uint8_t *p,
                         size_t n, enum http_method method, struct http1_reply_piece *piece)
{
    size_t at = 0;

    *piece = (struct http1_reply_piece){HTTP1_REPLY_MORE, NULL, 0};
    while (at < n && piece->event == HTTP1_REPLY_MORE) {
        ssize_t used;

        if (reply->state == REPLY_HEAD) {
            struct http1_reply_head head = {0};

            used = take_head(reply, memo, p + at, n - at, method, &head);
            if (used >= 0 && head.status != 0) {
                ssize_t rc = begin_body(reply, &head, piece);
                used = rc < 0 ? rc : used;
            }
        } else if (reply->state == REPLY_BODY) {
            used = take_body(reply, p + at, n - at, piece);
        } else {
            used = take_trailers(reply, p + at, n - at, piece);
        }
        if (used < 0)
            return used;
        at += (size_t)used;
    }
    return (ssize_t)at;
}

int http1_reply_cut(struct http1_reply *reply)
{
    if (reply->state == REPLY_HEAD)
        return reply->kept_bytes != 0 || reply->interims != 0 ? -(int)HTTP1_BODY_CUT : 0;
    if (reply->state == REPLY_TRAILERS || http1_body_cut(&reply->body) != 0)
        return -(int)HTTP1_BODY_CUT;
    reply->state = REPLY_HEAD;
    return 1;
}

void http1_reply_end(struct http1_reply *reply)
{
    weir__free(reply->kept);
    *reply = (struct http1_reply){0};
}
