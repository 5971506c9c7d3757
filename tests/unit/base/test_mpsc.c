#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/mpsc.h"

struct message {
    struct mpsc_node node;
    uint32_t producer, number;
};

static struct mpsc queue;

static void push_ok(struct message *message, bool wake_expected)
{
    bool wake = !wake_expected;
    assert_true(mpsc_push(&queue, &message->node, 0, false, &wake));
    assert_int_equal(wake, wake_expected);
}

static void first_in_first_out(void **state)
{
    struct message m[5];
    mpsc_init(&queue, 100, 0);
    assert_null(mpsc_pop(&queue));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++)
            push_ok(&m[i], false);
        assert_int_equal(atomic_load(&queue.count), 5);
        for (int i = 0; i < 5; i++)
            assert_ptr_equal(mpsc_pop(&queue), &m[i].node);
        assert_null(mpsc_pop(&queue));
        assert_int_equal(atomic_load(&queue.count), 0);
    }
    for (int i = 0; i < 20; i++) { /* one at a time, always at the edge of empty */
        push_ok(&m[0], false);
        assert_ptr_equal(mpsc_pop(&queue), &m[0].node);
    }
    push_ok(&m[0], false);
    push_ok(&m[1], false);
    assert_ptr_equal(mpsc_pop(&queue), &m[0].node);
    push_ok(&m[0], false); /* a node may be pushed again as soon as it was popped */
    assert_ptr_equal(mpsc_pop(&queue), &m[1].node);
    assert_ptr_equal(mpsc_pop(&queue), &m[0].node);
    assert_null(mpsc_pop(&queue));
}

static void full_by_messages(void **state)
{
    struct message m[4];
    bool wake;
    mpsc_init(&queue, 2, 0);
    push_ok(&m[0], false);
    push_ok(&m[1], false);
    assert_false(mpsc_push(&queue, &m[2].node, 0, false, &wake));
    assert_false(wake);
    assert_true(mpsc_push(&queue, &m[2].node, 0, true, &wake)); /* reserved */
    assert_ptr_equal(mpsc_pop(&queue), &m[0].node);
    assert_false(mpsc_push(&queue, &m[3].node, 0, false, &wake));
    assert_ptr_equal(mpsc_pop(&queue), &m[1].node);
    push_ok(&m[3], false);
}

static void full_by_bytes(void **state)
{
    struct message m[4];
    bool wake;
    mpsc_init(&queue, 100, 1000);
    assert_true(mpsc_push(&queue, &m[0].node, 600, false, &wake));
    assert_false(mpsc_push(&queue, &m[1].node, 401, false, &wake));
    assert_false(mpsc_push(&queue, &m[1].node, UINT64_MAX, false, &wake));
    assert_int_equal(atomic_load(&queue.count), 1); /* the refused ones are not counted */
    assert_true(mpsc_push(&queue, &m[1].node, 400, false, &wake));
    assert_true(mpsc_push(&queue, &m[2].node, 5000, true, &wake));
    assert_false(mpsc_push(&queue, &m[3].node, 1, false, &wake));
    assert_true(mpsc_push(&queue, &m[3].node, 0, false, &wake));
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(mpsc_pop(&queue), &m[i].node);
    mpsc_done(&queue, 5000); /* bytes count until they are handled */
    assert_false(mpsc_push(&queue, &m[3].node, 1, false, &wake));
    mpsc_done(&queue, 600);
    mpsc_done(&queue, 400);
    mpsc_done(&queue, 0);
    assert_int_equal(atomic_load(&queue.bytes), 0);
    assert_true(mpsc_push(&queue, &m[3].node, 1000, false, &wake));
}

