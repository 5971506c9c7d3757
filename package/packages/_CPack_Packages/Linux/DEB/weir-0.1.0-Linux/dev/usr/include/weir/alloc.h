/* One allocator hook for everything that weir and the libraries under it allocate. */
#ifndef WEIR_ALLOC_H
#define WEIR_ALLOC_H

#include <stddef.h>

#include <weir/export.h>

typedef struct weir_allocator {
    void *(*alloc)(size_t size, void *arg);
    void *(*realloc)(void *memory, size_t size, void *arg);
    void (*free)(void *memory, void *arg);
    void *arg;
} weir_allocator;

WEIR_BEGIN
/* Sets the allocator (NULL: the C library's). Before the first other call of weir; WEIR_EMISUSE
 * after something was allocated. All three functions may be called from any thread. */
WEIR_API int weir_set_allocator(const weir_allocator *allocator);
WEIR_END
#endif
