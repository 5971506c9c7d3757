/* Streams at the level of io.h: bytes in order, short sends, ends, resets, cancels.
 * ctest: timeout=120 */
#include "io_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MIB = 1024 * 1024 };

static void peer_reads(int peer, uint64_t bytes, uint64_t hash)
{
    static uint8_t buffer[64 * 1024];
    uint64_t got = 0, seen = 0;

    while (got < bytes) {
        ssize_t n = recv(peer, buffer, sizeof(buffer), 0);

        assert_true(n > 0);
        seen = rig_hash(seen, buffer, (size_t)n);
        got += (uint64_t)n;
    }
    assert_int_equal(got, bytes);
    assert_true(seen == hash);
}

struct reader {
    int peer;
    uint64_t bytes, hash;
};

static void *read_slowly(void *arg)
{
    struct reader *reader = arg;

    usleep(20 * 1000);
    peer_reads(reader->peer, reader->bytes, reader->hash);
    return NULL;
}

static void echo_one_message(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    uint64_t hash = rig_hash(0, (const uint8_t *)"hello, weir", 11);

    rig_recv(rig, pair.slot);
    assert_int_equal(send(pair.peer, "hello, weir", 11, 0), 11);
    rig_receive(rig, pair.slot, 11);
    assert_true(rig->slot[pair.slot].hash == hash);
    assert_int_equal(rig_send_all(rig, pair.slot, "hello, weir", 11), 0);
    peer_reads(pair.peer, 11, hash);
    close(pair.peer);
    rig_end(rig);
    (void)state;
}

static void receive_in_order(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    static uint8_t data[3 * MIB];
    size_t sent = 0;

    rig_pattern(data, sizeof(data), 0);
    rig_recv(rig, pair.slot);
    fcntl(pair.peer, F_SETFL, O_NONBLOCK);
    while (sent < sizeof(data)) {
        size_t piece = 1 + sent % 70001;
        ssize_t n = send(pair.peer, data + sent,
                         piece < sizeof(data) - sent ? piece : sizeof(data) - sent, 0);

        if (n > 0)
            sent += (size_t)n;
        rig_turn(rig, 0);
        rig->logged = 0;
        if (!(rig->slot[pair.slot].armed & 1u << IO_OP_RECV))
            rig_recv(rig, pair.slot); /* blocks ran out, or it ended by itself */
    }
    rig_receive(rig, pair.slot, sizeof(data));
    assert_true(rig->slot[pair.slot].hash == rig_hash(0, data, sizeof(data)));
    close(pair.peer);
    rig_end(rig);
    (void)state;
}

static void send_more_than_fits(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    uint8_t *data = malloc(8 * MIB);
    struct reader reader = {pair.peer, 8 * MIB, 0};
    pthread_t thread;

    rig_pattern(data, 8 * MIB, 0);
    reader.hash = rig_hash(0, data, 8 * MIB);
    pthread_create(&thread, NULL, read_slowly, &reader);
    assert_int_equal(rig_send_all(rig, pair.slot, data, 8 * MIB), 0);
    pthread_join(thread, NULL);
    free(data);
    close(pair.peer);
    rig_end(rig);
    (void)state;
}

static void send_gathered(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    static uint8_t data[1500];
    struct iovec iov[1500];
    unsigned sent = 0;

    rig_pattern(data, sizeof(data), 0);
    for (unsigned i = 0; i < 1500; i++)
        iov[i] = (struct iovec){data + i, 1};
    /* More pieces than one call may have: cut, and then the rest. */
    while (sent < 1500) {
        int result = 0;

        if (rig_sendv(rig, pair.slot, iov + sent, 1500 - sent, 0, &result) == IO_PENDING)
            result = rig_await(rig, IO_OP_SEND, pair.slot).result;
        assert_true(result >= 0);
        sent += (unsigned)result;
    }
    peer_reads(pair.peer, 1500, rig_hash(0, data, 1500));
    close(pair.peer);
    rig_end(rig);
    (void)state;
}

