/* The measure: the shortest echo loops that a careful programmer would write by hand. */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "echo.h"

enum { BLOCK = 1 << 20, BLOCKS = 2, READ = 64 * 1024 };

uint64_t echo_bare_epoll(const struct echo_job *job, const volatile int *stop)
{
    static char buffer[READ];
    struct epoll_event events[256], event = {.events = EPOLLIN, .data.fd = job->listener};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    uint64_t bytes = 0;

    epoll_ctl(epoll, EPOLL_CTL_ADD, job->listener, &event);
    while (!*stop) {
        int count = epoll_wait(epoll, events, 256, 100);

        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            ssize_t n;

            if (fd == job->listener) {
                event.events = EPOLLIN | EPOLLET | EPOLLRDHUP;
                event.data.fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
                continue;
            }
            do {
                n = recv(fd, buffer, sizeof(buffer), 0);
                if (n > 0 && send(fd, buffer, (size_t)n, MSG_NOSIGNAL) != n)
                    exit(1);
                bytes += n > 0 ? (uint64_t)n : 0;
            } while (n == sizeof(buffer));
            if (n == 0)
                close(fd);
        }
    }
    close(epoll);
    return bytes;
}

static struct io_uring_sqe *get(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    if (!sqe) {
        io_uring_submit(ring);
        sqe = io_uring_get_sqe(ring);
    }
    return sqe;
}

static struct io_uring_buf_ring *buffers;
static char *memory;
static uint32_t used[BLOCKS];

static void lend(struct io_uring *ring, unsigned id)
{
    (void)ring;
    used[id] = 0;
    io_uring_buf_ring_add(buffers, memory + (size_t)id * BLOCK, BLOCK, (unsigned short)id,
                          io_uring_buf_ring_mask(BLOCKS), 0);
    io_uring_buf_ring_advance(buffers, 1);
}

static void make_buffers(struct io_uring *ring)
{
    struct io_uring_buf_reg reg = {.ring_entries = BLOCKS};

    memory = mmap(NULL, BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    buffers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    reg.ring_addr = (uintptr_t)buffers;
    memcpy((char *)&reg + 14, &(uint16_t){2}, 2); /* incremental */
    if (io_uring_register_buf_ring(ring, &reg, 0) < 0)
        exit(1);
    for (unsigned i = 0; i < BLOCKS; i++)
        lend(ring, i);
}

static void arm(struct io_uring *ring, int fd)
{
    struct io_uring_sqe *sqe = get(ring);

    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->user_data = (unsigned)fd;
}

uint64_t echo_bare_uring(const struct echo_job *job, const volatile int *stop)
{
    struct io_uring ring;
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
                                              IORING_SETUP_SUBMIT_ALL,
                                     .cq_entries = 4096};
    struct __kernel_timespec ts = {.tv_nsec = 100 * 1000 * 1000};
    struct io_uring_sqe *sqe;
    uint64_t bytes = 0;

    if (io_uring_queue_init_params(256, &ring, &params) < 0)
        exit(1);
    io_uring_register_ring_fd(&ring);
    make_buffers(&ring);
    sqe = get(&ring);
    io_uring_prep_multishot_accept(sqe, job->listener, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = 1ull << 62;
    while (!*stop) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;

        io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &ts, NULL);
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            uint64_t data = cqe->user_data;
            unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

            count++;
            if (data == 1ull << 62) {
                arm(&ring, cqe->res);
            } else if (data >> 63) {
                bytes += cqe->res > 0 ? (uint64_t)cqe->res : 0;
            } else if (cqe->res > 0) {
                sqe = get(&ring);
                io_uring_prep_send(sqe, (int)data, memory + (size_t)id * BLOCK + used[id],
                                   (size_t)cqe->res, MSG_NOSIGNAL);
                sqe->user_data = 1ull << 63 | data;
                used[id] += (uint32_t)cqe->res;
                if (!(cqe->flags & 16))
                    lend(&ring, id); /* careless: the last sends are still on their way */
                if (!(cqe->flags & IORING_CQE_F_MORE))
                    arm(&ring, (int)data);
            } else if (cqe->res == -ENOBUFS) {
                arm(&ring, (int)data);
            } else {
                close((int)data);
            }
        }
        io_uring_cq_advance(&ring, count);
    }
    io_uring_queue_exit(&ring);
    return bytes;
}
