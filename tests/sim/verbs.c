/* What the verbs of both faces do when they are done: bytes, accepts, files, numbers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/error.h>

#include "backend.h"
#include "perform.h"

/* --- sums ------------------------------------------------------------------------------------- */

/* Of the bytes of a send, which may not change, nor go, before its event: of long pieces a sample,
 * the first ones among it, which leave next. */
uint64_t bytes_sum(const struct iovec *iov, unsigned count)
{
    enum { SAMPLES = 64 };
    uint64_t sum = count;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *bytes = iov[i].iov_base;
        size_t size = iov[i].iov_len, at = 0, step = size > 8 * SAMPLES ? size / SAMPLES : 8;
        for (; at + 8 <= size; at += step) {
            uint64_t word;
            memcpy(&word, bytes + at, 8);
            sum = (sum ^ word) * 0x9e3779b97f4a7c15ull;
            sum ^= sum >> 31;
        }
        for (; at < size; at++)
            sum = (sum ^ bytes[at]) * 0x100000001b3ull;
    }
    return sum;
}

void iov_keep(struct sim_op *op, const struct iovec *iov, unsigned count)
{
    op->iov = malloc((count + 1) * sizeof(*iov));
    if (op->iov == NULL)
        abort();
    memcpy(op->iov, iov, count * sizeof(*iov));
    op->iov_count = count;
    op->sum = bytes_sum(iov, count);
}

/* --- sockets ---------------------------------------------------------------------------------- */

/* Soft errors of the path leave the connection as it is; the others end it: tcp(7). */
static int send_error(struct sim_sock *sock)
{
    static const int errors[] = {EHOSTUNREACH, ENETUNREACH, ETIMEDOUT, ECONNRESET};
    int error = errors[chance(sizeof(errors) / sizeof(*errors))];
    record("send fails", sock->id, error, 0);
    if (error == ETIMEDOUT || error == ECONNRESET)
        sock_break(sock, error);
    sock->error = 0; /* told now */
    return error;
}

static size_t total(const struct iovec *iov, unsigned count)
{
    size_t size = 0;
    for (unsigned i = 0; i < count; i++)
        size += iov[i].iov_len;
    return size;
}

int try_send(struct sim_io *sio, struct sim_sock *sock, const struct iovec *iov, unsigned count)
{
    size_t left = total(iov, count), asked = left;
    int sent = 0;
    sio->io.stats.syscalls++;
    if (sock->state == SOCK_OPEN && !sock->dead && fault(SIM_FAULT_SEND_ERROR, OP_SEND))
        return -send_error(sock);
    if (left > 1 && fault(SIM_FAULT_SHORT_WRITE, OP_SEND))
        left = chance_size(left);
    if (left == 0)
        return (int)sock_send(sock, NULL, 0);
    for (unsigned i = 0; i < count && left != 0; i++) {
        size_t size = iov[i].iov_len < left ? iov[i].iov_len : left;
        int64_t one = size != 0 ? sock_send(sock, iov[i].iov_base, size) : 0;
        if (one < 0)
            return sent != 0 ? sent : (int)one;
        sent += (int)one;
        left -= (size_t)one;
        if ((size_t)one < size)
            break;
    }
    if ((size_t)sent < asked)
        sio->io.stats.short_sends++;
    record("sent", sock->id, sent, (int64_t)sock->out->sent);
    return sent;
}

int try_recv(struct sim_io *sio, struct sim_sock *sock, void *data, size_t size)
{
    sio->io.stats.syscalls++;
    if (sock->state == SOCK_OPEN && !sock->dead && fault(SIM_FAULT_RECV_ERROR, OP_RECV)) {
        static const int errors[] = {ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH};
        int error = errors[chance(sizeof(errors) / sizeof(*errors))];
        sock_break(sock, error);
        return -sock_take_error(sock);
    }
    if (size > 1 && sock_waiting(sock) > 1 && fault(SIM_FAULT_SHORT_READ, OP_RECV))
        size = chance_size(size < sock_waiting(sock) ? size : sock_waiting(sock));
    return (int)sock_recv(sock, data, size);
}

int accept_install(struct sim_io *sio, struct sim_file *file)
{
    if (!sio->io.direct)
        return file_install(file);
    for (int i = 0; i < DIRECT_SLOTS; i++)
        if (sio->direct[i] == NULL) {
            sio->direct[i] = file;
            return i;
        }
    return -ENFILE;
}

int try_accept(struct sim_io *sio, struct sim_sock *listener)
{
    struct sim_sock *sock;
    struct sim_file *file;
    int number;
    sio->io.stats.syscalls++;
    if (fault(SIM_FAULT_ACCEPT_ERROR, OP_ACCEPT)) {
        static const int errors[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS, ECONNABORTED};
        int error = errors[chance(sizeof(errors) / sizeof(*errors))];
        if (error == ECONNABORTED && (sock = sock_accept(listener)) != NULL) {
            sock->linger_reset = true;
            sock_close(sock);
        }
        record("accept fails", listener->id, error, 0);
        return -error;
    }
    if (listener->queue_first == NULL)
        return -EAGAIN;
    file = file_new(FILE_SOCKET);
    number = accept_install(sio, file);
    if (number < 0)
        return number;
    sock = sock_accept(listener);
    file->sock = sock;
    file->nonblock = true;
    record("accepted", sock->id, number, listener->id);
    return number;
}

