/* What stands under the verbs: coroutines that are made before they run, waits and how they end.
 * ctest: backends */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <weir/co.h>
#include <weir/error.h>

#include "co/wait.h"

static weir_loop *loop, *former;

static int setup(void **state)
{
    const char *backend = getenv("WEIR_BACKEND");
    weir_loop_options options = {.backend = backend != NULL ? backend : "epoll"};
    if (weir_loop_new(&loop, &options) < 0)
        return -1;
    former = loop_enter(loop);
    return 0;
}

static int teardown(void **state)
{
    loop_enter(former);
    weir_loop_free(loop);
    return 0;
}

static struct co_pool *pool(void)
{
    return co_pool_of(loop, NULL);
}

static void turn(void)
{
    loop_enter(former);
    weir_loop_turn(loop, 0);
    loop_enter(loop);
}

struct job {
    struct co_wait wait;
    struct co *co;
    weir_time deadline;
    int result, ended, second;
    bool firm;
};

static void waits(void *arg)
{
    struct job *job = arg;
    job->co = co_current();
    job->result = job->firm ? co_wait_firm(&job->wait) : co_wait(&job->wait, job->deadline);
    job->ended = 1;
}

static void made_and_started_later(void **state)
{
    struct job job = {.deadline = WEIR_NEVER};
    struct co *co;
    struct co_stats stats;
    assert_int_equal(co_new(pool(), waits, &job, &co), 0);
    assert_null(job.co);
    assert_int_equal(co_resume(co, 0), WEIR_EMISUSE); /* it is not suspended */
    assert_null(co_next(pool(), NULL));
    assert_int_equal(co_start(co), 0);
    assert_ptr_equal(job.co, co);
    assert_int_equal(co_start(co), WEIR_EMISUSE);
    assert_ptr_equal(co_next(pool(), NULL), co);
    co_wake(&job.wait, 7);
    co_wake(&job.wait, 8); /* the first counts */
    assert_int_equal(job.ended, 0);
    turn();
    assert_int_equal(job.result, 7);
    co_pool_stats(pool(), &stats);
    assert_int_equal(stats.alive, 0);
    assert_int_equal(stats.stacks.taken, 0);
    assert_int_equal(stats.runs_waited, 1);
}

static void made_one_keeps_its_pool(void **state)
{
    struct co_pool *own;
    struct job job = {.deadline = 0};
    struct co *co;
    assert_int_equal(co_pool_new(NULL, &own), 0);
    assert_int_equal(co_new(own, waits, &job, &co), 0);
    assert_int_equal(co_pool_free(own), WEIR_EMISUSE);
    assert_int_equal(co_start(co), 1);
    assert_int_equal(job.result, WEIR_ETIMEDOUT);
    assert_int_equal(co_pool_free(own), 0);
}

static void a_wait_that_is_cut_short(void **state)
{
    struct job job = {.deadline = WEIR_NEVER};
    assert_int_equal(co_run(pool(), waits, &job), 0);
    co_tell(job.co, WEIR_EGONE);
    assert_int_equal(job.result, WEIR_EGONE);
    /* Woken and cut short in the same turn: nothing is lost, and it runs once. */
    job = (struct job){.deadline = WEIR_NEVER};
    assert_int_equal(co_run(pool(), waits, &job), 0);
    co_wake(&job.wait, 5);
    co_tell(job.co, WEIR_EGONE);
    assert_int_equal(job.result, 5);
    assert_int_equal(job.ended, 1);
    turn();
}

static void firm_then_not(void *arg)
{
    struct job *job = arg;
    waits(job);
    job->second = weir_sleep(WEIR_NEVER);
    struct co_wait third = {.co = NULL};
    job->ended = 1 + (co_wait(&third, 0) == WEIR_ETIMEDOUT);
}

static void a_firm_wait_puts_it_off(void **state)
{
    struct job job = {.firm = true};
    assert_int_equal(co_run(pool(), firm_then_not, &job), 0);
    assert_true(co_is_firm(job.co));
    co_tell(job.co, WEIR_EGONE);
    co_resume(job.co, WEIR_ECANCELED); /* of no use */
    assert_int_equal(job.ended, 0);
    co_wake(&job.wait, 3);
    turn();
    assert_int_equal(job.result, 3);
    assert_int_equal(job.second, WEIR_EGONE); /* the next one hears it, once */
    assert_int_equal(job.ended, 2);
}

static void deadlines(void **state)
{
    struct job job = {.deadline = weir_after(3 * WEIR_MS)};
    assert_int_equal(co_run(pool(), waits, &job), 0);
    while (!job.ended) {
        loop_enter(former);
        weir_loop_turn(loop, WEIR_NEVER);
        loop_enter(loop);
    }
    assert_int_equal(job.result, WEIR_ETIMEDOUT);
    assert_true(weir_now() >= job.deadline);
}

static void spawner(void *arg)
{
    int *depth = arg;
    if (++*depth < 2000)
        assert_int_equal(weir_spawn(spawner, depth), 0);
}

/* Each spawns the next: others get their turn in between. */
static void a_chain_of_spawns_ends(void **state)
{
    int depth = 0;
    assert_int_equal(weir_spawn(spawner, &depth), 0);
    for (int i = 0; i < 10 && depth < 2000; i++)
        turn();
    assert_int_equal(depth, 2000);
}

static void sleeps_in_the_past(void *arg)
{
    int *times = arg;
    for (; *times < 3; ++*times)
        if (weir_sleep(weir_now()) < 0)
            return;
}

static void a_sleep_in_the_past_yields(void **state)
{
    int times = 0;
    assert_int_equal(weir_spawn(sleeps_in_the_past, &times), 0);
    for (int expected = 0; expected <= 3; expected++) {
        turn();
        assert_true(times <= expected + 1);
    }
    turn();
    assert_int_equal(times, 3);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(made_and_started_later),
        CASE(made_one_keeps_its_pool),
        CASE(a_wait_that_is_cut_short),
        CASE(a_firm_wait_puts_it_off),
        CASE(deadlines),
        CASE(a_chain_of_spawns_ends),
        CASE(a_sleep_in_the_past_yields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
