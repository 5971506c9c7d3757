/* The inside of the HTTP server: what one loop keeps for a served application, and for one
 * exchange. */
#ifndef WEIR_APP_HTTP_SERVER_H
#define WEIR_APP_HTTP_SERVER_H

#include <weir/error.h>
#include <weir/http.h>

#include "co/co.h"
#include "net/conn.h"
#include "proto/http1.h"
#include "proto/http1_body.h"
#include "proto/http1_write.h"

enum {
    HTTP_HEADER_MS = 10000, /* defaults of weir_http_options */
    HTTP_BODY_MS = 30000,
    HTTP_BODY_BYTES = 1 << 20,
    HTTP_STACK_BYTES = 65536,
    HTTP_HANDLERS_MAX = 65536,
    HTTP_PARAMS_MAX = 16,
    HTTP_STACK_MIN = 16384,   /* bytes of a handler's stack with its guard */
    HTTP_STACK_MAX = 1 << 30, /* what co/ makes at most */
    HTTP_ARENA = 2048,        /* bytes for a head's copy, parameters, decoded texts … */
    HTTP_ARENA_MAX = 131072,  /* … and what may be taken beyond that */
    HTTP_FIELDS = 512,        /* bytes for the answer's own fields … */
    HTTP_FIELDS_MAX = 65536,  /* … and the most that they may have */
    HTTP_EXCHANGES_MAX = 1 << 20,
    HTTP_PIECE_MAX = 65536,   /* bytes of a body given at once */
    HTTP_DISCARD_MAX = 65536, /* bytes of an unread body read away to keep the connection */
    HTTP_HEAD_ROOM = 256,     /* bytes of an answer's head: status, framing, Connection */
    HTTP_HEAD_MAX = 65536,    /* bytes that a request's head may be allowed to have */
    HTTP_TYPE_MAX = 512,      /* bytes of a Content-Type */
    HTTP_MADE_ROOM = 1024,    /* bytes of a status line and a Content-Type */
                              /* bytes of a Content-Type */
    HTTP_TEXT_MAX = 65536,
    HTTP_WRITE_MAX = 65536, /* bytes of a borrowed view that are queued at once */
};

struct route { /* what a method of a path leads to */
    weir_http_fn *fn;
    void *user;
    unsigned flags;
};

struct route_node; /* route.c: a tree of segments */

struct weir_http_app {
    weir_http_options options;
    struct route_node *routes;
    struct http1_limits limits;
    char *extra_head; /* fields of every answer, each with its CR LF */
    size_t extra_head_size;
    struct mount **mounts; /* files.c */
    unsigned mount_count;
    struct accesslog *access; /* log.c; NULL: none */
};

struct accesslog_buffer;
struct lists; /* mount.h */

/* What the servers of one loop share: a handle does not say which of them it belongs to. */
struct http_shared {
    struct slab exchanges;
    struct object_pool rooms;
    struct exchange *spare; /* the one that ended last, with its room; NULL: in use */
    uint32_t refs;
};

/* One application on one loop: the protocol of its services there. */
struct http_server {
    weir_loop *loop;
    weir_http_app *app;
    struct http_shared *shared;
    uint32_t exchanges;  /* living ones */
    struct list waiting; /* those whose handlers were suspended */
    struct co_pool *coroutines;
    struct accesslog_buffer *log;   /* NULL: none */
    struct mount_cache *caches;     /* one a mount */
    struct lists *lists;            /* with caches */
    uint64_t date_s, date_until_ns; /* of the date; the loop's time up to which it stands */
    char *lines;                    /* fields of every answer: Date, then the application's */
    size_t lines_size;
    char keep_alive[64]; /* Connection and Keep-Alive */
    size_t keep_alive_size;
    char *made;       /* how the last answer's head began: status line, lines, Content-Type */
    size_t made_size; /* 0: not made, or in a second that has passed */
    size_t type_size; /* of its Content-Type's value, which ends it but for CR LF; 0: none */
    unsigned made_status;
    uint64_t requests, refused, shed, waited;
    uint64_t log_lost; /* lines that the access log had no room for, or could not write */
};

/* The session of an HTTP connection: with the record all that an idle one costs. */
struct http_conn {
    union {
        uint32_t exchange; /* slot + 1 of the one that is going on; 0: none */
        uint32_t since_ms; /* with head_began, and so without one: the head began to come */
    };
    uint32_t requests;
    uint32_t peer;              /* of the access log: slot + 1 of its text; 0: not asked yet */
    struct http1_resume resume; /* of a head that has not come whole */
    bool head_began, refused;
};
/* The C library takes 32 bytes for these 24, and 48 for more. */
_Static_assert(sizeof(struct http_conn) == 24, "with the record at most 200 bytes when idle");

