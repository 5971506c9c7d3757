/* Idle is free (K13): servers in every shape, with connections that have said what they had to say,
 * and clients that wait. When all have come to rest nothing happens any more in the whole simulated
 * world, no wake-up, no timer, no call, however long it lasts; where far deadlines are set a loop
 * may wake once for each level of its wheel on the way to each of them. Then they go on as if
 * nothing had been. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <weir/http.h>

#include "sim/sim.h"

enum { CONNS = 8, LEVELS = 6, HOUR_MS = 3600 * 1000 };

static struct state {
    uint32_t idle_ms; /* WEIR_OFF, or much later than the end */
    unsigned conns, opened, answered, wanted, closed;
    bool http, listens;
    uint64_t turns; /* of all loops */
    weir_loop *loop;
    weir_conn conn[CONNS];
    weir_watch term, usr;
    weir_service caller;
    weir_run_options options;
} now;

static void turned(weir_loop *loop, void *arg)
{
    now.turns++;
}

static void deadlines(weir_service *s)
{
    s->idle_ms = s->first_byte_ms = now.idle_ms;
}

/* --- the server ------------------------------------------------------------------------------- */

static void echo(weir_conn c, weir_view in, void *session)
{
    if (weir_send(c, in) < 0)
        weir_abort(c);
}

static void hello(weir_exchange x, void *user)
{
    weir_http_text(x, 200, "hello\n");
}

static int serve(void *arg)
{
    weir_service services[2] = {
        {.listen = "tcp://10.0.0.1:7000", .on_data = echo},
    };
    weir_http_app *app = weir_http_app_new(NULL);
    if (app == NULL)
        return WEIR_ENOMEM;
    int result = weir_http_get(app, "/", hello, NULL);
    weir_http_service(app, "tcp://10.0.0.1:80", &services[1]);
    deadlines(&services[0]);
    deadlines(&services[1]);
    if (result == 0)
        result = weir_run(services, 2, &now.options);
    weir_http_app_free(app);
    return result;
}

/* --- the client ------------------------------------------------------------------------------- */

static void ask(weir_conn c)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n", line[] = "hello\n";
    if (weir_send(c, weir_str(now.http ? request : line)) < 0)
        weir_abort(c);
}

static void on_open(weir_conn c, void *session)
{
    now.opened++;
    ask(c);
}

/* Each answer ends with these six bytes, which are sent in one piece or are cut. */
static void on_data(weir_conn c, weir_view in, void *session)
{
    const uint8_t *bytes = in.data;
    for (uint32_t i = 0; i < in.size; i++) {
        now.answered += bytes[i] == '\n' && *(uint8_t *)session == 'o';
        *(uint8_t *)session = bytes[i];
    }
}

static void on_close(weir_conn c, weir_end end, void *session)
{
    now.closed++;
}

static void on_term(weir_watch *watch, int number, void *arg)
{
    weir_loop_stop(now.loop);
}

static void on_usr(weir_watch *watch, int number, void *arg)
{
    for (unsigned i = 0; i < now.conns; i++)
        ask(now.conn[i]);
}

static int call(void *arg)
{
    now.caller = (weir_service){
        .on_open = on_open, .on_data = on_data, .on_close = on_close, .conn_size = 8};
    deadlines(&now.caller);
    int result = weir_loop_new(&now.loop, NULL);
    if (result < 0)
        return 1;
    weir_loop *former = weir_loop_enter(now.loop);
    result = weir_signal(&now.term, SIGTERM, on_term, NULL);
    if (result == 0)
        result = weir_signal(&now.usr, SIGUSR1, on_usr, NULL);
    for (unsigned i = 0; result == 0 && i < now.conns; i++)
        result = weir_connect(&now.conn[i], now.http ? "tcp://10.0.0.1:80" : "tcp://10.0.0.1:7000",
                              &now.caller, NULL);
    weir_loop_enter(former);
    if (result == 0)
        result = weir_loop_run(now.loop);
    weir_loop_free(now.loop);
    return result;
}

