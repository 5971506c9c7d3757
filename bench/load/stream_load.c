/* The one-way stream for every candidate: each connection is written to as fast as it takes it,
 * `size` bytes a write; a request is a write's worth of bytes that the kernel took. Options:
 * client.h. What lies in the sockets' buffers at both ends of the measured time is a few MiB, of
 * gigabytes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "client.h"

enum { EVENTS = 512 };

struct conn {
    int fd;
    uint32_t taken; /* of the write that is under way */
    uint64_t sent_at;
};

static struct client_options option;
static char *data;
static int epoll;

/* Several writes at a time for one connection, then the next one's turn. */
static void write_some(struct conn *conn)
{
    for (unsigned i = 0; i < 4; i++) {
        ssize_t n = send(conn->fd, data + conn->taken, option.size - conn->taken,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        uint64_t now;

        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            client_die("stream_load: send");
        conn->taken += (uint32_t)n;
        if (conn->taken < option.size)
            return;
        now = account_now();
        client_done(now - conn->sent_at);
        conn->taken = 0;
        conn->sent_at = now;
    }
}

static void run(uint64_t end_ns)
{
    struct epoll_event events[EVENTS];

    while (account_now() < end_ns) {
        int count = epoll_wait(epoll, events, EVENTS, 5000);

        if (count == 0) {
            fprintf(stderr, "stream_load: nothing was taken for 5 s\n");
            exit(1);
        }
        for (int i = 0; i < count; i++) {
            if (events[i].events & (EPOLLERR | EPOLLHUP)) {
                fprintf(stderr, "stream_load: the server closed a connection\n");
                exit(1);
            }
            write_some(events[i].data.ptr);
        }
    }
}

int main(int argc, char **argv)
{
    struct conn *conns;

    client_parse(argc, argv, &option);
    data = malloc(option.size);
    conns = calloc(option.conns, sizeof(*conns));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (data == NULL || conns == NULL || epoll < 0)
        client_die("stream_load");
    memset(data, 'x', option.size);
    for (unsigned i = 0; i < option.conns; i++) {
        struct epoll_event event = {.events = EPOLLOUT, .data.ptr = &conns[i]};

        conns[i].fd = client_connect(option.port);
        conns[i].sent_at = account_now();
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, conns[i].fd, &event) < 0)
            client_die("stream_load: epoll_ctl");
    }
    client_measure(&option, run);
    return 0;
}
