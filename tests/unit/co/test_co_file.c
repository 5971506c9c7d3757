/* Waiting for file operations: their results, being sent away, and what outlives the waiter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/clock.h"
#include "co/co_file.h"

static const char *const backends[] = {"uring", "epoll", "poll", "select"};
enum { BACKENDS = sizeof backends / sizeof *backends };

static weir_loop *loop_on(const char *backend)
{
    weir_loop_options options = {.backend = backend};
    weir_loop *loop = NULL;
    return weir_loop_new(&loop, &options) == 0 ? loop : NULL;
}

struct job {
    struct co_file file; /* first */
    char path[64];
    char bytes[16];
    struct statx status;
    _Atomic int begun, go, dropped;
    int drop_result, results[5], ended;
};

static void drop(struct co_file *file, int result)
{
    struct job *job = weir_container(file, struct job, file);
    job->dropped++;
    job->drop_result = result;
}

static int blocking(void *arg)
{
    struct job *job = arg;
    job->begun = 1;
    while (!job->go)
        weir__clock_sleep_ns(1000000);
    return 42;
}

static void run(weir_loop *loop, void (*fn)(void *), struct job *job, int expected)
{
    weir_loop *former = loop_enter(loop);
    assert_int_equal(co_run(co_pool_of(loop, NULL), fn, job), expected);
    loop_enter(former);
}

static void turn_until(weir_loop *loop, const int *flag)
{
    for (int i = 0; i < 2000 && !*flag; i++)
        weir_loop_turn(loop, weir_now() + 5 * WEIR_MS);
    assert_true(*flag);
}

static void read_a_file(void *arg)
{
    struct job *job = arg;
    job->file.io = (struct io_file){
        .verb = IO_FILE_OPEN, .fd = AT_FDCWD, .path = job->path, .flags = O_RDONLY | O_NONBLOCK};
    int fd = job->results[0] = co_file_wait(&job->file);
    job->file.io = (struct io_file){.verb = IO_FILE_STAT,
                                    .fd = fd,
                                    .path = "",
                                    .flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
                                    .mode = STATX_SIZE,
                                    .statx = &job->status};
    job->results[1] = co_file_wait(&job->file);
    job->file.io = (struct io_file){
        .verb = IO_FILE_READ, .fd = fd, .buffer = job->bytes, .size = sizeof job->bytes};
    job->results[2] = co_file_wait(&job->file);
    job->file.io = (struct io_file){.verb = IO_FILE_CLOSE, .fd = fd};
    job->results[3] = co_file_wait(&job->file);
    job->file.io = (struct io_file){
        .verb = IO_FILE_OPEN, .fd = AT_FDCWD, .path = "/nowhere/at/all", .flags = O_RDONLY};
    job->results[4] = co_file_wait(&job->file);
    job->ended = 1;
}

static void results(void **state)
{
    for (int i = 0; i < BACKENDS; i++) {
        weir_loop *loop = loop_on(backends[i]);
        struct job job = {.file = {.drop = drop}, .path = "/tmp/weir-co-file-XXXXXX"};
        if (loop == NULL)
            continue;
        int fd = mkostemp(job.path, O_CLOEXEC);
        assert_int_equal(write(fd, "0123456789", 10), 10);
        close(fd);
        run(loop, read_a_file, &job, 0);
        turn_until(loop, &job.ended);
        unlink(job.path);
        assert_true(job.results[0] >= 0);
        assert_int_equal(job.results[1], 0);
        assert_int_equal(job.status.stx_size, 10);
        assert_int_equal(job.results[2], 10);
        assert_memory_equal(job.bytes, "0123456789", 10);
        assert_int_equal(job.results[3], 0);
        assert_int_equal(fcntl(job.results[0], F_GETFD), -1);
        assert_int_equal(job.results[4], -ENOENT);
        assert_int_equal(job.dropped, 0);
        weir_loop_free(loop);
    }
}

static void call_blocking(void *arg)
{
    struct job *job = arg;
    job->file.io = (struct io_file){.verb = IO_FILE_CALL, .call = blocking, .arg = job};
    job->results[0] = co_file_wait(&job->file);
    job->ended = 1;
}

static weir_loop *blocked(const char *backend, struct job *job)
{
    weir_loop *loop = loop_on(backend);
    if (loop == NULL)
        return NULL;
    run(loop, call_blocking, job, 0);
    for (int i = 0; i < 2000 && !job->begun; i++)
        weir_loop_turn(loop, weir_now() + WEIR_MS);
    assert_true(job->begun);
    assert_false(job->ended);
    return loop;
}

