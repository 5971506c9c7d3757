/* Load: clients that ask a server as fast as it answers, or at a given rate, and measure it. It
 * runs on loops of its own, each in a thread, and uses the library as any program would.
 *
 * Closed loop (no rate): every connection sends its next request when an answer is there. Service
 * time is measured, from sending to the last byte. Open loop (a rate): requests leave at their time
 * whatever the server does. Response time is measured from the time at which a request was due,
 * beside service time, so that a server that stops for a second does not hide all the requests
 * which that second was due. */
#ifndef WEIR_LOAD_H
#define WEIR_LOAD_H

#include <weir/filter.h>
#include <weir/loop.h>
#include <weir/service.h>
#include <weir/socket.h>

enum weir_load_kind {
    WEIR_LOAD_HTTP,   /* HTTP/1.1 requests */
    WEIR_LOAD_RR,     /* so many bytes there, so many back */
    WEIR_LOAD_RAW,    /* given bytes there, and back up to an end marker */
    WEIR_LOAD_STREAM, /* bytes as fast as they go */
    /* The same in datagrams, whose addresses are udp:// or unix-dgram:. A connection is a socket
     * that hears one server; what is sent is told in <weir/load_datagram.h>. */
    WEIR_LOAD_DGRAM_RR,
    WEIR_LOAD_DGRAM_STREAM
};

/* What a connection to weir bench serve begins with, unless that is to echo what comes: 32 bytes,
 * numbers least significant byte first.
 *
 *    0  8  "WEIRBNC1"
 *    8  1  what is asked for: 1 answers, 2 take bytes, 3 send bytes, 4 both
 *    9  1  1: close behind the first answer
 *   10  2  zero
 *   12  4  bytes of a request
 *   10  6  instead of these two, of 3 and 4: bytes a second to send; 0: as fast as they go
 *   16  8  bytes of an answer; 3, 4: bytes to send, 0: until the connection is closed
 *   24  8  the same for all connections of a load, to sum them up
 *
 * Who is asked to take bytes tells at their end, in 16 bytes: how many came, and nanoseconds from
 * the first to the last. */
enum { WEIR_LOAD_HELLO_BYTES = 32, WEIR_LOAD_TOLD_BYTES = 16 };
enum weir_load_ask {
    WEIR_LOAD_ASK_ANSWER = 1,
    WEIR_LOAD_ASK_TAKE,
    WEIR_LOAD_ASK_SEND,
    WEIR_LOAD_ASK_BOTH
};

enum weir_load_way {
    WEIR_LOAD_UP,   /* stream: we send */
    WEIR_LOAD_DOWN, /* the server sends */
    WEIR_LOAD_BOTH
};

struct weir_load_progress;

/* What a handshake of TLS came to: who makes .tls tells it. */
typedef struct weir_load_secured {
    uint16_t version; /* 0x0303: TLS 1.2, 0x0304: TLS 1.3 */
    bool resumed;     /* an earlier session went on */
    char cipher[48], group[32], alpn[32];
    uint64_t handshake_ns; /* from the established connection on */
} weir_load_secured;

