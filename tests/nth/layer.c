/* The layer: one function for each that the library calls, with the errors that its manual page
 * and the kernel's source allow it on this kind of descriptor. A call that would not fail goes to
 * the C library. */
#include "nth.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Many times: as often as a shortage may last before the program looks for the cause. */
enum { BURST = 16, WATCHED_FDS = 1024 };

static atomic_bool armed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned burst_left;
static _Atomic int64_t mapped;

/* How epoll watches each descriptor: see again(). */
static struct {
    int ep;
    struct epoll_event event;
} watched[WATCHED_FDS];

void nth_arm(void)
{
    atomic_store(&armed, true);
}

void nth_disarm(void)
{
    atomic_store(&armed, false);
}

bool nth_hit(int fd)
{
    for (unsigned i = 0; i < nth_run->faults; i++) {
        if (nth_run->hit[i] == fd)
            return true;
    }
    return false;
}

int64_t nth_mapped(void)
{
    return atomic_load(&mapped);
}

static int fire(const char *call, int fd, const int *errors, void *caller)
{
    unsigned count = 0;

    while (errors[count] != 0)
        count++;
    nth_run->variants = count + 1;
    nth_run->error = errors[nth_run->variant % (count + 1)];
    if (nth_run->variant >= count) {
        nth_run->error = errors[0];
        burst_left = BURST - 1;
    }
    nth_run->fired = true;
    nth_run->fd = fd;
    nth_run->caller = caller;
    snprintf(nth_run->call, sizeof(nth_run->call), "%s", call);
    return nth_run->error;
}

/* Worker threads call too. */
int nth_fault(enum nth_kind kind, const char *call, int fd, const int *errors, void *caller)
{
    int error = 0;

    if (!atomic_load(&armed) || errors[0] == 0)
        return 0;
    pthread_mutex_lock(&lock);
    nth_run->calls++;
    if (nth_run->kind == kind) {
        if (++nth_run->count == nth_run->n) {
            error = fire(call, fd, errors, caller);
        } else if (burst_left > 0 && strcmp(call, nth_run->call) == 0) {
            burst_left--;
            error = nth_run->error;
        }
        if (error != 0)
            nth_run->hit[nth_run->faults++] = fd;
    }
    pthread_mutex_unlock(&lock);
    return error;
}

#define ERRORS(...) ((const int[]){__VA_ARGS__ __VA_OPT__(, ) 0})
#define HERE        __builtin_return_address(0)

/* Declares a function of the C library and the one that stands before it. */
#define BOTH(type, name, arguments) \
    type __real_##name arguments;   \
    type __wrap_##name arguments;   \
    type __wrap_##name arguments

