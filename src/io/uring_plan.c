/* The plan: what this ring uses, and why the rest is left out. `weir backends` prints it. */
#include "io/uring.h"

#include "base/assert.h"

static const char off[] = "switched off";

static void add(struct uring *ring, const char *feature, bool used, const char *reason)
{
    struct io_plan *plan = &ring->io.plan;

    WEIR_ASSERT(plan->rows < IO_PLAN_ROWS);
    plan->row[plan->rows++] =
        (struct io_plan_row){.feature = feature, .used = used, .reason = reason};
}

/* A feature that a trial decided on. `missing`: what it said, or NULL. */
static void add_fact(struct uring *ring, const char *feature, bool used, const char *missing,
                     const char *reason)
{
    add(ring, feature, used, used ? reason : missing ? missing : off);
}

static void add_setup(struct uring *ring)
{
    unsigned flags = ring->setup_flags;
    const bool *on = ring->features.on;

    add(ring, "single_issuer", flags & IORING_SETUP_SINGLE_ISSUER,
        flags & IORING_SETUP_SINGLE_ISSUER ? "one thread submits, the kernel locks less"
        : on[IO_SWITCH_single_issuer]      ? "kernel before 6.0"
                                           : off);
    add(ring, "defer_taskrun", flags & IORING_SETUP_DEFER_TASKRUN,
        flags & IORING_SETUP_DEFER_TASKRUN ? "completions run in batches, when the loop asks"
        : on[IO_SWITCH_defer_taskrun] && on[IO_SWITCH_single_issuer] ? "kernel before 6.1"
                                                                     : off);
    add(ring, "coop_taskrun", flags & IORING_SETUP_COOP_TASKRUN,
        flags & IORING_SETUP_COOP_TASKRUN    ? "completions do not interrupt the loop"
        : flags & IORING_SETUP_DEFER_TASKRUN ? "defer_taskrun does more"
        : on[IO_SWITCH_coop_taskrun]         ? "kernel before 5.19"
                                             : off);
    add(ring, "taskrun_flag", flags & IORING_SETUP_TASKRUN_FLAG,
        flags & IORING_SETUP_TASKRUN_FLAG ? "a turn that does not wait enters only when it must"
        : on[IO_SWITCH_taskrun_flag]      ? "kernel before 5.19"
                                          : off);
    add(ring, "restrictions", ring->restricted,
        ring->restricted ? "the ring takes only the operations that weir uses" : off);
    add(ring, "ring_fd", on[IO_SWITCH_ring_fd],
        on[IO_SWITCH_ring_fd] ? "enter looks up no file" : off);
}

static void add_probed(struct uring *ring, const struct uring_facts *facts)
{
    struct uring_buffers *buffers = &ring->buffers;

    add_fact(ring, "no_iowait", ring->wait_flags & URING_ENTER_NO_IOWAIT, facts->no_iowait,
             "an idle loop is not counted as waiting for a disk");
    add_fact(ring, "multishot_accept", ring->multishot_accept, facts->multishot_accept,
             "one operation accepts many");
    add_fact(ring, "multishot_recv", ring->multishot_recv, facts->multishot_recv,
             facts->unix_end ? facts->unix_end : "one operation receives many times");
    add_fact(ring, "multishot_message", ring->multishot_message, facts->multishot_message,
             "one operation receives datagram after datagram");
    add(ring, "buffer_ring", true, "receive blocks are shared by all connections");
    add_fact(ring, "incremental", buffers->incremental, facts->incremental,
             "receives share blocks, slice by slice");
    add_fact(ring, "recv_cap", ring->multishot_recv && buffers->cap, facts->recv_cap,
             "the kernel cuts receives at 64 KiB");
    if (!buffers->cap && !facts->recv_cap && ring->features.on[IO_SWITCH_recv_cap])
        ring->io.plan.row[ring->io.plan.rows - 1].reason = "blocks are no larger than an event";
    add_fact(ring, "poll_first", ring->poll_first, facts->poll_first,
             "a send known to find no room waits before it tries");
    add_fact(ring, "cancel_op", ring->cancel_op, facts->cancel_op,
             "a missed cancel is repeated by descriptor and operation");
    add_fact(ring, "warm_move", ring->warm_move, NULL,
             "the ring reads a cold file before it is sent");
    add_fact(ring, "direct", ring->io.direct, facts->direct,
             "connections are slots of the ring's own table");
    if (!ring->io.direct && !facts->direct)
        ring->io.plan.row[ring->io.plan.rows - 1].reason = "an option: not asked for";
}

static void add_absent(struct uring *ring)
{
    add(ring, "bundles", false, "not yet: wrong on kernels before 6.14.12, to be measured");
    add(ring, "send_zc", false, "not yet: pays from about 32 KiB and not on loopback");
    add(ring, "send_vectorized", false, "not yet: saves one copied header a gathered send");
    add(ring, "recv_zc", false, "not yet: needs a network card with header split");
    add(ring, "registered_buffers", false, "not yet: serves zero-copy send");
    add(ring, "registered_waits", false, "not yet: saves copying 24 bytes a sleep");
    add(ring, "min_wait", false, "not yet: trades latency for batches");
    add(ring, "napi", false, "not yet: for cores that do nothing else");
    add(ring, "msg_ring", false, "not yet: loops are woken through an eventfd");
    add(ring, "sqpoll", false, "left out: a kernel thread that spins costs a core");
    add(ring, "splice", false, "left out: in a ring it goes to a thread, sendfile(2) is called");
}

void uring_plan(struct uring *ring, const struct uring_facts *facts)
{
    ring->io.plan = (struct io_plan){.backend = "uring"};
    add_setup(ring);
    add_probed(ring, facts);
    add_absent(ring);
}
