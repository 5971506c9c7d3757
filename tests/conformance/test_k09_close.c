/* K9: one call closes, in any state. In order: all output, our end, the peer's or the linger
 * deadline; abort: a reset. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conformance/harness.h"

enum { BIG = 1000000 };

static void send_big_and_close(struct rec *r)
{
    if (H(r, rec_send_pattern(r, BIG)) < 0)
        world_broke(r->side->world, "the output was refused");
    do_close(r);
}

static void k09_flushes_all_then_ends(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.socket.send_buffer_bytes = 4096;
    s->open = send_big_and_close;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    UNTIL(w, p->ended);
    assert_int_equal(p->error, 0);
    assert_int_equal(p->received, BIG);
    assert_true(p->in_pattern);
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    assert_int_equal(p->rec->end.error, 0);
    world_end(w);
}

static void close_at_first_data(struct rec *r, weir_view data)
{
    send_big_and_close(r);
}

/* What the peer still sends is read and thrown away: a close with unread input makes the kernel
 * send a reset, which takes the answer with it. */
static void k09_no_reset_when_input_is_unread(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = close_at_first_data;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    p->reads = false;
    p->to_send = 3 << 20;
    world_run_ms(w, 20);
    p->reads = true;
    UNTIL(w, p->ended);
    assert_int_equal(p->error, 0);
    assert_int_equal(p->received, BIG);
    assert_true(p->in_pattern);
    UNTIL(w, p->sent == p->to_send); /* all of it was taken */
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    world_end(w);
}

/* The same where a limit or a deadline closes. */
static void k09_no_reset_from_a_deadline(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.idle_ms = 30;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "x", 1);
    UNTIL(w, p->rec->received == 1);
    assert_int_equal(V(w, weir_pause(p->rec->conn)), 0);
    peer_say(p, "unread", 6);
    UNTIL(w, p->ended);
    assert_int_equal(p->error, 0);
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.deadline, WEIR_DEADLINE_IDLE);
    world_end(w);
}

static void k09_waits_for_the_peers_end(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->open = do_close;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, p->ended);
    world_run_ms(w, 30);
    assert_int_equal(p->rec->closes, 0);
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    world_end(w);
}

/* The peer's end was seen: nothing is waited for. */
static void k09_plain_close_after_the_peers_end(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->end = do_close;
    s->service.linger_ms = WEIR_OFF;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    shutdown(p->fd, SHUT_WR);
    UNTIL(w, p->rec->closes == 1);
    UNTIL(w, p->ended);
    assert_int_equal(p->error, 0);
    world_end(w);
}

static void k09_abort_resets(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->open = do_abort;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, p->ended);
    assert_int_equal(p->error, ECONNRESET);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    world_end(w);
}

static void send_big(struct rec *r)
{
    if (H(r, rec_send_pattern(r, BIG)) < 0)
        world_broke(r->side->world, "the output was refused");
}

static struct peer *with_a_send_in_flight(struct side *s)
{
    s->service.socket.send_buffer_bytes = 4096;
    s->open = send_big;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->reads = false;
    world_run_ms(s->world, 10);
    return p;
}

static void k09_close_with_a_send_in_flight(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *p = with_a_send_in_flight(s);
    assert_int_equal(V(w, weir_close(p->rec->conn)), 0);
    world_run_ms(w, 10);
    assert_int_equal(p->rec->closes, 0);
    p->reads = true;
    UNTIL(w, p->ended);
    assert_int_equal(p->error, 0);
    assert_int_equal(p->received, BIG);
    assert_true(p->in_pattern);
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    world_end(w);
}

static void k09_abort_with_a_send_in_flight(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *p = with_a_send_in_flight(s);
    assert_int_equal(V(w, weir_abort(p->rec->conn)), 0);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    p->reads = true;
    UNTIL(w, p->ended);
    assert_int_equal(p->error, ECONNRESET);
    world_end(w);
}

