/* Loops among each other: their numbers, who wakes whom and when not, and what comes while one
 * ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <weir/error.h>
#include <weir/log.h>
#include <weir/service.h>

#include "base/alloc.h"
#include "loop/loop.h"

static weir_loop *loop_on(const char *backend)
{
    weir_loop *loop = NULL;
    assert_int_equal(weir_loop_new(&loop, &(weir_loop_options){.backend = backend}), 0);
    return loop;
}

/* --- numbers ---------------------------------------------------------------------------------- */

/* All numbers are taken: the next loop is refused, and nothing of it is left. */
static void there_are_1023_loops(void **state)
{
    static weir_loop *loops[LOOP_ID_MAX];
    struct rlimit limit;
    weir_loop *one_more = NULL;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < LOOP_ID_MAX + 100)
        skip();
    weir_loop_free(loop_on("poll"));
    for (int i = 0; i < LOOP_ID_MAX; i++)
        loops[i] = loop_on("poll");
    uint64_t live = weir__alloc_live();
    assert_int_equal(weir_loop_new(&one_more, &(weir_loop_options){.backend = "poll"}), WEIR_EFULL);
    assert_null(one_more);
    assert_int_equal(weir__alloc_live(), live);
    weir_loop_free(loops[500]);
    loops[500] = loop_on("poll"); /* one is free again, and the only one */
    for (int i = 0; i < LOOP_ID_MAX; i++)
        weir_loop_free(loops[i]);
}

/* Whoever looks for a loop that is gone leaves nothing that its number's next owner waits for. */
static void a_number_comes_back(void **state)
{
    weir_loop *loop = loop_on("poll");
    uint32_t id = weir_loop_id(loop);
    assert_ptr_equal(loop_pin(id), loop);
    loop_unpin(id);
    assert_null(loop_pin(0));
    assert_null(loop_pin(LOOP_ID_MAX + 1));
    weir_loop_free(loop);
    assert_null(loop_pin(id));
    for (loop = loop_on("poll"); weir_loop_id(loop) != id; loop = loop_on("poll"))
        weir_loop_free(loop);
    alarm(20);
    weir_loop_free(loop);
    alarm(0);
}

/* --- wakes ------------------------------------------------------------------------------------ */

static struct io_ops shim;
static const struct io_ops *real;
static int wakes, ran;

static void wake_counted(struct io *io)
{
    wakes++;
    real->wake(io);
}

static void count_task(weir_task *task, void *arg)
{
    ran++;
}

static void post_here(weir_timer *timer, void *arg)
{
    static weir_task tasks[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(weir_post(weir_loop_current(), &tasks[i], count_task, NULL), 0);
}

/* A wake is a system call: one for a loop that sleeps, none for one that is awake. */
static void only_sleepers_are_woken(void **state)
{
    weir_loop *loop = loop_on("epoll");
    weir_timer timer = {0};
    weir_task tasks[3] = {0};
    real = loop->io->ops;
    shim = *real;
    shim.wake = wake_counted;
    loop->io->ops = &shim;
    wakes = ran = 0;
    weir_loop_enter(loop);
    assert_int_equal(weir_timer_start(&timer, weir_after(2 * WEIR_MS), post_here, NULL), 0);
    while (ran < 2) /* posted by a handler, in a turn that slept before */
        assert_int_equal(weir_loop_turn(loop, WEIR_NEVER), 0);
    assert_int_equal(wakes, 0);
    weir_loop_enter(NULL);
    for (int i = 0; i < 3; i++) /* between turns nobody sleeps */
        assert_int_equal(weir_post(loop, &tasks[i], count_task, NULL), 0);
    assert_int_equal(wakes, 0);
    assert_int_equal(weir_loop_turn(loop, WEIR_NEVER), 0);
    assert_int_equal(ran, 5);
    assert_true(weir_loop_fd(loop) >= 0); /* from here on a host does */
    for (int i = 0; i < 3; i++)
        assert_int_equal(weir_post(loop, &tasks[i], count_task, NULL), 0);
    assert_int_equal(wakes, 1);
    assert_int_equal(weir_loop_turn(loop, WEIR_NEVER), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(weir_post(loop, &tasks[i], count_task, NULL), 0);
    assert_int_equal(wakes, 2);
    weir_loop_free(loop);
}

/* --- the end ---------------------------------------------------------------------------------- */

struct late {
    weir_loop *loop;
    weir_task task;
    int result;
};

static void *post_late(void *arg)
{
    struct late *late = arg;
    late->result = weir_post(late->loop, &late->task, count_task, NULL);
    weir_loop_stop(late->loop);
    return NULL;
}

static void close_and_post(weir_conn conn, weir_end end, void *session)
{
    struct late *late = weir_conn_user(conn);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, post_late, late), 0);
    pthread_join(thread, NULL);
}

