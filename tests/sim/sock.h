/* Sockets of the simulated kernel: streams over IP and unix, and the network between them. */
#ifndef WEIR_TESTS_SIM_SOCK_H
#define WEIR_TESTS_SIM_SOCK_H

#include <netinet/in.h>
#include <sys/un.h>

#include "core.h"

/* One direction of a connection. read <= arrived <= sent, in bytes since its beginning. */
struct sim_flow {
    uint8_t *data;
    uint32_t room; /* a power of two */
    uint32_t send_room, receive_room;
    uint64_t read, arrived, sent;
    bool fin_sent, fin_arrived;
    bool broken; /* a reset is under way or has come: nothing moves any more */
    struct sim_event deliver, reset;
    uint64_t resend_ns; /* of the next try while the other host cannot be reached */
    uint64_t silent_since_ns;
    struct sim_sock *sender, *receiver; /* NULL: that end is closed and forgotten */
    sim_host *from, *to;
};

enum sock_state {
    SOCK_NEW,
    SOCK_LISTENS,
    SOCK_CONNECTS,
    SOCK_OPEN,
    SOCK_EVENT,
    SOCK_DATAGRAM /* of UDP, all its life: udp.c */
};

union sock_address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
    struct sockaddr_storage storage;
};

enum { SOCK_SLEEPERS = 8 };

struct sim_op; /* of a back end, waiting on a socket */

struct sim_sock {
    uint32_t id;
    int family, type;
    enum sock_state state;
    sim_host *host;
    union sock_address local, remote;
    socklen_t local_size, remote_size;
    bool bound, port_counted, reuseport, reuseaddr, linger_reset, keepalive, closed;
    uint32_t user_timeout_ms, send_room, receive_room;
    uint32_t keep_idle_s, keep_interval_s, keep_count; /* keepalive; 0: Linux's defaults */
    struct sim_event keep;
    uint32_t keep_tries;
    uint64_t heard_ns; /* of the peer, last */
    int error;         /* told once */
    bool dead;         /* reset, or ended by an error: nothing comes, nothing goes */
    bool read_shut, write_shut;
    struct sim_flow *in, *out;
    /* a listener */
    bool filter_refuses;
    uint32_t backlog, queued, handshakes;
    struct sim_sock *queue_first, *queue_last, *queue_next;
    /* a connection before it is accepted */
    struct sim_sock *listener;
    struct sim_event handshake;
    uint32_t tries;
    struct sim_sock *peer; /* the other end while the handshake goes on */
    struct sim_op *operations;
    struct sim_actor *sleepers[SOCK_SLEEPERS]; /* in calls that wait for it */
    struct epoll_entry *entries;               /* registrations with epoll */
    struct sim_sock *refused_next;             /* a send or move was refused: to be asked again */
    uint64_t refused_turn;                     /* the turn of its back end; 0: none */
    bool refused_listed;
    bool no_space;         /* a send, or one who waits, found too little room: its end is told of */
    struct sim_event room; /* room that is told of late */
    uint64_t event_count;  /* SOCK_EVENT: an eventfd */
    struct sim_dgram *dgram;    /* SOCK_DATAGRAM */
    struct sim_sock *all_next;  /* of the host's bound ones */
    struct sim_sock *open_next; /* of all that were ever made, newest first */
};

struct sim_sock *sock_new(int family, int type);
int sock_bind(struct sim_sock *sock, const struct sockaddr *address, socklen_t size);
int sock_listen(struct sim_sock *sock, int backlog);
/* 0: established; -EINPROGRESS: on its way; -EAGAIN: a unix listener's queue is full. */
int sock_connect(struct sim_sock *sock, const struct sockaddr *address, socklen_t size);
/* The next of a listener's queue: NULL when there is none. */
struct sim_sock *sock_accept(struct sim_sock *listener);
/* At most `size` bytes; 0: the end; -EAGAIN: nothing there; or the error. */
int64_t sock_recv(struct sim_sock *sock, void *data, size_t size);
int64_t sock_send(struct sim_sock *sock, const void *data, size_t size);
uint64_t sock_waiting(const struct sim_sock *sock); /* bytes to be read */
uint64_t sock_room(const struct sim_sock *sock);
/* Sent, and not taken by the other end's kernel yet: SIOCOUTQ of tcp(7); of unix(7), not read. */
uint64_t sock_unacknowledged(const struct sim_sock *sock);
int sock_shutdown(struct sim_sock *sock, int how);
void sock_close(struct sim_sock *sock);
/* The host is gone: nothing is sent. */
void sock_forget(struct sim_sock *sock);
/* POLL* as poll(2) would say. */
unsigned sock_ready(const struct sim_sock *sock);
int sock_take_error(struct sim_sock *sock);
/* The network or the peer ends it with an error, now. */
void sock_break(struct sim_sock *sock, int error);
/* flow.c: a pair of directions between two open sockets; bytes, ends and resets on their way. */
void flows_new(struct sim_sock *a, struct sim_sock *b);
void flow_plan(struct sim_flow *flow);
void flow_write(struct sim_flow *flow, const void *data, size_t size);
void flow_read(struct sim_flow *flow, void *data, size_t size);
void flow_end(struct sim_flow *flow);   /* FIN, behind what was sent */
void flow_reset(struct sim_flow *flow); /* RST */
/* How long a packet takes from one host to another; and one of a stream, which is sent again when
 * it is lost. */
