/* Filters (DESIGN section 4): one that counts, splits and delays, stacked twice; K4 to K10 hold
 * through it as they do without. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "conformance/harness_filter.h"
#include "conformance/harness_sends.h"

/* Each opened filter was closed once, and called only in between. */
static void strainer_check(const struct strainer *s)
{
    assert_false(s->misused);
    assert_int_equal(s->opens, s->closes);
    assert_true(s->held_most <= STRAINER_HOLDS);
}

/* --- bytes (K5) --------------------------------------------------------------------------------*/

/* A peer that knows nothing of filters, and two that only hold back and cut. */
static void echo_through(struct strainer wire, struct strainer top, int buffer, uint64_t total)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_strain(s, &wire, &top);
    s->data = do_echo;
    s->service.socket.send_buffer_bytes = (uint32_t)buffer;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, buffer, buffer);
    p->to_send = total;
    p->finish = true;
    UNTIL(w, p->ended);
    assert_int_equal(p->received, total);
    assert_true(p->in_pattern && p->rec->in_pattern);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
    assert_int_equal(wire.in_bytes, total);
    assert_int_equal(wire.out_bytes, total);
    assert_int_equal(top.in_bytes, total);
    assert_int_equal(top.out_bytes, total);
    assert_int_equal(wire.in_ends + wire.out_ends + top.in_ends + top.out_ends, 4);
    world_end(w);
    strainer_check(&wire);
    strainer_check(&top);
}

static void filters_pass_on(void **state)
{
    echo_through((struct strainer){0}, (struct strainer){0}, 0, 3000000);
}

static void filters_split(void **state)
{
    echo_through((struct strainer){.piece = 1000}, (struct strainer){.piece = 777}, 0, 300000);
    echo_through((struct strainer){.piece = 1}, (struct strainer){.piece = 1}, 0, 3000);
}

static void filters_delay(void **state)
{
    echo_through((struct strainer){.delay_ms = 1}, (struct strainer){.delay_ms = 2}, 0, 300000);
    echo_through((struct strainer){.delay_ms = 2, .piece = 300},
                 (struct strainer){.delay_ms = 1, .piece = 4000}, 4096, 100000);
}

/* Two programs of weir, each with a protocol of its own on each level, and a handshake. */
static void send_first(struct rec *r)
{
    if (H(r, rec_send_pattern(r, 60000)) < 0)
        world_broke(r->side->world, "the first bytes were refused");
}

enum { STREAM = 400000 };

static void send_more(struct rec *r)
{
    while (r->sent < STREAM) {
        int result = H(r, rec_send_pattern(r, 20000));
        if (result < 0)
            world_broke(r->side->world, "the stream was refused");
        if (result != 0)
            return;
    }
    if (r->mark++ == 0)
        H(r, weir_finish(r->conn));
}

static void data_more(struct rec *r, weir_view data)
{
    if (r->mark == 0)
        send_more(r);
}

static void talk(struct strainer each)
{
    struct strainer kinds[4] = {each, each, each, each};
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *c = side_new(w);
    side_strain(s, &kinds[0], &kinds[1]);
    side_strain(c, &kinds[2], &kinds[3]);
    s->open = c->open = send_first;
    s->drain = c->drain = send_more;
    s->data = c->data = data_more;
    s->end = c->end = do_nothing;
    s->service.read_on = c->service.read_on = WEIR_READ_ALWAYS; /* else both wait for the other */
    side_listen(s, NULL);
    side_connect(c, side_url(s));
    UNTIL(w, s->closed == 1 && c->closed == 1);
    struct side *both[2] = {s, c};
    for (int i = 0; i < 2; i++) {
        struct rec *r = both[i]->recs[0];
        assert_int_equal(r->received, STREAM);
        assert_true(r->in_pattern);
        assert_int_equal(r->opens, 1);
        assert_int_equal(r->ends, 1);
        assert_int_equal(r->end.why, WEIR_WHY_PEER_FINISHED);
    }
    world_end(w);
    for (int i = 0; i < 4; i++)
        strainer_check(&kinds[i]);
}

