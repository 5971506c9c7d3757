/* The pool of stacks: order, limits, guards, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "support/skip.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/error.h>

#include "co/stack.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

struct record {
    struct stack stack;
    unsigned mark;
} __attribute__((aligned(64)));

static size_t page_bytes;

static void pool_init(struct stack_pool *pool, struct stack_options options)
{
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    assert_int_equal(stack_pool_init(pool, &options, sizeof(struct record)), 0);
}

static struct stack *take(struct stack_pool *pool)
{
    struct stack *stack = NULL;

    assert_int_equal(stack_take(pool, &stack), 0);
    return stack;
}

static struct stack_stats stats_of(const struct stack_pool *pool)
{
    struct stack_stats stats;

    stack_pool_stats(pool, &stats);
    return stats;
}

/* Pages of a stack that are in memory. */
static size_t resident_pages(const struct stack *stack)
{
    unsigned char resident[1024];
    size_t count = 0, pages = ((size_t)(stack->high - stack->low) + page_bytes - 1) / page_bytes;

    assert_true(pages <= sizeof resident);
    assert_int_equal(mincore(stack->low, pages * page_bytes, resident), 0);
    for (size_t i = 0; i < pages; i++)
        count += resident[i] & 1;
    return count;
}

static size_t map_entries(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    size_t count = 0;
    int byte;

    assert_non_null(maps);
    while ((byte = getc(maps)) != EOF)
        count += byte == '\n';
    fclose(maps);
    return count;
}

static void options_are_checked(void **state)
{
    struct stack_pool pool;
    struct stack_options options = {.stack_bytes = ((size_t)1 << 30) + 1};

    assert_int_equal(stack_pool_init(&pool, &options, 128), WEIR_EINVALID);
    options = (struct stack_options){.guard = STACK_GUARD_KINDS};
    assert_int_equal(stack_pool_init(&pool, &options, 128), WEIR_EINVALID);
    assert_int_equal(stack_pool_init(&pool, NULL, 128), 0);
    assert_int_equal(pool.options.stack_bytes % pool.page_bytes, 0);
    assert_true(pool.options.stack_bytes >= 65536);
    assert_int_equal(stats_of(&pool).total, 0);
    stack_pool_end(&pool);
    options = (struct stack_options){.stack_bytes = 1};
    assert_int_equal(stack_pool_init(&pool, &options, 128), 0);
    assert_int_equal(pool.options.stack_bytes, 4 * pool.page_bytes);
    stack_pool_end(&pool);
}

static void stacks_do_not_overlap_and_start_spread(void **state)
{
    enum { COUNT = 200 };
    struct stack *stacks[COUNT];
    uint64_t lines = 0;
    struct stack_pool pool;

    pool_init(&pool, (struct stack_options){0});
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = take(&pool);
        assert_int_equal((uintptr_t)stacks[i]->high % 64, 0);
        assert_int_equal((uintptr_t)stacks[i]->low % page_bytes, 0);
        assert_true((size_t)(stacks[i]->high - stacks[i]->low) >=
                    pool.options.stack_bytes - page_bytes - 4096);
        lines |= (uint64_t)1 << (uintptr_t)stacks[i]->high / 64 % 64;
        memset(stacks[i]->high - 4096, i, 4096);
        ((struct record *)(void *)stacks[i])->mark = (unsigned)i;
    }
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal((unsigned char)stacks[i]->high[-1], i);
        assert_int_equal((unsigned char)stacks[i]->high[-4096], i);
        assert_int_equal(((struct record *)(void *)stacks[i])->mark, i);
    }
    assert_int_equal(lines, UINT64_MAX); /* every set of a 64-set cache begins a stack */
    for (int i = 0; i < COUNT; i++)
        stack_give(&pool, stacks[i]);
    stack_pool_end(&pool);
}

static void the_last_given_is_the_first_taken(void **state)
{
    struct stack *stacks[100];
    struct stack_pool pool;

    pool_init(&pool, (struct stack_options){0});
    for (size_t i = 0; i < LENGTH(stacks); i++)
        stacks[i] = take(&pool);
    for (size_t i = 0; i < LENGTH(stacks); i += 2)
        stack_give(&pool, stacks[i]);
    for (size_t i = LENGTH(stacks); i > 0; i -= 2)
        assert_ptr_equal(take(&pool), stacks[i - 2]);
    for (size_t i = 0; i < LENGTH(stacks); i++)
        stack_give(&pool, stacks[i]);
    assert_int_equal(stats_of(&pool).taken, 0);
    assert_int_equal(stats_of(&pool).peak, LENGTH(stacks));
    stack_pool_end(&pool);
}

