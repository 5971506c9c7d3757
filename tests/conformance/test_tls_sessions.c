/* Outgoing connections that go on with a session, those that must not, and pinned keys. */
#include "conformance/harness.h"
#include "tls/certs.h"
#include "tls/tls.h"

static const enum weir_tls_version both[] = {WEIR_TLS_1_2, WEIR_TLS_1_3};

static struct world *w;
static struct side *s, *c;
static weir_tls *server, *client;

static void begin(enum weir_tls_version version, weir_tls_client_options options)
{
    certs_usual();
    w = world_open(NULL);
    weir_tls_cert cert = cert_files("server");
    const weir_tls_limits limits = {.version_max = version};
    server = weir_tls_server_new(
        &(weir_tls_server_options){.certs = &cert, .cert_count = 1, .limits = limits});
    if (options.ca_file == NULL)
        options.ca_file = cert_path("ca", ".pem");
    client = weir_tls_client_new(&options);
    assert_true(server != NULL && client != NULL);
    s = side_new(w);
    c = side_new(w);
    s->service.tls = weir_tls_layer(server);
    c->service.tls = weir_tls_layer(client);
    s->early_close_fine = c->early_close_fine = true;
    s->data = do_echo;
    side_listen(s, "tls://127.0.0.1:0");
}

static void end(void)
{
    world_end(w);
    weir_tls_free(server);
    weir_tls_free(client);
}

static struct tls_state *state_of(const struct rec *r)
{
    verb_begin(w);
    struct tls_state *found = weir_filter_find(r->conn, &tls_filter);
    verb_end(w, 0);
    assert_non_null(found);
    return found;
}

/* A connection that has exchanged some bytes: behind the tickets of TLS 1.3. */
static struct rec *visitor(const char *url)
{
    unsigned before = c->count;
    side_connect(c, url);
    UNTIL(w, c->count != before);
    struct rec *r = c->recs[before];
    assert_int_equal(r->closes, 0);
    V(w, weir_send(r->conn, weir_static("weir", 4)));
    UNTIL(w, r->received == 4 || r->closes == 1);
    assert_int_equal(r->closes, 0);
    return r;
}

static bool is_resumed(const struct rec *r)
{
    weir_tls_info info;
    assert_int_equal(V(w, weir_tls_info_of(r->conn, &info)), 0);
    assert_true(info.verified);
    assert_true(info.handshake_ns != 0 &&
                info.handshake_ns < now_ns() - r->opened_ns + 60 * WEIR_S);
    /* The server is of the same opinion. */
    weir_tls_info other;
    assert_int_equal(V(w, weir_tls_info_of(s->recs[s->count - 1]->conn, &other)), 0);
    assert_int_equal(info.resumed, other.resumed);
    return info.resumed;
}

static void gone(const struct rec *r)
{
    UNTIL(w, r->closes == 1 && s->closed == s->count);
}

/* Whether a visit went on with a session. */
static bool visit(const char *url)
{
    struct rec *r = visitor(url);
    bool resumed = is_resumed(r);
    V(w, weir_close(r->conn));
    gone(r);
    return resumed;
}

static void tls_client_goes_on(void **state)
{
    for (int i = 0; i < 2; i++) {
        begin(both[i], (weir_tls_client_options){0});
        assert_false(visit(side_url(s)));
        for (int n = 0; n < 5; n++)
            assert_true(visit(side_url(s)));
        end();
    }
}

/* A connection that was reset has harmed no session. */
static void tls_client_goes_on_after_a_reset(void **state)
{
    for (int i = 0; i < 2; i++) {
        begin(both[i], (weir_tls_client_options){0});
        for (int n = 0; n < 5; n++) {
            struct rec *r = visitor(side_url(s));
            assert_int_equal(is_resumed(r), n > 0);
            V(w, weir_abort(r->conn));
            gone(r);
        }
        end();
    }
}

