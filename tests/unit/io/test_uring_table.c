#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/uring.h"
#include "support/skip.h"

/* Connections that weir makes move into the ring's table of direct descriptors. */

enum { CONNS = 3, OWNER = 3 };
static struct io_fd fds[CONNS];

static struct io_fd *find(void *owner, uint64_t token)
{
    return &fds[IO_TOKEN_SLOT(token)];
}

static struct io *open_direct(unsigned slots)
{
    const struct io_config config = {.find = find, .direct = true, .direct_slots = slots};
    const char *why = NULL;
    struct io *io = NULL;

    if (weir__io_open(&io, "uring", &config, &why) != 0)
        skip_because(why);
    return io;
}

static int listener(struct sockaddr_in *address)
{
    socklen_t size = sizeof(*address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    assert_int_equal(bind(fd, (struct sockaddr *)address, size), 0);
    assert_int_equal(listen(fd, CONNS), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &size), 0);
    return fd;
}

/* Until the operation has ended: its result. */
static int until(struct io *io, uint64_t token)
{
    struct io_event event;

    for (int turn = 0; turn < 50; turn++) {
        assert_int_equal(io->ops->wait(io, 100 * 1000 * 1000), 0);
        while (io->ops->next(io, &event))
            if (event.token == token && !(event.flags & IO_MORE))
                return event.result;
    }
    fail_msg("no event");
    return 0;
}

static uint64_t token_of(enum io_op op, unsigned slot)
{
    return IO_TOKEN(op, OWNER, 1, slot);
}

static int dial(struct io *io, unsigned slot, const struct sockaddr_in *address)
{
    int result = 0, number = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(number >= 0);
    fds[slot] = (struct io_fd){.fd = number};
    assert_int_equal(io->ops->connect(io, &fds[slot], (const struct sockaddr *)address,
                                      sizeof(*address), token_of(IO_OP_CONNECT, slot), &result),
                     IO_PENDING);
    assert_int_equal(until(io, token_of(IO_OP_CONNECT, slot)), 0);
    return number;
}

static void hang_up(struct io *io, unsigned slot)
{
    int result = 0;

    if (io->ops->close_fd(io, &fds[slot], false, token_of(IO_OP_CLOSE, slot), &result) ==
        IO_PENDING)
        result = until(io, token_of(IO_OP_CLOSE, slot));
    assert_int_equal(result, 0);
}

static void send_and_see(struct io *io, unsigned slot, int peer)
{
    struct iovec hello = {.iov_base = (char[]){"hello"}, .iov_len = 5};
    char got[8] = {0};
    int result;

    assert_int_equal(
        io->ops->send(io, &fds[slot], &hello, 1, 0, token_of(IO_OP_SEND, slot), &result),
        IO_PENDING);
    assert_int_equal(until(io, token_of(IO_OP_SEND, slot)), 5);
    assert_int_equal(recv(peer, got, sizeof(got), 0), 5);
    assert_string_equal(got, "hello");
}

static void a_connection_moves_into_the_table(void **state)
{
    struct io *io = open_direct(8);
    struct sockaddr_in address;
    int listening = listener(&address), number = dial(io, 0, &address);
    int peer = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    char byte;

    assert_true(fds[0].flags & IO_FD_DIRECT);
    assert_int_equal(fds[0].spare, 0);
    io->ops->wait(io, 0); /* the number is closed with the next call */
    assert_int_equal(fcntl(number, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
    send_and_see(io, 0, peer);
    hang_up(io, 0);
    assert_int_equal(recv(peer, &byte, 1, 0), 0); /* nothing else holds the socket */
    close(peer);
    close(listening);
    assert_int_equal(io->ops->in_flight(io), 0);
    io->ops->close(io);
}

/* The last one stays what it was, and works. */
static void a_full_table_refuses_nobody(void **state)
{
    struct io *io = open_direct(CONNS - 1);
    struct sockaddr_in address;
    int listening = listener(&address), peers[CONNS];

    for (unsigned i = 0; i < CONNS; i++) {
        int number = dial(io, i, &address);
        peers[i] = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        assert_int_equal((fds[i].flags & IO_FD_DIRECT) != 0, i + 1 < CONNS);
        if (i + 1 == CONNS)
            assert_int_equal(fds[i].fd, number);
        send_and_see(io, i, peers[i]);
    }
    for (unsigned i = 0; i < CONNS; i++) {
        hang_up(io, i);
        close(peers[i]);
    }
    close(listening);
    assert_int_equal(io->ops->in_flight(io), 0);
    io->ops->close(io);
}

static void a_connect_that_fails_moves_nowhere(void **state)
{
    struct io *io = open_direct(8);
    struct sockaddr_in address;
    int result, number = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    close(listener(&address));
    fds[0] = (struct io_fd){.fd = number};
    assert_int_equal(io->ops->connect(io, &fds[0], (const struct sockaddr *)&address,
                                      sizeof(address), token_of(IO_OP_CONNECT, 0), &result),
                     IO_PENDING);
    assert_int_equal(until(io, token_of(IO_OP_CONNECT, 0)), -ECONNREFUSED);
    assert_int_equal(fds[0].fd, number);
    assert_false(fds[0].flags & IO_FD_DIRECT);
    hang_up(io, 0);
    io->ops->close(io);
}

static void loops_of_a_cpu_share_its_memory(void **state)
{
    struct io_config config = {.find = find};
    const char *why = NULL;
    struct io *io;
    size_t alone;

    assert_int_equal(uring_share(4096, 0, 16), 4096);
    assert_int_equal(uring_share(4096, 1, 16), 4096);
    assert_int_equal(uring_share(4096, 4, 16), 1024);
    assert_int_equal(uring_share(4096, 5, 16), 512);
    assert_int_equal(uring_share(4096, UINT32_MAX, 16), 16);
    if (weir__io_open(&io, "uring", &config, &why) != 0)
        skip_because(why);
    alone = uring_of(io)->buffers.memory_bytes;
    io->ops->close(io);
    config.sharers = 16;
    assert_int_equal(weir__io_open(&io, "uring", &config, &why), 0);
    assert_in_range(uring_of(io)->buffers.memory_bytes, alone / 64, alone / 16);
    io->ops->close(io);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_moves_into_the_table),
        cmocka_unit_test(a_full_table_refuses_nobody),
        cmocka_unit_test(a_connect_that_fails_moves_nowhere),
        cmocka_unit_test(loops_of_a_cpu_share_its_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
