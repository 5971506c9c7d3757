/* What a loop counts of itself, and what it takes for the memory of its machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <weir/error.h>
#include <weir/log.h>
#include <weir/loop.h>
#include <weir/stats.h>
#include <weir/units.h>

#include "loop/limits.h"

static char limit[64]; /* of the control group, as its file says; empty: the real one */
static int lines;

/* In the place of the C library's. */
FILE *fopen(const char *path, const char *mode)
{
    if (limit[0] == 0 || strncmp(path, "/sys/fs/cgroup/", 15) != 0) {
        errno = ENOENT;
        return NULL;
    }
    if (strcmp(path, "/sys/fs/cgroup/memory.max") == 0)
        return fmemopen(limit, strlen(limit), "r");
    errno = ENOENT;
    return NULL;
}

static void note_line(const weir_log_line *line, void *arg)
{
    lines += strstr(line->text, "was held for") != NULL;
}

static weir_loop *loop_of(weir_loop_options options)
{
    weir_loop *loop;
    options.backend = "epoll";
    assert_int_equal(weir_loop_new(&loop, &options), 0);
    return loop;
}

static weir_loop_stats stats_of(weir_loop *loop)
{
    weir_loop_stats stats;
    weir_loop *former = weir_loop_enter(loop);
    assert_int_equal(weir_loop_stats_get(loop, &stats), 0);
    weir_loop_enter(former);
    return stats;
}

static void ran(weir_task *task, void *arg)
{
    ++*(int *)arg;
}

static void held(weir_timer *timer, void *arg)
{
    struct timespec time = {.tv_nsec = 10 * 1000 * 1000};
    nanosleep(&time, NULL);
}

static void turns_and_times(void **state)
{
    weir_loop *loop = loop_of((weir_loop_options){0});
    weir_timer timer = {0};
    lines = 0;
    weir_log_set(note_line, NULL, WEIR_LOG_WARN);
    assert_int_equal(stats_of(loop).turns, 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(weir_loop_turn(loop, 0), 0);
        assert_int_equal(stats_of(loop).turns, i);
    }
    assert_true(stats_of(loop).waited_ns < 5 * WEIR_S);
    uint64_t waited_ns = stats_of(loop).waited_ns;
    assert_int_equal(weir_loop_turn(loop, weir_now() + 20 * WEIR_MS), 0);
    waited_ns = stats_of(loop).waited_ns - waited_ns;
    assert_true(waited_ns >= 15 * WEIR_MS && waited_ns < 20 * WEIR_S);
    uint64_t handled_ns = stats_of(loop).handled_ns;
    weir_loop *former = weir_loop_enter(loop);
    assert_int_equal(weir_timer_start(&timer, weir_after(0), held, NULL), 0);
    weir_loop_enter(former);
    assert_int_equal(weir_loop_turn(loop, weir_now() + 20 * WEIR_MS), 0);
    handled_ns = stats_of(loop).handled_ns - handled_ns;
    assert_true(handled_ns >= 9 * WEIR_MS && handled_ns < 20 * WEIR_S);
    weir_loop_free(loop);
    weir_log_set(NULL, NULL, WEIR_LOG_INFO);
}

static void handlers_that_hold_it(void **state)
{
    weir_timer timer = {0};
    for (unsigned i = 0; i < 2; i++) {
        weir_loop *loop = loop_of((weir_loop_options){.stall_ms = i == 0 ? 2 : 20000});
        lines = 0;
        weir_log_set(note_line, NULL, WEIR_LOG_WARN);
        weir_loop *former = weir_loop_enter(loop);
        assert_int_equal(weir_timer_start(&timer, weir_after(0), held, NULL), 0);
        weir_loop_enter(former);
        assert_int_equal(weir_loop_turn(loop, weir_now() + 20 * WEIR_MS), 0);
        assert_int_equal(stats_of(loop).stalls, i == 0);
        assert_true(lines <= (i == 0)); /* lines like it are limited */
        weir_loop_free(loop);
        weir_log_set(NULL, NULL, WEIR_LOG_INFO);
    }
    /* A loop that nobody has told how long is not held by its own turns. */
    weir_loop *loop = loop_of((weir_loop_options){0});
    unsigned stalls = 0;
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(weir_loop_turn(loop, 0), 0);
    stalls = (unsigned)stats_of(loop).stalls;
    assert_true(stalls < 25); /* the machine may be busy */
    weir_loop_free(loop);
}

static void posts_that_are_refused(void **state)
{
    weir_loop *loop = loop_of((weir_loop_options){.posts_max = 2});
    weir_task tasks[4] = {0};
    int count = 0;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(weir_post(loop, &tasks[i], ran, &count), i < 2 ? 0 : WEIR_EFULL);
    assert_int_equal(stats_of(loop).posts_refused, 2);
    assert_int_equal(stats_of(loop).posts_waiting, 2);
    assert_int_equal(weir_loop_turn(loop, 0), 0);
    assert_int_equal(count, 2);
    assert_int_equal(stats_of(loop).posts, 2);
    assert_int_equal(stats_of(loop).posts_refused, 2);
    weir_loop_free(loop);
}

static void memory_of_the_machine(void **state)
{
    limit[0] = 0;
    uint64_t all = limits_memory_bytes();
    assert_int_equal(all, (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    strcpy(limit, "268435456\n");
    assert_int_equal(limits_memory_bytes(), all < 268435456 ? all : 268435456);
    strcpy(limit, "max\n");
    assert_int_equal(limits_memory_bytes(), all);
    strcpy(limit, "0\n");
    assert_int_equal(limits_memory_bytes(), all);
    snprintf(limit, sizeof limit, "%llu\n", (unsigned long long)all * 2);
    assert_int_equal(limits_memory_bytes(), all);
    limit[0] = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_and_times),
        cmocka_unit_test(handlers_that_hold_it),
        cmocka_unit_test(posts_that_are_refused),
        cmocka_unit_test(memory_of_the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
