#include "base/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include <weir/module.h>

enum { NS_PER_S = 1000000000 };

static _Atomic(const struct clock_source *) simulated;

static const struct clock_source *source_now(void)
{
    return atomic_load_explicit(&simulated, memory_order_acquire);
}

void weir__clock_set_source(const struct clock_source *source)
{
    atomic_store_explicit(&simulated, source, memory_order_release);
}

static uint64_t system_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now); /* these three clocks always exist */
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t weir__clock_now_ns(void)
{
    const struct clock_source *source = source_now();
    if (__builtin_expect(source != NULL, 0))
        return source->now_ns(source->arg);
    return system_ns(CLOCK_MONOTONIC);
}

uint64_t weir__time_ns(void)
{
    return weir__clock_now_ns();
}

uint64_t weir__clock_wall_ns(void)
{
    const struct clock_source *source = source_now();
    if (__builtin_expect(source != NULL, 0))
        return source->wall_ns(source->arg);
    return system_ns(CLOCK_REALTIME);
}

uint64_t weir__clock_thread_cpu_ns(void)
{
    const struct clock_source *source = source_now();
    if (__builtin_expect(source != NULL, 0))
        return source->thread_cpu_ns(source->arg);
    return system_ns(CLOCK_THREAD_CPUTIME_ID);
}

void weir__clock_sleep_ns(uint64_t ns)
{
    const struct clock_source *source = source_now();
    if (__builtin_expect(source != NULL, 0)) {
        source->sleep_ns(ns, source->arg);
        return;
    }
    /* To an absolute time, so that signals which interrupt the sleep do not make it longer. */
    uint64_t end_ns = system_ns(CLOCK_MONOTONIC) + ns;
    struct timespec end = {.tv_sec = (time_t)(end_ns / NS_PER_S),
                           .tv_nsec = (long)(end_ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
        continue;
}
