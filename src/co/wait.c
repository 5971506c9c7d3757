#include "co/wait.h"

#include <weir/error.h>

static void wait_go_on(weir_loop *loop, struct loop_ready *ready)
{
    struct co_wait *wait = weir_container(ready, struct co_wait, ready);
    if (wait->co != NULL)
        co_resume(wait->co, wait->result);
}

static void wait_over(weir_timer *timer, void *arg)
{
    struct co_wait *wait = arg;
    if (!wait->woken)
        co_resume(wait->co, WEIR_ETIMEDOUT);
}

void co_wake(struct co_wait *wait, int result)
{
    if (wait->woken)
        return;
    wait->woken = true;
    wait->result = result;
    if (wait->co == NULL)
        return; /* it is firm, and looks at this before it waits */
    wait->ready.run = wait_go_on;
    loop_ready_add(loop_current(), &wait->ready);
}

int co_wait_possible(void)
{
    const weir_loop *loop = loop_current();
    struct co *co = co_current();
    if (loop == NULL)
        return loop_none();
    if (co == NULL)
        return WEIR_EMISUSE;
    struct co_local *local = co_local(co);
    if (loop->coroutines_ending || (local->scope != NULL && co_canceled(co)))
        return WEIR_ECANCELED;
    int told = local->told;
    local->told = 0;
    return told;
}

/* Whoever resumed it: the wait is not ready any more. Gives what it was resumed with; *overtaken:
 * by somebody else, when it had been woken and its turn had not come yet. */
static int suspend(struct co_wait *wait, bool *overtaken)
{
    wait->co = co_current();
    int value = (int)co_suspend();
    wait->co = NULL;
    *overtaken = wait->ready.link.next != NULL && !list_empty(&wait->ready.link);
    if (*overtaken)
        list_remove(&wait->ready.link);
    return value;
}

int co_wait(struct co_wait *wait, weir_time deadline)
{
    bool overtaken;
    int result = co_wait_possible();
    if (result < 0)
        return result;
    if (deadline <= loop_current()->now_ns)
        return WEIR_ETIMEDOUT;
    wait->woken = false;
    if (deadline != WEIR_NEVER)
        weir_timer_start(&wait->timer, deadline, wait_over, wait);
    result = suspend(wait, &overtaken);
    if (deadline != WEIR_NEVER)
        weir_timer_cancel(&wait->timer);
    if (!wait->woken)
        return result;
    if (overtaken)
        co_owe(result);
    return wait->result;
}

int co_wait_turn(void)
{
    struct co_wait wait = {.ready.run = wait_go_on, .woken = true};
    bool overtaken; /* by what it returns then */
    int result = co_wait_possible();
    if (result < 0)
        return result;
    loop_later_add(loop_current(), &wait.ready);
    return suspend(&wait, &overtaken);
}

int co_wait_firm(struct co_wait *wait)
{
    bool overtaken; /* nobody does: it is firm */
    co_firm(co_current(), true);
    while (!wait->woken)
        suspend(wait, &overtaken);
    co_firm(co_current(), false);
    return wait->result;
}
