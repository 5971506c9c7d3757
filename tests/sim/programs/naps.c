/* Handlers that hold up their loop's thread in the middle of a coroutine, as one does that computes
 * or that the kernel preempts, while the other loops' coroutines go on: what a thread has for
 * itself stays its own. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/http.h>

#include "sim/sim.h"

enum { CLIENTS = 3, NAP_MOST_NS = 5000000, WAIT_MOST_NS = 20000000 };

static void nap(weir_exchange x, void *user)
{
    const weir_loop *loop = weir_loop_current();
    for (unsigned left = (unsigned)sim_between(1, 4); left > 0; left--) {
        sim_sleep(sim_size(NAP_MOST_NS));
        sim_check(weir_loop_current() == loop, "another thread's loop after a nap");
        int result = weir_sleep(weir_after(sim_size(WAIT_MOST_NS)));
        /* The end of the client or of the server wakes it too. */
        sim_check(result != WEIR_EMISUSE, "no coroutine's place after a nap");
        if (result < 0 && !sim_quiet())
            return;
        sim_check(result == 0, "a sleep that ended with %s", weir_error_name(result));
    }
    weir_http_text(x, 200, "rested\n");
}

static weir_run_options run_options;

static int serve(void *arg)
{
    weir_service service;
    weir_http_app *app = weir_http_app_new(NULL);
    if (app == NULL)
        return WEIR_ENOMEM;
    int result = weir_http_get(app, "/", nap, NULL);
    if (result == 0) {
        weir_http_service(app, "tcp://10.0.0.1:80", &service);
        result = weir_run(&service, 1, &run_options);
    }
    weir_http_app_free(app);
    return result;
}

/* One connection with one request, to its end. */
static void ask(void)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    static const char wanted[] = "HTTP/1.1 200 ";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80)};
    char answer[4096];
    size_t got = 0;
    ssize_t one = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, "10.0.0.1", &to.sin_addr);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
        send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(request) - 1)
        while (got < sizeof(answer) && (one = recv(fd, answer + got, sizeof(answer) - got, 0)) > 0)
            got += (size_t)one;
    sim_check(!sim_quiet() ||
                  (got >= sizeof(wanted) - 1 && memcmp(answer, wanted, sizeof(wanted) - 1) == 0),
              "no answer in a quiet run");
    if (fd >= 0)
        close(fd);
}

static int call(void *arg)
{
    for (unsigned left = (unsigned)sim_between(1, 6); left > 0; left--) {
        ask();
        sim_sleep(sim_size(5000000));
    }
    return 0;
}

static void run(void)
{
    static const char *const names[CLIENTS] = {"a", "b", "c"};
    static const char *const addresses[CLIENTS] = {"10.0.1.1", "10.0.1.2", "10.0.1.3"};
    sim_host *server, *hosts[CLIENTS];
    run_options = (weir_run_options){
        .shape = WEIR_SHAPE_THREADS,
        .loops = (unsigned)sim_between(2, 3),
    };
    server = sim_host_new("server", "10.0.0.1", serve, NULL);
    sim_host_start(server);
    sim_sleep(50 * WEIR_MS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        hosts[i] = sim_host_new(names[i], addresses[i], call, NULL);
        sim_host_start(hosts[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        if (!sim_host_wait(hosts[i], 300 * WEIR_S)) {
            sim_check(!sim_quiet(), "a client has not ended in a quiet run");
            sim_host_kill(hosts[i], SIM_KILL_PROCESS);
        }
    sim_host_signal(server, SIGTERM);
    sim_check(sim_host_wait(server, 900 * WEIR_S), "the server has not ended");
}

SIM_PROGRAM(naps, .what = "handlers that hold up their thread inside a coroutine", .run = run);
