/* Sockets: names, queues, what a call on one says. Linux's answers, to the errno. */
#include "sock.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>

struct sim_sock *sock_bound;
static struct sim_sock *newest;
static uint32_t ids;

enum { SEND_ROOM = 87040, RECEIVE_ROOM = 131072, UNIX_ROOM = 212992, SMALL_MOST = 4096 };
enum { PORT_FIRST = 32768, PORT_LAST = 60999 };
#define TIME_WAIT_NS 60000000000ull

struct sim_sock *sock_new(int family, int type)
{
    struct sim_sock *sock = world_alloc(sizeof(*sock));
    sock->id = ++ids;
    sock->family = family;
    sock->type = type;
    sock->host = world.host_now;
    sock->open_next = newest;
    newest = sock;
    sock->send_room = family == AF_UNIX ? UNIX_ROOM : SEND_ROOM;
    sock->receive_room = RECEIVE_ROOM;
    if (fault(SIM_FAULT_SMALL_WINDOW, OP_SOCKET)) {
        sock->send_room = (uint32_t)chance_size(SMALL_MOST);
        sock->receive_room = (uint32_t)chance_size(SMALL_MOST);
    }
    if (type == SOCK_DGRAM && family != AF_UNIX)
        udp_init(sock);
    return sock;
}

/* --- names ------------------------------------------------------------------------------------ */

unsigned port_of(const union sock_address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohs(address->in.sin_port);
    return address->any.sa_family == AF_INET6 ? ntohs(address->in6.sin6_port) : 0;
}

static void port_set(union sock_address *address, unsigned port)
{
    if (address->any.sa_family == AF_INET)
        address->in.sin_port = htons((uint16_t)port);
    else
        address->in6.sin6_port = htons((uint16_t)port);
}

static bool is_wild(const union sock_address *address)
{
    static const uint8_t none[16];
    if (address->any.sa_family == AF_INET)
        return address->in.sin_addr.s_addr == 0;
    return memcmp(&address->in6.sin6_addr, none, sizeof(none)) == 0;
}

static bool same_host_part(const union sock_address *a, const union sock_address *b)
{
    if (is_wild(a) || is_wild(b))
        return true;
    if (a->any.sa_family != b->any.sa_family)
        return false;
    return a->any.sa_family == AF_INET
               ? a->in.sin_addr.s_addr == b->in.sin_addr.s_addr
               : memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(struct in6_addr)) == 0;
}

bool sock_same_name(const struct sim_sock *sock, const struct sockaddr *address, socklen_t size)
{
    return sock->family == AF_UNIX && sock->local_size == size &&
           memcmp(&sock->local, address, size) == 0;
}

static bool taken(const struct sim_sock *sock, const union sock_address *address, socklen_t size)
{
    for (const struct sim_sock *other = sock_bound; other != NULL; other = other->all_next) {
        if (other->host != sock->host || other == sock || other->type != sock->type)
            continue;
        if (address->any.sa_family == AF_UNIX) {
            if (sock_same_name(other, &address->any, size))
                return true;
            continue;
        }
        if (other->family == AF_UNIX || port_of(&other->local) != port_of(address) ||
            !same_host_part(&other->local, address))
            continue;
        if (other->reuseport && sock->reuseport)
            continue;
        if (other->reuseaddr && sock->reuseaddr && other->state != SOCK_LISTENS)
            continue;
        return true;
    }
    return false;
}

static void port_free(struct sim_event *event)
{
    struct sim_sock *sock = weir_container(event, struct sim_sock, handshake);
    sock->host->ports_used--;
}

int sock_take_port(struct sim_sock *sock)
{
    sim_host *host = sock->host;
    if (host->ports_used >= host->ports_limit) {
        fault_count(SIM_FAULT_PORTS, OP_CONNECT);
        return -EADDRNOTAVAIL;
    }
    host->ports_used++;
    sock->port_counted = true;
    if (host->port_next < PORT_FIRST || host->port_next > PORT_LAST)
        host->port_next = PORT_FIRST + (uint32_t)chance(PORT_LAST - PORT_FIRST);
    port_set(&sock->local, host->port_next++);
    return 0;
}