/* One that broke has: in TLS 1.2 its session is over, in 1.3 that of the last ticket. */
static void tls_client_does_not_go_on_after_a_failure(void **state)
{
    begin(WEIR_TLS_1_2, (weir_tls_client_options){0});
    struct rec *r = visitor(side_url(s));
    assert_int_equal(client->current->sessions.count, 1);
    struct tls_state *broken = state_of(s->recs[0]);
    V(w, weir_filter_down(broken->at,
                          weir_static("\x17\x03\x03\0\x20not encrypted by anybody here ..", 37)));
    UNTIL(w, r->closes == 1 && s->closed == 1);
    assert_int_equal(r->end.error, WEIR_ETLS);
    assert_false(visit(side_url(s)));
    end();
}

/* A ticket of TLS 1.3 is used once: of those who come at the same time, as many go on as there are
 * tickets, which are two of a whole handshake. */
static void tls_client_uses_a_ticket_once(void **state)
{
    begin(WEIR_TLS_1_3, (weir_tls_client_options){0});
    assert_false(visit(side_url(s)));
    assert_int_equal(client->current->sessions.count, 2);
    unsigned resumed = 0, before = c->count;
    for (int i = 0; i < 4; i++)
        side_connect(c, side_url(s));
    UNTIL(w, c->opened == 4 && s->opened == 4);
    for (int i = 0; i < 4; i++) {
        weir_tls_info info;
        assert_int_equal(V(w, weir_tls_info_of(c->recs[before + i]->conn, &info)), 0);
        resumed += info.resumed;
    }
    assert_int_equal(resumed, 2);
    end();
}

/* Sessions are of a name at an address. */
static void tls_client_keeps_servers_apart(void **state)
{
    for (int i = 0; i < 2; i++) {
        begin(both[i], (weir_tls_client_options){0});
        char named[64], other_named[64];
        struct side *first = s, *other = side_new(w);
        other->service.tls = weir_tls_layer(server); /* its tickets can be read there */
        other->early_close_fine = true;
        other->data = do_echo;
        side_listen(other, "tls://127.0.0.1:0");
        snprintf(named, sizeof named, "tls://localhost:%d", weir_address_port(&first->address));
        snprintf(other_named, sizeof other_named, "tls://localhost:%d",
                 weir_address_port(&other->address));
        assert_false(visit(named));
        assert_false(visit(side_url(first))); /* another name */
        s = other;
        assert_false(visit(other_named)); /* another port */
        assert_true(visit(other_named));
        s = first;
        assert_true(visit(named));
        end();
    }
}

/* What was loaded anew may trust others; and another client does anyway. */
static void tls_client_does_not_go_on_under_other_rules(void **state)
{
    for (int i = 0; i < 2; i++) {
        begin(both[i], (weir_tls_client_options){0});
        assert_false(visit(side_url(s)));
        assert_int_equal(weir_tls_reload(client), 0);
        assert_false(visit(side_url(s)));
        assert_true(visit(side_url(s)));
        weir_tls *strict =
            weir_tls_client_new(&(weir_tls_client_options){.ca_file = cert_path("ca", ".pem")});
        struct side *mine = c;
        c = side_new(w);
        c->service.tls = weir_tls_layer(strict);
        c->early_close_fine = true;
        assert_false(visit(side_url(s)));
        c = mine;
        world_end(w);
        weir_tls_free(strict);
        weir_tls_free(server);
        weir_tls_free(client);
    }
}

static void tls_client_without_sessions(void **state)
{
    for (int i = 0; i < 2; i++) {
        begin(both[i], (weir_tls_client_options){.no_sessions = true});
        assert_false(visit(side_url(s)));
        assert_false(visit(side_url(s)));
        assert_int_equal(client->current->sessions.count, 0);
        end();
    }
}

/* A day after the whole handshake the certificate is looked at again, whoever went on meanwhile;
 * and a ticket is good for as long as its server says, two hours here. */