/* The usual case: -1 and errno. */
#define WRAP(type, name, arguments, values, fd, errors)                  \
    BOTH(type, name, arguments)                                          \
    {                                                                    \
        int error = nth_fault(NTH_CALL, #name, fd, ERRORS errors, HERE); \
        if (error > 0) {                                                 \
            errno = error;                                               \
            return (type)-1;                                             \
        }                                                                \
        return __real_##name values;                                     \
    }

/* NULL and errno. */
#define WRAP_POINTER(type, name, arguments, values, errors)              \
    BOTH(type, name, arguments)                                          \
    {                                                                    \
        int error = nth_fault(NTH_CALL, #name, -1, ERRORS errors, HERE); \
        if (error > 0) {                                                 \
            errno = error;                                               \
            return NULL;                                                 \
        }                                                                \
        return __real_##name values;                                     \
    }

/* --- memory ----------------------------------------------------------------------------------- */

#define WRAP_MEMORY(name, arguments, values)                             \
    BOTH(void *, name, arguments)                                        \
    {                                                                    \
        if (nth_fault(NTH_MEMORY, #name, -1, ERRORS(ENOMEM), HERE) != 0) \
            return NULL;                                                 \
        return __real_##name values;                                     \
    }

WRAP_MEMORY(weir__alloc, (size_t size), (size))
WRAP_MEMORY(weir__zalloc, (size_t size), (size))
WRAP_MEMORY(weir__realloc, (void *memory, size_t size), (memory, size))
WRAP_MEMORY(weir__pages_alloc, (size_t size), (size))
WRAP_MEMORY(weir__strdup, (const char *text), (text))

static int64_t pages(size_t size)
{
    return (int64_t)((size + 4095) & ~(size_t)4095);
}

BOTH(void *, mmap, (void *at, size_t size, int prot, int flags, int fd, off_t offset))
{
    void *memory;

    if (nth_fault(NTH_CALL, "mmap", fd, ERRORS(ENOMEM, EAGAIN), HERE) != 0) {
        errno = nth_run->error;
        return MAP_FAILED;
    }
    memory = __real_mmap(at, size, prot, flags, fd, offset);
    if (memory != MAP_FAILED && !(flags & MAP_FIXED))
        atomic_fetch_add(&mapped, pages(size));
    return memory;
}

BOTH(int, munmap, (void *at, size_t size))
{
    atomic_fetch_sub(&mapped, pages(size));
    return __real_munmap(at, size);
}

WRAP(int, mprotect, (void *at, size_t size, int prot), (at, size, prot), -1, (ENOMEM))
WRAP(int, madvise, (void *at, size_t size, int advice), (at, size, advice), -1, (ENOMEM, EAGAIN))

/* --- descriptors and files -------------------------------------------------------------------- */

enum fd_kind { FD_SOCKET, FD_FILE, FD_EVENT, FD_OTHER };

static enum fd_kind kind_of(int fd)
{
    char path[40], target[64];
    struct stat stat;
    ssize_t size;

    if (syscall(SYS_fstat, fd, &stat) < 0)
        return FD_OTHER;
    if (S_ISSOCK(stat.st_mode))
        return FD_SOCKET;
    if (S_ISREG(stat.st_mode))
        return FD_FILE;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    size = readlink(path, target, sizeof(target) - 1);
    target[size > 0 ? size : 0] = '\0';
    return strstr(target, "eventfd") ? FD_EVENT : FD_OTHER;
}

/* An eventfd is always written to below its limit and read when it has something, so it is only
 * interrupted. */
static const int *read_errors(int fd)
{
    static const int file[] = {EIO, EINTR, NTH_SHORT, 0}, event[] = {EINTR, EAGAIN, 0};
    static const int other[] = {EINTR, EAGAIN, EIO, 0};
    enum fd_kind kind = kind_of(fd);

    return kind == FD_FILE ? file : kind == FD_EVENT ? event : other;
}

static const int *write_errors(int fd)
{
    static const int file[] = {ENOSPC, EIO, EINTR, EDQUOT, NTH_SHORT, 0}, event[] = {EINTR, 0};
    static const int other[] = {EINTR, EAGAIN, EPIPE, 0};
    enum fd_kind kind = kind_of(fd);

    return kind == FD_FILE ? file : kind == FD_EVENT ? event : other;
}

#define SHORTER(size) (error == NTH_SHORT && (size) > 1 ? (size) / 2 : (size))

/* A call that moves bytes: -1 with errno, or fewer bytes. */
#define WRAP_BYTES(name, arguments, values, fd, errors)           \
    BOTH(ssize_t, name, arguments)                                \
    {                                                             \
        int error = nth_fault(NTH_CALL, #name, fd, errors, HERE); \
        if (error > 0) {                                          \
            errno = error;                                        \
            return -1;                                            \
        }                                                         \
        return __real_##name values;                              \
    }

WRAP_BYTES(read, (int fd, void *data, size_t size), (fd, data, SHORTER(size)), fd, read_errors(fd))
WRAP_BYTES(write, (int fd, const void *data, size_t size), (fd, data, SHORTER(size)), fd,
           write_errors(fd))
WRAP_BYTES(pread, (int fd, void *data, size_t size, off_t offset),
           (fd, data, SHORTER(size), offset), fd, read_errors(fd))
WRAP_BYTES(pwrite, (int fd, const void *data, size_t size, off_t offset),
           (fd, data, SHORTER(size), offset), fd, write_errors(fd))
WRAP_BYTES(preadv2, (int fd, const struct iovec *iov, int count, off_t offset, int flags),
           (fd, iov, count, offset, flags), fd, ERRORS(EAGAIN, EIO, EINTR, EOPNOTSUPP))
WRAP_BYTES(getrandom, (void *data, size_t size, unsigned flags), (data, size, flags), -1,
           ERRORS(EINTR))

/* The descriptor is gone whatever close says (man 2 close, NOTES). */
BOTH(int, close, (int fd))
{
    int error = nth_fault(NTH_CALL, "close", fd, ERRORS(EINTR, EIO), HERE);
    int result;

    if (fd >= 0 && fd < WATCHED_FDS)
        watched[fd].event.events = 0;
    result = __real_close(fd);
    if (error > 0) {
        errno = error;
        return -1;
    }
    return result;
}

#define OPEN_ERRORS EMFILE, ENFILE, ENOMEM, EACCES, ENOENT, ELOOP, EINTR

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, mode_t mode)
{
    int error = nth_fault(NTH_CALL, "open", -1, ERRORS(OPEN_ERRORS), HERE);

    if (error > 0) {
        errno = error;
        return -1;
    }
    return __real_open(path, flags, mode);
}

int __real_openat(int folder, const char *path, int flags, ...);
int __wrap_openat(int folder, const char *path, int flags, mode_t mode);
int __wrap_openat(int folder, const char *path, int flags, mode_t mode)
{
    int error = nth_fault(NTH_CALL, "openat", -1, ERRORS(OPEN_ERRORS), HERE);

    if (error > 0) {
        errno = error;
        return -1;
    }
    return __real_openat(folder, path, flags, mode);
}

/* F_GETFL and the like cannot fail on an open descriptor. */
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, long value);
int __wrap_fcntl(int fd, int command, long value)
{
    static const int dup_errors[] = {EMFILE, 0}, set_errors[] = {EPERM, 0}, none[] = {0};
    const int *errors = command == F_DUPFD_CLOEXEC || command == F_DUPFD ? dup_errors
                        : command == F_SETFL                             ? set_errors
                                                                         : none;
    int error = nth_fault(NTH_CALL, "fcntl", fd, errors, HERE);

    if (error > 0) {
        errno = error;
        return -1;
    }
    return __real_fcntl(fd, command, value);
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, void *value);
int __wrap_ioctl(int fd, unsigned long request, void *value)
{
    int error = nth_fault(NTH_CALL, "ioctl", fd, ERRORS(ENOTTY, EINVAL), HERE);

    if (error > 0) {
        errno = error;
        return -1;
    }
    return __real_ioctl(fd, request, value);
}

WRAP(int, fsync, (int fd), (fd), fd, (EIO, ENOSPC))
WRAP(int, fstat, (int fd, struct stat *out), (fd, out), fd, (ENOMEM, EIO))
WRAP(int, fstatat, (int folder, const char *path, struct stat *out, int flags),
     (folder, path, out, flags), -1, (ENOMEM, EACCES, ENOENT, ELOOP))
WRAP(int, lstat, (const char *path, struct stat *out), (path, out), -1, (ENOMEM, EACCES, ENOENT))
WRAP(int, statx, (int folder, const char *path, int flags, unsigned mask, struct statx *out),
     (folder, path, flags, mask, out), -1, (ENOMEM, EACCES, ENOENT, EIO))
WRAP(int, dup3, (int from, int to, int flags), (from, to, flags), from, (EBUSY, EINTR, EMFILE))
WRAP(int, unlink, (const char *path), (path), -1, (EACCES, EBUSY, EIO, EROFS))
WRAP(int, chmod, (const char *path, mode_t mode), (path, mode), -1, (EPERM, EIO, EROFS))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), fd, (EPERM, EIO, EROFS))
WRAP(int, flock, (int fd, int operation), (fd, operation), fd, (EINTR, ENOLCK))
WRAP_POINTER(DIR *, opendir, (const char *path), (path), (EMFILE, ENFILE, ENOMEM, EACCES))
WRAP_POINTER(DIR *, fdopendir, (int fd), (fd), (ENOMEM))
WRAP_POINTER(struct dirent *, readdir, (DIR * dir), (dir), (EIO))
WRAP_POINTER(FILE *, fopen, (const char *path, const char *mode), (path, mode),
             (EMFILE, ENFILE, ENOMEM, ENOENT, EACCES))

BOTH(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg))
{
    int error = nth_fault(NTH_CALL, "pthread_create", -1, ERRORS(EAGAIN), HERE);

    return error > 0 ? error : __real_pthread_create(thread, attr, start, arg);
}

