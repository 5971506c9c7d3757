/* What a client asks of a proxy: a connection to a host, which may have to be paid for with a name
 * and a password. Used by the codecs of SOCKS5 and of HTTP's CONNECT. */
#ifndef WEIR_PROTO_PROXYASK_H
#define WEIR_PROTO_PROXYASK_H

#include <stddef.h>
#include <stdint.h>

enum {
    PROXY_ASK_HOST_MAX = 255,   /* bytes of a host (RFC 1928 section 5: its length is one byte) */
    PROXY_ASK_SECRET_MAX = 255, /* bytes of a user name, and of a password (RFC 1929) */
    PROXY_ASK_BYTES_MAX = 2048  /* room for whatever is sent to a proxy in one piece */
};

/* Texts end with NUL and are the caller's. */
struct proxy_ask {
    const char *user;     /* NULL: none; never empty */
    const char *password; /* "": none */
    const char *host;     /* a name, or an address in numbers without brackets */
    uint16_t port;
};

#endif
