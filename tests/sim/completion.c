/* The face of a ring: verbs are queued until the wait submits them, results come as completions, in
 * any order that a kernel may give. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"

enum { SHOTS_MOST = 16 };

/* --- submitting ------------------------------------------------------------------------------- */

static void op_start(struct sim_op *op);

static void submit_all(struct sim_io *sio)
{
    struct sim_op *op = sio->queue_first;
    sio->queue_first = sio->queue_last = NULL;
    sio->queued = 0;
    while (op != NULL) {
        struct sim_op *next = op->queue_next;
        op->queue_next = NULL;
        op_start(op);
        op = next;
    }
}

bool queue_refuses(struct sim_io *sio, enum sim_operation operation, struct sim_sock *sock)
{
    bool full = operation == OP_MOVE ? fault_rare(SIM_FAULT_QUEUE_FULL, operation)
                                     : fault(SIM_FAULT_QUEUE_FULL, operation);
    if (sock != NULL)
        refused_forget(sock);
    sio->io.stats.sq_fulls += full;
    if (full && sock != NULL)
        refused_note(sio, sock);
    if (!full && sio->queued == sio->queue_room)
        submit_all(sio);
    return full;
}

void queue_op(struct sim_op *op)
{
    struct sim_io *sio = op->io;
    op->state = OP_STATE_QUEUED;
    if (sio->queue_last != NULL)
        sio->queue_last->queue_next = op;
    else
        sio->queue_first = op;
    sio->queue_last = op;
    sio->queued++;
}

int queue_verb(struct io *io, struct io_fd *fd, uint64_t token, unsigned kind,
               enum sim_operation operation, struct sim_op **out)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, kind);
    if (queue_refuses(sio, operation, kind == IO_OP_SEND ? sock : NULL))
        return -ENOBUFS;
    *out = op_new(sio, fd, sock, token, kind);
    (*out)->once = !sio->multishot || (fd->flags & IO_FD_ONCE) != 0;
    queue_op(*out);
    return IO_PENDING;
}

static void close_now(struct sim_op *op)
{
    struct sim_file *file = op->closing;
    if (file->sock != NULL && op->reset)
        file->sock->linger_reset = true;
    file_drop(file);
    if (fault(SIM_FAULT_LATE, OP_CLOSE)) {
        enum { LATE_NS = 200000 };
        event_plan(&op->later, world.now_ns + chance(LATE_NS), op->later.fn);
        return;
    }
    op_complete(op, 0, 0, NULL, 0);
}

static void close_late(struct sim_event *event)
{
    op_complete(weir_container(event, struct sim_op, later), 0, 0, NULL, 0);
}

static void op_wakes(struct sim_event *event)
{
    struct sim_op *op = weir_container(event, struct sim_op, later);
    op->delayed = false;
    if (op->kind == IO_OP_MOVE && !op->room_only)
        op_complete(op, 0, 0, NULL, 0); /* the disk has it now */
    else if (op_can(op))
        op_ready(op);
}

static void connect_now(struct sim_op *op)
{
    int result = sock_connect(op->sock, &op->address.any, op->address_size);
    if (result == -EAGAIN) { /* a unix listener's queue is full: the kernel waits */
        enum { AGAIN_NS = 1000000 };
        op->delayed = true;
        event_plan(&op->later, world.now_ns + AGAIN_NS, op->later.fn);
        return;
    }
    if (result == -EINPROGRESS)
        op_attach(op);
    else
        op_complete(op, result, 0, NULL, 0);
}

static void connect_again(struct sim_event *event)
{
    struct sim_op *op = weir_container(event, struct sim_op, later);
    op->delayed = false;
    connect_now(op);
}

/* One that was canceled before it was submitted is canceled at once, or finds something to do at
 * once and does that first. */
