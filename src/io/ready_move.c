#include "io/ready.h"
#include "io/sendfile.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* A move sends what is in memory. What is not would hold the loop until the disk has it, so that a
 * worker reads it first, into nothing: the operation waits, and yields 0 like one that waited for
 * room. The next move of the descriptor does not ask again, lest a machine that drops pages faster
 * than it reads them never gets on. */

enum {
    MOVE_MOST = 1024 * 1024, /* bytes of one move: neither reader nor disk may hold the loop */
    WARM_PIECE = 128 * 1024, /* on a worker's stack */
    WARMED = 1,              /* in io_fd.spare of a stream */
};

struct warm {
    struct io_file file; /* first: the pool gives it back */
    uint64_t token;
    int fd; /* its own: the caller may close the file when the move is canceled */
    int64_t offset;
    size_t size;
};

static int warm_run(void *arg)
{
    struct warm *warm = arg;
    char piece[WARM_PIECE];
    while (warm->size > 0) {
        size_t size = warm->size < sizeof(piece) ? warm->size : sizeof(piece);
        ssize_t got = pread(warm->fd, piece, size, warm->offset);
        if (got <= 0)
            break; /* the move will name the error */
        warm->offset += got;
        warm->size -= (size_t)got;
    }
    return 0;
}

/* False when that cannot be had: then the loop waits for the disk itself. */
static bool wait_for_disk(struct ready *r, struct io_fd *fd, uint64_t token, int file,
                          int64_t offset, size_t size)
{
    struct warm *warm = weir__zalloc(sizeof(*warm));
    if (warm == NULL)
        return false;
    warm->token = token;
    warm->offset = offset;
    warm->size = size;
    warm->file.verb = IO_FILE_CALL;
    warm->file.call = warm_run;
    warm->file.arg = warm;
    warm->fd = fcntl(file, F_DUPFD_CLOEXEC, 0);
    if (warm->fd < 0 || weir__pool_submit(r->pool, &r->client, &warm->file) != 0) {
        if (warm->fd >= 0)
            close(warm->fd);
        weir__free(warm);
        return false;
    }
    fd->flags |= READY_MOVE;
    r->in_flight += 2; /* the move, and the job, which ends even when the move is canceled */
    return true;
}

bool weir__ready_own_job(struct ready *r, struct io_file *file, struct io_event *event,
                         bool *yields)
{
    struct warm *warm = (struct warm *)file;
    struct io_fd *fd;
    uint64_t token;
    if (file->verb != IO_FILE_CALL || file->call != warm_run)
        return false;
    token = warm->token;
    close(warm->fd);
    r->io.stats.syscalls++;
    weir__free(warm);
    r->in_flight--;
    fd = r->find(r->owner, token);
    *yields = fd != NULL && (fd->flags & (READY_MOVE | READY_SEND)) == READY_MOVE;
    if (!*yields)
        return true; /* canceled meanwhile */
    fd->flags = (uint16_t)((fd->flags & ~READY_MOVE) | READY_ROOM);
    fd->spare |= WARMED;
    r->in_flight--;
    *event = (struct io_event){.token = IO_TOKEN_WITH_OP(token, IO_OP_MOVE)};
    return true;
}

int weir__ready_move(struct io *io, struct io_fd *fd, int file, int64_t *offset, size_t size,
                     unsigned flags, uint64_t token, int *result)
{
    struct ready *r = (struct ready *)io;
    if (ready_may_have_room(fd, flags)) {
        size_t most = size < MOVE_MOST ? size : MOVE_MOST;
        int moved;
        if (r->warm_move && !(fd->spare & WARMED) && !(flags & IO_SEND_NOWAIT) &&
            !weir__file_cached(file, *offset, most) &&
            wait_for_disk(r, fd, token, file, *offset, most))
            return IO_PENDING;
        moved = weir__sendfile(fd->fd, file, offset, most);
        r->io.stats.syscalls += 3;
        if (moved != -EAGAIN)
            fd->spare &= (uint16_t)~WARMED;
        if (moved != -EAGAIN || flags & IO_SEND_NOWAIT) {
            *result = moved;
            if (moved >= 0 && (size_t)moved < most)
                r->io.stats.short_sends++;
            /* A move can be short for many reasons (a signal, the end of the file): the socket
             * need not be full, so that the next one is tried whatever its flags say. */
            fd->flags |= READY_ROOM;
            return IO_DONE;
        }
    } else if (flags & IO_SEND_NOWAIT) {
        *result = -EAGAIN;
        return IO_DONE;
    }
    return weir__ready_wait_for_room(r, fd, token, READY_MOVE, result);
}
