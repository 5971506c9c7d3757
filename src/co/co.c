#include "co/co.h"

#include <weir/error.h>

#include "base/alloc.h"
#include "base/list.h"
#include "co/switch.h"

enum co_state { CO_IDLE, CO_NEW, CO_RUNNING, CO_SUSPENDED };

#define CO_ALIGNMENT 64

/* What lies on the stack is not needed to find it again: a run starts from the top each time. */
struct co {
    struct stack stack; /* first: the stack pool's part of the record */
    switch_context context;
    struct co_pool *pool;
    uint8_t state; /* enum co_state */
    bool listed;   /* in pool->alive: was suspended since its run began, or began by co_start */
    bool waited, firm, at_end;
    struct list node;
    void (*fn)(void *); /* what it runs, for those who look from outside */
    void *arg;
    uint64_t room[CO_ROOM_BYTES / sizeof(uint64_t)];
} __attribute__((aligned(CO_ALIGNMENT)));

struct co_pool {
    switch_context loop; /* where the loop was left while a coroutine runs */
    struct co *spare;    /* the last that finished: its stack is hot */
    const void *thread;  /* &current of the owner */
    struct sanitize_flow flow;
    struct list alive;
    uint32_t alive_count, new_count; /* new_count: made, not started yet */
    uint64_t runs_waited;
    void (*on_end)(struct co *co, void *arg);
    void *on_end_arg;
    struct stack_pool stacks;
};

/* Also names the thread by its address. Coroutines never move, so a compiler that keeps the address
 * over a switch is right. */
static _Thread_local struct co *current __attribute__((tls_model("initial-exec")));

int co_pool_new(const struct stack_options *options, struct co_pool **out)
{
    struct co_pool *pool;
    int error;

    if (!switch_usable())
        return WEIR_ENOTSUP;
    pool = weir__zalloc(sizeof *pool);
    if (pool == NULL)
        return WEIR_ENOMEM;
    error = stack_pool_init(&pool->stacks, options, sizeof(struct co));
    if (error < 0) {
        weir__free(pool);
        return error;
    }
    list_init(&pool->alive);
    pool->thread = &current;
    *out = pool;
    return 0;
}

int co_pool_free(struct co_pool *pool)
{
    if (pool == NULL)
        return 0;
    if (pool->alive_count > 0 || pool->new_count > 0 || current != NULL)
        return WEIR_EMISUSE;
    if (pool->spare != NULL)
        stack_give(&pool->stacks, &pool->spare->stack);
    stack_pool_end(&pool->stacks);
    weir__free(pool);
    return 0;
}

/* A thread may take over a pool that has nothing halfway. */
static bool pool_adopt(struct co_pool *pool)
{
    if (current != NULL || pool->alive_count > 0 || pool->new_count > 0)
        return false;
    pool->thread = &current;
    return true;
}

static int spare_refill(struct co_pool *pool)
{
    struct stack *stack;
    int error = stack_take(&pool->stacks, &stack);

    if (error < 0)
        return error;
    pool->spare = weir_container(stack, struct co, stack);
    pool->spare->pool = pool;
    return 0;
}

/* After the first suspension since a run began: the stack is not the spare one any more. */
static void co_settle_suspended(struct co_pool *pool, struct co *co)
{
    stack_check(&co->stack);
    if (!co->waited)
        pool->runs_waited++;
    co->waited = true;
    if (co->listed)
        return;
    co->listed = true;
    list_push(&pool->alive, &co->node);
    pool->alive_count++;
    pool->spare = NULL;
}

/* The one that finished last becomes the spare one. */
static void co_settle_finished(struct co_pool *pool, struct co *co)
{
    stack_check(&co->stack);
    co->state = CO_IDLE;
    if (co->at_end) {
        co->at_end = false;
        pool->on_end(co, pool->on_end_arg);
    }
    if (!co->listed)
        return;
    co->listed = false;
    list_remove(&co->node);
    pool->alive_count--;
    if (pool->spare != NULL)
        stack_give(&pool->stacks, &pool->spare->stack);
    pool->spare = co;
}

