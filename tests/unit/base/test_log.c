#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"

static struct {
    unsigned lines;
    enum weir_log_level level;
    int code;
    uint64_t handle;
    char text[2048];
} got;

static void keep(const weir_log_line *line, void *arg)
{
    assert_ptr_equal(arg, &got);
    got.lines++;
    got.level = line->level;
    got.code = line->code;
    got.handle = line->handle;
    snprintf(got.text, sizeof(got.text), "%s", line->text);
}

static uint64_t now_ns, wall_ns;

static uint64_t simulated_now(void *arg)
{
    return now_ns;
}

static uint64_t simulated_wall(void *arg)
{
    return wall_ns;
}

static uint64_t simulated_cpu(void *arg)
{
    return 0;
}

static void simulated_sleep(uint64_t ns, void *arg)
{
    now_ns += ns;
}

static const struct clock_source simulated = {simulated_now, simulated_wall, simulated_cpu,
                                              simulated_sleep, NULL};

static int start(void **state)
{
    memset(&got, 0, sizeof(got));
    return 0;
}

static int stop(void **state)
{
    weir_log_set(NULL, NULL, WEIR_LOG_OFF);
    weir__clock_set_source(NULL);
    return 0;
}

static void levels_and_fields_reach_the_sink(void **state)
{
    weir__log(WEIR_LOG_ERROR, 0, 0, "to nobody");
    assert_false(weir__log_enabled(WEIR_LOG_ERROR));
    weir_log_set(keep, &got, WEIR_LOG_WARN);
    assert_true(weir__log_enabled(WEIR_LOG_WARN));
    assert_false(weir__log_enabled(WEIR_LOG_INFO));
    weir__log(WEIR_LOG_INFO, 0, 0, "too talkative");
    assert_int_equal(got.lines, 0);
    weir__log(WEIR_LOG_WARN, WEIR_EFULL, 77, "%s %d", "number", 5);
    assert_int_equal(got.lines, 1);
    assert_int_equal(got.level, WEIR_LOG_WARN);
    assert_int_equal(got.code, WEIR_EFULL);
    assert_int_equal(got.handle, 77);
    assert_string_equal(got.text, "number 5");
    weir_log_set_level(WEIR_LOG_DEBUG);
    assert_int_equal(weir_log_level_now(), WEIR_LOG_DEBUG);
    weir__log(WEIR_LOG_DEBUG, 0, 0, "now");
    assert_int_equal(got.lines, 2);
    weir_log_set_level(WEIR_LOG_OFF);
    weir__log(WEIR_LOG_ERROR, 0, 0, "off");
    assert_int_equal(got.lines, 2);
    weir_log_set(NULL, NULL, WEIR_LOG_DEBUG);
    weir__log(WEIR_LOG_ERROR, 0, 0, "no sink");
    assert_int_equal(got.lines, 2);
}

static void a_long_text_says_that_it_was_cut(void **state)
{
    char longer[3000];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    weir_log_set(keep, &got, WEIR_LOG_WARN);
    weir__log(WEIR_LOG_WARN, 0, 0, "%.1024s", longer);
    assert_int_equal(strlen(got.text), 1024);
    assert_string_equal(got.text + 1020, "xxxx");
    weir__log(WEIR_LOG_WARN, 0, 0, "%.1025s", longer);
    assert_int_equal(strlen(got.text), 1024);
    assert_string_equal(got.text + 1020, "x...");
}

static void a_site_lets_one_line_a_second_through(void **state)
{
    static struct log_site site, other;
    char longer[2000];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    now_ns = 0; /* a clock may begin there */
    weir__clock_set_source(&simulated);
    weir_log_set(keep, &got, WEIR_LOG_WARN);
    for (int i = 0; i < 5; i++)
        weir__log_limited(&site, WEIR_LOG_WARN, 0, 0, "line %d", i);
    assert_int_equal(got.lines, 1);
    assert_string_equal(got.text, "line 0");
    weir__log_limited(&site, WEIR_LOG_DEBUG, 0, 0, "not even counted");
    weir__log_limited(&other, WEIR_LOG_WARN, 0, 0, "another site");
    assert_string_equal(got.text, "another site");
    now_ns += 999999999;
    weir__log_limited(&site, WEIR_LOG_WARN, 0, 0, "still too early");
    assert_int_equal(got.lines, 2);
    now_ns += 2;
    weir__log_limited(&site, WEIR_LOG_WARN, 0, 0, "later");
    assert_string_equal(got.text, "later (5 more held back)");
    now_ns += 1000000000;
    weir__log_limited(&site, WEIR_LOG_WARN, 0, 0, "again");
    assert_string_equal(got.text, "again");
    weir__log_limited(&site, WEIR_LOG_WARN, 0, 0, "held");
    now_ns += 1000000000;
    weir__log_limited(&site, WEIR_LOG_WARN, 0, 0, "%s", longer); /* the count is never cut */
    const char *end = "xxx... (1 more held back)";
    assert_string_equal(got.text + strlen(got.text) - strlen(end), end);
}

