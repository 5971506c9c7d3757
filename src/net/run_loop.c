/* One loop of weir_run: made on its own thread, started when all are ready, drained and ended. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "net/datagram.h"
#include "net/inherit.h"
#include "net/run.h"

enum { DRAIN_CHECK_MS = 20 };

static void pin(const struct run_loop *rl)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    unsigned wanted = rl->place % (unsigned)CPU_COUNT(&allowed);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || wanted-- != 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

static void drain_begin(weir_task *task, void *arg);

static void drain_tell(struct run *run, unsigned from)
{
    for (unsigned i = from; i < run->loop_count; i++)
        loop_post(run->loops[i].loop, &run->loops[i].drain_task, drain_begin, &run->loops[i], true);
}

/* Shape acceptor: what was accepted is handed over before the others are told, and so arrives
 * before they look whether they are done. */
static void acceptor_done(struct run_loop *rl)
{
    struct run *run = rl->run;
    if (run->options.shape != WEIR_SHAPE_ACCEPTOR || rl->index != 0 || run->others_told)
        return;
    run->others_told = true;
    drain_tell(run, 1);
}

static void drain_each(weir_loop *loop, struct conn *c, void *arg)
{
    conn_drain(loop, c);
}

static void check_drained(weir_timer *timer, void *arg)
{
    struct run_loop *rl = arg;
    struct net *net = rl->loop->net;
    if (net == NULL || net->listeners.used == 0)
        acceptor_done(rl);
    /* The first loop goes last: it is the one that hears of a second signal. */
    bool last = rl->index != 0 || atomic_load(&rl->run->finished) + 1 == rl->run->loop_count;
    if (last && (net == NULL ||
                 (net->conns.used == 0 && net->listeners.used == 0 && net->dgrams.used == 0))) {
        weir_loop_stop(rl->loop);
        return;
    }
    if (net != NULL && net->drain_again) {
        net->drain_again = false;
        conn_each(net, drain_each, NULL);
    }
    weir_timer_start(timer, weir_after(DRAIN_CHECK_MS * WEIR_MS), check_drained, rl);
}

static void drain_over(weir_timer *timer, void *arg)
{
    struct run_loop *rl = arg;
    acceptor_done(rl);
    if (rl->loop->net != NULL && rl->loop->net->conns.used != 0)
        weir__log(WEIR_LOG_WARN, 0, 0,
                  "loop %u: %u connections did not finish within %u ms and are aborted", rl->index,
                  rl->loop->net->conns.used, rl->run->options.drain_ms);
    weir_loop_stop(rl->loop);
}

static void drain_begin(weir_task *task, void *arg)
{
    struct run_loop *rl = arg;
    weir_loop *loop = rl->loop;
    if (rl->draining)
        return;
    rl->draining = true;
    if (loop->net != NULL) {
        loop->net->draining = true;
        loop->net->leaving = rl->run->seat != NULL && !atomic_load(&rl->run->shared->ending);
        if (rl->run->seat != NULL) {
            atomic_store(&rl->run->seat->left, loop->net->leaving);
            atomic_store(&rl->run->seat->state, SEAT_LEAVING);
        }
        listeners_stop(loop);
        conn_each(loop->net, drain_each, NULL);
        dgrams_close_all(loop, false);
    }
    weir_timer_start(&rl->drain_timer, weir_after(rl->run->options.drain_ms * WEIR_MS), drain_over,
                     rl);
    check_drained(&rl->check_timer, rl);
}

static void abort_now(weir_task *task, void *arg)
{
    weir_loop_stop(((struct run_loop *)arg)->loop);
}

void run_tell_manager(const struct run *run, const char *what)
{
    char lines[64];
    snprintf(lines, sizeof lines, "%s\nMAINPID=%d", what, (int)getpid());
    if (run->options.notify)
        inherit_notify(lines);
}

void run_drain(struct run *run)
{
    if (run->seat == NULL)
        run_tell_manager(run, "STOPPING=1");
    if (run->options.shape == WEIR_SHAPE_ACCEPTOR)
        loop_post(run->loops[0].loop, &run->loops[0].drain_task, drain_begin, &run->loops[0], true);
    else
        drain_tell(run, 0);
}

void run_abort(struct run *run)
{
    for (unsigned i = 0; i < run->loop_count; i++)
        loop_post(run->loops[i].loop, &run->loops[i].abort_task, abort_now, &run->loops[i], true);
}

