/* Datagrams on their way out: a bounded queue, given to the kernel in batches. Those of one size to
 * one peer, queued in a row, are joined to a train that the kernel takes apart (GSO): it costs
 * little more than one of them. */
#include "net/datagram.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

enum {
    UDP_SEGMENT_TYPE = 103, /* UDP_SEGMENT of linux/udp.h, kernel 4.18 */
    UDP_MOST = 65507,       /* bytes of one, less the heads of UDP and IPv4 */
    IP_MOST = 65515,        /* less that of IPv4 */
    TRAIN_MOST = 64,        /* datagrams of a train: UDP_MAX_SEGMENTS of kernels before 6.8 */
    TRAIN_BYTES = 65000,
    VECTORS = 1024,
    CONTROL = 128,
    QUEUE_FIRST = 64,
    COPY_BELOW = 256,  /* as for connections: a reference costs more than a few bytes */
    FLUSH_MOST = 4096, /* datagrams of one socket in a flush: others want their turn */
    FLUSH_CALLS = 256, /* calls to the kernel, for those of which none leaves */
    RETRY_MS = 1,
};

/* What one call to the kernel is put together in. */
struct dgram_scratch {
    struct mmsghdr header[IO_MESSAGES_MOST];
    uint32_t joined[IO_MESSAGES_MOST]; /* queued datagrams in each */
    struct iovec iov[VECTORS];
    _Alignas(struct cmsghdr) uint8_t control[IO_MESSAGES_MOST][CONTROL];
};

struct dgram_scratch *dgram_scratch_new(void)
{
    return weir__alloc(sizeof(struct dgram_scratch));
}

/* --- the queue -------------------------------------------------------------------------------- */

static bool queue_grow(struct dgram *d)
{
    uint32_t room = d->queue_room != 0 ? d->queue_room * 2 : QUEUE_FIRST;
    struct dgram_out *queue = weir__alloc(room * sizeof *queue);
    if (queue == NULL)
        return false;
    for (uint32_t i = 0; i < d->queue_count; i++)
        queue[i] = *dgram_at(d, i);
    weir__free(d->queue);
    d->queue = queue;
    d->queue_head = 0;
    d->queue_room = room;
    return true;
}

void dgram_queue_end(struct dgram *d)
{
    WEIR_ASSERT(d->queue_count == 0);
    weir__free(d->queue);
    d->queue = NULL;
    d->queue_room = 0;
}

static void pop(weir_loop *loop, struct dgram *d)
{
    struct dgram_out *out = dgram_at(d, 0);
    if (out->kind == DGRAM_COPY && out->size != 0)
        memory_give(&loop->memory, (void *)(uintptr_t)out->data, out->room);
    else if (out->kind == DGRAM_LENT)
        loan_done(loop, out->room);
    d->queued_bytes -= out->size;
    d->queue_head = (d->queue_head + 1) & (d->queue_room - 1);
    d->queue_count--;
    d->queue_own -= d->queue_own != 0;
    d->alone -= d->alone != 0;
    d->retried = false;
    d->blocked_ms = 0;
}

static void drop(weir_loop *loop, struct dgram *d, uint64_t *counter)
{
    ++*counter;
    loop->net->dgram_counters.dropped++;
    pop(loop, d);
}

void dgram_queue_drop(weir_loop *loop, struct dgram *d, uint64_t *counter)
{
    while (d->queue_count != 0)
        drop(loop, d, counter);
}

/* Takes the bytes over. Borrowed ones are, where the kernel did not take them at once. */
static bool copy(weir_loop *loop, struct dgram_out *out, bool forced)
{
    size_t room = 0;
    uint8_t *data = NULL;
    if (out->size != 0) {
        data = memory_take(&loop->memory, out->size, forced, &room);
        if (data == NULL)
            return false;
        memcpy(data, out->data, out->size);
    }
    out->data = data;
    out->room = (uint32_t)room;
    out->kind = DGRAM_COPY;
    return true;
}

static bool is_borrowed(const struct net *net, weir_view view)
{
    const uint8_t *data = view.data;
    return net->borrow_from != NULL && data >= net->borrow_from && data < net->borrow_to;
}

static int take_view(weir_loop *loop, struct dgram *d, struct dgram_out *out, weir_view view)
{
    unsigned owner = view.owner >> WEIR_OWNER_SHIFT;
    out->data = view.data;
    out->size = view.size;
    if (owner == WEIR_OWNER_LENT) {
        out->kind = DGRAM_LENT;
        out->room = view.owner & ((1u << WEIR_OWNER_SHIFT) - 1);
    } else if (owner == WEIR_OWNER_STATIC && view.size >= COPY_BELOW) {
        out->kind = DGRAM_STATIC;
    } else if (is_borrowed(loop->net, view)) {
        out->kind = DGRAM_BORROWED;
    } else if (!copy(loop, out, d->queued_bytes <= d->config->service.soft_mark_bytes)) {
        return WEIR_ENOMEM;
    }
    return 0;
}

