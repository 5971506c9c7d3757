/* The io_uring back end's own header: the ring, its receive blocks, and the functions that its
 * files share. Everything here belongs to the io's thread, except what is marked. */
#ifndef WEIR_IO_URING_H
#define WEIR_IO_URING_H

#include <liburing.h>
#include <stdatomic.h>
#include <string.h>

#include "io/features.h"
#include "io/inbox.h"
#include "io/io.h"
#include "io/pool.h"
#include "io/uring_abi.h"

/* What this kernel's io_uring can do, found out once a process by uring_facts: asked where it
 * tells, tried where it does not. Each reason is a static text, NULL where the feature works. */
#define URING_FACTS(XX)   \
    XX(multishot_accept)  \
    XX(multishot_recv)    \
    XX(multishot_message) \
    XX(incremental)       \
    XX(recv_cap)          \
    XX(poll_first)        \
    XX(cancel_op)         \
    XX(no_iowait)         \
    XX(direct)            \
    XX(unix_end)

struct uring_facts {
    int error; /* io_uring cannot be used at all: -errno, and why */
    const char *why;
#define URING_FACT_FIELD(name) const char *name;
    URING_FACTS(URING_FACT_FIELD)
#undef URING_FACT_FIELD
};

struct uring_block {
    uint32_t used; /* bytes that the kernel has filled (incremental) */
    uint32_t refs; /* events that have not been released */
    bool mine;     /* the kernel is done with it; it goes back when refs is 0 */
};

/* Receive blocks: one region cut in blocks, lent to the kernel through a ring of buffers. */
struct uring_buffers {
    struct io_uring_buf *entry; /* shared with the kernel; entry[0].resv is the tail */
    uint8_t *memory;
    struct uring_block *block;
    uint32_t size;   /* of a block */
    uint32_t stride; /* from one block to the next: coloured, so that heads share no cache set */
    uint32_t cap;    /* the most that one receive brings; 0: the rest of a block */
    uint16_t tail, mask;
    uint16_t count;
    uint16_t lent; /* blocks in the ring that the kernel has not used up, as far as was seen */
    bool incremental;
    size_t ring_bytes, memory_bytes;
};

/* Where datagrams are received into, made when the first socket of them is armed: blocks of a group
 * of their own, each for one message. Their numbers begin at URING_MESSAGE_BASE, which tells their
 * completions from those of streams. */
struct uring_messages {
    struct io_uring_buf *entry; /* shared with the kernel, as in uring_buffers */
    uint8_t *memory;
    uint16_t tail;
    uint16_t held[IO_MESSAGES_MOST]; /* blocks of the last event, which go back with the next */
    struct io_message message[IO_MESSAGES_MOST];
};

/* The rest of a receive larger than one event may carry. */
struct uring_carry {
    uint64_t token;
    uint8_t *data;
    uint32_t left;
    uint16_t flags, block;
};

/* Where the kernel writes the indices of connections that move into the ring's table, for as many
 * as may be on their way at a time; made when the first one moves. */
enum { URING_SEATS = 1024 };
struct uring_seats {
    int32_t number[URING_SEATS];
    uint16_t free[URING_SEATS];
    unsigned free_count;
};

struct uring {
    struct io io;

    /* Submission. Entries from sq_submitted to sq_tail are queued and not yet handed over. */
    struct io_uring_sqe *sqes;
    unsigned sq_tail, sq_submitted, sq_mask, sq_entries;
    unsigned *sq_ktail, *sq_kflags;
    unsigned in_flight;

    /* Completion. cq_head: next to yield; harvest: end of this turn's. */
    struct io_uring_cqe *cqes;
    unsigned cq_head, harvest, cq_mask;
    unsigned *cq_khead, *cq_ktail;

    struct uring_buffers buffers;
    struct uring_carry carry;
    unsigned messages_held; /* blocks of the last event with messages */
    struct uring_messages *messages;
    struct inbox *inbox; /* where the ring cannot receive messages by itself */
    unsigned polls;      /* of foreign descriptors, in flight */
    unsigned canceling;  /* operations whose cancel is asked for and whose end has not come */
    uint32_t event_max;  /* the most that one event carries, bytes */

    /* Addresses, message headers and vectors that must stay until the next enter. */
    uint8_t *arena;
    uint32_t arena_used;

