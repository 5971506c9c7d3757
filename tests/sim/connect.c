/* How a connection comes about: SYN, SYN-ACK, ACK, the queue of the listener; and every way in
 * which it does not. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "sock.h"

#define S 1000000000ull

enum { SYN_TRIES = 6, SYNACK_TRIES = 5 };
enum { KEEP_IDLE_S = 7200, KEEP_INTERVAL_S = 75, KEEP_COUNT = 9 }; /* tcp(7) */

static void syn_arrives(struct sim_event *event);
static void synack_arrives(struct sim_event *event);
static void ack_arrives(struct sim_event *event);

static void failed(struct sim_sock *sock, int error)
{
    record("connect fails", sock->id, error, 0);
    sock_break(sock, error);
}

static void fails_refused(struct sim_event *event)
{
    failed(weir_container(event, struct sim_sock, handshake), ECONNREFUSED);
}

static void fails_unreachable(struct sim_event *event)
{
    failed(weir_container(event, struct sim_sock, handshake), EHOSTUNREACH);
}

static void fails_late(struct sim_event *event)
{
    failed(weir_container(event, struct sim_sock, handshake), ETIMEDOUT);
}

/* The SYN was lost, or dropped by a full queue: it is sent again after 1, 2, 4 s ... tcp(7),
 * tcp_syn_retries. */
static void syn_again(struct sim_sock *sock)
{
    if (sock->tries == SYN_TRIES) {
        failed(sock, ETIMEDOUT);
        return;
    }
    event_plan(&sock->handshake, world.now_ns + (S << sock->tries++), syn_arrives);
}

/* One of the listeners that the address fits; among several of a shared port the seed chooses. */
static struct sim_sock *listener_for(const sim_host *host, const struct sim_sock *client)
{
    struct sim_sock *found = NULL;
    unsigned count = 0;
    for (struct sim_sock *sock = sock_bound; sock != NULL; sock = sock->all_next) {
        const struct sockaddr *local = &sock->local.any;
        if (sock->host != host || sock->state != SOCK_LISTENS || sock->family == AF_UNIX ||
            port_of(&sock->local) != port_of(&client->remote))
            continue;
        if (memcmp(&sock->local, &client->remote, client->remote_size) != 0 &&
            !(local->sa_family == AF_INET ? sock->local.in.sin_addr.s_addr == 0
                                          : IN6_IS_ADDR_UNSPECIFIED(&sock->local.in6.sin6_addr)))
            continue;
        count++;
        if (count == 1 || chance(count) == 0)
            found = sock;
    }
    return found;
}

static bool queue_full(const struct sim_sock *listener)
{
    return listener->queued > listener->backlog;
}

static struct sim_sock *child_new(struct sim_sock *listener, struct sim_sock *client)
{
    sim_host *running = world.host_now;
    struct sim_sock *child;
    world.host_now = listener->host; /* whose socket it is */
    child = sock_new(listener->family, SOCK_STREAM);
    world.host_now = running;
    child->state = SOCK_OPEN;
    child->listener = listener;
    child->peer = client;
    child->local = listener->family == AF_UNIX ? listener->local : client->remote;
    child->local_size = listener->family == AF_UNIX ? listener->local_size : client->remote_size;
    child->remote = client->local;
    child->remote_size = client->local_size;
    child->keepalive = listener->keepalive;
    child->keep_idle_s = listener->keep_idle_s;
    child->keep_interval_s = listener->keep_interval_s;
    child->keep_count = listener->keep_count;
    child->user_timeout_ms = listener->user_timeout_ms;
    flows_new(client, child);
    keep_start(child);
    return child;
}

