/* The other end of a connection under test: a blocking descriptor that the test owns. Bytes follow
 * a pattern, so that a lost, doubled or misplaced one is seen. */
#ifndef WEIR_TESTS_IO_PEER_H
#define WEIR_TESTS_IO_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BIG = 8 * 1024 * 1024 };

/* The byte at this place; a fresh buffer full of them, for free(). */
uint8_t peer_pattern(size_t at);
uint8_t *peer_pattern_new(size_t size);

void peer_write(int peer, const void *data, size_t size);
/* Closes with a reset. */
void peer_abort(int peer);

/* Reads `size` bytes; also as a thread. */
struct peer_drain {
    int peer;
    size_t size;
    int delay_ms;
    bool right; /* every byte was what it should be */
};

void *peer_drain_thread(void *arg);

#endif
