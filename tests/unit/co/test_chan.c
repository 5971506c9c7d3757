/* Channels of one loop: order, bounds, closing, deadlines, cancellation; weir_select.
 * ctest: backends */
#include "unit/co/co_support.h"

#include "co/chan.h"

static weir_chan *chan, *other;

static int chan_setup(void **state)
{
    chan = other = NULL;
    return setup(state);
}

static void chans(size_t item_bytes, uint32_t capacity)
{
    assert_int_equal(weir_chan_new(&chan, item_bytes, capacity), 0);
    assert_int_equal(weir_chan_new(&other, item_bytes, capacity), 0);
}

/* Nobody waits any more, whatever has happened: no record of a waiter is left in a queue. */
static void chans_free(void)
{
    for (int verb = 0; verb < 2; verb++) {
        assert_null(chan->waiting[verb].first);
        assert_null(chan->waiting[verb].last);
        assert_null(other->waiting[verb].first);
    }
    assert_int_equal(weir_chan_free(chan), 0);
    assert_int_equal(weir_chan_free(other), 0);
}

/* Sends numbers from `from` on, and closes. */
struct sender {
    uint64_t from, count;
    bool closes;
};

static void sends(void *arg)
{
    const struct sender *sender = arg;
    for (uint64_t i = 0; i < sender->count; i++) {
        uint64_t item = sender->from + i;
        CHECK(weir_chan_send(chan, &item, WEIR_NEVER) == 0);
    }
    if (sender->closes)
        CHECK(weir_chan_close(chan) == 0);
}

static void receives_in_order(void *arg)
{
    uint64_t expected = 0, item = 0, count = *(uint64_t *)arg;
    int result;
    while ((result = weir_chan_recv(chan, &item, WEIR_NEVER)) == 1)
        CHECK(item == expected++);
    CHECK(result == 0 && item == 0); /* closed: nothing, and zeroed */
    CHECK(expected == count);
    CHECK(weir_chan_recv(chan, &item, WEIR_NEVER) == 0);
}

static void items_come_in_order(void **state)
{
    static const uint32_t capacities[] = {0, 1, 3, 1000};
    for (unsigned i = 0; i < 4; i++) {
        struct sender sender = {.count = 100, .closes = true};
        chans(sizeof(uint64_t), capacities[i]);
        start_count = 0;
        go(i % 2 != 0 ? sends : receives_in_order, i % 2 != 0 ? (void *)&sender : &sender.count);
        go(i % 2 != 0 ? receives_in_order : sends, i % 2 != 0 ? &sender.count : (void *)&sender);
        finish();
        chans_free();
    }
}

static void fills(void *arg)
{
    uint64_t item = 7;
    for (int i = 0; i < 3; i++)
        CHECK(weir_chan_send(chan, &item, WEIR_NEVER) == 0);
    CHECK(weir_chan_count(chan) == 3);
    CHECK(weir_chan_send(chan, &item, 0) == WEIR_ETIMEDOUT);
    CHECK(weir_chan_send(chan, &item, soon(2)) == WEIR_ETIMEDOUT);
    CHECK(weir_chan_count(chan) == 3);
    CHECK(weir_chan_recv(chan, NULL, 0) == 1); /* dropped */
    CHECK(weir_chan_count(chan) == 2);
    CHECK(weir_chan_send(chan, &item, 0) == 0);
}

static void a_full_one_makes_its_sender_wait(void **state)
{
    chans(sizeof(uint64_t), 3);
    go(fills, NULL);
    finish();
    chans_free();
}

struct one {
    uint64_t item;
    weir_time deadline;
    int result;
    char name;
};

static void sends_one(void *arg)
{
    struct one *one = arg;
    one->result = weir_chan_send(chan, &one->item, one->deadline);
    note(one->name);
}

static void receives_one(void *arg)
{
    struct one *one = arg;
    one->result = weir_chan_recv(chan, &one->item, one->deadline);
    note(one->name);
}

