/* The face of epoll, poll and select: what is ready is told, and done when it is looked at, one at
 * a time, into one block; sends are tried inside the verb. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"

enum { ACCEPT_BUDGET = 64, POISON = 0xee };

/* Told at the wait; whether it is still so shows when its turn comes. */
static void tell_all(struct sim_io *sio)
{
    uint32_t count = sio->ready_count;
    if (count > sio->told_room) {
        sio->told_room = count * 2;
        sio->told = realloc(sio->told, sio->told_room * sizeof(*sio->told));
        if (sio->told == NULL)
            abort();
    }
    sio->told_at = 0;
    sio->told_count = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!fault(SIM_FAULT_LATE, OP_WAIT))
            sio->told[sio->told_count++] = (struct told){sio->ready[i], sio->ready[i]->serial};
    count = sio->told_count;
    if (count > 1 && fault(SIM_FAULT_ORDER, OP_WAIT))
        for (uint32_t i = count - 1; i > 0; i--) {
            uint32_t other = (uint32_t)chance(i + 1);
            struct told swap = sio->told[i];
            sio->told[i] = sio->told[other];
            sio->told[other] = swap;
        }
}

static int readiness_wait(struct io *io, int64_t timeout_ns)
{
    struct sim_io *sio = sim_io_of(io);
    if (sio->told_at < sio->told_count)
        return 0;
    backend_turn(sio, timeout_ns);
    backend_sleep(sio, sio->cq_count != 0 || sio->ready_count != 0 ? 0 : timeout_ns);
    memset(sio->hot, POISON, sio->block_bytes);
    tell_all(sio);
    return 0;
}

/* --- one completion at a time ----------------------------------------------------------------- */

static void refresh(struct sim_op *op)
{
    if (!op_can(op))
        op_unready(op);
}

/* A read or an accept that finds nothing, though it was told. */
static bool nothing_there(struct sim_op *op, enum sim_operation operation)
{
    if (fault(SIM_FAULT_SPURIOUS, operation) || fault(SIM_FAULT_EINTR, operation)) {
        op->io->io.stats.spurious++;
        return true;
    }
    return false;
}

static void messages_one(struct sim_op *op)
{
    struct dgram_in *list;
    int got;
    if (nothing_there(op, OP_RECV))
        return;
    got = messages_take(op->io, op->sock, &list);
    if (got >= 0)
        op_complete(op, got, IO_MORE | IO_MESSAGES, (uint8_t *)list, 0);
    else if (got != -EAGAIN)
        op_complete(op, got, 0, NULL, 0);
    if (op->attached)
        refresh(op);
}

static void read_one(struct sim_op *op)
{
    struct sim_io *sio = op->io;
    struct sim_sock *sock = op->sock;
    unsigned flags = IO_MORE | IO_BUFFER;
    int got;
    if (nothing_there(op, OP_RECV))
        return;
    got = try_recv(sio, sock, sio->hot, sio->block_bytes);
    if (got == -EAGAIN) {
        refresh(op);
        return;
    }
    if (got <= 0) {
        op_complete(op, got, 0, NULL, 0);
        return;
    }
    if ((uint32_t)got < sio->block_bytes && sock_waiting(sock) == 0 &&
        !(sock_ready(sock) & POLLRDHUP))
        flags |= IO_DRAINED;
    record("received", sock->id, got, (int64_t)sock->in->read);
    op_complete(op, got, flags, sio->hot, 0);
    refresh(op);
}

/* True: there may be more of it in this turn. */
static bool accept_one(struct sim_op *op)
{
    int number;
    if (nothing_there(op, OP_ACCEPT))
        return false;
    number = try_accept(op->io, op->sock);
    if (number == -EAGAIN || number == -ECONNABORTED) {
        refresh(op);
        return false;
    }
    op_complete(op, number, number >= 0 ? IO_MORE : 0, NULL, 0);
    if (number < 0)
        return false;
    refresh(op);
    return op->in_ready;
}

static bool go(struct sim_op *op)
{
    switch (op->kind) {
    case IO_OP_RECV:
        if (op->sock->state == SOCK_DATAGRAM)
            messages_one(op);
        else
            read_one(op);
        return false;
    case IO_OP_ACCEPT:
        return accept_one(op);
    case IO_OP_CONNECT:
        op_complete(op, -sock_take_error(op->sock), 0, NULL, 0);
        return false;
    case IO_OP_SEND:
    case IO_OP_MOVE:
        op_complete(op, 0, 0, NULL, 0);
        return false;
    default:
        op_complete(op, (int)(sock_ready(op->sock) & (op->mask | POLLERR | POLLHUP)), 0, NULL, 0);
        return false;
    }
}

