/* K8: a view lives until its handler returns, or as long as it is kept; no peer pins a receive
 * block; running out of them is a normal state. */
#include <stdlib.h>
#include <unistd.h>

#include "conformance/harness.h"
#include "loop/loop.h"
#include "net/conn.h"

enum { KEPT = 4000 };
static weir_view kept[KEPT];
static uint64_t kept_at[KEPT];
static int kept_count;

static void keep(struct rec *r, weir_view data)
{
    if (kept_count == KEPT)
        return;
    kept_at[kept_count] = r->received - data.size;
    kept[kept_count] = weir_retain(data);
    if (kept[kept_count].owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_NONE)
        world_broke(r->side->world, "a view could not be kept");
    kept_count++;
}

static void k08_kept_views_stay(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = keep;
    kept_count = 0;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    p->to_send = 3 << 20;
    UNTIL(w, p->rec->received == 3 << 20);
    world_run_ms(w, 5);
    uint64_t total = 0;
    verb_begin(w);
    for (int i = 0; i < kept_count; i++) {
        assert_true(pattern_is(kept[i].data, kept_at[i], kept[i].size));
        total += kept[i].size;
    }
    assert_int_equal(total, 3 << 20);
    /* Parts of them may be sent, and they may be given back before the send has gone. */
    p->rec->sent = 0;
    for (int i = 0; i < 3 && i < kept_count; i++) {
        weir_view part = weir_slice(kept[i], 0, kept[i].size);
        assert_true(weir_send(p->rec->conn, part) >= 0);
        p->rec->sent += part.size;
    }
    for (int i = 0; i < kept_count; i++)
        weir_release(kept[i]);
    verb_end(w, 0);
    UNTIL(w, p->received == p->rec->sent);
    assert_true(p->in_pattern);
    assert_int_equal(world_memory(w), 0);
    world_end(w);
}

/* What is kept at the end of the loop is the loop's loss, not its fault. */
static void k08_kept_beyond_the_loop(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = keep;
    kept_count = 0;
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    peer_say(p, "kept", 4);
    UNTIL(w, p->rec->received == 4);
    world_end(w);
}

/* --- a view sent to others ----------------------------------------------------------------------
 */

static struct rec *others[64];
static int other_count;

static void fan_out(struct rec *r, weir_view data)
{
    for (int i = 0; i < other_count; i++) {
        int result = H(r, weir_send(others[i]->conn, data));
        if (result < 0 && result != WEIR_EFULL)
            world_broke(r->side->world, "sending to %d failed", i);
        if (result >= 0)
            others[i]->sent += data.size;
    }
}

/* One receives, many send the same views, some of them to peers that do not read. The view must be
 * copied for those before the block is used again. */
