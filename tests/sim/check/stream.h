/* What one end of a connection handed to send: the bytes themselves, from the first one that the
 * other end has not shown yet. Known to the checkers only; shares nothing with weir's queues. */
#ifndef WEIR_TESTS_SIM_CHECK_STREAM_H
#define WEIR_TESTS_SIM_CHECK_STREAM_H

#include <stddef.h>
#include <stdint.h>

struct stream {
    uint8_t *bytes; /* from `base` on */
    uint64_t base;
    size_t size, room;
};

static inline uint64_t stream_total(const struct stream *s)
{
    return s->base + s->size;
}
void stream_put(struct stream *s, const void *data, size_t size);
/* Takes bytes off the end: they were refused. */
void stream_cut(struct stream *s, uint64_t total);
/* How many of `size` bytes at offset `at` are as they were put: `size` when all are. */
size_t stream_match(const struct stream *s, uint64_t at, const void *data, size_t size);
/* Forgets what lies before `at`. */
void stream_trim(struct stream *s, uint64_t at);
void stream_free(struct stream *s);

#endif
