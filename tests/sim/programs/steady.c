/* A peer that takes little, but takes it steadily: the write deadline is put off by what its kernel
 * has taken, though the socket's own buffer has no room for more (SIOCOUTQ of tcp(7)). Then it
 * takes nothing any more, and the deadline ends the connection. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/limits.h>

#include "sim/sim.h"

enum { PORT = 7000, ROOM = 4 << 20, PARTS = 5, STEADY_MOST = 12, LATE_MS = 1000 };

static struct state {
    uint32_t write_ms, progress_bytes;
    bool listens, opened, stopped, ended;
    uint64_t stopped_ns, ended_ns; /* stopped: the peer has read for the last time */
    weir_end end;
    weir_loop *loop;
    weir_watch term;
} now;

static uint8_t bytes[64 << 10];

/* More than the peer takes before its end. */
static void on_open(weir_conn c, void *session)
{
    now.opened = true;
    for (int i = 0; i < ROOM / (int)sizeof bytes; i++)
        if (weir_send(c, weir_static(bytes, sizeof bytes)) < 0)
            break;
}

static void on_close(weir_conn c, weir_end end, void *session)
{
    now.ended = true;
    now.ended_ns = sim_now();
    now.end = end;
    weir_loop_stop(now.loop);
}

static void on_term(weir_watch *watch, int number, void *arg)
{
    weir_loop_stop(now.loop);
}

static int serve(void *arg)
{
    const weir_service service = {
        .listen = "tcp://10.0.0.1:7000",
        .on_open = on_open,
        .on_close = on_close,
        .server_first = true,
        .first_byte_ms = WEIR_OFF,
        .idle_ms = WEIR_OFF,
        .write_ms = now.write_ms,
    };
    weir_listener listener;
    int result = weir_loop_new(&now.loop, NULL);
    if (result < 0)
        return 1;
    weir_loop *former = weir_loop_enter(now.loop);
    result = weir_signal(&now.term, SIGTERM, on_term, NULL);
    if (result == 0)
        result = weir_listen(&listener, &service);
    weir_loop_enter(former);
    now.listens = result == 0;
    if (result == 0)
        result = weir_loop_run(now.loop);
    weir_loop_free(now.loop);
    return result;
}

/* Reads so much, or less when there is no more. */
static bool take(int fd, size_t size)
{
    static uint8_t to[8 << 10];
    while (size > 0) {
        ssize_t got = recv(fd, to, size < sizeof to ? size : sizeof to, 0);
        if (got <= 0)
            return false;
        size -= (size_t)got;
    }
    return true;
}

/* Three times what is asked for in each interval, in PARTS portions of it. */
static int call(void *arg)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    uint64_t intervals = sim_between(3, STEADY_MOST);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, "10.0.0.1", &to.sin_addr);
    sim_check(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "no connection");
    for (uint64_t i = 0; i < intervals * PARTS; i++) {
        sim_check(take(fd, 3 * now.progress_bytes / PARTS),
                  "K7.write: a peer that takes enough is not cut off; it was, after %llu ms",
                  (unsigned long long)(sim_now() / WEIR_MS));
        sim_sleep((uint64_t)now.write_ms * WEIR_MS / PARTS);
    }
    now.stopped = true;
    now.stopped_ns = sim_now();
    sim_sleep(4ull * now.write_ms * WEIR_MS);
    close(fd);
    return 0;
}

static void run(void)
{
    static const enum sim_fault others[] = {
        SIM_FAULT_RESET,      SIM_FAULT_FIN_RESET,     SIM_FAULT_LOSS,         SIM_FAULT_DELAY,
        SIM_FAULT_SEND_ERROR, SIM_FAULT_RECV_ERROR,    SIM_FAULT_SOCKET_ERROR, SIM_FAULT_NO_MEMORY,
        SIM_FAULT_STALL,      SIM_FAULT_CONNECT_ERROR, SIM_FAULT_ACCEPT_ERROR, SIM_FAULT_PORTS,
        SIM_FAULT_BACKLOG,    SIM_FAULT_QUEUE_FULL,    SIM_FAULT_SMALL_WINDOW,
    };
    weir_limit_row rows[128];
    unsigned count = weir_limits(rows, 128);
    for (unsigned i = 0; i < sizeof others / sizeof *others; i++)
        sim_fault_forbid(others[i]);
    now = (struct state){.write_ms = (uint32_t)sim_between(2000, 20000)};
    for (unsigned i = 0; i < count && i < 128; i++)
        if (strcmp(rows[i].name, "WRITE_PROGRESS") == 0 ||
            strcmp(rows[i].name, "write_progress") == 0)
            now.progress_bytes = (uint32_t)rows[i].value;
    sim_check(now.progress_bytes != 0, "no limit is called WRITE_PROGRESS");
    sim_host *server = sim_host_new("server", "10.0.0.1", serve, NULL);
    sim_host *client = sim_host_new("client", "10.0.0.2", call, NULL);
    sim_host_start(server);
    while (!now.listens)
        sim_sleep(WEIR_MS);
    sim_host_start(client);
    sim_check(sim_host_wait(client, 3600 * WEIR_S), "the client has not ended");
    sim_host_signal(server, SIGTERM);
    sim_check(sim_host_wait(server, 60 * WEIR_S), "the server has not ended");
    sim_check(now.ended && now.end.why == WEIR_WHY_DEADLINE &&
                  now.end.deadline == WEIR_DEADLINE_WRITE,
              "K7.write: a peer that takes nothing is cut off; the end's reason was %d, %s",
              now.end.why, weir_error_name(now.end.error));
    sim_check(now.ended_ns > now.stopped_ns &&
                  now.ended_ns < now.stopped_ns + (2ull * now.write_ms + LATE_MS) * WEIR_MS,
              "K7.write: after no more than two intervals; it took %llu of %u ms",
              (unsigned long long)((now.ended_ns - now.stopped_ns) / WEIR_MS), now.write_ms);
}

SIM_PROGRAM(steady, .what = "a peer that is slow, but steady: the write deadline waits for it",
            .run = run, .limit_ns = 3600ull * WEIR_S);
