/* Time comes through here only, so that a simulation can own it. */
#ifndef WEIR_BASE_CLOCK_H
#define WEIR_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC. Any thread. */
uint64_t weir__clock_now_ns(void);
/* Nanoseconds since 1970 of CLOCK_REALTIME. Any thread. */
uint64_t weir__clock_wall_ns(void);
/* CPU time of the calling thread, nanoseconds. */
uint64_t weir__clock_thread_cpu_ns(void);
/* Sleeps at least this long (start-up retries only; a loop never sleeps here). */
void weir__clock_sleep_ns(uint64_t ns);

/* Another source of time, for a simulation: all four are given. */
struct clock_source {
    uint64_t (*now_ns)(void *arg);
    uint64_t (*wall_ns)(void *arg);
    uint64_t (*thread_cpu_ns)(void *arg);
    void (*sleep_ns)(uint64_t ns, void *arg);
    void *arg;
};
/* Sets the source (NULL: the system's clocks), which stays the caller's and must live until it is
 * replaced. Any thread, while no other one asks for the time. */
void weir__clock_set_source(const struct clock_source *source);

#endif
