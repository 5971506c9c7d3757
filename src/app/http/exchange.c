/* An exchange's life: one request and its answer, from the head to the last byte queued. */
#include <string.h>

#include "app/http/server.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/clock.h"
#include "co/loop_co.h"
#include "co/scope.h"
#include "co/wait.h"

enum { GENERATION_LAST = (1 << SLAB_GENERATION_BITS) - 1 };

/* What verbs leave to be done: a wake, or a step. */
static void exchange_ready(weir_loop *loop, struct loop_ready *ready)
{
    struct exchange *x = weir_container(ready, struct exchange, ready);
    if (x->woken && x->co != NULL) {
        exchange_wake(x, x->wake_value);
        return;
    }
    x->woken = false;
    if (x->body_ended && x->on_body != NULL)
        body_tell_end(x, x->body_error);
    exchange_step(x);
}

void exchange_later(struct exchange *x)
{
    loop_ready_add(x->server->loop, &x->ready);
}

static struct exchange *exchange_new(struct http_shared *shared)
{
    uint32_t slot;
    struct exchange *x = slab_take(&shared->exchanges, &slot);
    if (x == NULL)
        return NULL;
    x->room = object_take(&shared->rooms);
    if (x->room == NULL) {
        slab_give(&shared->exchanges, slot);
        return NULL;
    }
    x->slot = slot;
    x->request.fields.row = x->room->rows;
    x->request.fields.capacity = HTTP1_FIELDS;
    x->ready.run = exchange_ready;
    list_init(&x->ready.link);
    list_init(&x->waiting);
    return x;
}

/* In two halves: a memset of the whole becomes a string instruction, which takes its time. */
static inline void exchange_clear(struct exchange *x)
{
    enum {
        FROM = offsetof(struct exchange, arena_used),
        SIZE = sizeof(struct exchange) - FROM,
        HALF = SIZE / 32 * 16
    };
    memset((char *)x + FROM, 0, HALF);
    memset((char *)x + FROM + HALF, 0, SIZE - HALF);
}

struct exchange *exchange_take(struct http_server *server, struct conn *c)
{
    struct http_shared *shared = server->shared;
    struct exchange *x = shared->spare;
    if (x != NULL)
        shared->spare = NULL;
    else if ((x = exchange_new(shared)) == NULL)
        return NULL;
    exchange_clear(x);
    x->server = server;
    x->conn = c;
    x->fields = x->room->fields;
    x->fields_room = HTTP_FIELDS;
    x->request.fields.base = NULL; /* nothing is parsed yet */
    server->exchanges++;
    return x;
}

static void chunks_give(struct exchange *x)
{
    struct memory *memory = &x->server->loop->memory;
    body_piece_give(x);
    if (x->fields != x->room->fields)
        memory_give(memory, x->fields, x->fields_room);
    while (x->more != NULL) {
        struct arena_more *next = x->more->next;
        memory_give(memory, x->more, x->more->room);
        x->more = next;
    }
}

/* The last one that ended is kept as it is for the next request: only its handle becomes stale. */
void exchange_give(struct exchange *x)
{
    struct http_server *server = x->server;
    struct http_shared *shared = server->shared;
    if (x->more != NULL || x->piece != NULL || x->fields != x->room->fields)
        chunks_give(x);
    if (!list_empty(&x->ready.link))
        list_remove(&x->ready.link);
    if (!list_empty(&x->waiting))
        list_remove(&x->waiting);
    server->exchanges--;
    if (shared->spare == NULL && x->head.generation != GENERATION_LAST) {
        x->head.generation++;
        shared->spare = x;
        return;
    }
    object_give(&shared->rooms, x->room);
    slab_give(&shared->exchanges, x->slot);
}

/* A handle is the loop, the exchange's slot and generation. */
weir_exchange exchange_handle(const struct exchange *x)
{
    uint64_t loop = x->server->loop->id;
    return (weir_exchange){loop << 54 | (uint64_t)x->slot << 30 | x->head.generation};
}

struct exchange *exchange_of(weir_exchange handle)
{
    weir_loop *loop = loop_current();
    if (loop == NULL || handle.id >> 54 != loop->id || loop->http == NULL)
        return NULL;
    struct exchange *x = slab_at(&loop->http->exchanges, (uint32_t)(handle.id >> 30) & 0xffffffu);
    return x != NULL && x->head.generation == (handle.id & 0x3fffffffu) ? x : NULL;
}

struct http_shared *exchange_share(weir_loop *loop)
{
    struct http_shared *shared = loop->http;
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
                  HTTP_EXCHANGES_MAX) == 0) {
        slab_begin_at(&shared->exchanges, loop->generation);
        loop->http = shared;
        return shared;
    }
    weir__free(shared);
    return NULL;
}

