#include "app_test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <weir/error.h>

#include "app/http/filepath.h"

static struct filepath path;

static const struct http_text nothing = {NULL, 0};

static void good_paths(void **state)
{
    static const struct {
        const char *decoded, *mapped;
        bool directory;
    } cases[] = {
        {"/", ".", true},
        {"//", ".", true},
        {"/.", ".", true},
        {"/./", ".", true},
        {"/a", "a", false},
        {"/a/", "a", true},
        {"/a/.", "a", true},
        {"/a/b/c.txt", "a/b/c.txt", false},
        {"//a///b//", "a/b", true},
        {"/./a/./b", "a/b", false},
        {"/a b/\xE4\xB8\xAD", "a b/\xE4\xB8\xAD", false},
        {"/a\nb", "a\nb", false},
        {"/a..b", "a..b", false},
        {"/a..", "a..", false},
        {"/~user", "~user", false},
        {"/c:", "c:", false},
        {"/.well-known", ".well-known", false},
        {"/.well-known/acme-challenge/x", ".well-known/acme-challenge/x", false},
        {"/%2e%2e/x", "%2e%2e/x", false}, /* decoded once: these are characters of a name */
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(filepath_map(&path, text_of(cases[i].decoded), nothing, false), 0);
        assert_string_equal(path.text, cases[i].mapped);
        assert_int_equal(path.size, strlen(cases[i].mapped));
        assert_int_equal(path.directory, cases[i].directory);
    }
}