static void k08_one_view_to_many(void **state)
{
    enum { LISTENERS = 12, TOTAL = 400000 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *l = side_new(w);
    struct peer *peers[LISTENERS];
    s->data = fan_out;
    l->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    side_listen(l, NULL);
    other_count = 0;
    for (int i = 0; i < LISTENERS; i++) {
        peers[i] = peer_connect_small(l, i % 3 == 0 ? 4096 : 0, 0);
        peers[i]->reads = i % 3 != 0;
        others[other_count++] = peers[i]->rec;
    }
    struct peer *p = peer_connect(s);
    p->to_send = TOTAL;
    p->piece = 10000;
    UNTIL(w, p->rec->received == TOTAL);
    for (int i = 0; i < LISTENERS; i++)
        peers[i]->reads = true;
    for (int i = 0; i < LISTENERS; i++) {
        UNTIL(w, peers[i]->received == TOTAL);
        assert_true(peers[i]->in_pattern);
    }
    world_end(w);
}

static void echo_in_halves(struct rec *r, weir_view data)
{
    uint32_t half = data.size / 2;
    weir_view views[3] = {weir_slice(data, 0, half), weir_slice(data, half, data.size),
                          weir_slice(data, data.size, 100)};
    if (H(r, weir_sendv(r->conn, views, 3)) < 0)
        world_broke(r->side->world, "a half was refused");
}

static void k08_parts_of_a_view(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = echo_in_halves;
    side_listen(s, NULL);
    struct peer *p = peer_connect_small(s, 8192, 8192);
    p->to_send = 2000000;
    UNTIL(w, p->received == 2000000);
    assert_true(p->in_pattern);
    world_end(w);
}

/* --- receive blocks -----------------------------------------------------------------------------
 */

/* Many whose output stands still; others go on as if they were alone. */
static void k08_a_peer_pins_no_block(void **state)
{
    enum { STUCK = 40 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = do_echo;
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    for (int i = 0; i < STUCK; i++) {
        struct peer *p = peer_connect_small(s, 4096, 0);
        p->reads = false;
        p->to_send = 1 << 20;
    }
    world_run_ms(w, 30);
    assert_true(w->loop->io->ops->blocks_free(w->loop->io));
    struct peer *free_one = peer_connect(s);
    free_one->to_send = 1 << 20;
    UNTIL(w, free_one->received == 1 << 20);
    assert_true(free_one->in_pattern);
    for (unsigned i = 0; i < s->count - 1; i++)
        assert_int_equal(s->recs[i]->closes, 0);
    world_end(w);
}

/* All at once, with as few blocks as WEIR_FEATURES says: some wait in line, all get through. */
static void k08_all_send_at_once(void **state)
{
    enum { MANY = 60, EACH = 200000 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    struct peer *peers[MANY];
    s->data = do_echo;
    side_listen(s, NULL);
    for (int i = 0; i < MANY; i++)
        peers[i] = peer_connect(s);
    for (int i = 0; i < MANY; i++)
        peers[i]->to_send = EACH;
    for (int i = 0; i < MANY; i++) {
        UNTIL(w, peers[i]->received == EACH);
        assert_true(peers[i]->in_pattern);
    }
    world_end(w);
}

/* The same while connections come, are paused, resumed and closed in between. */
static void k08_few_blocks_and_much_coming_and_going(void **state)
{
    enum { MANY = 40, EACH = 100000 };
    struct world *w =
        world_open(&(weir_loop_options){.receive_blocks = 2, .receive_block_bytes = 4096});
    struct side *s = side_new(w);
    struct peer *peers[MANY];
    s->data = do_echo;
    side_listen(s, NULL);
    for (int i = 0; i < MANY; i++) {
        peers[i] = peer_connect(s);
        peers[i]->to_send = EACH;
    }
    unsigned draw = 12345;
    for (int i = 0; i < 200; i++) {
        draw = draw * 1103515245u + 12345;
        struct rec *r = peers[(draw >> 16) % (MANY / 2)]->rec;
        if ((draw >> 8) % 2 == 0)
            (void)V(w, weir_pause(r->conn));
        else
            (void)V(w, weir_resume(r->conn));
        if (i % 50 == 49)
            (void)V(w, weir_abort(peers[MANY - 1 - i / 50]->rec->conn));
        world_turn(w);
    }
    for (int i = 0; i < MANY / 2; i++)
        assert_int_equal(V(w, weir_resume(peers[i]->rec->conn)), 0);
    for (int i = 0; i < MANY - 4; i++) {
        UNTIL(w, peers[i]->received == EACH);
        assert_true(peers[i]->in_pattern);
    }
    world_end(w);
}

static struct rec *waiting; /* has a frame held, and is resumed while others wait for blocks */

static void resume_beside_a_line(struct rec *r, weir_view data)
{
    struct rec *held = waiting;
    if (held == NULL || r->side->world->loop->net->lists[CONN_LIST_BLOCKS].count == 0)
        return;
    waiting = NULL;
    if (H(r, weir_resume(held->conn)) < 0)
        world_broke(r->side->world, "it could not be resumed");
}

/* A frame that is held comes when its connection is resumed, and not only when a receive block has
 * brought more, for which there is a line just then. */
static void k08_held_frame_waits_for_no_block(void **state)
{
    enum { MANY = 20, ROUNDS = 5, EACH = 20000 };
    struct world *w =
        world_open(&(weir_loop_options){.receive_blocks = 2, .receive_block_bytes = 4096});
    struct side *s = side_new(w), *framed = side_new(w);
    struct peer *peers[MANY];
    s->data = resume_beside_a_line;
    framed->service.frame = weir_frame_delimiter(30, "\n");
    side_listen(s, NULL);
    side_listen(framed, NULL);
    struct peer *p = peer_connect(framed);
    for (int i = 0; i < MANY; i++)
        peers[i] = peer_connect(s);
    for (int round = 1; round <= ROUNDS; round++) {
        assert_int_equal(V(w, weir_pause(p->rec->conn)), 0);
        peer_say(p, "line\n", 5);
        UNTIL(w, world_memory(w) != 0); /* its receive was armed: the frame is held */
        waiting = p->rec;
        for (int i = 0; i < MANY; i++)
            peers[i]->to_send = (uint64_t)EACH * (unsigned)round;
        for (int i = 0; i < MANY; i++)
            UNTIL(w, peers[i]->rec->received == peers[i]->to_send);
        if (waiting != NULL) /* nobody had to wait on this back end */
            assert_int_equal(V(w, weir_resume(p->rec->conn)), 0);
        waiting = NULL;
        world_run_ms(w, 2);
        assert_int_equal(p->rec->frames, round);
    }
    world_end(w);
}

K_MAIN(T(k08_kept_views_stay), T(k08_kept_beyond_the_loop), T(k08_one_view_to_many),
       T(k08_parts_of_a_view), T(k08_a_peer_pins_no_block), T(k08_all_send_at_once),
       T(k08_few_blocks_and_much_coming_and_going), T(k08_held_frame_waits_for_no_block))
