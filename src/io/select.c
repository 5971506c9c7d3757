#include "io/ready.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/select.h>
#include <time.h>
#include <weir/error.h>

#include <unistd.h>

/* Three bit sets for pselect, and a token by descriptor number. A descriptor of FD_SETSIZE (1024)
 * or more cannot be expressed and is refused with -EMFILE, as if the process had no more of them.
 */

struct select_io {
    struct ready r;
    fd_set read, write, except; /* what is waited for */
    fd_set foreign;             /* of those: one-shot polls, whose events are asked for by poll */
    int highest;                /* of all that are waited for */
    uint64_t token[FD_SETSIZE];
    short mask[FD_SETSIZE]; /* of the foreign ones */
    struct epoll_event events[FD_SETSIZE];
};

/* --- the sets --------------------------------------------------------------------------------- */

static bool in_a_set(const struct select_io *s, int fd)
{
    return FD_ISSET(fd, &s->read) || FD_ISSET(fd, &s->write) || FD_ISSET(fd, &s->except);
}

static void put(fd_set *set, int fd, bool in)
{
    if (in)
        FD_SET(fd, set);
    else
        FD_CLR(fd, set);
}

static void set_wanted(struct select_io *s, int fd, uint32_t wanted)
{
    put(&s->read, fd, wanted & (POLLIN | POLLRDNORM | POLLRDHUP));
    put(&s->write, fd, wanted & (POLLOUT | POLLWRNORM));
    put(&s->except, fd, wanted & POLLPRI);
    if (wanted != 0 && fd > s->highest)
        s->highest = fd;
    while (s->highest > 0 && !in_a_set(s, s->highest))
        s->highest--;
}

static void select_unwatch(struct ready *r, struct io_fd *fd)
{
    struct select_io *s = (struct select_io *)r;
    if (!(fd->flags & READY_KNOWN))
        return;
    set_wanted(s, fd->fd, 0);
    FD_CLR(fd->fd, &s->foreign);
    fd->flags &= (uint16_t)~READY_KNOWN;
}

