/* Scopes: coroutines that belong together, and none of which outlives the block that opened them.
 *
 *     weir_scope scope;
 *     struct question questions[2] = {…};
 *     weir_scope_open(&scope, NULL);
 *     for (int i = 0; i < 2; i++)
 *         if (weir_scope_spawn(&scope, ask, &questions[i]) < 0)
 *             weir_scope_cancel(&scope);
 *     int result = weir_scope_leave(&scope, weir_after(2 * WEIR_S));
 *     … 0: both have their answers; otherwise: why not; and none of them runs any more
 *
 * What is spawned may refer to the stack of whoever opened the scope, since leaving it waits. A
 * coroutine that fails (returns a negative number) cancels the scope: its siblings, whatever scopes
 * these have opened, and the one that opened it, whose waits return WEIR_ECANCELED from then on. */
#ifndef WEIR_SCOPE_H
#define WEIR_SCOPE_H

#include <weir/export.h>
#include <weir/loop.h>

/* Caller-owned, most often on the stack; needs no initialization; stays where it is from open to
 * leave or close. */
typedef struct weir_scope {
    uint64_t opaque[36];
} weir_scope;

/* Zero means the default. */
typedef struct weir_scope_options {
    const char *name;        /* for the log; stays valid while the scope is open */
    uint32_t coroutines_max; /* at once; default: as many as the loop bears */
    uint32_t grace_ms;       /* canceled coroutines may clean up for so long, from the cancellation
                              * on; default 1000 */
} weir_scope_options;

/* 0 or more: done; negative: it has failed, and that is why. */
typedef int weir_scope_fn(void *arg);

WEIR_BEGIN

WEIR_API int weir__scope_open(weir_scope *scope, const weir_scope_options *options, size_t size);

/* Opens a scope within the innermost one of the coroutine that calls, which has to leave or close
 * it before it leaves that one, and before it returns. 0; WEIR_EMISUSE: not in a coroutine. */
static inline int weir_scope_open(weir_scope *scope, const weir_scope_options *options)
{
    return weir__scope_open(scope, options, sizeof *options);
}

/* Runs fn(arg) on a coroutine of the scope: soon, never inside this call. Anywhere on the scope's
 * loop, also in event handlers, while the scope is open. 0, and fn will be called, whatever
 * happens; WEIR_ECANCELED: the scope is canceled; WEIR_EFULL, WEIR_ENOMEM: as weir_spawn, or
 * coroutines_max; WEIR_EMISUSE: another loop, or the scope has been left. */
WEIR_API WEIR_MUST_CHECK int weir_scope_spawn(weir_scope *scope, weir_scope_fn *fn, void *arg);

/* Cancels a scope: the waits of its coroutines, of the scopes within it, and of the one that opened
 * it, return WEIR_ECANCELED. Returns at once, and does nothing the second time. Anywhere on the
 * scope's loop. 0; WEIR_EMISUSE: another loop. */
WEIR_API int weir_scope_cancel(weir_scope *scope);

/* Waits until every coroutine of the scope has returned. When the deadline passes before that, or
 * the wait ends otherwise (co.h), they are canceled, and still waited for. In the coroutine that
 * opened it, the innermost scope first. 0: all went well; or what ended it first: the error that a
 * coroutine returned, WEIR_ETIMEDOUT, WEIR_EGONE, WEIR_ECANCELED. It tells that once; afterwards
 * the scope is no more. WEIR_EMISUSE: not its turn, and nothing was done. */
WEIR_API WEIR_MUST_CHECK int weir_scope_leave(weir_scope *scope, weir_time deadline);

/* Cancels and leaves: as weir_scope_leave, and WEIR_ECANCELED where nothing else had ended it. */
WEIR_API int weir_scope_close(weir_scope *scope);

/* From here on the waits of this coroutine are not cut short by the cancellation of its scope, nor
 * refused after it, until the scope's grace has passed: for what has to be done before it goes.
 * Counts. 0; WEIR_ECANCELED: the grace has passed, or the loop ends, and waits are refused all the
 * same; weir_grace_end is owed in both cases. WEIR_EMISUSE: not in a coroutine. */
WEIR_API int weir_grace_begin(void);
/* The reverse. 0; WEIR_EMISUSE: there was no weir_grace_begin. */
WEIR_API int weir_grace_end(void);

WEIR_END
#endif
