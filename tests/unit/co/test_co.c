/* Coroutines: running, leaving, going on, misuse, many at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "support/skip.h"

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/error.h>

#include "co/co.h"

#if SANITIZE_THREAD
#define MANY 2000 /* the thread sanitizer has room for 8128 flows of control */
#else
#define MANY 10000
#endif

static struct co_pool *pool_new(struct stack_options options)
{
    struct co_pool *pool = NULL;

    assert_int_equal(co_pool_new(&options, &pool), 0);
    return pool;
}

static struct co_stats stats_of(const struct co_pool *pool)
{
    struct co_stats stats;

    co_pool_stats(pool, &stats);
    return stats;
}

/* Says who it is, then waits until told -1, adding up what it is told. */
struct waiter {
    struct co *co;
    intptr_t sum;
    int waits;
    char *place;
};

static void wait_for_end(void *arg)
{
    struct waiter *waiter = arg;
    intptr_t value = 0;

    waiter->co = co_current();
    waiter->place = __builtin_frame_address(0);
    while (value != -1) {
        value = co_suspend();
        waiter->waits++;
        waiter->sum += value;
    }
}

static void note_place(void *arg)
{
    *(char **)arg = __builtin_frame_address(0);
}

static void a_run_that_does_not_wait_ends_at_once(void **state)
{
    struct co_pool *pool = pool_new((struct stack_options){0});
    char *first = NULL, *place = NULL;

    assert_int_equal(co_run(pool, note_place, &first), 1);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(co_run(pool, note_place, &place), 1);
        assert_ptr_equal(place, first); /* the same stack again */
    }
    assert_null(co_current());
    assert_int_equal(stats_of(pool).stacks.peak, 1);
    assert_int_equal(stats_of(pool).stacks.taken, 0);
    assert_int_equal(stats_of(pool).runs_waited, 0);
    assert_int_equal(co_pool_free(pool), 0);
}

static void a_wait_returns_what_the_resumer_passes(void **state)
{
    struct co_pool *pool = pool_new((struct stack_options){0});
    struct waiter waiter = {0};

    assert_int_equal(co_run(pool, wait_for_end, &waiter), 0);
    assert_null(co_current());
    assert_int_equal(stats_of(pool).alive, 1);
    for (intptr_t i = 1; i <= 10; i++)
        assert_int_equal(co_resume(waiter.co, i * 1000000007), 0);
    assert_int_equal(co_resume(waiter.co, -1), 1);
    assert_int_equal(waiter.sum, 55 * (intptr_t)1000000007 - 1);
    assert_int_equal(waiter.waits, 11);
    assert_int_equal(stats_of(pool).alive, 0);
    assert_int_equal(stats_of(pool).runs_waited, 1);
    assert_int_equal(co_pool_free(pool), 0);
}

