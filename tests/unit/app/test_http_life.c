/* Servers that end while others of their loop go on, handlers that outlive their clients, handles
 * that outlive everything. */
#include "http_harness.h"

static struct {
    unsigned began, left, canceled, gone, finished;
    weir_exchange late;
} seen;

static void nap(weir_exchange x, void *user)
{
    seen.began++;
    weir_time until = weir_after(strtoull(weir_http_param(x, "ms"), NULL, 10) * WEIR_MS);
    int result = weir_sleep(until);
    seen.left += result == WEIR_EGONE;
    if (result == WEIR_EGONE && user != NULL) { /* a further wait is not cut short by that */
        assert_true(weir_http_aborted(x));
        result = weir_sleep(until);
    }
    seen.canceled += result == WEIR_ECANCELED;
    /* Whoever was canceled does not get to wait again. */
    if (result == WEIR_ECANCELED)
        assert_int_equal(weir_sleep(weir_after(WEIR_S)), WEIR_ECANCELED);
    result = weir_http_text(x, 200, "rested");
    seen.gone += result == WEIR_EGONE;
    seen.finished += result == 0;
}

static void blocks(void *arg)
{
    const unsigned *ms = arg;
    usleep(*ms * 1000);
}

/* Its client's leaving does not call the worker back, and is told by the wait behind it. */
static void work(weir_exchange x, void *user)
{
    unsigned ms = (unsigned)strtoul(weir_http_param(x, "ms"), NULL, 10);
    seen.began++;
    (void)weir_offload(blocks, &ms, WEIR_NEVER);
    int result = weir_sleep(weir_after(WEIR_MS));
    seen.left += result == WEIR_EGONE;
    if (result == WEIR_EGONE)
        result = weir_sleep(weir_after(WEIR_MS));
    seen.canceled += result == WEIR_ECANCELED;
    result = weir_http_text(x, 200, "worked");
    seen.gone += result == WEIR_EGONE;
    seen.finished += result == 0;
}

static int cleans_up(void *arg)
{
    (void)weir_grace_begin();
    int result = weir_sleep(WEIR_NEVER);
    seen.canceled += result == WEIR_ECANCELED;
    return 0;
}

/* Has given what works for it an hour to clean up. */
static void tidy(weir_exchange x, void *user)
{
    weir_scope_options options = {.grace_ms = 3600000};
    weir_scope scope;
    int result = weir_scope_open(&scope, &options);
    assert_int_equal(result, 0);
    result = weir_scope_spawn(&scope, cleans_up, NULL);
    assert_int_equal(result, 0);
    (void)weir_yield();
    seen.began++;
    result = weir_scope_close(&scope);
    seen.left += result == WEIR_ECANCELED;
    result = weir_http_text(x, 200, "tidied");
    seen.gone += result == WEIR_EGONE;
}

static weir_chan *never; /* nobody sends there */

/* Its client leaves while a worker works: the next wait tells it. */
static void hold(weir_exchange x, void *user)
{
    unsigned ms = (unsigned)strtoul(weir_http_param(x, "ms"), NULL, 10);
    int result = weir_offload(blocks, &ms, WEIR_NEVER);
    assert_int_equal(result, 0);
    result = weir_chan_recv(never, NULL, WEIR_NEVER);
    seen.left += result == WEIR_EGONE;
    result = weir_sleep(weir_after(WEIR_MS));
    seen.finished += result == 0;
}

static int reads_for_another(void *arg)
{
    weir_view view;
    int result = weir_http_read(*(weir_exchange *)arg, &view, WEIR_NEVER);
    seen.gone += result == WEIR_EGONE;
    return 0;
}

/* Another coroutine reads the body, and is told too. */
static void share(weir_exchange x, void *user)
{
    weir_scope scope;
    int result = weir_scope_open(&scope, NULL);
    result += weir_scope_spawn(&scope, reads_for_another, &x);
    assert_int_equal(result, 0);
    result = weir_chan_recv(never, NULL, WEIR_NEVER);
    seen.left += result == WEIR_EGONE;
    result = weir_scope_leave(&scope, WEIR_NEVER);
    seen.finished += result == 0;
}

