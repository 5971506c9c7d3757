/* Scopes, channels and locks by lot: workers that send, receive, select, lock and open scopes in
 * any order, with deadlines that pass and cancellations at any moment. Whatever happens, each item
 * that was sent arrives once, nobody is within a lock with another, permits come back, and all
 * ends. ctest: timeout=120 backends */
#include "unit/co/co_support.h"

#include "base/random.h"
#include "co/chan.h"
#include "co/loop_co.h"

enum { RUNS = 40, WORKERS = 8, STEPS = 40, ITEMS_MAX = 1 << 16, PERMITS = 3 };

static struct {
    weir_chan *chans[2];
    weir_mutex mutex;
    weir_rwlock rwlock;
    weir_semaphore semaphore;
    struct random random;
    uint32_t sent;                /* items that were offered: their numbers are below this */
    uint8_t states[ITEMS_MAX];    /* how often each was sent, and 16 for each time it arrived */
    int inside, readers, writers; /* who holds what */
    int taken;                    /* permits */
    int bodies;                   /* coroutines within their function */
} it;

struct worker {
    int depth, steps;
};

static uint32_t lot(uint32_t bound)
{
    return (uint32_t)random_below(&it.random, bound);
}

/* Not at all, a moment, or a little more: nobody may wait for ever, for nobody may be left. */
static weir_time deadline_drawn(void)
{
    uint32_t drawn = lot(4);
    return drawn == 0 ? 0 : soon(drawn);
}

/* Whether a wait has ended as one may; false: the worker is to end. */
static bool goes_on(int result)
{
    CHECK(result >= 0 || result == WEIR_ETIMEDOUT || result == WEIR_ECANCELED);
    return result != WEIR_ECANCELED;
}

static void arrived(uint64_t item)
{
    CHECK(item < it.sent);
    if (item < it.sent)
        it.states[item] = (uint8_t)(it.states[item] + 16);
}

static uint64_t item_new(void)
{
    CHECK(it.sent < ITEMS_MAX);
    return it.sent++ % ITEMS_MAX;
}

static bool step_send(void)
{
    uint64_t item = item_new();
    int result = weir_chan_send(it.chans[lot(2)], &item, deadline_drawn());
    it.states[item] = (uint8_t)(it.states[item] + (result == 0));
    return goes_on(result);
}

static bool step_receive(void)
{
    uint64_t item = ITEMS_MAX;
    int result = weir_chan_recv(it.chans[lot(2)], &item, deadline_drawn());
    CHECK(result != 0); /* nobody closes it */
    if (result == 1)
        arrived(item);
    return goes_on(result);
}

static bool step_select(void)
{
    uint64_t out[2] = {item_new(), item_new()}, in[2] = {ITEMS_MAX, ITEMS_MAX};
    weir_case cases[] = {
        {.chan = it.chans[0], .verb = WEIR_CHAN_SEND, .item = &out[0]},
        {.chan = it.chans[0], .verb = WEIR_CHAN_RECV, .item = &in[0]},
        {.chan = lot(2) != 0 ? it.chans[1] : NULL, .verb = WEIR_CHAN_RECV, .item = &in[1]},
        {.chan = it.chans[1], .verb = WEIR_CHAN_SEND, .item = &out[1]},
    };
    uint32_t first = lot(3);
    int chosen = weir_select(&cases[first], 1 + lot(4 - first), deadline_drawn());
    if (chosen < 0)
        return goes_on(chosen);
    chosen += (int)first;
    if (cases[chosen].verb == WEIR_CHAN_SEND) {
        uint64_t item = *(uint64_t *)cases[chosen].item;
        CHECK(cases[chosen].result == 0);
        it.states[item] = (uint8_t)(it.states[item] + 1);
    } else {
        CHECK(cases[chosen].result == 1);
        arrived(*(uint64_t *)cases[chosen].item);
    }
    return true;
}

static bool step_lock(void)
{
    int result = weir_mutex_lock(&it.mutex, deadline_drawn());
    if (result < 0)
        return goes_on(result);
    CHECK(++it.inside == 1);
    result = lot(2) != 0 ? weir_yield() : weir_sleep(soon(1));
    CHECK(--it.inside == 0);
    CHECK(weir_mutex_unlock(&it.mutex) == 0);
    return goes_on(result);
}

static bool step_rwlock(void)
{
    bool writes = lot(3) == 0;
    weir_time deadline = deadline_drawn();
    int result =
        writes ? weir_rwlock_write(&it.rwlock, deadline) : weir_rwlock_read(&it.rwlock, deadline);
    if (result < 0)
        return goes_on(result);
    *(writes ? &it.writers : &it.readers) += 1;
    CHECK(it.writers == 0 || (it.writers == 1 && it.readers == 0));
    result = weir_yield();
    *(writes ? &it.writers : &it.readers) -= 1;
    CHECK(weir_rwlock_unlock(&it.rwlock) == 0);
    return goes_on(result);
}

