/* What the tests of scopes, channels and locks share: a loop, coroutines that are counted, and
 * checks that may be made in them. */
#ifndef WEIR_TESTS_UNIT_CO_CO_SUPPORT_H
#define WEIR_TESTS_UNIT_CO_CO_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include <weir/weir.h>

#include "co/mutex.h"
#include "loop/loop.h"

/* In a coroutine no check may leave by a jump: it is noted, and looked at by finish. */
#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition) && broke++ == 0)                                     \
            print_error("line %d: %s does not hold\n", __LINE__, #condition); \
    } while (0)

enum { STARTS_MAX = 256, TRACE_MAX = 512 };

static weir_loop *loop, *former;
static int broke, running, start_count;
static char trace[TRACE_MAX]; /* what happened, a letter each */
static struct start {
    weir_co_fn *fn;
    void *arg;
} starts[STARTS_MAX];

static inline int setup(void **state)
{
    const char *backend = getenv("WEIR_BACKEND");
    weir_loop_options options = {.backend = backend != NULL ? backend : "epoll"};
    if (weir_loop_new(&loop, &options) < 0)
        return -1;
    former = loop_enter(loop);
    broke = running = start_count = 0;
    memset(trace, 0, sizeof trace);
    return 0;
}

static inline int teardown(void **state)
{
    loop_enter(former);
    weir_loop_free(loop); /* NULL: the test has ended it itself */
    loop = NULL;
    return 0;
}

static inline void note(char what)
{
    size_t length = strlen(trace);
    if (length + 1 < sizeof trace)
        trace[length] = what;
}

/* One turn, which waits for at most some milliseconds. */
static inline void turn_ms(unsigned ms)
{
    weir_time deadline = ms != 0 ? weir_after(ms * WEIR_MS) : 0;
    loop_enter(former);
    weir_loop_turn(loop, deadline);
    loop_enter(loop);
}

static inline void turn(void)
{
    turn_ms(0);
}

static inline void start_main(void *arg)
{
    struct start *start = arg;
    start->fn(start->arg);
    running--;
}

/* Begins a coroutine that finish waits for; it runs from the next turn on. */
static inline void go(weir_co_fn *fn, void *arg)
{
    struct start *start = &starts[start_count++];
    assert_in_range(start_count, 1, STARTS_MAX);
    *start = (struct start){fn, arg};
    running++;
    assert_int_equal(weir_spawn(start_main, start), 0);
}

/* Turns until all have ended. */
static inline void finish(void)
{
    weir_time until = weir_after(20 * WEIR_S);
    while (running > 0 && weir_now() < until)
        turn_ms(5);
    assert_int_equal(running, 0);
    assert_int_equal(broke, 0);
}

static inline weir_time soon(unsigned ms)
{
    return weir_after(ms * WEIR_MS);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
