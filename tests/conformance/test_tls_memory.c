/* What OpenSSL holds for connections, and what a loop is told of it. */
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdatomic.h>

#include "conformance/tls_client.h"
#include "tls/tls.h"

static struct world *w;
static struct side *s;
static atomic_size_t taken;

static void *counted_malloc(size_t size, const char *file, int line)
{
    void *memory = malloc(size);
    taken += memory != NULL ? malloc_usable_size(memory) : 0;
    return memory;
}

static void counted_free(void *memory, const char *file, int line)
{
    taken -= memory != NULL ? malloc_usable_size(memory) : 0;
    free(memory);
}

static void *counted_realloc(void *memory, size_t size, const char *file, int line)
{
    size_t before = memory != NULL ? malloc_usable_size(memory) : 0;
    void *moved = realloc(memory, size);
    if (moved != NULL || size == 0)
        taken += (moved != NULL ? malloc_usable_size(moved) : 0) - before;
    return moved;
}

/* Before OpenSSL takes anything. */
__attribute__((constructor)) static void count_all(void)
{
    if (CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free) != 1)
        abort();
}

/* How far a client goes. */
enum state { CONNECTED, A_BYTE, BEGUN, HALF_SHAKEN, SHAKEN, HALF_A_RECORD, STATES };
static const char *const state_names[] = {"connected",   "a byte", "begun",
                                          "half shaken", "shaken", "half a record"};

