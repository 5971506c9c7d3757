/* K7: every wait for a peer has an end, on by default; progress is a rate; heartbeats without
 * closing. Times are only ever judged from below: never early. How late they are is in the wait of
 * UNTIL. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "conformance/harness.h"

enum { SOON_MS = 60 };

/* The peers here do not answer our end by theirs. */
static struct side *a_side(struct world *w)
{
    struct side *s = side_new(w);
    s->service.linger_ms = 20;
    return s;
}

static uint64_t ms_open(const struct rec *r)
{
    return (r->closed_ns - r->opened_ns) / WEIR_MS;
}

static void expect_deadline(const struct rec *r, enum weir_deadline which)
{
    assert_int_equal(r->closes, 1);
    assert_int_equal(r->end.why, WEIR_WHY_DEADLINE);
    assert_int_equal(r->end.deadline, which);
    assert_int_equal(r->end.error, WEIR_ETIMEDOUT);
    assert_true(ms_open(r) >= SOON_MS);
}

static void k07_first_byte(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.first_byte_ms = SOON_MS;
    side_listen(s, NULL);
    struct peer *silent = peer_connect(s), *talks = peer_connect(s);
    peer_say(talks, "x", 1);
    UNTIL(w, silent->rec->closes == 1);
    expect_deadline(silent->rec, WEIR_DEADLINE_FIRST_BYTE);
    UNTIL(w, silent->ended);
    assert_int_equal(silent->error, 0); /* in order, not by a reset */
    world_run_ms(w, SOON_MS + 20);
    assert_int_equal(talks->rec->closes, 0);
    world_end(w);
}

/* A service that waits for a first byte as long as it takes still has its deadline for idleness,
 * also when the peer has finished and a handler stays. */
static void k07_idle_without_a_first_byte(void **state)
{
    for (int finishes = 0; finishes < 2; finishes++) {
        struct world *w = world_open(NULL);
        struct side *s = a_side(w);
        s->end = do_nothing;
        s->service.first_byte_ms = WEIR_OFF;
        s->service.idle_ms = SOON_MS;
        side_listen(s, NULL);
        struct peer *p = peer_connect(s);
        if (finishes)
            shutdown(p->fd, SHUT_WR);
        UNTIL(w, p->rec->closes == 1);
        expect_deadline(p->rec, WEIR_DEADLINE_IDLE);
        world_end(w);
    }
}

static void greet(struct rec *r)
{
    if (H(r, weir_send(r->conn, weir_str("hello"))) != 0)
        world_broke(r->side->world, "the greeting was refused");
}

/* A service that speaks first: its own byte satisfies. Others are not satisfied by theirs. */
static void k07_first_byte_of_the_server(void **state)
{
    struct world *w = world_open(NULL);
    struct side *first = a_side(w), *other = a_side(w);
    first->open = other->open = greet;
    first->service.first_byte_ms = other->service.first_byte_ms = SOON_MS;
    first->service.server_first = true;
    side_listen(first, NULL);
    side_listen(other, NULL);
    struct peer *p = peer_connect(first), *q = peer_connect(other);
    UNTIL(w, q->rec->closes == 1);
    expect_deadline(q->rec, WEIR_DEADLINE_FIRST_BYTE);
    world_run_ms(w, SOON_MS);
    assert_int_equal(p->rec->closes, 0);
    world_end(w);
}

/* idle_ms is much less than what the timer was started for. */
static void k07_idle(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.idle_ms = SOON_MS;
    s->data = do_echo;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "x", 1);
    UNTIL(w, p->received == 1);
    uint64_t last_ns = now_ns();
    UNTIL(w, p->rec->closes == 1);
    expect_deadline(p->rec, WEIR_DEADLINE_IDLE);
    assert_true(p->rec->closed_ns - last_ns + 5 * WEIR_MS * slowness() >= SOON_MS * WEIR_MS);
    assert_int_equal(p->error, 0);
    world_end(w);
}

static void k07_idle_of_a_server_that_spoke_first(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.idle_ms = SOON_MS;
    s->service.server_first = true;
    s->open = greet;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, p->rec->closes == 1);
    expect_deadline(p->rec, WEIR_DEADLINE_IDLE);
    world_end(w);
}

