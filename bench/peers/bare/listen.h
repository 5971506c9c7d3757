/* What the bare servers share: a listener, their job, and the way out. */
#ifndef BENCH_LISTEN_H
#define BENCH_LISTEN_H

#include <stdnoreturn.h>

/* The second argument of each peer names its job: "echo" or nothing, "accept" (echo once, then
 * close), "sink" (read and forget). */
enum bench_job { BENCH_ECHO, BENCH_ACCEPT, BENCH_SINK };

enum bench_job bench_job(int argc, char **argv);

/* A non-blocking TCP listener on 127.0.0.1 at the port named by argv[1]; accepted sockets inherit
 * TCP_NODELAY from it. Ends the program with a message when that is not possible. */
int bench_listen(int argc, char **argv);

/* Prints what failed, with errno's text, and ends the program. A bare loop gives up where a library
 * goes on: it is a lower bound, not a server to use. */
noreturn void bench_die(const char *what);

#endif
