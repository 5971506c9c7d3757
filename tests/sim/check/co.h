/* The checkers of straight-line code: a model of scopes, channels and locks, kept beside a program
 * from what its coroutines ask for and are answered. Every coroutine of a checked loop has a
 * check_co, and waits through the functions below.
 *
 *     C1  a wait returns once, not before its time, and one coroutine runs at a time
 *     C2  nobody waits for what is there (no wake-up is lost), and nobody overtakes
 *     C3  a cancellation reaches every wait in its scope, and none outside; a grace puts it off
 *     C4  leaving a scope waits for all that is in it, and nothing outlives its loop
 *
 * All of it belongs to one loop's thread. */
#ifndef WEIR_TESTS_SIM_CHECK_CO_H
#define WEIR_TESTS_SIM_CHECK_CO_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/weir.h>

#include "sim/sim.h"

enum { CHECK_CASES = 4 };

struct check_co;

struct check_scope {
    weir_scope scope;
    struct check_scope *outer;
    weir_time opened_at;
    weir_time canceled_at; /* by a call, or a failure; 0: it is not */
    weir_time leave_until; /* 0: nobody leaves it yet */
    weir_time expired_at;  /* when a turn has seen that this had passed */
    uint64_t grace_ns;
    int error;         /* of the coroutine that failed first; 0: none */
    unsigned children; /* coroutines that were spawned and have not returned */
};

struct check_chan { /* of one loop */
    weir_chan *chan;
    uint32_t capacity;
    bool closed;
};

/* A mutex (one permit), or a semaphore. */
struct check_permits {
    weir_mutex mutex;
    weir_semaphore semaphore;
    bool is_mutex;
    uint32_t free; /* that nobody has, nor was given */
    uint64_t ticket;
};

struct check_cos { /* of one loop */
    struct check_co *first;
    struct check_co *running;
    bool ending;
};

struct check_co { /* lies on its coroutine's stack */
    struct check_cos *cos;
    struct check_co *next, *prev;
    struct check_scope *scope, *member_of;
    unsigned graces;
    const char *verb; /* what it waits for; NULL: it runs */
    weir_time deadline;
    bool canceled_before; /* when the wait began */
    unsigned turns;       /* that it has waited in vain for something that is there */
    struct check_scope *leaving;
    struct check_permits *permits;
    uint32_t amount;
    uint64_t ticket;
    bool granted; /* it has them, and will see */
    struct {
        const struct check_chan *chan;
        int verb;
    } cases[CHECK_CASES];
    unsigned case_count;
};

/* Before each sleep of the loop, by sim_host_each_turn. */
void check_cos_turn(struct check_cos *cos);
/* After weir_loop_free. */
void check_cos_end(const struct check_cos *cos);

/* At the begin and the end of a coroutine; `scope`: into which it was spawned, or NULL. The end
 * takes and gives what it returns. */
void check_co_begin(struct check_co *co, struct check_cos *cos, struct check_scope *scope);
int check_co_end(struct check_co *co, int result);

int check_co_sleep(struct check_co *co, weir_time until);
int check_co_yield(struct check_co *co);

void check_scope_open(struct check_co *co, struct check_scope *scope, uint32_t grace_ms);
int check_scope_spawn(struct check_co *co, struct check_scope *scope, weir_scope_fn *fn, void *arg);
void check_scope_cancel(struct check_co *co, struct check_scope *scope);
int check_scope_leave(struct check_co *co, struct check_scope *scope, weir_time deadline);
int check_grace_begin(struct check_co *co);
void check_grace_end(struct check_co *co);

int check_chan_send(struct check_co *co, const struct check_chan *chan, uint64_t item,
                    weir_time deadline);
int check_chan_recv(struct check_co *co, const struct check_chan *chan, uint64_t *item,
                    weir_time deadline);
/* `chans`: of each case. */
int check_select(struct check_co *co, weir_case *cases, const struct check_chan *const *chans,
                 unsigned count, weir_time deadline);
void check_chan_close(struct check_chan *chan);

int check_take(struct check_co *co, struct check_permits *permits, uint32_t amount,
               weir_time deadline);
void check_give(struct check_co *co, struct check_permits *permits, uint32_t amount);

/* Around any other wait: what it waits for, and what that said, which is given back. */
void check_wait_begin(struct check_co *co, const char *verb, weir_time deadline);
int check_wait_end(struct check_co *co, int result);

#endif
