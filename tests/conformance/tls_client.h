/* OpenSSL as a client of a side that speaks TLS. */
#ifndef WEIR_TESTS_CONFORMANCE_TLS_CLIENT_H
#define WEIR_TESTS_CONFORMANCE_TLS_CLIENT_H

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <unistd.h>

#include "conformance/harness.h"
#include "tls/certs.h"

/* OpenSSL on a plain socket, moved between turns. */
struct client {
    struct world *w;
    struct peer *peer;
    SSL_CTX *context;
    SSL *ssl;
    uint64_t to_send, sent, received;
    size_t piece; /* of a write; 0: 16 KiB */
    bool finish, reads, in_pattern;
    bool shaken, finished, ended; /* ended: close_notify came */
    int error;                    /* SSL_ERROR_SSL or _SYSCALL, and then */
    int reason;                   /* ERR_GET_REASON */
};

static inline struct client *client_new(struct side *s, int version)
{
    struct client *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->w = s->world;
    c->peer = peer_start(s);
    c->peer->reads = false; /* the harness leaves its bytes alone */
    c->reads = c->in_pattern = true;
    c->context = SSL_CTX_new(TLS_client_method());
    assert_non_null(c->context);
    if (version != 0) {
        SSL_CTX_set_min_proto_version(c->context, version);
        SSL_CTX_set_max_proto_version(c->context, version);
    }
    SSL_CTX_set_mode(c->context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    assert_int_equal(SSL_CTX_load_verify_file(c->context, cert_path("ca", ".pem")), 1);
    SSL_CTX_set_verify(c->context, SSL_VERIFY_PEER, NULL);
    c->ssl = SSL_new(c->context);
    assert_non_null(c->ssl);
    SSL_set_fd(c->ssl, c->peer->fd);
    SSL_set_connect_state(c->ssl);
    return c;
}

static inline void client_free(struct client *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->context);
    free(c);
}

static inline bool stopped(struct client *c, int result)
{
    int error = SSL_get_error(c->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return true;
    if (error == SSL_ERROR_ZERO_RETURN) {
        c->ended = true;
        return true;
    }
    c->error = error;
    c->reason = ERR_GET_REASON(ERR_peek_error());
    return true;
}

static inline void client_write(struct client *c)
{
    static uint8_t bytes[16384];
    size_t wrote;
    while (c->shaken && c->error == 0 && c->sent < c->to_send) {
        size_t size = c->piece != 0 ? c->piece : sizeof bytes;
        size = c->to_send - c->sent < size ? (size_t)(c->to_send - c->sent) : size;
        pattern_fill(bytes, c->sent, size);
        ERR_clear_error();
        int result = SSL_write_ex(c->ssl, bytes, size, &wrote);
        if (result != 1 && stopped(c, result))
            return;
        c->sent += wrote;
    }
    if (c->shaken && c->error == 0 && c->finish && !c->finished) {
        ERR_clear_error();
        c->finished = SSL_shutdown(c->ssl) >= 0;
    }
}

static inline void client_move(struct client *c)
{
    static uint8_t bytes[16384];
    size_t got;
    if (!c->shaken && c->error == 0) {
        ERR_clear_error();
        int result = SSL_do_handshake(c->ssl);
        c->shaken = result == 1;
        if (!c->shaken && stopped(c, result))
            return;
    }
    client_write(c);
    while (c->shaken && c->reads && c->error == 0 && !c->ended) {
        ERR_clear_error();
        int result = SSL_read_ex(c->ssl, bytes, sizeof bytes, &got);
        if (result != 1 && stopped(c, result))
            return;
        c->in_pattern &= pattern_is(bytes, c->received, got);
        c->received += got;
    }
}

#define CLIENT_UNTIL(c, condition)                 \
    do {                                           \
        uint64_t end_ = now_ns() + 60000000000ull; \
        while (client_move(c), !(condition)) {     \
            if (now_ns() > end_)                   \
                world_vain((c)->w, #condition);    \
            world_turn_ms((c)->w, 1);              \
        }                                          \
    } while (0)

static inline struct side *server_new(struct world *w, weir_tls *tls)
{
    struct side *s = side_new(w);
    s->service.tls = weir_tls_layer(tls);
    s->early_close_fine = true;
    return s;
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

#endif
