/* A client that always comes back: it asks with a deadline, and when its connection ends it
 * connects again, later and later; its server is killed in every way there is, and restarted. */
#include <stdlib.h>
#include <string.h>

#include "sim/check/prog.h"

enum { PORT = 7400, ASK = 24, SOON_MS = 10, LATEST_MS = 2000, ANSWER_MS = 3000 };

struct reconnect {
    struct check *check;
    bool ready, started;
    char url[64];
    unsigned to_ask, answered, connects;
    /* of the client's only connection */
    struct check_conn *conn;
    struct check_side *side;
    struct check_timer *deadline, *next;
    uint32_t back_ms;
    unsigned came; /* bytes of the answer */
    uint8_t asked[ASK];
};

/* --- the server: answers each request with itself, turned over -------------------------------- */

struct asked {
    uint8_t bytes[ASK];
    unsigned size, hello;
};

static void server_open(struct check_conn *cc)
{
    cc->note = calloc(1, sizeof(struct asked));
}

static void server_data(struct check_conn *cc, weir_view in)
{
    struct asked *a = cc->note;
    const uint8_t *bytes = in.data;
    for (uint32_t i = 0; i < in.size && check_living(cc); i++) {
        if (a->hello < CHECK_HELLO) {
            a->hello++;
            continue;
        }
        a->bytes[a->size++] = bytes[i];
        if (a->size < ASK)
            continue;
        uint8_t turned[ASK];
        for (unsigned k = 0; k < ASK; k++)
            turned[k] = a->bytes[ASK - 1 - k];
        a->size = 0;
        if (check_send_bytes(cc, turned, ASK) < 0 && check_living(cc))
            check_abort(cc);
    }
}

static void server_close(struct check_conn *cc)
{
    free(cc->note);
    cc->note = NULL;
}

static int server_main(void *arg)
{
    struct reconnect *run = arg;
    weir_loop_options options = prog_options(true);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    struct check_side *side = check_side_new(cl, "server");
    prog_service(&side->service, &options, true);
    side->hello = true;
    side->open = server_open;
    side->data = server_data;
    side->close = server_close;
    prog_enter(cl);
    int result = check_listen(side, run->url);
    prog_leave();
    if (result == 0) /* or the port of the one before is still taken, or something is scarce */
        run->ready = true;
    else
        prog_stop(cl);
    prog_run(cl);
    return 0;
}

/* --- the client ------------------------------------------------------------------------------- */

static void late(struct check_loop *cl, void *arg)
{
    struct reconnect *run = arg;
    run->deadline = NULL;
    if (run->conn != NULL && check_living(run->conn))
        check_abort(run->conn);
}

static void ask(struct check_loop *cl, void *arg)
{
    struct reconnect *run = arg;
    run->next = NULL;
    run->came = 0;
    check_noise(run->check, run->asked, ASK);
    run->deadline = check_timer(cl, weir_after(ANSWER_MS * WEIR_MS), false, late, run);
    if (check_send_bytes(run->conn, run->asked, ASK) < 0 && check_living(run->conn))
        check_abort(run->conn);
}

static void client_open(struct check_conn *cc)
{
    struct reconnect *run = cc->side->note;
    if (check_hello(cc) < 0)
        check_abort(cc);
    else
        ask(cc->side->cl, run);
}

static void answered(struct reconnect *run, struct check_conn *cc)
{
    struct check_loop *cl = cc->side->cl;
    uint64_t pause_ns = check_random(run->check, 200 * WEIR_MS);
    check_timer_cancel(run->deadline);
    run->deadline = NULL;
    run->back_ms = SOON_MS;
    if (++run->answered == run->to_ask)
        check_close(cc);
    else
        run->next = check_timer(cl, weir_after(pause_ns), false, ask, run);
}

