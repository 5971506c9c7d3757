/* A loop's memory for bytes: chunks of a few sizes from pools that shrink after a burst, counted
 * against the loop's budget. Also fixed-size objects (busy halves, queue nodes). Not shared. */
#ifndef WEIR_BASE_MEMORY_H
#define WEIR_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sizes of the chunk classes in bytes; larger ones come from the allocator one by one. */
enum { MEMORY_CLASSES = 4 };
#define MEMORY_CLASS_SIZES 1024, 4096, 16384, 65536

struct memory_free {
    struct memory_free *next;
};

struct memory_class {
    struct memory_free *free;
    uint32_t free_count, low_count; /* low_count: fewest free since the last trim */
};

struct memory {
    struct memory_class classes[MEMORY_CLASSES];
    uint64_t used_bytes;    /* handed out, counted by class size */
    uint64_t held_bytes;    /* taken from the system: used and free */
    uint64_t charged_bytes; /* of both: what others have taken */
    uint64_t limit_bytes;   /* 0: none */
    uint64_t refused;       /* how often the limit said no */
};

void memory_init(struct memory *memory, uint64_t limit_bytes);
void memory_end(struct memory *memory); /* everything was given back */

/* At least `size` bytes; *room is what it really has. NULL: out of memory or over the limit (unless
 * `forced`: established sends within their soft mark are never refused). O(1), no malloc while the
 * pool has one. */
void *memory_take(struct memory *memory, size_t size, bool forced, size_t *room);
/* `room`: as memory_take gave it. */
void memory_give(struct memory *memory, void *chunk, size_t room);
/* Counts bytes that somebody else has taken, `more` instead of `less`. */
void memory_charge(struct memory *memory, size_t less, size_t more);
/* Returns to the system half of what was not needed since the last call; call it now and then.
 * Returns true while there is something left to trim. */
bool memory_trim(struct memory *memory);

/* Fixed-size objects, not cleared; LIFO, so the hottest is reused first. */
struct object_pool {
    struct memory_free *free;
    size_t size;
    uint32_t used, free_count, low_count;
};
void object_pool_init(struct object_pool *pool, size_t size);
void object_pool_end(struct object_pool *pool);
void *object_take(struct object_pool *pool); /* NULL: out of memory */
void object_give(struct object_pool *pool, void *object);
bool object_pool_trim(struct object_pool *pool);

#endif
