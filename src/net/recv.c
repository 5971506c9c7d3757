/* Input: from the wire through the filters to the consumer, which takes what it can; the rest is
 * held and comes again. Pausing is lazy: a receive that is armed is canceled only when it brings
 * something that nobody wants yet. */
#include <errno.h>
#include <string.h>

#include "net/conn.h"

static size_t held_size(const struct conn *c)
{
    return c->busy != NULL ? c->busy->held_to - c->busy->held_from : 0;
}

/* To the end of the line for receive blocks. Who is in the list of the ready stays there, for what
 * it has comes first: it is flushed behind that, and asks again. */
static void recv_wait(struct net *net, struct conn *c)
{
    if (c->list != CONN_LIST_READY)
        conn_list_add(net, c, CONN_LIST_BLOCKS);
}

void conn_recv_want(weir_loop *loop, struct conn *c)
{
    uint32_t flags = conn_flags(c);
    if ((flags & (CONN_RECV_ARMED | CONN_PEER_ENDED | CONN_ERROR_HELD)) != 0 ||
        c->phase < CONN_OPENING || c->phase > CONN_LINGERING || c->list == CONN_LIST_BLOCKS)
        return;
    if (c->phase <= CONN_OPEN && ((flags & CONN_PAUSED) != 0 || filters_paused(c) ||
                                  (c->busy != NULL && held_size(c) > c->service->hold_max))) {
        conn_flags(c) &= ~(uint32_t)CONN_DRAINED; /* what comes now stays in the socket, unseen */
        return;
    }
    if (c->phase == CONN_FLUSHING && conn_quiet(c))
        return; /* nothing is expected: it is closed as soon as all is sent */
    if (loop->net->over_budget && !loop->io->eager)
        c->fd.flags |= IO_FD_ONCE;
    if (loop->net->lists[CONN_LIST_BLOCKS].count != 0 && (flags & CONN_LINED_UP) == 0) {
        /* Others wait for a receive block: whoever has had one goes to the end of the line. */
        recv_wait(loop->net, c);
        return;
    }
    int result = loop->io->ops->recv(loop->io, &c->fd, conn_token(c, IO_OP_RECV));
    if (result == IO_PENDING)
        conn_flags(c) = (flags | CONN_RECV_ARMED) & ~(uint32_t)CONN_RECV_CANCELED;
    else if (result == -ENOBUFS || result == -ENOMEM)
        recv_wait(loop->net, c); /* the kernel's want passes */
    else if (result < 0)
        conn_fail(loop, c, WEIR_WHY_ERROR, result);
}

static void recv_stop(weir_loop *loop, struct conn *c)
{
    if ((conn_flags(c) & (CONN_RECV_ARMED | CONN_RECV_CANCELED)) != CONN_RECV_ARMED)
        return;
    /* From here on it gets a receive at a time: a multishot one fills all receive blocks with what
     * a fast sender has, before a pause takes effect. */
    if (!loop->io->eager)
        c->fd.flags |= IO_FD_ONCE;
    /* If there is no room to ask it is asked again when the next bytes come. */
    if (loop->io->ops->cancel(loop->io, &c->fd, conn_token(c, IO_OP_RECV)) == 0)
        conn_flags(c) = (conn_flags(c) | CONN_RECV_CANCELED) & ~(uint32_t)CONN_DRAINED;
}

/* Held input lies in one piece, so that a frame or a head that came in parts is whole. */
int conn_hold(weir_loop *loop, struct conn *c, const void *data, size_t size)
{
    struct busy *b = conn_busy(loop->net, c);
    if (b == NULL)
        return WEIR_ENOMEM;
    size_t held = b->held_to - b->held_from;
    if (b->held == NULL || b->held_to + size > b->held_room) {
        if (held + size > LIMIT_HELD_INPUT + (size_t)c->service->hold_max)
            return WEIR_EFULL;
        if (b->held != NULL && held + size <= b->held_room) {
            memmove(b->held, b->held + b->held_from, held);
        } else {
            enum { SPARE_MAX = 256 << 10 };
            size_t room, wanted = held + size;
            size_t spare = b->held == NULL ? 0 : wanted < SPARE_MAX ? wanted : SPARE_MAX;
            uint8_t *grown = memory_take(&loop->memory, wanted + spare, true, &room);
            if (grown == NULL)
                return WEIR_ENOMEM;
            if (b->held != NULL) {
                memcpy(grown, b->held + b->held_from, held);
                memory_give(&loop->memory, b->held, b->held_room);
            }
            b->held = grown;
            b->held_room = room;
        }
        b->held_from = 0;
        b->held_to = (uint32_t)held;
    }
    memcpy(b->held + b->held_to, data, size);
    b->held_to += (uint32_t)size;
    return 0;
}