static void log_inside(const weir_log_line *line, void *arg)
{
    (*(unsigned *)arg)++;
    weir__log(WEIR_LOG_ERROR, 0, 0, "a sink must not, but must not hang either");
}

static void a_sink_that_logs_does_not_hang(void **state)
{
    unsigned lines = 0;
    weir_log_set(log_inside, &lines, WEIR_LOG_WARN);
    weir__log(WEIR_LOG_WARN, 0, 0, "once");
    assert_int_equal(lines, 1);
    weir__log(WEIR_LOG_WARN, 0, 0, "twice");
    assert_int_equal(lines, 2);
}

/* Swaps sinks under writers: a sink whose argument is gone must not be called any more. */
struct gauge {
    _Atomic bool valid;
    _Atomic unsigned lines;
};
static atomic_bool writers_stop;

static void count_line(const weir_log_line *line, void *arg)
{
    struct gauge *gauge = arg;
    if (!atomic_load(&gauge->valid))
        abort();
    atomic_fetch_add(&gauge->lines, 1);
}

static void *write_lines(void *arg)
{
    static struct log_site site;
    while (!atomic_load(&writers_stop)) {
        weir__log(WEIR_LOG_WARN, 0, 0, "a line");
        weir__log_limited(&site, WEIR_LOG_WARN, 0, 0, "a limited line");
    }
    return NULL;
}

static void sinks_are_swapped_under_load(void **state)
{
    pthread_t thread[3];
    static struct gauge gauges[2];
    unsigned lines = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_lines, NULL), 0);
    for (int i = 0; i < 300; i++) {
        struct gauge *gauge = &gauges[i % 2];
        atomic_store(&gauge->valid, true);
        weir_log_set(count_line, gauge, WEIR_LOG_WARN);
        atomic_store(&gauges[(i + 1) % 2].valid, false);
        if (i % 10 == 0)
            weir__clock_sleep_ns(100000);
        if (i % 7 == 0)
            weir_log_set(NULL, NULL, WEIR_LOG_WARN);
    }
    weir_log_set(NULL, NULL, WEIR_LOG_OFF);
    atomic_store(&writers_stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    lines = atomic_load(&gauges[0].lines) + atomic_load(&gauges[1].lines);
    assert_true(lines > 0);
}

static void after_a_fork_the_child_can_log(void **state)
{
    pthread_t thread;
    static struct gauge gauge;
    atomic_store(&gauge.valid, true);
    atomic_store(&writers_stop, false);
    weir_log_set(count_line, &gauge, WEIR_LOG_WARN);
    assert_int_equal(pthread_create(&thread, NULL, write_lines, NULL), 0);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(10);
            weir__log(WEIR_LOG_WARN, 0, 0, "from the child");
            weir_log_set(NULL, NULL, WEIR_LOG_OFF);
            _exit(0);
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    atomic_store(&writers_stop, true);
    pthread_join(thread, NULL);
}

/* What weir_log_to_fd writes for a line, read back from a pipe. */
static int pipe_fd[2];

static const char *written(const weir_log_line *line)
{
    static char bytes[8192];
    weir_log_to_fd(line, (void *)(intptr_t)pipe_fd[1]);
    ssize_t size = read(pipe_fd[0], bytes, sizeof(bytes) - 1);
    assert_true(size > 0 && size <= 4096);
    bytes[size] = '\0';
    return bytes;
}

static void lines_are_written_with_time_and_level(void **state)
{
    weir_log_line line = {.level = WEIR_LOG_INFO, .text = "hello"};
    assert_int_equal(pipe(pipe_fd), 0);
    weir__clock_set_source(&simulated);
    wall_ns = 1709210096789000000ull;
    assert_string_equal(written(&line), "2024-02-29T12:34:56.789Z info hello\n");
    line.code = WEIR_EGONE;
    line.handle = 0xabc;
    assert_string_equal(written(&line),
                        "2024-02-29T12:34:56.789Z info hello [WEIR_EGONE] [conn abc]\n");
    struct random random;
    random_seed(&random, 1);
    line = (weir_log_line){.level = WEIR_LOG_WARN, .text = ""};
    for (int i = 0; i < 2000; i++) { /* from 1970 to 2554 */
        wall_ns = i == 0 ? 0 : random_next(&random);
        time_t seconds = (time_t)(wall_ns / 1000000000);
        char expected[64];
        strftime(expected, sizeof(expected), "%FT%T.", gmtime(&seconds));
        const char *bytes = written(&line);
        assert_memory_equal(bytes, expected, strlen(expected));
        assert_string_equal(bytes + 23, "Z warn \n");
    }
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}

