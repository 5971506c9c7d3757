/* Output on its way: at the end of each connection's handlers (or of the turn) its queue is given
 * to the kernel, one send at a time; short sends are finished here, not reported. */
#include <errno.h>
#include <sys/socket.h>

#include "net/conn.h"

enum {
    FLUSH_VIEWS = 64,          /* pieces in one send */
    FLUSH_SEND_MAX = 16 << 20, /* bytes in one send */
    FLUSH_MOVE_MAX = 1 << 20,  /* bytes of a file in one call */
    FLUSH_TURN_MAX = 4 << 20,  /* bytes of one connection in a turn: others want theirs */
};

enum step { STEP_ON, STEP_STOP };

void conn_dirty(weir_loop *loop, struct conn *c)
{
    if ((conn_flags(c) & CONN_DIRTY) != 0)
        return;
    conn_flags(c) |= CONN_DIRTY;
    c->dirty_next = loop->net->dirty;
    loop->net->dirty = c->slot + 1;
}

void conn_flush_dirty(weir_loop *loop)
{
    struct net *net = loop->net;
    while (net->dirty != 0) {
        struct conn *c = conn_at(net, net->dirty - 1);
        net->dirty = c->dirty_next;
        conn_flags(c) &= ~(uint32_t)CONN_DIRTY;
        conn_flush(loop, c);
    }
}

static void send_failed(weir_loop *loop, struct conn *c, int error)
{
    /* An error that came while paused was the first, and the kernel says it once: sends get EPIPE
     * behind it. */
    if ((conn_flags(c) & CONN_ERROR_HELD) != 0)
        error = c->error;
    conn_fail(loop, c, conn_is_reset(error) ? WEIR_WHY_PEER_RESET : WEIR_WHY_ERROR, error);
}

/* The back end did not begin it. Out of room or memory is no reason to end a connection (K11). */
static enum step send_refused(weir_loop *loop, struct conn *c, int error)
{
    if (error == -ENOBUFS || error == -ENOMEM)
        conn_again(loop, c);
    else
        send_failed(loop, c, error);
    return STEP_STOP;
}

static void account_sent(weir_loop *loop, struct conn *c, uint64_t size)
{
    bool first = c->sent_bytes == 0;
    c->sent_bytes += size;
    c->write_ms = loop->now_ms;
    if (first && c->service->config.server_first)
        conn_deadline_began(loop, c);
    loop->net->counters.sent_bytes += size;
    loop->net->counters.sends++;
    output_consume(loop, c, &c->busy->out, size);
    /* What is queued next, in the same turn even, waits from then. What a pull source gives next is
     * the rest of what waits, or a peer that takes small pieces would never have to take enough. */
    if (c->busy->out.count == 0)
        c->busy->stalling = false;
}

/* The result of a send of `asked` bytes, at once or by event. */
static enum step send_result(weir_loop *loop, struct conn *c, int result, uint32_t asked)
{
    if (result < 0 && result != -EAGAIN && result != -EINTR) {
        send_failed(loop, c, result);
        return STEP_STOP;
    }
    uint32_t sent = result > 0 ? (uint32_t)result : 0;
    if (sent != 0)
        account_sent(loop, c, sent);
    if (sent < asked) {
        conn_flags(c) |= CONN_BLOCKED;
        if (output_unblock(loop, &c->busy->out, 0) < 0) {
            conn_fail(loop, c, WEIR_WHY_LIMIT, WEIR_ENOMEM);
            return STEP_STOP;
        }
    }
    return STEP_ON;
}

struct gathered {
    struct iovec iov[FLUSH_VIEWS];
    unsigned count;
    uint32_t bytes;
    bool block; /* refers to a receive block */
    bool all;   /* nothing is queued behind it */
};

static void gather(struct output *out, struct gathered *g)
{
    g->count = 0;
    g->bytes = 0;
    g->block = false;
    uint32_t i;
    for (i = 0; i < out->count && g->count < FLUSH_VIEWS; i++) {
        struct segment *s = &out->segments[out->head + i];
        if (s->kind > SEGMENT_LENT || g->bytes >= FLUSH_SEND_MAX)
            break;
        uint64_t size = s->size;
        bool cut = size > FLUSH_SEND_MAX - g->bytes;
        if (cut)
            size = FLUSH_SEND_MAX - g->bytes;
        g->iov[g->count++] = (struct iovec){(void *)(uintptr_t)s->data, (size_t)size};
        g->bytes += (uint32_t)size;
        g->block |= s->kind == SEGMENT_BLOCK;
        if (cut)
            break;
    }
    g->all = i == out->count;
}