static void op_start(struct sim_op *op)
{
    bool race = op->canceling && op->kind != IO_OP_CONNECT && op->sock != NULL &&
                fault(SIM_FAULT_CANCEL_RACE, OP_CANCEL);
    op->state = OP_STATE_RUNS;
    if (race) {
        op_attach(op);
        race = op->in_ready;
    }
    if (op->canceling && !race)
        op_complete(op, -ECANCELED, 0, NULL, 0);
    if (op->canceling)
        return;
    switch (op->kind) {
    case IO_OP_CLOSE:
        close_now(op);
        break;
    case IO_OP_CONNECT:
        op->later.fn = connect_again;
        connect_now(op);
        break;
    case IO_OP_POLL:
        if (op->sock == NULL) {
            op_complete(op, (int)(op->mask & (POLLIN | POLLOUT)), 0, NULL, 0);
            break;
        }
        op_attach(op);
        break;
    case IO_OP_SEND:
        op_attach(op);
        if (!op->in_ready && !op->room_only)
            op_ready(op); /* it is tried at once: no room is an answer to some */
        break;
    default:
        op_attach(op);
        break;
    }
}

/* --- progress --------------------------------------------------------------------------------- */

/* A block with room, or -1. */
static int block_take(struct sim_io *sio)
{
    uint32_t from;
    if (fault(SIM_FAULT_NO_BUFFERS, OP_RECV))
        return -1;
    if (sio->incremental && sio->blocks[sio->filling].lent)
        return (int)sio->filling;
    from = (uint32_t)chance(sio->io.blocks);
    for (uint32_t i = 0; i < sio->io.blocks; i++) {
        uint32_t at = (from + i) % sio->io.blocks;
        if (sio->blocks[at].lent) {
            sio->filling = at;
            return (int)at;
        }
    }
    return -1;
}

static uint8_t *block_fill(struct sim_io *sio, int at, uint32_t size)
{
    struct block *block = &sio->blocks[at];
    uint8_t *data = block->data + block->used;
    block->refs++;
    block->used += size;
    if (!sio->incremental || block->used >= sio->block_bytes)
        block->lent = false;
    return data;
}

static void recv_go(struct sim_op *op)
{
    struct sim_io *sio = op->io;
    if (op->sock->state == SOCK_DATAGRAM) {
        messages_go(op);
        return;
    }
    for (int shot = 0; shot < SHOTS_MOST; shot++) {
        struct sim_sock *sock = op->sock;
        unsigned flags = IO_BUFFER;
        int at = -1, got;
        if (!op_can(op))
            return;
        if (sock_waiting(sock) != 0) {
            at = block_take(sio);
            if (at < 0) {
                sio->io.stats.buffer_outages++;
                op_complete(op, -ENOBUFS, 0, NULL, 0);
                return;
            }
        }
        got = try_recv(sio, sock, at >= 0 ? sio->blocks[at].data + sio->blocks[at].used : NULL,
                       at >= 0 ? sio->block_bytes - sio->blocks[at].used : 0);
        if (got == -EAGAIN)
            return;
        if (got <= 0) {
            op_complete(op, got, 0, NULL, 0);
            return;
        }
        if (sock_waiting(sock) == 0)
            flags |= IO_DRAINED;
        if (!op->once && !fault(SIM_FAULT_SHOT_ENDS, OP_RECV))
            flags |= IO_MORE;
        record("received", sock->id, got, (int64_t)sock->in->read);
        op_complete(op, got, flags, block_fill(sio, at, (uint32_t)got), (unsigned)at);
        if (!(flags & IO_MORE))
            return;
    }
}

static void accept_go(struct sim_op *op)
{
    for (int shot = 0; shot < SHOTS_MOST && op_can(op); shot++) {
        int number = try_accept(op->io, op->sock);
        bool more = number >= 0 && !op->once && !fault(SIM_FAULT_SHOT_ENDS, OP_ACCEPT);
        if (number == -EAGAIN)
            return;
        op_complete(op, number, more ? IO_MORE : 0, NULL, 0);
        if (!more)
            return;
    }
}

