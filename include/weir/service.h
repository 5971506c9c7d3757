/* A service: addresses being listened on, and the handlers that serve what is accepted. */
#ifndef WEIR_SERVICE_H
#define WEIR_SERVICE_H

#include <weir/conn.h>
#include <weir/filter.h>
#include <weir/frame.h>

enum weir_idle { WEIR_IDLE_READER = 1, WEIR_IDLE_WRITER = 2, WEIR_IDLE_BOTH = 3 };

enum weir_full {
    WEIR_FULL_CLOSE, /* default: a send beyond the hard cap ends the connection */
    WEIR_FULL_REFUSE /* it is refused, the connection goes on */
};

enum weir_read_on {
    WEIR_READ_BELOW_MARK, /* default: reading pauses while output is above the soft mark */
    WEIR_READ_ALWAYS
};

/* What becomes of a client at the limit of connections, which is never passed but by those who wait
 * in the queue of a listener that is being closed: they are served. */
enum weir_overload {
    WEIR_OVERLOAD_LEAVE, /* default: left in the backlog. The kernel may have accepted some when the
                          * limit is reached, and in shape acceptor the one that accepts does not
                          * know the others' limits: these are reset */
    WEIR_OVERLOAD_RESET, /* accepted and reset */
    WEIR_OVERLOAD_ANSWER /* accepted, answered with .overload_answer, closed */
};

/* Zero means the default everywhere; times are milliseconds; WEIR_OFF turns a deadline off. */
#define WEIR_OFF UINT32_MAX

struct weir_protocol;
struct weir_dgram_service; /* <weir/datagram.h> */

typedef struct weir_service {
    const char *listen; /* URLs, separated by spaces: "tcp://[::]:80 unix:/run/x.sock". "fd:3" and
                         * "systemd:NAME" are listening sockets that this process was started with
                         * (sd_listen_fds(3); all of that name, or all when there is none), taken
                         * over and closed at the end; "https+systemd:web" speaks TLS there */
    void *user;         /* first value of weir_conn_user */
    uint32_t conn_size; /* zeroed bytes for each connection, given to every handler; ≤ 64 KiB */

    void (*on_open)(weir_conn conn, void *session);
    void (*on_data)(weir_conn conn, weir_view data, void *session);
    void (*on_frame)(weir_conn conn, weir_view frame, void *session); /* with .frame */
    void (*on_end)(weir_conn conn, void *session);   /* the peer finished; none: flush and close */
    void (*on_drain)(weir_conn conn, void *session); /* output fell to half the soft mark */
    void (*on_idle)(weir_conn conn, enum weir_idle which, void *session);
    void (*on_close)(weir_conn conn, weir_end end, void *session);
    int (*on_loop_start)(weir_loop *loop, void *user); /* negative: the server does not start */
    void (*on_loop_stop)(weir_loop *loop, void *user);

    weir_frame frame; /* framing: on_frame gets whole frames */

    uint32_t connect_ms;     /* outgoing: default 10 s */
    uint32_t first_byte_ms;  /* accept to first byte: default 10 s */
    uint32_t idle_ms;        /* no byte either way: default 60 s */
    uint32_t write_ms;       /* less than 1 KiB taken by the peer in this time: default 30 s */
    uint32_t linger_ms;      /* waiting for the peer's end after ours: default 2 s */
    uint32_t reader_idle_ms; /* on_idle(WEIR_IDLE_READER): this long without input; default off */
    uint32_t writer_idle_ms; /* the same for output */
    uint32_t both_idle_ms;   /* the same for either */
    bool server_first;       /* the service speaks first: output satisfies first_byte */

    uint32_t soft_mark_bytes; /* default 64 KiB */
    uint32_t hard_cap_bytes;  /* default 1 MiB */
    enum weir_full full;
    enum weir_read_on read_on;

    uint32_t conns_max;   /* of this service on each loop; default 1 048 576 */
    uint32_t accept_rate; /* connections a second on each loop; default no limit */
    enum weir_overload overload;
    weir_view overload_answer; /* weir_static bytes */

    weir_socket_options socket;
    const weir_filter *const *filters;    /* NULL-terminated, the one next to the wire first */
    void *const *filter_configs;          /* one for each */
    const struct weir_protocol *protocol; /* a protocol of weir's in place of the handlers above */
    void *protocol_arg;
    const struct weir_dgram_service
        *datagram; /* for the udp: and unix-dgram: addresses of .listen,
                    * under weir_run; its .user is ours if it has none */

    /* Straight-line: a coroutine for each connection in place of on_data, on_frame, on_end and
     * on_drain; see <weir/co.h>. Its return closes the connection; on_close comes after it. */
    void (*on_conn)(weir_conn conn, void *session);
    bool straight; /* without on_conn: connections for weir_accept and weir_connect_wait */

    /* What the addresses tls: and https: of .listen and of weir_connect put next to the wire, below
     * .filters: weir_tls_layer of <weir/tls.h>. Such an address without it is refused. */
    const weir_layer *tls;

    /* What weir_connect and its like go through: proxies, of weir_via_new in <weir/via.h>. Their
     * .connect_ms is for all of it, up to the last proxy's answer. */
    const weir_via *via;
} weir_service;

