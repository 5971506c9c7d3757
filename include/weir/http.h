/* HTTP: handlers get an exchange, one request and its answer, never a connection. An exchange is a
 * handle: when its client is gone every verb on it returns WEIR_EGONE. Handlers run on a
 * coroutine's stack and may wait (weir_http_read, weir_http_write, weir_sleep …) while others go
 * on; with WEIR_HTTP_PLAIN they run on the loop's own stack, may not wait, and may answer later.
 *
 * A connection that closes, for whatever reason, ends the wait of its handler with WEIR_EGONE:
 * return then. A client that has only finished its own direction has not closed it.
 *
 * A handler that returns without an answer is answered 500 in its stead (or with what its body was
 * refused with); one that began an answer and did not end it aborts the connection, so that nobody
 * takes a part for the whole. Plain handlers are waited for.
 *
 * RFC 9110, RFC 9112. All verbs: the loop's thread only. */
#ifndef WEIR_HTTP_H
#define WEIR_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/co.h>
#include <weir/export.h>
#include <weir/service.h>
#include <weir/view.h>

typedef struct weir_exchange {
    uint64_t id;
} weir_exchange;

typedef struct weir_http_app weir_http_app;
typedef void weir_http_fn(weir_exchange x, void *user);

/* Zero means the default. */
typedef struct weir_http_options {
    uint32_t header_ms;         /* first to last byte of a head: default 10 s (408) */
    uint32_t body_ms;           /* less than 1 KiB of a body in this time: default 30 s (408) */
    uint32_t idle_ms;           /* between requests: default 60 s */
    uint32_t line_max_bytes;    /* request line: default 8 KiB (414) */
    uint32_t head_max_bytes;    /* head: default 16 KiB, at most 64 KiB (431) */
    uint32_t fields_max;        /* header fields: default and at most 64 (431) */
    uint64_t body_max_bytes;    /* body: default 1 MiB (413) */
    uint32_t requests_max;      /* on one connection: default no limit */
    uint32_t stack_bytes;       /* of a coroutine, with its guard: default 64 KiB, at least 16 */
    uint32_t handlers_max;      /* coroutines of a loop at a time: default 65 536 (503). These two
                                 * are those of the first application on a loop */
    const char *access_log;     /* file name, "-" for standard output; default none */
    const char *access_format;  /* "common", "combined" (default), "json" */
    const char *const *headers; /* "Name: value" for every answer, NULL-terminated */
    bool no_keep_alive;         /* one request a connection */
    const char *server_name;    /* value of Server; default none */
    uint32_t shed_ms;           /* a request that has waited longer for a loop that was too busy
                                 * for a second is refused (503): default 500 ms; WEIR_OFF */
    /* A privileged process opens the file of the access log with this user's and group's rights
     * (names or numbers), and without capabilities: give what weir_run has as .worker_user and
     * .worker_group. Default: as it is, and in the master of such workers as theirs. */
    const char *access_user;
    const char *access_group;
} weir_http_options;

enum weir_http_flags { WEIR_HTTP_PLAIN = 1 };

WEIR_BEGIN

WEIR_API weir_http_app *weir__http_app_new(const weir_http_options *options, size_t size);
/* Makes an application: routes and options. NULL: out of memory, or an option is wrong (logged). It
 * must not change once it is served, and lives longer than the server. */
static inline weir_http_app *weir_http_app_new(const weir_http_options *options)
{
    return weir__http_app_new(options, sizeof(weir_http_options));
}
WEIR_API void weir_http_app_free(weir_http_app *app);

/* Routes a method and a path. Segments in braces match anything but a slash and are parameters;
 * "/files/{rest...}" at the end matches the rest, be it empty. A literal segment beats a parameter,
 * which beats a rest, among the routes of the request's method. Literals are compared with the
 * decoded path. HEAD goes to GET's handler where it has none of its own; OPTIONS, 404, 405 (with
 * Allow) and 501 are answered without one. 0, or WEIR_EINVALID (logged): malformed, there already,
 * or the methods CONNECT and TRACE. */
