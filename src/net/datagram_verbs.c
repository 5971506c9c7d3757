/* The verbs of a datagram socket: they queue and mark; what follows happens in the flush (K3). */
#include <errno.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/address.h"
#include "net/datagram.h"

/* --- opening ---------------------------------------------------------------------------------- */

static int parse(const char *url, weir_address *out)
{
    struct weir_address_error error;
    int result = weir_address_parse(url, out, &error);
    if (result < 0) {
        char text[512];
        if (weir_address_explain(url, &error, text, sizeof text) < 0)
            strcpy(text, "the address could not be read");
        weir__log(WEIR_LOG_ERROR, result, 0, "no address for datagrams: %s:\n%s", url, text);
        return result;
    }
    weir_address_expand(out, out, 1);
    bool ip = out->transport == WEIR_TRANSPORT_ICMP || out->transport == WEIR_TRANSPORT_RAW;
    if (ip && (out->flags & WEIR_ADDRESS_ANY) != 0) {
        weir__log(WEIR_LOG_ERROR, WEIR_EADDRESS, 0,
                  "%s: these are of one family: write 0.0.0.0 or [::] for any address", url);
        return WEIR_EADDRESS;
    }
    if (address_is_datagram(out) || out->transport == WEIR_TRANSPORT_UNIX_SEQPACKET)
        return 0;
    weir__log(WEIR_LOG_ERROR, WEIR_ENOTSUP, 0,
              "%s is not for datagrams: udp, unix-dgram, unix-seqpacket, icmp and raw are", url);
    return WEIR_ENOTSUP;
}

struct opening {
    weir_loop *loop;
    struct net *net;
    struct dgram_config *config;
    weir_address address;
};

static int begin(struct opening *opening, const char *url, const weir_dgram_service *service)
{
    int result;
    opening->loop = loop_current();
    if (opening->loop == NULL)
        return loop_none();
    if (url == NULL || service == NULL)
        return WEIR_EINVALID;
    result = parse(url, &opening->address);
    if (result == 0)
        result = net_of(opening->loop, &opening->net);
    if (result == 0)
        opening->config = dgram_config_new(service, &result);
    return result;
}

/* The descriptor becomes a socket of the loop's, or is closed. */
static int finish(struct opening *opening, int fd, const struct weir__socket_file *file,
                  const weir_address *peer, weir_dgram *out)
{
    int result = fd;
    struct dgram *d = NULL;
    if (fd >= 0)
        d = dgram_new(opening->net, opening->config, fd, &opening->address, &result);
    dgram_config_unref(opening->config);
    if (fd >= 0 && d == NULL) {
        weir__socket_unlink(&opening->address, file);
        close(fd);
    }
    if (d == NULL)
        return result;
    d->file = *file;
    d->owns_file = peer == NULL && !d->inet;
    d->connected = peer != NULL;
    if (peer != NULL)
        d->peer = *peer;
    if (out != NULL)
        *out = dgram_handle(opening->loop, d);
    dgram_open(opening->loop, d, false);
    return 0;
}

int weir_dgram_open(weir_dgram *out, const char *url, const weir_dgram_service *service)
{
    struct opening opening;
    struct weir__socket_file file = {0};
    int result = begin(&opening, url, service);
    if (result < 0)
        return result;
    if (opening.address.transport == WEIR_TRANSPORT_UNIX_SEQPACKET) {
        dgram_config_unref(opening.config);
        weir__log(WEIR_LOG_ERROR, WEIR_ENOTSUP, 0,
                  "%s is connected to, not bound: weir_dgram_connect", url);
        return WEIR_ENOTSUP;
    }
    int fd = dgram_socket_bind(&opening.address, &opening.config->service, false, &file);
    return finish(&opening, fd, &file, NULL, out);
}

