#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "support/skip.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"

static void a_variable_is_read(void **state)
{
    setenv("WEIR_TEST", "value", 1);
    assert_string_equal(weir__getenv("WEIR_TEST"), "value");
    setenv("WEIR_TEST", "", 1);
    assert_null(weir__getenv("WEIR_TEST"));
    unsetenv("WEIR_TEST");
    assert_null(weir__getenv("WEIR_TEST"));
}

/* A copy of this program that belongs to root and is set-uid, in a folder that all may enter. */
static void copy_self(const char *folder, char *path, size_t room)
{
    struct stat self_stat;
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(self, &self_stat), 0);
    snprintf(path, room, "%s/copy", folder);
    int copy = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    for (off_t offset = 0; offset < self_stat.st_size;)
        assert_true(sendfile(copy, self, &offset, (size_t)self_stat.st_size) > 0);
    assert_int_equal(fchmod(copy, 04755), 0);
    close(self);
    close(copy);
    assert_int_equal(chmod(folder, 0755), 0);
}

/* Runs the copy as another user; it answers with its exit status, see main. */
static int run_as(uid_t user, const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        char option[] = "--is-set", name[] = "copy", variable[] = "WEIR_TEST=value";
        char *arguments[] = {name, option, NULL};
        /* The leak checker cannot look into a process with other rights. */
        char sanitizer[] = "ASAN_OPTIONS=detect_leaks=0";
        char *environment[] = {variable, sanitizer, NULL};
        if (setresuid(user, user, user) == 0)
            execve(path, arguments, environment);
        _exit(99);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_set_uid_program_does_not_read_it(void **state)
{
    enum { NOBODY = 65534 };
    if (geteuid() != 0)
        skip_because("only root can make a set-uid program and run it as another user");
    char folder[] = "/tmp/weir-env-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    copy_self(folder, path, sizeof(path));
    int as_owner = run_as(0, path), as_other = run_as(NOBODY, path);
    unlink(path);
    rmdir(folder);
    assert_int_equal(as_owner, 10);
    if (as_other == 10 + 2)
        skip_because("/tmp is mounted nosuid");
    assert_int_equal(as_other, 11);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--is-set") == 0) {
        if (getenv("WEIR_TEST") == NULL)
            return 98;
        if (weir__getenv("WEIR_TEST") == NULL)
            return 11;
        return getuid() == 0 || geteuid() != getuid() ? 10 : 12;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_variable_is_read),
        cmocka_unit_test(a_set_uid_program_does_not_read_it),
    };
    return cmocka_run_group_tests_name("env", tests, NULL, NULL);
}