static void who_waits_longest_is_first(void **state)
{
    struct one waiting[4];
    uint64_t item;
    chans(sizeof(uint64_t), 0);
    for (unsigned i = 0; i < 4; i++) {
        waiting[i] = (struct one){.item = i, .deadline = WEIR_NEVER, .name = (char)('a' + i)};
        go(sends_one, &waiting[i]);
    }
    turn();
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(weir_chan_recv(chan, &item, 0), 1);
        assert_int_equal(item, i);
    }
    finish();
    for (unsigned i = 0; i < 4; i++)
        go(receives_one, &waiting[i]);
    turn();
    for (item = 10; item < 14; item++)
        assert_int_equal(weir_chan_send(chan, &item, 0), 0);
    finish();
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(waiting[i].item, 10 + i);
    assert_string_equal(trace, "abcdabcd");
    chans_free();
}

/* The one in the middle gives up: those behind it keep their places. */
static void who_gives_up_has_sent_nothing(void **state)
{
    struct one waiting[3];
    uint64_t item = 99;
    chans(sizeof(uint64_t), 1);
    assert_int_equal(weir_chan_send(chan, &item, 0), 0);
    for (unsigned i = 0; i < 3; i++) {
        waiting[i] = (struct one){
            .item = i, .deadline = i == 1 ? soon(2) : WEIR_NEVER, .name = (char)('a' + i)};
        go(sends_one, &waiting[i]);
    }
    turn();
    for (int i = 0; i < 100 && trace[0] == 0; i++)
        turn_ms(5);
    assert_int_equal(waiting[1].result, WEIR_ETIMEDOUT);
    assert_int_equal(weir_chan_recv(chan, &item, 0), 1);
    assert_int_equal(item, 99);
    assert_int_equal(weir_chan_recv(chan, &item, 0), 1);
    assert_int_equal(item, 0);
    assert_int_equal(weir_chan_recv(chan, &item, 0), 1);
    assert_int_equal(item, 2);
    assert_int_equal(weir_chan_recv(chan, &item, 0), WEIR_ETIMEDOUT);
    finish();
    assert_string_equal(trace, "bac");
    chans_free();
}

/* --- closing ---------------------------------------------------------------------------------- */

static void closing_ends_those_who_wait(void **state)
{
    struct one waiting[4] = {{.deadline = WEIR_NEVER, .item = 5, .name = 'a'},
                             {.deadline = WEIR_NEVER, .item = 6, .name = 'b'}};
    uint64_t item = 1;
    chans(sizeof(uint64_t), 0);
    go(receives_one, &waiting[0]);
    go(receives_one, &waiting[1]);
    turn();
    assert_int_equal(weir_chan_close(chan), 0);
    finish();
    assert_int_equal(waiting[0].result, 0);
    assert_int_equal(waiting[0].item, 0);
    assert_int_equal(waiting[1].result, 0);
    chans_free();

    chans(sizeof(uint64_t), 1);
    assert_int_equal(weir_chan_send(chan, &item, 0), 0);
    go(sends_one, &waiting[0]);
    turn();
    assert_int_equal(weir_chan_close(chan), 0);
    assert_int_equal(weir_chan_close(chan), WEIR_EMISUSE);
    finish();
    assert_int_equal(waiting[0].result, -EPIPE);
    assert_int_equal(weir_chan_send(chan, &item, 0), -EPIPE);
    assert_int_equal(weir_chan_recv(chan, &item, 0), 1); /* what is left comes first */
    assert_int_equal(item, 1);
    assert_int_equal(weir_chan_recv(chan, &item, 0), 0);
    assert_int_equal(item, 0);
    chans_free();
}

/* --- cancellation ----------------------------------------------------------------------------- */

static int receives_in_scope(void *arg)
{
    receives_one(arg);
    return ((struct one *)arg)->result;
}

