/*
 * A client's side of SOCKS version 5 (RFC 1928, RFC 1929), sans I/O: a connection is asked for.
 *
 *     size = socks5_begin(&socks, &ask, out)      send `size` bytes of out
 *     result = socks5_next(&socks, &ask, data, size, &step)
 *         send step.send_size bytes of step.send; 0: more is to come; 1: what is behind step.used
 *         belongs to the connection; negative: WEIR_EPROXY...
 *
 * Any cut of the input is fine. Not shared between threads.
 */
#ifndef WEIR_PROTO_SOCKS5_H
#define WEIR_PROTO_SOCKS5_H

#include "proto/proxyask.h"

enum { SOCKS5_REPLY_MAX = 4 + 1 + 255 + 2 };

struct socks5 {
    uint8_t state; /* private */
    uint16_t have;
    uint8_t input[SOCKS5_REPLY_MAX];
};

struct socks5_step {
    size_t used; /* bytes of the input that belonged to the proxy's answers */
    size_t send_size;
    uint8_t send[PROXY_ASK_BYTES_MAX];
};

/* Writes what a client says first: its size. */
size_t socks5_begin(struct socks5 *socks, const struct proxy_ask *ask,
                    uint8_t out[PROXY_ASK_BYTES_MAX]);

/* Takes what the proxy said. 1: the connection stands; 0: all of the input is used, and more is
 * needed; negative: WEIR_EPROXYREPLY (this is not SOCKS5), or why it refused; after that nothing
 * may follow. */
int socks5_next(struct socks5 *socks, const struct proxy_ask *ask, const uint8_t *data, size_t size,
                struct socks5_step *step);

#endif
