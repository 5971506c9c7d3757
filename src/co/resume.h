/* Leaving a coroutine and going on with it. Both are part of their callers: a function that is
 * entered on one stack and left on another returns to where the processor's return predictor does
 * not expect it, which costs as much as the switch itself. */
#ifndef WEIR_CO_RESUME_H
#define WEIR_CO_RESUME_H

#include <stdbool.h>
#include <stddef.h>

#include <weir/error.h>

#include "base/list.h"
#include "co/co.h"
#include "co/switch.h"

enum co_state { CO_IDLE, CO_NEW, CO_RUNNING, CO_SUSPENDED };

#define CO_ALIGNMENT 64

/* What lies on the stack is not needed to find it again: a run starts from the top each time. */
struct co {
    struct stack stack; /* first: the stack pool's part of the record */
    switch_context context;
    struct co_pool *pool;
    uint8_t state; /* enum co_state */
    bool listed;   /* in pool->alive: was suspended since its run began, or began by co_start */
    bool waited, firm, at_end;
    struct list node;
    void (*fn)(void *); /* what it runs, for those who look from outside */
    void *arg;
    uint64_t room[CO_ROOM_BYTES / sizeof(uint64_t)];
} __attribute__((aligned(CO_ALIGNMENT)));

struct co_pool {
    switch_context loop; /* where the loop was left while a coroutine runs */
    struct co *spare;    /* the last that finished: its stack is hot */
    const void *thread;  /* &weir__co_current of the owner */
    struct sanitize_flow flow;
    struct list alive;
    uint32_t alive_count, new_count; /* new_count: made, not started yet */
    uint64_t runs_waited;
    void (*on_end)(struct co *co, void *arg);
    void *on_end_arg;
    struct stack_pool stacks;
};

/* Also names the thread by its address. Coroutines never move, so a compiler that keeps the address
 * over a switch is right. */
extern _Thread_local struct co *weir__co_current
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* What is not so with most suspensions, and the end of a run. */
void weir__co_settle_suspended(struct co_pool *pool, struct co *co);
void weir__co_settle_finished(struct co_pool *pool, struct co *co);

/* The coroutine that calls; NULL on the loop's stack. Any thread. */
static inline struct co *co_current(void)
{
    return weir__co_current;
}

/* Back on the loop's stack: who came back suspended has said so, who returned has not. */
static inline __attribute__((always_inline)) int co_settle(struct co_pool *pool, struct co *co)
{
    bool finished = co->state == CO_RUNNING;

    sanitize_leave(&pool->flow, &co->stack.flow, finished);
    weir__co_current = NULL;
    if (finished)
        weir__co_settle_finished(pool, co);
    else if (!co->waited || !co->listed || co->stack.guard == STACK_GUARD_CANARY)
        weir__co_settle_suspended(pool, co);
    return finished;
}

/* Leaves the coroutine that calls, for the loop. Returns what co_resume passes, or at once
 * WEIR_EMISUSE outside of any coroutine. */
static inline __attribute__((always_inline)) intptr_t co_suspend(void)
{
    struct co *co = weir__co_current;

    if (co == NULL)
        return WEIR_EMISUSE;
    co->state = CO_SUSPENDED;
    return (intptr_t)switch_swap(&co->context, &co->pool->loop, NULL);
}

/* Goes on with a suspended coroutine, at once; its co_suspend returns `value`. 1: its function has
 * returned, and `co` is no more; 0: it was suspended again. WEIR_EMISUSE: it is not suspended, or
 * the caller is inside a coroutine or in another thread. */
static inline __attribute__((always_inline)) int co_resume(struct co *co, intptr_t value)
{
    struct co_pool *pool = co->pool;

    if (weir__co_current != NULL || pool->thread != &weir__co_current || co->state != CO_SUSPENDED)
        return WEIR_EMISUSE;
    co->state = CO_RUNNING;
    weir__co_current = co;
    sanitize_enter(&pool->flow, &co->stack.flow);
    switch_swap(&pool->loop, &co->context, (void *)value);
    return co_settle(pool, co);
}

#endif
