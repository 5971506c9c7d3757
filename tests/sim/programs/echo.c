/* Echo: what comes in goes out, in every way in which it can be sent. Clients of all tempers: they
 * pause, half close, close, abort, and send by all means there are. Where nothing fails and nobody
 * leaves early, each gets back all that it sent. */
#include <stdlib.h>

#include "sim/check/prog.h"

enum { PORT = 7000, CLIENT_HOSTS = 3 };

struct echo {
    struct check *check;
    bool ready, patient, crowded;
    bool slow; /* somebody took less than a kilobyte in 30 s, and was given up */
    char url[64];
    unsigned whole, parts; /* clients that got everything, or less */
    struct echo_host {
        struct echo *run;
        unsigned living, at_once, tries;
    } hosts[CLIENT_HOSTS];
};

/* --- the server ------------------------------------------------------------------------------- */

enum temper { PLAIN, COPY, LEND, KEEP, SPLIT, LATER, TEMPERS, LEAVE, ABORT };

struct served {
    enum temper temper;
    uint64_t leave_at; /* bytes */
    struct check_kept *kept;
    struct check_timer *timer;
};

static void served_leaves(struct check_conn *cc, struct served *s)
{
    if (cc->received < s->leave_at)
        return;
    if (s->temper == LEAVE)
        check_close(cc);
    else
        check_abort(cc);
}

static void later(struct check_loop *cl, void *arg)
{
    struct check_conn *cc = arg;
    struct served *s = cc->note;
    struct check_kept *kept = s->kept;
    s->timer = NULL;
    s->kept = NULL;
    if (check_living(cc) && check_send(cc, check_kept_view(kept)) >= 0)
        check_resume(cc);
    check_release(kept);
}

static int echo_split(struct check_conn *cc, weir_view in)
{
    weir_view views[5];
    unsigned count = 0;
    for (size_t at = 0; at < in.size; count++) {
        size_t part =
            count == 4 ? in.size - at : 1 + check_random(check_of(cc->side->cl), in.size - at);
        views[count] = weir_slice(in, at, part);
        at += part;
    }
    return check_sendv(cc, views, count);
}

static void serve(struct check_conn *cc, weir_view in)
{
    struct served *s = cc->note;
    int result = 0;
    switch (s->temper) {
    case COPY:
        result = check_send_bytes(cc, in.data, in.size);
        break;
    case LEND:
        result = check_send_lent(cc, in.data, in.size);
        break;
    case KEEP:
        result = check_send_kept(cc, in);
        break;
    case SPLIT:
        result = echo_split(cc, in);
        break;
    case LATER:
        s->kept = check_retain(cc->side->cl, in);
        if (s->kept == NULL) {
            result = WEIR_ENOMEM;
            break;
        }
        check_pause(cc);
        s->timer =
            check_timer(cc->side->cl, weir_after(check_random(check_of(cc->side->cl), 9) * WEIR_MS),
                        false, later, cc);
        return;
    default:
        result = check_send(cc, in);
        break;
    }
    /* Whoever only answers what it reads never meets the cap. */
    sim_check(result != WEIR_EFULL || cc->side->service.read_on == WEIR_READ_ALWAYS ||
                  sim_fault_on(SIM_FAULT_NO_MEMORY),
              "K6.echo: an answer to what was read fits below the cap; it was refused");
    if (result < 0 && check_living(cc))
        check_abort(cc);
    else if (s->temper >= LEAVE && check_living(cc))
        served_leaves(cc, s);
}

static void served_open(struct check_conn *cc)
{
    struct echo *run = cc->side->note;
    struct served *s = calloc(1, sizeof *s);
    cc->note = s;
    s->temper = (enum temper)check_random(run->check, TEMPERS);
    if (!run->patient && check_random(run->check, 8) == 0) {
        s->temper = check_random(run->check, 2) != 0 ? LEAVE : ABORT;
        s->leave_at = 1 + check_random(run->check, 100000);
    }
}

static void served_close(struct check_conn *cc)
{
    struct served *s = cc->note;
    struct echo *run = cc->side->note;
    run->slow |= cc->end.deadline == WEIR_DEADLINE_WRITE;
    if (s->timer != NULL)
        check_timer_cancel(s->timer);
    if (s->kept != NULL)
        check_release(s->kept);
    free(s);
    cc->note = NULL;
}

