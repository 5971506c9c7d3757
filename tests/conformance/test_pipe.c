/* weir_pipe couples two connections: what one receives the other sends, byte for byte, both ways;
 * the slower paces the faster; ends pass through; what ends one ends the other. */
#include <errno.h>
#include <unistd.h>

#include "conformance/harness.h"

/* Two accepted connections, coupled, and the sockets at their other ends. */
struct pair {
    struct world *w;
    struct side *s;
    struct peer *a, *b;
};

static struct pair pair_of(struct world *w, struct side *s, int buffer)
{
    struct pair p = {w, s, NULL, NULL};
    p.a = peer_connect_small(s, buffer, buffer);
    p.b = peer_connect_small(s, buffer, buffer);
    assert_int_equal(V(w, weir_pipe(p.a->rec->conn, p.b->rec->conn)), 0);
    return p;
}

static struct side *pipe_side(struct world *w, uint32_t buffer)
{
    struct side *s = side_new(w);
    s->service.socket.send_buffer_bytes = buffer;
    s->service.socket.receive_buffer_bytes = buffer;
    return s;
}

static struct pair pair_new(int buffer)
{
    struct world *w = world_open(NULL);
    struct side *s = pipe_side(w, (uint32_t)buffer);
    side_listen(s, NULL);
    return pair_of(w, s, buffer);
}

/* Nothing of a piped connection reaches its handlers but on_close. */
static void pair_end(struct pair *p)
{
    for (unsigned i = 0; i < p->s->count; i++) {
        assert_int_equal(p->s->recs[i]->datas, 0);
        assert_int_equal(p->s->recs[i]->ends, 0);
        assert_int_equal(p->s->recs[i]->drains, 0);
    }
    world_end(p->w);
}

static void both_closed(struct pair *p, enum weir_why a, enum weir_why b)
{
    UNTIL(p->w, p->a->rec->closes == 1 && p->b->rec->closes == 1);
    assert_int_equal(p->a->rec->end.why, a);
    assert_int_equal(p->b->rec->end.why, b);
}

/* --- bytes -------------------------------------------------------------------------------------*/

static void stream(int buffer, size_t piece_a, size_t piece_b, uint64_t total_a, uint64_t total_b)
{
    struct pair p = pair_new(buffer);
    p.a->piece = piece_a;
    p.b->piece = piece_b;
    p.a->to_send = total_a;
    p.b->to_send = total_b;
    UNTIL(p.w, p.b->received == total_a && p.a->received == total_b);
    assert_true(p.a->in_pattern && p.b->in_pattern);
    assert_int_equal(p.s->closed, 0);
    p.a->finish = p.b->finish = true;
    UNTIL(p.w, p.a->ended && p.b->ended);
    assert_int_equal(p.b->received, total_a);
    assert_int_equal(p.a->received, total_b);
    both_closed(&p, WEIR_WHY_PEER_FINISHED, WEIR_WHY_PEER_FINISHED);
    pair_end(&p);
}

static void pipe_both_directions(void **state)
{
    stream(0, 0, 0, 8 << 20, 5 << 20);
}

static void pipe_small_buffers(void **state)
{
    stream(4096, 0, 0, 700000, 400000);
}

static void pipe_odd_pieces(void **state)
{
    stream(0, 777, 30011, 300000, 2000000);
}

static void pipe_one_direction(void **state)
{
    stream(0, 0, 0, 4 << 20, 0);
}

static void pipe_many_at_once(void **state)
{
    enum { PAIRS = 40, EACH = 100000 };
    struct world *w = world_open(NULL);
    struct side *s = pipe_side(w, 0);
    struct pair pairs[PAIRS];
    side_listen(s, NULL);
    for (int i = 0; i < PAIRS; i++) {
        pairs[i] = pair_of(w, s, 0);
        pairs[i].a->to_send = EACH + (uint64_t)i;
        pairs[i].b->to_send = EACH - (uint64_t)i;
        pairs[i].a->piece = 5000;
    }
    for (int i = 0; i < PAIRS; i++) {
        UNTIL(w, pairs[i].b->received == EACH + (uint64_t)i);
        UNTIL(w, pairs[i].a->received == EACH - (uint64_t)i);
        assert_true(pairs[i].a->in_pattern && pairs[i].b->in_pattern);
    }
    pair_end(&pairs[0]);
}

/* --- ends --------------------------------------------------------------------------------------*/

