/* The public API by chance: a few nodes that listen and connect to one another, each of which draws
 * what to do next from the seed, in no sensible order, with the model following it. */
#include <pthread.h>
#include <stdlib.h>

#include "sim/check/filter.h"
#include "sim/check/prog.h"

enum { PORT = 7100, NODES = 3, SERVICES = 3, TIMERS = 8, FOREIGNS = 3, STEPS = 250 };

struct api {
    struct check *check;
    unsigned nodes;
    unsigned ended;
    bool crowded; /* some listeners reset whom they have no room for */
    uint64_t steps;
    struct node {
        struct api *run;
        unsigned number;
        bool ready;
        struct check_loop *cl;
        weir_loop_options options;
        struct check_side *serve[SERVICES], *call[SERVICES];
        bool listens[SERVICES];
        struct check_conn **conns;
        unsigned count, room;
        unsigned steps, connects;
        struct check_timer *timers[TIMERS];
        struct check_foreign *foreigns[FOREIGNS];
        bool closing, over; /* over: its loop does not run any more */
        unsigned tasks;     /* under way */
        pthread_t postman;
        bool has_postman, has_office;
    } node[NODES];
};

static uint64_t draw(const struct node *n, uint64_t bound)
{
    return check_random(n->run->check, bound);
}

/* --- connections ------------------------------------------------------------------------------ */

static void conn_add(struct node *n, struct check_conn *cc)
{
    if (n->count == n->room) {
        n->room = n->room != 0 ? 2 * n->room : 16;
        n->conns = realloc(n->conns, n->room * sizeof(struct check_conn *));
        if (n->conns == NULL)
            abort();
    }
    n->conns[n->count++] = cc;
}

static void maybe_over(struct node *n)
{
    if (n->closing && n->count == 0 && n->tasks == 0)
        prog_stop(n->cl);
}

static void act(struct node *n, struct check_conn *cc);

static void on_open(struct check_conn *cc)
{
    struct node *n = cc->side->note;
    if (cc->client && check_hello(cc) < 0) {
        check_abort(cc);
        return;
    }
    if (!cc->client)
        conn_add(n, cc);
    if (n->closing)
        check_close(cc);
    else if (draw(n, 3) == 0)
        act(n, cc);
}

static void on_data(struct check_conn *cc, weir_view in)
{
    struct node *n = cc->side->note;
    if (draw(n, 3) == 0 && check_living(cc) && !cc->finish_called && !cc->piped && !cc->mailed)
        (void)check_send(cc, in);
    if (draw(n, 8) == 0)
        act(n, cc);
}

static void on_end(struct check_conn *cc)
{
    struct node *n = cc->side->note;
    switch (draw(n, cc->mailed ? 1 : 4) + cc->mailed) {
    case 0:
        check_finish(cc);
        break;
    case 1:
        act(n, cc);
        break;
    default:
        check_close(cc);
        break;
    }
}

static void on_drain(struct check_conn *cc)
{
    struct node *n = cc->side->note;
    if (draw(n, 2) == 0)
        act(n, cc);
}

static void on_idle(struct check_conn *cc, enum weir_idle which)
{
    struct node *n = cc->side->note;
    if (draw(n, 8) == 0)
        act(n, cc);
}

static void on_close(struct check_conn *cc)
{
    struct node *n = cc->side->note;
    for (unsigned i = 0; i < n->count; i++)
        if (n->conns[i] == cc)
            n->conns[i] = n->conns[--n->count];
    maybe_over(n);
}

/* --- what can be done ------------------------------------------------------------------------- */

static void act_send(struct node *n, struct check_conn *cc)
{
    struct check *check = n->run->check;
    if ((cc->finish_called && draw(n, 4) != 0) || cc->piped || cc->mailed)
        return;
    if (draw(n, 20) == 0)
        (void)check_send_pull(cc, prog_size(check) / 8, true);
    else if (draw(n, 30) == 0)
        (void)check_send_file(cc, 1 + prog_size(check) / 8, 1 + (size_t)draw(n, 1000));
    else
        (void)check_send_any(cc, 1 + prog_size(check) / (draw(n, 4) == 0 ? 1 : 4));
}

static void act(struct node *n, struct check_conn *cc)
{
    if (!check_living(cc) || cc->mailed)
        return;
    switch (draw(n, 24)) {
    case 0:
        check_close(cc);
        break;
    case 1:
        check_abort(cc);
        break;
    case 2:
        check_finish(cc);
        break;
    case 3:
    case 4:
        check_pause(cc);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        check_resume(cc);
        break;
    case 9:
        check_flush(cc);
        break;
    default:
        act_send(n, cc);
        break;
    }
}

/* From its own loop, from another one of this host, and from a thread that has none. */
static void act_mail(struct node *n)
{
    struct check_conn *cc = n->conns[draw(n, n->count)];
    if (check_living(cc) && !cc->finish_called && !cc->piped && !cc->mailed)
        check_mail(cc, 1 + (size_t)draw(n, 1ull << (4 + draw(n, 10))));
}

/* The sender's own loop: it mails from a timer of it, and is told there what became of it. */
struct office {
    struct node *node;
    weir_loop *loop;
    weir_timer timer;
};

