/* A datagram socket's birth, what the loop tells it, and its end. */
#include "net/datagram.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

int dgram_get(weir_dgram handle, weir_loop **loop_out, struct dgram **out)
{
    weir_loop *loop = loop_current();
    if (loop == NULL || (handle.id != 0 && handle.id >> 54 != loop->id))
        return handle.id == 0 ? WEIR_EGONE : loop == NULL ? loop_none() : WEIR_EMISUSE;
    if (handle.id == 0 || loop->net == NULL)
        return WEIR_EGONE;
    struct dgram *d = slab_at(&loop->net->dgrams, (uint32_t)(handle.id >> 30) & 0xffffffu);
    if (d == NULL || d->head.generation != (handle.id & 0x3fffffffu))
        return WEIR_EGONE;
    *loop_out = loop;
    *out = d;
    return 0;
}

static struct dgram *dgram_of_token(struct net *net, uint64_t token)
{
    struct dgram *d = slab_at(&net->dgrams, IO_TOKEN_SLOT(token));
    if (d == NULL || (d->head.generation & (SLAB_FREE | 0xffffffu)) != IO_TOKEN_GEN(token))
        return NULL;
    return d;
}

struct io_fd *dgram_find(weir_loop *loop, uint64_t token)
{
    struct dgram *d = dgram_of_token(loop->net, token);
    return d != NULL ? &d->fd : NULL;
}

int dgrams_init(struct net *net)
{
    list_init(&net->dgrams_dirty);
    return slab_init(&net->dgrams, (sizeof(struct dgram) + 63) / 64 * 64, LIMIT_DGRAMS_MAX);
}

void dgrams_free(struct net *net)
{
    slab_free(&net->dgrams);
    weir__free(net->dgram_scratch);
}

void dgrams_each(struct net *net, void (*fn)(weir_loop *loop, struct dgram *d, void *arg),
                 void *arg)
{
    uint32_t slots = net->dgrams.chunk_count << net->dgrams.chunk_records_log2;
    for (uint32_t slot = 0; slot < slots; slot++) {
        if (slab_living(&net->dgrams, slot))
            fn(net->loop, slab_at(&net->dgrams, slot), arg);
    }
}

/* --- the service's copy ----------------------------------------------------------------------- */

static void defaults(weir_dgram_service *service)
{
    limit_default(&service->datagram_max_bytes, IO_MESSAGE_BYTES);
    limit_default(&service->soft_mark_bytes, LIMIT_DGRAM_SOFT_MARK);
    limit_default(&service->hard_cap_bytes, LIMIT_DGRAM_HARD_CAP);
    limit_default(&service->queue_max_datagrams, LIMIT_DGRAM_QUEUE_MAX);
    limit_default(&service->linger_ms, LIMIT_DGRAM_LINGER_MS);
}

static const char *wrong_field(const weir_dgram_service *s)
{
    const uint32_t known =
        WEIR_DATAGRAM_LOCAL | WEIR_DATAGRAM_ECN | WEIR_DATAGRAM_HOPS | WEIR_DATAGRAM_TIME;
    const struct {
        const char *name;
        uint8_t value;
    } switches[] = {{"read_on", s->read_on},     {"gro", s->gro},
                    {"gro_whole", s->gro_whole}, {"gso", s->gso},
                    {"broadcast", s->broadcast}, {"multicast_loop", s->multicast_loop}};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (switches[i].value > WEIR_SWITCH_OFF)
            return switches[i].name;
    for (size_t i = 0; i < sizeof s->reserved / sizeof *s->reserved; i++)
        if (s->reserved[i] != 0)
            return "reserved";
    return (s->meta & ~known) != 0                         ? "meta"
           : (unsigned)s->full > WEIR_DGRAM_OLDEST         ? "full"
           : (unsigned)s->mtu > WEIR_MTU_PROBE             ? "mtu"
           : (unsigned)s->steer > WEIR_STEER_CPU           ? "steer"
           : s->datagram_max_bytes > IO_MESSAGE_BYTES      ? "datagram_max_bytes"
           : s->linger_ms > INT32_MAX                      ? "linger_ms"
           : s->hard_cap_bytes < s->soft_mark_bytes        ? "hard_cap_bytes"
           : s->queue_max_datagrams > 1u << 20             ? "queue_max_datagrams"
           : s->on_datagram != NULL && s->on_batch != NULL ? "on_batch"
                                                           : NULL;
}

