#include "co/stack.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <weir/error.h>

#include "base/alloc.h"
#include "base/asan.h"
#include "base/assert.h"
#include "base/log.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* kernel 6.13, include/uapi/asm-generic/mman-common.h */
#endif

enum {
    STACK_BYTES = 64 * 1024,
    PAGES_MIN = 4,
    COUNT_MAX = 131072,
    WARM_COUNT = 16,
    SLAB_STACKS_MIN = 16, /* slabs grow with the pool between these */
    SLAB_STACKS_MAX = 512,
    MAP_COUNT = 65530, /* vm.max_map_count where /proc does not say */
    LINE_BYTES = 64,
    /* A stack's start is moved down by a multiple of a line within SPREAD_BYTES, else the hot ends
     * of all stacks would meet in the same few sets of the cache. The odd step puts
     * neighbours far apart. */
    SPREAD_BYTES = 4096,
    SPREAD_STEP = 37,
    CANARY_BYTES = 4096, /* of the guard page, next to the stack: a large frame leaves holes */
};
static const size_t STACK_BYTES_MAX = (size_t)1 << 30;

struct stack_slab {
    struct stack_slab *next;
    char *base;
    size_t bytes;
    char *records;
    uint32_t count, taken, warm;
};

static struct stack *slab_record(const struct stack_pool *pool, const struct stack_slab *slab,
                                 uint32_t index)
{
    return (struct stack *)(void *)(slab->records + index * pool->record_bytes);
}

int stack_pool_init(struct stack_pool *pool, const struct stack_options *options,
                    size_t record_bytes)
{
    long page_bytes = sysconf(_SC_PAGESIZE);

    WEIR_ASSERT(page_bytes >= 4096 && record_bytes >= sizeof(struct stack));
    WEIR_ASSERT(record_bytes % LINE_BYTES == 0);
    memset(pool, 0, sizeof *pool);
    if (options != NULL)
        pool->options = *options;
    options = &pool->options;
    if (options->stack_bytes > STACK_BYTES_MAX || (unsigned)options->guard >= STACK_GUARD_KINDS)
        return WEIR_EINVALID;
    pool->page_bytes = (size_t)page_bytes;
    pool->record_bytes = record_bytes;
    if (pool->options.stack_bytes == 0)
        pool->options.stack_bytes = STACK_BYTES;
    if (pool->options.stack_bytes < PAGES_MIN * pool->page_bytes)
        pool->options.stack_bytes = PAGES_MIN * pool->page_bytes;
    pool->options.stack_bytes =
        (pool->options.stack_bytes + pool->page_bytes - 1) & ~(pool->page_bytes - 1);
    pool->install_missing = pool->options.older || sanitize_valgrind();
    if (pool->options.count_max == 0)
        pool->options.count_max = COUNT_MAX;
    if (pool->options.warm_count == 0)
        pool->options.warm_count = WARM_COUNT;
    return 0;
}

/* -- slabs -- */

static void slab_lay_out(struct stack_pool *pool, struct stack_slab *slab)
{
    size_t stack_bytes = pool->options.stack_bytes;

    for (uint32_t i = 0; i < slab->count; i++) {
        struct stack *stack = slab_record(pool, slab, i);
        size_t offset = (size_t)(pool->spread++ * SPREAD_STEP) * LINE_BYTES % SPREAD_BYTES;

        stack->slab = slab;
        stack->low = slab->base + i * stack_bytes + pool->page_bytes;
        stack->high = slab->base + (i + 1) * stack_bytes - offset;
        stack->valgrind = sanitize_stack_register(stack->low, stack->high);
        sanitize_flow_init(&stack->flow, stack->low, stack->high);
        /* From the top down, so that the first one taken is the slab's first. */
        pool->idle[pool->idle_count + slab->count - 1 - i] = stack;
    }
    pool->idle_count += slab->count;
    pool->cold_count = pool->idle_count;
}

static bool idle_reserve(struct stack_pool *pool, uint32_t count)
{
    struct stack **idle;
    uint32_t room = pool->stats.total + count;

    if (room <= pool->idle_room)
        return true;
    idle = weir__realloc(pool->idle, room * sizeof *idle);
    if (idle == NULL)
        return false;
    pool->idle = idle;
    pool->idle_room = room;
    return true;
}

/* Adds a slab about as large as the pool already is. Only when no stack is idle. The kernel must
 * not put huge pages here: one would make each stack in it resident. */