/* Zero means the default. */
typedef struct weir_load_options {
    enum weir_load_kind kind;
    const char *const *urls; /* NULL-terminated; http://, tcp:// or unix:, with .tls also https://
                              * and tls://, of datagrams udp:// or unix-dgram:; names are
                              * resolved: .tls must know whose certificate is to come */
    const uint32_t *weights; /* of requests to each URL; NULL: 1 each */
    const char *unix_socket; /* HTTP: connect to this unix: address, whatever the URLs say */
    const char *const *sources; /* NULL-terminated: addresses to connect from, used in turn, as
                                 * "127.0.0.2", or ranges of them: "127.0.0.0/16" */
    unsigned loops;             /* threads; default: half of the CPUs, at most one a connection */
    unsigned conns;             /* in all; default 64 */
    unsigned pipeline;          /* requests in flight on a connection; default 1, at most 1024,
                                 * which is the default of datagrams in the open loop */
    uint64_t requests;          /* end after so many; default: no limit */
    uint64_t duration_ns; /* measured time; default 10 s, without limit when requests is set */
    uint64_t warmup_ns;   /* before it, not counted */
    uint64_t ramp_ns;     /* opening the connections is spread over so long */
    uint64_t timeout_ns;  /* for connecting, and for an answer; default 10 s. Of datagrams 1 s: an
                           * answer that has not come by then is lost */
    uint64_t interval_ns; /* between two reports; default 1 s */
    double rate;          /* requests a second in all: open loop */
    double rate_per_conn; /* requests a second on each connection: open loop */
    bool poisson;         /* at random intervals, not even ones */
    bool close;           /* a connection for each request */
    bool reset;           /* connections are ended by a reset: no TIME_WAIT */
    bool plain;           /* the server is any echo or discard server, not weir bench serve */

    const char *method;         /* HTTP: default GET, or POST with a body */
    const char *const *headers; /* NULL-terminated: "Name: value" */
    weir_view body;             /* HTTP: what each request carries; RAW: the request itself */
    weir_view raw_end;          /* RAW: the answer ends with these bytes; empty: answer_bytes */
    uint64_t request_bytes;     /* RR: default 64; STREAM: bytes a write, default 256 KiB; of a
                                 * datagram: 32 to 65507, default 64, of a stream 1400 */
    uint64_t answer_bytes;      /* RR, RAW: default as request_bytes */
    uint64_t stream_bytes;      /* STREAM: end after so many on each connection and way */
    uint64_t stream_rate;       /* STREAM: bytes a second on each connection and way, below 2^48 */
    enum weir_load_way way;
    bool hold;        /* connections are held, and send nothing but at their rate_per_conn */
    bool prove;       /* hold: one request on each as it opens, before others may connect,
                       * and one when all are open */
    uint64_t life_ns; /* a connection is closed and opened anew after so long; 0: never */

    const weir_layer *tls; /* what https:// and tls:// are spoken with; used until the load ends */
    /* Of .tls: what was settled on a connection; 0 or an error. On its loop's thread. */
    int (*tls_look)(weir_conn conn, weir_load_secured *out);

    weir_socket_options socket;
    weir_loop_options loop;
    void (*on_interval)(const struct weir_load_progress *progress,
                        void *user); /* caller's thread */
    void *user;
} weir_load_options;

/* XX(field, unit, what) */
#define WEIR_LOAD_COUNTS(XX)                                                             \
    XX(requests, "requests", "answered in full")                                         \
    XX(sent, "requests", "sent")                                                         \
    XX(connects, "connections", "established")                                           \
    XX(handshakes, "handshakes", "of TLS, whole ones")                                   \
    XX(resumed, "handshakes", "of TLS that went on with an earlier session")             \
    XX(closed, "connections", "ended by the server between two requests")                \
    XX(sent_bytes, "bytes", "sent")                                                      \
    XX(received_bytes, "bytes", "received")                                              \
    XX(body_bytes, "bytes", "received as bodies of answers")                             \
    XX(status_2xx, "answers", "with a status of 2xx")                                    \
    XX(status_3xx, "answers", "with a status of 3xx")                                    \
    XX(status_4xx, "answers", "with a status of 4xx")                                    \
    XX(status_5xx, "answers", "with a status of 5xx")                                    \
    XX(status_other, "answers", "with another status")                                   \
    XX(resent, "requests", "sent again: the connection had been announced to end")       \
    XX(late, "requests", "open loop: sent over 1 ms late though a connection was free")  \
    XX(waited, "requests", "open loop: sent late because every connection was busy")     \
    XX(missed, "requests", "open loop: due in the measured time and never sent")         \
    XX(unfinished, "requests", "sent in the measured time, and not answered at its end") \
    XX(lost, "datagrams", "not answered in time; of a stream: not arrived")              \
    XX(overdue, "datagrams", "answers that came when they had been taken for lost")      \
    XX(duplicates, "datagrams", "that came once more")                                   \
    XX(reordered, "datagrams", "that came behind one sent later")                        \
    XX(dropped, "datagrams", "lost here: the receive buffer of a socket was full")       \
    XX(received_datagrams, "datagrams", "received")                                      \
    XX(sent_wire_bytes, "bytes", "sent, with the heads of Ethernet, IP and UDP")         \
    XX(received_wire_bytes, "bytes", "received, with the same heads")