/* One finishes; the other direction goes on for as long as it likes. */
static void pipe_half_close(void **state)
{
    struct pair p = pair_new(0);
    p.a->to_send = 300000;
    p.a->finish = true;
    UNTIL(p.w, p.b->ended);
    assert_int_equal(p.b->received, 300000);
    world_run_ms(p.w, 10);
    assert_false(p.a->ended);
    p.b->to_send = 2000000;
    UNTIL(p.w, p.a->received == 2000000);
    assert_int_equal(p.s->closed, 0);
    p.b->finish = true;
    UNTIL(p.w, p.a->ended);
    assert_true(p.a->in_pattern && p.b->in_pattern);
    assert_int_equal(p.a->error, 0);
    both_closed(&p, WEIR_WHY_PEER_FINISHED, WEIR_WHY_PEER_FINISHED);
    pair_end(&p);
}

/* An end behind bytes that the other end is slow to take does not overtake them. */
static void pipe_end_behind_slow_bytes(void **state)
{
    struct pair p = pair_new(4096);
    p.b->reads = false;
    p.a->to_send = 60000;
    p.a->finish = true;
    world_run_ms(p.w, 30);
    p.b->reads = true;
    p.b->piece = 1000;
    UNTIL(p.w, p.b->ended);
    assert_int_equal(p.b->received, 60000);
    assert_true(p.b->in_pattern);
    p.b->finish = true;
    both_closed(&p, WEIR_WHY_PEER_FINISHED, WEIR_WHY_PEER_FINISHED);
    pair_end(&p);
}

/* A reset of either passes through, idle or busy, and also while the other end does not read. */
static void pipe_reset_of_either(void **state)
{
    for (int how = 0; how < 6; how++) {
        struct pair p = pair_new(how >= 4 ? 4096 : 0);
        struct peer *from = how % 2 == 0 ? p.a : p.b, *to = how % 2 == 0 ? p.b : p.a;
        if (how >= 2)
            from->to_send = to->to_send = UINT64_MAX;
        if (how >= 4)
            to->reads = false;
        UNTIL(p.w, how < 2 || from->sent > 40000);
        peer_reset(from);
        if (how >= 4) {
            /* Paused for the slow one, the reset is seen when it reads on (K10). */
            world_run_ms(p.w, 10);
            to->reads = true;
        }
        UNTIL(p.w, to->rec->closes == 1 && from->rec->closes == 1);
        assert_int_equal(from->rec->end.why, WEIR_WHY_PEER_RESET);
        UNTIL(p.w, to->ended);
        assert_true(to->in_pattern);
        assert_int_not_equal(to->error, 0); /* not taken for a proper end */
        pair_end(&p);
    }
}

/* --- pace --------------------------------------------------------------------------------------*/

static void pipe_a_slow_sink_bounds_memory(void **state)
{
    struct pair p = pair_new(0);
    p.b->reads = false;
    p.a->to_send = UINT64_MAX;
    p.b->to_send = 100000; /* the other way is not held up */
    uint64_t most = 0, stands = 0;
    for (int i = 0; i < 3000 && stands < 50; i++) {
        uint64_t before = p.a->sent;
        world_turn_ms(p.w, 1);
        stands = p.a->sent == before ? stands + 1 : 0;
        if (world_memory(p.w) > most)
            most = world_memory(p.w);
    }
    assert_true(stands >= 50); /* the source is stopped by the sink */
    print_message("at most %lu KiB held\n", (unsigned long)(most >> 10));
    assert_true(most < 1 << 20);
    assert_int_equal(p.a->received, 100000);
    p.a->to_send = p.a->sent;
    p.b->reads = true;
    UNTIL(p.w, p.b->received == p.a->sent);
    assert_true(p.a->in_pattern && p.b->in_pattern);
    pair_end(&p);
}

/* --- beginnings --------------------------------------------------------------------------------*/

