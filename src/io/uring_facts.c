/* What this kernel's io_uring can do: asked where the kernel tells, tried in a small ring where it
 * does not, because a version says little about a kernel that somebody has patched. Once a process;
 * a few dozen system calls. The trials themselves are in uring_trials.c. */
#include "io/uring.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include <weir/error.h>

#include "io/uring_trials.h"

static struct uring_facts facts;
static pthread_once_t once = PTHREAD_ONCE_INIT;

enum { PROBED_OPS = 64 };

static bool supported(const struct io_uring_probe *probe, unsigned op)
{
    return op <= probe->last_op && op < PROBED_OPS && probe->ops[op].flags & IO_URING_OP_SUPPORTED;
}

/* Everything that weir cannot do without. */
static const char *check_floor(const struct trial *trial, const struct io_uring_probe *probe)
{
    static const uint8_t needed[] = {
        IORING_OP_ACCEPT,       IORING_OP_CONNECT,  IORING_OP_RECV,  IORING_OP_SEND,
        IORING_OP_SENDMSG,      IORING_OP_CLOSE,    IORING_OP_READ,  IORING_OP_WRITE,
        IORING_OP_ASYNC_CANCEL, IORING_OP_POLL_ADD, IORING_OP_FSYNC, IORING_OP_OPENAT2,
        IORING_OP_STATX,
    };
    static const unsigned features = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE |
                                     IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG |
                                     IORING_FEAT_POLL_32BITS | IORING_FEAT_CQE_SKIP;

    if ((trial->features & features) != features)
        return "io_uring of this kernel is too old: weir needs 6.1";
    for (size_t i = 0; i < sizeof(needed); i++)
        if (!supported(probe, needed[i]))
            return "io_uring of this kernel lacks an operation that weir needs (6.1 has all)";
    if (trial_buffer_ring(trial) < 0)
        return "no buffer rings in this kernel's io_uring: weir needs 6.1";
    return NULL;
}

static void try_features(const struct trial *trial, const struct io_uring_probe *probe)
{
    facts.multishot_accept = uring_quirk("multishot_accept");
    if (!facts.multishot_accept)
        facts.multishot_accept = trial_multishot_accept(trial);
    facts.multishot_recv = trial_multishot_recv(trial);
    facts.multishot_message =
        facts.multishot_recv ? facts.multishot_recv : trial_multishot_message(trial);
    facts.recv_cap = facts.multishot_recv ? facts.multishot_recv : trial_recv_cap(trial);
    facts.incremental = trial_incremental(trial);
    facts.poll_first = trial_poll_first(trial);
    facts.cancel_op = trial_cancel_op(trial);
    facts.unix_end = uring_quirk("unix_end");
    if (!(trial->features & URING_FEAT_NO_IOWAIT))
        facts.no_iowait = "kernel before 6.15: an idle loop is counted as waiting for a disk";
    if (!supported(probe, URING_OP_FIXED_FD_INSTALL))
        facts.direct = "direct descriptors need kernel 6.8 (FIXED_FD_INSTALL)";
    else
        facts.direct = trial_direct(trial);
}

static void find_out(void)
{
    union {
        struct io_uring_probe probe;
        uint8_t room[sizeof(struct io_uring_probe) + PROBED_OPS * sizeof(struct io_uring_probe_op)];
    } answer = {.room = {0}};
    struct trial trial;
    int error = trial_open(&trial);

    if (error < 0) {
        facts.error = error;
        facts.why = uring_setup_why(error);
        return;
    }
    error = io_uring_register((unsigned)trial.ring.ring_fd, IORING_REGISTER_PROBE, &answer.probe,
                              PROBED_OPS);
    facts.why = error < 0 ? "io_uring of this kernel cannot be probed: weir needs 6.1"
                          : check_floor(&trial, &answer.probe);
    if (facts.why)
        facts.error = WEIR_ENOTSUP;
    else
        try_features(&trial, &answer.probe);
    trial_close(&trial);
}

const struct uring_facts *uring_facts(void)
{
    pthread_once(&once, find_out);
    return &facts;
}
