/* Peers that keep to the letter of TLS and mean no good by it, or have odd habits: what they
 * announce, ask for, send in parts, and send behind what was the last. */
#include <arpa/inet.h>
#include <fcntl.h>

#include "conformance/tls_client.h"

/* --- OpenSSL as a server of weir's client, whose bytes go out when the test says so
 * -------------*/

static struct server {
    struct world *w;
    struct side *c;
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out;
    int fd;
    size_t received;
} server;

/* Tickets of several records. */
static int large_ticket(SSL *ssl, void *arg)
{
    static const uint8_t data[3000];
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), data, sizeof data);
}

static SSL_TICKET_RETURN no_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                   size_t size, SSL_TICKET_STATUS status, void *arg)
{
    return SSL_TICKET_RETURN_IGNORE;
}

static void server_take(void)
{
    uint8_t bytes[16384];
    ssize_t got = recv(server.fd, bytes, sizeof bytes, 0);
    if (got > 0)
        assert_int_equal(BIO_write(server.in, bytes, (int)got), got);
    size_t size;
    while (SSL_is_init_finished(server.ssl) &&
           SSL_read_ex(server.ssl, bytes, sizeof bytes, &size) == 1)
        server.received += size;
}

/* At most so many bytes of what is to go. */
static void server_give(size_t most)
{
    uint8_t bytes[16384];
    int size = BIO_read(server.out, bytes, (int)(most < sizeof bytes ? most : sizeof bytes));
    if (size > 0)
        assert_int_equal(send(server.fd, bytes, (size_t)size, MSG_NOSIGNAL), size);
}

static bool server_shaken(void)
{
    server_take();
    ERR_clear_error();
    return SSL_do_handshake(server.ssl) == 1;
}

/* Up to the end of the handshake; what the server says behind it is still here. */
static void server_begin(int version)
{
    char url[64], plain[64];
    certs_usual();
    weir_tls_cert cert = cert_files("server");
    server = (struct server){.w = world_open(NULL), .fd = -1};
    server.context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(server.context, version);
    SSL_CTX_set_max_proto_version(server.context, version);
    SSL_CTX_set_max_send_fragment(server.context, 512);
    SSL_CTX_set_num_tickets(server.context, 1);
    SSL_CTX_set_session_ticket_cb(server.context, large_ticket, no_ticket, NULL);
    SSL_CTX_use_certificate_file(server.context, cert.cert_file, SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(server.context, cert.key_file, SSL_FILETYPE_PEM);
    server.ssl = SSL_new(server.context);
    server.in = BIO_new(BIO_s_mem());
    server.out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(server.in, -1);
    SSL_set_bio(server.ssl, server.in, server.out);
    SSL_set_accept_state(server.ssl);
    int listener = raw_listener(1, plain, sizeof plain);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    snprintf(url, sizeof url, "tls%s", plain + 3);
    server.c = side_new(server.w);
    server.c->service.tls = weir_tls_layer(usual_client(0));
    server.c->early_close_fine = true;
    side_connect(server.c, url);
    UNTIL(server.w, (server.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    close(listener);
    while (!server_shaken()) {
        server_give(SIZE_MAX);
        world_turn_ms(server.w, 1);
    }
}

static void server_end(void)
{
    if (server.fd >= 0)
        close(server.fd);
    SSL_free(server.ssl);
    SSL_CTX_free(server.context);
    world_end(server.w);
}

/* A message behind the handshake that comes in parts: what is sent between them waits. */
static void tls_ticket_in_parts(void **state)
{
    for (int finish = 0; finish < 2; finish++) {
        server_begin(TLS1_3_VERSION);
        struct side *c = server.c;
        struct world *w = server.w;
        UNTIL(w, c->opened == 1);
        server_give(1000);
        world_run_ms(w, 10);
        assert_true(V(w, rec_send_pattern(c->recs[0], 700)) >= 0);
        if (finish)
            assert_int_equal(V(w, weir_finish(c->recs[0]->conn)), 0);
        world_run_ms(w, 10);
        assert_int_equal(c->closed, 0);
        server_give(SIZE_MAX);
        UNTIL(w, (server_take(), server.received == 700));
        if (!finish)
            assert_int_equal(V(w, weir_finish(c->recs[0]->conn)), 0);
        UNTIL(w, (server_take(), (SSL_get_shutdown(server.ssl) & SSL_RECEIVED_SHUTDOWN) != 0));
        SSL_shutdown(server.ssl);
        server_give(SIZE_MAX);
        close(server.fd);
        server.fd = -1;
        UNTIL(w, c->closed == 1);
        assert_int_equal(c->recs[0]->end.error, 0);
        assert_int_equal(c->recs[0]->end.why, WEIR_WHY_PEER_FINISHED);
        server_end();
    }
}

/* Each request for a new handshake costs an answer. */
static void tls_peer_asks_again_and_again(void **state)
{
    server_begin(TLS1_2_VERSION);
    struct side *c = server.c;
    server_give(SIZE_MAX);
    UNTIL(server.w, c->opened == 1);
    uint8_t answers[512];
    ssize_t got;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(SSL_renegotiate(server.ssl), 1);
        assert_int_equal(SSL_do_handshake(server.ssl), 1);
        server_give(SIZE_MAX);
        if (i == 4)
            break;
        UNTIL(server.w, (got = recv(server.fd, answers, sizeof answers, 0)) >= 0);
        assert_true(got > 0 && answers[0] == SSL3_RT_ALERT);
    }
    UNTIL(server.w, recv(server.fd, answers, sizeof answers, 0) == 0); /* no answer: the end */
    close(server.fd);
    server.fd = -1;
    UNTIL(server.w, c->closed == 1);
    assert_int_equal(c->recs[0]->end.error, WEIR_ETLS);
    server_end();
}

/* --- clients -----------------------------------------------------------------------------------*/

/* Room is made for a message when its header comes: one of 128 KiB is refused by that. */
static void tls_peer_announces_much(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        bool second; /* behind a hello that the server wants to have again */
    } cases[] = {
        {"\x16\3\1\0\4\1\1\xff\xff", 9, false},
        {"\x16\3\1\0\1\1\x16\3\1\0\3\1\xff\xff", 14, false},
        {"\x14\3\3\0\1\1\x16\3\3\0\4\1\1\xff\xff", 15, true},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world *w = world_open(NULL);
        struct side *s = server_new(w, usual_server(0));
        side_listen(s, "tls://127.0.0.1:0");
        struct client *c = client_new(s, TLS1_3_VERSION);
        if (cases[i].second) {
            uint8_t retry;
            static char groups[] = "P-521:P-256"; /* OpenSSL's macro casts a const away */
            assert_int_equal(SSL_set1_groups_list(c->ssl, groups), 1);
            client_move(c);
            UNTIL(w, recv(c->peer->fd, &retry, 1, MSG_PEEK | MSG_DONTWAIT) == 1);
            assert_int_equal(s->closed, 0);
        }
        peer_say(c->peer, cases[i].bytes, cases[i].size);
        UNTIL(w, s->closed == 1);
        assert_string_equal(s->recs[0]->log, "C");
        assert_int_equal(s->recs[0]->end.why, WEIR_WHY_LIMIT);
        assert_int_equal(s->recs[0]->end.error, WEIR_ETOOBIG);
        client_free(c);
        world_end(w);
    }
}

static void echo_and_close(struct rec *r, weir_view data)
{
    do_echo(r, data);
    H(r, weir_close(r->conn));
}

/* A false record behind the last request, in the same piece, takes nothing from its answer. */
static void tls_peer_with_noise_at_the_end(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct world *w = world_open(NULL);
        struct side *s = server_new(w, usual_server(0));
        s->data = echo_and_close;
        side_listen(s, "tls://127.0.0.1:0");
        struct client *c = client_new(s, versions[i]);
        CLIENT_UNTIL(c, c->shaken && s->opened == 1);
        uint8_t bytes[1024];
        BIO *out = BIO_new(BIO_s_mem());
        SSL_set0_wbio(c->ssl, out);
        c->to_send = 100;
        client_move(c);
        int size = BIO_read(out, bytes, 512);
        assert_true(size > 100);
        memcpy(bytes + size, "\x17\3\3\0\x20not what anybody has encrypted..", 37);
        peer_say(c->peer, bytes, (size_t)size + 37);
        CLIENT_UNTIL(c, c->ended || c->error != 0);
        assert_int_equal(c->error, 0);
        assert_int_equal(c->received, 100);
        assert_true(c->in_pattern);
        peer_close(c->peer);
        UNTIL(w, s->closed == 1);
        assert_int_equal(s->recs[0]->end.why, WEIR_WHY_CLOSED);
        client_free(c);
        world_end(w);
    }
}

