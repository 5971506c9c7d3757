/* A growing ring of tokens: what is due without the kernel saying so again. Starts small, doubles
 * when full, and gives memory back after a burst. */
#ifndef WEIR_IO_READY_RING_H
#define WEIR_IO_READY_RING_H

#include <stdbool.h>
#include <stdint.h>

struct ready_entry {
    uint64_t token;
    int64_t result;
};
struct ready_ring {
    struct ready_entry *entry;
    uint32_t capacity; /* a power of two */
    uint32_t head, count, peak;
};

enum { READY_RING_LEAST = 256 };

bool weir__ready_ring_init(struct ready_ring *ring);
void weir__ready_ring_end(struct ready_ring *ring);

/* At the tail. False without memory: nothing happened. Never fails right after a pop. */
bool weir__ready_ring_push(struct ready_ring *ring, uint64_t token, int64_t result);
/* From the head of a ring that is not empty. */
struct ready_entry weir__ready_ring_pop(struct ready_ring *ring);

/* The ring is empty: halves it when less than a quarter was used since it last was. */
void weir__ready_ring_trim(struct ready_ring *ring);

#endif