static void k07_activity_puts_idle_off(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.idle_ms = 3 * SOON_MS;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    for (int i = 0; i < 10; i++) {
        peer_say(p, "x", 1);
        world_run_ms(w, SOON_MS / 2);
        assert_int_equal(p->rec->closes, 0);
    }
    UNTIL(w, p->rec->closes == 1);
    expect_deadline(p->rec, WEIR_DEADLINE_IDLE);
    world_end(w);
}

static void k07_idle_of_a_client(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w), *c = a_side(w);
    c->service.idle_ms = SOON_MS;
    side_listen(s, NULL);
    side_connect(c, side_url(s));
    UNTIL(w, c->closed == 1);
    expect_deadline(c->recs[0], WEIR_DEADLINE_IDLE);
    world_end(w);
}

static void k07_idle_while_paused(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.idle_ms = SOON_MS;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "x", 1);
    UNTIL(w, p->rec->received == 1);
    assert_int_equal(V(w, weir_pause(p->rec->conn)), 0);
    UNTIL(w, p->rec->closes == 1);
    expect_deadline(p->rec, WEIR_DEADLINE_IDLE);
    world_end(w);
}

/* --- write stall ------------------------------------------------------------------------------ */

enum { STALL_MS = 250 };

/* Having waited in line for a receive block puts nothing off: with few of them, and everybody
 * sending at once, each has been armed from that line when it falls silent. */
static void k07_idle_after_waiting_for_a_block(void **state)
{
    enum { PEERS = 40, ROUNDS = 5, BYTES = 4096 };
    const weir_loop_options options = {.receive_block_bytes = 4096, .receive_blocks = 2};
    struct world *w = world_open(&options);
    struct side *s = a_side(w);
    struct peer *peers[PEERS];
    s->service.idle_ms = 20 * SOON_MS;
    s->data = do_echo;
    side_listen(s, NULL);
    for (int i = 0; i < PEERS; i++)
        peers[i] = peer_connect(s);
    for (int round = 1; round <= ROUNDS; round++) {
        for (int i = 0; i < PEERS; i++)
            peers[i]->to_send = (uint64_t)round * BYTES;
        UNTIL(w, peers[PEERS - 1]->received == (uint64_t)round * BYTES);
    }
    UNTIL(w, s->closed == PEERS);
    for (int i = 0; i < PEERS; i++)
        expect_deadline(peers[i]->rec, WEIR_DEADLINE_IDLE);
    world_end(w);
}

static void pour(struct rec *r)
{
    if (H(r, rec_send_pattern(r, 500000)) < 0)
        world_broke(r->side->world, "the output was refused");
}

static struct peer *slow_reader(struct world *w, struct side *s)
{
    s->service.write_ms = STALL_MS;
    s->service.socket.send_buffer_bytes = 4096;
    s->open = pour;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->reads = false;
    return p;
}

static void k07_write_stall(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    struct peer *p = slow_reader(w, s);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_DEADLINE);
    assert_int_equal(p->rec->end.deadline, WEIR_DEADLINE_WRITE);
    assert_true(ms_open(p->rec) >= STALL_MS);
    world_end(w);
}

/* Takes bytes at a rate; returns how long the connection lived, at most `most_ms`. */
static uint64_t taken_at(struct world *w, struct peer *p, size_t bytes, unsigned every_ms,
                         unsigned most_ms)
{
    uint64_t begin_ns = now_ns();
    uint8_t buffer[8192];
    while (p->rec->closes == 0 && now_ns() - begin_ns < most_ms * WEIR_MS) {
        ssize_t got = recv(p->fd, buffer, bytes, MSG_DONTWAIT);
        (void)got;
        world_run_ms(w, every_ms);
    }
    return (now_ns() - begin_ns) / WEIR_MS;
}

static void k07_progress_is_a_rate(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    struct peer *p = slow_reader(w, s);
    /* 4 KiB every 20 ms are enough, */
    taken_at(w, p, 4096, 20, 4 * STALL_MS);
    assert_int_equal(p->rec->closes, 0);
    /* 16 bytes are not: a byte now and then holds no connection open. */
    taken_at(w, p, 16, 20, 3000);
    assert_int_equal(p->rec->closes, 1);
    assert_int_equal(p->rec->end.deadline, WEIR_DEADLINE_WRITE);
    world_end(w);
}

static void pour_static(struct rec *r)
{
    static const uint8_t zeros[8 << 20];
    if (H(r, weir_send(r->conn, weir_static(zeros, sizeof zeros))) < 0)
        world_broke(r->side->world, "the output was refused");
}