static void late(weir_exchange x, void *user)
{
    seen.late = x;
}

static void hello(weir_exchange x, void *user)
{
    weir_http_text(x, 200, "hello");
}

static int add_routes(weir_http_app *app)
{
    int result = weir_http_get(app, "/nap/{ms}", nap, NULL);
    result += weir_http_get(app, "/naps/{ms}", nap, &seen);
    result += weir_http_get(app, "/work/{ms}", work, NULL);
    result += weir_http_get(app, "/tidy", tidy, NULL);
    result += weir_http_get(app, "/hold/{ms}", hold, NULL);
    result += weir_http_post(app, "/share", share, NULL);
    result += weir_http_get(app, "/hello", hello, NULL);
    return result + weir_http_route(app, "GET", "/late", late, NULL, WEIR_HTTP_PLAIN);
}

static void ask(struct harness *h, int fd, const char *path)
{
    char request[128];
    int size = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    assert_int_equal(send(fd, request, (size_t)size, MSG_NOSIGNAL), size);
    harness_turns(h, 10);
}

static void one_of_two_servers_ends(void **state)
{
    struct harness h;
    weir_listener listener;
    static struct heard heard;
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(harness_begin(&h, NULL, add_routes), 0);
    weir_http_app *app = weir_http_app_new(NULL);
    assert_int_equal(add_routes(app), 0);
    harness_listen(&h, "b", app, &listener);

    int stays = harness_connect(&h, NULL), leaves = harness_connect(&h, "b");
    ask(&h, leaves, "/nap/60000");
    ask(&h, stays, "/nap/100");
    assert_int_equal(seen.began, 2);
    close(leaves);
    harness_unlisten(&h, listener);
    harness_turns(&h, 20);
    /* For all that is known it has only finished its direction: its handler goes on. */
    heard.size = 0;
    for (int i = 0; i < 500 && heard.size == 0; i++)
        harness_talk(&h, stays, "", 0, &heard);
    assert_non_null(strstr(heard.text, "rested"));
    assert_int_equal(seen.finished, 1);
    assert_int_equal(seen.canceled, 0);
    close(stays);
    assert_int_equal(seen.left, 0);
    harness_end(&h); /* ends what connections there are */
    assert_int_equal(seen.left, 1);
    assert_int_equal(seen.canceled, 0);
    assert_int_equal(seen.gone, 1);
    weir_http_app_free(app);
}

/* A server waits at its end for its workers; what others of its loop wait for meanwhile is not
 * canceled. */
static void a_server_ends_while_others_work(void **state)
{
    struct harness h;
    weir_listener listener;
    static struct heard heard;
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(harness_begin(&h, NULL, add_routes), 0);
    weir_http_app *app = weir_http_app_new(NULL);
    assert_int_equal(add_routes(app), 0);
    harness_listen(&h, "b", app, &listener);

    int stays = harness_connect(&h, NULL), leaves = harness_connect(&h, "b");
    ask(&h, leaves, "/hello"); /* unread when it closes: a unix socket is reset by that */
    ask(&h, leaves, "/work/500");
    ask(&h, stays, "/work/200");
    assert_int_equal(seen.began, 2);
    assert_int_equal(seen.finished, 0);
    harness_unlisten(&h, listener);
    close(leaves);
    harness_turns(&h, 30);
    assert_int_equal(seen.left, 1); /* the one whose server has ended */
    assert_int_equal(seen.gone, 1);
    assert_int_equal(seen.canceled, 1);
    heard.size = 0;
    for (int i = 0; i < 500 && heard.size == 0; i++)
        harness_talk(&h, stays, "", 0, &heard);
    assert_non_null(strstr(heard.text, "worked"));
    assert_int_equal(seen.finished, 1);
    assert_int_equal(seen.canceled, 1);
    close(stays);
    harness_end(&h);
    weir_http_app_free(app);
}

