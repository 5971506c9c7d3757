/* Making the ring: the ladder of set-up flags, restrictions, enabling, and its end. */
#include "io/uring.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum { DEFAULT_SQ = 256, DEFAULT_CQ = 4096, SMALL_SQ = 8, SMALL_CQ = 16, DEFAULT_SLOTS = 32768 };
enum { LEAST_SQ = 64, LEAST_CQ = 1024 }; /* however many loops share a CPU */
enum { WORKERS = 8 }; /* the kernel's threads for file operations, at most, of each kind */

const char *uring_setup_why(int error)
{
    switch (error) {
    case -EPERM:
    case -EACCES:
        return "io_uring is forbidden here: by a container's seccomp profile (allow the io_uring_* "
               "calls) or by sysctl kernel.io_uring_disabled (set it to 0)";
    case -ENOSYS:
        return "this kernel has no io_uring: it is built without it, or older than 5.1; weir needs "
               "6.1";
    case -ENOMEM:
        return "no memory for the ring: raise the memlock limit (ulimit -l) or the memory limit of "
               "the control group";
    case -EMFILE:
    case -ENFILE:
        return "no descriptor left for the ring: raise the limit of open files (ulimit -n)";
    case -EINVAL:
        return "the kernel refuses the ring's size: give fewer entries";
    default:
        return "io_uring_setup failed";
    }
}

static unsigned wanted_flags(const struct io_features *features, int step)
{
    unsigned flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;
    bool defer = features->on[IO_SWITCH_defer_taskrun] && features->on[IO_SWITCH_single_issuer];

    if (step == 2)
        return flags;
    flags |= IORING_SETUP_SUBMIT_ALL;
    if (step == 0 && features->on[IO_SWITCH_single_issuer])
        flags |= IORING_SETUP_SINGLE_ISSUER;
    if (step == 0 && defer)
        flags |= IORING_SETUP_DEFER_TASKRUN;
    else if (features->on[IO_SWITCH_coop_taskrun])
        flags |= IORING_SETUP_COOP_TASKRUN;
    if (features->on[IO_SWITCH_taskrun_flag] &&
        flags & (IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN))
        flags |= IORING_SETUP_TASKRUN_FLAG;
    return flags;
}

unsigned uring_share(unsigned usual, unsigned sharers, unsigned least)
{
    for (; sharers > 1 && usual > least; sharers = sharers / 2 + sharers % 2)
        usual /= 2;
    return usual;
}

static unsigned entries(uint32_t switched, unsigned configured, unsigned small, unsigned usual)
{
    if (switched == IO_SIZE_SMALL)
        return small;
    return switched ? switched : configured ? configured : usual;
}

/* From the best flags down to none; a kernel that does not know a flag says EINVAL. */
static int climb_down(struct uring *ring)
{
    const uint32_t *size = ring->features.size;
    unsigned sharers = ring->config.sharers;
    unsigned sq = entries(size[IO_SIZE_sq], ring->config.entries, SMALL_SQ,
                          uring_share(DEFAULT_SQ, sharers, LEAST_SQ));
    unsigned cq = entries(size[IO_SIZE_cq], ring->config.cq_entries, SMALL_CQ,
                          uring_share(DEFAULT_CQ, sharers, LEAST_CQ));
    int result = -EINVAL;

    if (cq < sq)
        cq = sq; /* the kernel demands it */
    for (int step = 0; step <= 2 && result == -EINVAL; step++) {
        struct io_uring_params params = {.flags = wanted_flags(&ring->features, step),
                                         .cq_entries = cq};

        result = io_uring_queue_init_params(sq, &ring->ring, &params);
        ring->setup_flags = params.flags;
        ring->feature_bits = params.features;
    }
    return result;
}

static void restrict_row(struct io_uring_restriction *row, unsigned kind, unsigned value)
{
    row->opcode = (uint16_t)kind;
    row->register_op = (uint8_t)value; /* one byte of a union, whatever the kind */
}

/* A ring that is enabled takes only what weir submits: a fault that lets somebody write the queue
 * does not open the rest of io_uring to him. */
static int restrict_ring(struct uring *ring)
{
    static const uint8_t operations[] = {IORING_OP_ACCEPT,      IORING_OP_CONNECT,
                                         IORING_OP_RECV,        IORING_OP_SEND,
                                         IORING_OP_CLOSE,       IORING_OP_ASYNC_CANCEL,
                                         IORING_OP_POLL_ADD,    IORING_OP_SENDMSG,
                                         IORING_OP_READ,        IORING_OP_WRITE,
                                         IORING_OP_FSYNC,       IORING_OP_OPENAT2,
                                         IORING_OP_STATX,       IORING_OP_RECVMSG,
                                         IORING_OP_URING_CMD,   URING_OP_FIXED_FD_INSTALL,
                                         IORING_OP_FILES_UPDATE};
    static const uint8_t registers[] = {IORING_REGISTER_EVENTFD, IORING_UNREGISTER_EVENTFD,
                                        IORING_REGISTER_PBUF_RING, IORING_UNREGISTER_RING_FDS};
    struct io_uring_restriction row[sizeof(operations) + sizeof(registers) + 1] = {0};
    unsigned rows = 0, allowed = sizeof(operations) - (ring->io.direct ? 0 : 3);

    for (unsigned i = 0; i < allowed; i++) /* the last three serve direct descriptors only */
        restrict_row(&row[rows++], IORING_RESTRICTION_SQE_OP, operations[i]);
    for (unsigned i = 0; i < sizeof(registers); i++)
        restrict_row(&row[rows++], IORING_RESTRICTION_REGISTER_OP, registers[i]);
    restrict_row(&row[rows++], IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
                 IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS |
                     IOSQE_IO_HARDLINK | IOSQE_ASYNC);
    return io_uring_register((unsigned)ring->setup_fd, IORING_REGISTER_RESTRICTIONS, row, rows);
}

