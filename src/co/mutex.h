/* What other files of coroutines need of a mutex. */
#ifndef WEIR_CO_MUTEX_H
#define WEIR_CO_MUTEX_H

#include <weir/sync.h>

#include "co/held.h"
#include "co/waiters.h"

struct mutex { /* lies in weir_mutex */
    weir_loop *loop;
    struct co *holder;
    struct co_held held; /* in the holder's list */
    struct waiters waiters;
};
_Static_assert(sizeof(struct mutex) <= sizeof(weir_mutex), "weir_mutex is too small");

/* Locks, however long that takes: for who is owed the lock. In a coroutine. */
void mutex_lock_firm(struct mutex *mutex);

#endif