struct http_param {
    const char *name, *value;
};

struct room { /* pooled, not cleared */
    struct http1_field rows[HTTP1_FIELDS];
    struct http_param params[HTTP_PARAMS_MAX];
    char fields[HTTP_FIELDS];
    char arena[HTTP_ARENA];
};

struct arena_more { /* chunks beyond a room's arena */
    struct arena_more *next;
    uint32_t room, used;
};

/* SOURCE: the whole answer is decided, and a pull source is still giving its body. */
enum exchange_answer { ANSWER_NONE, ANSWER_BEGUN, ANSWER_SOURCE, ANSWER_ENDED };
enum exchange_wait { WAIT_NONE, WAIT_BODY, WAIT_DRAIN, WAIT_OTHER };

struct exchange {
    struct slab_head head;
    uint32_t slot;
    struct http_server *server;
    struct conn *conn; /* NULL: the client is gone */
    struct room *room;
    struct co *co;           /* suspended in a verb */
    struct co *task;         /* its handler's coroutine */
    struct list waiting;     /* in the server's */
    struct loop_ready ready; /* something is to be done outside of verbs: exchange_ready */
    weir_timer timer;        /* a verb's deadline */
    struct http1_request request;
    struct http1_body body; /* with has_body */
    struct route route;

    /* From here on zero for each request. */
    uint32_t arena_used;
    uint32_t more_bytes; /* of all chunks in `more` */
    struct arena_more *more;
    char *fields; /* of the answer, or its trailers: the room's, or a chunk */
    uint32_t fields_size, fields_room;
    uint8_t param_count, answer, waits;
    bool has_body, body_ended, expects, handler_running, detached, plain, head_only;
    bool chunked, close, behind, head_kept, logged, woken, torn;
    bool in_trailers, trailers, discard_over, body_told, body_clock;
    uint16_t status;
    uint16_t body_status; /* what the body was refused with */
    int wake_value, body_error;
    uint32_t body_ms;      /* the interval of the body's rate began; waits alone count */
    uint32_t body_stop_ms; /* the wait before this one ended */
    uint32_t discarded;    /* bytes of the body that nobody read */
    uint64_t body_mark;    /* payload bytes when the interval began */
    uint64_t answer_bytes, answer_left;
    uint64_t began_ns; /* loop's time */
    void *piece;       /* chunk: the piece that a reader is given */
    size_t piece_room, piece_size;
    struct http1_resume trailer_resume;
    weir_http_body_fn *on_body;
    void *on_body_arg;
    const char *premade; /* fields of the answer's head that are written already */
    size_t premade_size;
};

/* exchange.c: life */
struct exchange *exchange_take(struct http_server *server, struct conn *c);
void exchange_give(struct exchange *x);
struct exchange *exchange_of(weir_exchange handle); /* NULL: gone */
weir_exchange exchange_handle(const struct exchange *x);
/* Runs the handler that the route names. */
void exchange_run(struct exchange *x);
/* The answer has ended or its handler returned: goes on, or ends the exchange. */
void exchange_step(struct exchange *x);
/* The same, and what else is due to it, once the verb that asks has returned. */
void exchange_later(struct exchange *x);
/* The connection is gone. */
void exchange_abandon(struct exchange *x);
/* Ends every wait of this server's handlers with WEIR_ECANCELED. On the loop's stack. */
void exchange_cancel_all(struct http_server *server);
/* The one of this loop, counted; NULL: out of memory. */
struct http_shared *exchange_share(weir_loop *loop);
void exchange_unshare(weir_loop *loop, struct http_shared *shared);
/* Copies the head to memory of its own; false: out of memory. */
bool exchange_keep_head(struct exchange *x);
void *exchange_alloc(struct exchange *x, size_t size); /* lives as long as x; NULL: too much */
/* Suspends the running coroutine of x until exchange_wake or the deadline; the value given. */
int exchange_wait(struct exchange *x, enum exchange_wait what, weir_time deadline);
bool exchange_waits_possible(const struct exchange *x);
void exchange_wake(struct exchange *x, int value);
/* The same, when the loop runs what is ready. */
void exchange_wake_later(struct exchange *x, int value);

