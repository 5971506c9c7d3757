/* The inside of a connection: a record of 128 bytes that is all an idle one costs, and a busy half
 * that exists only while output is queued, input is held, or something waits. */
#ifndef WEIR_NET_CONN_H
#define WEIR_NET_CONN_H

#include <weir/conn.h>
#include <weir/error.h>
#include <weir/service.h>
#include <weir/stats.h>

#include "base/list.h"
#include "base/memory.h"
#include "base/slab.h"
#include "base/wheel.h"
#include "io/io.h"
#include "loop/limits.h"
#include "loop/loop.h"

/* Where a connection is in its life; only ever moves down this list. */
enum conn_phase {
    CONN_FREE,
    CONN_CONNECTING, /* connect(2) is in flight */
    CONN_OPENING,    /* established; a filter's handshake is going on */
    CONN_OPEN,
    CONN_FLUSHING,  /* weir_close: output is being sent */
    CONN_LINGERING, /* our end is sent; waiting for the peer's */
    CONN_STOPPING,  /* waiting for the final completions of what was canceled */
    CONN_CLOSING,   /* the descriptor is being closed */
    CONN_CLOSED     /* on_close and the end of the record come with the next flush */
};

enum conn_flags {
    CONN_RECV_ARMED = 1 << 0,    /* a receive is in flight */
    CONN_RECV_CANCELED = 1 << 1, /* and has been asked to end */
    CONN_SENDING = 1 << 2,       /* a send or move is in flight */
    CONN_DIRTY = 1 << 3,         /* in the list of those to be flushed */
    CONN_ERROR_HELD = 1 << 4,    /* `error` came while paused and is not told yet */
    CONN_PAUSED_USER = 1 << 5,   /* weir_pause */
    CONN_PAUSED_MARK = 1 << 6,   /* output is above the soft mark */
    CONN_PAUSED_BUDGET = 1 << 7, /* the loop is over its memory budget */
    CONN_PAUSED_PROTO = 1 << 8,  /* the protocol waits for its handler */
    CONN_PAUSED_PIPE = 1 << 9,   /* the other end of a pipe is slower */
    CONN_PEER_ENDED = 1 << 10,   /* the kernel told the peer's end */
    CONN_END_TOLD = 1 << 11,     /* and the consumer knows it */
    CONN_DRAIN_OWED = 1 << 12,   /* on_drain is to be called when output has fallen */
    CONN_OUTPUT_SHUT = 1 << 13,  /* no more sends: weir_finish, weir_close */
    CONN_FIN_SENT = 1 << 14,     /* our end is on the wire */
    CONN_OPENED = 1 << 15,       /* on_open was called */
    CONN_BLOCKED = 1 << 16,      /* the last send was short */
    CONN_LAST_INPUT = 1 << 17,   /* the protocol expects no more input */
    CONN_DRAINED = 1 << 18,      /* the last read emptied the socket */
    CONN_RESET = 1 << 19,        /* close abortively */
    CONN_WORKING = 1 << 20,      /* the protocol is busy with a request */
    CONN_CLIENT = 1 << 21,
    CONN_FILTERED = 1 << 22,
    CONN_REFUSED = 1 << 23,       /* beyond the limit: only told so */
    CONN_IN_CONSUMER = 1 << 24,   /* its handler is running */
    CONN_TORN = 1 << 25,          /* the stream is broken in the middle: only close is left */
    CONN_SEND_CANCELED = 1 << 27, /* the send in flight has been asked to end */
    CONN_CONNECT_SENT = 1 << 28,  /* what is in flight as a send is the connect */
    CONN_UP_ENDED = 1 << 29,     /* the consumer's input has ended: as the wire's, or by a filter */
    CONN_CONNECT_DONE = 1 << 26, /* connected at once: told in the next turn */
    CONN_WIRE_SHUT = 1 << 30,    /* filters passed our end down to the wire */
    CONN_LINED_UP = 1u << 31,    /* its receive was armed from the line for receive blocks */
};
/* No input for the consumer. Whom the budget has paused reads nothing more from the socket, but
 * what is held is delivered, because that gives memory back. */
#define CONN_PAUSED_INPUT \
    (CONN_PAUSED_USER | CONN_PAUSED_MARK | CONN_PAUSED_PROTO | CONN_PAUSED_PIPE)