struct dgram_config *dgram_config_new(const weir_dgram_service *service, int *error)
{
    struct dgram_config *config = weir__zalloc(sizeof *config);
    *error = WEIR_ENOMEM;
    if (config == NULL)
        return NULL;
    if (service != NULL)
        config->service = *service;
    defaults(&config->service);
    config->refs = 1;
    *error = 0;
    const char *wrong = wrong_field(&config->service);
    if (wrong == NULL)
        return config;
    weir__log(WEIR_LOG_ERROR, WEIR_EINVALID, 0,
              "datagrams: .%s is out of its range, or contradicts "
              "another field",
              wrong);
    weir__free(config);
    *error = WEIR_EINVALID;
    return NULL;
}

void dgram_config_unref(struct dgram_config *config)
{
    if (--config->refs == 0)
        weir__free(config);
}

/* --- birth ------------------------------------------------------------------------------------ */

bool dgram_is_any(const weir_address *address)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&address->socket;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->socket;
    if (address->socket.ss_family == AF_INET)
        return in4->sin_addr.s_addr == INADDR_ANY;
    return address->socket.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

static void fill(struct dgram *d, struct dgram_config *config, int fd, const weir_address *address)
{
    d->fd = (struct io_fd){.fd = fd, .spare = IO_FD_MESSAGES};
    d->phase = DGRAM_OPEN;
    d->config = config;
    d->user = config->service.user;
    d->local = *address;
    d->udp = address->transport == WEIR_TRANSPORT_UDP;
    d->seqpacket = address->transport == WEIR_TRANSPORT_UNIX_SEQPACKET;
    d->inet = d->udp || address->transport == WEIR_TRANSPORT_ICMP ||
              address->transport == WEIR_TRANSPORT_RAW;
    if (address->transport == WEIR_TRANSPORT_ICMP) {
        int type = 0;
        socklen_t type_size = sizeof type;
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size);
        d->icmp_raw = type == SOCK_RAW;
    }
    d->gso = d->udp && config->service.gso != WEIR_SWITCH_OFF;
    d->errors = d->inet && config->service.on_error != NULL;
    /* The family that the socket has: one bound to any address may have fallen back to IPv4. */
    struct sockaddr_storage bound = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof bound;
    getsockname(fd, (struct sockaddr *)&bound, &size);
    d->family = (uint8_t)bound.ss_family;
    config->refs++;
}

struct dgram *dgram_new(struct net *net, struct dgram_config *config, int fd,
                        const weir_address *address, int *error)
{
    uint32_t slot;
    const struct io *io = net->loop->io;
    *error = -EMFILE;
    if (io->fd_limit != 0 && fd >= io->fd_limit)
        return NULL;
    *error = WEIR_ENOMEM;
    if (net->dgram_scratch == NULL)
        net->dgram_scratch = dgram_scratch_new();
    if (net->dgram_scratch == NULL)
        return NULL;
    struct dgram *d = slab_take(&net->dgrams, &slot);
    if (d == NULL)
        return NULL;
    d->slot = slot;
    list_init(&d->dirty);
    fill(d, config, fd, address);
    *error = 0;
    return d;
}

void dgram_open(weir_loop *loop, struct dgram *d, bool tells)
{
    d->opened = !tells || d->config->service.on_open == NULL;
    if (d->opened)
        dgram_recv_want(loop, d);
    else
        dgram_dirty(loop, d);
}

/* --- what is to be done ----------------------------------------------------------------------- */

