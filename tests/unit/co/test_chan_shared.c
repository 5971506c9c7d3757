/* Channels between loops: nothing is lost and nothing comes twice, whoever waits where, gives up or
 * is woken by whom.
 * ctest: timeout=120 backends */
#include "unit/co/co_support.h"

#include <pthread.h>

#include "base/alloc.h"
#include "co/chan.h"

enum { MEMBERS_MAX = 8 };

static weir_chan *chan, *results;

/* A thread with a loop of its own, which ends when its coroutine does. */
struct member {
    pthread_t thread;
    weir_co_fn *fn;
    void *arg;
    int failed;
};

static void member_main(void *arg)
{
    struct member *member = arg;
    member->fn(member->arg);
    weir_loop_stop(weir_loop_current());
}

static void *member_thread(void *arg)
{
    struct member *member = arg;
    const char *backend = getenv("WEIR_BACKEND");
    weir_loop_options options = {.backend = backend != NULL ? backend : "epoll"};
    weir_loop *own;
    member->failed = weir_loop_new(&own, &options);
    if (member->failed < 0)
        return NULL;
    weir_loop *none = weir_loop_enter(own);
    member->failed = weir_spawn(member_main, member);
    weir_loop_enter(none);
    if (member->failed == 0)
        member->failed = weir_loop_run(own);
    weir_loop_free(own);
    return NULL;
}

static void members_run(struct member *members, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_create(&members[i].thread, NULL, member_thread, &members[i]), 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_join(members[i].thread, NULL), 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(members[i].failed, 0);
}

static void channel_free(weir_chan **which)
{
    assert_null((*which)->waiting[0].first);
    assert_null((*which)->waiting[1].first);
    assert_int_equal(weir_chan_free(*which), 0);
    *which = NULL;
}

/* --- from loops to loops ---------------------------------------------------------------------- */

/* What a member sends or receives: each number once, whose sum and number are known. */
struct tally {
    uint64_t from, count, sum;
    unsigned wait_us; /* gives up after this, and comes again; 0: never */
    unsigned gave_up;
    int last;
};

static weir_time patience(const struct tally *tally)
{
    return tally->wait_us != 0 ? weir_after(tally->wait_us * WEIR_US) : WEIR_NEVER;
}

static void sends(void *arg)
{
    struct tally *tally = arg;
    for (uint64_t i = 0; i < tally->count;) {
        uint64_t item = tally->from + i;
        tally->last = weir_chan_send(chan, &item, patience(tally));
        if (tally->last == WEIR_ETIMEDOUT) {
            tally->gave_up++;
            continue;
        }
        if (tally->last < 0)
            return;
        tally->sum += item;
        i++;
    }
}

static void receives(void *arg)
{
    struct tally *tally = arg;
    uint64_t item;
    for (;;) {
        tally->last = weir_chan_recv(chan, &item, patience(tally));
        if (tally->last == WEIR_ETIMEDOUT) {
            tally->gave_up++;
            continue;
        }
        if (tally->last != 1)
            return;
        tally->sum += item;
        tally->count++;
    }
}

/* The last of the senders closes. */
static _Atomic int senders_left;

static void sends_and_closes(void *arg)
{
    sends(arg);
    if (atomic_fetch_sub(&senders_left, 1) == 1)
        (void)weir_chan_close(chan);
}

static void exchange(uint32_t capacity, unsigned wait_us, uint64_t count)
{
    struct member members[4] = {{0}};
    struct tally tallies[4] = {{0}};
    assert_int_equal(weir_chan_new_shared(&chan, sizeof(uint64_t), capacity), 0);
    senders_left = 2;
    for (unsigned i = 0; i < 4; i++) {
        tallies[i].wait_us = wait_us;
        members[i].fn = i < 2 ? sends_and_closes : receives;
        members[i].arg = &tallies[i];
    }
    for (unsigned i = 0; i < 2; i++) {
        tallies[i].from = 1 + i * count;
        tallies[i].count = count;
    }
    members_run(members, 4);
    assert_int_equal(tallies[0].last, 0);
    assert_int_equal(tallies[1].last, 0);
    assert_int_equal(tallies[2].last, 0); /* closed */
    assert_int_equal(tallies[3].last, 0);
    assert_int_equal(tallies[2].count + tallies[3].count, 2 * count);
    assert_int_equal(tallies[2].sum + tallies[3].sum, tallies[0].sum + tallies[1].sum);
    assert_int_equal(tallies[2].sum + tallies[3].sum, count * (2 * count + 1));
    channel_free(&chan);
}

