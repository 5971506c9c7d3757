/* Coroutines of programs, and what they may wait for beside connections. */
#include <weir/co.h>
#include <weir/error.h>

#include "co/wait.h"
#include "net/conn.h"

static void spawned_start(weir_loop *loop, struct loop_ready *ready)
{
    struct co_local *local = weir_container(ready, struct co_local, start);
    co_start(co_of_room(local));
    if (loop->net != NULL)
        net_trim_later(loop);
}

int co_spawn(weir_co_fn *fn, void *arg, struct co **out)
{
    weir_loop *loop = loop_current();
    if (loop == NULL)
        return loop_none();
    struct co_pool *pool = co_pool_of(loop, NULL);
    if (pool == NULL)
        return WEIR_ENOMEM;
    int result = co_new(pool, fn, arg, out);
    if (result < 0)
        return result;
    struct co_local *local = co_local(*out);
    *local = (struct co_local){.start.run = spawned_start, .code = (void (*)(void))fn};
    loop_ready_add(loop, &local->start);
    return 0;
}

int weir_spawn(weir_co_fn *fn, void *arg)
{
    struct co *co;
    if (loop_current() != NULL && fn == NULL)
        return WEIR_EINVALID;
    return co_spawn(fn, arg, &co);
}

int weir_sleep(weir_time until)
{
    struct co_wait wait = {.co = NULL};
    if (until <= weir_now()) /* others get their turn all the same */
        return co_wait_turn();
    int result = co_wait(&wait, until);
    return result == WEIR_ETIMEDOUT ? 0 : result;
}

int weir_yield(void)
{
    return co_wait_turn();
}

static void fd_ready(weir_watch *watch, int events, void *arg)
{
    co_wake(arg, events);
}

int weir_wait_fd(int fd, int events, weir_time deadline)
{
    struct co_wait wait = {.co = NULL};
    weir_watch watch = {{0}};
    int result = co_wait_possible();
    if (result == 0)
        result = weir_poll(&watch, fd, events, fd_ready, &wait);
    if (result < 0)
        return result;
    result = co_wait(&wait, deadline);
    weir_watch_cancel(&watch);
    return result;
}