/* What was given in the same turn in which the receiver is canceled has arrived. */
static void gives_and_cancels(void *arg)
{
    struct one one = {.deadline = WEIR_NEVER, .name = 'r'};
    uint64_t item = 5;
    weir_scope scope;
    for (int gives_first = 0; gives_first < 2; gives_first++) {
        CHECK(weir_scope_open(&scope, NULL) == 0);
        CHECK(weir_scope_spawn(&scope, receives_in_scope, &one) == 0);
        CHECK(weir_yield() == 0);
        if (gives_first)
            CHECK(weir_chan_send(chan, &item, 0) == 0);
        CHECK(weir_scope_cancel(&scope) == 0);
        if (!gives_first)
            CHECK(weir_chan_send(chan, &item, 0) == 0); /* it waits until it hears of it */
        CHECK(weir_scope_leave(&scope, WEIR_NEVER) == WEIR_ECANCELED);
        CHECK(one.result == 1 && one.item == 5);
        one.item = 0;
    }
    CHECK(weir_scope_open(&scope, NULL) == 0);
    CHECK(weir_scope_spawn(&scope, receives_in_scope, &one) == 0);
    CHECK(weir_yield() == 0);
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
    CHECK(one.result == WEIR_ECANCELED);
    CHECK(weir_chan_send(chan, &item, 0) == WEIR_ETIMEDOUT); /* nobody waits there */
}

static void nothing_is_lost_to_a_cancellation(void **state)
{
    chans(sizeof(uint64_t), 0);
    go(gives_and_cancels, NULL);
    finish();
    chans_free();
}

/* --- misuse ----------------------------------------------------------------------------------- */

static void misuse(void **state)
{
    struct one one = {.deadline = WEIR_NEVER};
    uint64_t item = 1;
    weir_loop *second;
    chans(sizeof(uint64_t), 0);
    assert_int_equal(weir_chan_recv(NULL, &item, 0), WEIR_EINVALID);
    assert_int_equal(weir_chan_send(chan, NULL, 0), WEIR_EINVALID);
    assert_int_equal(weir_chan_close(NULL), WEIR_EINVALID);
    assert_int_equal(weir_chan_free(NULL), 0);
    assert_int_equal(weir_chan_recv(chan, &item, WEIR_NEVER), WEIR_EMISUSE); /* no coroutine */
    assert_int_equal(weir_chan_recv(chan, &item, 0), WEIR_ETIMEDOUT);
    go(receives_one, &one);
    turn();
    assert_int_equal(weir_chan_free(chan), WEIR_EMISUSE);
    assert_int_equal(weir_chan_send(chan, &item, 0), 0);
    assert_int_equal(weir_chan_free(chan), WEIR_EMISUSE); /* it has not gone on yet */
    finish();
    assert_int_equal(weir_loop_new(&second, NULL), 0);
    loop_enter(second);
    assert_int_equal(weir_chan_send(chan, &item, 0), WEIR_EMISUSE);
    assert_int_equal(weir_chan_close(chan), WEIR_EMISUSE);
    loop_enter(NULL);
    assert_int_equal(weir_chan_recv(chan, &item, 0), WEIR_EMISUSE);
    weir_loop_free(second);
    loop_enter(loop);
    chans_free();
    assert_int_equal(weir_chan_new(&chan, 65537, 1), WEIR_EINVALID);
    assert_null(chan);
    assert_int_equal(weir_chan_new(&chan, 65536, 16385), WEIR_EINVALID);
    assert_int_equal(weir_chan_new(&chan, 0, UINT32_MAX), WEIR_EINVALID);
    assert_int_equal(weir_chan_new(NULL, 1, 1), WEIR_EINVALID);
}

