/* Entering the kernel: submitting, waiting, being woken. */
#include "io/uring.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* weir makes this call itself: liburing 2.3 cannot pass NO_IOWAIT, and what its wait does around
 * the call is not needed. */
int uring_real_enter(struct uring *ring, unsigned submit, unsigned wait, unsigned flags,
                     const struct io_uring_getevents_arg *arg)
{
    long result = syscall(__NR_io_uring_enter, ring->enter_fd, submit, wait, flags, arg,
                          arg ? sizeof(*arg) : 0);

    return result < 0 ? -errno : (int)result;
}

/* One call: hands over what is queued. 0 or -errno; some entries may remain queued. */
static int enter(struct uring *ring, unsigned wait, unsigned flags,
                 const struct io_uring_getevents_arg *arg)
{
    unsigned queued = ring->sq_tail - ring->sq_submitted;
    int result;

    __atomic_store_n(ring->sq_ktail, ring->sq_tail, __ATOMIC_RELEASE);
    __atomic_store_n(ring->cq_khead, ring->cq_head, __ATOMIC_RELEASE);
    ring->io.stats.syscalls++;
    result = ring->enter(ring, queued, wait, flags | ring->enter_flags, arg);
    if (result < 0)
        return result;
    ring->sq_submitted += (unsigned)result;
    if ((unsigned)result == queued)
        ring->arena_used = 0;
    return 0;
}

static bool passing(int error)
{
    return error == -EINTR || error == -EAGAIN || error == -EBUSY || error == -ENOMEM;
}

/* Submits without waiting, for a verb that found the queue or the arena full, or cannot wait for
 * the next turn. 0 when something was submitted (there is room now); -errno when the kernel takes
 * nothing, also when asked several times. */
int uring_flush(struct uring *ring)
{
    unsigned before = ring->sq_submitted;
    int error = ring->enabled ? 0 : uring_enable(ring);

    for (int tries = 8; error == 0 && ring->sq_submitted != ring->sq_tail; tries--) {
        unsigned submitted = ring->sq_submitted;

        error = enter(ring, 0, 0, NULL);
        if (ring->sq_submitted != submitted)
            tries = 8;
        else if (error == 0)
            error = -EAGAIN;
        if (tries > 0 && passing(error))
            error = 0;
    }
    return ring->sq_submitted != before ? 0 : error;
}

/* Memory for the entry that the caller takes next; it stays until the next enter, which is when the
 * kernel has copied it (IORING_FEAT_SUBMIT_STABLE). Whatever submits does so in here, so that
 * taking the entry does not, which would give the memory away. NULL when it cannot be had. */
void *uring_arena(struct uring *ring, size_t size)
{
    void *memory;

    size = (size + 15) & ~(size_t)15;
    if (size > URING_ARENA_BYTES || !uring_room(ring))
        return NULL;
    if (ring->arena_used + size > URING_ARENA_BYTES) {
        uring_flush(ring);
        if (ring->arena_used + size > URING_ARENA_BYTES)
            return NULL;
    }
    memory = ring->arena + ring->arena_used;
    ring->arena_used += (uint32_t)size;
    return memory;
}

/* Keeps a multishot poll of the wake eventfd in the ring. Such a poll tells of every write, also
 * when the count was above zero before, so nobody ever reads the eventfd; and the kernel writes no
 * memory of ours, which would have to outlive the ring. */
int uring_arm_wake(struct uring *ring)
{
    struct io_uring_sqe *sqe = uring_sqe(ring);

    if (!sqe)
        return -EAGAIN;
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->fd = ring->wake_fd;
    sqe->len = IORING_POLL_ADD_MULTI;
    sqe->poll32_events = uring_poll_mask(POLLIN);
    sqe->user_data = IO_TOKEN(URING_OWN, 0, 0, URING_OWN_WAKE);
    return 0;
}

/* Any thread, and signal handlers. The flag coalesces; the eventfd is written only when the loop
 * sleeps or is about to: `sleeping` is set before `woken` is read, and here the other way round, so
 * one of the two sees the other. */
