/* A coroutine that serves a connection is told once that it is gone: that cuts one wait short, the
 * next one where a verb has something else to say, and is never lost.
 * ctest: backends */
#include "unit/co/co_support.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "co/loop_co.h"

enum { LARGE = 8 << 20 };

static struct co *waiter; /* as one that serves a connection */
static struct loop_ready telling;
static weir_mutex mutex;
static weir_rwlock rwlock;
static weir_semaphore semaphore;
static weir_scope scope;
static weir_chan *chan;
static bool served;
static int closed;

static void tell(weir_loop *on, struct loop_ready *ready)
{
    co_tell(waiter, WEIR_EGONE);
}

/* Before whatever becomes ready from now on. */
static void tell_first(void)
{
    telling = (struct loop_ready){.run = tell};
    loop_ready_add(loop, &telling);
}

/* The wait behind the one that could not tell it does, and no other. */
static void hears_it_once(void)
{
    char item;
    CHECK(weir_chan_recv(chan, &item, WEIR_NEVER) == WEIR_EGONE);
    CHECK(weir_chan_recv(chan, &item, soon(1)) == WEIR_ETIMEDOUT);
    CHECK(weir_sleep(soon(1)) == 0);
}

static void begins_to_wait(void)
{
    waiter = co_current();
    note('w');
}

/* Runs `fn` until it waits. */
static void go_to_wait(weir_co_fn *fn)
{
    memset(&mutex, 0, sizeof mutex);
    memset(&rwlock, 0, sizeof rwlock);
    memset(&semaphore, 0, sizeof semaphore);
    go(fn, NULL);
    for (int i = 0; i < 1000 && trace[0] == 0; i++)
        turn_ms(2);
    turn();
}

static void end_of(weir_chan *which)
{
    finish();
    assert_int_equal(weir_chan_free(which), 0);
}

/* --- it has come already, and the coroutine has not run yet ----------------------------------- */

static void receives(void *arg)
{
    char item = 0;
    begins_to_wait();
    CHECK(weir_chan_recv(chan, &item, WEIR_NEVER) == 1 && item == 'x');
    hears_it_once();
}

static void an_item_came_first(void **state)
{
    assert_int_equal(weir_chan_new(&chan, 1, 0), 0);
    go_to_wait(receives);
    tell_first();
    assert_int_equal(weir_chan_send(chan, "x", 0), 0);
    end_of(chan);
}

/* Sent outside of its loop: the message that wakes it is on its way. */
static void an_item_of_another_loop_came_first(void **state)
{
    assert_int_equal(weir_chan_new_shared(&chan, 1, 0), 0);
    go_to_wait(receives);
    loop_enter(NULL);
    assert_int_equal(weir_chan_send(chan, "x", 0), 0);
    loop_enter(loop);
    co_tell(waiter, WEIR_EGONE);
    end_of(chan);
}

/* What it was given is its own, told or not. */
static void takes(void *arg)
{
    begins_to_wait();
    CHECK(weir_semaphore_take(&semaphore, 2, WEIR_NEVER) == 0);
    hears_it_once();
    CHECK(weir_semaphore_take(&semaphore, 1, 0) == WEIR_ETIMEDOUT);
    CHECK(weir_semaphore_give(&semaphore, 2) == 0);
}

static void permits_came_first(void **state)
{
    assert_int_equal(weir_chan_new(&chan, 1, 0), 0);
    go_to_wait(takes);
    tell_first();
    assert_int_equal(weir_semaphore_give(&semaphore, 2), 0);
    end_of(chan);
}

static void passes_locks_on(void *arg)
{
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    CHECK(weir_rwlock_write(&rwlock, WEIR_NEVER) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(weir_semaphore_take(&semaphore, 1, WEIR_NEVER) == 0);
        tell_first();
        CHECK((i == 0 ? weir_mutex_unlock(&mutex) : weir_rwlock_unlock(&rwlock)) == 0);
    }
}

static void locks(void *arg)
{
    go(passes_locks_on, NULL);
    CHECK(weir_yield() == 0);
    CHECK(weir_semaphore_give(&semaphore, 1) == 0);
    begins_to_wait();
    CHECK(weir_mutex_lock(&mutex, WEIR_NEVER) == 0);
    hears_it_once();
    CHECK(weir_semaphore_give(&semaphore, 1) == 0);
    CHECK(weir_rwlock_write(&rwlock, WEIR_NEVER) == 0);
    hears_it_once();
    CHECK(weir_mutex_unlock(&mutex) == 0);
    CHECK(weir_rwlock_unlock(&rwlock) == 0);
}

static void locks_came_first(void **state)
{
    assert_int_equal(weir_chan_new(&chan, 1, 0), 0);
    go_to_wait(locks);
    end_of(chan);
}

/* The end of what it waits for is one thing, that of whom it serves another. */
static void accepts(void *arg)
{
    weir_conn c;
    begins_to_wait();
    CHECK(weir_accept(*(weir_listener *)arg, &c, WEIR_NEVER) == WEIR_EGONE);
    hears_it_once();
}

static void the_end_of_a_listener_came_first(void **state)
{
    static const weir_service service = {.listen = "tcp://127.0.0.1:0", .straight = true};
    weir_listener listener;
    assert_int_equal(weir_chan_new(&chan, 1, 0), 0);
    assert_int_equal(weir_listen(&listener, &service), 0);
    go(accepts, &listener);
    for (int i = 0; i < 4; i++)
        turn_ms(1);
    tell_first();
    assert_int_equal(weir_listener_close(listener), 0);
    end_of(chan);
}

