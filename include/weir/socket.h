/* Socket options by name, and what TCP knows about a connection. */
#ifndef WEIR_SOCKET_H
#define WEIR_SOCKET_H

#include <stdint.h>

#include <weir/export.h>

/* A switch whose zero is the default. */
enum weir_switch { WEIR_SWITCH_DEFAULT = 0, WEIR_SWITCH_ON = 1, WEIR_SWITCH_OFF = 2 };

/* For the fields where the number zero means something, so that zero can still mean "not set":
 * .incoming_cpu = WEIR_SOME(0) is the first CPU, .unix_owner = WEIR_SOME(0) is root. */
#define WEIR_SOME(number) ((uint32_t)(number) + 1u)

/* The value of `tos` for a DSCP code point (RFC 2474): .tos = WEIR_DSCP(46). */
#define WEIR_DSCP(code) ((uint8_t)((code) << 2))

/* linger_s: closing a connection resets it. */
#define WEIR_LINGER_RESET (-1)

/* What a listener or an outgoing connection asks of the kernel. All zero is the default
 * everywhere: weir's where one is named here, the kernel's otherwise. An option that the kernel
 * refuses is an error that names it; one that has no meaning for a kind of socket (TCP options on
 * a unix socket) is left alone, since a service may listen on several kinds. Accepted TCP
 * connections inherit what is set on their listener. Strings are read during the call only. */
typedef struct weir_socket_options {
    const char *congestion;        /* TCP congestion control by name: tcp_congestion_control */
    const char *bind_device;       /* only through this interface: SO_BINDTODEVICE */
    uint32_t backlog;              /* connections that wait to be accepted; default 4096, cut by the
                                    * sysctl net.core.somaxconn */
    uint32_t keepalive_idle_s;     /* TCP_KEEPIDLE, 1 to 32767; this and the next two turn */
    uint32_t keepalive_interval_s; /* TCP_KEEPINTVL, 1 to 32767;  keepalive on */
    uint32_t keepalive_count;      /* TCP_KEEPCNT, 1 to 127 */
    uint32_t user_timeout_ms;      /* unacknowledged data ends the connection: TCP_USER_TIMEOUT */
    uint32_t defer_accept_s;       /* accept when data has come, or so much later */
    uint32_t fast_open;            /* listener: requests that may wait, TCP_FASTOPEN;
                                    * outgoing: not zero sends data with the SYN (RFC 7413) */
    uint32_t receive_buffer_bytes; /* SO_RCVBUF: fixed, no automatic tuning; cut by rmem_max */
    uint32_t send_buffer_bytes;    /* SO_SNDBUF: the same, by wmem_max */
    int32_t linger_s;              /* SO_LINGER: close waits so long, blocking its thread, for the
                                    * peer to take the data; or WEIR_LINGER_RESET */
    uint32_t notsent_lowat_bytes;  /* writable only below this much unsent: TCP_NOTSENT_LOWAT */
    uint32_t mark;                 /* firewall mark: SO_MARK, needs CAP_NET_ADMIN */
    uint32_t incoming_cpu;         /* WEIR_SOME(cpu): SO_INCOMING_CPU, for shared ports */
    uint32_t busy_poll_us;         /* SO_BUSY_POLL, may need CAP_NET_ADMIN */
    uint32_t unix_mode;            /* permissions of a unix socket's file: 0660; default: umask */
    uint32_t unix_owner;           /* WEIR_SOME(uid) */
    uint32_t unix_group;           /* WEIR_SOME(gid) */
    uint8_t nodelay;               /* enum weir_switch; default on */
    uint8_t keepalive;             /* enum weir_switch; default off, unless a field above is set */
    uint8_t reuseaddr;             /* enum weir_switch; default on for TCP listeners */
    uint8_t reuseport;             /* enum weir_switch; default off */
    uint8_t freebind;              /* enum weir_switch; bind to an address that is not here yet */
    uint8_t transparent;           /* enum weir_switch; IP_TRANSPARENT, needs CAP_NET_ADMIN */
    uint8_t v6only;                /* enum weir_switch; default off: [::] takes IPv4 as well */
    uint8_t tos;                   /* WEIR_DSCP(code), for IPv4 and IPv6 */
    uint8_t reserved[36];          /* zero */
} weir_socket_options;

/* What the kernel knows about a TCP connection (TCP_INFO); a value that it does not give is 0. */
typedef struct weir_tcp_info {
    uint8_t state;          /* see weir_tcp_state_name */
    uint8_t congestion;     /* 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss */
    uint8_t retransmits;    /* time-outs in a row, without an answer */
    uint8_t probes;         /* zero-window or keepalive probes in a row, without an answer */
    uint8_t backoff;        /* doublings of the retransmission time-out */
    uint8_t app_limited;    /* 1: the delivery rate tells how much there was to send, not more */
    uint8_t spare[2];       /* zero */
    uint32_t rtt_us;        /* smoothed round trip */
    uint32_t rttvar_us;     /* and how much it varies */
    uint32_t min_rtt_us;    /* the smallest seen of late */
    uint32_t rto_us;        /* retransmission time-out */
    uint32_t cwnd_segments; /* congestion window */
    uint32_t ssthresh_segments;
    uint32_t send_mss_bytes;
    uint32_t path_mtu_bytes;
    uint32_t unacked_segments; /* sent, not acknowledged */
    uint32_t lost_segments;    /* held for lost */
    uint32_t resent_segments;  /* sent again, not acknowledged */
    uint32_t resent_total_segments;
    uint32_t notsent_bytes;     /* queued, not sent */
    uint32_t send_window_bytes; /* what the peer is ready to take */
    uint32_t last_sent_ms;      /* ago */
    uint32_t last_received_ms;  /* ago */
    uint64_t delivery_bytes_s;  /* latest measured rate */
    uint64_t pacing_bytes_s;
    uint64_t sent_bytes; /* payload, those sent again too */
    uint64_t acked_bytes;
    uint64_t received_bytes;
    uint32_t busy_ms;             /* since the beginning there was something to send, or to be */
    uint32_t receiver_limited_ms; /* acknowledged; of that: the peer's window was full; */
    uint32_t buffer_limited_ms;   /* and: our send buffer was too small. The rest: the network */
    uint32_t reserved;            /* zero */
} weir_tcp_info;

WEIR_BEGIN

/* "ESTABLISHED", "CLOSE_WAIT", ...; "unknown" for a number that TCP has not. Static text. */
WEIR_API const char *weir_tcp_state_name(unsigned state);

WEIR_END
#endif
