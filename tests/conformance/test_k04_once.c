/* K4: on_open once, then data, then on_close once, after which nothing; whatever ends it. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "conformance/harness.h"

static void k04_open_data_close(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "hello", 5);
    UNTIL(w, p->rec->received == 5);
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    assert_string_equal(p->rec->log, "ODC");
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
    assert_int_equal(p->rec->end.error, 0);
    world_end(w);
}

static void k04_end_comes_before_close(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->end = do_close;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "hello", 5);
    shutdown(p->fd, SHUT_WR);
    UNTIL(w, p->rec->closes == 1);
    assert_string_equal(p->rec->log, "ODEC");
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
    world_end(w);
}

/* What a handler does to its own connection, twice where that is to be harmless. */
static void close_twice(struct rec *r)
{
    do_close(r);
    do_close(r);
}

static void abort_twice(struct rec *r)
{
    do_abort(r);
    do_abort(r);
}

static void close_then_abort(struct rec *r)
{
    do_close(r);
    do_abort(r);
}

static void abort_then_close(struct rec *r)
{
    do_abort(r);
    do_close(r);
}

static void send_then_close(struct rec *r)
{
    if (H(r, weir_send(r->conn, weir_str("bye"))) < 0)
        world_broke(r->side->world, "the last send was refused");
    do_close(r);
    if (H(r, weir_send(r->conn, weir_str("late"))) != WEIR_EGONE)
        world_broke(r->side->world, "a send after the close was not refused");
    if (H(r, weir_finish(r->conn)) != WEIR_EGONE)
        world_broke(r->side->world, "weir_finish after the close was not refused");
}

static void finish_then_close(struct rec *r)
{
    if (H(r, weir_finish(r->conn)) != 0)
        world_broke(r->side->world, "weir_finish failed");
    do_close(r);
}

static void every_verb(struct rec *r)
{
    weir_conn c = r->conn;
    (void)H(r, weir_send(c, weir_str("x")));
    (void)H(r, weir_pause(c));
    (void)H(r, weir_resume(c));
    (void)H(r, weir_flush(c));
    (void)H(r, weir_pull_ready(c));
    (void)H(r, weir_close(c));
    (void)H(r, weir_pause(c));
    (void)H(r, weir_resume(c));
    (void)H(r, weir_flush(c));
    (void)H(r, weir_pull_ready(c));
    (void)H(r, weir_finish(c));
    (void)H(r, weir_abort(c));
    (void)H(r, weir_resume(c));
    (void)H(r, weir_flush(c));
}

static void (*const endings[])(struct rec *r) = {
    do_close,         do_abort,        close_twice,       abort_twice, close_then_abort,
    abort_then_close, send_then_close, finish_then_close, every_verb,
};
enum { ENDINGS = sizeof endings / sizeof *endings };

static void (*ending)(struct rec *r);

static void end_in_data(struct rec *r, weir_view data)
{
    ending(r);
}

static void end_in_idle(struct rec *r, enum weir_idle which)
{
    ending(r);
}

static void fill_up(struct rec *r)
{
    if (H(r, rec_send_pattern(r, 200000)) != WEIR_SEND_WAIT)
        world_broke(r->side->world, "200000 bytes did not reach the soft mark");
}

enum place { IN_OPEN, IN_DATA, IN_END, IN_DRAIN, IN_IDLE, IN_CLOSE, PLACES };

static void end_in(enum place place, int which)
{
    static const char *const logs[PLACES] = {"OC", "ODC", "OEC", "ORC", "OIC", "OC"};
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    ending = endings[which];
    s->open = place == IN_OPEN ? ending : place == IN_DRAIN ? fill_up : NULL;
    s->data = place == IN_DATA ? end_in_data : NULL;
    s->end = place == IN_END ? ending : NULL;
    s->drain = place == IN_DRAIN ? ending : NULL;
    s->idle = end_in_idle;
    s->close = place == IN_CLOSE ? every_verb : NULL;
    if (place == IN_IDLE)
        s->service.reader_idle_ms = 20;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    if (place == IN_DATA)
        peer_say(p, "x", 1);
    else if (place == IN_END)
        shutdown(p->fd, SHUT_WR);
    else if (place == IN_CLOSE)
        peer_close(p);
    UNTIL(w, p->ended || p->fd < 0);
    if (p->fd >= 0)
        peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    if (strcmp(p->rec->log, logs[place]) != 0)
        fail_msg("place %d, ending %d: %s instead of %s", place, which, p->rec->log, logs[place]);
    world_run_ms(w, 5);
    world_end(w);
}

