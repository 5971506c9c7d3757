/* A worker: what a process does between the fork and the end of its one loop. */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "net/run.h"

/* The worker ends with its master, however that ends: TERM, so that requests in progress are
 * finished. The kernel forgets this when the user changes, so it comes behind that; a master that
 * was gone before is seen by the parent, which is another one then. */
static int parent_follow(const struct run *run)
{
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0)
        return -errno;
    return getppid() == run->master_pid ? 0 : WEIR_ECANCELED;
}

static void unwatched(int number)
{
}

/* The signals that the master passes on would end a program that does not watch them. HUP and USR1
 * that have come since the fork wait, blocked, for who may watch them; being ignored for a moment
 * they would be lost. */
static void signals_calm(struct run *run)
{
    static const int taken[] = {SIGTERM, SIGQUIT, SIGINT};
    struct sigaction calm = {.sa_handler = unwatched, .sa_flags = SA_RESTART};
    sigaction(SIGHUP, &calm, NULL);
    sigaction(SIGUSR1, &calm, NULL);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGWINCH, SIG_IGN);
    for (unsigned i = 0; i < sizeof taken / sizeof *taken; i++)
        sigdelset(&run->mask, taken[i]); /* the worker hears these, whoever blocked them */
}

void run_worker_hear(struct run *run)
{
    sigset_t mask = run->mask;
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

/* What is not this worker's: another one's queue would live on with this process. */
static void sockets_keep(struct run *run, unsigned number)
{
    for (unsigned s = 0; s < run->socket_count; s++)
        for (unsigned i = 0; i < RUN_LOOPS_MAX; i++)
            if (i != number && run->sockets[s].fds[i] >= 0) {
                close(run->sockets[s].fds[i]);
                run->sockets[s].fds[i] = -1;
            }
}

bool run_worker_go(struct run *run)
{
    char byte;
    atomic_store(&run->seat->state, SEAT_READY);
    run_master_wake(run);
    while (read(run->go_fd, &byte, 1) < 0 && errno == EINTR)
        continue;
    if (!atomic_load(&run->shared->go))
        return false;
    atomic_store(&run->seat->state, SEAT_SERVING);
    run_master_wake(run);
    return true;
}

/* Once more when something has happened since; else the loop may sleep as long as it likes. */
static void publish(weir_timer *timer, void *arg)
{
    struct run *run = arg;
    weir_loop *loop = run->loops[0].loop;
    run->publish_started = false;
    run->published_events = loop->io->stats.events;
    seat_publish(run->seat, loop);
}

void run_worker_turn(struct run *run, weir_loop *loop)
{
    int level = atomic_load_explicit(&run->shared->log_level, memory_order_relaxed);
    if (level != run->log_level)
        weir_log_set_level((enum weir_log_level)(run->log_level = level));
    if (run->publish_started || loop->io->stats.events == run->published_events)
        return;
    run->publish_started = true;
    weir_loop *former = loop_enter(loop);
    weir_timer_start(&run->publish_timer, weir_after(SHARED_PUBLISH_MS * WEIR_MS), publish, run);
    loop_enter(former);
}

int run_worker(struct run *run, unsigned number, const int *closing, unsigned count)
{
    struct run_loop *rl = &run->loops[0];
    for (unsigned i = 0; i < count; i++)
        if (closing[i] >= 0)
            close(closing[i]);
    run->master = NULL;
    atomic_store(&run->stops,
                 0); /* the master's: one that is made for the end hears of it itself */
    run->seat = &run->shared->seats[number];
    rl->place = number;
    sockets_keep(run, number);
    signals_calm(run);
    int result = privileges_drop(&run->privileges);
    if (result == 0)
        result = parent_follow(run);
    if (result == 0) {
        run_loop_main(rl);
        result = rl->result;
    }
    if (result == -EOWNERDEAD) /* a handler has forked, and this is its child */
        return result;
    atomic_store(&run->seat->result, result);
    atomic_store(&run_running, NULL);
    run_sockets_close(run, false);
    if (run->options.on_worker_end != NULL)
        run->options.on_worker_end(run->options.user);
    _exit(result == 0 ? 0 : 1);
}
