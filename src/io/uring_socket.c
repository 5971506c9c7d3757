/* The verbs on sockets and other descriptors. */
#include "io/uring.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <unistd.h>

int uring_accept(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct uring *ring = uring_of(io);
    struct io_uring_sqe *sqe = uring_sqe(ring);

    if (!sqe)
        return -ENOBUFS;
    sqe->opcode = IORING_OP_ACCEPT;
    uring_sqe_fd(sqe, fd);
    /* Nothing in the ring minds O_NONBLOCK; sendfile and splice need it. A slot of the ring's table
     * knows no close-on-exec: it is not inherited at all. */
    sqe->accept_flags = SOCK_NONBLOCK | (io->direct ? 0 : SOCK_CLOEXEC);
    sqe->file_index = io->direct ? IORING_FILE_INDEX_ALLOC : 0;
    sqe->ioprio = ring->multishot_accept && !(fd->flags & IO_FD_ONCE) ? IORING_ACCEPT_MULTISHOT : 0;
    sqe->user_data = token;
    ring->in_flight++;
    return IO_PENDING;
}

/* A unix connect is done or refused at once, or else says EAGAIN, for which the ring would keep a
 * kernel thread waiting for each. */
static int connect_unix(struct io *io, struct io_fd *fd, const struct sockaddr *address,
                        socklen_t size, int *result)
{
    int on = 1;

    io->stats.syscalls += 2;
    if (ioctl(fd->fd, FIONBIO, &on) < 0)
        return -errno;
    fd->flags |= URING_FD_NONBLOCK;
    *result = connect(fd->fd, address, size) < 0 ? -errno : 0;
    return IO_DONE;
}

int uring_connect(struct io *io, struct io_fd *fd, const struct sockaddr *address, socklen_t size,
                  uint64_t token, int *result)
{
    struct uring *ring = uring_of(io);
    struct io_uring_sqe *sqe;
    void *copy;

    if (address->sa_family == AF_UNIX && !(fd->flags & IO_FD_DIRECT))
        return connect_unix(io, fd, address, size, result);
    copy = uring_arena(ring, size);
    sqe = copy ? uring_sqe(ring) : NULL;
    if (!sqe)
        return -ENOBUFS;
    memcpy(copy, address, size);
    sqe->opcode = IORING_OP_CONNECT;
    uring_sqe_fd(sqe, fd);
    sqe->addr = (uintptr_t)copy;
    sqe->off = size;
    sqe->user_data = token;
    ring->in_flight++;
    return IO_PENDING;
}

/* What a connect that the ring calls done has come to. An ICMP error may arrive while the system
 * call that sent the SYN is still on its way: the kernel then notes it as a soft error and puts the
 * message into the socket's error queue. The ring takes the POLLERR of that queue for the end,
 * finds no hard error, and says 0, while the socket still sends its SYN (seen on 6.18; tcp_v4_err
 * and io_connect). SO_ERROR tells of soft errors too, as it does after POLLERR on the other back
 * ends. */
