#include "io/ready.h"

#include "base/alloc.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <weir/error.h>

/* One table of pollfd for ppoll, with the token of each beside it, and a map from descriptor
 * numbers to places in it, so that adding and removing take the same short time however many there
 * are. Only descriptors that something waits for stand in it: one that nobody wants to know of,
 * left in with no events, would be told of over and over once it is reset (72 135 times in 50 ms:
 * probed). What one turn does not take is told again in the next, which looks further on in the
 * table. */

enum { HARVEST = 512, TABLE_LEAST = 64, NOWHERE = -1 };

struct poll_io {
    struct ready r;
    struct pollfd *table; /* [0] is the wake-up event */
    uint64_t *token;      /* beside it */
    uint32_t count, capacity;
    uint32_t scan;  /* where the next harvest begins to look */
    int32_t *place; /* by descriptor number */
    uint32_t places;
    struct epoll_event events[HARVEST];
};

/* --- the table -------------------------------------------------------------------------------- */

static int resize_table(struct poll_io *p, uint32_t capacity)
{
    struct pollfd *table = weir__realloc(p->table, capacity * sizeof(*table));
    uint64_t *token;
    if (table == NULL)
        return -ENOMEM;
    p->table = table;
    token = weir__realloc(p->token, capacity * sizeof(*token));
    if (token == NULL) {
        /* The capacity is that of the smaller of the two. */
        if (capacity < p->capacity)
            p->capacity = capacity;
        return -ENOMEM;
    }
    p->token = token;
    p->capacity = capacity;
    return 0;
}

static int reach_place(struct poll_io *p, int fd)
{
    uint32_t places = p->places != 0 ? p->places : TABLE_LEAST;
    int32_t *place;
    if ((uint32_t)fd < p->places)
        return 0;
    while (places <= (uint32_t)fd)
        places *= 2;
    place = weir__realloc(p->place, places * sizeof(*place));
    if (place == NULL)
        return -ENOMEM;
    for (uint32_t i = p->places; i < places; i++)
        place[i] = NOWHERE;
    p->place = place;
    p->places = places;
    return 0;
}

static int table_add(struct poll_io *p, int fd, uint32_t wanted, uint64_t token)
{
    int error = reach_place(p, fd);
    if (error == 0 && p->place[fd] != NOWHERE)
        error = -EEXIST;
    if (error == 0 && p->count == p->capacity)
        error = resize_table(p, p->capacity * 2);
    if (error != 0)
        return error;
    p->table[p->count] = (struct pollfd){.fd = fd, .events = (short)wanted};
    p->token[p->count] = token;
    p->place[fd] = (int32_t)p->count++;
    return 0;
}

/* The last one takes the place of the one that goes. */
static void poll_unwatch(struct ready *r, struct io_fd *fd)
{
    struct poll_io *p = (struct poll_io *)r;
    uint32_t place, last;
    if (!(fd->flags & READY_KNOWN))
        return;
    place = (uint32_t)p->place[fd->fd];
    last = --p->count;
    p->table[place] = p->table[last];
    p->token[place] = p->token[last];
    p->place[p->table[place].fd] = (int32_t)place;
    p->place[fd->fd] = NOWHERE;
    fd->flags &= (uint16_t)~READY_KNOWN;
}

static int poll_watch(struct ready *r, struct io_fd *fd, uint64_t token)
{
    struct poll_io *p = (struct poll_io *)r;
    uint32_t wanted = ready_wanted(fd);
    int error;
    if (fd->flags & READY_KNOWN) {
        if (fd->flags & READY_WAITS)
            p->table[p->place[fd->fd]].events = (short)wanted;
        else
            poll_unwatch(r, fd);
        return 0;
    }
    if (!(fd->flags & READY_WAITS))
        return 0;
    error = table_add(p, fd->fd, wanted, token);
    if (error == 0)
        fd->flags |= READY_KNOWN;
    return error;
}

/* --- waiting ---------------------------------------------------------------------------------- */

static uint32_t harvest(struct poll_io *p, int told)
{
    uint32_t taken = 0;
    uint32_t at = p->scan < p->count ? p->scan : 0;
    for (uint32_t seen = 0; seen < p->count && told > 0 && taken < HARVEST; seen++) {
        uint32_t events = (uint16_t)p->table[at].revents;
        if (events != 0 && at == 0) {
            uint64_t wakes;
            ssize_t got = read(p->r.wake_fd, &wakes, sizeof(wakes));
            (void)got; /* not worth a look: the flag in memory says whether it was a wake-up */
            p->r.io.stats.syscalls++;
            told--;
        } else if (events != 0) {
            /* Somebody closed it behind our back: an error, which the read will name. */
            if (events & POLLNVAL)
                events |= EPOLLERR;
            p->events[taken].events = events;
            p->events[taken++].data.u64 = p->token[at];
            told--;
        }
        at = at + 1 < p->count ? at + 1 : 0;
    }
    p->scan = at;
    return taken;
}

static int poll_sleep(struct ready *r, int64_t timeout_ns)
{
    struct poll_io *p = (struct poll_io *)r;
    const struct timespec time = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    int told;
    if (p->capacity > TABLE_LEAST && p->count < p->capacity / 4)
        resize_table(p, p->capacity / 2); /* without memory it simply stays large */
    r->io.stats.syscalls++;
    told = ppoll(p->table, p->count, timeout_ns < 0 ? NULL : &time, NULL);
    if (told < 0)
        return -errno;
    return (int)harvest(p, told);
}

static const struct ready_kind poll_kind = {
    .watch = poll_watch,
    .unwatch = poll_unwatch,
    .sleep = poll_sleep,
};

/* A descriptor for a host would have to be readable whenever one of the table is. */
static int poll_io_poll_fd(struct io *io)
{
    return WEIR_ENOTSUP;
}

/* --- opening and closing ---------------------------------------------------------------------- */

static void poll_io_close(struct io *io)
{
    struct poll_io *p = (struct poll_io *)io;
    weir__ready_end(&p->r);
    weir__free(p->table);
    weir__free(p->token);
    weir__free(p->place);
    weir__free(p);
}

static int poll_io_open(struct io **io, const struct io_config *config, const char **why)
{
    struct poll_io *p = weir__zalloc(sizeof(*p));
    struct io_features features;
    int error;
    if (p == NULL) {
        *why = "out of memory for the back end";
        return -ENOMEM;
    }
    p->r.events = p->events;
    error = weir__ready_init(&p->r, &weir__io_poll, config, &poll_kind, &features, why);
    if (error == 0) {
        error = resize_table(p, TABLE_LEAST);
        if (error == 0)
            error = table_add(p, p->r.wake_fd, POLLIN, READY_WAKE_TOKEN);
        if (error != 0)
            *why = "out of memory for the table of descriptors";
    }
    if (error != 0) {
        poll_io_close(&p->r.io);
        return error;
    }
    weir__ready_plan(&p->r);
    weir__ready_plan_row(&p->r, "ppoll", true, "sleeps to the nanosecond");
    weir__ready_plan_row(&p->r, "edge_triggered", false,
                         "poll tells what is, not what has changed: each sleep costs a look at "
                         "every descriptor that is waited for");
    *io = &p->r.io;
    return 0;
}

static void poll_io_forked(struct io *io)
{
    weir__ready_forked((struct ready *)io);
}

const struct io_ops weir__io_poll = {
    .name = "poll",
    .open = poll_io_open,
    .close = poll_io_close,
    .poll_fd = poll_io_poll_fd,
    .forked = poll_io_forked,
    READY_VERBS,
};