/* The kernel may call it a raw socket; it is what was asked for. */
static int connected_icmp(int fd, const weir_address *peer, const weir_address *source,
                          weir_address *local)
{
    if (peer->transport != WEIR_TRANSPORT_ICMP)
        return fd;
    if (local->transport != WEIR_TRANSPORT_ICMP)
        weir_address_set_port(local, source != NULL ? (unsigned)weir_address_port(source) : 0);
    local->transport = WEIR_TRANSPORT_ICMP;
    local->scheme = WEIR_SCHEME_ICMP;
    int result = dgram_icmp_prepare(fd, local);
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

int weir_dgram_connect(weir_dgram *out, const char *url, const weir_address *source,
                       const weir_dgram_service *service)
{
    struct opening opening;
    struct weir__socket_file file = {0};
    weir_address peer;
    int result = begin(&opening, url, service);
    if (result < 0)
        return result;
    peer = opening.address;
    int fd = dgram_socket_connect(&peer, source, &opening.config->service);
    if (fd >= 0) {
        weir__socket_local(fd, &opening.address);
        fd = connected_icmp(fd, &peer, source, &opening.address);
    }
    return finish(&opening, fd, &file, &peer, out);
}

/* --- sending ---------------------------------------------------------------------------------- */

static void map_to_ip6(struct dgram_name *name)
{
    struct sockaddr_in in4 = name->in4;
    name->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = in4.sin_port};
    name->in6.sin6_addr.s6_addr[10] = name->in6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(name->in6.sin6_addr.s6_addr + 12, &in4.sin_addr, 4);
    name->size = sizeof name->in6;
}

/* The name as this socket takes it: one of IPv6 reaches IPv4 by mapped addresses. */
static int set_name(const struct dgram *d, const void *socket, uint32_t size,
                    struct dgram_name *name)
{
    if (size < sizeof(sa_family_t) || size > sizeof name->un || d->seqpacket)
        return WEIR_EADDRESS;
    memcpy(&name->any, socket, size);
    name->size = size;
    if (d->inet && !d->udp)
        name->in4.sin_port = 0; /* to the kernel it would be a protocol */
    else if (d->family == AF_INET6 && name->any.sa_family == AF_INET)
        map_to_ip6(name);
    if (d->udp && name->in4.sin_port == 0) /* where that of IPv6 lies too */
        return WEIR_EADDRESS;              /* from there one may come, but none can go there */
    return name->any.sa_family == d->family ? 0 : WEIR_EADDRESS;
}

static int send_named(weir_dgram handle, weir_view view, const void *socket, uint32_t size,
                      struct dgram_out *how)
{
    weir_loop *loop;
    struct dgram *d;
    int result = dgram_get(handle, &loop, &d);
    if (result == 0 && socket != NULL)
        result = set_name(d, socket, size, &how->name);
    if (result == 0)
        return dgram_queue(loop, d, view, how);
    loop = loop_current();
    if (view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_LENT && loop != NULL && loop->net != NULL)
        loan_done(loop, view.owner & ((1u << WEIR_OWNER_SHIFT) - 1));
    return result;
}

int weir_dgram_send(weir_dgram socket, weir_view view)
{
    struct dgram_out how;
    how.segment_bytes = how.name.size = 0;
    how.ecn = how.hops = 0;
    how.source = (struct dgram_source){0};
    return send_named(socket, view, NULL, 0, &how);
}

int weir_dgram_send_to(weir_dgram socket, const weir_address *peer, weir_view view)
{
    weir_dgram_message message = {.view = view, .peer = peer};
    return weir_dgram_send_with(socket, &message);
}

