#include "io/ready_ring.h"

#include "base/alloc.h"

#include <string.h>

bool weir__ready_ring_init(struct ready_ring *ring)
{
    *ring = (struct ready_ring){.capacity = READY_RING_LEAST};
    ring->entry = weir__alloc(READY_RING_LEAST * sizeof(*ring->entry));
    return ring->entry != NULL;
}

void weir__ready_ring_end(struct ready_ring *ring)
{
    weir__free(ring->entry);
    *ring = (struct ready_ring){0};
}

/* The entries move to the start of the new memory, in order. */
static bool ring_resize(struct ready_ring *ring, uint32_t capacity)
{
    struct ready_entry *entry = weir__alloc((size_t)capacity * sizeof(*entry));
    uint32_t until_wrap = ring->capacity - ring->head;
    if (entry == NULL)
        return false;
    if (until_wrap > ring->count)
        until_wrap = ring->count;
    memcpy(entry, ring->entry + ring->head, until_wrap * sizeof(*entry));
    memcpy(entry + until_wrap, ring->entry, (ring->count - until_wrap) * sizeof(*entry));
    weir__free(ring->entry);
    ring->entry = entry;
    ring->capacity = capacity;
    ring->head = 0;
    return true;
}

bool weir__ready_ring_push(struct ready_ring *ring, uint64_t token, int64_t result)
{
    if (ring->count == ring->capacity &&
        (ring->capacity > UINT32_MAX / 2 || !ring_resize(ring, ring->capacity * 2)))
        return false;
    ring->entry[(ring->head + ring->count) & (ring->capacity - 1)] =
        (struct ready_entry){token, result};
    if (++ring->count > ring->peak)
        ring->peak = ring->count;
    return true;
}

struct ready_entry weir__ready_ring_pop(struct ready_ring *ring)
{
    struct ready_entry entry = ring->entry[ring->head];
    ring->head = (ring->head + 1) & (ring->capacity - 1);
    ring->count--;
    return entry;
}

void weir__ready_ring_trim(struct ready_ring *ring)
{
    if (ring->capacity > READY_RING_LEAST && ring->peak < ring->capacity / 4)
        ring_resize(ring, ring->capacity / 2); /* without memory it simply stays large */
    ring->peak = 0;
}