static void k04_ended_in_on_open(void **state)
{
    for (int i = 0; i < ENDINGS; i++)
        end_in(IN_OPEN, i);
}

static void k04_ended_in_on_data(void **state)
{
    for (int i = 0; i < ENDINGS; i++)
        end_in(IN_DATA, i);
}

static void k04_ended_in_on_end(void **state)
{
    for (int i = 0; i < ENDINGS; i++)
        end_in(IN_END, i);
}

static void k04_ended_in_on_drain(void **state)
{
    for (int i = 0; i < ENDINGS; i++)
        end_in(IN_DRAIN, i);
}

static void k04_ended_in_on_idle(void **state)
{
    for (int i = 0; i < ENDINGS; i++)
        end_in(IN_IDLE, i);
}

/* The verbs in on_close itself say that it is gone, and harm nobody: not the next connection in the
 * same slot either. */
static void verbs_in_close(struct rec *r)
{
    weir_conn c = r->conn;
    struct world *w = r->side->world;
    if (H(r, weir_send(c, weir_str("x"))) != WEIR_EGONE)
        world_broke(w, "a send in on_close was not refused");
    if (H(r, weir_finish(c)) != WEIR_EGONE)
        world_broke(w, "weir_finish in on_close was not refused");
    (void)H(r, weir_close(c));
    (void)H(r, weir_abort(c));
    (void)H(r, weir_resume(c));
    (void)H(r, weir_pause(c));
    (void)H(r, weir_resume(c));
    (void)H(r, weir_flush(c));
    if (weir_conn_alive(c))
        world_broke(w, "alive in on_close");
    if (weir_conn_user(c) != r->side)
        world_broke(w, "on_close cannot ask for the user pointer");
}

static void k04_verbs_in_on_close(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->close = verbs_in_close;
    s->data = do_echo;
    side_listen(s, NULL);
    for (int i = 0; i < 20; i++) {
        struct peer *p = peer_connect(s);
        struct peer *other = peer_connect(s);
        peer_reset(p);
        UNTIL(w, p->rec->closes == 1);
        peer_say(other, "still", 5);
        UNTIL(w, other->received == 5);
        peer_close(other);
        UNTIL(w, other->rec->closes == 1);
    }
    world_end(w);
}

static void k04_peer_resets(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->end = do_nothing;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_reset(p);
    UNTIL(w, p->rec->closes == 1);
    assert_string_equal(p->rec->log, "OC");
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_RESET);
    assert_int_equal(p->rec->end.error, -ECONNRESET);
    world_end(w);
}

/* Connected, written to and reset before anybody has accepted it. */
static void k04_gone_before_it_was_accepted(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = do_echo;
    side_listen(s, NULL);
    for (int i = 0; i < 10; i++) {
        struct peer *p = peer_start(s);
        peer_say(p, "x", 1);
        peer_reset(p);
        struct peer *q = peer_start(s);
        peer_say(q, "y", 1);
        peer_close(q);
        struct peer *last = peer_start(s);
        peer_say(last, "z", 1);
        UNTIL(w, last->received == 1);
        peer_close(last);
    }
    UNTIL(w, s->closed == s->count && s->count >= 20);
    world_end(w);
}

static void k04_failed_connect_gives_close_alone(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    char url[64];
    close(raw_listener(1, url, sizeof url)); /* nobody listens there now */
    weir_conn conn = side_connect(s, url);
    assert_int_equal(s->count, 0);
    UNTIL(w, s->closed == 1);
    assert_string_equal(s->recs[0]->log, "C");
    assert_true(weir_conn_is(s->recs[0]->conn, conn));
    assert_int_equal(s->recs[0]->end.why, WEIR_WHY_ERROR);
    assert_int_equal(s->recs[0]->end.error, -ECONNREFUSED);
    world_end(w);
}

