#include "io/ready.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define likely(condition) __builtin_expect(!!(condition), 1)

enum wake_state { AWAKE, ASLEEP, NOTIFIED };

enum {
    DONE_EXTRA = 256,         /* completions made within a turn that it still yields */
    SLEEP_CUT_NS = 500000000, /* sleeps longer than this are cut in two */
};

/* Bytes of the hot block; 0 with *why when what was asked for is out of bounds. */
static uint32_t block_size(const struct io_config *config, const struct io_features *features,
                           const char **why)
{
    uint32_t size = features->size[IO_SIZE_block];
    if (size == 0)
        size = config->block_size != 0 ? config->block_size : READY_BLOCK_SIZE;
    if (size == IO_SIZE_SMALL)
        size = READY_BLOCK_SMALL;
    if (size > READY_BLOCK_MOST) {
        *why = "a receive block is at most 16 MiB";
        size = 0;
    }
    return size;
}

int weir__ready_init(struct ready *r, const struct io_ops *ops, const struct io_config *config,
                     const struct ready_kind *kind, struct io_features *features, const char **why)
{
    uint32_t block;
    int error = weir__io_features(features, config->features, why);
    r->wake_fd = -1;
    r->client.io = &r->io;
    if (error != 0)
        return error;
    block = block_size(config, features, why);
    if (block == 0)
        return -EINVAL;
    r->io.ops = ops;
    r->io.eager = true;
    r->io.hot_block = true;
    r->io.block_size = block;
    r->io.blocks = 1;
    r->find = config->find;
    r->owner = config->owner;
    r->kind = kind;
    r->pool = config->pool;
    r->first_read = features->on[IO_SWITCH_first_read];
    r->warm_move = features->on[IO_SWITCH_warm_move] && config->pool != NULL;
    r->hot = weir__pages_alloc(block);
    r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (r->wake_fd < 0) {
        *why = "no descriptor for the wake-up event: raise the limit of open files (ulimit -n)";
        return -errno;
    }
    if (r->hot == NULL || !weir__ready_ring_init(&r->queue) || !weir__ready_ring_init(&r->fresh) ||
        !weir__ready_ring_init(&r->done)) {
        *why = "out of memory for the receive block and the queues of the back end";
        return -ENOMEM;
    }
    return 0;
}

void weir__ready_end(struct ready *r)
{
    weir__pool_quiet(&r->client);
    if (r->wake_fd >= 0)
        close(r->wake_fd);
    if (r->hot != NULL)
        weir__pages_free(r->hot, r->io.block_size);
    weir__inbox_free(r->inbox);
    weir__ready_ring_end(&r->queue);
    weir__ready_ring_end(&r->fresh);
    weir__ready_ring_end(&r->done);
}

/* --- sleeping and waking ---------------------------------------------------------------------- */