/* Requests and connections that failed, by kind. */
#define WEIR_LOAD_ERRORS(XX)                          \
    XX(refused, "connection refused")                 \
    XX(unreachable, "host or network unreachable")    \
    XX(connect_timeout, "no connection in time")      \
    XX(connect_failed, "connecting failed otherwise") \
    XX(ports, "no local port left")                   \
    XX(descriptors, "no descriptor left")             \
    XX(reset, "connection reset by the server")       \
    XX(cut, "connection ended before the answer did") \
    XX(timeout, "no answer in time")                  \
    XX(malformed, "answer not understood")            \
    XX(local, "failed on this side")                  \
    XX(handshake, "TLS handshake failed")             \
    XX(certificate, "certificate not accepted")       \
    XX(handshake_timeout, "no TLS handshake in time") \
    XX(tls, "TLS failed behind the handshake")

#define WEIR_LOAD_COUNT_FIELD(field, unit, what) uint64_t field;
#define WEIR_LOAD_ERROR_FIELD(field, what)       uint64_t error_##field;
typedef struct weir_load_counts {
    WEIR_LOAD_COUNTS(WEIR_LOAD_COUNT_FIELD)
    WEIR_LOAD_ERRORS(WEIR_LOAD_ERROR_FIELD)
} weir_load_counts;
#undef WEIR_LOAD_COUNT_FIELD
#undef WEIR_LOAD_ERROR_FIELD

typedef struct weir_load_count_row {
    const char *name; /* "requests"; of errors "refused" */
    const char *unit;
    const char *what;
    uint32_t offset; /* in weir_load_counts */
    bool error;
} weir_load_count_row;

/* Latencies of one kind, nanoseconds. */
typedef struct weir_load_times {
    uint64_t count, min, mean, max, deviation;
    uint64_t p50, p75, p90, p95, p99, p999, p9999, p99999;
} weir_load_times;

enum weir_load_phase {
    WEIR_LOAD_CONNECTING,
    WEIR_LOAD_WARMING,
    WEIR_LOAD_MEASURING,
    WEIR_LOAD_ENDING
};

/* One interval of a run. */
typedef struct weir_load_progress {
    enum weir_load_phase phase;
    uint64_t begin_ns, end_ns; /* of the interval, from the start of the load */
    uint64_t total_ns;         /* of warm-up and measured time; WEIR_NEVER: not known */
    uint64_t open_conns;
    weir_load_counts counts; /* of this interval */
    weir_load_times times;   /* closed loop: service, open loop: response */
    weir_load_times handshake;
} weir_load_progress;

/* What each loop did, in the measured time. */
typedef struct weir_load_loop {
    uint64_t cpu_ns;      /* its thread's */
    uint64_t runqueue_ns; /* its thread was ready, and waited for a CPU */
    uint64_t slip_max_ns; /* the latest that a timer fired */
    uint64_t turns, syscalls;
    uint64_t requests;
    char backend[16];
} weir_load_loop;

/* TCP_INFO of some of the connections at the end, medians over them. */
typedef struct weir_load_tcp {
    uint64_t samples;
    uint64_t rtt_us, rtt_max_us, rttvar_us, cwnd_segments, delivery_bytes_s;
    uint64_t resent_segments; /* sum */
    /* What limits the flow: sums over the samples, from the beginning of each connection. While a
     * sender is busy, the receiver's window is full, or its own buffer is too small, or it is the
     * network (or pacing) that takes no more; in the rest of the age there was nothing to send. */
    uint64_t age_ms, busy_ms, receiver_limited_ms, buffer_limited_ms;
    uint64_t app_limited; /* samples whose delivery rate tells of the application only */
} weir_load_tcp;

/* A way of streams of datagrams from both ends: sums over those whose server told what it saw. */
typedef struct weir_load_flow {
    uint64_t streams;            /* of which something is known */
    uint64_t silent;             /* whose server did not tell */
    uint64_t sent, received;     /* datagrams in the measured time, each once */
    uint64_t lost;               /* the difference */
    uint64_t reordered;          /* came behind one sent later */
    uint64_t duplicates;         /* came once more */
    uint64_t jitter_ns;          /* RFC 3550 6.4.1, at the end: mean over the streams */
    uint64_t jitter_max_ns;      /* and the largest */
    uint64_t sent_s, received_s; /* datagrams a second, each by the clock of its end */
    uint64_t sent_bytes_s, received_bytes_s;
} weir_load_flow;

