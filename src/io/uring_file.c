/* File operations: by the ring, which runs them at once when it can and on a kernel thread when it
 * must; calls that have no operation of their own run on the worker pool. */
#include "io/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stddef.h>

#include <weir/error.h>

_Static_assert(sizeof(struct open_how) <= sizeof(((struct io_file *)0)->how),
               "struct io_file has room for struct open_how");

static void prepare_open(struct io_uring_sqe *sqe, struct io_file *file)
{
    struct open_how how = {
        .flags = file->flags | O_CLOEXEC, .mode = file->mode, .resolve = file->resolve};

    memcpy(file->how, &how, sizeof(how));
    sqe->opcode = IORING_OP_OPENAT2;
    sqe->addr = (uintptr_t)file->path;
    sqe->len = sizeof(how);
    sqe->off = (uintptr_t)file->how;
}

static void prepare(struct io_uring_sqe *sqe, struct io_file *file)
{
    sqe->fd = file->fd;
    switch (file->verb) {
    case IO_FILE_OPEN:
        prepare_open(sqe, file);
        break;
    case IO_FILE_STAT:
        sqe->opcode = IORING_OP_STATX;
        sqe->addr = (uintptr_t)file->path;
        sqe->len = (uint32_t)file->mode;
        sqe->off = (uintptr_t)file->statx;
        sqe->statx_flags = (uint32_t)file->flags;
        break;
    case IO_FILE_READ:
    case IO_FILE_WRITE:
        sqe->opcode = file->verb == IO_FILE_READ ? IORING_OP_READ : IORING_OP_WRITE;
        sqe->addr = (uintptr_t)file->buffer;
        sqe->len = (uint32_t)(file->size < MOST_BYTES ? file->size : MOST_BYTES);
        sqe->off = (uint64_t)file->offset;
        /* A pipe without a reader: the kernel sends SIGPIPE to the thread that writes. Its own
         * threads take no signals. */
        if (file->verb == IO_FILE_WRITE && file->offset < 0)
            sqe->flags |= IOSQE_ASYNC;
        break;
    case IO_FILE_SYNC:
        sqe->opcode = IORING_OP_FSYNC;
        break;
    default: /* IO_FILE_CLOSE */
        sqe->opcode = IORING_OP_CLOSE;
        break;
    }
}

/* An operation that is over owes its event: it comes when the ring's harvest is used up. */
static void finish(struct uring *ring, struct io_file *file)
{
    file->next = NULL;
    *ring->finished_end = file;
    ring->finished_end = &file->next;
}

static void take_jobs(struct uring *ring)
{
    struct io_file *file = weir__pool_harvest(&ring->client);

    while (file) {
        struct io_file *next = file->next;

        ring->jobs--;
        finish(ring, file);
        file = next;
    }
}

/* One event of an operation that the ring did not run. */
bool uring_file_finished(struct uring *ring, struct io_event *event)
{
    struct io_file *file;

    if (ring->jobs)
        take_jobs(ring);
    file = ring->finished;
    if (!file)
        return false;
    ring->finished = file->next;
    if (!ring->finished)
        ring->finished_end = &ring->finished;
    *event = (struct io_event){.token = file->token, .result = file->result};
    ring->in_flight--;
    return true;
}

static int submit_job(struct uring *ring, struct io_file *file)
{
    int error = ring->config.pool ? weir__pool_submit(ring->config.pool, &ring->client, file)
                                  : WEIR_ENOTSUP;

    if (error < 0)
        return error;
    ring->jobs++;
    ring->in_flight++;
    return IO_PENDING;
}

int uring_file(struct io *io, struct io_file *file, uint64_t token)
{
    struct uring *ring = uring_of(io);
    struct io_uring_sqe *sqe;

    file->token = token;
    if (file->verb == IO_FILE_CALL)
        return submit_job(ring, file);
    /* The ring gives every statx to a kernel thread, also one that only copies what is known. */
    if (file->verb == IO_FILE_STAT && weir__pool_perform_cached(file)) {
        io->stats.syscalls++;
        finish(ring, file);
        ring->in_flight++;
        if (ring->poll_fd >= 0)
            uring_tell_host(ring);
        return IO_PENDING;
    }
    sqe = uring_sqe(ring);
    if (!sqe)
        return -ENOBUFS;
    prepare(sqe, file);
    sqe->user_data = token;
    ring->in_flight++;
    return IO_PENDING;
}

/* True when it was a job that no worker had begun; its event will say so. */
bool uring_file_cancel(struct uring *ring, uint64_t token)
{
    struct io_file *file =
        ring->jobs ? weir__pool_cancel(ring->config.pool, &ring->client, token) : NULL;

    if (!file)
        return false;
    ring->jobs--;
    file->result = -ECANCELED;
    finish(ring, file);
    if (ring->poll_fd >= 0)
        uring_tell_host(ring);
    return true;
}
