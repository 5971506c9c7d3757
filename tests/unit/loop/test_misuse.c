/* What the verbs of a loop say to arguments that are none, and to a loop that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <weir/error.h>
#include <weir/log.h>
#include <weir/loop.h>

#include "base/alloc.h"
#include "loop/loop.h"

static char logged[512];

static void note_line(const weir_log_line *line, void *arg)
{
    snprintf(logged, sizeof logged, "%s", line->text);
}

static weir_loop *loop_here(void)
{
    weir_loop *loop = NULL;
    assert_int_equal(weir_loop_new(&loop, &(weir_loop_options){.backend = "epoll"}), 0);
    assert_null(weir_loop_enter(loop));
    return loop;
}

static void end(weir_loop *loop)
{
    assert_ptr_equal(weir_loop_enter(NULL), loop);
    weir_loop_free(loop);
}

static void no_task(weir_task *task, void *arg)
{
    fail();
}

static void no_timer(weir_timer *timer, void *arg)
{
    fail();
}

static void no_watch(weir_watch *watch, int what, void *arg)
{
    fail();
}

static void a_loop_that_is_none(void **state)
{
    weir_task task = {0};
    assert_int_equal(weir_loop_new(NULL, NULL), WEIR_EINVALID);
    assert_int_equal(weir_loop_turn(NULL, 0), WEIR_EMISUSE);
    assert_int_equal(weir_loop_run(NULL), WEIR_EINVALID);
    weir_loop_stop(NULL);
    weir_loop_free(NULL);
    assert_int_equal(weir_loop_fd(NULL), WEIR_EINVALID);
    assert_true(weir_loop_due(NULL) == WEIR_NEVER);
    assert_int_equal(weir_loop_after_fork(NULL), WEIR_EMISUSE);
    assert_int_equal(weir_loop_id(NULL), 0);
    assert_string_equal(weir_loop_backend(NULL), "none");
    assert_int_equal(weir_post(NULL, &task, no_task, NULL), WEIR_EINVALID);
}

static void verbs_without_a_loop(void **state)
{
    weir_timer timer = {0};
    weir_watch watch = {0};
    assert_null(weir_loop_current());
    assert_int_equal(weir_timer_start(&timer, 0, no_timer, NULL), WEIR_EMISUSE);
    assert_int_equal(weir_timer_start_precise(&timer, 0, no_timer, NULL), WEIR_EMISUSE);
    assert_int_equal(weir_poll(&watch, 0, POLLIN, no_watch, NULL), WEIR_EMISUSE);
    assert_int_equal(weir_signal(&watch, SIGUSR1, no_watch, NULL), WEIR_EMISUSE);
    assert_false(weir_timer_cancel(&timer));
    assert_false(weir_timer_cancel(NULL));
    weir_watch_cancel(&watch);
    weir_watch_cancel(NULL);
}

static void arguments_that_are_none(void **state)
{
    weir_loop *loop = loop_here();
    weir_task task = {0};
    weir_timer timer = {0};
    weir_watch watch = {0};
    assert_int_equal(weir_post(loop, NULL, no_task, NULL), WEIR_EINVALID);
    assert_int_equal(weir_post(loop, &task, NULL, NULL), WEIR_EINVALID);
    assert_int_equal(weir_timer_start(NULL, 0, no_timer, NULL), WEIR_EINVALID);
    assert_int_equal(weir_timer_start(&timer, 0, NULL, NULL), WEIR_EINVALID);
    assert_int_equal(weir_poll(NULL, 0, POLLIN, no_watch, NULL), WEIR_EINVALID);
    assert_int_equal(weir_poll(&watch, 0, POLLIN, NULL, NULL), WEIR_EINVALID);
    assert_int_equal(weir_poll(&watch, -1, POLLIN, no_watch, NULL), WEIR_EINVALID);
    assert_int_equal(weir_signal(NULL, SIGUSR1, no_watch, NULL), WEIR_EINVALID);
    assert_int_equal(weir_signal(&watch, SIGUSR1, NULL, NULL), WEIR_EINVALID);
    assert_int_equal(weir_signal(&watch, 0, no_watch, NULL), WEIR_EINVALID);
    assert_int_equal(weir_signal(&watch, 64, no_watch, NULL), WEIR_EINVALID);
    assert_int_equal(weir_signal(&watch, SIGKILL, no_watch, NULL), -EINVAL);
    assert_int_equal(weir_loop_after_fork(loop), WEIR_EMISUSE); /* nothing was forked */
    assert_int_equal(weir_loop_turn(loop, 1), 0);
    end(loop);
}

