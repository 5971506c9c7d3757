/* In the child of a fork: what the program had on the parent's loop is its own again, and nothing
 * of it happens in the child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/error.h>
#include <weir/co.h>
#include <weir/log.h>
#include <weir/loop.h>
#include <weir/stats.h>

#include "base/alloc.h"
#include "loop/loop.h"

/* In a child nothing may return to cmocka: a check that fails is the exit code. */
#define MUST(condition)             \
    do {                            \
        if (!(condition))           \
            _exit(__LINE__ & 0xff); \
    } while (0)

static weir_loop *loop_on(const char *backend)
{
    weir_loop *loop = NULL;
    if (weir_loop_new(&loop, &(weir_loop_options){.backend = backend}) < 0)
        skip();
    weir_loop_enter(loop);
    return loop;
}

static void ends_well(pid_t child)
{
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void count(void *arg)
{
    (*(int *)arg)++;
}

static void on_timer(weir_timer *timer, void *arg)
{
    count(arg);
}

static void on_watch(weir_watch *watch, int what, void *arg)
{
    count(arg);
}

struct objects {
    weir_timer coarse, precise[4], far;
    weir_watch poll, signal;
    int fired;
};

static void start_all(struct objects *o, int fd)
{
    MUST(weir_timer_start(&o->coarse, weir_after(WEIR_MS), on_timer, &o->fired) == 0);
    MUST(weir_timer_start(&o->far, weir_after(100 * WEIR_S), on_timer, &o->fired) == 0);
    for (int i = 0; i < 4; i++)
        MUST(weir_timer_start_precise(&o->precise[i], weir_after(WEIR_MS), on_timer, &o->fired) ==
             0);
    MUST(weir_poll(&o->poll, fd, POLLOUT, on_watch, &o->fired) == 0);
    MUST(weir_signal(&o->signal, SIGUSR2, on_watch, &o->fired) == 0);
}

static void child_starts_anew(weir_loop *loop, struct objects *o, int fd)
{
    alarm(20);
    MUST(weir_loop_turn(loop, 0) == -EOWNERDEAD);
    MUST(weir_loop_after_fork(loop) == 0);
    MUST(weir_loop_enter(loop) == NULL);
    usleep(3000);
    MUST(weir_loop_turn(loop, 1) == 0);
    MUST(o->fired == 0);
    MUST(!weir_timer_cancel(&o->coarse) && !weir_timer_cancel(&o->precise[0]));
    start_all(o, fd);
    MUST(raise(SIGUSR2) == 0);
    while (o->fired < 7)
        MUST(weir_loop_turn(loop, WEIR_NEVER) == 0);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
    _exit(0);
}

static void timers_and_watches_can_be_used_again(void **state)
{
    const char *backend = *state;
    int fds[2];
    struct objects o = {.fired = 0};
    weir_loop *loop = loop_on(backend);
    assert_int_equal(pipe(fds), 0);
    weir_loop_turn(loop, 1);
    start_all(&o, fds[1]);
    pid_t child = fork();
    if (child == 0)
        child_starts_anew(loop, &o, fds[1]);
    ends_well(child);
    MUST(raise(SIGUSR2) == 0);
    while (o.fired < 7) /* the parent's, undisturbed */
        assert_int_equal(weir_loop_turn(loop, WEIR_NEVER), 0);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
    close(fds[0]);
    close(fds[1]);
}

/* Three are due; the handler of one forks, before or after the others have fired. */
struct forking {
    weir_timer others[2];
    int fired, fired_before;
    pid_t child;
};

static void fork_in_handler(weir_timer *timer, void *arg)
{
    struct forking *f = arg;
    f->fired_before = f->fired;
    f->child = fork();
}

static void child_of_a_handler(weir_loop *loop, struct forking *f)
{
    int fired = f->fired;
    alarm(20);
    MUST(fired == f->fired_before);
    MUST(weir_loop_turn(loop, 0) == -EOWNERDEAD);
    MUST(weir_loop_after_fork(loop) == 0);
    weir_loop_enter(loop);
    MUST(weir_loop_turn(loop, 1) == 0 && f->fired == fired);
    for (int i = 0; i < 2; i++)
        MUST(!weir_timer_cancel(&f->others[i]));
    for (int i = 0; i < 2; i++)
        MUST(weir_timer_start(&f->others[i], weir_after(WEIR_MS), on_timer, &f->fired) == 0);
    while (f->fired < fired + 2)
        MUST(weir_loop_turn(loop, WEIR_NEVER) == 0);
    _exit(0);
}

static void a_fork_between_expired_timers(void **state)
{
    weir_timer timer = {0};
    struct forking f = {.child = -1};
    weir_loop *loop = loop_on(*state);
    weir_time due = weir_after(WEIR_MS);
    assert_int_equal(weir_timer_start(&f.others[0], due, on_timer, &f.fired), 0);
    assert_int_equal(weir_timer_start(&timer, due, fork_in_handler, &f), 0);
    assert_int_equal(weir_timer_start(&f.others[1], due, on_timer, &f.fired), 0);
    usleep(3000);
    while (f.child == -1)
        weir_loop_turn(loop, WEIR_NEVER);
    if (f.child == 0)
        child_of_a_handler(loop, &f);
    ends_well(f.child);
    while (f.fired < 2)
        assert_int_equal(weir_loop_turn(loop, WEIR_NEVER), 0);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
}

/* A thread of the parent may hold a loop at that moment; it is not in the child. */
static void a_pin_of_the_parent_holds_nobody_up(void **state)
{
    weir_loop *loop = loop_on(*state);
    weir_loop_enter(NULL);
    assert_ptr_equal(loop_pin(weir_loop_id(loop)), loop);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        weir_loop_free(loop);
        _exit(0);
    }
    loop_unpin(weir_loop_id(loop));
    ends_well(child);
    weir_loop_free(loop);
}

