/* Thread per connection: as process per connection, for less; what one thread breaks is broken for
 * all. -c bounds how many there are, and stacks are small: the default of 8 MiB is only reserved,
 * but a thousand of them are a lot even of that. */
#include <pthread.h>
#include <semaphore.h>

#include "blocking.h"

enum { STACK_BYTES = 256 * 1024 };

static struct model m;
static sem_t room; /* connections that may still come */

static void *serve(void *arg)
{
    blocking_serve(&m, (int)(intptr_t)arg);
    sem_post(&room);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_attr_t attributes;
    pthread_t thread;
    model_begin(&m, argc, argv);
    blocking_end_on_term();
    sem_init(&room, 0, m.conns_max);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    model_listen(&m, 0);
    for (;;) {
        while (sem_wait(&room) < 0)
            ;
        int fd = blocking_accept(&m);
        if (pthread_create(&thread, &attributes, serve, (void *)(intptr_t)fd) == 0)
            continue;
        close(fd); /* no more threads now: this client is told by an end */
        sem_post(&room);
        nanosleep(&model_pause, NULL);
    }
}