/* A worker hears of one stop twice when it is sent to the whole group: from the sender, and from
 * the master. A second one comes from the master as INT. */
static void on_signal(weir_watch *watch, int number, void *arg)
{
    struct run *run = arg;
    int none = 0;
    if (run->seat == NULL)
        atomic_fetch_add(&run->stops, number == SIGINT ? 2 : 1);
    else if (number == SIGINT)
        atomic_store(&run->stops, 2);
    else
        atomic_compare_exchange_strong(&run->stops, &none, 1);
}

static void on_nudge(weir_watch *watch, int number, void *arg)
{
    listeners_again(((struct run *)arg)->loops[0].loop);
}

static int signals_start(struct run *run)
{
    static const int numbers[] = {SIGTERM, SIGQUIT, SIGINT};
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int result = weir_signal(&run->signals[i], numbers[i], on_signal, run);
        if (result < 0)
            return result;
    }
    return run->seat != NULL ? weir_signal(&run->nudge, SIGUSR2, on_nudge, run) : 0;
}

static int services_start(struct run_loop *rl, struct net *net)
{
    struct run *run = rl->run;
    for (unsigned i = 0; i < run->service_count; i++) {
        int result = 0;
        rl->services[i] = service_new(net, &run->services[i], sizeof run->services[i], &result);
        if (rl->services[i] == NULL)
            return result;
        const weir_service *config = &rl->services[i]->config;
        if (config->on_loop_start != NULL)
            result = config->on_loop_start(rl->loop, config->user);
        if (result < 0)
            return result;
    }
    return 0;
}

static int listeners_make(struct run_loop *rl, struct net *net)
{
    struct run *run = rl->run;
    for (unsigned s = 0; s < run->socket_count && rl->place < run->listening_loops; s++) {
        struct run_socket *socket = &run->sockets[s];
        int result = 0, fd = socket->fds[rl->place];
        if (address_is_datagram(&socket->address))
            continue;
        int flags = fcntl(fd, F_GETFL);
        flags = net->loop->io->hot_block ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
        if (fcntl(fd, F_SETFL, flags) != 0)
            return -errno;
        struct listener *l =
            listener_new(net, rl->services[socket->service], &socket->address, fd, &result);
        if (l == NULL)
            return result;
        socket->fds[rl->place] = -1; /* the listener's from now on */
        l->inherited = socket->inherited;
        l->shared = socket->shared && run->listening_loops > 1;
        if (run->options.shape == WEIR_SHAPE_ACCEPTOR) {
            l->hand = run_hand;
            l->hand_arg = rl;
        }
    }
    return 0;
}

static int dgrams_make(struct run_loop *rl, struct net *net)
{
    struct run *run = rl->run;
    for (unsigned s = 0; s < run->socket_count; s++) {
        struct run_socket *socket = &run->sockets[s];
        const weir_service *service = &run->services[socket->service];
        int result = 0, fd = socket->fds[rl->place];
        if (!address_is_datagram(&socket->address) || fd < 0)
            continue;
        struct dgram_config *config = dgram_config_new(service->datagram, &result);
        if (config == NULL)
            return result;
        struct dgram *d = dgram_new(net, config, fd, &socket->address, &result);
        dgram_config_unref(config);
        if (d == NULL)
            return result;
        if (d->user == NULL)
            d->user = service->user;
        socket->fds[rl->place] = -1; /* the loop's from now on */
    }
    return 0;
}

static void open_each(weir_loop *loop, struct dgram *d, void *arg)
{
    dgram_open(loop, d, true);
}

static void start_each(weir_loop *loop, struct listener *l, void *arg)
{
    listener_start(loop, l);
}

/* Everything before the first turn. The loop is the current one. */
static int loop_prepare(struct run_loop *rl)
{
    struct net *net;
    int result = net_of(rl->loop, &net);
    if (result == 0 && rl->run->options.shape == WEIR_SHAPE_ACCEPTOR && rl->loop->io->direct) {
        weir__log(WEIR_LOG_ERROR, WEIR_ENOTSUP, 0,
                  "shape acceptor hands descriptors over, which direct ones cannot be: leave out "
                  "+direct or choose shape threads");
        result = WEIR_ENOTSUP;
    }
    if (result == 0)
        result = services_start(rl, net);
    if (result == 0)
        result = listeners_make(rl, net);
    if (result == 0)
        result = dgrams_make(rl, net);
    if (result == 0 && rl->index == 0 && (!rl->run->options.keep_signals || rl->run->seat != NULL))
        result = signals_start(rl->run);
    if (result == 0 && rl->index == 0 && rl->run->seat == NULL)
        run_signals_hear(rl->run);
    else if (result == 0 && rl->index == 0)
        run_worker_hear(rl->run);
    return result;
}