static void send_go(struct sim_op *op)
{
    int sent;
    if (op->room_only) {
        if (op_can(op))
            op_complete(op, 0, 0, NULL, 0);
        return;
    }
    sim_check(bytes_sum(op->iov, op->iov_count) == op->sum,
              "contract: the bytes of a send changed before its event");
    if (op->sock->state == SOCK_DATAGRAM)
        sent = udp_send(op->sock, &op->message);
    else
        sent = try_send(op->io, op->sock, op->iov, op->iov_count);
    if (sent != -EAGAIN || op->nowait)
        op_complete(op, sent, 0, NULL, 0);
}

static void op_go(struct sim_op *op)
{
    switch (op->kind) {
    case IO_OP_RECV:
        recv_go(op);
        break;
    case IO_OP_ACCEPT:
        accept_go(op);
        break;
    case IO_OP_SEND:
        send_go(op);
        break;
    case IO_OP_CONNECT:
        if (op_can(op))
            op_complete(op, -sock_take_error(op->sock), 0, NULL, 0);
        break;
    case IO_OP_MOVE:
        if (op_can(op))
            op_complete(op, 0, 0, NULL, 0);
        break;
    case IO_OP_POLL:
        if (op_can(op))
            op_complete(op, (int)(sock_ready(op->sock) & (op->mask | POLLERR | POLLHUP)), 0, NULL,
                        0);
        break;
    default:
        break;
    }
}

/* Goes once through those that can go on, in any order; some are late. */
static void harvest(struct sim_io *sio)
{
    uint32_t count = sio->ready_count;
    struct sim_op **turn;
    if (count == 0)
        return;
    turn = malloc(count * sizeof(struct sim_op *));
    if (turn == NULL)
        abort();
    memcpy(turn, sio->ready, count * sizeof(struct sim_op *));
    if (count > 1 && fault(SIM_FAULT_ORDER, OP_WAIT))
        for (uint32_t i = count - 1; i > 0; i--) {
            uint32_t other = (uint32_t)chance(i + 1);
            struct sim_op *swap = turn[i];
            turn[i] = turn[other];
            turn[other] = swap;
        }
    for (uint32_t i = 0; i < count; i++) {
        struct sim_op *op = turn[i];
        if (!op->in_ready)
            continue;
        if (fault(SIM_FAULT_LATE, OP_WAIT))
            continue; /* it stays ready, so that the next wait does not sleep */
        op_unready(op);
        op_go(op);
        if (op->attached && op->canceling) /* it came first, but it ends */
            op_complete(op, -ECANCELED, 0, NULL, 0);
        if (op->attached && op_can(op))
            op_ready(op);
    }
    free(turn);
}

/* --- the turn --------------------------------------------------------------------------------- */

static int completion_wait(struct io *io, int64_t timeout_ns)
{
    struct sim_io *sio = sim_io_of(io);
    sim_check(sio->harvest == 0, "contract: wait before next said that the harvest is used up");
    backend_turn(sio, timeout_ns);
    submit_all(sio);
    harvest(sio);
    backend_sleep(sio, sio->cq_count != 0 ? 0 : timeout_ns);
    harvest(sio);
    sio->harvest = sio->cq_count;
    if (sio->harvest > sio->cq_entries) {
        sio->harvest = sio->cq_entries;
        sio->io.stats.cq_overflows++;
        fault_count(SIM_FAULT_CQ_OVERFLOW, OP_WAIT);
    }
    return 0;
}

static int completion_next(struct io *io, struct io_event *event)
{
    struct sim_io *sio = sim_io_of(io);
    contract_thread(sio, "next");
    messages_forget(sio);
    if (sio->harvest == 0)
        return 0;
    sio->harvest--;
    completion_take(sio, event);
    return 1;
}

/* --- verbs ------------------------------------------------------------------------------------ */

static int completion_accept(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct sim_op *op;
    return queue_verb(io, fd, token, IO_OP_ACCEPT, OP_ACCEPT, &op);
}

static int completion_recv(struct io *io, struct io_fd *fd, uint64_t token)
{
    struct sim_op *op;
    return queue_verb(io, fd, token, IO_OP_RECV, OP_RECV, &op);
}

