/* Servers of weir and a client that is OpenSSL's own: both versions, names, protocols, ends, and
 * what comes instead of a handshake. */
#include "conformance/tls_client.h"

/* --- bytes and ends (K4, K5, K10) --------------------------------------------------------------*/

static void finish_too(struct rec *r)
{
    H(r, weir_close(r->conn));
}

static void tls_peer_is_echoed(void **state)
{
    static const size_t pieces[] = {0, 1, 700};
    for (int i = 0; i < 6; i++) {
        struct world *w = world_open(NULL);
        struct side *s = server_new(w, usual_server(0));
        s->data = do_echo;
        s->end = finish_too;
        side_listen(s, "tls://127.0.0.1:0");
        struct client *c = client_new(s, versions[i % 2]);
        c->piece = pieces[i / 2];
        c->to_send = c->piece == 1 ? 2000 : 300000;
        c->finish = true;
        CLIENT_UNTIL(c, c->ended);
        assert_int_equal(SSL_version(c->ssl), versions[i % 2]);
        assert_int_equal(c->received, c->to_send);
        assert_true(c->in_pattern);
        peer_close(c->peer);
        UNTIL(w, s->closed == 1);
        struct rec *r = s->recs[0];
        assert_int_equal(r->received, c->to_send);
        assert_true(r->opens == 1 && r->ends == 1);
        assert_int_equal(r->end.why, WEIR_WHY_PEER_FINISHED);
        client_free(c);
        world_end(w);
    }
}

/* Without on_end an end is answered by one. Without close_notify it is none. */
static void tls_peer_that_is_cut(void **state)
{
    for (int i = 0; i < 8; i++) {
        struct world *w = world_open(NULL);
        struct side *s = server_new(w, usual_server(0));
        bool notify = (i & 2) != 0;
        s->end = (i & 4) != 0 ? do_nothing : NULL;
        side_listen(s, "tls://127.0.0.1:0");
        struct client *c = client_new(s, versions[i % 2]);
        c->to_send = 5000;
        CLIENT_UNTIL(c, s->count == 1 && s->recs[0]->received == 5000);
        c->finish = notify;
        if (notify)
            CLIENT_UNTIL(c, c->finished);
        shutdown(c->peer->fd, SHUT_WR);
        if (notify && s->end != NULL)
            CLIENT_UNTIL(c, s->recs[0]->ends == 1);
        else
            CLIENT_UNTIL(c, s->recs[0]->closes == 1 || c->ended);
        peer_close(c->peer);
        if (s->recs[0]->ends == 1)
            V(w, weir_close(s->recs[0]->conn));
        UNTIL(w, s->recs[0]->closes == 1);
        assert_int_equal(s->recs[0]->end.error, notify ? 0 : WEIR_ECUT);
        assert_int_equal(s->recs[0]->end.why, notify ? WEIR_WHY_PEER_FINISHED : WEIR_WHY_ERROR);
        assert_int_equal(s->recs[0]->ends, notify && s->end != NULL);
        client_free(c);
        world_end(w);
    }
}

/* A record that was changed on its way ends the connection, and the peer is told by an alert. */
static void tls_peer_with_a_false_record(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct world *w = world_open(NULL);
        struct side *s = server_new(w, usual_server(0));
        side_listen(s, "tls://127.0.0.1:0");
        struct client *c = client_new(s, versions[i]);
        CLIENT_UNTIL(c, c->shaken && s->opened == 1);
        peer_say(c->peer, "\x17\x03\x03\0\x20not what anybody has encrypted..", 37);
        CLIENT_UNTIL(c, c->error != 0);
        assert_int_equal(c->reason, SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
        peer_close(c->peer);
        UNTIL(w, s->closed == 1);
        assert_int_equal(s->recs[0]->received, 0);
        assert_int_equal(s->recs[0]->end.error, WEIR_ETLS);
        client_free(c);
        world_end(w);
    }
}

