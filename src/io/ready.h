/* What epoll, poll and select share: they wait for readiness and present completions.
 *
 * A receive is an emulated multishot: "armed" is a bit in the descriptor's flags, and next() reads
 * one socket at a time into one hot block, so that the bytes are in cache when they are handled. A
 * send is tried inside the verb; what finds no room waits and yields 0 when there is some. Nothing
 * is kept for an idle descriptor beyond the 4 bytes in its own record: what is due is found again
 * through tokens, which io_config.find checks before anything is touched.
 *
 * An edge-triggered back end (epoll) is told once of each change, so that this file remembers what
 * was not used up. A level-triggered one (poll, select) is told again, and is asked only for what
 * is wanted now. */
#ifndef WEIR_IO_READY_H
#define WEIR_IO_READY_H

#include <stdatomic.h>
#include <sys/epoll.h>

#include "io/features.h"
#include "io/inbox.h"
#include "io/io.h"
#include "io/pool.h"
#include "io/ready_ring.h"

/* io_fd.flags, beside IO_FD_DIRECT. */
enum ready_flags {
    READY_KNOWN = 0x0001,     /* the back end has it: registered, or in the table */
    READY_HAS_IN = 0x0002,    /* registered for reading */
    READY_HAS_OUT = 0x0004,   /* registered for writing */
    READY_RECV = 0x0008,      /* a receive is armed */
    READY_SEND = 0x0010,      /* a send waits for room */
    READY_MOVE = 0x0020,      /* a move waits: with READY_SEND for room, alone for the disk */
    READY_CONNECT = 0x0040,   /* a connect is under way */
    READY_ACCEPT = 0x0080,    /* a listener is armed */
    READY_POLL = 0x0100,      /* a one-shot poll waits; its mask is in io_fd.spare */
    READY_READABLE = 0x0200,  /* edge: told so, and not yet read until empty */
    READY_TO_END = 0x0400,    /* edge: an end, an error or urgent data was seen, so that a short
                               * read does not mean that the socket is empty: no edge will follow */
    READY_QUEUED = 0x0800,    /* stands in a queue of this file */
    READY_ROOM = 0x1000,      /* edge: writable was told since the last short send */
    READY_STRAY_IN = 0x2000,  /* edge: readable was told once while nobody wanted to know */
    READY_STRAY_OUT = 0x4000, /* the same for writable */
};
/* io_fd.spare, beside IO_FD_MESSAGES and what streams and polls keep there: an error was told of a
 * socket of messages. */
#define READY_ERRORS 0x4000u
#define READY_WAITS  (READY_RECV | READY_SEND | READY_CONNECT | READY_ACCEPT | READY_POLL)

struct ready;
struct ready_kind {
    /* Makes the kernel watch for what fd->flags wait for. Level-triggered: for exactly that; edge:
     * for at least that. `token` comes back with the event. 0 or -errno. */
    int (*watch)(struct ready *r, struct io_fd *fd, uint64_t token);
    /* Forgets the descriptor, which stays open. */
    void (*unwatch)(struct ready *r, struct io_fd *fd);
    /* Waits at most `timeout_ns` (negative: no limit) and fills `events`: how many, or -errno. */
    int (*sleep)(struct ready *r, int64_t timeout_ns);
    /* Edge: nobody wants to know of these events (EPOLLIN, EPOLLOUT), and they keep coming. */
    void (*mask)(struct ready *r, struct io_fd *fd, uint64_t token, uint32_t events);
};

