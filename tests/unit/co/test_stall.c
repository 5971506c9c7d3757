/* A handler that does not yield is told with its stack, while it holds its loop: a coroutine, an
 * event's handler, one that computes, one that blocks, on any thread of any shape.
 * ctest: notsan */
#include "unit/co/co_support.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINES_MAX = 200, LINE_BYTES = 300 };

static char lines[LINES_MAX][LINE_BYTES];
static _Atomic int line_count;
static _Atomic bool traced; /* the last frame there is has been told */
static int released[2];     /* a pipe, for who blocks */
static weir_loop_options watched = {.backend = "epoll", .stall_ms = 30, .stall_trace = true};

/* The main program's end of the stack is the last line of each trace. */
static void keep_line(const weir_log_line *line, void *arg)
{
    /* Two threads log at once: the loop's, and the one that traces it. */
    int at = atomic_fetch_add(&line_count, 1);
    if (at < LINES_MAX)
        snprintf(lines[at], LINE_BYTES, "%s", line->text);
    if (strstr(line->text, "by a handler that goes on") != NULL) {
        atomic_store(&traced, true);
        if (released[1] != 0)
            assert_int_equal(write(released[1], "!", 1), 1);
    }
}

static void forget_lines(void)
{
    atomic_store(&line_count, 0);
    atomic_store(&traced, false);
}

/* Who is asked returns to it at once: then all of it has been written down. */
__attribute__((noinline)) static int spin_here(void)
{
    weir_time until = weir_now() + 20 * WEIR_S;
    struct timespec now;
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while (!atomic_load(&traced) && (uint64_t)now.tv_sec * WEIR_S < until);
    return (int)now.tv_sec;
}

__attribute__((noinline)) static int block_here(void)
{
    char byte = 0;
    while (read(released[0], &byte, 1) < 0 && errno == EINTR)
        ;
    return byte;
}

static void spinner(void *arg)
{
    CHECK(spin_here() != 0);
}

static void waits_and_spins(void *arg)
{
    CHECK(weir_yield() == 0);
    CHECK(spin_here() != 0);
}

static void blocker(void *arg)
{
    CHECK(block_here() == '!');
}

static void timer_spins(weir_timer *timer, void *arg)
{
    CHECK(spin_here() != 0);
    *(bool *)arg = true;
}

/* The line of the trace that is within a function, by its place in the file; -1: none. */
static int line_in(const void *fn, size_t size)
{
    Dl_info info;
    assert_int_not_equal(dladdr((void *)(uintptr_t)fn, &info), 0);
    size_t place = (size_t)((uintptr_t)fn - (uintptr_t)info.dli_fbase);
    int count = atomic_load(&line_count);
    for (int i = 0; i < count && i < LINES_MAX; i++) {
        const char *at = strrchr(lines[i], '+');
        size_t found = at != NULL ? strtoul(at + 1, NULL, 16) : 0;
        if (strncmp(lines[i], "    #", 5) == 0 && found >= place && found < place + size)
            return i;
    }
    return -1;
}

/* It names the function, whoever has called it, and the turn of the loop, in this order. What the
 * function calls comes before it, and what a sanitizer puts between; the log's own lines too. */
static void assert_trace(const void *fn, const void *caller)
{
    int at = line_in(fn, 400), above = line_in(caller, 400);
    int turn_at = line_in((const void *)(uintptr_t)weir_loop_turn, 3000);
    if (at < 0 || at > 10 || above <= at || turn_at <= above) {
        for (int i = 0; i < atomic_load(&line_count) && i < LINES_MAX; i++)
            print_error("%s\n", lines[i]);
        fail_msg("the function is in line %d, its caller in %d, the turn in %d", at, above,
                 turn_at);
    }
}

static void loop_begin(void)
{
    broke = running = start_count = 0;
    forget_lines();
    assert_int_equal(weir_loop_new(&loop, &watched), 0);
    former = loop_enter(loop);
}

static void run_one(weir_co_fn *fn)
{
    loop_begin();
    go(fn, NULL);
    finish();
    teardown(NULL); /* the watcher has ended, and so have its lines */
}

static void a_coroutine_that_spins(void **state)
{
    run_one(spinner);
    assert_trace((void *)(uintptr_t)spin_here, (void *)(uintptr_t)spinner);
    assert_non_null(strstr(lines[0], "loop "));
}

