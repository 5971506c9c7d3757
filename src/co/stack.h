/* A pool of stacks for one loop. Stacks are cut from slabs: one mapping holds many, its pages are
 * touched only as far as a stack was used, and each stack has a guard page below it. The one given
 * back last is handed out first, since it is still in the cache; those that a quiet interval did
 * not need return their memory to the kernel. Not shared between threads. */
#ifndef WEIR_CO_STACK_H
#define WEIR_CO_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "co/sanitize.h"

/* What catches a stack that overflows. AUTO takes the first one that is to be had. */
enum stack_guard {
    STACK_GUARD_AUTO,
    STACK_GUARD_INSTALL,  /* MADV_GUARD_INSTALL (kernel 6.13): costs no map entry. SIGSEGV */
    STACK_GUARD_MPROTECT, /* two of vm.max_map_count's map entries a stack. SIGSEGV */
    STACK_GUARD_CANARY,   /* a page that must stay zero, looked at when the coroutine stops */
    STACK_GUARD_KINDS
};

struct stack_options {
    size_t stack_bytes;  /* address space of a stack with its guard; 0: 64 KiB, at least 4 pages */
    uint32_t count_max;  /* stacks alive at once; 0: 131072 */
    uint32_t warm_count; /* idle stacks that keep their pages in spite of a shrink; 0: 16 */
    uint32_t maps_max;   /* map entries for mprotect guards; 0: half of vm.max_map_count. A
                            process with several pools gives each its share. */
    enum stack_guard guard;
    bool older; /* as if the kernel had no MADV_GUARD_INSTALL: for tests */
};

struct stack_slab;

/* The head of the caller's record of a stack. */
struct stack {
    char *low;  /* lowest usable byte: the guard page lies below */
    char *high; /* where the stack starts, going down; aligned to 64, spread within the page */
    struct stack_slab *slab;
    uint8_t guard;     /* enum stack_guard; AUTO until first taken */
    bool warm;         /* its pages may hold what the last user left */
    bool taken;        /* not in the pool */
    unsigned valgrind; /* the number valgrind knows the stack by */
    struct sanitize_flow flow;
};

struct stack_stats {
    uint32_t total;                     /* stacks that have an address */
    uint32_t taken;                     /* of these in use */
    uint32_t warm;                      /* of these idle with their pages */
    uint32_t peak;                      /* most in use at once */
    uint32_t slabs;                     /* mappings */
    uint32_t guards[STACK_GUARD_KINDS]; /* by kind; AUTO: never used yet */
    uint64_t released;                  /* how often a stack returned its pages */
    uint64_t refused;                   /* how often count_max said no */
    size_t used_bytes_max; /* deepest use seen: by stack_used_bytes and when pages were released */
};

struct stack_pool {
    struct stack_options options; /* with the defaults filled in */
    size_t page_bytes, record_bytes;
    struct stack_slab *slabs;
    struct stack **idle; /* the pool: from [0] the longest idle; [0, cold_count) have no pages */
    uint32_t idle_count, idle_room, cold_count;
    uint32_t warm_low; /* fewest warm ones since the last shrink: what was not needed */
    uint32_t spread;   /* which offset the next stack of a new slab gets */
    uint32_t maps_used;
    bool install_missing; /* MADV_GUARD_INSTALL is not to be had */
    bool install_proved;  /* or it is, and was seen to work */
    struct stack_stats stats;
};

/* Makes an empty pool; nothing is mapped yet. `options` may be NULL. Each stack gets a zeroed
 * record of record_bytes (a multiple of 64, aligned to 64) that begins with its struct stack and
 * stays in place, with whatever the owner wrote there, until the pool ends or a shrink unmaps its
 * slab. WEIR_EINVALID: a size out of range, or a guard that does not exist. */
int stack_pool_init(struct stack_pool *pool, const struct stack_options *options,
                    size_t record_bytes);

/* Unmaps everything. No stack may be in use. */
void stack_pool_end(struct stack_pool *pool);

/* Takes the stack that was given back last, or a new one. O(1), no system call while there is a
 * used one. WEIR_EFULL: count_max are in use; WEIR_ENOMEM: no address space; WEIR_ENOTSUP: the
 * guard that the options insist on cannot be had. */
int stack_take(struct stack_pool *pool, struct stack **out);

/* Gives a stack back. O(1), no system call. */
void stack_give(struct stack_pool *pool, struct stack *stack);

/* Who tells of a canary that is gone, before the process ends; the same one for all pools. */
void stack_on_overflow(void (*tell)(struct stack *stack));

/* Looks how deep the stacks were used that were given back last, at most `budget` of them. */
void stack_pool_measure(struct stack_pool *pool, uint32_t budget);

/* Ends the process by SIGSEGV when the canary of this stack is gone: call it each time a coroutine
 * has stopped. Does nothing for the other guards. */
void stack_check(struct stack *stack);

/* How deep the stack was used since it last had no pages, in bytes from `high`, to the deepest byte
 * that is not zero, as far as it is in memory. One system call (mincore) and a look at the deepest
 * page; touches none. */
size_t stack_used_bytes(struct stack_pool *pool, const struct stack *stack);

/* Call it now and then, say once a second. Returns the pages of at most `budget` stacks that were
 * idle ever since the last call, beyond warm_count, to the kernel, and unmaps the slabs that have
 * nothing but such stacks, except the last. Returns how many stacks lost their pages: 0 when
 * everything is as small as it gets. */
uint32_t stack_pool_shrink(struct stack_pool *pool, uint32_t budget);

/* The figures of this moment. */
void stack_pool_stats(const struct stack_pool *pool, struct stack_stats *out);

#endif
