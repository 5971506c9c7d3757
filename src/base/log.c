#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum { TEXT_BYTES = 1025, HELD_BYTES = 40 }; /* with the NUL; room for " (… more held back)" */

#define SITE_PAUSE_NS 1000000000ull

atomic_int weir__log_enabled_level = -1;

/* Held for reading while the sink runs, so that weir_log_set returns only when the old sink is used
 * no more. Writers go first, or a flood of lines would keep them out for ever. */
static pthread_rwlock_t lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static weir_log_fn *current_sink;
static void *current_arg;
static enum weir_log_level wanted_level = WEIR_LOG_OFF;

/* A sink that logs would wait for itself: such a line is dropped. */
static _Thread_local bool in_sink;

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* A fork while another thread is in the sink would leave the child a lock that nobody opens: so it
 * is taken for the fork. The child gets a new one, because the old one still counts the threads
 * that wait for it and do not exist there. */
static void before_fork(void)
{
    pthread_rwlock_wrlock(&lock);
}

static void after_fork_in_parent(void)
{
    pthread_rwlock_unlock(&lock);
}

static void after_fork_in_child(void)
{
    static const pthread_rwlock_t fresh = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
    memcpy(&lock, &fresh, sizeof(lock));
}

static void handle_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* With the lock held for writing. */
static void enable(void)
{
    int level = (int)wanted_level;
    if (current_sink == NULL || wanted_level >= WEIR_LOG_OFF)
        level = -1;
    atomic_store_explicit(&weir__log_enabled_level, level, memory_order_relaxed);
}

bool weir__log_has_sink(void)
{
    pthread_rwlock_rdlock(&lock);
    bool has = current_sink != NULL;
    pthread_rwlock_unlock(&lock);
    return has;
}

void weir_log_set(weir_log_fn *sink, void *arg, enum weir_log_level level)
{
    pthread_once(&fork_once, handle_forks);
    pthread_rwlock_wrlock(&lock);
    current_sink = sink;
    current_arg = arg;
    wanted_level = level;
    enable();
    pthread_rwlock_unlock(&lock);
}

void weir_log_set_level(enum weir_log_level level)
{
    pthread_rwlock_wrlock(&lock);
    wanted_level = level;
    enable();
    pthread_rwlock_unlock(&lock);
}

enum weir_log_level weir_log_level_now(void)
{
    pthread_rwlock_rdlock(&lock);
    enum weir_log_level level = wanted_level;
    pthread_rwlock_unlock(&lock);
    return level;
}

const char *weir_log_level_name(enum weir_log_level level)
{
    switch (level) {
    case WEIR_LOG_ERROR:
        return "error";
    case WEIR_LOG_WARN:
        return "warn";
    case WEIR_LOG_INFO:
        return "info";
    case WEIR_LOG_DEBUG:
        return "debug";
    case WEIR_LOG_OFF:
        return "off";
    }
    return "unknown";
}

static __attribute__((format(printf, 5, 0))) void emit(enum weir_log_level level, int code,
                                                       uint64_t handle, uint32_t held,
                                                       const char *format, va_list args)
{
    if (in_sink)
        return;
    char text[TEXT_BYTES];
    size_t room = sizeof(text) - (held != 0 ? HELD_BYTES : 0);
    int size = vsnprintf(text, room, format, args);
    if (size < 0)
        size = snprintf(text, room, "(a log line that could not be formatted)");
    size_t end = (size_t)size;
    if (end >= room) {
        end = room - 1;
        memcpy(text + end - 3, "...", 3);
    }
    if (held != 0)
        snprintf(text + end, HELD_BYTES, " (%u more held back)", held);

    weir_log_line line = {.level = level, .code = code, .handle = handle, .text = text};
    pthread_rwlock_rdlock(&lock);
    if (current_sink != NULL && level <= wanted_level) {
        in_sink = true;
        current_sink(&line, current_arg);
        in_sink = false;
    }
    pthread_rwlock_unlock(&lock);
}

void weir__log(enum weir_log_level level, int code, uint64_t handle, const char *format, ...)
{
    if (!weir__log_enabled(level))
        return;
    va_list args;
    va_start(args, format);
    emit(level, code, handle, 0, format, args);
    va_end(args);
}

/* Whether the site may speak now; counts the line as held back when not. */
static bool site_may_speak(struct log_site *site)
{
    uint64_t now_ns = weir__clock_now_ns();
    if (now_ns == 0)
        now_ns = 1; /* 0 says that the site never spoke */
    uint64_t last_ns = atomic_load_explicit(&site->last_ns, memory_order_relaxed);
    if (last_ns == 0 || now_ns - last_ns >= SITE_PAUSE_NS)
        if (atomic_compare_exchange_strong_explicit(&site->last_ns, &last_ns, now_ns,
                                                    memory_order_relaxed, memory_order_relaxed))
            return true;
    /* Too early, or another thread was just let through. */
    atomic_fetch_add_explicit(&site->held, 1, memory_order_relaxed);
    return false;
}

void weir__log_limited(struct log_site *site, enum weir_log_level level, int code, uint64_t handle,
                       const char *format, ...)
{
    if (!weir__log_enabled(level) || !site_may_speak(site))
        return;
    uint32_t held = atomic_exchange_explicit(&site->held, 0, memory_order_relaxed);
    va_list args;
    va_start(args, format);
    emit(level, code, handle, held, format, args);
    va_end(args);
}