static void bad_paths(void **state)
{
    static const struct {
        struct http_text decoded;
        int error;
    } cases[] = {
        {{"", 0}, -EINVAL},
        {{NULL, 0}, -EINVAL},
        {{"a", 1}, -EINVAL},
        {{"*", 1}, -EINVAL},
        {{"/a\0b", 4}, -EINVAL},
        {{"/\0", 2}, -EINVAL},
        {{"/..", 3}, -EINVAL},
        {{"/../", 4}, -EINVAL},
        {{"/a/..", 5}, -EINVAL},
        {{"/a/../b", 7}, -EINVAL},
        {{"//..//", 6}, -EINVAL},
        {{"/.git", 5}, -ENOENT},
        {{"/.git/config", 12}, -ENOENT},
        {{"/a/.b", 5}, -ENOENT},
        {{"/...", 4}, -ENOENT},
        {{"/.well-known/.x", 15}, -ENOENT},
        {{"/a/.well-known/x", 16}, -ENOENT},
        {{"/.well-knownx", 13}, -ENOENT},
        {{"/..\\..\\etc", 10}, -ENOENT},
        {{"/a\\b", 4}, -ENOENT},
        {{"\\a", 2}, -EINVAL},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(filepath_map(&path, cases[i].decoded, nothing, false), cases[i].error);
}

static void hidden_by_option(void **state)
{
    assert_int_equal(filepath_map(&path, T("/.git/.x"), nothing, true), 0);
    assert_string_equal(path.text, ".git/.x");
    assert_int_equal(filepath_map(&path, T("/..."), nothing, true), 0);
    assert_int_equal(filepath_map(&path, T("/.."), nothing, true), -EINVAL);
    assert_int_equal(filepath_map(&path, T("/a/../b"), nothing, true), -EINVAL);
}

static void raw_form(void **state)
{
    assert_int_equal(filepath_map(&path, T("/a/b"), T("/a%2Fb"), false), -ENOENT);
    assert_int_equal(filepath_map(&path, T("/a/b"), T("/a%2fb"), false), -ENOENT);
    assert_int_equal(filepath_map(&path, T("/a/"), T("/a%2f"), false), -ENOENT);
    assert_int_equal(filepath_map(&path, T("/a\\b"), T("/a%5Cb"), false), -ENOENT);
    assert_int_equal(filepath_map(&path, T("/a%/b"), T("/a%25%2fb"), false), -ENOENT);
    assert_int_equal(filepath_map(&path, T("/a%2fb"), T("/a%252fb"), false), 0);
    assert_string_equal(path.text, "a%2fb");
    assert_int_equal(filepath_map(&path, T("/a b"), T("/a%20b"), false), 0);
    assert_int_equal(filepath_map(&path, T("/a"), T("/%61"), false), 0);
    assert_int_equal(filepath_map(&path, T("/a%2"), T("/a%2"), false), 0);
    assert_int_equal(filepath_map(&path, T("/.."), T("/%2e%2E"), false), -EINVAL);
}

static void lengths(void **state)
{
    char text[2 * FILEPATH_MAX];

    text[0] = '/';
    memset(text + 1, 'a', 256);
    assert_int_equal(filepath_map(&path, (struct http_text){text, 256}, nothing, false), 0);
    assert_int_equal(path.size, 255);
    assert_int_equal(filepath_map(&path, (struct http_text){text, 257}, nothing, false),
                     -ENAMETOOLONG);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 100 == 0 ? '/' : 'a';
    assert_int_equal(filepath_map(&path, (struct http_text){text, FILEPATH_MAX}, nothing, false),
                     0);
    assert_int_equal(path.size, FILEPATH_MAX - 1);
    assert_int_equal(path.text[path.size], '\0');
    assert_int_equal(
        filepath_map(&path, (struct http_text){text, FILEPATH_MAX + 1}, nothing, false),
        -ENAMETOOLONG);
    /* A full path has no room for an index. */
    assert_int_equal(filepath_map(&path, (struct http_text){text, FILEPATH_MAX}, nothing, false),
                     0);
    assert_int_equal(filepath_append(&path, T("index.html")), -ENAMETOOLONG);
    assert_int_equal(path.size, FILEPATH_MAX - 1);
    assert_int_equal(strlen(path.text), FILEPATH_MAX - 1);
    /* Slashes cost nothing. */
    memset(text, '/', sizeof(text));
    assert_int_equal(filepath_map(&path, (struct http_text){text, sizeof(text)}, nothing, false),
                     0);
    assert_string_equal(path.text, ".");
}

static void index_of_a_directory(void **state)
{
    char name[300];

    assert_int_equal(filepath_map(&path, T("/"), nothing, false), 0);
    assert_int_equal(filepath_append(&path, T("index.html")), 0);
    assert_string_equal(path.text, "index.html");
    assert_false(path.directory);
    assert_int_equal(filepath_map(&path, T("/docs/"), nothing, false), 0);
    assert_int_equal(filepath_append(&path, T("index.html")), 0);
    assert_string_equal(path.text, "docs/index.html");
    assert_int_equal(path.size, 15);
    assert_int_equal(filepath_map(&path, T("/"), nothing, false), 0);
    memset(name, 'x', sizeof(name));
    assert_int_equal(filepath_append(&path, (struct http_text){name, sizeof(name)}), -ENAMETOOLONG);
    assert_string_equal(path.text, ".");
    assert_int_equal(path.size, 1);
}

static void redirects(void **state)
{
    static const struct {
        const char *decoded, *prefix, *query, *location;
    } cases[] = {
        {"/a", "", NULL, "/a/"},
        {"/a/b", "", NULL, "/a/b/"},
        {"/a", "/static", NULL, "/static/a/"},
        {"/a", "", "x=1&y=%20", "/a/?x=1&y=%20"},
        {"/a", "", "", "/a/?"},
        {"/", "/static", NULL, "/static/"},
        /* Never another host. */
        {"//example.com", "", NULL, "/example.com/"},
        {"///example.com//x", "", NULL, "/example.com/x/"},
        /* Never another line, tag or attribute. */
        {"/a\r\nSet-Cookie: x", "", NULL, "/a%0D%0ASet-Cookie%3A%20x/"},
        {"/a", "", "x\r\nb: c\x80\"<>", "/a/?x%0D%0Ab:%20c%80%22%3C%3E"},
        {"/a?b#c%", "", NULL, "/a%3Fb%23c%25/"},
        {"/\xE4\xB8\xAD \xFF", "", NULL, "/%E4%B8%AD%20%FF/"},
        {"/a-._~b", "", NULL, "/a-._~b/"},
    };
    char out[256];

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(filepath_map(&path, text_of(cases[i].decoded), nothing, false), 0);
        int length =
            filepath_redirect(&path, cases[i].prefix, text_of(cases[i].query), out, sizeof(out));
        assert_string_equal(out, cases[i].location);
        assert_int_equal(length, strlen(out));
        /* Exactly enough room is enough, one less is not. */
        assert_int_equal(filepath_redirect(&path, cases[i].prefix, text_of(cases[i].query), out,
                                           (size_t)length + 1),
                         length);
        for (int room = 0; room <= length; room++)
            assert_int_equal(filepath_redirect(&path, cases[i].prefix, text_of(cases[i].query), out,
                                               (size_t)room),
                             WEIR_ETOOBIG);
    }
}

