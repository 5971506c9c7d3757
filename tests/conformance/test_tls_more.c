/* Servers of weir over a longer time: sessions that go on, certificates that change, and clients
 * that have certificates themselves. */
#include "conformance/tls_client.h"
#include "tls/tls.h"

static struct world *w;
static struct side *s;

static void begin(weir_tls *tls)
{
    w = world_open(NULL);
    s = server_new(w, tls);
    s->data = do_echo;
    side_listen(s, "tls://127.0.0.1:0");
}

/* Sends some bytes, gets them back, and ends in order. */
static void talk(struct client *c)
{
    c->to_send += 100;
    CLIENT_UNTIL(c, c->received == c->to_send || c->error != 0);
    if (c->error != 0)
        return;
    assert_true(c->in_pattern);
    c->finish = true;
    CLIENT_UNTIL(c, c->ended);
}

static void leave(struct client *c)
{
    peer_close(c->peer);
    client_free(c);
    UNTIL(w, s->closed == s->count);
}

static void peer_name(const struct client *c, char out[static 64])
{
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(c->ssl)),
                              NID_commonName, out, 64);
}

/* --- sessions ----------------------------------------------------------------------------------*/

static void tls_sessions_go_on(void **state)
{
    for (int i = 0; i < 2; i++) {
        begin(usual_server(0));
        SSL_SESSION *session = NULL;
        for (int n = 0; n < 3; n++) {
            struct client *c = client_new(s, versions[i]);
            if (session != NULL)
                assert_int_equal(SSL_set_session(c->ssl, session), 1);
            SSL_SESSION_free(session);
            talk(c);
            assert_int_equal(c->error, 0);
            assert_int_equal(SSL_session_reused(c->ssl), n > 0);
            session = SSL_get1_session(c->ssl);
            assert_true(SSL_SESSION_is_resumable(session));
            assert_int_equal(SSL_SESSION_get_max_early_data(session), 0);
            leave(c);
        }
        SSL_SESSION_free(session);
        world_end(w);
    }
}

/* A ticket of another server, or one that was damaged, is none: the handshake is a whole one. */
static void tls_sessions_of_others(void **state)
{
    weir_tls_cert cert = cert_files("server");
    weir_tls *other =
        weir_tls_server_new(&(weir_tls_server_options){.certs = &cert, .cert_count = 1});
    for (int i = 0; i < 2; i++) {
        begin(other);
        struct client *c = client_new(s, versions[i]);
        talk(c);
        SSL_SESSION *session = SSL_get1_session(c->ssl);
        leave(c);
        world_end(w);
        begin(usual_server(0));
        c = client_new(s, versions[i]);
        assert_int_equal(SSL_set_session(c->ssl, session), 1);
        talk(c);
        assert_int_equal(c->error, 0);
        assert_int_equal(SSL_session_reused(c->ssl), 0);
        SSL_SESSION_free(session);
        leave(c);
        world_end(w);
    }
    weir_tls_free(other);
}

/* A ticket is accepted for three hours; then its key is gone. */
static void tls_sessions_and_old_keys(void **state)
{
    static const struct {
        unsigned hours;
        bool reused;
    } cases[] = {{0, true}, {1, true}, {2, true}, {3, false}, {30, false}};
    weir_tls *tls = usual_server(0);
    for (unsigned i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        begin(tls);
        struct client *c = client_new(s, versions[i % 2]);
        talk(c);
        SSL_SESSION *session = SSL_get1_session(c->ssl);
        leave(c);
        for (unsigned hour = 0; hour < cases[i / 2].hours; hour++) {
            for (unsigned key = 0; key < tls->tickets.count; key++)
                tls->tickets.keys[key].since -= 3600 * WEIR_S;
            if (cases[i / 2].hours > 3)
                continue; /* nobody comes all that time */
            c = client_new(s, versions[i % 2]);
            talk(c);
            leave(c);
        }
        c = client_new(s, versions[i % 2]);
        assert_int_equal(SSL_set_session(c->ssl, session), 1);
        talk(c);
        assert_int_equal(c->error, 0);
        assert_int_equal(SSL_session_reused(c->ssl), cases[i / 2].reused);
        SSL_SESSION_free(session);
        leave(c);
        world_end(w);
    }
}

