#include "sim/check/co.h"

#include <errno.h>
#include <string.h>

#include "sim/check/check_in.h"

/* A wait that can end has ended after so many turns, and so much time for a timer. */
enum { CO_TURNS = 4, CO_LATE_NS = 20000000 };
enum how_sure { BY_CALL, MUST_BE, MAY_BE };

/* --- cancellation ------------------------------------------------------------------------------
 */

/* When a scope was canceled, by itself or by an outer one; 0: it was not. That the deadline of its
 * leave has passed cancels it too: from then on it may be, and once a turn has seen it, it must. */
static weir_time canceled_at(const struct check_scope *scope, enum how_sure sure)
{
    weir_time at = 0, now = weir_now();
    for (; scope != NULL; scope = scope->outer) {
        weir_time own = scope->canceled_at;
        if (own == 0 && sure == MUST_BE)
            own = scope->expired_at;
        else if (own == 0 && sure == MAY_BE && scope->leave_until != 0 && scope->leave_until <= now)
            own = scope->leave_until;
        if (own != 0 && (at == 0 || own < at))
            at = own;
    }
    return at;
}

/* When no grace counts any more, of a canceled scope. */
static weir_time grace_until(const struct check_scope *scope, enum how_sure sure)
{
    weir_time until = WEIR_NEVER;
    for (; scope != NULL; scope = scope->outer) {
        weir_time at = canceled_at(scope, sure);
        if (at == 0)
            continue;
        at = at > scope->opened_at ? at : scope->opened_at;
        if (at + scope->grace_ns < until)
            until = at + scope->grace_ns;
    }
    return until;
}

static bool may_be_canceled(const struct check_co *co)
{
    if (co->cos->ending)
        return true;
    return canceled_at(co->scope, MAY_BE) != 0 &&
           (co->graces == 0 || weir_now() >= grace_until(co->scope, MAY_BE));
}

static bool must_be_canceled(const struct check_co *co)
{
    if (canceled_at(co->scope, MUST_BE) == 0)
        return false;
    return co->graces == 0 || weir_now() >= grace_until(co->scope, MUST_BE) + CO_LATE_NS;
}

/* --- waits -------------------------------------------------------------------------------------
 */

static const char *verb_of(const struct check_co *co)
{
    return co->verb != NULL ? co->verb : "nothing";
}

void check_wait_begin(struct check_co *co, const char *verb, weir_time deadline)
{
    check_that(co->cos->running == co, "C1.alone", "who waits for %s runs alone; another runs",
               verb);
    co->cos->running = NULL;
    co->verb = verb;
    co->deadline = deadline;
    co->canceled_before = canceled_at(co->scope, BY_CALL) != 0 && co->graces == 0;
    co->turns = 0;
}

int check_wait_end(struct check_co *co, int result)
{
    check_that(co->verb != NULL, "C1.once", "a wait returns once; twice");
    check_that(co->cos->running == NULL, "C1.alone", "one coroutine runs at a time; %s returned",
               verb_of(co));
    co->cos->running = co;
    if (result == WEIR_ETIMEDOUT)
        check_that(weir_now() >= co->deadline, "C1.early", "%s waits until its deadline; %s",
                   verb_of(co), "it gave up before that");
    if (co->leaving != NULL) /* its scope tells what ended it */
        ;
    else if (result == WEIR_ECANCELED)
        check_that(may_be_canceled(co), "C3.none", "%s goes on without a cancellation; canceled",
                   verb_of(co));
    else if (co->deadline != 0)
        check_that(!co->canceled_before, "C3.refused",
                   "%s is refused in a canceled scope; it returned %s", verb_of(co),
                   weir_error_name(result));
    co->verb = NULL;
    co->permits = NULL;
    co->case_count = 0;
    return result;
}

int check_co_sleep(struct check_co *co, weir_time until)
{
    check_wait_begin(co, "sleep", until);
    int result = check_wait_end(co, weir_sleep(until));
    check_that(result != 0 || weir_now() >= until, "C1.early",
               "a sleep lasts; it was %llu ns short", (unsigned long long)(until - weir_now()));
    check_that(result == 0 || result == WEIR_ECANCELED, "C1.sleep", "a sleep sleeps; %s",
               weir_error_name(result));
    return result;
}

int check_co_yield(struct check_co *co)
{
    check_wait_begin(co, "yield", WEIR_NEVER);
    return check_wait_end(co, weir_yield());
}

/* --- coroutines --------------------------------------------------------------------------------
 */

void check_co_begin(struct check_co *co, struct check_cos *cos, struct check_scope *scope)
{
    *co = (struct check_co){.cos = cos, .scope = scope, .member_of = scope, .next = cos->first};
    if (co->next != NULL)
        co->next->prev = co;
    cos->first = co;
    check_that(cos->running == NULL, "C1.alone", "a coroutine begins when none runs; one does");
    cos->running = co;
}