/* Fills the socket, then sends without waiting: it must come back though nobody reads. */
static void send_nowait(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    static uint8_t data[64 * 1024];

    for (int i = 0; i < 1000; i++) {
        int result = 0;

        if (rig_send(rig, pair.slot, data, sizeof(data), IO_SEND_NOWAIT, &result) == IO_PENDING)
            result = rig_await(rig, IO_OP_SEND, pair.slot).result;
        if (result == -EAGAIN || result == 0)
            break;
        assert_true(result > 0);
        assert_true(i < 999);
    }
    assert_int_equal(rig->io->ops->in_flight(rig->io), rig->slot[pair.listener].armed ? 1 : 0);
    close(pair.peer);
    rig_end(rig);
    (void)state;
}

/* A send that found no room completes when the peer reads; until then there is no event. */
static void send_waits_for_room(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    static uint8_t data[MIB];
    struct rig_event event;
    uint64_t total = 0;
    int result = 0, status;

    for (;;) {
        status = rig_send(rig, pair.slot, data, sizeof(data), total ? IO_SEND_BLOCKED : 0, &result);
        if (status == IO_PENDING && !rig_try(rig, IO_OP_SEND, pair.slot, 60 * RIG_MS, &event))
            break;
        if (status == IO_PENDING)
            result = event.result;
        assert_true(result >= 0);
        total += (uint64_t)result;
    }
    while (rig->slot[pair.slot].armed & 1u << IO_OP_SEND) {
        static uint8_t sink[256 * 1024];
        ssize_t n = recv(pair.peer, sink, sizeof(sink), MSG_DONTWAIT);

        assert_true(n > 0 || errno == EAGAIN);
        rig_turn(rig, RIG_MS);
    }
    event = rig_await(rig, IO_OP_SEND, pair.slot);
    assert_true(event.result >= 0);
    close(pair.peer);
    rig_end(rig);
    (void)state;
}

/* Takes bytes, arming again where a receive ends with some, until an event without bytes. */
static struct rig_event await_end(struct rig *rig, uint32_t slot)
{
    struct rig_event event;

    for (;;) {
        event = rig_await(rig, IO_OP_RECV, slot);
        if (event.result <= 0)
            return event;
        if (!(event.flags & IO_MORE))
            rig_recv(rig, slot);
    }
}

static void peer_end_comes_once(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    struct rig_event event;

    rig_recv(rig, pair.slot);
    assert_int_equal(send(pair.peer, "last words", 10, 0), 10);
    shutdown(pair.peer, SHUT_WR);
    event = await_end(rig, pair.slot);
    assert_int_equal(rig->slot[pair.slot].received, 10);
    assert_int_equal(event.result, 0);
    assert_int_equal(event.flags & (IO_MORE | IO_BUFFER), 0);
    assert_false(rig_try(rig, IO_OP_RECV, pair.slot, 20 * RIG_MS, &event));
    /* The other direction still works. */
    assert_int_equal(rig_send_all(rig, pair.slot, "answer", 6), 0);
    peer_reads(pair.peer, 6, rig_hash(0, (const uint8_t *)"answer", 6));
    close(pair.peer);
    rig_end(rig);
    (void)state;
}

static void end_before_receive(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    struct rig_event event;

    assert_int_equal(send(pair.peer, "x", 1, 0), 1);
    close(pair.peer);
    rig_turn(rig, 5 * RIG_MS);
    rig_recv(rig, pair.slot);
    event = await_end(rig, pair.slot);
    assert_int_equal(event.result, 0);
    assert_int_equal(rig->slot[pair.slot].received, 1);
    rig_end(rig);
    (void)state;
}