static int readiness_next(struct io *io, struct io_event *event)
{
    struct sim_io *sio = sim_io_of(io);
    contract_thread(sio, "next");
    messages_forget(sio);
    while (sio->cq_count == 0) {
        struct sim_op *op;
        if (sio->told_at == sio->told_count)
            return 0;
        op = sio->told[sio->told_at].op;
        /* Ended since it was told, and perhaps another by now; or used up. */
        if (op->serial != sio->told[sio->told_at++].serial || !op->in_ready || !op_can(op)) {
            if (!op_can(op))
                op_unready(op);
            sio->io.stats.spurious++;
            continue;
        }
        if (go(op))
            sio->told_at--;
    }
    completion_take(sio, event);
    return 1;
}

/* --- verbs ------------------------------------------------------------------------------------ */

/* Registering needs memory of the kernel. */
static bool refused(struct sim_io *sio, enum sim_operation operation)
{
    return fault(SIM_FAULT_QUEUE_FULL, operation);
}

static int readiness_accept(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, IO_OP_ACCEPT);
    if (refused(sio, OP_ACCEPT))
        return -ENOMEM;
    op_attach(op_new(sio, fd, sock, token, IO_OP_ACCEPT));
    return IO_PENDING;
}

static int readiness_recv(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, IO_OP_RECV);
    if (refused(sio, OP_RECV))
        return -ENOMEM;
    op_attach(op_new(sio, fd, sock, token, IO_OP_RECV));
    return IO_PENDING;
}

static int readiness_connect(struct io *io, struct io_fd *fd, const struct sockaddr *address,
                             socklen_t size, uint64_t token, int *result)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, IO_OP_CONNECT);
    int error = sock_connect(sock, address, size);
    if (error != -EINPROGRESS) {
        *result = error;
        return IO_DONE;
    }
    if (refused(sio, OP_CONNECT))
        return -ENOMEM;
    op_attach(op_new(sio, fd, sock, token, IO_OP_CONNECT));
    return IO_PENDING;
}

static int wait_for_room(struct sim_io *sio, struct io_fd *fd, struct sim_sock *sock,
                         uint64_t token, int *result)
{
    if (refused(sio, IO_TOKEN_OP(token) == IO_OP_MOVE ? OP_MOVE : OP_SEND)) {
        *result = -ENOMEM;
        return IO_DONE;
    }
    op_attach(op_new(sio, fd, sock, token, IO_TOKEN_OP(token)));
    return IO_PENDING;
}

static int readiness_send(struct io *io, struct io_fd *fd, const struct iovec *iov, unsigned count,
                          unsigned flags, uint64_t token, int *result)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, IO_OP_SEND);
    int sent = -EAGAIN;
    for (struct sim_op *op = sock->operations; op != NULL; op = op->sock_next)
        sim_check(op->io != sio || op->fd != fd ||
                      (op->kind != IO_OP_SEND && op->kind != IO_OP_MOVE),
                  "contract: a send while another one is in flight on socket %u", sock->id);
    if (count == 0 && flags & IO_SEND_BLOCKED)
        return wait_for_room(sio, fd, sock, token, result);
    /* One that is known to find no room may be tried or not. */
    if (!(flags & IO_SEND_BLOCKED) || chance(2) == 0)
        sent = try_send(sio, sock, iov, count < IOV_MOST_SIM ? count : IOV_MOST_SIM);
    if (sent != -EAGAIN || flags & IO_SEND_NOWAIT) {
        *result = sent;
        return IO_DONE;
    }
    return wait_for_room(sio, fd, sock, token, result);
}

static int readiness_recvmsg(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, IO_OP_RECV);
    messages_contract(sio, fd, sock, false, 0);
    if (refused(sio, OP_RECV))
        return -ENOMEM;
    op_attach(op_new(sio, fd, sock, token, IO_OP_RECV));
    return IO_PENDING;
}

static int readiness_sendmsg(struct io *io, struct io_fd *fd, struct mmsghdr *messages,
                             unsigned count, unsigned flags, uint64_t token, int *result)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, IO_OP_SEND);
    int waits;
    messages_contract(sio, fd, sock, true, count);
    *result = -EAGAIN;
    if (count != 0 && (!(flags & IO_SEND_BLOCKED) || chance(2) == 0))
        *result = messages_send(sio, sock, messages, count);
    if (*result != -EAGAIN || flags & IO_SEND_NOWAIT)
        return IO_DONE;
    waits = wait_for_room(sio, fd, sock, token, result);
    if (waits == IO_PENDING)
        *result = 0;
    return waits;
}