/* Handshakes that settled the same: of all connections, those opened before the measured time too.
 */
typedef struct weir_load_secured_row {
    weir_load_secured what; /* but its handshake_ns and .resumed */
    uint64_t count, resumed;
} weir_load_secured_row;

enum { WEIR_LOAD_SECURED_ROWS = 8 };
enum { WEIR_LOAD_REASONS_MAX = 8, WEIR_LOAD_REASON_BYTES = 200 };

typedef struct weir_load_result {
    weir_load_counts counts;
    uint64_t measured_ns;
    uint64_t connect_phase_ns; /* until all connections were open */
    uint64_t open_conns;       /* at the end of the measured time */
    unsigned loops, conns, pipeline;
    double rate;                                /* asked for; 0: closed loop */
    bool interrupted;                           /* weir_load_stop ended it */
    weir_load_times service, response, connect; /* response: open loop only */
    weir_load_times handshake;                  /* of TLS; not part of connect */
    weir_load_secured_row secured[WEIR_LOAD_SECURED_ROWS];
    unsigned secured_rows;
    const weir_load_loop *loop_rows;
    const weir_load_progress *intervals; /* of the measured time */
    unsigned interval_count;
    weir_load_tcp tcp;
    uint64_t server_bytes;   /* stream up: what weir bench serve says that it received */
    weir_load_flow up, down; /* streams of datagrams */
    uint64_t datagram_bytes, answer_bytes;  /* of datagrams: of one, and of an answer; else 0 */
    uint64_t wire_bytes, answer_wire_bytes; /* the same on Ethernet; 0: unix */
    unsigned invalid; /* reasons why the figures tell about this side, not about the server */
    char reasons[WEIR_LOAD_REASONS_MAX][WEIR_LOAD_REASON_BYTES];
    char malformed[128]; /* the first answer that was not understood: why */
} weir_load_result;

enum weir_load_which {
    WEIR_LOAD_SERVICE,
    WEIR_LOAD_RESPONSE,
    WEIR_LOAD_CONNECT,
    WEIR_LOAD_HANDSHAKE
};

/* One cell of a histogram that is not empty: `count` values up to `value` nanoseconds. */
typedef void weir_load_cell_fn(uint64_t value, uint64_t count, void *arg);

WEIR_BEGIN

WEIR_API int weir__load_run(const weir_load_options *options, size_t size,
                            weir_load_result **result, char *why, size_t why_size);
/* Runs a load to its end and blocks meanwhile. 0 with *result, which weir_load_free takes; or a
 * negative error with cause and fix in `why`: nothing could be measured. One at a time in a
 * process; not on a loop's thread. */
static inline int weir_load_run(const weir_load_options *options, weir_load_result **result,
                                char *why, size_t why_size)
{
    return weir__load_run(options, sizeof *options, result, why, why_size);
}
WEIR_API void weir_load_free(weir_load_result *result);

/* Ends the load that is running, with what it has measured so far. Any thread; async-signal-safe.
 */
WEIR_API void weir_load_stop(void);

/* The value below or at which `quantile` (0 to 1) of the times lie, nanoseconds; at most 1/1024 too
 * high. 0 when there are none. */
WEIR_API uint64_t weir_load_quantile(const weir_load_result *result, enum weir_load_which which,
                                     double quantile);
/* Calls fn for each cell of a histogram that is not empty, in order. */
WEIR_API void weir_load_cells(const weir_load_result *result, enum weir_load_which which,
                              weir_load_cell_fn *fn, void *arg);

/* The rows of WEIR_LOAD_COUNTS and then of WEIR_LOAD_ERRORS; *count of them. Any thread. */
WEIR_API const weir_load_count_row *weir_load_count_rows(unsigned *count);
/* Of all kinds together. */
WEIR_API uint64_t weir_load_errors(const weir_load_counts *counts);

WEIR_END
#endif
