/* What the verbs of listeners and connections say to arguments that are none, and in states in
 * which they make no sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weir/error.h>
#include <weir/log.h>
#include <weir/stats.h>
#include <weir/weir.h>

#include "loop/limits.h"
#include "net/conn.h"

/* A loop with a listener and a connection from it to itself. */
static struct {
    weir_loop *loop;
    weir_listener listener;
    weir_conn near, far;
    int closes, released, mails;
    weir_end end;
    char logged[1024];
} it;

static void on_open(weir_conn conn, void *session)
{
    if (!weir_conn_is(conn, it.near))
        it.far = conn;
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    it.closes++;
    it.end = end;
}

static const weir_service plain = {.listen = "tcp://127.0.0.1:0",
                                   .on_open = on_open,
                                   .on_close = on_close,
                                   .full = WEIR_FULL_REFUSE};

static void note_line(const weir_log_line *line, void *arg)
{
    snprintf(it.logged, sizeof it.logged, "%s", line->text);
}

static int set_up(void **state)
{
    memset(&it, 0, sizeof it);
    weir_log_set(note_line, NULL, WEIR_LOG_ERROR);
    if (weir_loop_new(&it.loop, &(weir_loop_options){.backend = "epoll"}) < 0)
        return -1;
    weir_loop_enter(it.loop);
    return 0;
}

static int tear_down(void **state)
{
    weir_loop_enter(NULL);
    weir_loop_free(it.loop);
    weir_log_set(NULL, NULL, WEIR_LOG_INFO);
    return 0;
}

static void turn(void)
{
    assert_int_equal(weir_loop_turn(it.loop, weir_after(WEIR_MS)), 0);
}

static void pair(void)
{
    weir_address address;
    char url[128];
    assert_int_equal(weir_listen(&it.listener, &plain), 0);
    assert_int_equal(weir_listener_address(it.listener, &address), 0);
    assert_true(weir_address_format(&address, url, sizeof url) > 0);
    assert_int_equal(weir_connect(&it.near, url, &plain, NULL), 0);
    while (it.far.id == 0 || weir_conn_state(it.near) != WEIR_CONN_OPEN)
        turn();
}

static void release(const void *data, size_t size, void *arg)
{
    it.released++;
}

static void mailed(weir_conn conn, int error, void *arg)
{
    it.mails++;
}

static ssize_t no_pull(weir_conn conn, void *data, size_t size, void *arg)
{
    fail();
    return 0;
}

static void addresses_that_are_none(void **state)
{
    weir_service service = plain;
    weir_conn conn = {0};
    char url[1100];
    memset(url, 'x', sizeof url - 1);
    url[sizeof url - 1] = 0;
    assert_int_equal(weir_listen(NULL, NULL), WEIR_EINVALID);
    service.listen = NULL;
    assert_int_equal(weir_listen(NULL, &service), WEIR_EADDRESS);
    service.listen = "   ";
    assert_int_equal(weir_listen(NULL, &service), WEIR_EADDRESS);
    assert_non_null(strstr(it.logged, "no address"));
    service.listen = "udp://127.0.0.1:9";
    assert_int_equal(weir_listen(NULL, &service), WEIR_ENOTSUP);
    assert_non_null(strstr(it.logged, "udp://127.0.0.1:9"));
    service.listen = "tcp://127.0.0.1:port";
    assert_true(weir_listen(NULL, &service) < 0);
    assert_non_null(strstr(it.logged, "cannot listen on tcp://127.0.0.1:port"));
    assert_null(strstr(it.logged, "could not be read"));
    service.listen = url;
    assert_int_equal(weir_listen(NULL, &service), WEIR_ETOOBIG);
    assert_int_equal(weir_connect(&conn, NULL, &plain, NULL), WEIR_EINVALID);
    assert_int_equal(weir_connect(&conn, "tcp://127.0.0.1:9", NULL, NULL), WEIR_EINVALID);
    assert_int_equal(weir_connect(&conn, "udp://127.0.0.1:9", &plain, NULL), WEIR_ENOTSUP);
    assert_true(weir_connect(&conn, "tcp://127.0.0.1:port", &plain, NULL) < 0);
    assert_int_equal(conn.id, 0);
    weir_loop_enter(NULL);
    assert_int_equal(weir_listen(NULL, &plain), WEIR_EMISUSE);
    assert_int_equal(weir_connect(&conn, "tcp://127.0.0.1:9", &plain, NULL), WEIR_EMISUSE);
    weir_loop_enter(it.loop);
}

