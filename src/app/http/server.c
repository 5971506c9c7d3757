/* HTTP/1.1 on a connection: heads in order, one exchange at a time, what is behind it stays unread.
 */
#include "app/http/server.h"

#include <stdio.h>
#include <string.h>

#include "app/http/accesslog.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "co/loop_co.h"
#include "proto/httpdate.h"

static struct exchange *active(struct http_server *server, const struct http_conn *h)
{
    return !h->head_began && h->exchange != 0 ? slab_at(&server->shared->exchanges, h->exchange - 1)
                                              : NULL;
}

void http_date(struct http_server *server)
{
    if (server->loop->now_ns < server->date_until_ns)
        return;
    uint64_t wall_ns = weir__clock_wall_ns(), now_s = wall_ns / WEIR_S;
    server->date_until_ns = server->loop->now_ns + (now_s + 1) * WEIR_S - wall_ns;
    server->date_s = now_s;
    http_date_format((int64_t)now_s, server->lines + sizeof "Date: " - 1);
    server->made_size = 0;
}

/* Refused by the codec. Where the next request begins may be in doubt: then nothing more is read.
 */
static void refuse(struct exchange *x, ssize_t refusal)
{
    const struct http1_refusal_row *row = http1_refusal_row(refusal);
    struct http_conn *h = x->conn->session;
    x->server->refused++;
    h->refused = row->close;
    x->close = x->close || row->close;
    answer_error(x, row->status, row->text, NULL);
}

/* Begins the body, if there is one; false: it is refused. */
static bool body_begin(struct exchange *x)
{
    const struct http1_request *request = &x->request;
    x->has_body = request->chunked || request->content_length != 0;
    x->body_ended = !x->has_body;
    if (!x->has_body)
        return true;
    int result = http1_body_begin_request(&x->body, request, &x->server->app->limits,
                                          x->server->app->options.body_max_bytes);
    /* Who expects something may not send the body at all. */
    x->expects = http1_fields_have(&request->fields, HTTP_EXPECT) && request->minor != 0;
    if (result < 0)
        refuse(x, result);
    return result == 0;
}

static void dispatch(struct exchange *x)
{
    if (!body_begin(x))
        return;
    int status = route_find(x->server->app->routes, x);
    if (status == 0)
        exchange_run(x);
    else if (status == 204)
        answer_whole(x, 204, NULL, weir_bytes(NULL, 0));
    else
        answer_error(x, (unsigned)status, NULL, NULL);
}

/* Not even memory for an exchange. */
static void refuse_busy(struct http_server *server, struct conn *c)
{
    weir_loop *loop = server->loop;
    struct output *out = conn_output(loop, c);
    if (out != NULL)
        output_view(loop, c, out, http_busy_answer(), true);
    conn_close_why(loop, c, WEIR_WHY_LIMIT, WEIR_EFULL);
}

static void head_unfinished(struct http_server *server, struct conn *c, struct exchange *x)
{
    struct http_conn *h = c->session;
    exchange_give(x);
    if (h->head_began)
        return;
    h->head_began = true;
    h->since_ms = server->loop->now_ms;
    conn_deadline(server->loop, c);
}

/* Whether something follows the request that is not its body. */
static bool anything_behind(const struct http1_request *request, size_t left)
{
    return !request->chunked && left > request->content_length;
}

/* A head has come, or what can be none. */
static void request_begin(struct http_server *server, struct conn *c, struct exchange *x)
{
    struct http_conn *h = c->session;
    h->head_began = false;
    h->requests++;
    h->exchange = x->slot + 1;
    server->requests++;
    x->began_ns = server->loop->now_ns;
    conn_flags(c) |= CONN_WORKING;
}

/* One head. Returns its length, 0 when more is needed, -1 when the connection takes nothing more.
 */
