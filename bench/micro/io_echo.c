/* The same echo through io.h, on any back end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "echo.h"
#include "io/io.h"

enum { SLOTS = 20000, PENDING = 256 * 1024 };

struct conn {
    struct io_fd fd;
    bool sending;
    uint16_t block; /* of the send in flight, plus one */
    uint32_t size, pending;
    char *rest;
};

struct server {
    struct io *io;
    struct io_fd listener;
    struct conn *conn;
    uint32_t conns;
    uint64_t bytes;
};

static struct io_fd *find(void *owner, uint64_t token)
{
    struct server *server = owner;
    uint32_t slot = IO_TOKEN_SLOT(token);

    return slot == 0 ? &server->listener : &server->conn[slot].fd;
}

static void finish(struct server *server, struct conn *conn, int result)
{
    if (result > 0)
        server->bytes += (uint64_t)result;
    if (result != (int)conn->size) {
        fprintf(stderr, "short send %d of %u\n", result, conn->size);
        exit(1);
    }
    conn->sending = false;
}

static void start(struct server *server, uint32_t slot, void *data, uint32_t size, unsigned flags)
{
    struct conn *conn = &server->conn[slot];
    struct iovec iov = {data, size};
    int result = 0, status;

    conn->size = size;
    conn->sending = true;
    status = server->io->ops->send(server->io, &conn->fd, &iov, 1, flags,
                                   IO_TOKEN(IO_OP_SEND, 1, 1, slot), &result);
    if (status < 0)
        exit(1);
    if (status == IO_DONE)
        finish(server, conn, result);
}

static void keep(struct conn *conn, const void *data, uint32_t size)
{
    if (!conn->rest)
        conn->rest = malloc(PENDING);
    if (!conn->rest || conn->pending + size > PENDING)
        exit(1);
    memcpy(conn->rest + conn->pending, data, size);
    conn->pending += size;
}

static void received(struct server *server, uint32_t slot, const struct io_event *event)
{
    struct conn *conn = &server->conn[slot];

    if (conn->sending) {
        keep(conn, event->data, (uint32_t)event->result);
        server->io->ops->release(server->io, event->block);
        return;
    }
    conn->block = (uint16_t)(event->block + 1);
    start(server, slot, event->data, (uint32_t)event->result, IO_SEND_NOWAIT);
    if (!conn->sending) {
        conn->block = 0;
        server->io->ops->release(server->io, event->block);
    }
}

static void sent(struct server *server, uint32_t slot, int result)
{
    struct conn *conn = &server->conn[slot];

    finish(server, conn, result);
    if (conn->block) {
        server->io->ops->release(server->io, conn->block - 1u);
        conn->block = 0;
    }
    if (conn->pending) {
        static char copy[PENDING]; /* sent at once or never: loopback has room */
        uint32_t size = conn->pending;

        memcpy(copy, conn->rest, size);
        conn->pending = 0;
        start(server, slot, conn->rest, size, 0);
    }
}

static void dispatch(struct server *server, const struct io_event *event)
{
    struct io *io = server->io;
    uint32_t slot = IO_TOKEN_SLOT(event->token);

    switch (IO_TOKEN_OP(event->token)) {
    case IO_OP_ACCEPT:
        if (event->result < 0)
            exit(1);
        slot = ++server->conns;
        server->conn[slot].fd.fd = event->result;
        server->conn[slot].fd.flags = io->direct ? IO_FD_DIRECT : 0;
        io->ops->recv(io, &server->conn[slot].fd, IO_TOKEN(IO_OP_RECV, 1, 1, slot));
        if (!(event->flags & IO_MORE))
            io->ops->accept(io, &server->listener, event->token);
        break;
    case IO_OP_RECV:
        if (event->flags & IO_BUFFER)
            received(server, slot, event);
        if (!(event->flags & IO_MORE) && (event->result > 0 || event->result == -ENOBUFS))
            io->ops->recv(io, &server->conn[slot].fd, event->token);
        break;
    case IO_OP_SEND:
        sent(server, slot, event->result);
        break;
    default:
        break;
    }
}

uint64_t echo_io(const struct echo_job *job, const volatile int *stop)
{
    struct server server = {.listener.fd = job->listener};
    struct io_config config = {.owner = &server, .find = find, .features = getenv("WEIR_FEATURES")};
    struct io_event event;
    const char *why = "";

    server.conn = calloc(SLOTS, sizeof(*server.conn));
    if (weir__io_open(&server.io, job->kind, &config, &why) < 0) {
        fprintf(stderr, "io_echo: %s\n", why);
        exit(1);
    }
    server.io->ops->accept(server.io, &server.listener, IO_TOKEN(IO_OP_ACCEPT, 1, 1, 0));
    while (!*stop) {
        if (server.io->ops->wait(server.io, 100 * 1000 * 1000) < 0)
            break;
        while (server.io->ops->next(server.io, &event))
            dispatch(&server, &event);
    }
    if (getenv("STATS"))
        fprintf(stderr, "waits %lu events %lu syscalls %lu overflows %lu full %lu outages %lu\n",
                server.io->stats.waits, server.io->stats.events, server.io->stats.syscalls,
                server.io->stats.cq_overflows, server.io->stats.sq_fulls,
                server.io->stats.buffer_outages);
    return server.bytes;
}