/* --- sockets ---------------------------------------------------------------------------------- */

/* A socket that says EAGAIN although it is ready, or gives less than it has, is ready again a
 * moment later: an edge-triggered epoll tells of that. */
static void again(int fd, int error)
{
    if ((error == EAGAIN || error == NTH_SHORT) && fd >= 0 && fd < WATCHED_FDS &&
        watched[fd].event.events & EPOLLET)
        syscall(SYS_epoll_ctl, watched[fd].ep, EPOLL_CTL_MOD, fd, &watched[fd].event);
}

#define WRAP_STREAM(name, arguments, values, fd, errors)                 \
    BOTH(ssize_t, name, arguments)                                       \
    {                                                                    \
        int error = nth_fault(NTH_CALL, #name, fd, ERRORS errors, HERE); \
        ssize_t result = -1;                                             \
        if (error <= 0)                                                  \
            result = __real_##name values;                               \
        int saved = error > 0 ? error : errno;                           \
        again(fd, error);                                                \
        errno = saved;                                                   \
        return result;                                                   \
    }

#define SEND_ERRORS EPIPE, ECONNRESET, EINTR, EAGAIN, ENOBUFS, ENOMEM, ETIMEDOUT, EHOSTUNREACH

WRAP_STREAM(recv, (int fd, void *data, size_t size, int flags), (fd, data, SHORTER(size), flags),
            fd, (ECONNRESET, EINTR, EAGAIN, ENOMEM, ETIMEDOUT, EHOSTUNREACH, NTH_SHORT))
WRAP_STREAM(send, (int fd, const void *data, size_t size, int flags),
            (fd, data, SHORTER(size), flags), fd, (SEND_ERRORS, NTH_SHORT))
WRAP_STREAM(sendfile, (int out, int in, off_t *offset, size_t size),
            (out, in, offset, SHORTER(size)), out, (SEND_ERRORS, EIO, NTH_SHORT))

BOTH(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags))
{
    int error = nth_fault(NTH_CALL, "sendmsg", fd, ERRORS(SEND_ERRORS, NTH_SHORT), HERE), saved;
    struct msghdr less = *message;
    struct iovec first = {NULL, 0};
    ssize_t result = -1;

    if (error == NTH_SHORT && message->msg_iovlen > 0) {
        first = message->msg_iov[0];
        first.iov_len = SHORTER(first.iov_len);
        less.msg_iov = &first;
        less.msg_iovlen = 1;
    }
    if (error <= 0)
        result = __real_sendmsg(fd, &less, flags);
    saved = error > 0 ? error : errno;
    again(fd, error);
    errno = saved;
    return result;
}

