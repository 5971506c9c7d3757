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
        break;
    case IO_FILE_SYNC:
        sqe->opcode = IORING_OP_FSYNC;
        break;
    default: /* IO_FILE_CLOSE */
        sqe->opcode = IORING_OP_CLOSE;
        break;
    }
}

int uring_file(struct io *io, struct io_file *file, uint64_t token)
{
    struct uring *ring = uring_of(io);
    struct io_uring_sqe *sqe;

    file->token = token;
    if (file->verb == IO_FILE_CALL)
        return WEIR_ENOTSUP;
    sqe = uring_sqe(ring);
    if (!sqe)
        return -ENOBUFS;
    prepare(sqe, file);
    sqe->user_data = token;
    ring->in_flight++;
    return IO_PENDING;
}