static void nothing_is_lost_between_loops(void **state)
{
    exchange(0, 0, 2000);
    exchange(1, 0, 2000);
    exchange(64, 0, 20000);
}

static void nor_by_those_who_give_up(void **state)
{
    exchange(0, 1000, 2000);
    exchange(1, 1000, 2000);
}

/* --- selecting across loops ------------------------------------------------------------------- */

static void answers(void *arg)
{
    uint64_t item;
    while (weir_chan_recv(chan, &item, WEIR_NEVER) == 1)
        if (weir_chan_send(results, &item, WEIR_NEVER) < 0)
            return;
}

/* Sends questions and takes answers as they come, with never more than four on their way; and has a
 * channel of its own loop among the cases. */
static void asks(void *arg)
{
    struct tally *tally = arg;
    uint64_t next = 0, answer = 0, own = 0;
    weir_chan *local;
    if (weir_chan_new(&local, sizeof(uint64_t), 1) < 0)
        return;
    while (tally->count < tally->from) {
        bool may = next < tally->from && next - tally->count < 4;
        weir_case cases[] = {{.chan = may ? chan : NULL, .verb = WEIR_CHAN_SEND, .item = &next},
                             {.chan = results, .verb = WEIR_CHAN_RECV, .item = &answer},
                             {.chan = local, .verb = WEIR_CHAN_RECV, .item = &own}};
        int chosen = weir_select(cases, 3, WEIR_NEVER);
        if (chosen == 0 && cases[0].result == 0) {
            next++;
        } else if (chosen == 1 && cases[1].result == 1) {
            tally->sum += answer;
            tally->count++;
            if (tally->count % 16 == 0 && weir_chan_send(local, &next, 0) == -EPIPE)
                break;
        } else if (chosen != 2 || cases[2].result != 1) {
            break;
        }
    }
    tally->last = weir_chan_free(local);
    (void)weir_chan_close(chan);
}

static void a_select_may_wait_for_both_kinds(void **state)
{
    enum { COUNT = 3000 };
    struct tally tally = {.from = COUNT, .last = -1};
    struct member members[3] = {{.fn = asks, .arg = &tally}, {.fn = answers}, {.fn = answers}};
    assert_int_equal(weir_chan_new_shared(&chan, sizeof(uint64_t), 0), 0);
    assert_int_equal(weir_chan_new_shared(&results, sizeof(uint64_t), 2), 0);
    members_run(members, 3);
    assert_int_equal(tally.last, 0);
    assert_int_equal(tally.count, COUNT);
    assert_int_equal(tally.sum, (uint64_t)COUNT * (COUNT - 1) / 2);
    channel_free(&chan);
    channel_free(&results);
}

/* --- threads without a loop, one loop, ends --------------------------------------------------- */

static void *thread_sends(void *arg)
{
    struct tally *tally = arg;
    uint64_t item = 1;
    if (weir_chan_send(chan, &item, WEIR_NEVER) != WEIR_EMISUSE) /* there is nobody to wait */
        return NULL;
    while (item <= tally->from) {
        tally->last = weir_chan_send(chan, &item, 0);
        if (tally->last == 0)
            tally->sum += item++;
        else if (tally->last != WEIR_ETIMEDOUT)
            return NULL;
    }
    (void)weir_chan_close(chan);
    return arg;
}

static void a_thread_without_a_loop_sends(void **state)
{
    struct tally sent = {.from = 5000}, received = {0};
    pthread_t thread;
    void *ended;
    assert_int_equal(weir_chan_new_shared(&chan, sizeof(uint64_t), 4), 0);
    go(receives, &received);
    assert_int_equal(pthread_create(&thread, NULL, thread_sends, &sent), 0);
    finish();
    assert_int_equal(pthread_join(thread, &ended), 0);
    assert_ptr_equal(ended, &sent);
    assert_int_equal(received.count, 5000);
    assert_int_equal(received.sum, sent.sum);
    channel_free(&chan);
}

