/* File to socket, by sendfile when the socket has room: a splice in the ring goes to a kernel
 * thread (37 us against 0.8, kernel 6.18). And an ordinary number for a direct descriptor. */
#include "io/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "io/sendfile.h"

/* The answer to an install, which the kernel gives while it submits. NULL: not there, the
 * completion queue is full. */
static struct io_uring_cqe *find_answer(struct uring *ring, uint64_t token)
{
    unsigned tail = __atomic_load_n(ring->cq_ktail, __ATOMIC_ACQUIRE);

    while (tail != ring->cq_head) {
        struct io_uring_cqe *cqe = &ring->cqes[--tail & ring->cq_mask];

        if (cqe->user_data == token)
            return cqe;
    }
    return NULL;
}

/* A direct descriptor is installed for the call. The answer stays in the queue, marked as taken; a
 * late one is closed when it comes (uring_own_event). */
int uring_number(struct io *io, struct io_fd *fd)
{
    struct uring *ring = uring_of(io);
    struct io_uring_sqe *sqe;
    struct io_uring_cqe *cqe;
    uint64_t token = IO_TOKEN(URING_OWN, 0, 0, URING_OWN_INSTALL);
    int error;

    if (!(fd->flags & IO_FD_DIRECT))
        return fd->fd;
    sqe = uring_sqe(ring);
    if (!sqe)
        return -ENOBUFS;
    sqe->opcode = URING_OP_FIXED_FD_INSTALL;
    uring_sqe_fd(sqe, fd);
    sqe->user_data = token;
    error = uring_flush(ring);
    cqe = find_answer(ring, token);
    if (!cqe)
        return error < 0 ? error : -ENOBUFS;
    cqe->user_data = IO_TOKEN(URING_OWN, 0, 0, URING_OWN_QUIET);
    return cqe->res;
}

void uring_number_done(struct io *io, struct io_fd *fd, int number)
{
    if (!(fd->flags & IO_FD_DIRECT) || number < 0)
        return;
    io->stats.syscalls++;
    close(number);
}

/* sendfile must not block. What accept yields has O_NONBLOCK already; what others made gets it. */
static int unblock(struct io_fd *socket, int number)
{
    int flags;

    if (socket->flags & URING_FD_NONBLOCK)
        return 0;
    flags = fcntl(number, F_GETFL);
    if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(number, F_SETFL, flags | O_NONBLOCK) < 0))
        return -errno;
    socket->flags |= URING_FD_NONBLOCK;
    return 0;
}

static int await_room(struct uring *ring, struct io_fd *socket, uint64_t token)
{
    struct io_uring_sqe *sqe = uring_sqe(ring);

    if (!sqe)
        return -ENOBUFS;
    sqe->opcode = IORING_OP_POLL_ADD;
    uring_sqe_fd(sqe, socket);
    sqe->poll32_events = uring_poll_mask(POLLOUT);
    sqe->user_data = token;
    ring->in_flight++;
    return IO_PENDING;
}

int uring_move(struct io *io, struct io_fd *socket, int file, int64_t *offset, size_t size,
               unsigned flags, uint64_t token, int *result)
{
    struct uring *ring = uring_of(io);
    ssize_t sent;
    int number, error;

    if (flags & IO_SEND_BLOCKED && !(flags & IO_SEND_NOWAIT))
        return await_room(ring, socket, token);
    number = uring_number(io, socket);
    if (number < 0)
        return number;
    error = unblock(socket, number);
    if (error == 0) {
        io->stats.syscalls += 3;
        if (size > MOST_BYTES)
            size = MOST_BYTES;
        sent = weir__sendfile(number, file, offset, size);
    } else {
        sent = error;
    }
    uring_number_done(io, socket, number);
    if (sent == -EAGAIN && !(flags & IO_SEND_NOWAIT))
        return await_room(ring, socket, token);
    if (sent >= 0 && (size_t)sent < size)
        io->stats.short_sends++;
    *result = (int)sent;
    return IO_DONE;
}
