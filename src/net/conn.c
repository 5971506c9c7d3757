/* A connection's birth, its record and busy half, and what the loop tells it. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/conn.h"

int conn_get(weir_conn handle, weir_loop **loop_out, struct conn **out)
{
    weir_loop *loop = loop_current();
    if (loop == NULL || (handle.id != 0 && handle.id >> 54 != loop->id))
        return handle.id == 0 ? WEIR_EGONE : loop == NULL ? loop_none() : WEIR_EMISUSE;
    if (handle.id == 0 || loop->net == NULL)
        return WEIR_EGONE;
    struct conn *c = conn_at(loop->net, (uint32_t)(handle.id >> 30) & 0xffffffu);
    if (c == NULL || c->head.generation != (handle.id & 0x3fffffffu))
        return WEIR_EGONE;
    *loop_out = loop;
    *out = c;
    return 0;
}

static struct conn *conn_of_token(struct net *net, uint64_t token)
{
    struct conn *c = conn_at(net, IO_TOKEN_SLOT(token));
    if (c == NULL || (c->head.generation & (SLAB_FREE | 0xffffffu)) != IO_TOKEN_GEN(token))
        return NULL;
    return c;
}

struct io_fd *conn_find(weir_loop *loop, uint64_t token)
{
    struct conn *c = conn_of_token(loop->net, token);
    return c != NULL ? &c->fd : NULL;
}

/* So many connections that were busy at once, and no longer are, were a burst: what they needed,
 * and their output too, goes back some time later. Fewer keep what they had. */
enum { BURST = 16 };

struct busy *conn_busy(struct net *net, struct conn *c)
{
    if (c->busy != NULL)
        return c->busy;
    struct busy *b = object_take(&net->busy);
    if (b == NULL)
        return NULL;
    output_init(&b->out);
    memset((char *)b + sizeof b->out, 0, sizeof *b - sizeof b->out);
    c->busy = b;
    return b;
}

void conn_busy_tidy(struct net *net, struct conn *c)
{
    struct busy *b = c->busy;
    if (b == NULL || b->out.count != 0 || b->held != NULL || b->filters != NULL ||
        b->piped.id != 0 || b->next_port != 0 || b->secure || b->via || b->race != NULL ||
        b->host != NULL || (conn_flags(c) & CONN_SENDING) != 0)
        return;
    output_end(net->loop, &b->out);
    c->busy = NULL;
    object_give(&net->busy, b);
    if (net->busy.free_count > BURST)
        net_trim_later(net->loop);
}

struct conn *conn_new(struct net *net, struct service *service, int fd, bool direct, bool client)
{
    uint32_t slot;
    struct conn *c = slab_take(&net->conns, &slot);
    if (c == NULL)
        return NULL;
    c->session = NULL;
    if (service->sessions.size != 0) {
        c->session = object_take(&service->sessions);
        if (c->session == NULL) {
            slab_give(&net->conns, slot);
            return NULL;
        }
        memset(c->session, 0, service->sessions.size);
    }
    c->slot = slot;
    conn_flags(c) = client ? CONN_CLIENT : 0;
    /* The first receive brings one event: see conn_event_recv. */
    uint32_t hints = net->loop->io->eager ? 0 : IO_FD_ONCE | service->unix_hint;
    c->fd = (struct io_fd){.fd = fd, .flags = (uint16_t)(hints | (direct ? IO_FD_DIRECT : 0))};
    c->service = service;
    c->user = service->config.user;
    c->phase = CONN_OPENING;
    c->timer.tag = LOOP_OWNER_CONN;
    c->opened_ms = c->read_ms = c->write_ms = net->loop->now_ms;
    service_ref(service);
    service->conns++;
    atomic_fetch_add_explicit(&net->loop->load, 1, memory_order_relaxed);
    return c;
}

/* The wire is established: filters first, then the consumer. */
void conn_established(weir_loop *loop, struct conn *c)
{
    bool via = c->busy != NULL && c->busy->via;
    c->phase = CONN_OPENING;
    c->read_ms = c->write_ms = loop->now_ms;
    if (!via) /* else the time to connect goes on */
        c->opened_ms = loop->now_ms;
    conn_idle_begin(loop, c);
    if (c->service->filter_count != 0 || via || (c->busy != NULL && c->busy->secure)) {
        int result = filters_open(loop, c);
        if (result < 0) {
            conn_fail(loop, c, WEIR_WHY_ERROR, result);
            return;
        }
    } else {
        conn_opened(loop, c);
    }
    if (c->phase <= CONN_OPEN) {
        conn_recv_want(loop, c);
        conn_deadline(loop, c);
    }
}

