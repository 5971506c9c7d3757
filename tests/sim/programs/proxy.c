/* A proxy by weir_pipe between clients and an echo server: bytes, ends and resets go through, the
 * slower end paces the faster. The streams are compared from end to end. */
#include <stdint.h>
#include <stdlib.h>

#include "sim/check/prog.h"

enum { FRONT = 7200, BACK = 7201, CLIENTS = 12 };

struct proxy {
    struct check *check;
    bool echo_ready, proxy_ready, patient;
    char front[64], back[64];
    struct check_side *outgoing;
    unsigned living, tries, at_once, whole;
};

/* --- the echo server behind ------------------------------------------------------------------- */

static void back_data(struct check_conn *cc, weir_view in)
{
    if (check_send(cc, in) < 0 && check_living(cc))
        check_abort(cc);
}

static void back_end(struct check_conn *cc)
{
    check_finish(cc);
}

static struct check_side *back_side(struct check_loop *cl, struct proxy *run,
                                    const weir_loop_options *options)
{
    struct check_side *side = check_side_new(cl, "echo");
    prog_service(&side->service, options, run->patient);
    side->service.read_on = WEIR_READ_BELOW_MARK;
    side->hello = true;
    side->piped = true;
    side->data = back_data;
    side->end = back_end;
    return side;
}

static int back_main(void *arg)
{
    struct proxy *run = arg;
    weir_loop_options options = prog_options(run->patient);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    prog_enter(cl);
    int result = check_listen(back_side(cl, run, &options), run->back);
    prog_leave();
    sim_check(result == 0, "listen: an address to listen on; %s", weir_error_name(result));
    run->echo_ready = true;
    prog_run(cl);
    return 0;
}

/* --- the proxy -------------------------------------------------------------------------------- */

/* Each end's note is the other one, until they are coupled. */
static void coupled(struct check_conn *out)
{
    struct check_conn *in = out->note;
    if (in == NULL || !check_living(in)) {
        check_abort(out);
        return;
    }
    in->note = out->note = NULL;
    int result = check_pipe(in, out);
    if (result < 0) { /* gone in this very turn, or memory is short */
        sim_check(result == WEIR_EGONE || result == WEIR_EMISUSE ||
                      sim_fault_on(SIM_FAULT_NO_MEMORY),
                  "K6.pipe: two open connections are coupled; %s", weir_error_name(result));
        check_abort(in);
        check_abort(out);
    }
}

static void other_leaves(struct check_conn *cc)
{
    struct check_conn *other = cc->note;
    if (other == NULL)
        return;
    cc->note = other->note = NULL;
    if (other->closes == 0)
        check_abort(other);
}

static void front_open(struct check_conn *in)
{
    struct proxy *run = in->side->note;
    int error;
    check_pause(in);
    struct check_conn *out = check_connect(run->outgoing, run->back, in, &error);
    if (out == NULL)
        check_abort(in);
    else
        in->note = out;
}

/* Now and then the proxy itself ends a pair. */
static void cut(struct check_loop *cl, void *arg)
{
    struct proxy *run = arg;
    struct check_conn *cc = check_any(cl, run->outgoing);
    if (cc != NULL && cc->piped && check_random(run->check, 2) == 0)
        check_abort(cc);
    check_timer(cl, weir_after((1 + check_random(run->check, 2000)) * WEIR_MS), false, cut, run);
}

static int proxy_main(void *arg)
{
    struct proxy *run = arg;
    weir_loop_options options = prog_options(run->patient);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    struct check_side *in = check_side_new(cl, "front");
    struct check_side *out = run->outgoing = check_side_new(cl, "outgoing");
    prog_service(&in->service, &options, run->patient);
    prog_service(&out->service, &options, run->patient);
    in->loose = out->loose = true;
    in->note = run;
    in->open = front_open;
    in->close = out->close = other_leaves;
    out->open = coupled;
    out->error_fine = true;
    prog_enter(cl);
    int result = check_listen(in, run->front);
    if (!run->patient)
        check_timer(cl, weir_after(50 * WEIR_MS), false, cut, run);
    prog_leave();
    sim_check(result == 0, "listen: an address to listen on; %s", weir_error_name(result));
    run->proxy_ready = true;
    prog_run(cl);
    return 0;
}

/* --- clients ---------------------------------------------------------------------------------- */

struct client {
    size_t left;
    bool said, tears;
    struct check_timer *timer;
};

static void client_go_on(struct check_conn *cc);

