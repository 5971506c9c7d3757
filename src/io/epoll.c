#include "io/ready.h"

#include "base/alloc.h"

#include <errno.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>
#include <weir/error.h>

/* Connections are registered edge-triggered, once: with the first receive that finds nothing, or
 * the first send that finds no room, and for writing only from then on (registering a socket that
 * is writable is an event of its own). Listeners are level-triggered; foreign descriptors one-shot.
 * The data of a registration is the token. */

enum { HARVEST = 512 };

struct epoll_io {
    struct ready r;
    int ep;
    bool has_pwait2;
    struct epoll_event events[HARVEST];
};

/* --- registrations ---------------------------------------------------------------------------- */

static int control(struct ready *r, int op, struct io_fd *fd, uint32_t events, uint64_t token)
{
    struct epoll_event event = {.events = events, .data.u64 = token};
    r->io.stats.syscalls++;
    if (epoll_ctl(((struct epoll_io *)r)->ep, op, fd->fd, &event) < 0)
        return -errno;
    fd->flags |= READY_KNOWN;
    return 0;
}

static int register_stream(struct ready *r, struct io_fd *fd, bool in, bool out, uint64_t token)
{
    /* Urgent data is never read, but a read stops short in front of it: see READY_TO_END. */
    uint32_t events = EPOLLET | (in ? EPOLLIN | EPOLLRDHUP | EPOLLPRI : 0) | (out ? EPOLLOUT : 0);
    int error =
        control(r, fd->flags & READY_KNOWN ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, events, token);
    if (error == 0)
        fd->flags = (uint16_t)((fd->flags & ~(READY_HAS_IN | READY_HAS_OUT)) |
                               (in ? READY_HAS_IN : 0) | (out ? READY_HAS_OUT : 0));
    return error;
}

static int epoll_watch(struct ready *r, struct io_fd *fd, uint64_t token)
{
    if (fd->flags & READY_POLL)
        return control(r, EPOLL_CTL_ADD, fd, fd->spare | EPOLLONESHOT, token);
    if (fd->flags & READY_ACCEPT)
        return control(r, EPOLL_CTL_ADD, fd, EPOLLIN, token);
    /* A connection under way will be read from: one registration serves both. */
    return register_stream(r, fd, fd->flags & (READY_RECV | READY_CONNECT | READY_HAS_IN),
                           fd->flags & (READY_SEND | READY_CONNECT | READY_HAS_OUT), token);
}

static void epoll_unwatch(struct ready *r, struct io_fd *fd)
{
    struct epoll_event none = {0};
    if (!(fd->flags & READY_KNOWN))
        return;
    r->io.stats.syscalls++;
    epoll_ctl(((struct epoll_io *)r)->ep, EPOLL_CTL_DEL, fd->fd, &none);
    fd->flags &= (uint16_t)~READY_KNOWN;
}