struct ready {
    struct io io;
    /* Hot: what every event touches. */
    struct epoll_event *events; /* this turn's harvest; EPOLL* and POLL* have the same values */
    uint32_t index, count;
    bool edge;
    bool embedded;        /* a host sleeps on poll_fd */
    bool first_read;      /* edge: a descriptor is read before it is registered */
    bool warm_move;       /* a worker reads a cold file before it is moved */
    uint16_t accept_left; /* of the budget of the listener at events[index]; 0: not begun */
    uint32_t queue_left;  /* entries of `queue` to be visited in this turn */
    uint32_t done_left;
    unsigned in_flight;
    uint8_t *hot;
    struct io_fd *(*find)(void *owner, uint64_t token);
    void *owner;
    const struct ready_kind *kind;
    /* Cold. */
    struct ready_ring queue;    /* edge: descriptors to be read in the next turn */
    struct ready_ring fresh;    /* edge: not registered: to be read, or registered, in this turn */
    struct ready_ring done;     /* completions that need no descriptor any more */
    struct inbox *inbox;        /* made when the first socket of messages is armed */
    struct io_file *files;      /* finished file operations, to be yielded in this turn */
    struct io_file *files_over; /* and in the next: done without the pool, or canceled */
    struct io_pool *pool;
    struct pool_client client;
    int wake_fd;
    _Atomic uint32_t wake_state;
};

/* The token of the wake-up eventfd; no operation has it. */
#define READY_WAKE_TOKEN 0ull

enum {
    READY_BLOCK_SIZE = 64 * 1024,
    READY_BLOCK_SMALL = 4096,
    READY_BLOCK_MOST = 16 * 1024 * 1024,
    READY_ACCEPT_BUDGET = 64, /* connections that one listener may yield in a turn */
};
#define READY_READ_EVENTS  (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLERR | EPOLLHUP)
#define READY_END_EVENTS   (EPOLLRDHUP | EPOLLPRI | EPOLLERR | EPOLLHUP)
#define READY_WRITE_EVENTS (EPOLLOUT | EPOLLERR | EPOLLHUP)

/* Fills what is shared: eventfd, hot block, queues. `r` is zeroed but for `edge` and `events`;
 * *features is what config->features says. 0, or -errno with *why. */
int weir__ready_init(struct ready *r, const struct io_ops *ops, const struct io_config *config,
                     const struct ready_kind *kind, struct io_features *features, const char **why);
/* Gives it back; waits for workers that are just telling of their last job. */
void weir__ready_end(struct ready *r);

/* The events that fd->flags wait for. */
static inline uint32_t ready_wanted(const struct io_fd *fd)
{
    uint32_t wanted = 0;
    if (fd->flags & READY_POLL)
        return fd->spare;
    if (fd->flags & READY_RECV)
        wanted |= EPOLLIN | EPOLLRDHUP;
    if (fd->flags & READY_ACCEPT)
        wanted |= EPOLLIN;
    if (fd->flags & (READY_SEND | READY_CONNECT))
        wanted |= EPOLLOUT;
    return wanted;
}

/* From now on a host sleeps on a descriptor of this io: wakes, and work that is due without the
 * kernel saying so, go through the eventfd always. */
void weir__ready_embed(struct ready *r);

/* The verbs that are the same in all of them, for the tables of operations. */
#define READY_VERBS                                                                               \
    .wait = weir__ready_wait, .next = weir__ready_next, .wake = weir__ready_wake,                 \
    .accept = weir__ready_accept, .connect = weir__ready_connect, .recv = weir__ready_recv,       \
    .recvmsg = weir__ready_recvmsg, .sendmsg = weir__ready_sendmsg, .send = weir__ready_send,     \
    .move = weir__ready_move, .shutdown = weir__ready_shutdown, .close_fd = weir__ready_close_fd, \
    .cancel = weir__ready_cancel, .poll = weir__ready_poll, .file = weir__ready_file,             \
    .hold = weir__ready_hold, .release = weir__ready_release,                                     \
    .blocks_free = weir__ready_blocks_free, .number = weir__ready_number,                         \
    .number_done = weir__ready_number_done, .in_flight = weir__ready_in_flight
