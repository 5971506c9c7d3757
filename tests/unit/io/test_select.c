#include "io_suite.h"

#include "support/skip.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

/* What only select promises, beside the suite. */

/* A descriptor that select cannot express; -1 when the process may not have so many. */
static int high(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, FD_SETSIZE);
    close(fd);
    return copy;
}

static void high_descriptors_are_refused(void **state)
{
    struct rig *rig = rig_of(state);
    int pair[2], fd, result = 0;
    unsigned slot;
    struct iovec iov = {(char[]){"x"}, 1};
    assert_int_equal(rig->io->fd_limit, FD_SETSIZE);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    fd = high(pair[0]);
    if (fd < 0) {
        close(pair[1]);
        skip_because("the limit of open files is below FD_SETSIZE");
    }
    slot = rig_add(rig, fd, false);
    assert_int_equal(
        rig->io->ops->recv(rig->io, rig_fd(rig, slot), rig_token(rig, slot, IO_OP_RECV)), -EMFILE);
    assert_int_equal(
        rig->io->ops->poll(rig->io, rig_fd(rig, slot), POLLIN, rig_token(rig, slot, IO_OP_POLL)),
        -EMFILE);
    assert_int_equal(rig->io->ops->in_flight(rig->io), 0);
    /* What needs no waiting works. */
    assert_int_equal(rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, 0,
                                        rig_token(rig, slot, IO_OP_SEND), &result),
                     IO_DONE);
    assert_int_equal(result, 1);
    close(pair[1]);
}

/* An accept that would yield such a descriptor ends as if there were none left. */
static void high_connections_are_refused(void **state)
{
    static int filler[FD_SETSIZE];
    struct rig *rig = rig_of(state);
    struct sockaddr_in address;
    unsigned listener = rig_listener(rig, &address);
    uint64_t token = rig_token(rig, listener, IO_OP_ACCEPT);
    int count = 0, fd, peer = rig_dial(&address), last = 0;
    char byte;
    while ((fd = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0 && (last = fd) < FD_SETSIZE)
        filler[count++] = fd;
    if (fd >= 0) {
        close(fd);
        assert_int_equal(rig->io->ops->accept(rig->io, rig_fd(rig, listener), token), IO_PENDING);
        fd = rig_final(rig, token);
    }
    while (count > 0)
        close(filler[--count]);
    if (last < FD_SETSIZE) {
        close(peer);
        skip_because("the limit of open files is below FD_SETSIZE");
    }
    assert_int_equal(fd, -EMFILE);
    assert_true(recv(peer, &byte, 1, 0) <= 0);
    close(peer);
}

static void closed_behind_our_back(void **state)
{
    struct rig *rig = rig_of(state);
    int peer, other_peer;
    unsigned slot = rig_unix(rig, &peer), other = rig_unix(rig, &other_peer);
    rig_recv(rig, slot);
    rig_recv(rig, other);
    rig_turn(rig, 0);
    close(rig_fd(rig, slot)->fd);
    assert_true(rig_ended(rig, slot));
    assert_int_equal(rig->slot[slot].end, -EBADF);
    assert_int_equal(send(other_peer, "x", 1, 0), 1);
    assert_true(rig_got(rig, other, 1));
    close(peer);
    close(other_peer);
}

static const struct CMUnitTest cases[] = {
    IO_CASE(high_descriptors_are_refused),
    IO_CASE(high_connections_are_refused),
    IO_CASE(closed_behind_our_back),
    IO_CASES_END,
};

int main(void)
{
    return io_suite_run("select", &weir__io_select, NULL, cases);
}
