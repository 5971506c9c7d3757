/* Ends: bytes and the end right behind them, what IO_DRAINED promises, a peer that is gone. */
#include "io_suite.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void *send_and_end(void *arg)
{
    int peer = *(int *)arg;
    char bytes[123] = {0};
    assert_int_equal(send(peer, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
    shutdown(peer, SHUT_WR);
    return NULL;
}

static void end_right_behind_bytes(struct rig *rig, unsigned slot, int peer)
{
    pthread_t thread;
    rig_recv(rig, slot);
    rig_turn(rig, 0);
    assert_int_equal(pthread_create(&thread, NULL, send_and_end, &peer), 0);
    assert_true(rig_ended(rig, slot));
    pthread_join(thread, NULL);
    assert_int_equal(rig->slot[slot].end, 0);
    assert_int_equal(rig->slot[slot].bytes, 123);
    close(peer);
    rig_close(rig, slot, false);
}

/* Kernels 6.17 to 6.19 missed the end here, now and then, with multishot receives (liburing issue
 * 1549). */
static void end_right_behind_bytes_unix(void **state)
{
    for (int i = 0; i < 500; i++) {
        int peer;
        unsigned slot = rig_unix(rig_of(state), &peer);
        end_right_behind_bytes(rig_of(state), slot, peer);
    }
}

static void end_right_behind_bytes_tcp(void **state)
{
    for (int i = 0; i < 200; i++) {
        int peer;
        unsigned slot = rig_tcp(rig_of(state), &peer);
        end_right_behind_bytes(rig_of(state), slot, peer);
    }
}

/* Every event that says so is checked against what the socket has. Returns how many said so. */
static unsigned check_drained(struct rig *rig, unsigned slot)
{
    struct rig_slot *s = &rig->slot[slot];
    unsigned said = 0;
    for (int turn = 0; turn < 50; turn++) {
        unsigned reads = s->reads, drained = s->drained;
        int left = 0;
        rig_turn(rig, 1);
        if (s->drained == drained)
            continue;
        said++;
        if (s->reads - reads == s->drained - drained && !rig->io->direct) {
            assert_int_equal(ioctl(s->fd.fd, FIONREAD, &left), 0);
            assert_int_equal(left, 0);
        }
    }
    return said;
}

/* IO_DRAINED allows a plain close: a socket closed with unread bytes would be reset. */
static void drained_means_drained(void **state)
{
    static const int sizes[] = {1, 1000, 16384, 65536, 70000, 150000};
    static uint8_t bytes[150000];
    struct rig *rig = rig_of(state);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int tcp = 0; tcp <= 1; tcp++) {
            int peer;
            unsigned slot = tcp ? rig_tcp(rig, &peer) : rig_unix(rig, &peer), said;
            rig_recv(rig, slot);
            assert_true(send(peer, bytes, (size_t)sizes[i], MSG_DONTWAIT) > 0);
            said = check_drained(rig, slot);
            if (tcp && sizes[i] < 16384)
                assert_true(said > 0);
            rig_close(rig, slot, false);
            close(peer);
        }
    }
}

/* No SIGPIPE, which would end the test. */
static void send_to_a_closed_peer(void **state)
{
    struct rig *rig = rig_of(state);
    int peer, result = 0;
    unsigned slot = rig_tcp(rig, &peer);
    close(peer);
    for (int i = 0; i < 100 && result == 0; i++) {
        result = rig_send(rig, slot, "dead letter", 11);
        rig_idle(rig, 1);
    }
    assert_true(result == -EPIPE || result == -ECONNRESET);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rig_send(rig, slot, "again", 5), -EPIPE);
}

/* For what has no verb of its own. */
static void numbers_for_other_calls(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    struct sockaddr_in here, there;
    socklen_t size = sizeof(here);
    int free_number = dup(peer);
    close(free_number);
    for (int i = 0; i < 3; i++) {
        int number = rig->io->ops->number(rig->io, rig_fd(rig, slot));
        assert_true(number >= 0);
        assert_int_equal(getpeername(number, (struct sockaddr *)&there, &size), 0);
        assert_int_equal(getsockname(peer, (struct sockaddr *)&here, &size), 0);
        assert_int_equal(here.sin_port, there.sin_port);
        rig->io->ops->number_done(rig->io, rig_fd(rig, slot), number);
        number = dup(peer); /* nothing stays behind */
        assert_int_equal(number, free_number);
        close(number);
    }
    rig_recv(rig, slot);
    assert_int_equal(send(peer, "on", 2, 0), 2);
    assert_true(rig_got(rig, slot, 2));
    close(peer);
}

static void cancel_twice(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_unix(rig, &peer);
    for (int i = 0; i < 50; i++) {
        int again;
        rig_recv(rig, slot);
        if (i % 2)
            rig_turn(rig, 0);
        rig->slot[slot].wanted = false;
        assert_int_equal(
            rig->io->ops->cancel(rig->io, rig_fd(rig, slot), rig_token(rig, slot, IO_OP_RECV)), 0);
        again = rig->io->ops->cancel(rig->io, rig_fd(rig, slot), rig_token(rig, slot, IO_OP_RECV));
        assert_true(again == 0 || again == -ENOENT);
        assert_true(rig_ended(rig, slot));
        assert_int_equal(rig->slot[slot].end, -ECANCELED);
    }
    close(peer);
}

const struct CMUnitTest io_cases_end[] = {
    IO_CASE(end_right_behind_bytes_unix),
    IO_CASE(end_right_behind_bytes_tcp),
    IO_CASE(drained_means_drained),
    IO_CASE(send_to_a_closed_peer),
    IO_CASE(numbers_for_other_calls),
    IO_CASE(cancel_twice),
    IO_CASES_END,
};
