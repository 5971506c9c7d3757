/* The static file server in one process: every allocation fails once, and nothing worse comes of it
 * than an error or a closed connection; the ends of a service while its handlers wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <weir/http.h>
#include <weir/weir.h>

#include "base/alloc.h"

enum { SMALL = 20000, LARGE = 3 << 20, ANSWER_MAX = 8 << 20 };

static char root[64];

static void put_file(const char *name, size_t size, int mode)
{
    char path[128];
    struct timespec old[2] = {{.tv_sec = 1577836800}, {.tv_sec = 1577836800}};
    snprintf(path, sizeof path, "%s/%s", root, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(futimens(fd, old), 0);
    close(fd);
}

static int make_root(void **state)
{
    char path[128];
    strcpy(root, "/tmp/weir-http-files-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof path, "%s/listed", root);
    assert_int_equal(mkdir(path, 0755), 0);
    put_file("small", SMALL, 0644);
    put_file("small.gz", 77, 0644);
    put_file("large", LARGE, 0644);
    put_file("listed/a", 1, 0644);
    put_file("listed/b", 2, 0644);
    return 0;
}

static int remove_root(void **state)
{
    static const char *const names[] = {"small",    "small.gz", "large", "listed/a",
                                        "listed/b", "listed",   "log",   ""};
    char path[128];
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", root, names[i]);
        remove(path);
    }
    return 0;
}

struct rig {
    weir_loop *loop;
    weir_http_app *app;
    weir_listener listener;
    char url[80], name[64], log[128];
    char *answer; /* what came on the last connection, and its size */
    size_t size;
};

static bool rig_open(struct rig *rig, const char *backend)
{
    static unsigned serial;
    weir_loop_options options = {.backend = backend};
    snprintf(rig->log, sizeof rig->log, "%s/log", root);
    weir_http_options http = {.access_log = rig->log};
    weir_http_files files = {.listing = true};
    weir_service service;
    if (weir_loop_new(&rig->loop, &options) < 0)
        return false;
    snprintf(rig->name, sizeof rig->name, "weir-http-files-%d-%u", getpid(), serial++);
    snprintf(rig->url, sizeof rig->url, "unix:@%s", rig->name);
    rig->app = weir_http_app_new(&http);
    assert_non_null(rig->app);
    assert_int_equal(weir_http_serve_files(rig->app, "/", root, &files), 0);
    weir_http_service(rig->app, rig->url, &service);
    weir_loop *former = weir_loop_enter(rig->loop);
    assert_int_equal(weir_listen(&rig->listener, &service), 0);
    weir_loop_enter(former);
    rig->answer = malloc(ANSWER_MAX);
    assert_non_null(rig->answer);
    return true;
}

static void rig_close(struct rig *rig)
{
    weir_loop_free(rig->loop);
    weir_http_app_free(rig->app);
    free(rig->answer);
}

static int dial(const struct rig *rig)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(rig->name);
    memcpy(address.sun_path + 1, rig->name, size);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + size);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, length), 0);
    return fd;
}

static void turns(struct rig *rig, int count)
{
    for (int i = 0; i < count; i++)
        weir_loop_turn(rig->loop, weir_now() + WEIR_MS);
}

/* One request on a connection of its own, until the server closes it. */
static void ask(struct rig *rig, const char *head)
{
    int fd = dial(rig);
    ssize_t got = -1;
    errno = EAGAIN;
    assert_int_equal(send(fd, head, strlen(head), MSG_NOSIGNAL), strlen(head));
    rig->size = 0;
    for (int i = 0; i < 3000 && got != 0; i++) {
        weir_loop_turn(rig->loop, weir_now() + WEIR_MS);
        while ((got = recv(fd, rig->answer + rig->size, ANSWER_MAX - rig->size, 0)) > 0)
            rig->size += (size_t)got;
        if (got < 0 && errno != EAGAIN)
            break;
    }
    assert_true(got == 0 || errno != EAGAIN); /* it does not hang */
    close(fd);
}

static int status_of(const struct rig *rig)
{
    return rig->size > 12 ? atoi(rig->answer + 9) : 0;
}

#define HEAD(target, fields) \
    "GET " target " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n" fields "\r\n"

static const char *const heads[] = {
    HEAD("/small", ""),
    HEAD("/small", "Accept-Encoding: gzip\r\n"),
    HEAD("/small", "Range: bytes=0-9,500-600\r\n"),
    HEAD("/large", ""),
    HEAD("/large",
         "Range: bytes=0-9,50000-60000\r\nIf-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\n"),
    HEAD("/listed", ""),
    HEAD("/listed/", ""),
    HEAD("/listed/", "Accept: application/json\r\n"),
    HEAD("/none", ""),
};
static const int statuses[] = {200, 200, 206, 200, 206, 301, 200, 200, 404};
enum { HEADS = sizeof heads / sizeof *heads };

static void every_allocation_fails(const char *backend)
{
    for (unsigned h = 0; h < HEADS; h++) {
        uint64_t n = 1, left = 0;
        for (; left == 0 && n < 500; n++) {
            struct rig rig = {0};
            if (!rig_open(&rig, backend))
                skip();
            weir__alloc_fail_at(n);
            ask(&rig, heads[h]);
            left = weir__alloc_fail_at(0);
            int status = status_of(&rig);
            if (status != statuses[h] && status != 0 && status != 503 && status != 500)
                fail_msg("request %u, allocation %llu: %d", h, (unsigned long long)n, status);
            ask(&rig, heads[h]);
            assert_int_equal(status_of(&rig), statuses[h]);
            rig_close(&rig);
        }
        assert_true(n > 3 && n < 500);
    }
}

static void no_memory_epoll(void **state)
{
    every_allocation_fails("epoll");
}

static void no_memory_uring(void **state)
{
    every_allocation_fails("uring");
}

/* The service goes away while handlers look at files: they are sent away, nothing is left. */
static void ends_while_looking(void **state)
{
    static const char *const backends[] = {"uring", "epoll", "poll", "select"};
    for (unsigned b = 0; b < 4; b++) {
        for (int count = 0; count < 12; count++) {
            struct rig rig = {0};
            int fds[HEADS];
            uint64_t before = weir__alloc_live();
            if (!rig_open(&rig, backends[b]))
                continue;
            for (unsigned h = 0; h < HEADS; h++) {
                fds[h] = dial(&rig);
                assert_true(send(fds[h], heads[h], strlen(heads[h]), MSG_NOSIGNAL) > 0);
            }
            turns(&rig, count);
            if (count % 2 == 0) { /* the clients leave first, then the listener goes */
                for (unsigned h = 0; h < HEADS; h++)
                    close(fds[h]);
                weir_loop *former = weir_loop_enter(rig.loop);
                weir_listener_close(rig.listener);
                weir_loop_enter(former);
                turns(&rig, count);
            }
            rig_close(&rig);
            for (unsigned h = 0; h < HEADS && count % 2 != 0; h++)
                close(fds[h]);
            assert_int_equal(weir__alloc_live(), before);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_epoll),
        cmocka_unit_test(no_memory_uring),
        cmocka_unit_test(ends_while_looking),
    };
    weir_log_set(NULL, NULL, WEIR_LOG_OFF);
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