/* No time passes for a handler whose server ends: what it waits for is cut short. */
static void a_server_ends_while_one_cleans_up(void **state)
{
    struct harness h;
    weir_listener listener;
    static struct heard heard;
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(harness_begin(&h, NULL, add_routes), 0);
    weir_http_app *app = weir_http_app_new(NULL);
    assert_int_equal(add_routes(app), 0);
    harness_listen(&h, "b", app, &listener);

    int stays = harness_connect(&h, NULL), leaves = harness_connect(&h, "b");
    ask(&h, leaves, "/hello"); /* unread when it closes: a unix socket is reset by that */
    ask(&h, leaves, "/tidy");
    ask(&h, stays, "/nap/150");
    assert_int_equal(seen.began, 2);
    assert_int_equal(seen.left, 0);
    harness_unlisten(&h, listener);
    close(leaves);
    weir_time began = weir_now();
    harness_turns(&h, 30);
    assert_int_equal(seen.left, 1);
    assert_int_equal(seen.gone, 1);
    assert_int_equal(seen.canceled, 1);
    assert_true(weir_now() - began < 5 * WEIR_S);
    heard.size = 0;
    for (int i = 0; i < 500 && heard.size == 0; i++)
        harness_talk(&h, stays, "", 0, &heard);
    assert_non_null(strstr(heard.text, "rested")); /* the other's is none of that */
    close(stays);
    harness_end(&h);
    weir_http_app_free(app);
}

/* The client resets: its handler is woken, and waits on; that ends with its server. */
static void a_server_ends_with_its_last_client(void **state)
{
    struct harness h;
    weir_listener listener;
    static struct heard heard;
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(harness_begin(&h, NULL, add_routes), 0);
    weir_http_app *app = weir_http_app_new(NULL);
    assert_int_equal(add_routes(app), 0);
    harness_listen(&h, "b", app, &listener);

    int stays = harness_connect(&h, NULL), leaves = harness_connect(&h, "b");
    ask(&h, stays, "/nap/150");
    ask(&h, leaves, "/hello"); /* unread when it closes: a unix socket is reset by that */
    ask(&h, leaves, "/naps/60000");
    assert_int_equal(seen.began, 2);
    harness_unlisten(&h, listener);
    close(leaves);
    harness_turns(&h, 30);
    assert_int_equal(seen.left, 1);
    assert_int_equal(seen.canceled, 1); /* at once, for its server has ended */
    heard.size = 0;
    for (int i = 0; i < 500 && heard.size == 0; i++)
        harness_talk(&h, stays, "", 0, &heard);
    assert_non_null(strstr(heard.text, "rested"));
    assert_int_equal(seen.finished, 1);
    close(stays);
    harness_end(&h);
    weir_http_app_free(app);
}

/* It may wait for something else than time once its client is gone. */
static void who_waits_on_is_left_alone(void **state)
{
    struct harness h;
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(harness_begin(&h, NULL, add_routes), 0);
    int fd = harness_connect(&h, NULL);
    ask(&h, fd, "/hello");
    ask(&h, fd, "/naps/200");
    close(fd);
    harness_turns(&h, 20);
    assert_int_equal(seen.left, 1);
    assert_int_equal(seen.gone, 0);
    for (int i = 0; i < 2000 && seen.gone == 0; i++)
        harness_turns(&h, 1);
    assert_int_equal(seen.gone, 1); /* at its own time */
    assert_int_equal(seen.canceled, 0);
    harness_end(&h);
}

/* Whatever its handler waits for, and whoever else waits for the client. */
static void who_works_hears_that_its_client_left(void **state)
{
    static const char post[] = "POST /share HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n";
    struct harness h;
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(harness_begin(&h, NULL, add_routes), 0);
    assert_int_equal(weir_chan_new_shared(&never, 0, 0), 0);
    for (unsigned i = 0; i < 2; i++) {
        int fd = harness_connect(&h, NULL);
        ask(&h, fd, "/hello"); /* unread when it closes: a unix socket is reset by that */
        if (i == 0)
            ask(&h, fd, "/hold/50");
        else
            assert_int_equal(send(fd, post, strlen(post), MSG_NOSIGNAL), strlen(post));
        harness_turns(&h, 10);
        close(fd);
        for (int turns = 0; turns < 2000 && seen.finished == i; turns++)
            harness_turns(&h, 1);
        assert_int_equal(seen.left, i + 1);
        assert_int_equal(seen.gone, i);
        assert_int_equal(seen.finished, i + 1);
    }
    harness_end(&h);
    assert_int_equal(weir_chan_free(never), 0);
}

