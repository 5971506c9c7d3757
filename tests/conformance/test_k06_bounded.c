/* K6: output is bounded; above the soft mark reading pauses, beyond the hard cap a send is refused
 * whole; what weir does not hold is not counted; a loop has a budget for all its connections. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conformance/harness.h"

static struct weir_conn_stats stats_of(struct rec *r)
{
    struct weir_conn_stats stats = {0};
    assert_int_equal(V(r->side->world, weir_conn_stats_get(r->conn, &stats)), 0);
    return stats;
}

static size_t answer_bytes; /* what the next data is answered with, once */

static void answer_once(struct rec *r, weir_view data)
{
    if (answer_bytes == 0)
        return;
    r->mark = H(r, rec_send_pattern(r, answer_bytes));
    answer_bytes = 0;
}

/* A peer that takes 4 KiB and then no more, before an answer larger than the soft mark. */
static struct peer *stuffed(struct side *s, size_t bytes)
{
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->reads = false;
    answer_bytes = bytes;
    peer_say(p, "go", 2);
    UNTIL(s->world, p->rec->sent == bytes);
    return p;
}

static void k06_soft_mark_pauses_reading_and_drains_once(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = answer_once;
    struct peer *p = stuffed(s, 300000);
    assert_int_equal(p->rec->mark, WEIR_SEND_WAIT);
    peer_say(p, "more", 4);
    world_run_ms(w, 30);
    assert_int_equal(p->rec->received, 2); /* not handed over while the peer does not read */
    assert_int_equal(p->rec->drains, 0);
    p->reads = true;
    UNTIL(w, p->received == 300000);
    UNTIL(w, p->rec->received == 6);
    world_run_ms(w, 5);
    assert_int_equal(p->rec->drains, 1);
    assert_string_equal(p->rec->log, "ODRD");
    world_end(w);
}

static void k06_below_the_mark_nothing_pauses(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = answer_once;
    struct peer *p = stuffed(s, 60000);
    assert_int_equal(p->rec->mark, 0);
    peer_say(p, "more", 4);
    UNTIL(w, p->rec->received == 6);
    p->reads = true;
    UNTIL(w, p->received == 60000);
    world_run_ms(w, 5);
    assert_int_equal(p->rec->drains, 0);
    world_end(w);
}

static void k06_reading_always_where_asked_for(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = answer_once;
    s->service.read_on = WEIR_READ_ALWAYS;
    struct peer *p = stuffed(s, 300000);
    peer_say(p, "more", 4);
    UNTIL(w, p->rec->received == 6);
    p->reads = true;
    UNTIL(w, p->rec->drains == 1 && p->received == 300000);
    world_end(w);
}

/* Sends until a send is refused. */
static void fill_to_the_cap(struct rec *r)
{
    int result;
    do {
        result = H(r, rec_send_pattern(r, 100000));
    } while (result >= 0);
    r->mark = result;
}

static void k06_hard_cap_refuses_whole_send(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.full = WEIR_FULL_REFUSE;
    s->service.socket.send_buffer_bytes = 4096;
    s->open = fill_to_the_cap;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    struct rec *r = p->rec;
    assert_int_equal(r->mark, WEIR_EFULL);
    assert_int_equal(r->sent, 1000000); /* ten fit into 1 MiB, the eleventh does not */
    uint64_t before = r->sent;
    p->reads = false;
    world_run_ms(w, 10);
    int result = V(w, rec_send_pattern(r, 900000));
    assert_true(result == WEIR_EFULL);
    assert_int_equal(r->sent, before);
    assert_true(stats_of(r).queued_bytes <= 1 << 20);
    assert_int_equal(r->closes, 0);
    p->reads = true;
    UNTIL(w, p->received == before && r->drains == 1);
    assert_true(V(w, rec_send_pattern(r, 1000)) >= 0);
    UNTIL(w, p->received == before + 1000);
    assert_true(p->in_pattern); /* nothing of what was refused is in the stream */
    world_end(w);
}

static void k06_hard_cap_closes_by_default(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->open = fill_to_the_cap;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    assert_int_equal(p->rec->mark, WEIR_EFULL);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_LIMIT);
    assert_int_equal(p->rec->end.error, WEIR_EFULL);
    world_end(w);
}

