/*
 * A client's side of HTTP's CONNECT (RFC 9110 section 9.3.6), sans I/O: a tunnel through a proxy is
 * asked for. Use is like socks5.h's. Any cut of the input is fine. Not shared between threads.
 */
#ifndef WEIR_PROTO_HTTPTUNNEL_H
#define WEIR_PROTO_HTTPTUNNEL_H

#include "proto/http1.h"
#include "proto/proxyask.h"

enum {
    HTTPTUNNEL_HEAD_MAX = HTTP1_HEAD_BYTES, /* bytes of one head */
    HTTPTUNNEL_INTERIMS = 8                 /* 1xx heads before the answer */
};

/* Zeroed it waits for the answer. */
struct httptunnel {
    struct http1_resume resume;
    uint8_t *kept; /* a head that has not come whole; or NULL */
    uint32_t kept_bytes, kept_room;
    uint8_t interims;
    uint16_t status; /* of the answer, when there is one; else 0 */
};

/* Writes the request: its size. The credentials are sent at once (RFC 7617). */
size_t httptunnel_write(const struct proxy_ask *ask, char out[PROXY_ASK_BYTES_MAX]);

/* Takes what the proxy said; *used: how much of it was the proxy's. 1: the tunnel stands, and what
 * is behind *used has come through it; 0: all is used, and more is needed; negative: WEIR_ENOMEM,
 * WEIR_EPROXYREPLY (this is not HTTP/1), or why it refused; after that nothing but httptunnel_end
 * may follow. */
int httptunnel_next(struct httptunnel *tunnel, const uint8_t *data, size_t size, size_t *used);

/* Gives back what it holds. */
void httptunnel_end(struct httptunnel *tunnel);

#endif
