/* Accepting: one multishot accept a listener; scarcity makes it back off, limits make it wait (K11,
 * K19). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/address.h"
#include "net/listener.h"

static struct listener *listener_at(struct net *net, uint32_t slot)
{
    return slab_at(&net->listeners, slot);
}

static uint64_t listener_token(const struct listener *l, enum io_op op)
{
    return IO_TOKEN(op, LOOP_OWNER_LISTENER, l->head.generation, l->slot);
}

static struct listener *listener_of(struct net *net, uint64_t token)
{
    struct listener *l = listener_at(net, IO_TOKEN_SLOT(token));
    if (l == NULL || (l->head.generation & (SLAB_FREE | 0xffffffu)) != IO_TOKEN_GEN(token))
        return NULL;
    return l;
}

struct io_fd *listener_find(weir_loop *loop, uint64_t token)
{
    struct listener *l = listener_of(loop->net, token);
    return l != NULL ? &l->fd : NULL;
}

int listeners_init(struct net *net)
{
    return slab_init(&net->listeners, (sizeof(struct listener) + 63) / 64 * 64,
                     LIMIT_LISTENERS_MAX);
}

void listeners_each(struct net *net, void (*fn)(weir_loop *loop, struct listener *l, void *arg),
                    void *arg)
{
    uint32_t slots = net->listeners.chunk_count << net->listeners.chunk_records_log2;
    for (uint32_t slot = 0; slot < slots; slot++) {
        if (slab_living(&net->listeners, slot))
            fn(net->loop, listener_at(net, slot), arg);
    }
}

static bool listener_full(const struct net *net, const struct service *service)
{
    return service->conns - service->refusing >= service->config.conns_max ||
           net->conns.used >= net->conns.limit;
}

/* Whether more could be accepted at once than there is room for: a multishot accept takes all that
 * waits in the queue. Then they come one by one, so that the others stay in the queue. */
static bool near_limit(const struct net *net, const struct service *service)
{
    enum { BACKLOG = 4096, QUEUES = 2 }; /* one is taken, another fills up meanwhile */
    uint64_t backlog = service->config.socket.backlog;
    uint32_t served = service->conns - service->refusing, most = service->config.conns_max;
    uint32_t room = served < most ? most - served : 0;
    uint32_t records = net->conns.limit - net->conns.used;
    if (service->config.overload != WEIR_OVERLOAD_LEAVE) /* who is beyond it is refused */
        return service->config.accept_rate != 0;
    return service->config.accept_rate != 0 ||
           (records < room ? records : room) <= QUEUES * (backlog != 0 ? backlog : BACKLOG);
}

static int32_t rate_burst(uint32_t rate)
{
    uint32_t burst = rate / 10 + 1;
    return burst < INT32_MAX ? (int32_t)burst : INT32_MAX;
}

/* Pays for a connection by the accept rate. What the kernel accepted before it was told to pause is
 * served on credit. Returns how long to pause until the next one is earned; 0: no pause. */
static uint32_t rate_pay(weir_loop *loop, struct listener *l)
{
    uint32_t rate = l->service->config.accept_rate;
    if (rate == 0)
        return 0;
    uint64_t earned = (uint64_t)(loop->now_ms - l->tokens_ms) * rate / 1000;
    if (earned != 0) {
        int64_t tokens = l->tokens + (int64_t)earned;
        l->tokens = tokens < rate_burst(rate) ? (int32_t)tokens : rate_burst(rate);
        l->tokens_ms += (uint32_t)(earned * 1000 / rate); /* what is left over counts later */
    }
    l->tokens--;
    return l->tokens > 0 ? 0 : (uint32_t)((1 - (int64_t)l->tokens) * 1000 / rate + 1);
}

static void listener_cancel(weir_loop *loop, struct listener *l)
{
    if (!l->armed || l->canceled)
        return;
    int result = loop->io->ops->cancel(loop->io, &l->fd, listener_token(l, IO_OP_ACCEPT));
    l->cancel_owed = result == -ENOMEM || result == -ENOBUFS;
    l->canceled = !l->cancel_owed;
    loop->cancels_owed |= l->cancel_owed;
}