static void the_limit_refuses_and_recovers(void **state)
{
    struct stack *stacks[21], *refused;
    struct stack_pool pool;

    pool_init(&pool, (struct stack_options){.count_max = LENGTH(stacks)});
    for (size_t i = 0; i < LENGTH(stacks); i++)
        stacks[i] = take(&pool);
    for (int i = 0; i < 3; i++)
        assert_int_equal(stack_take(&pool, &refused), WEIR_EFULL);
    assert_int_equal(stats_of(&pool).total, LENGTH(stacks));
    assert_int_equal(stats_of(&pool).refused, 3);
    stack_give(&pool, stacks[4]);
    assert_ptr_equal(take(&pool), stacks[4]);
    for (size_t i = 0; i < LENGTH(stacks); i++)
        stack_give(&pool, stacks[i]);
    stack_pool_end(&pool);
}

static void no_address_space_is_an_error(void **state)
{
    struct stack *stacks[64], *refused;
    struct rlimit limit, none;
    struct stack_pool pool;
    size_t count = 0;
    int error = 0;

#if WEIR_ASAN || SANITIZE_THREAD
    skip_because("a sanitizer's shadow needs all of the address space");
#endif
    pool_init(&pool, (struct stack_options){.stack_bytes = (size_t)1 << 30});
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    none = limit;
    none.rlim_cur = (rlim_t)20 << 30;
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    while (count < LENGTH(stacks) && (error = stack_take(&pool, &stacks[count])) == 0)
        count++;
    assert_int_equal(error, WEIR_ENOMEM);
    assert_int_equal(stack_take(&pool, &refused), WEIR_ENOMEM);
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    stacks[count++] = take(&pool);
    while (count > 0)
        stack_give(&pool, stacks[--count]);
    stack_pool_end(&pool);
}

/* -- guards -- */

/* The signal that ends a child which writes at `byte`, or 0 when it lives. */
static int signal_of_write(struct stack *stack, char *byte)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};

        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        *(volatile char *)byte = 1;
        stack_check(stack);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

/* Whether this kernel has the guard. */
static bool guard_pool_init(struct stack_pool *pool, enum stack_guard guard)
{
    struct stack *stack;

    pool_init(pool, (struct stack_options){.guard = guard});
    if (stack_take(pool, &stack) == WEIR_ENOTSUP) {
        stack_pool_end(pool);
        return false;
    }
    stack_give(pool, stack);
    return true;
}

static void each_guard_catches_an_overflow(void **state)
{
    for (int guard = STACK_GUARD_AUTO; guard < STACK_GUARD_KINDS; guard++) {
        struct stack_pool pool;
        struct stack *below, *stack;

        if (!guard_pool_init(&pool, (enum stack_guard)guard)) {
            assert_int_equal(guard, STACK_GUARD_INSTALL);
            print_message("no MADV_GUARD_INSTALL on this kernel\n");
            continue;
        }
        below = take(&pool);
        stack = take(&pool);
        assert_true(below->high < stack->low);
        memset(stack->low, 7, (size_t)(stack->high - stack->low));
        assert_int_equal(signal_of_write(stack, stack->low), 0);
        assert_int_equal(signal_of_write(stack, stack->low - 1), SIGSEGV);
        assert_int_equal(signal_of_write(stack, stack->low - 100), SIGSEGV);
        if (stack->guard != STACK_GUARD_CANARY)
            assert_int_equal(signal_of_write(stack, stack->low - page_bytes), SIGSEGV);
        stack_give(&pool, stack);
        stack_give(&pool, below);
        stack_pool_end(&pool);
    }
}

/* Stands in for libc's: a kernel that takes any advice and does nothing, as an emulator may. */
static bool advice_is_ignored;

int madvise(void *memory, size_t size, int advice)
{
    if (advice_is_ignored)
        return 0;
    return (int)syscall(SYS_madvise, memory, size, advice);
}

static void a_guard_that_does_not_guard_is_not_trusted(void **state)
{
    struct stack_pool pool;
    struct stack *stack;

    advice_is_ignored = true;
    pool_init(&pool, (struct stack_options){0});
    stack = take(&pool);
    advice_is_ignored = false;
    assert_int_equal(stack->guard, STACK_GUARD_MPROTECT);
    assert_int_equal(signal_of_write(stack, stack->low - 1), SIGSEGV);
    stack_give(&pool, stack);
    stack_pool_end(&pool);
}

