/* Binding to a path while calls fail, and while others make and remove what stands there: what is
 * told, how often it is tried, and that nothing of others is removed. */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "net/unix_path.h"
#include "net_support.h"

enum call { BIND, CONNECT, SOCKET, LSTAT, FSTAT, OPEN, CHMOD, FCHMOD, UNLINK, CALLS };

/* After `skip` calls as many as `times` fail. */
static struct plan {
    int skip, times, error, calls;
} plans[CALLS];

static bool fails(enum call call)
{
    struct plan *plan = &plans[call];
    int number = plan->calls++;
    if (number < plan->skip || number >= plan->skip + plan->times)
        return false;
    errno = plan->error;
    return true;
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

/* In the place of the C library's. */
int bind(int fd, const struct sockaddr *name, socklen_t size)
{
    return fails(BIND) ? -1
                       : REAL(int, "bind", int, const struct sockaddr *, socklen_t)(fd, name, size);
}

int connect(int fd, const struct sockaddr *name, socklen_t size)
{
    return fails(CONNECT)
               ? -1
               : REAL(int, "connect", int, const struct sockaddr *, socklen_t)(fd, name, size);
}

int socket(int family, int type, int protocol)
{
    return fails(SOCKET) ? -1 : REAL(int, "socket", int, int, int)(family, type, protocol);
}

int lstat(const char *path, struct stat *out)
{
    return fails(LSTAT) ? -1 : REAL(int, "lstat", const char *, struct stat *)(path, out);
}

int fstat(int fd, struct stat *out)
{
    return fails(FSTAT) ? -1 : REAL(int, "fstat", int, struct stat *)(fd, out);
}

int open(const char *path, int flags, ...)
{
    return fails(OPEN) ? -1 : REAL(int, "open", const char *, int, ...)(path, flags, 0600);
}

int chmod(const char *path, mode_t mode)
{
    return fails(CHMOD) ? -1 : REAL(int, "chmod", const char *, mode_t)(path, mode);
}

int fchmod(int fd, mode_t mode)
{
    return fails(FCHMOD) ? -1 : REAL(int, "fchmod", int, mode_t)(fd, mode);
}

int unlink(const char *path)
{
    return fails(UNLINK) ? -1 : REAL(int, "unlink", const char *)(path);
}

/* --- one path --------------------------------------------------------------------------------- */

static struct {
    char folder[64], path[96];
    weir_address address;
    struct weir__socket_file file;
    struct weir__socket_error error;
} it;

static int set_up(void **state)
{
    char url[128];
    memset(&it, 0, sizeof it);
    memset(plans, 0, sizeof plans);
    strcpy(it.folder, "/tmp/weir-unix-XXXXXX");
    if (mkdtemp(it.folder) == NULL)
        return -1;
    snprintf(it.path, sizeof it.path, "%s/s", it.folder);
    snprintf(url, sizeof url, "unix:%s", it.path);
    return weir_address_parse(url, &it.address, NULL);
}

static int tear_down(void **state)
{
    memset(plans, 0, sizeof plans);
    unlink(it.path);
    return rmdir(it.folder);
}

/* A socket file of somebody who does not listen any more. */
static void stale(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&it.address.socket, it.address.socket_size),
                     0);
    close(fd);
}

static bool there(void)
{
    struct stat stat;
    return lstat(it.path, &stat) == 0;
}

static void plan(enum call call, int skip, int times, int error)
{
    plans[call] = (struct plan){.skip = skip, .times = times, .error = error};
}

/* Binds, and forgets the plans, which were made before. */
static int tried(unsigned mode)
{
    const weir_socket_options options = {.unix_mode = mode};
    struct plan kept = plans[SOCKET];
    plans[SOCKET].times = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    plans[SOCKET] = kept;
    memset(&it.error, 0, sizeof it.error);
    int result = weir__unix_bind(fd, &it.address, &options, &it.file, &it.error);
    close(fd);
    for (unsigned i = 0; i < CALLS; i++)
        plans[i].times = 0;
    return result;
}

static void told(int result, int code, const char *option, const char *text)
{
    if (result != code || it.error.code != code || strstr(it.error.text, text) == NULL ||
        strcmp(it.error.what, option) != 0)
        fail_msg("%s of %s, \"%s\"; expected %s of %s, \"...%s\"", weir_error_name(result),
                 it.error.what, it.error.text, weir_error_name(code), option, text);
}

static void binds_that_are_refused(void **state)
{
    static const struct {
        int error;
        const char *fix;
    } rows[] = {{ENOENT, "(ENOENT): make its folder first"},
                {ENOTDIR, "(ENOTDIR): a part of the path is no folder"},
                {EACCES, "(EACCES): allow this user to write in its folder"},
                {EPERM, "(EPERM): allow this user to write in its folder"},
                {EROFS, "(EROFS): the file system is read-only; choose another folder"},
                {EIO, "(EIO)"}};
    for (unsigned i = 0; i < COUNT(rows); i++) {
        plan(BIND, 0, 1, rows[i].error);
        told(tried(0), -rows[i].error, "bind", rows[i].fix);
        assert_string_equal(it.error.text + strlen(it.error.text) - strlen(rows[i].fix),
                            rows[i].fix);
        assert_int_equal(plans[BIND].calls, 1);
    }
}

