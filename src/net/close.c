/* The one way out (K9, K10): flush, end, wait for the peer, stop what is in flight, close, tell.
 * The first cause is kept. Nothing here calls a handler but conn_end, only run in a flush. */
#include <errno.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/conn.h"

static void cause(struct conn *c, enum weir_why why, int error, enum weir_deadline which)
{
    if (c->why != WEIR_WHY_NONE) {
        /* It was to end in order, but not all that was to be sent before could be: that is told
         * beside the cause. */
        if (c->phase == CONN_FLUSHING && c->error == 0)
            c->error = error;
        return;
    }
    c->why = (uint8_t)why;
    c->deadline = (uint8_t)which;
    if (c->error == 0 || why != WEIR_WHY_CLOSED) /* an error held back while paused stays known */
        c->error = error != 0 ? error : c->error;
}

static void held_drop(weir_loop *loop, struct conn *c)
{
    struct busy *b = c->busy;
    if (b == NULL || b->held == NULL)
        return;
    memory_give(&loop->memory, b->held, b->held_room);
    b->held = NULL;
    b->held_from = b->held_to = 0;
}

/* From here on the consumer sees nothing but on_close. */
static void leave_consumer(weir_loop *loop, struct conn *c)
{
    conn_flags(c) |= CONN_OUTPUT_SHUT;
    if (c->busy != NULL && c->busy->race != NULL)
        race_end(loop, c);
    conn_list_leave(loop->net, c);
    if ((conn_flags(c) & CONN_IN_CONSUMER) == 0)
        held_drop(loop, c);
    if (c->service->consumer->left != NULL)
        c->service->consumer->left(loop, c);
    if (c->busy != NULL && c->busy->piped.id != 0)
        pipe_closed(loop, c);
}

bool conn_is_reset(int error)
{
    return error == -ECONNRESET || error == -EPIPE || error == -ECONNABORTED;
}

void conn_fail(weir_loop *loop, struct conn *c, enum weir_why why, int error)
{
    if (c->phase >= CONN_STOPPING)
        return;
    cause(c, why, error, WEIR_DEADLINE_NONE);
    struct net_counters *counters = &loop->net->counters;
    counters->resets += why == WEIR_WHY_PEER_RESET;
    counters->limits += why == WEIR_WHY_LIMIT;
    if (why != WEIR_WHY_PEER_RESET && why != WEIR_WHY_PEER_FINISHED)
        conn_flags(c) |= CONN_RESET;
    leave_consumer(loop, c);
    c->phase = CONN_STOPPING;
    conn_dirty(loop, c);
}

void conn_drain(weir_loop *loop, struct conn *c)
{
    if (c->service->consumer->drain_request != NULL)
        c->service->consumer->drain_request(loop, c);
    else
        conn_close(loop, c);
}

void conn_close(weir_loop *loop, struct conn *c)
{
    if (c->phase >= CONN_FLUSHING)
        return;
    if ((conn_flags(c) & CONN_TORN) != 0) { /* a part must not look like the whole */
        conn_fail(loop, c, WEIR_WHY_CLOSED, 0);
        return;
    }
    bool peer_first = (conn_flags(c) & CONN_END_TOLD) != 0;
    if ((conn_flags(c) & CONN_ERROR_HELD) != 0) /* nothing more will come */
        conn_flags(c) |= CONN_PEER_ENDED;
    cause(c, peer_first ? WEIR_WHY_PEER_FINISHED : WEIR_WHY_CLOSED, 0, WEIR_DEADLINE_NONE);
    bool connecting = c->phase == CONN_CONNECTING;
    leave_consumer(loop, c);
    c->phase = connecting ? CONN_STOPPING : CONN_FLUSHING;
    c->write_ms = loop->now_ms; /* what a source or a filter still has is given time from now on */
    conn_dirty(loop, c);
}

void conn_close_why(weir_loop *loop, struct conn *c, enum weir_why why, int error)
{
    if (c->phase > CONN_FLUSHING)
        return;
    cause(c, why, error, WEIR_DEADLINE_NONE);
    if (c->phase == CONN_FLUSHING)
        return;
    loop->net->counters.limits += why == WEIR_WHY_LIMIT;
    conn_close(loop, c);
}

void conn_fail_deadline(weir_loop *loop, struct conn *c, enum weir_deadline which)
{
    /* What comes through a pipe has not ended only because it stopped coming: an end in order would
     * make a part of it look like the whole. */
    bool piped = c->busy != NULL && c->busy->piped.id != 0;
    cause(c, WEIR_WHY_DEADLINE, WEIR_ETIMEDOUT, which);
    loop->net->counters.deadlines[which]++;
    switch (piped ? WEIR_DEADLINE_WRITE : which) {
    case WEIR_DEADLINE_IDLE:
    case WEIR_DEADLINE_FIRST_BYTE:
    case WEIR_DEADLINE_HEADER:
    case WEIR_DEADLINE_BODY:
        if ((conn_flags(c) & CONN_OPENED) != 0 && c->phase == CONN_OPEN) {
            conn_close(loop, c);
            return;
        }
        break;
    default:
        break;
    }
    if (c->phase >= CONN_STOPPING)
        return;
    leave_consumer(loop, c);
    if (which == WEIR_DEADLINE_WRITE || piped) /* its unread bytes are of no use to anybody */
        conn_flags(c) |= CONN_RESET;
    c->phase = CONN_STOPPING;
    conn_dirty(loop, c);
}

