/* Unix sockets in the file system: stale ones are replaced, nothing else is ever removed. */
#include "net/unix_path.h"
#include "unit/net/net_support.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

static char folder[64];

static int make_folder(void **state)
{
    strcpy(folder, "/tmp/weir-test-unix-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(dir), entry->d_name, entry->d_type == DT_DIR ? AT_REMOVEDIR : 0);
    if (dir != NULL)
        closedir(dir);
    return rmdir(folder);
}

/* The path of a name in the test's folder; two may be in use at a time. */
static const char *path_of(const char *name)
{
    static char paths[2][128];
    static int turn;

    turn = !turn;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", folder, name);
    return paths[turn];
}

static weir_address address_at(const char *name)
{
    char text[160];

    snprintf(text, sizeof text, "unix:%s", path_of(name));
    return address_of(text);
}

static bool exists(const char *name)
{
    struct stat stat;

    return lstat(path_of(name), &stat) == 0;
}

static int try_listen(const weir_address *address, const weir_socket_options *options,
                      struct weir__socket_file *file, struct weir__socket_error *error)
{
    struct weir__socket_how how = {.bind_wait_ms = -1, .file = file};

    return weir__socket_listen(address, options, &how, error);
}

static bool can_connect(const weir_address *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool can = connect(fd, (const struct sockaddr *)&address->socket, address->socket_size) == 0;

    close(fd);
    return can;
}

static void test_stale_is_replaced(void **state)
{
    weir_address address = address_at("s");
    struct weir__socket_file first, second;
    struct weir__socket_error error;
    int fd = try_listen(&address, NULL, &first, &error);

    assert_true(fd >= 0);
    assert_true(first.inode != 0);
    close(fd); /* as after a crash: the file stays */
    assert_true(exists("s"));
    fd = try_listen(&address, NULL, &second, &error);
    if (fd < 0)
        fail_msg("%s", error.text);
    assert_true(can_connect(&address));
    assert_int_equal(weir__socket_unlink(&address, &second), 0);
    assert_false(exists("s"));
    assert_int_equal(weir__socket_unlink(&address, &second), 0);
    close(fd);
}

static void test_live_is_left_alone(void **state)
{
    weir_address address = address_at("live");
    struct weir__socket_file file, none;
    struct weir__socket_error error;
    weir_socket_options options = {.backlog = 1};
    int fd = try_listen(&address, &options, &file, &error), clients[8];
    char pid[32];

    assert_true(fd >= 0);
    assert_int_equal(try_listen(&address, NULL, &none, &error), -EADDRINUSE);
    snprintf(pid, sizeof pid, "(pid %d, this process)", (int)getpid());
    assert_non_null(strstr(error.text, pid));
    assert_int_equal(none.inode, 0);
    /* One that is too busy to take another connection is alive too. */
    for (size_t i = 0; i < COUNT(clients); i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(clients[i], (struct sockaddr *)&address.socket, address.socket_size) < 0)
            assert_int_equal(errno, EAGAIN);
    }
    assert_int_equal(try_listen(&address, NULL, NULL, &error), -EADDRINUSE);
    assert_true(exists("live"));
    for (size_t i = 0; i < COUNT(clients); i++)
        close(clients[i]);
    weir__socket_unlink(&address, &file);
    close(fd);
}

