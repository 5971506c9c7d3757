/* After a fork the child has a copy of every loop, in the middle of whatever its thread was doing,
 * and shares with the parent what lies behind: rings, epoll sets, wake events, sockets. Nothing of
 * it may be touched: the copies get a back end that refuses everything, until weir_loop_after_fork.
 */
#include <errno.h>

#include <weir/error.h>

#include "loop/loop.h"

static int dead_wait(struct io *io, int64_t timeout_ns)
{
    return -EOWNERDEAD;
}

static int dead_next(struct io *io, struct io_event *event)
{
    return 0;
}

static void dead_io(struct io *io)
{
}

static int dead_poll_fd(struct io *io)
{
    return -EOWNERDEAD;
}

static int dead_token(struct io *io, struct io_fd *fd, uint64_t token)
{
    return -EOWNERDEAD;
}

static int dead_connect(struct io *io, struct io_fd *fd, const struct sockaddr *address,
                        socklen_t size, uint64_t token, int *result)
{
    return -EOWNERDEAD;
}

static int dead_sendmsg(struct io *io, struct io_fd *fd, struct mmsghdr *messages, unsigned count,
                        unsigned flags, uint64_t token, int *result)
{
    return -EOWNERDEAD;
}

static int dead_send(struct io *io, struct io_fd *fd, const struct iovec *iov, unsigned count,
                     unsigned flags, uint64_t token, int *result)
{
    return -EOWNERDEAD;
}

static int dead_move(struct io *io, struct io_fd *socket, int file, int64_t *offset, size_t size,
                     unsigned flags, uint64_t token, int *result)
{
    return -EOWNERDEAD;
}

static int dead_shutdown(struct io *io, struct io_fd *fd, int how)
{
    return -EOWNERDEAD;
}

static int dead_close_fd(struct io *io, struct io_fd *fd, bool reset, uint64_t token, int *result)
{
    return -EOWNERDEAD;
}

static int dead_poll(struct io *io, struct io_fd *fd, unsigned mask, uint64_t token)
{
    return -EOWNERDEAD;
}

static int dead_file(struct io *io, struct io_file *file, uint64_t token)
{
    return -EOWNERDEAD;
}

static void dead_block(struct io *io, unsigned block)
{
}

static bool dead_blocks_free(struct io *io)
{
    return false;
}

static int dead_number(struct io *io, struct io_fd *fd)
{
    return -EOWNERDEAD;
}

static void dead_number_done(struct io *io, struct io_fd *fd, int number)
{
}

static unsigned dead_in_flight(struct io *io)
{
    return 0;
}

static const struct io_ops dead_ops = {
    .name = "dead",
    .close = dead_io,
    .wait = dead_wait,
    .next = dead_next,
    .wake = dead_io,
    .poll_fd = dead_poll_fd,
    .accept = dead_token,
    .connect = dead_connect,
    .recv = dead_token,
    .recvmsg = dead_token,
    .sendmsg = dead_sendmsg,
    .send = dead_send,
    .move = dead_move,
    .shutdown = dead_shutdown,
    .close_fd = dead_close_fd,
    .cancel = dead_token,
    .poll = dead_poll,
    .file = dead_file,
    .hold = dead_block,
    .release = dead_block,
    .blocks_free = dead_blocks_free,
    .number = dead_number,
    .number_done = dead_number_done,
    .forked = dead_io,
    .in_flight = dead_in_flight,
};

void loop_orphan(weir_loop *loop)
{
    loop->stall.link.next = NULL; /* the watcher is the parent's */
    if (loop->io == NULL || loop->io->ops == &dead_ops)
        return;
    loop->living_ops = loop->io->ops;
    loop->io->ops = &dead_ops;
}

/* What the program had started here is forgotten, not ended: it is the parent's. Its own objects
 * (timers, watches) can be used again. */
void loop_forget(weir_loop *loop)
{
    loop_timers_forget(loop);
    loop_signals_end(loop);
    loop_ops_abandon(loop);
    if (loop->net_forked != NULL)
        loop->net_forked(loop);
    loop->coroutines = NULL;
    loop->coroutines_stop = NULL;
    loop->coroutines_trim = NULL;
    loop->coroutines_stats = NULL;
    loop->coroutines_ending = false;
    if (loop->io != NULL) {
        loop->io->ops = loop->living_ops;
        loop->io->ops->forked(loop->io);
        weir__pool_forked(loop->pool);
        loop_io_close(loop);
    }
    loop_ops_end(loop);
    /* The chunks in use are leaked: they hold what the parent's connections were doing. */
    loop->memory.used_bytes = 0;
    memory_end(&loop->memory);
    memory_init(&loop->memory, loop->options.memory_max_bytes);
    list_init(&loop->ready);
    list_init(&loop->later);
}