static void sent_away(void **state)
{
    for (int i = 0; i < BACKENDS; i++) {
        struct job job = {.file = {.drop = drop}};
        weir_loop *loop = blocked(backends[i], &job);
        if (loop == NULL)
            continue;
        weir_loop *former = loop_enter(loop);
        co_cancel_all(loop);
        loop_enter(former);
        assert_true(job.ended);
        assert_int_equal(job.results[0], WEIR_ECANCELED);
        assert_int_equal(job.dropped, 0); /* the worker is still at it */
        job.go = 1;
        for (int n = 0; n < 2000 && !job.dropped; n++)
            weir_loop_turn(loop, weir_now() + WEIR_MS);
        assert_int_equal(job.dropped, 1);
        assert_int_equal(job.drop_result, 42);
        weir_loop_free(loop);
        assert_int_equal(job.dropped, 1);
    }
}

enum { BUSY = 8, QUEUED = 4 }; /* more than there are workers; behind them */

/* Whatever it is resumed with, who is sent away hears that; what nobody has begun is not done. */
static void queued_is_withdrawn(void **state)
{
    for (int i = 0; i < BACKENDS; i++) {
        static struct job busy[BUSY], queued[QUEUED];
        struct co *waiter[QUEUED];
        weir_loop *loop = loop_on(backends[i]);
        int begun = 0;
        if (loop == NULL)
            continue;
        memset(busy, 0, sizeof busy);
        memset(queued, 0, sizeof queued);
        for (int n = 0; n < BUSY; n++) {
            busy[n].file.drop = drop;
            run(loop, call_blocking, &busy[n], 0);
        }
        for (int n = 0; n < QUEUED; n++) {
            queued[n].file.drop = drop;
            run(loop, call_blocking, &queued[n], 0);
            waiter[n] = queued[n].file.waiter;
        }
        weir_loop *former = loop_enter(loop);
        for (int n = 0; n < QUEUED; n++)
            assert_int_equal(co_resume(waiter[n], WEIR_EGONE), 1);
        loop_enter(former);
        for (int n = 0; n < QUEUED; n++) {
            assert_int_equal(queued[n].results[0], WEIR_ECANCELED);
            for (int turn = 0; turn < 2000 && !queued[n].dropped; turn++) /* workers are busy */
                weir_loop_turn(loop, weir_now() + 5 * WEIR_MS);
            assert_int_equal(queued[n].dropped, 1);
            assert_int_equal(queued[n].drop_result, -ECANCELED);
        }
        for (int n = 0; n < BUSY; n++)
            busy[n].go = 1;
        for (int n = 0; n < BUSY; n++) {
            turn_until(loop, &busy[n].ended);
            assert_int_equal(busy[n].results[0], 42);
        }
        for (int n = 0; n < QUEUED; n++)
            begun += queued[n].begun;
        assert_int_equal(begun, 0);
        weir_loop_free(loop);
    }
}

static void loop_ends(void **state)
{
    for (int i = 0; i < BACKENDS; i++) {
        struct job job = {.file = {.drop = drop}};
        weir_loop *loop = blocked(backends[i], &job);
        if (loop == NULL)
            continue;
        job.go = 1;
        weir_loop_free(loop); /* waits for the operation, but not for its waiter */
        assert_int_equal(job.results[0], WEIR_ECANCELED);
        assert_int_equal(job.dropped, 1);
    }
}

static void refused(void **state)
{
    struct job job = {.file = {.drop = drop}};
    assert_int_equal(co_file_wait(&job.file), WEIR_EMISUSE);
    weir_loop *loop = loop_on("epoll"), *former = loop_enter(loop);
    assert_int_equal(co_file_wait(&job.file), WEIR_EMISUSE);
    loop_enter(former);
    assert_int_equal(job.dropped, 0);
    loop->coroutines_ending = true; /* a wait that begins now is dropped at once */
    run(loop, call_blocking, &job, 1);
    loop->coroutines_ending = false;
    assert_int_equal(job.results[0], WEIR_ECANCELED);
    assert_int_equal(job.dropped, 1);
    assert_int_equal(job.begun, 0);
    weir_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results),
        cmocka_unit_test(sent_away),
        cmocka_unit_test(queued_is_withdrawn),
        cmocka_unit_test(loop_ends),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
