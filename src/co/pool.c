/* Connections to others that are kept and lent out. Those of one address are a target: who waits
 * there gets what is given back before anybody else, be it the connection or the right to make
 * one, and holds it before he runs. */
#include <weir/co.h>
#include <weir/error.h>
#include <weir/outgoing.h>

#include <string.h>

#include "base/alloc.h"
#include "co/straight.h"
#include "co/waiters.h"
#include "loop/limits.h"

struct target {
    struct list link; /* in the pool */
    struct list idle; /* struct pooled.link: the one given back last is the last */
    struct waiters waiters;
    uint32_t count, idle_count; /* of connections: all, being made too; not lent */
    char url[];
};

struct pooled {
    struct list link; /* of the pool's lent ones; or of the target's idle ones, */
    struct list aged; /* and of the pool's: the oldest is the first */
    weir_conn conn;
    struct target *target;
    weir_time since; /* it was given back */
    uint64_t number; /* of its lending */
    bool lent;
};

struct weir_pool {
    weir_loop *loop;
    const weir_service *service;
    size_t service_size; /* as the program knows it */
    struct list targets, aged;
    struct list lent; /* struct pooled.link: the one lent last is the last */
    uint64_t lendings;
    uint32_t target_count, conn_count, conns_max, idle_max;
    uint64_t idle_ns; /* 0: for ever */
    weir_timer timer;
};

struct taker {
    struct waiter waiter;
    struct pooled *given; /* NULL: may make one */
};

/* --- targets ---------------------------------------------------------------------------------- */

static int target_get(weir_pool *pool, const char *url, struct target **out)
{
    struct target *target;
    for (struct list *link = pool->targets.next; link != &pool->targets; link = link->next) {
        *out = weir_container(link, struct target, link);
        if (strcmp((*out)->url, url) == 0)
            return 0;
    }
    if (pool->target_count == LIMIT_POOL_TARGETS)
        return WEIR_EFULL;
    size_t size = strlen(url) + 1;
    target = weir__zalloc(sizeof *target + size);
    if (target == NULL)
        return WEIR_ENOMEM;
    memcpy(target->url, url, size);
    list_init(&target->idle);
    list_push(&pool->targets, &target->link);
    pool->target_count++;
    *out = target;
    return 0;
}

/* One that has nothing and for which nobody waits goes. */
static void target_look(weir_pool *pool, struct target *target)
{
    if (target->count != 0 || target->waiters.first != NULL)
        return;
    list_remove(&target->link);
    pool->target_count--;
    weir__free(target);
}

/* Lets the first that waits have this, or the right to make one (NULL). False: nobody waits. */
static bool target_hand(struct target *target, struct pooled *pooled)
{
    struct waiter *first = target->waiters.first;
    if (first == NULL)
        return false;
    weir_container(first, struct taker, waiter)->given = pooled;
    waiters_wake(&target->waiters);
    return true;
}

/* A connection is no more, or did not come about: somebody else may make one. */
static void target_less(weir_pool *pool, struct target *target)
{
    if (target_hand(target, NULL))
        return;
    target->count--;
    pool->conn_count--;
    target_look(pool, target);
}

/* --- idle connections ------------------------------------------------------------------------- */

static void aged_look(weir_pool *pool);

/* Whoever calls has its place in the count. */
static void pooled_end(struct pooled *pooled)
{
    if (!pooled->lent) {
        list_remove(&pooled->link);
        list_remove(&pooled->aged);
        pooled->target->idle_count--;
    }
    weir_close(pooled->conn);
    weir__free(pooled);
}

static void aged_due(weir_timer *timer, void *arg)
{
    weir_pool *pool = arg;
    struct list *first;
    while ((first = pool->aged.next) != &pool->aged) {
        struct pooled *oldest = weir_container(first, struct pooled, aged);
        struct target *target = oldest->target;
        if (oldest->since + pool->idle_ns > pool->loop->now_ns)
            break;
        pooled_end(oldest);
        target_less(pool, target);
    }
    aged_look(pool);
}

static void aged_look(weir_pool *pool)
{
    if (pool->idle_ns == 0 || list_empty(&pool->aged)) {
        weir_timer_cancel(&pool->timer);
        return;
    }
    const struct pooled *oldest = weir_container(pool->aged.next, struct pooled, aged);
    weir_timer_start(&pool->timer, oldest->since + pool->idle_ns, aged_due, pool);
}

/* The one that was given back last, if a request may be sent on it: its peer has not finished, and
 * has said nothing that nobody has asked for. What has come is noticed while nobody receives, so no
 * call is made. The others end. */
static struct pooled *idle_take(weir_pool *pool, struct target *target)
{
    while (!list_empty(&target->idle)) {
        struct pooled *last = weir_container(target->idle.prev, struct pooled, link);
        list_remove(&last->link);
        list_remove(&last->aged);
        target->idle_count--;
        last->lent = true;
        if (receive_quiet(last->conn))
            return last;
        pooled_end(last);
        target->count--;
        pool->conn_count--;
    }
    return NULL;
}

/* --- lending ---------------------------------------------------------------------------------- */

/* It is counted already. */
static int pooled_make(weir_pool *pool, struct target *target, struct pooled **out,
                       weir_time deadline)
{
    struct pooled *pooled = weir__zalloc(sizeof *pooled);
    int result = pooled != NULL ? 0 : WEIR_ENOMEM;
    if (result == 0)
        result = weir__connect_wait(&pooled->conn, target->url, pool->service, pool->service_size,
                                    deadline);
    if (result < 0) {
        weir__free(pooled);
        target_less(pool, target);
        return result;
    }
    pooled->target = target;
    pooled->lent = true;
    *out = pooled;
    return 0;
}