int sock_bind(struct sim_sock *sock, const struct sockaddr *address, socklen_t size)
{
    union sock_address name = {0};
    if (sock->bound || size < sizeof(sa_family_t) || size > sizeof(name))
        return -EINVAL;
    memcpy(&name, address, size);
    if (address->sa_family != sock->family)
        return -EAFNOSUPPORT;
    if (sock->family != AF_UNIX && !host_has(sock->host, address, true))
        return -EADDRNOTAVAIL;
    if (sock->family != AF_UNIX && port_of(&name) == 0) {
        unsigned port = 20000;
        do
            port_set(&name, ++port);
        while (taken(sock, &name, size));
    }
    if (taken(sock, &name, size))
        return -EADDRINUSE;
    memcpy(&sock->local, &name, size);
    sock->local_size = size;
    sock->bound = true;
    sock->all_next = sock_bound;
    sock_bound = sock;
    return 0;
}

static void unbind(struct sim_sock *sock)
{
    for (struct sim_sock **at = &sock_bound; *at != NULL; at = &(*at)->all_next)
        if (*at == sock) {
            *at = sock->all_next;
            break;
        }
    sock->bound = false;
}

int sock_listen(struct sim_sock *sock, int backlog)
{
    enum { SOMAXCONN_NOW = 4096 };
    if (!sock->bound)
        return -EDESTADDRREQ;
    if (sock->state != SOCK_LISTENS && sock->family != AF_UNIX && !sock->reuseport)
        for (struct sim_sock *other = sock_bound; other != NULL; other = other->all_next)
            if (other != sock && other->host == sock->host && other->state == SOCK_LISTENS &&
                other->family != AF_UNIX && port_of(&other->local) == port_of(&sock->local) &&
                same_host_part(&other->local, &sock->local))
                return -EADDRINUSE;
    sock->state = SOCK_LISTENS;
    sock->backlog = backlog < 0 || backlog > SOMAXCONN_NOW ? SOMAXCONN_NOW : (uint32_t)backlog;
    if (fault(SIM_FAULT_BACKLOG, OP_LISTEN))
        sock->backlog = (uint32_t)chance(4);
    record("listen", sock->id, port_of(&sock->local), sock->backlog);
    return 0;
}

int sock_connect(struct sim_sock *sock, const struct sockaddr *address, socklen_t size)
{
    if (sock->state == SOCK_CONNECTS)
        return -EALREADY;
    if (sock->state != SOCK_NEW && sock->state != SOCK_DATAGRAM)
        return -EISCONN;
    if (size < sizeof(sa_family_t) || size > sizeof(sock->remote))
        return -EINVAL;
    memcpy(&sock->remote, address, size);
    sock->remote_size = size;
    if (sock->state == SOCK_DATAGRAM)
        return udp_connect(sock, address, size);
    return sock->family == AF_UNIX ? unix_connect(sock, address, size)
                                   : tcp_connect(sock, address, size);
}

struct sim_sock *sock_accept(struct sim_sock *listener)
{
    struct sim_sock *sock = listener->queue_first;
    if (sock == NULL)
        return NULL;
    listener->queue_first = sock->queue_next;
    if (listener->queue_first == NULL)
        listener->queue_last = NULL;
    listener->queued--;
    sock->queue_next = NULL;
    sock->listener = NULL;
    return sock;
}

/* --- bytes ------------------------------------------------------------------------------------ */

int sock_take_error(struct sim_sock *sock)
{
    int error = sock->error;
    sock->error = 0;
    return error;
}

uint64_t sock_waiting(const struct sim_sock *sock)
{
    return sock->in != NULL ? sock->in->arrived - sock->in->read : 0;
}

int64_t sock_recv(struct sim_sock *sock, void *data, size_t size)
{
    uint64_t waiting = sock_waiting(sock);
    if (waiting != 0) {
        if (size > waiting)
            size = waiting;
        flow_read(sock->in, data, size);
        if (sock->family == AF_UNIX && sock->in->sender != NULL)
            sock_room_changed(sock->in->sender);
        return (int64_t)size;
    }
    if (sock->error != 0)
        return -sock_take_error(sock);
    if (sock->state != SOCK_OPEN)
        return sock->dead ? 0 : -ENOTCONN;
    if (sock->dead || sock->read_shut || sock->in->fin_arrived)
        return 0;
    return -EAGAIN;
}