static void tls_client_sessions_end(void **state)
{
    enum { HOUR = 3600 };
    for (int i = 0; i < 2; i++) {
        begin(both[i], (weir_tls_client_options){0});
        struct tls_sessions *all = &client->current->sessions;
        assert_false(visit(side_url(s)));
        for (int hour = 0; hour < 30; hour++) {
            for (unsigned k = 0; k < all->count; k++) {
                assert_true((int64_t)(all->items[k].until - now_ns()) <=
                            (int64_t)(2 * HOUR * WEIR_S));
                all->items[k].began -= HOUR * WEIR_S;
                all->items[k].until -= HOUR * WEIR_S;
            }
            assert_int_equal(visit(side_url(s)), hour != 23);
            if (hour == 23) /* it began anew there */
                break;
        }
        for (unsigned k = 0; k < all->count; k++)
            all->items[k].until = now_ns();
        assert_false(visit(side_url(s)));
        end();
    }
}

/* No longer than the certificate is valid. */
static void tls_client_sessions_end_with_the_certificate(void **state)
{
    certs_usual();
    cert_make("days", (struct cert_want){
                          .issuer = "ca", .alt = "IP:127.0.0.1", .from_days = -9, .to_days = 1});
    weir_tls_cert cert = cert_files("days");
    weir_tls *other =
        weir_tls_server_new(&(weir_tls_server_options){.certs = &cert, .cert_count = 1});
    begin(WEIR_TLS_1_3, (weir_tls_client_options){0});
    s->service.tls = weir_tls_layer(other);
    struct rec *r = visitor(side_url(s));
    struct tls_state *own = state_of(r);
    SSL_SESSION *session = SSL_get1_session(own->ssl);
    X509 *peer = SSL_SESSION_get0_peer(session);
    assert_non_null(peer);
    X509_gmtime_adj(X509_getm_notAfter(peer), 60); /* it ends in a minute */
    struct tls_sessions *all = &client->current->sessions;
    for (unsigned i = 0; i < all->count; i++)
        all->items[i].until = now_ns() + 7200 * WEIR_S;
    V(w, weir_close(r->conn));
    gone(r);
    r = visitor(side_url(s));
    assert_true(is_resumed(r)); /* what came now goes by the date of the certificate */
    uint64_t newest = 0;
    weir_time until = 0;
    for (unsigned i = 0; i < all->count; i++)
        if (all->items[i].number >= newest) {
            newest = all->items[i].number;
            until = all->items[i].until;
        }
    assert_true(until <= now_ns() + 60 * WEIR_S);
    SSL_SESSION_free(session);
    world_end(w);
    weir_tls_free(other);
    weir_tls_free(server);
    weir_tls_free(client);
}

/* --- the store ---------------------------------------------------------------------------------*/

static void put(struct tls_sessions *all, const char *key)
{
    SSL_SESSION *session = SSL_SESSION_new();
    assert_non_null(session);
    static const unsigned char id[] = {1, 2, 3, 4};
    SSL_SESSION_set1_id(session, id, sizeof id);
    weir_time now = now_ns();
    assert_true(tls_sessions_put(all, key, session, now, now + WEIR_S));
}

static unsigned count_of(struct tls_sessions *all, const char *key)
{
    unsigned count = 0;
    for (unsigned i = 0; i < all->count; i++)
        count += strcmp(all->items[i].key, key) == 0;
    return count;
}

/* One server cannot drive the others' sessions out, and all together are bounded. */
static void tls_sessions_are_bounded(void **state)
{
    struct tls_sessions all = {0};
    char key[32];
    weir_time began;
    tls_sessions_begin(&all);
    put(&all, "first");
    for (int i = 0; i < 3000; i++)
        put(&all, "greedy");
    assert_int_equal(count_of(&all, "greedy"), 256);
    assert_int_equal(count_of(&all, "first"), 1);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "server %d", i);
        put(&all, key);
    }
    assert_int_equal(all.count, 1024);
    assert_int_equal(count_of(&all, "first"), 0); /* the oldest went */
    assert_int_equal(count_of(&all, "server 1975"), 0);
    assert_int_equal(count_of(&all, "server 1976"), 1);
    assert_null(tls_sessions_take(&all, "first", &began));
    tls_sessions_end(&all);
}

