/* The log: one sink for the process. The library never prints by itself; weir_run and the command
 * set a sink that writes to standard error. */
#ifndef WEIR_LOG_H
#define WEIR_LOG_H

#include <stdint.h>

#include <weir/export.h>

enum weir_log_level { WEIR_LOG_ERROR, WEIR_LOG_WARN, WEIR_LOG_INFO, WEIR_LOG_DEBUG, WEIR_LOG_OFF };

typedef struct weir_log_line {
    enum weir_log_level level;
    int code;         /* the error behind it, or 0 */
    uint64_t handle;  /* the connection's id, or 0 */
    const char *text; /* no newline; valid during the call */
} weir_log_line;

typedef void weir_log_fn(const weir_log_line *line, void *arg);

WEIR_BEGIN

/* Sets the sink (NULL: none) and the most talkative level that reaches it. Any thread, best before
 * the first loop; the sink must not call weir and may be called from several threads at once. */
WEIR_API void weir_log_set(weir_log_fn *sink, void *arg, enum weir_log_level level);
/* Changes the level alone. Any thread. */
WEIR_API void weir_log_set_level(enum weir_log_level level);
WEIR_API enum weir_log_level weir_log_level_now(void);
/* A sink that writes "time level text" lines to a descriptor given as (void *)(intptr_t)fd. */
WEIR_API void weir_log_to_fd(const weir_log_line *line, void *fd);
/* "error", "warn", … */
WEIR_API const char *weir_log_level_name(enum weir_log_level level);

WEIR_END
#endif
