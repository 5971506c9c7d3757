/* The simulated back end. Two faces over one set of operations: completions as a ring gives them,
 * readiness as epoll gives it. What is common is the contract of io/io.h, watched from the caller's
 * side: whoever breaks it fails the run. */
#ifndef WEIR_TESTS_SIM_BACKEND_H
#define WEIR_TESTS_SIM_BACKEND_H

#include "io/io.h"
#include "io/pool.h"
#include "sock.h"

enum { DIRECT_SLOTS = 256, IOV_MOST_SIM = 1024 };

enum op_state {
    OP_STATE_QUEUED, /* not submitted yet: completion face */
    OP_STATE_RUNS,
    OP_STATE_OVER /* its final event waits to be yielded */
};

struct sim_op {
    uint64_t token;
    unsigned kind; /* enum io_op of io/io.h */
    enum op_state state;
    struct sim_io *io;
    struct io_fd *fd;
    struct sim_sock *sock;
    struct sim_op *sock_next, *queue_next, *all_next;
    bool once, canceling, in_ready, attached, room_only, nowait, delayed, reset;
    uint32_t ready_place;
    uint64_t serial;
    unsigned mask;
    /* send: the pieces, and what the bytes were when they were handed over */
    struct iovec *iov;
    unsigned iov_count;
    size_t bytes;
    uint64_t sum;
    struct msghdr message; /* of a datagram: its iov is in iov */
    union sock_address address;
    socklen_t address_size;
    struct io_file *file;
    struct sim_file *closing;
    int result;
    struct sim_event later;
};

struct block {
    uint8_t *data;
    uint32_t refs, used;
    bool lent; /* the "kernel" may fill it */
};

struct completion {
    struct io_event event;
    struct sim_op *op; /* ended by it, or NULL */
};

struct sim_io {
    struct io io;
    struct io_config config;
    enum face face;
    bool multishot, incremental;
    sim_host *host;
    struct sim_io *host_next;
    struct sim_actor *opener, *owner; /* owner: from the first wait on */
    bool woken, sleeping;
    uint32_t id, in_flight;
    struct sim_op *all, *queue_first, *queue_last, *free_ops;
    uint32_t queued, queue_room;
    struct sim_op **ready;
    uint32_t ready_count, ready_room;
    /* completions, and how many of them this turn yields */
    struct completion *cq;
    uint32_t cq_head, cq_count, cq_room, cq_entries, harvest;
    struct block *blocks;
    uint32_t block_bytes, filling; /* incremental: the block in use */
    /* readiness: what was told in this turn */
    struct told {
        struct sim_op *op;
        uint64_t serial;
    } * told;
    uint64_t serials;
    uint32_t told_count, told_at, told_room;
    uint8_t *hot;
    struct sim_file *direct[DIRECT_SLOTS];
    struct pool_client client;
    uint32_t jobs;
    uint64_t idle_turns, done_seen;
    struct sim_inbox *inbox;  /* messages.c */
    struct sim_sock *refused; /* those whose send had no room, newest first */
};

static inline struct sim_io *sim_io_of(struct io *io)
{
    return (struct sim_io *)(void *)io;
}

/* Fails the run when the caller may not make this call now: wrong thread. */
void contract_thread(struct sim_io *sio, const char *verb);
/* The socket of a descriptor, which must be open. `kind`: the verb, whose token it must be. */
struct sim_sock *contract_fd(struct sim_io *sio, struct io_fd *fd, uint64_t token, unsigned kind);
struct sim_file *backend_file(struct sim_io *sio, const struct io_fd *fd);

/* A new operation in flight; fails the run when one of its kind (or a rival) is. */
struct sim_op *op_new(struct sim_io *sio, struct io_fd *fd, struct sim_sock *sock, uint64_t token,
                      unsigned kind);