#define CONN_PAUSED (CONN_PAUSED_INPUT | CONN_PAUSED_BUDGET)
/* Others than the peer have to go on first. */
#define CONN_PAUSED_WAITING \
    (CONN_PAUSED_BUDGET | CONN_PAUSED_PROTO | CONN_PAUSED_PIPE | CONN_WORKING)

/* The protocol expects no more input, and the last read emptied the socket: it can be closed
 * without waiting for the peer. */
#define conn_quiet(c) \
    ((conn_flags(c) & (CONN_LAST_INPUT | CONN_DRAINED)) == (CONN_LAST_INPUT | CONN_DRAINED))

struct busy;
struct service;

struct conn {
    struct slab_head head; /* generation; next_free holds the flags while it lives */
    struct io_fd fd;
    struct wheel_node timer; /* the earliest deadline */
    void *user;              /* weir_conn_user */
    struct busy *busy;       /* or NULL */
    struct service *service; /* the version of configuration that it was accepted under */
    void *session;           /* .conn_size bytes, or the protocol's record, or NULL */
    uint64_t received_bytes, sent_bytes;
    uint32_t slot;
    uint32_t list_next, list_prev; /* slot + 1 in one of the lists of struct net; 0: none */
    uint32_t opened_ms, read_ms, write_ms;
    uint32_t queued_bytes; /* of output held for the caller */
    uint8_t phase, why, deadline, list;
    int32_t error;       /* the first one; with CONN_ERROR_HELD not told yet */
    uint32_t dirty_next; /* slot + 1 of the next one to be flushed */
};
_Static_assert(sizeof(struct conn) == 128, "an idle connection costs 128 bytes");

static inline uint32_t *conn_flags_of(struct conn *c)
{
    return &c->head.next_free;
}
#define conn_flags(c) (*conn_flags_of(c))

/* When on_idle was called last; behind the session's bytes, for services that have such times. */
struct idle_told {
    uint32_t reader_ms, writer_ms, both_ms;
};

/* One piece of output. */
enum segment_kind {
    SEGMENT_COPY,
    SEGMENT_STATIC,
    SEGMENT_BLOCK,
    SEGMENT_LENT,
    SEGMENT_FILE,
    SEGMENT_PULL,
    SEGMENT_FDS
};

struct segment {
    const uint8_t *data;
    uint64_t size; /* bytes left; of a file too. A pull source: 0 */
    uint8_t kind;
    uint8_t flags;
    uint16_t block; /* BLOCK */
    uint32_t index; /* LENT: number of the loan. COPY: bytes used in the chunk */
    union {
        struct { /* COPY */
            uint8_t *chunk;
            uint32_t room;
        };
        struct source *source; /* FILE, PULL, FDS */
    };
};

struct source { /* what does not fit a segment */
    int64_t offset;
    weir_pull_fn *pull;
    void *arg;
    int fd;
    bool own_fd, waits, woken, ended;
    uint8_t fd_count;
    int fds[LIMIT_FDS_MAX];
};

enum {
    OUTPUT_FIRST = 4,
    OUTPUT_COPY_BELOW = 256 /* a reference costs more than copying a few bytes */
};

/* An ordered queue of segments: what waits for the wire, or for a filter. */
struct output {
    struct segment first[OUTPUT_FIRST];
    struct segment *segments; /* first, or a chunk */
    size_t room;              /* bytes of the chunk, when it is one */
    uint32_t head, count, max;
    uint64_t unsent_bytes; /* in all, files and static memory too; not pull sources */
};

struct busy {
    struct output out; /* for the wire */
    uint8_t *held;     /* input not consumed yet */
    size_t held_room;
    uint32_t held_from, held_to;
    uint64_t write_mark_bytes; /* sent_bytes when the write deadline's interval began */
    int64_t write_look_bytes;  /* what the peer had taken, a part of the interval later; or -1 */
    uint32_t scanned;          /* of held input: the framing looked so far */
    uint32_t write_mark_ms;
    bool stalling;           /* output is pending, the interval runs */
    bool looked;             /* write_look_bytes is known */
    bool heard;              /* filters have passed bytes up */
    uint32_t inflight_bytes; /* of the send in flight */
    bool inflight_move;      /* it is a move, not a send */
    struct filter_stack *filters;
    bool secure;        /* its service's .tls is to be its lowest filter: until that is open */
    bool via;           /* its service's .via are to be below even that: until they are open */
    uint16_t aim_port;  /* with .via: the port of its URL */
    weir_conn piped;    /* the other end of a pipe */
    uint16_t next_port; /* while it connects to localhost: to be tried on 127.0.0.1; 0: nothing */
    struct race *race;  /* while it connects to a name; or NULL */
    char *host;         /* that its URL named, for filters; NULL: none, or an address */
};

