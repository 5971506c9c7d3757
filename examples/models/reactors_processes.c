/* Multi-reactor, processes: each worker has an epoll loop and a listener of its own on the same
 * port (SO_REUSEPORT); the kernel spreads clients over them by a hash, and they share nothing. The
 * master keeps the listeners, so that what waits in the queue of a worker that died waits for its
 * successor. -c holds for each of them. */
#include <sys/epoll.h>

#include "children.h"
#include "echo.h"

enum { EVENTS = 256 };

static int epoll;

static bool watch(int operation, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    return epoll_ctl(epoll, operation, fd, &event) == 0;
}

static unsigned accept_one(struct model *m)
{
    struct echo *e = echo_accept(m);
    if (e == NULL)
        return 0;
    if (watch(EPOLL_CTL_ADD, e->fd, EPOLLIN, e))
        return 1;
    m->scarce = true;
    echo_close(e);
    return 0;
}

static unsigned serve(struct echo *e)
{
    short before = e->events;
    if (echo_ready(e) && (e->events == before ||
                          watch(EPOLL_CTL_MOD, e->fd, e->events == POLLIN ? EPOLLIN : EPOLLOUT, e)))
        return 0;
    echo_close(e);
    return 1;
}

static void reactor(unsigned index, void *arg)
{
    struct model *m = &((struct model *)arg)[index];
    unsigned count = 0;
    bool listening = true;
    struct epoll_event events[EVENTS];
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || !watch(EPOLL_CTL_ADD, m->listener, EPOLLIN, NULL))
        model_die("epoll");
    for (;;) {
        bool room = count < m->conns_max && !m->scarce;
        if (room != listening && watch(EPOLL_CTL_MOD, m->listener, room ? EPOLLIN : 0, NULL))
            listening = room;
        int ready = epoll_wait(epoll, events, EVENTS, m->scarce ? MODEL_PAUSE_MS : -1);
        m->scarce = false;
        for (int i = 0; i < ready; i++)
            if (events[i].data.ptr != NULL)
                count -= serve(events[i].data.ptr);
            else
                count += accept_one(m);
    }
}

int main(int argc, char **argv)
{
    struct model m;
    struct children children;
    model_begin(&m, argc, argv);
    m.shared = true;
    children_begin(&children, m.workers);
    struct model *models = calloc(m.workers, sizeof m); /* one for each worker */
    if (models == NULL)
        model_die("calloc");
    for (unsigned i = 0; i < m.workers; i++) {
        model_listen(&m, SOCK_NONBLOCK); /* the first one chooses the port if it is 0 */
        models[i] = m;
    }
    model_announce(m.port);
    children_keep(&children, reactor, models);
    model_end();
}
