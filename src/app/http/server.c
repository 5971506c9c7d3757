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
    return h->exchange != 0 ? slab_at(&server->shared->exchanges, h->exchange - 1) : NULL;
}

void http_date(struct http_server *server)
{
    if (server->loop->now_ns < server->date_until_ns)
        return;
    uint64_t wall_ns = weir__clock_wall_ns(), now_s = wall_ns / WEIR_S;
    server->date_until_ns = server->loop->now_ns + (now_s + 1) * WEIR_S - wall_ns;
    server->date_s = now_s;
    http_date_format((int64_t)now_s, server->date);
}

/* Refused by the codec: answered, and closed, for where the next request begins is in doubt. */
static void refuse(struct exchange *x, ssize_t refusal)
{
    const struct http1_refusal_row *row = http1_refusal_row(refusal);
    x->server->refused++;
    x->refusal = true;
    x->close = x->close || row->close;
    answer_error(x, row->status, row->text, NULL);
}

static void dispatch(struct exchange *x)
{
    const weir_http_options *o = &x->server->app->options;
    char allowed[128];
    int result =
        http1_body_begin_request(&x->body, &x->request, &x->server->app->limits, o->body_max_bytes);
    x->has_body = x->request.chunked || x->request.content_length != 0;
    x->body_ended = !x->has_body;
    x->expects = x->request.expect_continue && x->has_body;
    if (result < 0) {
        x->close = true;
        refuse(x, result);
        return;
    }
    int status = route_find(x->server->app->routes, x, allowed, sizeof allowed);
    if (status == 0) {
        exchange_run(x);
        return;
    }
    if (status == 405 || status == 204)
        weir_http_set(exchange_handle(x), "Allow", allowed);
    if (status == 204)
        answer_whole(x, 204, NULL, weir_bytes(NULL, 0));
    else
        answer_error(x, (unsigned)status, NULL, NULL);
}

/* One head. Returns its length, 0 when more is needed, -1 when the connection takes nothing more.
 */
static ssize_t head_begin(struct http_server *server, struct conn *c, const uint8_t *p, size_t n)
{
    struct http_conn *h = c->session;
    struct exchange *x = exchange_take(server, c);
    if (x == NULL) {
        conn_close_why(server->loop, c, WEIR_WHY_LIMIT, WEIR_EFULL);
        return -1;
    }
    ssize_t used = http1_parse_request(p, n, &h->resume, &server->app->limits, &x->request);
    if (used == 0) {
        exchange_give(x);
        if (!h->head_began) {
            h->head_began = true;
            h->since_ms = server->loop->now_ms;
            conn_dirty(server->loop, c); /* the header deadline begins */
        }
        return 0;
    }
    memset(&h->resume, 0, sizeof h->resume);
    h->head_began = false;
    h->requests++;
    h->exchange = x->slot + 1;
    server->requests++;
    x->began_ns = server->loop->now_ns;
    const weir_http_options *o = &server->app->options;
    bool last = o->requests_max != 0 && h->requests >= o->requests_max;
    if (used > 0) {
        x->close =
            !x->request.keep_alive || o->no_keep_alive || last || server->loop->net->draining;
        dispatch(x);
    } else {
        x->body_ended = true;
        x->close = true;
        h->refused = http1_refusal_row(used)->close;
        refuse(x, used);
        used = h->refused ? -1 : (ssize_t)x->request.head_bytes;
    }
    exchange_step(x);
    return used;
}

/* Output above the soft mark: no further request is begun until it has fallen. */
static bool output_high(weir_loop *loop, struct conn *c)
{
    if (c->busy == NULL || c->busy->out.unsent_bytes <= c->service->config.soft_mark_bytes)
        return false;
    conn_flags(c) |= CONN_PAUSED_MARK | CONN_DRAIN_OWED;
    conn_dirty(loop, c);
    return true;
}

