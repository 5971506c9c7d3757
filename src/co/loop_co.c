#include "co/loop_co.h"

#include <weir/error.h>
#include <weir/module.h>
#include <weir/stats.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "co/held.h"
#include "co/overflow.h"
#include "co/scope.h"
#include "co/straight.h"
#include "co/switch.h"

#if WEIR_SWITCH_UCONTEXT
enum { SWITCH_FRAME = 0 };
#elif defined(__x86_64__)
enum { SWITCH_FRAME = 1 };
#else
enum { SWITCH_FRAME = 2 };
#endif

__attribute__((used)) const weir__debugger_layout weir__debugger = {
    .version = 1,
    .frame = SWITCH_FRAME,
    .loops = loop_table,
    .loop_stride = sizeof loop_table[0],
    .loop_count = LOOP_ID_MAX + 1,
    .loop_id = offsetof(weir_loop, id),
    .loop_pool = offsetof(weir_loop, coroutines),
    .co = &co_debugger,
    .local_code = offsetof(struct co_local, code),
    .local_scope = offsetof(struct co_local, scope),
    .scope_name = offsetof(struct scope, name),
};

/* Coroutines that nobody has waited for are no fault, but whoever looks for one wants to know. */
static void report_left(weir_loop *loop)
{
    const char *name = NULL;
    unsigned left = 0, scoped = 0;
    if (!weir__log_enabled(WEIR_LOG_INFO))
        return;
    for (struct co *co = NULL; (co = co_next(loop->coroutines, co)) != NULL; left++) {
        const struct scope *scope = co_local(co)->scope;
        scoped += scope != NULL;
        if (scope != NULL && name == NULL)
            name = scope->name;
    }
    if (left != 0)
        weir__log(WEIR_LOG_INFO, WEIR_ECANCELED, 0,
                  "loop %u ends while %u coroutines wait, %u of them in scopes%s%s: they are "
                  "canceled",
                  loop->id, left, scoped, name != NULL ? ", the first in " : "",
                  name != NULL ? name : "");
}

static void coroutines_stop(weir_loop *loop)
{
    report_left(loop);
    co_cancel_all(loop);
    if (co_pool_free(loop->coroutines) < 0)
        weir__log(WEIR_LOG_ERROR, WEIR_EMISUSE, 0, "loop %u ended with coroutines waiting",
                  loop->id);
    loop->coroutines = NULL;
    loop->coroutines_trim = NULL;
    loop->coroutines_stats = NULL;
    overflow_unwatch(loop);
}

static void coroutines_stats(weir_loop *loop, struct weir_loop_stats *out)
{
    enum { MEASURED = 64 }; /* a system call each */
    struct co_stats stats;
    co_pool_measure(loop->coroutines, MEASURED);
    co_pool_stats(loop->coroutines, &stats);
    out->coroutines = stats.alive;
    out->coroutines_peak = stats.stacks.peak;
    out->coroutines_refused = stats.stacks.refused;
    out->stacks = stats.stacks.total;
    out->stacks_mprotect = stats.stacks.guards[STACK_GUARD_MPROTECT];
    out->stacks_canary = stats.stacks.guards[STACK_GUARD_CANARY];
    out->stack_bytes = stats.stack_bytes;
    out->stack_used_bytes = stats.stacks.used_bytes_max;
}

/* Stacks of a burst go back bit by bit. */
static bool coroutines_trim(weir_loop *loop)
{
    enum { STACKS_A_TIME = 1024, STACKS_KEPT = 16 };
    struct co_stats stats;
    co_pool_shrink(loop->coroutines, STACKS_A_TIME);
    co_pool_stats(loop->coroutines, &stats);
    return stats.stacks.warm > STACKS_KEPT;
}

void co_left_drop(weir_loop *loop, struct co *co)
{
    struct co_left *left = co_local(co)->left;
    co_local(co)->left = NULL;
    while (left != NULL) {
        struct co_left *next = left->next;
        memory_give(&loop->memory, left, left->room);
        left = next;
    }
}