static void k09_abort_ends_a_close_that_waits(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *p = with_a_send_in_flight(s);
    assert_int_equal(V(w, weir_close(p->rec->conn)), 0);
    world_run_ms(w, 5);
    assert_int_equal(V(w, weir_abort(p->rec->conn)), 0);
    UNTIL(w, p->rec->closes == 1);
    struct peer *q = peer_connect_small(s, 0, 0);
    q->reads = true;
    UNTIL(w, q->received == BIG);
    assert_int_equal(V(w, weir_close(q->rec->conn)), 0);
    UNTIL(w, q->ended); /* lingering now */
    assert_int_equal(V(w, weir_abort(q->rec->conn)), 0);
    UNTIL(w, q->rec->closes == 1);
    world_end(w);
}

/* Files and pull sources are output like any other. */
static int file;
static uint64_t pulled;
static int told;

static ssize_t pull_some(weir_conn conn, void *data, size_t size, void *arg)
{
    if (data == NULL) {
        told++;
        return 0;
    }
    if (pulled == 3 * BIG)
        return 0;
    if (size > 3 * BIG - pulled)
        size = (size_t)(3 * BIG - pulled);
    pattern_fill(data, pulled, size);
    pulled += size;
    return (ssize_t)size;
}

static void send_sources_and_close(struct rec *r)
{
    int copy = fcntl(file, F_DUPFD_CLOEXEC, 0);
    if (H(r, rec_send_pattern(r, 1000)) < 0 ||
        H(r, weir_send_file(r->conn, copy, 1000, 2 * BIG - 1000, true)) < 0)
        world_broke(r->side->world, "the file was refused");
    pulled = 2 * BIG;
    if (H(r, weir_send_pull(r->conn, pull_some, NULL)) < 0)
        world_broke(r->side->world, "the pull source was refused");
    do_close(r);
}

static void make_file(void)
{
    uint8_t *data = malloc(2 * BIG);
    pattern_fill(data, 0, 2 * BIG);
    file = memfd_create("sources", MFD_CLOEXEC);
    assert_int_equal(write(file, data, 2 * BIG), 2 * BIG);
    free(data);
    told = 0;
}

static void k09_files_and_sources_are_flushed(void **state)
{
    make_file();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->open = send_sources_and_close;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 16384, 0);
    UNTIL(w, p->ended);
    assert_int_equal(p->error, 0);
    assert_int_equal(p->received, 3 * BIG);
    assert_true(p->in_pattern);
    assert_int_equal(told, 1);
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    world_end(w);
    close(file);
}

/* A source that has nothing yet is given the write deadline from the close on, however long the
 * connection was quiet before. */
static bool source_ready;

static ssize_t pull_late(weir_conn conn, void *data, size_t size, void *arg)
{
    if (data == NULL) {
        told++;
        return 0;
    }
    if (!source_ready)
        return WEIR_PULL_WAIT;
    if (pulled == 100)
        return 0;
    pattern_fill(data, 0, 100);
    pulled = 100;
    return 100;
}

static void send_late_source(struct rec *r)
{
    if (H(r, weir_send_pull(r->conn, pull_late, NULL)) < 0)
        world_broke(r->side->world, "the pull source was refused");
}

static void k09_a_quiet_source_is_waited_for(void **state)
{
    enum { WRITE_MS = 400 };
    source_ready = false;
    pulled = 0;
    told = 0;
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.write_ms = WRITE_MS;
    s->open = send_late_source;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    world_run_ms(w, WRITE_MS + 50); /* longer than a peer may take nothing */
    assert_int_equal(V(w, weir_close(p->rec->conn)), 0);
    world_run_ms(w, 20);
    assert_int_equal(p->rec->closes, 0);
    source_ready = true;
    assert_int_equal(V(w, weir_pull_ready(p->rec->conn)), 0);
    UNTIL(w, p->ended);
    assert_int_equal(p->error, 0);
    assert_int_equal(p->received, 100);
    assert_int_equal(told, 1);
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.error, 0);

    /* And no longer than that. */
    source_ready = false;
    pulled = 0;
    struct peer *q = peer_connect(s);
    assert_int_equal(V(w, weir_close(q->rec->conn)), 0);
    UNTIL(w, q->rec->closes == 1);
    assert_int_equal(q->rec->end.error, WEIR_ETIMEDOUT);
    assert_true(q->rec->closed_ns - q->rec->opened_ns >= WRITE_MS * WEIR_MS);
    world_end(w);
}