/* A wake-up costs a system call only when the loop sleeps, or a host sleeps for it. */
void weir__ready_wake(struct io *io)
{
    struct ready *r = (struct ready *)io;
    if (atomic_exchange(&r->wake_state, NOTIFIED) == ASLEEP) {
        const uint64_t one = 1;
        int before = errno; /* may be called from a signal handler */
        /* Otherwise it fails only at 2^64 - 2 unread wake-ups, when the loop is awake anyway. */
        while (write(r->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
        errno = before;
    }
}

static bool work_is_due(const struct ready *r)
{
    return r->queue.count != 0 || r->fresh.count != 0 || r->done.count != 0 || r->files != NULL ||
           r->files_over != NULL;
}

void weir__ready_embed(struct ready *r)
{
    r->embedded = true;
    if (atomic_exchange(&r->wake_state, ASLEEP) == NOTIFIED || work_is_due(r))
        weir__ready_wake(&r->io);
}

/* How long the kernel may sleep; for a sleep, the flag is set that makes a wake-up write. */
static int64_t before_sleep(struct ready *r, int64_t timeout_ns)
{
    r->io.stats.waits++;
    r->queue_left = r->queue.count;
    r->done_left = r->done.count + DONE_EXTRA;
    if (work_is_due(r))
        return 0;
    if (r->queue.peak != 0)
        weir__ready_ring_trim(&r->queue);
    if (r->done.peak != 0)
        weir__ready_ring_trim(&r->done);
    if (r->fresh.peak != 0)
        weir__ready_ring_trim(&r->fresh);
    if (timeout_ns == 0)
        return 0;
    if (!r->embedded) {
        uint32_t awake = AWAKE;
        if (!atomic_compare_exchange_strong(&r->wake_state, &awake, ASLEEP))
            return 0;
    }
    r->io.stats.sleeps++;
    return timeout_ns;
}

/* What has finished since the last turn, both kinds: the pool wakes the loop for the first of its
 * jobs only, and that wake-up is used up by now. */
static void take_files(struct ready *r)
{
    struct io_file **end = &r->files;
    while (*end != NULL)
        end = &(*end)->next;
    *end = r->files_over;
    r->files_over = NULL;
    while (*end != NULL)
        end = &(*end)->next;
    *end = weir__pool_harvest(&r->client);
}

static void after_sleep(struct ready *r, uint32_t count)
{
    /* From here on a wake-up is for the next sleep: whatever was posted before it is seen by the
     * caller, who looks after this. While a host sleeps for the loop it always counts as asleep. */
    if (atomic_load_explicit(&r->wake_state, memory_order_relaxed) != AWAKE)
        atomic_exchange(&r->wake_state, r->embedded ? ASLEEP : AWAKE);
    r->index = 0;
    r->count = count;
    take_files(r);
}

/* The kernel allows itself a slack of a thousandth of the time asked for, 10 ms on 10 s, and uses
 * it up (select_estimate_accuracy, the same for epoll, poll and select). A long sleep is cut in
 * two: most of it, and after that the little that is left, with its little slack. */
static int sleep_in_pieces(struct ready *r, int64_t timeout_ns)
{
    int64_t tail = timeout_ns / 512, left;
    uint64_t end;
    int count;
    if (timeout_ns < SLEEP_CUT_NS)
        return r->kind->sleep(r, timeout_ns);
    end = weir__clock_now_ns() + (uint64_t)timeout_ns;
    count = r->kind->sleep(r, timeout_ns - tail);
    left = (int64_t)(end - weir__clock_now_ns());
    /* With more than the tail left it was a wake-up that ended the first piece. */
    if (count == 0 && left > 0 && left <= tail)
        count = r->kind->sleep(r, left);
    return count;
}

int weir__ready_wait(struct io *io, int64_t timeout_ns)
{
    struct ready *r = (struct ready *)io;
    int count;
    if (r->index < r->count)
        return 0; /* the harvest was not used up: edges are told only once */
    count = sleep_in_pieces(r, before_sleep(r, timeout_ns));
    after_sleep(r, count > 0 ? (uint32_t)count : 0);
    return count < 0 && count != -EINTR ? count : 0;
}

/* --- what is due without the kernel ----------------------------------------------------------- */

int weir__ready_done(struct ready *r, uint64_t token, int result)
{
    if (!weir__ready_ring_push(&r->done, token, result))
        return -ENOMEM;
    if (r->embedded)
        weir__ready_wake(&r->io);
    return 0;
}

int weir__ready_again(struct ready *r, struct ready_ring *ring, struct io_fd *fd, uint64_t token)
{
    if (fd->flags & READY_QUEUED)
        return 0;
    if (weir__ready_ring_push(ring, token, 0)) {
        fd->flags |= READY_QUEUED;
        if (r->embedded)
            weir__ready_wake(&r->io);
        return 0;
    }
    /* Without memory the kernel's own queue serves: a changed registration is told at once. */
    fd->flags &= (uint16_t) ~(READY_READABLE | READY_TO_END | READY_HAS_IN);
    return r->kind->watch(r, fd, token);
}

/* --- completions ------------------------------------------------------------------------------ */

/* The final event of an operation. */
static bool yield_final(struct ready *r, struct io_event *event, uint64_t token, unsigned op,
                        int result)
{
    r->in_flight--;
    *event = (struct io_event){.token = IO_TOKEN_WITH_OP(token, op), .result = result};
    return true;
}

/* A short read means that the socket is empty, and saves the read that would say EAGAIN; not so
 * when the end, an error, or urgent data (where reads stop short) was told with it: no second edge
 * would come for what is behind. */
static inline void read_more(struct ready *r, struct io_fd *fd, uint64_t token, bool full)
{
    if (likely(!full && (fd->flags & (READY_TO_END | READY_KNOWN)) == READY_KNOWN)) {
        fd->flags &= (uint16_t)~READY_READABLE;
    } else if (fd->flags & READY_KNOWN) {
        fd->flags |= READY_READABLE;
        weir__ready_again(r, &r->queue, fd, token);
    } else {
        /* Not registered: that is done at the end of the turn if it still lives then. */
        fd->flags &= (uint16_t)~READY_READABLE;
        weir__ready_again(r, &r->fresh, fd, token);
    }
}

/* One batch of an armed socket of messages. An error that was told and that no read brings stands
 * in the error queue: an event without messages says so. */
static bool read_messages(struct ready *r, struct io_fd *fd, uint64_t token, struct io_event *event)
{
    uint16_t told = fd->spare & READY_ERRORS ? IO_ERRORS : 0;
    int got = weir__inbox_receive(r->inbox, fd->fd);
    bool full = got == IO_MESSAGES_MOST;
    r->io.stats.syscalls++;
    if (got == -EINTR) {
        if (r->edge)
            read_more(r, fd, token, true);
        return false;
    }
    fd->spare &= (uint16_t)~READY_ERRORS;
    if (got > 0 && r->edge) {
        read_more(r, fd, token, full);
    } else if (got == -EAGAIN) {
        fd->flags &= (uint16_t) ~(READY_READABLE | READY_TO_END);
        /* select does not tell of errors apart, and would not sleep while they are there. */
        if (told == 0 && r->edge) {
            r->io.stats.spurious++;
            return false;
        }
        told = IO_ERRORS;
        got = 0;
    } else if (got < 0) {
        yield_final(r, event, token, IO_OP_RECV, got);
        fd->flags &= (uint16_t)~READY_RECV;
        ready_rewatch(r, fd, token);
        return true;
    }
    *event = (struct io_event){.token = IO_TOKEN_WITH_OP(token, IO_OP_RECV),
                               .messages = r->inbox->message,
                               .result = got,
                               .flags = IO_MORE | IO_MESSAGES | told};
    if (!full)
        event->flags |= IO_DRAINED;
    return true;
}

/* One read of an armed descriptor. False: nothing was there after all. */
static bool read_once(struct ready *r, struct io_fd *fd, uint64_t token, struct io_event *event)
{
    if (__builtin_expect(fd->spare & IO_FD_MESSAGES, 0))
        return read_messages(r, fd, token, event);
    ssize_t got = recv(fd->fd, r->hot, r->io.block_size, MSG_DONTWAIT);
    r->io.stats.syscalls++;
    if (likely(got > 0)) {
        bool full = (size_t)got == r->io.block_size;
        event->token = IO_TOKEN_WITH_OP(token, IO_OP_RECV);
        event->data = r->hot;
        event->result = (int32_t)got;
        event->flags = full || fd->flags & READY_TO_END ? IO_MORE | IO_BUFFER
                                                        : IO_MORE | IO_BUFFER | IO_DRAINED;
        event->block = 0;
        if (r->edge)
            read_more(r, fd, token, full);
        return true;
    }
    if (got < 0 && errno == EINTR) { /* only before any byte: once more in the next turn */
        if (r->edge)
            read_more(r, fd, token, true);
        return false;
    }
    if (got < 0 && errno == EAGAIN) {
        r->io.stats.spurious++;
        fd->flags &= (uint16_t) ~(READY_READABLE | READY_TO_END);
        return false;
    }
    yield_final(r, event, token, IO_OP_RECV, got < 0 ? -errno : 0);
    fd->flags &= (uint16_t) ~(READY_RECV | READY_READABLE);
    ready_rewatch(r, fd, token);
    return true;
}

/* Edge: events that nobody waits for. The first is remembered; when they keep coming (a paused
 * reader is woken by every byte, a unix socket by every byte that its peer takes) the registration
 * is changed, by one system call. */
static void stray(struct ready *r, struct io_fd *fd, uint64_t token, uint32_t told)
{
    r->io.stats.spurious++;
    if (!r->edge || !(fd->flags & READY_KNOWN))
        return;
    if (told & (EPOLLIN | EPOLLRDHUP | EPOLLPRI)) {
        if (fd->flags & READY_STRAY_IN && fd->flags & READY_HAS_IN)
            r->kind->mask(r, fd, token, EPOLLIN);
        fd->flags |= READY_STRAY_IN;
    } else if (told & EPOLLOUT) {
        if (fd->flags & READY_STRAY_OUT && fd->flags & READY_HAS_OUT)
            r->kind->mask(r, fd, token, EPOLLOUT);
        fd->flags |= READY_STRAY_OUT;
    }
}

static bool connect_done(struct ready *r, struct io_fd *fd, uint64_t token, struct io_event *event)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(fd->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    r->io.stats.syscalls++;
    fd->flags &= (uint16_t)~READY_CONNECT;
    yield_final(r, event, token, IO_OP_CONNECT, -error);
    ready_rewatch(r, fd, token);
    return true;
}

static bool send_done(struct ready *r, struct io_fd *fd, uint64_t token, struct io_event *event)
{
    unsigned op = fd->flags & READY_MOVE ? IO_OP_MOVE : IO_OP_SEND;
    fd->flags &= (uint16_t) ~(READY_SEND | READY_MOVE);
    fd->flags |= READY_ROOM;
    yield_final(r, event, token, op, 0);
    ready_rewatch(r, fd, token);
    return true;
}

static bool poll_done(struct ready *r, struct io_fd *fd, uint64_t token, uint32_t told,
                      struct io_event *event)
{
    fd->flags &= (uint16_t)~READY_POLL;
    yield_final(r, event, token, IO_OP_POLL, (int)(told & 0xffffu));
    /* Registered anew each time: the descriptor is somebody else's, and may be closed, or be
     * another one under the same number, when it is polled next. */
    r->kind->unwatch(r, fd);
    return true;
}

/* What was told of one descriptor, one completion at a time; moves on to the next entry of the
 * harvest when nothing is left of this one. */
static bool dispatch(struct ready *r, struct epoll_event *entry, struct io_fd *fd,
                     struct io_event *event)
{
    uint64_t token = entry->data.u64;
    uint32_t told = entry->events;
    if (fd == NULL || fd->fd < 0) {
        if (token != READY_WAKE_TOKEN)
            r->io.stats.spurious++;
        goto next;
    }
    if (fd->flags & READY_ACCEPT)
        return weir__ready_accept_one(r, fd, token, event);
    r->accept_left = 0;
    if (fd->flags & READY_POLL) {
        r->index++;
        return poll_done(r, fd, token, told, event);
    }
    if (fd->spare & IO_FD_MESSAGES && told & EPOLLERR)
        fd->spare |= READY_ERRORS;
    if (told & READY_WRITE_EVENTS && fd->flags & (READY_SEND | READY_CONNECT)) {
        /* The entry is seen again for its other half; an error is the reader's then. */
        entry->events = told & (EPOLLIN | EPOLLRDHUP | EPOLLPRI);
        if (told & (EPOLLERR | EPOLLHUP))
            entry->events |= EPOLLRDHUP;
        return fd->flags & READY_CONNECT ? connect_done(r, fd, token, event)
                                         : send_done(r, fd, token, event);
    }
    if (r->edge && told & EPOLLOUT)
        fd->flags |= READY_ROOM;
    if (r->edge && told & READY_READ_EVENTS)
        fd->flags |= told & READY_END_EVENTS ? READY_READABLE | READY_TO_END : READY_READABLE;
    r->index++;
    if (!(fd->flags & READY_RECV) || !(told & READY_READ_EVENTS)) {
        if (told != 0)
            stray(r, fd, token, told);
        return false;
    }
    /* One that stands in the queue is read there, so that it has one read a turn. */
    return !(fd->flags & READY_QUEUED) && read_once(r, fd, token, event);
next:
    r->accept_left = 0;
    r->index++;
    return false;
}

/* A descriptor that was not drained in an earlier turn, or was resumed while readable. */
static bool next_of_queue(struct ready *r, struct io_event *event)
{
    struct ready_entry entry = weir__ready_ring_pop(&r->queue);
    struct io_fd *fd = r->find(r->owner, entry.token);
    r->queue_left--;
    if (fd == NULL || !(fd->flags & READY_QUEUED))
        return false; /* closed since */
    fd->flags &= (uint16_t)~READY_QUEUED;
    if ((fd->flags & (READY_RECV | READY_READABLE)) != (READY_RECV | READY_READABLE))
        return false; /* paused since; recv queues it again */
    return read_once(r, fd, entry.token, event);
}

/* A descriptor that is not registered yet. Its first bytes are often there already, so that a
 * connection which is answered and closed at once needs no registration at all: it is read first,
 * and registered when nothing was there, or after its first bytes have been handled. */
static bool next_of_fresh(struct ready *r, struct io_event *event)
{
    struct ready_entry entry = weir__ready_ring_pop(&r->fresh);
    struct io_fd *fd = r->find(r->owner, entry.token);
    int error;
    if (fd == NULL || !(fd->flags & READY_QUEUED))
        return false;
    fd->flags &= (uint16_t)~READY_QUEUED;
    if (!(fd->flags & READY_RECV))
        return false;
    if (fd->flags & READY_READABLE && read_once(r, fd, entry.token, event))
        return true;
    if (fd->flags & (READY_HAS_IN | READY_QUEUED))
        return false;
    error = r->kind->watch(r, fd, entry.token);
    if (error == 0)
        return false;
    fd->flags &= (uint16_t)~READY_RECV;
    return yield_final(r, event, entry.token, IO_OP_RECV, error);
}

static bool next_of_files(struct ready *r, struct io_event *event)
{
    struct io_file *file = r->files;
    bool yields;
    r->files = file->next;
    if (weir__ready_own_job(r, file, event, &yields))
        return yields;
    return yield_final(r, event, file->token, IO_TOKEN_OP(file->token), file->result);
}

static bool next_of_done(struct ready *r, struct io_event *event)
{
    struct ready_entry entry = weir__ready_ring_pop(&r->done);
    r->done_left--;
    return yield_final(r, event, entry.token, IO_TOKEN_OP(entry.token), (int)entry.result);
}

static bool next_due(struct ready *r, struct io_event *event)
{
    for (;;) {
        if (r->done.count != 0 && r->done_left != 0)
            return next_of_done(r, event);
        if (r->files != NULL) {
            if (next_of_files(r, event))
                return true;
        } else if (r->queue_left != 0) {
            if (next_of_queue(r, event))
                return true;
        } else if (r->fresh.count != 0) {
            if (next_of_fresh(r, event))
                return true;
        } else {
            return false;
        }
    }
}

int weir__ready_next(struct io *io, struct io_event *event)
{
    struct ready *r = (struct ready *)io;
    const uint16_t busy =
        READY_SEND | READY_CONNECT | READY_ACCEPT | READY_POLL | READY_QUEUED | READY_RECV;
    while (r->index < r->count) {
        struct epoll_event *entry = &r->events[r->index];
        uint64_t token = entry->data.u64;
        struct io_fd *fd = token != READY_WAKE_TOKEN ? r->find(r->owner, token) : NULL;
        /* Bytes for a receive that is armed, and nothing else going on: nearly all there is. */
        if (likely(fd != NULL && (fd->flags & busy) == READY_RECV && fd->fd >= 0 &&
                   (entry->events & ~(uint32_t)EPOLLOUT) == EPOLLIN)) {
            r->index++;
            if (entry->events & EPOLLOUT)
                fd->flags |= READY_ROOM;
            if (read_once(r, fd, token, event))
                goto yielded;
        } else if (dispatch(r, entry, fd, event)) {
            goto yielded;
        }
    }
    if (!next_due(r, event))
        return 0;
yielded:
    r->io.stats.events++;
    return 1;
}