void dgram_dirty(weir_loop *loop, struct dgram *d)
{
    if (list_empty(&d->dirty))
        list_push(&loop->net->dgrams_dirty, &d->dirty);
}

static void timer_start(weir_loop *loop, struct dgram *d, uint32_t due_ms)
{
    wheel_cancel(&loop->wheel, &d->timer);
    d->timer.tag = LOOP_OWNER_DGRAM;
    wheel_start(&loop->wheel, &d->timer, due_ms);
}

void dgram_later(weir_loop *loop, struct dgram *d, uint32_t ms)
{
    timer_start(loop, d, loop->now_ms + ms);
}

/* Asks for the ends of what is in flight; again later where there is no room to ask. */
static void cancel_all(weir_loop *loop, struct dgram *d)
{
    const struct io_ops *ops = loop->io->ops;
    if (d->armed && !d->recv_canceled) {
        int result = ops->cancel(loop->io, &d->fd, dgram_token(d, IO_OP_RECV));
        d->recv_canceled = result != -ENOMEM && result != -ENOBUFS;
        loop->cancels_owed |= !d->recv_canceled;
    }
    if (d->phase == DGRAM_STOPPING && d->sending && !d->send_canceled) {
        int result = ops->cancel(loop->io, &d->fd, dgram_token(d, IO_OP_SEND));
        d->send_canceled = result != -ENOMEM && result != -ENOBUFS;
        loop->cancels_owed |= !d->send_canceled;
    }
}

static void cancel_again(weir_loop *loop, struct dgram *d, void *arg)
{
    if ((d->armed && !d->recv_canceled &&
         (d->phase != DGRAM_OPEN || d->paused_mark || d->paused_user)) ||
        d->phase == DGRAM_STOPPING)
        dgram_dirty(loop, d);
}

void dgrams_cancel_again(weir_loop *loop)
{
    dgrams_each(loop->net, cancel_again, NULL);
}

/* The last of it. */
static void end(weir_loop *loop, struct dgram *d)
{
    weir_end end = {.why = (enum weir_why)d->why, .error = d->error};
    struct dgram_config *config = d->config;
    weir_dgram handle = dgram_handle(loop, d);
    if (config->service.on_close != NULL && d->opened)
        config->service.on_close(handle, end, d->user);
    wheel_cancel(&loop->wheel, &d->timer);
    if (!list_empty(&d->dirty))
        list_remove(&d->dirty);
    dgram_queue_end(d);
    slab_give(&loop->net->dgrams, d->slot);
    dgram_config_unref(config);
}

/* Moves the close on, as far as it goes now. True: the record is gone. */
static bool close_step(weir_loop *loop, struct dgram *d)
{
    int result = 0;
    if (d->phase == DGRAM_FLUSHING && d->queue_count == 0 && !d->sending)
        d->phase = DGRAM_STOPPING;
    cancel_all(loop, d);
    if (d->phase != DGRAM_STOPPING)
        return false;
    if (!d->sending)
        dgram_queue_drop(loop, d, &d->stats.dropped_close);
    if (d->armed || d->sending)
        return false;
    wheel_cancel(&loop->wheel, &d->timer);
    if (d->owns_file)
        weir__socket_unlink(&d->local, &d->file);
    d->owns_file = false;
    d->phase = DGRAM_CLOSING;
    int done =
        loop->io->ops->close_fd(loop->io, &d->fd, false, dgram_token(d, IO_OP_CLOSE), &result);
    if (done == IO_PENDING)
        return false;
    end(loop, d);
    return true;
}

void dgram_close(weir_loop *loop, struct dgram *d)
{
    if (d->phase != DGRAM_OPEN)
        return;
    d->phase = DGRAM_FLUSHING;
    d->why = WEIR_WHY_CLOSED;
    d->linger_due_ms = loop->now_ms + d->config->service.linger_ms;
    if (d->queue_count != 0 && !d->send_waits)
        timer_start(loop, d, d->linger_due_ms);
    dgram_dirty(loop, d);
}