static void filters_with_a_protocol_of_their_own(void **state)
{
    talk((struct strainer){.records = true});
    talk((struct strainer){.records = true, .handshake = true, .piece = 3000});
    talk((struct strainer){.records = true, .handshake = true, .delay_ms = 1, .piece = 20000});
}

/* Every kind of send has its bytes seen by the filters. */
static void filters_see_every_kind_of_send(void **state)
{
    for (unsigned delay_ms = 0; delay_ms < 2; delay_ms++) {
        struct strainer wire = {.delay_ms = delay_ms, .piece = 5000}, top = {.piece = 7000};
        sends_begin();
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        side_strain(s, &wire, &top);
        s->open = send_all_kinds;
        side_listen(s, NULL);
        struct peer *p = peer_connect_small(s, 4096, 0);
        UNTIL(w, p->received == KINDS * 30000);
        assert_true(p->in_pattern);
        assert_int_equal(top.out_bytes, KINDS * 30000);
        assert_true(send_kind_now(p->rec, FILE_OWNED, 500000) >= 0);
        assert_true(send_kind_now(p->rec, PULL, 500000) >= 0);
        assert_true(send_kind_now(p->rec, OWN, 500000) >= 0);
        UNTIL(w, p->received > KINDS * 30000 + 100000);
        peer_reset(p);
        UNTIL(w, p->rec->closes == 1);
        int fd = text_file;
        assert_true(V(w, weir_send_fds(p->rec->conn, weir_str("x"), &fd, 1)) < 0);
        sends_finish(w);
        strainer_check(&wire);
        strainer_check(&top);
    }
}

/* --- once (K4) and the handshake's deadline (K7) -----------------------------------------------*/

static void filters_open_when_the_last_is_ready(void **state)
{
    struct strainer wire = {.handshake = true}, top = {.handshake = true};
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_strain(s, &wire, &top);
    s->data = do_echo;
    side_listen(s, NULL);
    struct peer *p = peer_start(s);
    world_run_ms(w, 10);
    peer_say(p, "hello?hel", 9);
    UNTIL(w, peer_heard(p, "hello!"));
    world_run_ms(w, 10);
    assert_true(peer_heard(p, "hello!"));
    assert_int_equal(s->opened, 0);
    assert_int_equal(top.opens, 1);
    peer_say(p, "lo?data", 7); /* what comes right behind is data */
    UNTIL(w, s->opened == 1 && s->recs[0]->received == 4);
    UNTIL(w, peer_heard(p, "hello!hello!data"));
    world_end(w);
    strainer_check(&wire);
    strainer_check(&top);
}

/* Ended in the middle of a handshake: by what, and why on_close says it was. */
static void filters_ended_in_a_handshake(void **state)
{
    static const enum weir_why whys[] = {WEIR_WHY_PEER_FINISHED, WEIR_WHY_PEER_RESET,
                                         WEIR_WHY_ERROR, WEIR_WHY_DEADLINE};
    for (int how = 0; how < 4; how++) {
        struct strainer wire = {.handshake = true}, top = {.handshake = true};
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        side_strain(s, &wire, &top);
        s->service.first_byte_ms = 100;
        side_listen(s, NULL);
        struct peer *p = peer_start(s);
        peer_say(p, "hello?he", 8);
        UNTIL(w, top.opens == 1);
        if (how == 0)
            peer_close(p);
        else if (how == 1)
            peer_reset(p);
        else if (how == 2)
            peer_say(p, "what", 4);
        UNTIL(w, s->closed == 1);
        struct rec *r = s->recs[0];
        assert_string_equal(r->log, "C");
        if (how != 0) /* there "hello!" lies unread, which may make a reset of the peer's close */
            assert_int_equal(r->end.why, whys[how]);
        if (how == 3)
            assert_int_equal(r->end.deadline, WEIR_DEADLINE_FIRST_BYTE);
        if (how == 2)
            assert_int_equal(r->end.error, WEIR_EPROTO);
        world_end(w);
        strainer_check(&wire);
        strainer_check(&top);
    }
}

