/* Two connections coupled: what one receives the other sends, the slower paces the faster. */
#include "net/conn.h"

static struct conn *partner_of(weir_loop *loop, struct conn *c)
{
    weir_loop *same;
    struct conn *other;
    if (c->busy == NULL || c->busy->piped.id == 0 || conn_get(c->busy->piped, &same, &other) < 0 ||
        same != loop)
        return NULL;
    return other;
}

size_t pipe_input(weir_loop *loop, struct conn *c, weir_view data)
{
    struct conn *other = partner_of(loop, c);
    if (other == NULL || other->phase != CONN_OPEN || (conn_flags(other) & CONN_OUTPUT_SHUT) != 0)
        return data.size; /* nobody takes it any more; the close is on its way */
    struct output *out = conn_output(loop, other);
    uint32_t mark = other->service->config.soft_mark_bytes;
    if (out == NULL || out->unsent_bytes > mark || out->count > LIMIT_SEGMENTS_MAX / 2) {
        conn_flags(other) |= CONN_DRAIN_OWED;
        conn_pause(loop, c, CONN_PAUSED_PIPE);
        return 0;
    }
    if (output_view(loop, other, out, data, true) < 0) {
        conn_fail(loop, c, WEIR_WHY_LIMIT, WEIR_ENOMEM);
        return data.size;
    }
    conn_dirty(loop, other);
    if (out->unsent_bytes > mark) {
        conn_flags(other) |= CONN_DRAIN_OWED;
        conn_pause(loop, c, CONN_PAUSED_PIPE);
    }
    return data.size;
}

void pipe_end(weir_loop *loop, struct conn *c)
{
    struct conn *other = partner_of(loop, c);
    if (other == NULL || other->phase != CONN_OPEN)
        return;
    conn_flags(other) |= CONN_OUTPUT_SHUT;
    conn_dirty(loop, other);
}

void pipe_drained(weir_loop *loop, struct conn *c)
{
    struct conn *other = partner_of(loop, c);
    if (other != NULL)
        conn_unpause(loop, other, CONN_PAUSED_PIPE);
}

void pipe_closed(weir_loop *loop, struct conn *c)
{
    struct conn *other = partner_of(loop, c);
    c->busy->piped.id = 0;
    if (other == NULL || other->busy == NULL)
        return;
    other->busy->piped.id = 0;
    conn_flags(other) &= ~(uint32_t)CONN_PAUSED_PIPE;
    /* An abort is no proper end: the other's peer must not take what it got for all there was. */
    bool aborted = (conn_flags(c) & CONN_RESET) != 0;
    if (!aborted && (c->why == WEIR_WHY_PEER_FINISHED || c->why == WEIR_WHY_CLOSED))
        conn_close(loop, other);
    else
        conn_fail(loop, other, WEIR_WHY_CLOSED, 0);
}

int weir_pipe(weir_conn a, weir_conn b)
{
    weir_loop *loop;
    struct conn *first, *second;
    int result = conn_get(a, &loop, &first);
    if (result == 0)
        result = conn_get(b, &loop, &second);
    if (result < 0)
        return result;
    if (first->service->consumer == &consumer_straight ||
        second->service->consumer == &consumer_straight)
        return WEIR_ENOTSUP; /* what their coroutine has not read would be lost */
    if (first == second || first->phase != CONN_OPEN || second->phase != CONN_OPEN)
        return WEIR_EMISUSE;
    struct busy *x = conn_busy(loop->net, first), *y = conn_busy(loop->net, second);
    if (x == NULL || y == NULL)
        return WEIR_ENOMEM;
    if (x->piped.id != 0 || y->piped.id != 0)
        return WEIR_EMISUSE;
    x->piped = b;
    y->piped = a;
    struct conn *both[] = {first, second};
    for (int i = 0; i < 2; i++) {
        conn_unpause(loop, both[i], CONN_PAUSED_MARK | CONN_PAUSED_USER);
        if (both[i]->busy->held != NULL)
            conn_again(loop, both[i]); /* what a consumer had not taken goes through */
        if ((conn_flags(both[i]) & CONN_END_TOLD) != 0)
            pipe_end(loop, both[i]);
    }
    return 0;
}