static void syn_arrives(struct sim_event *event)
{
    struct sim_sock *sock = weir_container(event, struct sim_sock, handshake), *listener;
    sim_host *host = host_by_address(sock->host, &sock->remote.any);
    if (host == NULL || !hosts_reach(sock->host, host)) {
        if (host == NULL && sock->tries == 2)
            failed(sock, EHOSTUNREACH);
        else
            syn_again(sock);
        return;
    }
    listener = listener_for(host, sock);
    if (listener == NULL) {
        event_plan(&sock->handshake, world.now_ns + packet_ns(host, sock->host), fails_refused);
        return;
    }
    if (listener->filter_refuses || queue_full(listener) ||
        listener->handshakes > listener->backlog) {
        record("SYN dropped", sock->id, listener->id, listener->queued);
        fault_count(SIM_FAULT_BACKLOG, OP_CONNECT);
        syn_again(sock);
        return;
    }
    listener->handshakes++;
    sock->peer = child_new(listener, sock);
    sock->tries = 0;
    event_plan(&sock->handshake, world.now_ns + packet_ns(host, sock->host), synack_arrives);
}

static void synack_arrives(struct sim_event *event)
{
    struct sim_sock *sock = weir_container(event, struct sim_sock, handshake);
    struct sim_sock *child = sock->peer;
    if (!hosts_reach(sock->host, child->host)) {
        if (sock->tries++ == SYN_TRIES)
            failed(sock, ETIMEDOUT);
        else
            event_plan(event, world.now_ns + (S << sock->tries), synack_arrives);
        return;
    }
    record("connected", sock->id, child->id, port_of(&sock->local));
    sock->state = SOCK_OPEN;
    sock->peer = NULL;
    keep_start(sock);
    event_plan(&child->handshake, world.now_ns + packet_ns(sock->host, child->host), ack_arrives);
    sock_changed(sock, POLLIN | POLLOUT);
}

static void queue_add(struct sim_sock *listener, struct sim_sock *child)
{
    if (listener->queue_last != NULL)
        listener->queue_last->queue_next = child;
    else
        listener->queue_first = child;
    listener->queue_last = child;
    listener->queued++;
    sock_changed(listener, POLLIN);
}

static void child_drop(struct sim_sock *child, bool reset)
{
    child->linger_reset = reset;
    if (reset)
        sock_close(child);
    else
        sock_forget(child);
}

static void ack_arrives(struct sim_event *event)
{
    struct sim_sock *child = weir_container(event, struct sim_sock, handshake);
    struct sim_sock *listener = child->listener;
    if (listener->closed) {
        child_drop(child, !listener->host->vanished); /* the machine answers, process or not */
        return;
    }
    if (queue_full(listener) || !hosts_reach(child->host, child->in->from)) {
        if (child->tries++ == SYNACK_TRIES) {
            listener->handshakes--;
            child_drop(child, false);
        } else {
            event_plan(event, world.now_ns + (S << child->tries), ack_arrives);
        }
        return;
    }
    listener->handshakes--;
    record("to be accepted", child->id, listener->id, listener->queued);
    queue_add(listener, child);
}

void handshake_abandon(struct sim_sock *sock)
{
    struct sim_sock *child = sock->peer;
    sock->peer = NULL;
    if (child == NULL || child->listener == NULL)
        return;
    child->listener->handshakes--;
    sock_forget(child);
}

static void keep_asks(struct sim_event *event)
{
    struct sim_sock *sock = weir_container(event, struct sim_sock, keep);
    uint64_t idle_ns = (sock->keep_idle_s != 0 ? sock->keep_idle_s : KEEP_IDLE_S) * S;
    uint64_t interval_ns =
        (sock->keep_interval_s != 0 ? sock->keep_interval_s : KEEP_INTERVAL_S) * S;
    uint32_t count = sock->keep_count != 0 ? sock->keep_count : KEEP_COUNT;
    if (sock->state != SOCK_OPEN || sock->dead || sock->closed)
        return;
    if (world.now_ns < sock->heard_ns + idle_ns && sock->keep_tries == 0) {
        event_plan(event, sock->heard_ns + idle_ns, keep_asks);
        return;
    }
    if (hosts_reach(sock->host, sock->in->from)) { /* it answers; or its machine knows nothing */
        if (sock->in->sender == NULL && !sock->in->fin_sent) {
            failed(sock, ECONNRESET);
            return;
        }
        sock->heard_ns = world.now_ns;
        sock->keep_tries = 0;
        event_plan(event, world.now_ns + idle_ns, keep_asks);
    } else if (sock->keep_tries++ == count) {
        failed(sock, ETIMEDOUT);
    } else {
        event_plan(event, world.now_ns + interval_ns, keep_asks);
    }
}

