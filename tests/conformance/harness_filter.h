/* A filter for tests: it counts, cuts everything into small pieces, holds both directions back for
 * a while, and (when asked to) speaks a protocol of its own on the wire: a handshake, records, and
 * an end that a cut stream does not have. */
#ifndef WEIR_TESTS_CONFORMANCE_HARNESS_FILTER_H
#define WEIR_TESTS_CONFORMANCE_HARNESS_FILTER_H

#include "conformance/harness.h"

enum { STRAINER_HOLDS = 8192 }; /* bytes that it keeps back of each direction, about */

/* How a strainer behaves, and what it saw; the config of the filter. */
struct strainer {
    size_t piece;      /* passes on at most so many bytes at a time; 0: as they come */
    unsigned delay_ms; /* holds both directions back for so long; 0: passes on at once */
    bool records;    /* the wire's side has records: length (2 bytes), bytes; length 0 is the end */
    bool handshake;  /* the client says "hello?", the server "hello!" before all else */
    int refuse_open; /* negative: what open returns */
    int fail_in, fail_out; /* negative: what input and output return beyond 1000 bytes */
    /* What it saw, over all connections. */
    int opens, closes, in_ends, out_ends;
    uint64_t in_bytes, out_bytes; /* of the side above */
    uint64_t held_most;
    bool misused; /* it was called when it must not have been */
};
extern const weir_filter strainer_filter;

/* Puts two strainers under a side, `wire` next to the wire. */
void side_strain(struct side *s, struct strainer *wire, struct strainer *top);

#endif