/* Waits until every loop is ready; false when one is not, and nobody starts. */
static bool all_ready(struct run_loop *rl)
{
    struct run *run = rl->run;
    pthread_mutex_lock(&run->lock);
    if (rl->result == 0)
        run->ready++;
    else
        run->given_up = true;
    pthread_cond_broadcast(&run->changed);
    while (!run->given_up && run->ready < run->loop_count)
        pthread_cond_wait(&run->changed, &run->lock);
    bool go = !run->given_up;
    pthread_mutex_unlock(&run->lock);
    return go;
}

/* Nobody's loop is freed while another may still post to it. Counted apart from `ready`: a thread
 * that is slow to leave all_ready still looks at that one, when others are done already. */
static void all_done(struct run *run)
{
    pthread_mutex_lock(&run->lock);
    run->done++;
    pthread_cond_broadcast(&run->changed);
    while (run->done < run->loop_count)
        pthread_cond_wait(&run->changed, &run->lock);
    pthread_mutex_unlock(&run->lock);
}

static void turns(struct run_loop *rl)
{
    struct run *run = rl->run;
    int seen = 0, result = 0;
    while (result == 0) {
        /* Before the first turn too: weir_stop may have come when nobody could be woken. */
        int stops = rl->index == 0 ? atomic_load(&run->stops) : 0;
        if (stops != seen && seen == 0)
            run_drain(run);
        if (stops >= 2 && seen < 2) /* once: its tasks may still be queued */
            run_abort(run);
        seen = stops;
        if (run->seat != NULL)
            run_worker_turn(run, rl->loop);
        result = weir_loop_turn(rl->loop, WEIR_NEVER);
    }
    rl->result = result == WEIR_ESTOPPED ? 0 : result;
    /* What they do is for turns: the other loops may be gone when the end of this one looks at its
     * timers. */
    weir_timer_cancel(&rl->check_timer);
    weir_timer_cancel(&rl->drain_timer);
    weir_timer_cancel(&run->publish_timer);
    atomic_fetch_add(&run->finished, 1);
}

static void services_stop(struct run_loop *rl)
{
    for (unsigned i = 0; i < rl->run->service_count && rl->services[i] != NULL; i++) {
        const weir_service *config = &rl->services[i]->config;
        if (config->on_loop_stop != NULL)
            config->on_loop_stop(rl->loop, config->user);
        service_unref(rl->loop, rl->services[i]);
    }
}

void *run_loop_main(void *arg)
{
    struct run_loop *rl = arg;
    struct run *run = rl->run;
    if (run->options.pin)
        pin(rl);
    rl->result = weir_loop_new(&rl->loop, &run->options.loop);
    weir_loop *former = rl->loop != NULL ? loop_enter(rl->loop) : NULL;
    if (rl->result == 0)
        rl->result = loop_prepare(rl);
    if (all_ready(rl) && (run->seat == NULL || run_worker_go(run))) {
        if (rl->index == 0)
            atomic_store(&run->first_id, rl->loop->id);
        listeners_each(rl->loop->net, start_each, NULL);
        dgrams_each(rl->loop->net, open_each, NULL);
        if (rl->index == 0 && run->seat == NULL)
            run_tell_manager(run, "READY=1");
        if (rl->index == 0 && run->options.on_started != NULL)
            run->options.on_started(run->options.user);
        if (rl->index == 0)
            run_signals_hear(run); /* a worker's HUP and USR1: now somebody watches them */
        loop_enter(former);
        turns(rl);
        if (rl->result == -EOWNERDEAD) { /* a handler has forked: the other threads are not here */
            loop_free(rl->loop);
            return NULL;
        }
        loop_enter(rl->loop);
        all_done(run);
    }
    if (rl->loop != NULL) {
        if (rl->loop->net != NULL) {
            net_end(rl->loop); /* the last on_close comes before on_loop_stop */
            services_stop(rl);
        }
        if (run->seat != NULL)
            seat_publish(run->seat, rl->loop);
        loop_enter(former);
        int ended = loop_free(rl->loop);
        if (rl->result == 0)
            rl->result = ended;
        rl->loop = NULL;
    }
    return NULL;
}
