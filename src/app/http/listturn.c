/* Turns: a loop has one directory listed at a time. A large one keeps a worker busy for a while,
 * and the others have the files of everybody else to look at. */
#include "app/http/mount.h"
#include "base/alloc.h"

struct waiter { /* on its coroutine's stack */
    struct list link;
    struct exchange *x;
};

struct lists *lists_new(void)
{
    struct lists *lists = weir__zalloc(sizeof *lists);
    if (lists == NULL)
        return NULL;
    lists->refs = 1;
    list_init(&lists->waiting);
    return lists;
}

void lists_release(struct lists *lists)
{
    if (lists != NULL && --lists->refs == 0)
        weir__free(lists);
}

int lists_enter(struct lists *lists, struct exchange *x)
{
    struct waiter waiter = {.x = x};
    if (!lists->busy) {
        lists->busy = true;
        return 0;
    }
    if (!answer_possible(x)) /* nobody would wake it */
        return WEIR_EGONE;
    list_push(&lists->waiting, &waiter.link);
    int result = exchange_wait(x, WAIT_OTHER, weir_after(LISTS_WAIT_MS * WEIR_MS));
    if (!list_empty(&waiter.link))
        list_remove(&waiter.link);
    else if (result < 0)
        lists_leave(lists); /* its turn had come, and it goes without */
    else
        return 0;
    return result < 0 ? result : WEIR_ECANCELED;
}

void lists_leave(struct lists *lists)
{
    struct list *next = list_pop(&lists->waiting);
    lists->busy = next != NULL;
    if (next != NULL)
        exchange_wake_later(weir_container(next, struct waiter, link)->x, 0);
}