static void disk_done(struct sim_event *event)
{
    struct sim_op *op = weir_container(event, struct sim_op, later);
    op_complete(op, 0, 0, NULL, 0);
}

static int readiness_move(struct io *io, struct io_fd *fd, int file, int64_t *offset, size_t size,
                          unsigned flags, uint64_t token, int *result)
{
    enum { DISK_NS = 1000000000 };
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, IO_OP_MOVE);
    bool nowait = (flags & IO_SEND_NOWAIT) != 0;
    int moved;
    if (!nowait && fault(SIM_FAULT_FILE_SLOW, OP_MOVE)) {
        struct sim_op *op = op_new(sio, fd, sock, token, IO_OP_MOVE);
        op->state = OP_STATE_RUNS;
        event_plan(&op->later, world.now_ns + chance_size(DISK_NS), disk_done);
        return IO_PENDING;
    }
    moved = try_move(sio, sock, file, offset, size);
    if (moved != -EAGAIN || nowait) {
        *result = moved;
        return IO_DONE;
    }
    return wait_for_room(sio, fd, sock, token, result);
}

static int readiness_close_fd(struct io *io, struct io_fd *fd, bool reset, uint64_t token,
                              int *result)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, IO_OP_CLOSE);
    for (struct sim_op *op = sock != NULL ? sock->operations : NULL; op != NULL; op = op->sock_next)
        if (op->io == sio && op->fd == fd && op->state != OP_STATE_OVER)
            sim_fail("contract: close while an operation (%u) is in flight on socket %u", op->kind,
                     sock->id);
    if (reset && sock != NULL)
        sock->linger_reset = true;
    file_close(fd->fd);
    *fd = (struct io_fd){.fd = -1};
    *result = 0;
    return IO_DONE;
}

static int readiness_cancel(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_op *op;
    contract_thread(sio, "cancel");
    if (IO_TOKEN_OP(token) == IO_OP_FILE)
        return backend_cancel_file(sio, token);
    op = op_find(sio, token);
    if (op == NULL || op->state == OP_STATE_OVER)
        return -ENOENT;
    if (fault(SIM_FAULT_QUEUE_FULL, OP_CANCEL))
        return -ENOMEM;
    record("cancel", (int64_t)op->kind, op->sock != NULL ? op->sock->id : 0, op->in_ready);
    op_complete(op, -ECANCELED, 0, NULL, 0);
    return 0;
}

static int readiness_poll(struct io *io, struct io_fd *fd, unsigned mask, uint64_t token)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_op *op;
    if (!fd_is_sim(fd->fd)) {
        op = op_new(sio, fd, NULL, token, IO_OP_POLL);
        op_complete(op, (int)(mask & (POLLIN | POLLOUT)), 0, NULL, 0);
        return IO_PENDING;
    }
    op = op_new(sio, fd, contract_fd(sio, fd, token, IO_OP_POLL), token, IO_OP_POLL);
    op->mask = mask;
    op_attach(op);
    return IO_PENDING;
}

static void readiness_hold(struct io *io, unsigned block)
{
    sim_fail("contract: hold of the hot block");
}

static void readiness_release(struct io *io, unsigned block)
{
    sim_check(block == 0, "contract: release of block %u of 1", block);
}

static bool readiness_blocks_free(struct io *io)
{
    return true;
}

void readiness_open(struct sim_io *sio)
{
    sio->io.ops = &sim_readiness;
    sio->io.eager = true;
    sio->io.hot_block = true;
}

const struct io_ops sim_readiness = {
    .name = "sim",
    .open = backend_open,
    .close = backend_close,
    .wait = readiness_wait,
    .next = readiness_next,
    .wake = backend_wake,
    .poll_fd = backend_poll_fd,
    .accept = readiness_accept,
    .connect = readiness_connect,
    .recv = readiness_recv,
    .recvmsg = readiness_recvmsg,
    .sendmsg = readiness_sendmsg,
    .send = readiness_send,
    .move = readiness_move,
    .close_fd = readiness_close_fd,
    .cancel = readiness_cancel,
    .poll = readiness_poll,
    .file = backend_file_start,
    BACKEND_VERBS,
    .hold = readiness_hold,
    .release = readiness_release,
    .blocks_free = readiness_blocks_free,
};
