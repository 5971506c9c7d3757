/* What the tests of straight-line code share: one world and one side, whose connections are given
 * to coroutines, and what these have noted. */
#ifndef WEIR_TESTS_CONFORMANCE_STRAIGHT_H
#define WEIR_TESTS_CONFORMANCE_STRAIGHT_H

#include <stdlib.h>

#include "conformance/harness.h"

/* In a coroutine no check may leave by a jump. */
#define CHECK(w, condition)                                     \
    do {                                                        \
        if (!(condition))                                       \
            world_broke((w), "line %d: " #condition, __LINE__); \
    } while (0)

enum { LARGE = 3 << 20 };

static struct world *w __attribute__((unused));
static struct side *s __attribute__((unused));
static int ended __attribute__((unused)), step __attribute__((unused));
static int results[16] __attribute__((unused));
static weir_conn conns[4] __attribute__((unused));

static inline void begin(void (*on_conn)(weir_conn conn, void *session))
{
    w = world_open(NULL);
    s = side_new(w);
    s->service.on_conn = on_conn;
    s->service.straight = on_conn == NULL;
    ended = step = 0;
    memset(results, 0, sizeof results);
    memset(conns, 0, sizeof conns);
}

static inline void spawn(weir_co_fn *fn, void *arg)
{
    assert_int_equal(V(w, weir_spawn(fn, arg)), 0);
}

static inline bool text_is(weir_view view, const char *text)
{
    return view.size == strlen(text) && memcmp(view.data, text, view.size) == 0;
}

static inline weir_time soon(unsigned ms)
{
    return weir_after(ms * slowness() * WEIR_MS);
}

/* Echoes to the end; results[0] is what ended it. */
static inline void echo(weir_conn c, void *session)
{
    weir_view in;
    int result;
    while ((result = weir_recv(c, &in, weir_after(30 * WEIR_S))) > 0) {
        CHECK(w, result == (int)in.size);
        result = weir_send_all(c, in, weir_after(30 * WEIR_S));
        if (result < 0)
            break;
    }
    results[0] = result;
    CHECK(w, weir_conn_alive(c) || result < 0);
    ended++;
}

#endif