/* Who consumes a connection's bytes: handlers of events, frames, HTTP. */
struct consumer {
    /* The connection is established (after its filters). */
    void (*open)(weir_loop *loop, struct conn *c);
    /* Bytes; returns how many were consumed. What was not is held and comes again, with more behind
     * it, when conn_again was called or more has arrived. */
    size_t (*input)(weir_loop *loop, struct conn *c, weir_view data);
    /* The peer finished; `held` unconsumed bytes are left. */
    void (*end)(weir_loop *loop, struct conn *c, size_t held);
    void (*drain)(weir_loop *loop, struct conn *c);
    /* The last call: session and user are freed afterwards. */
    void (*close)(weir_loop *loop, struct conn *c, weir_end end);
    /* The protocol's own deadline (header, body): when it is due and which; false: none. */
    bool (*due)(weir_loop *loop, struct conn *c, uint32_t *due_ms, enum weir_deadline *which);
    /* It passed: true: close with that reason; false: the consumer has dealt with it. */
    bool (*expired)(weir_loop *loop, struct conn *c, enum weir_deadline which);
    /* The server is being stopped: finish what is going on, then close. NULL: close in order now.
     */
    void (*drain_request)(weir_loop *loop, struct conn *c);
    /* These may be NULL: consumers that hand a connection to several hands need them. */
    /* It is being closed, the cause is known: no more input comes, and no output is taken. May be
     * called inside a verb. */
    void (*left)(weir_loop *loop, struct conn *c);
    /* A send has ended, whatever came of it; before the next one. */
    void (*sent)(weir_loop *loop, struct conn *c);
    /* All is over but close(): false: somebody still uses the connection, conn_dirty will be called
     * when that has changed. */
    bool (*ended)(weir_loop *loop, struct conn *c);
    /* Received bytes that it keeps for the connection, as charged to the loop. */
    size_t (*keeps)(const struct conn *c);
    /* A listener of the service stops. */
    void (*unlisten)(weir_loop *loop, struct service *service);
    uint32_t record_bytes; /* of its own for each connection, zeroed: conn_record */
    /* Senders wait for their own bytes: output that weir does not hold pauses no reader, who may be
     * the one that the peer waits for. */
    bool paces_itself;
    bool takes_any;    /* input takes every piece whole: nothing is ever left of it */
    uint32_t hold_max; /* input that may be held; reading pauses beyond it */
};

/* A service as the core uses it: a copy of the program's with defaults filled in, counted, because
 * a connection keeps the version that it was accepted under. */
struct service {
    weir_service config;
    const struct consumer *consumer;
    void *protocol; /* the consumer's own (frames, HTTP) */
    void (*protocol_free)(void *protocol);
    struct object_pool sessions; /* .conn_size bytes each; of this loop */
    uint32_t filter_count;
    uint32_t told_offset;   /* of struct idle_told in a session */
    uint32_t record_offset; /* of the consumer's record in it */
    bool idle_told;         /* sessions carry struct idle_told behind their bytes */
    uint16_t unix_hint;     /* IO_FD_MAYBE_UNIX, when one of its addresses is a unix one; or 0 */
    uint32_t conns;         /* living ones, on this loop */
    uint32_t refs;          /* listeners + connections */
    uint32_t refusing;      /* connections being told that there is no room */
    uint32_t hold_max;      /* of the consumer; of frames: the largest */
    struct list link;       /* in net.services */
    uint64_t source_key;    /* config pointer of weir_connect's caller, to share the copy */
    bool retired;
    struct {
        uint64_t accepted, refused_limit, closed;
    } counts;
};