static void hold_or_fail(weir_loop *loop, struct conn *c, weir_view data)
{
    int result = conn_hold(loop, c, data.data, data.size);
    if (result < 0)
        conn_fail(loop, c, WEIR_WHY_LIMIT, result);
}

bool conn_marked(weir_loop *loop, struct conn *c)
{
    if (c->busy == NULL || c->busy->piped.id != 0 ||
        c->service->config.read_on == WEIR_READ_ALWAYS || conn_output_level(c) != OUTPUT_HIGH)
        return false;
    conn_flags(c) |= CONN_PAUSED_MARK | CONN_DRAIN_OWED;
    conn_dirty(loop, c);
    return true;
}

/* One call of the consumer; returns what it took. */
static size_t consumer_call(weir_loop *loop, struct conn *c, weir_view data)
{
    conn_flags(c) |= CONN_IN_CONSUMER;
    size_t taken = c->busy != NULL && c->busy->piped.id != 0
                       ? pipe_input(loop, c, data)
                       : c->service->consumer->input(loop, c, data);
    conn_flags(c) &= ~(uint32_t)CONN_IN_CONSUMER;
    return taken;
}

static void held_given(weir_loop *loop, struct conn *c)
{
    struct busy *b = c->busy;
    memory_give(&loop->memory, b->held, b->held_room);
    b->held = NULL;
    b->held_from = b->held_to = 0;
}

/* Held input to the consumer; to one that takes any piece in pieces no larger than a receive event,
 * so that an answer to each fits between the soft mark and the hard cap. */
static void held_deliver(weir_loop *loop, struct conn *c)
{
    struct busy *b = c->busy;
    bool pieces = c->service->consumer->takes_any || b == NULL || b->piped.id != 0;
    while (b != NULL && b->held != NULL && c->phase == CONN_OPEN &&
           (conn_flags(c) & CONN_PAUSED_INPUT) == 0) {
        size_t size = held_size(c), most = loop->io->block_size;
        if (pieces && size > most)
            size = most;
        size_t taken = consumer_call(loop, c, weir_bytes(b->held + b->held_from, size));
        b->held_from += (uint32_t)taken;
        if (taken < size || b->held_from == b->held_to || conn_marked(loop, c))
            break;
    }
    if (b != NULL && b->held != NULL && (b->held_from == b->held_to || c->phase >= CONN_FLUSHING))
        held_given(loop, c);
}

static void consume(weir_loop *loop, struct conn *c, weir_view data)
{
    if (c->phase != CONN_OPEN || (conn_flags(c) & (CONN_PAUSED_INPUT | CONN_IN_CONSUMER)) != 0 ||
        c->list == CONN_LIST_READY || conn_marked(loop, c)) {
        hold_or_fail(loop, c, data);
        return;
    }
    if (held_size(c) != 0) {
        hold_or_fail(loop, c, data);
        if (c->phase == CONN_OPEN)
            held_deliver(loop, c);
        return;
    }
    size_t taken = consumer_call(loop, c, data);
    if (taken < data.size && c->phase == CONN_OPEN)
        hold_or_fail(loop, c, weir_slice(data, taken, data.size));
}

/* Behind filters only what they pass up tells that the peer is there: records without content, and
 * those of a handshake, put no deadline off. */
static void heard(weir_loop *loop, struct conn *c)
{
    c->read_ms = loop->now_ms;
    if (c->busy->heard)
        return;
    c->busy->heard = true;
    conn_deadline_began(loop, c);
}

void conn_consume(weir_loop *loop, struct conn *c, weir_view data)
{
    if (c->phase >= CONN_FLUSHING)
        return;
    if ((conn_flags(c) & CONN_FILTERED) != 0)
        heard(loop, c);
    consume(loop, c, data);
    /* A turn may bring more than the consumer takes in one (a budget of frames, answers up to the
     * soft mark): what is held is used up before more is read. The flush arms it again. */
    if ((conn_flags(c) & CONN_PAUSED) != 0 || held_size(c) > c->service->hold_max)
        recv_stop(loop, c);
}

