/* Addresses: where to listen or to connect, written as URLs.
 *
 *   tcp://1.2.3.4:80   tcp://[::1]:80   tcp://[fe80::1%eth0]:80   udp://1.2.3.4:53
 *   tcp://:80  (or * as the host)       any address of this host, IPv6 and IPv4
 *   tcp://localhost:80                  127.0.0.1 and ::1 (see weir_address_expand)
 *   unix:/run/x.sock   unix:relative/path   unix:@name (abstract: in no file system)
 *   unix-dgram:/run/x.sock   unix-seqpacket:/run/x.sock        see <weir/datagram.h>
 *   icmp://1.2.3.4   icmp://[::1]:77    ICMP or ICMPv6; the number is the identifier of echoes
 *   raw://1.2.3.4:89                    IP of this protocol (1 to 255): see <weir/datagram.h>
 *   http://HOST[:PORT][/TARGET]  and  https://...       default ports 80 and 443
 *   tls://HOST:PORT                     TCP with TLS on it, as https is: see <weir/tls.h>
 *
 * The parser is strict: four decimal numbers for IPv4, no leading zeros, no spaces, no user names.
 * Port 0 lets the kernel choose. Other host names are not
 * addresses: weir_connect takes them where there is a resolver. In unix: addresses a percent
 * sign begins the code of a byte, as in every URL: %20 is a space, %40 an @ at the start of a path,
 * %00 a NUL in an abstract name.
 *
 * One address has one form: ::ffff:1.2.3.4 becomes 1.2.3.4. */
#ifndef WEIR_ADDRESS_H
#define WEIR_ADDRESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <weir/export.h>

/* Room for any address as weir_address_format writes it, with its NUL: every byte of a unix name
 * may take three characters. */
#define WEIR_ADDRESS_TEXT_MAX 344

enum weir_transport {
    WEIR_TRANSPORT_NONE = 0,
    WEIR_TRANSPORT_TCP = 1,
    WEIR_TRANSPORT_UDP = 2,
    WEIR_TRANSPORT_UNIX = 3,           /* a unix stream socket */
    WEIR_TRANSPORT_UNIX_DGRAM = 4,     /* unix datagrams */
    WEIR_TRANSPORT_UNIX_SEQPACKET = 5, /* a unix connection that keeps its messages apart */
    WEIR_TRANSPORT_ICMP = 6,           /* messages of ICMP or ICMPv6; the port is an identifier */
    WEIR_TRANSPORT_RAW = 7             /* packets of one IP protocol, whose number is the port */
};

/* What the text asked for; numbers are never reused. */
enum weir_scheme {
    WEIR_SCHEME_NONE = 0,
    WEIR_SCHEME_TCP = 1,
    WEIR_SCHEME_UDP = 2,
    WEIR_SCHEME_UNIX = 3,
    WEIR_SCHEME_HTTP = 4,
    WEIR_SCHEME_HTTPS = 5,
    WEIR_SCHEME_UNIX_DGRAM = 6,
    WEIR_SCHEME_UNIX_SEQPACKET = 7,
    WEIR_SCHEME_TLS = 8,
    WEIR_SCHEME_ICMP = 9,
    WEIR_SCHEME_RAW = 10
};

enum weir_address_flags {
    WEIR_ADDRESS_ANY = 1, /* written as * : both families, or IPv4 where there is no IPv6 */
    WEIR_ADDRESS_LOCALHOST =
        2 /* written as localhost: `socket` holds 127.0.0.1, ::1 is meant too */
};

/* 160 bytes, copied freely. Made by the functions below only. */
typedef struct weir_address {
    struct sockaddr_storage socket; /* what bind and connect take; unused bytes are zero */
    uint32_t socket_size;           /* bytes of it that count */
    uint8_t transport;              /* enum weir_transport */
    uint8_t scheme;                 /* enum weir_scheme */
    uint16_t flags;                 /* enum weir_address_flags */
    uint32_t target_offset;         /* http: where in the text that was parsed the path begins */
    uint32_t target_size;           /* http: bytes of path and query there; 0: there is none */
    uint8_t reserved[16];           /* zero */
} weir_address;

/* What is wrong with an address, and where. */
struct weir_address_error {
    uint32_t offset;     /* bytes from the start of the text; may be its length */
    uint32_t reserved;   /* zero */
    const char *message; /* static text */
};

WEIR_BEGIN

/* Reads an address. `text` ends with NUL and is not kept. Returns 0 and fills *out, or
 * WEIR_EADDRESS and fills *error (which may be NULL); *out is then all zero. The name of a network
 * interface after % is looked up here; -errno when that fails for want of descriptors. Any thread.
 * RFC 3986, RFC 4291 section 2.2, RFC 4007 section 11, unix(7). */
WEIR_API int weir_address_parse(const char *text, weir_address *out,
                                struct weir_address_error *error);

/* Writes two lines: the text (a part of it when it is long), and below the character at fault a
 * caret and the message; no newline at the end. Returns the length without the NUL, or WEIR_ETOOBIG
 * when `size` bytes do not hold it; 256 always do. Any thread. */
WEIR_API int weir_address_explain(const char *text, const struct weir_address_error *error,
                                  char *out, size_t size);

/* Writes an address in its one canonical form: lower case, RFC 5952, a default port of http left
 * out, no target. What it writes is read back as the same address; the exceptions are unix sockets
 * that cannot be reached by name ("unix:" for one without a name) or whose path fills all 108
 * bytes. Returns the length without the NUL, WEIR_ETOOBIG when `size` bytes do not hold it, or
 * WEIR_EADDRESS when *address is none. WEIR_ADDRESS_TEXT_MAX bytes always do. Any thread. */
WEIR_API int weir_address_format(const weir_address *address, char *out, size_t size);

/* Makes an address from what the kernel uses: AF_INET and AF_INET6 with WEIR_TRANSPORT_TCP, _UDP,
 * _ICMP or _RAW, AF_UNIX with _UNIX, _UNIX_DGRAM or _UNIX_SEQPACKET. Returns 0, or WEIR_EADDRESS
 * with *out all zero. Any thread. */
WEIR_API int weir_address_from_sockaddr(const struct sockaddr *socket, size_t socket_size,
                                        enum weir_transport transport, weir_address *out);

/* The addresses that this one stands for: 127.0.0.1 and ::1 for localhost, itself otherwise.
 * Returns how many were written, at most `capacity`; 2 are enough. A host without IPv6 refuses to
 * bind ::1: whoever listens on both takes one of them as enough. Any thread. */
WEIR_API unsigned weir_address_expand(const weir_address *address, weir_address *out,
                                      unsigned capacity);

/* The port, or -1 when it has none (unix). Any thread. */
WEIR_API int weir_address_port(const weir_address *address);

/* Changes the port. Returns 0, or WEIR_EINVALID when it has none or `port` is above 65535. */
WEIR_API int weir_address_set_port(weir_address *address, unsigned port);

/* 1 when both name the same end point (transport, host, port or path), 0 otherwise; how they were
 * written does not count. Any thread. */
WEIR_API int weir_address_equal(const weir_address *left, const weir_address *right);

/* "tcp", "http", ...; "none" for what is none. Static text. */
WEIR_API const char *weir_scheme_name(enum weir_scheme scheme);

WEIR_END
#endif