static void handles_outlive_their_servers(void **state)
{
    struct harness h;
    static struct heard heard;
    weir_exchange old[3];
    assert_int_equal(harness_begin(&h, NULL, add_routes), 0);
    weir_http_app *app = weir_http_app_new(NULL);
    assert_int_equal(add_routes(app), 0);
    weir_listener first;
    for (unsigned i = 0; i < COUNT(old); i++) {
        harness_listen(&h, "b", app, &first);
        int fd = harness_connect(&h, "b");
        ask(&h, fd, "/late");
        old[i] = seen.late;
        weir_loop *former = weir_loop_enter(h.loop);
        assert_false(weir_http_aborted(old[i]));
        for (unsigned other = 0; other < i; other++) {
            assert_true(old[other].id != old[i].id);
            assert_true(weir_http_aborted(old[other]));
            assert_int_equal(weir_http_text(old[other], 200, "wrong"), WEIR_EGONE);
            assert_int_equal(weir_http_set(old[other], "X", "y"), WEIR_EGONE);
            assert_int_equal(weir_http_path(old[other]).size, 0);
            assert_string_equal(weir_http_param(old[other], "ms"), "");
        }
        assert_int_equal(weir_http_text(old[i], 200, "right"), 0);
        assert_int_equal(weir_listener_close(first), 0);
        weir_loop_enter(former);
        harness_talk(&h, fd, "", 0, &heard);
        assert_non_null(strstr(heard.text, "right"));
        assert_null(strstr(heard.text, "wrong"));
        close(fd);
        harness_turns(&h, 10);
    }
    /* Outside of any loop a handle means nothing. */
    assert_int_equal(weir_http_text(old[0], 200, "x"), WEIR_EGONE);
    assert_int_equal(weir_http_respond(old[0], 200, NULL, weir_str("x")), WEIR_EGONE);
    assert_true(weir_http_aborted(old[0]));
    weir_view view;
    assert_int_equal(weir_http_read(old[0], &view, WEIR_NEVER), WEIR_EGONE);
    harness_end(&h);
    weir_http_app_free(app);
}

/* The only server of a loop ends, and another one begins there. */
static void handles_outlive_all_servers(void **state)
{
    weir_loop_options options = {.backend = "epoll"};
    struct harness h = {0};
    weir_exchange old[2];
    weir_listener listener;
    snprintf(h.name, sizeof(h.name), "weir-life-%d", (int)getpid());
    assert_int_equal(weir_loop_new(&h.loop, &options), 0);
    h.app = weir_http_app_new(NULL);
    assert_int_equal(add_routes(h.app), 0);
    for (unsigned i = 0; i < 2; i++) {
        harness_listen(&h, "b", h.app, &listener);
        int fd = harness_connect(&h, "b");
        ask(&h, fd, "/late");
        old[i] = seen.late;
        weir_loop *former = weir_loop_enter(h.loop);
        assert_int_equal(weir_http_text(old[i], 200, "right"), 0);
        assert_int_equal(weir_listener_close(listener), 0);
        weir_loop_enter(former);
        close(fd);
        harness_turns(&h, 30);
    }
    assert_true(old[0].id != old[1].id);
    harness_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_two_servers_ends),
        cmocka_unit_test(a_server_ends_with_its_last_client),
        cmocka_unit_test(a_server_ends_while_others_work),
        cmocka_unit_test(a_server_ends_while_one_cleans_up),
        cmocka_unit_test(who_waits_on_is_left_alone),
        cmocka_unit_test(who_works_hears_that_its_client_left),
        cmocka_unit_test(handles_outlive_their_servers),
        cmocka_unit_test(handles_outlive_all_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
