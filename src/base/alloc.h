/* The one door to the allocator: a hook set before the first loop, limits and faults in one place. */
#ifndef WEIR_BASE_ALLOC_H
#define WEIR_BASE_ALLOC_H

#include <stddef.h>

/* malloc, zeroed malloc, realloc, free through the hook (weir_set_allocator). NULL when out of
 * memory. Any thread. */
void *weir__alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *weir__zalloc(size_t size) __attribute__((malloc, warn_unused_result));
void *weir__realloc(void *memory, size_t size) __attribute__((warn_unused_result));
void weir__free(void *memory);
char *weir__strdup(const char *text) __attribute__((malloc, warn_unused_result));

/* Whole pages straight from the kernel, zeroed, returned to it when freed. NULL when out of memory.
 * `size` is rounded up to pages; give the same size back. */
void *weir__pages_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void weir__pages_free(void *memory, size_t size);

#endif
