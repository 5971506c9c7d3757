#include "base/random.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

/* splitmix64: spreads a seed, however poor, over the whole state. */
static uint64_t spread(uint64_t *seed)
{
    uint64_t mixed = *seed += 0x9e3779b97f4a7c15ull;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebull;
    return mixed ^ mixed >> 31;
}

void random_seed(struct random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        random->state[i] = spread(&seed);
}

static inline uint64_t rotate(uint64_t word, unsigned bits)
{
    return word << bits | word >> (64 - bits);
}

uint64_t random_next(struct random *random)
{
    uint64_t *state = random->state;
    uint64_t result = rotate(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate(state[3], 45);
    return result;
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    if (bound == 0)
        return 0;
    /* The high half of a product is uniform once the low halves that come up too often (the first
     * 2^64 mod bound) are thrown away; the division is needed in few cases only. */
    __extension__ unsigned __int128 product = (unsigned __int128)random_next(random) * bound;
    if ((uint64_t)product < bound) {
        uint64_t unfair = -bound % bound;
        while ((uint64_t)product < unfair)
            product = (unsigned __int128)random_next(random) * bound;
    }
    return (uint64_t)(product >> 64);
}

static _Atomic(struct random *) simulated;

void weir__random_set_source(struct random *source)
{
    atomic_store_explicit(&simulated, source, memory_order_release);
}

static void bytes_from(struct random *source, unsigned char *out, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (unsigned char)(random_next(source) >> 56);
}

void weir__random_bytes(void *out, size_t size)
{
    unsigned char *bytes = out;
    struct random *source = atomic_load_explicit(&simulated, memory_order_acquire);
    if (source != NULL) {
        bytes_from(source, bytes, size);
        return;
    }
    while (size > 0) {
        ssize_t got = getrandom(bytes, size, 0);
        if (got < 0 && errno != EINTR)
            abort(); /* every kernel that weir runs on has it; a guess instead would be worse */
        if (got > 0) {
            bytes += got;
            size -= (size_t)got;
        }
    }
}
