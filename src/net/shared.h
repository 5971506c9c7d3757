/* Shape processes: the memory that the master and its workers share. */
#ifndef WEIR_NET_SHARED_H
#define WEIR_NET_SHARED_H

#include <stdatomic.h>
#include <stdint.h>

#include <weir/stats.h>

enum {
    SHARED_EXTRA_MAX = 32, /* counters of the floor above, by its own table */
    SHARED_PUBLISH_MS = 100
};

enum seat_state {
    SEAT_EMPTY,
    SEAT_STARTING, /* a process was made */
    SEAT_READY,    /* it could serve, and waits for the others */
    SEAT_SERVING,
    SEAT_LEAVING /* it accepts no more */
};

struct seat_stats {
    weir_loop_stats loop;
    uint64_t extra[SHARED_EXTRA_MAX];
};

/* A worker's place. Each worker writes its own alone, the master what stands first. */
struct seat {
    _Atomic int32_t pid;
    _Atomic uint32_t starts;  /* how often a worker was started here */
    _Atomic uint32_t state;   /* enum seat_state */
    _Atomic int32_t result;   /* why it ended, when it could say so */
    _Atomic bool left;        /* it ends without having served who waits in its queue */
    _Atomic uint32_t version; /* odd while the counters are being written */
    struct seat_stats stats;
};

/* Any worker may write anything here at any time: nothing of it is an index, a size or a process to
 * those who read it. */
struct shared {
    _Atomic bool go;        /* workers may accept */
    _Atomic bool ending;    /* the whole server ends: nobody else takes what waits in the queues */
    _Atomic uint32_t stops; /* weir_stop in a worker: the whole server is meant */
    _Atomic int32_t log_level; /* set for all workers; -1: not */
    _Atomic uint32_t crashes;  /* workers that ended by themselves */
    _Atomic uint32_t version;  /* of `past`, as above; the master writes it */
    struct seat_stats past;    /* what workers had counted that are gone */
    struct seat seats[];
};

/* Counters of the floor above, which are published with the loop's. Given before the fork. */
struct shared_extra {
    void (*get)(weir_loop *loop, uint64_t extra[SHARED_EXTRA_MAX]);
    const weir_stat *(*table)(unsigned *count);
};
extern _Atomic(const struct shared_extra *) shared_extra;

struct shared *shared_new(unsigned seats); /* NULL: no memory */
void shared_free(struct shared *shared, unsigned seats);

/* The worker's: writes its loop's counters to its seat. */
void seat_publish(struct seat *seat, weir_loop *loop);
/* The master's: the worker is gone; what it counted is kept, what it held is not. */
void seat_bury(struct shared *shared, struct seat *seat);
/* Anybody's: a whole copy. False: it was being written all the time. */
bool seat_stats_read(const _Atomic uint32_t *version, const struct seat_stats *stats,
                     struct seat_stats *out);
void seat_stats_add(struct seat_stats *sum, const struct seat_stats *stats);

struct shared_view {
    struct shared *shared;
    unsigned seats;
    int own; /* this worker's seat, or -1 */
    int32_t master;
};

/* The running weir_run's, in its master or a worker; false: there is none. */
bool run_shared(struct shared_view *view);

#endif
