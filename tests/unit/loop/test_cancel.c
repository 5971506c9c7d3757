/* A back end that has no room to be asked for the end of an operation is asked again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <weir/service.h>

#include "base/clock.h"
#include "loop/loop.h"
#include "net/listener.h"

static struct io_ops shim;
static const struct io_ops *real;
static int refusals, asked;

static int cancel_refused(struct io *io, struct io_fd *fd, uint64_t token)
{
    asked++;
    if (refusals == 0)
        return real->cancel(io, fd, token);
    refusals--;
    return refusals % 2 != 0 ? -ENOMEM : -ENOBUFS;
}

/* A loop whose back end refuses the next `count` cancels. */
static weir_loop *loop_refusing(int count)
{
    weir_loop *loop;
    assert_int_equal(weir_loop_new(&loop, NULL), 0);
    real = loop->io->ops;
    shim = *real;
    shim.cancel = cancel_refused;
    loop->io->ops = &shim;
    refusals = count;
    asked = 0;
    assert_ptr_equal(weir_loop_enter(loop), NULL);
    return loop;
}

static void end(weir_loop *loop)
{
    uint64_t from_ns = weir__clock_now_ns();
    weir_loop_enter(NULL);
    assert_int_equal(loop_free(loop), 0);
    assert_true(weir__clock_now_ns() - from_ns < WEIR_S);
}

static void never(weir_watch *watch, int events, void *arg)
{
    abort();
}

/* Turns that sleep as long as they like: the one that owes a cancel does not. */
static void turns_until_idle(weir_loop *loop)
{
    uint64_t until_ns = weir__clock_now_ns() + 2 * WEIR_S;
    for (int i = 0; i < 20 && loop->io->ops->in_flight(loop->io) != 0; i++)
        assert_int_equal(weir_loop_turn(loop, until_ns), 0);
    assert_int_equal(loop->io->ops->in_flight(loop->io), 0);
    assert_true(weir__clock_now_ns() < until_ns - WEIR_S);
}

static void a_watch_ends_though_it_was_refused(void **state)
{
    int pipe_fds[2];
    weir_watch watch = {0};
    weir_loop *loop = loop_refusing(3);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(weir_poll(&watch, pipe_fds[0], POLLIN, never, NULL), 0);
    weir_watch_cancel(&watch);
    turns_until_idle(loop);
    assert_int_equal(asked, 4);
    end(loop);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void a_listener_ends_though_it_was_refused(void **state)
{
    weir_service service = {.listen = "tcp://127.0.0.1:0"};
    weir_listener listener;
    weir_loop *loop = loop_refusing(3);
    assert_int_equal(weir_listen(&listener, &service), 0);
    assert_int_equal(weir_listener_close(listener), 0);
    turns_until_idle(loop);
    assert_int_equal(asked, 4);
    assert_int_equal(loop->net->listeners.used, 0);
    end(loop);
}

/* Neither the end of the loop nor what it is asked for then depends on the first answer. */
static void a_loop_ends_though_it_was_refused(void **state)
{
    int pipe_fds[2];
    weir_watch canceled = {0}, left = {0};
    weir_service service = {.listen = "tcp://127.0.0.1:0"};
    weir_loop *loop = loop_refusing(9);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(weir_poll(&canceled, pipe_fds[0], POLLIN, never, NULL), 0);
    assert_int_equal(weir_poll(&left, pipe_fds[1], POLLPRI, never, NULL), 0);
    assert_int_equal(weir_listen(NULL, &service), 0);
    weir_watch_cancel(&canceled);
    end(loop);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_watch_ends_though_it_was_refused),
                                       cmocka_unit_test(a_listener_ends_though_it_was_refused),
                                       cmocka_unit_test(a_loop_ends_though_it_was_refused)};
    for (unsigned i = 0; i < 4; i++) {
        static const char *const backends[] = {"auto", "epoll", "poll", "select"};
        setenv("WEIR_BACKEND", backends[i], 1);
        int failed = cmocka_run_group_tests_name(backends[i], tests, NULL, NULL);
        if (failed != 0)
            return failed;
    }
    return 0;
}
