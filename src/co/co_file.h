/* Waiting for a file operation: the coroutine that asks goes on when it is done, the loop
 * meanwhile. */
#ifndef WEIR_CO_CO_FILE_H
#define WEIR_CO_CO_FILE_H

#include <stdbool.h>

#include "co/loop_co.h"

/* One operation at a time, and everything that the kernel or a worker may touch until it is over: a
 * waiter can be sent away, the operation cannot be called back. So this lies in memory that does
 * not belong to the coroutine's stack, at the head of what holds the path and the buffers too. */
struct co_file {
    struct io_file io; /* what to do: the caller fills it before each wait */
    /* Called when the operation is over whose waiter was sent away: frees the memory, closes what
     * was opened (`result` of an open). The loop may have no net any more. */
    void (*drop)(struct co_file *file, int result);
    struct co *waiter; /* the verb's own: NULL when nobody waits */
    uint64_t token;
    int result;
    bool done;
};

/* Does file->io and gives its result: a count, a descriptor, 0, or a negative error; such as
 * WEIR_EFULL when too many wait for a worker, and then nothing was done. WEIR_ECANCELED: the
 * waiter was sent away, since the loop ends, its scope is canceled or its client is gone (whatever
 * it was resumed with); the file is not the caller's any more, drop has it or will get it, and what
 * had not begun is not done. (A call's own function must not return this one.) WEIR_EMISUSE: not in
 * a coroutine of a loop. */
int co_file_wait(struct co_file *file);

#endif