#define ACCEPT_ERRORS                                                                      \
    EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EINTR, EAGAIN, EPERM, EPROTO, ENETDOWN, \
        EHOSTUNREACH
WRAP(int, accept4, (int fd, struct sockaddr *address, socklen_t *size, int flags),
     (fd, address, size, flags), fd, (ACCEPT_ERRORS))
WRAP(int, connect, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size),
     fd, (ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EAGAIN, EACCES, EPERM))
WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1,
     (EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES, EAFNOSUPPORT))
WRAP(int, socketpair, (int domain, int type, int protocol, int *out), (domain, type, protocol, out),
     -1, (EMFILE, ENFILE, ENOMEM))
WRAP(int, bind, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size), fd,
     (EADDRINUSE, EACCES, EADDRNOTAVAIL, ENOMEM))
WRAP(int, listen, (int fd, int backlog), (fd, backlog), fd, (EADDRINUSE))

/* shutdown says so of a connection that was reset, and then it is. */
BOTH(int, shutdown, (int fd, int how))
{
    const struct sockaddr nothing = {.sa_family = AF_UNSPEC};
    int error = nth_fault(NTH_CALL, "shutdown", fd, ERRORS(ENOTCONN), HERE);

    if (error <= 0)
        return __real_shutdown(fd, how);
    if (__real_connect(fd, &nothing, sizeof(nothing)) < 0)
        __real_shutdown(fd, SHUT_RDWR); /* of a unix socket */
    errno = error;
    return -1;
}
WRAP(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *size),
     (fd, level, name, value, size), fd, (ENOBUFS, ENOMEM, ENOPROTOOPT))