static void items_of_all_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 7, 8, 9, 4096};
    uint8_t item[4096], got[4096];
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        chans(sizes[i], 2);
        for (int round = 0; round < 5; round++) {
            memset(item, 'a' + round, sizeof item);
            memset(got, '-', sizeof got);
            assert_int_equal(weir_chan_send(chan, sizes[i] != 0 ? item : NULL, 0), 0);
            assert_int_equal(weir_chan_recv(chan, got, 0), 1);
            assert_memory_equal(got, item, sizes[i]);
            assert_true(sizes[i] == sizeof got || got[sizes[i]] == '-'); /* and no byte more */
        }
        chans_free();
    }
}

/* --- select ----------------------------------------------------------------------------------- */

static void selects(void *arg)
{
    uint64_t in = 0, out = 3;
    weir_case cases[] = {{.chan = chan, .verb = WEIR_CHAN_RECV, .item = &in},
                         {.chan = other, .verb = WEIR_CHAN_SEND, .item = &out},
                         {.chan = NULL, .verb = WEIR_CHAN_SEND}};
    CHECK(weir_select(cases, 3, 0) == 1); /* there is room */
    CHECK(cases[1].result == 0);
    CHECK(weir_select(cases, 3, 0) == WEIR_ETIMEDOUT);
    CHECK(weir_select(cases, 3, soon(2)) == WEIR_ETIMEDOUT);
    CHECK(weir_chan_send(chan, &out, 0) == 0);
    CHECK(weir_select(cases, 3, WEIR_NEVER) == 0);
    CHECK(cases[0].result == 1 && in == 3);
    note('w');
    CHECK(weir_select(cases, 3, WEIR_NEVER) == 0); /* from outside */
    CHECK(cases[0].result == 1 && in == 4);
    CHECK(weir_select(cases, 3, WEIR_NEVER) == 1);
    CHECK(cases[1].result == 0);
    CHECK(weir_select(cases, 3, WEIR_NEVER) == 0); /* closed */
    CHECK(cases[0].result == 0 && in == 0);
    note('e');
    CHECK(weir_select(&cases[2], 1, soon(2)) == WEIR_ETIMEDOUT);
    CHECK(weir_select(NULL, 0, soon(2)) == WEIR_ETIMEDOUT);
    cases[2].verb = 7;
    CHECK(weir_select(cases, 3, 0) == WEIR_EINVALID);
    CHECK(weir_select(cases, 65, 0) == WEIR_EINVALID);
    CHECK(weir_select(NULL, 1, 0) == WEIR_EINVALID);
}

static void one_of_several(void **state)
{
    uint64_t item = 4;
    chans(sizeof(uint64_t), 1);
    go(selects, NULL);
    for (int i = 0; i < 100 && trace[0] == 0; i++)
        turn_ms(5);
    turn();
    assert_int_equal(weir_chan_send(chan, &item, 0), 0);
    assert_null(chan->waiting[WEIR_CHAN_RECV].first); /* it has been taken there */
    turn();
    assert_int_equal(weir_chan_recv(other, &item, 0), 1);
    assert_int_equal(item, 3);
    turn();
    assert_int_equal(weir_chan_close(chan), 0);
    finish();
    assert_string_equal(trace, "we");
    assert_int_equal(weir_chan_recv(other, &item, 0), 1);
    chans_free();
}

static void selects_once(void *arg)
{
    uint64_t in = 0;
    weir_case cases[] = {{.chan = chan, .verb = WEIR_CHAN_RECV, .item = &in},
                         {.chan = other, .verb = WEIR_CHAN_RECV, .item = &in}};
    int chosen = weir_select(cases, 2, WEIR_NEVER);
    CHECK(chosen >= 0 && cases[chosen].result == 1);
    CHECK(in == (uint64_t)chosen + 1);
    note(chosen == 0 ? '0' : '1');
}

