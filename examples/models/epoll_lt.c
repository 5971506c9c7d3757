/* An epoll loop, level-triggered: the kernel keeps the list of descriptors, and tells of those that
 * are ready for as long as they are. What is waited for is changed only when it changes. */
#include <sys/epoll.h>

#include "echo.h"

enum { EVENTS = 256 };

static int epoll;

static bool watch(int operation, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    return epoll_ctl(epoll, operation, fd, &event) == 0;
}

/* 1: one more connection. */
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

/* 1: one fewer. Closing takes it out of the epoll set. */
static unsigned serve(struct echo *e)
{
    short before = e->events;
    if (echo_ready(e) && (e->events == before ||
                          watch(EPOLL_CTL_MOD, e->fd, e->events == POLLIN ? EPOLLIN : EPOLLOUT, e)))
        return 0;
    echo_close(e);
    return 1;
}

int main(int argc, char **argv)
{
    struct model m;
    unsigned count = 0;
    bool listening = true;
    struct epoll_event events[EVENTS];
    model_begin(&m, argc, argv);
    const sigset_t waiting = echo_end_on_term();
    model_listen(&m, SOCK_NONBLOCK);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || !watch(EPOLL_CTL_ADD, m.listener, EPOLLIN, NULL))
        model_die("epoll");
    while (!model_ended) {
        bool room = count < m.conns_max && !m.scarce;
        if (room != listening && watch(EPOLL_CTL_MOD, m.listener, room ? EPOLLIN : 0, NULL))
            listening = room; /* at the limit a ready listener would wake us all the time */
        int ready = epoll_pwait(epoll, events, EVENTS, m.scarce ? MODEL_PAUSE_MS : -1, &waiting);
        m.scarce = false;
        for (int i = 0; i < ready; i++)
            if (events[i].data.ptr != NULL)
                count -= serve(events[i].data.ptr);
            else
                count += accept_one(&m);
    }
    model_end();
}