void dgram_fail(weir_loop *loop, struct dgram *d, enum weir_why why, int error)
{
    if (d->phase >= DGRAM_STOPPING)
        return;
    if (d->phase == DGRAM_OPEN) {
        d->why = (uint8_t)why;
        d->error = error;
    }
    d->phase = DGRAM_STOPPING;
    dgram_dirty(loop, d);
}

static void run_one(weir_loop *loop, struct dgram *d)
{
    if (!d->opened) { /* not within the verb that made it */
        d->opened = true;
        if (d->phase == DGRAM_OPEN)
            d->config->service.on_open(dgram_handle(loop, d), d->user);
    }
    if (d->phase <= DGRAM_FLUSHING)
        dgram_flush(loop, d);
    if (d->phase == DGRAM_OPEN) {
        if (d->paused_mark || d->paused_user)
            cancel_all(loop, d);
        dgram_recv_want(loop, d);
    } else if (d->phase < DGRAM_CLOSING) {
        close_step(loop, d);
    }
}

void dgrams_run(weir_loop *loop)
{
    struct net *net = loop->net;
    struct list now, *link;
    /* What handlers make dirty meanwhile is seen too, but each socket once a round. */
    for (int rounds = 0; rounds < 2 && !list_empty(&net->dgrams_dirty); rounds++) {
        list_init(&now);
        list_splice(&now, &net->dgrams_dirty);
        while ((link = list_pop(&now)) != NULL)
            run_one(loop, weir_container(link, struct dgram, dirty));
    }
}

/* --- events ----------------------------------------------------------------------------------- */

void dgram_event(weir_loop *loop, const struct io_event *event)
{
    struct dgram *d = dgram_of_token(loop->net, event->token);
    if (d == NULL)
        return;
    switch (IO_TOKEN_OP(event->token)) {
    case IO_OP_RECV:
        dgram_event_recv(loop, d, event);
        break;
    case IO_OP_SEND:
        d->sending = d->send_canceled = false;
        dgram_event_sent(loop, d, event->result);
        break;
    case IO_OP_CLOSE:
        end(loop, d);
        loop_ready_run(loop);
        return;
    default:
        return;
    }
    if (loop_is_orphan(loop)) /* a handler has forked, and this is the child: d is the parent's */
        return;
    dgram_dirty(loop, d);
    loop_ready_run(loop);
    /* Before the receive memory is used again: what was taken from it is sent or copied. */
    dgrams_run(loop);
    loop->net->borrow_from = loop->net->borrow_to = NULL;
}

void dgram_timer(weir_loop *loop, struct wheel_node *node)
{
    struct dgram *d = weir_container(node, struct dgram, timer);
    d->send_waits = d->recv_waits = false;
    if (d->phase == DGRAM_FLUSHING && (int32_t)(loop->now_ms - d->linger_due_ms) >= 0)
        dgram_fail(loop, d, WEIR_WHY_CLOSED, 0);
    else if (d->phase == DGRAM_FLUSHING)
        timer_start(loop, d, d->linger_due_ms);
    dgram_dirty(loop, d);
}

/* --- all of them ------------------------------------------------------------------------------ */

static void close_each(weir_loop *loop, struct dgram *d, void *abort)
{
    if (abort != NULL)
        dgram_fail(loop, d, WEIR_WHY_CLOSED, 0);
    else
        dgram_close(loop, d);
    dgram_dirty(loop, d);
}

void dgrams_close_all(weir_loop *loop, bool abort)
{
    dgrams_each(loop->net, close_each, abort ? loop : NULL);
}

static void forget(weir_loop *loop, struct dgram *d, void *arg)
{
    if (d->fd.fd >= 0)
        close(d->fd.fd);
}

void dgrams_forked(weir_loop *loop)
{
    dgrams_each(loop->net, forget, NULL);
}
