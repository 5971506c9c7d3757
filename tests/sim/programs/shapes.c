/* Every shape of a server, started, talked to and stopped at any moment: right after its start, in
 * the middle, twice in a row, killed and started again. Whoever was let in is served or told, the
 * server ends in time, and nothing of it is left. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "sim/sim.h"

enum { CLIENTS = 6, ROUNDS_MOST = 4, TEXT_MOST = 600 };

static struct shared {
    weir_run_options options;
    char listen[64], url[64];
    uint32_t idle_ms;
    unsigned loops_started, loops_stopped, opened, closed, started_told;
    bool server_up;
} shared;

/* --- the server ------------------------------------------------------------------------------- */

struct session {
    bool open;
    uint64_t bytes;
};

static void on_open(weir_conn conn, void *session)
{
    sim_check(!((struct session *)session)->open, "opened twice");
    ((struct session *)session)->open = true;
    shared.opened++;
}

static void on_data(weir_conn conn, weir_view data, void *session)
{
    ((struct session *)session)->bytes += data.size;
    if (weir_send(conn, data) < 0)
        weir_abort(conn);
}

static void on_close(weir_conn conn, weir_end end, void *session)
{
    sim_check(((struct session *)session)->open, "closed, but never opened");
    ((struct session *)session)->open = false;
    shared.closed++;
}

static int on_loop_start(weir_loop *loop, void *user)
{
    shared.loops_started++;
    return 0;
}

static void on_loop_stop(weir_loop *loop, void *user)
{
    shared.loops_stopped++;
}

static void on_started(void *user)
{
    shared.server_up = true;
    shared.started_told++;
}

static int serve(void *arg)
{
    const weir_service echo = {
        .listen = shared.listen,
        .conn_size = sizeof(struct session),
        .on_open = on_open,
        .on_data = on_data,
        .on_close = on_close,
        .on_loop_start = on_loop_start,
        .on_loop_stop = on_loop_stop,
        .idle_ms = shared.idle_ms,
        .first_byte_ms = shared.idle_ms,
    };
    int result;
    shared.loops_started = shared.loops_stopped = shared.opened = shared.closed = 0;
    shared.server_up = false;
    result = weir_run(&echo, 1, &shared.options);
    shared.server_up = false;
    sim_note("weir_run: %d; loops %u, connections %u", result, shared.loops_started, shared.opened);
    sim_check(shared.opened == shared.closed, "%u connections were opened and %u closed",
              shared.opened, shared.closed);
    sim_check(result < 0 || shared.loops_started == shared.loops_stopped,
              "%u loops were started and %u stopped", shared.loops_started, shared.loops_stopped);
    return result;
}

/* --- clients ---------------------------------------------------------------------------------- */

struct client {
    weir_loop *loop;
    unsigned left, living, got_all, given_up;
    weir_timer next, last;
    bool stopping;
    char text[TEXT_MOST];
};

struct call { /* a connection's */
    uint32_t size, got;
};

static void call_open(weir_conn conn, void *session)
{
    struct client *client = weir_conn_user(conn);
    struct call *call = session;
    call->size = (uint32_t)sim_size(TEXT_MOST);
    if (weir_send(conn, weir_bytes(client->text, call->size)) < 0)
        weir_abort(conn);
}

static void call_data(weir_conn conn, weir_view data, void *session)
{
    struct client *client = weir_conn_user(conn);
    struct call *call = session;
    sim_check(call->got + data.size <= call->size, "more came back than was sent");
    sim_check(memcmp(data.data, client->text + call->got, data.size) == 0, "other bytes came back");
    call->got += data.size;
    if (call->got == call->size && weir_close(conn) == 0)
        client->got_all++;
}

static void client_look(struct client *client)
{
    if (client->left == 0 && client->living == 0)
        weir_loop_stop(client->loop);
}

static void call_close(weir_conn conn, weir_end end, void *session)
{
    struct client *client = weir_conn_user(conn);
    const struct call *call = session;
    client->living--;
    sim_note("call ended: why %d error %d, %u of %u bytes", end.why, end.error, call->got,
             call->size);
    client_look(client);
}

static const weir_service call_service = {
    .conn_size = sizeof(struct call),
    .on_open = call_open,
    .on_data = call_data,
    .on_close = call_close,
    .idle_ms = 5000,
};

static void call_next(weir_timer *timer, void *arg)
{
    enum { GAP_NS = 30000000 };
    struct client *client = arg;
    client->left--;
    if (weir_connect(NULL, shared.url, &call_service, client) == 0)
        client->living++;
    if (client->left != 0)
        weir_timer_start(timer, weir_after(sim_size(GAP_NS)), call_next, client);
    client_look(client);
}