static void cancel_again(weir_loop *loop, struct listener *l, void *arg)
{
    if (l->cancel_owed)
        listener_cancel(loop, l);
}

void listeners_cancel_again(weir_loop *loop)
{
    listeners_each(loop->net, cancel_again, NULL);
}

/* What a socket that several processes listen on owes to one that has died: see crew.c. The end of
 * the cancelled accept starts it anew, and it looks at the queue. */
static void again_each(weir_loop *loop, struct listener *l, void *arg)
{
    if (l->shared && !l->stopping)
        listener_cancel(loop, l);
}

void listeners_again(weir_loop *loop)
{
    if (loop->net != NULL)
        listeners_each(loop->net, again_each, NULL);
}

static void listener_wait(weir_loop *loop, struct listener *l, uint32_t ms)
{
    listener_cancel(loop, l);
    l->waiting = true;
    wheel_cancel(&loop->wheel, &l->timer);
    l->timer.tag = LOOP_OWNER_LISTENER;
    wheel_start(&loop->wheel, &l->timer, loop->now_ms + (ms != 0 ? ms : 1));
}

void listener_start(weir_loop *loop, struct listener *l)
{
    const struct service *service = l->service;
    if (l->armed || l->closing || l->waiting || loop->net->over_budget)
        return;
    if (service->config.overload == WEIR_OVERLOAD_LEAVE && listener_full(loop->net, service))
        return; /* listeners_room starts it again */
    if (!loop->io->eager)
        l->fd.flags = (uint16_t)(near_limit(loop->net, service) ? l->fd.flags | IO_FD_ONCE
                                                                : l->fd.flags & ~IO_FD_ONCE);
    l->started = true;
    int result = loop->io->ops->accept(loop->io, &l->fd, listener_token(l, IO_OP_ACCEPT));
    if (result == IO_PENDING) {
        l->armed = true;
        l->canceled = false;
    } else {
        listener_wait(loop, l, LIMIT_ACCEPT_BACKOFF_MS);
    }
}

/* False: the back end has no room to ask; only a direct descriptor's can want it. */
static bool fd_close(weir_loop *loop, int fd, bool direct)
{
    struct io_fd io_fd = {.fd = fd, .flags = direct ? IO_FD_DIRECT : 0};
    int result;
    /* Token 0 of no owner: its event, if one comes, is nobody's. */
    uint64_t token = IO_TOKEN(IO_OP_CLOSE, 0, 0, 0);
    int how = loop->io->ops->close_fd(loop->io, &io_fd, true, token, &result);
    return how != -ENOBUFS && how != -ENOMEM;
}

/* Resets who was accepted and has no record, and so nothing else that could ask again. */
static void fd_reset(weir_loop *loop, int fd, bool direct)
{
    struct net *net = loop->net;
    if (fd_close(loop, fd, direct))
        return;
    if (net->unclosed_count == net->unclosed_room) {
        uint32_t room = net->unclosed_room != 0 ? 2 * net->unclosed_room : 16;
        int32_t *grown = weir__realloc(net->unclosed, room * sizeof *grown);
        if (grown == NULL) {
            static struct log_site site;
            weir__log_limited(&site, WEIR_LOG_ERROR, WEIR_ENOMEM, 0,
                              "a refused connection stays open: out of memory");
            return;
        }
        net->unclosed = grown;
        net->unclosed_room = room;
    }
    net->unclosed[net->unclosed_count++] = fd;
}

void listeners_unclosed(weir_loop *loop)
{
    struct net *net = loop->net;
    while (net->unclosed_count != 0 && fd_close(loop, net->unclosed[net->unclosed_count - 1], true))
        net->unclosed_count--;
}

/* The answer to who comes beyond the limit is no TLS: a handshake is what a full server has not. */
static bool can_answer(const struct service *service, const struct adopted *adopted)
{
    return service->config.overload == WEIR_OVERLOAD_ANSWER && !adopted->secure &&
           service->refusing < LIMIT_REFUSALS_MAX;
}