static bool step_semaphore(void)
{
    uint32_t count = 1 + lot(PERMITS);
    int result = weir_semaphore_take(&it.semaphore, count, deadline_drawn());
    if (result < 0)
        return goes_on(result);
    it.taken += (int)count;
    CHECK(it.taken <= PERMITS);
    result = weir_yield();
    it.taken -= (int)count;
    CHECK(weir_semaphore_give(&it.semaphore, count) == 0);
    return goes_on(result);
}

static int works(void *arg);

static bool step_scope(int depth)
{
    struct worker workers[2] = {{.depth = depth - 1, .steps = 6}, {.depth = depth - 1, .steps = 6}};
    weir_scope_options options = {.grace_ms = 1 + lot(3)};
    weir_scope scope;
    int result;
    if (depth == 0)
        return true;
    CHECK(weir_scope_open(&scope, &options) == 0);
    for (int i = 0; i < 2; i++) {
        result = weir_scope_spawn(&scope, works, &workers[i]);
        CHECK(result == 0 || result == WEIR_ECANCELED);
        if (result < 0)
            workers[i].steps = 0;
    }
    if (lot(2) != 0)
        (void)weir_yield();
    result = lot(3) == 0 ? weir_scope_close(&scope) : weir_scope_leave(&scope, deadline_drawn());
    CHECK(result == 0 || result == -EIO || result == WEIR_ETIMEDOUT || result == WEIR_ECANCELED);
    CHECK(workers[0].steps <= 0 && workers[1].steps <= 0); /* they have ended */
    return goes_on(weir_yield());
}

static bool step_grace(void)
{
    int began = weir_grace_begin();
    int result = weir_sleep(soon(lot(3)));
    CHECK(began == 0 || result == WEIR_ECANCELED);
    CHECK(weir_grace_end() == 0);
    return goes_on(weir_yield());
}

static int works(void *arg)
{
    struct worker *worker = arg;
    bool on = true;
    it.bodies++;
    while (on && worker->steps-- > 0) {
        switch (lot(10)) {
        case 0:
        case 1:
            on = step_send();
            break;
        case 2:
        case 3:
            on = step_receive();
            break;
        case 4:
        case 5:
            on = step_select();
            break;
        case 6:
            on = step_lock();
            break;
        case 7:
            on = lot(2) != 0 ? step_rwlock() : step_semaphore();
            break;
        case 8:
            on = step_scope(worker->depth);
            break;
        default:
            on = step_grace();
        }
    }
    worker->steps = 0;
    it.bodies--;
    return on ? (lot(20) == 0 ? -EIO : 0) : WEIR_ECANCELED;
}

/* In no scope: its failure is nobody's. */
static void works_outermost(void *arg)
{
    (void)works(arg);
}

/* What was sent and did not arrive is in the channels still, and nowhere else. */
static void look(void)
{
    uint64_t item;
    for (int i = 0; i < 2; i++) {
        while (weir_chan_recv(it.chans[i], &item, 0) == 1)
            arrived(item);
        assert_null(it.chans[i]->waiting[0].first);
        assert_null(it.chans[i]->waiting[1].first);
        assert_int_equal(weir_chan_free(it.chans[i]), 0);
    }
    for (uint32_t i = 0; i < it.sent; i++)
        assert_true(it.states[i] == 0 || it.states[i] == 17);
    assert_int_equal(it.bodies, 0);
    assert_int_equal(it.inside + it.readers + it.writers + it.taken, 0);
    assert_int_equal(weir_semaphore_give(&it.semaphore, UINT32_MAX - PERMITS), 0);
    assert_int_equal(weir_semaphore_give(&it.semaphore, 1), WEIR_EFULL);
    assert_null(((struct mutex *)&it.mutex)->holder);
    assert_null(co_next(loop->coroutines, NULL));
}

static void whatever_is_drawn(void **state)
{
    static struct worker workers[WORKERS];
    for (uint32_t run = 1; run <= RUNS; run++) {
        memset(&it, 0, sizeof it);
        random_seed(&it.random, run);
        start_count = 0;
        for (int i = 0; i < 2; i++)
            assert_int_equal(weir_chan_new(&it.chans[i], sizeof(uint64_t), lot(3)), 0);
        assert_int_equal(weir_semaphore_give(&it.semaphore, PERMITS), 0);
        for (unsigned i = 0; i < WORKERS; i++) {
            workers[i] = (struct worker){.depth = 2, .steps = STEPS};
            go(works_outermost, &workers[i]);
        }
        finish();
        look();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(whatever_is_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
