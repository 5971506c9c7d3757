/* Who holds a loop: a thread of its own looks at the loops that asked for it (.stall_trace), and
 * has the thread of one whose handlers run for too long write down where it is. */
#ifndef WEIR_LOOP_STALL_H
#define WEIR_LOOP_STALL_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include <weir/loop.h>

#include "base/list.h"

struct stall {
    struct list link;          /* zeroed: nobody looks */
    _Atomic uint64_t since_ns; /* when its handlers began; 0: it waits. By the loop's thread */
    _Atomic pid_t thread;      /* of the loop; 0: it has not turned yet */
    uint64_t told_ns;          /* since_ns of what was told last; by the watcher */
};

/* Begins to look at a loop that has asked for it; without a thread for that it is logged, and
 * nobody looks. Any thread. */
void stall_watch(weir_loop *loop);
/* Ends that: the loop's record is not looked at any more. */
void stall_unwatch(weir_loop *loop);
/* The loop's thread begins with its handlers, for the first time or again. */
void stall_begin(weir_loop *loop);

#endif
