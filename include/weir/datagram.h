/* Datagrams: sockets that take and give whole messages, by UDP or between processes of this host.
 *
 *   udp://1.2.3.4:53   udp://[::]:53   udp://:53     as in <weir/address.h>
 *   unix-dgram:/run/x.sock   unix-dgram:@name        unix datagrams
 *   unix-seqpacket:/run/x.sock                       a connection that keeps its messages apart
 *   icmp://1.2.3.4   icmp://[::]:77                  echoes of ICMP and ICMPv6, and their answers
 *   raw://1.2.3.4:89                                 packets of one protocol of IP
 *
 * Messages of icmp: are sent and received from their type on (<weir/packet.h> builds and reads
 * them). The port of such an address is the identifier of echoes, 0 or none: it is chosen; whoever
 * sends an echo puts that of weir_dgram_local into it, and the checksum of ICMP (over IPv6 the
 * kernel does it). Only answers to that identifier are received; what a router says of an echo
 * comes to on_error, its view the echo. It is a ping socket where the group may have one
 * (net.ipv4.ping_group_range), or else a raw one, which needs CAP_NET_RAW, with the same meaning.
 *
 * raw: takes every packet of its protocol that this host receives, with the head of IPv4, without
 * that of IPv6, and sends what follows the head of IP. It needs CAP_NET_RAW. icmp(7), raw(7),
 * ipv6(7).
 *
 * A datagram socket belongs to one loop, and is named by a handle as a connection is. Every verb
 * here belongs to that loop's thread, may be called in any handler, never enters a handler itself
 * nor the kernel (but to make a socket or to join a group), and returns WEIR_EGONE on a stale
 * handle.
 *
 * A service of weir_run that lists udp: or unix-dgram: addresses has its handlers for them in
 * .datagram; in shape threads each loop has a socket of its own on the shared port (SO_REUSEPORT).
 * weir_dgram_open and weir_dgram_connect make one at run time. */
#ifndef WEIR_DATAGRAM_H
#define WEIR_DATAGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <weir/address.h>
#include <weir/conn.h>
#include <weir/export.h>
#include <weir/socket.h>
#include <weir/view.h>

/* A datagram socket: 10 bits loop, 24 slot, 30 generation; zero is none. */
typedef struct weir_dgram {
    uint64_t id;
} weir_dgram;

/* What is known of a received datagram (weir_datagram.flags), and what a socket asks the kernel for
 * (weir_dgram_service.meta). */
enum weir_datagram_flags {
    WEIR_DATAGRAM_LOCAL = 1,     /* the address it was sent to, and the interface: IP_PKTINFO */
    WEIR_DATAGRAM_ECN = 2,       /* RFC 3168: 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion */
    WEIR_DATAGRAM_HOPS = 4,      /* its hop limit, or TTL, as it arrived */
    WEIR_DATAGRAM_TIME = 8,      /* when the kernel got it: SO_TIMESTAMPNS */
    WEIR_DATAGRAM_TRUNCATED = 16 /* told always: it had full_bytes, the rest of them is lost */
};

/* A datagram as it was received. Valid until the handler returns, all of it. An empty one
 * (view.size 0) is a datagram like others. */
typedef struct weir_datagram {
    weir_view view;
    const struct sockaddr *peer; /* its sender, see weir_datagram_peer; NULL: it has no name */
    uint32_t peer_size;
    uint32_t flags;         /* enum weir_datagram_flags: which of the following are known */
    uint32_t full_bytes;    /* what it had; more than view.size when it was truncated */
    uint32_t interface;     /* number of the interface that it came in by */
    uint64_t received_ns;   /* of the real-time clock */
    uint8_t local[16];      /* see weir_datagram_local */
    uint16_t local_family;  /* AF_INET: the first 4 bytes count; AF_INET6 */
    uint16_t segment_bytes; /* with .gro_whole: the view holds datagrams of this size, back to back,
                             * the last may be shorter. 0: it is one */
    uint8_t ecn;
    uint8_t hops;
    uint8_t transport;    /* enum weir_transport, of the socket */
    uint8_t reserved[25]; /* zero */
} weir_datagram;

