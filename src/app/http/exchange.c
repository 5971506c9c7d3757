/* An exchange's life: one request and its answer, from the head to the last byte queued. */
#include <string.h>

#include "app/http/server.h"
#include "base/alloc.h"
#include "base/assert.h"

static void handler_finished(weir_loop *loop, struct loop_ready *ready)
{
    exchange_step(weir_container(ready, struct exchange, ready));
}

struct exchange *exchange_take(struct http_server *server, struct conn *c)
{
    uint32_t slot;
    struct exchange *x = slab_take(&server->shared->exchanges, &slot);
    if (x == NULL)
        return NULL;
    x->room = object_take(&server->shared->rooms);
    if (x->room == NULL) {
        slab_give(&server->shared->exchanges, slot);
        return NULL;
    }
    server->exchanges++;
    x->slot = slot;
    x->server = server;
    x->conn = c;
    x->fields_from = HTTP_ARENA;
    x->ready.run = handler_finished;
    x->request.fields.row = x->room->rows;
    x->request.fields.capacity = HTTP1_FIELDS;
    return x;
}

void exchange_give(struct exchange *x)
{
    struct http_server *server = x->server;
    struct memory *memory = &server->loop->memory;
    if (x->big_head != NULL)
        memory_give(memory, x->big_head, x->big_head_room);
    if (x->piece != NULL)
        memory_give(memory, x->piece, x->piece_room);
    if (x->ready.link.next != NULL)
        list_remove(&x->ready.link);
    if (x->waiting.next != NULL)
        list_remove(&x->waiting);
    object_give(&server->shared->rooms, x->room);
    server->exchanges--;
    slab_give(&server->shared->exchanges, x->slot);
}

/* A handle is the loop, the exchange's slot and generation. */
weir_exchange exchange_handle(const struct exchange *x)
{
    uint64_t loop = x->server->loop->id;
    return (weir_exchange){loop << 54 | (uint64_t)x->slot << 30 | x->head.generation};
}

static struct http_shared *shared_of(weir_loop *loop)
{
    for (struct list *link = loop->net->services.next; link != &loop->net->services;
         link = link->next) {
        struct service *service = weir_container(link, struct service, link);
        struct http_server *server = service->protocol;
        if (service->config.protocol == &http_protocol && server != NULL && server->shared != NULL)
            return server->shared;
    }
    return NULL;
}

struct exchange *exchange_of(weir_exchange handle)
{
    weir_loop *loop = loop_current();
    if (loop == NULL || handle.id >> 54 != loop->id || loop->net == NULL)
        return NULL;
    struct http_shared *shared = shared_of(loop);
    struct exchange *x = shared != NULL
                             ? slab_at(&shared->exchanges, (uint32_t)(handle.id >> 30) & 0xffffffu)
                             : NULL;
    return x != NULL && x->head.generation == (handle.id & 0x3fffffffu) ? x : NULL;
}

struct http_shared *exchange_share(weir_loop *loop)
{
    struct http_shared *shared = shared_of(loop);
    if (shared != NULL) {
        shared->refs++;
        return shared;
    }
    shared = weir__zalloc(sizeof *shared);
    if (shared == NULL)
        return NULL;
    shared->refs = 1;
    object_pool_init(&shared->rooms, sizeof(struct room));
    if (slab_init(&shared->exchanges, (sizeof(struct exchange) + 63) / 64 * 64,
                  HTTP_EXCHANGES_MAX) == 0)
        return shared;
    weir__free(shared);
    return NULL;
}

void exchange_unshare(struct http_shared *shared)
{
    if (shared == NULL || --shared->refs != 0)
        return;
    slab_free(&shared->exchanges);
    object_pool_end(&shared->rooms);
    weir__free(shared);
}

void *exchange_alloc(struct exchange *x, size_t size)
{
    if (size > x->fields_from - x->arena_used)
        return NULL;
    void *memory = x->room->arena + x->arena_used;
    x->arena_used += (uint32_t)size;
    return memory;
}

bool exchange_keep_head(struct exchange *x)
{
    struct http1_fields *fields = &x->request.fields;
    uint32_t size = x->request.head_bytes;
    if (fields->base == NULL || x->head_kept)
        return true;
    /* Half of the arena at most: the rest is for parameters and the answer's fields. */
    void *copy = size <= HTTP_ARENA / 2 ? exchange_alloc(x, size) : NULL;
    if (copy == NULL) {
        x->big_head = memory_take(&x->server->loop->memory, size, false, &x->big_head_room);
        copy = x->big_head;
    }
    if (copy == NULL)
        return false;
    memcpy(copy, fields->base, size);
    fields->base = copy;
    x->head_kept = true;
    return true;
}

