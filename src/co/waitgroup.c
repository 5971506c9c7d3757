/* Waiting until so many things are done. */
#include <weir/sync.h>

#include "co/waiters.h"

struct waitgroup { /* lies in weir_waitgroup */
    weir_loop *loop;
    struct waiters waiters;
    uint32_t count;
};
_Static_assert(sizeof(struct waitgroup) <= sizeof(weir_waitgroup), "weir_waitgroup is too small");

static struct waitgroup *waitgroup_of(weir_waitgroup *group)
{
    return (struct waitgroup *)group;
}

int weir_waitgroup_add(weir_waitgroup *memory, uint32_t count)
{
    struct waitgroup *group = waitgroup_of(memory);
    int result = group != NULL ? sync_mine(&group->loop) : WEIR_EINVALID;
    if (result < 0)
        return result;
    if (count > UINT32_MAX - group->count)
        return WEIR_EFULL;
    group->count += count;
    return 0;
}

int weir_waitgroup_done(weir_waitgroup *memory)
{
    struct waitgroup *group = waitgroup_of(memory);
    int result = group != NULL ? sync_mine(&group->loop) : WEIR_EINVALID;
    if (result < 0)
        return result;
    if (group->count == 0)
        return WEIR_EMISUSE;
    if (--group->count == 0)
        while (waiters_wake(&group->waiters) != NULL)
            ;
    return 0;
}

int weir_waitgroup_wait(weir_waitgroup *memory, weir_time deadline)
{
    struct waitgroup *group = waitgroup_of(memory);
    struct waiter waiter = {.co = NULL};
    int result = co_wait_possible();
    if (result == 0)
        result = group != NULL ? sync_mine(&group->loop) : WEIR_EINVALID;
    if (result < 0 || group->count == 0)
        return result;
    return waiters_wait(&group->waiters, &waiter, deadline);
}
