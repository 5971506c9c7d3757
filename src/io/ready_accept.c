#include "io/ready.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* How many connections a listener may yield in a turn: io_fd.spare holds the exponent (3 bits) and
 * the number of the turn in which it was last told of (13 bits). The accept that says EAGAIN costs
 * as much as one that succeeds (the kernel makes the descriptor and the file first), so that a
 * listener begins with one accept and gets twice as many in each turn that finds it readable again:
 * registrations are level-triggered, what is left over is told again. */
enum { SHIFT_BITS = 3, SHIFT_MASK = 7, SHIFT_MOST = 6, TURN_MASK = 0x1fff };
_Static_assert(1 << SHIFT_MOST == READY_ACCEPT_BUDGET, "the largest exponent is the budget");

static unsigned budget_of(struct ready *r, struct io_fd *fd)
{
    unsigned turn = (unsigned)r->io.stats.waits & TURN_MASK;
    unsigned last = fd->spare >> SHIFT_BITS, shift = fd->spare & SHIFT_MASK;
    if (((last + 1) & TURN_MASK) == turn)
        shift += shift < SHIFT_MOST;
    else
        shift -= shift > 0;
    fd->spare = (uint16_t)(turn << SHIFT_BITS | shift);
    return 1u << shift;
}

static bool listener_ended(struct ready *r, struct io_fd *fd, uint64_t token, int error,
                           struct io_event *event)
{
    r->index++;
    r->accept_left = 0;
    r->in_flight--;
    fd->flags &= (uint16_t)~READY_ACCEPT;
    r->kind->unwatch(r, fd);
    *event = (struct io_event){.token = IO_TOKEN_WITH_OP(token, IO_OP_ACCEPT), .result = -error};
    return true;
}

/* Errors of the connection that was about to be accepted, not of the listener: accept(2) says to
 * treat them like EAGAIN, and to go on. */
static bool error_of_one(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPERM: /* a firewall rule */
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EOPNOTSUPP:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

bool weir__ready_accept_one(struct ready *r, struct io_fd *fd, uint64_t token,
                            struct io_event *event)
{
    int taken, error;
    if (r->accept_left == 0)
        r->accept_left = (uint16_t)budget_of(r, fd);
    r->io.stats.syscalls++;
    taken = accept4(fd->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    error = taken < 0 ? errno : 0;
    if (taken >= 0 && r->io.fd_limit != 0 && taken >= r->io.fd_limit) {
        close(taken); /* it cannot be waited for: the same as no descriptor at all */
        error = EMFILE;
    }
    if (error != 0 && error != EAGAIN && !error_of_one(error))
        return listener_ended(r, fd, token, error, event);
    if (error == EAGAIN)
        r->accept_left = 0;
    else
        r->accept_left--;
    if (r->accept_left == 0)
        r->index++;
    if (error != 0)
        return false;
    *event = (struct io_event){
        .token = IO_TOKEN_WITH_OP(token, IO_OP_ACCEPT), .result = taken, .flags = IO_MORE};
    return true;
}

int weir__ready_accept(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct ready *r = (struct ready *)io;
    int on = 1, error;
    /* A listener that blocks would hold the loop at the accept that finds the queue empty. */
    if (ioctl(fd->fd, FIONBIO, &on) < 0)
        return -errno;
    fd->flags |= READY_ACCEPT;
    fd->spare = (uint16_t)(((unsigned)r->io.stats.waits - 2) << SHIFT_BITS); /* not the last turn */
    error = r->kind->watch(r, fd, token);
    if (error != 0) {
        fd->flags &= (uint16_t)~READY_ACCEPT;
        return error;
    }
    r->in_flight++;
    return IO_PENDING;
}