static bool goes_on(SSL_SESSION *session, int version)
{
    struct client *c = client_new(s, version);
    assert_int_equal(SSL_set_session(c->ssl, session), 1);
    talk(c);
    assert_int_equal(c->error, 0);
    bool reused = SSL_session_reused(c->ssl) == 1;
    leave(c);
    return reused;
}

static void keys_age(weir_tls *tls, int64_t by)
{
    for (unsigned key = 0; key < tls->tickets.count; key++)
        tls->tickets.keys[key].since -= (weir_time)by;
}

/* A key goes by its own age, which is none on a loop whose turn began before it was made. */
static void tls_sessions_and_the_age_of_a_key(void **state)
{
    enum { HOUR = 3600, LATE = 3 * HOUR - 60 };
    for (int i = 0; i < 2; i++) {
        weir_tls *tls = usual_server(0);
        begin(tls);
        struct client *c = client_new(s, versions[i]);
        talk(c);
        SSL_SESSION *session = SSL_get1_session(c->ssl);
        leave(c);
        keys_age(tls, -(int64_t)(HOUR * WEIR_S)); /* each of them is from later */
        assert_true(goes_on(session, versions[i]));
        keys_age(tls, HOUR * WEIR_S);
        keys_age(tls, LATE * WEIR_S);
        assert_true(goes_on(session, versions[i]));
        keys_age(tls, LATE * WEIR_S); /* of the newest, which is accepted yet */
        assert_false(goes_on(session, versions[i]));
        SSL_SESSION_free(session);
        world_end(w);
    }
}

/* --- certificates that change ------------------------------------------------------------------*/

