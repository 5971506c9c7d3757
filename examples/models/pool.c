/* Thread pool over a locked queue: one thread accepts and queues, a fixed number of threads serve a
 * connection each. The queue has an end; when it is full the rest wait in the kernel's. */
#include <pthread.h>

#include "blocking.h"

enum { QUEUE_MAX = 64, STACK_BYTES = 256 * 1024 };

static struct model m;
static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    unsigned first, count;
    int fds[QUEUE_MAX];
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER,
           .filled = PTHREAD_COND_INITIALIZER,
           .emptied = PTHREAD_COND_INITIALIZER};

static void queue_put(int fd)
{
    pthread_mutex_lock(&queue.lock);
    while (queue.count == QUEUE_MAX) /* a loop, because a wait may end without a reason */
        pthread_cond_wait(&queue.emptied, &queue.lock);
    queue.fds[(queue.first + queue.count++) % QUEUE_MAX] = fd;
    pthread_cond_signal(&queue.filled);
    pthread_mutex_unlock(&queue.lock);
}

static int queue_take(void)
{
    pthread_mutex_lock(&queue.lock);
    while (queue.count == 0)
        pthread_cond_wait(&queue.filled, &queue.lock);
    int fd = queue.fds[queue.first];
    queue.first = (queue.first + 1) % QUEUE_MAX;
    queue.count--;
    pthread_cond_signal(&queue.emptied);
    pthread_mutex_unlock(&queue.lock);
    return fd;
}

static void *worker(void *arg)
{
    for (;;)
        blocking_serve(&m, queue_take());
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_attr_t attributes;
    pthread_t thread;
    model_begin(&m, argc, argv);
    blocking_end_on_term();
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (unsigned i = 0; i < m.workers; i++) {
        errno = pthread_create(&thread, &attributes, worker, NULL);
        if (errno != 0)
            model_die("pthread_create");
    }
    model_listen(&m, 0);
    for (;;)
        queue_put(blocking_accept(&m));
}