void exchange_unshare(weir_loop *loop, struct http_shared *shared)
{
    if (shared == NULL || --shared->refs != 0)
        return;
    if (shared->spare != NULL) {
        object_give(&shared->rooms, shared->spare->room);
        slab_give(&shared->exchanges, shared->spare->slot);
    }
    /* Those of a later server count on, so that a handle of this one's stays stale. */
    uint32_t generation = slab_generation_next(&shared->exchanges);
    if (generation > loop->generation)
        loop->generation = generation;
    loop->http = NULL;
    slab_free(&shared->exchanges);
    object_pool_end(&shared->rooms);
    weir__free(shared);
}

/* Beyond the arena: from a chunk, of which there may be several. */
static void *alloc_more(struct exchange *x, size_t size)
{
    struct arena_more *more = x->more;
    if (more == NULL || size > more->room - more->used) {
        size_t room, wanted = size + sizeof *more;
        if (size > HTTP_ARENA_MAX - x->more_bytes)
            return NULL;
        more = memory_take(&x->server->loop->memory, wanted, true, &room);
        if (more == NULL)
            return NULL;
        *more = (struct arena_more){x->more, (uint32_t)room, sizeof *more};
        x->more = more;
        x->more_bytes += (uint32_t)size;
    }
    void *memory = (char *)more + more->used;
    more->used += (uint32_t)size;
    return memory;
}

void *exchange_alloc(struct exchange *x, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    if (size > HTTP_ARENA - x->arena_used)
        return alloc_more(x, size);
    void *memory = x->room->arena + x->arena_used;
    x->arena_used += (uint32_t)size;
    return memory;
}

bool exchange_keep_head(struct exchange *x)
{
    struct http1_fields *fields = &x->request.fields;
    if (fields->base == NULL || x->head_kept)
        return true;
    void *copy = exchange_alloc(x, x->request.head_bytes);
    if (copy == NULL)
        return false;
    memcpy(copy, fields->base, x->request.head_bytes);
    fields->base = copy;
    x->head_kept = true;
    return true;
}

static void handler_main(void *arg)
{
    struct exchange *x = arg;
    x->task = co_current();
    co_local(x->task)->code = (void (*)(void))x->route.fn;
    x->route.fn(exchange_handle(x), x->route.user);
    x->handler_running = false;
    if (x->detached)
        exchange_later(x);
}

static void run_busy(struct exchange *x, const char *cause)
{
    x->handler_running = false;
    answer_busy(x, cause);
}

void exchange_run(struct exchange *x)
{
    if (conn_overdue(x->server->loop, x->conn, x->server->app->options.shed_ms)) {
        x->server->shed++;
        answer_busy(x, "the server is overloaded: the request has waited too long");
        return;
    }
    x->handler_running = true;
    if ((x->route.flags & WEIR_HTTP_PLAIN) != 0) {
        x->plain = true;
        x->route.fn(exchange_handle(x), x->route.user);
        x->handler_running = false;
        if (x->answer != ANSWER_ENDED && !exchange_keep_head(x)) {
            if (x->answer == ANSWER_NONE)
                run_busy(x, "out of memory");
            else
                conn_fail(x->server->loop, x->conn, WEIR_WHY_LIMIT, WEIR_ENOMEM);
        }
        return;
    }
    if (!exchange_keep_head(x)) {
        run_busy(x, "out of memory");
        return;
    }
    int result = co_run(x->server->coroutines, handler_main, x);
    if (result == 0) {
        x->detached = true;
        x->server->waited++;
        list_push(&x->server->waiting, &x->waiting);
    } else if (result < 0) {
        run_busy(x, "too many requests are being worked on");
    }
}

/* What became of a handler that has returned without a whole answer. One that was begun is not
 * ended for it: nobody should take a part for the whole. */
static void answer_complete(struct exchange *x)
{
    if (x->answer == ANSWER_NONE)
        answer_instead(x, x->body_status != 0 ? x->body_status : 500,
                       x->body_status != 0 ? NULL : "the handler gave no answer");
    else if (x->answer_left == 0)
        answer_ended(x); /* all that was promised */
    else
        conn_fail(x->server->loop, x->conn, WEIR_WHY_ERROR, WEIR_ETORN);
}

/* The last step: the connection goes on with its next request, or closes. */
static void exchange_over(struct exchange *x)
{
    struct http_server *server = x->server;
    struct conn *c = x->conn;
    bool close = x->close, body_ended = x->body_ended;
    bool at_once = !x->has_body && (conn_flags(c) & CONN_IN_CONSUMER) != 0 &&
                   x->began_ns == server->loop->now_ns;
    if (x->detached)
        net_trim_later(server->loop); /* stacks and rooms that a burst needed */
    exchange_give(x);
    if (close)
        http_closes(server, c, body_ended);
    else
        http_goes_on(server, c, at_once);
}