static void tls_peer_that_is_slow_to_read(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = server_new(w, usual_server(0));
    s->data = do_echo;
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, "tls://127.0.0.1:0");
    struct client *c = client_new(s, TLS1_3_VERSION);
    c->to_send = UINT64_MAX;
    CLIENT_UNTIL(c, c->shaken);
    c->reads = false;
    uint64_t most = 0, stands = 0;
    for (int i = 0; i < 5000 && stands < 60; i++) {
        uint64_t before = c->sent;
        client_move(c);
        world_turn_ms(w, 1);
        stands = c->sent == before ? stands + 1 : 0;
        most = world_memory(w) > most ? world_memory(w) : most;
    }
    assert_true(stands >= 60); /* it is not read from while it does not read */
    assert_true(most < 4 << 20);
    assert_int_equal(s->recs[0]->closes, 0);
    c->reads = true;
    c->to_send = c->sent;
    CLIENT_UNTIL(c, c->received == c->sent);
    assert_true(c->in_pattern);
    peer_reset(c->peer);
    UNTIL(w, s->closed == 1);
    assert_int_equal(s->recs[0]->end.why, WEIR_WHY_PEER_RESET);
    client_free(c);
    world_end(w);
}

/* Each byte of a handshake may come by itself. */
static void tls_peer_byte_by_byte(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = server_new(w, usual_server(0));
    s->data = do_echo;
    side_listen(s, "tls://127.0.0.1:0");
    struct client *c = client_new(s, TLS1_3_VERSION);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(c->ssl, in, out);
    uint8_t bytes[4096];
    c->to_send = 100;
    for (int i = 0; i < 5000 && c->received < 100; i++) {
        client_move(c);
        if (BIO_read(out, bytes, 1) == 1)
            peer_say(c->peer, bytes, 1);
        world_turn_ms(w, 0);
        ssize_t got = recv(c->peer->fd, bytes, sizeof bytes, 0);
        if (got > 0)
            BIO_write(in, bytes, (int)got);
    }
    assert_int_equal(c->received, 100);
    assert_true(c->in_pattern);
    client_free(c);
    world_end(w);
}

/* --- what comes instead of a handshake (K4, K7, K18) -------------------------------------------*/

static void tls_peer_without_a_handshake(void **state)
{
    static const struct {
        const char *what;
        size_t size;
        int how; /* 0: that is all; 1: it ends; 2: it resets; 3: it waits */
        enum weir_why why;
        int error;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, 0, WEIR_WHY_ERROR, WEIR_ETLS},
        {"\x16\x03\x01\xff\xff\x01", 6, 0, WEIR_WHY_ERROR, WEIR_ETLS},
        {"\x16\x03\x01\0\x04\x0e\0\0\0", 9, 0, WEIR_WHY_ERROR, WEIR_ETLS},
        {"\0\0\0\0\0\0\0\0\0\0\0\0", 12, 0, WEIR_WHY_ERROR, WEIR_ETLS},
        {"\x16\x03\x01", 3, 1, WEIR_WHY_ERROR, WEIR_ETLS},
        {"", 0, 1, WEIR_WHY_ERROR, WEIR_ETLS},
        {"\x16\x03\x01", 3, 2, WEIR_WHY_PEER_RESET, -ECONNRESET},
        {"\x16\x03\x01", 3, 3, WEIR_WHY_DEADLINE, WEIR_ETIMEDOUT},
        {"", 0, 3, WEIR_WHY_DEADLINE, WEIR_ETIMEDOUT},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world *w = world_open(NULL);
        struct side *s = server_new(w, usual_server(0));
        s->service.first_byte_ms = 150;
        s->service.linger_ms = 50;
        side_listen(s, "tls://127.0.0.1:0");
        struct peer *p = peer_start(s);
        if (cases[i].size != 0)
            peer_say(p, cases[i].what, cases[i].size);
        world_run_ms(w, 20);
        if (cases[i].how == 1)
            peer_close(p);
        if (cases[i].how == 2)
            peer_reset(p);
        UNTIL(w, s->closed == 1);
        assert_string_equal(s->recs[0]->log, "C");
        assert_int_equal(s->recs[0]->end.why, cases[i].why);
        if (cases[i].how != 2 && s->recs[0]->end.error != cases[i].error)
            fail_msg("case %u ended with %s", i, weir_error_name(s->recs[0]->end.error));
        if (cases[i].how == 3)
            assert_int_equal(s->recs[0]->end.deadline, WEIR_DEADLINE_FIRST_BYTE);
        if (cases[i].how == 0)
            UNTIL(w, p->ended);
        if (cases[i].how == 0 && cases[i].what[0] == 0x16) /* TLS at least: an alert says why not */
            assert_true(p->kept_size == 7 && p->kept[0] == 0x15);
        world_end(w);
    }
}

