/* Datagrams of the simulated kernel: UDP between hosts, each on its own way, so that they overtake
 * one another, are lost, come twice, find nobody (ICMP) or a full buffer; trains of them in both
 * directions (GSO, GRO); what IPv4 tells of each (IP_PKTINFO, IP_RECVTOS); and the error queue. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/errqueue.h>

#include "sock.h"

enum { UDP_SEGMENT_TYPE = 103, UDP_GRO_TYPE = 104, BYTES_MOST = 65507, TRAIN_MOST = 64 };
enum { GRO_BYTES = 65000, TTL = 64, INTERFACE = 2 };

struct packet {
    struct sim_event event;
    struct packet *next;
    struct sim_sock *sender; /* lives until the run ends, though it may be closed */
    union sock_address from, to;
    socklen_t name_size;
    bool lost, copy; /* copy: takes no room of the sender's */
    uint8_t tos;
    uint32_t size;
    uint8_t bytes[];
};

struct sim_dgram {
    struct packet *first, **end;
    struct dgram_in *errors, **errors_end;
    uint32_t in_bytes, out_bytes, drops;
    bool pktinfo, tos, ttl, recverr, gro;
};

static uint64_t drops;

uint64_t sim_net_drops(void)
{
    return drops;
}

void udp_init(struct sim_sock *sock)
{
    sock->state = SOCK_DATAGRAM;
    sock->dgram = world_alloc(sizeof(*sock->dgram));
    sock->dgram->end = &sock->dgram->first;
    sock->dgram->errors_end = &sock->dgram->errors;
}

void udp_option(struct sim_sock *sock, int level, int option, int value)
{
    struct sim_dgram *d = sock->dgram;
    if (level == IPPROTO_UDP && option == UDP_GRO_TYPE)
        d->gro = value != 0;
    if (level != IPPROTO_IP)
        return;
    if (option == IP_PKTINFO)
        d->pktinfo = value != 0;
    else if (option == IP_RECVTOS)
        d->tos = value != 0;
    else if (option == IP_RECVTTL)
        d->ttl = value != 0;
    else if (option == IP_RECVERR)
        d->recverr = value != 0;
}

uint32_t udp_drops(const struct sim_sock *sock)
{
    return sock->dgram->drops;
}

bool udp_waits(const struct sim_sock *sock)
{
    return sock->dgram->first != NULL || sock->error != 0;
}

static bool has_room(const struct sim_sock *sock)
{
    return sock->dgram->out_bytes * 2 <= sock->send_room;
}

unsigned udp_ready(const struct sim_sock *sock)
{
    return (sock->dgram->first != NULL ? POLLIN : 0u) | (has_room(sock) ? POLLOUT : 0u) |
           (sock->error != 0 || sock->dgram->errors != NULL ? POLLERR : 0u);
}

int udp_connect(struct sim_sock *sock, const struct sockaddr *address, socklen_t size)
{
    int result = 0;
    if (!sock->bound) {
        local_name(sock, address, size);
        result = sock_take_port(sock);
    }
    if (result < 0)
        return result;
    record("connected", sock->id, port_of(&sock->local), port_of(&sock->remote));
    if (sock->bound)
        return 0;
    sock->bound = true;
    sock->all_next = sock_bound;
    sock_bound = sock;
    return 0;
}

static void packets_free(struct packet *packet)
{
    while (packet != NULL) {
        struct packet *next = packet->next;
        free(packet);
        packet = next;
    }
}

void udp_close(struct sim_sock *sock)
{
    struct sim_dgram *d = sock->dgram;
    packets_free(d->first);
    d->first = NULL;
    d->end = &d->first;
    while (d->errors != NULL) {
        struct dgram_in *next = d->errors->next;
        free(d->errors);
        d->errors = next;
    }
    d->errors_end = &d->errors;
}

/* --- what is said of one ---------------------------------------------------------------------- */

static void put_control(struct dgram_in *in, int level, int type, const void *data, size_t size)
{
    struct cmsghdr *c = (struct cmsghdr *)(void *)(in->control + in->control_size);
    sim_check(in->control_size + CMSG_SPACE(size) <= DGRAM_CONTROL,
              "too much to say of a datagram");
    memset(c, 0, CMSG_SPACE(size));
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), data, size);
    in->control_size += (uint32_t)CMSG_SPACE(size);
}

