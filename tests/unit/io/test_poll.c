#include "io_suite.h"

#include "io/ready.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* What only poll promises, beside the suite. */

enum { MANY = 700 };

/* More descriptors than the table begins with, more of them ready than one harvest takes, and
 * places that are taken over when some go. */
static void the_table_grows_and_shrinks(void **state)
{
    struct rig *rig = rig_of(state);
    unsigned slot[MANY];
    int peer[MANY];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++) {
            slot[i] = rig_unix(rig, &peer[i]);
            rig_recv(rig, slot[i]);
        }
        rig_turn(rig, 0);
        for (int i = 0; i < MANY; i += 3)
            rig_pause(rig, slot[i]);
        for (int i = 0; i < MANY; i++)
            assert_int_equal(send(peer[i], "x", 1, 0), 1);
        for (int i = 0; i < MANY; i++)
            if (i % 3 != 0)
                assert_true(rig_got(rig, slot[i], 1));
        for (int i = 0; i < MANY; i += 3) {
            assert_int_equal(rig->slot[slot[i]].bytes, 0);
            rig_recv(rig, slot[i]);
        }
        for (int i = 0; i < MANY; i++) {
            assert_true(rig_got(rig, slot[i], 1));
            close(peer[i]);
            rig_close(rig, slot[i], false);
        }
        rig_turn(rig, 0);
    }
}

/* More descriptors that are always ready than one harvest takes: the next turn looks further on. */
static void no_place_is_starved(void **state)
{
    const struct io_config small = {.block_size = 1};
    struct rig *rig = rig_of(state);
    unsigned slot[MANY];
    int peer[MANY];
    rig_reopen(rig, &small);
    for (int i = 0; i < MANY; i++) {
        slot[i] = rig_unix(rig, &peer[i]);
        rig_recv(rig, slot[i]);
        assert_int_equal(send(peer[i], "abcdefghij", 10, 0), 10);
    }
    rig_turn(rig, 0);
    rig_turn(rig, 0);
    for (int i = 0; i < MANY; i++) {
        assert_in_range(rig->slot[slot[i]].reads, 1, 2);
        close(peer[i]);
    }
}

/* Somebody closes a descriptor that is not his: an error, and no spin. */
static void closed_behind_our_back(void **state)
{
    struct rig *rig = rig_of(state);
    int peer;
    unsigned slot = rig_unix(rig, &peer);
    rig_recv(rig, slot);
    rig_turn(rig, 0);
    close(rig_fd(rig, slot)->fd);
    assert_true(rig_ended(rig, slot));
    assert_int_equal(rig->slot[slot].end, -EBADF);
    close(peer);
}

static const struct CMUnitTest cases[] = {
    IO_CASE(the_table_grows_and_shrinks),
    IO_CASE(no_place_is_starved),
    IO_CASE(closed_behind_our_back),
    IO_CASES_END,
};

int main(void)
{
    return io_suite_run("poll", &weir__io_poll, NULL, cases);
}
