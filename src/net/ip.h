/* IP addresses in text, read so that a mistake can be pointed at (inet_pton only says no). */
#ifndef WEIR_NET_IP_H
#define WEIR_NET_IP_H

#include <netinet/in.h>
#include <stdbool.h>

/* Where a text is wrong, and why; `message` is static. */
struct ip_fault {
    const char *at;
    const char *message;
};

/* Reads [text, end) whole as four decimal numbers without leading zeros. On false *fault is set. */
bool weir__ip4_parse(const char *text, const char *end, struct in_addr *out,
                     struct ip_fault *fault);

/* Reads [text, end) whole as an IPv6 address (RFC 4291 section 2.2, dotted quad at the end
 * allowed, no scope). The same as inet_pton accepts. On false *fault is set. */
bool weir__ip6_parse(const char *text, const char *end, struct in6_addr *out,
                     struct ip_fault *fault);

#endif
