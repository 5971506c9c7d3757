/* K10: the ways in which a connection ends are told apart, the first cause is kept, and while a
 * connection is paused nothing is told of its peer: alike on every back end. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "conformance/harness.h"

static void send_more_and_close(struct rec *r)
{
    if (H(r, rec_send_pattern(r, 300000)) < 0)
        world_broke(r->side->world, "a send after the peer's end was refused");
    do_close(r);
}

static void k10_half_close_still_gets_answers(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->end = send_more_and_close;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "question", 8);
    shutdown(p->fd, SHUT_WR);
    UNTIL(w, p->ended);
    assert_int_equal(p->error, 0);
    assert_int_equal(p->received, 300000);
    assert_true(p->in_pattern);
    UNTIL(w, p->rec->closes == 1);
    assert_string_equal(p->rec->log, "ODEC");
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
    world_end(w);
}

/* Answers may go on for long after the peer's end, one by one. */
static void k10_sends_long_after_the_peers_end(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->end = do_nothing;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    shutdown(p->fd, SHUT_WR);
    UNTIL(w, p->rec->ends == 1);
    for (int i = 0; i < 5; i++) {
        assert_true(V(w, rec_send_pattern(p->rec, 1000)) >= 0);
        UNTIL(w, p->received == 1000u * (unsigned)(i + 1));
        world_run_ms(w, 3);
    }
    assert_int_equal(p->rec->closes, 0);
    assert_int_equal(V(w, weir_finish(p->rec->conn)), 0);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
    world_end(w);
}

static void answer(struct rec *r, weir_view data)
{
    if (H(r, rec_send_pattern(r, 200000)) < 0)
        world_broke(r->side->world, "the answer was refused");
}

/* A service without on_end: what is queued goes out, then it closes by itself. */
static void k10_without_on_end_it_flushes_and_closes(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = answer;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    peer_say(p, "x", 1);
    shutdown(p->fd, SHUT_WR);
    UNTIL(w, p->ended);
    assert_int_equal(p->received, 200000);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
    world_end(w);
}

/* --- paused ----------------------------------------------------------------------------------- */

static struct peer *paused_peer(struct side *s)
{
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    assert_int_equal(V(s->world, weir_pause(p->rec->conn)), 0);
    world_turn(s->world);
    return p;
}

static void k10_an_end_while_paused_is_told_when_resumed(void **state)
{
    for (int first = 0; first < 3; first++) { /* with nothing, bytes, or much in front of it */
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        s->end = do_close;
        struct peer *p = paused_peer(s);
        p->to_send = first == 0 ? 0 : first == 1 ? 10 : 200000;
        p->finish = true;
        world_run_ms(w, 30);
        assert_int_equal(p->rec->received, 0);
        assert_string_equal(p->rec->log, "O");
        assert_int_equal(V(w, weir_resume(p->rec->conn)), 0);
        UNTIL(w, p->rec->closes == 1);
        assert_int_equal(p->rec->received, p->to_send);
        assert_true(p->rec->in_pattern);
        assert_string_equal(p->rec->log, first == 0 ? "OEC" : "ODEC");
        assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
        world_end(w);
    }
}

static void k10_a_reset_while_paused_is_told_when_resumed(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *p = paused_peer(s);
    peer_reset(p);
    world_run_ms(w, 30);
    assert_string_equal(p->rec->log, "O");
    assert_int_equal(V(w, weir_resume(p->rec->conn)), 0);
    UNTIL(w, p->rec->closes == 1);
    assert_string_equal(p->rec->log, "OC");
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_RESET);
    assert_int_equal(p->rec->end.error, -ECONNRESET);
    world_end(w);
}

/* No turns are made by what comes for a paused connection. */
static void k10_paused_does_not_spin(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *p = paused_peer(s), *q = peer_connect(s);
    assert_int_equal(V(w, weir_pause(q->rec->conn)), 0);
    p->to_send = 100000;
    world_run_ms(w, 10);
    peer_reset(q);
    world_run_ms(w, 10);
    uint64_t before = world_syscalls(w);
    uint64_t end_ns = now_ns() + 50 * WEIR_MS;
    unsigned turns = 0;
    while (now_ns() < end_ns) {
        weir_loop_turn(w->loop, end_ns);
        turns++;
    }
    assert_true(turns <= 3);
    assert_true(world_syscalls(w) - before <= 6);
    world_end(w);
}

static void k10_a_failing_send_tells_of_a_reset_while_paused(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *p = paused_peer(s);
    peer_reset(p);
    world_run_ms(w, 10);
    assert_true(V(w, weir_send(p->rec->conn, weir_str("anybody?"))) >= 0);
    for (int i = 0; i < 20 && p->rec->closes == 0; i++) {
        world_run_ms(w, 2);
        if (V(w, weir_send(p->rec->conn, weir_str("anybody?"))) < 0)
            break;
    }
    UNTIL(w, p->rec->closes == 1);
    assert_string_equal(p->rec->log, "OC");
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_RESET);
    world_end(w);
}

