#include "io_suite.h"

#include "base/alloc.h"
#include "io/ready.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* What only epoll promises, beside the suite. */

/* Asked and answered at once, a connection is never registered. */
static void short_lived_is_not_registered(void **state)
{
    struct rig *rig = rig_of(state);
    struct sockaddr_in address;
    unsigned listener = rig_listener(rig, &address), slot;
    uint64_t token = rig_token(rig, listener, IO_OP_ACCEPT), syscalls;
    struct iovec iov = {(char[]){"a"}, 1};
    struct io_event event;
    int peer, result = 0;
    assert_int_equal(rig->io->ops->accept(rig->io, rig_fd(rig, listener), token), IO_PENDING);
    peer = rig_dial(&address);
    assert_int_equal(send(peer, "q", 1, MSG_NOSIGNAL), 1);
    syscalls = rig->io->stats.syscalls;
    assert_int_equal(rig->io->ops->wait(rig->io, 1000000000), 0);
    assert_int_equal(rig->io->ops->next(rig->io, &event), 1);
    assert_int_equal(event.token, token);
    slot = rig_add(rig, event.result, false);
    rig_recv(rig, slot);
    assert_int_equal(rig->io->ops->next(rig->io, &event), 1);
    assert_int_equal(event.token, rig_token(rig, slot, IO_OP_RECV));
    assert_int_equal(event.result, 1);
    assert_int_equal(event.flags & IO_DRAINED, IO_DRAINED);
    assert_int_equal(rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, 0,
                                        rig_token(rig, slot, IO_OP_SEND), &result),
                     IO_DONE);
    assert_int_equal(
        rig->io->ops->cancel(rig->io, rig_fd(rig, slot), rig_token(rig, slot, IO_OP_RECV)), 0);
    assert_int_equal(rig->io->ops->next(rig->io, &event), 1); /* in the same turn */
    assert_int_equal(event.result, -ECANCELED);
    rig->slot[slot].recv_on = false;
    assert_int_equal(rig_fd(rig, slot)->flags & READY_KNOWN, 0);
    rig_close(rig, slot, false);
    assert_int_equal(rig->io->ops->next(rig->io, &event), 0);
    /* wait, accept, recv, send, close: nothing else. */
    assert_int_equal(rig->io->stats.syscalls - syscalls, 5);
    rig->io->ops->cancel(rig->io, rig_fd(rig, listener), token);
    assert_int_equal(rig_final(rig, token), -ECANCELED);
    close(peer);
}

static void long_lived_is_registered_once(void **state)
{
    struct rig *rig = rig_of(state);
    uint64_t syscalls;
    char back[4];
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    rig_recv(rig, slot);
    rig_turn(rig, 0);
    assert_int_equal(rig_fd(rig, slot)->flags & (READY_HAS_IN | READY_HAS_OUT), READY_HAS_IN);
    syscalls = rig->io->stats.syscalls;
    for (unsigned i = 1; i <= 100; i++) {
        assert_int_equal(send(peer, "ping", 4, MSG_NOSIGNAL), 4);
        assert_int_equal(rig_turn(rig, 1000), 1);
        assert_int_equal(rig->slot[slot].bytes, 4 * i);
        assert_int_equal(rig_send(rig, slot, "pong", 4), 0);
        assert_int_equal(recv(peer, back, 4, MSG_WAITALL), 4);
    }
    /* wait, recv, send. */
    assert_int_equal(rig->io->stats.syscalls - syscalls, 300);
    close(peer);
}

static void paused_reader_is_masked(void **state)
{
    struct rig *rig = rig_of(state);
    uint64_t syscalls;
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    rig_recv(rig, slot);
    rig_turn(rig, 0);
    rig_pause(rig, slot);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(send(peer, "x", 1, MSG_NOSIGNAL), 1);
        rig_turn(rig, 1000);
        assert_int_equal(rig_fd(rig, slot)->flags & READY_HAS_IN, i == 0 ? READY_HAS_IN : 0);
    }
    syscalls = rig->io->stats.syscalls;
    assert_int_equal(send(peer, "x", 1, MSG_NOSIGNAL), 1);
    rig_turn(rig, 20);
    assert_int_equal(rig->io->stats.syscalls - syscalls, 1); /* it slept */
    rig_recv(rig, slot);
    assert_int_equal(rig_fd(rig, slot)->flags & READY_HAS_IN, READY_HAS_IN);
    assert_true(rig_got(rig, slot, 3));
    close(peer);
}

