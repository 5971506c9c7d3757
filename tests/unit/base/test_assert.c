#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

static char told[2048];

/* Runs `fails` in a child and keeps what it writes to standard error; returns its wait status. */
static int run(void (*fails)(void))
{
    int fd[2], status = 0;
    assert_int_equal(pipe(fd), 0);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL); /* cmocka catches it otherwise */
        dup2(fd[1], STDERR_FILENO);
        fails();
        _exit(0);
    }
    close(fd[1]);
    size_t size = 0;
    ssize_t got;
    while ((got = read(fd[0], told + size, sizeof(told) - 1 - size)) > 0)
        size += (size_t)got;
    told[size] = '\0';
    close(fd[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static int one = 1;

static void a_false_one(void)
{
    WEIR_ASSERT(one + one == 3);
}

static void a_true_one(void)
{
    WEIR_ASSERT(one + one == 2);
}

static void a_debug_one(void)
{
    WEIR_DEBUG_ASSERT(one++ == 5);
}

static void a_very_long_one(void)
{
    char name[2000];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    weir__assert_failed(name, "file.c", 1);
}

static void it_says_what_and_where_and_aborts(void **state)
{
    int status = run(a_false_one);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(told, "test_assert.c:"));
    assert_non_null(strstr(told, "this must hold: one + one == 3\n"));
    assert_ptr_equal(strchr(told, '\n'), told + strlen(told) - 1); /* one line */
    assert_int_equal(run(a_true_one), 0);
    assert_string_equal(told, "");
}

static void a_long_condition_is_cut_in_one_line(void **state)
{
    int status = run(a_very_long_one);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_string_equal(told + strlen(told) - 5, "x...\n");
}

static void debug_assertions_follow_ndebug(void **state)
{
    int status = run(a_debug_one);
#ifdef NDEBUG
    assert_int_equal(status, 0);
#else
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_and_where_and_aborts),
        cmocka_unit_test(a_long_condition_is_cut_in_one_line),
        cmocka_unit_test(debug_assertions_follow_ndebug),
    };
    return cmocka_run_group_tests_name("assert", tests, NULL, NULL);
}