static void client_data(struct check_conn *cc, weir_view in)
{
    struct reconnect *run = cc->side->note;
    const uint8_t *bytes = in.data;
    for (uint32_t i = 0; i < in.size; i++) {
        sim_check(run->came < ASK && run->deadline != NULL &&
                      bytes[i] == run->asked[ASK - 1 - run->came],
                  "reconnect.answer: what was asked, turned over; byte %u is another", run->came);
        if (++run->came == ASK)
            answered(run, cc);
    }
}

static void connect_again(struct check_loop *cl, void *arg)
{
    struct reconnect *run = arg;
    int error;
    run->next = NULL;
    run->connects++;
    run->conn = check_connect(run->side, run->url, NULL, &error);
    if (run->conn == NULL)
        run->next = check_timer(cl, weir_after(LATEST_MS * WEIR_MS), false, connect_again, run);
}

static void client_close(struct check_conn *cc)
{
    struct reconnect *run = cc->side->note;
    struct check_loop *cl = cc->side->cl;
    struct check_timer **timers[] = {&run->deadline, &run->next};
    for (int i = 0; i < 2; i++) {
        if (*timers[i] != NULL)
            check_timer_cancel(*timers[i]);
        *timers[i] = NULL;
    }
    run->conn = NULL;
    if (run->answered == run->to_ask) {
        prog_stop(cl);
        return;
    }
    uint64_t wait_ns =
        run->back_ms * WEIR_MS / 2 + check_random(run->check, run->back_ms * WEIR_MS);
    run->next = check_timer(cl, weir_after(wait_ns), false, connect_again, run);
    run->back_ms = run->back_ms * 2 < LATEST_MS ? run->back_ms * 2 : LATEST_MS;
}

static int client_main(void *arg)
{
    struct reconnect *run = arg;
    weir_loop_options options = prog_options(true);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    struct check_side *side = run->side = check_side_new(cl, "client");
    prog_service(&side->service, &options, true);
    side->service.connect_ms = 1000;
    side->error_fine = true;
    side->note = run;
    side->open = client_open;
    side->data = client_data;
    side->close = client_close;
    prog_enter(cl);
    connect_again(cl, run);
    prog_leave();
    run->started = true;
    prog_run(cl);
    return 0;
}

/* --- the director ----------------------------------------------------------------------------- */

/* Starts the server as often as it takes. */
static void server_up(struct reconnect *run, sim_host *server)
{
    for (int tries = 0; !run->ready; tries++) {
        sim_check(tries < 4000, "progress: the server comes up again; it does not");
        if (!sim_host_running(server))
            sim_host_start(server);
        sim_sleep(50 * WEIR_MS);
    }
}

static void run(void)
{
    struct reconnect *run = calloc(1, sizeof *run);
    static const enum sim_kill ways[] = {SIM_KILL_PROCESS, SIM_KILL_RESET, SIM_KILL_VANISH};
    prog_begin();
    run->check = check_new(sim_seed());
    run->to_ask = (unsigned)sim_between(1, 60);
    run->back_ms = SOON_MS;
    prog_url(run->url, sizeof run->url, 1, PORT);
    sim_host *server = prog_host("server", 1, server_main, run);
    sim_host *client = prog_host("client", 2, client_main, run);
    prog_start(server, &run->ready);
    prog_start(client, &run->started);
    for (uint64_t kills = sim_random(6); kills != 0 && sim_host_running(client); kills--) {
        sim_sleep(sim_random(2 * WEIR_S));
        prog_kill(run->check, server, ways[sim_random(3)]);
        run->ready = false;
        sim_sleep(sim_random(5 * WEIR_S));
        server_up(run, server);
    }
    sim_faults_stop();
    prog_wait(client, 3000 * WEIR_S);
    prog_end(server);
    sim_check(run->answered == run->to_ask, "reconnect.all: %u answers; %u", run->to_ask,
              run->answered);
    sim_note("%u answers over %u connections", run->answered, run->connects);
    check_end(run->check);
    free(run);
}

SIM_PROGRAM(reconnect, .what = "a client that comes back to a server that is killed", .run = run,
            .setup = check_setup);