static void describe(const struct sim_dgram *d, const struct packet *packet, struct dgram_in *in)
{
    const int ttl = TTL;
    in->name = packet->from;
    in->name_size = packet->name_size;
    if (packet->to.any.sa_family != AF_INET)
        return;
    if (d->pktinfo) {
        const struct in_pktinfo info = {.ipi_ifindex = INTERFACE,
                                        .ipi_spec_dst = packet->to.in.sin_addr,
                                        .ipi_addr = packet->to.in.sin_addr};
        put_control(in, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    }
    if (d->tos)
        put_control(in, IPPROTO_IP, IP_TOS, &packet->tos, 1);
    if (d->ttl)
        put_control(in, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
}

/* --- ICMP ------------------------------------------------------------------------------------- */

static void error_queue(struct sim_sock *sock, const struct packet *packet)
{
    struct sim_dgram *d = sock->dgram;
    uint32_t size = packet->size < 512 ? packet->size : 512;
    struct dgram_in *in = calloc(1, sizeof(*in) + size);
    struct {
        struct sock_extended_err e;
        struct sockaddr_in offender;
    } told = {
        .e = {.ee_errno = ECONNREFUSED, .ee_origin = SO_EE_ORIGIN_ICMP, .ee_type = 3, .ee_code = 3},
        .offender = packet->to.in};
    if (in == NULL)
        abort();
    in->name = packet->to;
    in->name_size = packet->name_size;
    in->size = size;
    memcpy(in->bytes, packet->bytes, size);
    told.offender.sin_port = 0;
    put_control(in, IPPROTO_IP, IP_RECVERR, &told, sizeof(told));
    *d->errors_end = in;
    d->errors_end = &in->next;
}

/* Nobody listens there. Who is connected hears of it, and who asked for the error queue. */
static void unreachable_arrives(struct sim_event *event)
{
    struct packet *packet = weir_container(event, struct packet, event);
    struct sim_sock *sock = packet->sender;
    bool told = sock->dgram->recverr && packet->to.any.sa_family == AF_INET;
    if (!sock->closed && (told || sock->remote_size != 0)) {
        record("nobody there", sock->id, packet->size, port_of(&packet->to));
        if (told)
            error_queue(sock, packet);
        sock->error = ECONNREFUSED;
        sock_changed(sock, POLLIN | POLLOUT);
    }
    free(packet);
}

/* --- on the wire ------------------------------------------------------------------------------ */

static bool fits(const struct sim_sock *sock, const struct packet *packet)
{
    if (port_of(&sock->local) != port_of(&packet->to) || sock->family != packet->to.any.sa_family)
        return false;
    if (sock->remote_size != 0 && memcmp(&sock->remote, &packet->from, packet->name_size) != 0)
        return false;
    if (sock->family == AF_INET)
        return sock->local.in.sin_addr.s_addr == 0 ||
               sock->local.in.sin_addr.s_addr == packet->to.in.sin_addr.s_addr;
    return IN6_IS_ADDR_UNSPECIFIED(&sock->local.in6.sin6_addr) ||
           memcmp(&sock->local.in6.sin6_addr, &packet->to.in6.sin6_addr, 16) == 0;
}

/* A connected one first; among several of a shared port the sender's port chooses. */
static struct sim_sock *receiver_of(const sim_host *host, const struct packet *packet)
{
    struct sim_sock *found[16];
    unsigned count = 0;
    for (struct sim_sock *sock = sock_bound; sock != NULL; sock = sock->all_next) {
        if (sock->state != SOCK_DATAGRAM || sock->host != host || !fits(sock, packet))
            continue;
        if (sock->remote_size != 0)
            return sock;
        if (count < 16)
            found[count++] = sock;
    }
    return count != 0 ? found[port_of(&packet->from) % count] : NULL;
}

static void left(struct packet *packet)
{
    struct sim_sock *sock = packet->sender;
    if (packet->copy || sock->closed)
        return;
    sock->dgram->out_bytes -= packet->size;
    if (!sock->no_space || !has_room(sock))
        return;
    sock->no_space = false;
    sock_changed(sock, POLLOUT);
}

static void arrives(struct sim_event *event)
{
    struct packet *packet = weir_container(event, struct packet, event);
    sim_host *from = packet->sender->host;
    const sim_host *to = host_by_address(from, &packet->to.any);
    struct sim_sock *sock;
    left(packet);
    if (packet->lost || to == NULL || !hosts_reach(from, to)) {
        free(packet);
        return;
    }
    sock = receiver_of(to, packet);
    if (sock == NULL) {
        event_plan(event, world.now_ns + wire_ns(to, from), unreachable_arrives);
        return;
    }
    struct sim_dgram *d = sock->dgram;
    if (d->first != NULL && d->in_bytes + packet->size > sock->receive_room) {
        record("no room for it", sock->id, packet->size, ++d->drops);
        drops++;
        free(packet);
        return;
    }
    record("datagram arrives", sock->id, packet->size, port_of(&packet->from));
    *d->end = packet;
    d->end = &packet->next;
    d->in_bytes += packet->size;
    sock_changed(sock, POLLIN);
}

/* --- sending ---------------------------------------------------------------------------------- */

struct sending {
    struct sim_sock *sock;
    union sock_address from, to;
    socklen_t name_size;
    uint32_t segment;
    uint8_t tos;
};

static void read_controls(struct sending *sending, const struct msghdr *message)
{
    struct msghdr header = *message;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
        struct in_pktinfo info;
        uint16_t segment;
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT_TYPE) {
            memcpy(&segment, CMSG_DATA(c), sizeof(segment));
            sending->segment = segment;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            if (info.ipi_spec_dst.s_addr != 0)
                sending->from.in.sin_addr = info.ipi_spec_dst;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
            sending->tos = *CMSG_DATA(c);
        }
    }
}

