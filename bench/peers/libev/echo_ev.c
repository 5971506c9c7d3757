/* libev: one loop, one watcher for reading a connection that stays active as long as the connection
 * does, so that libev changes the epoll set once; each read is answered at once, and only what the
 * kernel did not take waits for a second watcher. See settings.md. */
#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../bare/listen.h"

enum { READ = 64 * 1024, SINK = 256 * 1024 };

struct conn {
    ev_io reads, writes;
    char *rest;
    size_t rest_size, rest_sent;
};

static enum bench_job job;

static void drop(struct ev_loop *loop, struct conn *conn)
{
    ev_io_stop(loop, &conn->reads);
    ev_io_stop(loop, &conn->writes);
    close(conn->reads.fd);
    free(conn->rest);
    free(conn);
}

static void on_room(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct conn *conn = watcher->data;
    ssize_t n = send(watcher->fd, conn->rest + conn->rest_sent, conn->rest_size - conn->rest_sent,
                     MSG_NOSIGNAL);

    (void)events;
    if (n < 0 && errno != EAGAIN) {
        drop(loop, conn);
        return;
    }
    conn->rest_sent += n > 0 ? (size_t)n : 0;
    if (conn->rest_sent < conn->rest_size)
        return;
    free(conn->rest);
    conn->rest = NULL;
    ev_io_stop(loop, &conn->writes);
    ev_io_start(loop, &conn->reads);
}

/* Nothing more is read until the rest has been sent. */
static void keep_rest(struct ev_loop *loop, struct conn *conn, const char *data, size_t size)
{
    conn->rest = malloc(size);
    if (conn->rest == NULL)
        bench_die("malloc");
    memcpy(conn->rest, data, size);
    conn->rest_size = size;
    conn->rest_sent = 0;
    ev_io_start(loop, &conn->writes);
    ev_io_stop(loop, &conn->reads);
}

static void on_data(struct ev_loop *loop, ev_io *watcher, int events)
{
    static char buffer[SINK];
    struct conn *conn = watcher->data;
    ssize_t n = recv(watcher->fd, buffer, job == BENCH_SINK ? SINK : READ, 0), sent;

    (void)events;
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        drop(loop, conn);
        return;
    }
    if (job == BENCH_SINK)
        return;
    sent = send(watcher->fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if ((sent < 0 && errno != EAGAIN) || job == BENCH_ACCEPT)
        drop(loop, conn);
    else if (sent < n)
        keep_rest(loop, conn, buffer + (sent > 0 ? sent : 0), (size_t)(n - (sent > 0 ? sent : 0)));
}

static void on_accept(struct ev_loop *loop, ev_io *watcher, int events)
{
    int fd;

    (void)events;
    while ((fd = accept4(watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *conn = calloc(1, sizeof(*conn));

        if (conn == NULL)
            bench_die("calloc");
        ev_io_init(&conn->reads, on_data, fd, EV_READ);
        ev_io_init(&conn->writes, on_room, fd, EV_WRITE);
        conn->reads.data = conn->writes.data = conn;
        ev_io_start(loop, &conn->reads);
    }
    if (errno != EAGAIN && errno != ECONNABORTED)
        bench_die("accept4");
}

int main(int argc, char **argv)
{
    struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL | EVFLAG_NOENV);
    ev_io listener;

    if (loop == NULL)
        bench_die("ev_default_loop");
    job = bench_job(argc, argv);
    ev_io_init(&listener, on_accept, bench_listen(argc, argv), EV_READ);
    ev_io_start(loop, &listener);
    return ev_run(loop, 0);
}
