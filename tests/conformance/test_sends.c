/* Everything that can be sent (DESIGN section 4), each kind alone and in company: byte for byte,
 * what was lent, owned or asked for given back exactly once, and nothing of a refused send. */

#include "conformance/harness_sends.h"

/* --- each alone --------------------------------------------------------------------------------*/

static void alone(uint32_t our_buffer, int peer_buffer, size_t piece)
{
    static const size_t sizes[] = {0, 1, 255, 256, 257, 4095, 4096, 4097, 65536, 200001};
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.socket.send_buffer_bytes = our_buffer;
    side_listen(s, NULL);
    for (int kind = 0; kind < KINDS; kind++) {
        struct peer *p = peer_connect_small(s, peer_buffer, 0);
        p->piece = piece;
        lent_until = 0;
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            assert_true(send_kind_now(p->rec, (enum send_kind)kind, sizes[i]) >= 0);
            if (i % 3 != 0) /* some alone in a flush, some with their neighbour */
                UNTIL(w, p->received == p->rec->sent);
        }
        UNTIL(w, p->received == p->rec->sent);
        assert_true(p->in_pattern);
        assert_int_equal(V(w, weir_close(p->rec->conn)), 0);
        UNTIL(w, p->ended);
        assert_int_equal(p->received, p->rec->sent);
        peer_close(p);
        UNTIL(w, p->rec->closes == 1);
    }
    sends_finish(w);
}

static void sends_each_kind(void **state)
{
    alone(0, 0, 0);
}

static void sends_each_kind_to_a_slow_reader(void **state)
{
    alone(4096, 4096, 3000);
}

/* --- what was lent -----------------------------------------------------------------------------*/

static void lend_many(struct rec *r)
{
    for (int i = 0; i < 300; i++)
        must_send(r, i % 7 == 0 ? COPY : OWN, 1 + (size_t)i * 37 % 9000);
}

/* Lent memory comes back in order, when it was sent and not before. */
static void sends_lent_memory_comes_back_in_order(void **state)
{
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->open = lend_many;
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->piece = 20000;
    UNTIL(w, p->received == p->rec->sent);
    assert_true(p->in_pattern);
    sends_finish(w);
}

/* --- where nothing can be sent -----------------------------------------------------------------*/

static void none_possible(struct rec *r, int expected)
{
    struct world *w = r->side->world;
    uint64_t sent = r->sent;
    for (int kind = 0; kind < KINDS; kind++) {
        assert_int_equal(send_kind_now(r, (enum send_kind)kind, 1000), expected);
        assert_int_equal(r->sent, sent);
    }
    world_turn(w);
}

static void sends_on_what_is_closed(void **state)
{
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_listen(s, NULL);
    struct peer *p[4];
    for (int i = 0; i < 4; i++) {
        p[i] = peer_connect(s);
        assert_true(send_kind_now(p[i]->rec, COPY, 500) >= 0);
    }
    assert_int_equal(V(w, weir_finish(p[0]->rec->conn)), 0);
    none_possible(p[0]->rec, WEIR_EMISUSE);
    assert_int_equal(V(w, weir_close(p[1]->rec->conn)), 0);
    none_possible(p[1]->rec, WEIR_EGONE);
    assert_int_equal(V(w, weir_abort(p[2]->rec->conn)), 0);
    none_possible(p[2]->rec, WEIR_EGONE);
    peer_reset(p[3]);
    UNTIL(w, p[3]->rec->closes == 1);
    none_possible(p[3]->rec, WEIR_EGONE);
    UNTIL(w, p[0]->ended && p[1]->ended);
    assert_int_equal(p[0]->received, 500);
    assert_int_equal(p[1]->received, 500);
    assert_true(p[0]->in_pattern && p[1]->in_pattern);
    sends_finish(w);
}

static void answer_the_end(struct rec *r)
{
    send_all_kinds(r);
    do_close(r);
}

/* The peer has finished, and reads on. */
static void sends_to_a_half_closed_peer(void **state)
{
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->end = answer_the_end;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->to_send = 10;
    p->finish = true;
    UNTIL(w, p->ended);
    assert_int_equal(p->received, KINDS * 30000);
    assert_true(p->in_pattern);
    UNTIL(w, p->rec->closes == 1);
    assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_FINISHED);
    sends_finish(w);
}

