/* The inside of a load: what is sent where, the loops, their connections, and what they count. */
#ifndef WEIR_APP_LOAD_LOAD_H
#define WEIR_APP_LOAD_LOAD_H

#include <pthread.h>
#include <stdatomic.h>

#include <weir/load.h>
#include <weir/load_datagram.h>
#include <weir/weir.h>

#include "base/histogram.h"
#include "base/random.h"
#include "proto/http1_reply.h"

enum {
    LOAD_LOOPS_MAX = 256,
    LOAD_CONNS_MAX = 4 << 20,
    LOAD_PIPELINE_MAX = 1024,
    LOAD_GROUPS_MAX = 64,
    LOAD_CYCLE_MAX = 1024,      /* requests before the order of several URLs repeats */
    LOAD_CONNECTING_MAX = 256,  /* of a loop, at the same time; the same for other windows */
    LOAD_CONNECTING_ALL = 4096, /* of all loops: as many as a listener's queue may hold */
    LOAD_CONNECTING_LEAST = 16,
    LOAD_INTERVALS_MAX = 86400,    /* that a result keeps */
    LOAD_TCP_SAMPLES = 64,         /* of a loop */
    LOAD_MARKER_MAX = 255,         /* bytes of raw_end */
    LOAD_DGRAM_STREAM_BYTES = 1400 /* fits an Ethernet frame with IPv6, and a tunnel's head */
};
#define LOAD_BYTES_MAX        (1ull << 30) /* of all requests as they are laid out */
#define LOAD_DURATION_NS      (10 * WEIR_S)
#define LOAD_TIMEOUT_NS       (10 * WEIR_S)
#define LOAD_DGRAM_TIMEOUT_NS WEIR_S

/* ---- what is sent where (plan.c, request.c) ---- */

/* An address and the requests to it, in the order in which they are sent: any run of up to
 * `pipeline` of them lies in one piece. */
struct load_group {
    char url[WEIR_ADDRESS_TEXT_MAX]; /* to connect to */
    char shown[WEIR_ADDRESS_TEXT_MAX];
    uint32_t weight, cycle;
    bool secure; /* https:// or tls:// */
    uint8_t *bytes;
    uint32_t *offsets; /* cycle + pipeline + 1 */
    uint8_t *methods;  /* cycle; enum http_method */
};

/* Addresses to connect from: so many from the first on. */
struct load_source {
    weir_address first;
    uint32_t count;
};

struct load_why {
    char *text;
    size_t size;
};

struct load;
struct load_conn;
struct load_dgram; /* dgram.h */
struct load_dgram_loop;

/* options.c */
void load_options_default(weir_load_options *options);
int load_options_check(const weir_load_options *options, const struct load_why *why);

int load_plan_make(struct load *load, const struct load_why *why);
void load_plan_free(struct load *load);
/* Writes the text of an error and returns it. */
int load_fail(const struct load_why *why, int error, const char *format, ...) WEIR_PRINTF(3, 4);

int load_sources_make(struct load *load, const struct load_why *why);
/* The address for the n-th connect of a connection; NULL: any. */
const weir_address *load_source_of(const struct load_conn *conn, weir_address *out);
/* Writes what weir bench serve wants to know. */
void load_hello(const struct load *load, uint8_t out[WEIR_LOAD_HELLO_BYTES]);
bool load_says_hello(const weir_load_options *options);

/* One request, as it goes out. */
struct load_request {
    uint8_t *bytes;
    size_t size;
    uint8_t method;
};
/* `host` and `target` need not end with NUL. */
int load_request_make(const weir_load_options *options, struct http_text host,
                      struct http_text target, struct load_request *out,
                      const struct load_why *why);

/* ---- connections ---- */

struct load_slot {
    uint64_t due_ns, sent_ns;
};

enum load_state { LOAD_NONE, LOAD_CONNECTING, LOAD_OPEN, LOAD_LEAVING };

