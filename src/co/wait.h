/* Waiting in a coroutine, for whatever somebody else will tell: the one thing under every verb that
 * waits. The record lies on the waiter's stack. Who wakes it never runs it at once: it goes on when
 * the loop runs what is ready, so that no stack is switched inside a verb (K3). */
#ifndef WEIR_CO_WAIT_H
#define WEIR_CO_WAIT_H

#include "co/loop_co.h"

struct co_wait {
    struct loop_ready ready;
    struct co *co;    /* NULL: nobody waits */
    weir_timer timer; /* of the deadline */
    int result;
    bool woken; /* its result is fixed */
};

/* Whether the caller may wait now: 0, or WEIR_EMISUSE (-EOWNERDEAD) outside of a loop's coroutine,
 * WEIR_ECANCELED when every wait is canceled, on the loop or in the caller's scope. */
int co_wait_possible(void);

/* Waits; `wait` is zeroed, or was waited on before. Returns what co_wake passes; WEIR_ETIMEDOUT;
 * what co_wait_possible says; or what somebody resumed the coroutine with who knows nothing of this
 * wait (WEIR_EGONE, WEIR_ECANCELED). With any but co_wake's the caller has to make sure that nobody
 * knows of `wait` any more; and when it then finds that all is done and returns that instead, it
 * calls co_owe with what it has not passed on. */
int co_wait(struct co_wait *wait, weir_time deadline);

/* Waits for co_wake and nothing else: for what cannot be called back. In a coroutine. */
int co_wait_firm(struct co_wait *wait);

/* Waits for the next turn of the loop: 0. */
int co_wait_turn(void);

/* Fixes the result of a wait, once: the first one counts. On the loop's thread, anywhere. */
void co_wake(struct co_wait *wait, int result);

#endif