static int call_all(void *arg)
{
    struct client *client = arg;
    int result = weir_loop_new(&client->loop, NULL);
    if (result < 0)
        return result;
    weir_loop *former = weir_loop_enter(client->loop);
    memset(&client->next, 0, sizeof(client->next));
    weir_timer_start(&client->next, weir_after(1), call_next, client);
    weir_loop_enter(former);
    result = weir_loop_run(client->loop);
    weir_loop_free(client->loop);
    return result;
}

/* --- the director ----------------------------------------------------------------------------- */

static void draw(void)
{
    static const enum weir_shape shapes[] = {WEIR_SHAPE_SINGLE, WEIR_SHAPE_THREADS,
                                             WEIR_SHAPE_ACCEPTOR};
    memset(&shared, 0, sizeof(shared));
    shared.options.shape = shapes[sim_random(3)];
    shared.options.loops = (unsigned)sim_random(4);
    shared.options.pin = sim_chance(1, 4);
    shared.options.spread = (enum weir_spread)sim_random(3);
    shared.options.drain_ms = sim_chance(1, 3) ? (uint32_t)sim_size(3000) : 0;
    shared.options.on_started = on_started;
    shared.idle_ms = sim_chance(1, 3) ? (uint32_t)sim_between(20, 4000) : 0;
    if (shared.options.shape == WEIR_SHAPE_ACCEPTOR)
        shared.options.loop.features = "-direct";
    bool local = sim_chance(1, 4);
    strcpy(shared.listen, local ? "unix:@shapes" : "tcp://[::]:7000");
    strcpy(shared.url, local ? "unix:@shapes" : "tcp://10.0.0.1:7000");
}

/* How long a server may take to end once it has been told: the drain, which covers everything that
 * a client may do; stalls come on top. */
static uint64_t end_ns(void)
{
    uint64_t drain_ms = shared.options.drain_ms != 0 ? shared.options.drain_ms : 10000;
    return (drain_ms + 1000) * WEIR_MS + (sim_fault_on(SIM_FAULT_STALL) ? 600 * WEIR_S : 0);
}

static void stop(sim_host *server)
{
    enum { SOON_NS = 2000000 };
    bool up = shared.server_up; /* before that, a signal kills */
    sim_host_signal(server, sim_chance(1, 2) ? SIGTERM : SIGQUIT);
    if (sim_chance(1, 3)) {
        sim_sleep(sim_size(SOON_NS));
        sim_host_signal(server, sim_chance(1, 2) ? SIGTERM : SIGINT);
    }
    sim_check(sim_host_wait(server, end_ns()), "the server has not ended in time");
    sim_check(sim_host_result(server) == 0 || !sim_quiet() || !up, "the server ended with %d",
              sim_host_result(server));
}

static void round_of(sim_host *server, sim_host **others, struct client *clients, unsigned count)
{
    enum { LATER_NS = 300000000 };
    shared.server_up = false; /* it may have been killed */
    sim_host_start(server);
    for (unsigned i = 0; i < count; i++) {
        clients[i].left = (unsigned)sim_between(1, CLIENTS);
        clients[i].living = clients[i].got_all = 0;
        sim_host_start(others[i]);
    }
    sim_sleep(sim_size(LATER_NS));
    if (sim_chance(1, 5))
        sim_host_kill(server, (enum sim_kill)sim_random(3));
    else if (sim_host_running(server))
        stop(server);
    if (sim_chance(1, 3))
        sim_faults_stop();
    for (unsigned i = 0; i < count; i++)
        sim_check(sim_host_wait(others[i], 1200 * WEIR_S), "a client has not ended");
    sim_faults_go_on();
}

static void run(void)
{
    static struct client clients[CLIENTS];
    static char names[CLIENTS][24], addresses[CLIENTS][32];
    sim_host *others[CLIENTS], *server;
    unsigned count = (unsigned)sim_between(1, 3), rounds = (unsigned)sim_between(1, ROUNDS_MOST);
    draw();
    server = sim_host_new("server", "10.0.0.1", serve, NULL);
    for (unsigned i = 0; i < count; i++) {
        memset(&clients[i], 0, sizeof(clients[i]));
        for (unsigned at = 0; at < TEXT_MOST; at++)
            clients[i].text[at] = (char)sim_random(256);
        snprintf(names[i], sizeof(names[i]), "client%u", i);
        snprintf(addresses[i], sizeof(addresses[i]), "10.0.1.%u", i + 1);
        others[i] = sim_host_new(names[i], addresses[i], call_all, &clients[i]);
    }
    while (rounds-- > 0)
        round_of(server, others, clients, count);
}

SIM_PROGRAM(shapes, .what = "every shape of a server, stopped at any moment", .run = run);
