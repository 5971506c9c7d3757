/* Listeners and outgoing connections. */
#include "io_suite.h"
#include "support/skip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static unsigned listening(struct rig *rig, struct sockaddr_in *address)
{
    unsigned slot = rig_listener(rig, address);
    assert_int_equal(
        rig->io->ops->accept(rig->io, rig_fd(rig, slot), rig_token(rig, slot, IO_OP_ACCEPT)),
        IO_PENDING);
    return slot;
}

static void stop_listening(struct rig *rig, unsigned slot)
{
    uint64_t token = rig_token(rig, slot, IO_OP_ACCEPT);
    assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, slot), token), 0);
    assert_int_equal(rig_final(rig, token), -ECANCELED);
    rig_close(rig, slot, false);
}

static void accept_many(void **state)
{
    enum { MANY = 200 };
    struct rig *rig = rig_of(state);
    struct sockaddr_in address;
    unsigned listener = listening(rig, &address);
    int peer[MANY], fd;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++)
            assert_true((peer[i] = rig_dial(&address)) >= 0);
        for (int i = 0; i < MANY; i++) {
            fd = rig_any(rig, rig_token(rig, listener, IO_OP_ACCEPT));
            assert_true(fd >= 0);
            rig_close(rig, rig_add(rig, fd, rig->io->direct), false);
        }
        for (int i = 0; i < MANY; i++)
            close(peer[i]);
    }
    stop_listening(rig, listener);
}

/* No descriptor left: the accept ends with the reason, once and without a spin; what is established
 * goes on; and it works again when it is armed again. */
static void accept_without_descriptors(void **state)
{
    struct rig *rig = rig_of(state);
    struct sockaddr_in address;
    struct rlimit limit, low;
    unsigned listener = listening(rig, &address), slot;
    uint64_t token = rig_token(rig, listener, IO_OP_ACCEPT), waits;
    int peer, second, fd, free_fd;
    if (rig->io->direct) {
        stop_listening(rig, listener);
        skip_because("direct descriptors do not count against the process's limit");
    }
    peer = rig_dial(&address);
    slot = rig_add(rig, rig_any(rig, token), rig->io->direct);
    rig_recv(rig, slot);
    rig_idle(rig, 5);
    second = socket(AF_INET, SOCK_STREAM, 0);
    free_fd = dup(second);
    close(free_fd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){(rlim_t)free_fd, limit.rlim_max};
    assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, listener), token), 0);
    assert_int_equal(rig_final(rig, token), -ECANCELED);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    /* Armed again under the new limit: a ring keeps the one that it was armed under. */
    assert_int_equal(rig->io->ops->accept(rig->io, rig_fd(rig, listener), token), IO_PENDING);
    assert_int_equal(connect(second, (struct sockaddr *)&address, sizeof(address)), 0);
    fd = rig_final(rig, token);
    waits = rig->io->stats.waits;
    rig_idle(rig, 30);
    waits = rig->io->stats.waits - waits;
    assert_int_equal(send(peer, "on", 2, MSG_NOSIGNAL), 2);
    assert_true(rig_got(rig, slot, 2));
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(fd, -EMFILE);
    assert_true(waits < 6);
    assert_int_equal(rig->io->ops->accept(rig->io, rig_fd(rig, listener), token), IO_PENDING);
    fd = rig_any(rig, token);
    assert_true(fd >= 0);
    rig_close(rig, rig_add(rig, fd, rig->io->direct), false);
    stop_listening(rig, listener);
    close(peer);
    close(second);
}

static void cancel_accept_then_connections_wait(void **state)
{
    struct rig *rig = rig_of(state);
    struct sockaddr_in address;
    unsigned listener = listening(rig, &address);
    uint64_t token = rig_token(rig, listener, IO_OP_ACCEPT);
    int peer, fd;
    rig_idle(rig, 2);
    assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, listener), token), 0);
    assert_int_equal(rig_final(rig, token), -ECANCELED);
    peer = rig_dial(&address);
    rig_idle(rig, 20);
    assert_int_equal(rig->logged, 0);
    assert_int_equal(rig->io->ops->accept(rig->io, rig_fd(rig, listener), token), IO_PENDING);
    fd = rig_any(rig, token);
    assert_true(fd >= 0);
    rig_close(rig, rig_add(rig, fd, rig->io->direct), false);
    stop_listening(rig, listener);
    close(peer);
}