static void no_loop_is_made_too_large(void **state)
{
    weir_loop *loop = (weir_loop *)(uintptr_t)8;
    uint64_t live = weir__alloc_live();
    weir_log_set(note_line, NULL, WEIR_LOG_ERROR);
    assert_int_equal(weir_loop_new(&loop, &(weir_loop_options){.conns_max = (1u << 24) + 1}),
                     WEIR_EINVALID);
    assert_null(loop);
    assert_int_equal(weir__alloc_live(), live);
    assert_non_null(strstr(logged, "conns_max"));
    loop = (weir_loop *)(uintptr_t)8;
    assert_int_equal(weir_loop_new(&loop, &(weir_loop_options){.backend = "none such"}), -EINVAL);
    assert_null(loop);
    assert_int_equal(weir__alloc_live(), live);
    assert_non_null(strstr(logged, "none such"));
    weir_log_set(NULL, NULL, WEIR_LOG_INFO);
}

/* A loop that cannot be made for want of memory leaves nothing, whichever allocation fails. */
static void without_memory_nothing_is_left(void **state)
{
    weir_loop *loop = NULL;
    int error = -1;
    end(loop_here()); /* what a process makes once */
    uint64_t live = weir__alloc_live();
    weir_log_set(note_line, NULL, WEIR_LOG_OFF);
    for (uint64_t n = 1; error != 0; n++) {
        weir__alloc_fail_at(n);
        error = weir_loop_new(&loop, &(weir_loop_options){.backend = "epoll"});
        assert_int_equal(weir__alloc_fail_at(0) == 0, error != 0);
        assert_true(error == 0 || error == WEIR_ENOMEM || error == -ENOMEM);
        assert_true(error == 0 || (loop == NULL && weir__alloc_live() == live));
        assert_true(n < 30);
    }
    weir_log_set(NULL, NULL, WEIR_LOG_INFO);
    weir_loop_free(loop);
    assert_int_equal(weir__alloc_live(), live);
}

static void a_timer_stays_with_its_loop(void **state)
{
    weir_loop *loop = loop_here(), *other;
    weir_timer timer = {0};
    assert_int_equal(weir_timer_start(&timer, WEIR_NEVER, no_timer, NULL), 0);
    assert_int_equal(weir_loop_new(&other, &(weir_loop_options){.backend = "epoll"}), 0);
    assert_ptr_equal(weir_loop_enter(other), loop);
    assert_int_equal(weir_timer_start(&timer, WEIR_NEVER, no_timer, NULL), WEIR_EMISUSE);
    assert_ptr_equal(weir_loop_enter(loop), other);
    assert_int_equal(weir_timer_start(&timer, WEIR_NEVER, no_timer, NULL), 0); /* moves it */
    assert_true(weir_timer_cancel(&timer));
    assert_false(weir_timer_cancel(&timer));
    weir_loop_free(other);
    end(loop);
}

/* Pacing asks the kernel not to round this thread's sleeps to 50 us. */
static void precise_timers_make_sleeps_precise(void **state)
{
    weir_loop *loop = loop_here();
    weir_timer timer = {0};
    assert_int_equal(prctl(PR_SET_TIMERSLACK, 50000ul), 0);
    assert_int_equal(weir_timer_start_precise(&timer, WEIR_NEVER, no_timer, NULL), 0);
    assert_int_equal(prctl(PR_GET_TIMERSLACK), 1000);
    assert_true(weir_timer_cancel(&timer));
    end(loop);
}