/* The kernel asks for more only when a third of its buffer has gone. Who takes less than that in an
 * interval, and more than 1 KiB, takes enough. */
static void k07_slow_taker_of_a_large_buffer(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.write_ms = 4 * STALL_MS;
    s->service.socket.send_buffer_bytes = 200 << 10;
    s->open = pour_static;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->reads = false;
    assert_true(taken_at(w, p, 512, 20, 12 * STALL_MS) >= 12 * STALL_MS);
    assert_int_equal(p->rec->closes, 0);
    UNTIL(w, p->rec->closes == 1); /* and who stops taking is not spared */
    assert_int_equal(p->rec->end.deadline, WEIR_DEADLINE_WRITE);
    world_end(w);
}

/* A source that gives small pieces has always more: that each of them was taken whole is not enough
 * for its rate. */
static ssize_t pull_crumbs(weir_conn conn, void *data, size_t size, void *arg)
{
    enum { CRUMB = 40 };
    if (data == NULL)
        return 0;
    memset(data, 'x', CRUMB);
    return CRUMB;
}

static void send_crumbs(struct rec *r)
{
    if (H(r, weir_send_pull(r->conn, pull_crumbs, NULL)) < 0)
        world_broke(r->side->world, "the pull source was refused");
}

static void k07_small_pieces_are_no_progress(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    char url[64];
    snprintf(url, sizeof url, "unix:@weir-k07-%d", (int)getpid());
    s->service.write_ms = STALL_MS;
    s->service.socket.send_buffer_bytes = 4096;
    s->open = send_crumbs;
    side_listen(s, url);
    struct peer *p = peer_connect(s);
    p->reads = false;
    taken_at(w, p, 16, 10, 3000);
    assert_int_equal(p->rec->closes, 1);
    assert_int_equal(p->rec->end.deadline, WEIR_DEADLINE_WRITE);
    world_end(w);
}

static void k07_write_stall_while_closing(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    struct peer *p = slow_reader(w, s);
    assert_int_equal(V(w, weir_close(p->rec->conn)), 0);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);  /* the first cause is kept */
    assert_int_equal(p->rec->end.error, WEIR_ETIMEDOUT); /* and that output was lost is told */
    assert_true(ms_open(p->rec) >= STALL_MS);
    world_end(w);
}

/* --- connect, linger -------------------------------------------------------------------------- */

/* A listener whose queue is full answers no SYN. */
static void k07_connect(void **state)
{
    struct world *w = world_open(NULL);
    struct side *c = a_side(w);
    char url[64];
    int listener = raw_listener(0, url, sizeof url), waiting[4];
    weir_address address;
    assert_int_equal(weir_address_parse(url, &address, NULL), 0);
    for (int i = 0; i < 4; i++) {
        waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(waiting[i], (struct sockaddr *)&address.socket, address.socket_size);
    }
    usleep(2000);
    c->service.connect_ms = SOON_MS;
    uint64_t begin_ns = now_ns();
    side_connect(c, url);
    UNTIL(w, c->closed == 1);
    assert_string_equal(c->recs[0]->log, "C");
    assert_int_equal(c->recs[0]->end.why, WEIR_WHY_DEADLINE);
    assert_int_equal(c->recs[0]->end.deadline, WEIR_DEADLINE_CONNECT);
    assert_true(now_ns() - begin_ns >= SOON_MS * WEIR_MS);
    for (int i = 0; i < 4; i++)
        close(waiting[i]);
    close(listener);
    world_end(w);
}

static void k07_linger(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.linger_ms = SOON_MS;
    s->open = do_close;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, p->ended); /* our end came, the peer keeps its own to itself */
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    assert_true(ms_open(p->rec) >= SOON_MS);
    world_end(w);
}

/* The peer's bytes do not put the linger deadline off. */
static void k07_linger_before_a_peer_that_goes_on(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.linger_ms = SOON_MS;
    s->open = do_close;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    p->to_send = UINT64_MAX;
    p->piece = 1000;
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    assert_true(ms_open(p->rec) >= SOON_MS);
    assert_int_equal(p->rec->received, 0);
    world_end(w);
}

/* --- off, and heartbeats ---------------------------------------------------------------------- */

