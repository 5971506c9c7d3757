/* A listener: one listening socket on one loop, and what became of its last accept. */
#ifndef WEIR_NET_LISTENER_H
#define WEIR_NET_LISTENER_H

#include "net/conn.h"
#include "net/socket.h"

struct listener {
    struct slab_head head;
    struct io_fd fd;
    struct wheel_node timer; /* back-off, or the accept rate's next token */
    struct service *service;
    uint32_t slot;
    bool armed, canceled, stopping, waiting;
    bool cancel_owed;   /* the back end had no room to be asked */
    bool started;       /* asked for connections: some may wait in its queue */
    bool apply_options; /* accepted sockets do not inherit them */
    bool owns_file;
    bool secure;    /* its address is one of TLS */
    bool inherited; /* its socket is whose process has started this one */
    bool shared;    /* other loops or processes listen on the same socket */
    bool closing;   /* stopping is asked for; then, when handshakes had their time, this follows */
    int32_t tokens; /* of the accept rate */
    uint32_t tokens_ms;
    weir_address address;
    struct weir__socket_file file;
    /* The acceptor shape: takes the descriptor instead of this loop. */
    void (*hand)(void *arg, struct listener *listener, int fd);
    void *hand_arg;
    uint32_t next; /* slot + 1 of the next one of the same weir_listen */
};

/* Opens one listening socket on the loop; `fd` ≥ 0: an open one (then shared). The service is
 * referred to. NULL with *error. */
struct listener *listener_new(struct net *net, struct service *service, const weir_address *address,
                              int fd, int *error);
/* Asks for connections. */
void listener_start(weir_loop *loop, struct listener *l);
/* Stops accepting; what the kernel had accepted is still served. Freed when done. */
void listener_stop(weir_loop *loop, struct listener *l);
/* Asks again for the cancels that the back end had no room for. */
void listeners_cancel_again(weir_loop *loop);
/* Looks at the queues of shared sockets anew. */
void listeners_again(weir_loop *loop);
void listeners_each(struct net *net, void (*fn)(weir_loop *loop, struct listener *l, void *arg),
                    void *arg);
/* Listens on all addresses of a service; all or none. *first: slot of the first. */
int listeners_open(struct net *net, struct service *service, uint32_t *first,
                   void (*opened)(struct listener *l, void *arg), void *arg);

/* Splits "tcp://a:1 unix:/b systemd:web" at spaces and expands each; calls fn for each address,
 * with the descriptor of one that was inherited, which is fn's then, or -1. Logs what is wrong with
 * cause and fix. Returns the number of addresses or a negative error. */
typedef int listen_fn(const weir_address *address, int fd, void *arg);
int listen_addresses(const char *urls, listen_fn *fn, void *arg);
/* Sets the service's socket options on an inherited listener, if there are any. 0, or an error that
 * was logged. */
int listen_inherited(int fd, const weir_socket_options *options, struct weir__socket_error *error);

/* 0 for an address that the service can listen on as regards TLS; else it is logged. */
int listen_secure_check(const weir_address *address, const weir_service *service);
/* 0 for an address that streams are accepted on; else it is logged, with what to do. */
int listen_streams_only(const weir_address *address, const char *fix);

#endif