static void count_watch(weir_watch *watch, int what, void *arg)
{
    (*(int *)arg)++;
}

/* A watch's record is given back with its event, and with its end. */
static void watches_give_their_records_back(void **state)
{
    int fds[2], calls = 0;
    weir_loop *loop = loop_here();
    weir_watch watch = {0};
    assert_int_equal(pipe(fds), 0);
    for (int i = 1; i <= 10; i++) {
        assert_int_equal(weir_poll(&watch, fds[1], POLLOUT, count_watch, &calls), 0);
        assert_int_equal(weir_poll(&watch, fds[1], POLLOUT, count_watch, &calls), WEIR_EMISUSE);
        assert_int_equal(loop->ops.used, 1);
        while (calls < i)
            assert_int_equal(weir_loop_turn(loop, WEIR_NEVER), 0);
        assert_int_equal(loop->ops.used, 0);
    }
    assert_int_equal(weir_poll(&watch, fds[0], POLLIN, no_watch, NULL), 0);
    weir_watch_cancel(&watch);
    while (loop->ops.used != 0)
        assert_int_equal(weir_loop_turn(loop, WEIR_NEVER), 0);
    end(loop);
    close(fds[0]);
    close(fds[1]);
}

/* More loops than a signal has places for: refused, and those that watch it go on. */
static void a_signal_has_places_for_some_loops(void **state)
{
    enum { LOOPS = 17 };
    weir_loop *loops[LOOPS];
    weir_watch watches[LOOPS], second = {0};
    int calls = 0;
    memset(watches, 0, sizeof watches);
    for (int i = 0; i < LOOPS; i++) {
        loops[i] = loop_here();
        assert_int_equal(weir_signal(&watches[i], SIGUSR1, count_watch, &calls),
                         i < LOOPS - 1 ? 0 : WEIR_EFULL);
        weir_loop_enter(NULL);
    }
    weir_loop_enter(loops[0]);
    assert_int_equal(weir_signal(&second, SIGUSR1, count_watch, &calls), 0); /* has a place */
    weir_loop_enter(loops[LOOPS - 1]);
    raise(SIGUSR1);
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(weir_loop_turn(loops[i], 1), 0);
    assert_int_equal(calls, LOOPS);
    weir_loop_enter(NULL);
    weir_loop_free(loops[1]); /* its place is free again */
    weir_loop_enter(loops[LOOPS - 1]);
    assert_int_equal(weir_signal(&watches[LOOPS - 1], SIGUSR1, count_watch, &calls), 0);
    weir_loop_enter(NULL);
    for (int i = 0; i < LOOPS; i++)
        if (i != 1)
            weir_loop_free(loops[i]);
    struct sigaction now;
    sigaction(SIGUSR1, NULL, &now);
    assert_ptr_equal(now.sa_handler, SIG_DFL); /* as it was */
}

/* A watch that asks its watcher to stop while others of the same loop go on. */
static void one_of_two_watchers_ends(void **state)
{
    weir_loop *loop = loop_here();
    weir_watch first = {0}, second = {0};
    int calls = 0;
    assert_int_equal(weir_signal(&first, SIGUSR1, no_watch, NULL), 0);
    assert_int_equal(weir_signal(&second, SIGUSR1, count_watch, &calls), 0);
    weir_watch_cancel(&first);
    raise(SIGUSR1);
    assert_int_equal(weir_loop_turn(loop, 1), 0);
    assert_int_equal(calls, 1);
    end(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_that_is_none),
        cmocka_unit_test(verbs_without_a_loop),
        cmocka_unit_test(arguments_that_are_none),
        cmocka_unit_test(no_loop_is_made_too_large),
        cmocka_unit_test(without_memory_nothing_is_left),
        cmocka_unit_test(a_timer_stays_with_its_loop),
        cmocka_unit_test(precise_timers_make_sleeps_precise),
        cmocka_unit_test(watches_give_their_records_back),
        cmocka_unit_test(a_signal_has_places_for_some_loops),
        cmocka_unit_test(one_of_two_watchers_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