WEIR_API int weir_http_route(weir_http_app *app, const char *method, const char *pattern,
                             weir_http_fn *fn, void *user, unsigned flags);
static inline int weir_http_get(weir_http_app *app, const char *pattern, weir_http_fn *fn,
                                void *user)
{
    return weir_http_route(app, "GET", pattern, fn, user, 0);
}
static inline int weir_http_post(weir_http_app *app, const char *pattern, weir_http_fn *fn,
                                 void *user)
{
    return weir_http_route(app, "POST", pattern, fn, user, 0);
}

typedef struct weir_http_files {
    bool listing;          /* list directories that have no index.html */
    bool hidden;           /* serve names that begin with a dot */
    bool symlinks;         /* follow symbolic links, within the root */
    bool no_precompressed; /* do not look for .gz and .br neighbours */
    /* Small files in memory, for each loop: default 64 MiB; UINT64_MAX: none. */
    uint64_t cache_bytes;
} weir_http_files;
WEIR_API int weir__http_files(weir_http_app *app, const char *prefix, const char *directory,
                              const weir_http_files *options, size_t size);
/* Serves the files beneath a directory at "prefix/". The directory is opened now; small files are
 * kept in memory, and a change of one is noticed within a second. 0 or an error, which is logged
 * with cause and fix. */
static inline int weir_http_serve_files(weir_http_app *app, const char *prefix,
                                        const char *directory, const weir_http_files *options)
{
    return weir__http_files(app, prefix, directory, options, sizeof *options);
}

/* Answers "/" with weir's own page: for a server that was given nothing to serve. 0 or an error. */
WEIR_API int weir_http_welcome(weir_http_app *app);

/* Opens the access log again, after it was renamed: what is written from now on goes to a new file
 * of the old name. When that fails the old one is written on, and why is logged. Any thread. */
WEIR_API void weir_http_reopen_logs(weir_http_app *app);

/* Fills a service for weir_run or weir_listen; then change what you like of it. */
WEIR_API void weir__http_service(weir_http_app *app, const char *listen, weir_service *out,
                                 size_t size);
static inline void weir_http_service(weir_http_app *app, const char *listen, weir_service *out)
{
    weir__http_service(app, listen, out, sizeof *out);
}
/* Serves an application on one loop until a signal: weir_run with its service. */
WEIR_API int weir_http_serve(weir_http_app *app, const char *listen);

/* ---- the request: views and texts are valid until the handler returns; a plain one that answers
 * later asks again then, for they may have moved ---- */

WEIR_API weir_view weir_http_method(weir_exchange x);
WEIR_API weir_view weir_http_target(weir_exchange x); /* as it came */
WEIR_API weir_view weir_http_path(weir_exchange x);   /* as it came, without the query */
WEIR_API weir_view weir_http_query(weir_exchange x);  /* without the question mark */
/* A header field by name, whatever its case: the first one; data NULL without it. */
WEIR_API weir_view weir_http_header(weir_exchange x, const char *name);
/* A parameter of the route, decoded, ending in NUL; "" when there is none of that name. */
WEIR_API const char *weir_http_param(weir_exchange x, const char *name);
/* The first value of a name in the query, decoded, ending in NUL; NULL without it, or when more
 * than 128 KiB would be decoded for one exchange. */
WEIR_API const char *weir_http_query_value(weir_exchange x, const char *name);
WEIR_API weir_conn weir_http_conn(weir_exchange x);
/* True when the client is gone: what is answered reaches nobody. */
WEIR_API bool weir_http_aborted(weir_exchange x);

