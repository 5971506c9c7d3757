#include "io/sendfile.h"

#include <errno.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    MOVE_MOST = 1 << 30,     /* keeps a count within an int, and within what sendfile takes */
    COPY_SIZE = 16 * 1024,   /* on the stack: the loop's hot block may hold a view in use */
    PROBE_EVERY = 64 * 1024, /* bytes between two probes, half of the usual read-ahead */
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

/* --- what is in memory ------------------------------------------------------------------------ */

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* the same number on every architecture, as all since 5.1 */
#endif

/* struct cachestat_range and struct cachestat of <linux/mman.h>, which Debian 12 does not have. */
struct page_range {
    uint64_t offset, size;
};
struct page_counts {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

/* One byte without waiting: 1 there, 0 behind the end of the file, -1 not in memory. What cannot be
 * asked counts as there. */
static int probe(int file, int64_t offset)
{
    char byte;
    const struct iovec iov = {&byte, 1};
    ssize_t got = preadv2(file, &iov, 1, offset, RWF_NOWAIT);
    if (got < 0)
        return errno == EAGAIN ? -1 : 1;
    return (int)got;
}

/* The part of a range that the file has; 0 when it has none, or is of a kind that does not know. */
static size_t within_file(int file, int64_t offset, size_t size)
{
    struct stat about;
    if (fstat(file, &about) < 0 || about.st_size <= offset)
        return 0;
    return (uint64_t)(about.st_size - offset) < size ? (size_t)(about.st_size - offset) : size;
}

bool weir__file_cached(int file, int64_t offset, size_t size)
{
    struct page_range range = {(uint64_t)offset, size};
    struct page_counts counts;
    uint64_t page = (uint64_t)getpagesize();
    int last = 0;
    /* The last byte first: pages that are on their way from the disk count as cached below, and
     * they are the later ones. */
    if (size != 0 && (last = probe(file, offset + (int64_t)size - 1)) == 0) {
        range.size = size = within_file(file, offset, size);
        last = size != 0 ? probe(file, offset + (int64_t)size - 1) : 0;
    }
    if (last <= 0)
        return last == 0;
    if (syscall(SYS_cachestat, file, &range, &counts, 0) == 0)
        return counts.cached >= (range.offset + range.size - 1) / page - range.offset / page + 1;
    for (size_t at = 0; at < size; at += PROBE_EVERY)
        if (probe(file, offset + (int64_t)at) < 0)
            return false;
    return true;
}
