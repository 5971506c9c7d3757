#include "ring.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "listen.h"

enum {
    BLOCKS = 4,
    BLOCK = 1 << 20, /* incremental: a few large blocks */
    PLAIN_BLOCKS = 4096,
    PLAIN_BLOCK = 4096, /* otherwise a block a receive */
    INCREMENTAL = 2,    /* IOU_PBUF_RING_INC, newer than Debian 12's header */
    BUF_MORE = 16       /* IORING_CQE_F_BUF_MORE */
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static unsigned blocks = BLOCKS, block_size = BLOCK;
static char *memory;
static struct {
    uint32_t used, receives; /* bytes handed out; receives that are not done with */
    bool whole;              /* the kernel gave it all out */
} block[PLAIN_BLOCKS];
static unsigned lent;                      /* blocks that the kernel has */
static int waiting[RING_FDS], waiters = 0; /* connections that met an empty buffer ring */

struct io_uring_sqe *ring_get(void)
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
    lent++;
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

void ring_make(void)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
                                              IORING_SETUP_SUBMIT_ALL,
                                     .cq_entries = 4096};

    errno = -io_uring_queue_init_params(512, &ring, &params);
    if (errno != 0)
        bench_die("io_uring_queue_init_params");
    io_uring_register_ring_fd(&ring);
    make_buffers();
}

void ring_accept(int listener)
{
    struct io_uring_sqe *sqe = ring_get();

    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = ring_name(RING_ACCEPT, listener);
}

void ring_arm(int fd)
{
    struct io_uring_sqe *sqe = ring_get();

    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->user_data = ring_name(RING_RECV, fd);
}

char *ring_bytes(const struct io_uring_cqe *cqe, unsigned *id)
{
    char *bytes;

    *id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    bytes = memory + (size_t)*id * block_size + block[*id].used;
    block[*id].used += (uint32_t)cqe->res;
    block[*id].receives++;
    block[*id].whole = !(cqe->flags & BUF_MORE);
    if (block[*id].whole)
        lent--;
    return bytes;
}

void ring_done(unsigned id)
{
    if (--block[id].receives > 0 || !block[id].whole)
        return;
    lend(id);
    while (waiters > 0)
        ring_arm(waiting[--waiters]);
}

void ring_starved(int fd)
{
    if (lent > 0) /* a block has come back since */
        ring_arm(fd);
    else
        waiting[waiters++] = fd;
}

void ring_run(void (*dispatch)(const struct io_uring_cqe *cqe))
{
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
