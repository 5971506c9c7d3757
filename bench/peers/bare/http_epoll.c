/* Bare epoll HTTP: the lower bound for HTTP/1.1 with a tiny body. The parser is trivial (a head
 * ends at an empty line, "close" is looked for in it) and nothing is checked; the answer has the
 * fields and the size of nginx's and weir's, its date made once a second. All requests that came in
 * one read are answered by one send. GET /1k gets 1 KiB
 * and GET /1m 1 MiB from memory. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "listen.h"

enum { EVENTS = 512, READ = 64 * 1024, BATCH = 256, LARGE = 1 << 20, SMALL = 1024, FDS = 20000 };

static char body[LARGE];
static char answers[2][BATCH * 256], large_head[256]; /* kept alive, closed; repeated BATCH times */
static char small[256 + SMALL];                       /* head and body */
static size_t answer_size[2], large_head_size, small_size;
static char tails[FDS][1024]; /* the beginning of a head, kept until the rest is there */
static unsigned tail_size[FDS];
static int epoll;
static bool watched[FDS];
static size_t left[FDS]; /* of a large body, while the socket was full */

static void make_answers(void)
{
    static time_t made;
    time_t now = time(NULL);
    char date[64];

    if (now == made)
        return;
    made = now;
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
    for (int closing = 0; closing < 2; closing++) {
        size_t size = (size_t)snprintf(
            answers[closing], 256,
            "HTTP/1.1 200 OK\r\nServer: bare-epoll\r\nDate: %s\r\nContent-Type: text/plain\r\n"
            "Content-Length: 14\r\nConnection: %s\r\n\r\nHello, World!\n",
            date, closing ? "close" : "keep-alive");

        answer_size[closing] = size;
        for (size_t i = 1; i < BATCH; i++)
            memcpy(answers[closing] + i * size, answers[closing], size);
    }
    large_head_size = (size_t)snprintf(large_head, sizeof(large_head),
                                       "HTTP/1.1 200 OK\r\nServer: bare-epoll\r\nDate: %s\r\n"
                                       "Content-Length: %d\r\nConnection: keep-alive\r\n\r\n",
                                       date, LARGE);
    small_size = (size_t)snprintf(small, 256,
                                  "HTTP/1.1 200 OK\r\nServer: bare-epoll\r\nDate: %s\r\n"
                                  "Content-Length: %d\r\nConnection: keep-alive\r\n\r\n",
                                  date, SMALL);
    memset(small + small_size, 'x', SMALL);
    small_size += SMALL;
}

static void send_all(int fd, const char *data, size_t size, int flags)
{
    if (send(fd, data, size, MSG_NOSIGNAL | flags) != (ssize_t)size && errno != EPIPE &&
        errno != ECONNRESET)
        bench_die("send"); /* the peer did not read: not in these jobs */
}

/* Sends what is left of a large body as far as the socket has room. Only a connection that met a
 * full socket is watched for room, or each new one would be reported at once for having it. */
static void send_large(int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};

    while (left[fd] > 0) {
        ssize_t n = send(fd, body + (LARGE - left[fd]), left[fd], MSG_NOSIGNAL);

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
    size_t done = 0, count = 0;

    for (;;) {
        const char *start = data + done;
        const char *end = memmem(start, size - done, "\r\n\r\n", 4);

        if (end == NULL)
            break;
        done = (size_t)(end + 4 - data);
        count++;
        *closing = memmem(start, (size_t)(end - start), "close", 5) != NULL;
        if (memcmp(start, "GET /1m ", 8) == 0) {
            send(fd, large_head, large_head_size, MSG_NOSIGNAL | MSG_MORE);
            left[fd] = LARGE;
            send_large(fd);
            return done;
        }
        if (memcmp(start, "GET /1k ", 8) == 0) {
            send_all(fd, small, small_size, 0);
            return done;
        }
        if (*closing || count == BATCH)
            break;
    }
    if (count == 0)
        return done;
    /* What is sent with MSG_MORE leaves with the end of the stream, in one segment. */
    if (*closing && count == 1)
        send_all(fd, answers[1], answer_size[1], MSG_MORE);
    else
        send_all(fd, answers[0], answer_size[0] * count, 0);
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
    memset(body, 'x', sizeof(body));
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        bench_die("epoll");
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);

        if (count < 0 && errno != EINTR)
            bench_die("epoll_wait");
        make_answers();
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all(listener);
            else
                serve(events[i].data.fd, events[i].events);
        }
    }
}