static void bring_to(struct client *c, enum state how, unsigned number)
{
    if (how == A_BYTE)
        peer_say(c->peer, "\x16", 1);
    if (how == BEGUN)
        peer_say(c->peer, "\x16\3\1\2\0\1\0\1\xfc", 9);
    if (how >= HALF_SHAKEN) {
        client_move(c);
        char byte;
        UNTIL(w, recv(c->peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1);
    }
    if (how >= SHAKEN) {
        c->to_send = 100;
        CLIENT_UNTIL(c, c->received == c->to_send && s->opened == number + 1);
        assert_int_equal(c->error, 0);
    }
    if (how == HALF_A_RECORD)
        peer_say(c->peer, "\x17\x03\x03\x20\0beginning", 14);
    world_run_ms(w, 2);
}

static weir_tls *pooled_server(void)
{
    certs_usual();
    weir_tls_cert cert = cert_files("server");
    weir_tls *tls = weir_tls_server_new(
        &(weir_tls_server_options){.certs = &cert, .cert_count = 1, .handshake_on_pool = true});
    assert_non_null(tls);
    return tls;
}

/* What is told is what is held, give or take a quarter; and when the connections are gone there is
 * nothing left. */
static void tls_memory_is_counted(void **state)
{
    enum { CONNS = 16 };
    struct client *clients[CONNS];
    weir_tls *servers[] = {usual_server(0), pooled_server()};
    for (int i = 0; i < 4 * STATES; i++) {
        enum state how = (enum state)(i / 4);
        bool pooled = i / 2 % 2 == 1;
        w = world_open(NULL);
        s = server_new(w, servers[pooled]);
        s->data = do_echo;
        side_listen(s, "tls://127.0.0.1:0");
        for (unsigned n = 0; n < CONNS; n++) {
            clients[n] = client_new(s, versions[i % 2]);
            bring_to(clients[n], how, n);
        }
        UNTIL(w, atomic_load(&servers[pooled]->jobs) == 0);
        weir_loop_stats stats;
        assert_int_equal(weir_loop_stats_get(w->loop, &stats), 0);
        assert_int_equal(stats.conns, CONNS);
        size_t before = taken;
        uint64_t told = world_memory(w);
        for (unsigned n = 0; n < CONNS; n++)
            peer_reset(clients[n]->peer);
        UNTIL(w, s->closed == CONNS);
        size_t held = (before - taken) / CONNS;
        told = (told - world_memory(w)) / CONNS;
        print_message("%s%s, %s: OpenSSL holds %zu bytes, %llu are told\n",
                      i % 2 == 0 ? "TLS 1.2" : "TLS 1.3", pooled ? ", pool" : "", state_names[how],
                      held, (unsigned long long)told);
        assert_true(how != CONNECTED || held == 0);
        assert_true(told >= held / 4 * 3 && told <= held / 4 * 6 + 1024);
        if (how == SHAKEN && OPENSSL_version_major() == 3 && OPENSSL_version_minor() == 0)
            assert_true(held <= 14 << 10);
        for (unsigned n = 0; n < CONNS; n++)
            client_free(clients[n]);
        world_end(w);
    }
    weir_tls_free(servers[1]);
}

/* Beyond the loop's limit nobody is accepted; those who are there go on, and when some have left
 * others come in. */
static void tls_memory_has_a_limit(void **state)
{
    enum { MOST = 40, LIMIT = 400 << 10 };
    struct client *clients[MOST];
    unsigned count = 0;
    w = world_open(&(weir_loop_options){.memory_max_bytes = LIMIT});
    s = server_new(w, usual_server(0));
    s->data = do_echo;
    side_listen(s, "tls://127.0.0.1:0");
    bool over = false;
    while (!over && count < MOST) {
        struct client *c = clients[count++] = client_new(s, 0);
        CLIENT_UNTIL(c, c->shaken || (over = log_count("over its budget") != 0));
    }
    assert_true(over && count > LIMIT / (41 << 10) && count < MOST);
    struct client *late = client_new(s, 0);
    for (int i = 0; i < 50; i++) {
        client_move(late);
        world_turn_ms(w, 1);
    }
    assert_false(late->shaken);
    clients[0]->to_send = 1000;
    CLIENT_UNTIL(clients[0], clients[0]->received == 1000);
    for (unsigned n = 1; n < count; n++)
        peer_reset(clients[n]->peer);
    CLIENT_UNTIL(late, late->shaken);
    peer_reset(clients[0]->peer);
    peer_close(late->peer);
    client_free(late);
    for (unsigned n = 0; n < count; n++)
        client_free(clients[n]);
    UNTIL(w, s->closed == s->count);
    world_end(w);
}

/* What idle connections hold stops accepting; it does not pause one that has a part of a message,
 * for whom the pause would not end before they do. */
static void tls_memory_of_others_pauses_nobody(void **state)
{
    enum { MOST = 40, LIMIT = 400 << 10, FRAME = 3000 };
    struct client *clients[MOST];
    unsigned count = 1;
    w = world_open(&(weir_loop_options){.memory_max_bytes = LIMIT});
    s = server_new(w, usual_server(0));
    s->service.frame = weir_frame_fixed(FRAME);
    side_listen(s, "tls://127.0.0.1:0");
    struct client *c = clients[0] = client_new(s, 0);
    c->to_send = FRAME / 2;
    CLIENT_UNTIL(c, c->sent == FRAME / 2 && s->opened == 1);
    while (world_memory(w) <= LIMIT) {
        assert_true(count < MOST);
        clients[count] = client_new(s, 0);
        bring_to(clients[count++], HALF_SHAKEN, 0);
    }
    world_run_ms(w, 50);
    c->to_send = FRAME;
    CLIENT_UNTIL(c, s->recs[0]->frames == 1);
    weir_loop_stats stats;
    assert_int_equal(weir_loop_stats_get(w->loop, &stats), 0);
    assert_true(stats.memory_bytes > LIMIT && stats.budget_pauses == 0);
    for (unsigned n = 0; n < count; n++)
        peer_reset(clients[n]->peer);
    UNTIL(w, s->closed >= count - 1);
    world_run_ms(w, 20);
    for (unsigned n = 0; n < count; n++)
        client_free(clients[n]);
    UNTIL(w, s->closed == s->count);
    world_end(w);
}

K_MAIN(T(tls_memory_is_counted), T(tls_memory_has_a_limit), T(tls_memory_of_others_pauses_nobody))