void listener_adopt(weir_loop *loop, struct service *service, struct adopted adopted)
{
    struct net *net = loop->net;
    bool full = listener_full(net, service) &&
                !(adopted.last && service->config.overload == WEIR_OVERLOAD_LEAVE);
    bool answer = full && can_answer(service, &adopted);
    struct conn *c = NULL;
    if (!full || answer)
        c = conn_new(net, service, adopted.fd, adopted.direct, false);
    if (c == NULL) {
        service->counts.refused_limit++;
        net->counters.refused_limit++;
        fd_reset(loop, adopted.fd, adopted.direct);
        return;
    }
    service->counts.accepted++;
    net->counters.accepted++;
    if (!answer) {
        if (adopted.secure && filters_aim(loop, c, &(struct aim){.secure = true}) < 0)
            conn_fail(loop, c, WEIR_WHY_LIMIT, WEIR_ENOMEM);
        else
            conn_established(loop, c);
        if (net->draining) /* the last ones of a queue that is being closed */
            conn_drain(loop, c);
        if (loop->io->eager)
            conn_flush_dirty(loop);
        return;
    }
    service->counts.refused_limit++;
    net->counters.refused_limit++;
    service->refusing++;
    conn_flags(c) |= CONN_REFUSED;
    c->phase = CONN_OPEN;
    struct output *out = conn_output(loop, c);
    if (out != NULL)
        output_view(loop, c, out, service->config.overload_answer, true);
    conn_close_why(loop, c, WEIR_WHY_LIMIT, WEIR_EREFUSED);
}