/* All of a weir_sendv or nothing. */
static void k06_sendv_is_all_or_nothing(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.full = WEIR_FULL_REFUSE;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->reads = false;
    uint8_t *data = malloc(700000);
    pattern_fill(data, 0, 700000);
    assert_true(V(w, weir_send(p->rec->conn, weir_bytes(data, 700000))) >= 0);
    weir_view views[3] = {weir_bytes("xx", 2), weir_bytes(data, 300000), weir_bytes(data, 300000)};
    assert_int_equal(V(w, weir_sendv(p->rec->conn, views, 3)), WEIR_EFULL);
    p->reads = true;
    UNTIL(w, p->received == 700000);
    world_run_ms(w, 5);
    assert_int_equal(p->received, 700000);
    assert_true(p->in_pattern);
    free(data);
    world_end(w);
}

static ssize_t pull_8_mib(weir_conn conn, void *data, size_t size, void *arg)
{
    uint64_t *at = arg;
    if (data == NULL)
        return 0;
    if (size > (8u << 20) - *at)
        size = (size_t)((8u << 20) - *at);
    pattern_fill(data, *at, size);
    *at += size;
    return (ssize_t)size;
}

static int releases;

static void count_release(const void *data, size_t size, void *arg)
{
    releases++;
}

/* 8 MiB of each kind that weir does not hold in its memory. */
static void k06_what_is_not_held_is_not_counted(void **state)
{
    enum { MUCH = 8 << 20 };
    uint8_t *much = malloc(MUCH);
    pattern_fill(much, 0, MUCH);
    int file = memfd_create("much", MFD_CLOEXEC);
    assert_int_equal(write(file, much, MUCH), MUCH);
    for (int kind = 0; kind < 4; kind++) {
        uint64_t pulled = 0;
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        side_listen(s, NULL);
        struct peer *p = peer_connect_small(s, 4096, 0);
        p->reads = false;
        weir_conn c = p->rec->conn;
        int result = -1;
        releases = 0;
        verb_begin(w);
        if (kind == 0)
            result = weir_send(c, weir_static(much, MUCH));
        else if (kind == 1)
            result = weir_send_file(c, file, 0, MUCH, false);
        else if (kind == 2)
            result = weir_send_pull(c, pull_8_mib, &pulled);
        else
            result = weir_send(c, weir_own(much, MUCH, count_release, NULL));
        verb_end(w, 0);
        assert_true(result >= 0);
        world_run_ms(w, 20);
        assert_true(stats_of(p->rec).queued_bytes <= 64 << 10);
        assert_true(world_memory(w) < 512 << 10);
        p->reads = true;
        UNTIL(w, p->received == MUCH);
        assert_true(p->in_pattern);
        UNTIL(w, releases == (kind == 3));
        world_end(w);
    }
    close(file);
    free(much);
}

/* The ten-line echo before a peer that sends for ever and does not read: bounded, and nothing lost
 * when it reads at last. */
static void never_reads(const weir_service *settings, size_t piece)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = do_echo;
    s->service.soft_mark_bytes = settings->soft_mark_bytes;
    s->service.hard_cap_bytes = settings->hard_cap_bytes;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    p->reads = false;
    p->piece = piece;
    p->to_send = UINT64_MAX;
    uint64_t most = 0, stands = 0;
    for (int i = 0; i < 2000 && stands < 50; i++) {
        uint64_t before = p->sent;
        world_turn_ms(w, 1);
        stands = p->sent == before ? stands + 1 : 0;
        if (world_memory(w) > most)
            most = world_memory(w);
    }
    /* Once the kernel's buffers are full everything stands still. */
    assert_true(piece != 0 || stands >= 50);
    uint32_t cap = settings->hard_cap_bytes != 0 ? settings->hard_cap_bytes : 1 << 20;
    /* The output, and what was received in the turn that paused: at most all receive blocks. */
    assert_true(most <= (uint64_t)cap + (2 << 20) + (512 << 10));
    p->to_send = p->sent;
    p->reads = true;
    p->piece = 0;
    UNTIL(w, p->received == p->sent);
    assert_true(p->in_pattern);
    assert_int_equal(p->rec->closes, 0);
    world_end(w);
}

static void k06_echo_to_a_peer_that_never_reads(void **state)
{
    never_reads(&(weir_service){0}, 0);
}

static void k06_echo_of_small_pieces_that_are_never_read(void **state)
{
    never_reads(&(weir_service){0}, 300);
}