static int slab_add(struct stack_pool *pool)
{
    uint32_t count = pool->stats.total;
    struct stack_slab *slab;
    size_t records_bytes;

    if (count < SLAB_STACKS_MIN)
        count = SLAB_STACKS_MIN;
    if (count > SLAB_STACKS_MAX)
        count = SLAB_STACKS_MAX;
    if (count > pool->options.count_max - pool->stats.total)
        count = pool->options.count_max - pool->stats.total;
    if (!idle_reserve(pool, count))
        return WEIR_ENOMEM;
    records_bytes = count * pool->record_bytes;
    slab = weir__zalloc(sizeof *slab);
    if (slab == NULL)
        return WEIR_ENOMEM;
    slab->count = count;
    slab->bytes = count * pool->options.stack_bytes;
    slab->records = weir__pages_alloc(records_bytes);
    slab->base = mmap(NULL, slab->bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (slab->records == NULL || slab->base == MAP_FAILED) {
        if (slab->base != MAP_FAILED)
            munmap(slab->base, slab->bytes);
        if (slab->records != NULL)
            weir__pages_free(slab->records, records_bytes);
        weir__free(slab);
        return WEIR_ENOMEM;
    }
    (void)madvise(slab->base, slab->bytes, MADV_NOHUGEPAGE);
    slab_lay_out(pool, slab);
    slab->next = pool->slabs;
    pool->slabs = slab;
    pool->stats.total += count;
    pool->stats.slabs++;
    return 0;
}

static void slab_free(struct stack_pool *pool, struct stack_slab *slab)
{
    for (uint32_t i = 0; i < slab->count; i++) {
        struct stack *stack = slab_record(pool, slab, i);

        pool->stats.guards[stack->guard] -= stack->guard != STACK_GUARD_AUTO;
        if (stack->guard == STACK_GUARD_MPROTECT)
            pool->maps_used -= 2;
        sanitize_stack_deregister(stack->valgrind);
        sanitize_flow_end(&stack->flow);
    }
    /* Frames that were left without returning leave their red zones in its shadow. */
    asan_unpoison(slab->base, slab->bytes);
    munmap(slab->base, slab->bytes);
    pool->stats.total -= slab->count;
    pool->stats.slabs--;
    weir__pages_free(slab->records, slab->count * pool->record_bytes);
    weir__free(slab);
}

void stack_pool_end(struct stack_pool *pool)
{
    WEIR_ASSERT(pool->stats.taken == 0);
    while (pool->slabs != NULL) {
        struct stack_slab *slab = pool->slabs;

        pool->slabs = slab->next;
        slab_free(pool, slab);
    }
    weir__free(pool->idle);
    memset(pool, 0, sizeof *pool);
}

/* -- guards -- */

/* Half of what the kernel allows a process: the other half is for everything else in it. */
static uint32_t maps_allowed(void)
{
    char text[32];
    ssize_t size = -1;
    unsigned long count = MAP_COUNT;
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        size = read(fd, text, sizeof text - 1);
        close(fd);
    }
    if (size > 0) {
        text[size] = '\0';
        count = strtoul(text, NULL, 10);
    }
    return count / 2 > UINT32_MAX ? UINT32_MAX : (uint32_t)(count / 2);
}

/* Whether the kernel cannot read there: it answers EFAULT instead of looking for a file with the
 * empty name. */
static bool page_is_guarded(const char *page)
{
    return access(page, F_OK) < 0 && errno == EFAULT;
}

/* EINVAL is an older kernel, or memory locked by mlockall: then other guards serve, for good. The
 * first one is tried out, since emulators (qemu-user for one) take any advice and do nothing. */
static bool guard_install(struct stack_pool *pool, char *page)
{
    if (pool->install_missing)
        return false;
    if (madvise(page, pool->page_bytes, MADV_GUARD_INSTALL) < 0) {
        pool->install_missing = errno == EINVAL;
        return false;
    }
    if (pool->install_proved)
        return true;
    pool->install_proved = page_is_guarded(page);
    pool->install_missing = !pool->install_proved;
    return pool->install_proved;
}