static bool scarce(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

static void accept_failed(weir_loop *loop, struct listener *l, int error)
{
    static struct log_site site;
    char address[WEIR_ADDRESS_TEXT_MAX];
    if (error == -ECANCELED || error == -ECONNABORTED || error == -EINTR || error == -EAGAIN)
        return;
    if (error == -EINVAL && l->stopping) { /* its queue is shut, and nobody is left in it */
        l->waiting = true;                 /* for the timer of listener_stop */
        return;
    }
    loop->net->counters.accept_errors++;
    if (weir_address_format(&l->address, address, sizeof address) < 0)
        address[0] = 0;
    weir__log_limited(&site, WEIR_LOG_WARN, error, 0,
                      "accepting on %s backs off: %s; connections that stand go on%s", address,
                      weir_error_text(error),
                      error == -EMFILE ? " (raise the limit with ulimit -n, or lower conns_max)"
                                       : "");
    listener_wait(loop, l, scarce(error) ? LIMIT_ACCEPT_BACKOFF_MS : 10 * LIMIT_ACCEPT_BACKOFF_MS);
}

/* Whoever waits in its queue is another process's to serve: the socket lives on there, and must not
 * be shut. */
static bool others_go_on(const weir_loop *loop, const struct listener *l)
{
    return loop->net->leaving || l->inherited;
}

static void listener_free(weir_loop *loop, struct listener *l)
{
    struct service *service = l->service;
    wheel_cancel(&loop->wheel, &l->timer);
    if (l->owns_file)
        weir__socket_unlink(&l->address, &l->file);
    int result;
    loop->io->ops->close_fd(loop->io, &l->fd, false, IO_TOKEN(IO_OP_CLOSE, 0, 0, 0), &result);
    l->service = NULL;
    slab_give(&loop->net->listeners, l->slot);
    service_unref(loop, service);
}

static void accepted(weir_loop *loop, struct listener *l, int fd, bool direct);

/* What waits in the queue of a listener that is being closed would be reset by the close (K17): the
 * queue is shut for new ones (listener_stop), and those in it are served. */
static void queue_drain(weir_loop *loop, struct listener *l)
{
    enum { QUEUE_MAX = 65536 };
    int flags = fcntl(l->fd.fd, F_GETFL);
    if (loop->net->stopping || flags < 0 || fcntl(l->fd.fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return; /* resetting them is better than waiting for one more for ever */
    for (int taken = 0; taken < QUEUE_MAX; taken++) {
        int socket_flags = SOCK_CLOEXEC | (loop->io->hot_block ? SOCK_NONBLOCK : 0);
        int fd = accept4(l->fd.fd, NULL, NULL, socket_flags);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue; /* of this one; there may be more behind it */
        if (fd < 0)
            return;
        accepted(loop, l, fd, false);
    }
}

static void full_each(weir_loop *loop, struct listener *l, void *arg)
{
    if (l->service->config.overload == WEIR_OVERLOAD_LEAVE && !l->stopping &&
        listener_full(loop->net, l->service))
        listener_cancel(loop, l);
}

/* At the limit nobody accepts; close to it, one by one: the listener starts anew when the multishot
 * accept has ended. */
static void limit_check(weir_loop *loop, struct listener *l)
{
    struct net *net = loop->net;
    struct service *service = l->service;
    if (listener_full(net, service))
        listeners_each(net, full_each, NULL);
    else if (l->armed && !loop->io->eager && (l->fd.flags & IO_FD_ONCE) == 0 &&
             near_limit(net, service))
        listener_cancel(loop, l);
}

/* A direct descriptor is no number that a system call would know. */
static void apply_options(weir_loop *loop, struct listener *l, int fd, bool direct)
{
    static struct log_site site;
    struct io_fd io_fd = {.fd = fd, .flags = direct ? IO_FD_DIRECT : 0};
    struct weir__socket_error error;
    int number = loop->io->ops->number(loop->io, &io_fd);
    if (number < 0) {
        weir__log_limited(&site, WEIR_LOG_WARN, number, 0,
                          "accepted socket: options cannot be set: %s", weir_error_text(number));
        return;
    }
    if (weir__socket_apply(number, &l->service->config.socket, &error) < 0)
        weir__log_limited(&site, WEIR_LOG_WARN, error.code, 0, "accepted socket: %s", error.text);
    loop->io->ops->number_done(loop->io, &io_fd, number);
}

static void accepted(weir_loop *loop, struct listener *l, int fd, bool direct)
{
    if (loop->net->stopping) { /* whom it would be handed to may be gone */
        fd_reset(loop, fd, direct);
        return;
    }
    uint32_t pause_ms = l->stopping ? 0 : rate_pay(loop, l);
    if (pause_ms != 0) {
        loop->net->counters.rate_pauses++;
        listener_wait(loop, l, pause_ms);
    }
    if (l->apply_options)
        apply_options(loop, l, fd, direct);
    if (l->hand != NULL)
        l->hand(l->hand_arg, l, fd);
    else
        listener_adopt(loop, l->service, (struct adopted){fd, direct, l->secure, l->stopping});
    if (l->service->config.overload == WEIR_OVERLOAD_LEAVE && !l->stopping)
        limit_check(loop, l);
}

static void listener_end(weir_loop *loop, struct listener *l)
{
    if (!others_go_on(loop, l))
        queue_drain(loop, l);
    listener_free(loop, l);
}

void listener_event(weir_loop *loop, const struct io_event *event)
{
    struct listener *l = listener_of(loop->net, event->token);
    if (l == NULL) {
        if (IO_TOKEN_OP(event->token) == IO_OP_ACCEPT && event->result >= 0)
            fd_reset(loop, event->result, loop->io->direct);
        return;
    }
    if ((event->flags & IO_MORE) == 0)
        l->armed = l->canceled = l->cancel_owed = false;
    if (event->result >= 0)
        accepted(loop, l, event->result, loop->io->direct);
    else
        accept_failed(loop, l, event->result);
    if (l->closing && !l->armed)
        listener_end(loop, l);
    else
        listener_start(loop, l);
    loop_ready_run(loop);
}

/* The queue is shut: accepts what is in it, and closes. */
static void listener_close(weir_loop *loop, struct listener *l)
{
    l->closing = true;
    if (l->armed) {
        listener_cancel(loop, l);
    } else if (loop->net->stopping || others_go_on(loop, l) || !l->started) {
        listener_free(loop, l);
    } else { /* who waits in the queue is served, but not within a verb (K3) */
        wheel_cancel(&loop->wheel, &l->timer);
        l->timer.tag = LOOP_OWNER_LISTENER;
        wheel_start(&loop->wheel, &l->timer, loop->now_ms);
    }
}

void listener_timer(weir_loop *loop, struct wheel_node *node)
{
    struct listener *l = weir_container(node, struct listener, timer);
    l->waiting = false;
    if (l->closing && !l->armed)
        listener_end(loop, l);
    else if (l->stopping)
        listener_close(loop, l);
    else
        listener_start(loop, l);
}

static void hold_each(weir_loop *loop, struct listener *l, void *arg)
{
    listener_cancel(loop, l);
}

void listeners_hold(weir_loop *loop)
{
    listeners_each(loop->net, hold_each, NULL);
}

static void room_each(weir_loop *loop, struct listener *l, void *service)
{
    if (service == NULL || l->service == service)
        listener_start(loop, l);
}

void listeners_room(weir_loop *loop, struct service *service)
{
    struct net *net = loop->net;
    if (net->stopping || net->listeners.used == 0)
        return;
    /* A listener is unarmed for lack of room only when its service was full a moment ago. */
    if (service != NULL && (service->config.overload != WEIR_OVERLOAD_LEAVE ||
                            (service->conns + 1 < service->config.conns_max &&
                             net->conns.used + 2 < net->conns.limit)))
        return;
    listeners_each(net, room_each, service);
}

void listener_stop(weir_loop *loop, struct listener *l)
{
    if (l->closing && !l->armed && loop->net->stopping) { /* no timer comes any more */
        listener_free(loop, l);
        return;
    }
    if (l->closing && loop->net->stopping)
        listener_cancel(loop, l); /* unless it was asked already */
    if (l->closing || (l->stopping && !loop->net->stopping))
        return;
    l->stopping = true;
    if (l->service->consumer->unlisten != NULL)
        l->service->consumer->unlisten(loop, l->service);
    bool refused = !loop->net->stopping && !others_go_on(loop, l) &&
                   weir__socket_refuse(l->fd.fd, &l->address) == 0;
    if (!refused || !loop->net->draining) {
        listener_close(loop, l);
        return;
    }
    /* A client that has our SYN-ACK believes that it is connected: its ACK is waited for. */
    wheel_cancel(&loop->wheel, &l->timer);
    l->waiting = false;
    l->timer.tag = LOOP_OWNER_LISTENER;
    wheel_start(&loop->wheel, &l->timer, loop->now_ms + LIMIT_LISTENER_LAST_MS);
    listener_start(loop, l);
}

static void stop_each(weir_loop *loop, struct listener *l, void *arg)
{
    listener_stop(loop, l);
}

void listeners_stop(weir_loop *loop)
{
    if (loop->net != NULL)
        listeners_each(loop->net, stop_each, NULL);
}

static bool no_options(const weir_socket_options *options)
{
    static const weir_socket_options none;
    return memcmp(options, &none, sizeof none) == 0;
}

static int socket_open(const struct net *net, const struct service *service,
                       const weir_address *address, struct weir__socket_file *file)
{
    struct weir__socket_error error;
    struct weir__socket_how how = {.blocking = !net->loop->io->hot_block, .file = file};
    int fd = weir__socket_listen(address, &service->config.socket, &how, &error);
    if (error.warnings != 0)
        weir__log(WEIR_LOG_WARN, 0, 0, "%s", error.warning);
    if (fd < 0)
        weir__log(WEIR_LOG_ERROR, fd, 0, "%s", error.text);
    return fd;
}

struct listener *listener_new(struct net *net, struct service *service, const weir_address *address,
                              int fd, int *error)
{
    uint32_t slot;
    struct listener *l = slab_take(&net->listeners, &slot);
    *error = WEIR_EFULL;
    if (l == NULL)
        return NULL;
    l->slot = slot;
    l->address = *address;
    if (fd < 0) {
        fd = socket_open(net, service, address, &l->file);
        if (fd < 0) {
            *error = fd;
            slab_give(&net->listeners, slot);
            return NULL;
        }
        l->owns_file = address->transport == WEIR_TRANSPORT_UNIX;
        *error = weir__socket_bound(fd, &l->address);
        if (*error < 0) {
            close(fd);
            slab_give(&net->listeners, slot);
            return NULL;
        }
    }
    l->fd = (struct io_fd){.fd = fd};
    l->service = service;
    l->secure = weir__scheme_is_secure(l->address.scheme);
    l->apply_options = !weir__socket_inherits(address) && !no_options(&service->config.socket);
    l->tokens = rate_burst(service->config.accept_rate);
    l->tokens_ms = net->loop->now_ms;
    service_ref(service);
    *error = 0;
    return l;
}
