/* Straight-line servers: a coroutine for each connection, which receives in every way, with
 * deadlines that pass in the middle, and sends back what it got, piece by piece or as one large
 * send. Whatever happens on the network, what comes back is a beginning of what was sent; in a
 * quiet run all of it.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/weir.h>

#include "sim/sim.h"

enum { CLIENTS = 3, LARGE = 200000, DEADLINE_MOST_NS = 30000000, SENDING_MOST_S = 60 };

/* --- the server ------------------------------------------------------------------------------- */

static int receive(weir_conn c, weir_view *in)
{
    weir_time deadline = weir_after(sim_size(DEADLINE_MOST_NS));
    switch (sim_between(0, 3)) {
    case 0:
        return weir_recv_exact(c, in, 1 + sim_size(3000), deadline);
    case 1:
        return weir_recv_until(c, in, "~", 1 + sim_size(5000), deadline);
    default:
        return weir_recv(c, in, deadline);
    }
}

static bool known(int result)
{
    return result == WEIR_ETIMEDOUT || result == WEIR_EPROTO || result == WEIR_ETOOBIG;
}

static void serve(weir_conn c, void *session)
{
    weir_view in;
    int result;
    for (;;) {
        result = receive(c, &in);
        if (known(result)) /* what came is there still */
            result = weir_recv(c, &in, weir_after(SENDING_MOST_S * WEIR_S));
        if (result <= 0)
            break;
        sim_check(result == (int)in.size, "K8.size: %d bytes in a view of %u", result, in.size);
        if (sim_between(0, 3) == 0 && weir_sleep(weir_after(sim_size(2000000))) < 0)
            return;
        result = weir_send_all(c, in, weir_after(SENDING_MOST_S * WEIR_S));
        if (result < 0)
            break;
    }
    sim_check(result != WEIR_EMISUSE && result != WEIR_EINVALID, "a verb ended with %s",
              weir_error_name(result));
    sim_check(result == 0 || !sim_quiet(), "a quiet run ended with %s", weir_error_name(result));
}

static void closed(weir_conn c, weir_end end, void *session)
{
    unsigned *closes = session;
    sim_check(++*closes == 1, "K4.close: closed twice");
}

static weir_run_options run_options;

static int serve_all(void *arg)
{
    static const weir_service service = {.listen = "tcp://10.0.0.1:80",
                                         .conn_size = sizeof(unsigned),
                                         .on_conn = serve,
                                         .on_close = closed};
    return weir_run(&service, 1, &run_options);
}

/* --- clients: plain sockets ------------------------------------------------------------------- */

static uint8_t byte_at(size_t at)
{
    return (uint8_t)(' ' + (at * 31 + at / 251) % 95); /* '~' among them */
}

static void receive_some(int fd, size_t sent, size_t *got, bool *ended)
{
    uint8_t piece[4096];
    ssize_t one = recv(fd, piece, sizeof piece, 0);
    if (one <= 0)
        *ended = true;
    for (ssize_t i = 0; i < one; i++)
        sim_check(piece[i] == byte_at(*got + (size_t)i), "K5.order: byte %zu is another's",
                  *got + (size_t)i);
    if (one > 0)
        *got += (size_t)one;
    sim_check(*got <= sent, "K5.more: more came back than was sent");
}

static void talk(int fd)
{
    static const size_t most = LARGE;
    size_t size = 1 + sim_size(most), sent = 0, got = 0;
    bool ended = false;
    while (sent < size && !ended) {
        uint8_t piece[4096];
        size_t part = 1 + sim_size(sizeof piece - 1);
        part = part < size - sent ? part : size - sent;
        for (size_t i = 0; i < part; i++)
            piece[i] = byte_at(sent + i);
        ssize_t one = send(fd, piece, part, MSG_NOSIGNAL);
        if (one < 0)
            return;
        sent += (size_t)one;
        while (sent - got > 30000 && !ended) /* neither side fills all that lies between them */
            receive_some(fd, sent, &got, &ended);
    }
    if (shutdown(fd, SHUT_WR) < 0)
        return;
    while (!ended)
        receive_some(fd, sent, &got, &ended);
    sim_check(!sim_quiet() || got == size, "K4.whole: %zu of %zu bytes in a quiet run", got, size);
}

static int call(void *arg)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80)};
    inet_pton(AF_INET, "10.0.0.1", &to.sin_addr);
    for (unsigned left = (unsigned)sim_between(1, 4); left > 0; left--) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
            talk(fd);
        if (fd >= 0)
            close(fd);
        sim_sleep(sim_size(5000000));
    }
    return 0;
}

static void run(void)
{
    static const char *const names[CLIENTS] = {"a", "b", "c"};
    static const char *const addresses[CLIENTS] = {"10.0.1.1", "10.0.1.2", "10.0.1.3"};
    sim_host *server, *hosts[CLIENTS];
    run_options = (weir_run_options){.shape = WEIR_SHAPE_SINGLE};
    if (sim_between(0, 1) != 0) {
        run_options.shape = WEIR_SHAPE_THREADS;
        run_options.loops = (unsigned)sim_between(1, 2);
    }
    server = sim_host_new("server", "10.0.0.1", serve_all, NULL);
    sim_host_start(server);
    sim_sleep(50 * WEIR_MS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        hosts[i] = sim_host_new(names[i], addresses[i], call, NULL);
        sim_host_start(hosts[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        if (!sim_host_wait(hosts[i], 600 * WEIR_S)) {
            sim_check(!sim_quiet(), "a client has not ended in a quiet run");
            sim_host_kill(hosts[i], SIM_KILL_PROCESS);
        }
    sim_host_signal(server, SIGTERM);
    sim_check(sim_host_wait(server, 900 * WEIR_S), "the server has not ended");
}

SIM_PROGRAM(straight, .what = "a coroutine for each connection, deadlines that pass in the middle",
            .run = run);