/* Lists that a connection may wait in, one at a time. READY: has held input to be delivered, or
 * more output than fits a turn, or something that the back end had no room for. BLOCKS: in line for
 * a receive block. */
enum conn_list { CONN_LIST_NONE, CONN_LIST_READY, CONN_LIST_BLOCKS, CONN_LISTS };

struct conn_queue { /* slots + 1 of the ends */
    uint32_t first, last, count;
};

struct net_counters {
    uint64_t accepted, connected, closed, resets, deadlines[8], limits;
    uint64_t received_bytes, sent_bytes, refused_full, accept_errors, block_waits, mails_dropped;
    uint64_t receives, sends, refused_limit, rate_pauses;
    uint64_t copied_bytes; /* output that the kernel did not take at once */
    uint64_t budget_pauses;
};

struct dgram_counters {
    uint64_t received, received_bytes, sent, sent_bytes, receives, sends;
    uint64_t truncated, refused, dropped, errors;
};

struct net {
    weir_loop *loop;
    struct slab conns, listeners, dgrams;
    struct list dgrams_dirty;
    struct dgram_scratch *dgram_scratch;    /* made with the first datagram socket */
    const uint8_t *borrow_from, *borrow_to; /* receive memory while its datagrams are handled */
    struct dgram_counters dgram_counters;
    struct object_pool busy, sources;
    struct list services, connect_waits, races;
    const struct weir__names *names; /* who looks host names up, or NULL */
    void *names_self;
    uint32_t dirty; /* slot + 1 of the first one to be flushed; 0: none */
    struct conn_queue lists[CONN_LISTS];
    struct loans *loans;
    struct net_counters counters;
    bool over_budget, budget_pauses, stopping, draining, trimming, stuck;
    bool leaving;     /* draining, and others go on with the listeners: their queues are theirs */
    bool drain_again; /* somebody was left alone: he is to be asked again */
    uint32_t straight_clients; /* connections that coroutines have made */
    uint32_t budget_checked_ms;
    uint32_t blocks_window; /* of the line for receive blocks, to be armed in a turn */
    uint64_t blocks_waits_seen;
    uint32_t blocks_returned; /* slot + 1 of the last one that came back to the front of the line */
    int32_t *unclosed; /* refused direct descriptors that the back end had no room to close */
    uint32_t unclosed_count, unclosed_room;
    weir_timer trim_timer;
};

/* Whether nothing follows on the wire behind what is queued for it. */
#define conn_wire_shut(c) \
    ((conn_flags(c) &     \
      ((conn_flags(c) & CONN_FILTERED) != 0 ? CONN_WIRE_SHUT : CONN_OUTPUT_SHUT)) != 0)

static inline struct conn *conn_at(struct net *net, uint32_t slot)
{
    return slab_at(&net->conns, slot);
}

static inline weir_conn conn_handle(const weir_loop *loop, const struct conn *c)
{
    weir_conn handle = {(uint64_t)loop->id << 54 | (uint64_t)c->slot << 30 | c->head.generation};
    return handle;
}

static inline uint64_t conn_token(const struct conn *c, enum io_op op)
{
    return IO_TOKEN(op, LOOP_OWNER_CONN, c->head.generation, c->slot);
}

/* The connection that a handle names on the current loop: 0, WEIR_EGONE, or WEIR_EMISUSE when there
 * is no current loop or it is another's. */
int conn_get(weir_conn handle, weir_loop **loop, struct conn **c);

/* net.c: what net/ keeps for a loop; made when first needed. 0 or WEIR_ENOMEM. */
int net_of(weir_loop *loop, struct net **net);
/* Ends every listener and connection at once; their on_close have run when it returns. False: some
 * did not end in time; it was logged. */
bool net_end(weir_loop *loop);
/* Pools have grown: give back what is not needed, some seconds from now. */
void net_trim_later(weir_loop *loop);

/* connect.c: forgets the connects that are to be tried again. */
void connect_waits_end(struct net *net);

/* race.c: connecting to a name (RFC 8305). Begins for a connection that has no descriptor yet; 0,
 * or an error and nothing was begun. */
int race_begin(weir_loop *loop, struct conn *c, const char *name, uint16_t port,
               const weir_address *source);
