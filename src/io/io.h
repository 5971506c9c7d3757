/* The table of verbs between a loop and a back end. It speaks operations and completions: a verb
 * starts an operation named by a token, and `next` yields what completed. Everything that can be
 * written once (one send at a time, re-arming, waiting for receive buffers, budgets, the close
 * protocol) stands above this table; a back end only submits, harvests, and says what it can.
 *
 * One io belongs to one thread; only `wake` may be called from others.
 *
 * The turn, seen from here: wait() submits what is queued and waits; then next() is called until it
 * returns 0. A readiness back end reads a socket inside next(), into one hot block, so that the
 * bytes are in cache when they are handled: its block is valid until the following next(). It gives
 * each descriptor at most one read a turn; one that was not drained is read again in the next turn,
 * which then does not sleep.
 *
 * Every operation that was accepted (a verb returned IO_PENDING) yields exactly one final event
 * (without IO_MORE), also when it was canceled (-ECANCELED, or its result when that came first).
 * A verb may also complete at once: it returns IO_DONE, sets *result (the operation's own error
 * too), and yields no event. A negative return means that nothing was begun and no event comes. */
#ifndef WEIR_IO_IO_H
#define WEIR_IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* A token is op (4 bits) | owner (4 bits) | generation (24 bits) | slot (32 bits). The back end
 * knows the op only; it finds a token's descriptor through io_config.find. Never 0. The tokens of
 * one descriptor differ in their op alone: a readiness back end keeps the first it is given, and
 * makes the others from it. */
enum io_op {
    IO_OP_ACCEPT = 1,
    IO_OP_CONNECT,
    IO_OP_RECV,
    IO_OP_SEND,
    IO_OP_MOVE,
    IO_OP_CLOSE,
    IO_OP_POLL,
    IO_OP_FILE,
    IO_OP_CANCEL /* the back end's own: its completions are not yielded */
};
#define IO_TOKEN_OP(token)    ((unsigned)((token) >> 60))
#define IO_TOKEN_OWNER(token) ((unsigned)((token) >> 56) & 15u)
#define IO_TOKEN_GEN(token)   ((uint32_t)((token) >> 32) & 0xffffffu)
#define IO_TOKEN_SLOT(token)  ((uint32_t)(token))
#define IO_TOKEN(op, owner, gen, slot)                                                    \
    ((uint64_t)(op) << 60 | (uint64_t)(owner) << 56 | (uint64_t)((gen)&0xffffffu) << 32 | \
     (uint64_t)(slot))
#define IO_TOKEN_WITH_OP(token, op) (((token) & ~(15ull << 60)) | (uint64_t)(op) << 60)

/* A descriptor, embedded in its owner's record. On readiness back ends (io.eager) it does not
 * block: accept yields such, the verbs accept and connect make theirs so. The owner sets fd and
 * IO_FD_DIRECT at birth (from an accept event: fd = result, IO_FD_DIRECT when io->direct), `flags`
 * otherwise and `spare` 0 or IO_FD_MESSAGES; after that only the back end writes here. */
struct io_fd {
    int32_t fd;     /* a descriptor, or an index in the ring's table (IO_FD_DIRECT); -1: none */
    uint16_t flags; /* IO_FD_DIRECT; all other bits are the back end's own */
    uint16_t spare; /* the back end's own */
};
#define IO_FD_DIRECT 0x8000u
/* The owner may set and clear this between operations, where the back end is not eager: the next
 * receive or accept on it is no multishot. It brings one event, so that nothing more comes in while
 * the owner thinks about it. */
#define IO_FD_ONCE 0x4000u
/* The owner may set this at birth, where the back end is not eager: it may be a unix stream, on
 * which some kernels miss the end of a multishot receive. */
#define IO_FD_MAYBE_UNIX 0x2000u
/* In `spare`, set by the owner at birth: a socket of messages (datagrams, or the records of a
 * seqpacket socket). Its verbs are recvmsg and sendmsg in place of recv and send. Always an
 * ordinary descriptor. */
#define IO_FD_MESSAGES 0x8000u