static size_t http_input(weir_loop *loop, struct conn *c, weir_view data)
{
    struct http_server *server = c->service->protocol;
    struct http_conn *h = c->session;
    const uint8_t *bytes = data.data;
    size_t at = 0;
    while (at < data.size && c->phase == CONN_OPEN && !h->refused) {
        struct exchange *x = active(server, h);
        if (x != NULL) {
            size_t used = body_feed(x, bytes + at, data.size - at);
            at += used;
            if (used == 0)
                break;
            continue;
        }
        if (output_high(loop, c))
            break;
        ssize_t used = head_begin(server, c, bytes + at, data.size - at);
        if (used <= 0) {
            if (used < 0)
                at = data.size;
            break;
        }
        at += (size_t)used;
    }
    if (c->phase != CONN_OPEN || h->refused)
        return data.size;
    if (h->exchange != 0 && at < data.size)
        conn_pause(loop, c, CONN_PAUSED_PROTO);
    return at;
}

void http_goes_on(weir_loop *loop, struct conn *c)
{
    struct http_conn *h = c->session;
    h->exchange = 0;
    if ((conn_flags(c) & CONN_IN_CONSUMER) != 0)
        conn_flags(c) &= ~(uint32_t)CONN_PAUSED_PROTO;
    else
        conn_unpause(loop, c, CONN_PAUSED_PROTO);
    conn_dirty(loop, c);
}

/* The client finished its direction: what it asked for before is still answered. */
static void http_end(weir_loop *loop, struct conn *c, size_t held)
{
    struct http_server *server = c->service->protocol;
    struct exchange *x = active(server, c->session);
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
    if (x != NULL && x->waits == WAIT_DRAIN)
        exchange_wake(x, 0);
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
    if (x != NULL && !x->body_ended && body_wanted(x)) {
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

/* A head that does not come to its end is answered; so is a body, if nothing is said yet. */
static bool http_expired(weir_loop *loop, struct conn *c, enum weir_deadline which)
{
    struct http_server *server = c->service->protocol;
    struct http_conn *h = c->session;
    struct exchange *x = active(server, h);
    if (which == WEIR_DEADLINE_BODY && x != NULL) {
        if (x->body.received - x->body_mark >= LIMIT_WRITE_PROGRESS) {
            x->body_mark = x->body.received;
            x->body_ms = loop->now_ms;
            return false;
        }
        body_cut(x, WEIR_ETIMEDOUT);
        return active(server, h) == x && x->answer != ANSWER_ENDED;
    }
    if (x != NULL)
        return true;
    x = exchange_take(server, c);
    if (x == NULL)
        return true;
    h->head_began = false;
    h->exchange = x->slot + 1;
    x->body_ended = x->close = x->refusal = true;
    loop->net->counters.deadlines[which]++;
    answer_error(x, 408, "the head of the request did not come in time", NULL);
    exchange_step(x);
    return false;
}

static void http_drain_request(weir_loop *loop, struct conn *c)
{
    struct exchange *x = active(c->service->protocol, c->session);
    if (x != NULL && x->answer == ANSWER_NONE)
        x->close = true;
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
    .hold_max = 65536,
};

static void http_free(void *protocol)
{
    struct http_server *server = protocol;
    if (server == NULL) /* it never began */
        return;
    exchange_cancel_all(server); /* handlers that wait for something else than their client */
    mount_stop(server);
    accesslog_stop(server);
    exchange_unshare(server->shared);
    weir__free(server);
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
    uint32_t idle_s = service->config.idle_ms / 1000;
    if (idle_s != 0 && service->config.idle_ms != WEIR_OFF)
        server->keep_alive_size =
            (size_t)snprintf(server->keep_alive, sizeof server->keep_alive,
                             "Connection: keep-alive\r\nKeep-Alive: timeout=%u\r\n", idle_s);
    if (result == 0)
        result = mount_start(server);
    if (result == 0)
        result = accesslog_start(server);
    return result;
}

const struct weir_protocol http_protocol = {
    .consumer = &http_consumer,
    .session_size = sizeof(struct http_conn),
    .start = http_start,
    .free = http_free,
};
