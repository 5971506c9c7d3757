/* K14: timers are never early, fire in order, once; far ones too; a jump of the clock fires the
 * late ones in order. Lateness is judged generously: the machine may be busy. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance/harness.h"

struct timed {
    weir_timer timer;
    weir_time due;
    uint64_t fired_ns;
    int fired, order;
};

static int fired_count, early;
static weir_time last_due;
static int out_of_order;

static void note_fired(weir_timer *timer, void *arg)
{
    struct timed *t = arg;
    t->fired_ns = now_ns();
    t->fired++;
    t->order = fired_count++;
    if (t->fired_ns < t->due)
        early++;
}

static void reset_counts(void)
{
    fired_count = early = out_of_order = 0;
    last_due = 0;
}

static int start(struct timed *t, weir_time due, bool precise)
{
    t->due = due;
    return precise ? weir_timer_start_precise(&t->timer, due, note_fired, t)
                   : weir_timer_start(&t->timer, due, note_fired, t);
}

enum { MANY = 2000 };
static struct timed many[MANY];

static void many_timers(bool precise)
{
    struct world *w = world_open(NULL);
    unsigned draw = 99;
    memset(many, 0, sizeof many);
    reset_counts();
    verb_begin(w);
    weir_time begin = weir_now();
    for (int i = 0; i < MANY; i++) {
        draw = draw * 1103515245u + 12345;
        assert_int_equal(start(&many[i], begin + (draw >> 8) % (150 * WEIR_MS), precise), 0);
    }
    verb_end(w, 0);
    UNTIL(w, fired_count == MANY);
    assert_int_equal(early, 0);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(many[i].fired, 1);
        for (int k = i + 1; k < i + 20 && k < MANY;
             k++) { /* whoever is due earlier fires earlier */
            uint64_t tick = precise ? 0 : WEIR_MS;
            if (many[i].due + tick < many[k].due)
                assert_true(many[i].order < many[k].order);
            if (many[k].due + tick < many[i].due)
                assert_true(many[k].order < many[i].order);
        }
    }
    world_end(w);
}

static void k14_timers_never_early_and_in_order(void **state)
{
    many_timers(false);
}