static ssize_t head_begin(struct http_server *server, struct conn *c, const uint8_t *p, size_t n)
{
    struct http_conn *h = c->session;
    const weir_http_options *o = &server->app->options;
    struct exchange *x = exchange_take(server, c);
    if (x == NULL) {
        refuse_busy(server, c);
        return -1;
    }
    ssize_t used = http1_parse_request(p, n, &h->resume, &server->app->limits, &x->request);
    if (used == 0) {
        head_unfinished(server, c, x);
        return 0;
    }
    request_begin(server, c, x);
    if (used > 0 || !http1_refusal_row(used)->close) {
        ssize_t refusal = used;
        used = (ssize_t)x->request.head_bytes;
        x->close = !x->request.keep_alive || o->no_keep_alive ||
                   (o->requests_max != 0 && h->requests >= o->requests_max);
        x->behind = anything_behind(&x->request, n - (size_t)used);
        if (refusal > 0)
            dispatch(x);
        else if (body_begin(x))
            refuse(x, refusal);
    } else {
        x->body_ended = true;
        refuse(x, used);
        used = -1;
    }
    exchange_step(x);
    return used;
}

static inline bool output_high(weir_loop *loop, struct conn *c)
{
    if (c->busy == NULL || ((conn_flags(c) & CONN_FILTERED) == 0 &&
                            c->busy->out.unsent_bytes <= c->service->config.soft_mark_bytes &&
                            c->busy->out.count <= LIMIT_SEGMENTS_MAX / 2))
        return false;
    return conn_marked(loop, c);
}

static size_t http_input(weir_loop *loop, struct conn *c, weir_view data)
{
    struct http_server *server = c->service->protocol;
    struct http_conn *h = c->session;
    const uint8_t *bytes = data.data;
    size_t at = 0;
    while (at < data.size && c->phase == CONN_OPEN && !h->refused) {
        struct exchange *x = active(server, h);
        ssize_t used;
        if ((x == NULL || x->on_body != NULL) && output_high(loop, c))
            used = 0; /* nothing that makes more output is begun until it has fallen */
        else if (x != NULL)
            used = (ssize_t)body_feed(x, bytes + at, data.size - at);
        else
            used = head_begin(server, c, bytes + at, data.size - at);
        if (used <= 0)
            break;
        at += (size_t)used;
    }
    if (c->phase != CONN_OPEN || h->refused) {
        if (at < data.size || h->refused)
            conn_flags(c) &= ~(uint32_t)CONN_LAST_INPUT; /* the client may be sending still */
        return data.size;
    }
    const struct exchange *x = active(server, h);
    if (x != NULL && at < data.size && !body_wanted(x))
        conn_pause(loop, c, CONN_PAUSED_PROTO);
    return at;
}

/* Idle time counts again. The timer runs on from before when the request was answered at once;
 * otherwise other deadlines have had it meanwhile. */
static void working_ends(weir_loop *loop, struct conn *c, bool at_once)
{
    struct http_conn *h = c->session;
    h->exchange = 0;
    conn_flags(c) &= ~(uint32_t)CONN_WORKING;
    if (!at_once || !wheel_started(&c->timer) || loop->net->draining)
        conn_deadline(loop, c);
}

void http_goes_on(struct http_server *server, struct conn *c, bool at_once)
{
    weir_loop *loop = server->loop;
    working_ends(loop, c, at_once);
    if ((conn_flags(c) & CONN_IN_CONSUMER) != 0)
        conn_flags(c) &= ~(uint32_t)CONN_PAUSED_PROTO;
    else
        conn_unpause(loop, c, CONN_PAUSED_PROTO);
    conn_dirty(loop, c);
}

/* A close with input unread makes the kernel send a reset, which can overtake the answer: only when
 * nothing is left and nothing is expected the connection may be closed without waiting for the
 * peer. */
void http_closes(struct http_server *server, struct conn *c, bool input_ended)
{
    const struct http_conn *h = c->session;
    bool held = (conn_flags(c) & CONN_IN_CONSUMER) == 0 && http_input_held(c);
    working_ends(server->loop, c, true); /* the close has deadlines of its own */
    if (input_ended && !h->refused && !held)
        conn_flags(c) |= CONN_LAST_INPUT;
    conn_close(server->loop, c);
}