/* A ClientHello that is larger than the limit, in records as they should be. */
static void tls_peer_with_a_large_handshake(void **state)
{
    weir_tls_cert cert = cert_files("server");
    weir_tls *tls = weir_tls_server_new(&(weir_tls_server_options){
        .certs = &cert, .cert_count = 1, .limits = {.handshake_max_bytes = 3000}});
    struct world *w = world_open(NULL);
    struct side *s = server_new(w, tls);
    side_listen(s, "tls://127.0.0.1:0");
    struct peer *p = peer_start(s);
    static uint8_t hello[4096] = {0x16, 3, 1, 0x0f, 0xfb, 1, 0, 0x40, 0, 3, 3};
    peer_say(p, hello, sizeof hello);
    UNTIL(w, s->closed == 1);
    assert_string_equal(s->recs[0]->log, "C");
    assert_int_equal(s->recs[0]->end.why, WEIR_WHY_LIMIT);
    assert_int_equal(s->recs[0]->end.error, WEIR_ETOOBIG);
    struct client *c = client_new(s, 0); /* a usual one is within it */
    CLIENT_UNTIL(c, s->opened == 1);
    client_free(c);
    world_end(w);
    weir_tls_free(tls);
}

/* --- what is settled ---------------------------------------------------------------------------*/

static void tls_peer_names_a_host(void **state)
{
    certs_usual();
    cert_make("exact", (struct cert_want){.issuer = "ca", .alt = "DNS:a.example,DNS:b.example"});
    cert_make("wild", (struct cert_want){.issuer = "ca", .alt = "DNS:*.a.example,DNS:c.example"});
    cert_make("rsa", (struct cert_want){.issuer = "ca", .alt = "DNS:r.example", .rsa = true});
    static const struct {
        const char *host, *cert;
    } cases[] = {
        {NULL, "server"},        {"a.example", "exact"},      {"B.Example", "exact"},
        {"x.a.example", "wild"}, {"x.y.a.example", "server"}, {"c.example", "wild"},
        {"r.example", "rsa"},    {"b.example.", "exact"},     {"nobody.example", "server"}};
    weir_tls_cert certs[] = {cert_files("server"), cert_files("exact"), cert_files("wild"),
                             cert_files("rsa")};
    weir_tls *tls =
        weir_tls_server_new(&(weir_tls_server_options){.certs = certs, .cert_count = 4});
    struct world *w = world_open(NULL);
    struct side *s = server_new(w, tls);
    side_listen(s, "tls://127.0.0.1:0");
    for (unsigned i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        struct client *c = client_new(s, versions[i % 2]);
        char subject[64];
        if (cases[i / 2].host != NULL)
            SSL_set_tlsext_host_name(c->ssl, (char *)(uintptr_t)cases[i / 2].host);
        CLIENT_UNTIL(c, c->shaken);
        X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(c->ssl)),
                                  NID_commonName, subject, sizeof subject);
        assert_string_equal(subject, cases[i / 2].cert);
        peer_close(c->peer);
        client_free(c);
    }
    UNTIL(w, s->closed == s->count);
    world_end(w);
    weir_tls_free(tls);
}