enum io_event_flags {
    IO_MORE = 1,      /* the operation goes on: more events will come */
    IO_BUFFER = 2,    /* data points at received bytes in `block` */
    IO_NOTICE = 4,    /* a zero-copy notice: memory of an earlier send is free */
    IO_DRAINED = 8,   /* the socket had no more bytes after this read, as far as is known */
    IO_MESSAGES = 16, /* messages points at `result` of them, maybe none */
    IO_ERRORS = 32,   /* with IO_MESSAGES: the socket's error queue may hold something */
};

/* One message as it was received. The memory is the back end's, valid until the following next().
 */
struct io_message {
    uint8_t *data;
    void *name;    /* struct sockaddr of the sender */
    void *control; /* of the kernel, as recvmsg(2) gives it */
    uint32_t size; /* bytes at `data` */
    uint32_t full; /* bytes that the message had; more than `size`: it was truncated */
    uint32_t name_size, control_size;
    uint32_t flags; /* MSG_TRUNC, MSG_CTRUNC, MSG_EOR */
};
enum {
    IO_MESSAGES_MOST = 64,        /* messages in one event, and in one sendmsg */
    IO_MESSAGE_BYTES = 64 * 1024, /* room for the bytes of one: all that a UDP datagram can have */
    IO_MESSAGE_NAME = 112,        /* room for its sender's address, sockaddr_un the largest */
    IO_MESSAGE_CONTROL = 256
};

struct io_event {
    uint64_t token;
    union {
        uint8_t *data;               /* IO_BUFFER: the received bytes */
        struct io_message *messages; /* IO_MESSAGES */
    };
    int32_t result; /* bytes, descriptor, revents or 0; negative: -errno. recv: 0 is the end */
    uint16_t flags;
    uint16_t block; /* IO_BUFFER: give back with release(), once an event */
};

enum io_result { IO_PENDING = 0, IO_DONE = 1 };

enum io_send_flags {
    IO_SEND_MORE = 1,    /* MSG_MORE: hold a partial segment, more (or the FIN) follows at once */
    IO_SEND_NOWAIT = 2,  /* refers to a receive block: take what fits now, never wait with it.
                          * The result may be short, 0 or -EAGAIN */
    IO_SEND_BLOCKED = 4, /* the last send was short: expect no room, wait for it first */
};

/* A file operation; lives in the caller's slab until its event. Paths and buffers too. */
enum io_file_verb {
    IO_FILE_OPEN,  /* openat2(dirfd, path, {flags, mode, resolve}): result is an ordinary fd. With
                    * O_NONBLOCK (which spares one the fifo that blocks) a cached name is opened
                    * without a worker */
    IO_FILE_STAT,  /* statx(dirfd, path, flags, mask, statx); of an open file (AT_EMPTY_PATH) with
                    * AT_STATX_DONT_SYNC without a worker */
    IO_FILE_READ,  /* pread(fd, buffer, size, offset); offset -1: read(2), of a stream */
    IO_FILE_WRITE, /* pwrite; offset -1: write(2), of a stream, without SIGPIPE */
    IO_FILE_SYNC,  /* fsync(fd) */
    IO_FILE_CLOSE, /* close(fd), which may block on some file systems */
    IO_FILE_CALL   /* call(arg) on a worker thread: whatever has no verb of its own (a directory) */
};
struct statx;
struct io_file {
    enum io_file_verb verb;
    int fd; /* or dirfd */
    const char *path;
    uint64_t flags, mode, resolve; /* open: as struct open_how. stat: flags, mask in `mode` */
    void *buffer;
    size_t size;
    int64_t offset;
    struct statx *statx;
    int (*call)(void *arg);
    void *arg;
    /* The back end's own while the operation runs. */
    uint64_t token;
    int result;
    struct io_file *next;
    uint64_t how[3]; /* room for struct open_how */
};

struct io_stats { /* since open; read on the loop's thread */
    uint64_t waits, sleeps, events, syscalls;
    uint64_t cq_overflows, sq_fulls, buffer_outages, short_sends, spurious;
};

/* Why a feature is used or not: one row of the plan. Texts are static. */
struct io_plan_row {
    const char *feature;
    bool used;
    const char *reason;
};
enum { IO_PLAN_ROWS = 40 };
struct io_plan {
    const char *backend;
    int rows;
    struct io_plan_row row[IO_PLAN_ROWS];
};