static void guards_outlive_the_pages(void **state)
{
    for (int guard = STACK_GUARD_INSTALL; guard <= STACK_GUARD_MPROTECT; guard++) {
        struct stack *stacks[40];
        struct stack_pool pool;

        if (!guard_pool_init(&pool, (enum stack_guard)guard))
            continue;
        for (size_t i = 0; i < LENGTH(stacks); i++) {
            stacks[i] = take(&pool);
            memset(stacks[i]->high - 100, 1, 100);
        }
        for (size_t i = 1; i < LENGTH(stacks); i++)
            stack_give(&pool, stacks[i]);
        stack_pool_shrink(&pool, UINT32_MAX);
        assert_true(stack_pool_shrink(&pool, UINT32_MAX) > 0);
        assert_false(stacks[1]->warm);
        assert_int_equal(signal_of_write(stacks[1], stacks[1]->low - 1), SIGSEGV);
        assert_int_equal(signal_of_write(stacks[1], stacks[1]->low), 0);
        stack_give(&pool, stacks[0]);
        stack_pool_end(&pool);
    }
}

static void installed_guards_cost_no_map_entries(void **state)
{
    enum { COUNT = 100000 };
    static struct stack *stacks[COUNT];
    size_t before = map_entries();
    struct stack_pool pool;

#if WEIR_ASAN || SANITIZE_THREAD
    skip_because("sanitizers map memory themselves");
#endif
    if (!guard_pool_init(&pool, STACK_GUARD_INSTALL))
        skip_because("this kernel has no MADV_GUARD_INSTALL (6.13)");
    for (int i = 0; i < COUNT; i++)
        stacks[i] = take(&pool);
    assert_in_range(map_entries() - before, 1, 2 * stats_of(&pool).slabs + 10);
    assert_int_equal(stats_of(&pool).guards[STACK_GUARD_INSTALL], COUNT);
    assert_true(stacks[COUNT - 1] != stacks[0]);
    for (int i = 0; i < COUNT; i++)
        stack_give(&pool, stacks[i]);
    stack_pool_end(&pool);
    assert_in_range(map_entries(), 1, before + 10);
}

static void mprotect_guards_stop_at_their_share(void **state)
{
    struct stack *stacks[100];
    struct stack_pool pool;

    pool_init(&pool, (struct stack_options){.guard = STACK_GUARD_AUTO, .maps_max = 60});
    pool.install_missing = true; /* an older kernel */
    for (size_t i = 0; i < LENGTH(stacks); i++)
        stacks[i] = take(&pool);
    assert_int_equal(stats_of(&pool).guards[STACK_GUARD_MPROTECT], 30);
    assert_int_equal(stats_of(&pool).guards[STACK_GUARD_CANARY], 70);
    assert_int_equal(signal_of_write(stacks[10], stacks[10]->low - 8), SIGSEGV);
    assert_int_equal(signal_of_write(stacks[90], stacks[90]->low - 8), SIGSEGV);
    for (size_t i = 0; i < LENGTH(stacks); i++)
        stack_give(&pool, stacks[i]);
    stack_pool_end(&pool);
    pool_init(&pool, (struct stack_options){.guard = STACK_GUARD_MPROTECT, .maps_max = 4});
    for (size_t i = 0; i < 2; i++)
        stacks[i] = take(&pool);
    assert_int_equal(stack_take(&pool, &stacks[2]), WEIR_ENOTSUP);
    stack_give(&pool, stacks[0]);
    assert_ptr_equal(take(&pool), stacks[0]);
    stack_give(&pool, stacks[0]);
    stack_give(&pool, stacks[1]);
    stack_pool_end(&pool);
}

/* -- memory -- */

static void pages_are_touched_only_as_far_as_used(void **state)
{
    struct stack_pool pool;
    struct stack *stack;

    pool_init(&pool, (struct stack_options){.stack_bytes = 64 * 4096});
    stack = take(&pool);
    assert_int_equal(resident_pages(stack), 0);
    assert_int_equal(stack_used_bytes(&pool, stack), 0);
    assert_int_equal(resident_pages(stack), 0);
    stack->high[-200] = 1;
    assert_int_equal(resident_pages(stack), 1);
    assert_in_range(stack_used_bytes(&pool, stack), 200, 207);
    stack->high[-(ptrdiff_t)page_bytes * 3] = 1;
    assert_in_range(stack_used_bytes(&pool, stack), page_bytes * 3, page_bytes * 3 + 7);
    assert_int_equal(resident_pages(stack), 2);
    stack->low[0] = 1;
    assert_int_equal(stack_used_bytes(&pool, stack), stack->high - stack->low);
    assert_int_equal(stats_of(&pool).used_bytes_max, stack->high - stack->low);
    stack_give(&pool, stack);
    stack_pool_end(&pool);
}