static void served_end(struct check_conn *cc)
{
    const struct served *s = cc->note;
    if (s->timer == NULL && check_random(check_of(cc->side->cl), 2) == 0)
        check_close(cc);
    else
        check_finish(cc);
}

static int server_main(void *arg)
{
    struct echo *run = arg;
    weir_loop_options options = prog_options(run->patient);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    struct check_side *side = check_side_new(cl, "echo");
    prog_service(&side->service, &options, run->patient);
    if (sim_chance(1, 4)) { /* some wait in the queue of the listener */
        side->service.conns_max = 1 + (uint32_t)sim_size(8);
        run->crowded = true;
    }
    side->hello = true;
    side->note = run;
    side->open = served_open;
    side->data = serve;
    side->close = served_close;
    if (sim_chance(3, 4))
        side->end = served_end;
    prog_enter(cl);
    int result = check_listen(side, run->url);
    prog_leave();
    sim_check(result == 0, "listen: an address to listen on; %s", weir_error_name(result));
    run->ready = true;
    prog_run(cl);
    return 0;
}

/* --- clients ---------------------------------------------------------------------------------- */

enum goodbye { FINISH, CLOSE, TEAR };

struct client {
    struct echo_host *host;
    size_t left; /* to be sent */
    enum goodbye goodbye;
    struct check_timer *timer;
    bool said;
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

static void client_waits(struct check_conn *cc, uint64_t most_ms)
{
    struct client *c = cc->note;
    struct check *check = check_of(cc->side->cl);
    if (c->timer == NULL)
        c->timer = check_timer(cc->side->cl, weir_after(check_random(check, most_ms * WEIR_MS)),
                               check_random(check, 4) == 0, client_timer, cc);
}

static void client_goodbye(struct check_conn *cc)
{
    struct client *c = cc->note;
    if (c->said)
        return;
    c->said = true;
    if (c->goodbye == FINISH)
        check_finish(cc);
    else if (c->goodbye == CLOSE)
        check_close(cc);
    else
        check_abort(cc);
}

static void client_go_on(struct check_conn *cc)
{
    struct client *c = cc->note;
    struct check *check = check_of(cc->side->cl);
    int result = 0;
    while (c->left != 0 && check_living(cc) && result == 0) {
        size_t size = 1 + check_random(check, c->left < 30000 ? c->left : 30000);
        if (check_random(check, 3) == 0)
            size = size % 100 + 1 < c->left ? size % 100 + 1 : c->left;
        result = check_send_any(cc, size);
        if (result >= 0)
            c->left -= size;
        if (check_random(check, 6) == 0) {
            client_waits(cc, 30);
            return;
        }
    }
    if (!check_living(cc))
        return;
    if (result < 0)
        check_abort(cc);
    else if (c->left == 0)
        client_goodbye(cc);
    else
        client_waits(cc, 100); /* on_drain may come first */
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
    if (check_random(check_of(cc->side->cl), 20) != 0)
        return;
    check_pause(cc);
    client_waits(cc, 40);
}

static void host_go_on(struct check_side *side);

static void client_close(struct check_conn *cc)
{
    struct client *c = cc->note;
    struct echo_host *host = c->host;
    struct echo *run = host->run;
    bool whole = c->left == 0 && cc->received == stream_total(&cc->out);
    sim_note("connection %u ended: %s", cc->number, whole ? "whole" : "in part");
    if (whole)
        run->whole++;
    else
        run->parts++;
    run->slow |= cc->end.deadline == WEIR_DEADLINE_WRITE;
    sim_check(whole || !run->patient || c->goodbye != FINISH || run->crowded || run->slow ||
                  check_may_break(run->check),
              "echo.whole: all of %llu bytes came back; %llu (reason %d, %s)",
              (unsigned long long)stream_total(&cc->out), (unsigned long long)cc->received,
              cc->end.why, weir_error_name(cc->end.error));
    if (c->timer != NULL)
        check_timer_cancel(c->timer);
    free(c);
    cc->note = NULL;
    host->living--;
    sim_note("%u live, %u to come", host->living, host->tries);
    host_go_on(cc->side);
}

/* False: it could not even begin. */
static bool client_begin(struct check_side *side, struct echo_host *host)
{
    int error;
    struct client *c = calloc(1, sizeof *c);
    struct check *check = host->run->check;
    c->host = host;
    c->left = prog_size(check);
    c->goodbye = check_random(check, 3) != 0 ? FINISH : check_random(check, 2) != 0 ? CLOSE : TEAR;
    host->tries--;
    if (check_connect(side, host->run->url, c, &error) != NULL)
        return true;
    sim_check(sim_can_break() || sim_fault_on(SIM_FAULT_NO_MEMORY) ||
                  sim_fault_on(SIM_FAULT_SOCKET_ERROR) || sim_fault_on(SIM_FAULT_PORTS),
              "K11.connect: a connection while nothing is scarce; %s", weir_error_name(error));
    free(c);
    return false;
}

/* As many at a time as there are to be; the loop ends with the last one. */
static void host_go_on(struct check_side *side)
{
    struct echo_host *host = side->note;
    while (host->living < host->at_once && host->tries != 0)
        host->living += client_begin(side, host);
    if (host->living == 0)
        prog_stop(side->cl);
}

static int client_main(void *arg)
{
    struct echo_host *host = arg;
    struct echo *run = host->run;
    weir_loop_options options = prog_options(run->patient);
    struct check_loop *cl = prog_loop(run->check, &options);
    if (cl == NULL)
        return 1;
    struct check_side *side = check_side_new(cl, "client");
    prog_service(&side->service, &options, run->patient);
    side->open = client_open;
    side->data = client_data;
    side->drain = client_go_on;
    side->close = client_close;
    side->error_fine = sim_can_break();
    /* One that stops reading while it waits for room would wait for ever for an echo. */
    if (run->patient)
        side->service.read_on = WEIR_READ_ALWAYS;
    host->tries = (unsigned)sim_size(20);
    host->at_once = (unsigned)sim_size(host->tries);
    side->note = host;
    prog_enter(cl);
    host_go_on(side);
    prog_leave();
    prog_run(cl);
    return 0;
}

/* --- at the end: whoever comes when nothing fails any more is served ------------------------- */

static void probe_open(struct check_conn *cc)
{
    sim_check(check_hello(cc) >= 0 && check_send_bytes(cc, "who is there?", 13) >= 0,
              "progress.probe: a client that may send; it may not");
    check_finish(cc);
}

static void probe_close(struct check_conn *cc)
{
    sim_check(
        cc->received == stream_total(&cc->out),
        "progress.probe: a server that serves when nothing fails; after %llu bytes reason %d, "
        "%s",
        (unsigned long long)cc->received, cc->end.why, weir_error_name(cc->end.error));
    prog_stop(cc->side->cl);
}

static int probe_main(void *arg)
{
    struct echo *run = arg;
    int error;
    struct check_loop *cl = prog_loop(run->check, NULL);
    sim_check(cl != NULL, "progress.probe: a loop; none");
    struct check_side *side = check_side_new(cl, "probe");
    side->open = probe_open;
    side->close = probe_close;
    prog_enter(cl);
    sim_check(check_connect(side, run->url, NULL, &error) != NULL,
              "progress.probe: a connect begins; %s", weir_error_name(error));
    prog_leave();
    prog_run(cl);
    return 0;
}

static void run(void)
{
    struct echo *run = calloc(1, sizeof *run);
    sim_host *hosts[CLIENT_HOSTS];
    prog_begin();
    run->check = check_new(sim_seed());
    run->patient = sim_chance(1, 2);
    prog_url(run->url, sizeof run->url, 1, PORT);
    sim_host *server = prog_host("server", 1, server_main, run);
    prog_start(server, &run->ready);
    unsigned count = 1 + (unsigned)sim_random(CLIENT_HOSTS);
    static const char *const names[] = {"a", "b", "c"};
    for (unsigned i = 0; i < count; i++) {
        run->hosts[i].run = run;
        hosts[i] = prog_host(names[i], 2 + i, client_main, &run->hosts[i]);
        sim_host_start(hosts[i]);
    }
    sim_sleep(sim_size(20) * WEIR_S);
    sim_faults_stop();
    for (unsigned i = 0; i < count; i++)
        prog_wait(hosts[i], 3000 * WEIR_S);
    if (run->patient) {
        sim_sleep(5 * WEIR_S); /* a listener that backs off comes back */
        sim_host *probe = prog_host("probe", 9, probe_main, run);
        sim_host_start(probe);
        prog_wait(probe, 600 * WEIR_S);
    }
    prog_end(server);
    sim_note("%u clients got everything back, %u less", run->whole, run->parts);
    check_end(run->check);
    free(run);
}

SIM_PROGRAM(echo, .what = "echo, by every way of sending", .run = run, .setup = check_setup);
