#include "co/co.h"

#include <weir/error.h>
#include <weir/module.h>

#include "base/alloc.h"

_Thread_local struct co *weir__co_current __attribute__((tls_model("initial-exec")));

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
    pool->thread = &weir__co_current;
    *out = pool;
    return 0;
}

int co_pool_free(struct co_pool *pool)
{
    if (pool == NULL)
        return 0;
    if (pool->alive_count > 0 || pool->new_count > 0 || weir__co_current != NULL)
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
    if (weir__co_current != NULL || pool->alive_count > 0 || pool->new_count > 0)
        return false;
    pool->thread = &weir__co_current;
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
void weir__co_settle_suspended(struct co_pool *pool, struct co *co)
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
void weir__co_settle_finished(struct co_pool *pool, struct co *co)
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

/* The first run of a coroutine whose stack and function are set. */
static inline __attribute__((always_inline)) int co_begin(struct co_pool *pool, struct co *co)
{
    co->state = CO_RUNNING;
    co->waited = false;
    weir__co_current = co;
    sanitize_enter(&pool->flow, &co->stack.flow);
    switch_run(&pool->loop, &co->context, co->stack.low, co->stack.high, co->fn, co->arg);
    return co_settle(pool, co);
}

int co_run(struct co_pool *pool, void (*fn)(void *arg), void *arg)
{
    struct co *co;

    if (weir__co_current != NULL || (pool->thread != &weir__co_current && !pool_adopt(pool)))
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

    if (pool->thread != &weir__co_current && !pool_adopt(pool))
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

    if (weir__co_current != NULL || pool->thread != &weir__co_current || co->state != CO_NEW)
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
    out->stack_bytes = pool->stacks.options.stack_bytes;
    stack_pool_stats(&pool->stacks, &out->stacks);
    if (pool->spare != NULL && pool->spare->state == CO_IDLE)
        out->stacks.taken--;
}

const struct stack *co_stack(const struct co *co)
{
    return &co->stack;
}

struct co *co_of_stack(struct stack *stack)
{
    return weir_container(stack, struct co, stack);
}

void co_pool_measure(struct co_pool *pool, uint32_t budget)
{
    uint32_t left = budget;

    for (struct co *co = NULL; left > 0 && (co = co_next(pool, co)) != NULL; left--)
        co_used_bytes(co);
    stack_pool_measure(&pool->stacks, budget);
}

const struct weir__debugger_co co_debugger = {
    .pool_alive = offsetof(struct co_pool, alive),
    .co_node = offsetof(struct co, node),
    .co_state = offsetof(struct co, state),
    .state_suspended = CO_SUSPENDED,
    .co_sp = offsetof(struct co, context), /* of the assembly: the stack pointer */
    .co_low = offsetof(struct co, stack.low),
    .co_high = offsetof(struct co, stack.high),
    .co_fn = offsetof(struct co, fn),
    .co_room = offsetof(struct co, room),
};
