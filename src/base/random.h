/* Randomness comes through here only. */
#ifndef WEIR_BASE_RANDOM_H
#define WEIR_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fast, seedable, not secret: xoshiro256**. One state a thread or loop. */
struct random {
    uint64_t state[4];
};
void random_seed(struct random *random, uint64_t seed);
uint64_t random_next(struct random *random);
/* Uniform in [0, bound), without bias; bound 0 gives 0. */
uint64_t random_below(struct random *random, uint64_t bound);
/* Bytes from the kernel (getrandom), for seeds and names; cannot fail. */
void weir__random_bytes(void *out, size_t size);
/* For a simulation: from now on weir__random_bytes draws from here (NULL: from the kernel again).
 * The source stays the caller's; one thread at a time may draw from it. */
void weir__random_set_source(struct random *source);

#endif
