/* The PROXY protocol, in and out: a proxy says in front of a stream whom it speaks for. Both are
 * filters (<weir/filter.h>): on_open comes behind the header, and .first_byte_ms is the time that
 * it may take. */
#ifndef WEIR_PROXY_H
#define WEIR_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/address.h>
#include <weir/conn.h>
#include <weir/export.h>
#include <weir/filter.h>

/* What a PROXY protocol header says; the protocol's specification is haproxy's
 * proxy-protocol.txt. */
typedef struct weir_proxy_header {
    uint8_t version;          /* 1 or 2 */
    bool unknown;             /* the proxy speaks for itself, or does not know: no addresses (v1
                               * UNKNOWN, v2 LOCAL and UNSPEC) */
    uint8_t reserved[6];      /* zero */
    weir_address source;      /* whom it speaks for */
    weir_address destination; /* whom that one had connected to */
} weir_proxy_header;

/* A header has no more bytes than this: version 1 has 107, and 4096 bytes of addresses and
 * extensions are taken in version 2. */
#define WEIR_PROXY_HEADER_MAX (16 + 4096)
/* Room for any header that weir_proxy_write writes. */
#define WEIR_PROXY_WRITE_MAX 232

/* For weir_proxy_in; its config, or NULL. */
typedef struct weir_proxy_in_options {
    const char *from; /* networks, separated by spaces, "10.0.0.0/8 2001:db8::1": who comes from
                       * them sends a header, and whoever else sends none. NULL: everybody does.
                       * Unix sockets are in no network */
} weir_proxy_in_options;

/* For weir_proxy_out; its config, or NULL: version 2, unknown. */
typedef struct weir_proxy_out_options {
    uint8_t version; /* 1 or 2; 0 is 2 */
    /* Says what the header of this connection is (version aside): fills *out, which is all zero,
     * from what weir_connect was given as `user`. 0, or a negative error: the connection fails with
     * it. NULL: unknown. */
    int (*header)(weir_conn conn, void *user, weir_proxy_header *out);
} weir_proxy_out_options;

WEIR_BEGIN

/* For services that listen behind a proxy: takes the header off the stream. A connection without a
 * header, or with a malformed one, fails with WEIR_EPROTO: it is never guessed whether there is one
 * (the specification, section 2). Addresses are weir_proxy_get's; weir_conn_peer is the proxy. */
WEIR_API extern const weir_filter weir_proxy_in;

/* For weir_connect: sends the header in front of all else.
 *
 * On secure addresses (tls:, https:) both stand above TLS: the header is encrypted too. Proxies
 * that put it in front of TLS, as most do, are met by a tcp: address with these filters in their
 * order: weir_proxy_in, then that of weir_tls_layer, each with its config. */
WEIR_API extern const weir_filter weir_proxy_out;

/* What the header of a connection said, from on_open until on_close. 0; WEIR_ENODATA: it came from
 * outside the networks and has none, or has no such filter; WEIR_EGONE. */
WEIR_API int weir_proxy_get(weir_conn conn, weir_proxy_header *out);

/* Reads a header at the beginning of a stream. Returns the bytes that it has; 0: there are more to
 * come; WEIR_EPROTO: it is none, or malformed. Extensions (TLV) of version 2 are checked, their
 * CRC-32C too, and passed over. Any thread. */
WEIR_API int weir_proxy_parse(const void *data, size_t size, weir_proxy_header *out);

/* Writes a header: its size. WEIR_EINVALID for what it cannot say (version 1: only TCP over IPv4 or
 * IPv6, both alike; version 2: both of one transport); WEIR_ETOOBIG. Any thread. */
WEIR_API int weir_proxy_write(const weir_proxy_header *header, void *out, size_t size);

WEIR_END
#endif