static void filters_that_refuse(void **state)
{
    for (int which = 0; which < 2; which++) {
        struct strainer wire = {.refuse_open = which == 0 ? -EACCES : 0};
        struct strainer top = {.refuse_open = -EACCES};
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        side_strain(s, &wire, &top);
        side_listen(s, NULL);
        struct peer *p = peer_start(s);
        UNTIL(w, s->closed == 1 && p->ended);
        assert_string_equal(s->recs[0]->log, "C");
        assert_int_equal(s->recs[0]->end.why, WEIR_WHY_ERROR);
        assert_int_equal(s->recs[0]->end.error, -EACCES);
        world_end(w);
        strainer_check(&wire);
        assert_int_equal(top.opens, which);
        strainer_check(&top);
    }
}

static void filters_that_fail_later(void **state)
{
    for (int how = 0; how < 4; how++) {
        struct strainer kinds[2] = {{0}, {.delay_ms = 1}};
        if (how < 2)
            kinds[how].fail_in = WEIR_EPROTO;
        else
            kinds[how - 2].fail_out = WEIR_EPROTO;
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        side_strain(s, &kinds[0], &kinds[1]);
        s->data = do_echo;
        side_listen(s, NULL);
        struct peer *p = peer_connect(s);
        p->to_send = 5000;
        UNTIL(w, p->rec->closes == 1);
        assert_int_equal(p->rec->end.why, WEIR_WHY_ERROR);
        assert_int_equal(p->rec->end.error, WEIR_EPROTO);
        world_end(w);
        strainer_check(&kinds[0]);
        strainer_check(&kinds[1]);
    }
}

/* --- bounds (K6) -------------------------------------------------------------------------------*/

static void filters_are_bounded(void **state)
{
    for (unsigned delay_ms = 0; delay_ms < 2; delay_ms++) {
        struct strainer wire = {.delay_ms = delay_ms}, top = {.delay_ms = delay_ms, .piece = 2000};
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        side_strain(s, &wire, &top);
        s->data = do_echo;
        s->service.socket.send_buffer_bytes = 4096;
        side_listen(s, NULL);
        struct peer *p = peer_connect_small(s, 4096, 0);
        p->reads = false;
        p->to_send = UINT64_MAX;
        uint64_t most = 0, stands = 0;
        for (int i = 0; i < 5000 && stands < 60; i++) {
            uint64_t before = p->sent;
            world_turn_ms(w, 1);
            stands = p->sent == before ? stands + 1 : 0;
            if (world_memory(w) > most)
                most = world_memory(w);
        }
        assert_true(stands >= 60);
        assert_true(most < 4 << 20);
        assert_int_equal(p->rec->closes, 0);
        p->to_send = p->sent;
        p->reads = true;
        UNTIL(w, p->received == p->sent);
        assert_true(p->in_pattern);
        world_end(w);
        strainer_check(&wire);
        strainer_check(&top);
    }
}

static void filters_and_the_marks(void **state)
{
    struct strainer wire = {.piece = 3000}, top = {.delay_ms = 1};
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_strain(s, &wire, &top);
    s->service.full = WEIR_FULL_REFUSE;
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->reads = false;
    int result = 0, waits = 0;
    for (int i = 0; i < 400 && result >= 0; i++) {
        result = V(w, rec_send_pattern(p->rec, 10000));
        waits += result == WEIR_SEND_WAIT;
        world_turn_ms(w, 0);
    }
    assert_int_equal(result, WEIR_EFULL);
    assert_true(waits > 50);
    assert_true(p->rec->sent >= 900000 && p->rec->sent < 1300000); /* the hard cap, about */
    assert_int_equal(p->rec->drains, 0);
    p->reads = true;
    UNTIL(w, p->received == p->rec->sent);
    UNTIL(w, p->rec->drains == 1);
    assert_true(p->in_pattern);
    world_end(w);
    strainer_check(&wire);
    strainer_check(&top);
}