static void coroutine_ended(struct co *co, void *arg)
{
    weir_loop *loop = arg;
    struct co_local *local = co_local(co);
    co_left_drop(loop, co);
    local->told = 0;
    if (local->given.next != NULL)
        receive_forget(&local->given);
    if (local->held != NULL)
        held_forget(local);
    if (local->scope != NULL)
        scopes_forget(co);
    if (local->start.link.next != NULL)
        list_remove(&local->start.link); /* there is nobody to be told any more */
    local->graces = 0;
}

static void tell_next_wait(struct co *co, int error)
{
    co_local(co)->told = error;
    co_at_end(co);
}

void co_tell(struct co *co, int error)
{
    co_local(co)->tellings++;
    if (co_is_firm(co))
        tell_next_wait(co, error);
    else
        co_resume(co, error);
}

void co_owe(int error)
{
    if (error == WEIR_EGONE)
        tell_next_wait(co_current(), error);
}

void co_misused(const char *what)
{
    weir__log(WEIR_LOG_ERROR, WEIR_EMISUSE, 0, "%s", what);
    WEIR_DEBUG_ASSERT(what == NULL);
}

void co_leave(struct co *co, struct co_left *left)
{
    left->next = co_local(co)->left;
    co_local(co)->left = left;
    co_at_end(co);
}

struct co_pool *co_pool_of(weir_loop *loop, const struct stack_options *options)
{
    struct stack_options filled = {0};
    if (loop->coroutines != NULL)
        return loop->coroutines;
    if (options != NULL)
        filled = *options;
    if (loop->options.stack_bytes != 0)
        filled.stack_bytes = loop->options.stack_bytes;
    if (loop->options.coroutines_max != 0)
        filled.count_max = loop->options.coroutines_max;
    if (co_pool_new(&filled, &loop->coroutines) == 0) {
        loop->coroutines_stop = coroutines_stop;
        loop->coroutines_trim = coroutines_trim;
        loop->coroutines_stats = coroutines_stats;
        co_pool_on_end(loop->coroutines, coroutine_ended, loop);
        overflow_watch(loop);
    }
    return loop->coroutines;
}

void co_pump(weir_loop *loop)
{
    struct io_event event;
    loop->io->ops->wait(loop->io, list_empty(&loop->ready) ? 5 * (int64_t)WEIR_MS : 0);
    while (loop->io->ops->next(loop->io, &event) != 0)
        loop->hooks[IO_TOKEN_OWNER(event.token) % LOOP_OWNERS].event(loop, &event);
    if (loop->cancels_owed)
        loop_cancels_run(loop);
    if (loop->net != NULL) { /* memory lent for a send goes back to who waits for it */
        conn_flush_dirty(loop);
        loans_run(loop);
    }
    loop_ready_run(loop);
}

/* The first that a resumption is of use to. *firm: some others wait. */
static struct co *first_loose(struct co_pool *pool, bool *firm)
{
    struct co *co = NULL;
    *firm = false;
    while ((co = co_next(pool, co)) != NULL && co_is_firm(co))
        *firm = true;
    return co;
}

void co_cancel_loose(weir_loop *loop)
{
    struct co *co;
    bool firm;
    while (loop->coroutines_ending && (co = first_loose(loop->coroutines, &firm)) != NULL)
        if (co_resume(co, WEIR_ECANCELED) < 0)
            return;
}

void co_cancel_all(weir_loop *loop)
{
    enum { ROUNDS = 1 << 20 };
    bool former = loop->coroutines_ending, firm;
    uint64_t until_ns = weir__clock_now_ns() + LIMIT_END_MS * WEIR_MS;
    loop->coroutines_ending = true;
    loop_ready_run(loop);
    for (int i = 0; i < ROUNDS; i++) {
        struct co *co = first_loose(loop->coroutines, &firm);
        if (co != NULL && co_resume(co, WEIR_ECANCELED) < 0)
            break;
        if (co == NULL && !firm && list_empty(&loop->ready))
            break;
        if (co == NULL && firm) {
            if (weir__clock_now_ns() > until_ns)
                break;
            co_pump(loop);
        }
        loop_ready_run(loop);
    }
    loop->coroutines_ending = former;
}
