/* A 64-byte (or any) echo measured in server CPU: what the io_echo programs share. The server runs
 * on the first CPU in the calling process, the client in a child on the second. */
#ifndef WEIR_BENCH_MICRO_ECHO_H
#define WEIR_BENCH_MICRO_ECHO_H

#include <stdint.h>

struct echo_job {
    const char *kind;
    int listener; /* bound to loopback, not yet accepting */
    int conns, size, depth;
    double seconds;
};

/* Serves until `stop` becomes true; returns the messages' bytes echoed. */
typedef uint64_t echo_server(const struct echo_job *job, const volatile int *stop);

echo_server echo_bare_epoll, echo_bare_uring, echo_io;

#endif