/* Back on the loop's stack: who came back suspended has said so, who returned has not. */
static inline __attribute__((always_inline)) int co_settle(struct co_pool *pool, struct co *co)
{
    bool finished = co->state == CO_RUNNING;

    sanitize_leave(&pool->flow, &co->stack.flow, finished);
    current = NULL;
    if (finished)
        co_settle_finished(pool, co);
    else
        co_settle_suspended(pool, co);
    return finished;
}

/* The first run of a coroutine whose stack and function are set. */
static inline __attribute__((always_inline)) int co_begin(struct co_pool *pool, struct co *co)
{
    co->state = CO_RUNNING;
    co->waited = false;
    current = co;
    sanitize_enter(&pool->flow, &co->stack.flow);
    switch_run(&pool->loop, &co->context, co->stack.low, co->stack.high, co->fn, co->arg);
    return co_settle(pool, co);
}

int co_run(struct co_pool *pool, void (*fn)(void *arg), void *arg)
{
    struct co *co;

    if (current != NULL || (pool->thread != &current && !pool_adopt(pool)))
        return WEIR_EMISUSE;
    if (pool->spare == NULL) {
        int error = spare_refill(pool);

        if (error < 0)
            return error;
    }
    co = pool->spare;
    co->fn = fn;
    co->arg = arg;
    return co_begin(pool, co);
}

int co_new(struct co_pool *pool, void (*fn)(void *arg), void *arg, struct co **out)
{
    struct stack *stack;
    struct co *co;
    int error;

    if (pool->thread != &current && !pool_adopt(pool))
        return WEIR_EMISUSE;
    error = stack_take(&pool->stacks, &stack);
    if (error < 0)
        return error;
    co = weir_container(stack, struct co, stack);
    co->pool = pool;
    co->fn = fn;
    co->arg = arg;
    co->state = CO_NEW;
    pool->new_count++;
    *out = co;
    return 0;
}

int co_start(struct co *co)
{
    struct co_pool *pool = co->pool;

    if (current != NULL || pool->thread != &current || co->state != CO_NEW)
        return WEIR_EMISUSE;
    pool->new_count--;
    co->listed = true;
    list_push(&pool->alive, &co->node);
    pool->alive_count++;
    return co_begin(pool, co);
}

void *co_room(struct co *co)
{
    return co->room;
}

struct co *co_of_room(void *room)
{
    return weir_container(room, struct co, room);
}

void co_pool_on_end(struct co_pool *pool, void (*fn)(struct co *co, void *arg), void *arg)
{
    pool->on_end = fn;
    pool->on_end_arg = arg;
}

void co_at_end(struct co *co)
{
    co->at_end = true;
}

void co_firm(struct co *co, bool firm)
{
    co->firm = firm;
}

bool co_is_firm(const struct co *co)
{
    return co->firm;
}

intptr_t co_suspend(void)
{
    struct co *co = current;

    if (co == NULL)
        return WEIR_EMISUSE;
    co->state = CO_SUSPENDED;
    return (intptr_t)switch_swap(&co->context, &co->pool->loop, NULL);
}

int co_resume(struct co *co, intptr_t value)
{
    struct co_pool *pool = co->pool;

    if (current != NULL || pool->thread != &current || co->state != CO_SUSPENDED)
        return WEIR_EMISUSE;
    co->state = CO_RUNNING;
    current = co;
    sanitize_enter(&pool->flow, &co->stack.flow);
    switch_swap(&pool->loop, &co->context, (void *)value);
    return co_settle(pool, co);
}

struct co *co_current(void)
{
    return current;
}

struct co *co_next(struct co_pool *pool, struct co *after)
{
    struct list *node = after == NULL ? pool->alive.next : after->node.next;

    return node == &pool->alive ? NULL : weir_container(node, struct co, node);
}

size_t co_used_bytes(struct co *co)
{
    return stack_used_bytes(&co->pool->stacks, &co->stack);
}

uint32_t co_pool_shrink(struct co_pool *pool, uint32_t budget)
{
    return stack_pool_shrink(&pool->stacks, budget);
}

void co_pool_stats(const struct co_pool *pool, struct co_stats *out)
{
    out->alive = pool->alive_count;
    out->runs_waited = pool->runs_waited;
    stack_pool_stats(&pool->stacks, &out->stacks);
    if (pool->spare != NULL && pool->spare->state == CO_IDLE)
        out->stacks.taken--;
}
