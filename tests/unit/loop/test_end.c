/* ctest: timeout=120 notsan
 * The end of a loop is bounded, whatever the files do that it works on. */
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
#include <weir/loop.h>

#include "base/clock.h"
#include "loop/limits.h"
#include "loop/loop.h"
#include "support/skip.h"

static weir_loop *loop_on(const char *backend)
{
    weir_loop_options options = {.backend = backend};
    weir_loop *loop = NULL;
    if (weir_loop_new(&loop, &options) < 0)
        skip_because("no such back end here");
    return loop;
}

static weir_time noted_at;
static char logged[256];

static void note(weir_loop *loop, int result, void *arg)
{
    *(int *)arg = result;
    noted_at = weir_now();
}

static void note_line(const weir_log_line *line, void *arg)
{
    snprintf(logged, sizeof logged, "%s", line->text);
}

static int block(void *arg)
{
    char byte;
    return (int)read(*(int *)arg, &byte, 1);
}

/* Starts one operation, ends the loop, and tells how long that took. */
static uint64_t end_ms(weir_loop *loop, const struct io_file *file, int *file_result, int *ended)
{
    weir_loop *former = loop_enter(loop);
    assert_int_equal(loop_file_start(loop, file, note, file_result, NULL), 0);
    loop_enter(former);
    assert_int_equal(weir_loop_turn(loop, 1), 0);
    uint64_t from_ns = weir__clock_now_ns();
    *ended = loop_free(loop);
    return (weir__clock_now_ns() - from_ns) / WEIR_MS;
}

/* The ring can take back a read of a pipe that nobody writes to. */
static void a_file_that_waits_is_canceled(void **state)
{
    int pipe_fds[2], result = 1, ended;
    char byte;
    weir_loop *loop = loop_on("uring");
    assert_int_equal(pipe(pipe_fds), 0);
    struct io_file file = {
        .verb = IO_FILE_READ, .fd = pipe_fds[0], .buffer = &byte, .size = 1, .offset = -1};
    uint64_t from_ns = weir__clock_now_ns(), took_ms = end_ms(loop, &file, &result, &ended);
    assert_int_equal(ended, 0);
    assert_int_equal(result, -ECANCELED);
    assert_true(noted_at >= from_ns + LIMIT_END_FILES_MS * WEIR_MS); /* the loop's time goes on */
    assert_in_range(took_ms, LIMIT_END_FILES_MS - 1, LIMIT_END_MS - 1);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* Nobody can take back a call that a worker thread is in: the loop ends without it, and what it
 * comes back to later is still there. */
static void a_call_that_does_not_return_is_left_behind(void **state)
{
    static int pipe_fds[2]; /* the worker outlives this function */
    int result = 1, ended;
    weir_loop *loop = loop_on("epoll");
    assert_int_equal(pipe(pipe_fds), 0);
    struct io_file file = {.verb = IO_FILE_CALL, .call = block, .arg = &pipe_fds[0]};
    weir_log_set(note_line, NULL, WEIR_LOG_ERROR);
    uint64_t took_ms = end_ms(loop, &file, &result, &ended);
    weir_log_set(NULL, NULL, WEIR_LOG_INFO);
    assert_int_equal(ended, WEIR_ETIMEDOUT);
    assert_non_null(strstr(logged, "1 operations in flight, 1 of them its own"));
    assert_int_equal(result, 1);
    assert_in_range(took_ms, LIMIT_END_MS - 1, 2 * LIMIT_END_MS);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    usleep(100000);
    close(pipe_fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_waits_is_canceled),
        cmocka_unit_test(a_call_that_does_not_return_is_left_behind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
