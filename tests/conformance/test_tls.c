/* TLS between two programs of weir: the contracts hold through it as they do without (K4 to K10),
 * and nobody is spoken to in the clear, or unverified, by mistake. */
#include "conformance/harness_sends.h"
#include "tls/certs.h"

static void secure(struct side *s, weir_tls *tls)
{
    s->service.tls = weir_tls_layer(tls);
    s->early_close_fine = true;
}

/* Two sides that speak TLS, the second connecting to the first. */
static void pair(struct world *w, enum weir_tls_version least, struct side **s, struct side **c)
{
    *s = side_new(w);
    *c = side_new(w);
    secure(*s, usual_server(least));
    secure(*c, usual_client(least));
}

static void pair_connect(struct side *s, struct side *c)
{
    side_listen(s, "tls://127.0.0.1:0");
    side_connect(c, side_url(s));
}

/* --- bytes (K5) and half-closes (K10) ----------------------------------------------------------*/

enum { STREAM = 600000 };

static void send_more(struct rec *r)
{
    while (r->sent < STREAM) {
        int result = H(r, rec_send_pattern(r, 20000));
        if (result < 0)
            world_broke(r->side->world, "the stream was refused");
        if (result != 0)
            return;
    }
    if (r->mark++ == 0)
        H(r, weir_finish(r->conn));
}

static void data_more(struct rec *r, weir_view data)
{
    if (r->mark == 0)
        send_more(r);
}

static void tls_carries_streams_both_ways(void **state)
{
    static const enum weir_tls_version leasts[] = {WEIR_TLS_1_2, WEIR_TLS_1_3};
    for (int i = 0; i < 2; i++) {
        struct world *w = world_open(NULL);
        struct side *s, *c;
        pair(w, leasts[i], &s, &c);
        s->open = c->open = s->drain = c->drain = send_more;
        s->data = c->data = data_more;
        s->end = c->end = do_nothing;
        s->service.read_on = c->service.read_on = WEIR_READ_ALWAYS; /* else both wait */
        pair_connect(s, c);
        UNTIL(w, s->closed == 1 && c->closed == 1);
        struct side *both[2] = {s, c};
        for (int n = 0; n < 2; n++) {
            struct rec *r = both[n]->recs[0];
            assert_int_equal(r->received, STREAM);
            assert_true(r->in_pattern);
            assert_int_equal(r->opens, 1);
            assert_int_equal(r->ends, 1);
            assert_int_equal(r->end.why, WEIR_WHY_PEER_FINISHED);
            assert_int_equal(r->end.error, 0);
        }
        world_end(w);
    }
}

static void tls_carries_every_kind_of_send(void **state)
{
    usual_server(WEIR_TLS_1_2);
    usual_client(WEIR_TLS_1_2);
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s, *c;
    pair(w, WEIR_TLS_1_2, &s, &c);
    s->open = send_all_kinds;
    pair_connect(s, c);
    UNTIL(w, c->count == 1 && c->recs[0]->received == KINDS * 30000);
    assert_true(c->recs[0]->in_pattern);
    assert_true(send_kind_now(s->recs[0], FILE_OWNED, 700000) >= 0);
    assert_true(send_kind_now(s->recs[0], STATIC, 700000) >= 0);
    assert_int_equal(V(w, weir_close(s->recs[0]->conn)), 0); /* all of it goes out before */
    UNTIL(w, c->closed == 1 && s->closed == 1);
    assert_int_equal(c->recs[0]->received, KINDS * 30000 + 1400000);
    assert_true(c->recs[0]->in_pattern);
    assert_int_equal(c->recs[0]->end.why, WEIR_WHY_PEER_FINISHED);
    assert_int_equal(s->recs[0]->end.why, WEIR_WHY_CLOSED);
    sends_finish(w);
}

static void tls_under_a_pause(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s, *c;
    pair(w, WEIR_TLS_1_2, &s, &c);
    s->end = do_close;
    pair_connect(s, c);
    UNTIL(w, s->opened == 1 && c->opened == 1);
    assert_int_equal(V(w, weir_pause(s->recs[0]->conn)), 0);
    assert_true(V(w, rec_send_pattern(c->recs[0], 7000)) >= 0);
    assert_int_equal(V(w, weir_finish(c->recs[0]->conn)), 0);
    world_run_ms(w, 50);
    assert_int_equal(s->recs[0]->received, 0);
    assert_int_equal(s->recs[0]->ends, 0);
    assert_int_equal(V(w, weir_resume(s->recs[0]->conn)), 0);
    UNTIL(w, s->closed == 1);
    assert_int_equal(s->recs[0]->received, 7000);
    assert_string_equal(s->recs[0]->log, "ODEC");
    world_end(w);
}

/* --- bounds (K6) and views (K8) ----------------------------------------------------------------*/

