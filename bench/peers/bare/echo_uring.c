/* Bare io_uring: the shortest correct echo loop by hand, the measure for weir on uring.
 *
 * What its documentation recommends for a server with one thread per ring is all here:
 * SINGLE_ISSUER and DEFER_TASKRUN ("should be considered the default mode",
 * io_uring_setup_flags(7)), multishot accept and receive (io_uring_prep_recv_multishot(3)), a
 * provided buffer ring, consumed incrementally where the kernel can (6.12: large messages are then
 * not cut, and small ones do not use up a block each), the ring's descriptor registered, one enter
 * a turn that submits and waits. A send refers to the received bytes, so a buffer goes back to the
 * ring when its last send is done. */
#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"

enum {
    BLOCKS = 4,
    BLOCK = 1 << 20, /* incremental: a few large blocks */
    PLAIN_BLOCKS = 4096,
    PLAIN_BLOCK = 4096, /* otherwise a block a receive */
    FDS = 20000,
    INCREMENTAL = 2, /* IOU_PBUF_RING_INC, newer than Debian 12's header */
    BUF_MORE = 16    /* IORING_CQE_F_BUF_MORE */
};
enum kind { ACCEPT, RECV, SEND };

/* A receive: bytes of a block that are still to be sent, in order, for one connection. */
struct piece {
    struct piece *next;
    uint32_t block, offset, size;
};

struct conn {
    struct piece *head, *tail; /* the head is being sent */
    bool ended;
};

static enum bench_job job;
static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static unsigned blocks = BLOCKS, block_size = BLOCK;
static char *memory;
static struct {
    uint32_t used, sends; /* bytes handed out; receives not yet echoed */
    bool whole;           /* the kernel gave it all out */
} block[PLAIN_BLOCKS];
static struct conn conns[FDS];
static struct piece *free_pieces;
static int waiting[FDS], waiters; /* connections that met an empty buffer ring */

static uint64_t name(enum kind kind, int fd)
{
    return (uint64_t)kind << 32 | (uint32_t)fd;
}

static struct io_uring_sqe *get(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    if (sqe == NULL) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
        if (sqe == NULL)
            bench_die("io_uring_get_sqe");
    }
    return sqe;
}

static void lend(unsigned id)
{
    block[id].used = 0;
    block[id].whole = false;
    io_uring_buf_ring_add(buffers, memory + (size_t)id * block_size, block_size, (uint16_t)id,
                          io_uring_buf_ring_mask(blocks), 0);
    io_uring_buf_ring_advance(buffers, 1);
}

static void make_buffers(void)
{
    struct io_uring_buf_reg reg = {.ring_entries = BLOCKS};
    uint16_t flags = INCREMENTAL;
    size_t entries = PLAIN_BLOCKS * sizeof(struct io_uring_buf);

    buffers = mmap(NULL, entries, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = mmap(NULL, (size_t)PLAIN_BLOCKS * PLAIN_BLOCK, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffers == MAP_FAILED || memory == MAP_FAILED)
        bench_die("mmap");
    reg.ring_addr = (uintptr_t)buffers;
    memcpy((char *)&reg + 14, &flags, sizeof(flags)); /* the field is called pad in old headers */
    if (io_uring_register_buf_ring(&ring, &reg, 0) < 0) {
        blocks = reg.ring_entries = PLAIN_BLOCKS;
        block_size = PLAIN_BLOCK;
        flags = 0;
        memcpy((char *)&reg + 14, &flags, sizeof(flags));
        if (io_uring_register_buf_ring(&ring, &reg, 0) < 0)
            bench_die("io_uring_register_buf_ring");
    }
    for (unsigned i = 0; i < blocks; i++)
        lend(i);
}

static void arm(int fd)
{
    struct io_uring_sqe *sqe = get();

    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->user_data = name(RECV, fd);
}

static void arm_waiters(void)
{
    while (waiters > 0)
        arm(waiting[--waiters]);
}

static void send_head(int fd)
{
    struct piece *piece = conns[fd].head;
    struct io_uring_sqe *sqe = get();

    io_uring_prep_send(sqe, fd, memory + (size_t)piece->block * block_size + piece->offset,
                       piece->size, MSG_NOSIGNAL | MSG_WAITALL);
    sqe->user_data = name(SEND, fd);
}

/* The oldest receive of a connection was echoed, or is dropped. */
static void drop_head(int fd)
{
    struct piece *piece = conns[fd].head;
    unsigned id = piece->block;

    conns[fd].head = piece->next;
    piece->next = free_pieces;
    free_pieces = piece;
    if (--block[id].sends == 0 && block[id].whole) {
        lend(id);
        arm_waiters();
    }
}

/* Read and forget: the bytes go back to the ring at once. */
static void forget(unsigned id, const struct io_uring_cqe *cqe)
{
    block[id].used += (uint32_t)cqe->res;
    if (!(cqe->flags & BUF_MORE)) {
        lend(id);
        arm_waiters();
    }
}

static void finish(int fd)
{
    conns[fd].ended = true;
    if (conns[fd].head == NULL)
        close(fd);
}

static void received(int fd, const struct io_uring_cqe *cqe)
{
    struct conn *conn = &conns[fd];
    unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

    if (cqe->res == -ENOBUFS && job == BENCH_SINK) {
        arm(fd); /* every block that it met used up has gone back before this */
        return;
    }
    if (cqe->res == -ENOBUFS) {
        waiting[waiters++] = fd;
        return;
    }
    if (cqe->res <= 0) {
        finish(fd);
        return;
    }
    if (job == BENCH_SINK) {
        forget(id, cqe);
        if (!(cqe->flags & IORING_CQE_F_MORE))
            arm(fd);
        return;
    }
    struct piece *piece = free_pieces != NULL ? free_pieces : malloc(sizeof(*piece));

    if (piece == NULL)
        bench_die("malloc");
    if (piece == free_pieces)
        free_pieces = piece->next;
    *piece = (struct piece){.block = id, .offset = block[id].used, .size = (uint32_t)cqe->res};
    block[id].used += (uint32_t)cqe->res;
    block[id].sends++;
    block[id].whole = !(cqe->flags & BUF_MORE);
    if (conn->head == NULL) {
        conn->head = conn->tail = piece;
        send_head(fd);
    } else {
        conn->tail->next = piece;
        conn->tail = piece;
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        arm(fd);
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

static void accept_next(int listener)
{
    struct io_uring_sqe *sqe = get();

    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = name(ACCEPT, listener);
}

static void dispatch(const struct io_uring_cqe *cqe)
{
    int fd = (int)(uint32_t)cqe->user_data;

    switch ((enum kind)(cqe->user_data >> 32)) {
    case ACCEPT:
        if (cqe->res < 0 || cqe->res >= FDS)
            bench_die("accept");
        conns[cqe->res] = (struct conn){0};
        arm(cqe->res);
        if (!(cqe->flags & IORING_CQE_F_MORE))
            accept_next(fd);
        break;
    case RECV:
        received(fd, cqe);
        break;
    case SEND:
        sent(fd, cqe->res);
        break;
    }
}

int main(int argc, char **argv)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
                                              IORING_SETUP_SUBMIT_ALL,
                                     .cq_entries = 4096};
    int listener = bench_listen(argc, argv);

    job = bench_job(argc, argv);
    errno = -io_uring_queue_init_params(512, &ring, &params);
    if (errno != 0)
        bench_die("io_uring_queue_init_params");
    io_uring_register_ring_fd(&ring);
    make_buffers();
    accept_next(listener);
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;

        io_uring_submit_and_wait(&ring, 1);
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            dispatch(cqe);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}