static void a_coroutine_that_waited_before(void **state)
{
    usleep(1100000); /* one trace a second */
    run_one(waits_and_spins);
    assert_trace((void *)(uintptr_t)spin_here, (void *)(uintptr_t)waits_and_spins);
}

static void a_handler_of_an_event(void **state)
{
    weir_timer timer = {{0}};
    bool fired = false;
    usleep(1100000);
    loop_begin();
    weir_timer_start(&timer, weir_after(WEIR_MS), timer_spins, &fired);
    for (int i = 0; i < 1000 && !fired; i++)
        turn_ms(5);
    assert_true(fired);
    teardown(NULL);
    assert_int_equal(broke, 0);
    assert_trace((void *)(uintptr_t)spin_here, (void *)(uintptr_t)timer_spins);
}

static void one_that_blocks(void **state)
{
    usleep(1100000);
    assert_int_equal(pipe(released), 0);
    run_one(blocker);
    close(released[0]);
    close(released[1]);
    released[0] = released[1] = 0;
    assert_true(line_in((void *)(uintptr_t)blocker, 400) > 0);
    assert_true(line_in((void *)(uintptr_t)weir_loop_turn, 3000) > 0);
}

/* --- on the threads of each shape ------------------------------------------------------------- */

static int dial(void)
{
    weir_address address;
    assert_int_equal(weir_run_address(0, &address), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address.socket, address.socket_size), 0);
    return fd;
}

static pthread_t spun_in, began_in;
static int peer;

static void serve(weir_conn c, void *session)
{
    spun_in = pthread_self();
    CHECK(spin_here() != 0);
    weir_stop();
}

static void started(void *user)
{
    began_in = pthread_self();
    peer = dial();
}

static void each_shape(void **state)
{
    static const enum weir_shape shapes[] = {WEIR_SHAPE_SINGLE, WEIR_SHAPE_THREADS,
                                             WEIR_SHAPE_ACCEPTOR};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        weir_service service = {.listen = "tcp://127.0.0.1:0", .on_conn = serve};
        weir_run_options options = {
            .shape = shapes[i], .loops = 2, .on_started = started, .loop = watched};
        usleep(1100000);
        forget_lines();
        broke = 0;
        assert_int_equal(weir_run(&service, 1, &options), 0);
        close(peer);
        assert_int_equal(broke, 0);
        assert_trace((void *)(uintptr_t)spin_here, (void *)(uintptr_t)serve);
        if (shapes[i] == WEIR_SHAPE_ACCEPTOR) /* which blocks all signals at first */
            assert_false(pthread_equal(spun_in, began_in));
    }
}

/* --- bounds ----------------------------------------------------------------------------------- */

static int traces(void)
{
    int count = 0;
    for (int i = 0; i < atomic_load(&line_count) && i < LINES_MAX; i++)
        count += strstr(lines[i], "by a handler that goes on") != NULL;
    return count;
}

static void spin_for(uint64_t ns)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t until = (uint64_t)now.tv_sec * WEIR_S + (uint64_t)now.tv_nsec + ns;
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((uint64_t)now.tv_sec * WEIR_S + (uint64_t)now.tv_nsec < until);
}

static void stall_often(void *arg)
{
    for (int i = 0; i < 25; i++) {
        spin_for(40 * WEIR_MS);
        CHECK(weir_yield() == 0);
    }
}

static void at_most_one_a_second(void **state)
{
    struct timespec from, to;
    usleep(1100000);
    clock_gettime(CLOCK_MONOTONIC, &from);
    run_one(stall_often);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_in_range(traces(), 1, to.tv_sec - from.tv_sec + 2);
    assert_true(traces() < 20);
}

static volatile sig_atomic_t foreign;

static void foreign_signal(int number)
{
    foreign++;
}

static void the_signal_is_borrowed(void **state)
{
    struct sigaction own = {.sa_handler = foreign_signal}, before, now;
    assert_int_equal(sigaction(SIGURG, &own, &before), 0);
    loop_begin();
    assert_int_equal(raise(SIGURG), 0);
    assert_int_equal(foreign, 1);
    assert_int_equal(sigaction(SIGURG, NULL, &now), 0);
    assert_true(now.sa_handler != foreign_signal);
    teardown(state);
    assert_int_equal(sigaction(SIGURG, NULL, &now), 0);
    assert_true(now.sa_handler == foreign_signal);
    /* And without the option it is not touched at all. */
    watched.stall_trace = false;
    loop_begin();
    watched.stall_trace = true;
    assert_int_equal(sigaction(SIGURG, NULL, &now), 0);
    assert_true(now.sa_handler == foreign_signal);
    go(stall_often, NULL);
    finish();
    teardown(state);
    assert_int_equal(traces(), 0);
    assert_int_equal(sigaction(SIGURG, &before, NULL), 0);
}

