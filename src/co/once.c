/* What is to be done once, by whoever comes first. */
#include <errno.h>

#include <weir/sync.h>

#include "co/waiters.h"

struct once { /* lies in weir_once */
    weir_loop *loop;
    struct co *runner; /* is within its fn, or is about to be */
    struct waiters waiters;
    bool done;
};
_Static_assert(sizeof(struct once) <= sizeof(weir_once), "weir_once is too small");

static struct once *once_of(weir_once *once)
{
    return (struct once *)once;
}

static int once_call(struct once *once, weir_once_fn *fn, void *arg)
{
    int result = fn(arg);
    once->runner = NULL;
    if (result < 0) {
        struct waiter *next = waiters_wake(&once->waiters);
        once->runner = next != NULL ? next->co : NULL; /* nobody comes before it */
        return result;
    }
    once->done = true;
    while (waiters_wake(&once->waiters) != NULL)
        ;
    return 0;
}

int weir_once_run(weir_once *memory, weir_once_fn *fn, void *arg, weir_time deadline)
{
    struct once *once = once_of(memory);
    struct waiter waiter = {.co = NULL};
    int result = co_wait_possible();
    if (result == 0)
        result = once != NULL && fn != NULL ? sync_mine(&once->loop) : WEIR_EINVALID;
    if (result < 0 || once->done)
        return result;
    if (once->runner == co_current())
        return -EDEADLK;
    if (once->runner != NULL) {
        result = waiters_wait(&once->waiters, &waiter, deadline);
        if (result < 0 || once->done)
            return result;
    }
    once->runner = co_current();
    return once_call(once, fn, arg);
}

bool weir_once_done(const weir_once *memory)
{
    const struct once *once = (const struct once *)memory;
    return once != NULL && once->done;
}
