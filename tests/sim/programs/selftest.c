/* The simulator's own smallest program: one loop, a few clients, plain echo. */
#include <string.h>

#include "sim/sim.h"

static void on_data(weir_conn conn, weir_view data, void *session)
{
    if (weir_send(conn, data) < 0)
        weir_abort(conn);
}

static int serve(void *arg)
{
    static const weir_service echo = {.listen = "tcp://10.0.0.1:7000", .on_data = on_data};
    return weir_run(&echo, 1, NULL);
}

struct client {
    int todo, closed;
    weir_loop *loop;
};

static void client_open(weir_conn conn, void *session)
{
    weir_send(conn, weir_str("hello")) < 0 ? weir_abort(conn) : 0;
}

static void client_data(weir_conn conn, weir_view data, void *session)
{
    weir_close(conn);
}

static void client_close(weir_conn conn, weir_end end, void *session)
{
    struct client *client = weir_conn_user(conn);
    sim_note("client closed: %d %d", end.why, end.error);
    if (++client->closed == client->todo)
        weir_loop_stop(client->loop);
}

static const weir_service client_service = {
    .on_open = client_open, .on_data = client_data, .on_close = client_close};

static int call(void *arg)
{
    struct client *client = arg;
    int result = weir_loop_new(&client->loop, NULL), started = 0;
    if (result < 0)
        return result;
    weir_loop *former = weir_loop_enter(client->loop);
    client->todo = (int)sim_between(1, 8);
    client->closed = 0;
    for (int i = 0; i < client->todo; i++)
        started += weir_connect(NULL, "tcp://10.0.0.1:7000", &client_service, client) == 0;
    weir_loop_enter(former);
    client->todo = started;
    if (started != 0)
        result = weir_loop_run(client->loop);
    weir_loop_free(client->loop);
    return result;
}

static void run(void)
{
    struct client client = {0};
    sim_host *server = sim_host_new("server", "10.0.0.1", serve, NULL);
    sim_host *other = sim_host_new("client", "10.0.0.2", call, &client);
    sim_host_start(server);
    sim_sleep(100 * WEIR_MS);
    sim_host_start(other);
    sim_check(sim_host_wait(other, 600 * WEIR_S), "the client did not end");
    sim_host_signal(server, 15);
    sim_check(sim_host_wait(server, 60 * WEIR_S), "the server did not end");
}

SIM_PROGRAM(selftest, .what = "one server, a few clients, a word each", .run = run);