void op_attach(struct sim_op *op); /* the socket's changes are told to it */
void op_free(struct sim_op *op);
struct sim_op *op_find(struct sim_io *sio, uint64_t token);
void op_ready(struct sim_op *op);
void op_unready(struct sim_op *op);
/* Whether it could go on now. */
bool op_can(const struct sim_op *op);
/* Puts an event in line; without IO_MORE the operation is over. */
void op_complete(struct sim_op *op, int result, unsigned flags, uint8_t *data, unsigned block);
/* Takes the next event of the line; checks it and frees what it ends. */
void completion_take(struct sim_io *sio, struct io_event *event);
/* Sleeps until there is something, a wake-up or the time. */
void backend_sleep(struct sim_io *sio, int64_t timeout_ns);
/* What both faces do before and after. */
void backend_turn(struct sim_io *sio, int64_t timeout_ns);
/* Puts itself between a loop and the wait of its back end (turn.c). */
void turns_watch(struct io *io);
void backend_jobs(struct sim_io *sio);
/* A send or move was refused for want of room: it has to be asked again, in one of the next turns,
 * unless its socket is closed. And it was. */
void refused_note(struct sim_io *sio, struct sim_sock *sock);
void refused_forget(struct sim_sock *sock);

/* One attempt: as the calls on sockets, with faults. */
int try_send(struct sim_io *sio, struct sim_sock *sock, const struct iovec *iov, unsigned count);
int try_recv(struct sim_io *sio, struct sim_sock *sock, void *data, size_t size);
/* A number, or -errno. */
int try_accept(struct sim_io *sio, struct sim_sock *listener);
int try_move(struct sim_io *sio, struct sim_sock *sock, int file, int64_t *offset, size_t size);
int accept_install(struct sim_io *sio, struct sim_file *file);
uint64_t bytes_sum(const struct iovec *iov, unsigned count);
/* Notes the pieces of a send, and what they are now. */
void iov_keep(struct sim_op *op, const struct iovec *iov, unsigned count);

/* The verbs that do not differ. */
void backend_wake(struct io *io);
int backend_poll_fd(struct io *io);
/* The verbs that are the same on both faces, for the tables of operations. */
#define BACKEND_VERBS                                                                           \
    .shutdown = backend_shutdown, .number = backend_number, .number_done = backend_number_done, \
    .forked = backend_forked, .in_flight = backend_in_flight
int backend_shutdown(struct io *io, struct io_fd *fd, int how);
/* Messages (messages.c): a list of received ones; what an event tells of, in memory of the back
 * end; the end of that. */
int messages_take(struct sim_io *sio, struct sim_sock *sock, struct dgram_in **list);
void messages_yield(struct sim_io *sio, struct io_event *event);
void messages_forget(struct sim_io *sio);
void messages_contract(struct sim_io *sio, const struct io_fd *fd, const struct sim_sock *sock,
                       bool sends, unsigned count);
void messages_go(struct sim_op *op);
int completion_recvmsg(struct io *io, struct io_fd *fd, uint64_t token);
int completion_sendmsg(struct io *io, struct io_fd *fd, struct mmsghdr *messages, unsigned count,
                       unsigned flags, uint64_t token, int *result);
/* The ring's queue (completion.c). `sock`: of a send or move, which has to be asked again when it
 * is refused. */
bool queue_refuses(struct sim_io *sio, enum sim_operation operation, struct sim_sock *sock);
void queue_op(struct sim_op *op);
int queue_verb(struct io *io, struct io_fd *fd, uint64_t token, unsigned kind,
               enum sim_operation operation, struct sim_op **out);
int messages_send(struct sim_io *sio, struct sim_sock *sock, struct mmsghdr *messages,
                  unsigned count);
int backend_file_start(struct io *io, struct io_file *file, uint64_t token);
int backend_number(struct io *io, struct io_fd *fd);
void backend_number_done(struct io *io, struct io_fd *fd, int number);
void backend_forked(struct io *io);
unsigned backend_in_flight(struct io *io);
void backend_close(struct io *io);
int backend_cancel_file(struct sim_io *sio, uint64_t token);

extern const struct io_ops sim_completion, sim_readiness;
/* Faces' own part of opening. */
void completion_open(struct sim_io *sio);
void readiness_open(struct sim_io *sio);
int backend_open(struct io **io, const struct io_config *config, const char **why);

#endif