static void copy_file(const char *from, const char *to)
{
    static char text[16384];
    FILE *file = fopen(from, "re");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof text, file);
    fclose(file);
    file = fopen(to, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void tls_certificates_change(void **state)
{
    certs_usual();
    cert_make("first", (struct cert_want){.issuer = "ca", .alt = "DNS:localhost"});
    cert_make("second", (struct cert_want){.issuer = "ca", .alt = "DNS:localhost"});
    const weir_tls_cert now = cert_files("now");
    copy_file(cert_path("first", ".pem"), now.cert_file);
    copy_file(cert_path("first", ".key"), now.key_file);
    weir_tls *tls = weir_tls_server_new(&(weir_tls_server_options){.certs = &now, .cert_count = 1});
    assert_non_null(tls);
    begin(tls);
    char name[64];
    struct client *before = client_new(s, 0);
    CLIENT_UNTIL(before, before->shaken && s->opened == 1);
    copy_file(cert_path("second", ".pem"), now.cert_file); /* the key does not match yet */
    assert_true(weir_tls_reload(tls) < 0);
    assert_non_null(strstr(log_last(), "does not match"));
    struct client *between = client_new(s, 0);
    talk(between);
    peer_name(between, name);
    assert_string_equal(name, "first");
    copy_file(cert_path("second", ".key"), now.key_file);
    assert_int_equal(weir_tls_reload(tls), 0);
    struct client *after = client_new(s, 0);
    talk(after);
    peer_name(after, name);
    assert_string_equal(name, "second");
    talk(before); /* which is as it was */
    assert_int_equal(before->error, 0);
    peer_close(before->peer);
    peer_close(between->peer);
    client_free(before);
    client_free(between);
    leave(after);
    world_end(w);
    weir_tls_free(tls);
}

/* --- clients' certificates ---------------------------------------------------------------------*/

static void own_cert(struct client *c, const char *name)
{
    assert_int_equal(SSL_use_certificate_file(c->ssl, cert_path(name, ".pem"), SSL_FILETYPE_PEM),
                     1);
    assert_int_equal(SSL_use_PrivateKey_file(c->ssl, cert_path(name, ".key"), SSL_FILETYPE_PEM), 1);
}

static void tls_clients_have_certificates(void **state)
{
    certs_usual();
    cert_make(
        "somebody",
        (struct cert_want){.issuer = "ca", .alt = "DNS:somebody.example", .usage = "clientAuth"});
    cert_make("nobody", (struct cert_want){.usage = "clientAuth"});
    static const struct {
        enum weir_tls_peer_certs asks;
        const char *cert;
        bool fine;
        int error;
    } cases[] = {{WEIR_TLS_PEER_CERTS_NONE, "nobody", true, 0},
                 {WEIR_TLS_PEER_CERTS_REQUEST, NULL, true, 0},
                 {WEIR_TLS_PEER_CERTS_REQUEST, "somebody", true, 0},
                 {WEIR_TLS_PEER_CERTS_REQUEST, "nobody", false, WEIR_ECERT},
                 {WEIR_TLS_PEER_CERTS_REQUIRE, NULL, false, WEIR_ETLS},
                 {WEIR_TLS_PEER_CERTS_REQUIRE, "somebody", true, 0},
                 {WEIR_TLS_PEER_CERTS_REQUIRE, "server", false, WEIR_ECERT}};
    for (unsigned i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        weir_tls_cert cert = cert_files("server");
        bool asks = cases[i / 2].asks != WEIR_TLS_PEER_CERTS_NONE;
        weir_tls *tls = weir_tls_server_new(
            &(weir_tls_server_options){.certs = &cert,
                                       .cert_count = 1,
                                       .peer_certs = cases[i / 2].asks,
                                       .peer_ca_file = asks ? cert_path("ca", ".pem") : NULL});
        assert_non_null(tls);
        begin(tls);
        struct client *c = client_new(s, versions[i % 2]);
        if (cases[i / 2].cert != NULL)
            own_cert(c, cases[i / 2].cert);
        if (!cases[i / 2].fine) {
            c->to_send = 100; /* in TLS 1.3 the client hears of it only behind its handshake */
            CLIENT_UNTIL(c, c->error != 0 || c->ended);
            peer_close(c->peer);
            UNTIL(w, s->closed == 1);
            assert_int_equal(s->recs[0]->opens, 0);
            assert_int_equal(s->recs[0]->end.error, cases[i / 2].error);
        } else {
            weir_cert_info info;
            CLIENT_UNTIL(c, c->shaken && s->opened == 1);
            int result = V(w, weir_tls_peer_cert(s->recs[0]->conn, &info));
            assert_int_equal(result, asks && cases[i / 2].cert != NULL ? 0 : WEIR_EINVALID);
            if (result == 0) {
                assert_string_equal(info.subject, "CN=somebody");
                assert_string_equal(info.names, "somebody.example");
            }
            talk(c);
            assert_int_equal(c->error, 0);
        }
        leave(c);
        world_end(w);
        weir_tls_free(tls);
    }
}

static weir_tls *asking_server(const char *ca)
{
    certs_usual();
    weir_tls_cert cert = cert_files("server");
    weir_tls *tls =
        weir_tls_server_new(&(weir_tls_server_options){.certs = &cert,
                                                       .cert_count = 1,
                                                       .peer_certs = WEIR_TLS_PEER_CERTS_REQUIRE,
                                                       .peer_ca_file = cert_path(ca, ".pem")});
    assert_non_null(tls);
    return tls;
}

/* The session of a client that shows this certificate, and perhaps one from before. */
static SSL_SESSION *session_of(const char *cert, int version, SSL_SESSION *former, bool *reused)
{
    struct client *c = client_new(s, version);
    own_cert(c, cert);
    if (former != NULL)
        assert_int_equal(SSL_set_session(c->ssl, former), 1);
    SSL_SESSION_free(former);
    talk(c);
    assert_int_equal(c->error, 0);
    *reused = SSL_session_reused(c->ssl) == 1;
    SSL_SESSION *session = SSL_get1_session(c->ssl);
    leave(c);
    return session;
}

/* A ticket that is given behind a reload by a handshake from before it is worth nothing. */
static void tls_sessions_and_a_reload(void **state)
{
    weir_tls *tls = asking_server("ca");
    cert_make("somebody", (struct cert_want){.issuer = "ca", .usage = "clientAuth"});
    for (int i = 0; i < 2; i++) {
        begin(tls);
        bool reused;
        char byte;
        struct client *c = client_new(s, versions[i]);
        own_cert(c, "somebody");
        client_move(c);
        UNTIL(w, recv(c->peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1);
        assert_int_equal(weir_tls_reload(tls), 0);
        talk(c);
        assert_int_equal(c->error, 0);
        SSL_SESSION *session = SSL_get1_session(c->ssl);
        assert_true(SSL_SESSION_is_resumable(session));
        leave(c);
        session = session_of("somebody", versions[i], session, &reused);
        assert_false(reused);
        session = session_of("somebody", versions[i], session, &reused);
        assert_true(reused); /* that one is of this load */
        SSL_SESSION_free(session);
        world_end(w);
    }
    weir_tls_free(tls);
}

/* A session ends with the client's certificate, or a time after the first handshake. The server
 * verifies as if it were another day, so that certificates out of their dates pass at first. */
static void tls_sessions_and_the_dates_of_a_client(void **state)
{
    static const struct {
        const char *name;
        int from_days, to_days, day;
        bool reused;
    } cases[] = {
        {"valid", -8, 8, 0, true}, {"gone", -8, -2, -5, false}, {"to-come", 2, 8, 5, false}};
    bool reused;
    cert_make("elder", (struct cert_want){.ca = true, .from_days = -9, .to_days = 9});
    for (unsigned i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const char *name = cases[i / 2].name;
        weir_tls *tls = asking_server("elder");
        SSL_CTX *context = tls->current->contexts[0];
        cert_make(name, (struct cert_want){.issuer = "elder",
                                           .usage = "clientAuth",
                                           .from_days = cases[i / 2].from_days,
                                           .to_days = cases[i / 2].to_days});
        X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(context),
                                   time(NULL) + cases[i / 2].day * 86400);
        begin(tls);
        SSL_SESSION *session = session_of(name, versions[i % 2], NULL, &reused);
        session = session_of(name, versions[i % 2], session, &reused);
        assert_int_equal(reused, cases[i / 2].reused);
        if (i == 1) { /* in TLS 1.3, where the second handshake has given another ticket */
            world_run_ms(w, 1100);
            session = session_of(name, versions[i], session, &reused);
            assert_true(reused);
            SSL_CTX_set_timeout(context, 1);
            session = session_of(name, versions[i], session, &reused);
            assert_false(reused);
        }
        SSL_SESSION_free(session);
        world_end(w);
        weir_tls_free(tls);
    }
}

/* weir's own client shows its certificate. */
static void tls_between_two_who_know_each_other(void **state)
{
    certs_usual();
    cert_make(
        "somebody",
        (struct cert_want){.issuer = "ca", .alt = "DNS:somebody.example", .usage = "clientAuth"});
    weir_tls_cert cert = cert_files("server");
    weir_tls *tls =
        weir_tls_server_new(&(weir_tls_server_options){.certs = &cert,
                                                       .cert_count = 1,
                                                       .peer_certs = WEIR_TLS_PEER_CERTS_REQUIRE,
                                                       .peer_ca_file = cert_path("ca", ".pem")});
    weir_tls *own = weir_tls_client_new(&(weir_tls_client_options){
        .ca_file = cert_path("ca", ".pem"), .cert = cert_files("somebody")});
    assert_true(tls != NULL && own != NULL);
    begin(tls);
    struct side *c = side_new(w);
    c->service.tls = weir_tls_layer(own);
    side_connect(c, side_url(s));
    UNTIL(w, s->opened == 1 && c->opened == 1);
    weir_cert_info info;
    assert_int_equal(V(w, weir_tls_peer_cert(s->recs[0]->conn, &info)), 0);
    assert_string_equal(info.subject, "CN=somebody");
    assert_int_equal(V(w, weir_tls_peer_cert(c->recs[0]->conn, &info)), 0);
    assert_string_equal(info.names, "localhost 127.0.0.1 ::1");
    world_end(w);
    weir_tls_free(tls);
    weir_tls_free(own);
}

K_MAIN(T(tls_sessions_go_on), T(tls_sessions_of_others), T(tls_sessions_and_old_keys),
       T(tls_sessions_and_the_age_of_a_key), T(tls_certificates_change),
       T(tls_clients_have_certificates), T(tls_sessions_and_a_reload),
       T(tls_sessions_and_the_dates_of_a_client), T(tls_between_two_who_know_each_other))