static void statuses(void **state)
{
    assert_int_equal(filepath_status(-EINVAL), 400);
    assert_int_equal(filepath_status(-ENOENT), 404);
    assert_int_equal(filepath_status(-ENOTDIR), 404);
    assert_int_equal(filepath_status(-ENAMETOOLONG), 404);
    assert_int_equal(filepath_status(-EXDEV), 404);
    assert_int_equal(filepath_status(-ELOOP), 404);
    assert_int_equal(filepath_status(-EACCES), 403);
    assert_int_equal(filepath_status(-EMFILE), 503);
    assert_int_equal(filepath_status(-EAGAIN), 503);
    assert_int_equal(filepath_status(-EIO), 500);
}

static int open_beneath(int root, bool symlinks)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC,
                           .resolve = filepath_resolve_flags(symlinks)};
    long fd = syscall(SYS_openat2, root, path.text, &how, sizeof(how));
    if (fd < 0)
        return -errno;
    close((int)fd);
    return 0;
}

/* What the mapped path and the flags do together, on a real directory. */
static void kernel_keeps_it_beneath_the_root(void **state)
{
    char folder[] = "/tmp/weir-filepath-XXXXXX", command[256];
    int root, fd;

    assert_non_null(mkdtemp(folder));
    root = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(root >= 0);
    assert_int_equal(mkdirat(root, "a", 0700), 0);
    fd = openat(root, "a/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(symlinkat("a/file", root, "inside"), 0);
    assert_int_equal(symlinkat("/etc/passwd", root, "outside"), 0);
    assert_int_equal(symlinkat("../..", root, "a/up"), 0);

    filepath_map(&path, T("//a/./file"), nothing, false);
    assert_int_equal(open_beneath(root, false), 0);
    filepath_map(&path, T("/"), nothing, false);
    assert_int_equal(open_beneath(root, false), 0);
    filepath_map(&path, T("/inside"), nothing, false);
    assert_int_equal(open_beneath(root, false), -ELOOP);
    assert_int_equal(open_beneath(root, true), 0);
    filepath_map(&path, T("/outside"), nothing, false);
    assert_int_equal(open_beneath(root, true), -EXDEV);
    filepath_map(&path, T("/a/up/x"), nothing, false);
    assert_int_equal(open_beneath(root, true), -EXDEV);
    filepath_map(&path, T("/a/file/index.html"), nothing, false);
    assert_int_equal(open_beneath(root, false), -ENOTDIR);
    close(root);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_paths),
        cmocka_unit_test(bad_paths),
        cmocka_unit_test(hidden_by_option),
        cmocka_unit_test(raw_form),
        cmocka_unit_test(lengths),
        cmocka_unit_test(index_of_a_directory),
        cmocka_unit_test(redirects),
        cmocka_unit_test(statuses),
        cmocka_unit_test(kernel_keeps_it_beneath_the_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
