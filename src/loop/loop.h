/* The inside of a loop. The floors above register themselves as owners of tokens and are handed the
 * events of their operations; the loop knows neither connections nor listeners. */
#ifndef WEIR_LOOP_LOOP_H
#define WEIR_LOOP_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <weir/loop.h>

#include "base/list.h"
#include "base/memory.h"
#include "base/mpsc.h"
#include "base/slab.h"
#include "base/wheel.h"
#include "io/io.h"
#include "loop/stall.h"

/* Who a token or a wheel node belongs to. */
enum loop_owner {
    LOOP_OWNER_OP = 1,
    LOOP_OWNER_CONN,
    LOOP_OWNER_LISTENER,
    LOOP_OWNER_DGRAM,
    LOOP_OWNERS
};

enum { LOOP_ID_MAX = 1023 };

/* A task made ready by a handler: run after the handlers of the connection that woke it. */
struct loop_ready {
    struct list link; /* zeroed or list_init: not queued */
    void (*run)(weir_loop *loop, struct loop_ready *ready);
};

struct loop_counters {
    uint64_t turns, handled_ns, waited_ns;
    uint64_t posts, timers_fired, stalls;
    _Atomic uint64_t posts_refused; /* counted by those who posted */
    uint64_t timer_slip_max_ns;
};

/* What a floor above gives the loop for its tokens. */
struct loop_hooks {
    /* One event of an operation with a token of this owner. */
    void (*event)(weir_loop *loop, const struct io_event *event);
    /* A wheel node of this owner fired. */
    void (*timer)(weir_loop *loop, struct wheel_node *node);
    /* The descriptor record that a token names; NULL when stale. */
    struct io_fd *(*find)(weir_loop *loop, uint64_t token);
};

struct net;         /* what net/ keeps for each loop */
struct co_pool;     /* and co/ */
struct http_shared; /* and app/http/ */
struct weir_loop_stats;

struct weir_loop {
    struct io *io;
    const struct io_ops *living_ops; /* of an orphan: what its back end really has */
    uint64_t now_ns;
    uint32_t now_ms; /* of the loop's clock, wraps */
    uint32_t id;
    uint32_t generation; /* where the records of connections and listeners begin to count */
    uint64_t epoch_ns;   /* now_ms counts from here */
    struct loop_hooks hooks[LOOP_OWNERS];
    struct wheel wheel;
    struct list ready;                    /* struct loop_ready */
    struct list later;                    /* those that become ready in the next turn */
    struct memory memory;                 /* chunks of output queues and held input */
    struct net *net;                      /* NULL until something listens or connects */
    void (*net_turn)(weir_loop *loop);    /* flushes and deferred work of net/, once a turn */
    void (*net_stop)(weir_loop *loop);    /* ends everything of net/; for weir_loop_free */
    bool (*net_busy)(weir_loop *loop);    /* has deferred work: do not sleep */
    void (*net_forked)(weir_loop *loop);  /* in the child: closes descriptors, forgets the rest */
    void (*net_cancels)(weir_loop *loop); /* asks again for cancels that found no room */
    struct http_shared *http;             /* NULL until something is served */
    struct co_pool *coroutines;           /* NULL until one is needed */
    void (*coroutines_stop)(weir_loop *loop);
    bool (*coroutines_trim)(weir_loop *loop); /* true while there is more to give back */
    bool coroutines_ending;                   /* every wait is canceled */
    void (*coroutines_stats)(weir_loop *loop, struct weir_loop_stats *out);
    struct slab ops;                  /* struct loop_op */
    struct loop_pending *timers_root; /* precise timers: a pairing heap */
    struct list signals;              /* struct weir_watch of weir_signal */
    _Atomic uint64_t signals_pending;
    struct mpsc posts;
    _Atomic bool stopping;
    bool in_turn;
    bool cancels_owed;  /* the back end had no room to be asked: again in a millisecond */
    bool embedded;      /* a host sleeps for it: weir_loop_fd */
    uint32_t fork_mark; /* as it was when the loop was made */
    uint64_t turn_handled_from_ns, turn_ended_ns;
    struct stall stall;
    /* The window that decides on .busy began here; in the last one it waited for less than a tenth
     * of the time. */
    uint64_t busy_from_ns, busy_from_waited_ns;
    bool busy;
    uint32_t waits_asked_ms, late_from_ms; /* see conn_overdue */
    _Atomic uintptr_t owner; /* pthread_self() of the thread that turns it; 0: nobody yet */
    weir_loop_options options;
    struct loop_counters counters;
    const char *backend_why; /* why it has this back end; static text */
    struct io_pool *pool;
    weir_loop *next_abandoned; /* see loop_abandon */
    _Atomic uint32_t load; /* connections, for the acceptor; written by the loop, read by others */
};

/* The loop of this thread's running handler; set around each turn. */
extern __thread weir_loop *weir__current __attribute__((tls_model("initial-exec")));

static inline weir_loop *loop_current(void)
{
    return weir__current;
}

/* Whether another thread than this one turns it. Any thread. */
static inline bool loop_foreign(const weir_loop *loop)
{
    uintptr_t owner = atomic_load_explicit(&loop->owner, memory_order_relaxed);
    return owner != 0 && owner != (uintptr_t)pthread_self();
}

