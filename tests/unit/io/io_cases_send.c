/* Sends: short, waiting for room, without waiting, canceled. */
#include "io_suite.h"

#include "io_peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void big_send(struct rig *rig, unsigned slot, int peer, int delay_ms)
{
    struct peer_drain drain = {peer, BIG, delay_ms, false};
    uint8_t *bytes = peer_pattern_new(BIG);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, peer_drain_thread, &drain), 0);
    assert_int_equal(rig_send(rig, slot, bytes, BIG), 0);
    pthread_join(thread, NULL);
    assert_true(drain.right);
    free(bytes);
    close(peer);
}

static void big_send_tcp(void **state)
{
    int peer;
    unsigned slot = rig_tcp(rig_of(state), &peer);
    big_send(rig_of(state), slot, peer, 1);
}

static void big_send_unix(void **state)
{
    int peer;
    unsigned slot = rig_unix(rig_of(state), &peer);
    big_send(rig_of(state), slot, peer, 0);
}

static void send_of_many_pieces(void **state)
{
    struct rig *rig = rig_of(state);
    enum { PIECES = 300 };
    struct iovec iov[PIECES];
    uint8_t *bytes = peer_pattern_new(PIECES * 7), back[PIECES * 7];
    int peer, result = 0;
    unsigned slot = rig_tcp(rig, &peer);
    uint64_t token = rig_token(rig, slot, IO_OP_SEND);
    for (int i = 0; i < PIECES; i++)
        iov[i] = (struct iovec){bytes + i * 7, 7};
    if (rig->io->ops->send(rig->io, rig_fd(rig, slot), iov, PIECES, 0, token, &result) ==
        IO_PENDING) {
        memset(iov, 0, sizeof(iov)); /* they may go after the call; the bytes may not */
        result = rig_final(rig, token);
    }
    assert_int_equal(result, PIECES * 7);
    assert_int_equal(recv(peer, back, sizeof(back), MSG_WAITALL), sizeof(back));
    assert_memory_equal(back, bytes, sizeof(back));
    free(bytes);
    close(peer);
}

/* More than the kernel takes in one call (IOV_MAX): short, but not for want of room. */
static void send_of_too_many_pieces(void **state)
{
    struct rig *rig = rig_of(state);
    enum { PIECES = 2500 };
    static struct iovec iov[PIECES];
    static uint8_t back[PIECES];
    uint8_t *bytes = peer_pattern_new(PIECES);
    int peer, result = 0, sent = 0, how;
    unsigned slot = rig_tcp(rig, &peer), flags = 0;
    uint64_t token = rig_token(rig, slot, IO_OP_SEND);
    for (int i = 0; i < PIECES; i++)
        iov[i] = (struct iovec){bytes + i, 1};
    while (sent < PIECES) {
        how = rig->io->ops->send(rig->io, rig_fd(rig, slot), iov + sent, PIECES - (unsigned)sent,
                                 flags, token, &result);
        if (how == IO_PENDING)
            result = rig_final(rig, token);
        assert_true(result >= 0);
        flags = how == IO_DONE ? IO_SEND_BLOCKED : 0;
        sent += result;
    }
    assert_int_equal(recv(peer, back, sizeof(back), MSG_WAITALL), sizeof(back));
    assert_memory_equal(back, bytes, sizeof(back));
    free(bytes);
    close(peer);
}

/* A send that waited is over: nothing tells of room over and over. */
static void room_is_told_once(void **state)
{
    struct rig *rig = rig_of(state);
    uint8_t *bytes = peer_pattern_new(4 * BIG);
    int peer, result = 0;
    unsigned slot = rig_tcp(rig, &peer);
    uint64_t token = rig_token(rig, slot, IO_OP_SEND), waits;
    struct iovec iov = {bytes, 1};
    struct peer_drain drain = {.peer = peer};
    drain.size = rig_fill(rig, slot, bytes, 4 * BIG);
    assert_int_equal(
        rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, IO_SEND_BLOCKED, token, &result),
        IO_PENDING);
    peer_drain_thread(&drain);
    assert_in_range(rig_final(rig, token), 0, 1);
    rig_idle(rig, 5);
    waits = rig->io->stats.waits;
    rig_idle(rig, 50);
    assert_true(rig->io->stats.waits - waits < 6);
    free(bytes);
    close(peer);
}

/* Room and bytes are told together; the bytes are wanted at once, the room only later. */
static void room_told_with_bytes(void **state)
{
    struct rig *rig = rig_of(state);
    uint8_t *bytes = peer_pattern_new(4 * BIG);
    int peer, result = 0, how;
    unsigned slot = rig_tcp(rig, &peer);
    uint64_t token = rig_token(rig, slot, IO_OP_SEND);
    struct iovec iov = {bytes, 1};
    for (int round = 0; round < 2; round++) { /* registered for room in the first */
        struct peer_drain drain = {.peer = peer};
        drain.size = rig_fill(rig, slot, bytes, 4 * BIG);
        if (round == 1 && !rig->slot[slot].recv_on)
            rig_recv(rig, slot);
        if (round == 0) {
            how = rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, IO_SEND_BLOCKED, token,
                                     &result);
            assert_int_equal(how, IO_PENDING);
            peer_drain_thread(&drain);
            result = rig_final(rig, token);
        } else {
            peer_drain_thread(&drain);
            peer_write(peer, "x", 1);
            rig_sleep_ms(10);
            assert_true(rig_got(rig, slot, 1));
            how = rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, IO_SEND_BLOCKED, token,
                                     &result);
            if (how == IO_PENDING)
                result = rig_final(rig, token);
        }
        if (result == 1)
            assert_int_equal(recv(peer, bytes, 1, MSG_WAITALL), 1);
        bytes[0] = peer_pattern(0);
    }
    free(bytes);
    close(peer);
}

