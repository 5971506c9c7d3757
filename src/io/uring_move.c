/* File to socket, by sendfile when the socket has room: a splice in the ring goes to a kernel
 * thread (37 us against 0.8, kernel 6.18). And an ordinary number for a direct descriptor. */
#include "io/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/sendfile.h"

enum {
    MOVE_MOST = 1024 * 1024, /* bytes of one move: neither reader nor disk may hold the loop */
    WARM_PIECE = 256 * 1024,
};

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

/* What is not in memory would hold the loop until the disk has it: the ring reads it first, into
 * nothing, and the move yields 0 like one that waited for room. False: the loop waits itself. */
static bool await_disk(struct uring *ring, struct io_fd *socket, int file, int64_t offset,
                       size_t size, uint64_t token)
{
    struct io_uring_sqe *sqe;

    if (!ring->scratch)
        ring->scratch = weir__alloc(WARM_PIECE);
    sqe = ring->scratch ? uring_sqe(ring) : NULL;
    if (!sqe)
        return false;
    sqe->opcode = IORING_OP_READ;
    sqe->fd = file;
    sqe->addr = (uintptr_t)ring->scratch;
    sqe->len = (uint32_t)(size < WARM_PIECE ? size : WARM_PIECE);
    sqe->off = (uint64_t)offset;
    sqe->user_data = token;
    socket->flags |= URING_FD_WARMING;
    ring->in_flight++;
    return true;
}

/* The end of a wait for room or for the disk: there is something to do, or an error that sendfile
 * will tell. After the disk the next move does not ask again whether it must wait, lest a machine
 * that drops pages faster than it reads them never gets on. */
void uring_move_event(struct uring *ring, struct io_event *event)
{
    struct io_fd *socket = ring->config.find(ring->config.owner, event->token);

    if (socket && socket->flags & URING_FD_WARMING) {
        socket->flags &= (uint16_t)~URING_FD_WARMING;
        if (!(socket->flags & URING_FD_CANCEL(IO_OP_MOVE)))
            socket->flags |= URING_FD_WARMED;
    }
    if (event->result != -ECANCELED)
        event->result = 0;
}

static int send_file(struct io *io, struct io_fd *socket, int file, int64_t *offset, size_t size)
{
    int number = uring_number(io, socket), sent;

    if (number < 0)
        return number;
    sent = unblock(socket, number);
    if (sent == 0) {
        io->stats.syscalls += 3;
        sent = weir__sendfile(number, file, offset, size);
    }
    uring_number_done(io, socket, number);
    return sent;
}

int uring_move(struct io *io, struct io_fd *socket, int file, int64_t *offset, size_t size,
               unsigned flags, uint64_t token, int *result)
{
    struct uring *ring = uring_of(io);
    bool nowait = flags & IO_SEND_NOWAIT;
    int sent;

    if (flags & IO_SEND_BLOCKED && !nowait)
        return await_room(ring, socket, token);
    if (size > MOVE_MOST)
        size = MOVE_MOST;
    if (socket->flags & URING_FD_WARMED)
        size = size < WARM_PIECE ? size : WARM_PIECE; /* what was read, and no more */
    else if (ring->warm_move && !nowait && !weir__file_cached(file, *offset, size) &&
             await_disk(ring, socket, file, *offset, size, token))
        return IO_PENDING;
    sent = send_file(io, socket, file, offset, size);
    if (sent == -EAGAIN && !nowait)
        return await_room(ring, socket, token);
    socket->flags &= (uint16_t)~URING_FD_WARMED;
    if (sent >= 0 && (size_t)sent < size)
        io->stats.short_sends++;
    *result = sent;
    return IO_DONE;
}