/* Shape processes would fork the loop. */
static void a_run_within_a_loop(void **state)
{
    weir_service service = {.listen = "tcp://127.0.0.1:0"};
    weir_run_options options = {.shape = WEIR_SHAPE_PROCESSES, .loops = 2};
    assert_int_equal(weir_run(&service, 1, &options), WEIR_EMISUSE);
    assert_non_null(strstr(it.logged, "no loop of this process survives"));
    assert_int_equal(weir_run(&service, 1, &options), WEIR_EMISUSE); /* the first one is over */
}

/* All of a service's addresses or none: what was opened before the one that fails is closed. */
static void all_addresses_or_none(void **state)
{
    weir_service service = plain;
    weir_address address;
    int next = dup(0);
    close(next);
    service.listen = "tcp://127.0.0.1:0 tcp://127.0.0.1:0 tcp://127.0.0.1:port";
    assert_true(weir_listen(NULL, &service) < 0);
    turn();
    assert_int_equal(it.loop->net->listeners.used, 0);
    int now = dup(0);
    close(now);
    assert_int_equal(now, next);
    service.listen = " tcp://127.0.0.1:0  unix:@weir-misuse ";
    assert_int_equal(weir_listen(&it.listener, &service), 0);
    assert_int_equal(it.loop->net->listeners.used, 2);
    assert_int_equal(weir_listener_address(it.listener, &address), 0);
    assert_int_equal(address.transport, WEIR_TRANSPORT_TCP); /* the first one's */
    assert_int_equal(weir_listener_close(it.listener), 0);
    turn();
    assert_int_equal(it.loop->net->listeners.used, 0);
    assert_int_equal(weir_listener_close(it.listener), WEIR_EGONE);
    assert_int_equal(weir_listener_address(it.listener, &address), WEIR_EGONE);
}

static void listeners_of_others(void **state)
{
    weir_address address;
    weir_loop *other;
    assert_int_equal(weir_listen(&it.listener, &plain), 0);
    assert_int_equal(weir_loop_new(&other, &(weir_loop_options){.backend = "epoll"}), 0);
    weir_loop_enter(other);
    assert_int_equal(weir_listener_close(it.listener), WEIR_EGONE);
    assert_int_equal(weir_listen(NULL, &plain), 0); /* now it has listeners too */
    assert_int_equal(weir_listener_close(it.listener), WEIR_EGONE);
    weir_loop_enter(NULL);
    assert_int_equal(weir_listener_address(it.listener, &address), WEIR_EGONE);
    assert_int_equal(weir_listener_close((weir_listener){0}), WEIR_EGONE);
    weir_loop_free(other);
    weir_loop_enter(it.loop);
    assert_int_equal(weir_listener_address(it.listener, &address), 0);
}

static void sends_that_are_none(void **state)
{
    weir_view views[65], none = {NULL, 1, (uint32_t)WEIR_OWNER_NONE << WEIR_OWNER_SHIFT};
    int fds[LIMIT_FDS_MAX + 1] = {0};
    weir_conn_stats stats;
    pair();
    for (int i = 0; i < 65; i++)
        views[i] = weir_str("x");
    assert_int_equal(weir_sendv(it.near, NULL, 1), WEIR_EINVALID);
    assert_int_equal(weir_sendv(it.near, views, 0), WEIR_EINVALID);
    assert_int_equal(weir_sendv(it.near, views, 65), WEIR_EINVALID);
    assert_int_equal(weir_send(it.near, none), WEIR_ENOMEM);
    views[1] = none;
    assert_int_equal(weir_sendv(it.near, views, 2), WEIR_ENOMEM);
    assert_int_equal(weir_send_file(it.near, -1, 0, 1, false), WEIR_EINVALID);
    assert_int_equal(weir_send_file(it.near, 0, -1, 1, false), WEIR_EINVALID);
    assert_int_equal(weir_send_file(it.near, 0, 1, INT64_MAX, false), WEIR_EINVALID);
    assert_int_equal(weir_send_file(it.near, 0, 0, 0, false), 0);
    assert_int_equal(weir_send_pull(it.near, NULL, NULL), WEIR_EINVALID);
    assert_int_equal(weir_send_fds(it.near, weir_str("x"), NULL, 1), WEIR_EINVALID);
    assert_int_equal(weir_send_fds(it.near, weir_str("x"), fds, 0), WEIR_EINVALID);
    assert_int_equal(weir_send_fds(it.near, weir_str("x"), fds, LIMIT_FDS_MAX + 1), WEIR_EINVALID);
    assert_int_equal(weir_send_fds(it.near, weir_str(""), fds, 1), WEIR_EINVALID);
    assert_int_equal(weir_send_fds(it.near, none, fds, 1), WEIR_ENOMEM);
    fds[1] = -1;
    assert_int_equal(weir_send_fds(it.near, weir_str("x"), fds, 2), -EBADF);
    assert_int_equal(weir_conn_stats_get(it.near, &stats), 0);
    assert_int_equal(stats.queued_bytes, 0);
    assert_int_equal(stats.unsent_bytes, 0);
    assert_int_equal(stats.sent_bytes, 0);
}