void conn_consume_end(weir_loop *loop, struct conn *c)
{
    conn_flags(c) |= CONN_UP_ENDED;
    if (c->phase != CONN_OPEN || (conn_flags(c) & CONN_END_TOLD) != 0)
        return;
    if ((conn_flags(c) & CONN_PAUSED_INPUT) != 0 || c->list == CONN_LIST_READY)
        return; /* told when it is resumed */
    conn_flags(c) |= CONN_END_TOLD;
    if (c->busy != NULL && c->busy->piped.id != 0)
        pipe_end(loop, c);
    else
        c->service->consumer->end(loop, c, held_size(c));
    conn_dirty(loop, c);
}

void conn_input(weir_loop *loop, struct conn *c, weir_view data)
{
    if ((conn_flags(c) & CONN_FILTERED) == 0) {
        conn_consume(loop, c, data);
        return;
    }
    filters_input(loop, c, data);
    /* What gives nothing to consume may have to be answered all the same. */
    if (c->phase <= CONN_OPEN &&
        ((conn_flags(c) & CONN_PAUSED) != 0 || filters_paused(c) || conn_marked(loop, c)))
        recv_stop(loop, c);
}

static void input_end(weir_loop *loop, struct conn *c)
{
    conn_flags(c) |= CONN_PEER_ENDED | CONN_DRAINED;
    if ((conn_flags(c) & CONN_FILTERED) != 0 && c->phase <= CONN_OPEN)
        filters_end(loop, c);
    else
        conn_consume_end(loop, c);
}

/* A receive error. While paused it is kept until the program wants to know (K10). */
static void input_error(weir_loop *loop, struct conn *c, int error)
{
    if (c->phase == CONN_OPEN && (conn_flags(c) & CONN_PAUSED_INPUT) != 0) {
        if (c->error == 0)
            c->error = error;
        conn_flags(c) |= CONN_ERROR_HELD;
        return;
    }
    conn_fail(loop, c, conn_is_reset(error) ? WEIR_WHY_PEER_RESET : WEIR_WHY_ERROR, error);
}

/* No receive block was left. Who was armed from the line comes back to its front, in order. */
static void line_up(struct net *net, struct conn *c)
{
    if ((conn_flags(c) & CONN_LINED_UP) == 0) {
        conn_list_add(net, c, CONN_LIST_BLOCKS);
        return;
    }
    conn_flags(c) &= ~(uint32_t)CONN_LINED_UP;
    conn_list_insert(net, c, CONN_LIST_BLOCKS, net->blocks_returned);
    net->blocks_returned = c->slot + 1;
}

/* The input ends in the middle, by what a filter says. What came before that is whole, and is given
 * first, if somebody takes it later. */
void conn_input_cut(weir_loop *loop, struct conn *c, int error)
{
    bool later =
        c->list == CONN_LIST_READY || (held_size(c) != 0 && c->service->consumer->paces_itself);
    if (c->phase != CONN_OPEN || !later) {
        input_error(loop, c, error);
        return;
    }
    c->error = c->error == 0 ? error : c->error;
    conn_flags(c) |= CONN_ERROR_HELD;
}

static void recv_done(weir_loop *loop, struct conn *c, int result)
{
    if (result == -ENOBUFS) {
        loop->net->counters.block_waits++;
        if (c->phase <= CONN_LINGERING && c->list != CONN_LIST_READY) /* that comes first */
            line_up(loop->net, c);
    } else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
        if (c->phase >= CONN_FLUSHING) { /* nobody listens: it is as good as an end */
            conn_flags(c) |= CONN_PEER_ENDED;
            return;
        }
        input_error(loop, c, result);
    }
}

void conn_event_recv(weir_loop *loop, struct conn *c, const struct io_event *event)
{
    if ((event->flags & IO_MORE) == 0)
        conn_flags(c) &= ~(uint32_t)(CONN_RECV_ARMED | CONN_RECV_CANCELED);
    if (event->result > 0) {
        conn_flags(c) &= ~(uint32_t)CONN_LINED_UP;
        if ((event->flags & IO_DRAINED) != 0) {
            conn_flags(c) |= CONN_DRAINED;
            c->fd.flags &= (uint16_t)~IO_FD_ONCE; /* it sends what is handled at once: multishot */
        } else {
            conn_flags(c) &= ~(uint32_t)CONN_DRAINED;
        }
        bool first = c->received_bytes == 0, filtered = (conn_flags(c) & CONN_FILTERED) != 0;
        c->received_bytes += (uint32_t)event->result;
        if (!filtered || c->phase != CONN_OPEN)
            c->read_ms = loop->now_ms;
        if (first && !filtered)
            conn_deadline_began(loop, c);
        loop->net->counters.received_bytes += (uint32_t)event->result;
        loop->net->counters.receives++;
        if (c->phase <= CONN_OPEN) {
            weir_view view = {event->data, (uint32_t)event->result,
                              (uint32_t)WEIR_OWNER_BLOCK << WEIR_OWNER_SHIFT | event->block};
            conn_input(loop, c, view);
            if (loop->memory.used_bytes > loop->memory.limit_bytes)
                budget_received(loop, c);
        }
    } else if (event->result == 0) {
        input_end(loop, c);
    } else {
        recv_done(loop, c, event->result);
    }
    /* Everything after this is the flush's: arming again, the next step of a close. */
    if ((event->flags & IO_MORE) == 0 || c->phase >= CONN_FLUSHING)
        conn_dirty(loop, c);
}

