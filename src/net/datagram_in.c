/* Received datagrams: what the kernel says of each, trains taken apart, the handlers. */
#include "net/datagram.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <weir/units.h>

enum {
    UDP_GRO_TYPE = 104, /* UDP_GRO of linux/udp.h, kernel 5.0 */
    BATCH = 64,
    FLUSH_AT = 256, /* queued answers that are sent before the rest of a batch is handled */
};

void dgram_recv_want(weir_loop *loop, struct dgram *d)
{
    if (d->armed || d->phase != DGRAM_OPEN || d->paused_user || d->paused_mark || !d->opened ||
        d->recv_waits)
        return;
    int result = loop->io->ops->recvmsg(loop->io, &d->fd, dgram_token(d, IO_OP_RECV));
    if (result == IO_PENDING) {
        d->armed = true;
        d->recv_canceled = false;
    } else if (result == -ENOBUFS || result == -ENOMEM) {
        d->recv_waits = true;
        dgram_later(loop, d, 1); /* the kernel's want passes */
    } else if (result < 0) {
        dgram_fail(loop, d, WEIR_WHY_ERROR, result);
    }
}

/* --- what the kernel says ----------------------------------------------------------------------*/

/* Numbers in control messages are of four bytes, or of one (IP_TOS). */
static int number_in(const struct cmsghdr *c)
{
    int number = 0;
    size_t size = c->cmsg_len - CMSG_LEN(0);
    if (size == 1)
        return *CMSG_DATA(c);
    memcpy(&number, CMSG_DATA(c), size < sizeof number ? size : sizeof number);
    return number;
}

static void set_local(weir_datagram *in, const void *address, size_t size, uint32_t interface)
{
    memcpy(in->local, address, size);
    in->local_family = size == 4 ? AF_INET : AF_INET6;
    in->interface = interface;
    in->flags |= WEIR_DATAGRAM_LOCAL;
}

static void read_ip4(weir_datagram *in, const struct cmsghdr *c)
{
    struct in_pktinfo info;
    if (c->cmsg_type == IP_PKTINFO && c->cmsg_len >= CMSG_LEN(sizeof info)) {
        memcpy(&info, CMSG_DATA(c), sizeof info);
        set_local(in, &info.ipi_addr, sizeof info.ipi_addr, (uint32_t)info.ipi_ifindex);
    } else if (c->cmsg_type == IP_TOS) {
        in->ecn = number_in(c) & 3;
        in->flags |= WEIR_DATAGRAM_ECN;
    } else if (c->cmsg_type == IP_TTL) {
        in->hops = (uint8_t)number_in(c);
        in->flags |= WEIR_DATAGRAM_HOPS;
    }
}

static void read_ip6(weir_datagram *in, const struct cmsghdr *c)
{
    struct in6_pktinfo info;
    if (c->cmsg_type == IPV6_PKTINFO && c->cmsg_len >= CMSG_LEN(sizeof info)) {
        memcpy(&info, CMSG_DATA(c), sizeof info);
        if (IN6_IS_ADDR_V4MAPPED(&info.ipi6_addr))
            set_local(in, info.ipi6_addr.s6_addr + 12, 4, info.ipi6_ifindex);
        else
            set_local(in, &info.ipi6_addr, sizeof info.ipi6_addr, info.ipi6_ifindex);
    } else if (c->cmsg_type == IPV6_TCLASS) {
        in->ecn = number_in(c) & 3;
        in->flags |= WEIR_DATAGRAM_ECN;
    } else if (c->cmsg_type == IPV6_HOPLIMIT) {
        in->hops = (uint8_t)number_in(c);
        in->flags |= WEIR_DATAGRAM_HOPS;
    }
}

static void read_control(weir_datagram *in, const struct io_message *message)
{
    struct msghdr header = {.msg_control = message->control,
                            .msg_controllen = message->control_size};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level == IPPROTO_IP) {
            read_ip4(in, c);
        } else if (c->cmsg_level == IPPROTO_IPV6) {
            read_ip6(in, c);
        } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO_TYPE) {
            in->segment_bytes = (uint16_t)number_in(c);
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec time;
            memcpy(&time, CMSG_DATA(c), sizeof time);
            in->received_ns = (uint64_t)time.tv_sec * WEIR_S + (uint64_t)time.tv_nsec;
            in->flags |= WEIR_DATAGRAM_TIME;
        }
    }
}

