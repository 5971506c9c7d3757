/* What coroutines cost, in nanoseconds: the best of several rounds, since the machine is shared.
 *
 *   cmake -B build/bench -DWEIR_BENCH=ON && ninja -C build/bench bench.micro_co
 *   build/bench/bin/bench/micro_co
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "co/co.h"

enum { ROUNDS = 7, RUNS = 2000000, MANY = 10000, CROWD = 100000 };

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

static void add_one(void *arg)
{
    ++*(uint64_t *)arg;
}

static void (*volatile add_one_called)(void *) = add_one;

/* Stays until told otherwise. */
static void stay(void *arg)
{
    *(struct co **)arg = co_current();
    while (co_suspend() == 0)
        ;
}

/* Nanoseconds a step of the best round. */
static void report(const char *what, void (*round)(struct co_pool *, uint64_t), uint64_t steps,
                   struct co_pool *pool)
{
    double best_ns = 1e18;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start_ns = now_ns();
        double ns;

        round(pool, steps);
        ns = (double)(now_ns() - start_ns) / (double)steps;
        if (ns < best_ns)
            best_ns = ns;
    }
    printf("%-58s %8.2f ns\n", what, best_ns);
}

static void call_only(struct co_pool *pool, uint64_t steps)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < steps; i++)
        add_one_called(&count);
    if (count != steps)
        fail("call");
}

static void run_and_return(struct co_pool *pool, uint64_t steps)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < steps; i++)
        if (co_run(pool, add_one_called, &count) != 1)
            fail("co_run");
}

static void resume_and_suspend(struct co_pool *pool, uint64_t steps)
{
    struct co *co;

    if (co_run(pool, stay, &co) != 0)
        fail("co_run");
    for (uint64_t i = 0; i < steps; i++)
        if (co_resume(co, 0) != 0)
            fail("co_resume");
    co_resume(co, 1);
}

static void run_wait_finish(struct co_pool *pool, uint64_t steps)
{
    struct co *co;

    for (uint64_t i = 0; i < steps; i++)
        if (co_run(pool, stay, &co) != 0 || co_resume(co, 1) != 1)
            fail("co_run");
}

static void visit(struct co_pool *pool, uint64_t steps, int count)
{
    static struct co *cos[CROWD];

    for (int i = 0; i < count; i++)
        if (co_run(pool, stay, &cos[i]) != 0)
            fail("co_run");
    for (uint64_t done = 0; done < steps; done += (uint64_t)count)
        for (int i = 0; i < count; i++)
            if (co_resume(cos[i], 0) != 0)
                fail("co_resume");
    for (int i = 0; i < count; i++)
        co_resume(cos[i], 1);
}

static void visit_64(struct co_pool *pool, uint64_t steps)
{
    visit(pool, steps, 64);
}

static void visit_1000(struct co_pool *pool, uint64_t steps)
{
    visit(pool, steps, 1000);
}

static void visit_many(struct co_pool *pool, uint64_t steps)
{
    visit(pool, steps, MANY);
}

static uint64_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL || fscanf(file, "%*u %lu", &pages) != 1)
        fail("/proc/self/statm");
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What a coroutine that waits with a shallow stack keeps in memory, and what a new one costs. */
static void crowd(struct co_pool *pool)
{
    static struct co *cos[CROWD];
    uint64_t before = resident_bytes(), start_ns = now_ns();
    struct co_stats stats;

    for (int i = 0; i < CROWD; i++)
        if (co_run(pool, stay, &cos[i]) != 0)
            fail("co_run");
    printf("%-58s %8.2f ns\n", "first use of a stack (guard and page fault), 100000 of them",
           (double)(now_ns() - start_ns) / CROWD);
    printf("%-58s %8.0f bytes\n", "resident for each of 100000 that wait",
           (double)(resident_bytes() - before) / CROWD);
    co_pool_stats(pool, &stats);
    printf("%-58s %8u + %u + %u\n", "guards: installed, mprotect, canary",
           stats.stacks.guards[STACK_GUARD_INSTALL], stats.stacks.guards[STACK_GUARD_MPROTECT],
           stats.stacks.guards[STACK_GUARD_CANARY]);
    for (int i = 0; i < CROWD; i++)
        co_resume(cos[i], 1);
    co_pool_shrink(pool, UINT32_MAX);
    start_ns = now_ns();
    co_pool_shrink(pool, UINT32_MAX);
    printf("%-58s %8.2f ns\n", "shrinking, each of them", (double)(now_ns() - start_ns) / CROWD);
    printf("%-58s %8.0f bytes\n", "resident more than before, afterwards, in all",
           (double)resident_bytes() - (double)before);
}

int main(void)
{
    struct co_pool *pool;

    if (co_pool_new(NULL, &pool) < 0)
        fail("co_pool_new");
    report("a call through a pointer", call_only, RUNS, pool);
    report("co_run of a function that returns at once", run_and_return, RUNS, pool);
    report("co_resume and co_suspend (two switches)", resume_and_suspend, RUNS, pool);
    report("co_run, wait once, finish (four switches)", run_wait_finish, RUNS, pool);
    report("co_resume and co_suspend, 64 in turn", visit_64, RUNS, pool);
    report("co_resume and co_suspend, 1000 in turn", visit_1000, RUNS, pool);
    report("co_resume and co_suspend, 10000 in turn", visit_many, RUNS, pool);
    if (co_pool_free(pool) < 0 || co_pool_new(NULL, &pool) < 0)
        fail("co_pool_free");
    crowd(pool);
    return co_pool_free(pool) < 0;
}
