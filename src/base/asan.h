/* What the address sanitizer must be told about memory that weir manages by itself: free objects
 * are poisoned, so that a use after the give is found. Without the sanitizer nothing remains. */
#ifndef WEIR_BASE_ASAN_H
#define WEIR_BASE_ASAN_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define WEIR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR_ASAN 1
#endif
#endif
#ifndef WEIR_ASAN
#define WEIR_ASAN 0
#endif

#if WEIR_ASAN

#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>

static inline void asan_poison(const void *memory, size_t size)
{
    __asan_poison_memory_region(memory, size);
}

static inline void asan_unpoison(const void *memory, size_t size)
{
    __asan_unpoison_memory_region(memory, size);
}

/* Mapped pages hold pointers to allocated memory: the leak checker must look into them. */
static inline void asan_root(const void *memory, size_t size)
{
    asan_unpoison(memory, size);
    __lsan_register_root_region(memory, size);
}

/* Whoever maps this address next must not find it poisoned. */
static inline void asan_unroot(const void *memory, size_t size)
{
    asan_unpoison(memory, size);
    __lsan_unregister_root_region(memory, size);
}

#else

static inline void asan_poison(const void *memory, size_t size)
{
}

static inline void asan_unpoison(const void *memory, size_t size)
{
}

static inline void asan_root(const void *memory, size_t size)
{
}

static inline void asan_unroot(const void *memory, size_t size)
{
}

#endif

#endif
