/* Another try behind a failure, and another question beside one that takes long. */
#include <weir/co.h>
#include <weir/error.h>
#include <weir/outgoing.h>
#include <weir/scope.h>

#include <errno.h>
#include <string.h>

#include "base/random.h"
#include "co/wait.h"
#include "loop/limits.h"

/* --- another try ------------------------------------------------------------------------------ */

static bool of_use(const weir_retry_options *options, int error, weir_time deadline)
{
    if (error == WEIR_ECANCELED || error == WEIR_EMISUSE || error == WEIR_EINVALID ||
        error == -EOWNERDEAD || deadline <= loop_current()->now_ns)
        return false;
    return options->again == NULL || options->again(error);
}

/* Between a half and the whole. */
static uint64_t pause_ns(uint32_t ms)
{
    uint64_t drawn, half = ms * WEIR_MS / 2;
    weir__random_bytes(&drawn, sizeof drawn);
    return half + drawn % (half + 1);
}

int weir__retry(weir_try_fn *fn, void *arg, const weir_retry_options *given, size_t size,
                weir_time deadline)
{
    weir_retry_options options = {0};
    int result = co_wait_possible();
    if (result < 0)
        return result;
    if (given != NULL)
        memcpy(&options, given, size < sizeof options ? size : sizeof options);
    limit_default(&options.tries_max, LIMIT_RETRY_TRIES);
    limit_default(&options.first_ms, LIMIT_RETRY_FIRST_MS);
    limit_default(&options.most_ms, LIMIT_RETRY_MOST_MS);
    if (fn == NULL || options.most_ms < options.first_ms)
        return WEIR_EINVALID;
    uint32_t ms = options.first_ms;
    for (uint32_t tries = 1;; tries++) {
        uint32_t tellings = co_local(co_current())->tellings;
        result = fn(arg, deadline);
        if (result >= 0 || tries >= options.tries_max || !of_use(&options, result, deadline))
            return result;
        if (co_local(co_current())->tellings != tellings)
            return result; /* perhaps that was why, and nobody says it twice */
        weir_time until = weir_after(pause_ns(ms));
        if (until >= deadline)
            return result;
        int slept = weir_sleep(until);
        if (slept < 0)
            return slept;
        ms = ms < options.most_ms / 2 ? ms * 2 : options.most_ms;
    }
}

/* --- a second question ------------------------------------------------------------------------ */

struct hedge {
    weir_try_fn *fn;
    weir_time deadline;
    struct co_wait wait;
    unsigned running;
    int winner, error; /* -1: none yet */
};

struct attempt {
    struct hedge *hedge;
    void *arg;
    int index;
};

/* Its failure is no reason to cancel the others. */
static int attempt_main(void *arg)
{
    const struct attempt *attempt = arg;
    struct hedge *hedge = attempt->hedge;
    int result = hedge->fn(attempt->arg, hedge->deadline);
    hedge->running--;
    if (hedge->winner >= 0)
        return 0;
    if (result >= 0)
        hedge->winner = attempt->index;
    else
        hedge->error = result;
    co_wake(&hedge->wait, 1);
    return 0;
}

/* Begins them one by one until one has succeeded: 0, or why none will. */
static int hedge_run(struct hedge *hedge, weir_scope *scope, struct attempt *attempts,
                     unsigned count, uint64_t delay_ns)
{
    unsigned begun = 0;
    weir_time next = 0;
    while (hedge->winner < 0) {
        weir_time now = loop_current()->now_ns;
        if (begun == count && hedge->running == 0)
            return hedge->error;
        if (begun < count && (hedge->running == 0 || next <= now)) {
            int result = weir_scope_spawn(scope, attempt_main, &attempts[begun]);
            if (result < 0)
                return result;
            begun++;
            hedge->running++;
            next = delay_ns < WEIR_NEVER - now ? now + delay_ns : WEIR_NEVER;
        }
        weir_time until = begun < count && next < hedge->deadline ? next : hedge->deadline;
        int result = co_wait(&hedge->wait, until);
        if (result < 0 && (result != WEIR_ETIMEDOUT || until == hedge->deadline))
            return hedge->winner >= 0 ? 0 : result;
    }
    return 0;
}

int weir_hedge(weir_try_fn *fn, void *const *args, unsigned count, uint64_t delay_ns,
               weir_time deadline)
{
    struct hedge hedge = {.fn = fn, .deadline = deadline, .winner = -1};
    struct attempt attempts[LIMIT_HEDGE_CALLS];
    weir_scope scope;
    int result = co_wait_possible();
    if (result < 0)
        return result;
    if (fn == NULL || args == NULL || count == 0 || count > LIMIT_HEDGE_CALLS)
        return WEIR_EINVALID;
    for (unsigned i = 0; i < count; i++)
        attempts[i] = (struct attempt){.hedge = &hedge, .arg = args[i], .index = (int)i};
    result = weir_scope_open(&scope, NULL);
    if (result < 0)
        return result;
    result = hedge_run(&hedge, &scope, attempts, count, delay_ns);
    (void)weir_scope_close(&scope);
    if (hedge.winner >= 0)
        co_owe(result); /* one has succeeded before it could be canceled */
    return hedge.winner >= 0 ? hedge.winner : result;
}