/* Where an error comes from; the numbers are the kernel's (SO_EE_ORIGIN_...). */
enum weir_origin {
    WEIR_ORIGIN_SOCKET = 0, /* told by the socket, which does not know more */
    WEIR_ORIGIN_LOCAL = 1,  /* this host: no route, larger than the path's MTU, a firewall */
    WEIR_ORIGIN_ICMP = 2,   /* ICMP, from `offender` */
    WEIR_ORIGIN_ICMP6 = 3
};

/* What became of a datagram that was sent. Valid until the handler returns. */
typedef struct weir_datagram_error {
    int error;               /* -ECONNREFUSED: nobody listens there; -EMSGSIZE: too large: mtu */
    enum weir_origin origin; /* who says so */
    uint8_t type, code;      /* of the ICMP message */
    uint16_t reserved_2;
    uint32_t mtu_bytes;           /* of the path, with -EMSGSIZE; 0: not known */
    const weir_address *peer;     /* whom it was sent to; NULL: not known */
    const weir_address *offender; /* who sent the ICMP message; NULL: nobody, or not known */
    weir_view view;       /* the beginning of the datagram, where the kernel gives it back */
    uint8_t reserved[16]; /* zero */
} weir_datagram_error;

/* What a send does that finds the queue full. */
enum weir_dgram_full {
    WEIR_DGRAM_REFUSE, /* default: it says WEIR_EFULL and queues nothing */
    WEIR_DGRAM_OLDEST  /* the oldest that wait are dropped for it */
};

/* Path MTU discovery: IP_MTU_DISCOVER of ip(7). */
enum weir_dgram_mtu {
    WEIR_MTU_DEFAULT, /* the system's: net.ipv4.ip_no_pmtu_disc */
    WEIR_MTU_DONT,    /* fragments, no don't-fragment bit */
    WEIR_MTU_DO,      /* never fragments: a datagram larger than the path's MTU is an error */
    WEIR_MTU_PROBE    /* the same, but the path's MTU is not looked at: for programs that probe */
};

/* Which socket of a shared port gets a datagram. */
enum weir_dgram_steer {
    WEIR_STEER_FLOW, /* default: by a hash of both addresses and ports, the kernel's own */
    WEIR_STEER_PEER, /* by a hash of the sender's address without its port: one host, one loop */
    WEIR_STEER_CPU   /* the CPU that received it, modulo the sockets */
};

/* Handlers, limits and options of datagram sockets. Zero means the default everywhere. Copied when
 * a socket is made. An option that the kernel refuses is an error that names it; one without
 * meaning for a kind of socket is left alone. */
typedef struct weir_dgram_service {
    /* One of the two. on_batch gets what came in one go, at most 64 of them: for programs that gain
     * by that; on_datagram costs nearly as little. */
    void (*on_datagram)(weir_dgram socket, const weir_datagram *in, void *user);
    void (*on_batch)(weir_dgram socket, const weir_datagram *in, unsigned count, void *user);
    void (*on_open)(weir_dgram socket, void *user);  /* weir_run only: it is bound, on its loop */
    void (*on_drain)(weir_dgram socket, void *user); /* the queue fell to half the soft mark */
    /* Asks for the error queue too (IP_RECVERR). Without it errors are counted only. */
    void (*on_error)(weir_dgram socket, const weir_datagram_error *error, void *user);
    void (*on_close)(weir_dgram socket, weir_end end, void *user); /* the last call, exactly once */
    void *user;

    uint32_t meta;                /* enum weir_datagram_flags. WEIR_DATAGRAM_LOCAL is always asked
                                   * for on a socket bound to any address, so that answers leave
                                   * from the address that was asked */
    uint32_t datagram_max_bytes;  /* of one received, or it is truncated; default and most 65 536 */
    uint32_t soft_mark_bytes;     /* queued: reading pauses, senders wait; default 256 KiB */
    uint32_t hard_cap_bytes;      /* queued at most; default 8 MiB */
    uint32_t queue_max_datagrams; /* queued at most; default 8192 */
    uint32_t linger_ms;           /* weir_dgram_close: for what is queued; default 2 s */
    enum weir_dgram_full full;
    enum weir_dgram_mtu mtu;
    enum weir_dgram_steer steer;
    uint8_t read_on;        /* enum weir_switch; on: reading does not pause above the mark */
    uint8_t gro;            /* enum weir_switch; default on for UDP where the kernel has it (5.0):
                             * it hands over trains of datagrams, which are taken apart here */
    uint8_t gro_whole;      /* enum weir_switch; on: not taken apart, see segment_bytes */
    uint8_t gso;            /* enum weir_switch; default on for UDP (4.18): datagrams of one size
                             * to one peer, queued in a row, are given to the kernel as a train */
    uint8_t broadcast;      /* enum weir_switch; on: may send to broadcast addresses */
    uint8_t multicast_loop; /* enum weir_switch; off: this host gets none of what we send to groups
                             * (of IPv4 and IPv6; the kernel's default is on) */
    uint8_t hops;           /* hop limit, TTL; default the system's */
    uint8_t multicast_hops; /* of what is sent to groups; default 1, this network */
    const char *multicast_interface; /* through which groups are reached by default, by name */
    const char *groups;              /* joined when it is opened: "239.1.1.1 ff02::fb%eth0"; with a
                                      * source: "192.0.2.1@232.1.1.1%eth0" */
    weir_socket_options socket;
    uint64_t reserved[8]; /* zero */
} weir_dgram_service;

