#include "io/ready.h"

#include "base/assert.h"
#include <weir/error.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define likely(condition) __builtin_expect(!!(condition), 1)

enum {
    IOV_MOST = 1024, /* IOV_MAX of the kernel (UIO_MAXIOV) */
};

/* --- connect ---------------------------------------------------------------------------------- */

int weir__ready_connect(struct io *io, struct io_fd *fd, const struct sockaddr *address,
                        socklen_t size, uint64_t token, int *result)
{
    struct ready *r = (struct ready *)io;
    int on = 1, error;
    if (ioctl(fd->fd, FIONBIO, &on) < 0)
        return -errno;
    r->io.stats.syscalls += 2;
    if (connect(fd->fd, address, size) == 0) {
        *result = 0;
        return IO_DONE;
    }
    /* An interrupted connect goes on by itself, as one in progress does: connect(2), POSIX. */
    if (errno != EINPROGRESS && errno != EINTR) {
        *result = -errno;
        return IO_DONE;
    }
    fd->flags |= READY_CONNECT;
    error = r->kind->watch(r, fd, token);
    if (error != 0) {
        fd->flags &= (uint16_t)~READY_CONNECT;
        return error;
    }
    r->in_flight++;
    return IO_PENDING;
}

/* --- recv ------------------------------------------------------------------------------------- */

/* Edge. A descriptor that was never registered is read at the end of this turn, before anything is
 * asked of the kernel; one that was masked is told of anew by being registered in full; one that
 * was only paused may have been told of meanwhile. */
static int arm_edge(struct ready *r, struct io_fd *fd, uint64_t token)
{
    if (fd->flags & READY_HAS_IN)
        return fd->flags & READY_READABLE ? weir__ready_again(r, &r->queue, fd, token) : 0;
    if (fd->flags & READY_KNOWN || !r->first_read)
        return r->kind->watch(r, fd, token);
    fd->flags |= READY_READABLE;
    return weir__ready_again(r, &r->fresh, fd, token);
}

int weir__ready_recv(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct ready *r = (struct ready *)io;
    int error;
    WEIR_DEBUG_ASSERT(!(fd->flags & READY_RECV));
    fd->flags = (uint16_t)((fd->flags | READY_RECV) & ~READY_STRAY_IN);
    error = r->edge ? arm_edge(r, fd, token) : r->kind->watch(r, fd, token);
    if (error != 0) {
        fd->flags &= (uint16_t)~READY_RECV;
        return error;
    }
    r->in_flight++;
    return IO_PENDING;
}

/* --- send ---------------------------------------------------------------------------- */

int weir__ready_wait_for_room(struct ready *r, struct io_fd *fd, uint64_t token, unsigned move,
                              int *result)
{
    int error = 0;
    WEIR_DEBUG_ASSERT(!(fd->flags & READY_SEND));
    fd->flags =
        (uint16_t)((fd->flags | READY_SEND | move) & ~(unsigned)(READY_ROOM | READY_STRAY_OUT));
    if (!r->edge || !(fd->flags & READY_HAS_OUT))
        error = r->kind->watch(r, fd, token);
    if (error != 0) {
        fd->flags &= (uint16_t) ~(READY_SEND | READY_MOVE);
        *result = error;
        return IO_DONE;
    }
    r->in_flight++;
    return IO_PENDING;
}

static ssize_t send_some(int fd, const struct iovec *iov, unsigned count, unsigned flags)
{
    int how = MSG_NOSIGNAL | MSG_DONTWAIT | (flags & IO_SEND_MORE ? MSG_MORE : 0);
    if (likely(count == 1))
        return send(fd, iov->iov_base, iov->iov_len, how);
    const struct msghdr message = {
        .msg_iov = (struct iovec *)(uintptr_t)iov,
        .msg_iovlen = count,
    };
    return sendmsg(fd, &message, how);
}

static size_t total_of(const struct iovec *iov, unsigned count)
{
    size_t total = 0;
    for (unsigned i = 0; i < count; i++)
        total += iov[i].iov_len;
    return total;
}

