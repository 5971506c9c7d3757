/* Prefork with an accept lock: only the process that holds the lock waits in accept, the others
 * wait for the lock. Old kernels woke every process in accept for each client, and a process that
 * waits for several listeners in select is still woken so. The lock is robust: when its holder is
 * killed, the next one gets it and is told. */
#include <pthread.h>
#include <sys/mman.h>

#include "blocking.h"
#include "children.h"

struct shared {
    struct model m;
    pthread_mutex_t *lock; /* in memory that all processes have in common */
};

static void worker(unsigned index, void *arg)
{
    struct shared *shared = arg;
    for (;;) {
        if (pthread_mutex_lock(shared->lock) == EOWNERDEAD)
            pthread_mutex_consistent(shared->lock); /* it protects no data that could be torn */
        int fd = blocking_accept(&shared->m);
        pthread_mutex_unlock(shared->lock);
        blocking_serve(&shared->m, fd);
    }
}

static pthread_mutex_t *make_lock(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutex_t *lock =
        mmap(NULL, sizeof *lock, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (lock == MAP_FAILED)
        model_die("mmap");
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    errno = pthread_mutex_init(lock, &attributes);
    if (errno != 0)
        model_die("pthread_mutex_init");
    return lock;
}

int main(int argc, char **argv)
{
    struct shared shared;
    struct children children;
    model_begin(&shared.m, argc, argv);
    shared.lock = make_lock();
    children_begin(&children, shared.m.workers);
    model_listen(&shared.m, 0);
    children_keep(&children, worker, &shared);
    model_end();
}