uint64_t wire_ns(const sim_host *from, const sim_host *to);
uint64_t packet_ns(const sim_host *from, const sim_host *to);
/* connect.c: what a connect meets. */
int tcp_connect(struct sim_sock *sock, const struct sockaddr *address, socklen_t size);
int unix_connect(struct sim_sock *sock, const struct sockaddr *address, socklen_t size);
/* The client is gone before the handshake was over. */
void handshake_abandon(struct sim_sock *sock);
/* From now on a silent peer is asked whether it is there (SO_KEEPALIVE, tcp(7)). */
void keep_start(struct sim_sock *sock);
extern struct sim_sock *sock_bound; /* all that have an address of their own */
bool sock_same_name(const struct sim_sock *sock, const struct sockaddr *address, socklen_t size);
unsigned port_of(const union sock_address *address);
int sock_take_port(struct sim_sock *sock);
/* Something about it has changed, by POLLIN (also the end, and errors) or POLLOUT: tells who waits
 * (in backend.c). */
void sock_changed(struct sim_sock *sock, unsigned what);
/* There is more room for sending: told when somebody found too little. */
void sock_room_changed(struct sim_sock *sock);
void sock_room_later(struct sim_sock *sock);
/* Somebody waits for room: told when there is some, even if no send has found too little, as
 * tcp_poll() and unix_poll() of Linux see to it. */
void sock_room_wanted(struct sim_sock *sock);
/* The running actor waits for a change of it: true when it came, false when time ran out. */
void sock_sleep(struct sim_sock *sock, uint64_t until_ns);
void sock_sleeper_add(struct sim_sock *sock);
void sock_sleeper_remove(struct sim_sock *sock);
/* The near end's address: the one bound to, or one of the host's of the same family. */
void local_name(struct sim_sock *sock, const struct sockaddr *address, socklen_t size);
/* udp.c */
enum { DGRAM_CONTROL = 256 };
struct dgram_in { /* one received, or a train of them joined (GRO); freed by whoever took it */
    struct dgram_in *next;
    union sock_address name;
    uint32_t name_size, control_size, size;
    _Alignas(16) uint8_t control[DGRAM_CONTROL];
    uint8_t bytes[];
};
void udp_init(struct sim_sock *sock);
int udp_connect(struct sim_sock *sock, const struct sockaddr *address, socklen_t size);
/* A datagram, or a train of them (GSO): its bytes, or -errno. */
int udp_send(struct sim_sock *sock, const struct msghdr *message);
/* How many of them went; or the error of the first. */
int udp_send_all(struct sim_sock *sock, struct mmsghdr *messages, unsigned count);
/* The next one: 0, -EAGAIN, or an error that is told once. */
int udp_take(struct sim_sock *sock, struct dgram_in **in);
/* The next of the error queue (IP_RECVERR), or -EAGAIN. */
int udp_take_error(struct sim_sock *sock, struct dgram_in **in);
bool udp_waits(const struct sim_sock *sock); /* whether udp_take has something to say */
unsigned udp_ready(const struct sim_sock *sock);
void udp_option(struct sim_sock *sock, int level, int option, int value);
uint32_t udp_drops(const struct sim_sock *sock); /* its buffer was full when they came */
void udp_close(struct sim_sock *sock);
/* poller.c */
void entries_told(struct sim_sock *sock, unsigned what);
void entries_forget(struct sim_sock *sock);

#endif