    /* How to enter. */
    int (*enter)(struct uring *ring, unsigned submit, unsigned wait, unsigned flags,
                 const struct io_uring_getevents_arg *arg);
    unsigned enter_flags; /* on every call */
    unsigned wait_flags;  /* on a call that may sleep */
    int enter_fd;
    bool enabled, forked;
    bool wake_armed; /* the poll of the wake eventfd is in the ring */
    bool peeks;      /* the kernel's flags tell when an enter is needed */

    bool multishot_accept, multishot_recv, multishot_message, poll_first, cancel_op, warm_move;
    uint32_t oneshot_flags; /* of a descriptor: it takes one receive at a time */
    uint32_t accept_flags;

    /* Waking, from any thread. */
    _Atomic int woken, sleeping;
    _Atomic int host_fd;                      /* poll_fd, for wakers */
    struct pool_client client;                /* jobs of the worker pool */
    unsigned jobs;                            /* that the pool has */
    struct io_file *finished, **finished_end; /* operations that owe only their event, in order */
    int wake_fd;
    int poll_fd;      /* the eventfd registered for a host's loop, or -1 */
    int setup_fd;     /* the ring's own descriptor */
    uint8_t *scratch; /* takes what is read only to have it in memory; made when needed */

    struct io_config config;
    struct io_features features;
    struct io_uring ring;
    unsigned setup_flags, feature_bits;
    bool restricted;
    uint32_t direct_slots;
    struct uring_seats *seats;
    struct linger reset; /* for the ring's setsockopt */
};

/* Back end's bits in io_fd.flags: 1 << op: a cancel of that operation was asked for. */
#define URING_FD_CANCEL(op) (1u << (op))
#define URING_FD_NONBLOCK   0x100u /* O_NONBLOCK is set: sendfile and splice do not block */
#define URING_FD_WARMING    0x800u /* the ring reads what the move is to send */
#define URING_FD_WARMED     0x1000u
#define URING_FD_SEATED     0x400u /* on its way into the ring's table; `spare` is its seat */

/* Operations of the ring's own, above the ones that io.h names; their events are not yielded.
 * URING_OWN_CANCEL + op is the cancel of `op`, which finds its descriptor by the same token. */
enum { URING_OWN = IO_OP_CANCEL, URING_OWN_CANCEL = IO_OP_CANCEL };
_Static_assert(URING_OWN_CANCEL + IO_OP_CLOSE <= 15, "a cancel has a number of its own");
enum uring_own { URING_OWN_WAKE = 1, URING_OWN_QUIET, URING_OWN_INSTALL };

enum {
    URING_ARENA_BYTES = 64 * 1024,
    URING_GROUP = 0,
    URING_MESSAGE_GROUP = 1,
    URING_MESSAGE_BASE = 0x8000,
    URING_EVENT_MAX = 64 * 1024
};

/* The kernel moves at most this much in one call (MAX_RW_COUNT). */
#define MOST_BYTES ((size_t)INT32_MAX & ~(size_t)4095)

/* Entering (uring_enter.c). */
int uring_flush(struct uring *ring);
int uring_wait(struct io *io, int64_t timeout_ns);
void uring_wake(struct io *io);
int uring_poll_fd(struct io *io);
int uring_real_enter(struct uring *ring, unsigned submit, unsigned wait, unsigned flags,
                     const struct io_uring_getevents_arg *arg);
void *uring_arena(struct uring *ring, size_t size);
int uring_arm_wake(struct uring *ring);
void uring_tell_host(struct uring *ring);

/* Setting up (uring_setup.c). */
int uring_setup(struct uring *ring, const char **why);
void uring_teardown(struct uring *ring);
int uring_enable(struct uring *ring);
const char *uring_setup_why(int error);
/* A default's share of one loop among those of its CPU, halved in steps, but not below `least`. */
unsigned uring_share(unsigned usual, unsigned sharers, unsigned least);

/* Receive blocks (uring_buffers.c). */
int uring_buffers_open(struct uring *ring, const struct uring_facts *facts, const char **why);
void uring_buffers_close(struct uring *ring);
void uring_block_return(struct uring_buffers *buffers, unsigned block);
void uring_hold(struct io *io, unsigned block);
void uring_release(struct io *io, unsigned block);
bool uring_blocks_free(struct io *io);