static weir_tls_stats counted(weir_tls *tls)
{
    weir_tls_stats stats;
    assert_int_equal(weir_tls_stats_get(tls, &stats), 0);
    return stats;
}

/* Who has not sent all of a hello has no place for a handshake, and takes none from others. */
static void tls_handshakes_need_a_whole_hello(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } parts[] = {{"\x16", 1},
                 {"\x16\3\1\0\5", 5},
                 {"\x16\3\1\0\5\1\0\0\2\3", 10},
                 {"\x16\3\1\0\1\1", 6},
                 {"\x16\3\1\0\1\1\x16\3\1\0\3\0\0\3\x16\3\1\0\1\3", 20}};
    enum { PARTS = sizeof parts / sizeof *parts };
    struct peer *peers[PARTS];
    certs_usual();
    weir_tls_cert cert = cert_files("server");
    weir_tls *tls = weir_tls_server_new(
        &(weir_tls_server_options){.certs = &cert, .cert_count = 1, .handshake_rate = 1});
    assert_non_null(tls);
    struct world *w = world_open(NULL);
    struct side *s = server_new(w, tls);
    side_listen(s, "tls://127.0.0.1:0");
    for (int i = 0; i < PARTS; i++) {
        peers[i] = peer_start(s);
        peer_say(peers[i], parts[i].bytes, parts[i].size);
    }
    weir_loop_stats loop_stats;
    do {
        world_run_ms(w, 20);
        assert_int_equal(weir_loop_stats_get(w->loop, &loop_stats), 0);
    } while (loop_stats.conns < PARTS);
    weir_tls_stats stats = counted(tls);
    assert_true(stats.begun + stats.waited + stats.refused == 0);
    struct client *c = client_new(s, 0);
    CLIENT_UNTIL(c, c->shaken && s->opened == 1);
    assert_int_equal(counted(tls).waited, 0);
    peer_say(peers[3], "\x16\3\1\0\3\0\0\0", 8); /* a hello of no bytes, whole: it waits */
    UNTIL(w, (stats = counted(tls)).waited == 1);
    for (int i = 0; i < PARTS; i++)
        peer_reset(peers[i]);
    peer_close(c->peer);
    client_free(c);
    UNTIL(w, s->closed == PARTS + 1);
    stats = counted(tls);
    assert_true(stats.begun == 1 && stats.done == 1 && stats.failed == 0 && stats.waiting == 0);
    world_end(w);
    weir_tls_free(tls);
}

K_MAIN(T(tls_ticket_in_parts), T(tls_peer_asks_again_and_again), T(tls_peer_announces_much),
       T(tls_peer_with_noise_at_the_end), T(tls_handshakes_need_a_whole_hello))