/* What came before the coupling, and was not taken, goes through first. */
static void pipe_what_was_held(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = pipe_side(w, 0);
    side_listen(s, NULL);
    struct peer *a = peer_connect(s), *b = peer_connect(s);
    assert_int_equal(V(w, weir_pause(a->rec->conn)), 0);
    assert_int_equal(V(w, weir_pause(b->rec->conn)), 0);
    a->to_send = 400000;
    b->to_send = 10;
    b->finish = true; /* and an end that was not told */
    world_run_ms(w, 20);
    assert_int_equal(a->rec->received, 0);
    struct pair p = {w, s, a, b};
    assert_int_equal(V(w, weir_pipe(a->rec->conn, b->rec->conn)), 0);
    UNTIL(w, b->received == 400000 && a->ended);
    assert_int_equal(a->received, 10);
    assert_true(a->in_pattern && b->in_pattern);
    a->finish = true;
    both_closed(&p, WEIR_WHY_PEER_FINISHED, WEIR_WHY_PEER_FINISHED);
    pair_end(&p);
}

/* A proxy: the first bytes are looked at, then the way on is opened and coupled. */
static struct side *onward;
static char onward_url[64];

static void connect_onward(struct rec *r, weir_view data)
{
    weir_conn c;
    r->note = NULL;
    if (H(r, weir_pause(r->conn)) != 0 ||
        H(r, weir_connect(&c, onward_url, &onward->service, NULL)) != 0)
        world_broke(r->side->world, "no way on");
    weir_view kept = weir_retain(data);
    onward->note = r;
    r->mark = (int)data.size;
    r->kept_size = 0; /* the harness keeps what was received: found there by couple() */
    memcpy(r->kept, kept.data, kept.size);
    r->kept_size = kept.size;
    weir_release(kept);
}

static void couple(struct rec *r)
{
    struct rec *first = onward->note;
    if (H(r, weir_send(r->conn, weir_bytes(first->kept, first->kept_size))) < 0 ||
        H(r, weir_pipe(first->conn, r->conn)) != 0)
        world_broke(r->side->world, "could not be coupled");
}

static void pipe_as_a_proxy_does(void **state)
{
    struct world *w = world_open(NULL);
    struct side *front = side_new(w), *back = side_new(w);
    onward = side_new(w);
    front->data = connect_onward;
    back->data = do_echo;
    onward->open = couple;
    onward->early_close_fine = true;
    side_listen(front, NULL);
    side_listen(back, NULL);
    snprintf(onward_url, sizeof onward_url, "%s", side_url(back));
    struct peer *p = peer_connect(front);
    p->to_send = 3000000;
    UNTIL(w, p->received == 3000000);
    assert_true(p->in_pattern && back->recs[0]->in_pattern);
    p->finish = true;
    UNTIL(w, p->ended && back->closed == 1 && front->closed == 1 && onward->closed == 1);
    assert_int_equal(p->error, 0);
    assert_int_equal(front->recs[0]->end.why, WEIR_WHY_PEER_FINISHED);
    world_end(w);
}

static void pipe_misuse(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = pipe_side(w, 0);
    side_listen(s, NULL);
    struct peer *a = peer_connect(s), *b = peer_connect(s), *c = peer_connect(s);
    weir_conn x = a->rec->conn, y = b->rec->conn, z = c->rec->conn;
    assert_int_equal(V(w, weir_pipe(x, x)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_pipe(x, (weir_conn){0})), WEIR_EGONE);
    assert_int_equal(V(w, weir_close(z)), 0);
    assert_true(V(w, weir_pipe(x, z)) < 0);
    assert_true(V(w, weir_pipe(z, x)) < 0);
    assert_int_equal(V(w, weir_pipe(x, y)), 0);
    struct peer *d = peer_connect(s);
    assert_int_equal(V(w, weir_pipe(x, d->rec->conn)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_pipe(d->rec->conn, y)), WEIR_EMISUSE);
    assert_int_equal(V(w, weir_pipe(y, x)), WEIR_EMISUSE);
    a->to_send = 1000; /* and it still works */
    UNTIL(w, b->received == 1000);
    world_end(w);
}

/* --- the program and the clock -----------------------------------------------------------------*/

static void pipe_closed_by_the_program(void **state)
{
    for (int how = 0; how < 2; how++) {
        struct pair p = pair_new(4096);
        p.b->reads = false;
        p.a->to_send = 30000;
        UNTIL(p.w, p.a->sent == 30000);
        world_run_ms(p.w, 10);
        weir_conn c = p.a->rec->conn;
        assert_int_equal(how == 0 ? V(p.w, weir_close(c)) : V(p.w, weir_abort(c)), 0);
        p.b->reads = true;
        UNTIL(p.w, p.b->ended && p.a->ended);
        assert_true(p.b->in_pattern);
        if (how == 0) { /* what was on its way arrives */
            assert_int_equal(p.b->received, 30000);
            assert_int_equal(p.b->error, 0);
        } else {
            assert_int_equal(p.b->error, ECONNRESET);
        }
        p.a->finish = p.b->finish = true;
        both_closed(&p, WEIR_WHY_CLOSED, WEIR_WHY_CLOSED);
        pair_end(&p);
    }
}

