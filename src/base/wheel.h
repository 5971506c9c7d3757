/* Hierarchical timing wheel: time-outs in milliseconds, intrusive, O(1) start and cancel, never
 * early. Time is the low 32 bits of a millisecond clock and may wrap: a node lies at most 2^31 - 1
 * ms ahead (24 days; whoever wants more starts it again when it fires). A distance of 3 * 2^30 ms
 * (37 days) and more means the past; so the wheel's time may lag behind by 12 days before a far
 * node could be mistaken, and a pause longer than 37 days is given to wheel_advance in steps. */
#ifndef WEIR_BASE_WHEEL_H
#define WEIR_BASE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wheel_node { /* 24 bytes; zeroed: not started */
    struct wheel_node *next;
    struct wheel_node **link; /* what points at this node; NULL when not started */
    uint32_t due_ms;
    uint32_t tag; /* the owner's own: says whose node fired */
};

enum { WHEEL_BITS = 6, WHEEL_SLOTS = 1 << WHEEL_BITS, WHEEL_LEVELS = 6 };

struct wheel {
    uint32_t now_ms;
    uint32_t count;     /* started nodes, expired ones that were not handed out included */
    uint16_t cascading; /* the level whose current slot is still being spread; 0: none */
    bool behind;        /* the last wheel_advance left work */
    uint64_t occupied[WHEEL_LEVELS]; /* a bit for each slot that is not empty */
    struct wheel_node *slot[WHEEL_LEVELS][WHEEL_SLOTS];
    struct wheel_node *expired;       /* due, in order, not yet handed out */
    struct wheel_node **expired_tail; /* where the next one goes */
};

void wheel_init(struct wheel *wheel, uint32_t now_ms);

/* Starts a node (which is not started); fires when the wheel's time reaches due_ms; one that is in
 * the past, or due now, fires at the next advance and counts as due at the wheel's time. */
void wheel_start(struct wheel *wheel, struct wheel_node *node, uint32_t due_ms);

/* Cancels; harmless when not started, also for a node that is expired but not yet handed out. */
void wheel_cancel(struct wheel *wheel, struct wheel_node *node);

static inline bool wheel_started(const struct wheel_node *node)
{
    return node->link != NULL;
}

/* Moves the wheel's time forward (an older time than the last leaves it where it is) and collects
 * what is due, in order of due_ms (ties in order of starting within one millisecond are not
 * promised). A jump of any size (a suspended process) fires late timers in order, once. The work is
 * bounded: at most `budget` nodes are moved per call; returns true when work is left for the next
 * call (call again with the same time or a later one; what was collected so far is in order and may
 * be handed out before). */
bool wheel_advance(struct wheel *wheel, uint32_t now_ms, uint32_t budget);

/* Hands out one expired node, which is then not started; NULL when there is none. */
struct wheel_node *wheel_expire(struct wheel *wheel);

/* Milliseconds from the wheel's time until it wants to be advanced (which may be a cascade, at most
 * once per level for a far timer); 0: at once (also while expired nodes wait to be handed out);
 * UINT32_MAX: nothing is started. */
uint32_t wheel_wait_ms(const struct wheel *wheel);

#endif
