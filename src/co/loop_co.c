#include "co/loop_co.h"

#include <weir/error.h>
#include <weir/http.h>

#include "base/log.h"

static void coroutines_stop(weir_loop *loop)
{
    co_cancel_all(loop);
    if (co_pool_free(loop->coroutines) < 0)
        weir__log(WEIR_LOG_ERROR, WEIR_EMISUSE, 0, "loop %u ended with coroutines waiting",
                  loop->id);
    loop->coroutines = NULL;
}

struct co_pool *co_pool_of(weir_loop *loop, const struct stack_options *options)
{
    if (loop->coroutines == NULL && co_pool_new(options, &loop->coroutines) == 0)
        loop->coroutines_stop = coroutines_stop;
    return loop->coroutines;
}

void co_cancel_all(weir_loop *loop)
{
    enum { ROUNDS = 1 << 20 };
    bool former = loop->coroutines_ending;
    loop->coroutines_ending = true;
    struct co *co;
    for (int i = 0; i < ROUNDS && (co = co_next(loop->coroutines, NULL)) != NULL; i++) {
        if (co_resume(co, WEIR_ECANCELED) < 0)
            break;
        loop_ready_run(loop);
    }
    loop_ready_run(loop);
    loop->coroutines_ending = former;
}

struct sleeper {
    weir_timer timer;
    struct co *co;
};

static void sleeper_wake(weir_timer *timer, void *arg)
{
    struct sleeper *sleeper = arg;
    co_resume(sleeper->co, 0);
}

int weir_sleep(weir_time until)
{
    weir_loop *loop = loop_current();
    struct sleeper sleeper = {.co = co_current()};
    if (loop == NULL || sleeper.co == NULL)
        return WEIR_EMISUSE;
    if (loop->coroutines_ending)
        return WEIR_ECANCELED;
    int result = weir_timer_start(&sleeper.timer, until, sleeper_wake, &sleeper);
    if (result == 0)
        result = (int)co_suspend();
    weir_timer_cancel(&sleeper.timer);
    return result;
}
