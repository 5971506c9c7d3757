/* Many readers or one writer, in the order of coming. */
#include <errno.h>

#include <weir/sync.h>

#include "co/held.h"
#include "co/waiters.h"

struct rwlock { /* lies in weir_rwlock */
    weir_loop *loop;
    struct co *writer;
    struct co_held held; /* in the writer's list */
    struct waiters waiters;
    uint32_t readers;
};
_Static_assert(sizeof(struct rwlock) <= sizeof(weir_rwlock), "weir_rwlock is too small");

static struct rwlock *rwlock_of(weir_rwlock *lock)
{
    return (struct rwlock *)lock;
}

static void rwlock_forgotten(struct co_held *held);

static void writer_set(struct rwlock *lock, struct co *co)
{
    lock->writer = co;
    held_add(co, &lock->held, rwlock_forgotten);
}

/* Gives the lock to those in front who may have it now. */
static void rwlock_grant(struct rwlock *lock)
{
    struct waiter *first;
    while ((first = lock->waiters.first) != NULL && lock->writer == NULL) {
        if (first->writes && lock->readers != 0)
            return;
        if (first->writes)
            writer_set(lock, first->co);
        else
            lock->readers++;
        waiters_wake(&lock->waiters);
    }
}

static void rwlock_forgotten(struct co_held *held)
{
    struct rwlock *lock = weir_container(held, struct rwlock, held);
    lock->writer = NULL;
    rwlock_grant(lock);
    co_misused("a coroutine has returned with a lock held for writing: the next ones get it");
}

static int rwlock_take(struct rwlock *lock, bool writes, weir_time deadline)
{
    struct waiter waiter = {.writes = writes};
    int result = co_wait_possible();
    if (result == 0)
        result = lock != NULL ? sync_mine(&lock->loop) : WEIR_EINVALID;
    if (result < 0)
        return result;
    if (lock->writer == co_current())
        return -EDEADLK;
    if (lock->writer == NULL && lock->waiters.first == NULL && !(writes && lock->readers != 0)) {
        if (writes)
            writer_set(lock, co_current());
        else
            lock->readers++;
        return 0;
    }
    result = waiters_wait(&lock->waiters, &waiter, deadline);
    if (result < 0)
        rwlock_grant(lock); /* readers behind a writer that has gone */
    return result;
}

int weir_rwlock_read(weir_rwlock *lock, weir_time deadline)
{
    return rwlock_take(rwlock_of(lock), false, deadline);
}

int weir_rwlock_write(weir_rwlock *lock, weir_time deadline)
{
    return rwlock_take(rwlock_of(lock), true, deadline);
}

int weir_rwlock_unlock(weir_rwlock *memory)
{
    struct rwlock *lock = rwlock_of(memory);
    int result = lock != NULL ? sync_mine(&lock->loop) : WEIR_EINVALID;
    if (result < 0)
        return result;
    if (lock->writer != NULL ? lock->writer != co_current() : lock->readers == 0)
        return WEIR_EMISUSE;
    if (lock->writer == NULL) {
        lock->readers--;
    } else {
        held_remove(lock->writer, &lock->held);
        lock->writer = NULL;
    }
    rwlock_grant(lock);
    return 0;
}
