/* What a server of TLS has in files beside its certificates: answers of OCSP responders that it
 * staples to them, and keys of tickets that several servers share. */
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <time.h>

#include "conformance/tls_client.h"
#include "tls/tls.h"

static struct world *w;
static struct side *s;

static void serve(weir_tls *tls)
{
    s = server_new(w, tls);
    s->data = do_echo;
    side_listen(s, "tls://127.0.0.1:0");
}

static void begin(weir_tls *tls)
{
    w = world_open(NULL);
    serve(tls);
}

static void talk(struct client *c)
{
    c->to_send += 100;
    CLIENT_UNTIL(c, c->received == c->to_send || c->error != 0);
    assert_int_equal(c->error, 0);
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

static void bytes_write(const char *path, const void *bytes, size_t size, mode_t mode)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* --- stapled answers ---------------------------------------------------------------------------*/

static X509 *cert_of(const char *name)
{
    FILE *file = fopen(cert_path(name, ".pem"), "re");
    X509 *cert = file != NULL ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    assert_non_null(cert);
    fclose(file);
    return cert;
}

static EVP_PKEY *key_of(const char *name)
{
    FILE *file = fopen(cert_path(name, ".key"), "re");
    EVP_PKEY *key = file != NULL ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    assert_non_null(key);
    fclose(file);
    return key;
}

struct answer {
    const char *about, *signer;
    int status, from_s, until_s; /* from now; 0: there is no such time in it */
    int refused;                 /* the responder's status */
    bool longer, cut;            /* the file, by a byte */
    bool sha256;                 /* the hashes of the issuer */
};

static void answer_write(const char *path, struct answer want)
{
    X509 *cert = cert_of(want.about), *issuer = cert_of("ca"), *signer = cert_of(want.signer);
    EVP_PKEY *key = key_of(want.signer);
    time_t now = time(NULL);
    ASN1_TIME *from = ASN1_GENERALIZEDTIME_adj(NULL, now, 0, want.from_s);
    ASN1_TIME *until =
        want.until_s != 0 ? ASN1_GENERALIZEDTIME_adj(NULL, now, 0, want.until_s) : NULL;
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(want.sha256 ? EVP_sha256() : EVP_sha1(), cert, issuer);
    assert_non_null(OCSP_basic_add1_status(basic, id, want.status, 0, from, from, until));
    assert_int_equal(OCSP_basic_sign(basic, signer, key, EVP_sha256(), NULL, 0), 1);
    OCSP_RESPONSE *whole = OCSP_response_create(want.refused, want.refused != 0 ? NULL : basic);
    uint8_t *der = NULL;
    int size = i2d_OCSP_RESPONSE(whole, &der);
    assert_true(size > 0);
    der = OPENSSL_realloc(der, (size_t)size + 1);
    assert_non_null(der);
    der[size] = 0;
    bytes_write(path, der, (size_t)size + want.longer - want.cut, 0644);
    OPENSSL_free(der);
    OCSP_RESPONSE_free(whole);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    EVP_PKEY_free(key);
    X509_free(cert);
    X509_free(issuer);
    X509_free(signer);
}

/* A path that stays. */
static const char *kept(const char *name, const char *suffix)
{
    static char paths[64][128];
    static unsigned used;
    assert_true(used < 64);
    snprintf(paths[used], sizeof paths[0], "%s", cert_path(name, suffix));
    return paths[used++];
}

/* The server's certificate with its issuer behind it. */
static weir_tls_cert with_issuer(const char *name)
{
    static char text[16384];
    weir_tls_cert files = {.cert_file = kept(name, ".chain"),
                           .key_file = kept(name, ".key"),
                           .ocsp_file = kept(name, ".ocsp")};
    const char *parts[] = {name, "ca"};
    size_t size = 0;
    for (int i = 0; i < 2; i++) {
        FILE *file = fopen(cert_path(parts[i], ".pem"), "re");
        assert_non_null(file);
        size += fread(text + size, 1, sizeof text - size, file);
        fclose(file);
    }
    bytes_write(files.cert_file, text, size, 0644);
    return files;
}

static weir_tls *stapling(const weir_tls_cert *files, unsigned count)
{
    weir_tls *tls =
        weir_tls_server_new(&(weir_tls_server_options){.certs = files, .cert_count = count});
    if (tls == NULL)
        fail_msg("no server: %s", log_last());
    return tls;
}

/* The size of what is stapled, 0: nothing. */
static size_t stapled(int version, const char *host, const char *file)
{
    static uint8_t expected[8192];
    const unsigned char *der;
    struct client *c = client_new(s, version);
    SSL_set_tlsext_status_type(c->ssl, TLSEXT_STATUSTYPE_ocsp);
    SSL_set_tlsext_host_name(c->ssl, (char *)(uintptr_t)host);
    talk(c);
    long size = SSL_get_tlsext_status_ocsp_resp(c->ssl, &der);
    if (size > 0) {
        FILE *in = fopen(file, "re");
        assert_non_null(in);
        assert_int_equal(fread(expected, 1, sizeof expected, in), (size_t)size);
        assert_memory_equal(expected, der, (size_t)size);
        fclose(in);
    }
    leave(c);
    return size > 0 ? (size_t)size : 0;
}

static void tls_answers_are_stapled(void **state)
{
    enum { HOUR = 3600 };
    certs_usual();
    cert_make("other", (struct cert_want){.issuer = "ca", .alt = "DNS:other.example"});
    cert_make("stranger", (struct cert_want){.ca = true});
    cert_make("responder", (struct cert_want){.issuer = "ca", .usage = "OCSPSigning"});
    static const struct {
        struct answer answer;
        const char *told; /* NULL: it is stapled */
    } cases[] = {
        {{"server", "ca", 0, -HOUR, HOUR, 0, false, false, false}, NULL},
        {{"server", "ca", 0, -HOUR, HOUR, 0, false, false, true}, NULL},
        {{"server", "responder", 0, -HOUR, HOUR, 0, false, false, false}, NULL},
        {{"server", "ca", 0, 100, HOUR, 0, false, false, false}, NULL}, /* clocks differ a little */
        {{"other", "ca", 0, -HOUR, HOUR, 0, false, false, false}, "about another"},
        {{"server", "stranger", 0, -HOUR, HOUR, 0, false, false, false}, "not signed"},
        {{"server", "other", 0, -HOUR, HOUR, 0, false, false, false}, "not signed"},
        {{"server", "ca", 1, -HOUR, HOUR, 0, false, false, false}, "revoked"},
        {{"server", "ca", 2, -HOUR, HOUR, 0, false, false, false}, "does not know"},
        {{"server", "ca", 0, -HOUR, -1, 0, false, false, false}, "has expired"},
        {{"server", "ca", 0, HOUR, 2 * HOUR, 0, false, false, false}, "from the future"},
        {{"server", "ca", 0, -HOUR, 0, 0, false, false, false}, "nextUpdate"},
        {{"server", "ca", 0, -HOUR, HOUR, 3, false, false, false}, "refused to answer"},
        {{"server", "ca", 0, -HOUR, HOUR, 0, true, false, false}, "no answer"},
        {{"server", "ca", 0, -HOUR, HOUR, 0, false, true, false}, "no answer"},
    };
    weir_tls_cert files = with_issuer("server");
    for (unsigned i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const char *told = cases[i / 2].told;
        answer_write(files.ocsp_file, cases[i / 2].answer);
        w = world_open(NULL);
        weir_tls *tls = stapling(&files, 1);
        serve(tls);
        for (int n = 0; n < 2; n++) { /* what is wrong is told once */
            bool is = stapled(versions[i % 2], "localhost", files.ocsp_file) != 0;
            if (is != (told == NULL))
                fail_msg("case %u: %s", i / 2, log_last());
        }
        assert_int_equal(log_count("no OCSP answer is stapled"), told != NULL);
        if (told != NULL)
            assert_int_equal(log_count(told), 1);
        world_end(w);
        weir_tls_free(tls);
    }
}

/* Each certificate has its own, and who does not ask for one gets none. */
static void tls_answers_and_names(void **state)
{
    certs_usual();
    cert_make("other", (struct cert_want){.issuer = "ca", .alt = "DNS:other.example"});
    cert_make("third", (struct cert_want){.issuer = "ca", .alt = "DNS:third.example"});
    weir_tls_cert files[] = {
        with_issuer("server"),
        with_issuer("other"),
        {.cert_file = kept("third", ".pem"), .key_file = kept("third", ".key")}};
    files[1].cert_file = kept("other", ".pem"); /* without its issuer */
    answer_write(files[0].ocsp_file, (struct answer){"server", "ca", .until_s = 3600});
    answer_write(files[1].ocsp_file, (struct answer){"other", "ca", .until_s = 3600});
    weir_tls *tls = stapling(files, 3);
    begin(tls);
    for (int i = 0; i < 2; i++) {
        assert_true(stapled(versions[i], "localhost", files[0].ocsp_file) != 0);
        assert_true(stapled(versions[i], "other.example", files[1].ocsp_file) != 0);
        assert_int_equal(stapled(versions[i], "third.example", NULL), 0);
        const unsigned char *der;
        struct client *c = client_new(s, versions[i]);
        talk(c);
        assert_int_equal(SSL_get_tlsext_status_ocsp_resp(c->ssl, &der), -1);
        leave(c);
    }
    world_end(w);
    weir_tls_free(tls);
}

/* One that ends while the server runs is not sent any more, which is told once; a newer one is
 * taken by a reload, and a file that is gone is no reason to keep the old certificate. */
static void tls_answers_end_and_are_renewed(void **state)
{
    certs_usual();
    weir_tls_cert files = with_issuer("server");
    answer_write(files.ocsp_file, (struct answer){"server", "ca", .until_s = 2});
    w = world_open(NULL);
    weir_tls *tls = stapling(&files, 1);
    serve(tls);
    uint64_t end = now_ns() + 60000000000ull;
    while (stapled(TLS1_3_VERSION, "localhost", files.ocsp_file) != 0 && now_ns() < end)
        world_run_ms(w, 50);
    for (int i = 0; i < 3; i++)
        assert_int_equal(stapled(TLS1_3_VERSION, "localhost", files.ocsp_file), 0);
    assert_int_equal(log_count("has expired"), 1);
    answer_write(files.ocsp_file, (struct answer){"server", "ca", .until_s = 3600});
    assert_int_equal(weir_tls_reload(tls), 0);
    assert_true(stapled(TLS1_3_VERSION, "localhost", files.ocsp_file) != 0);
    assert_int_equal(unlink(files.ocsp_file), 0);
    assert_int_equal(weir_tls_reload(tls), 0);
    assert_int_equal(stapled(TLS1_3_VERSION, "localhost", files.ocsp_file), 0);
    world_end(w);
    weir_tls_free(tls);
}

/* --- keys of tickets that are shared -----------------------------------------------------------*/

enum { KEY = 80 };

static weir_tls *sharing(const char *file)
{
    certs_usual();
    weir_tls_cert cert = cert_files("server");
    return weir_tls_server_new(
        &(weir_tls_server_options){.certs = &cert, .cert_count = 1, .ticket_key_file = file});
}

/* A session with this server, which may go on with a former one; whether it did. */
static bool session_with(weir_tls *tls, int version, SSL_SESSION **session)
{
    begin(tls);
    struct client *c = client_new(s, version);
    if (*session != NULL)
        assert_int_equal(SSL_set_session(c->ssl, *session), 1);
    talk(c);
    bool reused = SSL_session_reused(c->ssl) == 1;
    SSL_SESSION_free(*session);
    *session = SSL_get1_session(c->ssl);
    leave(c);
    world_end(w);
    return reused;
}

static void tls_tickets_are_shared(void **state)
{
    uint8_t keys[3 * KEY];
    const char *file = kept("tickets", ".keys");
    assert_int_equal(RAND_bytes(keys, sizeof keys), 1);
    for (int i = 0; i < 2; i++) {
        SSL_SESSION *session = NULL;
        bytes_write(file, keys, KEY, 0600);
        weir_tls *one = sharing(file), *other = sharing(file), *alone = sharing(NULL);
        assert_true(one != NULL && other != NULL && alone != NULL);
        assert_false(session_with(one, versions[i], &session));
        assert_true(session_with(other, versions[i], &session));
        assert_true(session_with(one, versions[i], &session));
        assert_false(session_with(alone, versions[i], &session));
        assert_false(session_with(one, versions[i], &session));
        /* A second key: the former one opens, and gives a ticket of the first. */
        memmove(keys + KEY, keys, KEY);
        assert_int_equal(RAND_bytes(keys, KEY), 1);
        bytes_write(file, keys, 2 * KEY, 0600);
        assert_int_equal(weir_tls_reload(other), 0);
        SSL_SESSION *former = session;
        SSL_SESSION_up_ref(former);
        assert_true(session_with(other, versions[i], &session));
        assert_false(session_with(one, versions[i], &session)); /* which does not know it yet */
        assert_int_equal(weir_tls_reload(one), 0);
        assert_true(session_with(one, versions[i], &former));
        assert_true(session_with(other, versions[i], &former));
        /* The former key goes. */
        bytes_write(file, keys, KEY, 0600);
        assert_int_equal(weir_tls_reload(one), 0);
        assert_false(session_with(one, versions[i], &session));
        assert_true(session_with(one, versions[i], &former));
        assert_true(session_with(other, versions[i], &former));
        SSL_SESSION_free(session);
        SSL_SESSION_free(former);
        weir_tls_free(one);
        weir_tls_free(other);
        weir_tls_free(alone);
    }
}

/* Each part of a key counts: one that differs in the name, the MAC's or the cipher's part opens
 * nothing. */
static void tls_tickets_and_keys_that_differ(void **state)
{
    static const size_t places[] = {0, 15, 16, 47, 48, 79};
    uint8_t key[KEY];
    const char *file = kept("differs", ".keys");
    assert_int_equal(RAND_bytes(key, sizeof key), 1);
    bytes_write(file, key, KEY, 0600);
    weir_tls *one = sharing(file);
    for (unsigned i = 0; i < 2 * sizeof places / sizeof *places; i++) {
        SSL_SESSION *session = NULL;
        assert_false(session_with(one, versions[i % 2], &session));
        key[places[i / 2]] ^= 1;
        bytes_write(file, key, KEY, 0600);
        key[places[i / 2]] ^= 1;
        weir_tls *other = sharing(file);
        if (session_with(other, versions[i % 2], &session))
            fail_msg("byte %zu of a key is none of it", places[i / 2]);
        SSL_SESSION_free(session);
        weir_tls_free(other);
    }
    weir_tls_free(one);
}

static void tls_tickets_and_what_is_no_key(void **state)
{
    static uint8_t keys[17 * KEY], zeroes[KEY];
    static const struct {
        size_t size;
        mode_t mode;
        const char *told; /* NULL: fine */
    } cases[] = {
        {KEY, 0600, NULL},          {KEY, 0640, NULL},        {16 * KEY, 0400, NULL},
        {KEY, 0604, "chmod 600"},   {KEY, 0602, "chmod 600"}, {0, 0600, "0 bytes are not"},
        {KEY - 1, 0600, "79 byte"}, {48, 0600, "48 byte"},    {17 * KEY, 0600, "1360 byte"}};
    const char *file = kept("some", ".keys");
    assert_int_equal(RAND_bytes(keys, sizeof keys), 1);
    memcpy(zeroes, keys, 16);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        unlink(file);
        bytes_write(file, keys, cases[i].size, cases[i].mode);
        weir_tls *tls = sharing(file);
        if ((tls != NULL) != (cases[i].told == NULL))
            fail_msg("case %u: %s", i, log_last());
        if (cases[i].told != NULL)
            assert_non_null(strstr(log_last(), cases[i].told));
        weir_tls_free(tls);
    }
    unlink(file);
    bytes_write(file, zeroes, KEY, 0600);
    assert_null(sharing(file));
    assert_non_null(strstr(log_last(), "zeroes"));
    assert_null(sharing("/dev/zero"));
    assert_null(sharing("/proc/nothing"));
    /* What is wrong at a reload leaves the keys as they were. */
    bytes_write(file, keys, KEY, 0600);
    SSL_SESSION *session = NULL;
    weir_tls *tls = sharing(file);
    assert_false(session_with(tls, TLS1_3_VERSION, &session));
    bytes_write(file, keys + KEY, KEY - 1, 0600);
    assert_true(weir_tls_reload(tls) < 0);
    assert_true(session_with(tls, TLS1_3_VERSION, &session));
    SSL_SESSION_free(session);
    weir_tls_free(tls);
}