uint64_t sock_unacknowledged(const struct sim_sock *sock)
{
    const struct sim_flow *out = sock->out;
    if (out == NULL)
        return 0;
    /* Linux goes on to say so of one that was reset: tcp_ioctl() has no look at that. */
    return out->sent - (sock->family == AF_UNIX ? out->read : out->arrived);
}

uint64_t sock_room(const struct sim_sock *sock)
{
    const struct sim_flow *out = sock->out;
    uint64_t used = sock_unacknowledged(sock);
    if (out == NULL || sock->dead)
        return 0;
    return used < out->send_room ? out->send_room - used : 0;
}

const struct sim_sock *sim_net_find(const struct sockaddr *local, const struct sockaddr *remote)
{
    socklen_t size =
        local->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    for (const struct sim_sock *sock = newest; sock != NULL; sock = sock->open_next)
        if (!sock->closed && sock->out != NULL && sock->host == world.host_now &&
            memcmp(&sock->local, local, size) == 0 && memcmp(&sock->remote, remote, size) == 0)
            return sock;
    return NULL;
}

uint64_t sim_net_taken(const struct sim_sock *sock)
{
    return sock->out->arrived;
}

int64_t sock_send(struct sim_sock *sock, const void *data, size_t size)
{
    uint64_t room;
    if (sock->error != 0)
        return -sock_take_error(sock);
    if (sock->state != SOCK_OPEN || sock->dead || sock->write_shut)
        return -EPIPE;
    if (sock->family == AF_UNIX && (sock->out->receiver == NULL || sock->out->receiver->read_shut))
        return -EPIPE;
    room = sock_room(sock);
    if (size > room)
        sock->no_space = true;
    if (room == 0 && size != 0)
        return -EAGAIN;
    if (size > room)
        size = room;
    flow_write(sock->out, data, size);
    return (int64_t)size;
}

static bool has_room(const struct sim_sock *sock)
{
    return sock_room(sock) * 3 >= sock->out->send_room;
}

static void room_tell(struct sim_sock *sock)
{
    if (!sock->no_space || sock->state != SOCK_OPEN || !has_room(sock))
        return;
    sock->no_space = false;
    sock_changed(sock, POLLOUT);
}

void sock_room_wanted(struct sim_sock *sock)
{
    if (sock->state == SOCK_DATAGRAM)
        sock->no_space |= (udp_ready(sock) & POLLOUT) == 0;
    else if (sock->state == SOCK_OPEN && !sock->dead && !has_room(sock))
        sock->no_space = true;
}

static void room_late(struct sim_event *event)
{
    room_tell(weir_container(event, struct sim_sock, room));
}

void sock_room_later(struct sim_sock *sock)
{
    enum { LATE_NS = 300000 };
    sock->no_space = true;
    event_plan(&sock->room, world.now_ns + chance(LATE_NS), room_late);
}

void sock_room_changed(struct sim_sock *sock)
{
    if (!sock->no_space || sock->room.place != 0)
        return;
    if (fault(SIM_FAULT_LATE, OP_SEND))
        sock_room_later(sock);
    else
        room_tell(sock);
}

unsigned sock_ready(const struct sim_sock *sock)
{
    unsigned ready = 0;
    bool ended, shut;
    if (sock->state == SOCK_LISTENS)
        return sock->queue_first != NULL ? POLLIN : 0;
    if (sock->state == SOCK_EVENT)
        return POLLOUT | (sock->event_count != 0 ? POLLIN : 0);
    if (sock->state == SOCK_CONNECTS)
        return 0;
    if (sock->state == SOCK_DATAGRAM)
        return udp_ready(sock);
    if (sock->state == SOCK_NEW)
        return POLLOUT | POLLHUP | (sock->error != 0 ? POLLERR | POLLIN : 0);
    ended = sock->dead || sock->in->fin_arrived || sock->read_shut;
    shut = sock->dead || sock->write_shut;
    if (sock_waiting(sock) != 0 || ended || sock->error != 0)
        ready |= POLLIN;
    if (shut || sock->error != 0 || has_room(sock) ||
        (sock->family == AF_UNIX && sock->out->receiver == NULL))
        ready |= POLLOUT;
    if (ended)
        ready |= POLLRDHUP;
    if (ended && shut)
        ready |= POLLHUP;
    if (sock->error != 0)
        ready |= POLLERR;
    return ready;
}

