/* The log sink: the library never prints. Rate-limited by site, any thread. */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include <weir/log.h>

/* Sends one line to the sink when `level` is enabled; `code` is the error behind it (or 0), `handle`
 * the connection (or 0). At most 1 KiB of text. */
void weir__log(enum weir_log_level level, int code, uint64_t handle, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same for what may come in floods: a site lets through one line a second; the next line says
 * how many were held back. `site` is a static zeroed struct. */
struct log_site {
    uint64_t last_ns;
    uint32_t held;
};
void weir__log_limited(struct log_site *site, enum weir_log_level level, int code, uint64_t handle,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
