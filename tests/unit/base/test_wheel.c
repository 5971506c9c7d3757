#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/wheel.h"

#define DAY_MS 86400000u

static struct wheel wheel;

static unsigned expire_all(void)
{
    unsigned count = 0;
    while (wheel_expire(&wheel) != NULL)
        count++;
    return count;
}

static void fires_when_due_and_not_before(void **state)
{
    /* Around every boundary between levels, from several places on the circle. */
    static const uint32_t starts[] = {0,          1,          63,         64,         4095,
                                      262143,     0x3fffffff, 0x7fffffff, 0x80000000, 0xbfffffff,
                                      0xc0000000, 0xffffffff, 0xfffffff0};
    for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
        for (int bit = 0; bit < 31; bit++) {
            for (int delta = -1; delta <= 1; delta++) {
                uint32_t ahead = (1u << bit) + (uint32_t)delta;
                if (ahead == 0)
                    continue;
                struct wheel_node node = {0};
                wheel_init(&wheel, starts[s]);
                wheel_start(&wheel, &node, starts[s] + ahead);
                assert_true(wheel_started(&node));
                assert_false(wheel_advance(&wheel, starts[s] + ahead - 1, 100));
                assert_null(wheel_expire(&wheel));
                assert_int_equal(wheel_wait_ms(&wheel), 1);
                assert_false(wheel_advance(&wheel, starts[s] + ahead, 100));
                assert_ptr_equal(wheel_expire(&wheel), &node);
                assert_false(wheel_started(&node));
                assert_int_equal(wheel.count, 0);
                assert_int_equal(wheel_wait_ms(&wheel), UINT32_MAX);
            }
        }
    }
}

static void the_longest_time_out_survives_a_lagging_wheel(void **state)
{
    struct wheel_node node = {0};
    wheel_init(&wheel, 5);
    uint32_t really_now = 5 + 10 * DAY_MS; /* the wheel was not advanced for ten days */
    wheel_start(&wheel, &node, really_now + INT32_MAX);
    wheel_advance(&wheel, really_now, 100);
    assert_null(wheel_expire(&wheel));
    wheel_advance(&wheel, really_now + INT32_MAX - 1, 100);
    assert_null(wheel_expire(&wheel));
    wheel_advance(&wheel, really_now + INT32_MAX, 100);
    assert_ptr_equal(wheel_expire(&wheel), &node);
}

static void the_past_fires_at_the_next_advance(void **state)
{
    struct wheel_node now = {0}, past = {0}, long_past = {0};
    wheel_init(&wheel, 1000);
    wheel_start(&wheel, &now, 1000);
    wheel_start(&wheel, &past, 999);
    wheel_start(&wheel, &long_past, 1000 - 12 * DAY_MS);
    assert_null(wheel_expire(&wheel));
    assert_int_equal(wheel_wait_ms(&wheel), 0);
    assert_false(wheel_advance(&wheel, 1000, 100));
    assert_int_equal(expire_all(), 3);
}

static void an_older_time_leaves_the_wheel_where_it_is(void **state)
{
    struct wheel_node node = {0};
    wheel_init(&wheel, 1000);
    wheel_start(&wheel, &node, 1001);
    assert_false(wheel_advance(&wheel, 999, 100));
    assert_int_equal(wheel.now_ms, 1000);
    assert_null(wheel_expire(&wheel));
}

static void waits_at_most_once_a_level(void **state)
{
    struct wheel_node node = {0};
    wheel_init(&wheel, 12345);
    wheel_start(&wheel, &node, 12345 + 20 * DAY_MS);
    unsigned wakes = 0;
    uint32_t now = 12345;
    while (wheel_started(&node)) {
        uint32_t wait = wheel_wait_ms(&wheel);
        assert_true(wait > 0 && wait <= 20 * DAY_MS);
        now += wait;
        wakes++;
        wheel_advance(&wheel, now, 100);
        wheel_expire(&wheel);
    }
    assert_int_equal(now, 12345 + 20 * DAY_MS);
    assert_in_range(wakes, 1, WHEEL_LEVELS);
}