/* The name it goes out under: that of the socket, or of the host when it is bound to any. */
static void name_near(struct sending *sending)
{
    struct sim_sock named = *sending->sock;
    bool any = named.family == AF_INET ? named.local.in.sin_addr.s_addr == 0
                                       : IN6_IS_ADDR_UNSPECIFIED(&named.local.in6.sin6_addr) != 0;
    sending->from = named.local;
    if (!any)
        return;
    named.local_size = 0;
    local_name(&named, &sending->to.any, sending->name_size);
    if (named.family == AF_INET)
        named.local.in.sin_port = sending->from.in.sin_port;
    else
        named.local.in6.sin6_port = sending->from.in6.sin6_port;
    sending->from = named.local;
}

static void launch(const struct sending *sending, const uint8_t *bytes, uint32_t size, bool copy)
{
    struct sim_sock *sock = sending->sock;
    struct packet *packet = calloc(1, sizeof(*packet) + size);
    if (packet == NULL)
        abort();
    packet->sender = sock;
    packet->from = sending->from;
    packet->to = sending->to;
    packet->name_size = sending->name_size;
    packet->tos = sending->tos;
    packet->copy = copy;
    packet->size = size;
    packet->lost = !copy && fault(SIM_FAULT_LOSS, OP_PACKET);
    memcpy(packet->bytes, bytes, size);
    if (!copy)
        sock->dgram->out_bytes += size;
    event_plan(&packet->event,
               world.now_ns + wire_ns(sock->host, host_by_address(sock->host, &packet->to.any)),
               arrives);
    if (!copy && fault(SIM_FAULT_DUPLICATE, OP_PACKET))
        launch(sending, bytes, size, true);
}

static int sending_begin(struct sending *sending, struct sim_sock *sock,
                         const struct msghdr *message, uint32_t *size)
{
    size_t total = 0;
    *sending = (struct sending){.sock = sock, .to = sock->remote, .name_size = sock->remote_size};
    if (message->msg_name != NULL && message->msg_namelen != 0) {
        memcpy(&sending->to, message->msg_name, message->msg_namelen);
        sending->name_size = message->msg_namelen;
    }
    if (sending->name_size == 0)
        return -EDESTADDRREQ;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        total += message->msg_iov[i].iov_len;
    name_near(sending);
    read_controls(sending, message);
    if (total > BYTES_MOST || (sending->segment == 0 && total > BYTES_MOST) ||
        (sending->segment != 0 && total > (uint64_t)sending->segment * TRAIN_MOST))
        return -EMSGSIZE;
    *size = (uint32_t)total;
    return 0;
}