static void k06_one_view_fits_between_mark_and_cap(void **state)
{
    /* The least that is allowed: the largest view above the mark. */
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    uint32_t view = 1024;
    for (;; view += 1024) { /* found by asking */
        s->service.listen = "tcp://127.0.0.1:0";
        s->service.soft_mark_bytes = 1024;
        s->service.hard_cap_bytes = 1024 + view;
        if (V(w, weir_listen(NULL, &s->service)) == 0)
            break;
        assert_true(view < 1 << 20);
    }
    world_end(w);
    never_reads(&(weir_service){.soft_mark_bytes = 1024, .hard_cap_bytes = 1024 + view}, 0);
}

static void k06_a_mark_of_many_megabytes(void **state)
{
    never_reads(&(weir_service){.soft_mark_bytes = 16 << 20, .hard_cap_bytes = 32 << 20}, 300);
}

static void k06_wrong_limits_are_refused(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.listen = "tcp://127.0.0.1:0";
    s->service.soft_mark_bytes = 1 << 20;
    s->service.hard_cap_bytes = 1 << 16;
    assert_int_equal(V(w, weir_listen(NULL, &s->service)), WEIR_EINVALID);
    assert_int_equal(log_count("hard_cap_bytes"), 1);
    world_end(w);
}

/* Frames: answers to a flood of small ones stop at the mark as well. */
static void answer_frame(struct rec *r, weir_view frame)
{
    if (H(r, rec_send_pattern(r, 8000)) < 0)
        world_broke(r->side->world, "an answer to frame %d was refused", r->frames);
}

static void k06_answers_to_frames_meet_no_cap(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->frame = answer_frame;
    s->service.frame = (weir_frame)weir_frame_fixed(4);
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->reads = false;
    p->to_send = 40000; /* 10 000 frames, 80 MB of answers */
    world_run_ms(w, 50);
    assert_true(world_memory(w) < 2 << 20);
    assert_int_equal(p->rec->closes, 0);
    p->to_send = p->sent < 8000 ? 8000 : p->sent;
    p->reads = true;
    UNTIL(w, p->rec->frames >= 2000);
    UNTIL(w, p->received >= 16000000);
    assert_true(p->in_pattern);
    world_end(w);
}

/* Each frame is answered by five lent pieces: many small pieces count like many bytes. */
static void answer_lent(struct rec *r, weir_view frame)
{
    weir_view views[5];
    for (int i = 0; i < 5; i++)
        views[i] = weir_own("piece", 5, count_release, NULL);
    if (H(r, weir_sendv(r->conn, views, 5)) < 0)
        world_broke(r->side->world, "an answer to frame %d was refused", r->frames);
}

static void k06_many_small_pieces_meet_no_cap(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->frame = answer_lent;
    s->service.frame = (weir_frame)weir_frame_fixed(4);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    releases = 0;
    p->to_send = 40000;
    UNTIL(w, p->received == 10000 * 25);
    UNTIL(w, releases == 50000);
    assert_int_equal(p->rec->closes, 0);
    world_end(w);
}

/* Many that do not read share the loop's budget: reading pauses on them, accepting stops, and all
 * goes on when they read. */
static void k06_the_loop_has_a_budget(void **state)
{
    enum { CLIENTS = 24 };
    struct world *w = world_open(&(weir_loop_options){.memory_max_bytes = 600 << 10});
    struct side *s = side_new(w);
    struct peer *peers[CLIENTS];
    s->data = do_echo;
    s->service.socket.send_buffer_bytes = 65536;
    side_listen(s, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        peers[i] = peer_connect_small(s, 65536, 0);
        peers[i]->reads = false;
    }
    for (int i = 0; i < CLIENTS; i++)
        peers[i]->to_send = 400 << 10;
    uint64_t most = 0;
    for (int i = 0; i < 300 || log_count("over its budget") == 0; i++) {
        world_turn_ms(w, 1);
        if (world_memory(w) > most)
            most = world_memory(w);
        assert_true(i < 20000);
    }
    /* Each may have gone over its mark by a view before the look at the budget. */
    assert_true(most < CLIENTS * (320u << 10));
    struct peer *late = peer_start(s);
    world_run_ms(w, 30);
    assert_int_equal(s->count, CLIENTS); /* accepting has stopped */
    for (int i = 0; i < CLIENTS; i++) {
        peers[i]->reads = true;
        peers[i]->to_send = peers[i]->sent;
    }
    for (int i = 0; i < CLIENTS; i++) {
        UNTIL(w, peers[i]->received == peers[i]->sent);
        assert_true(peers[i]->in_pattern);
    }
    peer_say(late, "late", 4);
    UNTIL(w, late->received == 4);
    UNTIL(w, world_memory(w) < 64 << 10);
    world_end(w);
}