/* --- the rate of handshakes --------------------------------------------------------------------*/

static weir_tls *limited(uint32_t rate)
{
    certs_usual();
    weir_tls_cert cert = cert_files("server");
    weir_tls *tls = weir_tls_server_new(
        &(weir_tls_server_options){.certs = &cert, .cert_count = 1, .handshake_rate = rate});
    assert_non_null(tls);
    return tls;
}

static weir_tls_stats counted(weir_tls *tls)
{
    weir_tls_stats stats;
    assert_int_equal(weir_tls_stats_get(tls, &stats), 0);
    return stats;
}

/* Those beyond it wait, one that is established goes on meanwhile; all of them begin in the end,
 * and never more than the rate has places for. */
static void tls_handshakes_wait_for_their_place(void **state)
{
    enum { RATE = 8, CLIENTS = 8 };
    for (int i = 0; i < 2; i++) {
        weir_tls *tls = limited(RATE);
        struct client *clients[CLIENTS];
        w = world_open(NULL);
        serve(tls);
        struct client *before = client_new(s, versions[i]);
        uint64_t began = now_ns();
        before->to_send = 100;
        CLIENT_UNTIL(before, before->received == 100);
        for (int n = 0; n < CLIENTS; n++) {
            clients[n] = client_new(s, versions[i]);
            client_move(clients[n]);
        }
        unsigned shaken = 0, echoes = 0;
        bool waited = false;
        while (shaken < CLIENTS && now_ns() < began + 60000000000ull) {
            weir_tls_stats stats = counted(tls);
            uint64_t places = 2 + (now_ns() - began) * RATE / 1000000000;
            assert_true(stats.begun <= places && stats.done <= stats.begun);
            waited |= stats.waiting != 0;
            if (before->received == before->to_send) {
                echoes += stats.waiting != 0;
                before->to_send += 100;
            }
            client_move(before);
            shaken = 0;
            for (int n = 0; n < CLIENTS; n++) {
                client_move(clients[n]);
                shaken += clients[n]->shaken;
            }
            world_turn_ms(w, 1);
        }
        assert_int_equal(shaken, CLIENTS);
        assert_true(waited && echoes > 0);
        weir_tls_stats stats = counted(tls);
        assert_true(stats.waited >= 1 && stats.waited <= CLIENTS);
        assert_true(stats.refused == 0 && stats.failed == 0 && stats.waiting == 0);
        for (int n = 0; n < CLIENTS; n++) {
            peer_close(clients[n]->peer);
            client_free(clients[n]);
        }
        leave(before);
        world_end(w);
        weir_tls_free(tls);
    }
}