static void the_stack_that_ended_last_is_used_next(void **state)
{
    struct co_pool *pool = pool_new((struct stack_options){0});
    struct waiter waiters[3] = {0};
    char *place;

    for (int i = 0; i < 3; i++)
        assert_int_equal(co_run(pool, wait_for_end, &waiters[i]), 0);
    assert_true(waiters[0].co != waiters[1].co && waiters[1].co != waiters[2].co);
    assert_int_equal(co_resume(waiters[0].co, -1), 1);
    assert_int_equal(co_resume(waiters[2].co, -1), 1);
    assert_int_equal(co_resume(waiters[1].co, -1), 1);
    assert_int_equal(co_run(pool, note_place, &place), 1);
    assert_in_range(labs((long)(place - waiters[1].place)), 0, 256);
    for (int i = 0; i < 3; i++)
        assert_int_equal(co_run(pool, wait_for_end, &waiters[i]), 0);
    assert_in_range(labs((long)(waiters[0].place - place)), 0, 256);
    assert_int_equal(stats_of(pool).stacks.peak, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(co_resume(waiters[i].co, -1), 1);
    assert_int_equal(co_pool_free(pool), 0);
}

/* -- misuse -- */

struct misuser {
    struct co_pool *pool;
    struct co *other;
    int run_error, resume_error, self_error, free_error;
};

static void misuse_everything(void *arg)
{
    struct misuser *misuser = arg;

    misuser->run_error = co_run(misuser->pool, misuse_everything, arg);
    misuser->resume_error = co_resume(misuser->other, 1);
    misuser->self_error = co_resume(co_current(), 1);
    misuser->free_error = co_pool_free(misuser->pool);
}

static void a_coroutine_switches_no_other(void **state)
{
    struct co_pool *pool = pool_new((struct stack_options){0});
    struct waiter waiter = {0};
    struct misuser misuser = {.pool = pool};

    assert_int_equal(co_suspend(), WEIR_EMISUSE);
    assert_int_equal(co_run(pool, wait_for_end, &waiter), 0);
    misuser.other = waiter.co;
    assert_int_equal(co_run(pool, misuse_everything, &misuser), 1);
    assert_int_equal(misuser.run_error, WEIR_EMISUSE);
    assert_int_equal(misuser.resume_error, WEIR_EMISUSE);
    assert_int_equal(misuser.self_error, WEIR_EMISUSE);
    assert_int_equal(misuser.free_error, WEIR_EMISUSE);
    assert_int_equal(waiter.waits, 0);
    assert_int_equal(co_pool_free(pool), WEIR_EMISUSE); /* somebody still waits */
    assert_int_equal(co_resume(waiter.co, -1), 1);
    assert_int_equal(co_resume(waiter.co, -1), WEIR_EMISUSE); /* it is no more */
    assert_int_equal(co_pool_free(pool), 0);
    assert_int_equal(co_pool_free(NULL), 0);
}

static void *misuse_from_thread(void *arg)
{
    struct misuser *misuser = arg;
    char *place;

    misuser->run_error = co_run(misuser->pool, note_place, &place);
    if (misuser->other != NULL)
        misuser->resume_error = co_resume(misuser->other, 1);
    return NULL;
}

static void misuse_in_thread(struct misuser *misuser)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, misuse_from_thread, misuser), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void another_thread_is_refused_while_somebody_waits(void **state)
{
    struct co_pool *pool = pool_new((struct stack_options){0});
    struct waiter waiter = {0};
    struct misuser misuser = {.pool = pool};

    assert_int_equal(co_run(pool, wait_for_end, &waiter), 0);
    misuser.other = waiter.co;
    misuse_in_thread(&misuser);
    assert_int_equal(misuser.run_error, WEIR_EMISUSE);
    assert_int_equal(misuser.resume_error, WEIR_EMISUSE);
    assert_int_equal(waiter.waits, 0);
    assert_int_equal(co_resume(waiter.co, -1), 1);
    misuser.other = NULL;
    misuse_in_thread(&misuser);
    assert_int_equal(misuser.run_error, 1); /* taken over */
    assert_int_equal(co_run(pool, wait_for_end, &waiter), 0);
    assert_int_equal(co_resume(waiter.co, -1), 1);
    assert_int_equal(co_pool_free(pool), 0);
}

static void the_limit_of_stacks_is_an_error(void **state)
{
    struct co_pool *pool = pool_new((struct stack_options){.count_max = 5});
    struct waiter waiters[6] = {0};

    for (int i = 0; i < 5; i++)
        assert_int_equal(co_run(pool, wait_for_end, &waiters[i]), 0);
    assert_int_equal(co_run(pool, wait_for_end, &waiters[5]), WEIR_EFULL);
    assert_null(waiters[5].co);
    assert_int_equal(co_resume(waiters[2].co, -1), 1);
    assert_int_equal(co_run(pool, wait_for_end, &waiters[5]), 0);
    while (co_next(pool, NULL) != NULL)
        assert_int_equal(co_resume(co_next(pool, NULL), -1), 1);
    assert_int_equal(co_pool_free(pool), 0);
}

/* -- what a switch keeps -- */

static volatile double one = 1, three = 3;

static void round_down_and_wait(void *arg)
{
    int *wrong = arg;
    double third;

    *wrong += fegetround() != FE_TONEAREST;
    fesetround(FE_DOWNWARD);
    third = one / three;
    for (int i = 0; i < 3; i++) {
        co_suspend();
        *wrong += fegetround() != FE_DOWNWARD || third < one / three || third > one / three;
    }
}

