#include "net/address.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include <weir/error.h>

_Static_assert(sizeof(weir_address) == 160, "part of the binary interface");
_Static_assert(sizeof(struct weir_address_error) == 16, "part of the binary interface");

static const struct weir__scheme schemes[] = {
    {"tcp", WEIR_SCHEME_TCP, WEIR_TRANSPORT_TCP, 0, false, false},
    {"udp", WEIR_SCHEME_UDP, WEIR_TRANSPORT_UDP, 0, false, false},
    {"unix", WEIR_SCHEME_UNIX, WEIR_TRANSPORT_UNIX, 0, false, false},
    {"unix-dgram", WEIR_SCHEME_UNIX_DGRAM, WEIR_TRANSPORT_UNIX_DGRAM, 0, false, false},
    {"unix-seqpacket", WEIR_SCHEME_UNIX_SEQPACKET, WEIR_TRANSPORT_UNIX_SEQPACKET, 0, false, false},
    {"http", WEIR_SCHEME_HTTP, WEIR_TRANSPORT_TCP, 80, true, false},
    {"https", WEIR_SCHEME_HTTPS, WEIR_TRANSPORT_TCP, 443, true, false},
    {"tls", WEIR_SCHEME_TLS, WEIR_TRANSPORT_TCP, 0, false, false},
    {"icmp", WEIR_SCHEME_ICMP, WEIR_TRANSPORT_ICMP, 0, false, true},
    {"raw", WEIR_SCHEME_RAW, WEIR_TRANSPORT_RAW, 0, false, false},
};

const struct weir__scheme *weir__scheme_at(unsigned index)
{
    return index < sizeof schemes / sizeof schemes[0] ? &schemes[index] : NULL;
}

const struct weir__scheme *weir__scheme_find(enum weir_scheme scheme)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (schemes[i].scheme == scheme)
            return &schemes[i];
    return NULL;
}

const char *weir_scheme_name(enum weir_scheme scheme)
{
    const struct weir__scheme *found = weir__scheme_find(scheme);

    return found != NULL ? found->name : "none";
}

void weir__address_set_ip4(weir_address *out, struct in_addr host)
{
    struct sockaddr_in *socket = (struct sockaddr_in *)&out->socket;

    memset(&out->socket, 0, sizeof out->socket);
    socket->sin_family = AF_INET;
    socket->sin_addr = host;
    out->socket_size = sizeof *socket;
}

void weir__address_set_ip6(weir_address *out, const struct in6_addr *host, uint32_t scope)
{
    struct sockaddr_in6 *socket = (struct sockaddr_in6 *)&out->socket;

    if (IN6_IS_ADDR_V4MAPPED(host)) {
        struct in_addr host4;

        memcpy(&host4, host->s6_addr + 12, sizeof host4);
        weir__address_set_ip4(out, host4);
        return;
    }
    memset(&out->socket, 0, sizeof out->socket);
    socket->sin6_family = AF_INET6;
    socket->sin6_addr = *host;
    socket->sin6_scope_id = scope;
    out->socket_size = sizeof *socket;
}

bool weir__address_takes_scope(const struct in6_addr *host)
{
    return IN6_IS_ADDR_LINKLOCAL(host) || IN6_IS_ADDR_MC_LINKLOCAL(host) ||
           IN6_IS_ADDR_MC_NODELOCAL(host);
}

/* Takes a unix socket's name as the kernel gives it: it may lack the NUL at the end of a path. */
static int from_unix(const struct sockaddr *socket, size_t socket_size, weir_address *out)
{
    const size_t head = offsetof(struct sockaddr_un, sun_path);
    struct sockaddr_un *own = (struct sockaddr_un *)&out->socket;
    size_t size;

    /* For a path of 108 bytes the kernel reports one more, for the NUL that it keeps. */
    if (socket_size < head || socket_size > sizeof *own + 1)
        return WEIR_EADDRESS;
    size = socket_size - head;
    if (size > sizeof own->sun_path)
        size = sizeof own->sun_path;
    own->sun_family = AF_UNIX;
    memcpy(own->sun_path, (const char *)socket + head, size);
    if (size > 0 && own->sun_path[0] != '\0') {
        size_t length = strnlen(own->sun_path, size);

        memset(own->sun_path + length, 0, sizeof own->sun_path - length);
        size = length < sizeof own->sun_path ? length + 1 : length;
    }
    out->socket_size = (uint32_t)(head + size);
    return 0;
}