static int completion_connect(struct io *io, struct io_fd *fd, const struct sockaddr *address,
                              socklen_t size, uint64_t token, int *result)
{
    struct sim_op *op;
    int error = queue_verb(io, fd, token, IO_OP_CONNECT, OP_CONNECT, &op);
    if (error < 0)
        return error;
    sim_check(size <= sizeof(op->address), "contract: an address of %u bytes", (unsigned)size);
    memcpy(&op->address, address, size);
    op->address_size = size;
    return IO_PENDING;
}

static int completion_send(struct io *io, struct io_fd *fd, const struct iovec *iov, unsigned count,
                           unsigned flags, uint64_t token, int *result)
{
    struct sim_op *op;
    int error = queue_verb(io, fd, token, IO_OP_SEND, OP_SEND, &op);
    if (error < 0)
        return error;
    if (count > IOV_MOST_SIM)
        count = IOV_MOST_SIM;
    iov_keep(op, iov, count);
    op->nowait = (flags & IO_SEND_NOWAIT) != 0;
    op->room_only = count == 0 && flags & IO_SEND_BLOCKED;
    return IO_PENDING;
}

static int move_wait(struct sim_io *sio, struct io_fd *fd, struct sim_sock *sock, uint64_t token,
                     bool disk)
{
    enum { DISK_NS = 1000000000 };
    struct sim_op *op;
    if (queue_refuses(sio, OP_MOVE, sock))
        return -ENOBUFS;
    op = op_new(sio, fd, sock, token, IO_OP_MOVE);
    op->room_only = !disk;
    if (!disk) {
        queue_op(op);
        return IO_PENDING;
    }
    op->state = OP_STATE_RUNS;
    op->delayed = true;
    event_plan(&op->later, world.now_ns + chance_size(DISK_NS), op_wakes);
    return IO_PENDING;
}

static int completion_move(struct io *io, struct io_fd *fd, int file, int64_t *offset, size_t size,
                           unsigned flags, uint64_t token, int *result)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, IO_OP_MOVE);
    bool nowait = (flags & IO_SEND_NOWAIT) != 0;
    int moved;
    refused_forget(sock);
    if (flags & IO_SEND_BLOCKED && !nowait)
        return move_wait(sio, fd, sock, token, false);
    if (!nowait && fault(SIM_FAULT_FILE_SLOW, OP_MOVE))
        return move_wait(sio, fd, sock, token, true);
    moved = try_move(sio, sock, file, offset, size);
    if (moved == -EAGAIN && !nowait)
        return move_wait(sio, fd, sock, token, false);
    *result = moved;
    return IO_DONE;
}

static int completion_close_fd(struct io *io, struct io_fd *fd, bool reset, uint64_t token,
                               int *result)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_sock *sock = contract_fd(sio, fd, token, IO_OP_CLOSE);
    struct sim_file *file = backend_file(sio, fd);
    bool direct = (fd->flags & IO_FD_DIRECT) != 0;
    struct sim_op *op;
    for (op = sock != NULL ? sock->operations : NULL; op != NULL; op = op->sock_next)
        if (op->io == sio && op->fd == fd)
            sim_fail("contract: close while an operation (%u) is in flight on socket %u", op->kind,
                     sock->id);
    if (sock != NULL)
        refused_forget(sock);
    if (queue_refuses(sio, OP_CLOSE, NULL)) {
        if (direct)
            return -ENOBUFS;
        if (reset && sock != NULL)
            sock->linger_reset = true;
        *result = file_close(fd->fd);
        fd->fd = -1;
        return IO_DONE;
    }
    op = op_new(sio, NULL, NULL, token, IO_OP_CLOSE);
    op->closing = file;
    op->reset = reset;
    op->later.fn = close_late;
    queue_op(op);
    if (direct) {
        sio->direct[fd->fd] = NULL;
    } else {
        file->references++;
        file_close(fd->fd);
    }
    fd->fd = -1;
    return IO_PENDING;
}

static void cancel_arrives(struct sim_event *event)
{
    struct sim_op *op = weir_container(event, struct sim_op, later);
    if (op->attached)
        op_complete(op, -ECANCELED, 0, NULL, 0);
}