/* Aborted in the middle of each: descriptors are closed, the source is told, once. */
static void k09_abort_in_a_file_and_in_a_source(void **state)
{
    make_file();
    for (int place = 0; place < 6; place++) {
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        s->service.socket.send_buffer_bytes = 4096;
        s->open = send_sources_and_close;
        side_listen(s, NULL);
        struct peer *p = peer_connect_small(s, 4096, 0);
        told = 0;
        static const uint64_t at[] = {0, 5000, 500000, 1999000, 2200000, 2900000};
        while (p->received < at[place] && !p->ended)
            world_turn(w);
        p->reads = false;
        world_run_ms(w, 5);
        if (place % 2 == 0)
            assert_int_equal(V(w, weir_abort(p->rec->conn)), 0);
        else
            peer_reset(p);
        UNTIL(w, p->rec->closes == 1);
        assert_int_equal(told, 1);
        world_end(w);
    }
    close(file);
}

static void finish_at_end_of(struct rec *r, weir_view data)
{
    if (r->mark++ != 0)
        return;
    if (H(r, rec_send_pattern(r, BIG)) < 0 || H(r, weir_finish(r->conn)) != 0)
        world_broke(r->side->world, "the finish was refused");
    if (H(r, weir_send(r->conn, weir_str("x"))) != WEIR_EMISUSE)
        world_broke(r->side->world, "a send after weir_finish was not refused");
}

/* weir_finish ends our direction only. */
static void k09_finish_leaves_reading_on(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = finish_at_end_of;
    s->end = do_nothing;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "go", 2);
    UNTIL(w, p->ended);
    assert_int_equal(p->error, 0);
    assert_int_equal(p->received, BIG);
    peer_say(p, "more", 4);
    UNTIL(w, p->rec->received == 6);
    assert_int_equal(p->rec->closes, 0);
    peer_close(p); /* with both ends seen it is over */
    UNTIL(w, p->rec->closes == 1);
    assert_string_equal(p->rec->log, "ODRDEC");
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
    world_end(w);
}

/* Both ends close at the same time. */
static void k09_both_close_at_once(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w);
    side_listen(s, NULL);
    for (int i = 0; i < 20; i++) {
        side_connect(c, side_url(s));
        UNTIL(w, s->opened == 1 && c->opened == 1);
        assert_int_equal(V(w, weir_close(s->recs[i]->conn)), 0);
        assert_int_equal(V(w, weir_close(c->recs[i]->conn)), 0);
        UNTIL(w, s->opened == 0 && c->opened == 0);
        assert_int_equal(s->recs[i]->end.error, 0);
        assert_int_equal(c->recs[i]->end.error, 0);
    }
    world_end(w);
}

/* Closing gives every descriptor back at once, also when very many come and go. */
static void echo_and_close(struct rec *r, weir_view data)
{
    do_echo(r, data);
    do_close(r);
}

static void k09_descriptors_come_back(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = echo_and_close;
    side_listen(s, NULL);
    int before = 0;
    for (int i = 0; i < 300; i++) {
        struct peer *p = peer_connect(s);
        peer_say(p, "x", 1);
        UNTIL(w, p->ended);
        assert_int_equal(p->received, 1);
        peer_close(p);
        UNTIL(w, p->rec->closes == 1);
        if (i == 0)
            before = fds_open();
    }
    assert_int_equal(fds_open(), before);
    world_end(w);
}

K_MAIN(T(k09_flushes_all_then_ends), T(k09_no_reset_when_input_is_unread),
       T(k09_no_reset_from_a_deadline), T(k09_waits_for_the_peers_end),
       T(k09_plain_close_after_the_peers_end), T(k09_abort_resets),
       T(k09_close_with_a_send_in_flight), T(k09_abort_with_a_send_in_flight),
       T(k09_abort_ends_a_close_that_waits), T(k09_files_and_sources_are_flushed),
       T(k09_a_quiet_source_is_waited_for), T(k09_abort_in_a_file_and_in_a_source),
       T(k09_finish_leaves_reading_on), T(k09_both_close_at_once), T(k09_descriptors_come_back))
