/* iperf3's protocol, as server and as client: tests of throughput with the iperf3 of others at the
 * other end. Reports are iperf3's, as text or as JSON. */
#ifndef WEIR_IPERF_H
#define WEIR_IPERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/export.h>
#include <weir/loop.h>

enum { WEIR_IPERF_PORT = 5201, WEIR_IPERF_STREAMS_MAX = 128 };

/* A piece of a report: lines of text, or one JSON document. On the thread that runs the test. */
typedef void weir_iperf_print_fn(const char *text, size_t size, void *user);

/* Zero means the default. */
typedef struct weir_iperf_options {
    const char *host;      /* client: whom to ask, by name or address */
    const char *bind;      /* server: the address to listen on; client: to come from */
    uint16_t port;         /* default 5201 */
    uint8_t family;        /* 4 or 6: only this one */
    uint8_t tos;           /* client: of the streams, see WEIR_DSCP */
    bool json;             /* reports are JSON */
    bool one_off;          /* server: end after one test */
    bool udp;              /* client, as everything below */
    bool reverse;          /* the server sends */
    bool both;             /* both send */
    bool counters64;       /* UDP: datagrams are counted in 64 bits */
    bool server_output;    /* fetch the server's report */
    bool nodelay;          /* TCP: small pieces are not held back */
    uint32_t streams;      /* in each direction; default 1 */
    uint32_t block_bytes;  /* of a write, default 128 KiB; of a datagram, default as fits */
    uint32_t burst;        /* UDP: datagrams sent at once, to keep the rate; default 1 */
    uint32_t window_bytes; /* of the sockets' buffers */
    uint32_t connect_ms;   /* for connecting, and for each step of the conversation; default 10 s */
    uint64_t time_ns;      /* default 10 s */
    uint64_t omit_ns;      /* at the beginning, not counted */
    uint64_t bytes;        /* end after so many in all, instead */
    uint64_t blocks;       /* end after so many writes or datagrams in all, instead */
    uint64_t rate_bits;    /* a second, of each stream; default 1 Mbit (UDP), or no limit (TCP);
                            * WEIR_NEVER: no limit */
    uint64_t interval_ns;  /* of reports; default 1 s; WEIR_NEVER: none but the last. Server too */
    const char *congestion;     /* TCP congestion control of our side, by name */
    const char *title;          /* stands in the JSON of both sides */
    weir_loop_options loop;     /* server too */
    weir_iperf_print_fn *print; /* server too */
    void *user;
} weir_iperf_options;

WEIR_BEGIN

WEIR_API int weir__iperf_client(const weir_iperf_options *options, size_t size, char *why,
                                size_t why_size);
/* Runs one test against a server and blocks meanwhile. 0, or a negative error with its cause in
 * `why`: -ECONNREFUSED and the like; WEIR_EPROTO: what the server said was not understood;
 * -ECONNABORTED: the server refused or ended the test; -EINTR: weir_iperf_stop. Not on a loop's
 * thread; one at a time in a process. */
static inline int weir_iperf_client(const weir_iperf_options *options, char *why, size_t why_size)
{
    return weir__iperf_client(options, sizeof *options, why, why_size);
}

WEIR_API int weir__iperf_serve(const weir_iperf_options *options, size_t size, char *why,
                               size_t why_size);
/* Serves tests until weir_iperf_stop, any number at the same time, but 64 at most. Their reports
 * are told when they have ended if there were several, or else line by line. 0, or a negative error
 * with its cause in `why`. The same rules. */
static inline int weir_iperf_serve(const weir_iperf_options *options, char *why, size_t why_size)
{
    return weir__iperf_serve(options, sizeof *options, why, why_size);
}

/* Ends the one that is running. A client tells its server, and reports what it has. Any thread;
 * async-signal-safe. */
WEIR_API void weir_iperf_stop(void);

WEIR_END
#endif