/* How often the program's handler is called for one signal. */
static int raised_foreign(void)
{
    int before = foreign;
    raise(SIGURG);
    return foreign - before;
}

static void child_of_a_watched_loop(void)
{
    struct sigaction now;
    int wrong = 0;
    alarm(20);
    loop_enter(NULL);
    wrong |= raised_foreign() != 1;
    wrong |= (weir_loop_after_fork(loop) != 0) << 1;
    sigaction(SIGURG, NULL, &now);
    wrong |= (now.sa_handler == foreign_signal) << 2; /* it is watched again */
    wrong |= (raised_foreign() != 1) << 3;
    weir_loop_free(loop);
    sigaction(SIGURG, NULL, &now);
    wrong |= (now.sa_handler != foreign_signal) << 4;
    _exit(wrong);
}

static void a_child_of_a_fork(void **state)
{
    struct sigaction own = {.sa_handler = foreign_signal}, before;
    int status = -1;
    assert_int_equal(sigaction(SIGURG, &own, &before), 0);
    loop_begin();
    turn_ms(1);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        child_of_a_watched_loop();
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(raised_foreign(), 1);
    teardown(state);
    assert_int_equal(sigaction(SIGURG, &before, NULL), 0);
}

static void no_event(weir_watch *watch, int number, void *arg)
{
}

/* Who watches the same signal puts back what he found: ours, when nobody looks any more. */
static void the_signal_is_put_back_by_others(void **state)
{
    struct sigaction own = {.sa_handler = foreign_signal}, before, now;
    weir_watch urgent = {0};
    assert_int_equal(sigaction(SIGURG, &own, &before), 0);
    loop_begin();
    assert_int_equal(weir_signal(&urgent, SIGURG, no_event, NULL), 0);
    teardown(state);
    assert_int_equal(raised_foreign(), 1);
    loop_begin();
    assert_int_equal(raised_foreign(), 1);
    teardown(state);
    assert_int_equal(sigaction(SIGURG, NULL, &now), 0);
    assert_true(now.sa_handler == foreign_signal);
    assert_int_equal(sigaction(SIGURG, &before, NULL), 0);
}

static int lines_with(const char *text)
{
    int count = 0;
    for (int i = 0; i < atomic_load(&line_count) && i < LINES_MAX; i++)
        count += strstr(lines[i], text) != NULL;
    return count;
}

/* A handler that the program sets while loops are watched stays, and is not called for us. */
static void the_program_takes_the_signal(void **state)
{
    struct sigaction own = {.sa_handler = foreign_signal}, before, now;
    usleep(1100000);
    assert_int_equal(sigaction(SIGURG, NULL, &before), 0);
    loop_begin();
    assert_int_equal(sigaction(SIGURG, &own, NULL), 0);
    foreign = 0;
    go(stall_often, NULL);
    finish();
    teardown(state);
    assert_int_equal(foreign, 0);
    assert_int_equal(traces(), 0);
    assert_int_equal(lines_with("has taken SIGURG"), 1);
    assert_int_equal(sigaction(SIGURG, NULL, &now), 0);
    assert_true(now.sa_handler == foreign_signal);
    assert_int_equal(sigaction(SIGURG, &before, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_coroutine_that_spins),
        cmocka_unit_test(a_coroutine_that_waited_before),
        cmocka_unit_test(a_handler_of_an_event),
        cmocka_unit_test(one_that_blocks),
        cmocka_unit_test(each_shape),
        cmocka_unit_test(at_most_one_a_second),
        cmocka_unit_test(the_signal_is_borrowed),
        cmocka_unit_test(a_child_of_a_fork),
        cmocka_unit_test(the_signal_is_put_back_by_others),
        cmocka_unit_test(the_program_takes_the_signal),
    };

    weir_log_set(keep_line, NULL, WEIR_LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