/* Freed in the child, used again or not: what the loop itself had is given back. (On uring some
 * pages are not there to be given back.) */
static void the_childs_copy_is_given_back(void **state)
{
    weir_loop *loop = loop_on(*state);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
    uint64_t live = weir__alloc_live();
    for (int again = 0; again < 2; again++) {
        int fds[2], fired = 0;
        weir_watch watch = {0};
        loop = loop_on(*state);
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(weir_poll(&watch, fds[0], POLLIN, on_watch, &fired), 0);
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            weir_loop_enter(NULL);
            MUST(!again || weir_loop_after_fork(loop) == 0);
            weir_loop_free(loop);
            MUST(weir__alloc_live() == live);
            _exit(0);
        }
        ends_well(child);
        weir_loop_enter(NULL);
        weir_loop_free(loop);
        close(fds[0]);
        close(fds[1]);
    }
}

/* A child's child, neither of which has asked for the loop before. */
static void a_grandchild_can_use_it(void **state)
{
    weir_loop *loop = loop_on(*state);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
    uint64_t live = weir__alloc_live();
    loop = loop_on(*state);
    bool all_back = strcmp(weir_loop_backend(loop), "uring") != 0; /* some pages are not */
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            struct objects o = {.fired = 0};
            int fds[2];
            alarm(20);
            MUST(pipe(fds) == 0);
            MUST(weir_loop_turn(loop, 0) == -EOWNERDEAD);
            MUST(weir_loop_after_fork(loop) == 0);
            weir_loop_enter(loop);
            start_all(&o, fds[1]);
            MUST(raise(SIGUSR2) == 0);
            while (o.fired < 7)
                MUST(weir_loop_turn(loop, WEIR_NEVER) == 0);
            weir_loop_enter(NULL);
            weir_loop_free(loop);
            MUST(!all_back || weir__alloc_live() == live);
            _exit(0);
        }
        int status = -1;
        MUST(waitpid(grandchild, &status, 0) == grandchild && status == 0);
        MUST(weir_loop_after_fork(loop) == 0);
        MUST(weir_loop_turn(loop, 1) == 0);
        weir_loop_free(loop);
        _exit(0);
    }
    ends_well(child);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
}

/* Without memory it stays the parent's, whichever allocation fails, and can be asked for again. */
static void without_memory_it_can_be_asked_for_again(void **state)
{
    weir_loop *loop = loop_on(*state);
    pid_t child = fork();
    if (child == 0) {
        int result = -1, refused = 0;
        alarm(20);
        weir_log_set(NULL, NULL, WEIR_LOG_OFF);
        for (uint64_t n = 1; result != 0; n++) {
            weir__alloc_fail_at(n);
            result = weir_loop_after_fork(loop);
            MUST((weir__alloc_fail_at(0) == 0) == (result != 0));
            MUST(result == 0 || result == WEIR_ENOMEM || result == -ENOMEM);
            MUST(result == 0 || weir_loop_turn(loop, 0) == -EOWNERDEAD);
            refused += result != 0;
            MUST(n < 40);
        }
        MUST(refused > 1 && weir_loop_turn(loop, 1) == 0);
        weir_loop_free(loop);
        _exit(0);
    }
    ends_well(child);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
}

static void waits_long(void *arg)
{
    weir_sleep(weir_after(100 * WEIR_S));
    count(arg);
}

/* The parent's coroutines are not there, in the figures neither. */
static void figures_of_coroutines(void **state)
{
    weir_loop *loop = loop_on(*state);
    weir_loop_stats stats;
    int ended = 0;
    assert_int_equal(weir_spawn(waits_long, &ended), 0);
    weir_loop_turn(loop, 1);
    assert_int_equal(weir_loop_stats_get(loop, &stats), 0);
    assert_int_equal(stats.coroutines, 1);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        MUST(weir_loop_after_fork(loop) == 0);
        weir_loop_enter(loop);
        MUST(weir_loop_stats_get(loop, &stats) == 0 && stats.coroutines == 0);
        MUST(weir_spawn(waits_long, &ended) == 0);
        MUST(weir_loop_turn(loop, 1) == 0);
        MUST(weir_loop_stats_get(loop, &stats) == 0 && stats.coroutines == 1);
        weir_loop_enter(NULL);
        weir_loop_free(loop);
        _exit(ended != 1);
    }
    ends_well(child);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
    assert_int_equal(ended, 1);
}

#define CASES(backend)                                                                       \
    {"again on " #backend, timers_and_watches_can_be_used_again, NULL, NULL, backend},       \
        {"expired on " #backend, a_fork_between_expired_timers, NULL, NULL, backend},        \
        {"pinned on " #backend, a_pin_of_the_parent_holds_nobody_up, NULL, NULL, backend},   \
        {"figures on " #backend, figures_of_coroutines, NULL, NULL, backend},                \
        {"twice on " #backend, a_grandchild_can_use_it, NULL, NULL, backend},                \
    {                                                                                        \
        "scarce on " #backend, without_memory_it_can_be_asked_for_again, NULL, NULL, backend \
    }
#define MEMORY(backend)                                                           \
    {                                                                             \
        "memory on " #backend, the_childs_copy_is_given_back, NULL, NULL, backend \
    }

int main(void)
{
    static char epoll[] = "epoll", uring[] = "uring", poll[] = "poll";
    const struct CMUnitTest tests[] = {CASES(epoll), CASES(uring), CASES(poll), MEMORY(epoll),
                                       MEMORY(poll)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