struct load_conn {
    weir_conn conn;
    struct load_loop *loop;
    const struct load_group *group;
    struct load_slot *slots;      /* a ring: requests in flight */
    struct load_conn *next;       /* in the line of those that may send */
    uint32_t first, in_flight;    /* in slots */
    uint32_t sending, reading;    /* where it is in its group's cycle */
    uint8_t state;                /* enum load_state */
    uint8_t failures;             /* connects that failed in a row */
    uint8_t error;                /* enum load_error, when we abort it */
    bool lined_up, announced;     /* in that line; the server announced the end */
    bool settled;                 /* its first connect has ended */
    bool greeting;                /* proven: its first request is not answered yet */
    bool ended_by_us;             /* its end was asked for as part of the load's */
    bool sampled;                 /* its TCP_INFO was taken */
    bool owes;                    /* it is connecting for the request that was due at due_ns */
    uint64_t connect_ns, open_ns; /* when that began; when it was established */
    uint64_t got;                 /* bytes of the answer, or matched of its end marker */
    uint64_t due_ns, free_ns;     /* with a rate of its own: the next; since when it may send */
    double due_part;              /* and the same with the part below a nanosecond, from start */
    uint64_t moved, lent_bytes;   /* stream: given to the connection; and not taken yet */
    uint32_t lent, turns;         /* stream: pieces on their way; connects, to choose a source */
    uint8_t told[WEIR_LOAD_TOLD_BYTES];
    uint32_t told_bytes;
    struct http1_reply reply;
    weir_timer timer; /* trying again; a rate of its own */
};

#define LOAD_ERROR_ENUM(field, what) LOAD_ERROR_##field,
enum load_error { LOAD_ERROR_none, WEIR_LOAD_ERRORS(LOAD_ERROR_ENUM) };
#undef LOAD_ERROR_ENUM

/* ---- loops ---- */

struct load_times {
    struct histogram service, response, connect, handshake;
};

/* What the caller's thread may read, under the load's mutex. */
struct load_shared {
    weir_load_counts counts;
    struct histogram times, handshake;
    uint64_t open_conns;
    enum load_error connect_error;
    bool settled, finished;
};

/* Where the self check begins and ends. */
struct load_mark {
    uint64_t at_ns, cpu_ns, runqueue_ns;
    weir_loop_stats stats;
};

struct load_loop {
    struct load *load;
    weir_loop *loop;
    char backend[16];
    unsigned index;
    pthread_t thread;
    bool has_thread;
    weir_service service;
    struct load_conn *conns;
    struct load_slot *slots;
    size_t conns_bytes, slots_bytes;
    uint32_t conn_count, slot_mask;
    enum weir_load_phase phase;
    bool running, quitting; /* requests may be sent; connections are not made anew */

    uint32_t connecting, settled, open, alive;
    uint32_t window;  /* connecting, proving or leaving at the same time */
    uint32_t leaving; /* at the end of the load: asked to end, and not gone */
    uint32_t left;    /* alive when that was last looked at */
    uint32_t ramp_next, prove_next, leave_next;
    uint64_t in_flight, quota; /* requests: being waited for; that may still be sent */
    uint64_t quota_share;      /* of the measured time; the warm-up has none */

    /* an open loop's line of due times */
    struct load_conn *free_first, *free_last;
    uint64_t free_since_ns;
    uint64_t due_ns;
    double step_ns, due_part; /* between two; due_ns with its part below 1, from the start */
    uint64_t armed_ns;        /* the pace timer; 0: it is not */
    uint64_t looked_ns;       /* for time-outs */
    struct random random;

    uint64_t zero_ns, start_ns, measure_ns, end_ns; /* thread; load; measured time */
    weir_load_counts counts, base, final;
    struct load_mark begun, ended;
    struct load_times *now, *total;
    struct http1_reply_memo memo;
    char malformed[128];
    weir_tcp_info *samples;
    uint32_t sample_count;
    uint64_t sample_age_ms; /* of those connections together */
    uint64_t open_at_end;
    weir_load_secured_row secured[WEIR_LOAD_SECURED_ROWS];
    unsigned secured_count;
    enum load_error connect_error; /* the last one */
    uint64_t server_bytes, server_ns;
    struct load_dgram_loop *dgrams; /* NULL: it has connections */

    weir_timer edge, pace, interval, scan, ramp, grace;
    weir_task start_task, go_task, stop_task;
    struct load_shared shared;
};

struct load {
    weir_load_options options;
    struct load_group *groups;
    unsigned group_count;
    uint8_t *dealt; /* the group of each connection */
    struct load_source *sources;
    unsigned source_count;
    uint64_t source_sum; /* addresses in all of them */
    uint64_t id;         /* tells this load's connections from others' */
    uint8_t *pattern;    /* what a stream sends */
    struct load_loop **loops;
    unsigned loop_count;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct histogram *window; /* of an interval */
    bool secure;              /* there is an address of TLS */
    bool stopped, stop_sent;
    uint8_t marker_back[LOAD_MARKER_MAX]; /* of raw_end: see take.c */
};

