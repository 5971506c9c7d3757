/* Streams: bytes that come, ends, pauses, cancels. */
#include "io_suite.h"

#include "io_peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* --- cases ------------------------------------------------------------------------------------ */

static void echo_on(struct rig *rig, unsigned slot, int peer)
{
    rig->slot[slot].keep = true;
    rig_recv(rig, slot);
    for (int i = 0; i < 100; i++) {
        char back[64];
        uint8_t text[64];
        memset(text, 'a' + i % 26, sizeof(text));
        peer_write(peer, text, sizeof(text));
        assert_true(rig_got(rig, slot, (uint64_t)(i + 1) * sizeof(text)));
        assert_memory_equal(rig->slot[slot].got + i * sizeof(text), text, sizeof(text));
        assert_int_equal(rig_send(rig, slot, text, sizeof(text)), 0);
        assert_int_equal(recv(peer, back, sizeof(back), MSG_WAITALL), sizeof(back));
        assert_memory_equal(back, text, sizeof(text));
    }
    close(peer);
    assert_true(rig_ended(rig, slot));
    assert_int_equal(rig->slot[slot].end, 0);
}

static void echo_tcp(void **state)
{
    int peer;
    unsigned slot = rig_tcp(rig_of(state), &peer);
    echo_on(rig_of(state), slot, peer);
}

static void echo_unix(void **state)
{
    int peer;
    unsigned slot = rig_unix(rig_of(state), &peer);
    echo_on(rig_of(state), slot, peer);
}

static void bytes_there_before_recv(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    peer_write(peer, "hello", 5);
    rig_sleep_ms(20);
    rig->slot[slot].keep = true;
    rig_recv(rig, slot);
    assert_true(rig_got(rig, slot, 5));
    assert_memory_equal(rig->slot[slot].got, "hello", 5);
    assert_int_equal(rig->slot[slot].end, 1);
    peer_write(peer, "again", 5);
    assert_true(rig_got(rig, slot, 10));
    assert_memory_equal(rig->slot[slot].got, "helloagain", 10);
    close(peer);
}

static void *write_thread(void *arg)
{
    uint8_t *bytes = peer_pattern_new(BIG);
    peer_write(*(int *)arg, bytes, BIG);
    free(bytes);
    return NULL;
}

static void big_receive(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    pthread_t thread;
    rig->slot[slot].keep = true;
    rig_recv(rig, slot);
    assert_int_equal(pthread_create(&thread, NULL, write_thread, &peer), 0);
    assert_true(rig_got(rig, slot, BIG));
    pthread_join(thread, NULL);
    for (size_t i = 0; i < BIG; i++)
        if (rig->slot[slot].got[i] != peer_pattern(i))
            fail_msg("byte %zu is wrong", i);
    close(peer);
}

static void peer_end_after_bytes(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    rig->slot[slot].keep = true;
    peer_write(peer, "abc", 3);
    close(peer);
    rig_sleep_ms(20); /* bytes and end are one event */
    rig_recv(rig, slot);
    assert_true(rig_ended(rig, slot));
    assert_int_equal(rig->slot[slot].end, 0);
    assert_int_equal(rig->slot[slot].bytes, 3);
}

static void end_with_bytes_while_armed(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    rig_recv(rig, slot);
    rig_idle(rig, 10);
    peer_write(peer, "abc", 3);
    close(peer);
    rig_sleep_ms(20);
    assert_true(rig_ended(rig, slot));
    assert_int_equal(rig->slot[slot].end, 0);
    assert_int_equal(rig->slot[slot].bytes, 3);
}

static void half_close(void **state)
{
    struct rig *rig = rig_of(state);
    char back[4];
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    rig_recv(rig, slot);
    rig_idle(rig, 5);
    shutdown(peer, SHUT_WR);
    assert_true(rig_ended(rig, slot));
    assert_int_equal(rig->slot[slot].end, 0);
    assert_int_equal(rig_send(rig, slot, "late", 4), 0);
    assert_int_equal(rig->io->ops->shutdown(rig->io, rig_fd(rig, slot), SHUT_WR), 0);
    assert_int_equal(recv(peer, back, 4, MSG_WAITALL), 4);
    assert_int_equal(recv(peer, back, 1, 0), 0);
    close(peer);
}

static void peer_reset(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    rig_recv(rig, slot);
    rig_idle(rig, 5);
    peer_abort(peer);
    assert_true(rig_ended(rig, slot));
    assert_int_equal(rig->slot[slot].end, -ECONNRESET);
}

static void reset_while_paused(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    uint64_t waits;
    rig_recv(rig, slot);
    rig_idle(rig, 5);
    rig_pause(rig, slot);
    assert_int_equal(rig->slot[slot].end, -ECANCELED);
    waits = rig->io->stats.waits;
    peer_abort(peer);
    rig_idle(rig, 50);
    assert_int_equal(rig->slot[slot].end, -ECANCELED); /* not told */
    assert_true(rig->io->stats.waits - waits < 6);     /* and not woken by it over and over */
    assert_int_equal(rig_send(rig, slot, "x", 1), -ECONNRESET);
    rig_recv(rig, slot);
    assert_true(rig_ended(rig, slot));
}

static void paused_reader_sleeps(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    uint64_t waits, before;
    rig_recv(rig, slot);
    rig_idle(rig, 5);
    rig_pause(rig, slot);
    waits = rig->io->stats.waits;
    before = rig->slot[slot].bytes;
    for (int i = 0; i < 100; i++) {
        peer_write(peer, "x", 1);
        rig_turn(rig, 1); /* a millisecond for the byte to wake us */
    }
    rig_idle(rig, 20);
    waits = rig->io->stats.waits - waits;
    /* The turns that were asked for, each having slept its time. */
    assert_in_range(waits, 100, 130);
    assert_true(rig->io->stats.spurious < 10);
    assert_int_equal(rig->slot[slot].bytes, before);
    rig_recv(rig, slot);
    assert_true(rig_got(rig, slot, before + 100));
    close(peer);
}