static enum step send_memory(weir_loop *loop, struct conn *c)
{
    struct gathered g;
    int result = 0;
    unsigned flags = 0;
    gather(&c->busy->out, &g);
    if ((conn_flags(c) & CONN_BLOCKED) != 0 && g.block) {
        if (output_unblock(loop, &c->busy->out, 0) < 0) {
            conn_fail(loop, c, WEIR_WHY_LIMIT, WEIR_ENOMEM);
            return STEP_STOP;
        }
        gather(&c->busy->out, &g);
    }
    if (g.block)
        flags |= IO_SEND_NOWAIT;
    if ((conn_flags(c) & CONN_BLOCKED) != 0)
        flags |= IO_SEND_BLOCKED;
    /* More follows, or our end: it leaves in one segment with the last data. */
    if (!g.all || conn_wire_shut(c))
        flags |= IO_SEND_MORE;
    int how = loop->io->ops->send(loop->io, &c->fd, g.iov, g.count, flags,
                                  conn_token(c, IO_OP_SEND), &result);
    if (how < 0)
        return send_refused(loop, c, how);
    if (how == IO_DONE)
        return send_result(loop, c, result, g.bytes);
    conn_flags(c) |= CONN_SENDING;
    c->busy->inflight_bytes = g.bytes;
    c->busy->inflight_move = false;
    return STEP_STOP;
}

static enum step move_result(weir_loop *loop, struct conn *c, int result)
{
    if (result > 0) {
        account_sent(loop, c, (uint64_t)result);
        return STEP_ON;
    }
    if (result == 0) /* the file ended before what was promised of it */
        conn_fail(loop, c, WEIR_WHY_ERROR, WEIR_ETORN);
    else
        send_failed(loop, c, result);
    return STEP_STOP;
}

static enum step send_file(weir_loop *loop, struct conn *c)
{
    struct segment *s = output_front(&c->busy->out);
    struct source *source = s->source;
    size_t size = s->size < FLUSH_MOVE_MAX ? (size_t)s->size : FLUSH_MOVE_MAX;
    bool more = c->busy->out.count > 1 || s->size > size || conn_wire_shut(c);
    int result = 0;
    int how = loop->io->ops->move(loop->io, &c->fd, source->fd, &source->offset, size,
                                  more ? IO_SEND_MORE : 0, conn_token(c, IO_OP_MOVE), &result);
    if (how == IO_DONE)
        return move_result(loop, c, result);
    if (how < 0)
        return send_refused(loop, c, how);
    conn_flags(c) |= CONN_SENDING;
    c->busy->inflight_bytes = 0;
    c->busy->inflight_move = true;
    return STEP_STOP;
}

/* Asks a pull source at the front of a queue; what it gives goes in front of it. False: nothing
 * now, or the connection has failed. True: the front has changed. */
bool output_pull(weir_loop *loop, struct conn *c, struct output *out)
{
    struct source *source = output_front(out)->source;
    struct segment piece = {.kind = SEGMENT_COPY};
    size_t room;
    if (source->waits)
        return false;
    piece.chunk = memory_take(&loop->memory, LIMIT_PULL_CHUNK, true, &room);
    if (piece.chunk == NULL) {
        conn_fail(loop, c, WEIR_WHY_LIMIT, WEIR_ENOMEM);
        return false;
    }
    source->woken = false;
    ssize_t got = source->pull(conn_handle(loop, c), piece.chunk, room, source->arg);
    if (got > (ssize_t)room)
        got = WEIR_EMISUSE;
    if (got > 0 && c->phase <= CONN_FLUSHING) {
        piece.data = piece.chunk;
        piece.room = (uint32_t)room;
        piece.size = piece.index = (uint32_t)got;
        if (output_push_front(loop, c, out, &piece) == 0)
            return true;
        got = WEIR_ENOMEM;
    }
    memory_give(&loop->memory, piece.chunk, room);
    if (c->phase > CONN_FLUSHING)
        return false;
    if (got == 0) {
        output_pop(loop, c, out);
        return true;
    }
    if (got != WEIR_PULL_WAIT)
        conn_fail(loop, c, WEIR_WHY_ERROR, (int)got);
    else if (source->woken) /* it has bytes already: asked again in the next turn */
        conn_again(loop, c);
    else
        source->waits = true;
    return false;
}