/* --- connect ---------------------------------------------------------------------------------- */

static int connect_to(struct rig *rig, unsigned slot, const void *address, socklen_t size)
{
    uint64_t token = rig_token(rig, slot, IO_OP_CONNECT);
    int result = 0;
    int how = rig->io->ops->connect(rig->io, rig_fd(rig, slot), address, size, token, &result);
    if (how == IO_PENDING)
        return rig_final(rig, token);
    assert_int_equal(how, IO_DONE);
    return result;
}

static void connect_and_talk(void **state)
{
    struct rig *rig = rig_of(state);
    struct sockaddr_in address;
    unsigned listener = listening(rig, &address), slot, other;
    slot = rig_add(rig, rig_socket(rig, AF_INET), false);
    assert_int_equal(connect_to(rig, slot, &address, sizeof(address)), 0);
    other = rig_add(rig, rig_any(rig, rig_token(rig, listener, IO_OP_ACCEPT)), rig->io->direct);
    rig_recv(rig, slot);
    rig_recv(rig, other);
    for (unsigned i = 1; i <= 20; i++) {
        assert_int_equal(rig_send(rig, slot, "ping", 4), 0);
        assert_true(rig_got(rig, other, 4 * i));
        assert_int_equal(rig_send(rig, other, "pong", 4), 0);
        assert_true(rig_got(rig, slot, 4 * i));
    }
    rig_close(rig, other, false);
    assert_true(rig_ended(rig, slot));
    assert_int_equal(rig->slot[slot].end, 0);
    stop_listening(rig, listener);
}

static void connect_refused(void **state)
{
    struct rig *rig = rig_of(state);
    struct sockaddr_in address;
    unsigned listener = rig_listener(rig, &address), slot;
    rig_close(rig, listener, false);
    slot = rig_add(rig, rig_socket(rig, AF_INET), false);
    assert_int_equal(connect_to(rig, slot, &address, sizeof(address)), -ECONNREFUSED);
}

static void connect_unix(void **state)
{
    struct rig *rig = rig_of(state);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size;
    unsigned listener, slot, other;
    uint64_t token;
    int length = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "weir-io-suite-%d",
                          (int)getpid());
    size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (unsigned)length);
    listener = rig_add(rig, rig_socket(rig, AF_UNIX), false);
    token = rig_token(rig, listener, IO_OP_ACCEPT);
    assert_int_equal(bind(rig_fd(rig, listener)->fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(rig_fd(rig, listener)->fd, 8), 0);
    assert_int_equal(rig->io->ops->accept(rig->io, rig_fd(rig, listener), token), IO_PENDING);
    slot = rig_add(rig, rig_socket(rig, AF_UNIX), false);
    assert_int_equal(connect_to(rig, slot, &address, size), 0);
    other = rig_add(rig, rig_any(rig, token), rig->io->direct);
    rig_recv(rig, slot);
    assert_int_equal(rig_send(rig, other, "hi", 2), 0);
    assert_true(rig_got(rig, slot, 2));
    stop_listening(rig, listener);
}

/* Nobody answers: the queue of the listener is full, so that the handshake does not finish. */
static void cancel_connect(void **state)
{
    struct rig *rig = rig_of(state);
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    int fd = rig_socket(rig, AF_INET), filler[8], result = 0;
    unsigned listener, slot;
    uint64_t token;
    address = (struct sockaddr_in){.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    listener = rig_add(rig, fd, false);
    for (int i = 0; i < 8; i++) {
        filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(filler[i], (struct sockaddr *)&address, size);
    }
    rig_sleep_ms(20);
    /* One that blocks: connect sees to that itself. */
    slot = rig_add(rig, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), false);
    token = rig_token(rig, slot, IO_OP_CONNECT);
    assert_int_equal(rig->io->ops->connect(rig->io, rig_fd(rig, slot), (struct sockaddr *)&address,
                                           size, token, &result),
                     IO_PENDING);
    rig_idle(rig, 20);
    assert_false(rig_take(rig, token, &result));
    assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, slot), token), 0);
    assert_int_equal(rig_final(rig, token), -ECANCELED);
    rig_close(rig, slot, true);
    rig_close(rig, listener, false);
    for (int i = 0; i < 8; i++)
        close(filler[i]);
}

