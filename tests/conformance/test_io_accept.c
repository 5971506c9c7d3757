/* Accepting and connecting at the level of io.h.
 * ctest: timeout=120 serial */
#include "io_rig.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int dial(const struct sockaddr_storage *address, socklen_t size)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)address, size), 0);
    return fd;
}

static void accept_many(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct sockaddr_storage address;
    socklen_t size;
    uint32_t listener = rig_listener(rig, &address, &size, 256);
    int peer[200];

    for (int i = 0; i < 200; i++)
        peer[i] = dial(&address, size);
    for (int i = 0; i < 200; i++)
        rig_accept_one(rig, listener);
    for (int i = 0; i < 200; i++)
        close(peer[i]);
    rig_end(rig);
    (void)state;
}

static void cancel_accept(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct sockaddr_storage address;
    socklen_t size;
    uint32_t listener = rig_listener(rig, &address, &size, 16);
    struct rig_event event;
    int peer;

    rig_accept(rig, listener);
    rig_turn(rig, RIG_MS);
    rig_cancel(rig, IO_OP_ACCEPT, listener);
    event = rig_await(rig, IO_OP_ACCEPT, listener);
    assert_int_equal(event.result, -ECANCELED);
    assert_int_equal(event.flags & IO_MORE, 0);
    /* Not accepted while canceled, but not lost either. */
    peer = dial(&address, size);
    assert_false(rig_try(rig, IO_OP_ACCEPT, listener, 20 * RIG_MS, &event));
    rig_accept_one(rig, listener);
    close(peer);
    rig_end(rig);
    (void)state;
}

/* No descriptor left: the accept ends with EMFILE, the connection stays in the queue. */
static void accept_without_descriptors(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct sockaddr_storage address;
    socklen_t size;
    uint32_t listener = rig_listener(rig, &address, &size, 16);
    struct rlimit limit, low;
    struct rig_event event;
    int peer = dial(&address, size), probe = dup(peer);

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    low.rlim_cur = (rlim_t)probe;
    close(probe);
    rig_turn(rig, 0); /* what the back end opens at first use is open now */
    if (rig->io->direct) {
        close(peer);
        rig_end(rig);
        skip();
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    rig_accept(rig, listener);
    event = rig_await(rig, IO_OP_ACCEPT, listener);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(event.result, -EMFILE);
    assert_int_equal(event.flags & IO_MORE, 0);
    rig_accept_one(rig, listener);
    close(peer);
    rig_end(rig);
    (void)state;
}

static void connect_and_talk(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct sockaddr_storage address;
    socklen_t size;
    uint32_t listener = rig_listener(rig, &address, &size, 16), near, far;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), result = -1;

    near = rig_slot(rig, fd, false);
    if (rig_connect(rig, near, (struct sockaddr *)&address, size, &result) == IO_PENDING)
        result = rig_await(rig, IO_OP_CONNECT, near).result;
    assert_int_equal(result, 0);
    far = rig_accept_one(rig, listener);
    rig_recv(rig, far);
    assert_int_equal(rig_send_all(rig, near, "call", 4), 0);
    rig_receive(rig, far, 4);
    rig_recv(rig, near);
    assert_int_equal(rig_send_all(rig, far, "answer", 6), 0);
    rig_receive(rig, near, 6);
    rig_end(rig);
    (void)state;
}

static void connect_refused(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct sockaddr_storage address;
    socklen_t size;
    uint32_t listener = rig_listener(rig, &address, &size, 16), slot;
    int result = 0;

    rig_close(rig, listener, false);
    slot = rig_slot(rig, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), false);
    if (rig_connect(rig, slot, (struct sockaddr *)&address, size, &result) == IO_PENDING)
        result = rig_await(rig, IO_OP_CONNECT, slot).result;
    assert_int_equal(result, -ECONNREFUSED);
    rig_end(rig);
    (void)state;
}

/* A listener whose queue is full answers nobody: the connect waits until it is canceled. */
static void cancel_connect(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct sockaddr_storage address;
    socklen_t size;
    struct rig_event event = {0};
    uint32_t slot = 0;
    int status = IO_DONE, result = 0;

    rig_listener(rig, &address, &size, 0);
    for (int i = 0; i < 10; i++) {
        slot = rig_slot(rig, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), false);
        status = rig_connect(rig, slot, (struct sockaddr *)&address, size, &result);
        if (status == IO_PENDING && !rig_try(rig, IO_OP_CONNECT, slot, 30 * RIG_MS, &event))
            break;
        assert_true(i < 9);
    }
    rig_cancel(rig, IO_OP_CONNECT, slot);
    event = rig_await(rig, IO_OP_CONNECT, slot);
    assert_int_equal(event.result, -ECANCELED);
    rig_end(rig);
    (void)state;
}

/* A thousand short connections: nothing stays behind. */
static void churn(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct sockaddr_storage address;
    socklen_t size;
    uint32_t listener = rig_listener(rig, &address, &size, 256);

    for (int round = 0; round < 50; round++) {
        uint32_t slot[20];
        int peer[20];

        for (int i = 0; i < 20; i++) {
            peer[i] = dial(&address, size);
            assert_int_equal(send(peer[i], "ping", 4, 0), 4);
        }
        for (int i = 0; i < 20; i++) {
            slot[i] = rig_accept_one(rig, listener);
            rig_recv(rig, slot[i]);
        }
        for (int i = 0; i < 20; i++) {
            char answer[4];

            rig_receive(rig, slot[i], 4);
            assert_int_equal(rig_send_all(rig, slot[i], "pong", 4), 0);
            assert_int_equal(recv(peer[i], answer, 4, MSG_WAITALL), 4);
            if (i % 3 == 0)
                close(peer[i]);
            rig_close(rig, slot[i], i % 2);
            if (i % 3)
                close(peer[i]);
        }
        rig->logged = 0;
    }
    assert_int_equal(rig->io->ops->in_flight(rig->io), rig->slot[listener].armed ? 1 : 0);
    rig_end(rig);
    (void)state;
}

static void numbers_for_other_calls(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    struct io_fd *fd = &rig->slot[pair.slot].fd;
    struct sockaddr_in here, there;
    socklen_t size = sizeof(here);
    int number = rig->io->ops->number(rig->io, fd);

    assert_true(number >= 0);
    assert_int_equal(getpeername(number, (struct sockaddr *)&there, &size), 0);
    size = sizeof(here);
    assert_int_equal(getsockname(pair.peer, (struct sockaddr *)&here, &size), 0);
    assert_int_equal(here.sin_port, there.sin_port);
    rig->io->ops->number_done(rig->io, fd, number);
    rig_recv(rig, pair.slot);
    assert_int_equal(send(pair.peer, "on", 2, 0), 2);
    rig_receive(rig, pair.slot, 2);
    close(pair.peer);
    rig_end(rig);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_many),
        cmocka_unit_test(cancel_accept),
        cmocka_unit_test(accept_without_descriptors),
        cmocka_unit_test(connect_and_talk),
        cmocka_unit_test(connect_refused),
        cmocka_unit_test(cancel_connect),
        cmocka_unit_test(churn),
        cmocka_unit_test(numbers_for_other_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
