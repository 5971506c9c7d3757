/* The request's body: as it comes, to a handler that reads, to one that is called, or away. */
#include <string.h>

#include "app/http/server.h"

bool body_wanted(const struct exchange *x)
{
    return x->waits == WAIT_BODY || x->on_body != NULL || x->answer == ANSWER_ENDED;
}

bool body_discardable(const struct exchange *x)
{
    if (x->expects) /* the client may not send it at all */
        return false;
    return x->body.kind == HTTP1_BODY_LENGTH
               ? x->request.content_length - x->body.received <= HTTP_DISCARD_MAX
               : x->body.received <= HTTP_DISCARD_MAX;
}

static void body_give(struct exchange *x, const uint8_t *data, size_t size)
{
    if (x->answer == ANSWER_ENDED)
        return; /* nobody reads it any more */
    if (x->on_body != NULL) {
        x->on_body(exchange_handle(x), weir_bytes(data, size), 0, x->on_body_arg);
        return;
    }
    memcpy(x->piece, data, size);
    x->piece_size = size;
    exchange_wake(x, 1);
}

static void body_over(struct exchange *x)
{
    x->body_ended = true;
    if (x->answer == ANSWER_ENDED)
        exchange_step(x);
    else if (x->on_body != NULL)
        x->on_body(exchange_handle(x), weir_bytes(NULL, 0), 0, x->on_body_arg);
    else if (x->waits == WAIT_BODY)
        exchange_wake(x, 0);
}

void body_cut(struct exchange *x, int error)
{
    x->body_ended = true;
    x->close = true;
    x->body_error = error;
    if (x->answer == ANSWER_ENDED)
        exchange_step(x);
    else if (x->on_body != NULL)
        x->on_body(exchange_handle(x), weir_bytes(NULL, 0), error, x->on_body_arg);
    else if (x->waits == WAIT_BODY)
        exchange_wake(x, error);
}

static void body_refuse(struct exchange *x, ssize_t refusal)
{
    const struct http1_refusal_row *row = http1_refusal_row(refusal);
    struct http_conn *h = x->conn->session;
    h->refused = true;
    x->close = true;
    if (x->answer == ANSWER_NONE && !x->handler_running) /* plain, or not begun */
        answer_error(x, row->status, row->text, NULL);
    x->body_status = row->status;
    body_cut(x, row->status == 413 ? WEIR_ETOOBIG : WEIR_EPROTO);
}

/* The trailer section lies in one piece once it is whole; its fields are checked, not kept. */
static ssize_t feed_trailers(struct exchange *x, const uint8_t *data, size_t size)
{
    struct http1_field rows[HTTP1_TRAILERS];
    struct http1_fields fields = {.row = rows, .capacity = HTTP1_TRAILERS};
    return http1_body_trailers(&x->body, data, size, &x->trailer_resume, &x->server->app->limits,
                               &fields);
}

static bool piece_ready(struct exchange *x)
{
    if (x->on_body != NULL || x->answer == ANSWER_ENDED)
        return true;
    if (x->piece == NULL)
        x->piece = memory_take(&x->server->loop->memory, HTTP_PIECE_MAX, true, &x->piece_room);
    return x->piece != NULL;
}

/* One step of the body. Returns what it used; 0: it is not wanted now, or more is needed. */
size_t body_feed(struct exchange *x, const uint8_t *data, size_t size)
{
    struct http1_piece piece;
    if (x->body_ended || !body_wanted(x) || !piece_ready(x))
        return 0;
    size_t most = x->piece_room != 0 && x->on_body == NULL ? x->piece_room : size;
    ssize_t used = x->in_trailers
                       ? feed_trailers(x, data, size)
                       : http1_body_next(&x->body, data, size < most ? size : most, &piece);
    if (used < 0) {
        body_refuse(x, used);
        return size;
    }
    if (x->in_trailers) {
        if (used != 0)
            body_over(x);
        return (size_t)used;
    }
    switch (piece.event) {
    case HTTP1_PIECE_DATA:
        body_give(x, piece.data, piece.length);
        if (x->body.kind == HTTP1_BODY_LENGTH && x->body.left == 0 && !x->body_ended &&
            http1_body_next(&x->body, data, 0, &piece) >= 0 && piece.event == HTTP1_PIECE_END)
            body_over(x);
        break;
    case HTTP1_PIECE_TRAILERS:
        x->in_trailers = true;
        if (used == 0)
            return body_feed(x, data, size);
        break;
    case HTTP1_PIECE_END:
        body_over(x);
        break;
    default:
        break;
    }
    return (size_t)used;
}