static void a_quiet_interval_shrinks_the_pool(void **state)
{
    enum { COUNT = 1000, WARM = 20 };
    static struct stack *stacks[COUNT];
    struct stack_pool pool;
    struct stack_stats stats;
    size_t resident = 0;

    pool_init(&pool, (struct stack_options){.warm_count = WARM});
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = take(&pool);
        memset(stacks[i]->high - 3000, 1, 3000);
    }
    for (int i = 0; i < COUNT; i++)
        stack_give(&pool, stacks[i]);
    /* The first interval still saw the burst. */
    assert_int_equal(stack_pool_shrink(&pool, UINT32_MAX), 0);
    assert_int_equal(stats_of(&pool).warm, COUNT);
    /* In the second one 100 at once were in use; the hottest are kept. */
    for (int i = 0; i < 100; i++)
        stacks[i] = take(&pool);
    for (int i = 99; i >= 0; i--)
        stack_give(&pool, stacks[i]);
    assert_int_equal(stack_pool_shrink(&pool, 50), 50);
    assert_int_equal(stack_pool_shrink(&pool, UINT32_MAX), COUNT - 50 - WARM);
    assert_int_equal(stack_pool_shrink(&pool, UINT32_MAX), 0);
    stats = stats_of(&pool);
    assert_int_equal(stats.warm, WARM);
    assert_int_equal(stats.taken, 0);
    assert_int_equal(stats.released, COUNT - WARM);
    assert_in_range(stats.used_bytes_max, 3000, 3007);
    assert_in_range(stats.total, WARM, COUNT - 1); /* deserted slabs are gone */
    for (uint32_t i = 0; i < stats.total; i++) {
        stacks[i] = take(&pool);
        resident += resident_pages(stacks[i]);
        assert_true(i >= WARM || stacks[i]->high[-1] == 1); /* warm ones first */
        assert_true(i < WARM || stacks[i]->high[-1] == 0);
    }
    assert_in_range(resident, WARM, 2 * WARM + stats.total - WARM);
    for (uint32_t i = 0; i < stats.total; i++)
        stack_give(&pool, stacks[i]);
    stack_pool_end(&pool);
}

/* Takes, gives and shrinks at random, and holds the counters against a plain model. */
static void random_use_keeps_the_books(void **state)
{
    enum { MOST = 600, STEPS = 60000 };
    static struct stack *taken[MOST];
    uint32_t count = 0, random = 12345;
    struct stack_pool pool;

    pool_init(&pool, (struct stack_options){.count_max = MOST, .warm_count = 8});
    for (int step = 0; step < STEPS; step++) {
        uint32_t tide = (uint32_t)step / 4000 % 2, dice;

        random = random * 1664525 + 1013904223;
        dice = random >> 8;
        if (dice % 500 == 0) {
            stack_pool_shrink(&pool, dice / 500 % 100);
        } else if (dice % 5 < 2 + tide && count < MOST) {
            taken[count] = take(&pool);
            memcpy(taken[count]->high - sizeof(void *), &taken[count], sizeof(void *));
            count++;
        } else if (count > 0) {
            uint32_t pick = dice / 8 % count;

            assert_memory_equal(taken[pick]->high - sizeof(void *), &taken[pick], sizeof(void *));
            stack_give(&pool, taken[pick]);
            taken[pick] = taken[--count];
        }
        assert_int_equal(stats_of(&pool).taken, count);
        assert_int_equal(pool.idle_count + count, pool.stats.total);
        assert_true(pool.cold_count <= pool.idle_count && pool.stats.total <= MOST);
    }
    for (uint32_t i = 0; i < pool.idle_count; i++)
        assert_true(pool.idle[i]->warm == (i >= pool.cold_count));
    while (count > 0)
        stack_give(&pool, taken[--count]);
    stack_pool_shrink(&pool, UINT32_MAX);
    stack_pool_shrink(&pool, UINT32_MAX);
    assert_int_equal(stats_of(&pool).warm, 8);
    stack_pool_end(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(stacks_do_not_overlap_and_start_spread),
        cmocka_unit_test(the_last_given_is_the_first_taken),
        cmocka_unit_test(the_limit_refuses_and_recovers),
        cmocka_unit_test(no_address_space_is_an_error),
        cmocka_unit_test(each_guard_catches_an_overflow),
        cmocka_unit_test(a_guard_that_does_not_guard_is_not_trusted),
        cmocka_unit_test(guards_outlive_the_pages),
        cmocka_unit_test(installed_guards_cost_no_map_entries),
        cmocka_unit_test(mprotect_guards_stop_at_their_share),
        cmocka_unit_test(pages_are_touched_only_as_far_as_used),
        cmocka_unit_test(a_quiet_interval_shrinks_the_pool),
        cmocka_unit_test(random_use_keeps_the_books),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
