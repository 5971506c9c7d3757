/* One thread, many loops: a server of an HTTP page whose loops are all turned by the thread that
 * started them, as a host would that embeds them. A ring's table of direct descriptors is no larger
 * than the limit of open files; this is how one thread holds more connections than that.
 *
 *     weir_onethread URL LOOPS CONTROL-SOCKET */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <weir/ctl.h>
#include <weir/http.h>
#include <weir/weir.h>

enum { LOOPS_MAX = 511, EVENTS = 64 };

static weir_loop *loops[LOOPS_MAX];
static unsigned count;
static volatile sig_atomic_t ended;

static void hello(weir_exchange x, void *user)
{
    weir_http_respond(x, 200, "text/plain", weir_static("hello", 5));
}

static void on_signal(int number)
{
    ended = 1;
}

static void fail(const char *what, int error)
{
    fprintf(stderr, "weir_onethread: %s: %s\n", what, weir_error_text(error));
    exit(1);
}

/* Every loop listens on the same address; the kernel spreads connections by hash. */
static void listen_all(weir_http_app *app, const char *url, const char *control)
{
    weir_service service = {0}, ctl = {0};

    weir_http_service(app, url, &service);
    service.socket.reuseport = WEIR_SWITCH_ON;
    for (unsigned i = 0; i < count; i++) {
        weir_loop *former = weir_loop_enter(loops[i]);
        int result = weir_listen(NULL, &service);

        if (result == 0 && i == 0)
            result = weir_ctl_service(control, &ctl);
        if (result == 0 && i == 0)
            result = weir_listen(NULL, &ctl);
        weir_loop_enter(former);
        if (result < 0)
            fail("listening", result);
    }
}

static void make_all(int epoll)
{
    const weir_loop_options options = {.backend = "uring", .features = "+direct", .sharers = count};

    for (unsigned i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        int result = weir_loop_new(&loops[i], &options);

        if (result < 0)
            fail("making a loop", result);
        result = weir_loop_fd(loops[i]);
        if (result < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, result, &event) < 0)
            fail("the loop's descriptor", result < 0 ? result : -errno);
    }
}

/* Milliseconds to sleep, up to the first loop that wants to be turned; -1: until told. */
static int sleep_ms(void)
{
    weir_time first = WEIR_NEVER, now = weir_now();

    for (unsigned i = 0; i < count; i++)
        if (weir_loop_due(loops[i]) < first)
            first = weir_loop_due(loops[i]);
    if (first == WEIR_NEVER)
        return -1;
    if (first <= now)
        return 0;
    return first - now > 1000 * WEIR_S ? 1000000 : (int)((first - now + WEIR_MS - 1) / WEIR_MS);
}

static void turn_all(int epoll)
{
    struct epoll_event events[EVENTS];

    while (!ended) {
        int told = epoll_wait(epoll, events, EVENTS, sleep_ms());
        weir_time now = weir_now();

        for (int i = 0; i < told; i++)
            weir_loop_turn(loops[events[i].data.u32], 0);
        for (unsigned i = 0; i < count; i++)
            if (weir_loop_due(loops[i]) <= now)
                weir_loop_turn(loops[i], 0);
    }
}

int main(int argc, char **argv)
{
    static const weir_http_options options = {.idle_ms = 600 * 1000, .header_ms = 600 * 1000};
    struct sigaction action = {.sa_handler = on_signal};
    weir_http_app *app = weir_http_app_new(&options);
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    count = argc == 4 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    if (count < 1 || count > LOOPS_MAX) {
        fprintf(stderr, "usage: %s URL LOOPS CONTROL-SOCKET\n", argv[0]);
        return 64;
    }
    if (app == NULL || epoll < 0 ||
        weir_http_route(app, "GET", "/", hello, NULL, WEIR_HTTP_PLAIN) < 0) {
        fprintf(stderr, "weir_onethread: cannot set up\n");
        return 1;
    }
    sigaction(SIGTERM, &action, NULL);
    make_all(epoll);
    listen_all(app, argv[1], argv[3]);
    fprintf(stderr, "weir_onethread: %u loops on one thread; control %s\n", count, argv[3]);
    turn_all(epoll);
    for (unsigned i = 0; i < count; i++)
        weir_loop_free(loops[i]);
    weir_http_app_free(app);
    close(epoll);
    return 0;
}