int check_co_end(struct check_co *co, int result)
{
    struct check_cos *cos = co->cos;
    struct check_scope *scope = co->member_of;
    check_that(cos->running == co, "C1.alone", "who returns has run; another runs");
    cos->running = NULL;
    if (co->prev != NULL)
        co->prev->next = co->next;
    else
        cos->first = co->next;
    if (co->next != NULL)
        co->next->prev = co->prev;
    if (scope == NULL)
        return result;
    scope->children--;
    if (result < 0 && canceled_at(scope, MAY_BE) == 0) {
        scope->canceled_at = weir_now();
        scope->error = result;
    }
    return result;
}

void check_cos_end(const struct check_cos *cos)
{
    check_that(cos->first == NULL, "C4.outlives",
               "no coroutine outlives its loop; one waits for %s", verb_of(cos->first));
}

/* --- scopes ------------------------------------------------------------------------------------
 */

void check_scope_open(struct check_co *co, struct check_scope *scope, uint32_t grace_ms)
{
    weir_scope_options options = {.name = "checked", .grace_ms = grace_ms};
    *scope = (struct check_scope){
        .outer = co->scope, .grace_ns = grace_ms * WEIR_MS, .opened_at = weir_now()};
    int result = weir_scope_open(&scope->scope, &options);
    check_that(result == 0, "C4.open", "a scope opens; %s", weir_error_name(result));
    co->scope = scope;
}

int check_scope_spawn(struct check_co *co, struct check_scope *scope, weir_scope_fn *fn, void *arg)
{
    bool canceled = canceled_at(scope, BY_CALL) != 0;
    bool may = co->cos->ending || canceled_at(scope, MAY_BE) != 0;
    int result = weir_scope_spawn(&scope->scope, fn, arg);
    check_that(result != WEIR_ECANCELED || may, "C3.none", "a scope takes coroutines; canceled");
    check_that(result < 0 || !canceled, "C3.refused", "a canceled scope takes none; it took one");
    scope->children += result == 0;
    return result;
}

void check_scope_cancel(struct check_co *co, struct check_scope *scope)
{
    int result = weir_scope_cancel(&scope->scope);
    check_that(result == 0, "C3.cancel", "an open scope is canceled; %s", weir_error_name(result));
    if (scope->canceled_at == 0)
        scope->canceled_at = weir_now();
}

int check_scope_leave(struct check_co *co, struct check_scope *scope, weir_time deadline)
{
    scope->leave_until = deadline > weir_now() ? deadline : weir_now();
    co->leaving = scope;
    check_wait_begin(co, "leave", deadline);
    int result = check_wait_end(co, weir_scope_leave(&scope->scope, deadline));
    check_that(scope->children == 0, "C4.leave", "leaving waits for all; %u go on",
               scope->children);
    check_that(result != 0 || scope->canceled_at == 0, "C3.told",
               "leaving tells that it was canceled; 0");
    check_that(scope->error == 0 || result == scope->error, "C3.first",
               "leaving tells the first failure: %s; %s", weir_error_name(scope->error),
               weir_error_name(result));
    co->leaving = NULL;
    co->scope = scope->outer;
    return result;
}

int check_grace_begin(struct check_co *co)
{
    int result = weir_grace_begin();
    co->graces++;
    check_that(result == 0 || (result == WEIR_ECANCELED && may_be_canceled(co)), "C3.grace",
               "there is a grace; %s", weir_error_name(result));
    return result;
}

void check_grace_end(struct check_co *co)
{
    co->graces--;
    check_that(weir_grace_end() == 0, "C3.grace", "a grace ends once");
}

/* --- channels ----------------------------------------------------------------------------------
 */

static void case_add(struct check_co *co, const struct check_chan *chan, int verb)
{
    unsigned at = co->case_count++;
    co->cases[at].chan = chan;
    co->cases[at].verb = verb;
}

int check_chan_send(struct check_co *co, const struct check_chan *chan, uint64_t item,
                    weir_time deadline)
{
    check_wait_begin(co, "send", deadline);
    case_add(co, chan, WEIR_CHAN_SEND);
    return check_wait_end(co, weir_chan_send(chan->chan, &item, deadline));
}

int check_chan_recv(struct check_co *co, const struct check_chan *chan, uint64_t *item,
                    weir_time deadline)
{
    check_wait_begin(co, "receive", deadline);
    case_add(co, chan, WEIR_CHAN_RECV);
    return check_wait_end(co, weir_chan_recv(chan->chan, item, deadline));
}

