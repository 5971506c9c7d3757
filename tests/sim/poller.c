/* Waiting for descriptors: epoll, poll and select of the simulated kernel, on which the library's
 * own readiness back ends run. Edges are told when something has happened since they were told last
 * and is still so; levels as long as they are so; and at times readiness that is none. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "backend.h"
#include "wrap.h"

struct epoll_entry {
    struct sim_epoll *epoll;
    struct sim_sock *sock;
    int fd;
    uint32_t events;
    uint64_t data;
    bool edge; /* something has happened since it was told */
    struct epoll_entry *epoll_next, *sock_next;
};

struct sim_epoll {
    struct epoll_entry *entries, *free;
    struct sim_actor *sleeper;
};

enum { FLAGS = (int)(EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP) };

static int answer(int64_t result)
{
    if (result >= 0)
        return (int)result;
    errno = (int)-result;
    return -1;
}

static int install(struct sim_file *file)
{
    int fd = fault(SIM_FAULT_SOCKET_ERROR, OP_SOCKET) ? -EMFILE : file_install(file);
    return answer(fd);
}

int __wrap_eventfd(unsigned count, int flags)
{
    struct sim_file *file = file_new(FILE_SOCKET);
    file->nonblock = true;
    file->sock = world_alloc(sizeof(*file->sock));
    file->sock->state = SOCK_EVENT;
    file->sock->host = world.host_now;
    file->sock->event_count = count;
    return install(file);
}

/* --- epoll ------------------------------------------------------------------------------------ */

int __wrap_epoll_create1(int flags)
{
    struct sim_file *file = file_new(FILE_EPOLL);
    file->epoll = world_alloc(sizeof(*file->epoll));
    return install(file);
}

static uint32_t wanted(const struct epoll_entry *entry)
{
    return (entry->events & ~(uint32_t)FLAGS) | EPOLLERR | EPOLLHUP;
}

static bool disabled(const struct epoll_entry *entry)
{
    return (entry->events & ~(uint32_t)FLAGS) == 0;
}

static uint32_t told_now(const struct epoll_entry *entry)
{
    uint32_t ready = disabled(entry) ? 0 : sock_ready(entry->sock) & wanted(entry);
    return entry->events & EPOLLET && !entry->edge ? 0 : ready;
}

void entries_told(struct sim_sock *sock, unsigned what)
{
    for (struct epoll_entry *entry = sock->entries; entry != NULL; entry = entry->sock_next) {
        if (!(wanted(entry) & (what | POLLERR | POLLHUP | (what & POLLIN ? POLLRDHUP : 0))))
            continue;
        entry->edge = true;
        if (entry->epoll->sleeper != NULL && told_now(entry) != 0)
            actor_wake(entry->epoll->sleeper);
    }
}

static void entry_free(struct epoll_entry *entry)
{
    struct sim_epoll *epoll = entry->epoll;
    for (struct epoll_entry **at = &entry->sock->entries; *at != NULL; at = &(*at)->sock_next)
        if (*at == entry) {
            *at = entry->sock_next;
            break;
        }
    for (struct epoll_entry **at = &epoll->entries; *at != NULL; at = &(*at)->epoll_next)
        if (*at == entry) {
            *at = entry->epoll_next;
            break;
        }
    entry->epoll_next = epoll->free;
    epoll->free = entry;
}

void entries_forget(struct sim_sock *sock)
{
    while (sock->entries != NULL)
        entry_free(sock->entries);
}

void epoll_drop(struct sim_epoll *epoll)
{
    while (epoll->entries != NULL)
        entry_free(epoll->entries);
}

static struct epoll_entry *entry_new(struct sim_epoll *epoll, struct sim_sock *sock, int fd)
{
    struct epoll_entry *entry = epoll->free;
    if (entry != NULL)
        epoll->free = entry->epoll_next;
    else
        entry = world_alloc(sizeof(*entry));
    *entry = (struct epoll_entry){.epoll = epoll, .sock = sock, .fd = fd};
    entry->epoll_next = epoll->entries;
    epoll->entries = entry;
    entry->sock_next = sock->entries;
    sock->entries = entry;
    return entry;
}