/* The client finished its direction: what it asked for before is still answered. */
static void http_end(weir_loop *loop, struct conn *c, size_t held)
{
    struct exchange *x = active(c->service->protocol, c->session);
    if (x == NULL) {
        conn_close(loop, c);
        return;
    }
    x->close = true;
    if (!x->body_ended)
        body_cut(x, WEIR_EPROTO);
}

static void http_drain(weir_loop *loop, struct conn *c)
{
    struct exchange *x = active(c->service->protocol, c->session);
    if (x == NULL)
        return;
    if (x->has_body && !x->body_ended) /* it was we who did not read */
        body_clock_restart(x);
    /* Not at once: it would write more, and this flush go on for as long as the peer reads. */
    if (x->waits == WAIT_DRAIN)
        exchange_wake_later(x, 0);
}

static void http_close(weir_loop *loop, struct conn *c, weir_end end)
{
    struct http_conn *h = c->session;
    struct exchange *x = active(c->service->protocol, h);
    h->exchange = 0;
    if (x != NULL)
        exchange_abandon(x);
    if (h->peer != 0)
        accesslog_forget(c->service->protocol, h);
}

static bool http_due(weir_loop *loop, struct conn *c, uint32_t *due_ms, enum weir_deadline *which)
{
    enum { QUIET_MS = 500 }; /* a request may be on its way to a server that is being stopped */
    struct http_server *server = c->service->protocol;
    const struct http_conn *h = c->session;
    const struct exchange *x = active(server, h);
    if (h->head_began) {
        *due_ms = h->since_ms + server->app->options.header_ms;
        *which = WEIR_DEADLINE_HEADER;
        return server->app->options.header_ms != WEIR_OFF;
    }
    if (x != NULL && body_wanted(x)) {
        *due_ms = x->body_ms + server->app->options.body_ms;
        *which = WEIR_DEADLINE_BODY;
        return server->app->options.body_ms != WEIR_OFF;
    }
    if (x == NULL && loop->net->draining) {
        *due_ms = (c->received_bytes != 0 ? c->read_ms : c->opened_ms) + QUIET_MS;
        *which = WEIR_DEADLINE_IDLE;
        return true;
    }
    return false;
}

/* The head did not come to its end: that is told, and what may still come is not looked at. */
static bool header_expired(weir_loop *loop, struct conn *c)
{
    struct http_server *server = c->service->protocol;
    struct http_conn *h = c->session;
    struct exchange *x = exchange_take(server, c);
    if (x == NULL)
        return true;
    request_begin(server, c, x);
    h->refused = true;
    x->body_ended = x->close = true;
    loop->net->counters.deadlines[WEIR_DEADLINE_HEADER]++;
    answer_error(x, 408, "the head of the request did not come in time", NULL);
    exchange_step(x);
    return false;
}

/* Too little of the body came. Whoever reads it is told, and may answer; the connection then
 * closes. */
static bool body_expired(weir_loop *loop, struct conn *c, struct exchange *x)
{
    struct http_conn *h = c->session;
    if ((conn_flags(c) & (CONN_PAUSED_MARK | CONN_PAUSED_USER)) != 0 ||
        ((conn_flags(c) & CONN_PAUSED_BUDGET) != 0 && conn_unsent(c))) {
        body_clock_restart(x); /* it is we who do not read */
        return false;
    }
    if (body_progressed(x))
        return false;
    loop->net->counters.deadlines[WEIR_DEADLINE_BODY]++;
    h->refused = true;
    x->body_status = 408;
    body_cut(x, WEIR_ETIMEDOUT);
    return false;
}

