/* The coroutines of a loop: one pool, made when first needed, ended with the loop. */
#ifndef WEIR_CO_LOOP_CO_H
#define WEIR_CO_LOOP_CO_H

#include <weir/co.h>
#include <weir/scope.h>

#include "co/co.h"
#include "loop/loop.h"

struct co_held;
struct scope;

/* The loop's pool, made with these sizes when it does not exist yet. NULL: out of memory, or no
 * coroutines on this thread. */
struct co_pool *co_pool_of(weir_loop *loop, const struct stack_options *options);
/* Ends every wait on this loop with WEIR_ECANCELED until no coroutine is left (those that go on
 * waiting are answered at once; the firm ones get some time). On the loop's stack. */
void co_cancel_all(weir_loop *loop);
/* Ends the waits of all that are not firm, which may be what a firm one waits for: of a loop that
 * ends; of another one none. On the loop's stack. */
void co_cancel_loose(weir_loop *loop);
/* Lets the operations of a loop that ends go on for some milliseconds: for firm coroutines. */
void co_pump(weir_loop *loop);

/* What lies in a coroutine's room. */
struct co_local {
    struct loop_ready start; /* one that was spawned; later: tells it that its scope is canceled */
    struct list given;       /* connections from which it received last; zeroed: none */
    struct co_left *left;    /* memory of views whose connection is gone */
    struct scope *scope;     /* the innermost that it is in; NULL: none */
    struct list member;      /* in the list of the scope into which it was spawned */
    weir_scope_fn *fn;       /* what it runs, if it was spawned into a scope */
    void *arg;
    struct co_held *held; /* locks that are its own */
    uint32_t tellings;    /* how often co_tell was called for it */
    int told;             /* what its next wait returns at once; 0: nothing */
    int result;           /* of fn */
    uint32_t graces;      /* weir_grace_begin without its end */
    void (*code)(void);   /* the program's function, for those who look from outside */
};
_Static_assert(sizeof(struct co_local) <= CO_ROOM_BYTES, "co_local is too large");

/* Memory for received bytes: its first bytes are this. */
struct co_left {
    struct co_left *next;
    size_t room;
};

static inline struct co_local *co_local(struct co *co)
{
    return co_room(co);
}
/* Cuts the wait of a suspended coroutine short with an error: now, or the next one when this one is
 * firm. On the loop's stack. */
void co_tell(struct co *co, int error);
/* The wait of the coroutine that calls ended with `error`, and its verb returns something else: if
 * that is what is told but once (WEIR_EGONE), the next wait returns it. */
void co_owe(int error);
/* Whether the waits of a coroutine are refused because of its scope. */
bool co_canceled(struct co *co);
/* weir_spawn, which tells what it made. Its room is set, and may be filled further. */
int co_spawn(weir_co_fn *fn, void *arg, struct co **out);
/* Says what a coroutine has done wrong that cannot be answered by an error any more; debug builds
 * stop there. */
void co_misused(const char *what);
/* Gives memory (as memory_take gave it) to a coroutine: it goes back when that receives again, or
 * ends. */
void co_leave(struct co *co, struct co_left *left);
void co_left_drop(weir_loop *loop, struct co *co);

#endif