void conn_again(weir_loop *loop, struct conn *c)
{
    if (c->list != CONN_LIST_READY && c->phase <= CONN_FLUSHING)
        conn_list_add(loop->net, c, CONN_LIST_READY);
}

/* Those that had more than a turn's share, or were resumed: once each. */
void conn_ready_run(weir_loop *loop)
{
    struct net *net = loop->net;
    for (uint32_t left = net->lists[CONN_LIST_READY].count; left != 0; left--) {
        struct conn *c = conn_list_first(net, CONN_LIST_READY);
        if (c == NULL)
            return;
        conn_list_leave(net, c);
        conn_dirty(loop, c);
        if (c->phase == CONN_CONNECTING && (conn_flags(c) & CONN_CONNECT_DONE) != 0) {
            net->counters.connected++;
            conn_established(loop, c);
        }
        if (c->phase != CONN_OPEN)
            continue;
        if ((conn_flags(c) & CONN_PAUSED_INPUT) == 0 && !conn_marked(loop, c))
            held_deliver(loop, c);
        loop_ready_run(loop);
        if (c->phase != CONN_OPEN || (conn_flags(c) & CONN_PAUSED_INPUT) != 0 ||
            c->list == CONN_LIST_READY)
            continue;
        if ((conn_flags(c) & CONN_ERROR_HELD) != 0)
            input_error(loop, c, c->error);
        else if ((conn_flags(c) & CONN_UP_ENDED) != 0)
            conn_consume_end(loop, c);
    }
}

void conn_pause(weir_loop *loop, struct conn *c, uint32_t flag)
{
    conn_flags(c) |= flag;
}

void conn_unpause(weir_loop *loop, struct conn *c, uint32_t flag)
{
    if ((conn_flags(c) & flag) == 0)
        return;
    conn_flags(c) &= ~flag;
    if ((flag & CONN_PAUSED_WAITING) != 0)
        conn_deadline(loop, c); /* idle time counts again */
    if ((conn_flags(c) & CONN_PAUSED_INPUT) != 0)
        return;
    if (held_size(c) != 0 || (conn_flags(c) & CONN_ERROR_HELD) != 0 ||
        ((conn_flags(c) & (CONN_UP_ENDED | CONN_END_TOLD)) == CONN_UP_ENDED))
        conn_again(loop, c);
    conn_dirty(loop, c); /* arms the receive again */
}

/* Receive blocks came back: the line of those that wait for one is armed again, in order. As many
 * at a time as lately found one: with few blocks and a long line all but those would only find
 * none. */
void conn_blocks_check(weir_loop *loop)
{
    enum { WINDOW_LEAST = 4 };
    struct net *net = loop->net;
    if (!loop->io->ops->blocks_free(loop->io))
        return;
    bool found_none = net->counters.block_waits != net->blocks_waits_seen;
    net->blocks_waits_seen = net->counters.block_waits;
    net->blocks_window = found_none ? net->blocks_window / 2 : net->blocks_window * 2;
    if (net->blocks_window < WINDOW_LEAST)
        net->blocks_window = WINDOW_LEAST;
    uint32_t left = net->lists[CONN_LIST_BLOCKS].count;
    if (left > net->blocks_window)
        left = net->blocks_window;
    else
        net->blocks_window = left;
    for (; left != 0; left--) {
        struct conn *c = conn_list_first(net, CONN_LIST_BLOCKS);
        conn_list_leave(net, c);
        conn_flags(c) |= CONN_LINED_UP;
        conn_recv_want(loop, c);
        if ((conn_flags(c) & CONN_RECV_ARMED) == 0)
            conn_flags(c) &= ~(uint32_t)CONN_LINED_UP;
    }
    net->blocks_returned = 0;
}