/* --- deadlines (K7) ----------------------------------------------------------------------------*/

static void filters_and_deadlines(void **state)
{
    for (int how = 0; how < 2; how++) {
        struct strainer wire = {.piece = 3000}, top = {.delay_ms = 1};
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        side_strain(s, &wire, &top);
        s->service.idle_ms = how == 0 ? 100 : 0;
        s->service.write_ms = how == 1 ? 100 : 0;
        s->service.linger_ms = 50;
        s->service.socket.send_buffer_bytes = 4096;
        side_listen(s, NULL);
        struct peer *p = peer_connect_small(s, 4096, 0);
        peer_say(p, "x", 1);
        UNTIL(w, p->rec->received == 1);
        p->reads = false;
        if (how == 1)
            assert_true(V(w, rec_send_pattern(p->rec, 500000)) >= 0);
        UNTIL(w, p->rec->closes == 1);
        assert_int_equal(p->rec->end.why, WEIR_WHY_DEADLINE);
        assert_int_equal(p->rec->end.deadline, how == 0 ? WEIR_DEADLINE_IDLE : WEIR_DEADLINE_WRITE);
        world_end(w);
        strainer_check(&wire);
        strainer_check(&top);
    }
}

/* --- views (K8) --------------------------------------------------------------------------------*/

static weir_view views_kept[4096];
static unsigned views_count;
static uint64_t views_bytes;

static void keep_view(struct rec *r, weir_view data)
{
    if (views_count == sizeof views_kept / sizeof *views_kept)
        return;
    h_begin(r->side->world);
    views_kept[views_count++] = weir_retain(data);
    h_end(r->side->world, 0);
    views_bytes += data.size;
}

static void filters_and_kept_views(void **state)
{
    struct strainer wire = {.piece = 900}, top = {.delay_ms = 1, .piece = 500};
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_strain(s, &wire, &top);
    s->data = keep_view;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    views_count = 0;
    views_bytes = 0;
    p->to_send = 300000;
    UNTIL(w, p->rec->received == 300000);
    assert_int_equal(views_bytes, 300000);
    uint64_t at = 0;
    for (unsigned i = 0; i < views_count; i++) {
        assert_true(pattern_is(views_kept[i].data, at, views_kept[i].size));
        at += views_kept[i].size;
        verb_begin(w);
        weir_release(views_kept[i]);
        verb_end(w, 0);
    }
    world_end(w);
    strainer_check(&wire);
    strainer_check(&top);
}

/* --- closing and ends (K9, K10) ----------------------------------------------------------------*/

static void filters_flush_before_they_close(void **state)
{
    struct strainer wire = {.delay_ms = 3}, top = {.delay_ms = 2, .piece = 900};
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_strain(s, &wire, &top);
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    assert_true(V(w, rec_send_pattern(p->rec, 60000)) >= 0);
    assert_int_equal(V(w, weir_close(p->rec->conn)), 0);
    UNTIL(w, p->ended);
    assert_int_equal(p->error, 0);
    assert_int_equal(p->received, 60000);
    assert_true(p->in_pattern);
    peer_close(p);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_CLOSED);
    struct peer *q = peer_connect(s); /* aborted, nothing is flushed and no timer is left */
    assert_true(V(w, rec_send_pattern(q->rec, 60000)) >= 0);
    world_turn_ms(w, 0);
    assert_int_equal(V(w, weir_abort(q->rec->conn)), 0);
    UNTIL(w, q->ended && q->rec->closes == 1);
    assert_true(q->received < 60000);
    world_end(w);
    strainer_check(&wire);
    strainer_check(&top);
}

static void finish_late(struct rec *r)
{
    if (H(r, rec_send_pattern(r, 30000)) < 0)
        world_broke(r->side->world, "refused behind the peer's end");
    H(r, weir_close(r->conn));
}