/* A datagram with everything that can be said of it, for weir_dgram_send_with. */
typedef struct weir_dgram_message {
    weir_view view;
    const weir_address *peer;  /* NULL: whom the socket is connected to */
    const weir_address *local; /* leaves from this address (its port does not count); NULL: any */
    uint32_t interface;        /* leaves through this one; 0: by the routes */
    uint32_t segment_bytes;    /* the view is cut into datagrams of this size by the kernel (GSO, at
                                * most 64 and 65 000 bytes in all). 0: it is one */
    uint8_t ecn;               /* WEIR_SOME(0 to 3) */
    uint8_t hops;              /* 0: the socket's */
    uint8_t reserved[22];      /* zero */
} weir_dgram_message;

/* What one socket has counted. */
typedef struct weir_dgram_stats {
    uint64_t received_datagrams, received_bytes;
    uint64_t sent_datagrams, sent_bytes; /* taken by the kernel */
    uint64_t truncated_datagrams;
    uint64_t refused_datagrams; /* WEIR_EFULL: the queue was full */
    uint64_t dropped_oldest;    /* for newer ones, with WEIR_DGRAM_OLDEST */
    uint64_t dropped_error;     /* the kernel refused them */
    uint64_t dropped_close;     /* still queued at the end */
    uint64_t dropped_memory;    /* there was none to keep them in */
    uint64_t dropped_kernel;    /* received ones: its buffer was full when they came */
    uint64_t errors;            /* told of datagrams that had been sent */
    uint64_t queued_datagrams, queued_bytes;
    uint64_t receives, sends; /* batches: of how many in one go */
    uint64_t reserved[4];     /* zero */
} weir_dgram_stats;

WEIR_BEGIN

static inline bool weir_dgram_is(weir_dgram a, weir_dgram b)
{
    return a.id == b.id;
}

/* Binds a socket on the current loop. localhost is 127.0.0.1 alone. *out may be NULL. 0, or an
 * error, which is logged with cause and fix: those of bind(2), or WEIR_ENOTSUP for an option that
 * the kernel lacks. May block for two seconds when the port is taken. udp(7), unix(7). */
WEIR_API WEIR_MUST_CHECK int weir_dgram_open(weir_dgram *out, const char *url,
                                             const weir_dgram_service *service);

/* Makes a socket that is connected: it sends to `url` and receives from nobody else. `source`: an
 * address of this host to send from, or NULL. A unix datagram socket gets a name of the kernel's,
 * so that it can be answered. Errors as weir_dgram_open; those of the network come to on_error. */
WEIR_API WEIR_MUST_CHECK int weir_dgram_connect(weir_dgram *out, const char *url,
                                                const weir_address *source,
                                                const weir_dgram_service *service);