int try_move(struct sim_io *sio, struct sim_sock *sock, int file, int64_t *offset, size_t size)
{
    static uint8_t piece[64 * 1024];
    uint64_t room;
    int64_t sent;
    ssize_t got;
    sio->io.stats.syscalls++;
    if (sock->error != 0 || sock->dead || sock->write_shut || sock->state != SOCK_OPEN)
        return (int)sock_send(sock, piece, 1);
    if (fault(SIM_FAULT_FILE_ERROR, OP_MOVE))
        return -EIO;
    room = sock_room(sock);
    if (room == 0) {
        sock->no_space = true;
        return -EAGAIN;
    }
    size = size < room ? size : room;
    size = size < sizeof(piece) ? size : sizeof(piece);
    if (size > 1 && fault(SIM_FAULT_SHORT_WRITE, OP_MOVE))
        size = chance_size(size);
    got = pread(file, piece, size, *offset);
    if (got <= 0)
        return got < 0 ? -errno : 0;
    if (fault(SIM_FAULT_FILE_SHORT, OP_MOVE) && chance(8) == 0)
        return 0; /* it was truncated meanwhile */
    sent = sock_send(sock, piece, (size_t)got);
    if (sent > 0)
        *offset += sent;
    record("moved", sock->id, sent, *offset);
    return (int)sent;
}

int backend_shutdown(struct io *io, struct io_fd *fd, int how)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_file *file;
    contract_thread(sio, "shutdown");
    if (fd->fd < 0 || (file = backend_file(sio, fd)) == NULL || file->sock == NULL)
        sim_fail("contract: shutdown of a descriptor that is not open");
    return sock_shutdown(file->sock, how);
}

/* --- numbers ---------------------------------------------------------------------------------- */

int backend_number(struct io *io, struct io_fd *fd)
{
    struct sim_io *sio = sim_io_of(io);
    struct sim_file *file;
    int number;
    contract_thread(sio, "number");
    if (fd->fd < 0 || (file = backend_file(sio, fd)) == NULL)
        sim_fail("contract: number of a descriptor that is not open");
    if (!(fd->flags & IO_FD_DIRECT))
        return fd->fd;
    if (fault(SIM_FAULT_SOCKET_ERROR, OP_SOCKET))
        return -EMFILE;
    file->references++;
    number = file_install(file);
    if (number < 0)
        file->references--;
    return number;
}

void backend_number_done(struct io *io, struct io_fd *fd, int number)
{
    if (!(fd->flags & IO_FD_DIRECT) || number < 0)
        return;
    sim_check(file_close(number) == 0, "contract: number_done of a number that is not open");
}

/* --- files ------------------------------------------------------------------------------------ */

static void file_later(struct sim_event *event)
{
    struct sim_op *op = weir_container(event, struct sim_op, later);
    op_complete(op, file_perform(op->file), 0, NULL, 0);
}

int backend_file_start(struct io *io, struct io_file *file, uint64_t token)
{
    enum { FAST_NS = 300000, SLOW_NS = 2000000000 };
    struct sim_io *sio = sim_io_of(io);
    bool job = file->verb == IO_FILE_CALL || (sio->face == FACE_READINESS && chance(2) == 0);
    struct sim_op *op;
    uint64_t after_ns;
    contract_thread(sio, "file");
    if (IO_TOKEN_OP(token) != IO_OP_FILE)
        sim_fail("contract: file with the token of another verb");
    if (sio->config.pool == NULL)
        return WEIR_ENOTSUP;
    if (fault(SIM_FAULT_QUEUE_FULL, OP_FILE))
        return sio->face == FACE_COMPLETION ? -ENOBUFS : WEIR_EFULL;
    file->token = token;
    if (job) {
        int error = weir__pool_submit(sio->config.pool, &sio->client, file);
        if (error < 0)
            return error;
        sio->jobs++;
    }
    op = op_new(sio, NULL, NULL, token, IO_OP_FILE);
    op->file = file;
    op->state = OP_STATE_RUNS;
    if (job)
        return IO_PENDING;
    after_ns = fault(SIM_FAULT_FILE_SLOW, OP_FILE) ? chance_size(SLOW_NS) : chance(FAST_NS);
    event_plan(&op->later, world.now_ns + after_ns, file_later);
    return IO_PENDING;
}

int backend_cancel_file(struct sim_io *sio, uint64_t token)
{
    struct sim_op *op = op_find(sio, token);
    struct io_file *file;
    if (op == NULL || op->state == OP_STATE_OVER)
        return sio->face == FACE_READINESS ? -ENOENT : 0;
    if (fault_rare(SIM_FAULT_CANCEL_RACE, OP_FILE))
        return 0; /* a worker has just taken it, or it is done */
    if (op->later.place != 0) {
        event_cancel(&op->later);
        op_complete(op, -ECANCELED, 0, NULL, 0);
        return 0;
    }
    file = weir__pool_cancel(sio->config.pool, &sio->client, token);
    if (file != NULL) {
        sio->jobs--;
        op_complete(op, -ECANCELED, 0, NULL, 0);
    }
    return 0;
}
