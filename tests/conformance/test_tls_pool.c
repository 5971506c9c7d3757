/* Handshakes on the worker pool: the loop goes on while one is made, and the connection may end in
 * every way meanwhile. A callback of OpenSSL holds the worker for as long as a test wants. */
#include <pthread.h>
#include <semaphore.h>
#include <weir/co.h>

#include "conformance/tls_client.h"
#include "tls/tls.h"

static struct world *w;
static struct side *s;
static pthread_t loop_thread;
static sem_t held, released;
static atomic_int holds, holds_ends, on_loop, on_pool;

static void held_up(atomic_int *times)
{
    if (atomic_load(times) > 0) {
        atomic_fetch_sub(times, 1);
        sem_post(&held);
        while (sem_wait(&released) != 0)
            ;
    }
}

static int hello_seen(SSL *ssl, int *alert, void *arg)
{
    if (pthread_equal(pthread_self(), loop_thread)) {
        on_loop++;
        return SSL_CLIENT_HELLO_SUCCESS; /* to hold it would be for ever */
    }
    on_pool++;
    held_up(&holds);
    return SSL_CLIENT_HELLO_SUCCESS;
}

static void end_seen(const SSL *ssl, int where, int result)
{
    if (where == SSL_CB_HANDSHAKE_DONE && !pthread_equal(pthread_self(), loop_thread))
        held_up(&holds_ends);
}

static weir_tls *pooled(const char *name)
{
    static const char *const alpn[] = {"echo", NULL};
    certs_usual();
    weir_tls_cert cert = cert_files(name);
    weir_tls *tls = weir_tls_server_new(&(weir_tls_server_options){
        .certs = &cert, .cert_count = 1, .alpn = alpn, .handshake_on_pool = true});
    assert_non_null(tls);
    SSL_CTX_set_client_hello_cb(tls->current->contexts[0], hello_seen, NULL);
    loop_thread = pthread_self();
    on_loop = on_pool = holds = holds_ends = 0;
    sem_init(&held, 0, 0);
    sem_init(&released, 0, 0);
    return tls;
}

static void begin(weir_tls *tls)
{
    w = world_open(NULL);
    s = server_new(w, tls);
    s->data = do_echo;
    s->service.linger_ms = 50;
}

static void talk(struct client *c)
{
    c->to_send += 20000;
    CLIENT_UNTIL(c, c->received == c->to_send || c->error != 0);
    assert_int_equal(c->error, 0);
    assert_true(c->in_pattern);
}

static void leave(struct client *c)
{
    peer_close(c->peer);
    client_free(c);
}

/* Both versions, whole handshakes and those that go on, and a client that says all at once. */
static void tls_pool_makes_handshakes(void **state)
{
    certs_usual();
    cert_make("slow", (struct cert_want){.issuer = "ca", .alt = "DNS:localhost", .rsa = true});
    for (int i = 0; i < 4; i++) {
        weir_tls *tls = pooled(i / 2 == 0 ? "server" : "slow");
        SSL_SESSION *session = NULL;
        begin(tls);
        side_listen(s, "tls://127.0.0.1:0");
        for (int n = 0; n < 3; n++) {
            struct client *c = client_new(s, versions[i % 2]);
            if (session != NULL)
                assert_int_equal(SSL_set_session(c->ssl, session), 1);
            SSL_SESSION_free(session);
            talk(c);
            assert_int_equal(SSL_session_reused(c->ssl), n > 0);
            session = SSL_get1_session(c->ssl);
            c->finish = true;
            CLIENT_UNTIL(c, c->ended);
            leave(c);
        }
        UNTIL(w, s->closed == s->count);
        assert_true(on_pool == 3 && on_loop == 0);
        SSL_SESSION_free(session);
        world_end(w);
        weir_tls_free(tls);
    }
}

/* What a client sends behind its handshake, with its end, comes while the last step is made. */
static void tls_pool_and_those_in_a_hurry(void **state)
{
    for (int i = 0; i < 4; i++) {
        bool notify = i / 2 == 0;
        weir_tls *tls = pooled("server");
        begin(tls);
        s->end = do_nothing;
        side_listen(s, "tls://127.0.0.1:0");
        struct client *c = client_new(s, versions[i % 2]);
        c->to_send = 5000;
        c->finish = notify;
        uint64_t end = now_ns() + 60000000000ull;
        while (c->sent < 5000 || (notify && !c->finished)) {
            assert_true(now_ns() < end);
            client_move(c); /* it sends all as soon as it is shaken */
            if (!c->shaken)
                world_turn_ms(w, 1);
        }
        shutdown(c->peer->fd, SHUT_WR);
        c->reads = false;
        UNTIL(w, s->count == 1 && s->recs[0]->received == 5000);
        if (notify) {
            UNTIL(w, s->recs[0]->ends == 1);
            V(w, weir_close(s->recs[0]->conn));
        }
        UNTIL(w, s->closed == 1);
        assert_int_equal(s->recs[0]->end.error, notify ? 0 : WEIR_ECUT);
        leave(c);
        world_end(w);
        weir_tls_free(tls);
    }
}