int weir_dgram_reply(weir_dgram socket, const weir_datagram *in, weir_view view)
{
    weir_loop *loop;
    struct dgram *d;
    struct dgram_out how;
    how.segment_bytes = how.name.size = 0;
    how.ecn = how.hops = 0;
    how.source = (struct dgram_source){0};
    if (dgram_get(socket, &loop, &d) == 0 && d->connected)
        return send_named(socket, view, NULL, 0, &how);
    if (in->flags & WEIR_DATAGRAM_LOCAL) {
        memcpy(how.source.address, in->local, sizeof in->local);
        how.source.family = in->local_family;
    }
    /* A group's or a broadcast address is nobody's to send from. */
    if (how.source.family == AF_INET && (in->local[0] >= 224 || in->local[3] == 255))
        how.source = (struct dgram_source){0};
    if (how.source.family == AF_INET6 && in->local[0] == 0xff)
        how.source = (struct dgram_source){.interface = in->interface};
    /* Link-local addresses need to say on which link. */
    if (how.source.family == AF_INET6 && in->local[0] == 0xfe && (in->local[1] & 0xc0) == 0x80)
        how.source.interface = in->interface;
    return send_named(socket, view, in->peer, in->peer_size, &how);
}

static int set_source(const weir_dgram_message *m, struct dgram_source *source)
{
    source->interface = m->interface;
    if (m->local == NULL)
        return 0;
    source->family = m->local->socket.ss_family;
    if (source->family == AF_INET)
        memcpy(source->address, &((const struct sockaddr_in *)&m->local->socket)->sin_addr, 4);
    else if (source->family == AF_INET6)
        memcpy(source->address, &((const struct sockaddr_in6 *)&m->local->socket)->sin6_addr, 16);
    else
        return WEIR_EADDRESS;
    return 0;
}

int weir__dgram_send_with(weir_dgram socket, const weir_dgram_message *message, size_t size)
{
    weir_dgram_message m = {0};
    struct dgram_out how = {0};
    if (message == NULL)
        return WEIR_EINVALID;
    memcpy(&m, message, size < sizeof m ? size : sizeof m);
    int result = set_source(&m, &how.source);
    if (m.ecn > WEIR_SOME(3))
        result = WEIR_EINVALID;
    if (result < 0) {
        weir_loop *loop = loop_current();
        if (m.view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_LENT && loop != NULL &&
            loop->net != NULL)
            loan_done(loop, m.view.owner & ((1u << WEIR_OWNER_SHIFT) - 1));
        return result;
    }
    how.segment_bytes = m.segment_bytes < m.view.size ? m.segment_bytes : 0;
    how.ecn = m.ecn;
    how.hops = m.hops;
    return send_named(socket, m.view, m.peer != NULL ? &m.peer->socket : NULL,
                      m.peer != NULL ? m.peer->socket_size : 0, &how);
}

/* --- the rest --------------------------------------------------------------------------------- */

int weir_dgram_pause(weir_dgram socket)
{
    weir_loop *loop;
    struct dgram *d;
    int result = dgram_get(socket, &loop, &d);
    if (result < 0)
        return result;
    d->paused_user = true;
    dgram_dirty(loop, d);
    return 0;
}

int weir_dgram_resume(weir_dgram socket)
{
    weir_loop *loop;
    struct dgram *d;
    int result = dgram_get(socket, &loop, &d);
    if (result < 0)
        return result;
    d->paused_user = false;
    dgram_dirty(loop, d);
    return 0;
}

int weir_dgram_close(weir_dgram socket)
{
    weir_loop *loop;
    struct dgram *d;
    int result = dgram_get(socket, &loop, &d);
    if (result == 0)
        dgram_close(loop, d);
    return result;
}

int weir_dgram_abort(weir_dgram socket)
{
    weir_loop *loop;
    struct dgram *d;
    int result = dgram_get(socket, &loop, &d);
    if (result == 0)
        dgram_fail(loop, d, WEIR_WHY_CLOSED, 0);
    return result;
}

static int group(weir_dgram socket, const char *text, bool join)
{
    weir_loop *loop;
    struct dgram *d;
    int result = dgram_get(socket, &loop, &d);
    if (result < 0)
        return result;
    if (text == NULL)
        return WEIR_EINVALID;
    if (!d->inet)
        return WEIR_EADDRESS;
    loop->io->stats.syscalls++;
    return dgram_group(d->fd.fd, d->family, text, join);
}