enum weir_shape {
    WEIR_SHAPE_SINGLE,
    WEIR_SHAPE_THREADS,
    WEIR_SHAPE_ACCEPTOR,
    WEIR_SHAPE_PROCESSES /* a master, and workers of one loop each */
};
enum weir_spread { WEIR_SPREAD_ROUND_ROBIN, WEIR_SPREAD_LEAST_CONNS, WEIR_SPREAD_SOURCE_HASH };

typedef struct weir_run_options {
    enum weir_shape shape;          /* default single */
    unsigned loops;                 /* default: one a CPU (threads; processes: a worker each),
                                     * CPUs - 1 servers (acceptor) */
    bool pin;                       /* a CPU for each loop */
    enum weir_spread spread;        /* acceptor: who gets the next connection */
    weir_loop_options loop;         /* for each loop */
    uint32_t drain_ms;              /* on TERM: this long to finish, then abort; default 10 s */
    bool keep_signals;              /* leave signals alone: the program calls weir_stop */
    bool quiet;                     /* no messages on standard error */
    void (*on_started)(void *user); /* all addresses are open; on the first loop (processes: on
                                     * each worker's) */
    void *user;
    bool notify; /* tell the service manager (NOTIFY_SOCKET, sd_notify(3)) when all addresses are
                  * served, and when the end begins */
    bool one_listener; /* threads, processes: one listening socket of an address for all loops, in
                        * place of one each (SO_REUSEPORT) */

    /* Shape processes. */
    const char *worker_user;        /* whom workers run as: a name or a number */
    const char *worker_group;       /* default: the user's own, and its supplementary groups */
    int (*on_opened)(void *user);   /* in the master, when all addresses are open, and before any
                                     * worker; negative: nothing starts. Whoever needs an address
                                     * for the last ones of the services leaves their .listen NULL
                                     * and sets it here. In all shapes, before any loop */
    void (*on_serving)(void *user); /* in the master, when all workers serve */
    /* In the master, which has HUP or USR1 to pass on to its workers. What the program opens anew
     * here later workers inherit. Each worker hears of the signal by weir_signal. */
    void (*on_master_signal)(int number, void *user);
    void (*on_worker_end)(void *user); /* in a worker, before its process ends: weir_run does not
                                        * return there */
} weir_run_options;

WEIR_BEGIN

WEIR_API int weir__run(const weir_service *services, size_t service_size, unsigned count,
                       const weir_run_options *options, size_t options_size);

/* Serves until TERM or QUIT (drain; a second one aborts) or INT. Prints cause and fix on standard
 * error when it cannot start. 0, or a negative error. */
static inline int weir_run(const weir_service *services, unsigned count,
                           const weir_run_options *options)
{
    return weir__run(services, sizeof *services, count, options, sizeof *options);
}

/* Ends weir_run as TERM does; a second call aborts. Any thread, async-signal-safe. */
WEIR_API void weir_stop(void);

/* The address that listener number `index` (in order of services and their URLs) of the running
 * weir_run got: the port chosen for port 0. Any thread after on_started. */
WEIR_API int weir_run_address(unsigned index, weir_address *out);

typedef struct weir_listener {
    uint64_t id;
} weir_listener;

WEIR_API int weir__listen(weir_listener *out, const weir_service *service, size_t size);
/* Listens on the current loop alone (embedding). The service is copied, and is one of its own:
 * connections of an earlier call, whatever became of its listener, do not count for the limits of
 * this one. All of its addresses or none. *out may be NULL. */
static inline int weir_listen(weir_listener *out, const weir_service *service)
{
    return weir__listen(out, service, sizeof *service);
}
/* The address of the first listener of the service, its port chosen. */
WEIR_API int weir_listener_address(weir_listener listener, weir_address *out);
/* Stops accepting; connections go on. */
WEIR_API int weir_listener_close(weir_listener listener);

WEIR_API int weir__connect(weir_conn *out, const char *url, const weir_service *service,
                           size_t size, void *user);
/* Connects from the current loop: on_open when established, on_close alone when it fails. localhost
 * is ::1, and 127.0.0.1 when nobody answers there; .connect_ms is for both. Other host names
 * ("tcp://example.com:80") are looked up where the loop has a resolver (<weir/resolve.h>), and
 * their addresses tried as RFC 8305 says: the families in turn, a quarter of a second apart, until
 * one answers; .connect_ms is for all of it. Why it failed is in on_close: WEIR_ENONAME and the
 * like, or what the last attempt said. With .via names are the last proxy's to look up, and only
 * what the first proxy is called is looked up here. The service gives handlers and limits (its
 * .listen is ignored) and must stay valid and unchanged while such connections live. 0, or an error
 * with no connection made. */
static inline int weir_connect(weir_conn *out, const char *url, const weir_service *service,
                               void *user)
{
    return weir__connect(out, url, service, sizeof *service, user);
}

WEIR_API int weir__connect_from(weir_conn *out, const char *url, const weir_address *source,
                                const weir_service *service, size_t size, void *user);
/* The same from an address of this host, whose port may be 0: then the kernel chooses it when the
 * connection begins, so that one port serves connections to several servers (ip(7),
 * IP_BIND_ADDRESS_NO_PORT). NULL: any. Its errors are also those of bind(2). */
static inline int weir_connect_from(weir_conn *out, const char *url, const weir_address *source,
                                    const weir_service *service, void *user)
{
    return weir__connect_from(out, url, source, service, sizeof *service, user);
}

WEIR_END
#endif