/* A guard in the middle of a mapping cuts it: one entry for the guard and one for what follows. */
static bool guard_mprotect(struct stack_pool *pool, char *page)
{
    if (pool->options.maps_max == 0)
        pool->options.maps_max = maps_allowed();
    if (pool->options.maps_max - pool->maps_used < 2)
        return false;
    if (mprotect(page, pool->page_bytes, PROT_NONE) < 0)
        return false;
    pool->maps_used += 2;
    return true;
}

/* The first one is told: an overflow is noticed later from here on, or not at all. */
static enum stack_guard canary_use(struct stack_pool *pool)
{
    if (pool->stats.guards[STACK_GUARD_CANARY] == 0 && pool->options.guard == STACK_GUARD_AUTO)
        weir__log(WEIR_LOG_WARN, 0, 0,
                  "further stacks of coroutines are guarded by canaries: %u map entries, half of "
                  "vm.max_map_count, are used for the guards of others",
                  pool->maps_used);
    return STACK_GUARD_CANARY;
}

/* Made when a stack is taken for the first time, so that a new slab does not cost hundreds of
 * system calls at once. It stays when the stack's pages are released. */
static int guard_make(struct stack_pool *pool, struct stack *stack)
{
    enum stack_guard want = pool->options.guard;
    char *page = stack->low - pool->page_bytes;
    enum stack_guard guard;

    if ((want == STACK_GUARD_AUTO || want == STACK_GUARD_INSTALL) && guard_install(pool, page))
        guard = STACK_GUARD_INSTALL;
    else if ((want == STACK_GUARD_AUTO || want == STACK_GUARD_MPROTECT) &&
             guard_mprotect(pool, page))
        guard = STACK_GUARD_MPROTECT;
    else if (want == STACK_GUARD_AUTO || want == STACK_GUARD_CANARY)
        guard = canary_use(pool);
    else
        return WEIR_ENOTSUP;
    stack->guard = (uint8_t)guard;
    pool->stats.guards[guard]++;
    return 0;
}

static void (*_Atomic overflow_tell)(struct stack *stack);

void stack_on_overflow(void (*tell)(struct stack *stack))
{
    atomic_store_explicit(&overflow_tell, tell, memory_order_relaxed);
}

/* The canary costs no memory: reading a page that was never written maps the kernel's page of
 * zeros. */
void stack_check(struct stack *stack)
{
    const uint64_t *word = (const uint64_t *)(const void *)(stack->low - CANARY_BYTES);
    uint64_t found = 0;

    if (__builtin_expect(stack->guard != STACK_GUARD_CANARY, 1))
        return;
    for (size_t i = 0; i < CANARY_BYTES / sizeof *word; i++)
        found |= word[i];
    if (found == 0)
        return;
    void (*tell)(struct stack *) = atomic_load_explicit(&overflow_tell, memory_order_relaxed);
    if (tell != NULL)
        tell(stack);
    /* As a guard page would have it, only later; abort when somebody ignores the signal. */
    raise(SIGSEGV);
    abort();
}

/* -- taking and giving -- */

static int idle_refill(struct stack_pool *pool)
{
    if (pool->idle_count > 0)
        return 0;
    if (pool->stats.total >= pool->options.count_max) {
        pool->stats.refused++;
        return WEIR_EFULL;
    }
    return slab_add(pool);
}

int stack_take(struct stack_pool *pool, struct stack **out)
{
    struct stack *stack;
    int error = idle_refill(pool);

    if (error < 0)
        return error;
    stack = pool->idle[pool->idle_count - 1];
    if (stack->guard == STACK_GUARD_AUTO) {
        error = guard_make(pool, stack);
        if (error < 0)
            return error;
    }
    pool->idle_count--;
    if (stack->warm)
        stack->slab->warm--;
    else
        pool->cold_count = pool->idle_count;
    if (pool->warm_low > pool->idle_count - pool->cold_count)
        pool->warm_low = pool->idle_count - pool->cold_count;
    stack->slab->taken++;
    stack->taken = true;
    if (++pool->stats.taken > pool->stats.peak)
        pool->stats.peak = pool->stats.taken;
    *out = stack;
    return 0;
}

void stack_give(struct stack_pool *pool, struct stack *stack)
{
    WEIR_DEBUG_ASSERT(stack->taken);
    stack->taken = false;
    stack->warm = true;
    stack->slab->taken--;
    stack->slab->warm++;
    pool->stats.taken--;
    pool->idle[pool->idle_count++] = stack;
}

/* -- measuring and shrinking -- */

