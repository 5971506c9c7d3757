/* K17, as far as there is something to hand over: a listener that is closed serves what had come
 * already, connections keep what they were accepted under, and a port that is taken for a moment is
 * waited for. Reload, upgrade and the adoption of listeners come with the shape `processes`. */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <unistd.h>

#include "conformance/harness.h"

/* --- closing a listener
 * --------------------------------------------------------------------------*/

static void k17_what_had_come_is_served(void **state)
{
    enum { CLIENTS = 60 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *p[CLIENTS];
    s->data = do_echo;
    s->end = do_close;
    side_listen(s, NULL);
    for (int i = 0; i < CLIENTS; i++) { /* connected, and not one of them accepted yet */
        p[i] = peer_start(s);
        peer_say(p[i], "hello", 5);
    }
    assert_int_equal(V(w, weir_listener_close(s->listener)), 0);
    for (int i = 0; i < CLIENTS; i++) {
        UNTIL(w, p[i]->received == 5 || p[i]->ended);
        assert_true(peer_heard(p[i], "hello"));
        assert_int_equal(p[i]->error, 0);
    }
    assert_int_equal(s->opened, CLIENTS);
    assert_int_equal(V(w, weir_listener_close(s->listener)), WEIR_EGONE);
    world_end(w);
}

/* Connections that are open when their listener is closed go on, and keep their handlers. */
static void k17_connections_outlive_their_listener(void **state)
{
    struct world *w = world_open(NULL);
    struct side *first = side_new(w), *second = side_new(w);
    char url[64];
    first->data = do_echo;
    second->service.server_first = true;
    side_listen(first, NULL);
    snprintf(url, sizeof url, "%s", side_url(first));
    struct peer *old = peer_connect(first);
    first->service.on_data =
        NULL; /* the service was copied: what is changed here changes nothing */
    assert_int_equal(V(w, weir_listener_close(first->listener)), 0);
    world_run_ms(w, 300);     /* longer than the last look for those who had come */
    side_listen(second, url); /* the same port, under other settings */
    struct peer *new = peer_connect(second);
    peer_say(new, "to the second", 13);
    peer_say(old, "to the first", 12);
    UNTIL(w, peer_heard(old, "to the first"));
    UNTIL(w, new->rec->received == 13);
    assert_int_equal(new->received, 0);
    assert_int_equal(first->count, 1);
    world_end(w);
}

/* Closed and opened again and again while clients come: each is served or refused, none is lost
 * behind its accept. */
static void k17_closed_while_clients_come(void **state)
{
    enum { ROUNDS = 30, EACH = 8 };
    struct world *w = world_open(NULL);
    for (int round = 0; round < ROUNDS; round++) {
        struct side *s = side_new(w);
        struct peer *p[EACH];
        s->data = do_echo;
        side_listen(s, NULL);
        for (int i = 0; i < EACH; i++) {
            p[i] = peer_start(s);
            peer_say(p[i], "x", 1);
            if (i == round % EACH)
                world_turn_ms(w, 0);
        }
        assert_int_equal(V(w, weir_listener_close(s->listener)), 0);
        for (int i = 0; i < EACH; i++) {
            UNTIL(w, p[i]->received == 1 || p[i]->ended);
            assert_int_equal(p[i]->received, 1);
            peer_close(p[i]);
        }
        UNTIL(w, s->closed == EACH);
    }
    world_end(w);
}

/* --- a port that is taken for a moment
 * -----------------------------------------------------------*/

static int holder;

static void *let_go(void *arg)
{
    usleep(300000);
    close(holder);
    return NULL;
}

static void k17_a_port_is_waited_for(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    pthread_t thread;
    char url[64];
    w->check_leaks = false; /* the holder's descriptor is closed within */
    holder = raw_listener(1, url, sizeof url);
    assert_int_equal(pthread_create(&thread, NULL, let_go, NULL), 0);
    uint64_t before = now_ns();
    side_listen(s, url);
    uint64_t took_ms = (now_ns() - before) / WEIR_MS;
    pthread_join(thread, NULL);
    assert_true(took_ms >= 200 && took_ms < 2000);
    struct peer *p = peer_connect(s);
    assert_int_equal(p->rec->opens, 1);
    world_end(w);
}

static void k17_but_not_for_ever(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    char url[64];
    int fd = raw_listener(1, url, sizeof url);
    s->service.listen = url;
    uint64_t before = now_ns();
    assert_int_equal(V(w, weir_listen(NULL, &s->service)), -EADDRINUSE);
    uint64_t took_ms = (now_ns() - before) / WEIR_MS;
    assert_true(took_ms >= 1900 && took_ms < 4000);
    assert_non_null(strstr(log_last(), "EADDRINUSE")); /* and who has it */
    close(fd);
    world_end(w);
}

K_MAIN(T(k17_what_had_come_is_served), T(k17_connections_outlive_their_listener),
       T(k17_closed_while_clients_come), T(k17_a_port_is_waited_for), T(k17_but_not_for_ever))