static void questions_that_are_none(void **state)
{
    weir_conn gone = {.id = 1}, some[4];
    pair();
    assert_int_equal(weir_conn_peer(it.near, NULL), WEIR_EINVALID);
    assert_int_equal(weir_conn_local(it.near, NULL), WEIR_EINVALID);
    assert_int_equal(weir_conn_tcp_info(it.near, NULL), WEIR_EINVALID);
    assert_int_equal(weir_conn_stats_get(it.near, NULL), WEIR_EINVALID);
    assert_int_equal(weir_loop_stats_get(NULL, NULL), WEIR_EINVALID);
    assert_int_equal(weir_loop_stats_get(it.loop, NULL), WEIR_EINVALID);
    assert_true(weir_conn_peer(gone, NULL) < 0);
    assert_int_equal(weir_conn_list((weir_conn){0}, some, 4), 2);
    assert_int_equal(weir_conn_list((weir_conn){0}, some, 1), 1);
    assert_int_equal(weir_conn_list((weir_conn){0}, NULL, 0), 0);
    assert_int_equal(weir_pipe(it.near, it.near), WEIR_EMISUSE);
    assert_int_equal(weir_pipe((weir_conn){0}, it.near), WEIR_EGONE);
    assert_int_equal(weir_pipe(it.near, (weir_conn){0}), WEIR_EGONE);
    weir_loop_enter(NULL);
    assert_int_equal(weir_conn_list((weir_conn){0}, some, 4), 0);
    assert_int_equal(weir_send(it.near, weir_str("x")), WEIR_EMISUSE);
    assert_int_equal(weir_send((weir_conn){0}, weir_str("x")), WEIR_EGONE);
    weir_loop_enter(it.loop);
}

/* Before it is open, after its output has ended, after it is closed. */
static void verbs_at_the_wrong_time(void **state)
{
    weir_conn early;
    assert_int_equal(weir_connect(&early, "tcp://127.0.0.1:1", &plain, NULL), 0);
    assert_int_equal(weir_send(early, weir_str("x")), WEIR_EMISUSE);
    assert_int_equal(weir_finish(early), WEIR_EMISUSE);
    while (it.closes == 0)
        turn();
    assert_int_equal(weir_finish(early), WEIR_EGONE);
    pair();
    assert_int_equal(weir_finish(it.near), 0);
    assert_int_equal(weir_send(it.near, weir_str("x")), WEIR_EMISUSE);
    assert_int_equal(weir_send_pull(it.near, no_pull, NULL), WEIR_EMISUSE);
    assert_int_equal(weir_close(it.near), 0);
    assert_int_equal(weir_finish(it.near), WEIR_EGONE);
    assert_int_equal(weir_send(it.near, weir_str("x")), WEIR_EGONE);
    assert_int_equal(weir_close(it.near), 0); /* idempotent */
    assert_false(weir_conn_alive(it.near));
    while (it.closes < 3)
        turn();
}