static void resumed_reader_goes_on(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    uint64_t sum = 0;
    rig->slot[slot].keep = true;
    for (int i = 0; i < 50; i++) {
        rig_recv(rig, slot);
        if (i % 3 == 0)
            rig_idle(rig, 1);
        rig_pause(rig, slot);
        peer_write(peer, "0123456789", 10);
        if (i % 2 == 0)
            rig_idle(rig, 2);
        sum += 10;
    }
    rig_recv(rig, slot);
    assert_true(rig_got(rig, slot, sum));
    for (size_t i = 0; i < sum; i++)
        assert_int_equal(rig->slot[slot].got[i], '0' + i % 10);
    close(peer);
    assert_true(rig_ended(rig, slot));
    assert_int_equal(rig->slot[slot].end, 0);
}

static void end_while_paused(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    rig_recv(rig, slot);
    rig_idle(rig, 5);
    rig_pause(rig, slot);
    peer_write(peer, "tail", 4);
    rig_idle(rig, 5);
    peer_write(peer, "tail", 4);
    close(peer);
    rig_idle(rig, 20);
    assert_int_equal(rig->slot[slot].bytes, 0);
    rig_recv(rig, slot);
    assert_true(rig_ended(rig, slot));
    assert_int_equal(rig->slot[slot].end, 0);
    assert_int_equal(rig->slot[slot].bytes, 8);
}

/* Cancel and bytes race: each receive ends once, and no byte is lost. */
static void cancel_races_bytes(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    uint64_t sum = 0;
    for (int i = 0; i < 500; i++) {
        rig_recv(rig, slot);
        if (i % 4 == 0)
            rig_turn(rig, 0);
        peer_write(peer, "abcd", 4);
        sum += 4;
        if (i % 4 == 1)
            rig_turn(rig, 0);
        rig_pause(rig, slot);
    }
    rig_recv(rig, slot);
    assert_true(rig_got(rig, slot, sum));
    assert_int_equal(rig->slot[slot].bytes, sum);
    close(peer);
}

static void flood_does_not_starve(void **state)
{
    struct rig *rig = rig_of(state);
    int flood_peer, quiet_peer;
    unsigned flood = rig_tcp(rig, &flood_peer), quiet = rig_tcp(rig, &quiet_peer);
    uint8_t *bytes = peer_pattern_new(BIG);
    ssize_t sent;
    uint64_t flooded = 0;
    int turns = 0;
    while ((sent = send(flood_peer, bytes, BIG, MSG_DONTWAIT)) > 0)
        flooded += (uint64_t)sent;
    rig_sleep_ms(20);
    rig_recv(rig, flood);
    rig_recv(rig, quiet);
    rig_turn(rig, 0);
    peer_write(quiet_peer, "x", 1);
    while (rig->slot[quiet].bytes == 0 && turns++ < (rig->io->hot_block ? 5 : 100))
        rig_turn(rig, 0);
    assert_int_equal(rig->slot[quiet].bytes, 1);
    if (rig->io->hot_block)
        assert_true(rig->slot[flood].reads <= 6);
    for (uint64_t reads = rig->slot[flood].reads; rig->io->hot_block && turns++ < 10;) {
        rig_turn(rig, 0);
        assert_true(rig->slot[flood].reads <= reads + 1); /* one read a turn */
        reads = rig->slot[flood].reads;
    }
    assert_true(rig_got(rig, flood, flooded));
    free(bytes);
    close(flood_peer);
    close(quiet_peer);
}

/* A receive stops short in front of urgent data; what is behind must not wait for another edge. */
static void urgent_data_holds_nothing_up(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    rig->slot[slot].keep = true;
    rig_recv(rig, slot);
    rig_idle(rig, 5);
    peer_write(peer, "abc", 3);
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    peer_write(peer, "def", 3);
    rig_sleep_ms(20);
    assert_true(rig_got(rig, slot, 6));
    assert_memory_equal(rig->slot[slot].got, "abcdef", 6);
    close(peer);
}

static void shutdown_of_closed_peer(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    peer_abort(peer);
    rig_sleep_ms(10);
    assert_int_equal(rig->io->ops->shutdown(rig->io, rig_fd(rig, slot), SHUT_WR), -ENOTCONN);
}

static void abortive_close(void **state)
{
    struct rig *rig = rig_of(state);
    char byte;
    int peer;
    unsigned slot = rig_tcp(rig, &peer);
    rig_close(rig, slot, true);
    assert_int_equal(recv(peer, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(peer);
}

const struct CMUnitTest io_cases_stream[] = {
    IO_CASE(echo_tcp),
    IO_CASE(echo_unix),
    IO_CASE(bytes_there_before_recv),
    IO_CASE(big_receive),
    IO_CASE(peer_end_after_bytes),
    IO_CASE(end_with_bytes_while_armed),
    IO_CASE(half_close),
    IO_CASE(peer_reset),
    IO_CASE(reset_while_paused),
    IO_CASE(paused_reader_sleeps),
    IO_CASE(resumed_reader_goes_on),
    IO_CASE(end_while_paused),
    IO_CASE(cancel_races_bytes),
    IO_CASE(flood_does_not_starve),
    IO_CASE(urgent_data_holds_nothing_up),
    IO_CASE(shutdown_of_closed_peer),
    IO_CASE(abortive_close),
    IO_CASES_END,
};