WRAP(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t size),
     (fd, level, name, value, size), fd, (ENOMEM, ENOPROTOOPT, EPERM, EINVAL))
WRAP(int, getsockname, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size), fd,
     (ENOBUFS))
WRAP(int, getpeername, (int fd, struct sockaddr *address, socklen_t *size), (fd, address, size), fd,
     (ENOTCONN, ENOBUFS))

/* --- waiting ---------------------------------------------------------------------------------- */

WRAP(int, eventfd, (unsigned count, int flags), (count, flags), -1,
     (EMFILE, ENFILE, ENOMEM, ENODEV))
WRAP(int, eventfd_write, (int fd, eventfd_t value), (fd, value), fd, (EINTR))
WRAP(int, epoll_create1, (int flags), (flags), -1, (EMFILE, ENFILE, ENOMEM))
WRAP(int, epoll_wait, (int ep, struct epoll_event *events, int count, int ms),
     (ep, events, count, ms), ep, (EINTR))
WRAP(int, epoll_pwait2,
     (int ep, struct epoll_event *events, int count, const struct timespec *time,
      const sigset_t *mask),
     (ep, events, count, time, mask), ep, (EINTR))
WRAP(int, poll, (struct pollfd * fds, nfds_t count, int ms), (fds, count, ms), -1, (EINTR, ENOMEM))
WRAP(int, ppoll,
     (struct pollfd * fds, nfds_t count, const struct timespec *time, const sigset_t *mask),
     (fds, count, time, mask), -1, (EINTR, ENOMEM))
WRAP(int, pselect,
     (int count, fd_set *in, fd_set *out, fd_set *urgent, const struct timespec *time,
      const sigset_t *mask),
     (count, in, out, urgent, time, mask), -1, (EINTR, ENOMEM))

BOTH(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *event))
{
    static const int add[] = {ENOMEM, ENOSPC, 0}, mod[] = {ENOMEM, 0}, none[] = {0};
    const int *errors = op == EPOLL_CTL_ADD ? add : op == EPOLL_CTL_MOD ? mod : none;
    int error = nth_fault(NTH_CALL, "epoll_ctl", fd, errors, HERE), result;

    if (error > 0) {
        errno = error;
        return -1;
    }
    result = __real_epoll_ctl(ep, op, fd, event);
    if (result == 0 && fd < WATCHED_FDS) {
        watched[fd].ep = ep;
        watched[fd].event = *event;
        if (op == EPOLL_CTL_DEL)
            watched[fd].event.events = 0;
    }
    return result;
}

/* --- calls by number -------------------------------------------------------------------------- */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    int error = 0;

    if (number == SYS_openat2)
        error = nth_fault(NTH_CALL, "openat2", -1, ERRORS(OPEN_ERRORS, EAGAIN), HERE);
    else if (number == SYS_io_uring_enter)
        error = nth_fault(NTH_CALL, "io_uring_enter", (int)a,
                          ERRORS(EINTR, EAGAIN, EBUSY, ENOMEM, NTH_SHORT), HERE);
    if (error > 0) {
        errno = error;
        return -1;
    }
    /* A kernel that takes fewer entries than it was given does not wait. */
    if (error == NTH_SHORT && b > 1)
        return __real_syscall(number, a, b / 2, 0l, 0l, 0l, 0l);
    return __real_syscall(number, a, b, c, d, e, f);
}