/* Cancels each node in turn in each state that it can be in, and sees that just the rest fires. */
static void cancel_in_any_state(void **state)
{
    enum { N = 9 };
    static const uint32_t dues[N] = {5, 5, 5, 70, 70, 4100, 4100, 300000, 0x40000005};
    for (int stage = 0; stage < 3; stage++) {
        for (int victim = 0; victim < N; victim++) {
            struct wheel_node node[N] = {0};
            wheel_init(&wheel, 0);
            for (int i = 0; i < N; i++)
                wheel_start(&wheel, &node[i], dues[i]);
            if (stage == 1) /* half cascaded, some expired */
                assert_true(wheel_advance(&wheel, 0x50000000, 7));
            if (stage == 2) /* all expired */
                assert_false(wheel_advance(&wheel, 0x50000000, 1000));
            wheel_cancel(&wheel, &node[victim]);
            assert_false(wheel_started(&node[victim]));
            wheel_cancel(&wheel, &node[victim]); /* harmless */
            assert_int_equal(wheel.count, N - 1);
            assert_false(wheel_advance(&wheel, 0x50000000, 1000));
            uint32_t last = 0;
            for (int i = 0; i < N - 1; i++) {
                struct wheel_node *fired = wheel_expire(&wheel);
                assert_non_null(fired);
                assert_ptr_not_equal(fired, &node[victim]);
                assert_true(fired->due_ms >= last);
                last = fired->due_ms;
            }
            assert_null(wheel_expire(&wheel));
            assert_int_equal(wheel_wait_ms(&wheel), UINT32_MAX);
            for (int level = 0; level < WHEEL_LEVELS; level++)
                assert_int_equal(wheel.occupied[level], 0);
        }
    }
}

static void cancel_and_restart_while_handling_another(void **state)
{
    struct wheel_node a = {0}, b = {0}, c = {0};
    wheel_init(&wheel, 0);
    wheel_start(&wheel, &a, 1);
    wheel_start(&wheel, &b, 2);
    wheel_start(&wheel, &c, 3);
    wheel_advance(&wheel, 10, 100);
    assert_int_equal(wheel_wait_ms(&wheel), 0); /* some wait to be handed out */
    assert_ptr_equal(wheel_expire(&wheel), &a);
    wheel_cancel(&wheel, &b);
    wheel_cancel(&wheel, &c); /* the tail: the next one to expire must still find its place */
    wheel_start(&wheel, &a, 10);
    assert_null(wheel_expire(&wheel)); /* not before the next advance, or it would never end */
    wheel_start(&wheel, &b, 11);
    wheel_advance(&wheel, 11, 100);
    assert_ptr_equal(wheel_expire(&wheel), &a);
    assert_ptr_equal(wheel_expire(&wheel), &b);
    assert_null(wheel_expire(&wheel));
}

static void a_restarted_timer_fires_once_for_each_period(void **state)
{
    struct wheel_node node = {0};
    wheel_init(&wheel, UINT32_MAX - 500);
    uint32_t now = wheel.now_ms, fired = 0;
    wheel_start(&wheel, &node, now + 7);
    for (int i = 0; i < 1000; i++) {
        wheel_advance(&wheel, ++now, 10);
        struct wheel_node *due;
        while ((due = wheel_expire(&wheel)) != NULL) {
            fired++;
            wheel_start(&wheel, due, now + 7);
        }
    }
    assert_int_equal(fired, 1000 / 7);
}

static void the_budget_bounds_each_call(void **state)
{
    enum { N = 1000, BUDGET = 10 };
    struct wheel_node *nodes = calloc(N, sizeof(*nodes));
    wheel_init(&wheel, 0);
    for (uint32_t i = 0; i < N; i++)
        wheel_start(&wheel, &nodes[i], 0x40000000 + i * 37 % 5000);
    unsigned calls = 0, fired = 0;
    uint32_t last = 0;
    bool more = true;
    while (more) {
        more = wheel_advance(&wheel, 0x40000000 + 10000, BUDGET);
        calls++;
        unsigned now_fired = 0;
        struct wheel_node *node;
        while ((node = wheel_expire(&wheel)) != NULL) {
            assert_true(node->due_ms >= last);
            last = node->due_ms;
            now_fired++;
        }
        assert_true(now_fired <= BUDGET);
        fired += now_fired;
        if (more)
            assert_int_equal(wheel_wait_ms(&wheel), 0);
    }
    assert_int_equal(fired, N);
    assert_in_range(calls, N / BUDGET, N * WHEEL_LEVELS / BUDGET + WHEEL_LEVELS);
    assert_true(wheel_advance(&wheel, 0, 0) == false);
    free(nodes);
}

/* The naive model: an array of nodes with 64-bit due times; the wheel's clock is the low half. */
enum { MODEL_NODES = 300 };
struct model {
    struct wheel_node node[MODEL_NODES];
    uint64_t due[MODEL_NODES]; /* when it must fire; as the wheel counts, never before its start */
    bool on[MODEL_NODES];
    uint64_t now;
};