void uring_wake(struct io *io)
{
    struct uring *ring = uring_of(io);
    uint64_t one = 1;
    int saved = errno;

    if (atomic_exchange(&ring->woken, 1) == 0 && atomic_load(&ring->sleeping)) {
        int host = atomic_load(&ring->host_fd);

        while (write(ring->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
        /* The kernel would tell the host itself, but see announce_again. */
        while (host >= 0 && write(host, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    }
    errno = saved;
}

/* epoll on the ring's own descriptor sleeps through completions under DEFER_TASKRUN, so a host gets
 * an eventfd that the kernel writes when completions come or wait to be run. */
int uring_poll_fd(struct io *io)
{
    struct uring *ring = uring_of(io);
    int fd, result;

    if (ring->poll_fd >= 0)
        return ring->poll_fd;
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    result = io_uring_register((unsigned)ring->setup_fd, IORING_REGISTER_EVENTFD, &fd, 1);
    if (result < 0) {
        close(fd);
        return result;
    }
    ring->poll_fd = fd;
    atomic_store(&ring->host_fd, fd);
    atomic_store(&ring->sleeping, 1); /* the host sleeps, weir cannot know when */
    uring_tell_host(ring);            /* of what completed or was queued before */
    return fd;
}

/* How long a loop sleeps at most while the kernel, out of memory, refuses the poll that wakes it.
 */
enum { LOOK_NS = 10 * 1000 * 1000 };

/* There is work that the kernel does not know of: a host must not sleep before the next turn. */
void uring_tell_host(struct uring *ring)
{
    ring->io.stats.syscalls++;
    eventfd_write(ring->poll_fd, 1);
}

static unsigned kernel_flags(const struct uring *ring)
{
    return __atomic_load_n(ring->sq_kflags, __ATOMIC_RELAXED);
}

static bool completions(const struct uring *ring)
{
    return __atomic_load_n(ring->cq_ktail, __ATOMIC_ACQUIRE) != ring->cq_head || ring->carry.left ||
           ring->finished;
}

/* A write to an eventfd that the ring polls should make the kernel write the registered one too;
 * from inside such a write it does so by a detour that, under DEFER_TASKRUN, works only once for
 * each registration (seen on 6.18: the second is lost for good). So while descriptors are polled
 * for a host, the eventfd is registered again in every turn. */
static void announce_again(struct uring *ring)
{
    io_uring_register((unsigned)ring->setup_fd, IORING_UNREGISTER_EVENTFD, NULL, 0);
    io_uring_register((unsigned)ring->setup_fd, IORING_REGISTER_EVENTFD, &ring->poll_fd, 1);
    ring->io.stats.syscalls += 2;
}

/* Before completions are looked for: what comes later is announced again. */
static int empty_host_fd(struct uring *ring)
{
    uint64_t count;

    if (ring->polls && ring->setup_flags & IORING_SETUP_DEFER_TASKRUN)
        announce_again(ring);
    ring->io.stats.syscalls++;
    if (read(ring->poll_fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
        return -errno;
    return 0;
}

/* The kernel took nothing: out of memory, or completions must be taken first. Gives it time to
 * finish something without spinning. */
static int wait_stuck(struct uring *ring)
{
    struct __kernel_timespec ts = {.tv_nsec = 1000 * 1000};
    struct io_uring_getevents_arg arg = {.ts = (uintptr_t)&ts};
    int result;

    __atomic_store_n(ring->cq_khead, ring->cq_head, __ATOMIC_RELEASE);
    ring->io.stats.syscalls++;
    result = ring->enter(ring, 0, completions(ring) ? 0 : 1,
                         IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | ring->enter_flags, &arg);
    return result == -EBADR ? result : 0;
}

static int submit_and_wait(struct uring *ring, int64_t timeout_ns)
{
    struct __kernel_timespec ts = {.tv_sec = timeout_ns / 1000000000,
                                   .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_getevents_arg arg = {.ts = timeout_ns > 0 ? (uintptr_t)&ts : 0};
    unsigned flags = IORING_ENTER_GETEVENTS;
    int result;

    if (timeout_ns > 0)
        flags |= IORING_ENTER_EXT_ARG;
    if (timeout_ns != 0)
        flags |= ring->wait_flags;
    for (;;) {
        unsigned submitted = ring->sq_submitted;

        result = enter(ring, timeout_ns != 0, flags, timeout_ns > 0 ? &arg : NULL);
        if (result < 0 || ring->sq_submitted == ring->sq_tail)
            break; /* only the call that submits the last entry waits */
        if (submitted == ring->sq_submitted) {
            result = -EAGAIN;
            break;
        }
    }
    if (result == -EINTR || result == -ETIME)
        return 0;
    return passing(result) ? wait_stuck(ring) : result;
}

/* True when nothing but time could make an enter useful. */
static bool idle(const struct uring *ring)
{
    unsigned flags = kernel_flags(ring);

    return ring->peeks && ring->sq_tail == ring->sq_submitted &&
           !(flags & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN));
}

int uring_wait(struct io *io, int64_t timeout_ns)
{
    struct uring *ring = uring_of(io);
    int result = 0;

    io->stats.waits++;
    if (__builtin_expect(!ring->enabled, 0)) {
        result = uring_enable(ring);
        if (result < 0)
            return result;
    }
    if (__builtin_expect(ring->poll_fd >= 0, 0)) {
        result = empty_host_fd(ring);
        if (result < 0)
            return result;
    }
    if (kernel_flags(ring) & IORING_SQ_CQ_OVERFLOW) {
        /* The kernel keeps what found no room; an enter moves it into the queue. */
        io->stats.cq_overflows++;
        timeout_ns = 0;
    }
    if (timeout_ns != 0 && completions(ring))
        timeout_ns = 0;
    if (timeout_ns != 0) {
        if (__builtin_expect(!ring->wake_armed, 0))
            ring->wake_armed = uring_arm_wake(ring) == 0;
        if (__builtin_expect(!ring->wake_armed, 0) && (timeout_ns < 0 || timeout_ns > LOOK_NS))
            timeout_ns = LOOK_NS;
        atomic_store(&ring->sleeping, 1);
        if (atomic_load(&ring->woken))
            timeout_ns = 0;
        else
            io->stats.sleeps++;
    }
    if (timeout_ns != 0 || !idle(ring))
        result = submit_and_wait(ring, timeout_ns);
    if (ring->poll_fd < 0)
        atomic_store_explicit(&ring->sleeping, 0, memory_order_relaxed);
    if (atomic_load_explicit(&ring->woken, memory_order_relaxed))
        atomic_exchange(&ring->woken, 0); /* what the waker left is looked at after this */
    ring->harvest = __atomic_load_n(ring->cq_ktail, __ATOMIC_ACQUIRE);
    return result;
}