static void nowait_takes_what_fits(void **state)
{
    struct rig *rig = rig_of(state);
    uint8_t *bytes = peer_pattern_new(4 * BIG);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    struct peer_drain drain = {.peer = peer};
    pthread_t thread;
    drain.size = rig_fill(rig, slot, bytes, 4 * BIG);
    assert_true(drain.size > 0);
    assert_int_equal(rig->io->ops->in_flight(rig->io), 0);
    assert_int_equal(pthread_create(&thread, NULL, peer_drain_thread, &drain), 0);
    pthread_join(thread, NULL);
    assert_true(drain.right);
    free(bytes);
    close(peer);
}

/* The edge that tells of room may have come, and been dropped, before the next send says that it
 * expects none. */
static void room_before_blocked_send(void **state)
{
    struct rig *rig = rig_of(state);
    uint8_t *bytes = peer_pattern_new(4 * BIG);
    int peer, result = 0, how;
    unsigned slot = rig_tcp(rig, &peer);
    uint64_t token = rig_token(rig, slot, IO_OP_SEND);
    struct iovec iov = {bytes, 1};
    for (int round = 0; round < 3; round++) {
        struct peer_drain drain = {.peer = peer};
        pthread_t thread;
        drain.size = rig_fill(rig, slot, bytes, 4 * BIG);
        how = rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, IO_SEND_BLOCKED, token,
                                 &result);
        assert_int_equal(how, IO_PENDING); /* registers for room */
        rig_idle(rig, 20);
        assert_false(rig_take(rig, token, &result));
        assert_int_equal(pthread_create(&thread, NULL, peer_drain_thread, &drain), 0);
        result = rig_final(rig, token);
        pthread_join(thread, NULL);
        assert_true(drain.right);
        if (result == 1) /* a ring has sent it; a readiness back end says that there is room */
            assert_int_equal(recv(peer, bytes, 1, MSG_WAITALL), 1);
        bytes[0] = peer_pattern(0);
        /* Now that it is registered: full again, drained while nothing is pending. */
        drain.size = rig_fill(rig, slot, bytes, 4 * BIG);
        assert_int_equal(pthread_create(&thread, NULL, peer_drain_thread, &drain), 0);
        pthread_join(thread, NULL);
        rig_idle(rig, 30);
        assert_true(drain.right);
        how = rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, IO_SEND_BLOCKED, token,
                                 &result);
        if (how == IO_PENDING)
            result = rig_final(rig, token);
        if (result == 1)
            assert_int_equal(recv(peer, bytes, 1, MSG_WAITALL), 1);
        assert_in_range(result, 0, 1);
    }
    free(bytes);
    close(peer);
}

/* After a call of the caller's own (sendmsg with descriptors) found no room; and when there is some
 * after all. */
static void waiting_for_room_alone(void **state)
{
    struct rig *rig = rig_of(state);
    uint8_t *bytes = peer_pattern_new(4 * BIG);
    int peer, result = 0;
    unsigned slot = rig_tcp(rig, &peer);
    uint64_t token = rig_token(rig, slot, IO_OP_SEND);
    for (int round = 0; round < 3; round++) {
        struct peer_drain drain = {.peer = peer};
        assert_int_equal(rig->io->ops->send(rig->io, rig_fd(rig, slot), NULL, 0, IO_SEND_BLOCKED,
                                            token, &result),
                         IO_PENDING);
        assert_int_equal(rig_final(rig, token), 0);
        drain.size = rig_fill(rig, slot, bytes, 4 * BIG);
        assert_int_equal(rig->io->ops->send(rig->io, rig_fd(rig, slot), NULL, 0, IO_SEND_BLOCKED,
                                            token, &result),
                         IO_PENDING);
        rig_idle(rig, 10);
        assert_false(rig_take(rig, token, &result));
        peer_drain_thread(&drain);
        assert_true(drain.right);
        assert_int_equal(rig_final(rig, token), 0);
    }
    free(bytes);
    close(peer);
}

static void cancel_of_pending_send(void **state)
{
    struct rig *rig = rig_of(state);
    uint8_t *bytes = peer_pattern_new(4 * BIG);
    struct iovec iov = {bytes, 100};
    int peer, result = 0;
    unsigned slot = rig_tcp(rig, &peer);
    uint64_t token = rig_token(rig, slot, IO_OP_SEND);
    rig_fill(rig, slot, bytes, 4 * BIG);
    assert_int_equal(rig->io->ops->send(rig->io, rig_fd(rig, slot), &iov, 1, 0, token, &result),
                     IO_PENDING);
    assert_int_equal(rig->io->ops->in_flight(rig->io), 1);
    assert_int_equal(rig->io->ops->cancel(rig->io, rig_fd(rig, slot), token), 0);
    assert_int_equal(rig_final(rig, token), -ECANCELED);
    assert_int_equal(rig->io->ops->in_flight(rig->io), 0);
    rig_idle(rig, 10);
    assert_false(rig_take(rig, token, &result));
    free(bytes);
    close(peer);
}

const struct CMUnitTest io_cases_send[] = {
    IO_CASE(big_send_tcp),
    IO_CASE(big_send_unix),
    IO_CASE(send_of_many_pieces),
    IO_CASE(send_of_too_many_pieces),
    IO_CASE(room_is_told_once),
    IO_CASE(room_told_with_bytes),
    IO_CASE(nowait_takes_what_fits),
    IO_CASE(room_before_blocked_send),
    IO_CASE(waiting_for_room_alone),
    IO_CASE(cancel_of_pending_send),
    IO_CASES_END,
};