static void peer_reset(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    struct linger reset = {.l_onoff = 1};
    struct rig_event event;

    rig_recv(rig, pair.slot);
    rig_turn(rig, RIG_MS);
    setsockopt(pair.peer, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(pair.peer);
    event = rig_await(rig, IO_OP_RECV, pair.slot);
    assert_int_equal(event.result, -ECONNRESET);
    assert_int_equal(event.flags & IO_MORE, 0);
    rig_end(rig);
    (void)state;
}

static void send_to_a_closed_peer(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    int result = 0;

    close(pair.peer);
    for (int i = 0; i < 100 && result >= 0; i++) {
        result = rig_send_all(rig, pair.slot, "dead letter", 11); /* no SIGPIPE */
        rig_turn(rig, RIG_MS);
    }
    assert_true(result == -EPIPE || result == -ECONNRESET);
    rig_end(rig);
    (void)state;
}

static void cancel_receive(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    struct rig_event event;

    for (int i = 0; i < 50; i++) {
        rig_recv(rig, pair.slot);
        if (i % 2)
            rig_turn(rig, 0);
        rig_cancel(rig, IO_OP_RECV, pair.slot);
        if (i % 3 == 0) { /* twice does no harm */
            int again = rig->io->ops->cancel(rig->io, &rig->slot[pair.slot].fd,
                                             rig_token(rig, IO_OP_RECV, pair.slot));

            assert_true(again == 0 || again == -ENOENT);
        }
        event = rig_await(rig, IO_OP_RECV, pair.slot);
        assert_int_equal(event.result, -ECANCELED);
        assert_int_equal(event.flags & IO_MORE, 0);
    }
    /* What comes while nobody receives is there for the next one. */
    assert_int_equal(send(pair.peer, "kept", 4, 0), 4);
    rig_turn(rig, 5 * RIG_MS);
    rig_receive(rig, pair.slot, 4);
    close(pair.peer);
    rig_end(rig);
    (void)state;
}

/* Bytes and a cancel at the same moment: exactly one final event, and no byte is lost. */
static void cancel_races_with_bytes(void **state)
{
    struct rig *rig = rig_open(NULL);
    int peer;
    uint32_t slot = rig_unix_pair(rig, &peer);
    uint64_t sent = 0;

    for (int i = 0; i < 20000; i++) {
        rig_recv(rig, slot);
        if (i & 1)
            rig_turn(rig, 0);
        if (i & 2)
            sent += (uint64_t)send(peer, "x", 1, 0);
        rig_cancel(rig, IO_OP_RECV, slot);
        if (i & 4)
            sent += (uint64_t)send(peer, "y", 1, 0);
        while (rig->slot[slot].armed & 1u << IO_OP_RECV)
            rig_turn(rig, 1000 * RIG_MS);
        rig->logged = 0;
    }
    rig_receive(rig, slot, sent);
    assert_int_equal(rig->slot[slot].received, sent);
    close(peer);
    rig_end(rig);
    (void)state;
}

static void cancel_send(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    static uint8_t data[MIB];
    struct rig_event event;
    int result, status;

    do {
        status = rig_send(rig, pair.slot, data, sizeof(data), 0, &result);
        assert_true(status == IO_PENDING || result >= 0);
    } while (status == IO_DONE || rig_try(rig, IO_OP_SEND, pair.slot, 30 * RIG_MS, &event));
    rig_cancel(rig, IO_OP_SEND, pair.slot);
    event = rig_await(rig, IO_OP_SEND, pair.slot);
    assert_true(event.result == -ECANCELED || event.result >= 0);
    close(pair.peer);
    rig_end(rig);
    (void)state;
}

static void close_plain_and_reset(void **state)
{
    struct rig *rig = rig_open(NULL);
    char byte;

    for (int reset = 0; reset <= 1; reset++) {
        struct rig_pair pair = rig_tcp_pair(rig);
        ssize_t n;

        rig_close(rig, pair.slot, reset);
        n = recv(pair.peer, &byte, 1, 0);
        if (reset)
            assert_true(n < 0 && errno == ECONNRESET);
        else
            assert_int_equal(n, 0);
        close(pair.peer);
        rig_close(rig, pair.listener, false);
    }
    rig_end(rig);
    (void)state;
}

static void shutdown_is_seen(void **state)
{
    struct rig *rig = rig_open(NULL);
    struct rig_pair pair = rig_tcp_pair(rig);
    char byte;

    assert_int_equal(rig->io->ops->shutdown(rig->io, &rig->slot[pair.slot].fd, SHUT_WR), 0);
    assert_int_equal(recv(pair.peer, &byte, 1, 0), 0);
    rig_recv(rig, pair.slot);
    assert_int_equal(send(pair.peer, "still", 5, 0), 5);
    rig_receive(rig, pair.slot, 5);
    close(pair.peer);
    rig_end(rig);
    (void)state;
}

static void *send_and_end(void *arg)
{
    int peer = *(int *)arg;
    char bytes[123] = {0};

    assert_int_equal(send(peer, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
    shutdown(peer, SHUT_WR);
    return NULL;
}

/* Bytes and the end right behind them, from another thread. */
static void unix_end_is_not_missed(void **state)
{
    struct rig *rig = rig_open(NULL);

    for (int i = 0; i < 500; i++) {
        struct rig_event event;
        pthread_t thread;
        int peer;
        uint32_t slot = rig_unix_pair(rig, &peer);

        rig_recv(rig, slot);
        rig_turn(rig, 0);
        pthread_create(&thread, NULL, send_and_end, &peer);
        event = await_end(rig, slot);
        assert_int_equal(event.result, 0);
        assert_int_equal(rig->slot[slot].received, 123);
        pthread_join(thread, NULL);
        close(peer);
        rig_close(rig, slot, false);
    }
    rig_end(rig);
    (void)state;
}

/* IO_DRAINED is a promise that a plain close loses nothing. */
static void drained_means_drained(void **state)
{
    struct rig *rig = rig_open(NULL);
    static uint8_t data[200 * 1000];

    for (int tcp = 0; tcp <= 1; tcp++) {
        struct rig_pair pair = {0};
        int left = 0, drained = 0;

        if (tcp)
            pair = rig_tcp_pair(rig);
        else
            pair.slot = rig_unix_pair(rig, &pair.peer);
        assert_int_equal(send(pair.peer, data, sizeof(data), MSG_DONTWAIT) > 0, 1);
        rig_recv(rig, pair.slot);
        for (int turn = 0; turn < 200; turn++) {
            struct rig_event event;

            while (rig_try(rig, IO_OP_RECV, pair.slot, RIG_MS, &event))
                drained = event.flags & IO_DRAINED;
            if (!(rig->slot[pair.slot].armed & 1u << IO_OP_RECV))
                rig_recv(rig, pair.slot);
            if (drained && !rig->io->direct) {
                assert_int_equal(ioctl(rig->slot[pair.slot].fd.fd, FIONREAD, &left), 0);
                assert_int_equal(left, 0);
            }
        }
        if (tcp)
            assert_true(drained);
        rig_close(rig, pair.slot, false);
        close(pair.peer);
    }
    rig_end(rig);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_one_message),
        cmocka_unit_test(receive_in_order),
        cmocka_unit_test(send_more_than_fits),
        cmocka_unit_test(send_gathered),
        cmocka_unit_test(send_nowait),
        cmocka_unit_test(send_waits_for_room),
        cmocka_unit_test(peer_end_comes_once),
        cmocka_unit_test(end_before_receive),
        cmocka_unit_test(peer_reset),
        cmocka_unit_test(send_to_a_closed_peer),
        cmocka_unit_test(cancel_receive),
        cmocka_unit_test(cancel_races_with_bytes),
        cmocka_unit_test(cancel_send),
        cmocka_unit_test(close_plain_and_reset),
        cmocka_unit_test(shutdown_is_seen),
        cmocka_unit_test(unix_end_is_not_missed),
        cmocka_unit_test(drained_means_drained),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
