/* The one door to the allocator: a hook set before the first loop, limits and faults in one place.
 */
#ifndef WEIR_BASE_ALLOC_H
#define WEIR_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#include <weir/alloc.h>
#include <weir/module.h> /* weir__alloc and its like, which the modules use too */

/* A copy of a text. NULL when out of memory. Any thread. */
char *weir__strdup(const char *text) __attribute__((malloc, warn_unused_result));

/* Zeroed memory at a multiple of `alignment` (a power of two), for what has members that lie on a
 * cache line of their own: what malloc gives is aligned to 16 only. Given back with the second. */
void *weir__aligned_zalloc(size_t size, size_t alignment)
    __attribute__((malloc, warn_unused_result));
void weir__aligned_free(void *memory);

/* Whole pages straight from the kernel, zeroed, returned to it when freed. NULL when out of memory.
 * `size` is rounded up to pages; give the same size back. */
void *weir__pages_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void weir__pages_free(void *memory, size_t size);

/* Pools tell what they gave back of a burst. The C library keeps the most of it, in holes between
 * what lives on, which a process of many small allocations never gives back by itself; so when
 * enough has come together, weir__alloc_trim asks it to (malloc_trim(3)), which takes it some
 * milliseconds. Does nothing with a hook of the program's own. Any thread. */
void weir__alloc_returned(size_t bytes);
void weir__alloc_trim(void);

/* Allocations that live now (each block of pages counts as one), and the bytes in pages. For tests:
 * what a thing took must be gone when it ends. Any thread. */
uint64_t weir__alloc_live(void);
uint64_t weir__pages_live_bytes(void);

/* Makes the n-th allocation from now fail once (1: the next one; 0: none). Returns what was left of
 * the count set before: 0 when that failure has happened, so that a test can raise n until a run
 * passes without reaching it. Any thread. */
uint64_t weir__alloc_fail_at(uint64_t n);

#endif
