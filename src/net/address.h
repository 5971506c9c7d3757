/* What the files about addresses share among themselves. */
#ifndef WEIR_NET_ADDRESS_H
#define WEIR_NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>

#include <weir/address.h>

/* The longest text that is read as an address, bytes: a bound, far beyond any URL in use. */
#define ADDRESS_TEXT_LIMIT 8191

struct weir__scheme {
    const char *name;
    uint8_t scheme, transport;
    uint16_t default_port; /* 0: the port must be written */
    bool has_target;       /* a path and a query may follow the port */
    bool has_optional;     /* 0 is as good as no port */
};

/* The schemes by index, NULL behind the last; and by number, NULL for none. */
const struct weir__scheme *weir__scheme_at(unsigned index);
const struct weir__scheme *weir__scheme_find(enum weir_scheme scheme);

/* Whether what is accepted on it, or connected to, speaks TLS first. */
static inline bool weir__scheme_is_secure(unsigned scheme)
{
    return scheme == WEIR_SCHEME_TLS || scheme == WEIR_SCHEME_HTTPS;
}

static inline bool weir__transport_is_unix(unsigned transport)
{
    return transport == WEIR_TRANSPORT_UNIX || transport == WEIR_TRANSPORT_UNIX_DGRAM ||
           transport == WEIR_TRANSPORT_UNIX_SEQPACKET;
}

/* Set the host and leave the port 0. An IPv6 address that maps an IPv4 one becomes that one. */
void weir__address_set_ip4(weir_address *out, struct in_addr host);
void weir__address_set_ip6(weir_address *out, const struct in6_addr *host, uint32_t scope);

/* Whether an address names something different on each link (RFC 4007). Elsewhere the kernel
 * ignores a scope, so that two texts would name one address: it is refused there. */
bool weir__address_takes_scope(const struct in6_addr *host);

#endif