/* Who would have to wait for more than three seconds is reset; who leaves gives its place away. */
static void tls_handshakes_are_refused(void **state)
{
    enum { CLIENTS = 12 };
    weir_tls *tls = limited(1);
    struct client *clients[CLIENTS];
    begin(tls);
    for (int n = 0; n < CLIENTS; n++) {
        clients[n] = client_new(s, 0);
        client_move(clients[n]);
    }
    weir_tls_stats stats;
    do {
        world_turn_ms(w, 1);
        stats = counted(tls);
    } while (stats.begun + stats.waiting + stats.refused < CLIENTS);
    assert_true(stats.refused >= 1 && stats.waited >= 1 && stats.waiting <= 4);
    UNTIL(w, s->closed == stats.refused);
    unsigned refused = 0;
    for (unsigned n = 0; n < s->count; n++)
        refused += s->recs[n]->closes == 1 && s->recs[n]->end.error == WEIR_EREFUSED &&
                   s->recs[n]->end.why == WEIR_WHY_LIMIT;
    assert_int_equal(refused, stats.refused);
    assert_in_range(log_count("were refused so far"), 1, refused);
    for (int n = 0; n < CLIENTS; n++) {
        peer_close(clients[n]->peer);
        client_free(clients[n]);
    }
    UNTIL(w, s->closed == CLIENTS);
    stats = counted(tls);
    assert_int_equal(stats.waiting, 0);
    /* All places that were waited for are free again: this one has its own within the second. */
    unsigned begun = (unsigned)stats.begun;
    struct client *c = client_new(s, 0);
    CLIENT_UNTIL(c, c->shaken);
    stats = counted(tls);
    assert_true(stats.begun == begun + 1 && stats.refused == refused);
    leave(c);
    world_end(w);
    weir_tls_free(tls);
}