/* The next bytes of the body: more than 0 with *out set until the next call, 0 at its end, or an
 * error: WEIR_ETIMEDOUT (`deadline` ended the wait: what comes can still be read; or the body came
 * too slowly: then each further call says so), WEIR_ETOOBIG, WEIR_EPROTO (malformed, or cut),
 * WEIR_EGONE, WEIR_ECANCELED (the loop ends). Waits: not for plain handlers, and not after the
 * whole answer was given (WEIR_EMISUSE). Who waits for 100 Continue gets it with the first call. */
WEIR_API int weir_http_read(weir_exchange x, weir_view *out, weir_time deadline);
/* For plain handlers, once: fn is called with each piece as it comes (valid during the call), and
 * once with size 0: error 0 at the end, else why there will be no more, as above; WEIR_ECANCELED
 * after the whole answer. Never inside a verb. What it does not answer on an error weir does. */
typedef void weir_http_body_fn(weir_exchange x, weir_view data, int error, void *arg);
WEIR_API int weir_http_on_body(weir_exchange x, weir_http_body_fn *fn, void *arg);

/* ---- the answer ---- */

/* Adds a field to the head, before it is sent, behind those that are there. WEIR_EINVALID: not a
 * token or a clean value, or one that weir writes itself (Content-Length, Transfer-Encoding,
 * Connection, Keep-Alive, Date). WEIR_ETOOBIG: more than 64 KiB in all. */
WEIR_API int weir_http_set(weir_exchange x, const char *name, const char *value);
/* Answers with a whole body: head, body, end. `type` may be NULL when there is none. Borrowed bytes
 * are copied and, with what is queued already, must fit the hard cap of 1 MiB (WEIR_EFULL: nothing
 * was queued); static and lent ones may be of any size. A lent view is given back in any case.
 * WEIR_EMISUSE: it is answered already. WEIR_EINVALID: no status from 200 to 999, or an unclean
 * type. */
WEIR_API int weir_http_respond(weir_exchange x, unsigned status, const char *type, weir_view body);
/* The same with text made as by printf, text/plain in UTF-8; at most 64 KiB. */
WEIR_API int weir_http_text(weir_exchange x, unsigned status, const char *format, ...)
    WEIR_PRINTF(3, 4);
/* Begins a streamed answer; `length` bytes of body, or -1: chunked (until close for HTTP/1.0). */
WEIR_API int weir_http_begin(weir_exchange x, unsigned status, const char *type, int64_t length);
/* Sends a piece of a streamed body; above the soft mark (64 KiB unsent) it waits until half of it
 * is left, at most until `deadline`. WEIR_ETIMEDOUT: the piece is queued all the same; only a
 * borrowed one of more than 64 KiB, which goes in parts, may be so in part: then the answer is torn
 * and takes nothing more. WEIR_ETOOBIG: more than was promised, nothing is queued. Plain handlers
 * never wait: they get WEIR_SEND_WAIT, and 1 MiB of borrowed bytes unsent ends the connection; a
 * pull source is better for them. */
WEIR_API int weir_http_write(weir_exchange x, weir_view data, weir_time deadline);
/* Adds a trailer to a chunked answer, before weir_http_end. */
WEIR_API int weir_http_trailer(weir_exchange x, const char *name, const char *value);
/* The whole answer is given. WEIR_ETORN: fewer bytes than promised; the connection is aborted. */
WEIR_API int weir_http_end(weir_exchange x);
/* A body from a file: head, body, end. With `own_fd` weir closes it, also on error. */
WEIR_API int weir_http_file(weir_exchange x, unsigned status, const char *type, int fd,
                            int64_t offset, uint64_t size, bool own_fd);
/* A body from a pull source, of `length` bytes or -1: chunked. The exchange lasts until the source
 * has ended or its client is gone, which the source is told with data NULL; when this returns an
 * error it is told nothing. One that fails, or gives fewer bytes than promised, aborts the
 * connection. */
WEIR_API int weir_http_pull(weir_exchange x, unsigned status, const char *type, int64_t length,
                            weir_pull_fn *pull, void *arg);

WEIR_END
#endif
