/* The layer's part below the ring: liburing's calls, entries on their way in, results on their way
 * out. An entry that is to fail becomes a NOP with that result, which the kernel completes in its
 * own time; the operation never happens. A result is changed only where the world stays whole
 * without it. */
#include "layer.h"
#include "nth.h"

#include <errno.h>
#include <unistd.h>

#include "io/uring.h"

#define ERRORS(...)       ((const int[]){__VA_ARGS__, 0})
#define HERE              __builtin_return_address(0)
#define NOP_INJECT_RESULT 1u /* IORING_NOP_INJECT_RESULT, kernel 6.10 */

#define WRAP_RING(type, name, arguments, values, errors)                 \
    type __real_##name arguments;                                        \
    type __wrap_##name arguments;                                        \
    type __wrap_##name arguments                                         \
    {                                                                    \
        int error = nth_fault(NTH_CALL, #name, -1, ERRORS errors, HERE); \
        if (error > 0)                                                   \
            return -error;                                               \
        return __real_##name values;                                     \
    }

WRAP_RING(int, io_uring_queue_init_params,
          (unsigned entries, struct io_uring *ring, struct io_uring_params *params),
          (entries, ring, params), (ENOMEM, EPERM, ENOSYS, EMFILE, ENFILE, EINVAL))
WRAP_RING(int, io_uring_register, (unsigned fd, unsigned op, void *arg, unsigned count),
          (fd, op, arg, count), (EINVAL, ENOMEM, EBUSY, EPERM))
WRAP_RING(int, io_uring_ring_dontfork, (struct io_uring * ring), (ring), (ENOMEM))
WRAP_RING(int, io_uring_submit, (struct io_uring * ring), (ring), (EAGAIN, EBUSY, EINTR))
WRAP_RING(int, io_uring_submit_and_wait_timeout,
          (struct io_uring * ring, struct io_uring_cqe **cqe, unsigned count,
           struct __kernel_timespec *time, sigset_t *mask),
          (ring, cqe, count, time, mask), (ETIME, EINTR, EAGAIN))

/* --- entries ---------------------------------------------------------------------------------- */

static const int *entry_errors(const struct io_uring_sqe *sqe)
{
#define SEND_ERRORS EPIPE, ECONNRESET, ENOBUFS, ENOMEM, EINTR, EAGAIN, ETIMEDOUT, EHOSTUNREACH
    static const int none[] = {0};
    static const int accept[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, ECONNABORTED, EPERM, 0};
    static const int connect[] = {ECONNREFUSED,  ETIMEDOUT, EHOSTUNREACH, ENETUNREACH,
                                  EADDRNOTAVAIL, ENOMEM,    EINTR,        0};
    static const int recv[] = {ENOBUFS, ECONNRESET, ECANCELED, ENOMEM, EINTR, ETIMEDOUT, 0};
    static const int send[] = {SEND_ERRORS, NTH_SHORT, 0}, sendmsg[] = {SEND_ERRORS, 0};
    static const int cancel[] = {ENOENT, 0}, poll[] = {ENOMEM, 0}, install[] = {EMFILE, ENOMEM, 0};
    static const int read[] = {EIO, EAGAIN, EINTR, ENOMEM, NTH_SHORT, 0};
    static const int write[] = {ENOSPC, EIO, EINTR, ENOMEM, NTH_SHORT, 0};
    static const int open[] = {EMFILE, ENFILE, ENOMEM, EACCES, ENOENT, ELOOP, EINTR, EAGAIN, 0};
    static const int stat[] = {ENOMEM, EACCES, EIO, 0}, option[] = {EOPNOTSUPP, ENOMEM, 0};

    switch (sqe->opcode) {
    case IORING_OP_ACCEPT:
        return accept;
    case IORING_OP_CONNECT:
        return connect;
    case IORING_OP_RECV:
        return recv;
    case IORING_OP_SEND:
        return send;
    case IORING_OP_SENDMSG:
        return sendmsg;
    case IORING_OP_ASYNC_CANCEL:
        return cancel;
    case IORING_OP_POLL_ADD:
        return poll;
    case IORING_OP_READ:
        return read;
    case IORING_OP_WRITE:
        return write;
    case IORING_OP_OPENAT2:
        return open;
    case IORING_OP_STATX:
    case IORING_OP_FSYNC:
        return stat;
    case IORING_OP_URING_CMD:
        return option;
    case URING_OP_FIXED_FD_INSTALL:
        return install;
    default:
        return none; /* NOP, and close, whose result is changed when it is done */
    }
}

static const char *entry_name(unsigned opcode)
{
    static const char *const names[] = {
        [IORING_OP_ACCEPT] = "ring accept",     [IORING_OP_CONNECT] = "ring connect",
        [IORING_OP_RECV] = "ring recv",         [IORING_OP_SEND] = "ring send",
        [IORING_OP_SENDMSG] = "ring sendmsg",   [IORING_OP_ASYNC_CANCEL] = "ring cancel",
        [IORING_OP_POLL_ADD] = "ring poll",     [IORING_OP_READ] = "ring read",
        [IORING_OP_WRITE] = "ring write",       [IORING_OP_OPENAT2] = "ring openat2",
        [IORING_OP_STATX] = "ring statx",       [IORING_OP_FSYNC] = "ring fsync",
        [IORING_OP_URING_CMD] = "ring command",
    };

    return opcode < sizeof(names) / sizeof(*names) && names[opcode] ? names[opcode] : "ring other";
}

static void spoil_entry(struct io_uring_sqe *sqe)
{
    int fd = sqe->flags & IOSQE_FIXED_FILE ? -1 : sqe->fd;
    int error = nth_fault(NTH_ENTRY, entry_name(sqe->opcode), fd, entry_errors(sqe), NULL);
    struct io_uring_sqe nop = {.opcode = IORING_OP_NOP, .user_data = sqe->user_data};

    if (error == 0)
        return;
    if (error == NTH_SHORT) {
        if (sqe->len > 1)
            sqe->len /= 2;
        return;
    }
    nop.flags = sqe->flags & (IOSQE_IO_HARDLINK | IOSQE_CQE_SKIP_SUCCESS);
    nop.rw_flags = NOP_INJECT_RESULT;
    nop.len = (unsigned)-error;
    *sqe = nop;
}

/* --- results ---------------------------------------------------------------------------------- */

/* What the operation could have ended with, though it has done what it has done. */
static const int *result_errors(const struct io_uring_cqe *cqe)
{
    static const int none[] = {0}, end[] = {ECONNRESET, ETIMEDOUT, 0};
    static const int connect[] = {ETIMEDOUT, ECONNRESET, 0}, close_errors[] = {EINTR, EIO, 0};
    static const int accept[] = {ECONNABORTED, EMFILE, ENOMEM, 0}, cancel[] = {ENOENT, EALREADY, 0};
    bool last = !(cqe->flags & IORING_CQE_F_MORE);

    if (cqe->res < 0)
        return none;
    switch (IO_TOKEN_OP(cqe->user_data)) {
    case IO_OP_ACCEPT:
        return last ? accept : none;
    case IO_OP_CONNECT:
        return connect;
    case IO_OP_RECV:
        return cqe->res == 0 && last && !(cqe->flags & IORING_CQE_F_BUFFER) ? end : none;
    case IO_OP_CLOSE:
        return close_errors;
    case URING_OWN_CANCEL + IO_OP_RECV:
    case URING_OWN_CANCEL + IO_OP_ACCEPT:
        return cancel;
    default:
        return none;
    }
}

static void spoil_result(struct uring *ring, struct io_uring_cqe *cqe)
{
    static const char *const names[16] = {
        [IO_OP_ACCEPT] = "result of accept",
        [IO_OP_CONNECT] = "result of connect",
        [IO_OP_RECV] = "result of recv",
        [IO_OP_CLOSE] = "result of close",
        [URING_OWN_CANCEL + IO_OP_RECV] = "result of cancel (recv)",
        [URING_OWN_CANCEL + IO_OP_ACCEPT] = "result of cancel (accept)",
    };
    unsigned op = IO_TOKEN_OP(cqe->user_data);
    int error =
        nth_fault(NTH_COMPLETION, names[op] ? names[op] : "result", -1, result_errors(cqe), NULL);

    if (error == 0)
        return;
    if (op == IO_OP_ACCEPT && !ring->io.direct)
        __real_close(cqe->res);
    cqe->res = -error;
}

int __real_uring_real_enter(struct uring *ring, unsigned submit, unsigned wait, unsigned flags,
                            const struct io_uring_getevents_arg *arg);
int __wrap_uring_real_enter(struct uring *ring, unsigned submit, unsigned wait, unsigned flags,
                            const struct io_uring_getevents_arg *arg);
int __wrap_uring_real_enter(struct uring *ring, unsigned submit, unsigned wait, unsigned flags,
                            const struct io_uring_getevents_arg *arg)
{
    static __thread const struct uring *whose;
    static __thread unsigned seen;
    int result;

    for (unsigned i = 0; i < submit; i++)
        spoil_entry(&ring->sqes[(ring->sq_submitted + i) & ring->sq_mask]);
    result = __real_uring_real_enter(ring, submit, wait, flags, arg);
    if (whose != ring || (int)(seen - ring->cq_head) < 0)
        seen = ring->cq_head;
    whose = ring;
    for (; seen != __atomic_load_n(ring->cq_ktail, __ATOMIC_ACQUIRE); seen++)
        spoil_result(ring, &ring->cqes[seen & ring->cq_mask]);
    return result;
}
