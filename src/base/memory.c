#include "base/memory.h"

#include <string.h>

#include "base/alloc.h"
#include "base/asan.h"
#include "base/assert.h"

static const uint32_t class_sizes[MEMORY_CLASSES] = {MEMORY_CLASS_SIZES};

enum { LARGE_ROUND = 4096 }; /* what is larger than the classes is rounded up to this */

/* What a free piece holds: the link, and in debug builds a mark by which a second give is noticed.
 */
struct free_piece {
    struct memory_free link;
    uintptr_t mark;
};

#define FREE_MARK ((uintptr_t)0x6769766e6261636bull)

/* Pushes a piece that was given back. */
static void push_free(struct memory_free **list, void *memory, size_t size)
{
    struct free_piece *piece = memory;
#ifndef NDEBUG
    /* The mark may stand there by chance: only the list itself proves that it is free already. */
    if (piece->mark == (FREE_MARK ^ (uintptr_t)piece))
        for (const struct memory_free *other = *list; other != NULL; other = other->next)
            WEIR_ASSERT(other != &piece->link && "given back twice");
    piece->mark = FREE_MARK ^ (uintptr_t)piece;
#endif
    piece->link.next = *list;
    *list = &piece->link;
    asan_poison(memory, size);
}

/* Pops a piece from a list that is not empty. */
static void *pop_free(struct memory_free **list, size_t size)
{
    struct free_piece *piece = (struct free_piece *)(void *)*list;
    asan_unpoison(piece, size);
    *list = piece->link.next;
#ifndef NDEBUG
    piece->mark = 0;
#endif
    return piece;
}

/* Frees half of what was not needed since the last trim (`low` pieces), rounded up. */
static uint32_t trim_list(struct memory_free **list, uint32_t *count, uint32_t *low, size_t size)
{
    uint32_t freed = *low / 2 + *low % 2;
    for (uint32_t i = 0; i < freed; i++)
        weir__free(pop_free(list, size));
    *count -= freed;
    *low = *count;
    weir__alloc_returned(freed * size);
    return freed;
}

static unsigned class_of(size_t size)
{
    for (unsigned i = 0; i < MEMORY_CLASSES; i++)
        if (size <= class_sizes[i])
            return i;
    return MEMORY_CLASSES;
}

void memory_init(struct memory *memory, uint64_t limit_bytes)
{
    memset(memory, 0, sizeof(*memory));
    memory->limit_bytes = limit_bytes;
}

void memory_end(struct memory *memory)
{
    WEIR_ASSERT(memory->used_bytes == 0);
    for (unsigned i = 0; i < MEMORY_CLASSES; i++) {
        struct memory_class *class = &memory->classes[i];
        while (class->free != NULL)
            weir__free(pop_free(&class->free, class_sizes[i]));
    }
    memset(memory, 0, sizeof(*memory));
}

static bool over_limit(const struct memory *memory, size_t room)
{
    return memory->limit_bytes != 0 && (memory->used_bytes > memory->limit_bytes ||
                                        room > memory->limit_bytes - memory->used_bytes);
}

static void *take_large(struct memory *memory, size_t room)
{
    void *chunk = weir__alloc(room);
    if (chunk == NULL)
        return NULL;
    memory->used_bytes += room;
    memory->held_bytes += room;
    return chunk;
}

void *memory_take(struct memory *memory, size_t size, bool forced, size_t *room)
{
    unsigned number = class_of(size);
    bool large = number == MEMORY_CLASSES;
    if (large && size > SIZE_MAX - LARGE_ROUND)
        return NULL;
    size_t bytes =
        large ? (size + LARGE_ROUND - 1) & ~(size_t)(LARGE_ROUND - 1) : (size_t)class_sizes[number];
    if (!forced && over_limit(memory, bytes)) {
        memory->refused++;
        return NULL;
    }
    *room = bytes;
    if (large)
        return take_large(memory, bytes);
    struct memory_class *class = &memory->classes[number];
    void *chunk;
    if (class->free != NULL) {
        chunk = pop_free(&class->free, bytes);
        if (--class->free_count < class->low_count)
            class->low_count = class->free_count;
    } else {
        chunk = weir__alloc(bytes);
        if (chunk == NULL)
            return NULL;
        memory->held_bytes += bytes;
    }
    memory->used_bytes += bytes;
    return chunk;
}

void memory_charge(struct memory *memory, size_t less, size_t more)
{
    WEIR_DEBUG_ASSERT(less <= memory->used_bytes && less <= memory->held_bytes);
    memory->used_bytes += more - less;
    memory->held_bytes += more - less;
    memory->charged_bytes += more - less;
}

void memory_give(struct memory *memory, void *chunk, size_t room)
{
    unsigned number = class_of(room);
    WEIR_DEBUG_ASSERT(room <= memory->used_bytes);
    memory->used_bytes -= room;
    if (number == MEMORY_CLASSES) {
        memory->held_bytes -= room;
        weir__free(chunk);
        return;
    }
    WEIR_DEBUG_ASSERT(room == class_sizes[number]);
    struct memory_class *class = &memory->classes[number];
    push_free(&class->free, chunk, room);
    class->free_count++;
}

bool memory_trim(struct memory *memory)
{
    bool left = false;
    for (unsigned i = 0; i < MEMORY_CLASSES; i++) {
        struct memory_class *class = &memory->classes[i];
        uint32_t freed =
            trim_list(&class->free, &class->free_count, &class->low_count, class_sizes[i]);
        memory->held_bytes -= (uint64_t)freed * class_sizes[i];
        left |= class->free_count != 0;
    }
    return left;
}

void object_pool_init(struct object_pool *pool, size_t size)
{
    memset(pool, 0, sizeof(*pool));
    pool->size = size > sizeof(struct free_piece) ? size : sizeof(struct free_piece);
}

void object_pool_end(struct object_pool *pool)
{
    WEIR_ASSERT(pool->used == 0);
    while (pool->free != NULL)
        weir__free(pop_free(&pool->free, pool->size));
    memset(pool, 0, sizeof(*pool));
}

void *object_take(struct object_pool *pool)
{
    void *object;
    if (pool->free != NULL) {
        object = pop_free(&pool->free, pool->size);
        if (--pool->free_count < pool->low_count)
            pool->low_count = pool->free_count;
    } else {
        object = weir__alloc(pool->size);
        if (object == NULL)
            return NULL;
    }
    pool->used++;
    return object;
}

void object_give(struct object_pool *pool, void *object)
{
    WEIR_DEBUG_ASSERT(pool->used > 0);
    push_free(&pool->free, object, pool->size);
    pool->free_count++;
    pool->used--;
}

bool object_pool_trim(struct object_pool *pool)
{
    trim_list(&pool->free, &pool->free_count, &pool->low_count, pool->size);
    return pool->free_count != 0;
}