/* The end of the last page that belongs to this stack: `high` is up to a page below. */
static char *stack_end(const struct stack_pool *pool, const struct stack *stack)
{
    return stack->low - pool->page_bytes + pool->options.stack_bytes;
}

/* The lowest page that is resident holds the deepest byte ever written, unless it was only read. */
__attribute__((no_sanitize("address", "thread"))) size_t stack_used_bytes(struct stack_pool *pool,
                                                                          const struct stack *stack)
{
    enum { BATCH = 64 };
    unsigned char resident[BATCH];
    size_t page_bytes = pool->page_bytes, used_bytes = 0;
    const char *page = stack->low, *end = stack_end(pool, stack);

    while (page < end && used_bytes == 0) {
        size_t pages = (size_t)(end - page) / page_bytes;

        if (pages > BATCH)
            pages = BATCH;
        if (mincore((void *)(uintptr_t)page, pages * page_bytes, resident) < 0)
            break;
        for (size_t i = 0; i < pages && used_bytes == 0; i++, page += page_bytes) {
            const uint64_t *word = (const uint64_t *)(const void *)page;

            if (!(resident[i] & 1))
                continue;
            for (size_t k = 0; k < page_bytes / sizeof *word && used_bytes == 0; k++)
                if (word[k] != 0 && (const char *)&word[k] < stack->high)
                    used_bytes = (size_t)(stack->high - (const char *)&word[k]);
        }
    }
    if (used_bytes > pool->stats.used_bytes_max)
        pool->stats.used_bytes_max = used_bytes;
    return used_bytes;
}

void stack_pool_measure(struct stack_pool *pool, uint32_t budget)
{
    for (uint32_t i = pool->idle_count; i > pool->cold_count && budget > 0; i--, budget--)
        stack_used_bytes(pool, pool->idle[i - 1]);
}

/* Only the pages are given back: the guard stays, of either kind. */
static void stack_release(struct stack_pool *pool, struct stack *stack)
{
    stack_used_bytes(pool, stack);
    asan_unpoison(stack->low, (size_t)(stack_end(pool, stack) - stack->low));
    (void)madvise(stack->low, (size_t)(stack_end(pool, stack) - stack->low), MADV_DONTNEED);
    stack->warm = false;
    stack->slab->warm--;
    pool->stats.released++;
}

static bool slab_deserted(const struct stack_slab *slab)
{
    return slab->taken == 0 && slab->warm == 0;
}

/* Stacks of deserted slabs are all among the cold ones: they are picked out of the pool in one
 * pass, then the slabs go. The oldest slab, the smallest, always stays. */
static void slabs_drop(struct stack_pool *pool)
{
    struct stack_slab **link = &pool->slabs;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < pool->idle_count; i++) {
        struct stack *stack = pool->idle[i];

        if (stack->slab->next == NULL || !slab_deserted(stack->slab))
            pool->idle[kept++] = stack;
        else
            pool->cold_count--;
    }
    pool->idle_count = kept;
    /* A slab's `next` decides above, so the list is changed only now. */
    while (*link != NULL && (*link)->next != NULL) {
        struct stack_slab *slab = *link;

        if (!slab_deserted(slab)) {
            link = &slab->next;
            continue;
        }
        *link = slab->next;
        slab_free(pool, slab);
    }
}

uint32_t stack_pool_shrink(struct stack_pool *pool, uint32_t budget)
{
    uint32_t surplus = 0, released = 0;
    bool deserted = false;

    if (pool->warm_low > pool->options.warm_count)
        surplus = pool->warm_low - pool->options.warm_count;
    if (surplus > budget)
        surplus = budget;
    for (; released < surplus; released++) {
        struct stack *stack = pool->idle[pool->cold_count++];

        stack_release(pool, stack);
        deserted |= slab_deserted(stack->slab) && stack->slab->next != NULL;
    }
    if (deserted)
        slabs_drop(pool);
    pool->warm_low = pool->idle_count - pool->cold_count;
    return released;
}

void stack_pool_stats(const struct stack_pool *pool, struct stack_stats *out)
{
    *out = pool->stats;
    out->warm = pool->idle_count - pool->cold_count;
    out->guards[STACK_GUARD_AUTO] = out->total - out->guards[STACK_GUARD_INSTALL] -
                                    out->guards[STACK_GUARD_MPROTECT] -
                                    out->guards[STACK_GUARD_CANARY];
}
