/* A queue of coroutines that wait for something that others of their loop will give them. The
 * records lie on the waiters' stacks; zeroed, the queue is empty. Whoever gives takes the first one
 * out, does for it what it waited for, and wakes it with 0: from then on nothing comes between, so
 * that what was given is never lost to a deadline or a cancellation of the same turn. */
#ifndef WEIR_CO_WAITERS_H
#define WEIR_CO_WAITERS_H

#include <weir/error.h>

#include "co/wait.h"

struct waiter {
    struct co_wait wait;
    struct waiter *next, *prev;
    struct co *co;
    uint32_t amount; /* of a semaphore's permits */
    bool writes;     /* of a lock */
    bool queued;
};

struct waiters {
    struct waiter *first, *last;
};

static inline void waiters_add(struct waiters *waiters, struct waiter *waiter)
{
    waiter->co = co_current();
    waiter->next = NULL;
    waiter->prev = waiters->last;
    waiter->queued = true;
    if (waiters->last != NULL)
        waiters->last->next = waiter;
    else
        waiters->first = waiter;
    waiters->last = waiter;
}

static inline void waiters_remove(struct waiters *waiters, struct waiter *waiter)
{
    if (!waiter->queued)
        return;
    waiter->queued = false;
    if (waiter->prev != NULL)
        waiter->prev->next = waiter->next;
    else
        waiters->first = waiter->next;
    if (waiter->next != NULL)
        waiter->next->prev = waiter->prev;
    else
        waiters->last = waiter->prev;
}

/* Takes the first one out and wakes it; NULL: nobody waits. */
static inline struct waiter *waiters_wake(struct waiters *waiters)
{
    struct waiter *first = waiters->first;
    if (first == NULL)
        return NULL;
    waiters_remove(waiters, first);
    co_wake(&first->wait, 0);
    return first;
}

/* Waits in the queue: 0, when somebody has woken it; or an error, and it is in no queue. */
static inline int waiters_wait(struct waiters *waiters, struct waiter *waiter, weir_time deadline)
{
    waiters_add(waiters, waiter);
    int result = co_wait(&waiter->wait, deadline);
    waiters_remove(waiters, waiter);
    return result;
}

/* Whether an object is of the current loop, which it is from its first use on: 0, or as a verb
 * says. `owner`: its loop; NULL: not used yet. */
static inline int sync_mine(weir_loop **owner)
{
    weir_loop *loop = loop_current();
    if (loop == NULL)
        return loop_none();
    if (*owner == NULL)
        *owner = loop;
    return *owner == loop ? 0 : WEIR_EMISUSE;
}

#endif