/* Makes room for one more, or says that there is none. */
static int make_room(weir_loop *loop, struct dgram *d, uint32_t size)
{
    const weir_dgram_service *service = &d->config->service;
    while (d->queue_count >= service->queue_max_datagrams ||
           d->queued_bytes + size > service->hard_cap_bytes) {
        if (service->full == WEIR_DGRAM_REFUSE || d->queue_count == 0 ||
            size > service->hard_cap_bytes || (d->queue_count == 1 && d->send_alone)) {
            d->stats.refused_datagrams++;
            loop->net->dgram_counters.refused++;
            return WEIR_EFULL;
        }
        if (!d->send_alone) {
            drop(loop, d, &d->stats.dropped_oldest);
            continue;
        }
        /* The first is in the kernel's hands: the second goes, and the first takes its place. */
        struct dgram_out first = *dgram_at(d, 0);
        *dgram_at(d, 0) = *dgram_at(d, 1);
        *dgram_at(d, 1) = first;
        drop(loop, d, &d->stats.dropped_oldest);
    }
    return d->queue_count < d->queue_room || queue_grow(d) ? 0 : WEIR_ENOMEM;
}

static int check(const struct dgram *d, weir_view view, const struct dgram_out *how)
{
    uint32_t most = d->udp && how->segment_bytes == 0 ? UDP_MOST
                    : d->udp                          ? TRAIN_BYTES
                    : d->inet                         ? IP_MOST
                                                      : UINT32_MAX;
    if (d->phase != DGRAM_OPEN)
        return WEIR_EMISUSE;
    if (view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_NONE)
        return WEIR_ENOMEM;
    if (view.size > most)
        return WEIR_ETOOBIG;
    if (how->segment_bytes != 0 &&
        (!d->udp || how->segment_bytes > UINT16_MAX ||
         (view.size + how->segment_bytes - 1) / how->segment_bytes > TRAIN_MOST))
        return WEIR_EINVALID;
    if (how->name.size == 0 && !d->connected)
        return WEIR_EADDRESS;
    return 0;
}

int dgram_queue(weir_loop *loop, struct dgram *d, weir_view view, const struct dgram_out *how)
{
    int result = check(d, view, how);
    if (result == 0)
        result = make_room(loop, d, view.size);
    if (result == 0) {
        struct dgram_out *out = dgram_at(d, d->queue_count);
        *out = *how;
        result = take_view(loop, d, out, view);
        d->stats.dropped_memory += result < 0;
    }
    if (result < 0) {
        if (view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_LENT)
            loan_done(loop, view.owner & ((1u << WEIR_OWNER_SHIFT) - 1));
        return result;
    }
    d->queue_count++;
    d->queued_bytes += view.size;
    dgram_dirty(loop, d);
    if (d->queued_bytes <= d->config->service.soft_mark_bytes)
        return 0;
    d->drain_owed = true;
    return WEIR_SEND_WAIT;
}

/* --- putting a call together ------------------------------------------------------------------ */

static bool same_way(const struct dgram_out *a, const struct dgram_out *b)
{
    return a->name.size == b->name.size && a->ecn == b->ecn && a->hops == b->hops &&
           memcmp(&a->name.any, &b->name.any, a->name.size) == 0 &&
           a->source.family == b->source.family && a->source.interface == b->source.interface &&
           (a->source.family == 0 ||
            memcmp(a->source.address, b->source.address, sizeof a->source.address) == 0);
}

/* How many of the queue from `at` on go as one train; 1: it goes alone. */
static uint32_t train_length(const struct dgram *d, uint32_t at, uint32_t vectors)
{
    const struct dgram_out *first = dgram_at(d, at);
    uint32_t bytes = first->size, count = 1;
    uint32_t most = vectors < TRAIN_MOST ? vectors : TRAIN_MOST;
    if (!d->gso || at < d->alone || first->segment_bytes != 0 || first->size == 0)
        return 1;
    for (; count < most && at + count < d->queue_count; count++) {
        const struct dgram_out *next = dgram_at(d, at + count);
        if (next->segment_bytes != 0 || next->size == 0 || next->size > first->size ||
            bytes + next->size > TRAIN_BYTES || !same_way(first, next))
            break;
        bytes += next->size;
        if (next->size < first->size)
            return count + 1; /* a shorter one is the last */
    }
    return count;
}

