/* Waiting for a condition that a mutex guards. */
#include "co/mutex.h"

struct cond { /* lies in weir_cond */
    weir_loop *loop;
    struct waiters waiters;
};
_Static_assert(sizeof(struct cond) <= sizeof(weir_cond), "weir_cond is too small");

static struct cond *cond_of(weir_cond *cond)
{
    return (struct cond *)cond;
}

int weir_cond_wait(weir_cond *memory, weir_mutex *lock, weir_time deadline)
{
    struct cond *cond = cond_of(memory);
    struct mutex *mutex = (struct mutex *)lock;
    struct waiter waiter = {.co = NULL};
    int result = co_wait_possible();
    if (result == 0)
        result = cond != NULL && mutex != NULL ? sync_mine(&cond->loop) : WEIR_EINVALID;
    if (result < 0)
        return result;
    if (deadline <= loop_current()->now_ns)
        return mutex->holder == co_current() ? WEIR_ETIMEDOUT : WEIR_EMISUSE;
    result = weir_mutex_unlock(lock);
    if (result < 0)
        return result;
    result = waiters_wait(&cond->waiters, &waiter, deadline);
    mutex_lock_firm(mutex);
    return result;
}

int weir_cond_signal(weir_cond *memory)
{
    struct cond *cond = cond_of(memory);
    int result = cond != NULL ? sync_mine(&cond->loop) : WEIR_EINVALID;
    if (result == 0)
        waiters_wake(&cond->waiters);
    return result;
}

int weir_cond_broadcast(weir_cond *memory)
{
    struct cond *cond = cond_of(memory);
    int result = cond != NULL ? sync_mine(&cond->loop) : WEIR_EINVALID;
    if (result < 0)
        return result;
    while (waiters_wake(&cond->waiters) != NULL)
        ;
    return 0;
}
