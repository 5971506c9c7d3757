/* Whatever OpenSSL makes once a process and keeps, made before the first run: a server's and a
 * client's contexts, used and freed, through every kind of handshake that runs have. */
#include "sim/tls/warm.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "tls/tls.h"

struct end {
    struct tls_state state; /* what the callbacks of libweir-tls look for */
    SSL *ssl;
};

static void must(bool fine)
{
    if (!fine) {
        ERR_print_errors_fp(stderr);
        abort();
    }
}

static void end_begin(struct end *end, weir_tls *tls, BIO *in, BIO *out)
{
    end->state = (struct tls_state){.tls = tls};
    end->ssl = SSL_new(tls->current->contexts[0]);
    must(end->ssl != NULL);
    SSL_set_app_data(end->ssl, &end->state);
    BIO_up_ref(in);
    BIO_up_ref(out);
    SSL_set_bio(end->ssl, in, out);
}

/* One handshake and a record each way; the client's session. */
static SSL_SESSION *meet(weir_tls *server, weir_tls *client, int version, const char *cipher,
                         SSL_SESSION *former)
{
    enum { STEPS = 20 };
    BIO *there = BIO_new(BIO_s_mem()), *back = BIO_new(BIO_s_mem());
    struct end s, c;
    unsigned char byte = 1;
    size_t size;
    end_begin(&s, server, there, back);
    end_begin(&c, client, back, there);
    SSL_set_accept_state(s.ssl);
    SSL_set_connect_state(c.ssl);
    SSL_set_max_proto_version(c.ssl, version);
    must(cipher == NULL || SSL_set_cipher_list(c.ssl, cipher) == 1);
    if (former != NULL)
        SSL_set_session(c.ssl, former);
    for (int i = 0; i < STEPS; i++) {
        SSL_do_handshake(c.ssl);
        SSL_do_handshake(s.ssl);
    }
    if (SSL_is_init_finished(c.ssl) && SSL_is_init_finished(s.ssl)) {
        must(SSL_write_ex(c.ssl, &byte, 1, &size) == 1 &&
             SSL_write_ex(s.ssl, &byte, 1, &size) == 1);
        SSL_read_ex(s.ssl, &byte, 1, &size);
        SSL_read_ex(c.ssl, &byte, 1, &size);
    }
    SSL_shutdown(c.ssl);
    SSL_read_ex(s.ssl, &byte, 1, &size);
    SSL_SESSION *session = SSL_get1_session(c.ssl);
    SSL_free(s.ssl);
    SSL_free(c.ssl);
    BIO_free(there);
    BIO_free(back);
    ERR_clear_error();
    return session;
}

void warm_up(weir_tls *server, weir_tls *client)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    static const char *const ciphers[] = {NULL, "ECDHE-ECDSA-AES256-GCM-SHA384",
                                          "ECDHE-ECDSA-CHACHA20-POLY1305"};
    must(server != NULL && client != NULL);
    for (unsigned i = 0; i < 2; i++)
        for (unsigned j = 0; j < sizeof ciphers / sizeof *ciphers; j++) {
            SSL_SESSION *session = meet(server, client, versions[i], ciphers[j], NULL);
            SSL_SESSION_free(meet(server, client, versions[i], ciphers[j], session));
            SSL_SESSION_free(session);
        }
    struct tls_state none = {0};
    BIO_free(tls_bio_new(&none));
    weir_tls_free(server);
    weir_tls_free(client);
}
