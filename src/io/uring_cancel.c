/* Cancel. A cancel names its operation by token, which the kernel finds by hash. It can miss one
 * that is just between two waits (seen by others with multishot receives, liburing issue 1375):
 * then it is asked again, by descriptor and operation, until the operation's end has come. */
#include "io/uring.h"

#include <errno.h>

/* 10 to 15 for the operations that can be canceled on a descriptor. */
static unsigned cancel_code(unsigned op)
{
    return URING_OWN_CANCEL + (op == IO_OP_POLL ? (unsigned)IO_OP_CLOSE : op);
}

static unsigned canceled_op(unsigned code)
{
    unsigned op = code - URING_OWN_CANCEL;

    return op == IO_OP_CLOSE ? IO_OP_POLL : op;
}

static unsigned kernel_op(unsigned op)
{
    switch (op) {
    case IO_OP_ACCEPT:
        return IORING_OP_ACCEPT;
    case IO_OP_CONNECT:
        return IORING_OP_CONNECT;
    case IO_OP_RECV:
        return IORING_OP_RECV;
    default:
        return IORING_OP_POLL_ADD;
    }
}

static struct io_uring_sqe *queue_cancel(struct uring *ring, uint64_t token, uint64_t own)
{
    struct io_uring_sqe *sqe = uring_sqe(ring);

    if (!sqe)
        return NULL;
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    sqe->addr = token;
    sqe->user_data = own;
    return sqe;
}

int uring_cancel(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct uring *ring = uring_of(io);
    unsigned op = IO_TOKEN_OP(token);

    if (op == IO_OP_FILE && uring_file_cancel(ring, token))
        return 0;
    if (op == IO_OP_FILE)
        return queue_cancel(ring, token, IO_TOKEN(URING_OWN, 0, 0, URING_OWN_QUIET)) ? 0 : -ENOBUFS;
    if (fd->flags & URING_FD_CANCEL(op))
        return 0; /* asked for already */
    if (!queue_cancel(ring, token, IO_TOKEN_WITH_OP(token, (uint64_t)cancel_code(op))))
        return -ENOBUFS;
    fd->flags |= (uint16_t)URING_FD_CANCEL(op);
    ring->canceling++;
    return 0;
}

/* The answer to a cancel that did not succeed. -ENOENT: either the operation's end was yielded
 * before, and then its bit is clear (or the token stale), or it was missed. */
void uring_cancel_missed(struct uring *ring, uint64_t token, int result)
{
    unsigned op = canceled_op(IO_TOKEN_OP(token));
    uint64_t wanted = IO_TOKEN_WITH_OP(token, (uint64_t)op);
    struct io_fd *fd;
    struct io_uring_sqe *sqe;
    bool by_fd;

    if (result != -ENOENT && result != -EINVAL)
        return; /* -EALREADY: running, its end will come */
    fd = ring->config.find(ring->config.owner, wanted);
    if (!fd || !(fd->flags & URING_FD_CANCEL(op)))
        return;
    ring->io.stats.spurious++;
    sqe = queue_cancel(ring, wanted, token);
    if (!sqe)
        return;
    /* By descriptor the kernel walks every operation of the ring, so this is the second choice; and
     * without the operation's number it would hit others of the same descriptor. A send has two
     * numbers, and so has a receive of messages, so they are asked for by token again. */
    by_fd =
        ring->cancel_op && op != IO_OP_SEND && !(fd->spare & IO_FD_MESSAGES) && result != -EINVAL;
    if (by_fd) {
        uring_sqe_fd(sqe, fd);
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
        sqe->addr = 0;
        sqe->len = kernel_op(op);
        sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | URING_CANCEL_OP;
        if (fd->flags & IO_FD_DIRECT)
            sqe->cancel_flags |= IORING_ASYNC_CANCEL_FD_FIXED;
    }
}