static void k14_precise_timers_never_early_and_in_order(void **state)
{
    many_timers(true);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The median lateness of timers that are alone. */
static uint64_t lateness_ns(bool precise, uint64_t ahead_ns)
{
    enum { TIMES = 31 };
    struct world *w = world_open(NULL);
    uint64_t late[TIMES];
    for (int i = 0; i < TIMES; i++) {
        struct timed t = {0};
        verb_begin(w);
        assert_int_equal(start(&t, now_ns() + ahead_ns, precise), 0);
        verb_end(w, 0);
        while (t.fired == 0)
            assert_int_equal(weir_loop_turn(w->loop, WEIR_NEVER), 0);
        assert_true(t.fired_ns >= t.due);
        late[i] = t.fired_ns - t.due;
    }
    qsort(late, TIMES, sizeof late[0], compare);
    world_end(w);
    return late[TIMES / 2];
}

static void k14_precise_timers_are_late_by_microseconds(void **state)
{
    uint64_t late_ns = lateness_ns(true, 3 * WEIR_MS + 333333);
    print_message("precise timers were late by %llu us (median)\n",
                  (unsigned long long)late_ns / 1000);
    assert_true(late_ns < 2 * WEIR_MS);
}

static void k14_timers_are_late_by_a_tick(void **state)
{
    uint64_t late_ns = lateness_ns(false, 5 * WEIR_MS + 333333);
    print_message("timers were late by %llu us (median)\n", (unsigned long long)late_ns / 1000);
    assert_true(late_ns < 5 * WEIR_MS);
}

/* Far timers lie on the wheel and do nobody harm; they can be canceled. */
static void k14_far_timers(void **state)
{
    static const uint64_t ahead_s[] = {100, 5000, 300000, 4000000, 90000000, 4000000000};
    enum { FAR = sizeof ahead_s / sizeof *ahead_s };
    struct world *w = world_open(NULL);
    struct timed far[FAR + 1];
    memset(far, 0, sizeof far);
    reset_counts();
    verb_begin(w);
    for (int i = 0; i < FAR; i++)
        assert_int_equal(start(&far[i], weir_after(ahead_s[i] * WEIR_S), i % 2 != 0), 0);
    assert_int_equal(start(&far[FAR], WEIR_NEVER, false), 0);
    verb_end(w, 0);
    world_run_ms(w, 30);
    assert_int_equal(fired_count, 0);
    verb_begin(w);
    assert_true(weir_loop_due(w->loop) > now_ns() + 50 * WEIR_S);
    for (int i = 0; i <= FAR; i++) {
        assert_true(weir_timer_cancel(&far[i].timer));
        assert_false(weir_timer_cancel(&far[i].timer));
    }
    assert_int_equal(weir_loop_due(w->loop), WEIR_NEVER);
    verb_end(w, 0);
    world_end(w);
}

/* --- from handlers ---------------------------------------------------------------------------- */

static struct timed partner;
static bool partner_cancel_result;

static void cancel_partner(weir_timer *timer, void *arg)
{
    fired_count++;
    partner_cancel_result = weir_timer_cancel(&partner.timer);
}

/* Both are due in the same turn: the first one's handler can still cancel the second. */
static void k14_cancel_of_one_that_is_due_too(void **state)
{
    for (int precise = 0; precise < 2; precise++) {
        struct world *w = world_open(NULL);
        weir_timer first = {0};
        memset(&partner, 0, sizeof partner);
        reset_counts();
        verb_begin(w);
        weir_time due = weir_now() + 5 * WEIR_MS;
        if (precise)
            assert_int_equal(weir_timer_start_precise(&first, due, cancel_partner, NULL), 0);
        else
            assert_int_equal(weir_timer_start(&first, due, cancel_partner, NULL), 0);
        assert_int_equal(start(&partner, due + 2 * WEIR_MS, precise != 0), 0);
        verb_end(w, 0);
        usleep(12000);
        world_turn_ms(w, 0);
        UNTIL(w, fired_count == 1);
        world_run_ms(w, 5);
        assert_true(partner_cancel_result);
        assert_int_equal(partner.fired, 0);
        world_end(w);
    }
}

static int restarts;

static void restart_in_the_past(weir_timer *timer, void *arg)
{
    restarts++;
    if (restarts < 1000)
        weir_timer_start(timer, 1, restart_in_the_past, arg);
}

static void restart_precise_in_the_past(weir_timer *timer, void *arg)
{
    restarts++;
    if (restarts < 1000000000)
        weir_timer_start_precise(timer, 1, restart_precise_in_the_past, arg);
}

/* One that starts itself again in the past holds no turn for ever. */
static void k14_restart_in_the_past(void **state)
{
    struct world *w = world_open(NULL);
    weir_timer timer = {0};
    restarts = 0;
    assert_int_equal(V(w, weir_timer_start(&timer, 1, restart_in_the_past, NULL)), 0);
    UNTIL(w, restarts == 1000);
    restarts = 0;
    assert_int_equal(V(w, weir_timer_start_precise(&timer, 1, restart_precise_in_the_past, NULL)),
                     0);
    for (int i = 0; i < 5; i++)
        world_turn(w); /* each returns */
    assert_true(restarts >= 5);
    verb_begin(w);
    assert_true(weir_timer_cancel(&timer));
    verb_end(w, 0);
    world_end(w);
}

static uint64_t periods_ns[50];
static int periods;

static void periodic(weir_timer *timer, void *arg)
{
    weir_time *due = arg;
    if (now_ns() < *due)
        early++;
    if (periods < 50)
        periods_ns[periods++] = now_ns();
    *due += 2 * WEIR_MS;
    weir_timer_start(timer, *due, periodic, arg);
}

static void k14_restart_makes_a_period(void **state)
{
    struct world *w = world_open(NULL);
    weir_timer timer = {0};
    reset_counts();
    periods = 0;
    verb_begin(w);
    weir_time due = weir_now() + 2 * WEIR_MS, begin = weir_now();
    assert_int_equal(weir_timer_start(&timer, due, periodic, &due), 0);
    verb_end(w, 0);
    UNTIL(w, periods == 50);
    assert_int_equal(early, 0);
    assert_true(periods_ns[49] - begin >= 100 * WEIR_MS);
    verb_begin(w);
    weir_timer_cancel(&timer);
    verb_end(w, 0);
    world_end(w);
}

/* Moving a started timer, in both directions, from one class to the other. */
static void k14_moved_timers_fire_once(void **state)
{
    struct world *w = world_open(NULL);
    struct timed t[4];
    memset(t, 0, sizeof t);
    reset_counts();
    verb_begin(w);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(start(&t[i], weir_after(i % 2 == 0 ? 5 * WEIR_MS : 10 * WEIR_S), i < 2),
                         0);
        assert_int_equal(start(&t[i], weir_after(20 * WEIR_MS), i % 2 == 0), 0);
    }
    verb_end(w, 0);
    UNTIL(w, fired_count == 4);
    world_run_ms(w, 10);
    assert_int_equal(fired_count, 4);
    assert_int_equal(early, 0);
    world_end(w);
}

