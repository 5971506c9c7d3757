/* The inside of a datagram socket: its record, its queue, and what a loop keeps for all of them. */
#ifndef WEIR_NET_DATAGRAM_H
#define WEIR_NET_DATAGRAM_H

#include <netinet/in.h>
#include <sys/un.h>

#include <weir/datagram.h>

#include "net/conn.h"
#include "net/socket.h"

/* Where a socket is in its life; only ever moves down this list. */
enum dgram_phase {
    DGRAM_FREE,
    DGRAM_OPEN,
    DGRAM_FLUSHING, /* weir_dgram_close: what is queued is sent */
    DGRAM_STOPPING, /* waiting for the final completions of what was canceled */
    DGRAM_CLOSING,  /* the descriptor is being closed */
    DGRAM_CLOSED    /* on_close, and the end of the record, come with the next flush */
};

enum dgram_kind { DGRAM_COPY, DGRAM_STATIC, DGRAM_BORROWED, DGRAM_LENT };

/* A name as the kernel takes it; size 0: the connected peer. */
struct dgram_name {
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    uint32_t size;
};

/* Where a datagram leaves from. */
struct dgram_source {
    uint8_t address[16];
    uint32_t interface;
    uint16_t family; /* 0: none; AF_INET: the first 4 bytes */
};

struct dgram_out { /* a queued datagram, or a train of them */
    const uint8_t *data;
    uint32_t size;
    uint32_t room; /* COPY: of the chunk. LENT: number of the loan */
    uint32_t segment_bytes;
    uint8_t kind, ecn, hops; /* ecn: WEIR_SOME */
    struct dgram_source source;
    struct dgram_name name;
};

/* A service's copy with the defaults filled in, shared by the sockets made from it in one go. */
struct dgram_config {
    weir_dgram_service service;
    uint32_t refs;
};

enum { DGRAM_ERRORS_MOST = 1024 };

struct dgram {
    struct slab_head head;
    struct io_fd fd;
    struct wheel_node timer; /* linger; a unix peer whose queue is full; memory that was short */
    struct dgram_config *config;
    void *user;
    struct list dirty; /* zeroed or empty: not in net->dgrams_dirty */
    uint32_t slot;
    uint8_t phase;
    uint8_t family; /* of the socket */
    bool armed, recv_canceled;
    bool sending;    /* a send, or a wait for room, is in flight */
    bool send_alone; /* it is the first of the queue itself */
    bool send_canceled;
    bool send_waits, recv_waits; /* for the timer, to try again */
    bool paused_user, paused_mark, drain_owed;
    bool connected, udp, seqpacket;
    bool inet;     /* of IP: udp, icmp or raw */
    bool icmp_raw; /* icmp: by a raw socket; datagram_raw.c makes it alike to a ping socket */
    bool gso;      /* trains are made of what is queued */
    bool retried;  /* the first of the queue met an error that was another's */
    bool errors;   /* the error queue is asked for */
    bool owns_file;
    bool opened; /* on_open is not owed any more */
    uint8_t why; /* enum weir_why */
    int error;
    uint32_t alone; /* of the queue, which were refused as a train: they go one by one */
    uint32_t linger_due_ms;
    uint32_t blocked_ms; /* the first of the queue has found its peer full since then; 0: not */
    uint32_t streak;     /* errors without a datagram in or out between them */
    const weir_address *refused_to; /* while the error queue is read after a send was refused */
    struct dgram_out *queue;        /* a ring */
    uint32_t queue_head, queue_count, queue_room;
    uint32_t queue_own; /* as many from the front are not borrowed */
    uint64_t queued_bytes;
    weir_dgram_stats stats;
    weir_address local, peer;
    struct weir__socket_file file;
};

struct dgram_scratch; /* datagram_out.c */

static inline weir_dgram dgram_handle(const weir_loop *loop, const struct dgram *d)
{
    weir_dgram handle = {(uint64_t)loop->id << 54 | (uint64_t)d->slot << 30 | d->head.generation};
    return handle;
}

static inline uint64_t dgram_token(const struct dgram *d, enum io_op op)
{
    return IO_TOKEN(op, LOOP_OWNER_DGRAM, d->head.generation, d->slot);
}

static inline struct dgram_out *dgram_at(const struct dgram *d, uint32_t index)
{
    return &d->queue[(d->queue_head + index) & (d->queue_room - 1)];
}