static bool http_expired(weir_loop *loop, struct conn *c, enum weir_deadline which)
{
    struct exchange *x = active(c->service->protocol, c->session);
    if (which == WEIR_DEADLINE_HEADER && x == NULL)
        return header_expired(loop, c);
    return which != WEIR_DEADLINE_BODY || x == NULL || body_expired(loop, c, x);
}

/* The server is being stopped: answers say that they are the last one (see answer.c), and who is
 * idle gets a little time. */
static void http_drain_request(weir_loop *loop, struct conn *c)
{
    conn_deadline(loop, c);
}

static const struct consumer http_consumer = {
    .input = http_input,
    .end = http_end,
    .drain = http_drain,
    .close = http_close,
    .due = http_due,
    .expired = http_expired,
    .drain_request = http_drain_request,
    .hold_max = HTTP_HEAD_MAX,
};

static void http_free(void *protocol)
{
    struct http_server *server = protocol;
    if (server == NULL) /* it never began */
        return;
    exchange_cancel_all(server); /* handlers that wait for something else than their client */
    if (!list_empty(&server->waiting)) { /* they refer to it when they go on: better a leak */
        weir__log(WEIR_LOG_ERROR, WEIR_ETIMEDOUT, 0,
                  "loop %u: a server ended with handlers waiting; its memory is not freed",
                  server->loop->id);
        return;
    }
    mount_stop(server);
    accesslog_stop(server);
    exchange_unshare(server->loop, server->shared);
    weir__free(server->made);
    weir__free(server->lines);
    weir__free(server);
}

static int lines_make(struct http_server *server)
{
    static const char date[] = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    const weir_http_app *app = server->app;
    server->lines_size = sizeof date - 1 + app->extra_head_size;
    server->lines = weir__alloc(server->lines_size);
    server->made = weir__alloc(HTTP_MADE_ROOM + server->lines_size);
    if (server->lines == NULL || server->made == NULL)
        return WEIR_ENOMEM;
    memcpy(server->lines, date, sizeof date - 1);
    if (app->extra_head_size != 0)
        memcpy(server->lines + sizeof date - 1, app->extra_head, app->extra_head_size);
    return 0;
}

static void keep_alive_make(struct http_server *server, const struct service *service)
{
    uint32_t idle_s = service->config.idle_ms == WEIR_OFF ? 0 : service->config.idle_ms / 1000;
    char timeout[32] = "";
    if (idle_s != 0)
        snprintf(timeout, sizeof timeout, "Keep-Alive: timeout=%u\r\n", idle_s);
    server->keep_alive_size = (size_t)snprintf(server->keep_alive, sizeof server->keep_alive,
                                               "Connection: keep-alive\r\n%s", timeout);
}

static int http_start(weir_loop *loop, struct service *service, void *app)
{
    struct http_server *server = weir__zalloc(sizeof *server);
    if (server == NULL)
        return WEIR_ENOMEM;
    service->protocol = server;
    server->loop = loop;
    server->app = app;
    const weir_http_options *o = &server->app->options;
    struct stack_options stacks = {.stack_bytes = o->stack_bytes, .count_max = o->handlers_max};
    server->coroutines = co_pool_of(loop, &stacks);
    list_init(&server->waiting);
    server->shared = exchange_share(loop);
    int result = server->coroutines == NULL || server->shared == NULL ? WEIR_ENOMEM : 0;
    if (service->config.idle_ms == LIMIT_IDLE_MS)
        service->config.idle_ms = o->idle_ms;
    keep_alive_make(server, service);
    if (result == 0)
        result = lines_make(server);
    if (result == 0)
        result = mount_start(server);
    if (result == 0)
        result = accesslog_start(server);
    return result;
}

/* Rooms of a burst go back bit by bit. */
static bool http_trim(void *protocol)
{
    struct http_server *server = protocol;
    return object_pool_trim(&server->shared->rooms);
}

const struct weir_protocol http_protocol = {
    .consumer = &http_consumer,
    .session_size = sizeof(struct http_conn),
    .start = http_start,
    .free = http_free,
    .trim = http_trim,
};
