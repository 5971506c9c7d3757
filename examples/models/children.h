/* For models with processes: none is left behind, neither running nor as a zombie. */
#ifndef CHILDREN_H
#define CHILDREN_H

#include <sys/prctl.h>
#include <sys/wait.h>

#include "model.h"

struct children {
    unsigned count, max;
    pid_t *pids;
    sigset_t waiting; /* the mask to wait with: CHLD, TERM and INT arrive only there */
};

static inline void children_note(int number)
{
    if (number != SIGCHLD)
        model_ended = 1;
}

static inline void children_begin(struct children *c, unsigned max)
{
    static const int signals[] = {SIGCHLD, SIGTERM, SIGINT};
    struct sigaction action = {.sa_handler = children_note};
    sigset_t block;
    *c = (struct children){.max = max, .pids = calloc(max, sizeof *c->pids)};
    if (c->pids == NULL)
        model_die("calloc");
    sigemptyset(&block);
    for (size_t i = 0; i < 3; i++)
        sigaddset(&block, signals[i]);
    sigprocmask(SIG_BLOCK, &block, &c->waiting);
    for (size_t i = 0; i < 3; i++) {
        sigaction(signals[i], &action, NULL);
        sigdelset(&c->waiting, signals[i]);
    }
}

/* Forks; the caller has seen to it that count < max. 0 in the child, which dies with its parent,
 * and by TERM; -1: not now. */
static inline pid_t children_fork(struct children *c)
{
    pid_t parent = getpid(), pid = fork();
    if (pid > 0)
        c->pids[c->count++] = pid;
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &c->waiting, NULL);
    if (getppid() != parent) /* it ended before we asked to be told */
        _exit(0);
    return 0;
}

/* One that has ended, or 0. One CHLD may stand for several, so: until there are no more. */
static inline pid_t children_reap(struct children *c, int *status)
{
    pid_t pid = waitpid(-1, status, WNOHANG);
    for (unsigned i = 0; pid > 0 && i < c->count; i++)
        if (c->pids[i] == pid) {
            c->pids[i] = c->pids[--c->count];
            break;
        }
    return pid > 0 ? pid : 0;
}

/* Ends all and takes in their ends. */
static inline void children_end(struct children *c)
{
    for (unsigned i = 0; i < c->count; i++)
        kill(c->pids[i], SIGTERM);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
}

/* Keeps `max` children running, each in `worker`, until TERM. One that dies is replaced, and one
 * that dies at once does not make us spin. */
static inline void children_keep(struct children *c, void (*worker)(unsigned index, void *arg),
                                 void *arg)
{
    pid_t *seats = calloc(c->max, sizeof *seats), pid;
    if (seats == NULL)
        model_die("calloc");
    while (!model_ended) {
        bool all = true;
        for (unsigned i = 0; i < c->max; i++) {
            if (seats[i] == 0 && (seats[i] = children_fork(c)) == 0) {
                worker(i, arg);
                _exit(0);
            }
            if (seats[i] < 0) { /* not now */
                seats[i] = 0;
                all = false;
            }
        }
        pselect(0, NULL, NULL, NULL, all ? NULL : &model_pause, &c->waiting);
        bool died = false;
        while ((pid = children_reap(c, NULL)) != 0) {
            for (unsigned i = 0; i < c->max; i++)
                seats[i] = seats[i] == pid ? 0 : seats[i];
            died = true;
        }
        if (died)
            nanosleep(&model_pause, NULL);
    }
    free(seats);
    children_end(c);
}
#endif