static void tls_is_within_the_hard_cap(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s, *c;
    pair(w, WEIR_TLS_1_2, &s, &c);
    s->service.full = WEIR_FULL_REFUSE;
    s->service.socket.send_buffer_bytes = 4096;
    c->service.socket.receive_buffer_bytes = 4096;
    pair_connect(s, c);
    UNTIL(w, s->opened == 1 && c->opened == 1);
    assert_int_equal(V(w, weir_pause(c->recs[0]->conn)), 0);
    int result = 0, waits = 0;
    for (int i = 0; i < 800 && result >= 0; i++) {
        result = V(w, rec_send_pattern(s->recs[0], 10000));
        waits += result == WEIR_SEND_WAIT;
        world_turn_ms(w, 0);
    }
    assert_int_equal(result, WEIR_EFULL);
    assert_true(waits > 50);
    assert_true(s->recs[0]->sent >= 900000);
    assert_true(world_memory(w) < 6 << 20);
    assert_int_equal(s->recs[0]->drains, 0);
    assert_int_equal(V(w, weir_resume(c->recs[0]->conn)), 0);
    UNTIL(w, c->recs[0]->received == s->recs[0]->sent && s->recs[0]->drains == 1);
    assert_true(c->recs[0]->in_pattern);
    world_end(w);
}

static weir_view kept[512];
static unsigned kept_count;

static void keep_view(struct rec *r, weir_view data)
{
    if (kept_count == sizeof kept / sizeof *kept)
        return;
    h_begin(r->side->world);
    kept[kept_count++] = weir_retain(data);
    h_end(r->side->world, 0);
}

static void tls_and_kept_views(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s, *c;
    pair(w, WEIR_TLS_1_2, &s, &c);
    s->data = keep_view;
    kept_count = 0;
    pair_connect(s, c);
    UNTIL(w, c->opened == 1);
    assert_true(V(w, rec_send_pattern(c->recs[0], 200000)) >= 0);
    UNTIL(w, s->count == 1 && s->recs[0]->received == 200000);
    uint64_t at = 0;
    for (unsigned i = 0; i < kept_count; i++) {
        assert_true(pattern_is(kept[i].data, at, kept[i].size));
        at += kept[i].size;
        verb_begin(w);
        weir_release(kept[i]);
        verb_end(w, 0);
    }
    assert_int_equal(at, 200000);
    world_end(w);
}

/* --- filters above ----------------------------------------------------------------------------*/

static void tls_tells_what_was_settled(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s, *c;
    pair(w, WEIR_TLS_1_3, &s, &c);
    pair_connect(s, c);
    weir_conn plain;
    UNTIL(w, s->opened == 1 && c->opened == 1);
    weir_tls_info info;
    assert_int_equal(V(w, weir_tls_info_of(c->recs[0]->conn, &info)), 0);
    assert_int_equal(info.version, WEIR_TLS_1_3);
    assert_true(info.verified && !info.resumed);
    assert_string_equal(info.cipher, "TLS_AES_128_GCM_SHA256");
    assert_string_equal(info.alpn, "");
    assert_string_equal(info.name, ""); /* an address is not named */
    assert_int_equal(V(w, weir_tls_info_of(s->recs[0]->conn, &info)), 0);
    assert_false(info.verified);
    assert_int_equal(V(w, weir_tls_info_of((weir_conn){0}, &info)), WEIR_EGONE);
    struct side *other = side_new(w), *from = side_new(w);
    side_listen(other, NULL);
    plain = side_connect(from, side_url(other));
    UNTIL(w, from->opened == 1);
    assert_int_equal(V(w, weir_tls_info_of(plain, &info)), WEIR_EINVALID);
    world_end(w);
}

/* --- who is not spoken to ----------------------------------------------------------------------*/

static void tls_is_never_left_out(void **state)
{
    static const char *const urls[] = {"tls://127.0.0.1:0", "https://127.0.0.1:0"};
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    for (int i = 0; i < 2; i++) {
        weir_conn conn = {0};
        s->service.listen = urls[i];
        assert_int_equal(V(w, weir_listen(NULL, &s->service)), WEIR_EINVALID);
        assert_non_null(strstr(log_last(), ".tls"));
        assert_int_equal(V(w, weir_connect(&conn, i == 0 ? "tls://127.0.0.1:9" : "https://[::1]:9",
                                           &s->service, NULL)),
                         WEIR_EINVALID);
        assert_non_null(strstr(log_last(), ".tls"));
    }
    world_end(w);
}

/* One service, three addresses: each speaks as its scheme says. */
static void tls_is_for_its_addresses_alone(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w), *plain = side_new(w);
    secure(s, usual_server(WEIR_TLS_1_2));
    secure(c, usual_client(WEIR_TLS_1_2));
    s->data = do_echo;
    side_listen(s, "tls://127.0.0.1:0 unix:@weir-test-tls-addresses");
    side_connect(c, side_url(s));
    side_connect(plain, "unix:@weir-test-tls-addresses");
    UNTIL(w, c->opened == 1 && plain->opened == 1);
    assert_true(V(w, rec_send_pattern(c->recs[0], 5000)) >= 0);
    assert_true(V(w, rec_send_pattern(plain->recs[0], 5000)) >= 0);
    UNTIL(w, c->recs[0]->received == 5000 && plain->recs[0]->received == 5000);
    assert_true(c->recs[0]->in_pattern && plain->recs[0]->in_pattern);
    world_end(w);
}