/* Sockets (uring_socket.c), files (uring_file.c), file to socket (uring_move.c). */
int uring_accept(struct io *io, struct io_fd *fd, uint64_t token);
int uring_connect(struct io *io, struct io_fd *fd, const struct sockaddr *address, socklen_t size,
                  uint64_t token, int *result);
int uring_connect_result(struct uring *ring, uint64_t token);
/* Into the table (uring_seats.c). True: the event comes when it is there, or could not be. */
bool uring_seat(struct uring *ring, uint64_t token);
/* The answer to that; false when the event is not one. */
bool uring_seated(struct uring *ring, uint64_t token, int result);
int uring_recv(struct io *io, struct io_fd *fd, uint64_t token);
int uring_send(struct io *io, struct io_fd *fd, const struct iovec *iov, unsigned count,
               unsigned flags, uint64_t token, int *result);
int uring_shutdown(struct io *io, struct io_fd *fd, int how);
int uring_close_fd(struct io *io, struct io_fd *fd, bool reset, uint64_t token, int *result);
int uring_poll(struct io *io, struct io_fd *fd, unsigned mask, uint64_t token);
int uring_cancel(struct io *io, struct io_fd *fd, uint64_t token);
void uring_cancel_missed(struct uring *ring, uint64_t token, int result);
int uring_number(struct io *io, struct io_fd *fd);
void uring_number_done(struct io *io, struct io_fd *fd, int number);
int uring_file(struct io *io, struct io_file *file, uint64_t token);
bool uring_file_cancel(struct uring *ring, uint64_t token);
bool uring_file_finished(struct uring *ring, struct io_event *event);
int uring_move(struct io *io, struct io_fd *socket, int file, int64_t *offset, size_t size,
               unsigned flags, uint64_t token, int *result);

/* Messages (uring_message.c). next: fills an event from the completion just taken from the queue
 * and those of the same token behind it; return: the blocks of the last event go back. */
int uring_recvmsg(struct io *io, struct io_fd *fd, uint64_t token);
int uring_sendmsg(struct io *io, struct io_fd *fd, struct mmsghdr *messages, unsigned count,
                  unsigned flags, uint64_t token, int *result);
void uring_messages_next(struct uring *ring, const struct io_uring_cqe *cqe,
                         struct io_event *event);
void uring_messages_return(struct uring *ring);
void uring_message_lend(struct uring *ring, unsigned number);
void uring_messages_close(struct uring *ring);

void uring_move_event(struct uring *ring, struct io_event *event);

/* What the kernel can do (uring_facts.c), the plan's rows (uring_plan.c), kernels known to be bad
 * (uring_quirks.c: the reason, or NULL). */
const struct uring_facts *uring_facts(void);
void uring_plan(struct uring *ring, const struct uring_facts *facts);
const char *uring_quirk(const char *feature);

/* Room for an entry. False: the queue is full and the kernel takes nothing now. */
static inline bool uring_room(struct uring *ring)
{
    if (__builtin_expect(ring->sq_tail - ring->sq_submitted < ring->sq_entries, 1))
        return true;
    ring->io.stats.sq_fulls++;
    return uring_flush(ring) == 0;
}

/* A cleared submission entry, or NULL when there is no room. */
static inline struct io_uring_sqe *uring_sqe(struct uring *ring)
{
    if (__builtin_expect(!uring_room(ring), 0))
        return NULL;
    if (__builtin_expect(ring->poll_fd >= 0 && ring->sq_tail == ring->sq_submitted, 0))
        uring_tell_host(ring);
    struct io_uring_sqe *sqe = &ring->sqes[ring->sq_tail++ & ring->sq_mask];
    memset(sqe, 0, sizeof(*sqe));
    return sqe;
}

static inline void uring_sqe_fd(struct io_uring_sqe *sqe, const struct io_fd *fd)
{
    sqe->fd = fd->fd;
    if (fd->flags & IO_FD_DIRECT)
        sqe->flags |= IOSQE_FIXED_FILE;
}

/* The poll mask as the ring's entry wants it: halves swapped on big-endian machines. */
static inline uint32_t uring_poll_mask(unsigned mask)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return mask << 16 | mask >> 16;
#else
    return mask;
#endif
}

static inline struct uring *uring_of(struct io *io)
{
    return (struct uring *)(void *)io;
}

#endif