static int from_inet(const struct sockaddr *socket, size_t socket_size, weir_address *out)
{
    if (socket->sa_family == AF_INET && socket_size >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in in4;

        memcpy(&in4, socket, sizeof in4);
        weir__address_set_ip4(out, in4.sin_addr);
        weir_address_set_port(out, ntohs(in4.sin_port));
        return 0;
    }
    if (socket->sa_family == AF_INET6 && socket_size >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;

        memcpy(&in6, socket, sizeof in6);
        weir__address_set_ip6(out, &in6.sin6_addr,
                              weir__address_takes_scope(&in6.sin6_addr) ? in6.sin6_scope_id : 0);
        weir_address_set_port(out, ntohs(in6.sin6_port));
        return 0;
    }
    return WEIR_EADDRESS;
}

int weir_address_from_sockaddr(const struct sockaddr *socket, size_t socket_size,
                               enum weir_transport transport, weir_address *out)
{
    weir_address made = {0};
    int result = WEIR_EADDRESS;

    if (socket_size < sizeof(sa_family_t)) {
        result = WEIR_EADDRESS;
    } else if (socket->sa_family == AF_UNIX && weir__transport_is_unix(transport)) {
        result = from_unix(socket, socket_size, &made);
        made.transport = (uint8_t)transport;
        made.scheme = transport == WEIR_TRANSPORT_UNIX         ? WEIR_SCHEME_UNIX
                      : transport == WEIR_TRANSPORT_UNIX_DGRAM ? WEIR_SCHEME_UNIX_DGRAM
                                                               : WEIR_SCHEME_UNIX_SEQPACKET;
    } else if (transport == WEIR_TRANSPORT_TCP || transport == WEIR_TRANSPORT_UDP ||
               transport == WEIR_TRANSPORT_ICMP || transport == WEIR_TRANSPORT_RAW) {
        made.transport = (uint8_t)transport;
        made.scheme = transport == WEIR_TRANSPORT_TCP    ? WEIR_SCHEME_TCP
                      : transport == WEIR_TRANSPORT_UDP  ? WEIR_SCHEME_UDP
                      : transport == WEIR_TRANSPORT_ICMP ? WEIR_SCHEME_ICMP
                                                         : WEIR_SCHEME_RAW;
        result = from_inet(socket, socket_size, &made);
    }
    if (result < 0)
        memset(&made, 0, sizeof made);
    *out = made;
    return result;
}

unsigned weir_address_expand(const weir_address *address, weir_address *out, unsigned capacity)
{
    weir_address copy = *address; /* out[0] may be the same */
    int port = weir_address_port(address);

    if (capacity == 0)
        return 0;
    out[0] = copy;
    if (!(copy.flags & WEIR_ADDRESS_LOCALHOST))
        return 1;
    out[0].flags &= (uint16_t)~WEIR_ADDRESS_LOCALHOST;
    if (capacity == 1)
        return 1;
    out[1] = out[0];
    weir__address_set_ip6(&out[1], &in6addr_loopback, 0);
    weir_address_set_port(&out[1], (unsigned)port);
    return 2;
}

int weir_address_port(const weir_address *address)
{
    if (address->socket.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&address->socket)->sin_port);
    if (address->socket.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address->socket)->sin6_port);
    return -1;
}

int weir_address_set_port(weir_address *address, unsigned port)
{
    if (port > 65535)
        return WEIR_EINVALID;
    if (address->socket.ss_family == AF_INET)
        ((struct sockaddr_in *)&address->socket)->sin_port = htons((uint16_t)port);
    else if (address->socket.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address->socket)->sin6_port = htons((uint16_t)port);
    else
        return WEIR_EINVALID;
    return 0;
}

int weir_address_equal(const weir_address *left, const weir_address *right)
{
    return left->transport == right->transport && left->socket_size == right->socket_size &&
           left->socket_size <= sizeof left->socket &&
           memcmp(&left->socket, &right->socket, left->socket_size) == 0;
}
