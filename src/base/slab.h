/* Slab of fixed-size records named by a 24-bit slot, at addresses that never move, each with a
 * generation of 30 bits that survives the record's reuse and its memory's return to the system.
 * A slot whose generations are used up is retired. Not shared between threads. */
#ifndef WEIR_BASE_SLAB_H
#define WEIR_BASE_SLAB_H

#include <stddef.h>
#include <stdint.h>

enum { SLAB_SLOT_BITS = 24, SLAB_GENERATION_BITS = 30 };

/* Every record begins with this word; generation 0 is never handed out. */
struct slab_head {
    uint32_t generation; /* of the living record; of the next one when free */
    uint32_t next_free;  /* while free: slot + 1 of the next free one in this chunk. While it
                          * lives the record may use this word as it likes */
};

struct slab_chunk {
    void *memory; /* NULL: returned to the system */
    uint32_t used, first_free, retired;
    uint32_t generation_base; /* where new records of this chunk start counting */
};

struct slab {
    struct slab_chunk *chunks;
    size_t record_size;
    uint32_t chunk_records_log2; /* records a chunk: a power of two, about 64 KiB */
    uint32_t chunk_count, chunk_room;
    uint32_t first_open; /* no chunk before this one has a free record */
    uint32_t used, limit, idle_chunks;
};

/* record_size: bytes, a multiple of 8, including slab_head. limit: records at most. */
int slab_init(struct slab *slab, size_t record_size, uint32_t limit);
/* Frees all memory; the caller's records are gone with it. */
void slab_free(struct slab *slab);

/* A record with its generation set and all bytes after slab_head zeroed; *slot is its number. NULL:
 * at the limit, or out of memory. Prefers low chunks, so that high ones become empty. */
void *slab_take(struct slab *slab, uint32_t *slot);
/* Gives a record back: its generation moves on. Empty chunks beyond one spare are unmapped. */
void slab_give(struct slab *slab, uint32_t slot);

/* The record in a slot, living or not; NULL when the slot has no memory. */
static inline void *slab_at(const struct slab *slab, uint32_t slot)
{
    uint32_t chunk = slot >> slab->chunk_records_log2;
    if (__builtin_expect(chunk >= slab->chunk_count, 0))
        return NULL;
    char *memory = slab->chunks[chunk].memory;
    if (__builtin_expect(memory == NULL, 0))
        return NULL;
    return memory + (slot & ((1u << slab->chunk_records_log2) - 1)) * slab->record_size;
}

#endif