static void pipe_idle(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = pipe_side(w, 0);
    s->service.idle_ms = 300;
    side_listen(s, NULL);
    struct pair p = pair_of(w, s, 0);
    for (int i = 0; i < 30; i++) { /* one direction alone keeps both */
        peer_say(p.a, "x", 1);
        world_run_ms(w, 20);
    }
    assert_int_equal(s->closed, 0);
    UNTIL(w, p.a->ended && p.b->ended);
    p.a->finish = p.b->finish = true;
    UNTIL(w, s->closed == 2);
    int deadlines = 0;
    for (int i = 0; i < 2; i++)
        deadlines += s->recs[i]->end.why == WEIR_WHY_DEADLINE &&
                     s->recs[i]->end.deadline == WEIR_DEADLINE_IDLE;
    assert_true(deadlines >= 1);
    pair_end(&p);
}

static void pipe_a_sink_that_stalls(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = pipe_side(w, 4096);
    s->service.write_ms = 100;
    side_listen(s, NULL);
    struct pair p = pair_of(w, s, 4096);
    p.b->reads = false;
    p.a->to_send = UINT64_MAX;
    UNTIL(w, s->closed == 2);
    assert_int_equal(p.b->rec->end.why, WEIR_WHY_DEADLINE);
    assert_int_equal(p.b->rec->end.deadline, WEIR_DEADLINE_WRITE);
    assert_int_equal(p.a->rec->end.why, WEIR_WHY_CLOSED);
    pair_end(&p);
}

/* --- chance ------------------------------------------------------------------------------------*/

static unsigned drawn;

static unsigned draw(unsigned below)
{
    drawn = drawn * 1664525u + 1013904223u;
    return (drawn >> 8) % below;
}

/* Both ends read, stop, send, and finish as a seed says; then everything must have arrived. */
static void pipe_by_chance(void **state)
{
    for (unsigned seed = 1; seed <= 30; seed++) {
        drawn = seed;
        struct pair p = pair_new(draw(2) != 0 ? 4096 : 0);
        struct peer *both[2] = {p.a, p.b};
        for (int step = 0; step < 60; step++) {
            struct peer *one = both[draw(2)];
            switch (draw(5)) {
            case 0:
                one->reads = !one->reads;
                break;
            case 1:
                one->piece = draw(3) == 0 ? 0 : 1 + draw(20000);
                break;
            case 2:
                if (!one->finish)
                    one->to_send += draw(60000);
                break;
            case 3:
                one->finish = one->finish || draw(20) == 0;
                break;
            default:
                world_turn_ms(p.w, 0);
                break;
            }
        }
        p.a->reads = p.b->reads = p.a->finish = p.b->finish = true;
        p.a->piece = p.b->piece = 0;
        UNTIL(p.w, p.a->ended && p.b->ended);
        if (p.a->error != 0 || p.b->error != 0 || p.b->received != p.a->to_send ||
            p.a->received != p.b->to_send || !p.a->in_pattern || !p.b->in_pattern)
            fail_msg("seed %u: %lu of %lu and %lu of %lu bytes, errors %d and %d", seed,
                     (unsigned long)p.b->received, (unsigned long)p.a->to_send,
                     (unsigned long)p.a->received, (unsigned long)p.b->to_send, p.a->error,
                     p.b->error);
        both_closed(&p, WEIR_WHY_PEER_FINISHED, WEIR_WHY_PEER_FINISHED);
        pair_end(&p);
    }
}

K_MAIN(T(pipe_both_directions), T(pipe_small_buffers), T(pipe_odd_pieces), T(pipe_one_direction),
       T(pipe_many_at_once), T(pipe_half_close), T(pipe_end_behind_slow_bytes),
       T(pipe_reset_of_either), T(pipe_a_slow_sink_bounds_memory), T(pipe_what_was_held),
       T(pipe_as_a_proxy_does), T(pipe_misuse), T(pipe_closed_by_the_program), T(pipe_idle),
       T(pipe_a_sink_that_stalls), T(pipe_by_chance))
