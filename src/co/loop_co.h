/* The coroutines of a loop: one pool, made when first needed, ended with the loop. */
#ifndef WEIR_CO_LOOP_CO_H
#define WEIR_CO_LOOP_CO_H

#include "co/co.h"
#include "loop/loop.h"

/* The loop's pool, made with these sizes when it does not exist yet. NULL: out of memory. */
struct co_pool *co_pool_of(weir_loop *loop, const struct stack_options *options);
/* Ends every wait on this loop with WEIR_ECANCELED until no coroutine is left (those that go on
 * waiting are answered at once). On the loop's stack. */
void co_cancel_all(weir_loop *loop);

#endif