/* --- the director ----------------------------------------------------------------------------- */

static void rest(void)
{
    enum { SETTLE_S = 60 };
    sim_sleep(SETTLE_S * WEIR_S);
    uint64_t events = sim_events(), turns = now.turns, hours = sim_between(1, 40);
    sim_sleep(hours * HOUR_MS * WEIR_MS);
    /* One deadline of each end of each connection. */
    uint64_t most = now.idle_ms == WEIR_OFF ? 0 : 2ull * LEVELS * now.conns;
    sim_check(now.turns - turns <= most,
              "K13.idle: in %llu idle hours loops turn %llu times at most; they turned %llu times",
              (unsigned long long)hours, (unsigned long long)most,
              (unsigned long long)(now.turns - turns));
    sim_check(most != 0 || sim_events() == events,
              "K13.idle: nothing happens in an idle world; %llu things did",
              (unsigned long long)(sim_events() - events));
}

static void answers_wait(const char *when)
{
    for (unsigned i = 0; now.answered < now.wanted && i < 10000; i++)
        sim_sleep(100 * WEIR_MS);
    sim_check(now.answered == now.wanted && now.closed == 0,
              "progress: %u answers %s; %u came, and %u connections ended", now.wanted, when,
              now.answered, now.closed);
}

static void run(void)
{
    static const enum sim_fault lasting[] = {
        SIM_FAULT_RESET,        SIM_FAULT_FIN_RESET,    SIM_FAULT_CONNECT_ERROR,
        SIM_FAULT_ACCEPT_ERROR, SIM_FAULT_SEND_ERROR,   SIM_FAULT_RECV_ERROR,
        SIM_FAULT_SOCKET_ERROR, SIM_FAULT_NO_MEMORY,    SIM_FAULT_PORTS,
        SIM_FAULT_THREAD_ERROR, SIM_FAULT_STALL,        SIM_FAULT_BACKLOG,
        SIM_FAULT_QUEUE_FULL,   SIM_FAULT_SMALL_WINDOW,
    };
    for (unsigned i = 0; i < sizeof lasting / sizeof *lasting; i++)
        sim_fault_forbid(lasting[i]);
    now = (struct state){.conns = (unsigned)sim_between(1, CONNS),
                         .idle_ms = sim_chance(1, 2) ? WEIR_OFF : 200u * HOUR_MS,
                         .http = sim_chance(1, 3)};
    now.options = (weir_run_options){
        .shape = (enum weir_shape)sim_between(WEIR_SHAPE_SINGLE, WEIR_SHAPE_ACCEPTOR),
        .loops = (unsigned)sim_between(1, 3),
    };
    if (now.options.shape ==
        WEIR_SHAPE_ACCEPTOR) /* hands over numbers, which direct ones are not */
        now.options.loop.features = "-direct";
    now.wanted = now.conns;
    sim_host *server = sim_host_new("server", "10.0.0.1", serve, NULL);
    sim_host *client = sim_host_new("client", "10.0.0.2", call, NULL);
    sim_host_each_turn(server, turned, NULL);
    sim_host_each_turn(client, turned, NULL);
    sim_host_start(server);
    sim_sleep(WEIR_S);
    sim_host_start(client);
    answers_wait("at first");
    sim_faults_stop();
    rest();
    sim_faults_go_on();
    now.wanted += now.conns;
    sim_host_signal(client, SIGUSR1);
    answers_wait("after an idle time");
    sim_faults_stop();
    rest();
    sim_host_signal(client, SIGTERM);
    sim_check(sim_host_wait(client, 60 * WEIR_S), "the client has not ended");
    sim_host_signal(server, SIGTERM);
    sim_check(sim_host_wait(server, 900 * WEIR_S), "the server has not ended");
}

SIM_PROGRAM(idle, .what = "an idle world: nothing happens, however long it lasts", .run = run,
            .limit_ns = 100ull * HOUR_MS * WEIR_MS);
