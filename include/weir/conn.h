/* A connection: one stream, named by a 64-bit handle. Every verb here belongs to the loop's thread,
 * may be called in any handler, never enters a handler itself, and returns WEIR_EGONE on a stale
 * handle. */
#ifndef WEIR_CONN_H
#define WEIR_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <weir/address.h>
#include <weir/export.h>
#include <weir/loop.h>
#include <weir/socket.h>
#include <weir/view.h>

/* 10 bits loop, 24 bits slot, 30 bits generation; zero is no connection. */
typedef struct weir_conn {
    uint64_t id;
} weir_conn;

/* Why a connection ended; the first cause is kept. */
enum weir_why {
    WEIR_WHY_NONE,
    WEIR_WHY_PEER_FINISHED, /* the peer closed in order, and so did we */
    WEIR_WHY_PEER_RESET,    /* ECONNRESET, EPIPE, ECONNABORTED */
    WEIR_WHY_DEADLINE,      /* which: weir_end.deadline */
    WEIR_WHY_LIMIT,         /* refused by a limit: output cap, connections, memory */
    WEIR_WHY_CLOSED,        /* closed by us */
    WEIR_WHY_ERROR          /* local or network error: weir_end.error */
};

enum weir_deadline {
    WEIR_DEADLINE_NONE,
    WEIR_DEADLINE_CONNECT,
    WEIR_DEADLINE_FIRST_BYTE, /* also: a filter's handshake */
    WEIR_DEADLINE_IDLE,
    WEIR_DEADLINE_HEADER,
    WEIR_DEADLINE_BODY,
    WEIR_DEADLINE_WRITE,
    WEIR_DEADLINE_LINGER
};

typedef struct weir_end {
    enum weir_why why;
    enum weir_deadline deadline;
    int error; /* negative, or 0. After an end in order (PEER_FINISHED, CLOSED): why output that was
                * queued before weir_close could not all be sent */
} weir_end;

/* weir_send's answer beside errors: queued, and the output is above the soft mark: wait for
 * on_drain before sending much more. */
#define WEIR_SEND_WAIT 1

/* A pull source: fills at most `size` bytes of `data` and returns how many; 0: it has ended;
 * WEIR_PULL_WAIT: nothing yet, weir_pull_ready will be called; negative: an error, the connection
 * is aborted. Runs on the loop's thread when the output has room, never inside a verb. With data
 * NULL and size 0 it is told that it will not be called again (also after its end). */
typedef ssize_t weir_pull_fn(weir_conn conn, void *data, size_t size, void *arg);
#define WEIR_PULL_WAIT (-4111)

WEIR_BEGIN

static inline bool weir_conn_is(weir_conn a, weir_conn b)
{
    return a.id == b.id;
}

/* Queues bytes; they leave at the flush after the handler. Borrowed bytes (weir_bytes, weir_str)
 * are copied now; a received view only as far as the kernel does not take it at once; static (of
 * 256 bytes or more) and lent ones never. 0, WEIR_SEND_WAIT, or an error with nothing queued:
 * WEIR_EGONE, WEIR_EFULL (beyond the hard cap; with WEIR_FULL_CLOSE the connection is closed),
 * WEIR_ETORN, WEIR_EMISUSE after weir_finish or weir_close. */
WEIR_API WEIR_MUST_CHECK int weir_send(weir_conn conn, weir_view view);
/* The same for several views, all or none. At most 64. */
WEIR_API WEIR_MUST_CHECK int weir_sendv(weir_conn conn, const weir_view *views, unsigned count);
/* Queues `size` bytes of a file from `offset` on, without reading them here (sendfile). With
 * `own_fd` the descriptor is closed by weir when it is done, also on error. A file that ends early
 * tears the stream: the connection is aborted with WEIR_ETORN. */
WEIR_API WEIR_MUST_CHECK int weir_send_file(weir_conn conn, int fd, int64_t offset, uint64_t size,
                                            bool own_fd);
/* Queues what a pull source will give. */
WEIR_API WEIR_MUST_CHECK int weir_send_pull(weir_conn conn, weir_pull_fn *pull, void *arg);
/* The pull source at the front has bytes again. */
WEIR_API int weir_pull_ready(weir_conn conn);
/* Queues a view and, with its first byte, descriptors for the peer of a unix socket (at most 16;
 * duplicated now, the caller keeps its own). The view must not be empty. */
WEIR_API WEIR_MUST_CHECK int weir_send_fds(weir_conn conn, weir_view view, const int *fds,
                                           unsigned count);
/* Asks for a flush before the handler has returned its turn: at its end, as ever. Bytes queued
 * while the loop is otherwise idle (timers, posts) are flushed at the end of the turn anyway. */
WEIR_API int weir_flush(weir_conn conn);

/* Ends our direction: what is queued is sent, then the peer sees the end; reading goes on. */
WEIR_API int weir_finish(weir_conn conn);
/* Closes in order: what is queued is sent, then the connection is closed (K9); no more data is
 * handed to the program. on_close comes later. Idempotent. */
WEIR_API int weir_close(weir_conn conn);
/* Closes at once with a reset; what is queued is dropped. on_close comes later. Idempotent. */
WEIR_API int weir_abort(weir_conn conn);

/* Stops and resumes reading. While paused nothing is reported of the peer but through a failing
 * send or a deadline. */
WEIR_API int weir_pause(weir_conn conn);
WEIR_API int weir_resume(weir_conn conn);

/* Couples two connections of one loop: what one receives the other sends; the slower paces the
 * faster; an end passes through; when one fails the other is aborted. Both keep their on_close. */
WEIR_API int weir_pipe(weir_conn a, weir_conn b);

/* Whether the handle names a living connection of this loop. */
WEIR_API bool weir_conn_alive(weir_conn conn);
/* The connection's pointer: first the service's `user`, or what weir_connect was given. */
WEIR_API void *weir_conn_user(weir_conn conn);
WEIR_API int weir_conn_set_user(weir_conn conn, void *user);
/* The zeroed session bytes of .conn_size, or NULL. */
WEIR_API void *weir_conn_session(weir_conn conn);
/* Addresses, asked of the kernel now. */
WEIR_API int weir_conn_peer(weir_conn conn, weir_address *out);
WEIR_API int weir_conn_local(weir_conn conn, weir_address *out);
WEIR_API int weir_conn_tcp_info(weir_conn conn, weir_tcp_info *out);

typedef struct weir_conn_stats {
    uint64_t received_bytes, sent_bytes; /* on the wire's side of filters */
    uint64_t queued_bytes;               /* of output that weir holds for the caller */
    uint64_t unsent_bytes;               /* of output in all, files and static memory too */
    uint64_t held_bytes;                 /* of input not yet consumed */
    weir_time opened;
} weir_conn_stats;
WEIR_API int weir_conn_stats_get(weir_conn conn, weir_conn_stats *out);

/* From any thread: sends a copy of bytes to a connection of another loop. The answer is about the
 * queue only: 0, WEIR_EFULL, WEIR_EGONE when the loop is no more. When the handle is stale or the
 * connection full on arrival the message is dropped and counted, and `done` (may be NULL) is called
 * with the error on the sender's loop, if it has one; with 0 when it was queued. */
typedef void weir_mail_fn(weir_conn conn, int error, void *arg);
WEIR_API int weir_mail(weir_conn conn, const void *data, size_t size, weir_mail_fn *done,
                       void *arg);

WEIR_END
#endif