/* --- pinned keys -------------------------------------------------------------------------------*/

static void pin_of(const char *name, char out[static 64])
{
    unsigned char *der = NULL, digest[32];
    X509 *cert = tls_first_cert(cert_path(name, ".pem"));
    assert_non_null(cert);
    int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    assert_int_equal(EVP_Digest(der, (size_t)size, digest, NULL, EVP_sha256(), NULL), 1);
    memcpy(out, "sha256//", 9);
    EVP_EncodeBlock((unsigned char *)out + 8, digest, sizeof digest);
    OPENSSL_free(der);
    X509_free(cert);
}

static void tls_client_pins_keys(void **state)
{
    certs_usual();
    cert_make("self-signed", (struct cert_want){.alt = "IP:127.0.0.1"});
    char own[64], issuer[64], other[64];
    pin_of("server", own);
    pin_of("ca", issuer);
    pin_of("self-signed", other);
    const char *const none[] = {other, NULL}, *const leaf[] = {other, own, NULL},
                      *const root[] = {issuer, NULL};
    const struct {
        const char *const *pins;
        bool insecure, opens;
    } cases[] = {{none, false, false}, {leaf, false, true}, {root, false, true},
                 {none, true, false},  {root, true, false}, {leaf, true, true}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(0, (weir_tls_client_options){.pins = cases[i].pins, .insecure = cases[i].insecure});
        assert_int_equal(log_count(".insecure"), cases[i].insecure);
        side_connect(c, side_url(s));
        UNTIL(w, cases[i].opens ? c->opened == 1 : c->closed == 1);
        if (!cases[i].opens) {
            assert_int_equal(c->recs[0]->end.error, WEIR_ECERT);
            assert_true(log_count("pinned") != 0);
        }
        end();
    }
}

/* A pin does not make good what the chain is bad of. */
static void tls_client_pins_and_verifies(void **state)
{
    certs_usual();
    cert_make("self-signed", (struct cert_want){.alt = "IP:127.0.0.1"});
    char own[64];
    pin_of("server", own);
    const char *const pins[] = {own, NULL};
    begin(0, (weir_tls_client_options){.pins = pins, .ca_file = cert_path("self-signed", ".pem")});
    side_connect(c, side_url(s));
    UNTIL(w, c->closed == 1);
    assert_int_equal(c->recs[0]->end.error, WEIR_ECERT);
    assert_int_equal(log_count("pinned"), 0);
    end();
}

static void tls_pins_that_are_none(void **state)
{
    static const char *const wrong[] = {"",
                                        "sha256//",
                                        "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                                        "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
                                        "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                        "sha256//AAAAAAAAAAAAAAAAAAAA*AAAAAAAAAAAAAAAAAAAAAA=",
                                        "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=A"};
    w = world_open(NULL);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *const pins[] = {wrong[i], NULL};
        assert_null(weir_tls_client_new(
            &(weir_tls_client_options){.ca_file = cert_path("ca", ".pem"), .pins = pins}));
        assert_non_null(strstr(log_last(), ".pins"));
    }
    world_end(w);
}

K_MAIN(T(tls_client_goes_on), T(tls_client_goes_on_after_a_reset),
       T(tls_client_does_not_go_on_after_a_failure), T(tls_client_uses_a_ticket_once),
       T(tls_client_keeps_servers_apart), T(tls_client_does_not_go_on_under_other_rules),
       T(tls_client_without_sessions), T(tls_client_sessions_end),
       T(tls_client_sessions_end_with_the_certificate), T(tls_sessions_are_bounded),
       T(tls_client_pins_keys), T(tls_client_pins_and_verifies), T(tls_pins_that_are_none))