static void office_mails(weir_timer *timer, void *arg)
{
    struct office *office = arg;
    struct node *n = office->node;
    if (n->over) {
        weir_loop_stop(office->loop);
        return;
    }
    if (n->count != 0)
        act_mail(n);
    weir_timer_start(&office->timer, weir_after(sim_size(400 * WEIR_MS)), office_mails, office);
}

static void office_run(struct node *n)
{
    struct office office = {.node = n};
    if (weir_loop_new(&office.loop, NULL) < 0)
        return;
    weir_loop *former = weir_loop_enter(office.loop);
    weir_timer_start(&office.timer, weir_after(WEIR_MS), office_mails, &office);
    weir_loop_enter(former);
    (void)weir_loop_run(office.loop);
    weir_loop_free(office.loop);
}

static void *postman(void *arg)
{
    struct node *n = arg;
    if (n->has_office) {
        office_run(n);
        return NULL;
    }
    while (!n->over) {
        if (n->count != 0)
            act_mail(n);
        sim_sleep(sim_size(400 * WEIR_MS));
    }
    return NULL;
}

/* Couples two whose peers are no end of a pipe, nor they themselves: nothing goes round for ever.
 */
static bool may_be_piped(const struct check_conn *cc)
{
    return check_living(cc) && cc->peer != NULL && !cc->piped && !cc->beyond && !cc->peer->piped &&
           !cc->peer->beyond && !cc->finish_called && cc->ends == 0 && !cc->mailed;
}

static void act_pipe(struct node *n)
{
    struct check_conn *a = n->conns[draw(n, n->count)], *b = n->conns[draw(n, n->count)];
    if (a == b || a->peer == b || !may_be_piped(a) || !may_be_piped(b))
        return;
    int result = check_pipe(a, b);
    sim_check(result == 0 || result == WEIR_EGONE || result == WEIR_EMISUSE ||
                  sim_fault_on(SIM_FAULT_NO_MEMORY) || n->options.memory_max_bytes != 0,
              "K6.pipe: two open connections are coupled; %s", weir_error_name(result));
}

/* A descriptor that is not weir's: it is watched, or not any more, or can be read. */
static void act_foreign(struct node *n)
{
    struct check_foreign **foreign = &n->foreigns[draw(n, FOREIGNS)];
    if (*foreign == NULL)
        *foreign = check_foreign_new(n->cl);
    else if (draw(n, 2) == 0)
        check_foreign_poke(*foreign);
    else
        check_foreign_turn(*foreign);
}

static void act_connect(struct node *n)
{
    char url[64];
    int error;
    struct api *run = n->run;
    unsigned to = (unsigned)draw(n, run->nodes), service = (unsigned)draw(n, SERVICES);
    if (n->connects == 40)
        return;
    n->connects++;
    prog_url(url, sizeof url, 1 + to, PORT + service);
    struct check_conn *cc = check_connect(n->call[service], url, NULL, &error);
    if (cc != NULL)
        conn_add(n, cc);
    else
        sim_check(!sim_quiet(), "K11.connect: a connection while nothing is scarce; %s",
                  weir_error_name(error));
}

static void timer_fired(struct check_loop *cl, void *arg)
{
    struct check_timer **timer = arg;
    *timer = NULL;
}

static void act_timer(struct node *n)
{
    struct check_timer **timer = &n->timers[draw(n, TIMERS)];
    uint64_t most = draw(n, 2) == 0 ? 300 * WEIR_MS : 10 * WEIR_S;
    weir_time due = draw(n, 20) == 0 ? 0 : weir_after(draw(n, most));
    if (*timer == NULL)
        *timer = check_timer(n->cl, due, draw(n, 3) == 0, timer_fired, timer);
    else if (draw(n, 2) == 0)
        check_timer_move(*timer, due);
    else {
        check_timer_cancel(*timer);
        *timer = NULL;
    }
}

static void task_ran(struct check_loop *cl, void *arg)
{
    struct node *n = arg;
    n->tasks--;
    if (n->count != 0 && !n->closing)
        act(n, n->conns[draw(n, n->count)]);
    maybe_over(n);
}

static void act_listener(struct node *n)
{
    unsigned i = (unsigned)draw(n, SERVICES);
    char url[64];
    if (n->listens[i]) {
        int result = weir_listener_close(n->serve[i]->listener);
        sim_check(result == 0, "K9.listener: a listener is closed; %s", weir_error_name(result));
        n->listens[i] = false;
        return;
    }
    /* The port of one that is being closed may be taken still. */
    prog_url(url, sizeof url, 1 + n->number, PORT + i);
    n->listens[i] = check_listen(n->serve[i], url) == 0;
}

static void step(struct check_loop *cl, void *arg);

