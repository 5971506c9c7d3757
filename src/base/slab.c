#include "base/slab.h"

#include <stdbool.h>
#include <string.h>

#include <weir/error.h>

#include "base/alloc.h"
#include "base/asan.h"
#include "base/assert.h"

enum {
    CHUNK_BYTES_LOG2 = 16,
    CHUNKS_MAX = 1 << SLAB_CHUNKS_LOG2,
    GENERATION_LAST = (1 << SLAB_GENERATION_BITS) - 1,
    RECORDS_LOG2_MAX = 15, /* places are counted in 16 bits */
};
#define NONE UINT32_MAX

static inline uint32_t records_per_chunk(const struct slab *slab)
{
    return 1u << slab->chunk_records_log2;
}

static inline size_t chunk_bytes(const struct slab *slab)
{
    return slab->record_size << slab->chunk_records_log2;
}

static inline struct slab_head *head_at(const struct slab *slab, const struct slab_chunk *chunk,
                                        uint32_t place)
{
    return (struct slab_head *)(void *)(chunk->memory + place * slab->record_size);
}

int slab_init(struct slab *slab, size_t record_size, uint32_t limit)
{
    memset(slab, 0, sizeof(*slab));
    if (record_size < sizeof(struct slab_head) || record_size % 8 != 0 ||
        record_size > 1u << CHUNK_BYTES_LOG2 || limit == 0 || limit > 1u << SLAB_SLOT_BITS)
        return WEIR_EINVALID;
    uint32_t log2 = 0;
    while (record_size << (log2 + 1) <= 1u << CHUNK_BYTES_LOG2)
        log2++;
    /* Large records in large numbers: larger chunks, so that there are not too many of them. */
    while ((limit - 1) >> log2 >= CHUNKS_MAX)
        log2++;
    WEIR_ASSERT(log2 <= RECORDS_LOG2_MAX);
    slab->record_size = record_size;
    slab->chunk_records_log2 = log2;
    slab->limit = limit;
    slab->generation_first = 1;
    slab->spare = NONE;
    return 0;
}

void slab_begin_at(struct slab *slab, uint32_t generation)
{
    WEIR_ASSERT(slab->chunk_count == 0);
    if (generation != 0 && generation < GENERATION_LAST / 2)
        slab->generation_first = generation;
}

uint32_t slab_generation_next(const struct slab *slab)
{
    uint32_t next = slab->generation_first;
    for (uint32_t i = 0; i < slab->chunk_count; i++)
        if (slab->chunks[i].generation_top > next)
            next = slab->chunks[i].generation_top;
    return next + 1;
}

void slab_free(struct slab *slab)
{
    for (uint32_t i = 0; i < slab->chunk_count; i++)
        weir__pages_free(slab->chunks[i].memory, chunk_bytes(slab));
    weir__free(slab->chunks);
    weir__free(slab->open);
    memset(slab, 0, sizeof(*slab));
}

/* The bitmap of open chunks has three levels, so that the lowest one is found in three steps. */
static inline void mark_open(struct slab *slab, uint32_t chunk)
{
    slab->open[chunk / 64] |= 1ull << chunk % 64;
    slab->open_words[chunk / 4096] |= 1ull << chunk / 64 % 64;
    slab->open_top |= 1u << chunk / 4096;
}

static inline void mark_full(struct slab *slab, uint32_t chunk)
{
    slab->open[chunk / 64] &= ~(1ull << chunk % 64);
    if (slab->open[chunk / 64] != 0)
        return;
    slab->open_words[chunk / 4096] &= ~(1ull << chunk / 64 % 64);
    if (slab->open_words[chunk / 4096] == 0)
        slab->open_top &= ~(1u << chunk / 4096);
}

static inline uint32_t lowest_open(const struct slab *slab)
{
    if (slab->open_top == 0)
        return NONE;
    uint32_t word = (uint32_t)__builtin_ctz(slab->open_top);
    word = word * 64 + (uint32_t)__builtin_ctzll(slab->open_words[word]);
    return word * 64 + (uint32_t)__builtin_ctzll(slab->open[word]);
}

/* Room for one more chunk in the table and in the bitmap. */
static bool grow_table(struct slab *slab)
{
    uint32_t room = slab->chunk_room != 0 ? slab->chunk_room * 2 : 64;
    struct slab_chunk *chunks = weir__realloc(slab->chunks, room * sizeof(*chunks));
    if (chunks == NULL)
        return false;
    slab->chunks = chunks;
    uint64_t *open = weir__realloc(slab->open, room / 64 * sizeof(*open));
    if (open == NULL)
        return false; /* the table alone is larger than it knows, which harms nobody */
    memset(open + slab->chunk_room / 64, 0, (room - slab->chunk_room) / 64 * sizeof(*open));
    slab->open = open;
    slab->chunk_room = room;
    return true;
}

/* A chunk that has no memory: a lower one that was returned, else a new one. NONE: there is none.
 */