/* A unix socket tells of room each time its peer reads; nobody wants to know. */
static void stray_room_is_masked(void **state)
{
    struct rig *rig = rig_of(state);
    static char bytes[1 << 20];
    char back[65536];
    int peer, result = 0;
    unsigned slot = rig_unix(rig, &peer);
    uint64_t token = rig_token(rig, slot, IO_OP_SEND);
    struct iovec iov = {bytes, sizeof(bytes)};
    while (rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, 0, token, &result) == IO_DONE)
        assert_true(result > 0);
    assert_int_equal(rig_fd(rig, slot)->flags & READY_HAS_OUT, READY_HAS_OUT);
    while (recv(peer, back, sizeof(back), MSG_DONTWAIT) > 0)
        continue;
    assert_int_equal(rig_final(rig, token), 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(rig_send(rig, slot, "x", 1), 0);
        rig_turn(rig, 0);
        assert_int_equal(recv(peer, back, 1, 0), 1);
        rig_turn(rig, 2);
    }
    assert_int_equal(rig_fd(rig, slot)->flags & READY_HAS_OUT, 0);
    /* And back, when it is wanted again. */
    while (rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, 0, token, &result) == IO_DONE)
        continue;
    while (recv(peer, back, sizeof(back), MSG_DONTWAIT) > 0)
        continue;
    assert_int_equal(rig_final(rig, token), 0);
    close(peer);
}

/* Told of once only: what a caller leaves of a harvest is still there in the next turn. */
static void a_harvest_is_used_up(void **state)
{
    struct rig *rig = rig_of(state);
    struct io_event event;
    unsigned slot[3];
    int peer[3];
    for (int i = 0; i < 3; i++) {
        slot[i] = rig_unix(rig, &peer[i]);
        rig_recv(rig, slot[i]);
    }
    rig_turn(rig, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(send(peer[i], "x", 1, 0), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rig->io->ops->wait(rig->io, 100000000), 0);
        assert_int_equal(rig->io->ops->next(rig->io, &event), 1);
        assert_int_equal(event.token, rig_token(rig, slot[i], IO_OP_RECV));
        close(peer[i]);
    }
}

/* Not drained in one turn, and told of more bytes in the next: still one read a turn. */
static void one_read_a_turn(void **state)
{
    const struct io_config small = {.block_size = 10};
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot;
    rig_reopen(rig, &small);
    slot = rig_unix(rig, &peer);
    rig_recv(rig, slot);
    rig_turn(rig, 0);
    for (unsigned i = 1; i <= 20; i++) {
        assert_int_equal(send(peer, "0123456789abcdef", 16, 0), 16);
        rig_turn(rig, 0);
        assert_int_equal(rig->slot[slot].reads, i);
    }
    assert_true(rig_got(rig, slot, 320));
    assert_int_equal(rig->slot[slot].reads, 32);
    close(peer);
}

/* A copy of the descriptor, in another process for instance, keeps its registration alive after it
 * is closed here. */
static void a_copy_outlives_its_connection(void **state)
{
    struct rig *rig = rig_of(state);
    uint64_t spurious, events;
    int peer, copy, other_peer[RIG_SLOTS];
    unsigned slot = rig_tcp(rig, &peer), other, others = 0;
    rig_recv(rig, slot);
    rig_turn(rig, 0);
    copy = dup(rig_fd(rig, slot)->fd);
    rig_close(rig, slot, false);
    do
        other = rig_unix(rig, &other_peer[others++]);
    while (other != slot); /* the same slot, another generation */
    spurious = rig->io->stats.spurious;
    events = rig->io->stats.events;
    assert_int_equal(send(peer, "x", 1, MSG_NOSIGNAL), 1);
    rig_idle(rig, 10);
    assert_int_equal(rig->io->stats.spurious - spurious, 1);
    assert_int_equal(rig->io->stats.events, events);
    while (others > 0)
        close(other_peer[--others]);
    close(copy);
    close(peer);
}

/* Switches are checked, and the plan says what they did. */
static void switches(void **state)
{
    struct rig *rig = rig_of(state);
    struct io_config config = {.find = ((struct ready *)rig->io)->find, .owner = rig};
    const char *why = NULL;
    struct io *io;
    bool found = false;
    config.features = "-no_such_thing";
    assert_int_equal(weir__io_epoll.open(&io, &config, &why), -EINVAL);
    assert_non_null(why);
    config.features = "block=16777217";
    assert_int_equal(weir__io_epoll.open(&io, &config, &why), -EINVAL);
    config.features = "-first_read,block=32768,-multishot_recv"; /* a ring's switch is not ours */
    assert_int_equal(weir__io_epoll.open(&io, &config, &why), 0);
    assert_int_equal(io->block_size, 32768);
    for (int i = 0; i < io->plan.rows; i++)
        if (strcmp(io->plan.row[i].feature, "first_read") == 0)
            found = !io->plan.row[i].used;
    assert_true(found);
    io->ops->close(io);
}

