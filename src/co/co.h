/* Coroutines: functions that can be left halfway and gone on with later, on stacks of their own.
 * Bare mechanism; waiting for time or bytes is built on it.
 *
 * A pool belongs to one loop and so to one thread; a coroutine never moves to another. Coroutines
 * are run and resumed from the loop's stack only: from inside one, co_run and co_resume give
 * WEIR_EMISUSE, since no stack is switched inside a verb (K3) and a chain of coroutines that run
 * each other has no bound. Who wants another one run puts it on a list for the loop.
 *
 * A coroutine that was never suspended costs a call on another stack, and its stack serves the next
 * run as it is. errno and the signal mask are not kept over a suspension, by no means. */
#ifndef WEIR_CO_CO_H
#define WEIR_CO_CO_H

#include <stdint.h>

#include "co/stack.h"

struct co;
struct co_pool;

struct co_stats {
    uint32_t alive;       /* coroutines suspended now (and the one that runs, if it ever was) */
    uint64_t runs_waited; /* runs that were suspended at least once */
    size_t stack_bytes;   /* of each, with its guard */
    struct stack_stats stacks; /* `taken` without the one that is kept for the next run */
};

/* Makes a pool for the calling thread; `options` may be NULL. WEIR_EINVALID: see stack_pool_init;
 * WEIR_ENOMEM; WEIR_ENOTSUP: the thread runs on a shadow stack (see switch.h). */
int co_pool_new(const struct stack_options *options, struct co_pool **out);

/* Frees a pool; NULL is allowed. WEIR_EMISUSE, and nothing is freed, while a coroutine of it is
 * suspended or runs: resume each with an error until it finishes (co_next finds them). */
int co_pool_free(struct co_pool *pool);

/* Runs fn(arg) on a coroutine, at once. 1: fn has returned; 0: it was suspended, and whoever kept
 * co_current() will resume it. Negative, and fn was not called: WEIR_EFULL (limit of stacks),
 * WEIR_ENOMEM, WEIR_ENOTSUP (see stack_take), WEIR_EMISUSE (inside a coroutine, or another thread's
 * pool). A pool without suspended coroutines may be taken over by another thread. fn starts with
 * the loop's floating-point control words, and cannot change the loop's. */
int co_run(struct co_pool *pool, void (*fn)(void *arg), void *arg);

/* Takes a stack for a coroutine that is to run fn(arg) later: co_start cannot fail for want of one.
 * May be called inside a coroutine; errors as co_run's. */
int co_new(struct co_pool *pool, void (*fn)(void *arg), void *arg, struct co **out);

/* Runs what co_new made, once, from the loop's stack, and never fails: 1 or 0 as co_run. */
int co_start(struct co *co);

/* Bytes of a coroutine for the floor above, as it left them; its own from co_new or the start of a
 * run to its end. */
enum { CO_ROOM_BYTES = 128 };
void *co_room(struct co *co);
struct co *co_of_room(void *room);

/* Calls `fn` for each coroutine of the pool whose function has returned, on the loop's stack, if it
 * asked for that by co_at_end. */
void co_pool_on_end(struct co_pool *pool, void (*fn)(struct co *co, void *arg), void *arg);
void co_at_end(struct co *co);

/* A firm coroutine waits for something that cannot be called back: resuming it before that has come
 * is of no use. */
void co_firm(struct co *co, bool firm);
bool co_is_firm(const struct co *co);

/* Goes through the suspended coroutines, oldest first: NULL gives the first, and returns NULL after
 * the last. The order and the place are lost when one is resumed. */
struct co *co_next(struct co_pool *pool, struct co *after);

/* Looks how deep the stacks were used of some that wait, and of some that are not used now: at most
 * `budget` of each; the deepest use is in the figures. */
void co_pool_measure(struct co_pool *pool, uint32_t budget);

/* Where a debugger finds what is in a coroutine. */
extern const struct weir__debugger_co co_debugger;

/* The stack of a coroutine, for whoever looks from outside. Any thread, signal handlers too. */
const struct stack *co_stack(const struct co *co);
struct co *co_of_stack(struct stack *stack);

/* How deep the stack was used by this coroutine or by one before it, in bytes. One system call. */
size_t co_used_bytes(struct co *co);

/* See stack_pool_shrink. */
uint32_t co_pool_shrink(struct co_pool *pool, uint32_t budget);

void co_pool_stats(const struct co_pool *pool, struct co_stats *out);

#include "co/resume.h"

#endif