static uint32_t find_gone(struct slab *slab)
{
    uint32_t records = records_per_chunk(slab);
    for (uint32_t i = slab->first_gone; i < slab->chunk_count; i++) {
        const struct slab_chunk *chunk = &slab->chunks[i];
        if (chunk->memory == NULL && chunk->retired < records) {
            slab->first_gone = i;
            return i;
        }
    }
    slab->first_gone = slab->chunk_count;
    uint32_t chunks_max = (1u << SLAB_SLOT_BITS) >> slab->chunk_records_log2;
    if (slab->chunk_count >= (chunks_max < CHUNKS_MAX ? chunks_max : (uint32_t)CHUNKS_MAX))
        return NONE; /* only after so many retired records that the slots are used up */
    if (slab->chunk_count == slab->chunk_room && !grow_table(slab))
        return NONE;
    slab->chunks[slab->chunk_count] = (struct slab_chunk){.generation = slab->generation_first,
                                                          .generation_top = slab->generation_first};
    return slab->chunk_count++;
}

static uint32_t open_chunk(struct slab *slab)
{
    uint32_t number = find_gone(slab);
    if (number == NONE)
        return NONE;
    struct slab_chunk *chunk = &slab->chunks[number];
    chunk->memory = weir__pages_alloc(chunk_bytes(slab));
    if (chunk->memory == NULL)
        return NONE;
    if (slab->first_gone == number)
        slab->first_gone++;
    chunk->used = chunk->fresh = chunk->free_head = 0;
    chunk->generation = chunk->generation_top;
    mark_open(slab, number);
    return number;
}

static void close_chunk(struct slab *slab, uint32_t number)
{
    struct slab_chunk *chunk = &slab->chunks[number];
    weir__pages_free(chunk->memory, chunk_bytes(slab));
    chunk->memory = NULL;
    mark_full(slab, number);
    if (number < slab->first_gone)
        slab->first_gone = number;
}

void *slab_take(struct slab *slab, uint32_t *slot)
{
    if (slab->used >= slab->limit)
        return NULL;
    uint32_t number = lowest_open(slab);
    if (__builtin_expect(number == NONE, 0)) {
        number = open_chunk(slab);
        if (number == NONE)
            return NULL;
    }
    struct slab_chunk *chunk = &slab->chunks[number];
    struct slab_head *head;
    uint32_t place;
    if (chunk->free_head != 0) {
        place = chunk->free_head - 1u;
        head = head_at(slab, chunk, place);
        chunk->free_head = (uint16_t)head->next_free;
        head->next_free = 0;
        head->generation &= ~SLAB_FREE;
        asan_unpoison(head + 1, slab->record_size - sizeof(*head));
        memset(head + 1, 0, slab->record_size - sizeof(*head));
    } else {
        place = chunk->fresh++; /* pages are touched when they are needed; they come zeroed */
        head = head_at(slab, chunk, place);
        head->generation = chunk->generation;
    }
    if (chunk->free_head == 0 && chunk->fresh == records_per_chunk(slab))
        mark_full(slab, number);
    if (chunk->used++ == 0 && slab->spare == number)
        slab->spare = NONE;
    slab->used++;
    *slot = number << slab->chunk_records_log2 | place;
    return head;
}

/* The chunk's last record was given back: keeps it as the spare one, or lets memory go. */
static void emptied(struct slab *slab, uint32_t number)
{
    struct slab_chunk *chunk = &slab->chunks[number];
    if (chunk->retired == records_per_chunk(slab)) {
        close_chunk(slab, number); /* for good */
    } else if (chunk->retired > 0) {
        /* The others would have to start where the retired ones ended, that is, retire too. */
    } else if (slab->spare == NONE) {
        slab->spare = number;
    } else {
        uint32_t higher = number > slab->spare ? number : slab->spare;
        slab->spare = number < slab->spare ? number : slab->spare;
        close_chunk(slab, higher);
    }
}

void slab_give(struct slab *slab, uint32_t slot)
{
    uint32_t number = slot >> slab->chunk_records_log2;
    uint32_t place = slot & (records_per_chunk(slab) - 1);
    WEIR_ASSERT(number < slab->chunk_count);
    struct slab_chunk *chunk = &slab->chunks[number];
    WEIR_ASSERT(chunk->memory != NULL && chunk->used > 0 && place < chunk->fresh);
    struct slab_head *head = head_at(slab, chunk, place);
    asan_poison(head + 1, slab->record_size - sizeof(*head));
    if (__builtin_expect(head->generation == GENERATION_LAST, 0)) {
        chunk->retired++;
        head->generation = 0; /* no handle has it: stale ones find that they are stale */
    } else {
        head->generation++;
        if (chunk->generation_top < head->generation)
            chunk->generation_top = head->generation;
        head->generation |= SLAB_FREE;
        head->next_free = chunk->free_head;
        chunk->free_head = (uint16_t)(place + 1);
        mark_open(slab, number);
    }
    slab->used--;
    if (--chunk->used == 0)
        emptied(slab, number);
}
