/* Shape processes: the counters of each worker, where the others see them, and of those that are
 * gone. A worker writes at most ten times a second, the readers take care. */
#include "net/shared.h"

#include <string.h>
#include <sys/mman.h>

#include "net/conn.h"

_Atomic(const struct shared_extra *) shared_extra;

static size_t size_of(unsigned seats)
{
    return sizeof(struct shared) + seats * sizeof(struct seat);
}

struct shared *shared_new(unsigned seats)
{
    struct shared *shared =
        mmap(NULL, size_of(seats), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return NULL;
    atomic_store(&shared->log_level, -1);
    return shared;
}

void shared_free(struct shared *shared, unsigned seats)
{
    if (shared != NULL)
        munmap(shared, size_of(seats));
}

/* A sequence lock: a reader that sees an odd number, or two different ones, has read a mixture. */
static void write_begin(_Atomic uint32_t *version)
{
    uint32_t now = atomic_load_explicit(version, memory_order_relaxed);
    atomic_store_explicit(version, now | 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

static void write_end(_Atomic uint32_t *version)
{
    uint32_t now = atomic_load_explicit(version, memory_order_relaxed);
    atomic_store_explicit(version, (now | 1) + 1, memory_order_release);
}

/* Word by word, so that no reader sees half a number. */
static void words_copy(void *to, const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(uint64_t); i++)
        __atomic_store_n((uint64_t *)to + i,
                         __atomic_load_n((const uint64_t *)from + i, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
}
_Static_assert(sizeof(struct seat_stats) % sizeof(uint64_t) == 0, "copied in words");

void seat_publish(struct seat *seat, weir_loop *loop)
{
    struct seat_stats stats = {0};
    weir_loop_stats_get(loop, &stats.loop);
    const struct shared_extra *extra = atomic_load(&shared_extra);
    if (extra != NULL)
        extra->get(loop, stats.extra);
    write_begin(&seat->version);
    words_copy(&seat->stats, &stats, sizeof stats);
    write_end(&seat->version);
}

bool seat_stats_read(const _Atomic uint32_t *version, const struct seat_stats *stats,
                     struct seat_stats *out)
{
    enum { TRIES = 10000 };
    for (int i = 0; i < TRIES; i++) {
        uint32_t before = atomic_load_explicit(version, memory_order_acquire);
        if ((before & 1) != 0)
            continue;
        words_copy(out, stats, sizeof *out);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(version, memory_order_relaxed) == before)
            return true;
    }
    return false;
}

static void add(void *sum, const void *stats, const weir_stat *rows, unsigned count, bool levels)
{
    for (unsigned i = 0; i < count; i++)
        if (levels || rows[i].kind != WEIR_STAT_GAUGE)
            stats_add(sum, stats, &rows[i], 1);
}

static void add_all(struct seat_stats *sum, const struct seat_stats *stats, bool levels)
{
    unsigned count;
    const weir_stat *rows = weir_loop_stats_table(&count);
    add(&sum->loop, &stats->loop, rows, count, levels);
    const struct shared_extra *extra = atomic_load(&shared_extra);
    if (extra != NULL) {
        rows = extra->table(&count);
        add(sum->extra, stats->extra, rows, count, levels);
    }
}

void seat_stats_add(struct seat_stats *sum, const struct seat_stats *stats)
{
    add_all(sum, stats, true);
}

/* A worker that was killed while it wrote leaves an odd number behind: then what is there is taken,
 * each number being whole. */
void seat_bury(struct shared *shared, struct seat *seat)
{
    struct seat_stats past = shared->past, none = {0};
    add_all(&past, &seat->stats, false);
    write_begin(&shared->version);
    words_copy(&shared->past, &past, sizeof past);
    write_begin(&seat->version);
    words_copy(&seat->stats, &none, sizeof none);
    write_end(&seat->version);
    write_end(&shared->version);
}
