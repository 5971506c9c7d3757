/* weir_run with two loops on threads of their own, a listener each, until the program stops it: it
 * starts whole or not at all, and says why. Two threads call, so that which call is the n-th may
 * differ from run to run; what must hold does not. */
#include "layer.h"
#include "nth.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weir/weir.h>

enum { CHECK_MS = 2, PATIENCE_MS = 1500 };

static struct {
    int fd;
    bool echoed;
    weir_time until;
    weir_timer timer;
} peer;

static unsigned started;

static void on_data(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0)
        weir_abort(c);
}

/* Until the echo came, or the connection is lost, or it is too late. */
static void check(weir_timer *timer, void *arg)
{
    char data[8];
    ssize_t size = __real_recv(peer.fd, data, sizeof(data), 0);

    peer.echoed = size == 5 && memcmp(data, "hello", 5) == 0;
    if (size < 0 && errno == EAGAIN && weir_now() < peer.until) {
        weir_timer_start(timer, weir_after(CHECK_MS * WEIR_MS), check, NULL);
        return;
    }
    weir_stop();
}

static void on_started(void *user)
{
    weir_address address;

    started++;
    if (weir_run_address(0, &address) < 0)
        nth_wrong("a server that runs has no address");
    peer.fd = nth_dial(weir_address_port(&address));
    __real_send(peer.fd, "hello", 5, MSG_NOSIGNAL);
    peer.until = weir_after(PATIENCE_MS * WEIR_MS);
    weir_timer_start(&peer.timer, weir_after(CHECK_MS * WEIR_MS), check, NULL);
}

static void run(const char *backend)
{
    static const weir_service service = {
        .listen = "tcp://127.0.0.1:0",
        .on_data = on_data,
        .linger_ms = 100,
    };
    weir_run_options options = {
        .shape = WEIR_SHAPE_THREADS,
        .loops = 2,
        .loop.backend = backend,
        .drain_ms = 300,
        .quiet = true,
        .on_started = on_started,
    };
    int result;

    nth_step("the server runs");
    peer.fd = -1;
    result = weir_run(&service, 1, &options);
    if (peer.fd >= 0)
        __real_close(peer.fd);
    if (result < 0 && strcmp(weir_error_name(result), "unknown") == 0)
        nth_wrong("weir_run says %d, which has no name", result);
    if (result < 0 && !nth_run->fired)
        nth_wrong("weir_run says %s without a fault", weir_error_name(result));
    if (result == 0 && started != 1)
        nth_wrong("weir_run has started %u times and says nothing", started);
    if (result == 0 && !peer.echoed && !nth_run->fired)
        nth_wrong("no echo without a fault");
}

const struct nth_program nth_program = {.name = "run", .run = run};