/* Each allocation and each descriptor that opening takes is missing once. */
static void opening_fails_cleanly(void **state)
{
    struct rig *rig = rig_of(state);
    struct io_config config = {.find = ((struct ready *)rig->io)->find, .owner = rig};
    const char *why = NULL;
    uint64_t live = weir__alloc_live();
    struct rlimit limit, low;
    struct io *io;
    int next, error = -ENOMEM;
    for (uint64_t n = 1; error != 0; n++) {
        weir__alloc_fail_at(n);
        error = weir__io_epoll.open(&io, &config, &why);
        weir__alloc_fail_at(0);
        assert_true(error == 0 || error == -ENOMEM);
        assert_true(error == 0 || (weir__alloc_live() == live && why != NULL));
        assert_true(n < 20);
        why = NULL;
    }
    io->ops->close(io);
    assert_int_equal(weir__alloc_live(), live);
    next = dup(0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int spare = 0; spare < 2; spare++) {
        low = (struct rlimit){(rlim_t)(next + spare), limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        error = weir__io_epoll.open(&io, &config, &why);
        setrlimit(RLIMIT_NOFILE, &limit);
        assert_int_equal(error, -EMFILE);
        assert_int_equal(weir__alloc_live(), live);
        assert_int_equal(fcntl(next, F_GETFD), -1);
    }
}

enum { MANY = 600 };

/* More completions in a turn than the queue begins with. */
static void many_cancels_at_once(void **state)
{
    struct rig *rig = rig_of(state);
    unsigned slot[MANY];
    int peer[MANY];
    for (int i = 0; i < MANY; i++) {
        slot[i] = rig_unix(rig, &peer[i]);
        rig_recv(rig, slot[i]);
    }
    rig_turn(rig, 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, slot[i]),
                                              rig_token(rig, slot[i], IO_OP_RECV)),
                         0);
    for (int i = 0; i < 10 && rig->io->ops->in_flight(rig->io) != 0; i++)
        rig_turn(rig, 0);
    assert_int_equal(rig->io->ops->in_flight(rig->io), 0);
    assert_true(((struct ready *)rig->io)->done.capacity >= MANY);
    /* Given back bit by bit while little is queued. */
    for (int i = 0; i < 10; i++) {
        rig_recv(rig, slot[0]);
        rig_pause(rig, slot[0]);
        rig_turn(rig, 0);
    }
    assert_int_equal(((struct ready *)rig->io)->done.capacity, READY_RING_LEAST);
    for (int i = 0; i < MANY; i++)
        close(peer[i]);
}

/* Without memory: a cancel says so and nothing has happened; what is to be read is told again by
 * the kernel. */
static void out_of_memory(void **state)
{
    struct rig *rig = rig_of(state);
    unsigned slot[MANY];
    int peer[MANY], refused = 0;
    for (int i = 0; i < MANY; i++) {
        slot[i] = rig_unix(rig, &peer[i]);
        rig_recv(rig, slot[i]);
        if (i % 100 == 99)
            rig_turn(rig, 0);
    }
    for (int i = 0; i < MANY; i++) {
        uint64_t token = rig_token(rig, slot[i], IO_OP_RECV);
        int error;
        weir__alloc_fail_at(1);
        error = rig->io->ops->cancel(rig->io, rig_fd(rig, slot[i]), token);
        weir__alloc_fail_at(0);
        assert_true(error == 0 || error == -ENOMEM);
        refused += error != 0;
    }
    assert_int_equal(refused, MANY - READY_RING_LEAST);
    while (rig->io->ops->in_flight(rig->io) > (unsigned)refused)
        rig_turn(rig, 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(send(peer[i], "x", 1, 0), 1);
    rig_turn(rig, 0); /* told, and remembered for those that are paused */
    for (int i = 0; i < MANY; i++) {
        if (rig->slot[slot[i]].recv_on)
            continue;
        weir__alloc_fail_at(1);
        rig_recv(rig, slot[i]);
        weir__alloc_fail_at(0);
    }
    for (int i = 0; i < MANY; i++) {
        assert_true(rig_got(rig, slot[i], 1));
        close(peer[i]);
    }
}

static const struct CMUnitTest cases[] = {
    IO_CASE(short_lived_is_not_registered),
    IO_CASE(long_lived_is_registered_once),
    IO_CASE(paused_reader_is_masked),
    IO_CASE(stray_room_is_masked),
    IO_CASE(a_copy_outlives_its_connection),
    IO_CASE(a_harvest_is_used_up),
    IO_CASE(one_read_a_turn),
    IO_CASE(switches),
    IO_CASE(opening_fails_cleanly),
    IO_CASE(many_cancels_at_once),
    IO_CASE(out_of_memory),
    IO_CASES_END,
};

int main(void)
{
    return io_suite_run("epoll", &weir__io_epoll, NULL, cases);
}