/* The peer resets while the first half of each kind is on its way, and while others wait. */
static void sends_to_a_peer_that_resets(void **state)
{
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    for (int kind = 0; kind < KINDS; kind++) {
        struct peer *p = peer_connect_small(s, 4096, 0);
        p->piece = 4096;
        lent_until = 0;
        assert_true(send_kind_now(p->rec, (enum send_kind)kind, 900000) >= 0);
        for (int more = 0; more < KINDS; more++)
            if (!kind_counted[more])
                assert_true(send_kind_now(p->rec, (enum send_kind)more, 20000) >= 0);
        UNTIL(w, p->received > 10000);
        assert_true(p->in_pattern);
        peer_reset(p);
        UNTIL(w, p->rec->closes == 1);
        assert_int_equal(p->rec->end.why, WEIR_WHY_PEER_RESET);
    }
    sends_finish(w);
}

/* --- over the hard cap -------------------------------------------------------------------------*/

static void sends_beyond_the_cap(void **state)
{
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.full = WEIR_FULL_REFUSE;
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 4096, 0);
    p->reads = false;
    assert_int_equal(send_kind_now(p->rec, COPY, 1000000), WEIR_SEND_WAIT);
    for (int round = 0; round < 2; round++) {
        for (int kind = 0; kind < KINDS; kind++) {
            int result = send_kind_now(p->rec, (enum send_kind)kind, 200000);
            assert_int_equal(result, kind_counted[kind] ? WEIR_EFULL : WEIR_SEND_WAIT);
        }
        world_turn(w);
    }
    /* A lent view in a company that is refused comes back, too. */
    struct item *item = &items[item_count++];
    *item = (struct item){.rec = p->rec, .kind = OWN, .from = 0, .size = 77};
    verb_begin(w);
    weir_view views[2] = {weir_own(text, 77, item_released, item), weir_bytes(text, 500000)};
    int result = verb_end(w, weir_sendv(p->rec->conn, views, 2));
    assert_int_equal(result, WEIR_EFULL);
    p->reads = true;
    UNTIL(w, p->received == p->rec->sent);
    assert_true(p->in_pattern);
    assert_true(send_kind_now(p->rec, COPY, 1000) >= 0);
    UNTIL(w, p->received == p->rec->sent);
    assert_true(p->in_pattern);
    assert_int_equal(p->rec->closes, 0);
    sends_finish(w);
}

static void sends_of_too_many_views(void **state)
{
    enum { MOST = 64 };
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    weir_view views[MOST + 1];
    for (int i = 0; i < MOST; i++)
        views[i] = weir_bytes(text + i * 100, 100);
    assert_int_equal(V(w, weir_sendv(p->rec->conn, views, MOST)), 0);
    struct item *item = &items[item_count++];
    *item = (struct item){.rec = p->rec, .kind = OWN, .from = 0, .size = 5};
    verb_begin(w);
    views[MOST] = weir_own(text, 5, item_released, item);
    int result = verb_end(w, weir_sendv(p->rec->conn, views, MOST + 1));
    assert_int_equal(result, WEIR_EINVALID);
    assert_int_equal(V(w, weir_sendv(p->rec->conn, views, 0)), WEIR_EINVALID);
    UNTIL(w, p->received == MOST * 100);
    assert_true(p->in_pattern);
    sends_finish(w);
}

/* --- batches -----------------------------------------------------------------------------------*/

static void send_bits(struct rec *r)
{
    struct world *w = r->side->world;
    uint64_t calls = world_syscalls(w);
    for (int i = 0; i < 100; i++) {
        must_send(r, i % 2 == 0 ? COPY : VECTOR, 10);
        if (i % 10 == 0 && H(r, weir_flush(r->conn)) != 0)
            world_broke(w, "weir_flush failed");
    }
    if (world_syscalls(w) != calls)
        world_broke(w, "a verb entered the kernel (K3)");
}

/* What a handler sends in bits leaves in one piece. */
static void sends_leave_together(void **state)
{
    sends_begin();
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->open = send_bits;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    weir_loop_stats stats;
    UNTIL(w, p->received == 1000);
    assert_true(p->in_pattern);
    assert_int_equal(V(w, weir_loop_stats_get(w->loop, &stats)), 0);
    assert_int_equal(stats.sends, 1);
    sends_finish(w);
}

K_MAIN(T(sends_each_kind), T(sends_each_kind_to_a_slow_reader),
       T(sends_lent_memory_comes_back_in_order), T(sends_on_what_is_closed),
       T(sends_to_a_half_closed_peer), T(sends_to_a_peer_that_resets), T(sends_beyond_the_cap),
       T(sends_of_too_many_views), T(sends_leave_together))