static void rounding_belongs_to_the_coroutine(void **state)
{
    struct co_pool *pool = pool_new((struct stack_options){0});
    int wrong = 0, finished = 0;

    assert_int_equal(co_run(pool, round_down_and_wait, &wrong), 0);
    while (!finished) {
        assert_int_equal(fegetround(), FE_TONEAREST);
        finished = co_resume(co_next(pool, NULL), 0);
    }
    assert_int_equal(fegetround(), FE_TONEAREST);
    assert_int_equal(wrong, 0);
    assert_int_equal(co_pool_free(pool), 0);
}

/* -- many -- */

static void many_are_alive_at_once(void **state)
{
    static struct waiter waiters[MANY];
    struct co_pool *pool = pool_new((struct stack_options){0});
    struct co *co = NULL;
    uint32_t random = 1;
    int count = 0;

    memset(waiters, 0, sizeof waiters);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(co_run(pool, wait_for_end, &waiters[i]), 0);
    assert_int_equal(stats_of(pool).alive, MANY);
    while ((co = co_next(pool, co)) != NULL)
        assert_ptr_equal(co, waiters[count++].co);
    assert_int_equal(count, MANY);
    for (int i = 0; i < 3 * MANY; i++) {
        random = random * 1664525 + 1013904223;
        assert_int_equal(co_resume(waiters[(random >> 8) % MANY].co, 1), 0);
    }
    for (int i = 0; i < MANY; i++) {
        struct waiter *waiter = &waiters[(i * 7919L) % MANY];

        assert_int_equal(co_resume(waiter->co, -1), 1);
        assert_int_equal(waiter->sum, waiter->waits - 2);
    }
    assert_int_equal(stats_of(pool).alive, 0);
    co_pool_shrink(pool, UINT32_MAX);
    assert_true(co_pool_shrink(pool, UINT32_MAX) > MANY / 2);
    assert_in_range(stats_of(pool).stacks.total, 1, MANY - 1);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(co_run(pool, wait_for_end, &waiters[i]), 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(co_resume(waiters[i].co, -1), 1);
    assert_int_equal(co_pool_free(pool), 0);
}

static void wait_deep(void *arg)
{
    volatile char frame[200];
    int *depth = arg;

    frame[0] = (char)*depth;
    if (--*depth > 0)
        wait_deep(arg);
    else
        co_suspend();
    ++*depth;
    if (frame[0] != (char)*depth)
        *depth = -1000000;
}

static void a_wait_deep_in_calls_returns_through_them(void **state)
{
    struct co_pool *pool = pool_new((struct stack_options){.stack_bytes = 1 << 20});
    int depths[50], finished = 0;

    for (int i = 0; i < 50; i++) {
        depths[i] = i * 20 + 1;
        assert_int_equal(co_run(pool, wait_deep, &depths[i]), 0);
    }
    while (co_next(pool, NULL) != NULL)
        finished += co_resume(co_next(pool, NULL), 0);
    assert_int_equal(finished, 50);
    for (int i = 0; i < 50; i++)
        assert_int_equal(depths[i], i * 20 + 1);
    assert_int_equal(co_pool_free(pool), 0);
}

/* -- the end of the stack -- */

struct diver {
    ptrdiff_t leave_bytes; /* turn back this far from the end, or beyond it */
    size_t used_bytes;
    unsigned sum;
};

/* The record of a coroutine begins with its stack's. */
static const struct stack *stack_here(void)
{
    return (const struct stack *)(const void *)co_current();
}

__attribute__((noinline)) static void dive(struct diver *diver)
{
    volatile char frame[512];

    frame[0] = 1;
    frame[sizeof frame - 1] = 1;
    if ((const volatile char *)frame - stack_here()->low > diver->leave_bytes)
        dive(diver);
    diver->sum += (unsigned)frame[0];
}

static void dive_and_measure(void *arg)
{
    struct diver *diver = arg;

    dive(diver);
    diver->used_bytes = co_used_bytes(co_current());
}

static void nearly_all_of_the_stack_can_be_used(void **state)
{
    struct co_pool *pool = pool_new((struct stack_options){0});
    struct diver diver = {.leave_bytes = 4096};
    struct stack_stats stats;

    assert_int_equal(co_run(pool, dive_and_measure, &diver), 1);
    assert_true(diver.sum > 40);
    assert_true(diver.used_bytes > 65536 - 3 * 4096 - 2048);
    stats = stats_of(pool).stacks;
    assert_int_equal(stats.used_bytes_max, diver.used_bytes);
    assert_int_equal(co_pool_free(pool), 0);
}

static void dive_for_ever(void *arg)
{
    struct diver diver = {.leave_bytes = PTRDIFF_MIN};

    dive(&diver);
}

/* Far enough for a canary, and not as far as the next stack. */
static void dive_too_far(void *arg)
{
    struct diver diver = {.leave_bytes = -1000};

    dive(&diver);
}

static void dive_too_far_and_wait(void *arg)
{
    dive_too_far(arg);
    co_suspend();
    _exit(0);
}

/* What a child dies of that runs `fn` with such a guard: a signal's number, or -1 when it is not to
 * be had here. */
static int signal_of_run(enum stack_guard guard, void (*fn)(void *))
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        struct stack_options options = {.guard = guard};
        struct waiter waiter = {0};
        struct co_pool *pool;

        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        if (co_pool_new(&options, &pool) < 0 || co_run(pool, wait_for_end, &waiter) < 0)
            _exit(255); /* the first stack of a slab has no neighbour to dive into */
        co_run(pool, fn, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status))
        return WEXITSTATUS(status) == 255 ? -1 : 0;
    return WTERMSIG(status);
}