static void nothing_in_a_text_can_forge_a_line(void **state)
{
    static const struct {
        const char *text, *written;
    } cases[] = {
        {"a\nb\r\tc", "a\\x0ab\\x0d\\x09c"},
        {"\x1b[31mred\x7f", "\\x1b[31mred\\x7f"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\xc2\x9b"
         "31m",
         "\\xc2\\x9b31m"}, /* a control character of two bytes */
        {"\xff\xc3", "\\xff\\xc3"},
        {"\x9b", "\\x9b"},
    };
    assert_int_equal(pipe(pipe_fd), 0);
    weir_log_line line = {.level = WEIR_LOG_WARN};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        line.text = cases[i].text;
        const char *bytes = written(&line) + 30;
        assert_memory_equal(bytes, cases[i].written, strlen(cases[i].written));
        assert_string_equal(bytes + strlen(cases[i].written), "\n");
    }
    static char longer[20000]; /* a sink may be given more than weir itself ever writes */
    memset(longer, 1, sizeof(longer) - 1);
    line.text = longer;
    line.code = -ECONNRESET;
    const char *bytes = written(&line);
    assert_in_range(strlen(bytes), 4080, 4096);
    const char *end = "\\x01... [ECONNRESET]\n";
    assert_string_equal(bytes + strlen(bytes) - strlen(end), end);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}

static void a_reader_that_is_behind_costs_lines_not_time(void **state)
{
    weir_log_line line = {.level = WEIR_LOG_WARN, .text = "to be lost"};
    assert_int_equal(pipe(pipe_fd), 0);
    assert_true(fcntl(pipe_fd[1], F_SETPIPE_SZ, 4096) >= 4096);
    char page[4096] = {0};
    assert_int_equal(write(pipe_fd[1], page, 4000), 4000);
    uint64_t begin_ns = weir__clock_now_ns();
    for (int i = 0; i < 1000; i++)
        weir_log_to_fd(&line, (void *)(intptr_t)pipe_fd[1]);
    assert_true(weir__clock_now_ns() - begin_ns < 2000000000); /* one wait, not a thousand */
    assert_int_equal(read(pipe_fd[0], page, sizeof(page)), 4000);
    line.text = "first again";
    assert_non_null(strstr(written(&line), "warn first again [1000 lines lost]\n"));
    assert_null(strstr(written(&line), "lost"));
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}

static void a_closed_pipe_does_not_kill(void **state)
{
    weir_log_line line = {.level = WEIR_LOG_WARN, .text = "to nobody"};
    assert_int_equal(pipe(pipe_fd), 0);
    close(pipe_fd[0]);
    signal(SIGPIPE, SIG_DFL);
    weir_log_to_fd(&line, (void *)(intptr_t)pipe_fd[1]);
    close(pipe_fd[1]);
    weir_log_to_fd(&line, (void *)(intptr_t)pipe_fd[1]); /* not a descriptor any more */
    sigset_t pending;
    sigpending(&pending);
    assert_false(sigismember(&pending, SIGPIPE));
}

static void levels_have_names(void **state)
{
    assert_string_equal(weir_log_level_name(WEIR_LOG_ERROR), "error");
    assert_string_equal(weir_log_level_name(WEIR_LOG_WARN), "warn");
    assert_string_equal(weir_log_level_name(WEIR_LOG_INFO), "info");
    assert_string_equal(weir_log_level_name(WEIR_LOG_DEBUG), "debug");
    assert_string_equal(weir_log_level_name(WEIR_LOG_OFF), "off");
    assert_string_equal(weir_log_level_name((enum weir_log_level)99), "unknown");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(levels_and_fields_reach_the_sink),
        TEST(a_long_text_says_that_it_was_cut),
        TEST(a_site_lets_one_line_a_second_through),
        TEST(a_sink_that_logs_does_not_hang),
        TEST(sinks_are_swapped_under_load),
        TEST(after_a_fork_the_child_can_log),
        TEST(lines_are_written_with_time_and_level),
        TEST(nothing_in_a_text_can_forge_a_line),
        TEST(a_reader_that_is_behind_costs_lines_not_time),
        TEST(a_closed_pipe_does_not_kill),
        TEST(levels_have_names),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