static void client_timer(struct check_loop *cl, void *arg)
{
    struct check_conn *cc = arg;
    struct client *c = cc->note;
    c->timer = NULL;
    if (cc->paused)
        check_resume(cc);
    client_go_on(cc);
}

static void client_waits(struct check_conn *cc)
{
    struct client *c = cc->note;
    struct check *check = check_of(cc->side->cl);
    if (c->timer == NULL)
        c->timer = check_timer(cc->side->cl, weir_after(check_random(check, 50 * WEIR_MS)), false,
                               client_timer, cc);
}

static void client_go_on(struct check_conn *cc)
{
    struct client *c = cc->note;
    struct check *check = check_of(cc->side->cl);
    while (check_living(cc) && c->left != 0) {
        size_t size = 1 + check_random(check, c->left < 20000 ? c->left : 20000);
        int result = check_send_any(cc, size);
        c->left -= result >= 0 ? size : 0;
        if (result != 0) {
            if (result < 0 && check_living(cc))
                check_abort(cc);
            client_waits(cc);
            return;
        }
    }
    if (!check_living(cc) || c->said)
        return;
    c->said = true;
    if (c->tears)
        check_abort(cc);
    else
        check_finish(cc);
}

static void client_open(struct check_conn *cc)
{
    if (check_hello(cc) < 0)
        check_abort(cc);
    else
        client_go_on(cc);
}

static void client_data(struct check_conn *cc, weir_view in)
{
    if (check_random(check_of(cc->side->cl), 12) != 0)
        return;
    check_pause(cc);
    client_waits(cc);
}

static void clients_go_on(struct check_side *side);

static void client_close(struct check_conn *cc)
{
    struct client *c = cc->note;
    struct proxy *run = cc->side->note;
    bool whole = c->left == 0 && cc->received == stream_total(&cc->out);
    run->whole += whole;
    sim_check(whole || c->tears || !run->patient || check_may_break(run->check) ||
                  check_gave_up(run->check),
              "proxy.whole: all of %llu bytes came back; %llu (reason %d, %s)",
              (unsigned long long)stream_total(&cc->out), (unsigned long long)cc->received,
              cc->end.why, weir_error_name(cc->end.error));
    if (c->timer != NULL)
        check_timer_cancel(c->timer);
    free(c);
    run->living--;
    clients_go_on(cc->side);
}

static void clients_go_on(struct check_side *side)
{
    struct proxy *run = side->note;
    while (run->living < run->at_once && run->tries != 0) {
        int error;
        struct client *c = calloc(1, sizeof *c);
        c->left = prog_size(run->check);
        c->tears = check_random(run->check, 6) == 0;
        run->tries--;
        if (check_connect(side, run->front, c, &error) != NULL)
            run->living++;
        else
            free(c);
    }
    if (run->living == 0)
        prog_stop(side->cl);
}

static int client_main(void *arg)
{
    struct proxy *run = arg;
    weir_loop_options options = prog_options(run->patient);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    struct check_side *side = check_side_new(cl, "client");
    prog_service(&side->service, &options, run->patient);
    side->service.read_on = WEIR_READ_ALWAYS;
    side->open = client_open;
    side->data = client_data;
    side->drain = client_go_on;
    side->close = client_close;
    side->piped = true;
    side->error_fine = sim_can_break();
    side->note = run;
    run->tries = (unsigned)sim_size(CLIENTS);
    run->at_once = (unsigned)sim_size(run->tries);
    prog_enter(cl);
    clients_go_on(side);
    prog_leave();
    prog_run(cl);
    return 0;
}

static void run(void)
{
    struct proxy *run = calloc(1, sizeof *run);
    prog_begin();
    run->check = check_new(sim_seed());
    run->patient = sim_chance(1, 2);
    prog_url(run->front, sizeof run->front, 1, FRONT);
    prog_url(run->back, sizeof run->back, 2, BACK);
    sim_host *proxy = prog_host("proxy", 1, proxy_main, run);
    sim_host *back = prog_host("back", 2, back_main, run);
    sim_host *client = prog_host("client", 3, client_main, run);
    prog_start(back, &run->echo_ready);
    prog_start(proxy, &run->proxy_ready);
    sim_host_start(client);
    sim_sleep(sim_size(30) * WEIR_S);
    sim_faults_stop();
    prog_wait(client, 3000 * WEIR_S);
    prog_end(proxy);
    prog_end(back);
    sim_note("%u clients got everything back", run->whole);
    check_end(run->check);
    free(run);
}

SIM_PROGRAM(proxy, .what = "a proxy by weir_pipe before an echo", .run = run, .setup = check_setup);
