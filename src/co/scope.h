/* Scopes from inside: who is in which, and how a cancellation gets to all of them. A scope lies in
 * the caller's memory; the scopes of a loop are a tree, each within the one that was innermost in
 * the coroutine that opened it. */
#ifndef WEIR_CO_SCOPE_H
#define WEIR_CO_SCOPE_H

#include "co/wait.h"

struct scope {           /* lies in weir_scope */
    struct list members; /* struct co_local.member: what was spawned into it and runs */
    struct list inner;   /* struct scope.link: those that were opened within it */
    struct list link;    /* in the outer one's list */
    struct scope *outer; /* NULL: none */
    struct co *owner;    /* that has opened it; NULL: it was left */
    weir_loop *loop;
    struct co_wait *leaving; /* the owner waits for the last member */
    const char *name;
    weir_timer timer; /* of the grace */
    uint64_t grace_ns;
    weir_time grace_until; /* once it is canceled */
    uint32_t count, count_max;
    int error; /* what ended it first */
    bool canceled;
    bool grace_over; /* no member may wait for anything any more */
};
_Static_assert(sizeof(struct scope) <= sizeof(weir_scope), "weir_scope is too small");

/* A coroutine has returned that is in a scope: as a member, or because it did not leave one that it
 * had opened. On the loop's stack, while that coroutine's stack is still as it was. */
void scopes_forget(struct co *co);

/* Ends the grace of those scopes that a coroutine has opened and not left, and cancels them: it has
 * to go, and no time passes for them any more. On the loop's stack. */
void scopes_hasten(struct co *co);

#endif
