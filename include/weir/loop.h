/* A loop: one thread's event loop. It owns its connections, timers and buffers; nothing of it is
 * shared. weir_run makes loops by itself; this header is for programs that embed one, and for what
 * every handler may use: time, timers, posts, signals, foreign descriptors, files. */
#ifndef WEIR_LOOP_H
#define WEIR_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <weir/export.h>

typedef struct weir_loop weir_loop;

/* Time: nanoseconds on the loop's monotonic clock. A deadline is an absolute time. */
typedef uint64_t weir_time;
#define WEIR_US    1000ull
#define WEIR_MS    1000000ull
#define WEIR_S     1000000000ull
#define WEIR_NEVER UINT64_MAX

/* Options of a loop; zero means the default. */
typedef struct weir_loop_options {
    const char *backend;       /* "auto", "uring", "epoll", "poll", "select" */
    const char *features;      /* feature switches, as WEIR_FEATURES: "-multishot_recv,+direct" */
    uint32_t conns_max;        /* connections at most; default 1 048 576 */
    uint64_t memory_max_bytes; /* queues and held input; default a quarter of the machine's or
                                * control group's memory */
    uint32_t posts_max;        /* messages waiting from other threads; default 65 536 */
    uint64_t posts_max_bytes;  /* their bytes; default 64 MiB */
    uint32_t direct_slots;     /* direct descriptors of the ring; default: the process's limit */
    uint32_t receive_block_bytes; /* default: measured, see docs/decisions */
    uint32_t receive_blocks;
    uint32_t stall_ms; /* a handler that holds the loop longer is reported; default 200 */
    uint32_t sharers;  /* loops that share a CPU, and so the default of the receive blocks; default
                        * 1, or with weir_run as many as it makes for each */
    uint32_t stack_bytes;    /* of a coroutine, with its guard: default 64 KiB, or what the first
                              * HTTP server on the loop says; at least 16 KiB, at most 1 GiB */
    uint32_t coroutines_max; /* at once; default 131 072, or as above */
    bool stall_trace; /* a handler that holds the loop longer than stall_ms is told with its stack
                       * while it does: see the guide. Costs a thread that looks twice in
                       * stall_ms, SIGURG, and a system call of the handler's that is
                       * interrupted. WEIR_STALL_TRACE=1 asks for it too */
    bool overflow_report; /* a coroutine that overflows its stack is named on standard error before
                           * SIGSEGV ends the process: a handler for it, where there is none yet,
                           * and an alternate stack for the thread that makes the loop's first
                           * coroutine. weir_run sets it unless .keep_signals */
} weir_loop_options;

/* A timer: caller-owned; zeroed before its first start; stays where it is while started. */
typedef struct weir_timer {
    uint64_t opaque[10];
} weir_timer;
typedef void weir_timer_fn(weir_timer *timer, void *arg);

/* A task for a loop: caller-owned; zeroed before its first post; not touched until it has run. */
typedef struct weir_task {
    uint64_t opaque[4];
} weir_task;
typedef void weir_task_fn(weir_task *task, void *arg);

/* Interest in a descriptor that is not weir's, or in a signal. */
typedef struct weir_watch {
    uint64_t opaque[8];
} weir_watch;
typedef void weir_poll_fn(weir_watch *watch, int events, void *arg);
typedef void weir_signal_fn(weir_watch *watch, int signal_number, void *arg);

WEIR_BEGIN

WEIR_API int weir__loop_new(weir_loop **loop, const weir_loop_options *options, size_t size);

/* Makes a loop. It belongs to the thread that calls weir_loop_turn or weir_loop_run first. 0, or
 * the error that kept the back end from starting (logged with cause and fix). Any thread. */
static inline int weir_loop_new(weir_loop **loop, const weir_loop_options *options)
{
    return weir__loop_new(loop, options, sizeof *options);
}

/* Aborts what is left on the loop, runs the last on_close handlers, frees it. Timers that are still
 * started never fire. Its own thread, outside a turn. NULL is ignored. */
WEIR_API void weir_loop_free(weir_loop *loop);