/* Descriptors travel by sendmsg(2) itself with the first bytes of the view behind them. */
static int send_fds_now(weir_loop *loop, struct conn *c, struct source *source,
                        struct segment *view)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * LIMIT_FDS_MAX)];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)view->data, (size_t)view->size};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * source->fd_count)};
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(int) * source->fd_count);
    for (unsigned i = 0; i < source->fd_count; i++)
        ((int *)(void *)CMSG_DATA(&control.head))[i] = source->fds[i];
    int number = loop->io->ops->number(loop->io, &c->fd);
    if (number < 0)
        return number;
    ssize_t sent = sendmsg(number, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    int result = sent >= 0 ? (int)sent : -errno;
    loop->io->ops->number_done(loop->io, &c->fd, number);
    return result;
}

static enum step send_fds(weir_loop *loop, struct conn *c)
{
    struct busy *b = c->busy;
    struct segment *s = output_front(&b->out);
    int result = send_fds_now(loop, c, s->source, s + 1); /* its view is right behind it */
    if (result >= 0) {
        output_pop(loop, c, &c->busy->out);
        account_sent(loop, c, (uint64_t)result);
        return STEP_ON;
    }
    if (result != -EAGAIN) {
        send_failed(loop, c, result);
        return STEP_STOP;
    }
    int ignored;
    int how = loop->io->ops->send(loop->io, &c->fd, NULL, 0, IO_SEND_BLOCKED,
                                  conn_token(c, IO_OP_SEND), &ignored);
    if (how == IO_PENDING) {
        conn_flags(c) |= CONN_SENDING;
        b->inflight_bytes = 0;
        b->inflight_move = false;
    } else {
        conn_again(loop, c);
    }
    return STEP_STOP;
}

static void output_send(weir_loop *loop, struct conn *c)
{
    uint64_t before = c->sent_bytes;
    enum step step = STEP_ON;
    while (step == STEP_ON && conn_unsent(c) && c->phase <= CONN_FLUSHING) {
        if (c->sent_bytes - before >= FLUSH_TURN_MAX) {
            conn_again(loop, c);
            break;
        }
        switch (output_front(&c->busy->out)->kind) {
        case SEGMENT_FILE:
            step = send_file(loop, c);
            break;
        case SEGMENT_PULL:
            step = output_pull(loop, c, &c->busy->out) ? STEP_ON : STEP_STOP;
            break;
        case SEGMENT_FDS:
            step = send_fds(loop, c);
            break;
        default:
            step = send_memory(loop, c);
            break;
        }
    }
}

/* Filters fill the wire's queue as it empties: in rounds, within a turn's share. */
static void filtered_send(weir_loop *loop, struct conn *c)
{
    enum { ROUNDS = 16 };
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t before = c->sent_bytes;
        filters_output(loop, c);
        if ((conn_flags(c) & CONN_SENDING) == 0)
            output_send(loop, c);
        if (c->sent_bytes == before || conn_unsent(c) || c->phase > CONN_FLUSHING)
            return;
    }
    conn_again(loop, c);
}

/* Above the soft mark reading pauses by itself; at half of it reading resumes and on_drain comes.
 */
static void marks_check(weir_loop *loop, struct conn *c)
{
    enum output_level level = conn_output_level(c);
    if (level == OUTPUT_HIGH) {
        conn_flags(c) |= CONN_DRAIN_OWED;
        if (c->service->config.read_on == WEIR_READ_BELOW_MARK &&
            (c->busy == NULL || c->busy->piped.id == 0)) /* a pipe's other end paces itself */
            conn_pause(loop, c, CONN_PAUSED_MARK);
        return;
    }
    if (level != OUTPUT_LOW)
        return;
    budget_look(loop, c);
    if ((conn_flags(c) & CONN_PAUSED_MARK) != 0)
        conn_unpause(loop, c, CONN_PAUSED_MARK);
    if ((conn_flags(c) & CONN_DRAIN_OWED) == 0)
        return;
    conn_flags(c) &= ~(uint32_t)CONN_DRAIN_OWED;
    if (c->busy != NULL && c->busy->piped.id != 0)
        pipe_drained(loop, c);
    else if (c->phase == CONN_OPEN && c->service->consumer->drain != NULL)
        c->service->consumer->drain(loop, c);
}