static void k04_connect_given_up_by_us(void **state)
{
    for (int abort = 0; abort < 2; abort++) {
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        char url[64];
        int listener = raw_listener(4, url, sizeof url);
        weir_conn conn = side_connect(s, url);
        assert_int_equal(V(w, abort ? weir_abort(conn) : weir_close(conn)), 0);
        UNTIL(w, s->closed == 1);
        assert_string_equal(s->recs[0]->log, "C");
        assert_int_equal(s->recs[0]->end.why, WEIR_WHY_CLOSED);
        close(listener);
        world_end(w);
    }
}

static void k04_connect_succeeds(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w);
    s->data = do_echo;
    side_listen(s, NULL);
    weir_conn conn = side_connect(c, side_url(s));
    UNTIL(w, c->opened == 1);
    assert_int_equal(V(w, weir_send(conn, weir_str("ping"))), 0);
    UNTIL(w, c->recs[0]->received == 4);
    assert_memory_equal(c->recs[0]->kept, "ping", 4);
    assert_int_equal(V(w, weir_close(conn)), 0);
    UNTIL(w, c->closed == 1 && s->closed == 1);
    assert_string_equal(c->recs[0]->log, "ODC");
    assert_string_equal(s->recs[0]->log, "ODC");
    world_end(w);
}

/* The end of a loop ends its connections: each is told, in whatever state it is. */
static void k04_loop_end_closes_all(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w);
    s->open = fill_up;
    s->close = verbs_in_close;
    s->end = do_nothing;
    side_listen(s, NULL);
    for (int i = 0; i < 20; i++) {
        struct peer *p = peer_connect_small(s, 4096, 0);
        p->reads = false;
        if (i % 4 == 1)
            assert_int_equal(V(w, weir_close(p->rec->conn)), 0);
        if (i % 4 == 2)
            assert_int_equal(V(w, weir_pause(p->rec->conn)), 0);
        if (i % 4 == 3)
            shutdown(p->fd, SHUT_WR);
    }
    side_connect(c, side_url(s));
    unsigned living = s->count;
    world_end(w); /* checks that each had one on_close */
    assert_true(living >= 20);
}

/* Many connections, many endings, all at once. */
static void ended_somehow(struct rec *r, weir_view data)
{
    const uint8_t *bytes = data.data;
    endings[bytes[0] % ENDINGS](r);
}

static void k04_many_at_once(void **state)
{
    enum { MANY = 150 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = ended_somehow;
    s->end = do_close;
    side_listen(s, NULL);
    struct peer *peers[MANY];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++)
            peers[i] = peer_start(s);
        for (int i = 0; i < MANY; i++) {
            char byte = (char)i;
            if (i % 7 < 5)
                peer_say(peers[i], &byte, 1);
            if (i % 7 == 5)
                peer_reset(peers[i]);
            if (i % 7 == 6)
                shutdown(peers[i]->fd, SHUT_WR);
            if (i % 5 == 4 && peers[i]->fd >= 0)
                peer_close(peers[i]);
        }
        world_turn(w);
        for (int i = 0; i < MANY; i++)
            if (i % 3 == 0)
                peer_close(peers[i]);
        UNTIL(w, s->count >= (unsigned)(MANY * round + MANY * 8 / 10));
        for (int i = 0; i < MANY; i++)
            peer_close(peers[i]);
        UNTIL(w, s->closed == s->count);
    }
    world_end(w);
}

K_MAIN(T(k04_open_data_close), T(k04_end_comes_before_close), T(k04_ended_in_on_open),
       T(k04_ended_in_on_data), T(k04_ended_in_on_end), T(k04_ended_in_on_drain),
       T(k04_ended_in_on_idle), T(k04_verbs_in_on_close), T(k04_peer_resets),
       T(k04_gone_before_it_was_accepted), T(k04_failed_connect_gives_close_alone),
       T(k04_connect_given_up_by_us), T(k04_connect_succeeds), T(k04_loop_end_closes_all),
       T(k04_many_at_once))
