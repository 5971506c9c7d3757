/* The request's body: as it comes, to a handler that reads, to one that is called, or away. */
#include <string.h>

#include "app/http/server.h"

bool body_wanted(const struct exchange *x)
{
    if (x->body_ended)
        return false;
    if (x->answer >= ANSWER_SOURCE) /* nobody will read it any more */
        return !x->discard_over;
    return x->waits == WAIT_BODY || x->on_body != NULL;
}

bool body_discardable(const struct exchange *x)
{
    if (x->expects || x->discard_over) /* expects: the client may not send it at all */
        return false;
    return x->body.kind != HTTP1_BODY_LENGTH ||
           x->request.content_length - x->body.received <= HTTP_DISCARD_MAX;
}

/* ---- the rate at which it has to come: only while somebody waits for it ---- */

void body_clock_restart(struct exchange *x)
{
    x->body_clock = true;
    x->body_ms = x->body_stop_ms = x->server->loop->now_ms;
    x->body_mark = x->body.received;
}

void body_pause(struct exchange *x)
{
    x->body_stop_ms = x->server->loop->now_ms;
}

bool body_progressed(struct exchange *x)
{
    if (x->body.received - x->body_mark < LIMIT_WRITE_PROGRESS)
        return false;
    body_clock_restart(x);
    return true;
}

/* Input that is held, or that comes, is looked at again. */
static void input_resume(struct exchange *x)
{
    struct conn *c = x->conn;
    weir_loop *loop = x->server->loop;
    if ((conn_flags(c) & CONN_IN_CONSUMER) != 0)
        return;                         /* http_input goes on by itself */
    conn_flags(c) |= CONN_PAUSED_PROTO; /* so that held input is looked at in any case */
    conn_unpause(loop, c, CONN_PAUSED_PROTO);
}

void body_want(struct exchange *x)
{
    if (x->body_clock)
        x->body_ms += x->server->loop->now_ms - x->body_stop_ms;
    else
        body_clock_restart(x);
    input_resume(x);
    conn_deadline(x->server->loop, x->conn);
}

/* ---- pieces ---- */

void body_piece_give(struct exchange *x)
{
    if (x->piece != NULL)
        memory_give(&x->server->loop->memory, x->piece, x->piece_room);
    x->piece = NULL;
    x->piece_room = x->piece_size = 0;
}

/* A copy, for the reader may wait for something else before it has looked at all of it. */
static bool piece_copy(struct exchange *x, const uint8_t *data, size_t size)
{
    if (x->piece_room < size) {
        body_piece_give(x);
        x->piece = memory_take(&x->server->loop->memory, size, true, &x->piece_room);
        if (x->piece == NULL)
            return false;
    }
    memcpy(x->piece, data, size);
    x->piece_size = size;
    return true;
}

void body_tell_end(struct exchange *x, int error)
{
    if (x->body_told)
        return;
    x->body_told = true;
    x->on_body(exchange_handle(x), weir_bytes(NULL, 0), error, x->on_body_arg);
}

/* It is over, well or not: who waits for it is told. */
static void body_over(struct exchange *x, int error)
{
    x->body_ended = true;
    x->body_error = error;
    body_pause(x);
    if (x->answer >= ANSWER_SOURCE)
        exchange_step(x);
    else if (x->on_body != NULL)
        body_tell_end(x, error);
    else if (x->waits == WAIT_BODY)
        exchange_wake(x, error);
}

/* It will not come whole. A handler that is called and does not say what that means to its client
 * is spared the words; one that reads is, when it returns. */
void body_cut(struct exchange *x, int error)
{
    x->close = true;
    if (x->body_status == 0)
        x->body_status = error == WEIR_ENOMEM ? 503 : 400;
    bool called = x->on_body != NULL && x->answer == ANSWER_NONE;
    body_over(x, error);
    if (called && x->answer == ANSWER_NONE)
        answer_instead(x, x->body_status, NULL);
}

static void body_refuse(struct exchange *x, ssize_t refusal)
{
    const struct http1_refusal_row *row = http1_refusal_row(refusal);
    struct http_conn *h = x->conn->session;
    h->refused = true;
    x->body_status = row->status;
    body_cut(x, row->status == 413 ? WEIR_ETOOBIG : WEIR_EPROTO);
}

static bool body_discard(struct exchange *x, size_t size)
{
    x->discarded += (uint32_t)(size < HTTP_DISCARD_MAX ? size : HTTP_DISCARD_MAX);
    if (x->discarded <= HTTP_DISCARD_MAX)
        return true;
    x->discard_over = x->close = true;
    exchange_step(x);
    return false;
}

/* False: the exchange is over. Who is called or woken here cannot end it: that is left to the loop.
 */
static bool body_give(struct exchange *x, const uint8_t *data, size_t size)
{
    if (x->answer >= ANSWER_SOURCE)
        return body_discard(x, size);
    if (x->on_body != NULL) {
        x->on_body(exchange_handle(x), weir_bytes(data, size), 0, x->on_body_arg);
    } else if (piece_copy(x, data, size)) {
        body_pause(x);
        exchange_wake(x, 1);
    } else {
        body_cut(x, WEIR_ENOMEM);
    }
    return true;
}

/* The trailer section lies in one piece once it is whole; its fields are checked, not kept. */
static size_t feed_trailers(struct exchange *x, const uint8_t *data, size_t size)
{
    struct http1_field rows[HTTP1_TRAILERS];
    struct http1_fields fields = {.row = rows, .capacity = HTTP1_TRAILERS};
    ssize_t used = http1_body_trailers(&x->body, data, size, &x->trailer_resume,
                                       &x->server->app->limits, &fields);
    if (used < 0) {
        body_refuse(x, used);
        return size;
    }
    if (used > 0)
        body_over(x, 0);
    return (size_t)used;
}

/* The end of a body of known length needs no more input to be seen. */
static bool length_ended(const struct exchange *x)
{
    return x->body.kind == HTTP1_BODY_LENGTH && x->body.left == 0 && !x->body_ended;
}

/* One step of the body. Returns what it used; 0: it is not wanted now, or more is needed. */
size_t body_feed(struct exchange *x, const uint8_t *data, size_t size)
{
    struct http1_piece piece;
    if (!body_wanted(x))
        return 0;
    if (x->in_trailers)
        return feed_trailers(x, data, size);
    size_t most = x->answer < ANSWER_SOURCE && size > HTTP_PIECE_MAX ? HTTP_PIECE_MAX : size;
    ssize_t used = http1_body_next(&x->body, data, most, &piece);
    if (used < 0) {
        body_refuse(x, used);
        return size;
    }
    switch (piece.event) {
    case HTTP1_PIECE_DATA:
        if (body_give(x, piece.data, piece.length) && length_ended(x))
            body_over(x, 0);
        break;
    case HTTP1_PIECE_TRAILERS:
        x->in_trailers = true;
        if (used == 0)
            return feed_trailers(x, data, size);
        break;
    case HTTP1_PIECE_END:
        body_over(x, 0);
        break;
    default:
        break;
    }
    return (size_t)used;
}