static int taken(weir_pool *pool, struct target *target, struct pooled **out, weir_time deadline)
{
    struct taker taker = {.given = NULL};
    if (target->waiters.first == NULL) {
        *out = idle_take(pool, target);
        if (*out != NULL)
            return 0;
        if (target->count < pool->conns_max) {
            target->count++;
            pool->conn_count++;
            return pooled_make(pool, target, out, deadline);
        }
    }
    int result = waiters_wait(&target->waiters, &taker.waiter, deadline);
    if (result < 0) {
        target_look(pool, target);
        return result;
    }
    if (taker.given != NULL && receive_quiet(taker.given->conn)) {
        *out = taker.given;
        return 0;
    }
    if (taker.given != NULL)
        pooled_end(taker.given);
    return pooled_make(pool, target, out, deadline);
}

int weir_pool_take(weir_pool *pool, const char *url, weir_lease *out, weir_time deadline)
{
    struct target *target;
    struct pooled *pooled = NULL;
    if (out != NULL)
        *out = (weir_lease){.opaque = NULL};
    int result = co_wait_possible();
    if (result == 0 && (pool == NULL || url == NULL || out == NULL))
        result = WEIR_EINVALID;
    if (result == 0 && pool->loop != loop_current())
        result = WEIR_EMISUSE;
    if (result == 0)
        result = target_get(pool, url, &target);
    if (result == 0)
        result = taken(pool, target, &pooled, deadline);
    if (result < 0)
        return result;
    pooled->number = ++pool->lendings;
    list_push(&pool->lent, &pooled->link);
    *out = (weir_lease){.conn = pooled->conn, .opaque = pool, .number = pooled->number};
    aged_look(pool);
    return 0;
}

/* What a lease stands for, which may be a copy of one that was given back, when its connection is
 * no more or somebody else's: no number is lent twice. Most are given back soon. */
static struct pooled *lent_find(weir_pool *pool, uint64_t number)
{
    for (struct list *link = pool->lent.prev; link != &pool->lent; link = link->prev) {
        struct pooled *pooled = weir_container(link, struct pooled, link);
        if (pooled->number == number)
            return pooled;
    }
    return NULL;
}

int weir_pool_give(weir_lease *lease, bool good)
{
    if (loop_current() == NULL)
        return loop_none();
    if (lease == NULL || lease->opaque == NULL)
        return WEIR_EMISUSE;
    weir_pool *pool = lease->opaque;
    if (pool->loop != loop_current())
        return WEIR_EMISUSE;
    struct pooled *pooled = lent_find(pool, lease->number);
    if (pooled == NULL)
        return WEIR_EMISUSE;
    struct target *target = pooled->target;
    list_remove(&pooled->link);
    *lease = (weir_lease){.opaque = NULL};
    if (!good || !weir_conn_alive(pooled->conn)) {
        pooled_end(pooled);
        target_less(pool, target);
        return 0;
    }
    if (target_hand(target, pooled))
        return 0;
    if (target->idle_count >= pool->idle_max) {
        pooled_end(pooled);
        target_less(pool, target);
        return 0;
    }
    pooled->lent = false;
    pooled->since = pool->loop->now_ns;
    target->idle_count++;
    list_push(&target->idle, &pooled->link);
    list_push(&pool->aged, &pooled->aged);
    aged_look(pool);
    return 0;
}

uint32_t weir_pool_count(const weir_pool *pool)
{
    return pool != NULL ? pool->conn_count : 0;
}

/* --- life ------------------------------------------------------------------------------------- */

int weir__pool_make(weir_pool **out, const weir_pool_options *given, size_t size,
                    size_t service_size)
{
    weir_pool_options options = {0};
    weir_loop *loop = loop_current();
    if (loop == NULL)
        return loop_none();
    if (out == NULL)
        return WEIR_EINVALID;
    *out = NULL;
    if (given != NULL)
        memcpy(&options, given, size < sizeof options ? size : sizeof options);
    if (options.service != NULL && (!options.service->straight || options.service->on_conn != NULL))
        return WEIR_EINVALID;
    weir_pool *pool = weir__zalloc(sizeof *pool);
    if (pool == NULL)
        return WEIR_ENOMEM;
    limit_default(&options.conns_max, LIMIT_POOL_CONNS);
    limit_default(&options.idle_max, options.conns_max);
    limit_default(&options.idle_ms, LIMIT_POOL_IDLE_MS);
    pool->loop = loop;
    pool->service = options.service;
    pool->service_size = service_size;
    pool->conns_max = options.conns_max;
    pool->idle_max = options.idle_max;
    pool->idle_ns = options.idle_ms != WEIR_OFF ? options.idle_ms * WEIR_MS : 0;
    list_init(&pool->targets);
    list_init(&pool->aged);
    list_init(&pool->lent);
    *out = pool;
    return 0;
}

int weir_pool_free(weir_pool *pool)
{
    if (pool == NULL)
        return 0;
    if (pool->loop != loop_current())
        return WEIR_EMISUSE;
    for (struct list *link = pool->targets.next; link != &pool->targets; link = link->next) {
        const struct target *target = weir_container(link, struct target, link);
        if (target->count != target->idle_count || target->waiters.first != NULL)
            return WEIR_EMISUSE;
    }
    while (!list_empty(&pool->aged)) {
        struct pooled *pooled = weir_container(pool->aged.next, struct pooled, aged);
        struct target *target = pooled->target;
        pooled_end(pooled);
        target_less(pool, target);
    }
    weir_timer_cancel(&pool->timer);
    weir__free(pool);
    return 0;
}