/* A client of TLS 1.3 sends its Finished and goes on at once: what it sends is no handshake,
 * however much of it comes while the last step is made; and it waits in the client, not here. */
static void tls_pool_and_an_upload(void **state)
{
    enum { BYTES = 32 << 20 }; /* more than the kernel keeps on the way */
    weir_tls *tls = pooled("server");
    begin(tls);
    s->data = NULL;
    side_listen(s, "tls://127.0.0.1:0");
    SSL_CTX_set_info_callback(tls->current->contexts[0], end_seen);
    struct client *c = client_new(s, TLS1_3_VERSION);
    c->to_send = BYTES;
    holds_ends = 1;
    UNTIL(w, (client_move(c), sem_trywait(&held) == 0));
    uint64_t sent = 0;
    for (int still = 0; still < 20; still++) { /* until nothing moves any more */
        client_move(c);
        world_turn_ms(w, 1);
        if (c->sent != sent)
            still = 0;
        sent = c->sent;
        assert_true(sent < BYTES);
    }
    assert_true(sent > 100000);
    assert_int_equal(s->closed, 0);
    sem_post(&released);
    CLIENT_UNTIL(c, (s->count == 1 && s->recs[0]->received == BYTES) || s->closed != 0);
    assert_int_equal(s->closed, 0);
    leave(c);
    UNTIL(w, s->closed == 1);
    world_end(w);
    weir_tls_free(tls);
}

static uint64_t straight_received;
static int straight_result;

static void receive_all(weir_conn conn, void *session)
{
    weir_view in;
    while ((straight_result = weir_recv(conn, &in, WEIR_NEVER)) > 0)
        straight_received += in.size;
}

/* The stream is cut while the last step is made: a coroutine receives what came before that. */
static void tls_pool_and_a_cut(void **state)
{
    weir_tls *tls = pooled("server");
    begin(tls);
    s->service.on_conn = receive_all;
    straight_received = 0;
    side_listen(s, "tls://127.0.0.1:0");
    SSL_CTX_set_info_callback(tls->current->contexts[0], end_seen);
    holds_ends = 1;
    struct client *c = client_new(s, TLS1_3_VERSION);
    c->to_send = 5000;
    c->reads = false;
    CLIENT_UNTIL(c, c->sent == 5000 && sem_trywait(&held) == 0);
    shutdown(c->peer->fd, SHUT_WR);
    world_run_ms(w, 20);
    sem_post(&released);
    UNTIL(w, s->closed == 1);
    assert_int_equal(straight_received, 5000);
    assert_int_equal(straight_result, WEIR_EGONE);
    assert_int_equal(s->recs[0]->end.error, WEIR_ECUT);
    leave(c);
    world_end(w);
    weir_tls_free(tls);
}

/* A step is being made for a connection that has gone, and the weir_tls is freed. */
static void tls_pool_and_its_owner(void **state)
{
    weir_tls *tls = pooled("server");
    begin(tls);
    side_listen(s, "tls://127.0.0.1:0");
    holds = 1;
    struct client *c = client_new(s, TLS1_3_VERSION);
    SSL_set_alpn_protos(c->ssl, (const unsigned char *)"\4echo", 5);
    client_move(c);
    UNTIL(w, sem_trywait(&held) == 0);
    peer_reset(c->peer);
    UNTIL(w, s->closed == 1);
    weir_listener_close(s->listener);
    world_run_ms(w, 5);
    assert_int_equal(atomic_load(&tls->refs), 2);
    weir_tls_free(tls);
    sem_post(&released);
    world_run_ms(w, 5);
    leave(c);
    world_end(w);
}

/* What has not been begun for a connection that has gone is not made any more. */
static void tls_pool_and_those_who_left(void **state)
{
    enum { THREADS = 4, LEFT = 6 };
    struct client *clients[THREADS + LEFT];
    weir_tls *tls = pooled("server");
    begin(tls);
    side_listen(s, "tls://127.0.0.1:0");
    holds = THREADS;
    for (int i = 0; i < THREADS + LEFT; i++) {
        clients[i] = client_new(s, 0);
        client_move(clients[i]);
        if (i < THREADS)
            UNTIL(w, sem_trywait(&held) == 0);
    }
    UNTIL(w, atomic_load(&tls->jobs) == THREADS + LEFT);
    for (int i = 0; i < LEFT; i++)
        peer_reset(clients[THREADS + i]->peer);
    UNTIL(w, s->closed == LEFT);
    for (int i = 0; i < THREADS; i++)
        sem_post(&released);
    UNTIL(w, atomic_load(&tls->jobs) == 0);
    assert_true(on_pool == THREADS && on_loop == 0);
    for (int i = 0; i < THREADS; i++)
        talk(clients[i]);
    for (int i = 0; i < THREADS + LEFT; i++)
        leave(clients[i]);
    UNTIL(w, s->closed == s->count);
    weir_tls_stats stats;
    assert_int_equal(weir_tls_stats_get(tls, &stats), 0);
    assert_true(stats.begun == THREADS + LEFT && stats.done == THREADS && stats.failed == LEFT);
    world_end(w);
    weir_tls_free(tls);
}