/* A client that names another host than the certificate has, or trusts others, opens nothing. */
static void tls_clients_verify(void **state)
{
    certs_usual();
    cert_make(
        "expired",
        (struct cert_want){.issuer = "ca", .alt = "IP:127.0.0.1", .from_days = -9, .to_days = -2});
    cert_make("meant-for-clients",
              (struct cert_want){.issuer = "ca", .alt = "IP:127.0.0.1", .usage = "clientAuth"});
    cert_make("self-signed", (struct cert_want){.alt = "IP:127.0.0.1"});
    cert_make("localhost", (struct cert_want){.issuer = "ca"}); /* as its subject's name only */
    static const struct {
        const char *cert, *name;
        bool insecure;
        int error;
    } cases[] = {
        {"server", NULL, false, 0},
        {"server", "localhost", false, 0},
        {"server", "localhost.", false, 0},
        {"server", "other.example", false, WEIR_ECERT},
        {"localhost", "localhost", false, WEIR_ECERT},
        {"server", "127.0.0.2", false, WEIR_ECERT},
        {"expired", NULL, false, WEIR_ECERT},
        {"meant-for-clients", NULL, false, WEIR_ECERT},
        {"self-signed", NULL, false, WEIR_ECERT},
        {"self-signed", NULL, true, 0},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        weir_tls_cert cert = cert_files(cases[i].cert);
        struct world *w = world_open(NULL);
        weir_tls *server =
            weir_tls_server_new(&(weir_tls_server_options){.certs = &cert, .cert_count = 1});
        weir_tls *client =
            weir_tls_client_new(&(weir_tls_client_options){.ca_file = cert_path("ca", ".pem"),
                                                           .server_name = cases[i].name,
                                                           .insecure = cases[i].insecure});
        assert_true(server != NULL && client != NULL);
        if (cases[i].insecure)
            assert_int_equal(log_count(".insecure"), 1);
        struct side *s = side_new(w), *c = side_new(w);
        secure(s, server);
        secure(c, client);
        pair_connect(s, c);
        UNTIL(w, cases[i].error == 0 ? c->opened == 1 : c->closed == 1 && s->closed == 1);
        if (cases[i].error != 0) {
            assert_string_equal(c->recs[0]->log, "C");
            assert_int_equal(c->recs[0]->end.error, cases[i].error);
            assert_int_equal(c->recs[0]->end.why, WEIR_WHY_ERROR);
            assert_true(log_count("the handshake failed") != 0);
            assert_int_equal(s->recs[0]->end.error, WEIR_ETLS); /* it was told why, by an alert */
        }
        world_end(w);
        weir_tls_free(server);
        weir_tls_free(client);
    }
}

static void tls_names_that_are_none(void **state)
{
    static const char *const names[] = {"", ".", ".example", "*.example", "a b", "a\n", "a\x7f"};
    struct world *w = world_open(NULL);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        assert_null(weir_tls_client_new(&(weir_tls_client_options){
            .ca_file = cert_path("ca", ".pem"), .server_name = names[i]}));
        assert_non_null(strstr(log_last(), ".server_name"));
    }
    world_end(w);
}

static void tls_knows_localhost(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s, *c;
    pair(w, WEIR_TLS_1_2, &s, &c);
    char url[64];
    side_listen(s, "tls://127.0.0.1:0");
    snprintf(url, sizeof url, "tls://localhost:%d", weir_address_port(&s->address));
    weir_conn conn = side_connect(c, url);
    UNTIL(w, c->opened == 1 && s->opened == 1);
    weir_tls_info info;
    assert_int_equal(V(w, weir_tls_info_of(conn, &info)), 0);
    assert_string_equal(info.name, "localhost");
    world_end(w);
}

static void tls_roles_are_not_exchanged(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w);
    secure(s, usual_client(WEIR_TLS_1_2));
    secure(c, usual_client(WEIR_TLS_1_2));
    pair_connect(s, c);
    UNTIL(w, s->closed == 1 && c->closed == 1);
    assert_int_equal(s->recs[0]->end.error, WEIR_EINVALID);
    world_end(w);
}

K_MAIN(T(tls_carries_streams_both_ways), T(tls_carries_every_kind_of_send), T(tls_under_a_pause),
       T(tls_is_within_the_hard_cap), T(tls_and_kept_views), T(tls_tells_what_was_settled),
       T(tls_is_never_left_out), T(tls_is_for_its_addresses_alone), T(tls_clients_verify),
       T(tls_names_that_are_none), T(tls_knows_localhost), T(tls_roles_are_not_exchanged))
