/* What coroutines of one loop share: locks and counters. Since a coroutine runs until it waits, a
 * lock is needed only around what must stay together over a wait. Between loops there are channels
 * (chan.h) and weir_post.
 *
 * All of these are caller-owned, valid when zeroed, and stay where they are while used. They belong
 * to the loop that uses them first: on another one every verb says WEIR_EMISUSE. Who waits is
 * served in the order of coming; nobody overtakes. Waits take deadlines and end as those of co.h;
 * one that ends with an error has changed nothing. A deadline of 0 tries. Verbs without a deadline
 * never wait, and need no coroutine. */
#ifndef WEIR_SYNC_H
#define WEIR_SYNC_H

#include <stdbool.h>

#include <weir/export.h>
#include <weir/loop.h>

typedef struct weir_mutex {
    uint64_t opaque[8];
} weir_mutex;
typedef struct weir_rwlock {
    uint64_t opaque[8];
} weir_rwlock;
typedef struct weir_semaphore {
    uint64_t opaque[8];
} weir_semaphore;
typedef struct weir_cond {
    uint64_t opaque[8];
} weir_cond;
typedef struct weir_waitgroup {
    uint64_t opaque[8];
} weir_waitgroup;
typedef struct weir_once {
    uint64_t opaque[8];
} weir_once;

/* 0 or more: done; negative: it has failed. */
typedef int weir_once_fn(void *arg);

WEIR_BEGIN

/* Locks: 0. -EDEADLK: the caller holds it already. A coroutine that returns with a mutex held is
 * reported, and the next one gets it. */
WEIR_API WEIR_MUST_CHECK int weir_mutex_lock(weir_mutex *mutex, weir_time deadline);
/* In the coroutine that holds it: 0; WEIR_EMISUSE elsewhere. */
WEIR_API int weir_mutex_unlock(weir_mutex *mutex);

/* Any number of readers, or one writer. A reader that comes after a waiting writer waits too. */
WEIR_API WEIR_MUST_CHECK int weir_rwlock_read(weir_rwlock *lock, weir_time deadline);
/* -EDEADLK: the caller is the writer already; so for weir_rwlock_read. A coroutine that returns as
 * the writer is reported, and the next ones get the lock. */
WEIR_API WEIR_MUST_CHECK int weir_rwlock_write(weir_rwlock *lock, weir_time deadline);
/* By the writer, or once by each reader. WEIR_EMISUSE: nobody holds it, or another one writes. */
WEIR_API int weir_rwlock_unlock(weir_rwlock *lock);

/* Takes `count` permits, all or none; whoever asks for many is not overtaken by those who ask for
 * few. A zeroed semaphore has none. */
WEIR_API WEIR_MUST_CHECK int weir_semaphore_take(weir_semaphore *semaphore, uint32_t count,
                                                 weir_time deadline);
/* Gives `count` permits. WEIR_EFULL: there would be more than 4 294 967 295, and none was given. */
WEIR_API int weir_semaphore_give(weir_semaphore *semaphore, uint32_t count);

/* Unlocks the mutex, waits for a signal, and locks it again: it is held in every case when this
 * returns, though that may take beyond the deadline. 0: there was a signal (look again at what was
 * waited for). WEIR_EMISUSE: the caller does not hold the mutex. */
WEIR_API WEIR_MUST_CHECK int weir_cond_wait(weir_cond *cond, weir_mutex *mutex, weir_time deadline);
/* Wakes the one that has waited longest; nobody, if nobody waits. */
WEIR_API int weir_cond_signal(weir_cond *cond);
/* Wakes all. */
WEIR_API int weir_cond_broadcast(weir_cond *cond);

/* Counts `count` more things that are to be waited for. WEIR_EFULL: beyond 4 294 967 295. */
WEIR_API int weir_waitgroup_add(weir_waitgroup *group, uint32_t count);
/* One of them is done. WEIR_EMISUSE: there was none. */
WEIR_API int weir_waitgroup_done(weir_waitgroup *group);
/* Waits until all are done: 0; at once, when there are none. */
WEIR_API WEIR_MUST_CHECK int weir_waitgroup_wait(weir_waitgroup *group, weir_time deadline);

/* Calls fn(arg) unless that was done before; those who come meanwhile wait. 0: it is done. When fn
 * fails its caller gets the error, and it is not done: the next one calls its own. fn may wait; the
 * deadline is for waiting for others. -EDEADLK: called by fn itself. */
WEIR_API WEIR_MUST_CHECK int weir_once_run(weir_once *once, weir_once_fn *fn, void *arg,
                                           weir_time deadline);
/* Whether it is done. */
WEIR_API bool weir_once_done(const weir_once *once);

WEIR_END
#endif