static void describe(const struct dgram *d, weir_datagram *in, const struct io_message *message)
{
    memset(in, 0, sizeof *in);
    if (message->name_size > sizeof(sa_family_t)) {
        in->peer = message->name;
        in->peer_size = message->name_size;
    }
    in->transport = d->local.transport;
    in->view = weir_bytes(message->data, message->size);
    in->full_bytes = message->full;
    if (message->control_size != 0)
        read_control(in, message);
}

/* --- handing over ------------------------------------------------------------------------------*/

struct batch {
    unsigned count;
    weir_datagram in[BATCH];
};

static void batch_tell(weir_loop *loop, struct dgram *d, struct batch *batch)
{
    const weir_dgram_service *service = &d->config->service;
    unsigned count = batch->count;
    batch->count = 0;
    if (count == 0 || loop_is_orphan(loop) || d->phase != DGRAM_OPEN)
        return;
    service->on_batch(dgram_handle(loop, d), batch->in, count, d->user);
    loop_ready_run(loop);
}

/* One datagram, cut to what the program takes. */
static void hand_over(weir_loop *loop, struct dgram *d, const weir_datagram *in,
                      struct batch *batch)
{
    const weir_dgram_service *service = &d->config->service;
    weir_datagram *one = &batch->in[batch->count];
    *one = *in;
    if (one->segment_bytes == 0 && one->view.size > service->datagram_max_bytes)
        one->view.size = service->datagram_max_bytes;
    if (one->full_bytes > one->view.size) {
        one->flags |= WEIR_DATAGRAM_TRUNCATED;
        d->stats.truncated_datagrams++;
        loop->net->dgram_counters.truncated++;
    }
    if (service->on_batch != NULL) {
        if (++batch->count == BATCH)
            batch_tell(loop, d, batch);
    } else if (service->on_datagram != NULL) {
        service->on_datagram(dgram_handle(loop, d), one, d->user);
        loop_ready_run(loop);
    }
    if (!loop_is_orphan(loop) && d->queue_count >= FLUSH_AT && !d->sending && !d->send_waits)
        dgram_flush(loop, d);
}

static void count_received(weir_loop *loop, struct dgram *d, const weir_datagram *in)
{
    uint64_t count = 1;
    if (in->segment_bytes != 0)
        count = (in->view.size + in->segment_bytes - 1u) / in->segment_bytes;
    d->stats.received_datagrams += count;
    d->stats.received_bytes += in->full_bytes;
    loop->net->dgram_counters.received += count;
    loop->net->dgram_counters.received_bytes += in->full_bytes;
}

/* A train is taken apart; its last datagram may be shorter. One that the kernel truncated ends with
 * the first that is not whole. */
static void take_apart(weir_loop *loop, struct dgram *d, const weir_datagram *train,
                       struct batch *batch)
{
    weir_datagram in = *train;
    uint32_t each = train->segment_bytes;
    in.segment_bytes = 0;
    for (uint32_t at = 0; at < train->view.size && !loop_is_orphan(loop) && d->phase == DGRAM_OPEN;
         at += each) {
        uint32_t left = train->full_bytes - at;
        in.view = weir_slice(train->view, at, each);
        in.full_bytes = left < each ? left : each;
        hand_over(loop, d, &in, batch);
    }
}

static void deliver(weir_loop *loop, struct dgram *d, const struct io_message *messages,
                    unsigned count)
{
    struct batch batch; /* 6 KiB; filled as far as needed */
    bool whole = d->config->service.gro_whole == WEIR_SWITCH_ON;
    batch.count = 0;
    for (unsigned i = 0; i < count && !loop_is_orphan(loop) && d->phase == DGRAM_OPEN; i++) {
        weir_datagram in;
        describe(d, &in, &messages[i]);
        if (d->icmp_raw && !dgram_icmp_strip(d, &in))
            continue;
        count_received(loop, d, &in);
        if (in.segment_bytes != 0 && in.view.size <= in.segment_bytes)
            in.segment_bytes = 0;
        if (in.segment_bytes != 0 && !whole)
            take_apart(loop, d, &in, &batch);
        else
            hand_over(loop, d, &in, &batch);
    }
    batch_tell(loop, d, &batch);
}

