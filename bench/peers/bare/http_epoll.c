/* Bare epoll HTTP: the lower bound for HTTP/1.1. All requests that came in one read are answered by
 * one send (answers.h). */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answers.h"
#include "listen.h"

enum { EVENTS = 512, READ = 64 * 1024, FDS = 20000 };

static char tails[FDS][ANSWERS_HEAD_MAX]; /* the beginning of a head, until the rest is there */
static unsigned tail_size[FDS];
static int epoll;
static bool watched[FDS];
static size_t left[FDS]; /* of a large body, while the socket was full */

/* What is sent with MSG_MORE leaves with the end of the stream, or with a body, in one segment. */
static void send_all(int fd, const struct answer *answer)
{
    int flags = MSG_NOSIGNAL | (answer->closing || answer->large ? MSG_MORE : 0);

    if (send(fd, answer->data, answer->size, flags) != (ssize_t)answer->size && errno != EPIPE &&
        errno != ECONNRESET)
        bench_die("send"); /* the peer did not read: not in these jobs */
}

/* Sends what is left of a large body as far as the socket has room. Only a connection that met a
 * full socket is watched for room, or each new one would be reported at once for having it. */
static void send_large(int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};

    while (left[fd] > 0) {
        ssize_t n = send(fd, answers_body + (ANSWERS_LARGE - left[fd]), left[fd], MSG_NOSIGNAL);

        if (n < 0) {
            if (errno == EAGAIN && !watched[fd]) {
                watched[fd] = true;
                epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
            }
            break;
        }
        left[fd] -= (size_t)n;
    }
}

/* Answers the whole requests in `data`; returns how many bytes they had. */
static size_t answer(int fd, const char *data, size_t size, bool *closing)
{
    struct answer answer;
    size_t done = answers_for(data, size, &answer);

    if (done == 0)
        return 0;
    *closing = answer.closing;
    send_all(fd, &answer);
    if (answer.large) {
        left[fd] = ANSWERS_LARGE;
        send_large(fd);
    }
    return done;
}

static void serve(int fd, unsigned events)
{
    static char buffer[sizeof(tails[0]) + READ];
    ssize_t n;

    if ((events & EPOLLOUT) && left[fd] > 0)
        send_large(fd);
    do {
        bool closing = false;
        size_t done, had = tail_size[fd], all;

        memcpy(buffer, tails[fd], had);
        n = recv(fd, buffer + had, READ, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            close(fd);
            return;
        }
        all = had + (size_t)n;
        for (done = 0; done < all && !closing;) {
            size_t taken = answer(fd, buffer + done, all - done, &closing);

            if (taken == 0)
                break;
            done += taken;
        }
        if (closing || all - done > sizeof(tails[0])) {
            close(fd);
            return;
        }
        tail_size[fd] = (unsigned)(all - done);
        memcpy(tails[fd], buffer + done, all - done);
    } while (n == READ);
}

static void accept_all(int listener)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};

    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
            return;
        if (fd < 0 || fd >= FDS)
            bench_die("accept4");
        event.data.fd = fd;
        tail_size[fd] = 0;
        left[fd] = 0;
        watched[fd] = false;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            bench_die("epoll_ctl");
    }
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS];
    int listener = bench_listen(argc, argv);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};

    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        bench_die("epoll");
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);

        if (count < 0 && errno != EINTR)
            bench_die("epoll_wait");
        answers_make();
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all(listener);
            else
                serve(events[i].data.fd, events[i].events);
        }
    }
}