/* Sets the current loop and returns the former one: for verbs called between turns. */
static inline weir_loop *loop_enter(weir_loop *loop)
{
    weir_loop *former = weir__current;
    weir__current = loop;
    return former;
}

/* Milliseconds from now until a time, for the wheel: rounded up, so that nothing is early. */
uint32_t loop_due_ms(const weir_loop *loop, weir_time due);

/* The loop with this id while it exists. loop_pin keeps it from being freed until loop_unpin. NULL:
 * gone. Any thread. */
weir_loop *loop_pin(uint32_t id);
void loop_unpin(uint32_t id);
/* Counts forks of this process on the child's side: a loop of another mark is the parent's. */
uint32_t loop_fork_mark(void);
static inline bool loop_is_orphan(const weir_loop *loop) /* fork was called within its turn */
{
    return loop->fork_mark != loop_fork_mark();
}
/* What a verb says that finds no current loop: WEIR_EMISUSE, or -EOWNERDEAD on a thread of a child
 * whose loop is the parent's. */
int loop_none(void);
/* fork.c: in a child, the loop refuses from now on; and it drops all that is the parent's. */
void loop_orphan(weir_loop *loop);
void loop_forget(weir_loop *loop);
/* The table of loops, by id: table.c's, and read by debuggers. */
struct loop_entry {
    _Atomic(weir_loop *) loop;
    _Atomic uint32_t pins;
    _Atomic bool taken;  /* by a loop, to the very end of it */
    uint32_t generation; /* where its records begin to count; touched by whoever has taken it */
};
extern struct loop_entry loop_table[LOOP_ID_MAX + 1];
int loop_table_add(weir_loop *loop); /* sets loop->id */
/* Other threads find it no more; its handles stay its own until the release. */
void loop_table_remove(weir_loop *loop);
void loop_table_release(weir_loop *loop);

/* Queues a node of a floor above from any thread (see mpsc_push). 0 or WEIR_EFULL. The node begins
 * with struct loop_mail. */
struct loop_mail {
    struct mpsc_node node;
    void (*run)(weir_loop *loop, struct loop_mail *mail);
};
int loop_mail_send(weir_loop *loop, struct loop_mail *mail, uint64_t bytes, bool reserved);
/* weir_post; `reserved`: never refused. */
int loop_post(weir_loop *loop, weir_task *task, weir_task_fn *fn, void *arg, bool reserved);
/* Runs what was posted; at most as many as were there at the start. */
void loop_mail_run(weir_loop *loop);

/* File operations and blocking calls off the loop. */
struct loop_file;
typedef void loop_file_fn(weir_loop *loop, int result, void *arg);
/* Starts; fn(result) on the loop when done. The io_file is copied; its pointers stay valid until
 * fn. 0 or negative. `token` may be NULL. */
int loop_file_start(weir_loop *loop, const struct io_file *file, loop_file_fn *fn, void *arg,
                    uint64_t *token);
/* The result is not wanted any more: what has not begun is not done. fn is called all the same,
 * later, with -ECANCELED or what came before that. */
void loop_file_cancel(weir_loop *loop, uint64_t token);

/* One-shot poll by the loop itself (net's waiting for writability of odd things). */
struct loop_op {
    struct slab_head head;
    struct io_fd fd;
    uint32_t kind; /* enum io_op: POLL or FILE */
    uint32_t slot;
    bool canceled, cancel_asked; /* nobody wants it any more; and the back end knows */
    bool in_flight;
    void *arg;
    union {
        weir_watch *watch;
        loop_file_fn *file_done;
    };
    struct io_file file;
};

int loop_io_open(weir_loop *loop);
void loop_io_close(weir_loop *loop);
int loop_ops_init(weir_loop *loop);
void loop_ops_end(weir_loop *loop);
/* Cancels the polls that nobody has: their watches see nothing more. */
void loop_ops_abandon(weir_loop *loop);
/* Asks again for what the back end had no room for. */
void loop_cancels_run(weir_loop *loop);
/* Asks for the end of every file operation. */
void loop_files_cancel(weir_loop *loop);
/* weir_loop_free, which says what came of it: WEIR_ETIMEDOUT when something did not end in time; it
 * was logged, and the loop is leaked with all that may still be written to. */
int loop_free(weir_loop *loop);
void loop_timers_init(weir_loop *loop);
/* Every started timer is as if it never was. */
void loop_timers_forget(weir_loop *loop);
/* Runs due timers. */
void loop_timers_run(weir_loop *loop);
/* When the next timer is due, for sleeping; WEIR_NEVER: none. */
weir_time loop_timers_due(const weir_loop *loop);
/* Takes a signal over for a loop, and gives it back when its last watcher leaves. */
int loop_signal_watch(weir_loop *loop, int number);
void loop_signal_unwatch(weir_loop *loop, int number);
void loop_signals_forked(void);
void loop_signals_run(weir_loop *loop);
void loop_signals_end(weir_loop *loop);

/* Runs ready tasks until there are none, or some thousand have run. */
void loop_ready_run(weir_loop *loop);
static inline void loop_ready_add(weir_loop *loop, struct loop_ready *ready)
{
    if (ready->link.next == NULL || list_empty(&ready->link)) {
        list_init(&ready->link);
        list_push(&loop->ready, &ready->link);
    }
}

static inline void loop_later_add(weir_loop *loop, struct loop_ready *ready)
{
    list_init(&ready->link);
    list_push(&loop->later, &ready->link);
}

#endif
