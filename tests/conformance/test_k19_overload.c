/* K19: at the limit of connections they are left in the backlog, reset, or answered; accepting can
 * be slowed down; what has waited too long is shed. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <weir/http.h>

#include "conformance/harness.h"

enum { LIMIT = 4, CLIENTS = 20 };

static struct peer *peers[CLIENTS];

static struct side *at_the_limit(struct world *w, enum weir_overload overload)
{
    struct side *s = side_new(w);
    s->data = do_echo;
    s->service.conns_max = LIMIT;
    s->service.overload = overload;
    s->service.overload_answer = weir_static("sorry, full", 11);
    side_listen(s, NULL);
    for (int i = 0; i < CLIENTS; i++)
        peers[i] = peer_start(s);
    return s;
}

static void k19_left_in_the_backlog(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = at_the_limit(w, WEIR_OVERLOAD_LEAVE);
    UNTIL(w, s->opened == LIMIT);
    world_run_ms(w, 30);
    assert_int_equal(s->count, LIMIT); /* not one too many */
    for (int i = 0; i < CLIENTS; i++)
        assert_false(peers[i]->ended);
    /* One by one, as others leave. */
    for (int i = 0; i < CLIENTS; i++) {
        UNTIL(w, s->count > (unsigned)i);
        peer_say(peers[i], "x", 1);
        UNTIL(w, peers[i]->received == 1);
        assert_true(s->opened <= LIMIT);
        peer_close(peers[i]);
    }
    UNTIL(w, s->closed == CLIENTS);
    world_end(w);
}

static void k19_reset(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = at_the_limit(w, WEIR_OVERLOAD_RESET);
    UNTIL(w, s->opened == LIMIT);
    for (int i = LIMIT; i < CLIENTS; i++)
        UNTIL(w, peers[i]->ended);
    assert_int_equal(s->count, LIMIT);
    for (int i = LIMIT; i < CLIENTS; i++)
        assert_int_equal(peers[i]->error, ECONNRESET);
    peer_close(peers[0]);
    UNTIL(w, s->opened == LIMIT - 1);
    struct peer *p = peer_connect(s);
    peer_say(p, "x", 1);
    UNTIL(w, p->received == 1);
    world_end(w);
}

/* Each gets the answer, whole, and an end in order, though its own request is never read. */
static void k19_answered(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = do_echo;
    s->service.conns_max = LIMIT;
    s->service.overload = WEIR_OVERLOAD_ANSWER;
    s->service.overload_answer = weir_static("sorry, full", 11);
    side_listen(s, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        peers[i] = peer_start(s);
        peer_say(peers[i], "a request that nobody reads", 27);
    }
    for (int i = LIMIT; i < CLIENTS; i++) {
        UNTIL(w, peers[i]->ended);
        assert_int_equal(peers[i]->error, 0);
        assert_true(peer_heard(peers[i], "sorry, full"));
        peer_close(peers[i]);
    }
    assert_int_equal(s->count, LIMIT); /* no handler saw the others */
    for (int i = 0; i < LIMIT; i++) {
        UNTIL(w, peers[i]->received == 27);
        peer_close(peers[i]);
    }
    UNTIL(w, s->closed == LIMIT);
    struct peer *p = peer_connect(s); /* there is room again */
    peer_say(p, "x", 1);
    UNTIL(w, p->received == 1);
    world_end(w);
}