/* The result with what only the library reads. */
struct load_result {
    weir_load_result told;
    struct load_times times;
    weir_load_loop *rows;
    weir_load_progress *intervals;
    unsigned interval_room;
};

static inline bool load_is_dgram(const weir_load_options *options)
{
    return options->kind == WEIR_LOAD_DGRAM_RR || options->kind == WEIR_LOAD_DGRAM_STREAM;
}

/* Of bytes, and not of requests. */
static inline bool load_is_stream(const weir_load_options *options)
{
    return options->kind == WEIR_LOAD_STREAM || options->kind == WEIR_LOAD_DGRAM_STREAM;
}

static inline bool load_is_open_loop(const weir_load_options *options)
{
    return options->rate > 0 || options->rate_per_conn > 0;
}

/* loop.c: on the loop's thread. */
void load_loop_start(weir_task *task, void *arg); /* opens connections */
void load_loop_go(weir_task *task, void *arg);    /* starts the load */
void load_loop_stop(weir_task *task, void *arg);  /* ends it early */
/* A connection was established or has failed for the first time. */
void load_loop_settled(struct load_loop *loop);
/* Takes the TCP_INFO of one of the connections that the result tells of, once. */
void load_loop_sample(struct load_conn *conn);
/* A request came back or was lost: perhaps it was the last one. */
void load_loop_check(struct load_loop *loop);
void load_loop_gone(struct load_loop *loop);

/* conn.c */
void load_conn_connect(struct load_conn *conn);
/* Sends the next `count` requests, due at that time. */
void load_conn_send(struct load_conn *conn, uint32_t count, uint64_t due_ns, uint64_t now_ns);
/* Ends it with an error that each request in flight is counted with. */
void load_conn_fail(struct load_conn *conn, enum load_error error);
/* It is open and the load runs: sends what it may. */
void load_conn_begin(struct load_conn *conn, uint64_t now_ns);
/* An answer is there. */
void load_conn_answered(struct load_conn *conn, uint64_t now_ns);
void load_count_error(struct load_loop *loop, enum load_error error, uint64_t times);
/* Records the times of a request that was answered. */
void load_note_answer(struct load_loop *loop, uint64_t due_ns, uint64_t sent_ns, uint64_t now_ns);
extern const weir_service load_service;

/* stream.c */
extern const weir_service load_stream_service;
void load_stream_begin(struct load_conn *conn, uint64_t now_ns);
/* Ends what is sent; false: there is nothing to wait for. */
bool load_stream_finish(struct load_conn *conn);

/* What conn.c and stream.c share. */
void load_conn_opened(struct load_conn *conn, weir_conn handle, uint64_t now_ns);
/* Its connect failed, or it has ended: what is known of it is forgotten. */
void load_conn_connect_failed(struct load_conn *conn, weir_end end);
enum load_error load_end_error(const struct load_conn *conn, weir_end end);

/* secure.c: the times of a connection that is open now, and what its handshake settled. */
void load_note_opened(struct load_conn *conn, weir_conn handle, uint64_t now_ns);
void load_secured_sum(const struct load_loop *loop, weir_load_result *told);
/* What an end before the opening means of TLS, or of time; LOAD_ERROR_none: nothing. */
enum load_error load_handshake_error(weir_end end);

/* take.c: gives the bytes that came to the answers that they belong to. False: the connection was
 * failed or leaves; the rest is not looked at. */
bool load_take(struct load_conn *conn, const uint8_t *data, size_t size, uint64_t now_ns);
/* The server has ended the connection: true when that was the end of an answer. */
bool load_take_end(struct load_conn *conn, uint64_t now_ns);
void load_marker_begin(struct load *load);

/* pace.c: the open loop. */
void load_pace_begin(struct load_loop *loop);
/* Sends what is due, as far as connections are free, and sets the timer for the next. */
void load_pace(struct load_loop *loop, uint64_t now_ns);
void load_pace_conn(struct load_conn *conn, uint64_t now_ns);
/* The connection may send again. */
void load_pace_free(struct load_conn *conn, uint64_t now_ns);
/* What was due until then and never left: counted, and recorded with the time it has waited. */
void load_pace_missed(struct load_loop *loop, uint64_t end_ns);

/* check.c */
void load_mark_take(struct load_loop *loop, struct load_mark *mark);
void load_check(const struct load *load, struct load_result *result);

/* times.c */
void load_times_of(const struct histogram *from, weir_load_times *out);
void load_counts_add(weir_load_counts *sum, const weir_load_counts *counts, int sign);

#endif
