/* Signals as events: the handler sets a bit in each watching loop and wakes it; the loop calls the
 * watchers in its turn. Taken over only while watched; the former disposition comes back. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include <weir/error.h>

#include "loop/loop.h"

enum { SIGNALS = 64, WATCHING_LOOPS = 16 };

static struct {
    pthread_mutex_t lock;
    struct sigaction former[SIGNALS];
    unsigned watchers[SIGNALS];
    _Atomic uint32_t loops[SIGNALS][WATCHING_LOOPS]; /* loop ids */
} signals = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void signal_arrived(int number)
{
    int error = errno;
    for (int i = 0; i < WATCHING_LOOPS; i++) {
        uint32_t id = atomic_load_explicit(&signals.loops[number][i], memory_order_relaxed);
        if (id == 0)
            continue;
        weir_loop *loop = loop_pin(id);
        if (loop == NULL)
            continue;
        atomic_fetch_or(&loop->signals_pending, 1ull << number);
        loop->io->ops->wake(loop->io);
        loop_unpin(id);
    }
    errno = error;
}

static int loops_add(int number, uint32_t id)
{
    for (int i = 0; i < WATCHING_LOOPS; i++) {
        if (atomic_load_explicit(&signals.loops[number][i], memory_order_relaxed) == id)
            return 0;
    }
    for (int i = 0; i < WATCHING_LOOPS; i++) {
        if (atomic_load_explicit(&signals.loops[number][i], memory_order_relaxed) == 0) {
            atomic_store_explicit(&signals.loops[number][i], id, memory_order_relaxed);
            return 0;
        }
    }
    return WEIR_EFULL;
}

int loop_signal_watch(weir_loop *loop, int number)
{
    pthread_mutex_lock(&signals.lock);
    int result = loops_add(number, loop->id);
    if (result == 0 && signals.watchers[number] == 0) {
        struct sigaction action = {.sa_handler = signal_arrived, .sa_flags = SA_RESTART};
        sigfillset(&action.sa_mask);
        if (sigaction(number, &action, &signals.former[number]) != 0)
            result = -errno;
    }
    if (result == 0)
        signals.watchers[number]++;
    pthread_mutex_unlock(&signals.lock);
    return result;
}

void loop_signal_unwatch(int number)
{
    pthread_mutex_lock(&signals.lock);
    if (signals.watchers[number] > 0 && --signals.watchers[number] == 0) {
        sigaction(number, &signals.former[number], NULL);
        for (int i = 0; i < WATCHING_LOOPS; i++)
            atomic_store_explicit(&signals.loops[number][i], 0, memory_order_relaxed);
    }
    pthread_mutex_unlock(&signals.lock);
}
