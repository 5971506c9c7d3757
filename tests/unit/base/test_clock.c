#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"

static void it_goes_forward(void **state)
{
    uint64_t last_ns = weir__clock_now_ns(), wall_ns = weir__clock_wall_ns();
    assert_true(wall_ns > 1700000000ull * 1000000000); /* after 2023 */
    for (int i = 0; i < 1000; i++) {
        uint64_t now_ns = weir__clock_now_ns();
        assert_true(now_ns >= last_ns);
        last_ns = now_ns;
    }
}

static void a_sleep_is_never_short(void **state)
{
    for (int i = 0; i < 5; i++) {
        uint64_t begin_ns = weir__clock_now_ns(), ns = 700000 + 100000 * (uint64_t)i;
        weir__clock_sleep_ns(ns);
        assert_true(weir__clock_now_ns() - begin_ns >= ns);
    }
}

static void cpu_time_is_what_was_worked(void **state)
{
    uint64_t cpu_ns = weir__clock_thread_cpu_ns();
    weir__clock_sleep_ns(30000000);
    assert_true(weir__clock_thread_cpu_ns() - cpu_ns < 20000000);
    cpu_ns = weir__clock_thread_cpu_ns();
    volatile unsigned sum = 0;
    for (unsigned i = 0; i < 3000000; i++)
        sum = sum + i;
    assert_true(weir__clock_thread_cpu_ns() - cpu_ns > 300000);
}

static uint64_t simulated_ns;

static uint64_t now(void *arg)
{
    return *(uint64_t *)arg;
}

static uint64_t wall(void *arg)
{
    return *(uint64_t *)arg + 1000;
}

static uint64_t cpu(void *arg)
{
    return 7;
}

static void sleep_on(uint64_t ns, void *arg)
{
    *(uint64_t *)arg += ns;
}

static void a_simulation_can_own_it(void **state)
{
    const struct clock_source source = {now, wall, cpu, sleep_on, &simulated_ns};
    weir__clock_set_source(&source);
    weir__clock_sleep_ns(3600ull * 1000000000);
    assert_int_equal(weir__clock_now_ns(), 3600ull * 1000000000);
    assert_int_equal(weir__clock_wall_ns(), 3600ull * 1000000000 + 1000);
    assert_int_equal(weir__clock_thread_cpu_ns(), 7);
    weir__clock_set_source(NULL);
    assert_int_not_equal(weir__clock_thread_cpu_ns(), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_goes_forward),
        cmocka_unit_test(a_sleep_is_never_short),
        cmocka_unit_test(cpu_time_is_what_was_worked),
        cmocka_unit_test(a_simulation_can_own_it),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
