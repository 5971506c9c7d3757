/* The table of loops: the one thing that loops share. A foreign thread pins an entry while it
 * posts; a loop that goes away waits until nobody holds it. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include <weir/error.h>

#include "loop/loop.h"

struct loop_entry loop_table[LOOP_ID_MAX + 1];

static _Atomic uint32_t last_id;

static _Atomic uint32_t fork_mark;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static __thread bool orphan __attribute__((tls_model("initial-exec")));

static void forked_child(void)
{
    atomic_fetch_add_explicit(&fork_mark, 1, memory_order_relaxed);
    for (uint32_t id = 1; id <= LOOP_ID_MAX; id++) {
        weir_loop *loop = atomic_load_explicit(&loop_table[id].loop, memory_order_relaxed);
        if (loop != NULL)
            loop_orphan(loop);
        atomic_store_explicit(&loop_table[id].pins, 0,
                              memory_order_relaxed); /* of threads not here */
    }
    loop_signals_forked();
    orphan = true;
    weir__current = NULL;
}

int loop_none(void)
{
    return orphan ? -EOWNERDEAD : WEIR_EMISUSE;
}

static void fork_watch(void)
{
    pthread_atfork(NULL, NULL, forked_child);
}

uint32_t loop_fork_mark(void)
{
    return atomic_load_explicit(&fork_mark, memory_order_relaxed);
}

/* Numbers go round, so that one comes back as late as possible; and with it come generations above
 * those of the loop that had it before, so that a handle of that one stays stale (K2). */
int loop_table_add(weir_loop *loop)
{
    pthread_once(&fork_once, fork_watch);
    for (uint32_t tries = 0; tries < LOOP_ID_MAX; tries++) {
        uint32_t id =
            atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) % LOOP_ID_MAX + 1;
        if (atomic_exchange(&loop_table[id].taken, true))
            continue;
        loop->id = id;
        loop->generation = loop_table[id].generation;
        atomic_store(&loop_table[id].loop, loop);
        return 0;
    }
    return WEIR_EFULL;
}

void loop_table_remove(weir_loop *loop)
{
    if (loop->id == 0)
        return;
    atomic_store(&loop_table[loop->id].loop, NULL);
    while (atomic_load(&loop_table[loop->id].pins) != 0)
        sched_yield();
}

void loop_table_release(weir_loop *loop)
{
    if (loop->id == 0)
        return;
    loop_table[loop->id].generation = loop->generation;
    atomic_store(&loop_table[loop->id].taken, false);
}

/* The pin is counted before the pointer is read and both are sequentially consistent: either the
 * reader sees NULL, or the remover sees the pin. */
weir_loop *loop_pin(uint32_t id)
{
    if (id == 0 || id > LOOP_ID_MAX)
        return NULL;
    atomic_fetch_add(&loop_table[id].pins, 1);
    weir_loop *loop = atomic_load(&loop_table[id].loop);
    if (loop == NULL)
        atomic_fetch_sub(&loop_table[id].pins, 1);
    return loop;
}

void loop_unpin(uint32_t id)
{
    atomic_fetch_sub(&loop_table[id].pins, 1);
}
