#include "io_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/uring.h"

/* A submission queue without room, and a kernel that takes nothing: each verb says so, and nothing
 * has happened then. */

static int refusals; /* of enter: so many more; negative: for ever */

static int refusing_enter(struct uring *ring, unsigned submit, unsigned wait, unsigned flags,
                          const struct io_uring_getevents_arg *arg)
{
    if (refusals != 0) {
        refusals--;
        return -EBUSY;
    }
    return uring_real_enter(ring, submit, wait, flags, arg);
}

static struct uring *ring_here(struct rig *rig)
{
    return uring_of(rig->io);
}

/* Fills the queue with polls of an eventfd that nobody writes; the slots are marked. */
static unsigned fill(struct rig *rig, unsigned *slots, unsigned most)
{
    unsigned count = 0;
    int result = IO_PENDING;
    rig_turn(rig, 0);
    ring_here(rig)->enter = refusing_enter;
    refusals = -1;
    while (result == IO_PENDING && count < most) {
        unsigned slot = rig_add(rig, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), false);
        result = rig->io->ops->poll(rig->io, rig_fd(rig, slot), POLLIN,
                                    rig_token(rig, slot, IO_OP_POLL));
        slots[count++] = slot;
    }
    assert_int_equal(result, -ENOBUFS);
    return count;
}

static void drain(struct rig *rig, const unsigned *slots, unsigned count)
{
    refusals = 0;
    for (unsigned i = 0; i + 1 < count; i++) {
        uint64_t token = rig_token(rig, slots[i], IO_OP_POLL);
        assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, slots[i]), token), 0);
        assert_int_equal(rig_final(rig, token), -ECANCELED);
    }
}

enum { FILL_MOST = 1024 };

static void each_verb_says_so(void **state)
{
    const struct io_config small = {.features = "sq=small,cq=small"};
    struct rig *rig = rig_of(state);
    struct sockaddr_in address = {.sin_family = AF_INET};
    static unsigned slots[FILL_MOST];
    char bytes[2] = "ab";
    struct iovec iov[2] = {{bytes, 1}, {bytes + 1, 1}};
    struct io_file file = {.verb = IO_FILE_READ, .fd = 0, .buffer = bytes, .size = 1};
    int peer, result = 1, null_fd;
    int64_t offset = 0;
    rig_reopen(rig, &small);
    const struct io_ops *ops = rig->io->ops;
    unsigned slot = rig_unix(rig, &peer), other = rig_add(rig, rig_socket(rig, AF_INET), false);
    struct io_fd *fd = rig_fd(rig, slot);
    unsigned count = fill(rig, slots, FILL_MOST), flying = ops->in_flight(rig->io);
    assert_int_equal(flying, count - 1);
    assert_int_equal(ops->accept(rig->io, fd, rig_token(rig, slot, IO_OP_ACCEPT)), -ENOBUFS);
    assert_int_equal(ops->connect(rig->io, rig_fd(rig, other), (struct sockaddr *)&address,
                                  sizeof(address), rig_token(rig, other, IO_OP_CONNECT), &result),
                     -ENOBUFS);
    assert_int_equal(ops->recv(rig->io, fd, rig_token(rig, slot, IO_OP_RECV)), -ENOBUFS);
    for (unsigned pieces = 0; pieces < 3; pieces++)
        assert_int_equal(
            ops->send(rig->io, fd, iov, pieces, 0, rig_token(rig, slot, IO_OP_SEND), &result),
            -ENOBUFS);
    assert_int_equal(ops->poll(rig->io, fd, POLLIN, rig_token(rig, slot, IO_OP_POLL)), -ENOBUFS);
    assert_int_equal(
        ops->cancel(rig->io, rig_fd(rig, slots[0]), rig_token(rig, slots[0], IO_OP_POLL)),
        -ENOBUFS);
    assert_int_equal(ops->file(rig->io, &file, rig_token(rig, slot, IO_OP_FILE)), -ENOBUFS);
    assert_int_equal(ops->cancel(rig->io, fd, rig_token(rig, slot, IO_OP_FILE)), -ENOBUFS);
    null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(ops->move(rig->io, fd, null_fd, &offset, 1, IO_SEND_BLOCKED,
                               rig_token(rig, slot, IO_OP_MOVE), &result),
                     -ENOBUFS);
    close(null_fd);
    assert_int_equal(ops->in_flight(rig->io), flying);
    assert_int_equal(rig->io->ops->wait(rig->io, 0), 0);
    /* An ordinary descriptor is closed without the ring. */
    assert_int_equal(ops->close_fd(rig->io, rig_fd(rig, other), false,
                                   rig_token(rig, other, IO_OP_CLOSE), &result),
                     IO_DONE);
    assert_int_equal(result, 0);
    assert_int_equal(rig_fd(rig, other)->fd, -1);
    rig->slot[other].used = false;
    drain(rig, slots, count);
    /* And there is room again. */
    assert_int_equal(rig_send(rig, slot, "room", 4), 0);
    rig_recv(rig, slot);
    assert_int_equal(send(peer, "x", 1, MSG_NOSIGNAL), 1);
    assert_true(rig_got(rig, slot, 1));
    close(peer);
}