/* One turn: waits until something happens or `deadline` passes (0: does not wait, WEIR_NEVER: no
 * limit), handles what there is, submits what that made, and returns. Returns 0, or WEIR_ESTOPPED
 * when the loop was stopped, -EOWNERDEAD after fork. Its own thread; not from a handler. */
WEIR_API int weir_loop_turn(weir_loop *loop, weir_time deadline);

/* Turns until weir_loop_stop. Returns 0, or as weir_loop_turn. */
WEIR_API int weir_loop_run(weir_loop *loop);

/* Ends weir_loop_run after the turn in which it arrives. Any thread; async-signal-safe. */
WEIR_API void weir_loop_stop(weir_loop *loop);

/* A descriptor that becomes readable when weir_loop_turn has work, for a host that sleeps in its
 * own poll; then turn with deadline 0. uring and epoll; WEIR_ENOTSUP on the others. The host must
 * not sleep past weir_loop_due, and must turn once after it has called other verbs of the loop. */
WEIR_API int weir_loop_fd(weir_loop *loop);

/* When the loop wants its next turn: now or earlier: at once; WEIR_NEVER: ask its descriptor. */
WEIR_API weir_time weir_loop_due(const weir_loop *loop);

/* Makes a loop the thread's current one between its turns, so that a host may call verbs on it
 * (listen, connect, send, timers), and takes its time anew; NULL: none. Returns the former, to be
 * put back. The loop's thread; turn the loop once afterwards. */
WEIR_API weir_loop *weir_loop_enter(weir_loop *loop);

/* The loop whose handler is running on this thread, or NULL. */
WEIR_API weir_loop *weir_loop_current(void);
/* The loop's number, 1 to 1023. Any thread. */
WEIR_API unsigned weir_loop_id(const weir_loop *loop);
/* The name of its back end. Any thread. */
WEIR_API const char *weir_loop_backend(const weir_loop *loop);

/* In a child after fork: makes the loop usable again, empty (connections stay the parent's). */
WEIR_API int weir_loop_after_fork(weir_loop *loop);

/* The current loop's time, taken once a turn; outside a loop the clock itself. */
WEIR_API weir_time weir_now(void);
/* A deadline `ns` from now; saturates at WEIR_NEVER. */
WEIR_API weir_time weir_after(uint64_t ns);

/* Starts a timer on the current loop; fires once, never before `due`, late by at most a tick of 1
 * ms on an unloaded loop. Starting a started timer moves it. O(1), no allocation. 0, or
 * WEIR_EMISUSE outside a loop. */
WEIR_API int weir_timer_start(weir_timer *timer, weir_time due, weir_timer_fn *fn, void *arg);
/* The same for pacing: late by tens of microseconds at most on an unloaded loop; O(log n). */
WEIR_API int weir_timer_start_precise(weir_timer *timer, weir_time due, weir_timer_fn *fn,
                                      void *arg);
/* Cancels; true when it had been started and will not fire. On its loop. */
WEIR_API bool weir_timer_cancel(weir_timer *timer);

/* Runs fn(task, arg) on the loop, from its next turn on, in the order of posting of each thread.
 * Any thread. 0, WEIR_EFULL (nothing was queued), WEIR_ESTOPPED. */
WEIR_API int weir_post(weir_loop *loop, weir_task *task, weir_task_fn *fn, void *arg);

/* Waits once for events (POLLIN, POLLOUT, … of poll(2)) on a descriptor that is not weir's; fn gets
 * the events, or a negative error. Call again to wait again. On the current loop. */
WEIR_API int weir_poll(weir_watch *watch, int fd, int events, weir_poll_fn *fn, void *arg);
/* Calls fn for each arrival of a signal (several arrivals between two turns are one), on the
 * current loop, until canceled. Takes over the process's disposition of that signal while it is
 * watched. */
WEIR_API int weir_signal(weir_watch *watch, int signal_number, weir_signal_fn *fn, void *arg);
/* Ends a weir_poll or weir_signal; its fn is not called any more. */
WEIR_API void weir_watch_cancel(weir_watch *watch);

WEIR_END
#endif