static void epoll_mask(struct ready *r, struct io_fd *fd, uint64_t token, uint32_t events)
{
    bool in = fd->flags & READY_HAS_IN && !(events & EPOLLIN);
    bool out = fd->flags & READY_HAS_OUT && !(events & EPOLLOUT);
    if (register_stream(r, fd, in, out, token) != 0)
        return;
    /* Registering in full tells of everything again. */
    if (!in)
        fd->flags &= (uint16_t) ~(READY_READABLE | READY_TO_END);
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* Milliseconds rounded up, so that nothing is early. */
static int in_ms(int64_t ns)
{
    int64_t ms = ns < 0 ? -1 : ns / 1000000 + (ns % 1000000 != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static int epoll_sleep(struct ready *r, int64_t timeout_ns)
{
    struct epoll_io *e = (struct epoll_io *)r;
    int count;
    r->io.stats.syscalls++;
    if (e->has_pwait2 && timeout_ns > 0) {
        struct timespec time = {timeout_ns / 1000000000, timeout_ns % 1000000000};
        count = epoll_pwait2(e->ep, e->events, HARVEST, &time, NULL);
    } else {
        count = epoll_wait(e->ep, e->events, HARVEST, in_ms(timeout_ns));
    }
    return count < 0 ? -errno : count;
}

static const struct ready_kind epoll_kind = {
    .watch = epoll_watch,
    .unwatch = epoll_unwatch,
    .sleep = epoll_sleep,
    .mask = epoll_mask,
};

static int epoll_io_poll_fd(struct io *io)
{
    struct epoll_io *e = (struct epoll_io *)io;
    weir__ready_embed(&e->r);
    return e->ep;
}

/* --- opening and closing ---------------------------------------------------------------------- */

static void epoll_io_close(struct io *io)
{
    struct epoll_io *e = (struct epoll_io *)io;
    if (e->ep >= 0)
        close(e->ep);
    weir__ready_end(&e->r);
    weir__free(e);
}

static int epoll_start(struct epoll_io *e, bool want_pwait2, const char **why)
{
    struct epoll_event wake = {.events = EPOLLIN | EPOLLET, .data.u64 = READY_WAKE_TOKEN};
    const struct timespec now = {0, 0};
    e->ep = epoll_create1(EPOLL_CLOEXEC);
    if (e->ep < 0) {
        *why = errno == EMFILE || errno == ENFILE
                   ? "no descriptor for epoll: raise the limit of open files (ulimit -n)"
                   : "the kernel has no epoll, or forbids it: use poll";
        return -errno;
    }
    /* Edge-triggered: it tells of each write, and is never read. */
    if (epoll_ctl(e->ep, EPOLL_CTL_ADD, e->r.wake_fd, &wake) < 0) {
        *why = "epoll refuses the wake-up event: see fs.epoll.max_user_watches";
        return -errno;
    }
    e->has_pwait2 = want_pwait2 && epoll_pwait2(e->ep, e->events, HARVEST, &now, NULL) >= 0;
    return 0;
}

static int epoll_io_open(struct io **io, const struct io_config *config, const char **why)
{
    struct epoll_io *e = weir__zalloc(sizeof(*e));
    struct io_features features;
    int error;
    if (e == NULL) {
        *why = "out of memory for the back end";
        return -ENOMEM;
    }
    e->ep = -1;
    e->r.edge = true;
    e->r.events = e->events;
    error = weir__ready_init(&e->r, &weir__io_epoll, config, &epoll_kind, &features, why);
    if (error == 0)
        error = epoll_start(e, features.on[IO_SWITCH_pwait2], why);
    if (error != 0) {
        epoll_io_close(&e->r.io);
        return error;
    }
    weir__ready_plan(&e->r);
    weir__ready_plan_row(&e->r, "edge_triggered", true,
                         "connections are registered once, told of changes only");
    weir__ready_plan_row(&e->r, "first_read", e->r.first_read,
                         e->r.first_read ? "a new connection is read before it is registered"
                                         : "switched off: a new connection is registered first");
    weir__ready_plan_row(&e->r, "pwait2", e->has_pwait2,
                         e->has_pwait2 ? "sleeps are told in nanoseconds"
                         : features.on[IO_SWITCH_pwait2]
                             ? "not in this kernel (5.11): sleeps are in milliseconds"
                             : "switched off: sleeps are in milliseconds");
    *io = &e->r.io;
    return 0;
}

/* The child's copy of the descriptor is the parent's epoll: closing it disturbs nobody, but nothing
 * may be registered or taken from it. */
static void epoll_io_forked(struct io *io)
{
    struct epoll_io *e = (struct epoll_io *)io;
    close(e->ep);
    e->ep = -1;
    weir__ready_forked(&e->r);
}

const struct io_ops weir__io_epoll = {
    .name = "epoll",
    .open = epoll_io_open,
    .close = epoll_io_close,
    .poll_fd = epoll_io_poll_fd,
    .forked = epoll_io_forked,
    READY_VERBS,
};