int check_select(struct check_co *co, weir_case *cases, const struct check_chan *const *chans,
                 unsigned count, weir_time deadline)
{
    check_wait_begin(co, "select", deadline);
    for (unsigned i = 0; i < count && i < CHECK_CASES; i++)
        if (chans[i] != NULL)
            case_add(co, chans[i], cases[i].verb);
    return check_wait_end(co, weir_select(cases, count, deadline));
}

void check_chan_close(struct check_chan *chan)
{
    int result = weir_chan_close(chan->chan);
    check_that(result == (chan->closed ? WEIR_EMISUSE : 0), "C2.close",
               "a channel is closed once; %s", weir_error_name(result));
    chan->closed = true;
}

/* Whether another one waits for the reverse. */
static bool case_met(const struct check_co *co, unsigned at)
{
    for (const struct check_co *other = co->cos->first; other != NULL; other = other->next)
        for (unsigned i = 0; other != co && i < other->case_count; i++)
            if (other->cases[i].chan == co->cases[at].chan &&
                other->cases[i].verb != co->cases[at].verb)
                return true;
    return false;
}

static bool case_ready(const struct check_co *co, unsigned at)
{
    const struct check_chan *chan = co->cases[at].chan;
    uint32_t count = weir_chan_count(chan->chan);
    if (chan->closed || case_met(co, at))
        return true;
    return co->cases[at].verb == WEIR_CHAN_SEND ? count < chan->capacity : count > 0;
}

/* --- permits -----------------------------------------------------------------------------------
 */

/* The first in line that has not got its permits; NULL: none. */
static struct check_co *first_in_line(const struct check_cos *cos,
                                      const struct check_permits *permits)
{
    struct check_co *first = NULL;
    for (struct check_co *co = cos->first; co != NULL; co = co->next)
        if (co->permits == permits && !co->granted && (first == NULL || co->ticket < first->ticket))
            first = co;
    return first;
}

static void grant(const struct check_cos *cos, struct check_permits *permits)
{
    struct check_co *first;
    while ((first = first_in_line(cos, permits)) != NULL && first->amount <= permits->free) {
        permits->free -= first->amount;
        first->granted = true;
    }
}

int check_take(struct check_co *co, struct check_permits *permits, uint32_t amount,
               weir_time deadline)
{
    check_wait_begin(co, permits->is_mutex ? "mutex" : "semaphore", deadline);
    co->permits = permits;
    co->amount = amount;
    co->ticket = ++permits->ticket;
    co->granted = false;
    if (!co->canceled_before)
        grant(co->cos, permits);
    int result = permits->is_mutex ? weir_mutex_lock(&permits->mutex, deadline)
                                   : weir_semaphore_take(&permits->semaphore, amount, deadline);
    if (result == 0)
        check_that(co->granted, "C2.order", "%s in the order of coming; it came out of it",
                   verb_of(co));
    else if (co->granted && result != WEIR_ECANCELED)
        check_broke("C2.given", "what was given is had; %s", weir_error_name(result));
    if (result < 0) {
        permits->free += co->granted ? amount : 0;
        co->permits = NULL;
        grant(co->cos, permits);
    }
    return check_wait_end(co, result);
}

void check_give(struct check_co *co, struct check_permits *permits, uint32_t amount)
{
    permits->free += amount;
    grant(co->cos, permits);
    int result = permits->is_mutex ? weir_mutex_unlock(&permits->mutex)
                                   : weir_semaphore_give(&permits->semaphore, amount);
    check_that(result == 0, "C2.give", "who holds it gives it back; %s", weir_error_name(result));
}

/* --- every turn --------------------------------------------------------------------------------
 */

/* Whether what it waits for has come. */
static bool wait_over(const struct check_co *co)
{
    for (unsigned i = 0; i < co->case_count; i++)
        if (case_ready(co, i))
            return true;
    if (co->permits != NULL && co->granted)
        return true;
    if (co->leaving != NULL)
        return co->leaving->children == 0;
    if (must_be_canceled(co))
        return true;
    return co->deadline != WEIR_NEVER && weir_now() >= co->deadline + CO_LATE_NS;
}

void check_cos_turn(struct check_cos *cos)
{
    check_that(cos->running == NULL, "C1.alone",
               "no coroutine runs when its loop sleeps; one does");
    for (struct check_co *co = cos->first; co != NULL; co = co->next) {
        struct check_scope *scope = co->leaving;
        if (scope != NULL && scope->expired_at == 0 &&
            scope->leave_until <= weir_now() - CO_LATE_NS)
            scope->expired_at = weir_now();
        co->turns = wait_over(co) ? co->turns + 1 : 0;
        check_that(co->turns < CO_TURNS, "C2.lost", "%s returns when it can; it waits%s",
                   verb_of(co), must_be_canceled(co) ? ", canceled" : "");
    }
}
