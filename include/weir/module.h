/* What weir's own modules (libweir-dns) use of the core: memory through the hook of <weir/alloc.h>,
 * the log, and the place of who looks names up. Not for programs: it changes without a note. */
#ifndef WEIR_MODULE_H
#define WEIR_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/address.h>
#include <weir/export.h>
#include <weir/log.h>
#include <weir/loop.h>

/* What a name stands for: addresses (their port is 0), or an error. With `more` the other family is
 * still asked for, and a second call comes, the last one. */
typedef void weir__names_fn(void *arg, int error, const weir_address *addresses, unsigned count,
                            bool more);

/* Who looks names up for weir_connect on a loop. */
typedef struct weir__names {
    /* Begins; fn is not called inside. 0 and *lookup, for cancel, valid until fn's last call; or a
     * negative error. */
    int (*begin)(void *self, const char *name, weir__names_fn *fn, void *arg, void **lookup);
    void (*cancel)(void *lookup);
} weir__names;

/* Where a debugger finds the coroutines of a process, without debug information of the library and
 * in a core file too: offsets in bytes. tools/gdb/weir-gdb.py reads it; a change needs another
 * version. */
typedef struct weir__debugger {
    uint64_t version; /* 1 */
    uint64_t frame;   /* what a switch leaves on a stack: 1 x86-64, 2 aarch64, 0 nothing known */
    const void *loops;
    uint64_t loop_stride, loop_count; /* of its entries, which begin with a pointer to a loop */
    uint64_t loop_id, loop_pool;      /* in a loop: uint32_t; pointer, or NULL */
    const struct weir__debugger_co *co;
    uint64_t local_code, local_scope, scope_name; /* behind co->room */
} weir__debugger_layout;

struct weir__debugger_co {
    uint64_t pool_alive, co_node; /* the list of those that have begun: its head, and in each */
    uint64_t co_state;            /* uint8_t */
    uint64_t state_suspended;
    uint64_t co_sp, co_low, co_high, co_fn, co_room;
};

typedef int weir__work_fn(void *arg);
typedef void weir__worked_fn(weir_loop *loop, int result, void *arg);

WEIR_BEGIN

WEIR_API extern const weir__debugger_layout weir__debugger;

/* malloc, zeroed malloc, realloc, free through the hook (weir_set_allocator). NULL when out of
 * memory; a size of 0 is taken as 1. Any thread. */
WEIR_API WEIR_MUST_CHECK void *weir__alloc(size_t size) __attribute__((malloc));
WEIR_API WEIR_MUST_CHECK void *weir__zalloc(size_t size) __attribute__((malloc));
WEIR_API WEIR_MUST_CHECK void *weir__realloc(void *memory, size_t size);
WEIR_API void weir__free(void *memory);

/* Sends one line to the sink when `level` is enabled; `code` is the error behind it (or 0),
 * `handle` the connection (or 0). At most 1 KiB of text; a longer one ends in "...". Any thread. */
WEIR_API void weir__log(enum weir_log_level level, int code, uint64_t handle, const char *format,
                        ...) WEIR_PRINTF(4, 5);

/* Nanoseconds of the clock of weir_now, now and not when the turn began. Any thread. */
WEIR_API uint64_t weir__time_ns(void);

/* Has fn(arg) called by a thread of the worker pool, and then done(loop, result, arg) on the
 * current loop: fn's result, which is not negative, or a negative error when it was not called. 0;
 * or an error: neither is. */
WEIR_API int weir__work(weir__work_fn *fn, weir__worked_fn *done, void *arg);

/* Sets who looks names up on the current loop, which stays valid until it is taken away. 0,
 * WEIR_EMISUSE (no loop, or somebody does already), WEIR_ENOMEM. */
WEIR_API int weir__names_set(const weir__names *names, void *self);
/* Takes it away, if it is this one: connections that wait for a name fail (WEIR_ECANCELED), and
 * nothing of it is called any more, for lookups that have begun either. */
WEIR_API void weir__names_unset(weir_loop *loop, void *self);

WEIR_END
#endif