void conn_opened(weir_loop *loop, struct conn *c)
{
    if (c->phase != CONN_OPENING)
        return;
    c->phase = CONN_OPEN;
    conn_flags(c) |= CONN_OPENED;
    if ((conn_flags(c) & CONN_FILTERED) != 0) { /* the first byte is due from now on */
        c->opened_ms = c->read_ms = c->write_ms = loop->now_ms;
        conn_deadline(loop, c);
    }
    if (c->service->consumer->open != NULL)
        c->service->consumer->open(loop, c);
    if (c->phase == CONN_OPEN && c->busy != NULL && c->busy->held != NULL)
        conn_again(loop, c); /* what came right behind a filter's handshake */
}

struct output *conn_output(weir_loop *loop, struct conn *c)
{
    struct busy *b = conn_busy(loop->net, c);
    if (b == NULL)
        return NULL;
    return b->filters != NULL ? filters_top(c) : &b->out;
}

static void conn_event_connected(weir_loop *loop, struct conn *c, const struct io_event *event)
{
    conn_flags(c) &= ~(uint32_t)(CONN_SENDING | CONN_SEND_CANCELED | CONN_CONNECT_SENT);
    if (c->phase != CONN_CONNECTING) { /* closed meanwhile */
        conn_dirty(loop, c);
        return;
    }
    if (event->result < 0) {
        int result = connect_next(loop, c, event->result);
        if (result < 0)
            /* A reset may come before anybody has looked. */
            conn_fail(loop, c, conn_is_reset(result) ? WEIR_WHY_PEER_RESET : WEIR_WHY_ERROR,
                      result);
        return;
    }
    if (c->busy != NULL) {
        c->busy->next_port = 0;
        conn_dirty(loop, c);
    }
    loop->net->counters.connected++;
    conn_established(loop, c);
}

void conn_event(weir_loop *loop, const struct io_event *event)
{
    struct conn *c = conn_of_token(loop->net, event->token);
    if (c == NULL) {
        if ((event->flags & IO_BUFFER) != 0)
            loop->io->ops->release(loop->io, event->block);
        return;
    }
    switch (IO_TOKEN_OP(event->token)) {
    case IO_OP_RECV:
        conn_event_recv(loop, c, event);
        break;
    case IO_OP_SEND:
    case IO_OP_MOVE:
    case IO_OP_POLL:
        conn_event_sent(loop, c, event);
        break;
    case IO_OP_CONNECT:
        conn_event_connected(loop, c, event);
        break;
    case IO_OP_CLOSE:
        conn_event_closed(loop, c, event->result);
        break;
    default:
        break;
    }
    loop_ready_run(loop);
    if (loop->io->eager)
        conn_flush_dirty(loop);
    if ((event->flags & IO_BUFFER) != 0)
        loop->io->ops->release(loop->io, event->block);
}

void conn_each(struct net *net, void (*fn)(weir_loop *loop, struct conn *c, void *arg), void *arg)
{
    uint32_t slots = net->conns.chunk_count << net->conns.chunk_records_log2;
    for (uint32_t slot = 0; slot < slots; slot++)
        if (slab_living(&net->conns, slot))
            fn(net->loop, conn_at(net, slot), arg);
}

void conn_list_insert(struct net *net, struct conn *c, enum conn_list list, uint32_t behind)
{
    struct conn_queue *queue = &net->lists[list];
    conn_list_leave(net, c);
    c->list = (uint8_t)list;
    c->list_prev = behind;
    c->list_next = behind != 0 ? conn_at(net, behind - 1)->list_next : queue->first;
    if (behind != 0)
        conn_at(net, behind - 1)->list_next = c->slot + 1;
    else
        queue->first = c->slot + 1;
    if (c->list_next != 0)
        conn_at(net, c->list_next - 1)->list_prev = c->slot + 1;
    else
        queue->last = c->slot + 1;
    queue->count++;
}

void conn_list_add(struct net *net, struct conn *c, enum conn_list list)
{
    if (c->list != list)
        conn_list_insert(net, c, list, net->lists[list].last);
}

void conn_list_leave(struct net *net, struct conn *c)
{
    if (c->list == CONN_LIST_NONE)
        return;
    struct conn_queue *queue = &net->lists[c->list];
    if (net->blocks_returned == c->slot + 1)
        net->blocks_returned = c->list_prev;
    if (c->list_prev != 0)
        conn_at(net, c->list_prev - 1)->list_next = c->list_next;
    else
        queue->first = c->list_next;
    if (c->list_next != 0)
        conn_at(net, c->list_next - 1)->list_prev = c->list_prev;
    else
        queue->last = c->list_prev;
    queue->count--;
    c->list = CONN_LIST_NONE;
    c->list_next = c->list_prev = 0;
}

struct conn *conn_list_first(struct net *net, enum conn_list list)
{
    uint32_t first = net->lists[list].first;
    return first != 0 ? conn_at(net, first - 1) : NULL;
}