int weir_dgram_join(weir_dgram socket, const char *text)
{
    return group(socket, text, true);
}

int weir_dgram_leave(weir_dgram socket, const char *text)
{
    return group(socket, text, false);
}

bool weir_dgram_alive(weir_dgram socket)
{
    weir_loop *loop;
    struct dgram *d;
    return dgram_get(socket, &loop, &d) == 0 && d->phase <= DGRAM_FLUSHING;
}

void *weir_dgram_user(weir_dgram socket)
{
    weir_loop *loop;
    struct dgram *d;
    return dgram_get(socket, &loop, &d) == 0 ? d->user : NULL;
}

int weir_dgram_set_user(weir_dgram socket, void *user)
{
    weir_loop *loop;
    struct dgram *d;
    int result = dgram_get(socket, &loop, &d);
    if (result == 0)
        d->user = user;
    return result;
}

int weir_dgram_local(weir_dgram socket, weir_address *out)
{
    weir_loop *loop;
    struct dgram *d;
    int result = dgram_get(socket, &loop, &d);
    if (result < 0)
        return result;
    if (out == NULL)
        return WEIR_EINVALID;
    *out = d->local;
    return 0;
}

int weir_dgram_peer(weir_dgram socket, weir_address *out)
{
    weir_loop *loop;
    struct dgram *d;
    int result = dgram_get(socket, &loop, &d);
    if (result < 0)
        return result;
    if (out == NULL)
        return WEIR_EINVALID;
    if (!d->connected)
        return -ENOTCONN;
    *out = d->peer;
    return 0;
}

int weir__dgram_stats_get(weir_dgram socket, weir_dgram_stats *out, size_t size)
{
    weir_loop *loop;
    struct dgram *d;
    int result = dgram_get(socket, &loop, &d);
    if (result < 0)
        return result;
    if (out == NULL)
        return WEIR_EINVALID;
    weir_dgram_stats stats = d->stats;
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t memory_size = sizeof memory;
    if (getsockopt(d->fd.fd, SOL_SOCKET, SO_MEMINFO, memory, &memory_size) == 0)
        stats.dropped_kernel = memory[SK_MEMINFO_DROPS];
    loop->io->stats.syscalls++;
    stats.queued_datagrams = d->queue_count;
    stats.queued_bytes = d->queued_bytes;
    memset(out, 0, size);
    memcpy(out, &stats, size < sizeof stats ? size : sizeof stats);
    return 0;
}

int weir_datagram_peer(const weir_datagram *in, weir_address *out)
{
    enum weir_transport transport = (enum weir_transport)in->transport;
    if (in->peer == NULL)
        return WEIR_EADDRESS;
    if (in->peer->sa_family == AF_UNIX)
        transport = WEIR_TRANSPORT_UNIX_DGRAM;
    else if (transport == WEIR_TRANSPORT_NONE)
        transport = WEIR_TRANSPORT_UDP;
    return weir_address_from_sockaddr(in->peer, in->peer_size, transport, out);
}

int weir_datagram_local(const weir_datagram *in, weir_address *out)
{
    struct in_addr in4;
    struct in6_addr in6;
    if ((in->flags & WEIR_DATAGRAM_LOCAL) == 0)
        return WEIR_EADDRESS;
    memset(out, 0, sizeof *out);
    memcpy(&in4, in->local, sizeof in4);
    memcpy(&in6, in->local, sizeof in6);
    if (in->local_family == AF_INET)
        weir__address_set_ip4(out, in4);
    else
        weir__address_set_ip6(out, &in6, weir__address_takes_scope(&in6) ? in->interface : 0);
    out->transport = WEIR_TRANSPORT_UDP;
    out->scheme = WEIR_SCHEME_UDP;
    return 0;
}