/* Within one loop a shared channel does what others do, without any message. */
static void one_loop_alone(void **state)
{
    struct tally sent = {.from = 1, .count = 100}, received = {0};
    senders_left = 1;
    assert_int_equal(weir_chan_new_shared(&chan, sizeof(uint64_t), 0), 0);
    go(receives, &received);
    go(sends_and_closes, &sent);
    finish();
    assert_int_equal(received.count, 100);
    assert_int_equal(received.sum, sent.sum);
    assert_int_equal(loop->counters.posts, 0);
    assert_int_equal(loop->memory.used_bytes, 0); /* no memory for messages is left */
    channel_free(&chan);
}

static void *thread_sends_one(void *arg)
{
    uint64_t item = 77;
    *(int *)arg = weir_chan_send(chan, &item, 0);
    return NULL;
}

static int receives_one(void *arg)
{
    struct tally *tally = arg;
    uint64_t item = 0;
    tally->last = weir_chan_recv(chan, &item, WEIR_NEVER);
    tally->sum = item;
    return 0;
}

static void receives_and_is_canceled(void *arg)
{
    weir_scope scope;
    pthread_t thread;
    int sent = -1;
    CHECK(weir_scope_open(&scope, NULL) == 0);
    CHECK(weir_scope_spawn(&scope, receives_one, arg) == 0);
    CHECK(weir_yield() == 0);
    CHECK(pthread_create(&thread, NULL, thread_sends_one, &sent) == 0);
    CHECK(pthread_join(thread, NULL) == 0); /* the message is on its way */
    CHECK(sent == 0);
    CHECK(weir_scope_close(&scope) == WEIR_ECANCELED);
}

/* What was handed over has arrived, though the message of it is late; and that finds nobody. */
static void a_cancellation_overtakes_the_message(void **state)
{
    struct tally tally = {.last = -1};
    assert_int_equal(weir_chan_new_shared(&chan, sizeof(uint64_t), 0), 0);
    go(receives_and_is_canceled, &tally);
    finish();
    turn();
    assert_int_equal(tally.last, 1);
    assert_int_equal(tally.sum, 77);
    assert_int_equal(loop->counters.posts, 1);
    assert_int_equal(loop->memory.used_bytes, 0);
    channel_free(&chan);
}

/* The loop ends while a message for one of its coroutines is on its way. */
static void the_end_of_the_loop_finds_the_message(void **state)
{
    struct tally tally = {.last = -1};
    pthread_t thread;
    int sent = -1;
    assert_int_equal(weir_chan_new_shared(&chan, sizeof(uint64_t), 0), 0);
    go(receives, &tally);
    turn();
    assert_int_equal(pthread_create(&thread, NULL, thread_sends_one, &sent), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(sent, 0);
    loop_enter(former);
    weir_loop_free(loop);
    loop = NULL;
    assert_int_equal(tally.sum, 77);
    assert_int_equal(tally.last, WEIR_ECANCELED); /* the next one */
    channel_free(&chan);
}

static void lacks_memory(void *arg)
{
    uint64_t item;
    weir_case cases[] = {{.chan = chan, .verb = WEIR_CHAN_RECV, .item = &item}};
    for (int i = 0; i < 2; i++) {
        weir__alloc_fail_at(1);
        int result =
            i == 0 ? weir_chan_recv(chan, &item, WEIR_NEVER) : weir_select(cases, 1, WEIR_NEVER);
        CHECK(result == WEIR_ENOMEM);
        CHECK(weir__alloc_fail_at(0) == 0);
    }
    CHECK(weir_chan_recv(chan, &item, soon(1)) == WEIR_ETIMEDOUT);
}

static void without_memory_nobody_waits(void **state)
{
    assert_int_equal(weir_chan_new_shared(&chan, sizeof(uint64_t), 0), 0);
    go(lacks_memory, NULL);
    finish();
    assert_int_equal(loop->memory.used_bytes, 0);
    channel_free(&chan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nothing_is_lost_between_loops),
        CASE(nor_by_those_who_give_up),
        CASE(a_select_may_wait_for_both_kinds),
        CASE(a_thread_without_a_loop_sends),
        CASE(one_loop_alone),
        CASE(a_cancellation_overtakes_the_message),
        CASE(the_end_of_the_loop_finds_the_message),
        CASE(without_memory_nobody_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