/* The connection has ended, or is established: every attempt but the one that won is closed. */
void race_end(weir_loop *loop, struct conn *c);
/* Closes the child's copies of the descriptors. */
void races_forked(struct net *net);
/* Orders addresses by RFC 6724, the best first; a stable order. Asks the kernel where from each
 * would be reached: three system calls each. */
void addresses_prefer(weir_address *addresses, unsigned count);
enum { PREFER_MAX = 64, NAME_TEXT_BYTES = 256 };
/* Reads an address whose host is a name: 0, with the name, and *out, in which the host is 0.0.0.0.
 * WEIR_EADDRESS: it is none. */
int address_parse_name(const char *text, char name[NAME_TEXT_BYTES], weir_address *out);

/* conn.c: birth, record, busy half */
void conn_event(weir_loop *loop, const struct io_event *event);
struct io_fd *conn_find(weir_loop *loop, uint64_t token);
/* Calls fn for every living connection; fn may end it. */
void conn_each(struct net *net, void (*fn)(weir_loop *loop, struct conn *c, void *arg), void *arg);
struct conn *conn_new(struct net *net, struct service *service, int fd, bool direct, bool client);
void conn_established(weir_loop *loop, struct conn *c);
void conn_opened(weir_loop *loop, struct conn *c);
struct busy *conn_busy(struct net *net, struct conn *c); /* NULL: out of memory */
void conn_busy_tidy(struct net *net, struct conn *c);    /* gives it back when not needed */

/* close.c: the one way out. The first cause is kept. */
/* Whether it was the peer's reset, however it is told: a receive gets EPIPE for one that comes
 * behind the peer's end (tcp_reset in the kernel). */
bool conn_is_reset(int error);
void conn_fail(weir_loop *loop, struct conn *c, enum weir_why why, int error);
void conn_fail_deadline(weir_loop *loop, struct conn *c, enum weir_deadline which);
void conn_close(weir_loop *loop, struct conn *c);
/* Closes in order, for a reason other than our wish. */
void conn_close_why(weir_loop *loop, struct conn *c, enum weir_why why, int error);
/* The server is being stopped: what is going on is finished, then it closes. */
void conn_drain(weir_loop *loop, struct conn *c);
/* Moves the close protocol on; called whenever an operation ended or output ran dry. */
void conn_close_step(weir_loop *loop, struct conn *c);
void conn_event_closed(weir_loop *loop, struct conn *c, int result);
/* The last of it: on_close, then the record is free. */
void conn_end(weir_loop *loop, struct conn *c);

/* recv.c */
void conn_event_recv(weir_loop *loop, struct conn *c, const struct io_event *event);
void conn_recv_want(weir_loop *loop, struct conn *c); /* arms when nothing speaks against it */
/* Hands bytes to the layer above the wire: the consumer or the lowest filter. */
void conn_input(weir_loop *loop, struct conn *c, weir_view data);
/* Hands bytes to the consumer; holds what it does not take. */
void conn_input_cut(weir_loop *loop, struct conn *c, int error);
void conn_consume(weir_loop *loop, struct conn *c, weir_view data);
void conn_consume_end(weir_loop *loop, struct conn *c);
/* The consumer wants its held input again, in this turn or the next. */
void conn_again(weir_loop *loop, struct conn *c);
void conn_ready_run(weir_loop *loop);
void conn_pause(weir_loop *loop, struct conn *c, uint32_t flag);
void conn_unpause(weir_loop *loop, struct conn *c, uint32_t flag);
int conn_hold(weir_loop *loop, struct conn *c, const void *data, size_t size);
/* Output above the soft mark pauses reading at once, so that a handler that only answers what it
 * reads never meets the hard cap: true when it did. */
bool conn_marked(weir_loop *loop, struct conn *c);
void conn_blocks_check(weir_loop *loop);

/* lists.c */
void conn_list_add(struct net *net, struct conn *c, enum conn_list list);
/* Puts it behind another one of the list (slot + 1), or in front of all (0). */
void conn_list_insert(struct net *net, struct conn *c, enum conn_list list, uint32_t behind);
void conn_list_leave(struct net *net, struct conn *c);
struct conn *conn_list_first(struct net *net, enum conn_list list); /* NULL: empty */

