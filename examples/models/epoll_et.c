/* An epoll loop, edge-triggered: a descriptor is registered once, for both directions, and the
 * kernel tells of changes only: who stops before EAGAIN is never told of what is still there. But
 * whoever always goes on until EAGAIN lets one busy client starve all others. So each gets some
 * rounds, and what it has left is asked for again by EPOLL_CTL_MOD, which tells of it as if it were
 * new. The listener stays level-triggered: at the limit clients are left in its queue. */
#include <sys/epoll.h>

#include "echo.h"

enum { EVENTS = 256, ROUNDS = 16 };

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
    if (watch(EPOLL_CTL_ADD, e->fd, EPOLLIN | EPOLLOUT | EPOLLET, e))
        return 1;
    m->scarce = true;
    echo_close(e);
    return 0;
}

/* 1: one fewer. */
static unsigned serve(struct echo *e)
{
    enum echo_next next = echo_step(e, ROUNDS);
    if (next == ECHO_READ || next == ECHO_WRITE ||
        (next == ECHO_MORE && watch(EPOLL_CTL_MOD, e->fd, EPOLLIN | EPOLLOUT | EPOLLET, e)))
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
            listening = room;
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
