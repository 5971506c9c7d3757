#include "io/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <weir/error.h>

enum { ONCE_MOST = 0x7ffff000 }; /* what one read or write takes: read(2) */

static int counted(ssize_t result)
{
    return result < 0 ? -errno : (int)result;
}

static size_t once(size_t size)
{
    return size < ONCE_MOST ? size : ONCE_MOST;
}

static int perform_open(const struct io_file *file, uint64_t more_resolve)
{
    struct open_how how = {
        .flags = file->flags | O_CLOEXEC,
        .mode = file->mode,
        .resolve = file->resolve | more_resolve,
    };
    long fd = syscall(SYS_openat2, file->fd, file->path, &how, sizeof(how));
    /* A kernel or sandbox without openat2 can still serve what asks for none of its checks. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM) && how.resolve == 0 &&
        !(file->flags & ~(uint64_t)INT32_MAX))
        fd = openat(file->fd, file->path, (int)how.flags, (mode_t)how.mode);
    return counted(fd);
}

int weir__pool_perform(struct io_file *file)
{
    int result;
    do {
        switch (file->verb) {
        case IO_FILE_OPEN:
            result = perform_open(file, 0);
            break;
        case IO_FILE_STAT:
            result = counted(
                statx(file->fd, file->path, (int)file->flags, (unsigned)file->mode, file->statx));
            break;
        case IO_FILE_READ:
            result = counted(file->offset < 0
                                 ? read(file->fd, file->buffer, once(file->size))
                                 : pread(file->fd, file->buffer, once(file->size), file->offset));
            break;
        case IO_FILE_WRITE:
            result = counted(file->offset < 0
                                 ? write(file->fd, file->buffer, once(file->size))
                                 : pwrite(file->fd, file->buffer, once(file->size), file->offset));
            break;
        case IO_FILE_SYNC:
            result = counted(fsync(file->fd));
            break;
        case IO_FILE_CLOSE:
            /* Never repeated: the descriptor is gone whatever close says. */
            return close(file->fd) < 0 && errno != EINTR ? -errno : 0;
        case IO_FILE_CALL:
            return file->call(file->arg);
        default:
            return WEIR_EINVALID;
        }
    } while (result == -EINTR);
    return result;
}

/* Only all that was asked for counts: fewer bytes may mean the end of the file, or the end of what
 * is cached. */
static bool read_cached(struct io_file *file)
{
    const struct iovec iov = {file->buffer, once(file->size)};
    if (file->offset < 0) /* part of a stream would be lost */
        return false;
    ssize_t got = preadv2(file->fd, &iov, 1, file->offset, RWF_NOWAIT);
    if (got < 0 || (size_t)got != iov.iov_len)
        return false;
    file->result = (int)got;
    return true;
}

/* Names that are cached (5.12), and only with O_NONBLOCK, because opening a fifo or a device waits
 * otherwise. What creates or truncates always may block. */
static bool open_cached(struct io_file *file)
{
    int fd;
    if (!(file->flags & O_NONBLOCK) || file->flags & (O_CREAT | O_TRUNC) ||
        (file->flags & O_TMPFILE) == O_TMPFILE)
        return false;
    fd = perform_open(file, RESOLVE_CACHED);
    if (fd == -EAGAIN || fd == -EINVAL || fd == -ENOSYS || fd == -EPERM || fd == -EINTR)
        return false;
    file->result = fd;
    return true;
}

bool weir__pool_perform_cached(struct io_file *file)
{
    switch (file->verb) {
    case IO_FILE_READ:
        return read_cached(file);
    case IO_FILE_OPEN:
        return open_cached(file);
    case IO_FILE_STAT: /* of an open file, with what is known of it here */
        if (!(file->flags & AT_EMPTY_PATH) || !(file->flags & AT_STATX_DONT_SYNC) ||
            file->path[0] != '\0')
            return false;
        file->result = weir__pool_perform(file);
        return true;
    default:
        return false;
    }
}
