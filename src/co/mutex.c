#include "co/mutex.h"

#include <errno.h>

static struct mutex *mutex_of(weir_mutex *mutex)
{
    return (struct mutex *)mutex;
}

static void mutex_give(struct mutex *mutex, struct co *co);

/* It goes to the one that has waited longest, who holds it before it runs: nobody can come between.
 */
static void mutex_pass(struct mutex *mutex)
{
    struct waiter *next = waiters_wake(&mutex->waiters);
    mutex->holder = NULL;
    if (next != NULL)
        mutex_give(mutex, next->co);
}

static void mutex_forgotten(struct co_held *held)
{
    mutex_pass(weir_container(held, struct mutex, held));
    co_misused("a coroutine has returned with a mutex held: the next one gets it");
}

static void mutex_give(struct mutex *mutex, struct co *co)
{
    mutex->holder = co;
    held_add(co, &mutex->held, mutex_forgotten);
}

void mutex_lock_firm(struct mutex *mutex)
{
    struct waiter waiter = {.co = NULL};
    if (mutex->holder == NULL) {
        mutex_give(mutex, co_current());
        return;
    }
    waiters_add(&mutex->waiters, &waiter);
    co_wait_firm(&waiter.wait);
}

int weir_mutex_lock(weir_mutex *memory, weir_time deadline)
{
    struct mutex *mutex = mutex_of(memory);
    struct waiter waiter = {.co = NULL};
    int result = co_wait_possible();
    if (result == 0)
        result = mutex != NULL ? sync_mine(&mutex->loop) : WEIR_EINVALID;
    if (result < 0)
        return result;
    if (mutex->holder == co_current())
        return -EDEADLK;
    if (mutex->holder != NULL)
        return waiters_wait(&mutex->waiters, &waiter, deadline);
    mutex_give(mutex, co_current());
    return 0;
}

int weir_mutex_unlock(weir_mutex *memory)
{
    struct mutex *mutex = mutex_of(memory);
    struct co *co = co_current();
    int result = mutex != NULL ? sync_mine(&mutex->loop) : WEIR_EINVALID;
    if (result < 0)
        return result;
    if (co == NULL || mutex->holder != co)
        return WEIR_EMISUSE;
    held_remove(co, &mutex->held);
    mutex_pass(mutex);
    return 0;
}