static void filters_and_half_close(void **state)
{
    struct strainer wire = {.delay_ms = 2}, top = {.delay_ms = 2, .piece = 700};
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_strain(s, &wire, &top);
    s->end = finish_late;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    p->to_send = 50000;
    p->finish = true;
    UNTIL(w, p->ended && p->rec->closes == 1);
    assert_int_equal(p->rec->received, 50000); /* all of it before the end */
    assert_string_equal(p->rec->log, "ODEC");
    assert_int_equal(p->received, 30000);
    assert_true(p->in_pattern);
    world_end(w);
    strainer_check(&wire);
    strainer_check(&top);
}

/* A stream that is cut without its protocol's end is a distinct end. */
static void filters_and_a_cut_stream(void **state)
{
    for (int how = 0; how < 2; how++) {
        struct strainer wire = {.records = true}, top = {0};
        struct world *w = world_open(NULL);
        struct side *s = side_new(w);
        side_strain(s, &wire, &top);
        s->end = do_nothing;
        side_listen(s, NULL);
        struct peer *p = peer_connect(s);
        peer_say(p, "\0\4data\0\0", how == 0 ? 8 : 6);
        UNTIL(w, p->rec->received == 4);
        p->finish = true;
        p->to_send = p->sent;
        UNTIL(w, how == 0 ? p->rec->ends == 1 : p->rec->closes == 1);
        assert_int_equal(p->rec->ends, how == 0);
        if (how == 1) {
            assert_int_equal(p->rec->end.why, WEIR_WHY_ERROR);
            assert_int_equal(p->rec->end.error, WEIR_EPROTO);
        }
        world_end(w);
        strainer_check(&wire);
        strainer_check(&top);
    }
}

/* While the program does not read, filters go on; what they pass up waits, and is not lost. */
static void filters_and_a_pause(void **state)
{
    struct strainer wire = {.delay_ms = 5}, top = {.delay_ms = 5, .piece = 600};
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_strain(s, &wire, &top);
    s->end = do_close;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    p->to_send = 7000;
    p->finish = true;
    UNTIL(w, wire.in_bytes != 0);
    assert_int_equal(V(w, weir_pause(p->rec->conn)), 0);
    world_run_ms(w, 50);
    assert_int_equal(p->rec->received, 0);
    assert_int_equal(p->rec->ends, 0);
    assert_int_equal(V(w, weir_resume(p->rec->conn)), 0);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->received, 7000);
    assert_true(p->rec->in_pattern);
    assert_string_equal(p->rec->log, "ODEC");
    world_end(w);
    strainer_check(&wire);
    strainer_check(&top);
}

static void filters_under_a_pipe(void **state)
{
    struct strainer wire = {.delay_ms = 1, .piece = 5000}, top = {.piece = 3000};
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *plain = side_new(w);
    side_strain(s, &wire, &top);
    side_listen(s, NULL);
    side_listen(plain, NULL);
    struct peer *a = peer_connect(s), *b = peer_connect(plain);
    assert_int_equal(V(w, weir_pipe(a->rec->conn, b->rec->conn)), 0);
    a->to_send = 300000;
    b->to_send = 200000;
    a->finish = b->finish = true;
    UNTIL(w, a->ended && b->ended);
    assert_int_equal(b->received, 300000);
    assert_int_equal(a->received, 200000);
    assert_true(a->in_pattern && b->in_pattern);
    UNTIL(w, s->closed == 1 && plain->closed == 1);
    world_end(w);
    strainer_check(&wire);
    strainer_check(&top);
}

K_MAIN(T(filters_pass_on), T(filters_split), T(filters_delay),
       T(filters_with_a_protocol_of_their_own), T(filters_see_every_kind_of_send),
       T(filters_open_when_the_last_is_ready), T(filters_ended_in_a_handshake),
       T(filters_that_refuse), T(filters_that_fail_later), T(filters_are_bounded),
       T(filters_and_the_marks), T(filters_and_deadlines), T(filters_and_kept_views),
       T(filters_flush_before_they_close), T(filters_and_half_close), T(filters_and_a_cut_stream),
       T(filters_and_a_pause), T(filters_under_a_pipe))