struct io_config {
    void *owner;
    /* The descriptor that a token names, or NULL when the token is stale. */
    struct io_fd *(*find)(void *owner, uint64_t token);
    unsigned entries;      /* submission queue; 0: default */
    unsigned cq_entries;   /* completion queue; 0: default */
    uint32_t block_size;   /* receive block, bytes; 0: default */
    uint32_t blocks;       /* receive blocks; 0: default */
    uint32_t sharers;      /* loops on the same CPU, which share the default's memory; 0: one */
    bool direct;           /* uring: accept into direct descriptors */
    bool no_multishot;     /* uring: one-shot accept and receive */
    bool no_incremental;   /* uring: buffer ring without incremental use */
    unsigned direct_slots; /* size of the direct table; 0: default */
    struct io_pool *pool;  /* worker threads for file operations (not needed by uring); shared */
    const char *features;  /* WEIR_FEATURES as given ("-direct,+nozc"), or NULL */
};

struct io;
struct io_ops {
    const char *name;
    /* Makes the back end. 0, or -errno with *why set to a static text (cause and fix). */
    int (*open)(struct io **io, const struct io_config *config, const char **why);
    /* Ends it; the caller has waited for all operations. */
    void (*close)(struct io *io);

    /* Submits, then waits until something completes, or `timeout_ns` passed (0: do not sleep,
     * negative: no limit). Returns 0, or -errno; -EINTR is 0. Precise to what the kernel gives
     * (ring time-out, epoll_pwait2, ppoll, pselect: nanoseconds). */
    int (*wait)(struct io *io, int64_t timeout_ns);
    /* Yields one event of this turn: 1, or 0 when the turn's harvest is used up. */
    int (*next)(struct io *io, struct io_event *event);
    /* Ends a sleep from any thread; coalesced; async-signal-safe. */
    void (*wake)(struct io *io);
    /* A descriptor that becomes readable when wait() would return at once; -errno if there is none
     * (WEIR_ENOTSUP). Used by weir_loop_fd. */
    int (*poll_fd)(struct io *io);

    /* Multishot. Events: result = descriptor (or direct index) with IO_MORE; sockets are
     * close-on-exec, and non-blocking on readiness back ends. Without IO_MORE: it ended, why in
     * result (which may also be a descriptor). Listener descriptors are always ordinary. */
    int (*accept)(struct io *io, struct io_fd *fd, uint64_t token);
    /* Event: 0 or -errno. The address is copied, or stays valid until the event. */
    int (*connect)(struct io *io, struct io_fd *fd, const struct sockaddr *address, socklen_t size,
                   uint64_t token, int *result);
    /* Multishot into shared receive blocks. Events: result > 0 with IO_BUFFER; 0: the peer's end
     * (final); -ENOBUFS (final): no block was free, arm again when `blocks_free(io)` is true;
     * other errors are final. A multishot receive may end without cause (final event with data or
     * -ECANCELED not asked for): the caller arms again. */
    int (*recv)(struct io *io, struct io_fd *fd, uint64_t token);
    /* Multishot, for IO_FD_MESSAGES. Events: IO_MESSAGES, an empty message being one like others.
     * Without IO_MORE it has ended, perhaps without cause: the caller arms again. -ENOBUFS (final):
     * no block was free; there is one by the end of the turn. An error that a message of ours met
     * on its way (ICMP) is final too, and IO_ERRORS is not told with it. */
    int (*recvmsg)(struct io *io, struct io_fd *fd, uint64_t token);
    /* One at a time for each descriptor: `count` messages, at most IO_MESSAGES_MOST, in order.
     * IO_DONE, *result: how many went, at least one; or the error of the first one. IO_PENDING,
     * *result: 1: the event is the result of the first message, whose bytes, name and control stay
     * until then (the header may go); 0: the event says 0 when there is room, send again. With
     * IO_SEND_NOWAIT it is always done. No message at all: only waits for room. */
    int (*sendmsg)(struct io *io, struct io_fd *fd, struct mmsghdr *messages, unsigned count,
                   unsigned flags, uint64_t token, int *result);
    /* One at a time for each descriptor. iov and the memory for it may go after the call has
     * returned; the bytes stay until the event. *result: bytes sent, maybe fewer than asked;
     * a pending send of a readiness back end yields 0: there is room now, send again. No bytes at
     * all with IO_SEND_BLOCKED: only waits for room. */
    int (*send)(struct io *io, struct io_fd *fd, const struct iovec *iov, unsigned count,
                unsigned flags, uint64_t token, int *result);
    /* File to socket (sendfile, splice): at most `size` bytes from *offset, which is advanced.
     * Result as send's; 0 from IO_DONE: the file has no byte at *offset. SIGPIPE never comes. A
     * readiness back end moves 1 MiB at most in one call. IO_SEND_MORE is a hint. */
    int (*move)(struct io *io, struct io_fd *socket, int file, int64_t *offset, size_t size,
                unsigned flags, uint64_t token, int *result);
    /* shutdown(2), at once. 0 or -errno. */
    int (*shutdown)(struct io *io, struct io_fd *fd, int how);
    /* Closes; no operation is in flight on it. `reset`: abortive (SO_LINGER 0). IO_DONE, or an
     * event when it is gone. */
    int (*close_fd)(struct io *io, struct io_fd *fd, bool reset, uint64_t token, int *result);
    /* Asks for the end of the operation with this token: its final event will come. 0; -ENOENT when
     * it is known that no such operation is in flight; -ENOMEM: nothing happened, try again later
     * (readiness back ends keep no memory for an idle descriptor, and so need some for this
     * event). `fd` is not looked at for IO_OP_FILE. */
    int (*cancel)(struct io *io, struct io_fd *fd, uint64_t token);
    /* One-shot poll of a foreign descriptor (POLLIN, POLLOUT …). Event: revents. A regular file is
     * always ready. -EEXIST: the number is being polled already (poll a dup of it). */
    int (*poll)(struct io *io, struct io_fd *fd, unsigned mask, uint64_t token);
    /* Event: a count, an fd, or -errno. Refused with WEIR_EFULL when the pool's queue is full,
     * WEIR_ENOTSUP without a pool. */
    int (*file)(struct io *io, struct io_file *file, uint64_t token);

