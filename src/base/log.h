/* The log sink: the library never prints. Rate-limited by site, any thread. */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include <weir/log.h>
#include <weir/module.h> /* weir__log, which the modules use too */

/* The most talkative level that has a sink; -1: none. Set in log.c only. */
extern atomic_int weir__log_enabled_level;

/* Whether a line of this level would reach the sink: one relaxed load. For whoever has to work for
 * the arguments; weir__log asks by itself. */
static inline bool weir__log_enabled(enum weir_log_level level)
{
    return (int)level <= atomic_load_explicit(&weir__log_enabled_level, memory_order_relaxed);
}

/* Whether anybody has set a sink. Any thread. */
bool weir__log_has_sink(void);

/* One write(2), again when a signal interrupts it, whose SIGPIPE is swallowed, unless one was
 * pending before (K15). As write(2) says; errno too. */
ssize_t weir__write_quietly(int fd, const char *bytes, size_t size);

/* The same for what may come in floods: a site lets through one line a second; the next line says
 * how many were held back. `site` is a static zeroed struct; threads may share it. */
struct log_site {
    _Atomic uint64_t last_ns;
    _Atomic uint32_t held;
};
void weir__log_limited(struct log_site *site, enum weir_log_level level, int code, uint64_t handle,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