/* Everything is sent: close now, or end our direction and wait for the peer's end. A close with
 * input unread makes the kernel send a reset, which can overtake what we sent last; and what was
 * sent to leave together with the FIN (MSG_MORE) it drops. So the FIN goes by itself first, also
 * where the protocol expects no more input: a client may send on all the same, and be answered. */
static void flushed(weir_loop *loop, struct conn *c)
{
    bool ended = (conn_flags(c) & CONN_PEER_ENDED) != 0;
    bool quiet = conn_quiet(c);
    if (!ended && (conn_flags(c) & CONN_FIN_SENT) == 0) {
        conn_flags(c) |= CONN_FIN_SENT;
        if (loop->io->ops->shutdown(loop->io, &c->fd, SHUT_WR) < 0)
            ended = true; /* ENOTCONN: the peer has reset meanwhile */
    }
    if (ended || quiet) {
        c->phase = CONN_STOPPING;
        return;
    }
    c->phase = CONN_LINGERING;
    c->write_ms = loop->now_ms;
    conn_recv_want(loop, c);
    conn_deadline(loop, c);
}

/* Asks for the end of one operation. Where the back end has no room to ask it is asked again in the
 * next turn. */
static void stop_one(weir_loop *loop, struct conn *c, enum io_op op, uint32_t canceled)
{
    int result = loop->io->ops->cancel(loop->io, &c->fd, conn_token(c, op));
    if (result == -ENOMEM || result == -ENOBUFS)
        conn_list_add(loop->net, c, CONN_LIST_READY);
    else
        conn_flags(c) |= canceled;
}

/* Asks for the end of what is in flight; true when nothing is any more. */
static bool stopped(weir_loop *loop, struct conn *c)
{
    uint32_t flags = conn_flags(c);
    if ((flags & (CONN_RECV_ARMED | CONN_RECV_CANCELED)) == CONN_RECV_ARMED)
        stop_one(loop, c, IO_OP_RECV, CONN_RECV_CANCELED);
    if ((flags & (CONN_SENDING | CONN_SEND_CANCELED)) == CONN_SENDING) {
        bool connecting = (flags & CONN_CONNECT_SENT) != 0;
        bool moving = c->busy != NULL && c->busy->inflight_move;
        stop_one(loop, c,
                 connecting ? IO_OP_CONNECT
                 : moving   ? IO_OP_MOVE
                            : IO_OP_SEND,
                 CONN_SEND_CANCELED);
    }
    return (flags & (CONN_RECV_ARMED | CONN_SENDING)) == 0;
}

void conn_close_step(weir_loop *loop, struct conn *c)
{
    if (c->phase == CONN_FLUSHING) {
        if (conn_unsent(c) || (conn_flags(c) & CONN_SENDING) != 0 || filters_busy(c))
            return;
        flushed(loop, c);
    }
    if (c->phase == CONN_LINGERING && (conn_flags(c) & CONN_PEER_ENDED) != 0)
        c->phase = CONN_STOPPING;
    if (c->phase != CONN_STOPPING)
        return;
    held_drop(loop, c);
    if (!stopped(loop, c))
        return;
    if (c->busy != NULL)
        output_clear(loop, c, &c->busy->out);
    filters_drop(loop, c); /* whoever lent something of it waits until that is given back */
    wheel_cancel(&loop->wheel, &c->timer);
    conn_list_leave(loop->net, c);
    int how = IO_DONE, result = 0;
    bool reset = (conn_flags(c) & CONN_RESET) != 0;
    if (c->fd.fd >= 0)
        how = loop->io->ops->close_fd(loop->io, &c->fd, reset, conn_token(c, IO_OP_CLOSE), &result);
    if (how == -ENOBUFS || how == -ENOMEM) { /* a direct descriptor, and no room to ask: again */
        conn_list_add(loop->net, c, CONN_LIST_READY);
        return;
    }
    c->phase = how == IO_PENDING ? CONN_CLOSING : CONN_CLOSED;
}

void conn_event_closed(weir_loop *loop, struct conn *c, int result)
{
    c->phase = CONN_CLOSED;
    conn_dirty(loop, c);
}

void conn_end(weir_loop *loop, struct conn *c)
{
    struct net *net = loop->net;
    struct service *service = c->service;
    weir_end end = {(enum weir_why)c->why, (enum weir_deadline)c->deadline, c->error};
    WEIR_ASSERT(c->phase == CONN_CLOSED && (conn_flags(c) & (CONN_RECV_ARMED | CONN_SENDING)) == 0);
    conn_flags(c) |= CONN_DIRTY; /* what on_close calls must not put it into the list again */
    filters_close(loop, c);
    if (service->consumer->close != NULL && (conn_flags(c) & CONN_REFUSED) == 0)
        service->consumer->close(loop, c, end);
    if ((conn_flags(c) & CONN_REFUSED) != 0)
        service->refusing--;
    if (c->busy != NULL) {
        c->busy->piped.id = 0;
        c->busy->next_port = 0;
        c->busy->secure = c->busy->via = false;
        weir__free(c->busy->host);
        c->busy->host = NULL;
        output_clear(loop, c, &c->busy->out);
        held_drop(loop, c);
        conn_busy_tidy(net, c);
        WEIR_ASSERT(c->busy == NULL);
    }
    conn_list_leave(net, c);
    if (c->session != NULL)
        object_give(&service->sessions, c->session);
    c->phase = CONN_FREE;
    service->conns--;
    service->counts.closed++;
    net->counters.closed++;
    atomic_fetch_sub_explicit(&loop->load, 1, memory_order_relaxed);
    slab_give(&net->conns, c->slot);
    listeners_room(loop, service);
    service_unref(loop, service);
    net_trim_later(loop);
}