/* output.c: queues of segments. `forced`: the loop's memory budget does not refuse. */
void output_init(struct output *out);
/* The queue that the program's sends go to: the wire's, or that above the highest filter. */
struct output *conn_output(weir_loop *loop, struct conn *c); /* NULL: out of memory */
int output_view(weir_loop *loop, struct conn *c, struct output *out, weir_view view, bool forced);
int output_copy(weir_loop *loop, struct conn *c, struct output *out, const void *data, size_t size,
                bool forced);
struct segment *output_add(weir_loop *loop, struct output *out); /* NULL: a limit, or memory */
int output_push_front(weir_loop *loop, struct conn *c, struct output *out,
                      const struct segment *segment);
static inline struct segment *output_front(struct output *out)
{
    return out->count != 0 ? &out->segments[out->head] : NULL;
}
void output_pop(weir_loop *loop, struct conn *c, struct output *out);
void output_consume(weir_loop *loop, struct conn *c, struct output *out, uint64_t size);
/* Copies views of receive blocks, but for the first `skip` bytes, which are in flight. */
int output_unblock(weir_loop *loop, struct output *out, uint64_t skip);
void output_clear(weir_loop *loop, struct conn *c, struct output *out);
/* Takes a lent segment out of the middle, as if it never was; its loan is forgotten. */
void output_withdraw(weir_loop *loop, struct output *out, uint32_t at);
void output_end(weir_loop *loop, struct output *out); /* gives its memory back; it is empty */
/* Room for `size` bytes at the tail, to be written in place; output_wrote says how many were. */
uint8_t *output_room(weir_loop *loop, struct conn *c, struct output *out, size_t size);
void output_wrote(struct conn *c, struct output *out, size_t size);

/* How full the output is: HIGH, above the soft mark: readers pause; LOW: at half of it. Many small
 * pieces count like many bytes. */
enum output_level { OUTPUT_LOW, OUTPUT_BETWEEN, OUTPUT_HIGH };
enum output_level conn_output_level(struct conn *c);
/* The end of a queue before several views are added, for taking them back when one is refused. */
struct output_end {
    uint32_t count, tail_index;
    uint64_t tail_size;
};
struct output_end output_end_now(struct output *out);
void output_take_back(weir_loop *loop, struct conn *c, struct output *out, struct output_end end);

/* flush.c */
void conn_dirty(weir_loop *loop, struct conn *c);
void conn_flush(weir_loop *loop, struct conn *c);
void conn_flush_dirty(weir_loop *loop);
void conn_event_sent(weir_loop *loop, struct conn *c, const struct io_event *event);
bool output_pull(weir_loop *loop, struct conn *c, struct output *out);
/* Whether output is still on its way. */
static inline bool conn_unsent(const struct conn *c)
{
    return c->busy != NULL && c->busy->out.count != 0;
}

/* deadline.c */
void conn_deadline(weir_loop *loop, struct conn *c); /* (re)starts the one timer if needed */
/* The first byte has come (or gone, where the service speaks first): from now on idle time counts,
 * which may end sooner than what the timer was started for. */
static inline void conn_deadline_began(weir_loop *loop, struct conn *c)
{
    if (c->service->config.idle_ms < c->service->config.first_byte_ms)
        conn_deadline(loop, c);
}
void conn_idle_begin(weir_loop *loop, struct conn *c); /* the times of on_idle count from now */
void conn_event_timer(weir_loop *loop, struct wheel_node *node);

/* info.c. The bytes that have left the kernel's send queue: acknowledged by the peer's kernel, or
 * of a unix socket (whose kernel counts memory, more than bytes) read by the peer. -1: it cannot be
 * asked now. */
int64_t conn_taken(weir_loop *loop, struct conn *c);
/* Whether what was just received has waited longer than this for a loop that is overloaded (K19).
 * Asks the kernel only then. */
bool conn_overdue(weir_loop *loop, struct conn *c, uint32_t most_ms);

/* loans.c: memory lent by weir_own */
struct loans *loans_new(void);
void loans_free(weir_loop *loop); /* gives everything back first */
bool loans_owed(const struct loans *loans);
void loan_done(weir_loop *loop, uint32_t index);
/* Lent memory that is in no queue any more, and whose release is not wanted. */
void loan_forget(weir_loop *loop, uint32_t index);
void loans_run(weir_loop *loop); /* calls the release callbacks that are owed */

