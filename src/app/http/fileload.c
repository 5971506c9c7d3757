/* What a request asks of the file system: each step is waited for by its coroutine, and the loop
 * serves others meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "app/http/mount.h"
#include "base/alloc.h"

void file_loads_release(struct file_loads *loads)
{
    if (loads != NULL && --loads->refs == 0)
        weir__free(loads);
}

static void load_end(struct file_job *job)
{
    if (job->loads == NULL)
        return;
    job->loads->bytes -= job->content_bytes;
    file_loads_release(job->loads);
    job->loads = NULL;
}

void file_job_free(struct file_job *job)
{
    if (job->fd >= 0)
        close(job->fd);
    load_end(job);
    weir__free(job->content);
    mount_release(job->mount);
    weir__free(job);
}

/* The operation is over and its coroutine is not there any more. */
static void job_drop(struct co_file *file, int result)
{
    struct file_job *job = weir_container(file, struct file_job, wait);
    if (file->io.verb == IO_FILE_OPEN && result >= 0)
        close(result);
    file_job_free(job);
}

struct file_job *file_job_new(struct mount_cache *mc, const struct filepath *path,
                              enum coding coding)
{
    struct file_job *job = weir__alloc(sizeof *job);
    const char *suffix = weir__coding_suffix(coding);
    if (job == NULL)
        return NULL;
    memset(job, 0, offsetof(struct file_job, path));
    job->wait.drop = job_drop;
    job->mount = mc->mount;
    job->mc = mc;
    job->fd = -1;
    memcpy(job->path, path->text, path->size);
    memcpy(job->path + path->size, suffix, strlen(suffix) + 1);
    mount_hold(mc->mount);
    return job;
}

int file_job_open(struct file_job *job, uint64_t flags)
{
    enum { TRIES = 4 };
    int result = -EAGAIN;
    if (job->fd >= 0)
        close(job->fd);
    job->fd = -1;
    /* EAGAIN: something was renamed while the kernel made sure that the path stays beneath the root
     * (openat2(2)): another try tells. */
    for (int i = 0; i < TRIES && result == -EAGAIN; i++) {
        job->wait.io = (struct io_file){.verb = IO_FILE_OPEN,
                                        .fd = job->mount->root_fd,
                                        .path = job->path,
                                        .flags = flags | O_CLOEXEC,
                                        .resolve = job->mount->resolve};
        result = co_file_wait(&job->wait);
    }
    if (result < 0)
        return result;
    job->fd = result;
    return 0;
}

static int job_stat(struct file_job *job, struct filecache_file *file)
{
    struct statx *s = &job->status;
    job->wait.io = (struct io_file){.verb = IO_FILE_STAT,
                                    .fd = job->fd,
                                    .path = "",
                                    /* The open has just asked the server of a network's file. */
                                    .flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
                                    .mode = STATX_BASIC_STATS,
                                    .statx = s};
    int result = co_file_wait(&job->wait);
    if (result < 0)
        return result;
    *file = (struct filecache_file){
        .size_bytes = s->stx_size,
        .inode = s->stx_ino,
        .device = (uint64_t)s->stx_dev_major << 32 | s->stx_dev_minor,
        .mtime_ns = s->stx_mtime.tv_sec * 1000000000 + s->stx_mtime.tv_nsec,
    };
    return 0;
}

int file_job_look(struct file_job *job, struct filecache_file *file)
{
    /* O_NONBLOCK: a pipe in the directory would wait for a writer. */
    int result = file_job_open(job, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (result == 0)
        result = job_stat(job, file);
    if (result < 0)
        return result;
    if (S_ISDIR(job->status.stx_mode))
        return -EISDIR;
    return S_ISREG(job->status.stx_mode) ? 0 : -ENXIO;
}

static int read_some(struct file_job *job, uint64_t offset, uint64_t size)
{
    job->wait.io = (struct io_file){.verb = IO_FILE_READ,
                                    .fd = job->fd,
                                    .buffer = job->content->data + offset,
                                    .size = (size_t)size,
                                    .offset = (int64_t)offset};
    return co_file_wait(&job->wait);
}

static int read_whole(struct file_job *job, uint64_t size)
{
    struct filecache_file after;
    uint64_t done = 0;
    bool waits = false;
    while (done < size) {
        int result = read_some(job, done, size - done);
        if (result == -EAGAIN && !waits) { /* a file system that takes O_NONBLOCK at its word */
            waits = true;
            fcntl(job->fd, F_SETFL, 0);
            continue;
        }
        if (result <= 0)
            return result < 0 ? result : WEIR_EFULL;
        done += (uint64_t)result;
    }
    struct statx before = job->status;
    int result = job_stat(job, &after);
    if (result < 0)
        return result;
    bool same = after.size_bytes == size &&
                before.stx_mtime.tv_sec == job->status.stx_mtime.tv_sec &&
                before.stx_mtime.tv_nsec == job->status.stx_mtime.tv_nsec;
    return same ? 0 : WEIR_EFULL;
}

int file_job_read(struct file_job *job, uint64_t size)
{
    struct file_loads *loads = job->mc->loads;
    if (size > loads->max_bytes - loads->bytes)
        return WEIR_EFULL;
    job->content = weir__alloc(sizeof *job->content + size);
    if (job->content == NULL)
        return WEIR_EFULL;
    job->content_bytes = size;
    job->loads = loads;
    loads->refs++;
    loads->bytes += size;
    int result = read_whole(job, size);
    if (result == WEIR_ECANCELED)
        return result; /* the job is not ours any more */
    load_end(job);
    if (result < 0) {
        weir__free(job->content);
        job->content = NULL;
    }
    return result;
}