/* Finds it running, queued, or over; a ring's cancel never says which. */
static int completion_cancel(struct io *io, struct io_fd *fd, uint64_t token)
{
    enum { RACE_NS = 2000000 };
    struct sim_io *sio = sim_io_of(io);
    struct sim_op *op;
    contract_thread(sio, "cancel");
    if (IO_TOKEN_OP(token) == IO_OP_FILE)
        return queue_refuses(sio, OP_CANCEL, NULL) ? -ENOBUFS : backend_cancel_file(sio, token);
    op = op_find(sio, token);
    if (op != NULL && op->sock != NULL)
        refused_forget(op->sock);
    if (op != NULL && op->canceling)
        return 0;
    if (queue_refuses(sio, OP_CANCEL, NULL))
        return -ENOBUFS;
    if (op == NULL || op->state == OP_STATE_OVER)
        return 0;
    record("cancel", (int64_t)op->kind, op->sock != NULL ? op->sock->id : 0, op->in_ready);
    op->canceling = true;
    if (op->state == OP_STATE_QUEUED)
        return 0;
    if (op->in_ready && fault(SIM_FAULT_CANCEL_RACE, OP_CANCEL))
        return 0; /* it completes by itself: whatever it brings comes first */
    if (op->later.place == 0 && fault(SIM_FAULT_CANCEL_RACE, OP_CANCEL)) {
        event_plan(&op->later, world.now_ns + chance(RACE_NS), cancel_arrives);
        return 0; /* and what arrives until then counts */
    }
    op_complete(op, -ECANCELED, 0, NULL, 0);
    return 0;
}

static int completion_poll(struct io *io, struct io_fd *fd, unsigned mask, uint64_t token)
{
    struct sim_op *op;
    int error;
    if (!fd_is_sim(fd->fd)) { /* a real one: a regular file, always ready */
        op = op_new(sim_io_of(io), fd, NULL, token, IO_OP_POLL);
        queue_op(op);
    } else {
        error = queue_verb(io, fd, token, IO_OP_POLL, OP_POLL, &op);
        if (error < 0)
            return error;
    }
    op->mask = mask;
    return IO_PENDING;
}

/* --- blocks ----------------------------------------------------------------------------------- */

static struct block *block_of(struct sim_io *sio, unsigned at, const char *verb)
{
    contract_thread(sio, verb);
    sim_check(at < sio->io.blocks, "contract: %s of block %u of %u", verb, at, sio->io.blocks);
    sim_check(sio->blocks[at].refs > 0, "contract: %s of block %u, to which nobody refers", verb,
              at);
    return &sio->blocks[at];
}

static void completion_hold(struct io *io, unsigned at)
{
    block_of(sim_io_of(io), at, "hold")->refs++;
}

static void completion_release(struct io *io, unsigned at)
{
    enum { POISON = 0xee };
    struct sim_io *sio = sim_io_of(io);
    struct block *block = block_of(sio, at, "release");
    if (--block->refs != 0 || block->lent)
        return;
    memset(block->data, POISON, block->used);
    block->used = 0;
    block->lent = true;
}

static bool completion_blocks_free(struct io *io)
{
    struct sim_io *sio = sim_io_of(io);
    for (uint32_t i = 0; i < sio->io.blocks; i++)
        if (sio->blocks[i].lent)
            return true;
    return false;
}

void completion_open(struct sim_io *sio)
{
    sio->io.ops = &sim_completion;
}

const struct io_ops sim_completion = {
    .name = "sim",
    .open = backend_open,
    .close = backend_close,
    .wait = completion_wait,
    .next = completion_next,
    .wake = backend_wake,
    .poll_fd = backend_poll_fd,
    .accept = completion_accept,
    .connect = completion_connect,
    .recv = completion_recv,
    .recvmsg = completion_recvmsg,
    .sendmsg = completion_sendmsg,
    .send = completion_send,
    .move = completion_move,
    .close_fd = completion_close_fd,
    .cancel = completion_cancel,
    .poll = completion_poll,
    .file = backend_file_start,
    BACKEND_VERBS,
    .hold = completion_hold,
    .release = completion_release,
    .blocks_free = completion_blocks_free,
};