static void mail_that_is_none(void **state)
{
    static char large[LIMIT_HARD_CAP + 1];
    pair();
    assert_int_equal(weir_mail(it.near, NULL, 1, mailed, NULL), WEIR_EINVALID);
    assert_int_equal(weir_mail(it.near, "x", 0, mailed, NULL), WEIR_EINVALID);
    assert_int_equal(weir_mail(it.near, large, sizeof large, mailed, NULL), WEIR_ETOOBIG);
    assert_int_equal(weir_mail((weir_conn){0}, "x", 1, mailed, NULL), WEIR_EGONE);
    turn();
    assert_int_equal(it.mails, 0);
}

static bool is_none(weir_view view)
{
    return view.owner >> WEIR_OWNER_SHIFT == WEIR_OWNER_NONE;
}

static void memory_that_is_lent_to_nobody(void **state)
{
    weir_view kept = weir_static("abc", 3);
    assert_true(is_none(weir_own("x", 1, NULL, NULL)));
    weir_loop_enter(NULL);
    assert_true(is_none(weir_own("x", 1, release, NULL)));
    assert_int_equal(it.released, 1); /* at once */
    assert_true(is_none(weir_retain(weir_str("x"))));
    weir_release(weir_str("x"));
    weir_loop_enter(it.loop);
    assert_true(is_none(weir_own("x", (size_t)UINT32_MAX + 1, release, NULL)));
    assert_int_equal(it.released, 1); /* not inside the verb */
    turn();
    assert_int_equal(it.released, 2);
    assert_ptr_equal(weir_retain(kept).data, kept.data);
    assert_true(is_none(weir_retain((weir_view){0, 0, (uint32_t)WEIR_OWNER_NONE << 29})));
    weir_release(kept);
    weir_release(weir_str("x"));
    kept = weir_retain(weir_str(""));
    assert_false(is_none(kept));
    weir_release(kept);
    kept = weir_retain(weir_str("kept"));
    assert_memory_equal(kept.data, "kept", 4);
    weir_release(kept);
    assert_int_equal(it.loop->memory.used_bytes, 0);
}

/* What was lent and never sent, and what is owed at the end, goes back with the loop. */
static void memory_comes_back_with_the_end(void **state)
{
    assert_false(is_none(weir_own("x", 1, release, NULL)));
    assert_false(is_none(weir_own("y", 1, release, NULL)));
    assert_false(is_none(weir_retain(weir_str("kept and forgotten"))));
    pair();
    assert_int_equal(weir_send(it.near, weir_own("z", 1, release, NULL)), 0);
    assert_int_equal(weir_send(it.near, weir_own("", 0, release, NULL)), 0);
    assert_int_equal(it.released, 0);
    weir_loop_enter(NULL);
    weir_loop_free(it.loop);
    assert_int_equal(it.released, 4);
    assert_int_equal(weir_loop_new(&it.loop, NULL), 0); /* for the tear-down */
}

/* As many pieces as a queue has at most, and no more; each refusal is counted and gives back what
 * was lent. */
static void a_queue_has_an_end(void **state)
{
    static const char piece[OUTPUT_COPY_BELOW];
    weir_loop_stats stats;
    unsigned sent = 0;
    int result;
    pair();
    while ((result = weir_send(it.near, weir_static(piece, sizeof piece))) >= 0)
        sent++;
    assert_int_equal(result, WEIR_EFULL);
    assert_int_equal(sent, LIMIT_SEGMENTS_MAX);
    assert_int_equal(weir_send(it.near, weir_own("x", 1, release, NULL)), WEIR_EFULL);
    assert_int_equal(weir_send_file(it.near, 0, 0, 1, false), WEIR_EFULL);
    assert_int_equal(weir_send_pull(it.near, no_pull, NULL), WEIR_EFULL);
    assert_int_equal(weir_loop_stats_get(it.loop, &stats), 0);
    turn();
    assert_int_equal(it.released, 1);
    assert_int_equal(it.closes, 0);
    assert_int_equal(weir_abort(it.near), 0);
    while (it.closes < 2)
        turn();
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(addresses_that_are_none),
        CASE(a_run_within_a_loop),
        CASE(all_addresses_or_none),
        CASE(listeners_of_others),
        CASE(sends_that_are_none),
        CASE(questions_that_are_none),
        CASE(verbs_at_the_wrong_time),
        CASE(mail_that_is_none),
        CASE(memory_that_is_lent_to_nobody),
        CASE(memory_comes_back_with_the_end),
        CASE(a_queue_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
