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

#endif
