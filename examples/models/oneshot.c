/* Reactor and request queue: one thread waits in epoll and queues the connections that are ready,
 * workers take them, read, write, and arm them again. EPOLLONESHOT sees to it that a connection is
 * with at most one worker at a time, so that it needs no lock of its own, and once in the queue at
 * most, so that the queue has an end. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "echo.h"

enum { EVENTS = 64, STACK_BYTES = 256 * 1024 };

static struct model m;
static int epoll;
static atomic_uint count; /* of connections */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    unsigned first, count;
    struct echo **conns; /* a ring of conns_max places */
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};

static bool arm(int operation, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events | EPOLLONESHOT, .data.ptr = data};
    return epoll_ctl(epoll, operation, fd, &event) == 0;
}

static void put(struct echo *e)
{
    pthread_mutex_lock(&queue.lock);
    queue.conns[(queue.first + queue.count++) % m.conns_max] = e;
    pthread_cond_signal(&queue.filled);
    pthread_mutex_unlock(&queue.lock);
}

static struct echo *take(void)
{
    pthread_mutex_lock(&queue.lock);
    while (queue.count == 0)
        pthread_cond_wait(&queue.filled, &queue.lock);
    struct echo *e = queue.conns[queue.first];
    queue.first = (queue.first + 1) % m.conns_max;
    queue.count--;
    pthread_mutex_unlock(&queue.lock);
    return e;
}

/* At the limit the listener is left unarmed; whoever makes room arms it. */
static void gone(struct echo *e)
{
    echo_close(e);
    if (atomic_fetch_sub(&count, 1) == m.conns_max)
        arm(EPOLL_CTL_MOD, m.listener, EPOLLIN, NULL);
}

static void *worker(void *arg)
{
    for (;;) {
        struct echo *e = take();
        /* Armed again another worker may have it at once: nothing is done with it afterwards. */
        if (!echo_ready(e) ||
            !arm(EPOLL_CTL_MOD, e->fd, e->events == POLLIN ? EPOLLIN : EPOLLOUT, e))
            gone(e);
    }
    return NULL;
}

static void knock(void)
{
    struct echo *e = echo_accept(&m);
    if (e != NULL && atomic_fetch_add(&count, 1) + 1 == m.conns_max) {
        if (!arm(EPOLL_CTL_ADD, e->fd, EPOLLIN, e))
            gone(e);
        return;
    }
    if (e != NULL && !arm(EPOLL_CTL_ADD, e->fd, EPOLLIN, e))
        gone(e);
    if (!m.scarce)
        arm(EPOLL_CTL_MOD, m.listener, EPOLLIN, NULL);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    pthread_attr_t attributes;
    pthread_t thread;
    model_begin(&m, argc, argv);
    const sigset_t waiting = echo_end_on_term();
    queue.conns = calloc(m.conns_max, sizeof *queue.conns);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (queue.conns == NULL || epoll < 0)
        model_die("oneshot");
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (unsigned i = 0; i < m.workers; i++) {
        errno = pthread_create(&thread, &attributes, worker, NULL); /* TERM stays blocked there */
        if (errno != 0)
            model_die("pthread_create");
    }
    model_listen(&m, SOCK_NONBLOCK);
    if (!arm(EPOLL_CTL_ADD, m.listener, EPOLLIN, NULL))
        model_die("epoll_ctl");
    while (!model_ended) {
        int ready = epoll_pwait(epoll, events, EVENTS, m.scarce ? MODEL_PAUSE_MS : -1, &waiting);
        if (m.scarce)
            arm(EPOLL_CTL_MOD, m.listener, EPOLLIN, NULL);
        m.scarce = false;
        for (int i = 0; i < ready; i++)
            if (events[i].data.ptr != NULL)
                put(events[i].data.ptr);
            else
                knock();
    }
    model_end(); /* the workers end where they are */
}
