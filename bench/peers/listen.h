/* What the bare servers share: a listener, and the way out. */
#ifndef BENCH_LISTEN_H
#define BENCH_LISTEN_H

#include <stdnoreturn.h>

/* A non-blocking TCP listener on 127.0.0.1 at the port named by argv[1]; accepted sockets inherit
 * TCP_NODELAY from it. Ends the program with a message when that is not possible. */
int bench_listen(int argc, char **argv);

/* Prints what failed, with errno's text, and ends the program. A bare loop gives up where a library
 * goes on: it is a lower bound, not a server to use. */
noreturn void bench_die(const char *what);

#endif