/* The answered ones are bounded as well: beyond that they are reset. */
static void k19_answers_are_bounded(void **state)
{
    enum { MANY = 120 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *many[MANY];
    int answered = 0, reset = 0;
    s->service.conns_max = 1;
    s->service.overload = WEIR_OVERLOAD_ANSWER;
    s->service.overload_answer = weir_static("sorry, full", 11);
    s->service.linger_ms = 60000; /* none of them leaves */
    side_listen(s, NULL);
    peer_connect(s);
    for (int i = 0; i < MANY; i++)
        many[i] = peer_start(s);
    for (int i = 0; i < MANY; i++) {
        UNTIL(w, many[i]->ended);
        answered += peer_heard(many[i], "sorry, full");
        reset += many[i]->error == ECONNRESET;
    }
    assert_in_range(answered, 1, 64);
    assert_int_equal(answered + reset, MANY);
    world_end(w);
}

static void k19_the_loops_own_limit(void **state)
{
    struct world *w = world_open(&(weir_loop_options){.conns_max = LIMIT});
    struct side *s = side_new(w);
    s->data = do_echo;
    side_listen(s, NULL);
    for (int i = 0; i < CLIENTS; i++)
        peers[i] = peer_start(s);
    UNTIL(w, s->opened == LIMIT);
    world_run_ms(w, 20);
    assert_int_equal(s->count, LIMIT);
    for (int i = 0; i < CLIENTS; i++) {
        UNTIL(w, s->count > (unsigned)i);
        peer_close(peers[i]);
    }
    UNTIL(w, s->closed == CLIENTS);
    world_end(w);
}

/* A multishot accept takes all that waits: near the limit it must not, or the limit is passed by a
 * burst. */
static void k19_a_burst_at_the_limit(void **state)
{
    enum { MOST = 200, BACKLOG = 60, BURSTS = 4 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *all[BURSTS * BACKLOG];
    int count = 0;
    s->data = do_echo;
    s->service.conns_max = MOST;
    s->service.socket.backlog = BACKLOG;
    side_listen(s, NULL);
    for (int burst = 0; burst < BURSTS; burst++) {
        for (int i = 0; i < BACKLOG; i++)
            all[count++] = peer_start(s);
        unsigned wanted = count < MOST ? (unsigned)count : MOST;
        UNTIL(w, s->opened >= wanted);
        world_run_ms(w, 20);
        assert_int_equal(s->opened, wanted);
    }
    for (int i = 0; i < count; i++) {
        assert_false(all[i]->ended);
        peer_close(all[i]);
    }
    UNTIL(w, s->closed == BURSTS * BACKLOG); /* those who had waited were served */
    world_end(w);
}

static struct peer *connect_abstract(struct world *w, const char *name)
{
    weir_address address;
    assert_int_equal(weir_address_parse(name, &address, NULL), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address.socket, address.socket_size), 0);
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    return peer_of(w, fd);
}

/* Each of a service's listeners accepts for itself, and all of them up to one limit. */
static void k19_two_listeners_have_one_limit(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *all[2 * CLIENTS];
    char names[2][64], both[130];
    for (int i = 0; i < 2; i++)
        snprintf(names[i], sizeof names[i], "unix:@weir-k19-%d-%d", (int)getpid(), i);
    snprintf(both, sizeof both, "%s %s", names[0], names[1]);
    s->data = do_echo;
    s->service.conns_max = LIMIT;
    side_listen(s, both);
    for (int i = 0; i < 2 * CLIENTS; i++)
        all[i] = connect_abstract(w, names[i % 2]);
    int served = 0, reset = 0;
    uint64_t until_ns = now_ns() + 5 * WEIR_S;
    while (served + reset < 2 * CLIENTS) {
        assert_true(now_ns() < until_ns);
        world_turn(w);
        assert_true(s->opened <= LIMIT);
        for (int i = 0; i < 2 * CLIENTS; i++) {
            if (all[i] == NULL || (all[i]->received == 0 && !all[i]->ended))
                continue;
            served += all[i]->received == 1;
            reset += all[i]->received == 0;
            peer_close(all[i]); /* the next one's turn */
            all[i] = NULL;
        }
    }
    assert_true(served > CLIENTS);
    world_end(w);
}

/* 100 a second: the first tenth of a second's worth may come at once. */
static void k19_accept_rate(void **state)
{
    enum { RATE = 100 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.accept_rate = RATE;
    side_listen(s, NULL);
    uint64_t begin_ns = now_ns();
    for (int i = 0; i < 40; i++)
        peer_start(s);
    while (s->count < 40) {
        world_turn(w);
        uint64_t passed_ms = (now_ns() - begin_ns) / WEIR_MS;
        /* The bucket holds a tenth of a second's worth. */
        assert_true(s->count <= RATE / 10 + 2 + (passed_ms + 11) * RATE / 1000);
        assert_true(passed_ms < 5000);
    }
    assert_true(now_ns() - begin_ns >= 250 * WEIR_MS);
    world_end(w);
}

/* --- what has waited too long ------------------------------------------------------------------*/

static void work_20_ms(weir_exchange x, void *user)
{
    uint64_t end = now_ns() + 20 * WEIR_MS;
    while (now_ns() < end)
        continue;
    (void)!weir_http_text(x, 200, "done");
}

static const char ask[] = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";

/* Asks and waits until the request has lain in the kernel for 700 ms, then for the answer's status.
 */
static int answer_to_one_who_waited(struct world *w, struct side *s)
{
    struct peer *p = peer_start(s);
    world_turn(w);
    peer_say(p, ask, strlen(ask));
    usleep(700000);
    UNTIL(w, p->kept_size > 12);
    int status = atoi((const char *)p->kept + 9);
    peer_close(p);
    return status;
}

/* A loop that has had too much to do for a second refuses who has waited for longer than his
 * patience; those who come now are served. */
static void k19_what_waited_too_long_is_shed(void **state)
{
    for (int off = 0; off < 2; off++) {
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        weir_http_options options = {.shed_ms = off ? WEIR_OFF : 0};
        weir_http_app *app = weir_http_app_new(&options);
        weir_http_stats stats;
        weir_listener listener;
        assert_non_null(app);
        assert_int_equal(weir_http_get(app, "/", work_20_ms, NULL), 0);
        weir_http_service(app, "tcp://127.0.0.1:0", &s->service);
        assert_int_equal(V(w, weir_listen(&listener, &s->service)), 0);
        assert_int_equal(V(w, weir_listener_address(listener, &s->address)), 0);
        assert_int_equal(answer_to_one_who_waited(w, s), 200); /* it is not the waiting alone */
        struct peer *busy[4];
        size_t heard[4] = {0};
        for (int i = 0; i < 4; i++)
            busy[i] = peer_start(s);
        uint64_t end = now_ns() + 2500 * WEIR_MS;
        while (now_ns() < end) { /* each asks again as soon as it has its answer */
            for (int i = 0; i < 4; i++)
                if (busy[i]->kept_size > heard[i] || heard[i] == 0) {
                    heard[i] = busy[i]->kept_size + 1;
                    peer_say(busy[i], ask, strlen(ask));
                }
            world_turn_ms(w, 0);
        }
        for (int i = 0; i < 4; i++)
            assert_non_null(memmem(busy[i]->kept, busy[i]->kept_size, " 200 ", 5));
        assert_int_equal(answer_to_one_who_waited(w, s), off ? 200 : 503);
        assert_int_equal(V(w, weir_http_stats_get(w->loop, &stats)), 0);
        assert_true(off ? stats.http_shed == 0 : stats.http_shed >= 1);
        w->check_leaks = false; /* what an application keeps for its next server lives on */
        world_end(w);
        weir_http_app_free(app);
    }
}

K_MAIN(T(k19_left_in_the_backlog), T(k19_reset), T(k19_answered), T(k19_answers_are_bounded),
       T(k19_the_loops_own_limit), T(k19_a_burst_at_the_limit), T(k19_two_listeners_have_one_limit),
       T(k19_accept_rate), T(k19_what_waited_too_long_is_shed))
