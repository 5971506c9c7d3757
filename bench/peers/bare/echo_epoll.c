/* Bare epoll: the shortest correct echo loop by hand, the measure for weir on epoll.
 * Edge-triggered, so that a connection costs one epoll_ctl in its life; one read, one write; a
 * short read means that the socket is drained (epoll(7): "it is sufficient for stream-oriented
 * files"). */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"

enum { EVENTS = 512, READ = 64 * 1024, SINK = 256 * 1024 };

static enum bench_job job;

static void accept_all(int epoll, int listener)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};

    for (;;) {
        event.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (event.data.fd < 0) {
            if (errno == EAGAIN || errno == ECONNABORTED)
                return;
            bench_die("accept4");
        }
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event) < 0)
            bench_die("epoll_ctl");
    }
}

static void serve(int fd)
{
    static char buffer[SINK];
    size_t size = job == BENCH_SINK ? SINK : READ;
    ssize_t n;

    do {
        n = recv(fd, buffer, size, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            close(fd);
            return;
        }
        if (n < 0 || job == BENCH_SINK)
            continue;
        /* What is sent with MSG_MORE leaves with the end of the stream, in one segment. */
        if (send(fd, buffer, (size_t)n, MSG_NOSIGNAL | (job == BENCH_ACCEPT ? MSG_MORE : 0)) != n)
            bench_die("send"); /* the peer did not read: not in these jobs */
        if (job == BENCH_ACCEPT) {
            close(fd);
            return;
        }
    } while (n == (ssize_t)size);
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS];
    int listener = bench_listen(argc, argv), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};

    job = bench_job(argc, argv);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        bench_die("epoll");
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);

        if (count < 0 && errno != EINTR)
            bench_die("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                serve(events[i].data.fd);
        }
    }
}