static void k07_off(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.first_byte_ms = s->service.idle_ms = s->service.write_ms = WEIR_OFF;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    world_run_ms(w, 2 * SOON_MS);
    assert_int_equal(p->rec->closes, 0);
    verb_begin(w);
    assert_int_equal(weir_loop_due(w->loop), WEIR_NEVER); /* not even a timer */
    verb_end(w, 0);
    world_end(w);
}

static void k07_reader_idle_comes_again_and_again(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.reader_idle_ms = 60;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, p->rec->idles[WEIR_IDLE_READER] == 3);
    assert_true(p->rec->last_ns - p->rec->opened_ns >= 180 * WEIR_MS);
    assert_int_equal(p->rec->idles[WEIR_IDLE_WRITER] + p->rec->idles[WEIR_IDLE_BOTH], 0);
    assert_int_equal(p->rec->closes, 0);
    /* Input puts it off. */
    int before = p->rec->idles[WEIR_IDLE_READER];
    for (int i = 0; i < 12; i++) {
        peer_say(p, "x", 1);
        world_run_ms(w, 15);
    }
    assert_true(p->rec->idles[WEIR_IDLE_READER] <= before + 1);
    world_end(w);
}

static void beat(struct rec *r, enum weir_idle which)
{
    if (which == WEIR_IDLE_WRITER && H(r, weir_send(r->conn, weir_str("."))) != 0)
        world_broke(r->side->world, "a heartbeat was refused");
}

static void k07_writer_idle_sends_heartbeats(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.writer_idle_ms = 20;
    s->idle = beat;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, p->received == 4);
    assert_int_equal(p->rec->idles[WEIR_IDLE_WRITER], 4);
    assert_int_equal(p->rec->idles[WEIR_IDLE_READER], 0);
    world_end(w);
}

static void k07_both_idle(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.both_idle_ms = 400;
    s->data = do_echo;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    for (int i = 0; i < 8; i++) {
        peer_say(p, "x", 1);
        world_run_ms(w, 10);
    }
    assert_int_equal(p->rec->idles[WEIR_IDLE_BOTH], 0);
    UNTIL(w, p->rec->idles[WEIR_IDLE_BOTH] == 2);
    assert_int_equal(p->rec->idles[WEIR_IDLE_READER] + p->rec->idles[WEIR_IDLE_WRITER], 0);
    world_end(w);
}

/* The closing deadline works beside the heartbeats. */
static void k07_idle_closes_beside_heartbeats(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.reader_idle_ms = 20;
    s->service.first_byte_ms = SOON_MS;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    UNTIL(w, p->rec->closes == 1);
    expect_deadline(p->rec, WEIR_DEADLINE_FIRST_BYTE);
    assert_true(p->rec->idles[WEIR_IDLE_READER] >= 1);
    world_end(w);
}

/* Many connections with deadlines at different times: each its own, none early. */
static void k07_many_deadlines(void **state)
{
    enum { MANY = 300 };
    struct world *w = world_open(NULL);
    struct side *s = a_side(w);
    s->service.idle_ms = SOON_MS;
    side_listen(s, NULL);
    for (int i = 0; i < MANY; i++) {
        struct peer *p = peer_connect(s);
        if (i % 2 == 0)
            peer_say(p, "x", 1);
        if (i % 10 == 0)
            world_turn(w);
    }
    UNTIL(w, s->closed == MANY / 2);
    for (int i = 0; i < MANY; i += 2)
        expect_deadline(s->recs[i], WEIR_DEADLINE_IDLE);
    world_end(w);
}

K_MAIN(T(k07_first_byte), T(k07_idle_without_a_first_byte), T(k07_first_byte_of_the_server),
       T(k07_idle), T(k07_idle_of_a_server_that_spoke_first), T(k07_activity_puts_idle_off),
       T(k07_idle_of_a_client), T(k07_idle_while_paused), T(k07_idle_after_waiting_for_a_block),
       T(k07_write_stall), T(k07_progress_is_a_rate), T(k07_slow_taker_of_a_large_buffer),
       T(k07_small_pieces_are_no_progress), T(k07_write_stall_while_closing), T(k07_connect),
       T(k07_linger), T(k07_linger_before_a_peer_that_goes_on), T(k07_off),
       T(k07_reader_idle_comes_again_and_again), T(k07_writer_idle_sends_heartbeats),
       T(k07_both_idle), T(k07_idle_closes_beside_heartbeats), T(k07_many_deadlines))