static void one_wake_for_a_burst(void **state)
{
    struct message m[3];
    mpsc_init(&queue, 100, 0);
    push_ok(&m[0], false); /* awake: no wake asked for */
    assert_false(mpsc_sleep(&queue));
    assert_non_null(mpsc_pop(&queue));
    assert_true(mpsc_sleep(&queue));
    push_ok(&m[0], true);
    push_ok(&m[1], false);
    push_ok(&m[2], false);
    mpsc_awake(&queue);
    while (mpsc_pop(&queue) != NULL)
        continue;
    assert_true(mpsc_sleep(&queue));
    mpsc_awake(&queue); /* woken by something else */
    push_ok(&m[0], false);
    assert_false(mpsc_sleep(&queue));
    assert_non_null(mpsc_pop(&queue));
    push_ok(&m[0], false); /* mpsc_sleep that said no does not leave a sleeper behind */
    push_ok(&m[1], false);
    assert_non_null(mpsc_pop(&queue));
    assert_false(mpsc_sleep(&queue)); /* after a turn that did not take all */
}

enum { PRODUCERS = 4, COUNT = 40000, LIMIT = 64, BYTES = 3 };

static sem_t bell;
static atomic_uint rings, refusals;

static void *produce(void *arg)
{
    uint32_t producer = (uint32_t)(uintptr_t)arg;
    struct message *messages = calloc(COUNT, sizeof(*messages));
    for (uint32_t i = 0; i < COUNT; i++) {
        messages[i].producer = producer; /* plain: the queue must publish it */
        messages[i].number = i;
        bool wake = false;
        while (!mpsc_push(&queue, &messages[i].node, BYTES, i % 16 == 0, &wake)) {
            atomic_fetch_add(&refusals, 1);
            sched_yield();
        }
        if (wake) {
            atomic_fetch_add(&rings, 1);
            sem_post(&bell);
        }
        if (i % 1024 == producer) /* pauses let the consumer run dry and sleep */
            sched_yield();
    }
    return messages;
}

/* Waits for the bell; a lost wake shows as a time-out. */
static void sleep_until_woken(void)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 20;
    while (sem_timedwait(&bell, &end) != 0)
        assert_int_equal(errno, EINTR);
}

static void nothing_is_lost_under_four_producers(void **state)
{
    pthread_t thread[PRODUCERS];
    uint32_t next[PRODUCERS] = {0}, tries = 0, sleeps = 0;
    mpsc_init(&queue, LIMIT, LIMIT * BYTES);
    assert_int_equal(sem_init(&bell, 0, 0), 0);
    for (uintptr_t i = 0; i < PRODUCERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, produce, (void *)i), 0);
    for (uint32_t left = PRODUCERS * COUNT; left > 0;) {
        struct mpsc_node *node = mpsc_pop(&queue);
        if (node == NULL) {
            tries++;
            if (mpsc_sleep(&queue)) {
                sleeps++;
                sleep_until_woken();
                mpsc_awake(&queue);
            }
            continue;
        }
        struct message *message = weir_container(node, struct message, node);
        assert_int_equal(message->number, next[message->producer]); /* in order, none twice */
        next[message->producer]++;
        mpsc_done(&queue, BYTES);
        left--;
    }
    assert_null(mpsc_pop(&queue));
    for (int i = 0; i < PRODUCERS; i++) {
        void *messages;
        assert_int_equal(pthread_join(thread[i], &messages), 0);
        free(messages);
    }
    assert_int_equal(atomic_load(&queue.count), 0);
    assert_int_equal(atomic_load(&queue.bytes), 0);
    assert_true(sleeps > 0 && atomic_load(&refusals) > 0); /* both paths were taken */
    /* A producer may ring when the consumer was about to sleep and then did not. */
    assert_true(atomic_load(&rings) <= tries);
    sem_destroy(&bell);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_in_first_out),
        cmocka_unit_test(full_by_messages),
        cmocka_unit_test(full_by_bytes),
        cmocka_unit_test(one_wake_for_a_burst),
        cmocka_unit_test(nothing_is_lost_under_four_producers),
    };
    return cmocka_run_group_tests_name("mpsc", tests, NULL, NULL);
}