static void finish(struct node *n)
{
    n->closing = true;
    n->run->ended++;
    for (unsigned i = 0; i < TIMERS; i++)
        if (n->timers[i] != NULL)
            check_timer_cancel(n->timers[i]);
    for (unsigned i = 0; i < SERVICES; i++)
        if (n->listens[i])
            (void)weir_listener_close(n->serve[i]->listener);
    if (draw(n, 4) == 0) { /* in the middle of everything */
        prog_stop(n->cl);
        return;
    }
    for (unsigned i = n->count; i-- > 0;)
        if (check_living(n->conns[i]))
            check_close(n->conns[i]);
    maybe_over(n);
}

static void step(struct check_loop *cl, void *arg)
{
    struct node *n = arg;
    n->run->steps++;
    if (n->steps-- == 0) {
        finish(n);
        return;
    }
    for (uint64_t acts = 1 + draw(n, 3); acts != 0; acts--) {
        uint64_t which = draw(n, 20);
        if (which < 2 || n->count == 0)
            act_connect(n);
        else if (which < 4)
            act_timer(n);
        else if (which == 4 && check_post(n->cl, n->cl, task_ran, n) == 0)
            n->tasks++;
        else if (which == 5 && draw(n, 10) == 0)
            act_listener(n);
        else if (which == 6 && draw(n, 10) == 0)
            sim_stall(draw(n, 20 * WEIR_MS));
        else if (which == 7)
            act_foreign(n);
        else if (which == 8)
            act_pipe(n);
        else if (which == 9)
            act_mail(n);
        else
            act(n, n->conns[draw(n, n->count)]);
    }
    uint64_t pause = draw(n, 8) == 0 ? 400 * WEIR_MS : 3 * WEIR_MS;
    check_timer(cl, weir_after(draw(n, pause)), draw(n, 4) == 0, step, n);
}

/* --- nodes ------------------------------------------------------------------------------------ */

static struct check_side *side_new(struct node *n, unsigned service, bool server)
{
    struct check_side *side = check_side_new(n->cl, server ? "served" : "calling");
    prog_service(&side->service, &n->options, false);
    if (draw(n, 3) == 0)
        side->service.full = WEIR_FULL_REFUSE;
    if (draw(n, 4) == 0)
        side->service.server_first = true;
    if (server && draw(n, 4) == 0) {
        side->service.conns_max = 1 + (uint32_t)draw(n, 8);
        side->service.overload = draw(n, 2) == 0 ? WEIR_OVERLOAD_LEAVE : WEIR_OVERLOAD_RESET;
        n->run->crowded |= side->service.overload == WEIR_OVERLOAD_RESET;
    }
    if (server && draw(n, 6) == 0)
        side->service.accept_rate = 20 + (uint32_t)draw(n, 1000);
    if (service == 1)
        check_filter_use(&side->service);
    side->note = n;
    side->hello = true;
    side->error_fine = true; /* others leave, and take their listeners along */
    side->open = on_open;
    side->data = on_data;
    side->drain = on_drain;
    side->idle = on_idle;
    side->close = on_close;
    if (service != 2)
        side->end = on_end;
    return side;
}

static int node_main(void *arg)
{
    struct node *n = arg;
    struct api *run = n->run;
    char url[64];
    n->options = prog_options(false);
    n->cl = prog_loop(run->check, &n->options);
    if (n->cl == NULL)
        return 1;
    prog_enter(n->cl);
    for (unsigned i = 0; i < SERVICES; i++) {
        n->serve[i] = side_new(n, i, true);
        n->call[i] = side_new(n, i, false);
        int result = check_listen(n->serve[i], prog_url(url, sizeof url, 1 + n->number, PORT + i));
        sim_check(result == 0, "listen: an address to listen on; %s", weir_error_name(result));
        n->listens[i] = true;
    }
    n->steps = (unsigned)sim_size(STEPS);
    check_timer(n->cl, weir_after(5 * WEIR_MS), false, step, n);
    prog_leave();
    n->ready = true;
    n->has_office = draw(n, 2) == 0;
    if (!prog_real() && draw(n, 3) == 0)
        n->has_postman = pthread_create(&n->postman, NULL, postman, n) == 0;
    prog_turn(n->cl);
    n->over = true;
    if (n->has_postman)
        pthread_join(n->postman, NULL);
    prog_free(n->cl);
    free(n->conns);
    return 0;
}

static void run(void)
{
    static const char *const names[NODES] = {"a", "b", "c"};
    struct api *run = calloc(1, sizeof *run);
    sim_host *hosts[NODES];
    prog_begin();
    run->check = check_new(sim_seed());
    run->nodes = 1 + (unsigned)sim_random(NODES);
    for (unsigned i = 0; i < run->nodes; i++) {
        run->node[i].run = run;
        run->node[i].number = i;
        hosts[i] = prog_host(names[i], 1 + i, node_main, &run->node[i]);
    }
    for (unsigned i = 0; i < run->nodes; i++)
        prog_start(hosts[i], &run->node[i].ready);
    sim_sleep(sim_size(60) * WEIR_S);
    sim_faults_stop();
    for (unsigned i = 0; i < run->nodes; i++)
        prog_wait(hosts[i], 3000 * WEIR_S);
    sim_note("%llu steps", (unsigned long long)run->steps);
    check_end(run->check);
    free(run);
}

SIM_PROGRAM(api, .what = "the public API by chance", .run = run, .setup = check_setup);