static void put_control(struct msghdr *header, int level, int type, const void *data, size_t size)
{
    struct cmsghdr *c =
        (struct cmsghdr *)(void *)((uint8_t *)header->msg_control + header->msg_controllen);
    WEIR_ASSERT(header->msg_controllen + CMSG_SPACE(size) <= CONTROL);
    memset(c, 0, CMSG_SPACE(size));
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), data, size);
    header->msg_controllen += CMSG_SPACE(size);
}

static void put_source(struct msghdr *header, const struct dgram *d, const struct dgram_source *s)
{
    if (d->family == AF_INET) {
        struct in_pktinfo info = {.ipi_ifindex = (int)s->interface};
        if (s->family == AF_INET)
            memcpy(&info.ipi_spec_dst, s->address, 4);
        put_control(header, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_ifindex = s->interface};
        if (s->family == AF_INET6) {
            memcpy(&info.ipi6_addr, s->address, 16);
        } else if (s->family == AF_INET) {
            info.ipi6_addr.s6_addr[10] = info.ipi6_addr.s6_addr[11] = 0xff;
            memcpy(info.ipi6_addr.s6_addr + 12, s->address, 4);
        }
        put_control(header, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
}

/* Whether it leaves as IPv4, be it from a socket of IPv6. */
static bool leaves_as_ip4(const struct dgram *d, const struct dgram_out *out)
{
    const struct sockaddr_in6 *peer =
        out->name.size != 0 ? &out->name.in6 : (const struct sockaddr_in6 *)&d->peer.socket;
    return peer->sin6_family != AF_INET6 || IN6_IS_ADDR_V4MAPPED(&peer->sin6_addr);
}

static void put_controls(struct msghdr *header, const struct dgram *d, const struct dgram_out *out,
                         uint32_t segment_bytes)
{
    bool ip4 = d->inet && leaves_as_ip4(d, out);
    if (!d->inet)
        return;
    if (segment_bytes != 0) {
        uint16_t size = (uint16_t)segment_bytes;
        put_control(header, IPPROTO_UDP, UDP_SEGMENT_TYPE, &size, sizeof size);
    }
    if (out->source.family != 0 || out->source.interface != 0)
        put_source(header, d, &out->source);
    if (out->ecn != 0) {
        int tos = (out->ecn - 1) | d->config->service.socket.tos;
        put_control(header, ip4 ? IPPROTO_IP : IPPROTO_IPV6, ip4 ? IP_TOS : IPV6_TCLASS, &tos,
                    sizeof tos);
    }
    if (out->hops != 0) {
        int hops = out->hops;
        put_control(header, ip4 ? IPPROTO_IP : IPPROTO_IPV6, ip4 ? IP_TTL : IPV6_HOPLIMIT, &hops,
                    sizeof hops);
    }
}

/* What one call takes: how many messages; *borrowed: some of their bytes may not wait. */
static unsigned gather(struct dgram_scratch *scratch, const struct dgram *d, bool *borrowed)
{
    uint32_t at = 0, vectors = 0;
    unsigned count = 0;
    *borrowed = false;
    while (count < IO_MESSAGES_MOST && at < d->queue_count && vectors < VECTORS) {
        struct dgram_out *first = dgram_at(d, at);
        uint32_t joined = train_length(d, at, VECTORS - vectors);
        struct msghdr *header = &scratch->header[count].msg_hdr;
        *header = (struct msghdr){.msg_name = first->name.size != 0 ? &first->name.any : NULL,
                                  .msg_namelen = first->name.size,
                                  .msg_iov = &scratch->iov[vectors],
                                  .msg_iovlen = joined,
                                  .msg_control = scratch->control[count]};
        for (uint32_t i = 0; i < joined; i++) {
            const struct dgram_out *out = dgram_at(d, at + i);
            scratch->iov[vectors++] = (struct iovec){(void *)(uintptr_t)out->data, out->size};
            *borrowed |= out->kind == DGRAM_BORROWED;
        }
        put_controls(header, d, first, joined > 1 ? first->size : first->segment_bytes);
        *borrowed |= header->msg_controllen != 0; /* it is the scratch's */
        scratch->joined[count++] = joined;
        at += joined;
    }
    return count;
}

/* --- results ---------------------------------------------------------------------------------- */

static void sent(weir_loop *loop, struct dgram *d, uint32_t joined)
{
    struct dgram_counters *counters = &loop->net->dgram_counters;
    d->streak = 0;
    for (uint32_t i = 0; i < joined; i++) {
        const struct dgram_out *out = dgram_at(d, 0);
        uint64_t count =
            out->segment_bytes != 0 ? (out->size + out->segment_bytes - 1) / out->segment_bytes : 1;
        d->stats.sent_datagrams += count;
        d->stats.sent_bytes += out->size;
        counters->sent += count;
        counters->sent_bytes += out->size;
        pop(loop, d);
    }
}

static void name_address(const struct dgram *d, const struct dgram_out *out, weir_address *address)
{
    *address = d->peer;
    if (out->name.size != 0)
        weir_address_from_sockaddr(&out->name.any, out->name.size,
                                   (enum weir_transport)d->local.transport, address);
}

/* The kernel refused the first of what was gathered. A train may be refused where its datagrams
 * would not be: they go one by one then. Another's error may stand in the way: once, and for each
 * that belongs to another socket. What is refused for itself is dropped and told of. Handlers may
 * queue more meanwhile, and drop the oldest for it, but not the first. */
static void refused(weir_loop *loop, struct dgram *d, uint32_t joined, int error)
{
    struct dgram_out *out = dgram_at(d, 0);
    weir_address peer;
    bool others = error == -ECONNREFUSED || error == -EHOSTUNREACH || error == -ENETUNREACH ||
                  error == -ENOPROTOOPT || error == -EHOSTDOWN || error == -EPROTO;
    uint64_t before = d->stats.errors, dropped = d->stats.dropped_oldest;
    name_address(d, out, &peer);
    d->refused_to = &peer;
    bool foreign = dgram_errors_read(loop, d) > d->stats.errors - before;
    d->refused_to = NULL;
    if (others && d->inet && (!d->retried || foreign)) {
        d->retried = true;
        if (!d->errors) { /* otherwise it stood in the error queue, or comes again: it is our own */
            d->stats.errors++;
            loop->net->dgram_counters.errors++;
        }
        return;
    }
    out = dgram_at(d, 0); /* the queue may have moved */
    weir_datagram_error told = {.error = error,
                                .origin = WEIR_ORIGIN_LOCAL,
                                .peer = &peer,
                                .view = weir_bytes(out->data, out->size)};
    /* The error queue has told of it already. */
    if (d->stats.errors == before)
        dgram_error_tell(loop, d, &told);
    if (d->stats.dropped_oldest != dropped)
        joined = 1; /* the others of its train may be those that were dropped */
    for (uint32_t i = 0; i < joined && d->queue_count != 0; i++)
        drop(loop, d, &d->stats.dropped_error);
}

static void send_failed(weir_loop *loop, struct dgram *d, uint32_t joined, int error)
{
    /* A device without checksums, or larger than what the path to this peer takes whole. */
    if (joined > 1 &&
        (error == -EIO || error == -EOPNOTSUPP || error == -EINVAL || error == -EMSGSIZE)) {
        d->alone = joined;
        return;
    }
    d->send_alone = true; /* so that the first stays */
    refused(loop, d, joined, error);
    d->send_alone = false;
}

void dgram_event_sent(weir_loop *loop, struct dgram *d, int result)
{
    bool alone = d->send_alone;
    d->send_alone = false;
    if (!alone || result == -ECANCELED || result == -EAGAIN || result == -EINTR)
        return;
    d->stats.sends++;
    if (result >= 0)
        sent(loop, d, 1);
    else
        send_failed(loop, d, 1, result);
}

static bool same_name(const struct dgram_name *a, const struct dgram_name *b)
{
    return a->size == b->size && memcmp(&a->any, &b->any, a->size) == 0;
}

static void drop_others_to(weir_loop *loop, struct dgram *d, const struct dgram_name *name)
{
    for (uint32_t left = d->queue_count; left != 0; left--) {
        struct dgram_out first = *dgram_at(d, 0);
        if (same_name(&first.name, name)) {
            drop(loop, d, &d->stats.dropped_error);
            continue;
        }
        d->queue_head = (d->queue_head + 1) & (d->queue_room - 1);
        *dgram_at(d, d->queue_count - 1) = first; /* once around, in order */
    }
}

/* The kernel takes nothing now: what points into receive memory is copied, or dropped where there
 * is no memory for it. */
static void unborrow(weir_loop *loop, struct dgram *d)
{
    uint32_t kept = d->queue_own;
    for (uint32_t i = kept; i < d->queue_count; i++) {
        struct dgram_out out = *dgram_at(d, i);
        bool forced = d->queued_bytes <= d->config->service.soft_mark_bytes;
        if (out.kind == DGRAM_BORROWED && !copy(loop, &out, forced)) {
            d->stats.dropped_memory++;
            loop->net->dgram_counters.dropped++;
            d->queued_bytes -= out.size;
            continue;
        }
        *dgram_at(d, kept++) = out;
    }
    d->queue_count = d->queue_own = kept;
}

/* --- the flush -------------------------------------------------------------------------------- */

enum step { STEP_ON, STEP_STOP };

/* A unix peer whose own queue is full tells nobody when it has room, unless we are connected to it:
 * it is tried again. */
static enum step blocked(weir_loop *loop, struct dgram *d)
{
    int result = 0;
    if (!d->inet && !d->connected) {
        if (d->blocked_ms == 0)
            d->blocked_ms = loop->now_ms | 1;
        if ((int32_t)(loop->now_ms - d->blocked_ms) >= (int32_t)d->config->service.linger_ms) {
            struct dgram_name name = dgram_at(d, 0)->name;
            send_failed(loop, d, 1, -EAGAIN); /* a peer that does not read: */
            drop_others_to(loop, d, &name);   /* nobody else waits for it again */
            return STEP_ON;
        }
        d->send_waits = true;
        dgram_later(loop, d, RETRY_MS);
        return STEP_STOP;
    }
    /* What stands in the error queue would end a wait for room at once. */
    dgram_errors_read(loop, d);
    if (d->phase > DGRAM_FLUSHING)
        return STEP_STOP;
    int done = loop->io->ops->sendmsg(loop->io, &d->fd, NULL, 0, IO_SEND_BLOCKED,
                                      dgram_token(d, IO_OP_SEND), &result);
    d->sending = done == IO_PENDING;
    d->send_waits = !d->sending;
    if (d->send_waits)
        dgram_later(loop, d, RETRY_MS);
    return STEP_STOP;
}

static enum step send_some(weir_loop *loop, struct dgram *d)
{
    struct dgram_scratch *scratch = loop->net->dgram_scratch;
    bool borrowed;
    unsigned count = gather(scratch, d, &borrowed);
    /* A ring that waits for room sends again what it tried: but unix_dgram_sendmsg of the kernel
     * has taken the bytes by then, and an empty one would leave (seen with 6.18). */
    bool nowait = borrowed || count > 1 || !d->inet;
    int result = 0;
    int done =
        loop->io->ops->sendmsg(loop->io, &d->fd, scratch->header, count,
                               nowait ? IO_SEND_NOWAIT : 0, dgram_token(d, IO_OP_SEND), &result);
    if (done == IO_PENDING) {
        d->sending = true;
        d->send_alone = result == 1 && scratch->joined[0] == 1;
        return STEP_STOP;
    }
    if (done < 0)
        result = done == -ENOBUFS || done == -ENOMEM ? -EAGAIN : done;
    if (result == -EAGAIN)
        return blocked(loop, d);
    d->stats.sends++;
    loop->net->dgram_counters.sends++;
    if (result < 0) {
        send_failed(loop, d, scratch->joined[0], result);
        return STEP_ON;
    }
    for (int i = 0; i < result; i++)
        sent(loop, d, scratch->joined[i]);
    return STEP_ON;
}

static void marks(weir_loop *loop, struct dgram *d)
{
    const weir_dgram_service *service = &d->config->service;
    if (d->queued_bytes > service->soft_mark_bytes && service->read_on != WEIR_SWITCH_ON) {
        d->paused_mark = true;
        d->drain_owed = true;
    }
    if (d->queued_bytes > service->soft_mark_bytes / 2)
        return;
    d->paused_mark = false;
    if (!d->drain_owed || d->phase != DGRAM_OPEN)
        return;
    d->drain_owed = false;
    if (service->on_drain != NULL) {
        service->on_drain(dgram_handle(loop, d), d->user);
        loop_ready_run(loop);
    }
}

void dgram_flush(weir_loop *loop, struct dgram *d)
{
    uint64_t most = d->stats.sent_datagrams + FLUSH_MOST;
    unsigned calls = 0;
    enum step step = STEP_ON;
    while (step == STEP_ON && d->queue_count != 0 && !d->sending && !d->send_waits &&
           d->phase <= DGRAM_FLUSHING) {
        if (d->stats.sent_datagrams >= most || ++calls > FLUSH_CALLS) {
            dgram_dirty(loop, d);
            break;
        }
        step = send_some(loop, d);
    }
    if (d->queue_count != 0 && loop->net->borrow_from != NULL)
        unborrow(loop, d);
    if (d->queue_count == 0 && d->queue_room > QUEUE_FIRST * 64)
        dgram_queue_end(d); /* after a burst */
    marks(loop, d);
}