int uring_connect_result(struct uring *ring, uint64_t token)
{
    const struct io_fd *fd = ring->config.find(ring->config.owner, token);
    int error = 0;
    socklen_t size = sizeof(error);

    if (!fd || fd->flags & IO_FD_DIRECT) /* what connects is an ordinary descriptor */
        return 0;
    ring->io.stats.syscalls++;
    if (getsockopt(fd->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    return -error;
}

int uring_recv(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct uring *ring = uring_of(io);
    bool multishot = ring->multishot_recv && !(fd->flags & ring->oneshot_flags);
    struct io_uring_sqe *sqe = uring_sqe(ring);

    if (__builtin_expect(!sqe, 0))
        return -ENOBUFS;
    sqe->opcode = IORING_OP_RECV;
    uring_sqe_fd(sqe, fd);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_GROUP;
    sqe->ioprio = multishot ? IORING_RECV_MULTISHOT : 0;
    sqe->len = multishot ? ring->buffers.cap : ring->event_max;
    sqe->user_data = token;
    ring->in_flight++;
    return IO_PENDING;
}

static void prepare_message(struct io_uring_sqe *sqe, struct msghdr *message,
                            const struct iovec *iov, unsigned count)
{
    struct iovec *copy = (struct iovec *)(void *)(message + 1);

    memcpy(copy, iov, count * sizeof(*iov));
    *message = (struct msghdr){.msg_iov = copy, .msg_iovlen = count};
    sqe->opcode = IORING_OP_SENDMSG;
    sqe->addr = (uintptr_t)message;
    sqe->len = 1;
}

int uring_send(struct io *io, struct io_fd *fd, const struct iovec *iov, unsigned count,
               unsigned flags, uint64_t token, int *result)
{
    struct uring *ring = uring_of(io);
    struct msghdr *message = NULL;
    struct io_uring_sqe *sqe;

    (void)result;
    if (count > IOV_MAX)
        count = IOV_MAX; /* a short send: the rest follows with the next */
    if (count > 1) {
        message = uring_arena(ring, sizeof(*message) + count * sizeof(*iov));
        if (!message)
            return -ENOBUFS;
    }
    sqe = uring_sqe(ring);
    if (__builtin_expect(!sqe, 0))
        return -ENOBUFS;
    if (message) {
        prepare_message(sqe, message, iov, count);
    } else if (count == 0) {
        sqe->opcode = IORING_OP_SEND; /* of nothing: tells whether the socket still stands */
    } else {
        sqe->opcode = IORING_OP_SEND;
        sqe->addr = (uintptr_t)iov->iov_base;
        sqe->len = (uint32_t)(iov->iov_len < MOST_BYTES ? iov->iov_len : MOST_BYTES);
    }
    uring_sqe_fd(sqe, fd);
    sqe->msg_flags = MSG_NOSIGNAL;
    if (flags & IO_SEND_MORE)
        sqe->msg_flags |= MSG_MORE;
    if (flags & IO_SEND_NOWAIT)
        sqe->msg_flags |=
            MSG_DONTWAIT; /* otherwise the kernel keeps the block until there is room */
    else if (flags & IO_SEND_BLOCKED && ring->poll_first)
        sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
    sqe->user_data = token;
    ring->in_flight++;
    return IO_PENDING;
}

int uring_poll(struct io *io, struct io_fd *fd, unsigned mask, uint64_t token)
{
    struct uring *ring = uring_of(io);
    struct io_uring_sqe *sqe = uring_sqe(ring);

    if (!sqe)
        return -ENOBUFS;
    sqe->opcode = IORING_OP_POLL_ADD;
    uring_sqe_fd(sqe, fd);
    sqe->poll32_events = uring_poll_mask(mask);
    sqe->user_data = token;
    ring->polls++;
    ring->in_flight++;
    return IO_PENDING;
}

/* The reset of a direct descriptor: a setsockopt in the ring, hard-linked so that the close follows
 * whatever it says. Both entries must go in one submission. */
static int queue_linger(struct uring *ring, struct io_fd *fd)
{
    struct io_uring_sqe *sqe;

    if (ring->sq_entries - (ring->sq_tail - ring->sq_submitted) < 2 &&
        (uring_flush(ring) < 0 || ring->sq_tail != ring->sq_submitted))
        return -ENOBUFS;
    sqe = uring_sqe(ring);
    if (!sqe)
        return -ENOBUFS;
    ring->reset = (struct linger){.l_onoff = 1};
    sqe->opcode = IORING_OP_URING_CMD;
    uring_sqe_fd(sqe, fd);
    sqe->flags |= IOSQE_IO_HARDLINK | IOSQE_CQE_SKIP_SUCCESS;
    sqe->off = URING_SOCKET_SETSOCKOPT;                 /* cmd_op */
    sqe->addr = SOL_SOCKET | (uint64_t)SO_LINGER << 32; /* level, optname */
    sqe->splice_fd_in = sizeof(ring->reset);            /* optlen */
    sqe->addr3 = (uintptr_t)&ring->reset;               /* optval */
    sqe->user_data = IO_TOKEN(URING_OWN, 0, 0, URING_OWN_QUIET);
    return 0;
}

int uring_close_fd(struct io *io, struct io_fd *fd, bool reset, uint64_t token, int *result)
{
    static const struct linger at_once = {.l_onoff = 1};
    struct uring *ring = uring_of(io);
    bool direct = fd->flags & IO_FD_DIRECT;
    struct io_uring_sqe *sqe;

    if (reset && direct) {
        int error = queue_linger(ring, fd);

        if (error < 0)
            return error;
    } else if (reset) {
        io->stats.syscalls++;
        setsockopt(fd->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    sqe = uring_sqe(ring);
    if (!sqe && direct)
        return -ENOBUFS;
    if (!sqe) {
        *result = close(fd->fd) < 0 ? -errno : 0;
        fd->fd = -1;
        return IO_DONE;
    }
    sqe->opcode = IORING_OP_CLOSE;
    if (direct)
        sqe->file_index = (uint32_t)fd->fd + 1;
    else
        sqe->fd = fd->fd;
    sqe->user_data = token;
    fd->fd = -1;
    ring->in_flight++;
    return IO_PENDING;
}

int uring_shutdown(struct io *io, struct io_fd *fd, int how)
{
    int number = uring_number(io, fd), result;

    if (number < 0)
        return number;
    io->stats.syscalls++;
    result = shutdown(number, how) < 0 ? -errno : 0;
    uring_number_done(io, fd, number);
    return result;
}
