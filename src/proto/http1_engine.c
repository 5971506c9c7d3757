#include "proto/http1_engine.h"

#include <stdatomic.h>

const struct http1_engine *const http1_engines[] = {
    &http1_engine_plain,
#if defined(__x86_64__)
    &http1_engine_sse42,
    &http1_engine_avx2,
#endif
    NULL,
};

/*
 * The sets as bits: a byte 0xHL is in a set when bit H of entry L is set; H of 8 and above is in
 * none. (A shuffle gives 0 for bytes from 0x80 on, and bit H comes from a second shuffle.)
 */
const uint8_t http1_set_rows[HTTP1_TEXT][16] = {
    [HTTP1_TOKEN] = {0xe8, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xf8, 0xf8, 0xf4, 0x54, 0xd0,
                     0x54, 0xf4, 0x70},
    [HTTP1_PATH] = {0xf8, 0xfc, 0xf8, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xd4,
                    0xfc, 0xf4, 0x74},
    [HTTP1_QUERY] = {0xf8, 0xfc, 0xf8, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xf4,
                     0xfc, 0xf4, 0x7c},
};

/* Several threads may find it empty at once; they all store the same answer. */
static _Atomic(const struct http1_engine *) current;

static const struct http1_engine *find_best(void)
{
    const struct http1_engine *best = http1_engines[0];

    for (int i = 1; http1_engines[i]; i++) {
        if (http1_engines[i]->usable())
            best = http1_engines[i];
    }
    return best;
}

const struct http1_engine *http1_engine_current(void)
{
    const struct http1_engine *engine = atomic_load_explicit(&current, memory_order_relaxed);

    if (__builtin_expect(!engine, 0)) {
        engine = find_best();
        atomic_store_explicit(&current, engine, memory_order_relaxed);
    }
    return engine;
}

void http1_engine_use(const struct http1_engine *engine)
{
    atomic_store_explicit(&current, engine, memory_order_relaxed);
}
