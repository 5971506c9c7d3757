#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weir/weir.h>

enum { CONNS = 5 };

static void check_table(const weir_stat *table, unsigned count, size_t size)
{
    assert_int_equal(count * sizeof(uint64_t), size); /* each field has its row */
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(table[i].offset, i * sizeof(uint64_t));
        assert_true(strlen(table[i].what) > 4 && strlen(table[i].unit) > 1);
        assert_memory_equal(table[i].metric, "weir_", 5);
        size_t length = strlen(table[i].metric);
        bool total = length > 6 && strcmp(table[i].metric + length - 6, "_total") == 0;
        assert_true(total == (table[i].kind == WEIR_STAT_COUNTER));
        for (unsigned other = 0; other < i; other++) {
            assert_string_not_equal(table[i].field, table[other].field);
            assert_string_not_equal(table[i].metric, table[other].metric);
        }
    }
}

static void tables_match_the_structs(void **state)
{
    unsigned count;
    const weir_stat *table = weir_loop_stats_table(&count);
    check_table(table, count, sizeof(weir_loop_stats));
    table = weir_http_stats_table(&count);
    check_table(table, count, sizeof(weir_http_stats));
}

static void sums(void **state)
{
    weir_loop_stats sum = {0}, one = {.accepted = 3, .conns = 2, .timer_slip_max_ns = 50};
    weir_loop_stats two = {.accepted = 4, .conns = 1, .timer_slip_max_ns = 20};
    weir_loop_stats_add(&sum, &one);
    weir_loop_stats_add(&sum, &two);
    assert_int_equal(sum.accepted, 7);
    assert_int_equal(sum.conns, 3);
    assert_int_equal(sum.timer_slip_max_ns, 50);
}

struct rig {
    weir_loop *loop;
    unsigned opened, closed;
    weir_conn clients[CONNS];
};

static void on_open(weir_conn conn, void *session)
{
    ((struct rig *)weir_conn_user(conn))->opened++;
}

static void on_data(weir_conn conn, weir_view data, void *session)
{
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    ((struct rig *)weir_conn_user(conn))->closed++;
}

static void turn_until(struct rig *rig, const unsigned *count, unsigned wanted)
{
    weir_time end = weir_now() + 20 * WEIR_S;
    while (*count < wanted && weir_now() < end)
        weir_loop_turn(rig->loop, weir_now() + 10 * WEIR_MS);
    assert_true(*count >= wanted);
}

/* Between turns the loop is entered by a task, in which everything below runs. */
struct work {
    weir_task task;
    void (*fn)(struct rig *rig);
    struct rig *rig;
    unsigned done;
};

static void work_run(weir_task *task, void *arg)
{
    struct work *work = arg;
    work->fn(work->rig);
    work->done = 1;
}

static void in_loop(struct rig *rig, void (*fn)(struct rig *rig))
{
    struct work work = {.fn = fn, .rig = rig};
    assert_int_equal(weir_post(rig->loop, &work.task, work_run, &work), 0);
    turn_until(rig, &work.done, 1);
}

static weir_service service = {.on_open = on_open, .on_data = on_data, .on_close = on_close};
static char url[64];

static void listen_and_connect(struct rig *rig)
{
    snprintf(url, sizeof url, "unix:@weir-stats-%d", getpid());
    service.listen = url;
    service.user = rig;
    assert_int_equal(weir_listen(NULL, &service), 0);
    for (int i = 0; i < CONNS; i++)
        assert_int_equal(weir_connect(&rig->clients[i], url, &service, rig), 0);
}

static void list_all(struct rig *rig)
{
    weir_conn all[4 * CONNS], pieces[4 * CONNS], after = {0};
    unsigned count = weir_conn_list(after, all, 4 * CONNS), got = 0, piece;
    assert_int_equal(count, 2 * CONNS);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(weir_conn_state(all[i]), WEIR_CONN_OPEN);
        for (unsigned other = 0; other < i; other++)
            assert_false(weir_conn_is(all[i], all[other]));
    }
    do { /* piece by piece the same */
        piece = weir_conn_list(after, pieces + got, 3);
        got += piece;
        after = pieces[got - 1];
    } while (piece == 3);
    assert_int_equal(got, count);
    assert_memory_equal(all, pieces, count * sizeof *all);
    assert_int_equal(weir_conn_list((weir_conn){0}, all, 0), 0);
    assert_int_equal(weir_conn_list((weir_conn){0}, NULL, 3), 0);
}

static void act(struct rig *rig)
{
    weir_loop_stats stats;
    assert_int_equal(weir_loop_stats_get(rig->loop, &stats), 0);
    assert_int_equal(stats.conns, 2 * CONNS);
    assert_int_equal(stats.accepted, CONNS);
    assert_int_equal(stats.connected, CONNS);
    assert_int_equal(stats.listeners, 1);
    assert_true(stats.turns > 0 && stats.io_syscalls > 0);
    assert_int_equal(weir_pause(rig->clients[0]), 0);
    assert_int_equal(weir_conn_state(rig->clients[0]), WEIR_CONN_PAUSED);
    assert_int_equal(weir_send(rig->clients[1], weir_str("hello")), 0);
    assert_int_equal(weir_abort(rig->clients[2]), 0);
}

static void look(struct rig *rig)
{
    weir_loop_stats stats;
    assert_int_equal(weir_loop_stats_get(rig->loop, &stats), 0);
    assert_int_equal(stats.sent_bytes, 5);
    assert_int_equal(stats.received_bytes, 5);
    assert_int_equal(stats.sends, 1);
    assert_int_equal(stats.receives, 1);
    assert_int_equal(stats.closed, 2);
    assert_int_equal(weir_conn_state(rig->clients[2]), WEIR_CONN_GONE);
    assert_int_equal(weir_conn_state((weir_conn){0}), WEIR_CONN_GONE);
}

static void *foreign(void *arg)
{
    weir_loop_stats stats;
    static int result;
    result = weir_loop_stats_get(((struct rig *)arg)->loop, &stats);
    return &result;
}

static void counts_what_happens(void **state)
{
    struct rig rig = {0};
    weir_loop_stats stats = {.accepted = 9};
    void *result;
    pthread_t thread;
    assert_int_equal(weir_loop_new(&rig.loop, NULL), 0);
    assert_int_equal(weir_loop_stats_get(rig.loop, &stats), 0);
    assert_int_equal(stats.accepted, 0);
    in_loop(&rig, listen_and_connect);
    turn_until(&rig, &rig.opened, 2 * CONNS);
    in_loop(&rig, list_all);
    in_loop(&rig, act);
    turn_until(&rig, &rig.closed, 2);
    for (int i = 0; i < 5; i++)
        weir_loop_turn(rig.loop, 0);
    in_loop(&rig, look);
    assert_int_equal(pthread_create(&thread, NULL, foreign, &rig), 0);
    pthread_join(thread, &result);
    assert_int_equal(*(int *)result, WEIR_EMISUSE);
    assert_int_equal(weir_loop_stats_get(NULL, &stats), WEIR_EINVALID);
    assert_int_equal(weir_loop_stats_get(rig.loop, NULL), WEIR_EINVALID);
    weir_loop_free(rig.loop);
    assert_int_equal(weir_conn_list((weir_conn){0}, rig.clients, 1), 0); /* no loop */
    assert_string_equal(weir_conn_state_name(WEIR_CONN_LINGERING), "lingering");
    assert_string_equal(weir_conn_state_name(WEIR_CONN_STATE_COUNT), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_match_the_structs),
        cmocka_unit_test(sums),
        cmocka_unit_test(counts_what_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