int udp_send(struct sim_sock *sock, const struct msghdr *message)
{
    static const int errors[] = {EHOSTUNREACH, ENETUNREACH, EPERM, ENOBUFS, EMSGSIZE};
    static uint8_t bytes[BYTES_MOST];
    struct sending sending;
    uint32_t size = 0, at = 0;
    int result = -sock_take_error(sock);
    if (result == 0)
        result = sending_begin(&sending, sock, message, &size);
    if (result < 0)
        return result;
    if (fault(SIM_FAULT_SEND_ERROR, OP_SEND))
        return -errors[chance(sizeof(errors) / sizeof(*errors))];
    if (sock->dgram->out_bytes != 0 && sock->dgram->out_bytes + size > sock->send_room) {
        sock->no_space = true;
        return -EAGAIN;
    }
    for (size_t i = 0; i < message->msg_iovlen; at += message->msg_iov[i++].iov_len)
        if (message->msg_iov[i].iov_len != 0)
            memcpy(bytes + at, message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
    record("datagram sent", sock->id, size, sending.segment);
    at = 0;
    do {
        uint32_t one = size - at;
        if (sending.segment != 0 && one > sending.segment)
            one = sending.segment;
        launch(&sending, bytes + at, one, false);
        at += one;
    } while (at < size);
    return (int)size;
}

int udp_send_all(struct sim_sock *sock, struct mmsghdr *messages, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int result = udp_send(sock, &messages[i].msg_hdr);
        if (result < 0)
            return i != 0 ? (int)i : result;
        messages[i].msg_len = (unsigned)result;
    }
    return (int)count;
}

/* --- receiving -------------------------------------------------------------------------------- */

static struct packet *pop(struct sim_dgram *d)
{
    struct packet *packet = d->first;
    d->first = packet->next;
    if (d->first == NULL)
        d->end = &d->first;
    d->in_bytes -= packet->size;
    return packet;
}

/* Whether it can be a part of the train that began with `first` (udp_gro_receive() of Linux): of
 * the same size, or a shorter one, which is its last. */
static bool joins(const struct packet *first, const struct packet *next, uint32_t bytes)
{
    return next != NULL && first->size != 0 && next->size != 0 && next->size <= first->size &&
           next->tos == first->tos && bytes + next->size <= GRO_BYTES &&
           memcmp(&next->from, &first->from, first->name_size) == 0 &&
           memcmp(&next->to, &first->to, first->name_size) == 0;
}

int udp_take(struct sim_sock *sock, struct dgram_in **out)
{
    static const int errors[] = {ECONNREFUSED, EHOSTUNREACH, ENOMEM};
    struct sim_dgram *d = sock->dgram;
    struct packet *first, *last;
    struct dgram_in *in;
    uint32_t size, count = 1;
    if (fault(SIM_FAULT_RECV_ERROR, OP_RECV))
        return -errors[chance(sizeof(errors) / sizeof(*errors))];
    if (sock->error != 0)
        return -sock_take_error(sock);
    if (d->first == NULL)
        return -EAGAIN;
    first = last = pop(d);
    size = first->size;
    while (d->gro && last->size == first->size && joins(first, d->first, size) &&
           count < TRAIN_MOST && chance(4) != 0) {
        last->next = pop(d);
        last = last->next;
        size += last->size;
        count++;
    }
    last->next = NULL;
    in = calloc(1, sizeof(*in) + size);
    if (in == NULL)
        abort();
    describe(d, first, in);
    if (count > 1) {
        int segment = (int)first->size;
        put_control(in, IPPROTO_UDP, UDP_GRO_TYPE, &segment, sizeof(segment));
    }
    for (const struct packet *packet = first; packet != NULL; packet = packet->next) {
        memcpy(in->bytes + in->size, packet->bytes, packet->size);
        in->size += packet->size;
    }
    packets_free(first);
    record("datagram taken", sock->id, in->size, count);
    *out = in;
    return 0;
}

int udp_take_error(struct sim_sock *sock, struct dgram_in **in)
{
    struct sim_dgram *d = sock->dgram;
    if (d->errors == NULL)
        return -EAGAIN;
    *in = d->errors;
    d->errors = (*in)->next;
    if (d->errors == NULL) {
        d->errors_end = &d->errors;
        sock->error = 0; /* sock_dequeue_err_skb() of Linux */
    }
    return 0;
}
