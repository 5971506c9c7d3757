/* Telling whose stack has overflowed, before the process ends by SIGSEGV. */
#ifndef WEIR_CO_OVERFLOW_H
#define WEIR_CO_OVERFLOW_H

#include "co/loop_co.h"

/* From here on an overflow of a coroutine on this thread is told on standard error: SIGSEGV gets a
 * handler if the process has none for it, and the thread an alternate stack if it has none, and
 * takes the signal. Counts. Where that is not to be had (no memory, somebody else's handler) the
 * process just ends. */
void overflow_watch(weir_loop *loop);
/* The reverse, on the same thread. */
void overflow_unwatch(weir_loop *loop);

#endif
