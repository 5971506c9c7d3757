#include "sim/check/stream.h"

#include <stdlib.h>
#include <string.h>

void stream_put(struct stream *s, const void *data, size_t size)
{
    if (size == 0)
        return;
    if (s->size + size > s->room) {
        s->room = (s->size + size) * 2;
        s->bytes = realloc(s->bytes, s->room);
        if (s->bytes == NULL)
            abort();
    }
    memcpy(s->bytes + s->size, data, size);
    s->size += size;
}

void stream_cut(struct stream *s, uint64_t total)
{
    s->size = (size_t)(total - s->base);
}

size_t stream_match(const struct stream *s, uint64_t at, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    if (at < s->base || at > stream_total(s))
        return 0;
    size_t from = (size_t)(at - s->base), there = s->size - from;
    size_t common = size < there ? size : there;
    if (common != 0 && memcmp(s->bytes + from, bytes, common) == 0)
        return common;
    size_t same = 0;
    while (same < common && s->bytes[from + same] == bytes[same])
        same++;
    return same;
}

void stream_trim(struct stream *s, uint64_t at)
{
    if (at <= s->base)
        return;
    size_t gone = (size_t)(at - s->base);
    /* Moving is put off until it is worth it. */
    if (gone < s->size && gone < s->room / 2)
        return;
    if (gone > s->size)
        gone = s->size;
    memmove(s->bytes, s->bytes + gone, s->size - gone);
    s->base += gone;
    s->size -= gone;
}

void stream_free(struct stream *s)
{
    free(s->bytes);
    *s = (struct stream){0};
}
