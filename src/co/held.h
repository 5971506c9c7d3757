/* What is a coroutine's own until it gives it back: locks. Whoever returns without doing so is
 * reported, and those who wait get them. */
#ifndef WEIR_CO_HELD_H
#define WEIR_CO_HELD_H

#include "co/loop_co.h"

struct co_held { /* lies in the lock */
    struct co_held *next;
    void (*forgotten)(struct co_held *held); /* passes it on, and reports that */
};

static inline void held_add(struct co *co, struct co_held *held,
                            void (*forgotten)(struct co_held *held))
{
    struct co_local *local = co_local(co);
    held->next = local->held;
    held->forgotten = forgotten;
    local->held = held;
    co_at_end(co);
}

static inline void held_remove(struct co *co, struct co_held *held)
{
    struct co_held **link = &co_local(co)->held;
    while (*link != held)
        link = &(*link)->next;
    *link = held->next;
}

/* A coroutine has returned. On the loop's stack. */
static inline void held_forget(struct co_local *local)
{
    struct co_held *held;
    while ((held = local->held) != NULL) {
        local->held = held->next;
        held->forgotten(held);
    }
}

#endif
