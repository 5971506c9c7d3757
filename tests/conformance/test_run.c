/* weir_run: it ends whenever it is told to, however early. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
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

/* Some threads have not even left the barrier behind which all loops begin. */
static void run_rounds(enum weir_shape shape, int stops, int rounds)
{
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

K_MAIN(T(run_ends_when_stopped_at_its_start), T(run_ends_when_aborted_at_its_start))
