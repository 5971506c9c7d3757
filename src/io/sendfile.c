#include "io/sendfile.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MOVE_MOST = 1 << 30,   /* keeps a count within an int, and within what sendfile takes */
    COPY_SIZE = 16 * 1024, /* on the stack: the loop's hot block may hold a view in use */
};

/* SIGPIPE blocked on this thread for the length of one move. Blocking it for the life of the loop's
 * thread would be cheaper by two short system calls a move, but the mask would be inherited by
 * every program that the application starts from that thread. */
struct pipe_guard {
    sigset_t pipe, before;
    bool was_blocked, was_pending;
};

static void pipe_guard_on(struct pipe_guard *guard)
{
    sigemptyset(&guard->pipe);
    sigaddset(&guard->pipe, SIGPIPE);
    guard->was_pending = false;
    pthread_sigmask(SIG_BLOCK, &guard->pipe, &guard->before);
    guard->was_blocked = sigismember(&guard->before, SIGPIPE) == 1;
    if (guard->was_blocked) {
        sigset_t pending;
        sigemptyset(&pending);
        sigpending(&pending);
        guard->was_pending = sigismember(&pending, SIGPIPE) == 1;
    }
}

static void pipe_guard_off(struct pipe_guard *guard, bool raised)
{
    /* The kernel sends SIGPIPE to the thread that wrote, so it is this thread's to take. */
    if (raised && !guard->was_pending) {
        const struct timespec now = {0, 0};
        while (sigtimedwait(&guard->pipe, NULL, &now) < 0 && errno == EINTR)
            ;
    }
    if (!guard->was_blocked)
        pthread_sigmask(SIG_SETMASK, &guard->before, NULL);
}

/* For files that sendfile refuses (some of /proc, some foreign file systems). */
static int copy_once(int socket, int file, int64_t *offset, size_t size)
{
    char buffer[COPY_SIZE];
    ssize_t got, sent;
    if (size > sizeof(buffer))
        size = sizeof(buffer);
    do
        got = pread(file, buffer, size, *offset);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return got < 0 ? -errno : 0;
    do
        sent = send(socket, buffer, (size_t)got, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    *offset += sent;
    return (int)sent;
}

int weir__sendfile(int socket, int file, int64_t *offset, size_t size)
{
    struct pipe_guard guard;
    off_t at = (off_t)*offset;
    ssize_t moved;
    int error;
    if (size > MOVE_MOST)
        size = MOVE_MOST;
    pipe_guard_on(&guard);
    do
        moved = sendfile(socket, file, &at, size);
    while (moved < 0 && errno == EINTR);
    error = moved < 0 ? errno : 0;
    /* A short count may hide the EPIPE, and its signal, of the piece that came after. */
    pipe_guard_off(&guard, error == EPIPE || (size_t)moved < size);
    if (error == EINVAL || error == ENOSYS || error == ESPIPE)
        return copy_once(socket, file, offset, size);
    if (error != 0)
        return -error;
    *offset = at;
    return (int)moved;
}
