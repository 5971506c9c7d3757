/* A whole HTTP server inside a test: a loop that is turned by hand, and clients on its own thread.
 */
#ifndef WEIR_TESTS_HTTP_HARNESS_H
#define WEIR_TESTS_HTTP_HARNESS_H

#include "app_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <weir/error.h>
#include <weir/http.h>
#include <weir/weir.h>

struct harness {
    weir_loop *loop;
    weir_http_app *app;
    char name[40]; /* of the abstract socket */
};

/* 0, or why the server could not be begun; nothing is left of it then. */
static inline int harness_begin(struct harness *h, const weir_http_options *options,
                                int (*routes)(weir_http_app *app))
{
    static unsigned count;
    weir_loop_options loop_options = {.backend = "epoll"};
    weir_service service;
    char url[80];
    memset(h, 0, sizeof(*h));
    snprintf(h->name, sizeof(h->name), "weir-http-%d-%u", (int)getpid(), count++);
    snprintf(url, sizeof(url), "unix:@%s", h->name);
    int result = weir_loop_new(&h->loop, &loop_options);
    if (result == 0) {
        h->app = weir_http_app_new(options);
        result = h->app == NULL ? WEIR_ENOMEM : routes(h->app);
    }
    if (result == 0) {
        weir_loop *former = weir_loop_enter(h->loop);
        weir_http_service(h->app, url, &service);
        service.linger_ms = 1;
        service.socket.send_buffer_bytes = 1 << 20;
        result = weir_listen(NULL, &service);
        weir_loop_enter(former);
    }
    if (result < 0) {
        weir_loop_free(h->loop);
        weir_http_app_free(h->app);
    }
    return result;
}

static inline void harness_end(struct harness *h)
{
    weir_loop_free(h->loop);
    weir_http_app_free(h->app);
}

/* Another address of the same loop. */
static inline void harness_listen(struct harness *h, const char *name, weir_http_app *app,
                                  weir_listener *out)
{
    weir_service service;
    char url[80];
    weir_loop *former = weir_loop_enter(h->loop);
    snprintf(url, sizeof(url), "unix:@%s-%s", h->name, name);
    weir_http_service(app, url, &service);
    service.linger_ms = 1;
    assert_int_equal(weir_listen(out, &service), 0);
    weir_loop_enter(former);
}

static inline void harness_unlisten(struct harness *h, weir_listener listener)
{
    weir_loop *former = weir_loop_enter(h->loop);
    assert_int_equal(weir_listener_close(listener), 0);
    weir_loop_enter(former);
}

/* To the first address, or with a name to the one that was added. */
static inline int harness_connect(const struct harness *h, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int size = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "%s%s%s", h->name,
                        name != NULL ? "-" : "", name != NULL ? name : "");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size);
    assert_int_equal(connect(fd, (struct sockaddr *)(void *)&address, length), 0);
    return fd;
}

static inline void harness_turns(struct harness *h, int turns)
{
    while (turns-- > 0) {
        weir_loop *former = weir_loop_enter(h->loop);
        weir_time deadline = weir_after(WEIR_MS / 2);
        weir_loop_enter(former);
        assert_int_equal(weir_loop_turn(h->loop, deadline), 0);
    }
}

struct heard {
    char text[1 << 18];
    size_t size;
    bool ended, reset;
};

static inline void heard_more(int fd, struct heard *heard)
{
    while (!heard->ended && heard->size < sizeof(heard->text) - 1) {
        ssize_t got = recv(fd, heard->text + heard->size, sizeof(heard->text) - 1 - heard->size, 0);
        if (got < 0 && errno == EAGAIN)
            break;
        heard->reset = got < 0;
        heard->ended = got <= 0;
        heard->size += got > 0 ? (size_t)got : 0;
    }
    heard->text[heard->size] = '\0';
}

/* Sends what there is and listens until nothing has come for some turns. */
static inline void harness_talk(struct harness *h, int fd, const char *data, size_t size,
                                struct heard *heard)
{
    enum { QUIET_TURNS = 16 };
    heard->size = 0;
    heard->ended = heard->reset = false;
    for (int quiet = 0; quiet < QUIET_TURNS && !heard->ended; quiet++) {
        size_t before = heard->size;
        ssize_t sent = size != 0 ? send(fd, data, size, MSG_NOSIGNAL) : 0;
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (sent < 0 && errno != EAGAIN) {
            size = 0;
        }
        harness_turns(h, 1);
        heard_more(fd, heard);
        if (heard->size != before || sent > 0)
            quiet = 0;
    }
}

#endif