/* Other threads may post until the very end, and are told that it is too late. */
static void posts_to_a_loop_that_ends(void **state)
{
    struct late late = {.loop = loop_on("epoll"), .result = 1};
    const weir_service service = {.on_close = close_and_post};
    ran = 0;
    weir_loop_enter(late.loop);
    assert_int_equal(weir_connect(NULL, "tcp://127.0.0.1:1", &service, &late), 0);
    weir_loop_enter(NULL);
    weir_loop_free(late.loop);
    assert_int_equal(late.result, WEIR_ESTOPPED);
    assert_int_equal(ran, 0);
}

/* --- records ---------------------------------------------------------------------------------- */

static void note_result(weir_loop *loop, int result, void *arg)
{
    *(int *)arg = result;
}

static int seven(void *arg)
{
    return 7;
}

static void files_give_their_records_back(void **state)
{
    struct io_file file = {.verb = IO_FILE_CALL, .call = seven};
    weir_loop *loop = loop_on("epoll");
    weir_loop_enter(loop);
    for (int i = 0; i < 5; i++) {
        int result = 0;
        assert_int_equal(loop_file_start(loop, &file, note_result, &result, NULL), 0);
        assert_int_equal(loop->ops.used, 1);
        while (result == 0)
            assert_int_equal(weir_loop_turn(loop, WEIR_NEVER), 0);
        assert_int_equal(result, 7);
        assert_int_equal(loop->ops.used, 0);
    }
    file.verb = 99; /* no such verb, or no room: nothing is taken */
    int result = 1;
    if (loop_file_start(loop, &file, note_result, &result, NULL) == 0) {
        while (result == 1)
            assert_int_equal(weir_loop_turn(loop, WEIR_NEVER), 0);
        assert_int_equal(result, WEIR_EINVALID);
    }
    assert_int_equal(loop->ops.used, 0);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
}

/* The ring can take back a read that waits; and a name that is used up names nothing. */
static void a_file_is_canceled_by_its_token(void **state)
{
    int fds[2], result = 1;
    char byte;
    uint64_t token = 0;
    weir_loop *loop = NULL;
    if (weir_loop_new(&loop, &(weir_loop_options){.backend = "uring"}) < 0)
        skip();
    assert_int_equal(pipe(fds), 0);
    struct io_file file = {
        .verb = IO_FILE_READ, .fd = fds[0], .buffer = &byte, .size = 1, .offset = -1};
    weir_loop_enter(loop);
    assert_int_equal(loop_file_start(loop, &file, note_result, &result, &token), 0);
    assert_int_equal(weir_loop_turn(loop, weir_after(WEIR_MS)), 0);
    assert_int_equal(result, 1);
    loop_file_cancel(loop, token);
    alarm(20);
    while (result == 1)
        assert_int_equal(weir_loop_turn(loop, WEIR_NEVER), 0);
    alarm(0);
    assert_int_equal(result, -ECANCELED);
    uint64_t cancels = loop->io->stats.spurious;
    loop_file_cancel(loop, token);
    assert_int_equal(weir_loop_turn(loop, weir_after(WEIR_MS)), 0);
    assert_int_equal(loop->io->stats.spurious, cancels);
    weir_loop_enter(NULL);
    weir_loop_free(loop);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_1023_loops),
        cmocka_unit_test(a_number_comes_back),
        cmocka_unit_test(only_sleepers_are_woken),
        cmocka_unit_test(posts_to_a_loop_that_ends),
        cmocka_unit_test(files_give_their_records_back),
        cmocka_unit_test(a_file_is_canceled_by_its_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