/* Files, links, folders and sockets of other types are never removed. */
static void test_others_are_left_alone(void **state)
{
    static const char *const names[] = {"file", "link", "folder", "datagram"};
    static const char *const words[] = {"a regular file", "a symbolic link", "a folder",
                                        "another type"};
    weir_address address = address_at("datagram");
    struct weir__socket_error error;
    int file = open(path_of("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    int datagram = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), stale;

    assert_true(file >= 0);
    close(file);
    assert_int_equal(mkdir(path_of("folder"), 0700), 0);
    assert_int_equal(bind(datagram, (struct sockaddr *)&address.socket, address.socket_size), 0);
    /* The link leads to a stale socket: still it is not ours to remove. */
    address = address_at("stale");
    stale = try_listen(&address, NULL, NULL, &error);
    close(stale);
    assert_int_equal(symlink(path_of("stale"), path_of("link")), 0);
    for (size_t i = 0; i < COUNT(names); i++) {
        address = address_at(names[i]);
        assert_int_equal(try_listen(&address, NULL, NULL, &error), -EEXIST);
        if (strstr(error.text, words[i]) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", error.text, words[i]);
        assert_true(exists(names[i]));
    }
    assert_true(exists("stale"));
    close(datagram);
}

static void test_access(void **state)
{
    weir_socket_options options = {.unix_mode = 0606};
    weir_address address = address_at("mode");
    struct weir__socket_error error;
    struct stat stat;
    mode_t mask = umask(0077);
    int fd = try_listen(&address, &options, NULL, &error);

    umask(mask);
    assert_true(fd >= 0);
    assert_int_equal(lstat(path_of("mode"), &stat), 0);
    assert_int_equal(stat.st_mode & 0777, 0606);
    close(fd);
    if (geteuid() != 0)
        SKIP("only root can give a file away; the mode was checked");
    options = (weir_socket_options){
        .unix_owner = WEIR_SOME(65534), .unix_group = WEIR_SOME(1), .unix_mode = 0660};
    fd = try_listen(&address, &options, NULL, &error);
    assert_true(fd >= 0);
    assert_int_equal(lstat(path_of("mode"), &stat), 0);
    assert_int_equal(stat.st_uid, 65534);
    assert_int_equal(stat.st_gid, 1);
    assert_int_equal(stat.st_mode & 0777, 0660);
    close(fd);
}

static void give_away(struct report *report, const void *arg)
{
    weir_socket_options options = {.unix_owner = WEIR_SOME(0)};
    struct weir__socket_how how = {.bind_wait_ms = -1};

    report->result = become_nobody() < 0 ? CHILD_CANNOT
                                         : weir__socket_listen(arg, &options, &how, &report->error);
}

static void test_access_refused(void **state)
{
    weir_address address = address_at("theirs");
    weir_socket_options mode = {.unix_mode = 0660};
    struct weir__socket_error error;
    struct report report;

    if (geteuid() != 0)
        SKIP("a folder that another user may write in needs root");
    assert_int_equal(chmod(folder, 0777), 0);
    report = in_child(give_away, &address);
    assert_int_equal(chmod(folder, 0700), 0);
    if (report.result == CHILD_CANNOT)
        SKIP("this process cannot change its user");
    assert_int_equal(report.result, -EPERM);
    assert_string_equal(report.error.what, "unix_owner");
    assert_false(exists("theirs"));

    report = in_child(give_away, &address); /* now the folder is closed */
    assert_int_equal(report.result, -EACCES);
    assert_non_null(strstr(report.error.text, "folder"));

    /* An abstract name cannot be protected, and a mode that does nothing is a trap. */
    address = address_of("unix:@weir-test-mode");
    assert_int_equal(try_listen(&address, &mode, NULL, &error), WEIR_EINVALID);
    assert_non_null(strstr(error.text, "unix:@weir-test-mode"));
}

/* After another program took the path over, its file is not removed. */
static void test_unlink_only_ours(void **state)
{
    weir_address address = address_at("ours");
    struct weir__socket_file first, second, none = {0};
    struct weir__socket_error error;
    int old = try_listen(&address, NULL, &first, &error), new;

    assert_true(old >= 0);
    assert_int_equal(rename(path_of("ours"), path_of("moved")), 0);
    new = try_listen(&address, NULL, &second, &error);
    assert_true(new >= 0);
    assert_int_equal(weir__socket_unlink(&address, &first), -ESTALE);
    assert_true(can_connect(&address));
    assert_int_equal(weir__socket_unlink(&address, &none), 0);
    assert_true(exists("ours"));
    assert_int_equal(weir__socket_unlink(&address, &second), 0);
    assert_false(exists("ours"));
    close(old);
    close(new);
}

static void test_no_folder(void **state)
{
    weir_address address = address_at("no/such");
    struct weir__socket_error error;

    assert_int_equal(try_listen(&address, NULL, NULL, &error), -ENOENT);
    assert_non_null(strstr(error.text, "folder"));
    address = address_of("unix:/weir-test-\xc3\xa9%0a/x");
    assert_int_equal(try_listen(&address, NULL, NULL, &error), -ENOENT);
    assert_non_null(strstr(error.text, "unix:/weir-test-%C3%A9%0A/x"));
}

/* The folder's lock is waited for, but somebody who holds it for ever costs a moment, no more. */
/* The folder that is locked: the current one for a bare name, the root for a name in it. */
static void test_folders_that_are_locked(void **state)
{
    static const char *const urls[] = {"unix:bare", "unix:/name"}, *const folders[] = {".", "/"};

    for (int i = 0; i < 2; i++) {
        weir_address address = address_of(urls[i]);
        struct unix_lock lock;
        struct stat locked, wanted;

        weir__unix_lock(&address, &lock);
        assert_true(lock.fd >= 0);
        assert_int_equal(fstat(lock.fd, &locked), 0);
        assert_int_equal(stat(folders[i], &wanted), 0);
        assert_int_equal(locked.st_ino, wanted.st_ino);
        assert_int_equal(locked.st_dev, wanted.st_dev);
        weir__unix_unlock(&lock);
        assert_int_equal(lock.fd, -1);
        weir__unix_unlock(&lock);
    }
}

static void test_lock_is_held(void **state)
{
    weir_address address = address_at("locked");
    struct weir__socket_error error;
    int lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int64_t start;
    int fd;

    assert_int_equal(flock(lock, LOCK_EX), 0);
    start = now_ms();
    fd = try_listen(&address, NULL, NULL, &error);
    assert_true(fd >= 0);
    assert_in_range(now_ms() - start, 40, 2000);
    close(fd);
    close(lock);
}

static void test_relative(void **state)
{
    weir_address address = address_of("unix:relative");
    struct weir__socket_file file;
    struct weir__socket_error error;
    char *before = getcwd(NULL, 0);
    int fd;

    assert_int_equal(chdir(folder), 0);
    fd = try_listen(&address, NULL, &file, &error);
    assert_true(fd >= 0);
    assert_true(exists("relative"));
    assert_true(can_connect(&address));
    assert_int_equal(weir__socket_unlink(&address, &file), 0);
    assert_false(exists("relative"));
    close(fd);
    assert_int_equal(chdir(before), 0);
    free(before);
}

enum { RACERS = 8, ROUNDS = 20 };

/* Several start at once over a stale socket: exactly one of them gets the path and keeps it. */
static void test_race(void **state)
{
    weir_address address = address_at("race");
    struct weir__socket_error error;
    int fd = try_listen(&address, NULL, NULL, &error);

    assert_true(fd >= 0);
    close(fd);
    for (int round = 0; round < ROUNDS; round++) {
        pid_t children[RACERS];
        int winners = 0, start[2], end[2], done[2], status;
        char byte;

        assert_int_equal(pipe(start) | pipe(end) | pipe(done), 0);
        for (int i = 0; i < RACERS; i++) {
            children[i] = fork();
            assert_true(children[i] >= 0);
            if (children[i] != 0)
                continue;
            close(start[1]);
            close(end[1]);
            if (read(start[0], &byte, 1) < 0)
                _exit(9);
            fd = try_listen(&address, NULL, NULL, &error);
            /* All stay until each has tried, so that the winner is alive for the others. */
            if (write(done[1], "x", 1) != 1 || read(end[0], &byte, 1) < 0)
                _exit(9);
            _exit(fd >= 0 ? 0 : fd == -EADDRINUSE ? 1 : 2);
        }
        close(start[0]);
        close(start[1]);
        for (int i = 0; i < RACERS; i++)
            assert_int_equal(read(done[0], &byte, 1), 1);
        assert_true(can_connect(&address));
        close(end[0]);
        close(end[1]);
        close(done[0]);
        close(done[1]);
        for (int i = 0; i < RACERS; i++) {
            assert_int_equal(waitpid(children[i], &status, 0), children[i]);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
            winners += WEXITSTATUS(status) == 0;
        }
        assert_int_equal(winners, 1);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stale_is_replaced),
        cmocka_unit_test(test_live_is_left_alone),
        cmocka_unit_test(test_others_are_left_alone),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_access_refused),
        cmocka_unit_test(test_unlink_only_ours),
        cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_folders_that_are_locked),
        cmocka_unit_test(test_lock_is_held),
        cmocka_unit_test(test_relative),
        cmocka_unit_test(test_race),
    };

    return cmocka_run_group_tests_name("unix path", tests, make_folder, remove_folder);
}