static void each_verb_on_a_direct_descriptor_says_so(void **state)
{
    const struct io_config direct = {.features = "sq=small,cq=small,+direct"};
    struct rig *rig = rig_of(state);
    struct sockaddr_in address;
    static unsigned slots[FILL_MOST];
    int result = 1, null_fd;
    int64_t offset = 0;
    rig_reopen(rig, &direct);
    const struct io_ops *ops = rig->io->ops;
    unsigned listener = rig_listener(rig, &address);
    uint64_t accept = rig_token(rig, listener, IO_OP_ACCEPT);
    assert_int_equal(ops->accept(rig->io, rig_fd(rig, listener), accept), IO_PENDING);
    rig_turn(rig, 0);
    int peer = rig_dial(&address);
    unsigned slot = rig_add(rig, rig_any(rig, accept), true);
    struct io_fd *fd = rig_fd(rig, slot);
    unsigned count = fill(rig, slots, FILL_MOST), flying = ops->in_flight(rig->io);
    assert_int_equal(ops->number(rig->io, fd), -ENOBUFS);
    assert_int_equal(ops->shutdown(rig->io, fd, SHUT_WR), -ENOBUFS);
    for (int reset = 0; reset < 2; reset++)
        assert_int_equal(
            ops->close_fd(rig->io, fd, reset != 0, rig_token(rig, slot, IO_OP_CLOSE), &result),
            -ENOBUFS);
    null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(ops->move(rig->io, fd, null_fd, &offset, 1, IO_SEND_NOWAIT,
                               rig_token(rig, slot, IO_OP_MOVE), &result),
                     IO_DONE);
    assert_int_equal(result, -ENOBUFS);
    close(null_fd);
    assert_true(fd->fd >= 0);
    assert_int_equal(ops->in_flight(rig->io), flying);
    refusals = 0;
    assert_int_equal(ops->cancel(rig->io, rig_fd(rig, listener), accept), 0);
    assert_int_equal(rig_final(rig, accept), -ECANCELED);
    drain(rig, slots, count);
    int number = ops->number(rig->io, fd);
    assert_true(number >= 0);
    ops->number_done(rig->io, fd, number);
    rig_close(rig, slot, true);
    char byte;
    assert_int_equal(recv(peer, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(peer);
}

/* Without the poll that lets others wake it, a ring does not sleep for long. */
static void who_cannot_be_woken_looks_for_itself(void **state)
{
    const struct io_config small = {.features = "sq=small,cq=small"};
    struct rig *rig = rig_of(state);
    static unsigned slots[FILL_MOST];
    rig_reopen(rig, &small);
    unsigned count = fill(rig, slots, FILL_MOST);
    ring_here(rig)->wake_armed = false;
    for (int timed = 0; timed < 2; timed++) {
        uint64_t from_ns = rig_now_ns();
        refusals = 12; /* as often as a full queue asks, and no more */
        alarm(20);
        assert_int_equal(rig->io->ops->wait(rig->io, timed ? 5000000000 : -1), 0);
        alarm(0);
        assert_true(rig_now_ns() - from_ns < 2000000000);
    }
    drain(rig, slots, count);
    assert_true(ring_here(rig)->wake_armed); /* asked again */
}

enum { SENDERS = 24, PIECES = 1000 };

/* The memory for gathered sends is used up: what is queued is handed over first, and no send gets
 * another one's pieces. */
static void gathered_sends_beyond_the_memory(void **state)
{
    struct rig *rig = rig_of(state);
    static struct iovec iov[SENDERS][PIECES];
    static uint8_t bytes[SENDERS];
    unsigned slot[SENDERS];
    int peer[SENDERS], result;
    uint8_t back[PIECES + 1];
    rig_turn(rig, 0);
    for (unsigned i = 0; i < SENDERS; i++) {
        slot[i] = rig_unix(rig, &peer[i]);
        bytes[i] = (uint8_t)('a' + i);
        for (unsigned n = 0; n < PIECES; n++)
            iov[i][n] = (struct iovec){&bytes[i], 1};
        assert_int_equal(rig->io->ops->send(rig->io, rig_fd(rig, slot[i]), iov[i], PIECES, 0,
                                            rig_token(rig, slot[i], IO_OP_SEND), &result),
                         IO_PENDING);
        assert_true(ring_here(rig)->arena_used <= URING_ARENA_BYTES);
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        assert_int_equal(rig_final(rig, rig_token(rig, slot[i], IO_OP_SEND)), PIECES);
        assert_int_equal(recv(peer[i], back, sizeof(back), 0), PIECES);
        for (unsigned n = 0; n < PIECES; n++)
            assert_int_equal(back[n], bytes[i]);
        close(peer[i]);
    }
    /* With a kernel that takes nothing there is no memory in the end, and it is said. */
    ring_here(rig)->enter = refusing_enter;
    refusals = -1;
    unsigned queued = 0;
    slot[0] = rig_unix(rig, &peer[0]);
    do {
        result = rig->io->ops->send(rig->io, rig_fd(rig, slot[0]), iov[0], PIECES, 0,
                                    rig_token(rig, slot[0], IO_OP_SEND), &result);
        queued += result == IO_PENDING;
        assert_true(ring_here(rig)->arena_used <= URING_ARENA_BYTES && queued < 1000);
    } while (result == IO_PENDING);
    assert_int_equal(result, -ENOBUFS);
    refusals = 0;
    for (unsigned i = 0; i < queued; i++)
        assert_int_equal(rig_final(rig, rig_token(rig, slot[0], IO_OP_SEND)), PIECES);
    close(peer[0]);
}

/* A host's descriptor that cannot be had: neither is one left open, nor believed in. */
static void a_host_without_a_descriptor(void **state)
{
    struct rig *rig = rig_of(state);
    struct rlimit limit, low;
    int next = dup(0), own = eventfd(0, EFD_CLOEXEC);
    close(next);
    next = dup(0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){(rlim_t)next, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int fd = rig->io->ops->poll_fd(rig->io);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(fd, -EMFILE);
    assert_int_equal(ring_here(rig)->poll_fd, -1);
    rig_turn(rig, 0);
    unsigned ring_fd = (unsigned)ring_here(rig)->setup_fd;
    int taken = io_uring_register(ring_fd, IORING_REGISTER_EVENTFD, &own, 1);
    if (taken == 0) { /* a ring has one such descriptor */
        assert_int_equal(rig->io->ops->poll_fd(rig->io), -EBUSY);
        assert_int_equal(ring_here(rig)->poll_fd, -1);
        assert_int_equal(fcntl(next, F_GETFD), -1);
        assert_int_equal(io_uring_register(ring_fd, IORING_UNREGISTER_EVENTFD, NULL, 0), 0);
    }
    assert_true(rig->io->ops->poll_fd(rig->io) >= 0);
    close(own);
    rig_turn(rig, 0);
    uint64_t calls = rig->io->stats.syscalls;
    rig_turn(rig, 0);
    assert_true(rig->io->stats.syscalls > calls); /* it is emptied in every turn */
}

static int entered;

static int taking_nothing(struct uring *ring, unsigned submit, unsigned wait, unsigned flags,
                          const struct io_uring_getevents_arg *arg)
{
    if (++entered > 1000)
        _exit(1); /* it spins */
    return 0;
}

/* A kernel that takes nothing and does not say why is not asked for ever. */
static void a_kernel_that_takes_nothing(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_unix(rig, &peer);
    rig_turn(rig, 0);
    rig_recv(rig, slot);
    ring_here(rig)->enter = taking_nothing;
    entered = 0;
    assert_int_equal(rig->io->ops->wait(rig->io, -1), 0);
    assert_in_range(entered, 1, 20);
    ring_here(rig)->enter = uring_real_enter;
    assert_int_equal(send(peer, "x", 1, MSG_NOSIGNAL), 1);
    assert_true(rig_got(rig, slot, 1));
    close(peer);
}

static const struct CMUnitTest cases[] = {
    IO_CASE(each_verb_says_so),
    IO_CASE(each_verb_on_a_direct_descriptor_says_so),
    IO_CASE(who_cannot_be_woken_looks_for_itself),
    IO_CASE(gathered_sends_beyond_the_memory),
    IO_CASE(a_host_without_a_descriptor),
    IO_CASE(a_kernel_that_takes_nothing),
    IO_CASES_END,
};

int main(void)
{
    const struct CMUnitTest *const lists[] = {cases};
    return io_suite_run_lists("full", &weir__io_uring, NULL, lists, 1);
}