static void an_overflow_ends_the_process(void **state)
{
    assert_int_equal(signal_of_run(STACK_GUARD_AUTO, dive_for_ever), SIGSEGV);
    assert_int_equal(signal_of_run(STACK_GUARD_MPROTECT, dive_for_ever), SIGSEGV);
    assert_int_equal(signal_of_run(STACK_GUARD_CANARY, dive_too_far), SIGSEGV);
    assert_int_equal(signal_of_run(STACK_GUARD_CANARY, dive_too_far_and_wait), SIGSEGV);
    if (signal_of_run(STACK_GUARD_INSTALL, dive_for_ever) == -1)
        skip_because("this kernel has no MADV_GUARD_INSTALL (6.13)");
    assert_int_equal(signal_of_run(STACK_GUARD_INSTALL, dive_for_ever), SIGSEGV);
}

/* -- several loops -- */

static void *run_a_loop(void *arg)
{
    struct stack_options options = {.stack_bytes = 32768};
    struct waiter waiters[50] = {0};
    struct co_pool *pool;
    long wrong = co_pool_new(&options, &pool);

    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 50; i++)
            wrong += co_run(pool, wait_for_end, &waiters[i]);
        for (int i = 0; i < 50; i++)
            wrong += co_resume(waiters[(i * 7) % 50].co, 5);
        for (int i = 0; i < 50; i++)
            wrong += co_resume(waiters[(i * 3) % 50].co, -1) != 1;
    }
    wrong += co_pool_free(pool);
    return (void *)(intptr_t)wrong;
}

static void loops_do_not_meet(void **state)
{
    pthread_t threads[3];
    void *wrong;

    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_a_loop, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_int_equal((intptr_t)wrong, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_does_not_wait_ends_at_once),
        cmocka_unit_test(a_wait_returns_what_the_resumer_passes),
        cmocka_unit_test(the_stack_that_ended_last_is_used_next),
        cmocka_unit_test(a_coroutine_switches_no_other),
        cmocka_unit_test(another_thread_is_refused_while_somebody_waits),
        cmocka_unit_test(the_limit_of_stacks_is_an_error),
        cmocka_unit_test(rounding_belongs_to_the_coroutine),
        cmocka_unit_test(many_are_alive_at_once),
        cmocka_unit_test(a_wait_deep_in_calls_returns_through_them),
        cmocka_unit_test(nearly_all_of_the_stack_can_be_used),
        cmocka_unit_test(an_overflow_ends_the_process),
        cmocka_unit_test(loops_do_not_meet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