static uint64_t random_ahead(struct random *random)
{
    uint64_t span = 1ull << random_below(random, 31);
    return random_below(random, span) + (random_below(random, 2) ? span : 0);
}

static void model_start(struct model *model, struct random *random, uint32_t i)
{
    uint64_t ahead = random_ahead(random);
    if (ahead > INT32_MAX)
        ahead = INT32_MAX;
    uint64_t due = model->now + ahead;
    if (random_below(random, 16) == 0)
        due = model->now - random_below(random, 100000); /* in the past: due at once */
    model->node[i].tag = i;
    wheel_start(&wheel, &model->node[i], (uint32_t)due);
    model->due[i] = due > model->now ? due : model->now;
    model->on[i] = true;
}

/* Takes out what expired and compares: on, due, in order. */
static void model_expire(struct model *model, struct random *random, uint64_t *last, uint64_t now)
{
    struct wheel_node *node;
    while ((node = wheel_expire(&wheel)) != NULL) {
        uint32_t i = node->tag;
        assert_true(model->on[i]);
        assert_true(model->due[i] <= now); /* never early */
        assert_true(model->due[i] >= *last);
        *last = model->due[i];
        model->on[i] = false;
        uint32_t other = (uint32_t)random_below(random, MODEL_NODES);
        if (random_below(random, 8) == 0) { /* from inside the handling of another */
            wheel_cancel(&wheel, &model->node[other]);
            model->on[other] = false;
        }
    }
}

static void model_advance(struct model *model, struct random *random)
{
    uint64_t ahead = random_below(random, 200);
    uint64_t dice = random_below(random, 30);
    if (dice < 10)
        ahead = random_ahead(random);
    else if (dice == 10) /* stopped for weeks */
        ahead = random_below(random, 3ull << 30);
    uint64_t target = model->now + ahead;
    uint64_t last = 0;
    bool more;
    do {
        more = wheel_advance(&wheel, (uint32_t)target, (uint32_t)random_below(random, 40));
        if (random_below(random, 2))
            model_expire(model, random, &last, target);
    } while (more);
    model->now = target;
    model_expire(model, random, &last, target);
    uint64_t earliest = UINT64_MAX;
    uint32_t count = 0;
    for (int i = 0; i < MODEL_NODES; i++) {
        assert_int_equal(model->on[i], wheel_started(&model->node[i]));
        if (!model->on[i])
            continue;
        assert_true(model->due[i] > model->now); /* none was forgotten */
        count++;
        if (model->due[i] < earliest)
            earliest = model->due[i];
    }
    assert_int_equal(count, wheel.count);
    uint32_t wait = wheel_wait_ms(&wheel);
    if (earliest == UINT64_MAX)
        assert_int_equal(wait, UINT32_MAX);
    else
        assert_in_range(wait, 1, earliest - model->now);
}

static void agrees_with_a_naive_model(void **state)
{
    static struct model model;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct random random;
        random_seed(&random, seed);
        memset(&model, 0, sizeof(model));
        model.now = (3ull << 32) + random_next(&random) % (1ull << 32);
        wheel_init(&wheel, (uint32_t)model.now);
        for (int step = 0; step < 3000; step++) {
            uint32_t i = (uint32_t)random_below(&random, MODEL_NODES);
            uint64_t dice = random_below(&random, 10);
            if (dice < 6 && !model.on[i]) {
                model_start(&model, &random, i);
            } else if (dice < 8) {
                wheel_cancel(&wheel, &model.node[i]);
                model.on[i] = false;
            } else {
                model_advance(&model, &random);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_when_due_and_not_before),
        cmocka_unit_test(the_longest_time_out_survives_a_lagging_wheel),
        cmocka_unit_test(the_past_fires_at_the_next_advance),
        cmocka_unit_test(an_older_time_leaves_the_wheel_where_it_is),
        cmocka_unit_test(waits_at_most_once_a_level),
        cmocka_unit_test(cancel_in_any_state),
        cmocka_unit_test(cancel_and_restart_while_handling_another),
        cmocka_unit_test(a_restarted_timer_fires_once_for_each_period),
        cmocka_unit_test(the_budget_bounds_each_call),
        cmocka_unit_test(agrees_with_a_naive_model),
    };
    return cmocka_run_group_tests_name("wheel", tests, NULL, NULL);
}
