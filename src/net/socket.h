/* Sockets without a loop: made, given their options, bound, looked at. Everything here may block
 * for a moment and belongs to start-up, except those whose comment says otherwise. */
#ifndef WEIR_NET_SOCKET_H
#define WEIR_NET_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/address.h>
#include <weir/socket.h>

#include "net/socket_error.h"

/* The file of a listening unix socket, so that only our own is removed. */
struct weir__socket_file {
    uint64_t device, inode; /* both 0: none (not a path) */
};

/* Everything about making a socket that is not an option of it; all zero is the default. */
struct weir__socket_how {
    bool blocking;                  /* default: non-blocking */
    int32_t bind_wait_ms;           /* how long a taken address is tried again: 0: 2000 (K17),
                                     * negative: not at all */
    const weir_address *local;      /* outgoing: where from, or NULL */
    struct weir__socket_file *file; /* listener: filled for unix paths, or NULL */
};

#define WEIR__SOCKET_BACKLOG      4096u
#define WEIR__SOCKET_BIND_WAIT_MS 2000

/* Makes a listening socket (a bound one for udp). Options are set before bind; a stale unix socket
 * at the path is replaced. A taken address is tried again for how->bind_wait_ms, sleeping, because
 * a server that was killed keeps its port for tens of milliseconds. localhost is 127.0.0.1 alone:
 * expand it first. `options`, `how` may be NULL. Returns a descriptor (close-on-exec), or what is
 * in error->code. */
int weir__socket_listen(const weir_address *address, const weir_socket_options *options,
                        const struct weir__socket_how *how, struct weir__socket_error *error);

/* Makes a socket to connect to `remote` from; bound to how->local when that is given. It does not
 * connect. Otherwise as weir__socket_listen, but a taken address is not waited for. Does not
 * block: usable on a loop. */
int weir__socket_for_connect(const weir_address *remote, const weir_socket_options *options,
                             const struct weir__socket_how *how, struct weir__socket_error *error);

/* Sets options on a socket that exists: those that its kind and state still take. Returns 0 or
 * error->code; options before the one that failed stay set. Does not block. */
int weir__socket_apply(int fd, const weir_socket_options *options,
                       struct weir__socket_error *error);

/* Whether connections accepted from this listener have their options already. TCP clones the
 * listener (verified for each option by tests/unit/net/test_socket.c), so that accept costs no
 * further system call. A unix connection is made by the client's connect() with nothing of the
 * listener's: those need weir__socket_apply. */
bool weir__socket_inherits(const weir_address *listener);

/* Removes the file of a listening unix socket, but only the one that weir__socket_listen made; call
 * it before the socket is closed, while nobody else can hold that inode. Returns 0 (also when
 * there is nothing to do), -ESTALE when the path is another's by now, or -errno. */
int weir__socket_unlink(const weir_address *address, const struct weir__socket_file *file);

/* The address of this end, with the port that the kernel chose, or of the other end. The scheme is
 * tcp, udp or unix. Returns 0 or -errno (-ENOTCONN); WEIR_ENOTSUP for other kinds. One or two
 * system calls, never blocking. */
int weir__socket_local(int fd, weir_address *out);
int weir__socket_peer(int fd, weir_address *out);

/* Puts the port that the kernel chose into the address that a socket was made to listen on. 0; an
 * error, which is logged, when the port was left to the kernel and cannot be had. */
int weir__socket_bound(int fd, weir_address *address);

/* TCP_INFO of an ordinary descriptor (not of a direct one). Returns 0 or -errno; WEIR_ENOTSUP when
 * it is not TCP. One system call, never blocking. tcp(7). */
int weir__tcp_info(int fd, weir_tcp_info *out);

/* Lets no new connection into the queue of a listening socket; those in it, and handshakes under
 * way, can still be accepted. 0 or -errno. */
int weir__socket_refuse(int fd, const weir_address *address);

#endif
