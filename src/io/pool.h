/* Worker threads for file operations and blocking calls. A job is an io_file in its caller's slab:
 * the pool allocates nothing for it. Jobs come back on the io that queued them: through a list of
 * its own that any worker may push to, and a wake. */
#ifndef WEIR_IO_POOL_H
#define WEIR_IO_POOL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "io/io.h"

/* One io's end of the pool; embedded in the back end. Zeroed, with `io` set. */
struct pool_client {
    struct io *io;
    _Atomic(struct io_file *) done; /* finished jobs, newest first */
    _Atomic unsigned telling;       /* workers that still touch this io */
};

/* Queues a job for the io's threads. 0; WEIR_EFULL when as many jobs wait as the pool takes;
 * -EAGAIN when no thread could be started and none runs; WEIR_ESTOPPED after weir__pool_free has
 * begun. The io's thread. */
int weir__pool_submit(struct io_pool *pool, struct pool_client *client, struct io_file *file);

/* The jobs finished since the last call, oldest first, linked by `next`; results in `result`. NULL
 * when there are none. The io's thread. */
struct io_file *weir__pool_harvest(struct pool_client *client);

/* Takes the job with this token back when no worker has begun it: the job, or NULL. */
struct io_file *weir__pool_cancel(struct io_pool *pool, struct pool_client *client, uint64_t token);

/* Waits until no worker touches the io any more: before its memory goes. All its jobs have been
 * harvested. */
void weir__pool_quiet(struct pool_client *client);

/* Threads that run now; and how long one waits for work before it ends (10 s unless set). For the
 * plan and for tests. Any thread. */
unsigned weir__pool_running(struct io_pool *pool);
void weir__pool_set_idle_ms(struct io_pool *pool, unsigned idle_ms);

/* Does one job on the calling thread; result as the event's. */
int weir__pool_perform(struct io_file *file);

/* Tries a job at once where it cannot block (bytes or names that are cached): true when it is done,
 * with file->result set. */
bool weir__pool_perform_cached(struct io_file *file);

#endif