int __wrap_epoll_ctl(int ep, int what, int fd, struct epoll_event *event)
{
    struct sim_file *file = file_of(ep), *of = fd_is_sim(fd) ? file_of(fd) : NULL;
    struct epoll_entry *entry;
    if (file == NULL || file->epoll == NULL)
        return answer(-EBADF);
    if (of == NULL || of->sock == NULL) /* a regular file */
        return answer(fd_is_sim(fd) ? -EBADF : -EPERM);
    for (entry = of->sock->entries; entry != NULL; entry = entry->sock_next)
        if (entry->epoll == file->epoll && entry->fd == fd)
            break;
    if (what == EPOLL_CTL_ADD ? entry != NULL : entry == NULL)
        return answer(what == EPOLL_CTL_ADD ? -EEXIST : -ENOENT);
    if (what == EPOLL_CTL_DEL) {
        entry_free(entry);
        return 0;
    }
    if (what == EPOLL_CTL_ADD && of->sock->state != SOCK_EVENT &&
        fault(SIM_FAULT_QUEUE_FULL, OP_POLL))
        return answer(chance(2) == 0 ? -ENOMEM : -ENOSPC);
    if (entry == NULL)
        entry = entry_new(file->epoll, of->sock, fd);
    entry->events = event->events;
    entry->data = event->data.u64;
    entry->edge = true;
    if (entry->events & EPOLLOUT)
        sock_room_wanted(entry->sock);
    return 0;
}

/* What is told now, from a drawn place on; some of it later. */
static int collect(struct sim_epoll *epoll, struct epoll_event *events, int most)
{
    struct epoll_entry *spurious = NULL;
    int count = 0;
    for (struct epoll_entry *entry = epoll->entries; entry != NULL && count < most;
         entry = entry->epoll_next) {
        uint32_t told = told_now(entry);
        if (entry->events & EPOLLOUT && (entry->edge || !(entry->events & EPOLLET)))
            sock_room_wanted(entry->sock); /* asked again, as it is for each that may be ready */
        if (told == 0) {
            if (entry->sock->state == SOCK_OPEN && !disabled(entry) && entry->events & EPOLLIN)
                spurious = entry;
            continue;
        }
        if (fault(SIM_FAULT_LATE, OP_WAIT))
            continue;
        events[count++] = (struct epoll_event){.events = told, .data.u64 = entry->data};
        entry->edge = false;
        if (entry->events & EPOLLONESHOT)
            entry->events &= (uint32_t)FLAGS;
    }
    if (spurious != NULL && count < most && fault(SIM_FAULT_SPURIOUS, OP_POLL))
        events[count++] = (struct epoll_event){.events = EPOLLIN, .data.u64 = spurious->data};
    if (count > 1 && fault(SIM_FAULT_ORDER, OP_WAIT))
        for (int i = count - 1; i > 0; i--) {
            int other = (int)chance((uint64_t)i + 1);
            struct epoll_event swap = events[i];
            events[i] = events[other];
            events[other] = swap;
        }
    return count;
}

static bool any_told(const struct sim_epoll *epoll)
{
    for (const struct epoll_entry *entry = epoll->entries; entry != NULL; entry = entry->epoll_next)
        if (told_now(entry) != 0)
            return true;
    return false;
}

static uint64_t until(int64_t timeout_ns)
{
    return timeout_ns < 0 ? SIM_FOREVER : world.now_ns + (uint64_t)timeout_ns;
}

static int epoll_sleep(int ep, struct epoll_event *events, int most, int64_t timeout_ns)
{
    struct sim_file *file = file_of(ep);
    if (file == NULL || file->epoll == NULL)
        return answer(-EBADF);
    if (fault(SIM_FAULT_EINTR, OP_WAIT))
        return answer(-EINTR);
    if (timeout_ns != 0 && !any_told(file->epoll)) {
        record("sleep", 0, timeout_ns, 0);
        file->epoll->sleeper = actor_now;
        actor_wait(until(timeout_ns), "epoll");
        file->epoll->sleeper = NULL;
    } else {
        actor_yield();
    }
    return collect(file->epoll, events, most);
}

int __wrap_epoll_wait(int ep, struct epoll_event *events, int most, int timeout_ms)
{
    return epoll_sleep(ep, events, most, timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000000);
}

