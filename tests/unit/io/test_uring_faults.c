#include "io_suite.h"

#include <errno.h>

#include "io/uring.h"

/* The shared cases on a ring whose system call fails as the kernel's may: interrupted, out of
 * memory, busy, or after having taken only some of the entries. Nothing may be lost by it. Those
 * that measure sleeps are left out: an interrupted sleep is short. */

static const struct io_ops *real;
static uint64_t seed;

static unsigned draw(unsigned below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % below;
}

/* The kernel was seen to miss an operation that a cancel names: here it misses every second. */
static void spoil_cancels(struct uring *ring, unsigned submit)
{
    for (unsigned i = 0; i < submit; i++) {
        struct io_uring_sqe *sqe = &ring->sqes[(ring->sq_submitted + i) & ring->sq_mask];
        if (sqe->opcode == IORING_OP_ASYNC_CANCEL && sqe->cancel_flags == 0 && draw(2))
            sqe->addr = 1;
    }
}

/* Fewer entries than asked for, but no part of a chain: the kernel cuts these only when it has no
 * memory for the next entry, and then runs the first one by itself, at any time. */
static unsigned fewer(struct uring *ring, unsigned submit)
{
    unsigned taken = draw(submit);
    while (taken > 0 &&
           ring->sqes[(ring->sq_submitted + taken - 1) & ring->sq_mask].flags & IOSQE_IO_HARDLINK)
        taken--;
    return taken;
}

static int faulty_enter(struct uring *ring, unsigned submit, unsigned wait, unsigned flags,
                        const struct io_uring_getevents_arg *arg)
{
    static const int errors[] = {-EINTR, -EAGAIN, -EBUSY, -ENOMEM};
    if (draw(5) == 0)
        return errors[draw(4)];
    spoil_cancels(ring, submit);
    /* Fewer than asked for: then the kernel does not wait. */
    if (submit > 0 && draw(4) == 0)
        return uring_real_enter(ring, fewer(ring, submit), 0, flags & ~IORING_ENTER_EXT_ARG, NULL);
    return uring_real_enter(ring, submit, wait, flags, arg);
}

static int open_faulty(struct io **io, const struct io_config *config, const char **why)
{
    int result = real->open(io, config, why);
    if (result == 0)
        uring_of(*io)->enter = faulty_enter;
    return result;
}

int main(void)
{
    static const char *const switched[] = {NULL, "+direct", "-cancel_op",
                                           "-multishot_recv,-multishot_accept"};
    const struct CMUnitTest *const lists[] = {io_cases_stream, io_cases_listen, io_cases_file,
                                              io_cases_end, io_cases_block};
    struct io_ops faulty = weir__io_uring;
    int failed = 0;
    real = &weir__io_uring;
    faulty.open = open_faulty;
    for (unsigned i = 0; i < 4; i++) {
        const struct io_config config = {.features = switched[i]};
        seed = i + 1;
        failed += io_suite_run_lists("uring with faults", &faulty, &config, lists, 5);
    }
    return failed;
}
