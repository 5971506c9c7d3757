/* Bare io_uring: the shortest correct echo loop by hand, the measure for weir on uring. The ring is
 * ring.h's. A send refers to the received bytes, so a buffer goes back to the ring when its last
 * send is done. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"
#include "ring.h"

/* A receive: bytes of a block that are still to be sent, in order, for one connection. */
struct piece {
    struct piece *next;
    char *bytes;
    uint32_t block, size;
};

struct conn {
    struct piece *head, *tail; /* the head is being sent */
    bool ended;
};

static enum bench_job job;
static struct conn conns[RING_FDS];
static struct piece *free_pieces;

/* What is sent with MSG_MORE leaves with the end of the stream, in one segment. */
static void send_head(int fd)
{
    struct piece *piece = conns[fd].head;
    struct io_uring_sqe *sqe = ring_get();
    int more = job == BENCH_ACCEPT ? MSG_MORE : 0;

    io_uring_prep_send(sqe, fd, piece->bytes, piece->size, MSG_NOSIGNAL | MSG_WAITALL | more);
    sqe->user_data = ring_name(RING_SEND, fd);
}

/* The oldest receive of a connection was echoed, or is dropped. */
static void drop_head(int fd)
{
    struct piece *piece = conns[fd].head;

    conns[fd].head = piece->next;
    piece->next = free_pieces;
    free_pieces = piece;
    ring_done(piece->block);
}

static void add_piece(int fd, char *bytes, unsigned block, uint32_t size)
{
    struct conn *conn = &conns[fd];
    struct piece *piece = free_pieces != NULL ? free_pieces : malloc(sizeof(*piece));

    if (piece == NULL)
        bench_die("malloc");
    if (piece == free_pieces)
        free_pieces = piece->next;
    *piece = (struct piece){.bytes = bytes, .block = block, .size = size};
    if (conn->head == NULL) {
        conn->head = conn->tail = piece;
        send_head(fd);
    } else {
        conn->tail->next = piece;
        conn->tail = piece;
    }
}

static void received(int fd, const struct io_uring_cqe *cqe)
{
    unsigned block;
    char *bytes;

    if (cqe->res == -ENOBUFS) {
        ring_starved(fd);
        return;
    }
    if (cqe->res <= 0) {
        conns[fd].ended = true;
        if (conns[fd].head == NULL)
            close(fd);
        return;
    }
    bytes = ring_bytes(cqe, &block);
    if (job == BENCH_SINK)
        ring_done(block);
    else
        add_piece(fd, bytes, block, (uint32_t)cqe->res);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        ring_arm(fd);
}

static void sent(int fd, int result)
{
    struct conn *conn = &conns[fd];

    if (result != (int)conn->head->size) { /* reset: MSG_WAITALL finishes short sends */
        while (conn->head != NULL)
            drop_head(fd);
        if (conn->ended)
            close(fd);
        return;
    }
    drop_head(fd);
    if (conn->head != NULL)
        send_head(fd);
    else if (conn->ended)
        close(fd);
    else if (job == BENCH_ACCEPT)
        shutdown(fd, SHUT_RDWR); /* ends the receive, whose completion closes */
}

static void dispatch(const struct io_uring_cqe *cqe)
{
    int fd = ring_fd_of(cqe);

    switch (ring_kind_of(cqe)) {
    case RING_ACCEPT:
        if (cqe->res < 0 || cqe->res >= RING_FDS)
            bench_die("accept");
        conns[cqe->res] = (struct conn){0};
        ring_arm(cqe->res);
        if (!(cqe->flags & IORING_CQE_F_MORE))
            ring_accept(fd);
        break;
    case RING_RECV:
        received(fd, cqe);
        break;
    case RING_SEND:
        sent(fd, cqe->res);
        break;
    }
}

int main(int argc, char **argv)
{
    int listener = bench_listen(argc, argv);

    job = bench_job(argc, argv);
    ring_make();
    ring_accept(listener);
    ring_run(dispatch);
}