static void taken_and_gone(void **state)
{
    plan(BIND, 0, 99, EADDRINUSE);
    told(tried(0), -EADDRINUSE, "bind", "again and again");
    assert_int_equal(plans[BIND].calls, 3);
    plan(BIND, 0, 2, EADDRINUSE);
    assert_int_equal(tried(0), 0);
    assert_int_equal(plans[BIND].calls, 3);
    assert_true(it.file.inode != 0);
}

static void what_stands_there_cannot_be_seen(void **state)
{
    stale();
    plan(LSTAT, 0, 1, EACCES);
    told(tried(0), -EACCES, "bind", it.path);
    plan(SOCKET, 0, 1, EMFILE);
    told(tried(0), -EMFILE, "socket", it.path);
    plan(CONNECT, 0, 1, EACCES);
    told(tried(0), -EACCES, "bind", "whether anybody listens there cannot be told");
    plan(CONNECT, 0, 1, EPROTOTYPE);
    told(tried(0), -EEXIST, "bind", "a socket of another type");
    plan(CONNECT, 0, 1, EAGAIN);
    assert_true(tried(0) < 0); /* it lives: its queue is full */
    plan(CONNECT, 0, 1, EINPROGRESS);
    assert_true(tried(0) < 0);
    assert_true(there());
    plan(CONNECT, 0, 99, ENOENT);
    told(tried(0), -EADDRINUSE, "bind", "again and again");
    assert_true(there());
    assert_int_equal(tried(0), 0);
}

static void a_stale_one_that_was_replaced(void **state)
{
    stale();
    plan(LSTAT, 1, 1, EIO); /* the second look */
    assert_int_equal(tried(0), 0);
    assert_int_equal(plans[LSTAT].calls, 4); /* twice two */
    assert_int_equal(plans[UNLINK].calls, 1);
}

static void a_stale_one_that_cannot_be_removed(void **state)
{
    stale();
    plan(UNLINK, 0, 1, EACCES);
    told(tried(0), -EACCES, "bind", "a stale socket that cannot be removed");
    assert_int_equal(plans[BIND].calls, 2); /* of stale() one */
    plan(UNLINK, 0, 1, ENOENT);             /* somebody else was faster: it is tried again */
    assert_int_equal(tried(0), 0);
    assert_int_equal(plans[UNLINK].calls, 2);
}

/* Who cannot be sure of the file leaves it, but not its own. */
static void the_file_was_replaced(void **state)
{
    plan(OPEN, 0, 1, ENOENT);
    told(tried(0), -ESTALE, "bind", "was replaced while it was made");
    assert_int_equal(it.file.inode, 0);
    assert_true(there());
    plan(FSTAT, 0, 1, EIO);
    told(tried(0), -ESTALE, "bind", "was replaced while it was made");
    assert_true(there());
    assert_int_equal(tried(0), 0);
}

static void modes_that_are_refused(void **state)
{
    plan(FCHMOD, 0, 1, EPERM);
    told(tried(0600), -EPERM, "unix_mode", "option unix_mode was refused");
    assert_int_equal(plans[BIND].calls, 0);
    plan(CHMOD, 0, 1, EIO);
    told(tried(0600), -EIO, "unix_mode", "(EIO)");
    assert_null(strstr(it.error.text, "CAP_CHOWN"));
    assert_false(there()); /* its own is removed again */
    plan(CHMOD, 0, 1, EPERM);
    told(tried(0600), -EPERM, "unix_mode", "CAP_CHOWN");
    assert_false(there());
    assert_int_equal(tried(0600), 0);
    assert_int_equal(plans[CHMOD].calls, 2);
}

static void removing(void **state)
{
    const struct weir__socket_file nobodys = {0};
    assert_int_equal(tried(0), 0);
    struct weir__socket_file other = it.file;
    assert_int_equal(weir__socket_unlink(&it.address, &nobodys), 0);
    other.inode++;
    assert_int_equal(weir__socket_unlink(&it.address, &other), -ESTALE);
    other = it.file;
    other.device++;
    assert_int_equal(weir__socket_unlink(&it.address, &other), -ESTALE);
    plan(LSTAT, 0, 1, EACCES);
    assert_int_equal(weir__socket_unlink(&it.address, &it.file), -EACCES);
    plan(UNLINK, 0, 1, EROFS);
    assert_int_equal(weir__socket_unlink(&it.address, &it.file), -EROFS);
    assert_true(there());
    assert_int_equal(weir__socket_unlink(&it.address, &it.file), 0);
    assert_false(there());
    assert_int_equal(weir__socket_unlink(&it.address, &it.file), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(binds_that_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(taken_and_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_stands_there_cannot_be_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stale_one_that_was_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stale_one_that_cannot_be_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_file_was_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(modes_that_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(removing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
