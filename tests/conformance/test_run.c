/* weir_run: it ends whenever it is told to, however early, and whatever goes on. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance/harness.h"

enum { ROUNDS = 40, LOOPS = 8, HANGS_AFTER_S = 60 };

/* A run that does not end can only be ended from outside. */
static void guard(unsigned seconds)
{
    alarm(seconds);
}

static void stop_times(void *times)
{
    for (int i = *(int *)times; i > 0; i--)
        weir_stop();
}

/* What is handed over to another loop cannot be a direct descriptor. */
static bool shape_fits(enum weir_shape shape)
{
    return shape != WEIR_SHAPE_ACCEPTOR || !world_feature("+direct");
}

/* Some threads have not even left the barrier behind which all loops begin. */
static void run_rounds(enum weir_shape shape, int stops, int rounds)
{
    if (!shape_fits(shape))
        return;
    guard(HANGS_AFTER_S);
    for (int i = 0; i < rounds; i++) {
        weir_service service = {.listen = "tcp://127.0.0.1:0"};
        weir_run_options options = {
            .shape = shape, .loops = LOOPS, .on_started = stop_times, .user = &stops};
        assert_int_equal(weir_run(&service, 1, &options), 0);
    }
    guard(0);
}

static void run_ends_when_stopped_at_its_start(void **state)
{
    run_rounds(WEIR_SHAPE_THREADS, 1, ROUNDS / 4); /* draining takes its time */
    run_rounds(WEIR_SHAPE_ACCEPTOR, 1, ROUNDS / 4);
    run_rounds(WEIR_SHAPE_SINGLE, 1, ROUNDS / 4);
}

static void run_ends_when_aborted_at_its_start(void **state)
{
    run_rounds(WEIR_SHAPE_THREADS, 2, ROUNDS);
    run_rounds(WEIR_SHAPE_ACCEPTOR, 2, ROUNDS);
    run_rounds(WEIR_SHAPE_SINGLE, 2, ROUNDS);
}

/* --- connections that come while it ends ------------------------------------------------------ */

static struct {
    _Atomic bool ended;
    _Atomic unsigned port; /* 0: nobody listens */
} flood;

static void *flood_connects(void *arg)
{
    static const struct linger at_once = {.l_onoff = 1};
    while (!flood.ended) {
        weir_address to;
        if (flood.port == 0 || weir_address_parse("tcp://127.0.0.1:1", &to, NULL) < 0) {
            usleep(100);
            continue;
        }
        weir_address_set_port(&to, flood.port);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fd, (struct sockaddr *)&to.socket, to.socket_size);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); /* no port stays taken */
        close(fd);
    }
    return NULL;
}

static void *stop_soon(void *arg)
{
    usleep(20000);
    weir_stop();
    weir_stop();
    return NULL;
}

static void flood_begins(void *thread)
{
    weir_address address;
    assert_int_equal(weir_run_address(0, &address), 0);
    flood.port = (unsigned)weir_address_port(&address);
    assert_int_equal(pthread_create(thread, NULL, stop_soon, NULL), 0);
}

/* What the loop that accepts has accepted last must not go to loops that are gone. */
static void run_is_aborted_while_clients_come(void **state)
{
    static const enum weir_shape shapes[] = {WEIR_SHAPE_ACCEPTOR, WEIR_SHAPE_THREADS};
    pthread_t client, stopper;
    flood.ended = false;
    assert_int_equal(pthread_create(&client, NULL, flood_connects, NULL), 0);
    guard(HANGS_AFTER_S);
    for (int i = 0; i < 24; i++) {
        if (!shape_fits(shapes[i % 2]))
            continue;
        weir_service service = {.listen = "tcp://127.0.0.1:0"};
        weir_run_options options = {
            .shape = shapes[i % 2], .loops = 2, .on_started = flood_begins, .user = &stopper};
        assert_int_equal(weir_run(&service, 1, &options), 0);
        flood.port = 0;
        pthread_join(stopper, NULL);
    }
    guard(0);
    flood.ended = true;
    pthread_join(client, NULL);
}

/* --- shape processes -------------------------------------------------------------------------- */

static int hang_up_early(weir_loop *loop, void *user)
{
    return raise(SIGHUP);
}

static void stop_all(weir_watch *watch, int number, void *arg)
{
    weir_stop();
}

static void watch_late(void *watch)
{
    assert_int_equal(weir_signal(watch, SIGHUP, stop_all, NULL), 0);
}

/* What the master passes on while a worker starts waits until that one could set a watch. */
static void run_keeps_a_workers_early_signals(void **state)
{
    static weir_watch watch;
    weir_service service = {.listen = "tcp://127.0.0.1:0", .on_loop_start = hang_up_early};
    weir_run_options options = {
        .shape = WEIR_SHAPE_PROCESSES, .loops = 1, .on_started = watch_late, .user = &watch};
    guard(HANGS_AFTER_S);
    assert_int_equal(weir_run(&service, 1, &options), 0);
    guard(0);
}

/* --- fork ------------------------------------------------------------------------------------- */

static struct {
    pid_t child;
    char path[64];
} forked;

static void fork_once(void *arg)
{
    int status;
    forked.child = fork();
    if (forked.child == 0)
        return; /* into weir_run */
    assert_int_equal(waitpid(forked.child, &status, 0), forked.child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(access(forked.path, F_OK), 0); /* it is still ours */
    weir_stop();
    weir_stop();
}

/* Where its other threads are not, it waits for none of them, and takes nothing from the parent. */
static void run_returns_in_a_child_of_a_handler(void **state)
{
    static const enum weir_shape shapes[] = {WEIR_SHAPE_SINGLE, WEIR_SHAPE_THREADS};
    char url[80];
    snprintf(forked.path, sizeof forked.path, "/tmp/weir-test-run-%d.sock", (int)getpid());
    snprintf(url, sizeof url, "unix:%s", forked.path);
    for (int i = 0; i < 2; i++) {
        weir_service service = {.listen = url};
        weir_run_options options = {.shape = shapes[i], .loops = 2, .on_started = fork_once};
        guard(20);
        int result = weir_run(&service, 1, &options);
        if (forked.child == 0)
            _exit(result == -EOWNERDEAD ? 0 : 1);
        assert_int_equal(result, 0);
        assert_int_equal(access(forked.path, F_OK), -1);
    }
    guard(0);
}

K_MAIN(T(run_ends_when_stopped_at_its_start), T(run_ends_when_aborted_at_its_start),
       T(run_is_aborted_while_clients_come), T(run_keeps_a_workers_early_signals),
       T(run_returns_in_a_child_of_a_handler))
