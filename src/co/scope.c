#include "co/scope.h"

#include <string.h>

#include <weir/error.h>

#include "loop/limits.h"

/* Where the members of a scope are that was not left by the one that had opened it: canceled for
 * good. Never written, so that threads may share it. */
static struct scope abandoned = {.canceled = true, .grace_over = true};

static struct scope *scope_of(weir_scope *scope)
{
    return (struct scope *)scope;
}

/* --- being canceled --------------------------------------------------------------------------- */

bool co_canceled(struct co *co)
{
    const struct co_local *local = co_local(co);
    const struct scope *scope = local->scope;
    return scope != NULL && scope->canceled && (local->graces == 0 || scope->grace_over);
}

/* A wait that began after the cancellation was refused, or has a grace. So whoever is found waiting
 * without one began before it. */
static void member_told(weir_loop *loop, struct loop_ready *ready)
{
    struct co *co = co_of_room(weir_container(ready, struct co_local, start));
    if (co_canceled(co) && !co_is_firm(co))
        co_resume(co, WEIR_ECANCELED);
}

/* One that has not started needs not be told: its first wait says it. */
static void member_tell(weir_loop *loop, struct co *co)
{
    struct co_local *local = co_local(co);
    if (local->start.link.next != NULL && !list_empty(&local->start.link))
        return;
    local->start.run = member_told;
    loop_ready_add(loop, &local->start);
}

static void members_tell(struct scope *scope)
{
    for (struct list *link = scope->members.next; link != &scope->members; link = link->next)
        member_tell(scope->loop, co_of_room(weir_container(link, struct co_local, member)));
    if (scope->owner != NULL)
        member_tell(scope->loop, scope->owner);
}

static void grace_over(weir_timer *timer, void *arg)
{
    struct scope *scope = arg;
    scope->grace_over = true;
    members_tell(scope);
}

/* An earlier end of the grace counts. */
static void grace_end_at(struct scope *scope, weir_time until)
{
    if (scope->grace_over || until >= scope->grace_until)
        return;
    scope->grace_until = until;
    if (until > scope->loop->now_ns) {
        weir_timer_start(&scope->timer, until, grace_over, scope);
        return;
    }
    weir_timer_cancel(&scope->timer);
    grace_over(&scope->timer, scope);
}

/* What an outer one allows is not extended; and one that was canceled before may get less. */
static void scope_mark(struct scope *scope, int error, weir_time until)
{
    weir_time now = scope->loop->now_ns;
    if (!scope->canceled) {
        scope->canceled = true;
        scope->grace_until = WEIR_NEVER;
        scope->error = error;
        if (until > now && scope->grace_ns < until - now)
            until = now + scope->grace_ns;
        members_tell(scope);
    }
    grace_end_at(scope, until);
}

/* Goes through a scope and all within it, each before those within; without recursion, since they
 * may be many deep. */
static struct scope *scope_next(struct scope *scope, const struct scope *root)
{
    if (!list_empty(&scope->inner))
        return weir_container(scope->inner.next, struct scope, link);
    while (scope != root) {
        if (scope->link.next != &scope->outer->inner)
            return weir_container(scope->link.next, struct scope, link);
        scope = scope->outer;
    }
    return NULL;
}

static void scope_cancel(struct scope *scope, int error, weir_time until)
{
    scope_mark(scope, error, until);
    for (struct scope *each = scope_next(scope, scope); each != NULL;
         each = scope_next(each, scope))
        scope_mark(each, WEIR_ECANCELED, each->outer->grace_until);
}

/* What ends it first counts. */
static void scope_fail(struct scope *scope, int error)
{
    if (!scope->canceled)
        scope_cancel(scope, error, WEIR_NEVER);
}

void scopes_hasten(struct co *co)
{
    struct scope *outermost = NULL;
    for (struct scope *each = co_local(co)->scope; each != NULL && each->owner == co;
         each = each->outer)
        outermost = each;
    if (outermost != NULL)
        scope_cancel(outermost, WEIR_ECANCELED, 0);
}

/* --- the end of a member ---------------------------------------------------------------------- */

/* Nobody will wait for its members any more, and its memory is about to go: they are canceled, and
 * go on without it. */
static void scope_abandon(struct scope *scope)
{
    struct list *link;
    scope->owner = NULL;
    scope_cancel(scope, WEIR_EMISUSE, 0);
    while ((link = list_pop(&scope->members)) != NULL) {
        struct co_local *local = weir_container(link, struct co_local, member);
        if (local->scope == scope)
            local->scope = &abandoned;
    }
    while ((link = list_pop(&scope->inner)) != NULL)
        weir_container(link, struct scope, link)->outer = &abandoned;
    list_remove(&scope->link);
    weir_timer_cancel(&scope->timer);
}

static void member_ended(struct scope *scope, struct co_local *local)
{
    if (!list_empty(&local->member))
        list_remove(&local->member);
    if (scope == &abandoned)
        return;
    scope->count--;
    /* What one says that was canceled is no news. */
    if (local->result < 0 && !(scope->canceled && local->result == WEIR_ECANCELED))
        scope_fail(scope, local->result);
    if (scope->count == 0 && scope->leaving != NULL)
        co_wake(scope->leaving, 0);
}

