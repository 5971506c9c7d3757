#include "base/alloc.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/asan.h"

static void *system_alloc(size_t size, void *arg)
{
    return malloc(size);
}

static void *system_realloc(void *memory, size_t size, void *arg)
{
    return realloc(memory, size);
}

static void system_free(void *memory, void *arg)
{
    free(memory);
}

static void system_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

/* Written by weir_set_allocator only, which refuses once anything was allocated; so the readers
 * need no lock. */
static weir_allocator hook = {system_alloc, system_realloc, system_free, NULL};

static atomic_bool sealed; /* something was allocated: the hook cannot change any more */
static _Atomic uint64_t live, pages_live_bytes;
static _Atomic uint64_t fail_in; /* allocations until one fails, counting it; 0: off */

int weir_set_allocator(const weir_allocator *allocator)
{
    static const weir_allocator system = {system_alloc, system_realloc, system_free, NULL};
    if (allocator != NULL &&
        (allocator->alloc == NULL || allocator->realloc == NULL || allocator->free == NULL))
        return WEIR_EINVALID;
    if (atomic_load_explicit(&sealed, memory_order_acquire))
        return WEIR_EMISUSE;
    hook = allocator != NULL ? *allocator : system;
    return 0;
}

/* Counts down to the failure that a test asked for. Out of line: it runs in tests only. */
static __attribute__((noinline, cold)) bool fault_fires(void)
{
    uint64_t left = atomic_load_explicit(&fail_in, memory_order_relaxed);
    while (left != 0)
        if (atomic_compare_exchange_weak_explicit(&fail_in, &left, left - 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return left == 1;
    return false;
}

static inline bool may_allocate(void)
{
    if (!atomic_load_explicit(&sealed, memory_order_relaxed))
        atomic_store_explicit(&sealed, true, memory_order_release);
    return __builtin_expect(atomic_load_explicit(&fail_in, memory_order_relaxed) == 0, 1) ||
           !fault_fires();
}

static inline void count_live(const void *memory)
{
    if (memory != NULL)
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
}

enum { TRIM_BYTES = 4 << 20 };
static _Atomic size_t returned_bytes;

void weir__alloc_returned(size_t bytes)
{
    atomic_fetch_add_explicit(&returned_bytes, bytes, memory_order_relaxed);
}

void weir__alloc_trim(void)
{
    size_t bytes = atomic_load_explicit(&returned_bytes, memory_order_relaxed);
    if (bytes < TRIM_BYTES || hook.free != system_free)
        return;
    if (atomic_compare_exchange_strong_explicit(&returned_bytes, &bytes, 0, memory_order_relaxed,
                                                memory_order_relaxed))
        system_trim();
}

void *weir__alloc(size_t size)
{
    if (!may_allocate())
        return NULL;
    void *memory = hook.alloc(size != 0 ? size : 1, hook.arg);
    count_live(memory);
    return memory;
}

void *weir__zalloc(size_t size)
{
    if (!may_allocate())
        return NULL;
    if (size == 0)
        size = 1;
    void *memory;
    if (hook.alloc == system_alloc) {
        memory = calloc(1, size); /* knows which pages are fresh and need no clearing */
    } else {
        memory = hook.alloc(size, hook.arg);
        if (memory != NULL)
            memset(memory, 0, size);
    }
    count_live(memory);
    return memory;
}

void *weir__realloc(void *memory, size_t size)
{
    if (!may_allocate())
        return NULL;
    void *moved = hook.realloc(memory, size != 0 ? size : 1, hook.arg);
    if (memory == NULL)
        count_live(moved);
    return moved;
}

void weir__free(void *memory)
{
    if (memory == NULL)
        return;
    atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    hook.free(memory, hook.arg);
}

char *weir__strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = weir__alloc(size);
    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}

/* What the allocator gave is noted in front of what the caller gets. */
void *weir__aligned_zalloc(size_t size, size_t alignment)
{
    size_t more = alignment - 1 + sizeof(void *);
    void *whole = size <= SIZE_MAX - more ? weir__zalloc(size + more) : NULL;
    if (whole == NULL)
        return NULL;
    uintptr_t first = (uintptr_t)whole + sizeof(void *);
    void *memory = (char *)whole + sizeof(void *) + (-first & (alignment - 1));
    memcpy((char *)memory - sizeof(void *), &whole, sizeof(whole));
    return memory;
}

void weir__aligned_free(void *memory)
{
    void *whole;
    if (memory == NULL)
        return;
    memcpy(&whole, (char *)memory - sizeof(void *), sizeof(whole));
    weir__free(whole);
}

/* 0 when the size cannot be rounded up. */
static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return size <= SIZE_MAX - page + 1 ? (size + page - 1) & ~(page - 1) : 0;
}

void *weir__pages_alloc(size_t size)
{
    size = whole_pages(size);
    if (size == 0 || !may_allocate())
        return NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    asan_root(memory, size);
    count_live(memory);
    atomic_fetch_add_explicit(&pages_live_bytes, size, memory_order_relaxed);
    return memory;
}

void weir__pages_free(void *memory, size_t size)
{
    if (memory == NULL)
        return;
    size = whole_pages(size);
    asan_unroot(memory, size);
    munmap(memory, size);
    atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&pages_live_bytes, size, memory_order_relaxed);
}

uint64_t weir__alloc_live(void)
{
    return atomic_load_explicit(&live, memory_order_relaxed);
}

uint64_t weir__pages_live_bytes(void)
{
    return atomic_load_explicit(&pages_live_bytes, memory_order_relaxed);
}

uint64_t weir__alloc_fail_at(uint64_t n)
{
    return atomic_exchange_explicit(&fail_in, n, memory_order_relaxed);
}
