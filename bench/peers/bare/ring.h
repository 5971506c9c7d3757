/* What the bare loops on io_uring share: the ring, its buffers, accepting and receiving.
 *
 * What its documentation recommends for a server with one thread per ring is all here
 * (settings.md): SINGLE_ISSUER and DEFER_TASKRUN, multishot accept and receive, a provided buffer
 * ring, consumed incrementally where the kernel can (6.12: large messages are then not cut, and
 * small ones do not use up a block each), the ring's descriptor registered, one enter a turn that
 * submits and waits. */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <liburing.h>
#include <stdint.h>

enum { RING_FDS = 20000 };
enum ring_kind { RING_ACCEPT, RING_RECV, RING_SEND };

/* Makes the ring and its buffers. Ends the program when that is not possible. */
void ring_make(void);

/* A submission entry, always. */
struct io_uring_sqe *ring_get(void);

/* What identifies an operation: ring_kind_of and ring_fd_of take it apart. */
static inline uint64_t ring_name(enum ring_kind kind, int fd)
{
    return (uint64_t)kind << 32 | (uint32_t)fd;
}

static inline enum ring_kind ring_kind_of(const struct io_uring_cqe *cqe)
{
    return (enum ring_kind)(cqe->user_data >> 32);
}

static inline int ring_fd_of(const struct io_uring_cqe *cqe)
{
    return (int)(uint32_t)cqe->user_data;
}

/* Multishot accept, multishot receive. */
void ring_accept(int listener);
void ring_arm(int fd);

/* The bytes of a receive. They stay until ring_done says, for its block, that one receive more is
 * done with. */
char *ring_bytes(const struct io_uring_cqe *cqe, unsigned *block);
void ring_done(unsigned block);

/* A receive met an empty buffer ring: it is armed again when a block has come back. */
void ring_starved(int fd);

/* Submits and waits, and hands over what has completed, for ever. */
void ring_run(void (*dispatch)(const struct io_uring_cqe *cqe));

#endif