/* --- churn ------------------------------------------------------------------------------------ */

/* A thousand connections, 50 at a time, each asked once and answered, then closed from either side
 * in different ways. Nothing is left in flight, and no event reaches a wrong connection: rig_turn
 * asserts that. */
static void churn(void **state)
{
    enum { AT_ONCE = 50, ROUNDS = 20 };
    struct rig *rig = rig_of(state);
    struct sockaddr_in address;
    unsigned listener = listening(rig, &address), slot[AT_ONCE];
    uint64_t token = rig_token(rig, listener, IO_OP_ACCEPT);
    int peer[AT_ONCE];
    char back[8];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < AT_ONCE; i++) {
            assert_true((peer[i] = rig_dial(&address)) >= 0);
            assert_int_equal(send(peer[i], "question", 8, MSG_NOSIGNAL), 8);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            int fd = rig_any(rig, token);
            assert_true(fd >= 0);
            slot[i] = rig_add(rig, fd, rig->io->direct);
            rig_recv(rig, slot[i]);
            if (i % 5 == 0)
                rig_turn(rig, 0);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            assert_true(rig_got(rig, slot[i], 8));
            assert_int_equal(rig_send(rig, slot[i], "response", 8), 0);
            if (i % 3 == 0)
                rig_close(rig, slot[i], i % 2 == 0);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            if (i % 3 != 0 || i % 2 != 0)
                assert_int_equal(recv(peer[i], back, 8, MSG_WAITALL), 8);
            close(peer[i]);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            if (i % 3 == 1)
                assert_true(rig_ended(rig, slot[i]));
            if (i % 3 != 0)
                rig_close(rig, slot[i], false);
        }
    }
    assert_int_equal(rig->io->ops->in_flight(rig->io), 1);
    stop_listening(rig, listener);
    assert_int_equal(rig->io->ops->in_flight(rig->io), 0);
}

/* Both have bytes in the same harvest, one of them paused; the handler of the other closes it, and
 * a third takes its number at once. The event of the closed one must not reach the third. */
static void stale_events_are_dropped(void **state)
{
    struct rig *rig = rig_of(state);
    int peer[2], third_peer = -1, number, result = 0;
    unsigned slot[2] = {rig_unix(rig, &peer[0]), rig_unix(rig, &peer[1])}, third = 0;
    struct io_event event;
    if (!rig->io->hot_block)
        skip_because("closing takes turns on this back end");
    for (int i = 0; i < 2; i++)
        rig_recv(rig, slot[i]);
    rig_idle(rig, 5);
    rig_pause(rig, slot[1]);
    number = rig_fd(rig, slot[1])->fd;
    for (int i = 0; i < 2; i++)
        assert_int_equal(send(peer[i], "mine", 4, 0), 4);
    assert_int_equal(rig->io->ops->wait(rig->io, 100000000), 0);
    while (rig->io->ops->next(rig->io, &event) == 1) {
        assert_int_equal(third, 0);
        assert_int_equal(IO_TOKEN_SLOT(event.token), slot[0]);
        assert_int_equal(rig->io->ops->close_fd(rig->io, rig_fd(rig, slot[1]), false,
                                                rig_token(rig, slot[1], IO_OP_CLOSE), &result),
                         IO_DONE);
        rig->slot[slot[1]].used = false;
        third = rig_unix(rig, &third_peer);
        assert_int_equal(rig_fd(rig, third)->fd, number);
        rig_recv(rig, third);
    }
    assert_int_not_equal(third, 0);
    rig_idle(rig, 10);
    assert_int_equal(rig->slot[third].bytes, 0);
    assert_int_equal(send(third_peer, "third", 5, 0), 5);
    assert_true(rig_got(rig, third, 5));
    for (int i = 0; i < 2; i++)
        close(peer[i]);
    close(third_peer);
}

const struct CMUnitTest io_cases_listen[] = {
    IO_CASE(accept_many),
    IO_CASE(accept_without_descriptors),
    IO_CASE(cancel_accept_then_connections_wait),
    IO_CASE(connect_and_talk),
    IO_CASE(connect_refused),
    IO_CASE(connect_unix),
    IO_CASE(cancel_connect),
    IO_CASE(churn),
    IO_CASE(stale_events_are_dropped),
    IO_CASES_END,
};
