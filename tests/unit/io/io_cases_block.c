/* Receive blocks: held bytes stay, running out is a state that passes. A back end with a hot block
 * has none to hold. */
#include "io_suite.h"

#include "support/skip.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SENDERS = 40, SIZE = 2000 };

struct held {
    uint8_t *data;
    uint32_t size;
    uint16_t block;
    uint8_t letter;
};

/* Takes the events of a turn, keeping the blocks: the events with bytes go to `held`. Counts the
 * receives that found no block. */
static unsigned turn_holding(struct rig *rig, int ms, struct held *held, unsigned *count,
                             unsigned room)
{
    struct io_event event;
    unsigned outages = 0;
    assert_int_equal(rig->io->ops->wait(rig->io, ms * 1000000LL), 0);
    while (rig->io->ops->next(rig->io, &event) == 1) {
        struct rig_slot *slot = &rig->slot[IO_TOKEN_SLOT(event.token)];
        assert_int_equal(IO_TOKEN_OP(event.token), IO_OP_RECV);
        if (event.flags & IO_BUFFER) {
            assert_true(*count < room);
            held[(*count)++] =
                (struct held){event.data, (uint32_t)event.result, event.block, event.data[0]};
            slot->bytes += (uint64_t)event.result;
        }
        if (!(event.flags & IO_MORE)) {
            slot->recv_on = false;
            outages += event.result == -ENOBUFS;
        }
    }
    return outages;
}

static bool intact(const struct held *held)
{
    for (uint32_t i = 0; i < held->size; i++)
        if (held->data[i] != held->letter)
            return false;
    return true;
}

static void release_all(struct rig *rig, const struct held *held, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_true(intact(&held[i]));
        rig->io->ops->release(rig->io, held[i].block);
    }
}

/* Bytes that are held do not change while others come; when all blocks are held, receives end with
 * ENOBUFS; when some come back they go on, and nothing was lost. */
static void outage_and_recovery(void **state)
{
    struct rig *rig = rig_of(state);
    struct held *held = calloc(100000, sizeof(*held));
    unsigned slot[SENDERS], count = 0, outages = 0;
    uint64_t sent[SENDERS] = {0};
    int peer[SENDERS];
    if (rig->io->hot_block) {
        free(held);
        skip_because("a hot block cannot be held");
    }
    for (int i = 0; i < SENDERS; i++) {
        slot[i] = rig_unix(rig, &peer[i]);
        rig->slot[slot[i]].wanted = false;
        rig_recv(rig, slot[i]);
        rig->slot[slot[i]].wanted = false;
    }
    assert_true(rig->io->ops->blocks_free(rig->io));
    for (int round = 0; round < 10000 && outages == 0; round++) {
        char text[SIZE];
        int i = round % SENDERS;
        ssize_t n;
        memset(text, 'a' + i % 26, sizeof(text));
        n = send(peer[i], text, sizeof(text), MSG_DONTWAIT);
        if (n > 0)
            sent[i] += (uint64_t)n;
        outages += turn_holding(rig, 0, held, &count, 100000);
        for (int j = 0; j < SENDERS; j++)
            if (!rig->slot[slot[j]].recv_on && outages == 0)
                rig_recv(rig, slot[j]);
    }
    assert_true(outages > 0);
    outages += turn_holding(rig, 1, held, &count, 100000);
    assert_false(rig->io->ops->blocks_free(rig->io));
    assert_int_equal(rig->io->stats.buffer_outages, outages);
    release_all(rig, held, count);
    assert_true(rig->io->ops->blocks_free(rig->io));
    for (int i = 0; i < SENDERS; i++) {
        if (!rig->slot[slot[i]].recv_on)
            rig_recv(rig, slot[i]);
        assert_true(rig_got(rig, slot[i], sent[i]));
        assert_int_equal(rig->slot[slot[i]].bytes, sent[i]);
        rig_close(rig, slot[i], false);
        close(peer[i]);
    }
    free(held);
}

/* A block that was taken twice comes back when both are done with it. */
static void hold_counts(void **state)
{
    struct rig *rig = rig_of(state);
    struct held held[16];
    unsigned count = 0, slot;
    int peer;
    if (rig->io->hot_block)
        skip_because("a hot block cannot be held");
    slot = rig_unix(rig, &peer);
    rig_recv(rig, slot);
    assert_int_equal(send(peer, "kkkk", 4, 0), 4);
    while (count == 0)
        turn_holding(rig, 100, held, &count, 16);
    for (int i = 0; i < 3; i++)
        rig->io->ops->hold(rig->io, held[0].block);
    for (int i = 0; i < 4; i++)
        release_all(rig, held, 1);
    if (!rig->slot[slot].recv_on)
        rig_recv(rig, slot);
    assert_int_equal(send(peer, "on", 2, 0), 2);
    assert_true(rig_got(rig, slot, 6));
    close(peer);
}

const struct CMUnitTest io_cases_block[] = {
    IO_CASE(outage_and_recovery),
    IO_CASE(hold_counts),
    IO_CASES_END,
};
