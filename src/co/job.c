/* Work off the loop that a coroutine waits for: blocking calls and files. It refers to the caller's
 * memory, so it is waited for once it has begun, whatever happens; and nothing here is on the heap.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/co.h>
#include <weir/error.h>

#include "co/wait.h"

struct job {
    struct io_file io;
    struct co_wait wait;
    uint64_t token;
    int result;
    bool done;
};

static void job_over(weir_loop *loop, int result, void *arg)
{
    struct job *job = arg;
    job->done = true;
    job->result = result;
    co_wake(&job->wait, 0);
}

static int job_do(struct job *job, weir_time deadline)
{
    weir_loop *loop = loop_current();
    int result = co_wait_possible();
    if (result == 0 && deadline <= loop->now_ns)
        result = WEIR_ETIMEDOUT;
    if (result == 0)
        result = loop_file_start(loop, &job->io, job_over, job, &job->token);
    if (result < 0)
        return result;
    result = co_wait(&job->wait, deadline);
    if (!job->done) {
        loop_file_cancel(loop, job->token);
        co_wait_firm(&job->wait);
        if (job->result == -ECANCELED)
            return result;
        co_owe(result); /* it had begun, and what became of it counts */
    }
    return job->result;
}

struct call {
    weir_co_fn *fn;
    void *arg;
};

static int call_run(void *arg)
{
    const struct call *call = arg;
    call->fn(call->arg);
    return 0;
}

int weir_offload(weir_co_fn *fn, void *arg, weir_time deadline)
{
    struct call call = {fn, arg};
    struct job job = {.io = {.verb = IO_FILE_CALL, .call = call_run, .arg = &call}};
    return fn != NULL ? job_do(&job, deadline) : WEIR_EINVALID;
}

int weir_file_open(const char *path, int flags, unsigned mode, weir_time deadline)
{
    bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    struct job job = {.io = {.verb = IO_FILE_OPEN,
                             .fd = AT_FDCWD,
                             .path = path,
                             .flags = (unsigned)flags | O_CLOEXEC,
                             .mode = makes ? mode : 0}}; /* openat2 refuses it otherwise */
    return path != NULL ? job_do(&job, deadline) : WEIR_EINVALID;
}

static int transfer(enum io_file_verb verb, int fd, void *data, size_t size, int64_t offset,
                    weir_time deadline)
{
    enum { MOST = 1 << 30 };
    struct job job = {.io = {.verb = verb,
                             .fd = fd,
                             .buffer = data,
                             .size = size < MOST ? size : MOST,
                             .offset = offset}};
    if (fd < 0 || offset < -1 || (data == NULL && size != 0))
        return WEIR_EINVALID;
    return job_do(&job, deadline);
}

int weir_file_read(int fd, void *data, size_t size, int64_t offset, weir_time deadline)
{
    return transfer(IO_FILE_READ, fd, data, size, offset, deadline);
}

int weir_file_write(int fd, const void *data, size_t size, int64_t offset, weir_time deadline)
{
    return transfer(IO_FILE_WRITE, fd, (void *)(uintptr_t)data, size, offset, deadline);
}

int weir_file_sync(int fd, weir_time deadline)
{
    struct job job = {.io = {.verb = IO_FILE_SYNC, .fd = fd}};
    return fd >= 0 ? job_do(&job, deadline) : WEIR_EINVALID;
}

int weir_file_size(int fd, uint64_t *size, weir_time deadline)
{
    struct statx status = {0};
    struct job job = {.io = {.verb = IO_FILE_STAT,
                             .fd = fd,
                             .path = "",
                             .flags = AT_EMPTY_PATH,
                             .mode = STATX_SIZE,
                             .statx = &status}};
    if (fd < 0 || size == NULL)
        return WEIR_EINVALID;
    int result = job_do(&job, deadline);
    if (result >= 0)
        *size = status.stx_size;
    return result;
}

int weir_file_close(int fd)
{
    struct job job = {.io = {.verb = IO_FILE_CLOSE, .fd = fd}};
    weir_loop *loop = loop_current();
    if (fd < 0)
        return WEIR_EINVALID;
    if (loop == NULL || co_current() == NULL)
        return WEIR_EMISUSE;
    if (loop_file_start(loop, &job.io, job_over, &job, &job.token) < 0)
        return close(fd) == 0 ? 0 : -errno;
    co_wait_firm(&job.wait);
    return job.result;
}