int weir__ready_send(struct io *io, struct io_fd *fd, const struct iovec *iov, unsigned count,
                     unsigned flags, uint64_t token, int *result)
{
    struct ready *r = (struct ready *)io;
    if (count == 0 && flags & IO_SEND_BLOCKED) {
        /* Somebody else's call found no room: registered anew, because its edge may have come. */
        fd->flags &= (uint16_t)~READY_HAS_OUT;
        return weir__ready_wait_for_room(r, fd, token, 0, result);
    }
    if (likely(ready_may_have_room(fd, flags))) {
        bool cut = count > IOV_MOST;
        ssize_t sent;
        do {
            sent = send_some(fd->fd, iov, cut ? IOV_MOST : count, flags);
            r->io.stats.syscalls++;
        } while (sent < 0 && errno == EINTR);
        if (likely(sent >= 0)) {
            *result = (int)sent;
            if (likely((size_t)sent == total_of(iov, cut ? IOV_MOST : count))) {
                if (cut)
                    fd->flags |= READY_ROOM; /* short, but not for want of room */
                return IO_DONE;
            }
            r->io.stats.short_sends++;
            fd->flags &= (uint16_t)~READY_ROOM;
            return IO_DONE;
        }
        if (errno != EAGAIN || flags & IO_SEND_NOWAIT) {
            *result = -errno;
            fd->flags &= (uint16_t)~READY_ROOM;
            return IO_DONE;
        }
    } else if (flags & IO_SEND_NOWAIT) {
        *result = -EAGAIN;
        return IO_DONE;
    }
    return weir__ready_wait_for_room(r, fd, token, 0, result);
}

/* --- messages --------------------------------------------------------------------------------- */

int weir__ready_recvmsg(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct ready *r = (struct ready *)io;
    if (r->inbox == NULL)
        r->inbox = weir__inbox_new();
    return r->inbox != NULL ? weir__ready_recv(io, fd, token) : -ENOMEM;
}

int weir__ready_sendmsg(struct io *io, struct io_fd *fd, struct mmsghdr *messages, unsigned count,
                        unsigned flags, uint64_t token, int *result)
{
    struct ready *r = (struct ready *)io;
    if (count != 0 && ready_may_have_room(fd, flags)) {
        *result = weir__messages_send(fd->fd, messages, count);
        r->io.stats.syscalls++;
        if (*result != (int)count)
            fd->flags &= (uint16_t)~READY_ROOM;
        if (*result != -EAGAIN)
            return IO_DONE;
    } else if (count == 0) {
        fd->flags &= (uint16_t)~READY_HAS_OUT; /* its edge may have come: as in send */
    }
    *result = -EAGAIN;
    if (flags & IO_SEND_NOWAIT)
        return IO_DONE;
    int waits = weir__ready_wait_for_room(r, fd, token, 0, result);
    if (waits == IO_PENDING)
        *result = 0;
    return waits;
}

/* --- ends ------------------------------------------------------------------------------------- */

int weir__ready_shutdown(struct io *io, struct io_fd *fd, int how)
{
    io->stats.syscalls++;
    return shutdown(fd->fd, how) < 0 ? -errno : 0;
}

/* Epoll drops a closed descriptor by itself; entries of the harvest and of the queues are dropped
 * when they are met, because the token is stale or the flags are clear. */
