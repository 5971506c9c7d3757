/* Many threads that accept on one listener: no queue, no lock and no hand-over of our own; the
 * kernel's queue of connections is all three. */
#include <pthread.h>

#include "blocking.h"

enum { STACK_BYTES = 256 * 1024 };

static void *worker(void *arg)
{
    struct model mine = *(const struct model *)arg; /* its .scarce is each thread's own */
    for (;;)
        blocking_serve(&mine, blocking_accept(&mine));
    return NULL;
}

int main(int argc, char **argv)
{
    struct model m;
    pthread_attr_t attributes;
    pthread_t thread;
    model_begin(&m, argc, argv);
    blocking_end_on_term();
    model_listen(&m, 0);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (unsigned i = 1; i < m.workers; i++) {
        errno = pthread_create(&thread, &attributes, worker, &m);
        if (errno != 0)
            model_die("pthread_create");
    }
    worker(&m);
}
