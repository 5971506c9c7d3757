/* K13: a loop with nothing due makes no turn, no system call, and uses no processor. */
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "conformance/harness.h"

static uint64_t cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * WEIR_S + (uint64_t)time.tv_nsec;
}

static void still(weir_timer *timer, void *arg)
{
    *(int *)arg = 1;
}

/* One turn without an end of its own, which only a timer ends, 300 ms from now. */
static void expect_idle(struct world *w)
{
    weir_timer timer = {0};
    int fired = 0;
    unsigned turns = 0;
    for (int i = 0; i < 10; i++)
        weir_loop_turn(w->loop, 0); /* what is left of before */
    verb_begin(w);
    assert_int_equal(weir_timer_start(&timer, weir_after(300 * WEIR_MS), still, &fired), 0);
    verb_end(w, 0);
    uint64_t calls = world_syscalls(w), cpu = cpu_ns();
    while (!fired) {
        weir_loop_turn(w->loop, WEIR_NEVER);
        turns++;
    }
    uint64_t used_ns = cpu_ns() - cpu;
    assert_in_range(turns, 1, 6); /* the wheel may cascade once a level on the way */
    assert_true(world_syscalls(w) - calls <= 8);
    assert_true(used_ns < 5 * WEIR_MS * slowness());
}

static void k13_an_empty_loop(void **state)
{
    struct world *w = world_open(NULL);
    expect_idle(w);
    world_end(w);
}

static void k13_idle_connections(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = do_echo;
    side_listen(s, NULL);
    for (int i = 0; i < 50; i++) {
        struct peer *p = peer_connect(s);
        if (i % 2 == 0)
            peer_say(p, "x", 1);
    }
    world_run_ms(w, 20);
    expect_idle(w);
    world_end(w);
}

/* Those that wait for room, are paused, or linger are idle too. */
static void k13_waiting_connections(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->data = do_echo;
    s->service.linger_ms = 60000;
    s->service.socket.send_buffer_bytes = 4096;
    side_listen(s, NULL);
    struct peer *stuck = peer_connect_small(s, 4096, 0), *paused = peer_connect(s),
                *closing = peer_connect(s), *half = peer_connect(s);
    stuck->reads = false;
    stuck->to_send = 200000;
    s->end = do_nothing;
    assert_int_equal(V(w, weir_pause(paused->rec->conn)), 0);
    paused->to_send = 200000;
    assert_int_equal(V(w, weir_close(closing->rec->conn)), 0);
    shutdown(half->fd, SHUT_WR);
    world_run_ms(w, 100);
    assert_int_equal(closing->rec->closes, 0);
    expect_idle(w);
    world_end(w);
}

/* A handler that has nothing to do with the loop's time: a listener at its limit is idle as well.
 */
static void k13_a_full_listener(void **state)
{
    struct world *w = world_open(NULL);
    struct side *s = side_new(w);
    s->service.conns_max = 2;
    side_listen(s, NULL);
    for (int i = 0; i < 6; i++)
        peer_start(s);
    world_run_ms(w, 30);
    assert_int_equal(s->count, 2);
    expect_idle(w);
    world_end(w);
}

K_MAIN(T(k13_an_empty_loop), T(k13_idle_connections), T(k13_waiting_connections),
       T(k13_a_full_listener))