/* answer.c: heads and bodies of answers */
/* The view is used up in any case: a lent one is given back on failure too. */
int answer_whole(struct exchange *x, unsigned status, const char *type, weir_view body);
int answer_error(struct exchange *x, unsigned status, const char *cause, const char *fix);
void answer_busy(struct exchange *x, const char *cause); /* 503 with Retry-After */
/* In place of a handler that gives no answer. */
void answer_instead(struct exchange *x, unsigned status, const char *cause);
int answer_begin(struct exchange *x, unsigned status, const char *type, int64_t length);
/* Whether an answer still reaches anybody. */
bool answer_possible(const struct exchange *x);
/* The exchange that can be answered, or NULL and why not. */
struct exchange *answering(weir_exchange handle, int *result);
/* Gives a view back that is not sent, if it is a lent one. */
void answer_view_return(weir_view view);
/* Adds a field behind those that are there, of the head or of the trailers. */
int field_add(struct exchange *x, const char *name, struct http_text value);
/* Whether it is a field that weir writes itself. */
bool field_own(struct http_text name);
/* Adds a field to the head, as weir_http_set. */
int answer_field(struct exchange *x, const char *name, struct http_text value);

/* source.c: an answer that was begun takes pieces, at once and in order; then it is finished with
 * the first error of these (the connection fails), or 0. */
int answer_piece(struct exchange *x, weir_view view);
int answer_piece_file(struct exchange *x, int fd, uint64_t offset, uint64_t size, bool own_fd);
int answer_finish(struct exchange *x, int result);
/* The whole answer is queued. */
void answer_ended(struct exchange *x);

/* request.c: a field's value; at NULL without it. One that came several times is joined by commas
 * in the arena (RFC 9110 section 5.3). False: no room for that. */
bool request_field(struct exchange *x, enum http_name name, struct http_text *value);

/* body.c: the request's body */
size_t body_feed(struct exchange *x, const uint8_t *data, size_t size);
void body_cut(struct exchange *x, int error);
bool body_wanted(const struct exchange *x);
/* Somebody wants it from now on: the deadline begins, input goes on. */
void body_want(struct exchange *x);
/* Nobody waits for it any more: its clock stands. */
void body_pause(struct exchange *x);
/* The interval of the body's rate passed: true when enough has come, and the next one begins. */
bool body_progressed(struct exchange *x);
void body_clock_restart(struct exchange *x);
/* Tells who was promised each piece that there are no more, once. */
void body_tell_end(struct exchange *x, int error);
void body_piece_give(struct exchange *x);
/* Whether what is left of the body is read away in time to keep the connection. */
bool body_discardable(const struct exchange *x);

/* route.c */
struct route_node *route_tree_new(void);
void route_tree_free(struct route_node *tree);
/* 0, WEIR_EINVALID (malformed, or there already), WEIR_ENOMEM. */
int route_add(struct route_node *tree, const char *method, const char *pattern, struct route route);
/* Finds a handler: 0, or the status to answer with: 400, 404, 405 and 204 (Allow is set), 501, 503.
 */
int route_find(struct route_node *tree, struct exchange *x);

/* server.c */
extern const struct weir_protocol http_protocol;
void http_date(struct http_server *server);
weir_view http_busy_answer(void); /* app.c: a whole answer, 503 */
/* The exchange is over and its connection goes on, or closes. at_once: in the same call of the
 * consumer that began it. */
void http_goes_on(struct http_server *server, struct conn *c, bool at_once);
void http_closes(struct http_server *server, struct conn *c, bool input_ended);
static inline bool http_input_held(const struct conn *c)
{
    return c->busy != NULL && c->busy->held_to != c->busy->held_from;
}

/* files.c */
int mount_start(struct http_server *server); /* makes its caches */
void mount_stop(struct http_server *server);
void mounts_free(weir_http_app *app);

/* log.c */
/* Opens the log that the options name; a failure is logged with cause and fix. */
int accesslog_open(weir_http_app *app);
void accesslog_close(weir_http_app *app);
int accesslog_start(struct http_server *server);
/* Writes what is left. */
void accesslog_stop(struct http_server *server);
/* Adds the line of an exchange, once; while its head is still there. */
void accesslog_add(struct exchange *x);
/* The connection ends. */
void accesslog_forget(struct http_server *server, struct http_conn *h);

/* stats.c: workers of shape processes show their HTTP counters to each other. Before the fork. */
void http_stats_share(void);

#endif