/* The memory of the messages lies in one piece: what points into it is valid until the next event.
 */
static void borrow(struct net *net, const struct io_message *messages, unsigned count)
{
    net->borrow_from = net->borrow_to = messages[0].data;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *data = messages[i].data;
        if (data < net->borrow_from)
            net->borrow_from = data;
        if (data + IO_MESSAGE_BYTES > net->borrow_to)
            net->borrow_to = data + IO_MESSAGE_BYTES;
    }
}

/* What the network, or who pretends to be it, says of single datagrams. Anybody can send ICMP: any
 * number of these says nothing of the socket. */
static bool of_the_network(int error)
{
    return error == -ECONNREFUSED || error == -EHOSTUNREACH || error == -ENETUNREACH ||
           error == -EMSGSIZE || error == -EPROTO || error == -ENOPROTOOPT || error == -EHOSTDOWN ||
           error == -ENETDOWN || error == -ENONET || error == -EACCES;
}

/* An error that the socket tells of instead of a datagram: of one that was sent, most often. Those
 * of the error queue say more; without it, and when there is nothing in it, this is told. */
static void received_error(weir_loop *loop, struct dgram *d, int error)
{
    if (error == -ECANCELED || error == -EINTR || error == -EAGAIN || error == -ENOBUFS)
        return;
    if (error == -ENOMEM) { /* the kernel's want passes */
        d->recv_waits = true;
        dgram_later(loop, d, 1);
        return;
    }
    if (dgram_errors_read(loop, d) != 0 || d->phase > DGRAM_FLUSHING)
        return;
    if (error == -EBADF || error == -ENOTSOCK || error == -ENOTCONN || error == -EOPNOTSUPP ||
        (!of_the_network(error) && ++d->streak > DGRAM_ERRORS_MOST)) {
        dgram_fail(loop, d, WEIR_WHY_ERROR, error);
        return;
    }
    weir_datagram_error told = {
        .error = error, .origin = WEIR_ORIGIN_SOCKET, .peer = d->connected ? &d->peer : NULL};
    dgram_error_tell(loop, d, &told);
}

/* Descriptors that a peer of this host has passed, whom nobody asked for any: the kernel has put
 * them into our table. */
static void close_passed(const struct io_message *messages, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct msghdr header = {.msg_control = messages[i].control,
                                .msg_controllen = messages[i].control_size};
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
            if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                continue;
            for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
                int fd;
                memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
                close(fd);
            }
        }
    }
}

/* How many of the messages are some. When the peer of a seqpacket connection has gone the kernel
 * gives empty ones for ever; a real one, empty or not, comes with its sender's credentials. */
static unsigned real_ones(const struct dgram *d, const struct io_event *event)
{
    unsigned count = (unsigned)event->result;
    for (unsigned i = 0; i < count && d->seqpacket; i++)
        if (event->messages[i].full == 0 && event->messages[i].control_size == 0)
            return i;
    return count;
}

void dgram_event_recv(weir_loop *loop, struct dgram *d, const struct io_event *event)
{
    if ((event->flags & IO_MORE) == 0)
        d->armed = d->recv_canceled = false;
    if ((event->flags & IO_MESSAGES) == 0) {
        received_error(loop, d, event->result);
        return;
    }
    if (event->result > 0 && !d->inet)
        close_passed(event->messages, (unsigned)event->result);
    if (event->result > 0 && d->phase == DGRAM_OPEN) {
        unsigned count = real_ones(d, event);
        d->streak = 0;
        d->stats.receives++;
        loop->net->dgram_counters.receives++;
        borrow(loop->net, event->messages, (unsigned)event->result);
        deliver(loop, d, event->messages, count);
        if (count < (unsigned)event->result && !loop_is_orphan(loop))
            dgram_fail(loop, d, WEIR_WHY_PEER_FINISHED, 0);
    }
    if ((event->flags & IO_ERRORS) != 0 && !loop_is_orphan(loop))
        dgram_errors_read(loop, d);
}
