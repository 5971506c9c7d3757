/* 100 000 coroutines that wait at once: memory, and map entries against vm.max_map_count, with the
 * guards of newer kernels and with those of older ones.
 * ctest: noasan notsan processors=4 */
#include "unit/co/co_support.h"

#include <unistd.h>

#include <weir/stats.h>

#include "co/co.h"
#include "support/skip.h"

enum { MANY = 100000 };

static struct co *waiting[MANY];
static uint32_t begun, ended;
static int warned;

static void wait_once(void *arg)
{
    waiting[begun++] = co_current();
    co_suspend();
    ended++;
}

/* The first number in a file of /proc; with `key` the one behind it. */
static size_t number_of(const char *path, const char *key)
{
    char line[256];
    size_t number = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (number == 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            number = strtoul(line + strlen(key), NULL, 10);
    fclose(file);
    return number;
}

static size_t map_entries(void)
{
    size_t lines = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    assert_non_null(file);
    for (int byte; (byte = getc(file)) != EOF;)
        lines += byte == '\n';
    fclose(file);
    return lines;
}

static void count_warnings(const weir_log_line *line, void *arg)
{
    warned += strstr(line->text, "guarded by canaries") != NULL;
}

/* Returns the map entries that they took. */
static size_t many_wait(bool older, struct co_stats *stats)
{
    const struct stack_options options = {.older = older};
    struct co_pool *pool;
    size_t limit = number_of("/proc/sys/vm/max_map_count", ""), before = map_entries();
    size_t resident_kb = number_of("/proc/self/status", "VmRSS:");
    begun = ended = 0;
    assert_int_equal(co_pool_new(&options, &pool), 0);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(co_run(pool, wait_once, NULL), 0);
    co_pool_stats(pool, stats);
    size_t taken = map_entries() - before;
    resident_kb = number_of("/proc/self/status", "VmRSS:") - resident_kb;
    print_message("%u wait: %zu map entries of %zu, %.1f KiB resident each; guards: %u installed, "
                  "%u by mprotect, %u canaries\n",
                  stats->alive, taken, limit, (double)resident_kb / MANY,
                  stats->stacks.guards[STACK_GUARD_INSTALL],
                  stats->stacks.guards[STACK_GUARD_MPROTECT],
                  stats->stacks.guards[STACK_GUARD_CANARY]);
    assert_int_equal(stats->alive, MANY);
    assert_in_range(before + taken, 1, limit);
    assert_in_range(resident_kb, 1, (size_t)MANY * 17 / 2);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(co_resume(waiting[i], 0), 1);
    assert_int_equal(ended, MANY);
    assert_int_equal(co_pool_free(pool), 0);
    assert_in_range(map_entries(), 1, before + 10);
    return taken;
}

static void guards_of_newer_kernels_take_no_entries(void **state)
{
    struct co_stats stats;
    size_t taken = many_wait(false, &stats);
    if (stats.stacks.guards[STACK_GUARD_INSTALL] == 0)
        skip_because("this kernel has no MADV_GUARD_INSTALL (6.13)");
    assert_int_equal(stats.stacks.guards[STACK_GUARD_INSTALL], MANY);
    assert_in_range(taken, 1, 3 * stats.stacks.slabs + 10);
    assert_int_equal(warned, 0);
}

/* Half of what a process may have is for guards, two entries each, and canaries serve the others.
 */
static void guards_of_older_kernels_leave_half(void **state)
{
    struct co_stats stats;
    size_t half = number_of("/proc/sys/vm/max_map_count", "") / 2;
    uint32_t guarded = half / 2 < MANY ? (uint32_t)(half / 2) : MANY;
    size_t taken = many_wait(true, &stats);
    assert_int_equal(stats.stacks.guards[STACK_GUARD_INSTALL], 0);
    assert_int_equal(stats.stacks.guards[STACK_GUARD_MPROTECT], guarded);
    assert_int_equal(stats.stacks.guards[STACK_GUARD_CANARY], MANY - guarded);
    assert_in_range(taken, 2 * guarded - 10, 2 * guarded + 3 * stats.stacks.slabs + 10);
    assert_int_equal(warned, guarded < MANY);
}

/* --- what a loop reports of them -------------------------------------------------------------- */

static weir_chan *gate;

static void deep(void *arg)
{
    volatile char room[20000];
    char item;
    memset((char *)(uintptr_t)room, 1, sizeof room);
    CHECK(weir_chan_recv(gate, &item, WEIR_NEVER) == 0);
    CHECK(room[0] == 1);
}

static void a_loop_reports_its_stacks(void **state)
{
    enum { COUNT = 50 };
    weir_loop_options options = {
        .backend = "epoll", .stack_bytes = 96 * 1024, .coroutines_max = 60};
    weir_loop_stats stats = {0};
    assert_int_equal(weir_loop_new(&loop, &options), 0);
    former = loop_enter(loop);
    assert_int_equal(weir_chan_new(&gate, 1, 0), 0);
    for (int i = 0; i < COUNT; i++)
        go(deep, NULL);
    turn();
    assert_int_equal(weir_loop_stats_get(loop, &stats), 0);
    assert_int_equal(stats.coroutines, COUNT);
    assert_int_equal(stats.coroutines_peak, COUNT);
    assert_int_equal(stats.stack_bytes, 96 * 1024);
    assert_in_range(stats.stack_used_bytes, 20000, 26000);
    assert_int_equal(stats.stacks_canary, 0);
    assert_int_equal(stats.coroutines_refused, 0);
    for (int i = COUNT; i < 60; i++)
        go(deep, NULL);
    assert_int_equal(weir_spawn(deep, NULL), WEIR_EFULL);
    turn();
    assert_int_equal(weir_loop_stats_get(loop, &stats), 0);
    assert_int_equal(stats.coroutines_refused, 1);
    assert_int_equal(weir_chan_close(gate), 0);
    finish();
    assert_int_equal(weir_loop_stats_get(loop, &stats), 0);
    assert_int_equal(stats.coroutines, 0);
    assert_int_equal(stats.coroutines_peak, 60);
    assert_int_equal(weir_chan_free(gate), 0);
    teardown(state);
    options.stack_bytes = 16383;
    assert_int_equal(weir_loop_new(&loop, &options), WEIR_EINVALID);
    options.stack_bytes = (1u << 30) + 1;
    assert_int_equal(weir_loop_new(&loop, &options), WEIR_EINVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guards_of_newer_kernels_take_no_entries),
        cmocka_unit_test(guards_of_older_kernels_leave_half),
        cmocka_unit_test(a_loop_reports_its_stacks),
    };

    weir_log_set(count_warnings, NULL, WEIR_LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
