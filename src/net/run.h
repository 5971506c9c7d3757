/* The inside of weir_run: services on several loops, from the opened sockets to the drained end. */
#ifndef WEIR_NET_RUN_H
#define WEIR_NET_RUN_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "net/listener.h"
#include "net/privileges.h"
#include "net/shared.h"

enum {
    RUN_LOOPS_MAX = 512,
    RUN_SERVICES_MAX = 64,
    RUN_DRAIN_MS = 10000,
    /* Shape processes. */
    RUN_CRASH_LIVED_MS = 10000, /* a worker that lived for so long has not crashed in a row */
    RUN_CRASH_PAUSE_MS = 100,   /* before the second start again in a row; then twice … */
    RUN_CRASH_PAUSE_MAX_MS = 10000,
    RUN_CRASHES_MAX = 8, /* in a row, in each place, and no worker left: it gives up */
    RUN_KILL_MS = 2000   /* behind drain_ms, for a worker that does not hear */
};

struct run_socket { /* one address; a descriptor for each listening loop */
    unsigned service;
    bool shared;    /* the descriptors are of one socket */
    bool inherited; /* which somebody else has opened */
    weir_address address;
    struct weir__socket_file file;
    int fds[RUN_LOOPS_MAX];
};

struct run_loop {
    struct run *run;
    unsigned index; /* in its process */
    unsigned place; /* whose sockets are its own: the index, of a worker its number */
    pthread_t thread;
    bool started;    /* the thread */
    weir_loop *loop; /* set while it lives, under run->lock */
    struct service *services[RUN_SERVICES_MAX];
    weir_task drain_task, abort_task;
    weir_timer drain_timer, check_timer;
    bool draining;
    int result;
};

struct run {
    weir_service services[RUN_SERVICES_MAX];
    unsigned service_count;
    weir_run_options options;
    struct run_socket *sockets;
    unsigned socket_count;
    unsigned loop_count, listening_loops;
    struct run_loop *loops;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned ready, done; /* loops that may start, and that have made their last turn */
    bool given_up;
    _Atomic int stops;         /* how often weir_stop was called */
    _Atomic unsigned finished; /* loops that have made their last turn */
    _Atomic uint32_t first_id; /* of the first loop, while it runs */
    weir_watch signals[3];
    sigset_t mask; /* of the thread that called weir_run, while signals are held back */
    bool signals_held;
    unsigned turn;    /* acceptor: round robin */
    bool others_told; /* acceptor: the serving loops know that the end has come */

    /* Shape processes. */
    unsigned workers;
    struct privileges privileges;
    struct shared *shared;
    struct seat *seat;     /* in a worker */
    struct master *master; /* in the master */
    pid_t master_pid;      /* here, as the number of seats is: workers write to `shared` */
    int go_fd;             /* in a worker: its end tells that all may serve */
    int told_fd;           /* a byte wakes the master; -1: there is none */
    weir_watch nudge;
    _Atomic uint32_t early_stops; /* before there was a place to count them */
    int log_level;                /* the last that was taken from the others */
    weir_timer publish_timer;
    uint64_t published_events;
    bool publish_started;
};

extern _Atomic(struct run *) run_running;

/* Calls fn with what the workers' user may do with files, when this process is the master of
 * workers that drop privileges; else as it is. What fn returns, or an error. Any thread. */
int run_as_workers(int (*fn)(const char *name), const char *name);

int run_sockets_open(struct run *run);
/* Those of services that had no .listen before: it may be there now. */
int run_sockets_open_late(struct run *run, const weir_service *services, size_t service_size);
void run_signals_hear(struct run *run); /* those held back come now */
/* `unlinks`: the files of unix sockets go too. */
void run_sockets_close(struct run *run, bool unlinks);
/* A loop's whole life on its thread; argument struct run_loop. */
void *run_loop_main(void *run_loop);
void run_tell_manager(const struct run *run, const char *what); /* if it is to be told */
void run_drain(struct run *run);                                /* first stop */
void run_abort(struct run *run);                                /* second stop */

/* master.c: serves by workers until told to stop. In a child that a worker's handler forked it
 * returns -EOWNERDEAD, and in a worker never. */
int run_master(struct run *run);
/* Any thread, also a signal handler: the master looks at run->stops. */
void run_master_wake(struct run *run);
/* worker.c: a worker's life, in the process just forked; as run_master for who returns. `closing`:
 * descriptors of the master's. */
int run_worker(struct run *run, unsigned number, const int *closing, unsigned count);
/* The loop is ready: waits until the master says that all are. False: the master has gone. */
bool run_worker_go(struct run *run);
/* Its stops are heard; HUP and USR1 wait until on_started could set watches for them. */
void run_worker_hear(struct run *run);
/* Between two turns: sees to it that the counters are seen. */
void run_worker_turn(struct run *run, weir_loop *loop);

/* acceptor.c: hands an accepted descriptor to one of the serving loops. */
void run_hand(void *run_loop, struct listener *listener, int fd);

#endif