int weir__ready_close_fd(struct io *io, struct io_fd *fd, bool reset, uint64_t token, int *result)
{
    struct ready *r = (struct ready *)io;
    WEIR_DEBUG_ASSERT(!(fd->flags & (READY_WAITS | READY_MOVE)));
    if (reset) {
        const struct linger none = {.l_onoff = 1, .l_linger = 0};
        setsockopt(fd->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
        r->io.stats.syscalls++;
    }
    if (!r->edge && fd->flags & READY_KNOWN)
        r->kind->unwatch(r, fd);
    /* Whatever close says (EINTR, EIO), the descriptor is gone: close(2), Linux. */
    close(fd->fd);
    r->io.stats.syscalls++;
    fd->fd = -1;
    fd->flags = 0;
    fd->spare = 0;
    *result = 0;
    return IO_DONE;
}

/* A file operation that is over without the pool: its event comes in the next turn, so that a file
 * read in many cached pieces does not hold the loop in one. */
static void file_over(struct ready *r, struct io_file *file)
{
    file->next = r->files_over;
    r->files_over = file;
    if (r->embedded)
        weir__ready_wake(&r->io);
}

static int cancel_file(struct ready *r, uint64_t token)
{
    struct io_file *file = weir__pool_cancel(r->pool, &r->client, token);
    if (file != NULL) {
        file->result = -ECANCELED;
        file_over(r, file);
    }
    return 0; /* when it is begun or done, its own result comes */
}

/* The flag of the operation that a token names, when it is in flight. */
static unsigned flag_in_flight(const struct io_fd *fd, unsigned op)
{
    switch (op) {
    case IO_OP_ACCEPT:
        return fd->flags & READY_ACCEPT;
    case IO_OP_CONNECT:
        return fd->flags & READY_CONNECT;
    case IO_OP_RECV:
        return fd->flags & READY_RECV;
    case IO_OP_SEND:
        return fd->flags & READY_MOVE ? 0 : fd->flags & READY_SEND;
    case IO_OP_MOVE: /* for the disk alone, or for room */
        return fd->flags & READY_MOVE ? fd->flags & (READY_MOVE | READY_SEND) : 0;
    case IO_OP_POLL:
        return fd->flags & READY_POLL;
    default:
        return 0;
    }
}

int weir__ready_cancel(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct ready *r = (struct ready *)io;
    unsigned op = IO_TOKEN_OP(token), flag;
    int error;
    if (op == IO_OP_FILE)
        return r->pool != NULL ? cancel_file(r, token) : -ENOENT;
    flag = flag_in_flight(fd, op);
    if (flag == 0)
        return -ENOENT;
    error = weir__ready_done(r, token, -ECANCELED);
    if (error != 0)
        return error;
    fd->flags &= (uint16_t)~flag;
    if (op == IO_OP_ACCEPT || op == IO_OP_POLL)
        r->kind->unwatch(r, fd);
    else
        ready_rewatch(r, fd, token);
    return 0;
}

/* --- foreign descriptors and files ------------------------------------------------------------ */

int weir__ready_poll(struct io *io, struct io_fd *fd, unsigned mask, uint64_t token)
{
    struct ready *r = (struct ready *)io;
    int error;
    fd->flags |= READY_POLL;
    fd->spare = (uint16_t)mask;
    error = r->kind->watch(r, fd, token);
    if (error == -EPERM && r->edge) {
        /* A regular file or a folder: epoll refuses it, poll says that it is always ready. */
        fd->flags &= (uint16_t)~READY_POLL;
        error = weir__ready_done(r, IO_TOKEN_WITH_OP(token, IO_OP_POLL),
                                 (int)(mask & (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)));
    }
    if (error != 0) {
        fd->flags &= (uint16_t)~READY_POLL;
        return error;
    }
    r->in_flight++;
    return IO_PENDING;
}

int weir__ready_file(struct io *io, struct io_file *file, uint64_t token)
{
    struct ready *r = (struct ready *)io;
    int error;
    if (r->pool == NULL)
        return WEIR_ENOTSUP;
    file->token = token;
    if (weir__pool_perform_cached(file)) {
        file_over(r, file);
    } else {
        error = weir__pool_submit(r->pool, &r->client, file);
        if (error != 0)
            return error;
    }
    r->in_flight++;
    return IO_PENDING;
}

/* --- the rest --------------------------------------------------------------------------------- */

void weir__ready_hold(struct io *io, unsigned block)
{
    WEIR_ASSERT(!io->hot_block); /* the block is read into again by the next event */
}

void weir__ready_release(struct io *io, unsigned block)
{
}

bool weir__ready_blocks_free(struct io *io)
{
    return true;
}

int weir__ready_number(struct io *io, struct io_fd *fd)
{
    return fd->fd;
}

void weir__ready_number_done(struct io *io, struct io_fd *fd, int number)
{
}

unsigned weir__ready_in_flight(struct io *io)
{
    return ((struct ready *)io)->in_flight;
}

void weir__ready_plan_row(struct ready *r, const char *feature, bool used, const char *reason)
{
    struct io_plan *plan = &r->io.plan;
    WEIR_ASSERT(plan->rows < IO_PLAN_ROWS);
    plan->row[plan->rows++] = (struct io_plan_row){feature, used, reason};
}

void weir__ready_plan(struct ready *r)
{
    r->io.plan.backend = r->io.ops->name;
    weir__ready_plan_row(r, "hot_block", true,
                         "every receive goes into one block that stays cached");
    weir__ready_plan_row(r, "speculative_send", true, "a send is tried before it waits for room");
    weir__ready_plan_row(r, "sendfile", true, "files go to sockets inside the kernel");
    weir__ready_plan_row(r, "warm_move", r->warm_move,
                         r->warm_move ? "a worker reads a cold file before it is sent"
                         : r->pool != NULL
                             ? "switched off: a cold file holds the loop up"
                             : "no worker threads were given: a cold file holds the loop up");
    weir__ready_plan_row(r, "pool", r->pool != NULL,
                         r->pool != NULL ? "files are opened and read by worker threads"
                                         : "no worker threads were given: no file operations");
}

void weir__ready_forked(struct ready *r)
{
    close(r->wake_fd);
    r->wake_fd = -1;
    /* The workers stayed with the parent, perhaps in the middle of telling. */
    atomic_store(&r->client.telling, 0);
    atomic_store(&r->client.done, NULL);
    r->in_flight = 0;
}