void scopes_forget(struct co *co)
{
    struct co_local *local = co_local(co);
    bool left = true;
    while (local->scope != NULL && local->scope->owner == co) {
        struct scope *scope = local->scope;
        local->scope = scope->outer;
        scope_abandon(scope);
        left = false;
    }
    if (local->fn != NULL)
        member_ended(local->scope, local);
    local->scope = NULL;
    local->fn = NULL;
    if (!left)
        co_misused("a coroutine has returned without leaving a scope that it had opened: what runs "
                   "there is canceled, and nobody waits for it");
}

static void member_main(void *arg)
{
    struct co_local *local = co_local(co_current());
    local->result = local->fn(local->arg);
}

/* --- the verbs -------------------------------------------------------------------------------- */

int weir__scope_open(weir_scope *memory, const weir_scope_options *given, size_t size)
{
    struct scope *scope = scope_of(memory);
    weir_scope_options options = {0};
    weir_loop *loop = loop_current();
    struct co *co = co_current();
    if (loop == NULL)
        return loop_none();
    if (co == NULL || scope == NULL)
        return WEIR_EMISUSE;
    if (given != NULL)
        memcpy(&options, given, size < sizeof options ? size : sizeof options);
    limit_default(&options.grace_ms, LIMIT_SCOPE_GRACE_MS);
    limit_default(&options.coroutines_max, UINT32_MAX);
    struct scope *outer = co_local(co)->scope;
    *scope = (struct scope){.outer = outer,
                            .owner = co,
                            .loop = loop,
                            .name = options.name,
                            .grace_ns = options.grace_ms * WEIR_MS,
                            .count_max = options.coroutines_max};
    list_init(&scope->members);
    list_init(&scope->inner);
    list_init(&scope->link);
    if (outer != NULL && outer != &abandoned)
        list_push(&outer->inner, &scope->link);
    co_local(co)->scope = scope;
    co_at_end(co);
    if (outer != NULL && outer->canceled)
        scope_mark(scope, WEIR_ECANCELED, outer->grace_until);
    return 0;
}

/* Whether a scope is open, and of the current loop. */
static int scope_usable(const struct scope *scope)
{
    const weir_loop *loop = loop_current();
    if (loop == NULL)
        return loop_none();
    if (scope == NULL)
        return WEIR_EINVALID;
    return scope->loop == loop && scope->owner != NULL ? 0 : WEIR_EMISUSE;
}

int weir_scope_spawn(weir_scope *memory, weir_scope_fn *fn, void *arg)
{
    struct scope *scope = scope_of(memory);
    struct co *co;
    int result = scope_usable(scope);
    if (result == 0 && fn == NULL)
        result = WEIR_EINVALID;
    if (result == 0 && scope->canceled)
        result = WEIR_ECANCELED;
    if (result == 0 && scope->leaving != NULL && scope->count == 0)
        result = WEIR_EMISUSE; /* the owner has been told that it is over */
    if (result == 0 && scope->count >= scope->count_max)
        result = WEIR_EFULL;
    if (result == 0)
        result = co_spawn(member_main, NULL, &co);
    if (result < 0)
        return result;
    struct co_local *local = co_local(co);
    local->scope = scope;
    local->fn = fn;
    local->code = (void (*)(void))fn;
    local->arg = arg;
    list_push(&scope->members, &local->member);
    scope->count++;
    co_at_end(co);
    return 0;
}

int weir_scope_cancel(weir_scope *memory)
{
    struct scope *scope = scope_of(memory);
    int result = scope_usable(scope);
    if (result == 0)
        scope_fail(scope, WEIR_ECANCELED);
    return result;
}

/* Whether it is the caller's, and the next to be left. */
static int scope_mine(const struct scope *scope)
{
    struct co *co = co_current();
    int result = scope_usable(scope);
    if (result < 0)
        return result;
    return co != NULL && scope->owner == co && co_local(co)->scope == scope ? 0 : WEIR_EMISUSE;
}

int weir_scope_leave(weir_scope *memory, weir_time deadline)
{
    struct scope *scope = scope_of(memory);
    struct co_wait wait = {.co = NULL};
    int result = scope_mine(scope), cut = 0;
    if (result < 0)
        return result;
    scope->leaving = &wait;
    if (scope->count != 0 && !scope->canceled) {
        cut = co_wait(&wait, deadline);
        if (scope->count != 0)
            scope_fail(scope, cut);
    }
    if (scope->count != 0)
        co_wait_firm(&wait);
    result = scope->error;
    if (result != cut)
        co_owe(cut); /* a member had failed before */
    weir_timer_cancel(&scope->timer);
    list_remove(&scope->link);
    co_local(co_current())->scope = scope->outer;
    scope->owner = NULL;
    scope->leaving = NULL;
    return result;
}

int weir_scope_close(weir_scope *memory)
{
    struct scope *scope = scope_of(memory);
    int result = scope_mine(scope);
    if (result < 0)
        return result;
    scope_fail(scope, WEIR_ECANCELED);
    return weir_scope_leave(memory, WEIR_NEVER);
}

int weir_grace_begin(void)
{
    const weir_loop *loop = loop_current();
    struct co *co = co_current();
    if (loop == NULL)
        return loop_none();
    if (co == NULL)
        return WEIR_EMISUSE;
    co_local(co)->graces++;
    co_at_end(co);
    return loop->coroutines_ending || co_canceled(co) ? WEIR_ECANCELED : 0;
}

int weir_grace_end(void)
{
    struct co *co = co_current();
    if (loop_current() == NULL)
        return loop_none();
    if (co == NULL || co_local(co)->graces == 0)
        return WEIR_EMISUSE;
    co_local(co)->graces--;
    return 0;
}