/* datagram.c: birth and end */
int dgram_get(weir_dgram handle, weir_loop **loop, struct dgram **d);
int dgrams_init(struct net *net);
void dgrams_free(struct net *net);
struct dgram_config *dgram_config_new(const weir_dgram_service *service, int *error);
void dgram_config_unref(struct dgram_config *config);
/* Takes a socket that is bound or connected. The descriptor stays the caller's when it fails. */
struct dgram *dgram_new(struct net *net, struct dgram_config *config, int fd,
                        const weir_address *address, int *error);
/* Begins to receive; `tells`: on_open is called soon. */
void dgram_open(weir_loop *loop, struct dgram *d, bool tells);
void dgram_event(weir_loop *loop, const struct io_event *event);
void dgram_timer(weir_loop *loop, struct wheel_node *node);
struct io_fd *dgram_find(weir_loop *loop, uint64_t token);
void dgrams_each(struct net *net, void (*fn)(weir_loop *loop, struct dgram *d, void *arg),
                 void *arg);
void dgram_dirty(weir_loop *loop, struct dgram *d);
/* Whatever is to be done for sockets that verbs or events have changed. */
void dgrams_run(weir_loop *loop);
void dgram_close(weir_loop *loop, struct dgram *d);
void dgram_fail(weir_loop *loop, struct dgram *d, enum weir_why why, int error);
void dgrams_cancel_again(weir_loop *loop);
void dgrams_close_all(weir_loop *loop, bool abort);
void dgrams_forked(weir_loop *loop);
/* Looks at it again after some milliseconds. */
void dgram_later(weir_loop *loop, struct dgram *d, uint32_t ms);

/* datagram_in.c */
void dgram_event_recv(weir_loop *loop, struct dgram *d, const struct io_event *event);
void dgram_recv_want(weir_loop *loop, struct dgram *d);

/* datagram_out.c */
int dgram_queue(weir_loop *loop, struct dgram *d, weir_view view, const struct dgram_out *how);
void dgram_flush(weir_loop *loop, struct dgram *d);
void dgram_event_sent(weir_loop *loop, struct dgram *d, int result);
/* Drops all that is queued but what is in flight; counted in *counter. */
void dgram_queue_drop(weir_loop *loop, struct dgram *d, uint64_t *counter);
void dgram_queue_end(struct dgram *d);
struct dgram_scratch *dgram_scratch_new(void);

/* datagram_error.c: reads the error queue and tells of what is there. Returns how many errors that
 * were; a raw socket is not told of those of others' packets. */
unsigned dgram_errors_read(weir_loop *loop, struct dgram *d);
void dgram_error_tell(weir_loop *loop, struct dgram *d, const weir_datagram_error *error);

/* datagram_raw.c: ICMP by raw sockets. Gives such a one an identifier, *local's port, and has the
 * kernel drop all but the answers to it. Does nothing to other sockets. */
int dgram_icmp_prepare(int fd, weir_address *local);
/* Takes off what a ping socket would not have given; false: it is not for this socket. */
bool dgram_icmp_strip(const struct dgram *d, weir_datagram *in);
/* Whether an error of the error queue is about an echo of ours. */
bool dgram_icmp_error_is_ours(const struct dgram *d, weir_view about);

/* datagram_socket.c: making them. `reuseport`: shared among loops. A descriptor, or an error that
 * was logged; *address gets its port. */
bool dgram_is_any(const weir_address *address); /* datagram.c: any address of this host */
int dgram_socket_bind(weir_address *address, const weir_dgram_service *service, bool reuseport,
                      struct weir__socket_file *file);
int dgram_socket_connect(const weir_address *address, const weir_address *source,
                         const weir_dgram_service *service);
/* Steers a shared port among `count` sockets, of which this is one. */
int dgram_socket_steer(int fd, int family, enum weir_dgram_steer steer, unsigned count);
int dgram_group(int fd, int family, const char *text, bool join);

static inline bool address_is_datagram(const weir_address *address)
{
    return address->transport == WEIR_TRANSPORT_UDP ||
           address->transport == WEIR_TRANSPORT_UNIX_DGRAM ||
           address->transport == WEIR_TRANSPORT_ICMP || address->transport == WEIR_TRANSPORT_RAW;
}

#endif