/* --- the clock jumps -------------------------------------------------------------------------- */

/* The process is stopped for a while: everything that became due meanwhile fires in one go, in
 * order. */
static void k14_a_suspended_process(void **state)
{
    enum { TIMERS = 40 };
    struct world *w = world_open(NULL);
    struct timed t[TIMERS];
    memset(t, 0, sizeof t);
    reset_counts();
    verb_begin(w);
    for (int i = 0; i < TIMERS; i++)
        assert_int_equal(start(&t[i], weir_after((uint64_t)(10 + (i * 37) % 80) * WEIR_MS), false),
                         0);
    verb_end(w, 0);
    pid_t child = fork();
    if (child == 0) {
        usleep(120000);
        kill(getppid(), SIGCONT);
        _exit(0);
    }
    kill(getpid(), SIGSTOP);
    UNTIL(w, fired_count == TIMERS);
    assert_int_equal(early, 0);
    for (int i = 0; i < TIMERS; i++)
        for (int k = 0; k < TIMERS; k++)
            if (t[i].due + WEIR_MS < t[k].due)
                assert_true(t[i].order < t[k].order);
    while (waitpid(child, NULL, 0) < 0)
        ;
    world_end(w);
}

/* A loop that was not turned for a while (a host that was busy) sleeps to its timer, not for as
 * long as was left of it then. */
static void k14_a_host_that_was_away(void **state)
{
    struct world *w = world_open(NULL);
    struct timed t = {0};
    verb_begin(w);
    assert_int_equal(start(&t, weir_after(400 * WEIR_MS), false), 0);
    verb_end(w, 0);
    assert_int_equal(weir_loop_turn(w->loop, 0), 0);
    usleep(50000);
    usleep(50000);
    usleep(50000);
    usleep(50000);
    while (t.fired == 0)
        assert_int_equal(weir_loop_turn(w->loop, WEIR_NEVER), 0);
    assert_true(t.fired_ns - t.due < 150 * WEIR_MS);
    world_end(w);
}

static void k14_deadline_of_a_turn(void **state)
{
    struct world *w = world_open(NULL);
    for (int i = 0; i < 5; i++) {
        uint64_t end_ns = now_ns() + 7 * WEIR_MS;
        while (now_ns() < end_ns)
            assert_int_equal(weir_loop_turn(w->loop, end_ns), 0);
    }
    uint64_t begin_ns = now_ns();
    for (int i = 0; i < 100; i++)
        assert_int_equal(weir_loop_turn(w->loop, 0), 0);
    assert_true(now_ns() - begin_ns < WEIR_S);
    world_end(w);
}

K_MAIN(T(k14_timers_never_early_and_in_order), T(k14_precise_timers_never_early_and_in_order),
       T(k14_precise_timers_are_late_by_microseconds), T(k14_timers_are_late_by_a_tick),
       T(k14_far_timers), T(k14_cancel_of_one_that_is_due_too), T(k14_restart_in_the_past),
       T(k14_restart_makes_a_period), T(k14_moved_timers_fire_once), T(k14_a_suspended_process),
       T(k14_a_host_that_was_away), T(k14_deadline_of_a_turn))