/* --- ends ------------------------------------------------------------------------------------- */

void sock_break(struct sim_sock *sock, int error)
{
    if (sock->closed || sock->dead)
        return;
    record("broken", sock->id, error, 0);
    sock->error = error;
    sock->dead = true;
    event_cancel(&sock->handshake);
    if (sock->out != NULL) {
        sock->out->broken = true;
        event_cancel(&sock->out->deliver);
    }
    handshake_abandon(sock);
    if (sock->state == SOCK_CONNECTS)
        sock->state = SOCK_NEW;
    sock_changed(sock, POLLIN | POLLOUT);
}

int sock_shutdown(struct sim_sock *sock, int how)
{
    if (sock->state == SOCK_LISTENS) {
        if (how != SHUT_WR)
            sock->read_shut = true;
        return 0;
    }
    if (sock->state != SOCK_OPEN || sock->dead)
        return -ENOTCONN;
    if (how != SHUT_WR)
        sock->read_shut = true;
    if (how != SHUT_RD && !sock->write_shut) {
        sock->write_shut = true;
        flow_end(sock->out);
    }
    record("shutdown", sock->id, how, (int64_t)sock->out->sent);
    sock_changed(sock, POLLIN | POLLOUT);
    return 0;
}

static void close_open(struct sim_sock *sock)
{
    struct sim_flow *in = sock->in, *out = sock->out;
    bool unread = in->arrived != in->read;
    in->receiver = NULL;
    if (sock->dead) {
        out->sender = NULL;
        return;
    }
    if (sock->linger_reset || unread) {
        out->sender = NULL;
        if (sock->family == AF_UNIX && !unread)
            out->fin_arrived = true;
        if (sock->family == AF_UNIX && !unread && out->receiver != NULL)
            sock_changed(out->receiver, POLLIN | POLLOUT);
        else
            flow_reset(out);
        return;
    }
    flow_end(out);
    out->sender = NULL;
    if (in->sent != in->arrived && in->sender != NULL)
        flow_plan(in); /* what still comes is answered by a reset */
    if (sock->family == AF_UNIX && in->sender != NULL)
        sock_changed(in->sender, POLLIN | POLLOUT); /* it can write no more */
}

static void close_listener(struct sim_sock *sock)
{
    struct sim_sock *waiting;
    while ((waiting = sock_accept(sock)) != NULL) {
        waiting->linger_reset = true;
        sock_close(waiting);
    }
}

void sock_close(struct sim_sock *sock)
{
    bool first = false;
    if (sock->closed)
        return;
    record("close", sock->id, sock->linger_reset, sock->error);
    sock->closed = true;
    event_cancel(&sock->handshake);
    event_cancel(&sock->room);
    event_cancel(&sock->keep);
    entries_forget(sock);
    if (sock->bound)
        unbind(sock);
    if (sock->state == SOCK_EVENT)
        return;
    if (sock->state == SOCK_LISTENS) {
        close_listener(sock);
    } else if (sock->state == SOCK_DATAGRAM) {
        udp_close(sock);
    } else if (sock->state == SOCK_OPEN) {
        first = !sock->dead && !sock->linger_reset && !sock->in->fin_arrived;
        close_open(sock);
    } else {
        handshake_abandon(sock);
    }
    if (!sock->port_counted)
        return;
    if (first && sock->host->running)
        event_plan(&sock->handshake, world.now_ns + TIME_WAIT_NS, port_free);
    else
        sock->host->ports_used--;
}

void sock_forget(struct sim_sock *sock)
{
    if (sock->closed)
        return;
    sock->closed = true;
    entries_forget(sock);
    event_cancel(&sock->handshake);
    event_cancel(&sock->room);
    event_cancel(&sock->keep);
    if (sock->port_counted)
        sock->host->ports_used--;
    if (sock->bound)
        unbind(sock);
    for (struct sim_sock *child = sock->queue_first; child != NULL; child = child->queue_next)
        sock_forget(child);
    handshake_abandon(sock);
    if (sock->state == SOCK_DATAGRAM)
        udp_close(sock);
    if (sock->state != SOCK_OPEN)
        return;
    sock->in->receiver = NULL;
    sock->out->sender = NULL;
    sock->out->broken = true;
    event_cancel(&sock->out->deliver);
    event_cancel(&sock->out->reset);
}
