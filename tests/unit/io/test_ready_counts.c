/* The back ends that wait for readiness count their system calls: in all cases of the suite the
 * counter moves by as many as were made, by the thread of the loop, within its verbs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io_suite.h"

static _Thread_local bool inside;
static uint64_t made;

#define COUNTED(type, name, parameters, ...)                                \
    type name parameters                                                    \
    {                                                                       \
        static type(*real) parameters;                                      \
        type(*found) parameters = __atomic_load_n(&real, __ATOMIC_RELAXED); \
        if (found == NULL) {                                                \
            found = (type(*) parameters)dlsym(RTLD_NEXT, #name);            \
            __atomic_store_n(&real, found, __ATOMIC_RELAXED);               \
        }                                                                   \
        if (inside) /* other threads must not write it */                   \
            made++;                                                         \
        return found(__VA_ARGS__);                                          \
    }

/* In the place of the C library's. */
COUNTED(int, epoll_ctl, (int ep, int what, int fd, struct epoll_event *event), ep, what, fd, event)
COUNTED(int, epoll_wait, (int ep, struct epoll_event *events, int most, int ms), ep, events, most,
        ms)
COUNTED(int, epoll_pwait2,
        (int ep, struct epoll_event *events, int most, const struct timespec *time,
         const sigset_t *mask),
        ep, events, most, time, mask)
COUNTED(int, ppoll,
        (struct pollfd * fds, nfds_t count, const struct timespec *time, const sigset_t *mask), fds,
        count, time, mask)
COUNTED(int, pselect,
        (int count, fd_set *readable, fd_set *writable, fd_set *odd, const struct timespec *time,
         const sigset_t *mask),
        count, readable, writable, odd, time, mask)
COUNTED(int, accept4, (int fd, struct sockaddr *name, socklen_t *size, int flags), fd, name, size,
        flags)
COUNTED(int, connect, (int fd, const struct sockaddr *name, socklen_t size), fd, name, size)
COUNTED(ssize_t, send, (int fd, const void *bytes, size_t size, int flags), fd, bytes, size, flags)
COUNTED(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), fd, message, flags)
COUNTED(int, sendmmsg, (int fd, struct mmsghdr *messages, unsigned count, int flags), fd, messages,
        count, flags)
COUNTED(ssize_t, recv, (int fd, void *bytes, size_t size, int flags), fd, bytes, size, flags)
COUNTED(int, recvmmsg,
        (int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *time), fd,
        messages, count, flags, time)
COUNTED(ssize_t, read, (int fd, void *bytes, size_t size), fd, bytes, size)
COUNTED(int, poll, (struct pollfd * fds, nfds_t count, int ms), fds, count, ms)
COUNTED(int, shutdown, (int fd, int how), fd, how)
COUNTED(int, close, (int fd), fd)
COUNTED(int, setsockopt, (int fd, int level, int option, const void *value, socklen_t size), fd,
        level, option, value, size)
COUNTED(int, getsockopt, (int fd, int level, int option, void *value, socklen_t *size), fd, level,
        option, value, size)
COUNTED(ssize_t, sendfile, (int fd, int file, off_t *offset, size_t size), fd, file, offset, size)
COUNTED(int, pthread_sigmask, (int how, const sigset_t *set, sigset_t *former), how, set, former)

/* --- the verbs, watched ----------------------------------------------------------------------- */

static const struct io_ops *real;
static struct io_ops watched;
static uint64_t made_before, counted_before;

#define WATCHED(name, parameters, ...)        \
    static int watched_##name parameters      \
    {                                         \
        inside = true;                        \
        int result = real->name(__VA_ARGS__); \
        inside = false;                       \
        return result;                        \
    }

WATCHED(wait, (struct io * io, int64_t ns), io, ns)
WATCHED(next, (struct io * io, struct io_event *event), io, event)
WATCHED(accept, (struct io * io, struct io_fd *fd, uint64_t token), io, fd, token)
/* Its first call is an ioctl, of which there are others that are not counted. */
static int watched_connect(struct io *io, struct io_fd *fd, const struct sockaddr *name,
                           socklen_t size, uint64_t token, int *out)
{
    inside = true;
    int result = real->connect(io, fd, name, size, token, out);
    inside = false;
    made += result >= 0;
    return result;
}

WATCHED(recv, (struct io * io, struct io_fd *fd, uint64_t token), io, fd, token)
WATCHED(recvmsg, (struct io * io, struct io_fd *fd, uint64_t token), io, fd, token)
WATCHED(send,
        (struct io * io, struct io_fd *fd, const struct iovec *iov, unsigned count, unsigned flags,
         uint64_t token, int *out),
        io, fd, iov, count, flags, token, out)
WATCHED(sendmsg,
        (struct io * io, struct io_fd *fd, struct mmsghdr *messages, unsigned count, unsigned flags,
         uint64_t token, int *out),
        io, fd, messages, count, flags, token, out)
/* What is looked at to keep the disk from holding the loop is not counted: a move is three calls.
 */
static int watched_move(struct io *io, struct io_fd *fd, int file, int64_t *offset, size_t size,
                        unsigned flags, uint64_t token, int *out)
{
    uint64_t before = io->stats.syscalls;
    int result = real->move(io, fd, file, offset, size, flags, token, out);
    if (result == IO_DONE && *out >= 0 && io->stats.syscalls != before + 3)
        fail_msg("a move counted %u system calls", (unsigned)(io->stats.syscalls - before));
    counted_before += io->stats.syscalls - before;
    return result;
}

WATCHED(shutdown, (struct io * io, struct io_fd *fd, int how), io, fd, how)
WATCHED(close_fd, (struct io * io, struct io_fd *fd, bool reset, uint64_t token, int *out), io, fd,
        reset, token, out)
WATCHED(cancel, (struct io * io, struct io_fd *fd, uint64_t token), io, fd, token)
WATCHED(poll, (struct io * io, struct io_fd *fd, unsigned mask, uint64_t token), io, fd, mask,
        token)

static int watched_open(struct io **io, const struct io_config *config, const char **why)
{
    int result = real->open(io, config, why);
    if (result < 0)
        return result;
    (*io)->ops = &watched;
    made_before = made;
    counted_before = (*io)->stats.syscalls;
    return result;
}

static void watched_close(struct io *io)
{
    uint64_t counted = io->stats.syscalls - counted_before;
    if (counted != made - made_before)
        fail_msg("%llu system calls were made, %llu counted",
                 (unsigned long long)(made - made_before), (unsigned long long)counted);
    real->close(io);
}

static int run(const char *title, const struct io_ops *ops)
{
    real = ops;
    watched = *ops;
    watched.open = watched_open;
    watched.close = watched_close;
    watched.wait = watched_wait;
    watched.next = watched_next;
    watched.accept = watched_accept;
    watched.connect = watched_connect;
    watched.recv = watched_recv;
    watched.recvmsg = watched_recvmsg;
    watched.send = watched_send;
    watched.sendmsg = watched_sendmsg;
    watched.move = watched_move;
    watched.shutdown = watched_shutdown;
    watched.close_fd = watched_close_fd;
    watched.cancel = watched_cancel;
    watched.poll = watched_poll;
    return io_suite_run(title, &watched, NULL, NULL);
}

int main(void)
{
    return run("epoll", &weir__io_epoll) + run("poll", &weir__io_poll) +
           run("select", &weir__io_select);
}
