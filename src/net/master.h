/* The master of shape processes: no ring, no loop, no thread (K17). It holds the listeners, makes
 * workers, waits for them and for signals. */
#ifndef WEIR_NET_MASTER_H
#define WEIR_NET_MASTER_H

#include <poll.h>

#include "net/run.h"

struct worker {
    pid_t pid;        /* 0: none */
    int pid_fd;       /* -1: the kernel has none; then it is looked at now and then */
    bool leaving;     /* told to */
    bool again;       /* started once more, for the end: see take_over */
    unsigned crashes; /* in a row */
    uint64_t began_ns;
    uint64_t due_ns; /* without one: when it is started again */
};

enum master_phase {
    MASTER_STARTING, /* nobody serves until all could */
    MASTER_SERVING,
    MASTER_RESTING, /* WINCH: no workers, and the listeners stay */
    MASTER_ENDING
};

struct master {
    struct run *run;
    struct worker *workers;
    struct pollfd *polls; /* signals, told, and a place for each worker */
    enum master_phase phase;
    int signal_fd; /* -1: signals are the program's */
    int told[2];   /* workers, and weir_stop, write a byte */
    int go[2];     /* closed when all may serve */
    bool told_serving;
    int stops;       /* seen so far */
    unsigned nudges; /* still to be given */
    uint64_t nudge_ns;
    uint64_t kill_ns; /* ending: who lives then is killed */
    int result;
};

enum { MASTER_POLLS = 2 };

void master_signals(sigset_t *set); /* all that it hears */

/* crew.c: the workers. */
int crew_start(struct master *m);             /* all of them, for the first time */
void crew_start_missing(struct master *m);    /* the end: what waits in their queues is served */
void crew_look(struct master *m);             /* buries the dead, and starts again who is due */
void crew_tell(struct master *m, int number); /* a signal to each */
unsigned crew_living(const struct master *m);
bool crew_all_in(const struct master *m, enum seat_state state); /* or beyond it */
uint64_t crew_due_ns(const struct master *m); /* when there is something to do; UINT64_MAX: never */

#endif
