/* The inside of weir_run: services on several loops, from the opened sockets to the drained end. */
#ifndef WEIR_NET_RUN_H
#define WEIR_NET_RUN_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "net/listener.h"

enum { RUN_LOOPS_MAX = 512, RUN_SERVICES_MAX = 64, RUN_DRAIN_MS = 10000 };

struct run_socket { /* one address; a descriptor for each listening loop */
    unsigned service;
    weir_address address;
    struct weir__socket_file file;
    int fds[RUN_LOOPS_MAX];
};

struct run_loop {
    struct run *run;
    unsigned index;
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
};

int run_sockets_open(struct run *run);
void run_signals_hear(struct run *run); /* those held back come now */
/* `unlinks`: the files of unix sockets go too. */
void run_sockets_close(struct run *run, bool unlinks);
/* A loop's whole life on its thread; argument struct run_loop. */
void *run_loop_main(void *run_loop);
void run_drain(struct run *run); /* first stop */
void run_abort(struct run *run); /* second stop */
/* acceptor.c: hands an accepted descriptor to one of the serving loops. */
void run_hand(void *run_loop, struct listener *listener, int fd);

#endif