/* Queues a datagram for the peer that the socket is connected to; it leaves at the flush after the
 * handler. A view of no bytes is an empty datagram. Bytes are copied now, unless they are static
 * (of 256 bytes or more), lent, or of a datagram whose handler is running: such are copied only
 * when the kernel does not take them at once. 0; WEIR_SEND_WAIT: queued, and above the soft mark:
 * wait for on_drain; or an error with nothing queued: WEIR_EGONE, WEIR_EFULL (counted),
 * WEIR_ENOMEM, WEIR_ETOOBIG (more than 65 507 bytes by UDP), WEIR_EADDRESS (not connected),
 * WEIR_EMISUSE after weir_dgram_close. What becomes of it in the network is told by on_error, if at
 * all. */
WEIR_API WEIR_MUST_CHECK int weir_dgram_send(weir_dgram socket, weir_view view);
/* The same for a peer; WEIR_EADDRESS when the socket cannot reach its kind of address. */
WEIR_API WEIR_MUST_CHECK int weir_dgram_send_to(weir_dgram socket, const weir_address *peer,
                                                weir_view view);
/* The same for the sender of a datagram whose handler is running; it leaves from the address that
 * the datagram was sent to, where that is known. */
WEIR_API WEIR_MUST_CHECK int weir_dgram_reply(weir_dgram socket, const weir_datagram *in,
                                              weir_view view);

WEIR_API WEIR_MUST_CHECK int weir__dgram_send_with(weir_dgram socket,
                                                   const weir_dgram_message *message, size_t size);
/* The same with everything that can be said of one datagram, or of a train of them. WEIR_EINVALID
 * for what contradicts itself. */
static inline WEIR_MUST_CHECK int weir_dgram_send_with(weir_dgram socket,
                                                       const weir_dgram_message *message)
{
    return weir__dgram_send_with(socket, message, sizeof *message);
}

/* Stops and resumes reading. What has been read already still comes: at most 64 reads of the
 * kernel. Meanwhile the kernel keeps what fits into its buffer, and drops the rest
 * (dropped_kernel). */
WEIR_API int weir_dgram_pause(weir_dgram socket);
WEIR_API int weir_dgram_resume(weir_dgram socket);

/* Sends what is queued, for as long as linger_ms, then closes. Nothing more is received. on_close
 * comes later. Idempotent. */
WEIR_API int weir_dgram_close(weir_dgram socket);
/* Closes and drops what is queued. on_close comes later. Idempotent. */
WEIR_API int weir_dgram_abort(weir_dgram socket);

/* Joins or leaves a group: "239.1.1.1", "ff02::fb%eth0", "192.0.2.1@232.1.1.1" (only what that
 * source sends: RFC 4607). 0, WEIR_EADDRESS, or -errno: -ENODEV without interface or route,
 * -EADDRINUSE when joined already. One system call. ip(7), ipv6(7), RFC 3678. */
WEIR_API int weir_dgram_join(weir_dgram socket, const char *group);
WEIR_API int weir_dgram_leave(weir_dgram socket, const char *group);

/* Whether the handle names a living socket of this loop. */
WEIR_API bool weir_dgram_alive(weir_dgram socket);
/* The pointer that handlers get: first the service's `user`. */
WEIR_API void *weir_dgram_user(weir_dgram socket);
WEIR_API int weir_dgram_set_user(weir_dgram socket, void *user);
/* Where it is bound, the port chosen; and whom it is connected to, or -ENOTCONN. */
WEIR_API int weir_dgram_local(weir_dgram socket, weir_address *out);
WEIR_API int weir_dgram_peer(weir_dgram socket, weir_address *out);

WEIR_API int weir__dgram_stats_get(weir_dgram socket, weir_dgram_stats *out, size_t size);
/* One system call, for dropped_kernel. */
static inline int weir_dgram_stats_get(weir_dgram socket, weir_dgram_stats *out)
{
    return weir__dgram_stats_get(socket, out, sizeof *out);
}

/* The sender as an address that may be kept, and the address it was sent to (with port 0). 0, or
 * WEIR_EADDRESS when there is none. */
WEIR_API int weir_datagram_peer(const weir_datagram *in, weir_address *out);
WEIR_API int weir_datagram_local(const weir_datagram *in, weir_address *out);

WEIR_END
#endif