static void handler_main(void *arg)
{
    struct exchange *x = arg;
    x->task = co_current();
    x->route.fn(exchange_handle(x), x->route.user);
    x->handler_running = false;
    if (x->detached)
        loop_ready_add(x->server->loop, &x->ready);
}

void exchange_run(struct exchange *x)
{
    x->plain = (x->route.flags & WEIR_HTTP_PLAIN) != 0;
    x->handler_running = true;
    if (x->plain) {
        x->route.fn(exchange_handle(x), x->route.user);
        x->handler_running = false;
        if (x->answer != ANSWER_ENDED && x->conn != NULL && !exchange_keep_head(x))
            answer_error(x, 503, "out of memory", NULL);
        return;
    }
    int result =
        exchange_keep_head(x) ? co_run(x->server->coroutines, handler_main, x) : WEIR_ENOMEM;
    if (result == 0) {
        x->detached = true;
        x->server->waited++;
        list_push(&x->server->waiting, &x->waiting);
    } else if (result < 0) {
        x->handler_running = false;
        answer_error(x, 503, "too many requests are being worked on", "try again in a moment");
    }
}

/* What became of a handler that has returned without a whole answer. */
static void answer_complete(struct exchange *x)
{
    if (x->answer == ANSWER_NONE)
        answer_error(x, x->body_status != 0 ? x->body_status : 500,
                     x->body_status != 0 ? NULL : "the handler gave no answer", NULL);
    else if (x->answer == ANSWER_BEGUN && weir_http_end(exchange_handle(x)) < 0 && x->conn != NULL)
        conn_fail(x->server->loop, x->conn, WEIR_WHY_ERROR, WEIR_ETORN);
}

bool exchange_step(struct exchange *x)
{
    struct http_server *server = x->server;
    if (x->handler_running)
        return false;
    if (x->conn == NULL) {
        exchange_give(x);
        return true;
    }
    if (!x->plain && x->answer != ANSWER_ENDED)
        answer_complete(x);
    if (x->conn == NULL || x->answer != ANSWER_ENDED)
        return false;
    struct conn *c = x->conn;
    accesslog_add(x); /* now: the head may not be there any more when the body has been read away */
    if (!x->body_ended && !x->close) {
        if (body_discardable(x))
            return false; /* body_feed reads it away and comes here again */
        x->close = true;
    }
    bool close = x->close, body_ended = x->body_ended;
    struct http_conn *h = c->session;
    exchange_give(x);
    if (!close) {
        http_goes_on(server->loop, c);
        return true;
    }
    h->exchange = 0;
    if (body_ended && !h->refused)
        conn_flags(c) |= CONN_LAST_INPUT;
    conn_close(server->loop, c);
    return true;
}

void exchange_abandon(struct exchange *x)
{
    accesslog_add(x);
    x->conn = NULL;
    x->close = true;
    if (x->on_body != NULL && !x->body_ended) {
        x->body_ended = true;
        x->on_body(exchange_handle(x), weir_bytes(NULL, 0), WEIR_EGONE, x->on_body_arg);
    }
    if (x->waits != WAIT_NONE)
        exchange_wake(x, WEIR_EGONE);
    else if (!x->handler_running)
        exchange_give(x);
}

void exchange_cancel_all(struct http_server *server)
{
    enum { ROUNDS = 1 << 20 };
    weir_loop *loop = server->loop;
    bool former = loop->coroutines_ending;
    loop->coroutines_ending = true; /* those that wait again are answered at once */
    for (int i = 0; i < ROUNDS && !list_empty(&server->waiting); i++) {
        struct exchange *x = weir_container(server->waiting.next, struct exchange, waiting);
        if (x->handler_running && co_resume(x->task, WEIR_ECANCELED) < 0)
            break;
        loop_ready_run(loop);
    }
    loop->coroutines_ending = former;
}

static void wait_over(weir_timer *timer, void *arg)
{
    exchange_wake(arg, WEIR_ETIMEDOUT);
}

int exchange_wait(struct exchange *x, enum exchange_wait what, weir_time deadline)
{
    weir_loop *loop = x->server->loop;
    struct co *co = co_current();
    if (co == NULL || x->plain)
        return WEIR_EMISUSE;
    if (loop->coroutines_ending)
        return WEIR_ECANCELED;
    if (deadline <= loop->now_ns)
        return WEIR_ETIMEDOUT;
    if (deadline != WEIR_NEVER)
        weir_timer_start(&x->timer, deadline, wait_over, x);
    x->co = co;
    x->waits = (uint8_t)what;
    int value = (int)co_suspend();
    x->waits = WAIT_NONE;
    x->co = NULL;
    weir_timer_cancel(&x->timer);
    return value;
}

void exchange_wake(struct exchange *x, int value)
{
    struct co *co = x->co;
    if (co == NULL)
        return;
    x->co = NULL;
    x->waits = WAIT_NONE;
    co_resume(co, value);
}