void keep_start(struct sim_sock *sock)
{
    if (!sock->keepalive || sock->family == AF_UNIX)
        return;
    sock->heard_ns = world.now_ns;
    event_plan(&sock->keep, world.now_ns + S, keep_asks);
}

/* What a fault makes of a connect: at once, or later. */
static int connect_fault(struct sim_sock *sock)
{
    uint64_t soon_ns = world.now_ns + packet_ns(sock->host, NULL);
    switch (chance(6)) {
    case 0:
        return -ENETUNREACH;
    case 1:
        return -EADDRNOTAVAIL;
    case 2:
        return -EHOSTUNREACH;
    case 3:
        event_plan(&sock->handshake, soon_ns, fails_refused);
        break;
    case 4:
        event_plan(&sock->handshake, soon_ns + chance(4 * S), fails_unreachable);
        break;
    default:
        event_plan(&sock->handshake, soon_ns + chance(130 * S), fails_late);
        break;
    }
    sock->state = SOCK_CONNECTS;
    return -EINPROGRESS;
}

void local_name(struct sim_sock *sock, const struct sockaddr *address, socklen_t size)
{
    const sim_host *host = sock->host;
    bool own = host_by_address(host, address) == host;
    if (sock->local_size != 0)
        return;
    memcpy(&sock->local, address, size); /* of ourselves, from the same address */
    sock->local_size = size;
    for (unsigned i = 0; i < host->address_count && !own; i++) {
        if (host->addresses[i].family != address->sa_family)
            continue;
        if (address->sa_family == AF_INET)
            memcpy(&sock->local.in.sin_addr, host->addresses[i].bytes, 4);
        else
            memcpy(&sock->local.in6.sin6_addr, host->addresses[i].bytes, 16);
        break;
    }
}

int tcp_connect(struct sim_sock *sock, const struct sockaddr *address, socklen_t size)
{
    const sim_host *host = host_by_address(sock->host, address);
    int result;
    if (fault(SIM_FAULT_CONNECT_ERROR, OP_CONNECT))
        return connect_fault(sock);
    if (!sock->bound || port_of(&sock->local) == 0) {
        local_name(sock, address, size);
        result = sock_take_port(sock);
        if (result < 0)
            return result;
    }
    sock->state = SOCK_CONNECTS;
    record("connect", sock->id, port_of(&sock->local), port_of(&sock->remote));
    event_plan(&sock->handshake, world.now_ns + packet_ns(sock->host, host), syn_arrives);
    return -EINPROGRESS;
}

int unix_connect(struct sim_sock *sock, const struct sockaddr *address, socklen_t size)
{
    struct sim_sock *listener = sock_bound;
    while (listener != NULL &&
           (listener->host != sock->host || !sock_same_name(listener, address, size)))
        listener = listener->all_next;
    if (listener == NULL) {
        const char *path = ((const struct sockaddr_un *)(const void *)address)->sun_path;
        return path[0] != 0 && access(path, F_OK) != 0 ? -ENOENT : -ECONNREFUSED;
    }
    if (listener->state != SOCK_LISTENS || listener->read_shut)
        return -ECONNREFUSED;
    if (queue_full(listener) || fault(SIM_FAULT_BACKLOG, OP_CONNECT))
        return -EAGAIN;
    sock->state = SOCK_OPEN;
    queue_add(listener, child_new(listener, sock));
    record("connected", sock->id, listener->id, 0);
    return 0;
}