static int select_watch(struct ready *r, struct io_fd *fd, uint64_t token)
{
    struct select_io *s = (struct select_io *)r;
    uint32_t wanted = ready_wanted(fd);
    if (!(fd->flags & READY_WAITS)) {
        select_unwatch(r, fd);
        return 0;
    }
    if (fd->fd >= FD_SETSIZE)
        return -EMFILE;
    if (!(fd->flags & READY_KNOWN) && in_a_set(s, fd->fd))
        return -EEXIST;
    if (fd->flags & READY_POLL) {
        /* What it cannot wait for alone: it would be told of other things, and spin. */
        if (!(wanted & (POLLIN | POLLOUT | POLLPRI)))
            return WEIR_ENOTSUP;
        FD_SET(fd->fd, &s->foreign);
        s->mask[fd->fd] = (short)wanted;
        wanted &= (uint32_t)~POLLRDHUP;
    }
    s->token[fd->fd] = token;
    set_wanted(s, fd->fd, wanted);
    fd->flags |= READY_KNOWN;
    return 0;
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* select tells less than poll: what exactly happened to a foreign descriptor is asked again. */
static uint32_t foreign_events(struct select_io *s, int fd)
{
    struct pollfd one = {.fd = fd, .events = s->mask[fd]};
    s->r.io.stats.syscalls++;
    return poll(&one, 1, 0) > 0 ? (uint16_t)one.revents : 0;
}

static int harvest(struct select_io *s, const fd_set *read_set, const fd_set *write_set,
                   const fd_set *except_set, int highest)
{
    int taken = 0;
    for (int fd = 0; fd <= highest; fd++) {
        uint32_t events = 0;
        if (FD_ISSET(fd, read_set))
            events |= EPOLLIN;
        if (FD_ISSET(fd, write_set))
            events |= EPOLLOUT;
        if (events == 0 && !FD_ISSET(fd, except_set))
            continue;
        if (fd == s->r.wake_fd) {
            uint64_t wakes;
            ssize_t got = read(fd, &wakes, sizeof(wakes));
            (void)got; /* the flag in memory says whether it was a wake-up */
            s->r.io.stats.syscalls++;
            continue;
        }
        if (FD_ISSET(fd, &s->foreign) && (events = foreign_events(s, fd)) == 0)
            continue;
        s->events[taken].events = events;
        s->events[taken++].data.u64 = s->token[fd];
    }
    return taken;
}

/* One of the descriptors was closed behind our back, and select says only that much. */
static int harvest_closed(struct select_io *s)
{
    int taken = 0;
    for (int fd = 0; fd <= s->highest; fd++) {
        if (!in_a_set(s, fd) || fcntl(fd, F_GETFD) >= 0)
            continue;
        s->events[taken].events = EPOLLERR | POLLNVAL;
        s->events[taken++].data.u64 = s->token[fd];
    }
    return taken;
}

static int select_sleep(struct ready *r, int64_t timeout_ns)
{
    struct select_io *s = (struct select_io *)r;
    const struct timespec time = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    fd_set read_set = s->read, write_set = s->write, except_set = s->except;
    int highest = s->highest;
    r->io.stats.syscalls++;
    if (pselect(highest + 1, &read_set, &write_set, &except_set, timeout_ns < 0 ? NULL : &time,
                NULL) >= 0)
        return harvest(s, &read_set, &write_set, &except_set, highest);
    return errno == EBADF ? harvest_closed(s) : -errno;
}

static const struct ready_kind select_kind = {
    .watch = select_watch,
    .unwatch = select_unwatch,
    .sleep = select_sleep,
};

static int select_io_poll_fd(struct io *io)
{
    return WEIR_ENOTSUP;
}

/* --- opening and closing ---------------------------------------------------------------------- */

static void select_io_close(struct io *io)
{
    struct select_io *s = (struct select_io *)io;
    weir__ready_end(&s->r);
    weir__free(s);
}

static int select_io_open(struct io **io, const struct io_config *config, const char **why)
{
    struct select_io *s = weir__zalloc(sizeof(*s));
    struct io_features features;
    int error;
    if (s == NULL) {
        *why = "out of memory for the back end";
        return -ENOMEM;
    }
    FD_ZERO(&s->read);
    FD_ZERO(&s->write);
    FD_ZERO(&s->except);
    FD_ZERO(&s->foreign);
    s->r.events = s->events;
    error = weir__ready_init(&s->r, &weir__io_select, config, &select_kind, &features, why);
    if (error == 0 && s->r.wake_fd >= FD_SETSIZE) {
        *why =
            "all descriptors below 1024 are taken, and select takes no others: use poll or epoll";
        error = -EMFILE;
    }
    if (error != 0) {
        select_io_close(&s->r.io);
        return error;
    }
    s->r.io.fd_limit = FD_SETSIZE;
    s->token[s->r.wake_fd] = READY_WAKE_TOKEN;
    set_wanted(s, s->r.wake_fd, POLLIN);
    weir__ready_plan(&s->r);
    weir__ready_plan_row(&s->r, "pselect", true, "sleeps to the nanosecond");
    weir__ready_plan_row(&s->r, "many_descriptors", false,
                         "select takes only descriptors below 1024 (FD_SETSIZE)");
    weir__ready_plan_row(&s->r, "edge_triggered", false,
                         "select tells what is, not what has changed: each sleep costs a look at "
                         "every descriptor that is waited for");
    *io = &s->r.io;
    return 0;
}

static void select_io_forked(struct io *io)
{
    weir__ready_forked((struct ready *)io);
}

const struct io_ops weir__io_select = {
    .name = "select",
    .open = select_io_open,
    .close = select_io_close,
    .poll_fd = select_io_poll_fd,
    .forked = select_io_forked,
    READY_VERBS,
};