    /* Receive blocks: one reference came with the event. */
    void (*hold)(struct io *io, unsigned block);
    void (*release)(struct io *io, unsigned block);
    bool (*blocks_free)(struct io *io);

    /* An ordinary descriptor for fd, for calls that have no verb (TCP_INFO, peer name): fd itself,
     * or one installed for the call. Give back with number_done. */
    int (*number)(struct io *io, struct io_fd *fd);
    void (*number_done)(struct io *io, struct io_fd *fd, int number);

    /* Called in the child after fork: drops what the parent owns without disturbing it. Nothing is
     * in flight then, and only close may follow. */
    void (*forked)(struct io *io);
    /* Number of operations in flight that owe an event; must be 0 before close. */
    unsigned (*in_flight)(struct io *io);
};

/* The head of every back end's own struct. */
struct io {
    const struct io_ops *ops;
    bool eager;          /* sends complete at once when they can: flush after each connection */
    bool direct;         /* accept yields direct descriptors */
    const char *second;  /* why "auto" looks further though this one works, or NULL */
    bool hot_block;      /* blocks cannot be held beyond the following next() (hold is refused) */
    int fd_limit;        /* descriptors must be below this (select: FD_SETSIZE); 0: any */
    uint32_t block_size; /* the most that one receive event may carry, bytes */
    uint32_t blocks;
    struct io_stats stats;
    struct io_plan plan;
};

extern const struct io_ops weir__io_uring, weir__io_epoll, weir__io_poll, weir__io_select;

/* Back ends by name ("auto": by the plan; "uring", "epoll", "poll", "select"), as WEIR_BACKEND or a
 * program names it. NULL for an unknown name. */
const struct io_ops *weir__io_named(const char *name);

/* Opens the named back end; "auto" or NULL tries them in the order that the probe finds best.
 * On failure *why is a static text with cause and fix; on success it is NULL, or what kept "auto"
 * from its first choice. */
int weir__io_open(struct io **io, const char *name, const struct io_config *config,
                  const char **why);

/* Fills the plan of one back end on this kernel without keeping it open. */
int weir__io_probe(const char *name, struct io_plan *plan);

/* Worker threads for file operations and blocking calls: at most `threads`, started when needed,
 * ended when idle for long. Jobs complete on the io that queued them. */
struct io_pool *weir__pool_new(unsigned threads, unsigned queue_limit);
void weir__pool_free(struct io_pool *pool);
/* In a child after fork, where the workers are not: makes the pool usable again, empty. */
void weir__pool_forked(struct io_pool *pool);

#endif