static void k10_a_deadline_ends_a_paused_one(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.first_byte_ms = 40;
    struct peer *p = paused_peer(s);
    peer_reset(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_DEADLINE);
    assert_int_equal(p->rec->end.deadline, WEIR_DEADLINE_FIRST_BYTE);
    world_end(w);
}

static void k10_closed_while_paused_and_reset(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *p = paused_peer(s);
    peer_reset(p);
    world_run_ms(w, 10);
    assert_int_equal(V(w, weir_close(p->rec->conn)), 0);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    world_end(w);
}

/* --- the first cause is kept ------------------------------------------------------------------ */

/* The peer has closed with our bytes unread: it answers the next ones by a reset, and the stream
 * then ends for the reader as if in order. */
static void k10_a_reset_seen_by_a_send_stays_a_reset(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->end = do_nothing;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_close(p);
    UNTIL(w, p->rec->ends == 1);
    for (int i = 0; i < 50 && p->rec->closes == 0; i++) {
        (void)V(w, weir_send(p->rec->conn, weir_str("are you there?")));
        world_run_ms(w, 2);
    }
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_RESET);
    assert_true(p->rec->end.error == -EPIPE || p->rec->end.error == -ECONNRESET);
    world_end(w);
}

static void k10_the_first_of_our_own_causes(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    p->reads = false;
    assert_int_equal(V(w, weir_close(p->rec->conn)), 0);
    world_turn(w);
    peer_reset(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    world_end(w);
}

/* Closed by us, but the peer did not take what was to be sent before: that is not kept quiet. */
static void k10_closed_with_output_that_was_lost(void **state)
{
    static const uint8_t much[60000];
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->reads = false;
    UNTIL(w, p->rec != NULL && p->rec->opens == 1);
    assert_int_equal(V(w, weir_send(p->rec->conn, (weir_view){.data = much, .size = sizeof much})),
                     0);
    assert_int_equal(V(w, weir_close(p->rec->conn)), 0);
    world_run_ms(w, 10);
    peer_reset(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    assert_true(p->rec->end.error == -EPIPE || p->rec->end.error == -ECONNRESET);
    world_end(w);
}

/* The peer leaves in the middle of a frame: its end is an end, but not a clean one. */
static void k10_an_end_in_the_middle_of_a_frame(void **state)
{
    for (int paused = 0; paused < 2; paused++) {
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        s->service.frame = (weir_frame)weir_frame_line(100);
        s->end = paused ? do_nothing : do_close;
        side_listen(s, NULL);
        struct peer *p = peer_connect(s);
        peer_say(p, "whole\nhalf", 10);
        peer_close(p);
        UNTIL(w, p->rec->ends == 1);
        assert_int_equal(p->rec->frames, 1);
        if (paused) { /* and what comes after on_end does not change it */
            assert_int_equal(V(w, weir_pause(p->rec->conn)), 0);
            world_turn(w);
            assert_int_equal(V(w, weir_resume(p->rec->conn)), 0);
            world_run_ms(w, 5);
            assert_int_equal(p->rec->closes, 0);
            assert_int_equal(V(w, weir_close(p->rec->conn)), 0);
        }
        UNTIL(w, p->rec->closes == 1);
        assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
        assert_int_equal(p->rec->end.error, WEIR_EPROTO);
        world_end(w);
    }
}

/* Unix sockets end in the same ways. */
static void k10_unix_sockets(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    char url[64];
    snprintf(url, sizeof url, "unix:@weir-k10-%d", (int)getpid());
    s->end = do_close;
    side_listen(s, url);
    struct peer *p = peer_connect(s), *q = peer_connect(s), *r = peer_connect(s);
    peer_say(p, "bytes", 5);
    shutdown(p->fd, SHUT_WR);
    UNTIL(w, p->rec->closes == 1);
    assert_string_equal(p->rec->log, "ODEC");
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
    /* Closing with unread bytes is a unix socket's reset. */
    assert_true(V(w, weir_send(q->rec->conn, weir_str("unread"))) >= 0);
    q->reads = false;
    world_run_ms(w, 3);
    peer_close(q);
    UNTIL(w, q->rec->closes == 1);
    assert_string_equal(q->rec->log, "OC");
    assert_int_equal(q->rec->end.why, WEIR_WHY_PEER_RESET);
    peer_close(r);
    UNTIL(w, r->rec->closes == 1);
    assert_string_equal(r->rec->log, "OEC");
    world_end(w);
}

K_MAIN(T(k10_half_close_still_gets_answers), T(k10_sends_long_after_the_peers_end),
       T(k10_without_on_end_it_flushes_and_closes), T(k10_an_end_while_paused_is_told_when_resumed),
       T(k10_a_reset_while_paused_is_told_when_resumed), T(k10_paused_does_not_spin),
       T(k10_a_failing_send_tells_of_a_reset_while_paused), T(k10_a_deadline_ends_a_paused_one),
       T(k10_closed_while_paused_and_reset), T(k10_a_reset_seen_by_a_send_stays_a_reset),
       T(k10_the_first_of_our_own_causes), T(k10_closed_with_output_that_was_lost),
       T(k10_an_end_in_the_middle_of_a_frame), T(k10_unix_sockets))