/* A handshake that waits is within its deadline and its limit, and its end is seen. */
static void tls_handshakes_that_end_while_they_wait(void **state)
{
    static uint8_t much[70000] = {0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0};
    for (int how = 0; how < 4; how++) {
        weir_tls *tls = limited(1);
        w = world_open(NULL);
        s = server_new(w, tls);
        s->service.first_byte_ms = how == 0 ? 200 : 20000;
        s->service.linger_ms = 50;
        side_listen(s, "tls://127.0.0.1:0");
        struct client *one = client_new(s, 0);
        CLIENT_UNTIL(one, s->opened == 1);
        struct peer *p = peer_start(s);
        peer_say(p, much, 10); /* which, if it began, would be refused */
        while (counted(tls).waiting == 0) {
            atomic_store(&tls->handshake_next, now_ns() + 2 * WEIR_S);
            world_turn_ms(w, 1);
        }
        if (how == 1)
            peer_close(p);
        if (how == 2)
            peer_reset(p);
        if (how == 3)
            for (size_t at = 0; at < sizeof much && s->closed == 0; at += 10000) {
                peer_say(p, much, 10000);
                world_run_ms(w, 2);
            }
        UNTIL(w, s->closed == 1);
        const weir_end *end = &s->recs[1]->end;
        assert_int_equal(counted(tls).waiting, 0);
        assert_int_equal(end->why, how == 0   ? WEIR_WHY_DEADLINE
                                   : how == 1 ? WEIR_WHY_ERROR
                                   : how == 2 ? WEIR_WHY_PEER_RESET
                                              : WEIR_WHY_LIMIT);
        if (how == 3)
            assert_int_equal(end->error, WEIR_ETOOBIG);
        leave(one);
        world_end(w);
        weir_tls_free(tls);
    }
}

K_MAIN(T(tls_answers_are_stapled), T(tls_answers_and_names), T(tls_answers_end_and_are_renewed),
       T(tls_tickets_are_shared), T(tls_tickets_and_keys_that_differ),
       T(tls_tickets_and_what_is_no_key), T(tls_handshakes_wait_for_their_place),
       T(tls_handshakes_are_refused), T(tls_handshakes_that_end_while_they_wait))
