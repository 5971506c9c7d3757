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
    if (loop == NULL)
        return loop_none();
    if (co_current() == NULL)
        return WEIR_EMISUSE;
    if (loop->coroutines_ending)
        return WEIR_ECANCELED;
    struct co_local *local = co_local(co_current());
    int told = local->told;
    local->told = 0;
    return told;
}

/* Whoever resumed it: the wait is not ready any more. */
static intptr_t suspend(struct co_wait *wait)
{
    wait->co = co_current();
    intptr_t value = co_suspend();
    wait->co = NULL;
    if (wait->ready.link.next != NULL)
        list_remove(&wait->ready.link);
    return value;
}

int co_wait(struct co_wait *wait, weir_time deadline)
{
    int result = co_wait_possible();
    if (result < 0)
        return result;
    if (deadline <= loop_current()->now_ns)
        return WEIR_ETIMEDOUT;
    wait->woken = false;
    if (deadline != WEIR_NEVER)
        weir_timer_start(&wait->timer, deadline, wait_over, wait);
    result = (int)suspend(wait);
    if (deadline != WEIR_NEVER)
        weir_timer_cancel(&wait->timer);
    return wait->woken ? wait->result : result;
}

int co_wait_turn(void)
{
    struct co_wait wait = {.ready.run = wait_go_on, .woken = true};
    int result = co_wait_possible();
    if (result < 0)
        return result;
    loop_later_add(loop_current(), &wait.ready);
    return (int)suspend(&wait);
}

int co_wait_firm(struct co_wait *wait)
{
    co_firm(co_current(), true);
    while (!wait->woken)
        suspend(wait);
    co_firm(co_current(), false);
    return wait->result;
}
