/* Counted permits. */
#include <weir/sync.h>

#include "co/waiters.h"

struct semaphore { /* lies in weir_semaphore */
    weir_loop *loop;
    struct waiters waiters;
    uint32_t count;
};
_Static_assert(sizeof(struct semaphore) <= sizeof(weir_semaphore), "weir_semaphore is too small");

static struct semaphore *semaphore_of(weir_semaphore *semaphore)
{
    return (struct semaphore *)semaphore;
}

/* Gives those in front what they wait for, as long as it suffices. */
static void semaphore_grant(struct semaphore *semaphore)
{
    struct waiter *first;
    while ((first = semaphore->waiters.first) != NULL && first->amount <= semaphore->count) {
        semaphore->count -= first->amount;
        waiters_wake(&semaphore->waiters);
    }
}

int weir_semaphore_take(weir_semaphore *memory, uint32_t count, weir_time deadline)
{
    struct semaphore *semaphore = semaphore_of(memory);
    struct waiter waiter = {.amount = count};
    int result = co_wait_possible();
    if (result == 0)
        result = semaphore != NULL ? sync_mine(&semaphore->loop) : WEIR_EINVALID;
    if (result < 0)
        return result;
    if (semaphore->waiters.first == NULL && count <= semaphore->count) {
        semaphore->count -= count;
        return 0;
    }
    result = waiters_wait(&semaphore->waiters, &waiter, deadline);
    if (result < 0)
        semaphore_grant(semaphore); /* to those behind, who may want less */
    return result;
}

int weir_semaphore_give(weir_semaphore *memory, uint32_t count)
{
    struct semaphore *semaphore = semaphore_of(memory);
    int result = semaphore != NULL ? sync_mine(&semaphore->loop) : WEIR_EINVALID;
    if (result < 0)
        return result;
    if (count > UINT32_MAX - semaphore->count)
        return WEIR_EFULL;
    semaphore->count += count;
    semaphore_grant(semaphore);
    return 0;
}
