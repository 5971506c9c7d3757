/* Threads, locks and conditions: actors, handed over only where a thread could be preempted. */
#include <errno.h>
#include <string.h>

#include "core.h"
#include "wrap.h"

enum { CLOCK_BASE_S = 1000 };

struct waiters { /* lies in the memory of a mutex, condition or lock; all zero at first */
    struct sim_actor *owner, *first;
    int32_t readers;
};
_Static_assert(sizeof(struct waiters) <= sizeof(pthread_mutex_t), "it fits");
_Static_assert(sizeof(struct waiters) <= sizeof(pthread_cond_t), "it fits");
_Static_assert(sizeof(struct waiters) <= sizeof(pthread_rwlock_t), "it fits");

static void queue_add(struct waiters *waiters)
{
    actor_now->queue_next = waiters->first;
    actor_now->queue = waiters;
    waiters->first = actor_now;
}

static void queue_remove(struct waiters *waiters, struct sim_actor *actor)
{
    for (struct sim_actor **at = &waiters->first; *at != NULL; at = &(*at)->queue_next)
        if (*at == actor) {
            *at = actor->queue_next;
            break;
        }
    actor->queue = NULL;
}

/* One of them, drawn; or all. */
static void queue_wake(struct waiters *waiters, bool all)
{
    unsigned count = 0;
    struct sim_actor *chosen = NULL;
    for (struct sim_actor *actor = waiters->first; actor != NULL; actor = actor->queue_next)
        if (all)
            actor_wake(actor);
        else if (++count == 1 || chance(count) == 0)
            chosen = actor;
    if (all)
        while (waiters->first != NULL)
            queue_remove(waiters, waiters->first);
    if (chosen != NULL) {
        queue_remove(waiters, chosen);
        actor_wake(chosen);
    }
}

/* --- threads ---------------------------------------------------------------------------------- */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*fn)(void *arg), void *arg)
{
    struct sim_actor *actor;
    if (fault(SIM_FAULT_THREAD_ERROR, OP_THREAD))
        return EAGAIN;
    actor = actor_new(world.host_now, fn, arg);
    record("thread", actor->id, 0, 0);
    *thread = (pthread_t)(uintptr_t)actor;
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    struct sim_actor *actor = (struct sim_actor *)(uintptr_t)thread;
    while (actor->state != ACTOR_ENDED) {
        actor->joiner = actor_now;
        actor_wait(SIM_FOREVER, "a thread to end");
    }
    if (result != NULL)
        *result = actor->result;
    return 0;
}

pthread_t __wrap_pthread_self(void)
{
    return actor_now != NULL ? (pthread_t)(uintptr_t)actor_now : __real_pthread_self();
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
    return 0;
}

int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *former)
{
    if (former != NULL)
        sigemptyset(former);
    return 0;
}

int __wrap_sched_yield(void)
{
    enum { YIELD_NS = 1000 };
    actor_spend(YIELD_NS);
    actor_yield();
    return 0;
}

int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    CPU_ZERO(set);
    for (unsigned cpu = 0; cpu < world.host_now->cpus; cpu++)
        CPU_SET(cpu, set);
    return 0;
}

int __wrap_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set)
{
    return 0;
}

int __wrap_sigaction(int number, const struct sigaction *action, struct sigaction *former)
{
    if (actor_now == NULL)
        return __real_sigaction(number, action, former);
    if (number < 1 || number >= HOST_SIGNALS) {
        errno = EINVAL;
        return -1;
    }
    if (former != NULL)
        *former = world.host_now->signals[number];
    if (action != NULL)
        world.host_now->signals[number] = *action;
    return 0;
}

/* --- locks ------------------------------------------------------------------------------------ */

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    memset(mutex, 0, sizeof(*mutex));
    return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex)
{
    const struct waiters *waiters = (const struct waiters *)(const void *)mutex;
    sim_check(waiters->owner == NULL, "a mutex is destroyed while it is held");
    return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    struct waiters *waiters = (struct waiters *)(void *)mutex;
    if (actor_now == NULL)
        return 0; /* before the world begins, or in an event: nobody else runs */
    actor_point();
    sim_check(waiters->owner != actor_now, "a thread locks a mutex twice");
    while (waiters->owner != NULL) {
        queue_add(waiters);
        actor_wait(SIM_FOREVER, "a mutex");
    }
    waiters->owner = actor_now;
    return 0;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    const struct waiters *waiters = (const struct waiters *)(const void *)mutex;
    return waiters->owner != NULL ? EBUSY : __wrap_pthread_mutex_lock(mutex);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    struct waiters *waiters = (struct waiters *)(void *)mutex;
    if (actor_now == NULL)
        return 0;
    sim_check(waiters->owner == actor_now, "a thread unlocks a mutex that it does not hold");
    waiters->owner = NULL;
    queue_wake(waiters, false);
    actor_point();
    return 0;
}

int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
    struct waiters *waiters = (struct waiters *)(void *)lock;
    while (waiters->owner != NULL) {
        queue_add(waiters);
        actor_wait(SIM_FOREVER, "a lock for reading");
    }
    waiters->readers++;
    return 0;
}

int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
    struct waiters *waiters = (struct waiters *)(void *)lock;
    while (waiters->owner != NULL || waiters->readers != 0) {
        queue_add(waiters);
        actor_wait(SIM_FOREVER, "a lock for writing");
    }
    waiters->owner = actor_now;
    return 0;
}

int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
    struct waiters *waiters = (struct waiters *)(void *)lock;
    if (waiters->owner != NULL)
        waiters->owner = NULL;
    else if (waiters->readers > 0)
        waiters->readers--;
    queue_wake(waiters, true);
    return 0;
}

/* --- conditions ------------------------------------------------------------------------------- */

int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    memset(cond, 0, sizeof(*cond));
    return 0;
}

int __wrap_pthread_cond_destroy(pthread_cond_t *cond)
{
    return 0;
}

static int cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t until_ns)
{
    struct waiters *waiters = (struct waiters *)(void *)cond;
    bool woken = true;
    if (!fault(SIM_FAULT_SPURIOUS, OP_THREAD)) {
        queue_add(waiters);
        __wrap_pthread_mutex_unlock(mutex);
        if (actor_now->queue == waiters) /* not signaled while others ran */
            woken = actor_wait(until_ns, "a condition");
        if (actor_now->queue == waiters)
            queue_remove(waiters, actor_now);
    } else {
        __wrap_pthread_mutex_unlock(mutex);
        actor_yield();
    }
    __wrap_pthread_mutex_lock(mutex);
    return woken ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    return cond_wait(cond, mutex, SIM_FOREVER);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    uint64_t ns = ((uint64_t)until->tv_sec - CLOCK_BASE_S) * 1000000000u + (uint64_t)until->tv_nsec;
    return cond_wait(cond, mutex, ns);
}

int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
    queue_wake((struct waiters *)(void *)cond, false);
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *cond)
{
    queue_wake((struct waiters *)(void *)cond, true);
    return 0;
}