int weir__ready_wait(struct io *io, int64_t timeout_ns);
int weir__ready_next(struct io *io, struct io_event *event);
void weir__ready_wake(struct io *io);
int weir__ready_accept(struct io *io, struct io_fd *fd, uint64_t token);
int weir__ready_connect(struct io *io, struct io_fd *fd, const struct sockaddr *address,
                        socklen_t size, uint64_t token, int *result);
int weir__ready_recv(struct io *io, struct io_fd *fd, uint64_t token);
int weir__ready_send(struct io *io, struct io_fd *fd, const struct iovec *iov, unsigned count,
                     unsigned flags, uint64_t token, int *result);
int weir__ready_recvmsg(struct io *io, struct io_fd *fd, uint64_t token);
int weir__ready_sendmsg(struct io *io, struct io_fd *fd, struct mmsghdr *messages, unsigned count,
                        unsigned flags, uint64_t token, int *result);
int weir__ready_move(struct io *io, struct io_fd *socket, int file, int64_t *offset, size_t size,
                     unsigned flags, uint64_t token, int *result);
int weir__ready_shutdown(struct io *io, struct io_fd *fd, int how);
int weir__ready_close_fd(struct io *io, struct io_fd *fd, bool reset, uint64_t token, int *result);
int weir__ready_cancel(struct io *io, struct io_fd *fd, uint64_t token);
int weir__ready_poll(struct io *io, struct io_fd *fd, unsigned mask, uint64_t token);
int weir__ready_file(struct io *io, struct io_file *file, uint64_t token);
void weir__ready_hold(struct io *io, unsigned block);
void weir__ready_release(struct io *io, unsigned block);
bool weir__ready_blocks_free(struct io *io);
int weir__ready_number(struct io *io, struct io_fd *fd);
void weir__ready_number_done(struct io *io, struct io_fd *fd, int number);
unsigned weir__ready_in_flight(struct io *io);

/* The plan: the rows that all have, and one more (texts are static). */
void weir__ready_plan(struct ready *r);
void weir__ready_plan_row(struct ready *r, const char *feature, bool used, const char *reason);
/* The child's part of fork: closes its copies. */
void weir__ready_forked(struct ready *r);

/* Within this floor: puts a completion in line; room for it is taken from memory only now, so it
 * can fail (-ENOMEM, nothing happened). */
int weir__ready_done(struct ready *r, uint64_t token, int result);
/* Edge: reads this descriptor again in the next turn (queue), or reads or registers it in this one
 * (fresh). Without memory the kernel is asked to tell again: 0, or the error of that. */
int weir__ready_again(struct ready *r, struct ready_ring *ring, struct io_fd *fd, uint64_t token);
/* A send or a move (`flag`: READY_MOVE or 0) waits until there is room: as the verbs return. */
int weir__ready_wait_for_room(struct ready *r, struct io_fd *fd, uint64_t token, unsigned flag,
                              int *result);
/* After a short send the kernel tells of room by an edge, and the next send waits for it untried.
 * It is tried all the same when that edge has come already, or an end or error was told, after
 * which there may be none. */
static inline bool ready_may_have_room(const struct io_fd *fd, unsigned flags)
{
    return !(flags & IO_SEND_BLOCKED) || fd->flags & (READY_ROOM | READY_TO_END);
}
/* A finished job of the pool that was this file's own (a move that waited for the disk): true when
 * it is one; *event is filled and *yields set when it completes an operation. */
bool weir__ready_own_job(struct ready *r, struct io_file *file, struct io_event *event,
                         bool *yields);
/* One accept on the listener at events[index]: true when *event was filled. */
bool weir__ready_accept_one(struct ready *r, struct io_fd *fd, uint64_t token,
                            struct io_event *event);
/* Level: drops what is no longer wanted. Nothing on edge-triggered back ends. */
static inline void ready_rewatch(struct ready *r, struct io_fd *fd, uint64_t token)
{
    if (!r->edge)
        r->kind->watch(r, fd, token);
}

#endif
