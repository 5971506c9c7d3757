/* The loads that weir bench serve has answered: each is told of with one line when it is over. */
#ifndef WEIR_CMD_BENCH_SERVED_H
#define WEIR_CMD_BENCH_SERVED_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/address.h>
#include <weir/loop.h>

/* What one connection, or one socket's datagrams, add to a load's sums. */
struct served_part {
    uint64_t taken_bytes, sent_bytes, answers;
    uint64_t taken_datagrams, sent_datagrams, lost, reordered, duplicates;
    uint64_t jitter_ns;    /* the largest is told */
    weir_time first, last; /* 0: now */
};

/* All of these from any loop's thread. */
void served_init(bool quiet);
/* A connection, or a socket, of the load `id` is there; `peer` may be NULL. */
void served_begin(uint64_t id, const weir_address *peer);
/* It has gone, with this. */
void served_end(uint64_t id, const struct served_part *part);
/* Datagrams of sockets that say nothing of beginning and end; `sockets`: so many at least. */
void served_add(uint64_t id, const struct served_part *part, const weir_address *peer,
                uint64_t sockets);
/* Tells of those that are over. A load with a connection for each request comes back in a moment:
 * it is told of when it has been away for a while. `all`: the server ends. */
void served_tell(weir_time now, bool all);

#endif