/* What comes while a handler has paused is held, and counts. Whoever resumes gets it, however much
 * the loop is over its budget: nothing else gives that memory back. */
static void k06_held_input_is_given_over_the_budget(void **state)
{
    enum { CLIENTS = 8, MORE = 64 << 10 };
    struct world *w = world_open(&(weir_loop_options){.memory_max_bytes = 8 << 10});
    struct side *s = side_new(w);
    struct peer *peers[CLIENTS];
    side_listen(s, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        peers[i] = peer_connect(s);
        peers[i]->to_send = 10;
        UNTIL(w, peers[i]->rec->received == 10);
        assert_int_equal(V(w, weir_pause(peers[i]->rec->conn)), 0);
    }
    for (int i = 0; i < CLIENTS; i++)
        peers[i]->to_send = MORE;
    UNTIL(w, world_memory(w) > 8 << 10);
    world_run_ms(w, 50);
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(V(w, weir_resume(peers[i]->rec->conn)), 0);
    for (int i = 0; i < CLIENTS; i++) {
        UNTIL(w, peers[i]->rec->received == MORE);
        assert_true(peers[i]->rec->in_pattern);
    }
    world_end(w);
}

/* Parts of frames that fill the budget do not lock it: who sends no more of its frame is idle. */
static void k06_parts_of_frames_leave_the_budget(void **state)
{
    enum { CLIENTS = 30, PART = 8 << 10, IDLE_MS = 300 };
    struct world *w = world_open(&(weir_loop_options){.memory_max_bytes = 100 << 10});
    struct side *s = side_new(w);
    struct peer *peers[CLIENTS];
    s->service.frame = weir_frame_fixed(2 * PART);
    s->service.idle_ms = IDLE_MS;
    s->service.linger_ms = 20;
    side_listen(s, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        peers[i] = peer_start(s);
        peers[i]->to_send = PART;
    }
    UNTIL(w, world_memory(w) > 100 << 10);
    UNTIL(w, s->closed == CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(s->recs[i]->end.deadline, WEIR_DEADLINE_IDLE);
    struct peer *late = peer_start(s);
    late->to_send = 2 * PART;
    UNTIL(w, s->count == CLIENTS + 1 && s->recs[CLIENTS]->received == 2 * PART);
    world_end(w);
}

/* And they do not grow beyond it, each to its full size: reading pauses on them. */
static void k06_parts_of_frames_stay_at_the_budget(void **state)
{
    enum { CLIENTS = 30, SIZE = 1 << 20, IDLE_MS = 300 };
    struct world *w = world_open(&(weir_loop_options){.memory_max_bytes = 300 << 10});
    struct side *s = side_new(w);
    s->service.frame = weir_frame_fixed(SIZE);
    s->service.idle_ms = IDLE_MS;
    s->service.linger_ms = 20;
    side_listen(s, NULL);
    for (int i = 0; i < CLIENTS; i++)
        peer_start(s)->to_send = SIZE - 1;
    UNTIL(w, world_memory(w) > 300 << 10);
    while (s->closed < CLIENTS) {
        world_turn(w);
        assert_in_range(world_memory(w), 0, CLIENTS * SIZE / 2);
    }
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(s->recs[i]->end.deadline, WEIR_DEADLINE_IDLE);
    world_end(w);
}

K_MAIN(T(k06_soft_mark_pauses_reading_and_drains_once), T(k06_below_the_mark_nothing_pauses),
       T(k06_reading_always_where_asked_for), T(k06_hard_cap_refuses_whole_send),
       T(k06_hard_cap_closes_by_default), T(k06_sendv_is_all_or_nothing),
       T(k06_what_is_not_held_is_not_counted), T(k06_echo_to_a_peer_that_never_reads),
       T(k06_echo_of_small_pieces_that_are_never_read), T(k06_one_view_fits_between_mark_and_cap),
       T(k06_a_mark_of_many_megabytes), T(k06_wrong_limits_are_refused),
       T(k06_answers_to_frames_meet_no_cap), T(k06_many_small_pieces_meet_no_cap),
       T(k06_the_loop_has_a_budget), T(k06_held_input_is_given_over_the_budget),
       T(k06_parts_of_frames_leave_the_budget), T(k06_parts_of_frames_stay_at_the_budget))