static uint32_t direct_slots(const struct uring *ring)
{
    struct rlimit limit;
    uint32_t slots = ring->config.direct_slots ? ring->config.direct_slots : DEFAULT_SLOTS;

    /* The table may not be larger than the limit of open files, though its slots are not counted
     * against it. */
    if (!ring->config.direct_slots && getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
        limit.rlim_cur < slots)
        slots = (uint32_t)limit.rlim_cur;
    return slots;
}

static int register_table(struct uring *ring, const char **why)
{
    struct io_uring_rsrc_register reg = {.flags = IORING_RSRC_REGISTER_SPARSE};
    int result;

    ring->direct_slots = reg.nr = direct_slots(ring);
    result = io_uring_register((unsigned)ring->setup_fd, IORING_REGISTER_FILES2, &reg, sizeof(reg));
    if (result < 0)
        *why = result == -EMFILE ? "the table of direct descriptors is larger than the limit of "
                                   "open files: raise ulimit -n or lower direct_slots"
                                 : "the kernel refuses the table of direct descriptors";
    return result < 0 ? result : 0;
}

static void map(struct uring *ring)
{
    struct io_uring_sq *sq = &ring->ring.sq;
    struct io_uring_cq *cq = &ring->ring.cq;

    ring->sqes = sq->sqes;
    ring->sq_entries = sq->ring_entries;
    ring->sq_mask = sq->ring_mask;
    ring->sq_ktail = sq->ktail;
    ring->sq_kflags = sq->kflags;
    ring->sq_tail = ring->sq_submitted = *sq->khead;
    ring->cqes = cq->cqes;
    ring->cq_mask = cq->ring_mask;
    ring->cq_khead = cq->khead;
    ring->cq_ktail = cq->ktail;
    ring->cq_head = ring->harvest = *cq->khead;
}

/* Everything that can be done before the ring is enabled, on any thread. */
int uring_setup(struct uring *ring, const char **why)
{
    int result = climb_down(ring);

    if (result < 0) {
        *why = uring_setup_why(result);
        return result;
    }
    ring->setup_fd = ring->enter_fd = ring->ring.ring_fd;
    map(ring);
    io_uring_ring_dontfork(&ring->ring);
    ring->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring->wake_fd < 0) {
        *why = "no descriptor left for waking the loop: raise the limit of open files (ulimit -n)";
        return -errno;
    }
    if (ring->io.direct) {
        result = register_table(ring, why);
        if (result < 0)
            return result;
    }
    if (ring->features.on[IO_SWITCH_restrictions]) {
        result = restrict_ring(ring);
        if (result < 0) {
            *why = "the kernel refuses to restrict the ring (WEIR_FEATURES=-restrictions)";
            return result;
        }
        ring->restricted = true;
    }
    return 0;
}

/* On the thread that submits: it becomes the ring's one issuer, and the registered descriptor
 * belongs to it. */
int uring_enable(struct uring *ring)
{
    struct io_uring_rsrc_update update = {.offset = UINT32_MAX, .data = (unsigned)ring->setup_fd};
    unsigned workers[2] = {WORKERS, WORKERS};
    int result;

    /* Bounds the kernel's threads, which are as many as processes are allowed otherwise. */
    io_uring_register((unsigned)ring->setup_fd, IORING_REGISTER_IOWQ_MAX_WORKERS, workers, 2);
    if (ring->features.on[IO_SWITCH_ring_fd] &&
        io_uring_register((unsigned)ring->setup_fd, IORING_REGISTER_RING_FDS, &update, 1) == 1) {
        ring->enter_fd = (int)update.offset;
        ring->enter_flags |= IORING_ENTER_REGISTERED_RING;
    }
    result = io_uring_register((unsigned)ring->setup_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (result < 0)
        return result;
    ring->enabled = true;
    ring->wake_armed = uring_arm_wake(ring) == 0;
    return 0;
}

void uring_teardown(struct uring *ring)
{
    if (ring->enter_flags & IORING_ENTER_REGISTERED_RING) {
        struct io_uring_rsrc_update update = {.offset = (unsigned)ring->enter_fd};

        io_uring_register((unsigned)ring->setup_fd, IORING_UNREGISTER_RING_FDS, &update, 1);
    }
    if (ring->setup_fd >= 0)
        io_uring_queue_exit(&ring->ring);
    if (ring->wake_fd >= 0)
        close(ring->wake_fd);
    if (ring->poll_fd >= 0)
        close(ring->poll_fd);
}