/* Handshakes leave room in the pool's queue: what is too many is made on the loop. */
static void tls_pool_has_a_limit(void **state)
{
    weir_tls *tls = pooled("server");
    assert_true(tls->jobs_most * 4 <= 4096);
    tls->jobs_most = 1;
    begin(tls);
    side_listen(s, "tls://127.0.0.1:0");
    holds = 1;
    struct client *slow = client_new(s, 0), *other = client_new(s, 0);
    client_move(slow);
    UNTIL(w, sem_trywait(&held) == 0);
    talk(other);
    assert_true(on_pool == 1 && on_loop == 1);
    sem_post(&released);
    talk(slow);
    leave(slow);
    leave(other);
    UNTIL(w, s->closed == s->count);
    world_end(w);
    weir_tls_free(tls);
}

/* While a worker is held, who is established goes on, and so do other handshakes. */
static void tls_pool_leaves_the_loop_free(void **state)
{
    for (int i = 0; i < 2; i++) {
        weir_tls *tls = pooled("server");
        begin(tls);
        side_listen(s, "tls://127.0.0.1:0");
        struct client *before = client_new(s, versions[i]);
        talk(before);
        holds = 1;
        struct client *slow = client_new(s, versions[i]);
        client_move(slow);
        UNTIL(w, sem_trywait(&held) == 0);
        for (int n = 0; n < 20; n++)
            talk(before);
        client_move(slow);
        assert_false(slow->shaken);
        assert_int_equal(s->opened, 1);
        sem_post(&released);
        talk(slow);
        assert_true(on_pool == 2 && on_loop == 0);
        leave(before);
        leave(slow);
        UNTIL(w, s->closed == s->count);
        world_end(w);
        weir_tls_free(tls);
    }
}

/* The connection ends while its job runs: nothing is touched that has gone, nothing is left. */
static void tls_pool_and_ends(void **state)
{
    static uint8_t much[40000];
    for (int how = 0; how < 5; how++) {
        weir_tls *tls = pooled("server");
        begin(tls);
        s->service.first_byte_ms = how == 0 ? 100 : 20000;
        side_listen(s, "tls://127.0.0.1:0");
        holds = 1;
        struct client *c = client_new(s, 0);
        client_move(c);
        UNTIL(w, sem_trywait(&held) == 0);
        if (how == 1)
            peer_reset(c->peer);
        if (how == 2)
            peer_close(c->peer);
        for (int n = 0; how == 3 && n < 10; n++) {
            peer_say(c->peer, much, sizeof much / 4);
            world_run_ms(w, 2);
        }
        if (how == 2 || how == 3) {
            world_run_ms(w, 20); /* an end in order waits for the step that is made */
            assert_int_equal(s->closed, 0);
        } else if (how != 4) {
            UNTIL(w, s->closed == 1);
        }
        sem_post(&released);
        if (how == 4) /* the world ends with a job that has just been let go */
            leave(c);
        UNTIL(w, s->closed == 1);
        const weir_end *end = &s->recs[0]->end;
        if (how != 4)
            assert_int_equal(end->why, how == 0   ? WEIR_WHY_DEADLINE
                                       : how == 1 ? WEIR_WHY_PEER_RESET
                                                  : WEIR_WHY_ERROR);
        assert_int_equal(s->recs[0]->opens, 0);
        if (how < 4)
            leave(c);
        world_end(w);
        weir_tls_free(tls);
    }
}

/* A handshake that fails is told as without the pool. */
static void tls_pool_and_failures(void **state)
{
    weir_tls *tls = pooled("server");
    begin(tls);
    side_listen(s, "tls://127.0.0.1:0");
    struct peer *p = peer_start(s);
    peer_say(p, "\x16\x03\x01\0\x04\x0e\0\0\0", 9);
    UNTIL(w, s->closed == 1 && p->ended);
    assert_string_equal(s->recs[0]->log, "C");
    assert_int_equal(s->recs[0]->end.error, WEIR_ETLS);
    assert_true(p->kept_size == 7 && p->kept[0] == 0x15); /* an alert */
    struct client *c = client_new(s, TLS1_1_VERSION);
    SSL_set_cipher_list(c->ssl, "ALL:@SECLEVEL=0");
    CLIENT_UNTIL(c, c->error != 0);
    leave(c);
    UNTIL(w, s->closed == 2);
    world_end(w);
    weir_tls_free(tls);
}

K_MAIN(T(tls_pool_makes_handshakes), T(tls_pool_and_those_in_a_hurry), T(tls_pool_and_an_upload),
       T(tls_pool_and_a_cut), T(tls_pool_and_its_owner), T(tls_pool_and_those_who_left),
       T(tls_pool_has_a_limit), T(tls_pool_leaves_the_loop_free), T(tls_pool_and_ends),
       T(tls_pool_and_failures))
