/* Slab of fixed-size records named by a 24-bit slot, at addresses that never move, each with a
 * generation of 30 bits that survives the record's reuse and its memory's return to the system.
 * A slot whose generations are used up is retired. Not shared between threads. */
#ifndef WEIR_BASE_SLAB_H
#define WEIR_BASE_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SLAB_SLOT_BITS = 24, SLAB_GENERATION_BITS = 30 };

/* Set in the generation of a record that is free, so that no handle ever matches it. */
#define SLAB_FREE (1u << 31)

/* Every record begins with this word; generation 0 is never handed out. */
struct slab_head {
    uint32_t generation; /* of the living record; when free SLAB_FREE and the next one's, or 0 */
    uint32_t next_free;  /* while free: place + 1 of the next free one in this chunk. While it
                          * lives the record may use this word as it likes; 0 when taken */
};

struct slab_chunk {
    char *memory;            /* NULL: returned to the system */
    uint16_t used, fresh;    /* living records; records that were ever taken from this memory */
    uint16_t free_head;      /* place + 1 of the last record given back; 0: none */
    uint16_t retired;        /* records whose generations are used up */
    uint32_t generation;     /* where fresh records start counting */
    uint32_t generation_top; /* the highest that a record given back will have next */
};

/* Chunks at most: what two levels of bitmaps can name, whatever the size of the records. */
enum { SLAB_CHUNKS_LOG2 = 15, SLAB_OPEN_WORDS = 1 << (SLAB_CHUNKS_LOG2 - 6) };

struct slab {
    struct slab_chunk *chunks;
    size_t record_size;
    uint32_t chunk_records_log2; /* records a chunk: a power of two, about 64 KiB */
    uint32_t chunk_count, chunk_room;
    uint32_t used, limit;
    uint32_t generation_first; /* of a chunk's first records */
    uint32_t spare;            /* the one empty chunk that keeps its memory; UINT32_MAX: none */
    uint32_t first_gone;       /* no chunk before this one is without memory and usable */
    uint32_t open_top;         /* a bit for each word of open_words that is not 0 */
    uint64_t open_words[SLAB_OPEN_WORDS / 64]; /* a bit for each word of `open` that is not 0 */
    uint64_t *open; /* a bit for each chunk that has memory and a record to take */
};

/* record_size: bytes, a multiple of 8, including slab_head. limit: records at most, up to 2^24.
 * Records lie side by side from the beginning of a page: those of 64 or 128 bytes are aligned to
 * their size. Returns 0 or WEIR_EINVALID; takes no memory yet. */
int slab_init(struct slab *slab, size_t record_size, uint32_t limit);
/* Before the first take: begins at this generation instead of 1, for a slab whose handles must be
 * told from those of one that was there before. One that is nearly used up is taken for 1. */
void slab_begin_at(struct slab *slab, uint32_t generation);
/* A generation above all that were ever handed out. */
uint32_t slab_generation_next(const struct slab *slab);
/* Frees all memory; the caller's records are gone with it. */
void slab_free(struct slab *slab);

/* A record with its generation set and all bytes after slab_head zeroed; *slot is its number. NULL:
 * at the limit, or out of memory. Prefers low chunks, so that high ones become empty. */
void *slab_take(struct slab *slab, uint32_t *slot);
/* Gives a record back: its generation moves on. Empty chunks beyond one spare are unmapped (but not
 * while some of their records are retired, which that memory has to remember). */
void slab_give(struct slab *slab, uint32_t slot);

/* The record in a slot, living or not; NULL when the slot has no memory. Of one that does not live
 * only the slab_head may be read. */
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

/* Whether the record in a slot lives. */
static inline bool slab_living(const struct slab *slab, uint32_t slot)
{
    const struct slab_head *head = slab_at(slab, slot);
    return head != NULL && head->generation != 0 && (head->generation & SLAB_FREE) == 0;
}

#endif