static void tls_peer_offers_protocols(void **state)
{
    static const struct {
        const char *offer, *chosen; /* NULL: refused */
    } cases[] = {{"\10http/1.1\4echo", "echo"}, {"\2h2\10http/1.1", "http/1.1"}, {"\2h2", NULL}};
    struct world *w = world_open(NULL);
    struct side *s = server_new(w, usual_server(0));
    side_listen(s, "tls://127.0.0.1:0");
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client *c = client_new(s, versions[i % 2]);
        SSL_set_alpn_protos(c->ssl, (const unsigned char *)cases[i].offer,
                            (unsigned)strlen(cases[i].offer));
        if (cases[i].chosen == NULL) {
            CLIENT_UNTIL(c, c->error != 0);
            assert_int_equal(c->reason, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
        } else {
            CLIENT_UNTIL(c, c->shaken && s->opened == 1);
            weir_tls_info info;
            assert_int_equal(V(w, weir_tls_info_of(s->recs[i]->conn, &info)), 0);
            assert_string_equal(info.alpn, cases[i].chosen);
            assert_int_equal(info.version, versions[i % 2]);
        }
        peer_close(c->peer);
        client_free(c);
        UNTIL(w, s->closed == i + 1);
    }
    world_end(w);
}

/* Old versions, weak ciphers, renegotiation: refused. */
static void tls_peer_with_weak_wishes(void **state)
{
    static const struct {
        enum weir_tls_version least;
        int version;
        const char *ciphers;
        bool fine;
    } cases[] = {{0, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", true},
                 {0, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", false},
                 {0, TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA", false},
                 {0, TLS1_1_VERSION, "ALL:@SECLEVEL=0", false},
                 {WEIR_TLS_1_3, TLS1_2_VERSION, "ALL", false},
                 {WEIR_TLS_1_3, TLS1_3_VERSION, "ALL", true}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world *w = world_open(NULL);
        struct side *s = server_new(w, usual_server(cases[i].least));
        side_listen(s, "tls://127.0.0.1:0");
        struct client *c = client_new(s, cases[i].version);
        assert_int_equal(SSL_set_cipher_list(c->ssl, cases[i].ciphers), 1);
        CLIENT_UNTIL(c, c->error != 0 || (c->shaken && s->opened == 1));
        assert_int_equal(c->error == 0, cases[i].fine);
        if (cases[i].fine && cases[i].version == TLS1_2_VERSION) {
            SSL_renegotiate(c->ssl);
            c->shaken = false;
            CLIENT_UNTIL(c, c->error != 0);
            assert_int_equal(c->reason, SSL_R_NO_RENEGOTIATION);
        }
        peer_close(c->peer);
        UNTIL(w, s->closed == 1);
        client_free(c);
        world_end(w);
    }
}

/* Requests for new keys are answered, and their flood is no way to fill memory. */
static void tls_peer_that_renews_its_keys(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = server_new(w, usual_server(0));
    s->data = do_echo;
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, "tls://127.0.0.1:0");
    struct client *c = client_new(s, TLS1_3_VERSION);
    CLIENT_UNTIL(c, c->shaken && s->opened == 1);
    uint64_t most = 0;
    c->reads = false;
    for (int i = 0; i < 3000 && c->error == 0; i++) {
        SSL_key_update(c->ssl, SSL_KEY_UPDATE_REQUESTED);
        c->to_send++;
        client_move(c);
        if (i % 16 == 0)
            world_turn_ms(w, 0);
        most = world_memory(w) > most ? world_memory(w) : most;
    }
    assert_true(most < 2 << 20);
    c->reads = true;
    if (c->error == 0)
        CLIENT_UNTIL(c, c->received == c->to_send || c->error != 0);
    assert_true(c->in_pattern);
    client_free(c);
    world_end(w);
}

K_MAIN(T(tls_peer_is_echoed), T(tls_peer_that_is_cut), T(tls_peer_with_a_false_record),
       T(tls_peer_that_is_slow_to_read), T(tls_peer_byte_by_byte), T(tls_peer_without_a_handshake),
       T(tls_peer_with_a_large_handshake), T(tls_peer_names_a_host), T(tls_peer_offers_protocols),
       T(tls_peer_with_weak_wishes), T(tls_peer_that_renews_its_keys))