/* Our end goes out when what was queued before it has gone; with both ends seen it is over. */
static void finish_check(weir_loop *loop, struct conn *c)
{
    uint32_t flags = conn_flags(c);
    if (c->phase != CONN_OPEN || conn_unsent(c) || (flags & CONN_SENDING) != 0)
        return;
    if ((flags & CONN_FIN_SENT) == 0) {
        conn_flags(c) |= CONN_FIN_SENT;
        loop->io->ops->shutdown(loop->io, &c->fd, SHUT_WR);
    }
    if ((flags & CONN_END_TOLD) != 0)
        conn_close(loop, c);
}

void conn_flush(weir_loop *loop, struct conn *c)
{
    if (c->phase >= CONN_OPENING && c->phase <= CONN_FLUSHING) {
        if ((conn_flags(c) & CONN_FILTERED) != 0)
            filtered_send(loop, c);
        else if ((conn_flags(c) & CONN_SENDING) == 0)
            output_send(loop, c);
        if ((conn_unsent(c) && output_unblock(loop, &c->busy->out, c->busy->inflight_bytes) < 0) ||
            ((conn_flags(c) & CONN_FILTERED) != 0 && filters_unblock(loop, c) < 0))
            conn_fail(loop, c, WEIR_WHY_LIMIT, WEIR_ENOMEM);
        if ((conn_flags(c) & (CONN_PAUSED_MARK | CONN_PAUSED_BUDGET | CONN_DRAIN_OWED)) != 0 ||
            c->busy != NULL)
            marks_check(loop, c);
        if (conn_wire_shut(c))
            finish_check(loop, c);
    }
    if (c->phase >= CONN_FLUSHING) {
        conn_close_step(loop, c);
        if (c->phase == CONN_CLOSED) {
            /* A handler of this very flush may have put it back into the list of those to be
             * flushed: it ends when it is met there. So may a coroutine that runs to its end when
             * its consumer is asked. */
            if ((conn_flags(c) & CONN_DIRTY) == 0 &&
                (c->service->consumer->ended == NULL || c->service->consumer->ended(loop, c)) &&
                (conn_flags(c) & CONN_DIRTY) == 0)
                conn_end(loop, c);
            return;
        }
    }
    conn_recv_want(loop, c);
    if (c->busy != NULL) {
        conn_busy_tidy(loop->net, c);
        conn_deadline(loop, c);
    }
}

static void sent_event(weir_loop *loop, struct conn *c, const struct io_event *event)
{
    uint32_t asked = c->busy->inflight_bytes;
    int result = event->result;
    /* Canceled for somebody who withdraws what he sent: the rest is sent again. */
    if ((conn_flags(c) & CONN_SEND_CANCELED) != 0 && result == -ECANCELED)
        result = -EAGAIN;
    conn_flags(c) &= ~(uint32_t)(CONN_SENDING | CONN_BLOCKED | CONN_SEND_CANCELED);
    c->busy->inflight_bytes = 0;
    conn_dirty(loop, c);
    if (c->phase > CONN_FLUSHING)
        return;
    if (IO_TOKEN_OP(event->token) == IO_OP_MOVE || asked == 0) {
        if (result < 0 && result != -EAGAIN)
            send_failed(loop, c, result);
        return; /* there is room again: the flush goes on */
    }
    if (result == 0) /* a readiness back end: room again */
        return;
    send_result(loop, c, result, asked);
}

void conn_event_sent(weir_loop *loop, struct conn *c, const struct io_event *event)
{
    if ((event->flags & IO_NOTICE) != 0)
        return;
    sent_event(loop, c, event);
    if (c->service->consumer->sent != NULL && c->phase <= CONN_FLUSHING)
        c->service->consumer->sent(loop, c);
}