/* filter.c */
/* What the filters of a connection are to know of its URL, and which come below its service's. */
struct aim {
    bool secure;                /* .tls of its service */
    bool via;                   /* .via of its service, below .tls */
    uint16_t port;              /* with via */
    char host[NAME_TEXT_BYTES]; /* that the URL named; empty: the wire's own address */
};
/* Called before it is established. 0 or WEIR_ENOMEM, and then it must not go on without. */
int filters_aim(weir_loop *loop, struct conn *c, const struct aim *aim);
/* A filter is paused and something has come since: no more is received (weir_filter_pause). */
bool filters_paused(const struct conn *c);
/* The proxies have not answered yet. */
bool filters_dialing(const struct conn *c);
int filters_open(weir_loop *loop, struct conn *c);
void filters_input(weir_loop *loop, struct conn *c, weir_view data);
void filters_end(weir_loop *loop, struct conn *c);
void filters_output(weir_loop *loop, struct conn *c); /* pumps from the top down to the wire */
struct output *filters_top(struct conn *c);           /* what waits above the highest */
uint32_t filters_held(struct conn *c);
bool filters_busy(const struct conn *c);              /* output is on its way through them */
int filters_unblock(weir_loop *loop, struct conn *c); /* output_unblock for their queues */
void filters_drop(weir_loop *loop, struct conn *c);   /* drops what waits above them: all is over */
void filters_close(weir_loop *loop, struct conn *c);

/* service.c */
/* What weir_service.protocol points at: a whole protocol in place of event handlers. */
struct weir_protocol {
    const struct consumer *consumer;
    uint32_t session_size; /* instead of .conn_size */
    /* Makes service->protocol for this loop; negative: an error, logged. */
    int (*start)(weir_loop *loop, struct service *service, void *arg);
    void (*free)(void *protocol);
    /* Gives memory of a burst back; true while there is more. May be NULL. */
    bool (*trim)(void *protocol);
};
struct service *service_new(struct net *net, const weir_service *config, size_t size, int *error);
void service_ref(struct service *service);
void service_unref(weir_loop *loop, struct service *service);
extern const struct consumer consumer_events, consumer_frames;
/* Services with .on_conn or .straight. It stands on the floor above, which hooks itself in here. */
extern const struct consumer consumer_straight;
static inline void *conn_record(const struct conn *c)
{
    return (char *)c->session + c->service->record_offset;
}

/* listener.c */
int listeners_init(struct net *net);
void listeners_stop(weir_loop *loop);
/* Serves a descriptor that was accepted here or by another loop, or refuses it (K19). `last`: it
 * comes from the queue of a listener that is being closed, and is served beyond the limit. */
struct adopted {
    int fd;
    bool direct;
    bool secure; /* the listener's address is one of TLS */
    bool last;
};
void listener_adopt(weir_loop *loop, struct service *service, struct adopted adopted);
void listeners_room(weir_loop *loop, struct service *service); /* a connection left: accept again */
void listeners_unclosed(weir_loop *loop); /* closes what could not be closed before */
void listeners_hold(weir_loop *loop);     /* accepting stops until listeners_room */
/* The service of a listener of the current loop, or NULL when it is closed or another's. */
struct service *listener_service(weir_listener handle, weir_loop **loop);
void listener_event(weir_loop *loop, const struct io_event *event);
void listener_timer(weir_loop *loop, struct wheel_node *node);
struct io_fd *listener_find(weir_loop *loop, uint64_t token);

/* connect.c: the connect has failed; begins with the next address, or returns the error. */
int connect_next(weir_loop *loop, struct conn *c, int error);

/* pipe.c */
size_t pipe_input(weir_loop *loop, struct conn *c, weir_view data);
void pipe_end(weir_loop *loop, struct conn *c);
void pipe_drained(weir_loop *loop, struct conn *c);
void pipe_closed(weir_loop *loop, struct conn *c);

/* stats.c: adds the numbers that the rows describe. */

void stats_add(void *sum, const void *stats, const weir_stat *rows, unsigned count);

/* budget.c */
void budget_check(weir_loop *loop);
void budget_received(weir_loop *loop, struct conn *c);
void budget_look(weir_loop *loop, struct conn *c);

#endif
