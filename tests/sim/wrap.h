/* The C library's functions that the linker replaces (see state.cmake), and their originals. */
#ifndef WEIR_TESTS_SIM_WRAP_H
#define WEIR_TESTS_SIM_WRAP_H

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#include "io/io.h"

#define WRAPPED(type, name, ...)     \
    type __real_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__)

WRAPPED(int, socket, int family, int type, int protocol);
WRAPPED(int, bind, int fd, const struct sockaddr *address, socklen_t size);
WRAPPED(int, listen, int fd, int backlog);
WRAPPED(int, accept, int fd, struct sockaddr *address, socklen_t *size);
WRAPPED(int, accept4, int fd, struct sockaddr *address, socklen_t *size, int flags);
WRAPPED(int, connect, int fd, const struct sockaddr *address, socklen_t size);
WRAPPED(ssize_t, send, int fd, const void *bytes, size_t size, int flags);
WRAPPED(ssize_t, sendmsg, int fd, const struct msghdr *message, int flags);
WRAPPED(ssize_t, recv, int fd, void *bytes, size_t size, int flags);
WRAPPED(ssize_t, recvmsg, int fd, struct msghdr *message, int flags);
WRAPPED(int, recvmmsg, int fd, struct mmsghdr *messages, unsigned count, int flags,
        struct timespec *timeout);
WRAPPED(int, sendmmsg, int fd, struct mmsghdr *messages, unsigned count, int flags);
WRAPPED(int, shutdown, int fd, int how);
WRAPPED(int, close, int fd);
WRAPPED(ssize_t, read, int fd, void *bytes, size_t size);
WRAPPED(ssize_t, write, int fd, const void *bytes, size_t size);
WRAPPED(int, fcntl, int fd, int command, ...);
WRAPPED(int, ioctl, int fd, unsigned long request, ...);
WRAPPED(int, setsockopt, int fd, int level, int option, const void *value, socklen_t size);
WRAPPED(int, getsockopt, int fd, int level, int option, void *value, socklen_t *size);
WRAPPED(int, getsockname, int fd, struct sockaddr *address, socklen_t *size);
WRAPPED(int, getpeername, int fd, struct sockaddr *address, socklen_t *size);
WRAPPED(int, poll, struct pollfd *fds, nfds_t count, int timeout_ms);

WRAPPED(int, eventfd, unsigned count, int flags);
WRAPPED(int, epoll_create1, int flags);
WRAPPED(int, epoll_ctl, int ep, int what, int fd, struct epoll_event *event);
WRAPPED(int, epoll_wait, int ep, struct epoll_event *events, int most, int timeout_ms);
WRAPPED(int, epoll_pwait2, int ep, struct epoll_event *events, int most,
        const struct timespec *time, const sigset_t *mask);
WRAPPED(int, ppoll, struct pollfd *fds, nfds_t count, const struct timespec *time,
        const sigset_t *mask);
WRAPPED(int, pselect, int count, fd_set *readable, fd_set *writable, fd_set *odd,
        const struct timespec *time, const sigset_t *mask);
WRAPPED(ssize_t, sendfile, int fd, int file, off_t *offset, size_t size);
WRAPPED(bool, weir__file_cached, int file, int64_t offset, size_t size);

WRAPPED(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes,
        void *(*fn)(void *arg), void *arg);
WRAPPED(int, pthread_join, pthread_t thread, void **result);
WRAPPED(pthread_t, pthread_self, void);
WRAPPED(int, pthread_setname_np, pthread_t thread, const char *name);
WRAPPED(int, pthread_sigmask, int how, const sigset_t *set, sigset_t *former);
WRAPPED(int, pthread_mutex_init, pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
WRAPPED(int, pthread_mutex_destroy, pthread_mutex_t *mutex);
WRAPPED(int, pthread_mutex_lock, pthread_mutex_t *mutex);
WRAPPED(int, pthread_mutex_trylock, pthread_mutex_t *mutex);
WRAPPED(int, pthread_mutex_unlock, pthread_mutex_t *mutex);
WRAPPED(int, pthread_cond_init, pthread_cond_t *cond, const pthread_condattr_t *attributes);
WRAPPED(int, pthread_cond_destroy, pthread_cond_t *cond);
WRAPPED(int, pthread_cond_wait, pthread_cond_t *cond, pthread_mutex_t *mutex);
WRAPPED(int, pthread_cond_timedwait, pthread_cond_t *cond, pthread_mutex_t *mutex,
        const struct timespec *until);
WRAPPED(int, pthread_cond_signal, pthread_cond_t *cond);
WRAPPED(int, pthread_cond_broadcast, pthread_cond_t *cond);
WRAPPED(int, pthread_rwlock_rdlock, pthread_rwlock_t *lock);
WRAPPED(int, pthread_rwlock_wrlock, pthread_rwlock_t *lock);
WRAPPED(int, pthread_rwlock_unlock, pthread_rwlock_t *lock);
WRAPPED(int, sched_yield, void);
WRAPPED(int, sched_getaffinity, pid_t pid, size_t size, cpu_set_t *set);
WRAPPED(int, sched_setaffinity, pid_t pid, size_t size, const cpu_set_t *set);
WRAPPED(int, sigaction, int number, const struct sigaction *action, struct sigaction *former);

WRAPPED(int, open, const char *path, int flags, ...);
WRAPPED(FILE *, fopen, const char *path, const char *mode);
WRAPPED(DIR *, opendir, const char *path);
WRAPPED(long, sysconf, int name);
WRAPPED(pid_t, getpid, void);
WRAPPED(int, prctl, int option, ...);

WRAPPED(void *, weir__pages_alloc, size_t size);
WRAPPED(const char *, weir__getenv, const char *name);
WRAPPED(void, weir__assert_failed, const char *what, const char *file, int line);
WRAPPED(int, weir__pool_perform, struct io_file *file);
WRAPPED(bool, weir__pool_perform_cached, struct io_file *file);
WRAPPED(const struct io_ops *, weir__io_named, const char *name);
WRAPPED(int, weir__io_open, struct io **io, const char *name, const struct io_config *config,
        const char **why);

/* What weir takes its time, its chance and its memory from. */
void wrap_install(void);

#endif