/* --- it cannot be called back ----------------------------------------------------------------- */

static _Atomic bool works;

static void blocks(void *arg)
{
    works = true;
    usleep(20000);
}

static void serves(weir_conn c, void *session)
{
    weir_view in;
    CHECK(weir_recv(c, &in, WEIR_NEVER) == 1);
    CHECK(weir_offload(blocks, NULL, WEIR_NEVER) == 0);
    hears_it_once();
    served = true;
}

static void on_close(weir_conn c, weir_end end, void *session)
{
    closed += served;
}

/* Its connection goes while a worker works for it. */
static void a_worker_worked(void **state)
{
    weir_service service = {.listen = "tcp://127.0.0.1:0", .on_conn = serves, .on_close = on_close};
    struct linger reset = {.l_onoff = 1};
    weir_listener listener;
    weir_address address;
    served = false;
    works = false;
    closed = 0;
    assert_int_equal(weir_chan_new(&chan, 1, 0), 0);
    assert_int_equal(weir_listen(&listener, &service), 0);
    assert_int_equal(weir_listener_address(listener, &address), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address.socket, address.socket_size), 0);
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    for (int i = 0; i < 1000 && !works; i++)
        turn_ms(5);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    for (int i = 0; i < 1000 && closed == 0; i++)
        turn_ms(5);
    assert_int_equal(closed, 1);
    assert_int_equal(weir_listener_close(listener), 0);
    end_of(chan);
}

static void sends(void *arg)
{
    static const weir_service service = {.straight = true, .socket.send_buffer_bytes = 8192};
    static char large[LARGE];
    weir_conn c;
    CHECK(weir_connect_wait(&c, arg, &service, soon(5000)) == 0);
    begins_to_wait();
    CHECK(weir_send_all(c, weir_bytes(large, sizeof large), WEIR_NEVER) == WEIR_ETORN);
    hears_it_once();
    CHECK(weir_close(c) == 0);
}

/* A part of it has left for another one. */
static void a_send_had_begun(void **state)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    char url[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", ntohs(name.sin_port));
    assert_int_equal(weir_chan_new(&chan, 1, 0), 0);
    go(sends, url);
    for (int i = 0; i < 1000 && trace[0] == 0; i++)
        turn_ms(5);
    for (int i = 0; i < 5; i++)
        turn_ms(2);
    co_tell(waiter, WEIR_EGONE);
    end_of(chan);
    close(fd);
}

static int sleeps(void *arg)
{
    return weir_sleep(WEIR_NEVER);
}

static void leaves(void *arg)
{
    CHECK(weir_scope_open(&scope, NULL) == 0);
    CHECK(weir_scope_spawn(&scope, sleeps, NULL) == 0);
    begins_to_wait();
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == WEIR_ECANCELED);
    hears_it_once();
}

/* It tells what has ended it. */
static void a_scope_was_canceled(void **state)
{
    assert_int_equal(weir_chan_new(&chan, 1, 0), 0);
    go_to_wait(leaves);
    tell_first();
    assert_int_equal(weir_scope_cancel(&scope), 0);
    end_of(chan);
}

static void leaves_for_it(void *arg)
{
    CHECK(weir_scope_open(&scope, NULL) == 0);
    CHECK(weir_scope_spawn(&scope, sleeps, NULL) == 0);
    begins_to_wait();
    CHECK(weir_scope_leave(&scope, WEIR_NEVER) == WEIR_EGONE);
    CHECK(weir_sleep(soon(1)) == 0);
}

static void a_scope_tells_it(void **state)
{
    go_to_wait(leaves_for_it);
    tell_first();
    finish();
}

/* --- what calls others ------------------------------------------------------------------------ */

static int tries;

static int sleeps_once(void *arg, weir_time deadline)
{
    return tries++ == 0 ? weir_sleep(WEIR_NEVER) : 0;
}

static void retries(void *arg)
{
    weir_retry_options options = {.first_ms = 1};
    begins_to_wait();
    CHECK(weir_retry(sleeps_once, NULL, &options, WEIR_NEVER) == WEIR_EGONE);
    CHECK(weir_sleep(soon(1)) == 0);
}

/* The try that heard it is the last. */
static void nothing_is_tried_again(void **state)
{
    tries = 0;
    go_to_wait(retries);
    tell_first();
    finish();
    assert_int_equal(tries, 1);
}

static int has_it_all_the_same(void *arg, weir_time deadline)
{
    return weir_sleep(WEIR_NEVER) == WEIR_ECANCELED ? 0 : -1;
}

static void hedges(void *arg)
{
    void *args[] = {NULL};
    begins_to_wait();
    CHECK(weir_hedge(has_it_all_the_same, args, 1, 0, WEIR_NEVER) == 0);
    hears_it_once();
}

static void an_attempt_succeeded(void **state)
{
    assert_int_equal(weir_chan_new(&chan, 1, 0), 0);
    go_to_wait(hedges);
    turn();
    tell_first();
    end_of(chan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_item_came_first),
        CASE(an_item_of_another_loop_came_first),
        CASE(permits_came_first),
        CASE(locks_came_first),
        CASE(the_end_of_a_listener_came_first),
        CASE(a_worker_worked),
        CASE(a_send_had_begun),
        CASE(a_scope_was_canceled),
        CASE(a_scope_tells_it),
        CASE(nothing_is_tried_again),
        CASE(an_attempt_succeeded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
