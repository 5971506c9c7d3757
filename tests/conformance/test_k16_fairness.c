/* K16: a flood on one connection does not starve another. */
#include <stdlib.h>
#include <unistd.h>

#include "conformance/harness.h"

static void swallow(struct rec *r, weir_view data)
{
    r->side->note = r;
}

/* Turns that an echo takes while others flood the loop. */
static unsigned answered_within(struct world *w, struct peer *p)
{
    uint64_t had = p->received;
    unsigned turns = 0;
    peer_say(p, "x", 1);
    while (p->received == had) {
        world_turn_ms(w, 0);
        if (++turns == 1000)
            world_vain(w, "an answer");
    }
    return turns;
}

static void flooded(unsigned floods, unsigned most_turns)
{
    struct world *w = world_open(NULL);
    struct side *flood = side_new(w), *s = side_new(w);
    flood->data = swallow;
    s->data = do_echo;
    s->service.first_byte_ms = s->service.idle_ms = WEIR_OFF; /* the floods' begin may take long */
    side_listen(flood, NULL);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    for (unsigned i = 0; i < floods; i++) {
        struct peer *source = peer_connect(flood);
        source->to_send = UINT64_MAX;
        source->piece = 64 * 1024; /* or making what does not fit takes most of the time */
    }
    UNTIL(w, flood->count == floods && flood->recs[0]->received > 200000);
    unsigned worst = 0;
    for (int i = 0; i < 20; i++) {
        unsigned turns = answered_within(w, p);
        if (turns > worst)
            worst = turns;
    }
    print_message("answered within %u turns beside %u floods\n", worst, floods);
    assert_true(worst <= most_turns);
    world_end(w);
}

static void k16_one_flood(void **state)
{
    flooded(1, 12);
}

static void k16_many_floods(void **state)
{
    flooded(20, 60);
}

/* One connection's frames are handled so many a turn. */
static uint64_t turn_of_frames;
static int frames_in_turn, frames_most;

static void count_frame(struct rec *r, weir_view frame)
{
    if (turn_of_frames != r->side->world->turns) {
        turn_of_frames = r->side->world->turns;
        frames_in_turn = 0;
    }
    if (++frames_in_turn > frames_most)
        frames_most = frames_in_turn;
}

static void k16_frames_in_a_turn(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->frame = count_frame;
    s->service.frame = (weir_frame)weir_frame_fixed(2);
    side_listen(s, NULL);
    struct peer *p = peer_connect(s);
    frames_most = 0;
    p->to_send = 200000;
    UNTIL(w, p->rec->frames == 100000);
    assert_true(p->rec->in_pattern);
    print_message("at most %d frames in a turn\n", frames_most);
    assert_true(frames_most <= 1024);
    world_end(w);
}

/* A large output does not hold the turn until all of it has gone. */
static uint8_t *large;

static void send_large(struct rec *r)
{
    if (H(r, weir_send(r->conn, weir_static(large, 64 << 20))) < 0)
        world_broke(r->side->world, "64 MiB of static memory were refused");
}

static void k16_large_outputs_take_turns(void **state)
{
    enum { CLIENTS = 4 };
    struct world *w = world_open(NULL);
    struct side *s = side_new(w), *e = side_new(w);
    struct peer *peers[CLIENTS];
    large = calloc(1, 64 << 20);
    s->open = send_large;
    e->data = do_echo;
    side_listen(s, NULL);
    side_listen(e, NULL);
    struct peer *p = peer_connect(e);
    for (int i = 0; i < CLIENTS; i++)
        peers[i] = peer_connect(s);
    unsigned worst = 0;
    for (int i = 0; i < 10; i++) {
        unsigned turns = answered_within(w, p);
        if (turns > worst)
            worst = turns;
    }
    assert_true(worst <= 12);
    for (int i = 0; i < CLIENTS; i++)
        assert_true(peers[i]->received < 64 << 20); /* still under way: it was no sprint */
    UNTIL(w, peers[0]->received == 64 << 20);
    world_end(w);
    free(large);
}

K_MAIN(T(k16_one_flood), T(k16_many_floods), T(k16_frames_in_a_turn),
       T(k16_large_outputs_take_turns))