/* Both become ready in the same turn: one is taken, and the other's item goes to the next. */
static void only_one_is_done(void **state)
{
    uint64_t one = 1, two = 2;
    chans(sizeof(uint64_t), 1);
    go(selects_once, NULL);
    go(selects_once, NULL);
    turn();
    assert_int_equal(weir_chan_send(chan, &one, 0), 0);  /* to the first */
    assert_int_equal(weir_chan_send(other, &two, 0), 0); /* the first is taken: to the second */
    assert_int_equal(weir_chan_send(other, &two, 0), 0); /* nobody: it stays */
    assert_int_equal(weir_chan_count(other), 1);
    finish();
    assert_string_equal(trace, "01");
    assert_int_equal(weir_chan_count(other), 1);
    assert_int_equal(weir_chan_count(chan), 0);
    chans_free();
}

static void draws(void *arg)
{
    uint64_t in = 0, item = 1;
    int counts[2] = {0};
    weir_case cases[] = {{.chan = chan, .verb = WEIR_CHAN_RECV, .item = &in},
                         {.chan = other, .verb = WEIR_CHAN_RECV, .item = &in}};
    for (int i = 0; i < 1000; i++) {
        CHECK(weir_chan_send(chan, &item, 0) >= WEIR_ETIMEDOUT); /* both are full */
        CHECK(weir_chan_send(other, &item, 0) >= WEIR_ETIMEDOUT);
        int chosen = weir_select(cases, 2, WEIR_NEVER);
        CHECK(chosen >= 0);
        counts[chosen == 1]++;
    }
    CHECK(counts[0] > 400 && counts[1] > 400);
    CHECK(weir_chan_recv(chan, NULL, 0) + weir_chan_recv(other, NULL, 0) != 2);
}

static void none_is_served_for_ever_before_the_others(void **state)
{
    chans(sizeof(uint64_t), 1);
    go(draws, NULL);
    finish();
    chans_free();
}

static int selects_in_scope(void *arg)
{
    weir_case cases[] = {{.chan = chan, .verb = WEIR_CHAN_RECV},
                         {.chan = other, .verb = WEIR_CHAN_RECV},
                         {.chan = chan, .verb = WEIR_CHAN_RECV}}; /* twice is allowed */
    int result = weir_select(cases, 3, WEIR_NEVER);
    CHECK(result == WEIR_ECANCELED);
    return result;
}

static void cancels_selects(void *arg)
{
    weir_scope scope;
    CHECK(weir_scope_open(&scope, NULL) == 0);
    for (int i = 0; i < 10; i++)
        CHECK(weir_scope_spawn(&scope, selects_in_scope, NULL) == 0);
    CHECK(weir_yield() == 0);
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
}

static void a_select_is_canceled(void **state)
{
    chans(sizeof(uint64_t), 0);
    go(cancels_selects, NULL);
    finish();
    chans_free();
}

/* --- the end of the loop ---------------------------------------------------------------------- */

static void the_end_of_the_loop(void **state)
{
    struct one waiting[2] = {{.deadline = WEIR_NEVER}, {.deadline = WEIR_NEVER}};
    chans(sizeof(uint64_t), 0);
    go(receives_one, &waiting[0]);
    go(receives_one, &waiting[1]);
    turn();
    loop_enter(former);
    weir_loop_free(loop);
    loop = NULL;
    assert_int_equal(waiting[0].result, WEIR_ECANCELED);
    assert_int_equal(waiting[1].result, WEIR_ECANCELED);
    chans_free();
}

#undef CASE
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, chan_setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(items_come_in_order),
        CASE(a_full_one_makes_its_sender_wait),
        CASE(who_waits_longest_is_first),
        CASE(who_gives_up_has_sent_nothing),
        CASE(closing_ends_those_who_wait),
        CASE(nothing_is_lost_to_a_cancellation),
        CASE(misuse),
        CASE(items_of_all_sizes),
        CASE(one_of_several),
        CASE(only_one_is_done),
        CASE(none_is_served_for_ever_before_the_others),
        CASE(a_select_is_canceled),
        CASE(the_end_of_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
