/* Signals as events: the handler sets a bit in each watching loop and wakes it; the loop calls the
 * watchers in its turn. Taken over only while watched; the former disposition comes back. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include <weir/error.h>

#include "loop/loop.h"

enum { SIGNALS = 64, WATCHING_LOOPS = 16 };

static struct {
    pthread_mutex_t lock;
    struct sigaction former[SIGNALS];
    unsigned watchers[SIGNALS];
    _Atomic uint32_t loops[SIGNALS][WATCHING_LOOPS]; /* loop ids */
    unsigned uses[SIGNALS][WATCHING_LOOPS];          /* watchers of that loop */
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

/* The place of a loop among those that watch a signal (0: a free one), or -1. */
static int place_of(int number, uint32_t id)
{
    for (int i = 0; i < WATCHING_LOOPS; i++) {
        if (atomic_load_explicit(&signals.loops[number][i], memory_order_relaxed) == id)
            return i;
    }
    return -1;
}

static int take_over(int number)
{
    struct sigaction action = {.sa_handler = signal_arrived, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    return sigaction(number, &action, &signals.former[number]) == 0 ? 0 : -errno;
}

int loop_signal_watch(weir_loop *loop, int number)
{
    pthread_mutex_lock(&signals.lock);
    int place = place_of(number, loop->id);
    if (place < 0)
        place = place_of(number, 0);
    int result = WEIR_EFULL;
    if (place >= 0) { /* before the signal is taken over, or one could arrive for nobody */
        atomic_store_explicit(&signals.loops[number][place], loop->id, memory_order_relaxed);
        result = signals.watchers[number] == 0 ? take_over(number) : 0;
    }
    if (result == 0) {
        signals.watchers[number]++;
        signals.uses[number][place]++;
    } else if (place >= 0 && signals.uses[number][place] == 0) {
        atomic_store_explicit(&signals.loops[number][place], 0, memory_order_relaxed);
    }
    pthread_mutex_unlock(&signals.lock);
    return result;
}

void loop_signal_unwatch(weir_loop *loop, int number)
{
    pthread_mutex_lock(&signals.lock);
    int place = place_of(number, loop->id);
    if (place >= 0 && --signals.uses[number][place] == 0)
        atomic_store_explicit(&signals.loops[number][place], 0, memory_order_relaxed);
    if (place >= 0 && --signals.watchers[number] == 0)
        sigaction(number, &signals.former[number], NULL);
    pthread_mutex_unlock(&signals.lock);
}

/* In a child of fork: the lock may have been held by a thread that is not here. */
void loop_signals_forked(void)
{
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&signals.lock, &fresh, sizeof fresh);
}