void exchange_step(struct exchange *x)
{
    if (x->handler_running)
        return;
    if (x->conn == NULL) {
        exchange_give(x);
        return;
    }
    if (x->answer < ANSWER_SOURCE && !x->plain)
        answer_complete(x);
    if (x->answer != ANSWER_ENDED)
        return; /* goes on later; or the connection has failed, and ends it */
    if (!x->body_told && x->on_body != NULL)
        body_tell_end(x, WEIR_ECANCELED);
    if (x->server->log != NULL)
        accesslog_add(x); /* now: the head may be gone when the body has been read away */
    if (!x->body_ended && !x->close) {
        if (body_discardable(x)) {
            body_want(x); /* body_feed reads it away and comes here again */
            return;
        }
        x->close = true;
    }
    exchange_over(x);
}

void exchange_abandon(struct exchange *x)
{
    accesslog_add(x);
    x->conn = NULL;
    x->close = true;
    x->body_ended = true;
    if (x->body_error == 0)
        x->body_error = WEIR_EGONE;
    if (!x->body_told && x->on_body != NULL)
        body_tell_end(x, WEIR_EGONE);
    if (!x->handler_running && x->waits == WAIT_NONE) {
        exchange_give(x);
        return;
    }
    const struct co *waiter = x->co; /* perhaps another one, which the handler has spawned */
    if (x->waits != WAIT_NONE)
        exchange_wake(x, WEIR_EGONE);
    if (x->handler_running && x->detached && x->task != waiter)
        co_tell(x->task, WEIR_EGONE); /* it waits for something else than its client */
}

/* Resumes the handlers of a server that can be, each once. Only they see that waits are canceled:
 * those of other servers are not run meanwhile. */
static bool cancel_each(struct http_server *server)
{
    weir_loop *loop = server->loop;
    struct list *link = server->waiting.next;
    while (link != &server->waiting) {
        struct exchange *x = weir_container(link, struct exchange, waiting);
        link = link->next;
        if (x->handler_running && co_is_firm(x->task)) { /* for a worker, or its own scope */
            scopes_hasten(x->task);
            continue;
        }
        bool former = loop->coroutines_ending;
        loop->coroutines_ending = true; /* those that wait again are answered at once */
        bool resumed = !x->handler_running || co_resume(x->task, WEIR_ECANCELED) >= 0;
        loop->coroutines_ending = former;
        if (!resumed)
            return false;
        exchange_step(x); /* its client is gone: it is over, when its handler is */
    }
    return true;
}

void exchange_cancel_all(struct http_server *server)
{
    uint64_t until_ns = weir__clock_now_ns() + LIMIT_END_MS * WEIR_MS;
    while (cancel_each(server) && !list_empty(&server->waiting)) {
        if (weir__clock_now_ns() > until_ns)
            return;
        co_cancel_loose(server->loop); /* whom firm ones may wait for */
        co_pump(server->loop);         /* which may end any of them */
    }
}

static void wait_over(weir_timer *timer, void *arg)
{
    exchange_wake(arg, WEIR_ETIMEDOUT);
}

bool exchange_waits_possible(const struct exchange *x)
{
    return !x->plain && x->co == NULL && co_current() != NULL;
}

int exchange_wait(struct exchange *x, enum exchange_wait what, weir_time deadline)
{
    weir_loop *loop = x->server->loop;
    if (!exchange_waits_possible(x))
        return WEIR_EMISUSE;
    int value = co_wait_possible();
    if (value < 0)
        return value;
    if (deadline <= loop->now_ns)
        return WEIR_ETIMEDOUT;
    if (deadline != WEIR_NEVER)
        weir_timer_start(&x->timer, deadline, wait_over, x);
    x->co = co_current();
    x->waits = (uint8_t)what;
    value = (int)co_suspend();
    x->waits = WAIT_NONE;
    x->co = NULL;
    x->woken = false; /* its scope may have been faster: that wake is not the next wait's */
    if (deadline != WEIR_NEVER)
        weir_timer_cancel(&x->timer);
    return value;
}

void exchange_wake(struct exchange *x, int value)
{
    struct co *co = x->co;
    if (co == NULL)
        return;
    if (x->woken) {
        x->woken = false;
        if (!list_empty(&x->ready.link))
            list_remove(&x->ready.link);
    }
    x->co = NULL;
    x->waits = WAIT_NONE;
    co_resume(co, value);
}

void exchange_wake_later(struct exchange *x, int value)
{
    if (x->co == NULL || x->woken)
        return;
    x->woken = true;
    x->wake_value = value;
    exchange_later(x);
}
