/* What the load generators share: options, connections, latencies, and the measured time. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdnoreturn.h>

#include "account.h"

struct client_options {
    unsigned port, conns, size, depth;
    double seconds, warm;
    const char *path;
    const char *trace; /* where the table of system calls goes, or NULL: not counted */
    bool close;        /* a connection per request */
    bool frames;       /* messages begin with their length, without its own 4 bytes */
    pid_t pids[ACCOUNT_PIDS_MAX];
    unsigned pid_count;
};

/* -a PORT -c CONNS -s SIZE -d DEPTH -t SECONDS -w WARM_UP_SECONDS -p PID,PID -u PATH -k -f -S FILE;
 * also raises the limit of descriptors. Ends the program when they are wrong. */
void client_parse(int argc, char **argv, struct client_options *out);

/* A connection to 127.0.0.1, or to the address in BENCH_HOST, blocking, without Nagle's delay. Ends
 * the program when there is none. */
int client_connect(unsigned port);

noreturn void client_die(const char *what);

/* Notes that a batch came back, and how long it took. */
void client_done(uint64_t ns);

/* Calls `run` for the warm-up and then for the measured time, and prints the result as one JSON
 * object; the server's account is read at both ends of the measured time, so that connecting and
 * warming up are not in it. */
void client_measure(const struct client_options *options, void (*run)(uint64_t end_ns));

#endif