static int64_t ns_of(const struct timespec *time)
{
    return time == NULL ? -1 : (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

int __wrap_epoll_pwait2(int ep, struct epoll_event *events, int most, const struct timespec *time,
                        const sigset_t *mask)
{
    if (ns_of(time) == 0 && chance(3) == 0)
        return answer(-ENOSYS); /* an older kernel, which is found out at the begin */
    return epoll_sleep(ep, events, most, ns_of(time));
}

/* --- poll ------------------------------------------------------------------------------------- */

static struct sim_sock *sock_at(int fd)
{
    struct sim_file *file = fd_is_sim(fd) ? file_of(fd) : NULL;
    return file != NULL ? file->sock : NULL;
}

static int poll_look(struct pollfd *fds, nfds_t count)
{
    int ready = 0;
    for (nfds_t i = 0; i < count; i++) {
        struct sim_sock *sock = sock_at(fds[i].fd);
        unsigned mask = (unsigned)(uint16_t)fds[i].events | POLLERR | POLLHUP;
        fds[i].revents = 0;
        if (fds[i].fd >= 0 && sock == NULL)
            fds[i].revents = fd_is_sim(fds[i].fd) ? POLLNVAL : (short)(mask & (POLLIN | POLLOUT));
        else if (sock != NULL)
            fds[i].revents = (short)(sock_ready(sock) & mask);
        if (sock != NULL && mask & POLLOUT)
            sock_room_wanted(sock);
        ready += fds[i].revents != 0;
    }
    return ready;
}

static int poll_sleep(struct pollfd *fds, nfds_t count, int64_t timeout_ns)
{
    uint64_t until_ns = until(timeout_ns);
    int ready;
    while ((ready = poll_look(fds, count)) == 0 && world.now_ns < until_ns) {
        for (nfds_t i = 0; i < count; i++)
            if (sock_at(fds[i].fd) != NULL)
                sock_sleeper_add(sock_at(fds[i].fd));
        actor_wait(until_ns, "poll");
        for (nfds_t i = 0; i < count; i++)
            if (sock_at(fds[i].fd) != NULL)
                sock_sleeper_remove(sock_at(fds[i].fd));
    }
    return ready;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (count != 0 && !fd_is_sim(fds[0].fd) && fds[0].fd >= 0)
        return __real_poll(fds, count, timeout_ms);
    return poll_sleep(fds, count, timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000000);
}

/* What poll and select tell beside what is so. */
static int poll_spurious(struct pollfd *fds, nfds_t count, int ready)
{
    nfds_t at = count != 0 ? (nfds_t)chance(count) : 0;
    if (count != 0 && fds[at].revents == 0 && fds[at].events & POLLIN &&
        sock_at(fds[at].fd) != NULL && fault(SIM_FAULT_SPURIOUS, OP_POLL)) {
        fds[at].revents = POLLIN;
        ready++;
    }
    return ready;
}

int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *time,
                 const sigset_t *mask)
{
    int ready;
    if (fault(SIM_FAULT_EINTR, OP_WAIT))
        return answer(-EINTR);
    actor_yield();
    record("sleep", (int64_t)count, ns_of(time), 0);
    ready = poll_sleep(fds, count, ns_of(time));
    return poll_spurious(fds, count, ready);
}

int __wrap_pselect(int count, fd_set *readable, fd_set *writable, fd_set *odd,
                   const struct timespec *time, const sigset_t *mask)
{
    struct pollfd fds[HOST_FILES];
    nfds_t used = 0;
    int told = 0;
    if (fault(SIM_FAULT_EINTR, OP_WAIT))
        return answer(-EINTR);
    for (int fd = SIM_FD; fd < count; fd++) {
        short events = (short)((FD_ISSET(fd, readable) ? POLLIN | POLLRDHUP : 0) |
                               (FD_ISSET(fd, writable) ? POLLOUT : 0));
        if (events == 0 && !FD_ISSET(fd, odd))
            continue;
        if (sock_at(fd) == NULL)
            return answer(-EBADF);
        fds[used++] = (struct pollfd){.fd = fd, .events = events};
    }
    actor_yield();
    record("sleep", (int64_t)used, ns_of(time), 0);
    poll_spurious(fds, used, poll_sleep(fds, used, ns_of(time)));
    FD_ZERO(readable);
    FD_ZERO(writable);
    FD_ZERO(odd);
    for (nfds_t i = 0; i < used; i++) {
        unsigned ready = (uint16_t)fds[i].revents, asked = (uint16_t)fds[i].events;
        if (asked & POLLIN && ready & (POLLIN | POLLHUP | POLLERR | POLLRDHUP)) {
            FD_SET(fds[i].fd, readable);
            told++;
        }
        if (asked & POLLOUT && ready & (POLLOUT | POLLERR)) {
            FD_SET(fds[i].fd, writable);
            told++;
        }
    }
    return told;
}

/* --- files to sockets ------------------------------------------------------------------------- */

ssize_t __wrap_sendfile(int fd, int file, off_t *offset, size_t size)
{
    struct sim_file *to = file_of(fd);
    int64_t at = *offset;
    struct sim_io none = {0};
    int moved;
    if (to == NULL || to->sock == NULL)
        return answer(-EBADF);
    if (fault_rare(SIM_FAULT_EINTR, OP_MOVE))
        return answer(-EINTR);
    moved = try_move(&none, to->sock, file, &at, size);
    *offset = at;
    return answer(moved);
}

bool __wrap_weir__file_cached(int file, int64_t offset, size_t size)
{
    return !fault(SIM_FAULT_FILE_SLOW, OP_MOVE);
}
